// Package system holds the tests of the whole program on real material: a Debian
// root made with debootstrap, images made from it, registries on the loopback
// address, and oracles that share no code with the product.
//
// They need root, Debian's tools and the Debian archive. Where one of these is
// missing the tests are skipped and say so; with CI=true set they fail instead.
package system

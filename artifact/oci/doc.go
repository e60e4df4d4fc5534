// Package oci opens container images wherever they are kept: registries, OCI image
// layouts, archives, and the stores of local daemons. It is the one home of
// go-containerregistry (for names, credentials and token exchange).
//
// All of them end in an Image: a verified manifest, a verified configuration and a
// way to open each layer's stored bytes.
package oci

//go:build !race

package detecttest

const raced = false

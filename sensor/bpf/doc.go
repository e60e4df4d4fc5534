// Package bpf holds the kernel half of the sensor: C sources, their headers, and the
// objects and Go structs made from them for amd64 and arm64. The objects are committed
// so that building needs no clang; a test makes them anew and compares.
// It owns no behaviour but to give their memory back: package sensor and its plug-ins
// load, attach and read.
package bpf

//go:generate sh generate.sh

// Package dir reads directories and the root file system of the machine it runs on.
//
// It owns the walk: which files are shown, which mounts are left out, and that no
// symbolic link, device or pipe can lead the scanner astray. It does not know what
// files mean.
package dir

// Package artifact owns how the bytes of a scanned thing are reached: it names
// the kinds of targets, reads an image layer in one verified pass, and says which
// files of lower layers an upper one hides.
//
// It does not know what files mean (that is package sbom) nor where an image is
// stored: registries, archives, directories and daemons are plug-ins in the
// sub-folders, each of which makes a Source.
package artifact

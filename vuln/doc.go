// Package vuln owns what is publicly known to be wrong with packages: the
// advisories, the one read-only file they are compiled into, and the matcher that
// says which of them speak of a given package.
//
// It does not know where advisories come from (its plug-ins osv, kev and epss
// read the sources), nor how a finding is ranked or shown.
package vuln

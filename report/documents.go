package report

import (
	"io"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/finding/openvex"
	"github.com/bollwerk/bollwerk/sbom/cyclonedx"
	"github.com/bollwerk/bollwerk/sbom/spdx"
)

// The writers of bills of material and VEX documents belong to the concepts whose
// formats they also read; here they only get their options.

// CycloneDX writes an inventory with its findings as CycloneDX JSON.
func CycloneDX(w io.Writer, r *bollwerk.Result, o Options) error {
	return cyclonedx.Write(w, r, cyclonedx.Options{Format: cyclonedx.JSON, Vulnerabilities: true, Time: o.at(r)})
}

// CycloneDXXML writes the same as XML.
func CycloneDXXML(w io.Writer, r *bollwerk.Result, o Options) error {
	return cyclonedx.Write(w, r, cyclonedx.Options{Format: cyclonedx.XML, Vulnerabilities: true, Time: o.at(r)})
}

// SPDX writes the inventory as SPDX 2.3 JSON, which has no place for findings.
func SPDX(w io.Writer, r *bollwerk.Result, o Options) error {
	return spdx.Write(w, r, spdx.Options{Time: o.at(r)})
}

// OpenVEX writes what was decided about each issue.
func OpenVEX(w io.Writer, r *bollwerk.Result, o Options) error {
	return openvex.Write(w, r, o.Author, o.at(r))
}

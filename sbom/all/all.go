// Package all lists every extractor that ships. It is the one place that decides
// which plug-ins run; only commands import it.
package all

import (
	"github.com/bollwerk/bollwerk/sbom"
	"github.com/bollwerk/bollwerk/sbom/apk"
	"github.com/bollwerk/bollwerk/sbom/binary"
	"github.com/bollwerk/bollwerk/sbom/deb"
	"github.com/bollwerk/bollwerk/sbom/facts"
	"github.com/bollwerk/bollwerk/sbom/npm"
	"github.com/bollwerk/bollwerk/sbom/osrelease"
	"github.com/bollwerk/bollwerk/sbom/python"
)

// Extractors returns every extractor, in a fixed order.
func Extractors() []sbom.Extractor {
	return []sbom.Extractor{
		apk.Extractor{},
		binary.Extractor{},
		deb.Copyrights{},
		deb.Lists{},
		deb.Status{},
		facts.Extractor{},
		npm.Installed{},
		osrelease.Extractor{},
		python.Installed{},
	}
}

// Set compiles Extractors.
func Set() (*sbom.Set, error) { return sbom.NewSet(Extractors()...) }

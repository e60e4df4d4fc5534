// Package all lists every extractor that ships. It is the one place that decides
// which plug-ins run; only commands import it.
package all

import (
	"github.com/bollwerk/bollwerk/sbom"
	"github.com/bollwerk/bollwerk/sbom/actions"
	"github.com/bollwerk/bollwerk/sbom/apk"
	"github.com/bollwerk/bollwerk/sbom/binary"
	"github.com/bollwerk/bollwerk/sbom/conda"
	"github.com/bollwerk/bollwerk/sbom/deb"
	"github.com/bollwerk/bollwerk/sbom/dotnet"
	"github.com/bollwerk/bollwerk/sbom/erlang"
	"github.com/bollwerk/bollwerk/sbom/facts"
	"github.com/bollwerk/bollwerk/sbom/golang"
	"github.com/bollwerk/bollwerk/sbom/java"
	"github.com/bollwerk/bollwerk/sbom/npm"
	"github.com/bollwerk/bollwerk/sbom/opam"
	"github.com/bollwerk/bollwerk/sbom/osrelease"
	"github.com/bollwerk/bollwerk/sbom/php"
	"github.com/bollwerk/bollwerk/sbom/python"
	"github.com/bollwerk/bollwerk/sbom/rlang"
	"github.com/bollwerk/bollwerk/sbom/rpm"
	"github.com/bollwerk/bollwerk/sbom/ruby"
	"github.com/bollwerk/bollwerk/sbom/rust"
	"github.com/bollwerk/bollwerk/sbom/scalibr"
	"github.com/bollwerk/bollwerk/sbom/secrets"
)

// Extractors returns every extractor, in a fixed order.
func Extractors() []sbom.Extractor {
	own := []sbom.Extractor{
		actions.Extractor{},
		apk.Extractor{},
		binary.Extractor{},
		conda.Extractor{},
		deb.Copyrights{},
		deb.Lists{},
		deb.Status{},
		dotnet.Project{},
		erlang.Runtime{},
		facts.Extractor{},
		golang.GoMod{},
		java.Archive{},
		java.Runtime{},
		npm.Bun{},
		npm.Installed{},
		npm.PNPM{},
		npm.PackageLock{},
		npm.Yarn{},
		opam.Extractor{},
		osrelease.Extractor{},
		php.Composer{},
		python.Installed{},
		python.Lock{},
		python.Requirements{},
		rlang.Installed{},
		rpm.Extractor{},
		ruby.GemfileLock{},
		ruby.Gemspec{},
		rust.CargoLock{},
		secrets.New(),
	}
	return append(own, scalibr.Extractors()...)
}

// Set compiles Extractors.
func Set() (*sbom.Set, error) { return sbom.NewSet(Extractors()...) }

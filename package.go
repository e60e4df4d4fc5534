package bollwerk

// PURL is a package URL (https://github.com/package-url/purl-spec) in canonical
// form, e.g. "pkg:deb/debian/openssl@3.0.11-1~deb12u2?arch=amd64&distro=debian-12".
type PURL string

// Package is one installed or declared package in an artifact.
type Package struct {
	PURL      PURL      `json:"purl"`
	Name      string    `json:"name"` // the ecosystem's own spelling: "org.slf4j:slf4j-api", "@babel/core"
	Version   string    `json:"version"`
	Ecosystem Ecosystem `json:"ecosystem"` // with release: "Debian:12"
	// Source is the source package a distribution's binary package was built from;
	// advisories of such distributions speak of it. Nil elsewhere.
	Source *SourcePackage `json:"source,omitempty"`
	Arch   string         `json:"arch,omitempty"`
	// Vendor is set when a package in a distribution's format is published by
	// somebody else than the distribution ("Docker"), so that the distribution's
	// advisories do not speak of what is inside.
	Vendor string `json:"vendor,omitempty"`
	// Modularity is the rpm module label "name:stream:version:context", if any.
	Modularity string    `json:"modularity,omitempty"`
	Licenses   []string  `json:"licenses,omitempty"` // SPDX expressions or the words found
	Hashes     []Digest  `json:"hashes,omitempty"`
	Layer      *LayerRef `json:"layer,omitempty"`
	// Paths are where the package was found (status file, lock file, jar inside a
	// jar as "a.war!/WEB-INF/lib/b.jar"), relative to the root of the artifact.
	Paths []string `json:"paths,omitempty"`
	// Files are files the package owns, where the package database lists them;
	// absolute. Kept for joining with what is executed; not printed by default.
	Files []string `json:"-"`
	// DependsOn lists the PURLs of direct dependencies where the lock file has them.
	DependsOn []PURL `json:"depends_on,omitempty"`
	// Direct: the manifest names it itself (nil: not known). Dev: only for development.
	Direct *bool `json:"direct,omitempty"`
	Dev    bool  `json:"dev,omitempty"`
	// Extractor names the plug-in that found it.
	Extractor string `json:"extractor,omitempty"`
	// GoOS and GoArch are the target of a Go binary, Symbols its linked packages or
	// functions, when known. Advisories narrow by them.
	GoOS    string   `json:"goos,omitempty"`
	GoArch  string   `json:"goarch,omitempty"`
	Symbols []string `json:"-"`
	// Virtual: not an installable thing of its own but a fact about another
	// (the Go standard library inside a binary).
	Virtual bool `json:"virtual,omitempty"`
}

// SourcePackage is the source a binary package was built from.
type SourcePackage struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Secret is a credential found in a file or in the configuration. The credential
// itself is never kept.
type Secret struct {
	Detector string    `json:"detector"` // "gcp-api-key"
	Title    string    `json:"title"`    // "Google API key"
	Path     string    `json:"path"`     // "" with Env set: in the configuration
	Env      string    `json:"env,omitempty"`
	Line     int       `json:"line,omitempty"`
	Offset   int64     `json:"offset,omitempty"`
	Hash     string    `json:"hash"` // first 16 hex digits of the SHA-256 of the credential, to compare two finds
	Severity Severity  `json:"severity"`
	Layer    *LayerRef `json:"layer,omitempty"`
	// Deleted: a later layer removes the file, but whoever has the image has the
	// layer too.
	Deleted bool `json:"deleted,omitempty"`
}

// FileFact is something that is true of one file and that policies judge.
type FileFact struct {
	Kind FactKind `json:"kind"`
	Path string   `json:"path"`
	// Detail is a word or two: the mode of a set-uid file, the name of the tool.
	Detail string    `json:"detail,omitempty"`
	Layer  *LayerRef `json:"layer,omitempty"`
}

// FactKind is what a FileFact says.
type FactKind string

const (
	FactSetUID         FactKind = "setuid"
	FactSetGID         FactKind = "setgid"
	FactCapability     FactKind = "capability" // file capabilities in an extended attribute
	FactShell          FactKind = "shell"
	FactPackageManager FactKind = "package-manager"
	FactDebugTool      FactKind = "debug-tool"
	FactWorldWritable  FactKind = "world-writable"
)

// Inventory is what extractors found in one artifact, or in one file of it.
type Inventory struct {
	Packages []Package
	Secrets  []Secret
	Facts    []FileFact
	OS       *Distribution
	// Owned says which files belong to packages of a distribution, where that is
	// written apart from the package database. Empty once layers have been merged:
	// Package.Files has it then.
	Owned []Ownership
}

// Ownership is what a list beside a package database says of one package.
type Ownership struct {
	Package string // name in the package database
	Arch    string `json:",omitempty"` // "" where the list does not say
	List    string // path of the list, relative to the root of the artifact
	// Files are relative to the root of the artifact. Not all files are kept: see
	// the extractor for which.
	Files    []string `json:",omitempty"`
	Licenses []string `json:",omitempty"`
}

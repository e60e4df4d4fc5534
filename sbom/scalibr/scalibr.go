// Package scalibr owns the use of github.com/google/osv-scalibr for the formats
// that Bollwerk does not read itself. It is the only importer of that library's
// extractors, and picks them one by one: its own list pulls in everything,
// network clients included.
//
// A foreign extractor sees one file and those kept beside it, in memory. It gets no
// root, so it has no way to the real file system.
package scalibr

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/nesting"
	"github.com/bollwerk/bollwerk/sbom"
	cpb "github.com/google/osv-scalibr/binary/proto/config_go_proto"
	"github.com/google/osv-scalibr/extractor"
	"github.com/google/osv-scalibr/extractor/filesystem"
	"github.com/google/osv-scalibr/extractor/filesystem/language/cpp/conanlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/dart/pubspec"
	"github.com/google/osv-scalibr/extractor/filesystem/language/dotnet/depsjson"
	"github.com/google/osv-scalibr/extractor/filesystem/language/dotnet/packagesconfig"
	"github.com/google/osv-scalibr/extractor/filesystem/language/dotnet/packageslockjson"
	"github.com/google/osv-scalibr/extractor/filesystem/language/elixir/mixlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/haskell/cabal"
	"github.com/google/osv-scalibr/extractor/filesystem/language/haskell/stacklock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/java/gradlelockfile"
	"github.com/google/osv-scalibr/extractor/filesystem/language/java/gradleverificationmetadataxml"
	"github.com/google/osv-scalibr/extractor/filesystem/language/java/pomxml"
	"github.com/google/osv-scalibr/extractor/filesystem/language/julia/manifesttoml"
	"github.com/google/osv-scalibr/extractor/filesystem/language/r/renvlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/swift/packageresolved"
	"github.com/google/osv-scalibr/extractor/filesystem/language/swift/podfilelock"
	"github.com/google/osv-scalibr/log"
)

// maxFile: the parsers build trees of what they read.
const maxFile = 16 << 20

// format is one row: which files, and whose extractor.
type format struct {
	name      string
	ecosystem bollwerk.Ecosystem
	bases     []string
	exts      []string // of the base name, lower case
	suffix    string   // and the path must end so, if set
	build     func(*cpb.PluginConfig) (filesystem.Extractor, error)
	// relate reads what the library leaves out of the same file; nil: there is nothing.
	relate func(data []byte) (relations, error)
}

func formats() []format {
	return []format{
		{"c/conan-lock", bollwerk.EcosystemConan, []string{"conan.lock"}, nil, "", conanlock.New, conanRelations},
		{"dart/pubspec-lock", bollwerk.EcosystemPub, []string{"pubspec.lock"}, nil, "", pubspec.New, pubspecRelations},
		{"dotnet/deps-json", bollwerk.EcosystemNuGet, nil, []string{"json"}, ".deps.json", depsjson.New, depsRelations},
		{"dotnet/packages-config", bollwerk.EcosystemNuGet, []string{"packages.config"}, nil, "", packagesconfig.New, nil},
		{"dotnet/packages-lock", bollwerk.EcosystemNuGet, []string{"packages.lock.json"}, nil, "", packageslockjson.New, nugetLockRelations},
		{"elixir/mix-lock", bollwerk.EcosystemHex, []string{"mix.lock"}, nil, "", mixlock.New, mixRelations},
		{"haskell/cabal-freeze", bollwerk.EcosystemHackage, []string{"cabal.project.freeze"}, nil, "", cabal.New, nil},
		{"haskell/stack-lock", bollwerk.EcosystemHackage, []string{"stack.yaml.lock"}, nil, "", stacklock.New, nil},
		{"java/gradle-lock", bollwerk.EcosystemMaven, []string{"gradle.lockfile", "buildscript-gradle.lockfile"}, nil, "", gradlelockfile.New, nil},
		{"java/gradle-verification", bollwerk.EcosystemMaven, []string{"verification-metadata.xml"}, nil, "gradle/verification-metadata.xml", gradleverificationmetadataxml.New, nil},
		{"java/pom", bollwerk.EcosystemMaven, []string{"pom.xml"}, []string{"pom"}, "", pomxml.New, nil},
		{"julia/manifest", bollwerk.EcosystemJulia, []string{"Manifest.toml"}, nil, "", manifesttoml.New, juliaRelations},
		{"r/renv-lock", bollwerk.EcosystemCRAN, []string{"renv.lock"}, nil, "", renvlock.New, renvRelations},
		{"swift/package-resolved", bollwerk.EcosystemSwift, []string{"Package.resolved"}, nil, "", packageresolved.New, nil},
		{"swift/podfile-lock", bollwerk.EcosystemCocoaPods, []string{"Podfile.lock"}, nil, "", podfilelock.New, podRelations},
	}
}

// Extractors returns one extractor per format.
func Extractors() []sbom.Extractor {
	silence()
	fs := formats()
	out := make([]sbom.Extractor, 0, len(fs))
	for _, f := range fs {
		a := &adapter{format: f}
		a.foreign, a.broken = f.build(&cpb.PluginConfig{MaxFileSizeBytes: maxFile})
		// pom.xml refers to its parent.
		if f.name == "java/pom" {
			out = append(out, gatherer{a})
			continue
		}
		out = append(out, a)
	}
	return out
}

// silence stops the library from writing to standard error: what went wrong with a
// file is returned, and people read one report. The logger is a variable of the
// library, set once.
var silence = sync.OnceFunc(func() { log.SetLogger(quiet{}) })

type quiet struct{}

func (quiet) Errorf(string, ...any) {}
func (quiet) Error(...any)          {}
func (quiet) Warnf(string, ...any)  {}
func (quiet) Warn(...any)           {}
func (quiet) Infof(string, ...any)  {}
func (quiet) Info(...any)           {}
func (quiet) Debugf(string, ...any) {}
func (quiet) Debug(...any)          {}

type adapter struct {
	format
	foreign filesystem.Extractor
	broken  error // why foreign could not be made; said for every file it should read
}

func (a *adapter) Name() string                  { return a.name }
func (a *adapter) Ecosystem() bollwerk.Ecosystem { return a.ecosystem }
func (a *adapter) Hints() sbom.Hints             { return sbom.Hints{Bases: a.bases, Exts: a.exts} }

// Wants repeats the cheap half of the foreign extractor's question; the foreign one
// allocates, and so is asked in Extract.
func (a *adapter) Wants(f *bollwerk.File) bool {
	if a.suffix != "" && !strings.HasSuffix(f.Path, a.suffix) {
		return false
	}
	base := f.Path[strings.LastIndexByte(f.Path, '/')+1:]
	for _, b := range a.bases {
		if base == b {
			return !foreignTree(f.Path)
		}
	}
	if i := strings.LastIndexByte(base, '.'); i >= 0 {
		for _, x := range a.exts {
			if base[i+1:] == x {
				return !foreignTree(f.Path)
			}
		}
	}
	return false
}

// foreignTree: below these folders a manifest says what the author of a dependency
// used, not what is here.
func foreignTree(p string) bool {
	return strings.Contains(p, "node_modules/") || strings.Contains(p, "/vendor/bundle/") ||
		strings.Contains(p, ".m2/repository/") || strings.HasPrefix(p, "usr/share/maven-repo/") ||
		strings.Contains(p, "/.julia/packages/") || strings.HasPrefix(p, "usr/share/doc/")
}

type gatherer struct{ *adapter }

// Keeps implements sbom.Gatherer.
func (g gatherer) Keeps(f *bollwerk.File) bool { return g.Wants(f) }

// Extract runs the foreign extractor over the content in memory.
func (a *adapter) Extract(ctx context.Context, in *sbom.Input) (bollwerk.Inventory, error) {
	var inv bollwerk.Inventory
	if a.broken != nil {
		return inv, a.broken
	}
	data, err := in.Document(maxFile)
	if err != nil {
		return inv, err
	}
	if path.Ext(in.File.Path) == ".toml" {
		if err := nesting.TOML(data); err != nil {
			return inv, fmt.Errorf("%s: %w", a.name, err)
		}
	}
	mem := memory{main: in.File.Path, data: data, siblings: in.Siblings}
	info := fileInfo{path.Base(in.File.Path), int64(len(data))}
	if !a.foreign.FileRequired(required{in.File.Path, info}) {
		return inv, nil
	}
	got, err := a.foreign.Extract(ctx, &filesystem.ScanInput{
		FS: mem, Path: in.File.Path, Info: info, Reader: bytes.NewReader(data),
	})
	for _, p := range got.Packages {
		if q, ok := a.convert(in, p); ok {
			inv.Packages = append(inv.Packages, q)
		}
	}
	if err != nil {
		return inv, fmt.Errorf("%s: %w", a.name, err)
	}
	if n := missed(a.name, data, len(inv.Packages)); n > 0 {
		in.Problem("%d entries were not understood", n)
	}
	if a.relate != nil && len(inv.Packages) > 0 {
		r, err := a.relate(data)
		if err != nil {
			in.Problem("what needs what was not understood: %v", err)
		}
		fold := same
		if a.ecosystem == bollwerk.EcosystemNuGet {
			fold = strings.ToLower // names there differ in case between files
		}
		r.apply(inv.Packages, fold)
	}
	return inv, nil
}

// missed counts the entries of a lock file that its reader passed over in silence:
// the readers of these formats skip what they cannot read. The marks stand once in
// every entry of a package from the ecosystem's own index.
func missed(name string, data []byte, found int) int {
	mark := ""
	switch name {
	case "haskell/cabal-freeze":
		mark = "=="
	case "haskell/stack-lock":
		mark = "hackage:"
	case "r/renv-lock":
		mark = `"Version"`
	default:
		return 0
	}
	entries := bytes.Count(data, []byte(mark))
	if name == "haskell/stack-lock" {
		entries /= 2 // each stands under "completed" and under "original"
	}
	if name == "r/renv-lock" {
		entries-- // the version of R itself
	}
	if entries <= 0 && found == 0 && len(bytes.TrimSpace(data)) > 0 && name != "r/renv-lock" {
		entries = 1
	}
	return max(entries-found, 0)
}

func (a *adapter) convert(in *sbom.Input, p *extractor.Package) (bollwerk.Package, bool) {
	if p == nil || p.Name == "" {
		return bollwerk.Package{}, false
	}
	q := bollwerk.Package{Name: p.Name, Version: p.Version, Ecosystem: a.ecosystem, Licenses: p.Licenses}
	if strings.Contains(q.Version, "${") || strings.Contains(q.Version, "$(") {
		// A property that is set elsewhere (a remote parent, the build): unknown.
		q.Version = ""
	}
	if a.ecosystem == bollwerk.EcosystemMaven || a.ecosystem == bollwerk.EcosystemNuGet {
		q.Version = exact(q.Version)
	}
	if a.ecosystem == bollwerk.EcosystemSwift {
		q.Name = swiftName(q.Name)
	}
	if m, ok := p.Metadata.(*depsjson.Metadata); ok && m.Type == "project" {
		return q, false // the application itself
	}
	if g, ok := p.Metadata.(interface{ DepGroups() []string }); ok {
		q.Dev = onlyDev(g.DepGroups())
	}
	return q, true
}

// exact reads a version requirement: "1.0" is taken as it is, "[1.0]" as 1.0, a
// range is no version.
func exact(v string) string {
	if v == "" || !strings.ContainsAny(v, "[](),*") {
		return v
	}
	if in, ok := strings.CutPrefix(v, "["); ok {
		if in, ok = strings.CutSuffix(in, "]"); ok && !strings.Contains(in, ",") {
			return in
		}
	}
	return ""
}

// swiftName is a repository's address as OSV writes it: no scheme, no ".git".
func swiftName(s string) string {
	if _, rest, ok := strings.Cut(s, "://"); ok {
		s = rest
	}
	if rest, ok := strings.CutPrefix(s, "git@"); ok {
		s = strings.Replace(rest, ":", "/", 1)
	}
	return strings.TrimSuffix(strings.TrimSuffix(s, "/"), ".git")
}

func onlyDev(groups []string) bool {
	if len(groups) == 0 {
		return false
	}
	for _, g := range groups {
		switch g {
		case "dev", "test", "development", "build-requires", "python-requires":
		default:
			return false
		}
	}
	return true
}

// memory is the file system that a foreign extractor sees.
type memory struct {
	main     string
	data     []byte
	siblings fs.FS
}

// Open implements fs.FS.
func (m memory) Open(name string) (fs.File, error) {
	name = path.Clean(strings.TrimPrefix(name, "/"))
	if name == m.main {
		return &file{bytes.NewReader(m.data), fileInfo{path.Base(name), int64(len(m.data))}}, nil
	}
	if m.siblings != nil {
		data, err := fs.ReadFile(m.siblings, name)
		if err != nil {
			return nil, err
		}
		return &file{bytes.NewReader(data), fileInfo{path.Base(name), int64(len(data))}}, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// Stat implements fs.StatFS.
func (m memory) Stat(name string) (fs.FileInfo, error) {
	f, err := m.Open(name)
	if err != nil {
		return nil, err
	}
	return f.Stat()
}

// ReadDir implements fs.ReadDirFS: there is nothing to list.
func (m memory) ReadDir(name string) ([]fs.DirEntry, error) {
	return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
}

type file struct {
	*bytes.Reader
	info fileInfo
}

func (f *file) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *file) Close() error               { return nil }

var _ io.ReaderAt = (*file)(nil)

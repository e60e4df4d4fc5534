// Package ruby owns reading what RubyGems and Bundler write: Gemfile.lock and the
// specifications of installed gems.
package ruby

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom"
)

const maxText = 16 << 20

// GemfileLock reads Gemfile.lock and gems.locked.
type GemfileLock struct{}

func (GemfileLock) Name() string                  { return "ruby/gemfile-lock" }
func (GemfileLock) Ecosystem() bollwerk.Ecosystem { return bollwerk.EcosystemRubyGems }
func (GemfileLock) Hints() sbom.Hints {
	return sbom.Hints{Bases: []string{"Gemfile.lock", "gems.locked"}}
}

// Wants leaves out lock files inside installed gems.
func (GemfileLock) Wants(f *bollwerk.File) bool {
	b := f.Path[strings.LastIndexByte(f.Path, '/')+1:]
	return (b == "Gemfile.lock" || b == "gems.locked") && !(strings.Contains(f.Path, "/gems/") && strings.Contains(f.Path, "lib/ruby/"))
}

// Extract reads the sections GEM, GIT and PATH, and DEPENDENCIES.
func (GemfileLock) Extract(ctx context.Context, in *sbom.Input) (bollwerk.Inventory, error) {
	var inv bollwerk.Inventory
	lr := &io.LimitedReader{R: in.Reader, N: maxText}
	sc := bufio.NewScanner(lr)
	sc.Buffer(nil, 64<<10)
	section := ""
	at := map[string]int{} // name → first index
	direct := map[string]bool{}
	wants := map[int][]string{}
	cur := -1
	for sc.Scan() {
		line := strings.TrimRight(sc.Text(), " \r")
		if line == "" {
			continue
		}
		indent := len(line) - len(strings.TrimLeft(line, " "))
		text := line[indent:]
		switch {
		case indent == 0:
			section, cur = text, -1
		case section == "DEPENDENCIES" && indent == 2:
			n, _, _ := strings.Cut(text, " ")
			direct[strings.TrimSuffix(n, "!")] = true
		case (section == "GEM" || section == "GIT" || section == "PLUGIN SOURCE") && indent == 4:
			n, rest, ok := strings.Cut(text, " (")
			v, closed := strings.CutSuffix(rest, ")")
			if !ok || !closed || n == "" || v == "" {
				continue
			}
			v = release(v)
			cur = len(inv.Packages)
			if i, ok := at[n]; ok && inv.Packages[i].Version == v {
				cur = i // the same gem for another platform
				continue
			}
			at[n] = cur
			inv.Packages = append(inv.Packages, bollwerk.Package{Name: n, Version: v, Ecosystem: bollwerk.EcosystemRubyGems})
		case cur >= 0 && indent == 6:
			n, _, _ := strings.Cut(text, " ")
			wants[cur] = append(wants[cur], n)
		}
	}
	if err := sc.Err(); err != nil {
		return inv, err
	}
	if lr.N <= 0 {
		return inv, sbom.ErrTooLarge
	}
	sbom.LinkByName(inv.Packages, wants, func(n string) string { return n })
	for i := range inv.Packages {
		d := direct[inv.Packages[i].Name]
		inv.Packages[i].Direct = &d
	}
	return inv, ctx.Err()
}

// release takes the platform off: "1.13.0-x86_64-linux". A gem's own version has no
// dash (Gem::Version::VERSION_PATTERN allows one only for prereleases, written
// with a dot by RubyGems itself).
func release(v string) string {
	v, _, _ = strings.Cut(v, "-")
	return v
}

// Gemspec reads the specification of an installed gem.
type Gemspec struct{}

func (Gemspec) Name() string                  { return "ruby/gemspec" }
func (Gemspec) Ecosystem() bollwerk.Ecosystem { return bollwerk.EcosystemRubyGems }
func (Gemspec) Hints() sbom.Hints             { return sbom.Hints{Exts: []string{"gemspec"}} }

// Wants takes specifications of installed gems only: elsewhere a .gemspec is Ruby
// source that would have to be run.
func (Gemspec) Wants(f *bollwerk.File) bool {
	return strings.HasSuffix(f.Path, ".gemspec") && strings.Contains(f.Path, "specifications/")
}

// Extract reads the "# stub: name version platform" line that RubyGems writes so
// that nobody has to run the file, else the plain assignments.
func (Gemspec) Extract(ctx context.Context, in *sbom.Input) (bollwerk.Inventory, error) {
	p := bollwerk.Package{Ecosystem: bollwerk.EcosystemRubyGems}
	sc := bufio.NewScanner(io.LimitReader(in.Reader, 1<<20))
	sc.Buffer(nil, 256<<10)
	for sc.Scan() {
		line := strings.TrimSpace(sc.Text())
		if stub, ok := strings.CutPrefix(line, "# stub: "); ok {
			if f := strings.Fields(stub); len(f) >= 2 && p.Name == "" {
				p.Name, p.Version = f[0], f[1]
			}
			continue
		}
		_, rest, ok := strings.Cut(line, ".")
		if !ok || !strings.HasPrefix(line, "s.") && !strings.HasPrefix(line, "spec.") && !strings.HasPrefix(line, "gem.") {
			continue
		}
		k, v, ok := strings.Cut(rest, "=")
		if !ok {
			continue
		}
		switch strings.TrimSpace(k) {
		case "name":
			if p.Name == "" {
				p.Name = quoted(v)
			}
		case "version":
			if p.Version == "" {
				p.Version = quoted(v)
			}
		case "licenses", "license":
			for {
				l := quoted(v)
				if l == "" || len(p.Licenses) >= 16 {
					break
				}
				p.Licenses = append(p.Licenses, l)
				v = v[strings.Index(v, l)+len(l)+1:]
			}
		}
	}
	if err := sc.Err(); err != nil && !errors.Is(err, bufio.ErrTooLong) {
		return bollwerk.Inventory{}, err
	}
	if p.Name == "" || p.Version == "" {
		in.Problem("name or version are computed, not written")
		return bollwerk.Inventory{}, nil
	}
	return bollwerk.Inventory{Packages: []bollwerk.Package{p}}, nil
}

// quoted returns the first string literal of a line, or "".
func quoted(s string) string {
	i := strings.IndexAny(s, `"'`)
	if i < 0 {
		return ""
	}
	j := strings.IndexByte(s[i+1:], s[i])
	if j < 0 {
		return ""
	}
	v := s[i+1 : i+1+j]
	if strings.ContainsAny(v, "#\\") {
		return ""
	}
	return v
}

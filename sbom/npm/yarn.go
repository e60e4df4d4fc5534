package npm

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom"
)

// Yarn reads yarn.lock of Yarn 1 ("classic") and of later versions ("Berry"). Both
// are blocks of indented lines; the latter is YAML, but of a form so narrow that
// the same reader serves both, without YAML's aliases and tags.
type Yarn struct{}

func (Yarn) Name() string                  { return "npm/yarn" }
func (Yarn) Ecosystem() bollwerk.Ecosystem { return bollwerk.EcosystemNPM }
func (Yarn) Hints() sbom.Hints             { return sbom.Hints{Bases: []string{"yarn.lock"}} }
func (Yarn) Wants(f *bollwerk.File) bool {
	return isBase(f.Path, "yarn.lock") && !installedBelow(f.Path)
}

type yarnBlock struct {
	specs      []string // what asks for it: foo@^1.0.0
	version    string
	resolution string // Berry: foo@npm:1.0.0
	integrity  string
	deps       map[string]string
}

// Extract reads all blocks, then resolves the edges.
func (Yarn) Extract(ctx context.Context, in *sbom.Input) (bollwerk.Inventory, error) {
	var inv bollwerk.Inventory
	blocks, err := yarnBlocks(in.Reader)
	if err != nil {
		return inv, err
	}
	type ref struct{ name, version string }
	bySpec := map[string]ref{}
	direct := map[string]bool{}
	anyWorkspace := false
	for i := range blocks {
		b := &blocks[i]
		r := ref{b.name(), b.version}
		for _, s := range b.specs {
			bySpec[s] = r
		}
		if b.workspace() {
			anyWorkspace = true
			for n, v := range b.deps {
				direct[n+"@"+v] = true
			}
		}
	}
	// Yarn 1 keeps nothing of the project itself, but every spec stands there because
	// somebody asks for it: what no package asks for, the project does. A spec that a
	// package asks for may be the project's too; that stays unknown.
	needed := map[string]bool{}
	if !anyWorkspace {
		for i := range blocks {
			for n, v := range blocks[i].deps {
				needed[n+"@"+v] = true
			}
		}
	}
	lookup := func(name, want string) (ref, bool) {
		for _, s := range []string{name + "@" + want, name + "@npm:" + want} {
			if r, ok := bySpec[s]; ok {
				return r, true
			}
		}
		return ref{}, false
	}
	for i := range blocks {
		b := &blocks[i]
		name := b.name()
		if name == "" || b.version == "" || b.workspace() {
			continue
		}
		p := bollwerk.Package{Name: name, Version: b.version, Ecosystem: bollwerk.EcosystemNPM, Hashes: integrity(b.integrity)}
		for n, v := range b.deps {
			if r, ok := lookup(n, v); ok {
				p.DependsOn = append(p.DependsOn, sbom.Edge(r.name, r.version))
			}
		}
		sortEdges(p.DependsOn)
		switch {
		case anyWorkspace:
			d := false
			for _, s := range b.specs {
				d = d || direct[s]
			}
			p.Direct = &d
		case b.asked(needed):
			d := true
			p.Direct = &d
		}
		inv.Packages = append(inv.Packages, p)
	}
	return inv, ctx.Err()
}

func (b *yarnBlock) workspace() bool {
	return strings.Contains(b.resolution, "@workspace:") || strings.Contains(b.resolution, "@link:") || strings.Contains(b.resolution, "@portal:")
}

// asked tells whether one of the specs is in nobody's list of needs.
func (b *yarnBlock) asked(needed map[string]bool) bool {
	for _, s := range b.specs {
		if !needed[s] {
			return true
		}
	}
	return false
}

// name is that of the package that is installed, which an alias ("a@npm:b@1") hides.
func (b *yarnBlock) name() string {
	s := b.resolution
	if s == "" && len(b.specs) > 0 {
		s = b.specs[0]
		n, v := splitSpec(s)
		if alias, ok := strings.CutPrefix(v, "npm:"); ok {
			if an, av := splitSpec(alias); av != "" {
				return an
			}
		}
		return n
	}
	n, _ := splitSpec(s)
	return n
}

// splitSpec cuts "@scope/name@range" at the at sign that is not the first byte.
func splitSpec(s string) (name, want string) {
	if s == "" {
		return "", ""
	}
	i := strings.IndexByte(s[1:], '@')
	if i < 0 {
		return s, ""
	}
	return s[:i+1], s[i+2:]
}

func yarnBlocks(r io.Reader) ([]yarnBlock, error) {
	const maxBlocks = 500_000
	lr := &io.LimitedReader{R: r, N: maxLock}
	sc := bufio.NewScanner(lr)
	sc.Buffer(make([]byte, 0, 16<<10), 1<<20)
	var out []yarnBlock
	var cur *yarnBlock
	section := ""
	for sc.Scan() {
		line := bytes.TrimRight(sc.Bytes(), " \r")
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		indent := 0
		for indent < len(line) && line[indent] == ' ' {
			indent++
		}
		text := string(line[indent:])
		switch {
		case indent == 0:
			section, cur = "", nil
			head, ok := strings.CutSuffix(text, ":")
			if !ok || head == "__metadata" {
				continue
			}
			if len(out) >= maxBlocks {
				return out, errors.New("more packages than any real lock file has")
			}
			b := yarnBlock{}
			for _, s := range strings.Split(unquote(head), ", ") {
				b.specs = append(b.specs, unquote(s))
			}
			out = append(out, b)
			cur = &out[len(out)-1]
		case cur == nil:
		case indent == 2:
			k, v := keyValue(text)
			section = ""
			switch k {
			case "version":
				cur.version = v
			case "resolution":
				cur.resolution = v
			case "integrity":
				cur.integrity = v
			case "dependencies", "optionalDependencies":
				if v == "" {
					section = k
				}
			}
		case indent == 4 && section != "":
			k, v := keyValue(text)
			if k != "" {
				if cur.deps == nil {
					cur.deps = map[string]string{}
				}
				cur.deps[k] = v
			}
		}
	}
	if err := sc.Err(); err != nil {
		return out, err
	}
	if lr.N <= 0 {
		return out, sbom.ErrTooLarge
	}
	return out, nil
}

// keyValue reads `key "value"` (classic) and `key: value` (Berry); either part may
// be quoted.
func keyValue(s string) (key, value string) {
	if s[0] == '"' {
		if i := strings.IndexByte(s[1:], '"'); i >= 0 {
			key, value = s[1:i+1], s[i+2:]
			return key, unquote(strings.TrimSpace(strings.TrimPrefix(value, ":")))
		}
	}
	i := strings.IndexAny(s, ": ")
	if i < 0 {
		return s, ""
	}
	return s[:i], unquote(strings.TrimSpace(strings.TrimPrefix(s[i:], ":")))
}

func unquote(s string) string {
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] && !strings.Contains(s[1:len(s)-1], s[:1]) {
		return s[1 : len(s)-1]
	}
	return s
}

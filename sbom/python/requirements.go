package python

import (
	"context"
	"io/fs"
	"path"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/purl"
	"github.com/bollwerk/bollwerk/sbom"
)

const (
	maxRequirements = 4 << 20
	maxIncludes     = 64
)

// Requirements reads pip's requirements files, and those they include with -r.
//
// A requirement without an exact version is listed with an empty version: which
// one gets installed is decided elsewhere, so it cannot be judged, and must not be
// forgotten. https://pip.pypa.io/en/stable/reference/requirements-file-format/.
type Requirements struct{}

func (Requirements) Name() string                  { return "python/requirements" }
func (Requirements) Ecosystem() bollwerk.Ecosystem { return bollwerk.EcosystemPyPI }
func (Requirements) Hints() sbom.Hints             { return sbom.Hints{Exts: []string{"txt"}} }

func (Requirements) Wants(f *bollwerk.File) bool {
	p := f.Path
	if !strings.HasSuffix(p, ".txt") {
		return false
	}
	i := strings.LastIndexByte(p, '/')
	base := p[i+1:]
	if !strings.HasPrefix(base, "requirements") && !strings.HasSuffix(base, "requirements.txt") &&
		!strings.HasSuffix(p[:max(i, 0)], "requirements") {
		return false
	}
	// Documentation and sources that installed packages carry along.
	return !installedBelow(p) && !strings.HasPrefix(p, "usr/share/") && !strings.HasPrefix(p, "usr/lib/") &&
		!strings.Contains(p, "node_modules/")
}

// Keeps implements sbom.Gatherer: any text file may be included, but only those
// near requirements files are held.
func (r Requirements) Keeps(f *bollwerk.File) bool {
	if r.Wants(f) {
		return true
	}
	b := f.Path[strings.LastIndexByte(f.Path, '/')+1:]
	return f.Size < 64<<10 && strings.HasSuffix(b, ".txt") && (strings.HasPrefix(b, "constraints") || strings.HasPrefix(b, "base") || strings.HasPrefix(b, "dev") || strings.HasPrefix(b, "prod") || strings.HasPrefix(b, "test")) &&
		!installedBelow(f.Path) && !strings.HasPrefix(f.Path, "usr/")
}

// Extract reads one file and what it includes.
func (Requirements) Extract(ctx context.Context, in *sbom.Input) (bollwerk.Inventory, error) {
	data, err := in.Bytes(maxRequirements)
	if err != nil {
		return bollwerk.Inventory{}, err
	}
	r := reqReader{in: in, seen: map[string]bool{in.File.Path: true}, constraints: map[string]string{}}
	r.read(in.File.Path, string(data), false)
	for i := range r.out {
		if p := &r.out[i]; p.Version == "" {
			p.Version = r.constraints[p.Name]
		}
	}
	return bollwerk.Inventory{Packages: r.out}, ctx.Err()
}

type reqReader struct {
	in          *sbom.Input
	seen        map[string]bool
	constraints map[string]string
	out         []bollwerk.Package
}

func (r *reqReader) read(file, text string, constraint bool) {
	text = strings.ReplaceAll(text, "\\\r\n", " ")
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		if i := strings.Index(line, " #"); i >= 0 {
			line = strings.TrimSpace(line[:i])
		}
		if line == "" || line[0] == '#' {
			continue
		}
		if line[0] == '-' {
			r.option(file, line, constraint)
			continue
		}
		p, ok := requirement(line)
		if !ok {
			if !constraint && (strings.Contains(line, "://") || strings.HasPrefix(line, ".") || strings.HasPrefix(line, "/")) {
				r.in.Problem("%.80s: an address or path, not a name and version", redact(line))
			}
			continue
		}
		if constraint {
			if p.Version != "" {
				r.constraints[p.Name] = p.Version
			}
			continue
		}
		yes := true
		if strings.Contains(strings.ToLower(path.Base(file)), "dev") || strings.Contains(strings.ToLower(path.Base(file)), "test") {
			p.Dev = true
		}
		p.Direct = &yes
		if file != r.in.File.Path {
			p.Paths = []string{r.in.File.Path, file}
		}
		r.out = append(r.out, p)
	}
}

// redact cuts user and password out of an address.
func redact(s string) string {
	if i := strings.Index(s, "://"); i >= 0 {
		if at := strings.IndexByte(s[i:], '@'); at >= 0 && !strings.Contains(s[i+3:i+at], "/") {
			return s[:i+3] + "…" + s[i+at:]
		}
	}
	return s
}

func (r *reqReader) option(file, line string, constraint bool) {
	var target string
	for _, o := range []string{"-r", "--requirement", "-c", "--constraint"} {
		if rest, ok := strings.CutPrefix(line, o); ok && rest != "" && (rest[0] == ' ' || rest[0] == '=' || len(o) == 2) {
			target = strings.Trim(rest, " =\t")
			constraint = constraint || o == "-c" || o == "--constraint"
			break
		}
	}
	if target == "" {
		return
	}
	if strings.Contains(target, "://") {
		r.in.Problem("includes %.80s, which is not part of the artifact", redact(target))
		return
	}
	p := path.Join(path.Dir(file), target)
	if path.IsAbs(target) {
		p = strings.TrimPrefix(path.Clean(target), "/")
	}
	if r.seen[p] {
		return
	}
	if len(r.seen) > maxIncludes {
		r.in.Problem("includes more than %d files", maxIncludes)
		return
	}
	r.seen[p] = true
	if r.in.Siblings == nil {
		r.in.Problem("includes %s, which was not kept", p)
		return
	}
	data, err := fs.ReadFile(r.in.Siblings, p)
	if err != nil {
		r.in.Problem("includes %s, which was not found", p)
		return
	}
	r.read(p, string(data), constraint)
}

// requirement parses "name[extra]==1.0 ; marker --hash=sha256:…".
func requirement(line string) (bollwerk.Package, bool) {
	p := bollwerk.Package{Ecosystem: bollwerk.EcosystemPyPI}
	for f := range strings.FieldsSeq(line) {
		if h, ok := strings.CutPrefix(f, "--hash="); ok {
			p.Hashes = append(p.Hashes, digests([]string{h})...)
		}
	}
	if len(p.Hashes) > maxHashes {
		p.Hashes = p.Hashes[:maxHashes]
	}
	if i := strings.Index(line, " --"); i >= 0 {
		line = line[:i]
	}
	line, _, _ = strings.Cut(line, ";")
	line = strings.TrimSpace(line)
	n := 0
	for n < len(line) && (isWord(line[n]) || n > 0 && (line[n] == '.' || line[n] == '-')) {
		n++
	}
	if n == 0 {
		return p, false
	}
	p.Name = purl.PyPIName(line[:n])
	rest := strings.TrimSpace(line[n:])
	if strings.HasPrefix(rest, "[") {
		_, after, ok := strings.Cut(rest, "]")
		if !ok {
			return p, false
		}
		rest = strings.TrimSpace(after)
	}
	if rest == "" {
		return p, true
	}
	if !strings.ContainsRune("=<>!~(@", rune(rest[0])) {
		return p, false
	}
	if rest[0] == '@' {
		return p, true // "name @ https://…": a name, no version
	}
	rest = strings.Trim(rest, "()")
	for part := range strings.SplitSeq(rest, ",") {
		part = strings.TrimSpace(part)
		if v, ok := strings.CutPrefix(part, "=="); ok {
			v = strings.TrimSpace(strings.TrimPrefix(v, "="))
			if !strings.Contains(v, "*") {
				p.Version = v
			}
		}
	}
	return p, true
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

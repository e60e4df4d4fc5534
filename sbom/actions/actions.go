// Package actions owns reading which GitHub Actions a workflow or a composite
// action uses.
package actions

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom"
)

// maxWorkflow: GitHub itself takes 512 KB.
const maxWorkflow = 1 << 20

// Extractor reads .github/workflows/*.yml and action.yml. It looks at lines, not
// at the YAML tree: "uses:" has one meaning wherever it stands, and the version
// behind a commit is in a comment, which a YAML parser drops.
type Extractor struct{}

func (Extractor) Name() string                  { return "github/actions" }
func (Extractor) Ecosystem() bollwerk.Ecosystem { return bollwerk.EcosystemGitHubActions }
func (Extractor) Hints() sbom.Hints {
	return sbom.Hints{Bases: []string{"action.yml", "action.yaml"}, Dirs: []string{"workflows"}}
}

func (Extractor) Wants(f *bollwerk.File) bool {
	p := f.Path
	if !strings.HasSuffix(p, ".yml") && !strings.HasSuffix(p, ".yaml") || strings.Contains(p, "node_modules/") {
		return false
	}
	i := strings.LastIndexByte(p, '/')
	b := p[i+1:]
	if b == "action.yml" || b == "action.yaml" {
		return true
	}
	return i > 0 && strings.HasSuffix(p[:i], ".github/workflows")
}

// Extract lists each action once per version.
func (Extractor) Extract(ctx context.Context, in *sbom.Input) (bollwerk.Inventory, error) {
	var inv bollwerk.Inventory
	if in.File.Size > maxWorkflow {
		return inv, sbom.ErrTooLarge
	}
	sc := bufio.NewScanner(io.LimitReader(in.Reader, maxWorkflow))
	sc.Buffer(nil, 256<<10)
	seen := map[string]bool{}
	for sc.Scan() {
		line := strings.TrimSpace(sc.Text())
		line = strings.TrimSpace(strings.TrimPrefix(line, "-"))
		rest, ok := strings.CutPrefix(line, "uses:")
		if !ok {
			continue
		}
		rest, comment, _ := strings.Cut(rest, " #")
		name, version, ok := reference(strings.Trim(strings.TrimSpace(rest), `"'`), comment)
		if !ok || seen[name+"@"+version] {
			continue
		}
		seen[name+"@"+version] = true
		yes := true
		inv.Packages = append(inv.Packages, bollwerk.Package{
			Name: name, Version: version, Ecosystem: bollwerk.EcosystemGitHubActions, Direct: &yes,
		})
	}
	if err := sc.Err(); err != nil && !errors.Is(err, bufio.ErrTooLong) {
		return inv, err
	}
	return inv, ctx.Err()
}

// reference reads "owner/repository/path@ref". The name is owner/repository, which
// is what advisories speak of. For a commit the version is taken from the comment
// behind it ("# v4.1.1"), as update bots write it.
func reference(s, comment string) (name, version string, ok bool) {
	if strings.HasPrefix(s, "./") || strings.HasPrefix(s, "docker://") {
		return "", "", false
	}
	path, ref, ok := strings.Cut(s, "@")
	if !ok || ref == "" || strings.Contains(s, "${{") {
		return "", "", false
	}
	parts := strings.SplitN(path, "/", 3)
	if len(parts) < 2 || parts[0] == "" || parts[1] == "" {
		return "", "", false
	}
	if commit(ref) {
		for w := range strings.FieldsSeq(comment) {
			w = strings.TrimPrefix(w, "tag=")
			if v := strings.TrimPrefix(w, "v"); v != "" && v[0] >= '0' && v[0] <= '9' {
				ref = w
				break
			}
		}
	}
	return parts[0] + "/" + parts[1], ref, true
}

func commit(s string) bool {
	if len(s) != 40 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			return false
		}
	}
	return true
}

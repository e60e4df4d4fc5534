// Package opam owns reading which OCaml packages an opam switch has installed.
package opam

import (
	"bufio"
	"context"
	"io"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom"
)

const maxState = 16 << 20

// Extractor reads .opam-switch/switch-state, the list that opam 2 keeps
// (https://opam.ocaml.org/doc/Manual.html, "switch state").
type Extractor struct{}

func (Extractor) Name() string                  { return "ocaml/opam" }
func (Extractor) Ecosystem() bollwerk.Ecosystem { return bollwerk.EcosystemOpam }
func (Extractor) Hints() sbom.Hints             { return sbom.Hints{Bases: []string{"switch-state"}} }
func (Extractor) Wants(f *bollwerk.File) bool {
	return strings.HasSuffix(f.Path, ".opam-switch/switch-state")
}

// Extract reads the strings of the fields "installed" (all) and "roots" (asked for).
func (Extractor) Extract(ctx context.Context, in *sbom.Input) (bollwerk.Inventory, error) {
	var inv bollwerk.Inventory
	if in.File.Size > maxState {
		return inv, sbom.ErrTooLarge
	}
	field := ""
	roots := map[string]bool{}
	sc := bufio.NewScanner(io.LimitReader(in.Reader, maxState))
	sc.Buffer(nil, 4<<20)
	for sc.Scan() {
		line := sc.Text()
		if i := strings.IndexByte(line, ':'); i > 0 && line[0] != ' ' && line[0] != '\t' && !strings.Contains(line[:i], `"`) {
			field, line = strings.TrimSpace(line[:i]), line[i+1:]
		}
		if field != "installed" && field != "roots" {
			continue
		}
		for i, s := range strings.Split(line, `"`) {
			if i%2 == 0 {
				continue
			}
			name, version, ok := strings.Cut(s, ".")
			if !ok || name == "" || version == "" {
				in.Problem("%.60q is no package and version", s)
				continue
			}
			if field == "roots" {
				roots[s] = true
				continue
			}
			inv.Packages = append(inv.Packages, bollwerk.Package{Name: name, Version: version, Ecosystem: bollwerk.EcosystemOpam})
		}
	}
	if err := sc.Err(); err != nil {
		return inv, err
	}
	for i := range inv.Packages {
		d := roots[inv.Packages[i].Name+"."+inv.Packages[i].Version]
		inv.Packages[i].Direct = &d
	}
	return inv, ctx.Err()
}

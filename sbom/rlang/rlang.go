// Package rlang owns reading which R packages are installed in a library folder.
package rlang

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom"
)

// maxDescription: the largest on CRAN have some 20 KB.
const maxDescription = 1 << 20

// Installed reads LIBRARY/NAME/DESCRIPTION. Only an installed package has the field
// "Built"; the source of one does not. "Writing R Extensions", 1.1.1.
type Installed struct{}

func (Installed) Name() string                  { return "r/installed" }
func (Installed) Ecosystem() bollwerk.Ecosystem { return bollwerk.EcosystemCRAN }
func (Installed) Hints() sbom.Hints             { return sbom.Hints{Bases: []string{"DESCRIPTION"}} }

// Wants takes site-library/NAME/DESCRIPTION and library/NAME/DESCRIPTION.
func (Installed) Wants(f *bollwerk.File) bool {
	d, ok := strings.CutSuffix(f.Path, "/DESCRIPTION")
	if !ok {
		return false
	}
	i := strings.LastIndexByte(d, '/')
	if i < 0 {
		return false
	}
	return strings.HasSuffix(d[:i], "library")
}

// Extract reads the fields of a Debian control file. What comes with R itself
// (Priority: base) has R's version and is no package of CRAN.
func (Installed) Extract(_ context.Context, in *sbom.Input) (bollwerk.Inventory, error) {
	p := bollwerk.Package{Ecosystem: bollwerk.EcosystemCRAN}
	built, base := false, false
	sc := bufio.NewScanner(io.LimitReader(in.Reader, maxDescription))
	for sc.Scan() {
		k, v, ok := strings.Cut(sc.Text(), ":")
		if !ok || k == "" || k[0] == ' ' || k[0] == '\t' {
			continue
		}
		v = strings.TrimSpace(v)
		switch k {
		case "Package":
			p.Name = v
		case "Version":
			p.Version = v
		case "License":
			if v != "" && len(v) < 100 {
				p.Licenses = []string{v}
			}
		case "Built":
			built = true
		case "Priority":
			base = v == "base"
		}
	}
	if err := sc.Err(); err != nil && !errors.Is(err, bufio.ErrTooLong) {
		return bollwerk.Inventory{}, err
	} else if err != nil {
		in.Problem("a line is longer than 64 KB, read up to there")
	}
	if !built || base {
		return bollwerk.Inventory{}, nil
	}
	if p.Name == "" || p.Version == "" {
		in.Problem("no Package or no Version in it")
		return bollwerk.Inventory{}, nil
	}
	return bollwerk.Inventory{Packages: []bollwerk.Package{p}}, nil
}

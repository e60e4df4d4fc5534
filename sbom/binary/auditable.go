package binary

import (
	"compress/zlib"
	"context"
	"debug/elf"
	"debug/macho"
	"debug/pe"
	"encoding/json"
	"fmt"
	"io"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom"
)

const (
	auditSection    = ".dep-v0"
	maxAuditPacked  = 8 << 20
	maxAuditContent = 64 << 20
)

// auditable reads the dependency list that cargo-auditable links into a program:
// zlib-compressed JSON in the section .dep-v0 (on Apple systems __DATA,.dep-v0).
// No section is no error.
func auditable(ctx context.Context, in *sbom.Input, ra io.ReaderAt) ([]bollwerk.Package, error) {
	var magic [4]byte
	if _, err := ra.ReadAt(magic[:], 0); err != nil {
		return nil, nil
	}
	var sec io.ReadSeeker
	var size uint64
	switch kind(magic[:]) {
	case elfFile:
		f, err := elf.NewFile(ra)
		if err != nil {
			return nil, nil
		}
		if s := f.Section(auditSection); s != nil {
			sec, size = s.Open(), s.FileSize
		}
	case peFile:
		f, err := pe.NewFile(ra)
		if err != nil {
			return nil, nil
		}
		if s := f.Section(auditSection); s != nil {
			sec, size = s.Open(), uint64(s.Size)
		}
	case machFile:
		f, err := macho.NewFile(ra)
		if err != nil {
			return nil, nil
		}
		if s := f.Section(auditSection); s != nil {
			sec, size = s.Open(), s.Size
		}
	}
	if sec == nil {
		return nil, nil
	}
	if size > maxAuditPacked {
		return nil, fmt.Errorf("%d bytes, limit %d", size, maxAuditPacked)
	}
	z, err := zlib.NewReader(sec)
	if err != nil {
		return nil, err
	}
	lr := &io.LimitedReader{R: z, N: maxAuditContent}
	var list struct {
		Packages []struct {
			Name, Version, Source, Kind string
			Dependencies                []int
			Root                        bool
		}
	}
	if err := json.NewDecoder(lr).Decode(&list); err != nil {
		if lr.N <= 0 {
			return nil, fmt.Errorf("unpacks to more than %d bytes", maxAuditContent)
		}
		return nil, err
	}
	var out []bollwerk.Package
	for i, p := range list.Packages {
		if p.Name == "" || p.Version == "" {
			continue
		}
		pkg := bollwerk.Package{
			Name: p.Name, Version: p.Version, Ecosystem: bollwerk.EcosystemCrates,
			// "build": run when the program was made (build scripts, macros).
			Dev: p.Kind == "build",
		}
		for _, d := range p.Dependencies {
			if d >= 0 && d < len(list.Packages) && d != i {
				pkg.DependsOn = append(pkg.DependsOn, sbom.Edge(list.Packages[d].Name, list.Packages[d].Version))
			}
		}
		out = append(out, pkg)
		if i%1024 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	for _, p := range list.Packages {
		if !p.Root {
			continue
		}
		direct := map[string]bool{}
		for _, d := range p.Dependencies {
			if d >= 0 && d < len(list.Packages) {
				direct[list.Packages[d].Name+" "+list.Packages[d].Version] = true
			}
		}
		for i := range out {
			yes := direct[out[i].Name+" "+out[i].Version]
			out[i].Direct = &yes
		}
	}
	return out, nil
}

package python

import (
	"bufio"
	"context"
	"io"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/purl"
	"github.com/bollwerk/bollwerk/sbom"
)

// maxHeader bounds the header block of a METADATA file; the description behind it
// may be long and is not read.
const maxHeader = 1 << 20

// Installed reads METADATA of installed wheels and PKG-INFO of installed eggs.
//
// Format: https://packaging.python.org/en/latest/specifications/core-metadata/.
type Installed struct{}

func (Installed) Name() string                  { return "python/installed" }
func (Installed) Ecosystem() bollwerk.Ecosystem { return bollwerk.EcosystemPyPI }
func (Installed) Hints() sbom.Hints {
	return sbom.Hints{Bases: []string{"METADATA", "PKG-INFO"}, Exts: []string{"egg-info"}}
}

func (Installed) Wants(f *bollwerk.File) bool {
	p := f.Path
	switch {
	case strings.HasSuffix(p, ".dist-info/METADATA"),
		strings.HasSuffix(p, ".egg-info/PKG-INFO"),
		strings.HasSuffix(p, "EGG-INFO/PKG-INFO"),
		strings.HasSuffix(p, ".egg-info"):
		return true
	}
	return false
}

// Extract reads the header.
func (Installed) Extract(ctx context.Context, in *sbom.Input) (bollwerk.Inventory, error) {
	p, err := metadata(in.Reader)
	if err != nil {
		return bollwerk.Inventory{}, err
	}
	if p.Name == "" || p.Version == "" {
		if !strings.HasSuffix(in.File.Path, ".egg-info") {
			in.Problem("no Name or no Version in it")
		}
		return bollwerk.Inventory{}, nil
	}
	return bollwerk.Inventory{Packages: []bollwerk.Package{p}}, nil
}

func metadata(r io.Reader) (bollwerk.Package, error) {
	p := bollwerk.Package{Ecosystem: bollwerk.EcosystemPyPI}
	br := bufio.NewReaderSize(io.LimitReader(r, maxHeader), 4096)
	expr, free := "", ""
	var classified []string
	skip := false
	for {
		line, err := br.ReadSlice('\n')
		long := err == bufio.ErrBufferFull
		if !skip {
			s := strings.TrimRight(string(line), "\r\n")
			if s == "" && !long {
				break
			}
			if k, v, ok := strings.Cut(s, ":"); ok && s[0] != ' ' && s[0] != '\t' {
				v = strings.TrimSpace(v)
				switch strings.ToLower(k) {
				case "name":
					p.Name = purl.PyPIName(v)
				case "version":
					p.Version = v
				case "license-expression":
					expr = v
				case "license":
					if v != "UNKNOWN" && len(v) < 100 {
						free = v
					}
				case "classifier":
					if l, ok := strings.CutPrefix(v, "License :: "); ok && len(classified) < 16 {
						classified = append(classified, l[strings.LastIndex(l, ":: ")+1:])
					}
				}
			}
		}
		skip = long
		if err == io.EOF {
			break
		}
		if err != nil && !long {
			return p, err
		}
	}
	switch {
	case expr != "":
		p.Licenses = []string{expr}
	case free != "":
		p.Licenses = []string{free}
	default:
		for _, c := range classified {
			if c = strings.TrimSpace(strings.TrimPrefix(c, ": ")); c != "" && c != "OSI Approved" {
				p.Licenses = append(p.Licenses, c)
			}
		}
	}
	return p, nil
}

package deb

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"sort"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom"
)

// Lists reads which files belong to a package: info/*.list, and the *.md5sums of
// distroless images.
type Lists struct{}

func (Lists) Name() string                  { return "deb/lists" }
func (Lists) Ecosystem() bollwerk.Ecosystem { return sbom.FormatDeb }
func (Lists) Hints() sbom.Hints {
	return sbom.Hints{Exts: []string{"list"}, Dirs: []string{"status.d"}}
}

func (Lists) Wants(f *bollwerk.File) bool {
	if strings.HasSuffix(f.Path, ".list") {
		return inDir(f.Path, infoDir)
	}
	return strings.HasSuffix(f.Path, ".md5sums") && inDir(f.Path, statusDir)
}

// Extract keeps the files for which sbom.Telling holds.
func (Lists) Extract(ctx context.Context, in *sbom.Input) (bollwerk.Inventory, error) {
	base := in.File.Path[strings.LastIndexByte(in.File.Path, '/')+1:]
	name, isList := strings.CutSuffix(base, ".list")
	if !isList {
		name = strings.TrimSuffix(base, ".md5sums")
	}
	name, arch, _ := strings.Cut(name, ":")
	o := bollwerk.Ownership{Package: name, Arch: arch, List: in.File.Path}
	br := bufio.NewReaderSize(in.Reader, 16<<10)
	for {
		line, err := br.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			in.Problem("a line is longer than any path")
			return bollwerk.Inventory{}, nil
		}
		line = bytes.TrimRight(line, "\r\n")
		if !isList { // "<md5>  usr/bin/x"
			if i := bytes.IndexByte(line, ' '); i >= 0 {
				line = bytes.TrimLeft(line[i:], " ")
			} else {
				line = nil
			}
		}
		line = bytes.TrimPrefix(line, []byte("./"))
		if len(line) > 1 && line[0] == '/' {
			line = line[1:]
		}
		if len(line) > 0 && sbom.Telling(line) {
			o.Files = append(o.Files, string(line))
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return bollwerk.Inventory{}, err
		}
	}
	if len(o.Files) == 0 {
		return bollwerk.Inventory{}, nil
	}
	return bollwerk.Inventory{Owned: []bollwerk.Ownership{o}}, nil
}

// Copyrights reads the licences that a machine-readable copyright file names.
type Copyrights struct{}

func (Copyrights) Name() string                  { return "deb/copyright" }
func (Copyrights) Ecosystem() bollwerk.Ecosystem { return sbom.FormatDeb }
func (Copyrights) Hints() sbom.Hints             { return sbom.Hints{Bases: []string{"copyright"}} }

func (Copyrights) Wants(f *bollwerk.File) bool {
	rest, ok := strings.CutPrefix(f.Path, docDir)
	if !ok || f.Size > 4<<20 {
		return false
	}
	i := strings.IndexByte(rest, '/')
	return i > 0 && rest[i+1:] == "copyright"
}

// Extract looks at "License:" lines of files that declare the format; free text
// would need guessing.
func (Copyrights) Extract(ctx context.Context, in *sbom.Input) (bollwerk.Inventory, error) {
	br := bufio.NewReaderSize(in.Reader, 8<<10)
	head, err := br.Peek(7)
	if err != nil && err != io.EOF {
		return bollwerk.Inventory{}, err
	}
	if !bytes.EqualFold(head, []byte("Format:")) && !bytes.EqualFold(head, []byte("Format-")) {
		return bollwerk.Inventory{}, nil
	}
	seen := map[string]bool{}
	for {
		line, err := br.ReadSlice('\n')
		if len(line) > 8 && line[0] == 'L' && string(line[:8]) == "License:" && len(line) < 512 {
			word := bytes.TrimSpace(line[8:])
			if len(word) > 0 && len(seen) < 64 && !seen[string(word)] {
				seen[string(word)] = true
			}
		}
		if err == bufio.ErrBufferFull {
			continue
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return bollwerk.Inventory{}, err
		}
	}
	if len(seen) == 0 {
		return bollwerk.Inventory{}, nil
	}
	var lic []string
	for l := range seen {
		lic = append(lic, l)
	}
	sort.Strings(lic)
	name := strings.TrimPrefix(in.File.Path, docDir)
	name = name[:strings.IndexByte(name, '/')]
	return bollwerk.Inventory{Owned: []bollwerk.Ownership{{Package: name, List: in.File.Path, Licenses: lic}}}, nil
}

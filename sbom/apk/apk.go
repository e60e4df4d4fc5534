// Package apk owns reading the database of installed packages of Alpine's package
// manager (lib/apk/db/installed), also used by Wolfi, Chainguard and Alpaquita.
//
// Format: one letter, a colon, a value; paragraphs end with an empty line.
// https://wiki.alpinelinux.org/wiki/Apk_spec, database.c of apk-tools.
package apk

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom"
)

const (
	maxDatabase = 512 << 20
	maxPackages = 600_000
	maxFiles    = 2_000_000
	maxLine     = 64 << 10
)

// Extractor reads the database.
type Extractor struct{}

func (Extractor) Name() string                  { return "apk/installed" }
func (Extractor) Ecosystem() bollwerk.Ecosystem { return sbom.FormatAPK }
func (Extractor) Hints() sbom.Hints             { return sbom.Hints{Bases: []string{"installed"}} }

func (Extractor) Wants(f *bollwerk.File) bool {
	// apk-tools 3 moves the database to usr/lib on systems with a merged usr.
	return strings.HasSuffix(f.Path, "lib/apk/db/installed")
}

// Extract streams the database.
func (Extractor) Extract(ctx context.Context, in *sbom.Input) (bollwerk.Inventory, error) {
	lr := &io.LimitedReader{R: in.Reader, N: maxDatabase}
	br := bufio.NewReaderSize(lr, maxLine)
	var inv bollwerk.Inventory
	cur := bollwerk.Package{}
	origin, dir := "", ""
	depends := map[int][]string{}   // by index in inv.Packages: what D: says
	provides := map[string]string{} // name or so:… -> package name
	var provided []string
	var wants []string
	files, n := 0, 0
	flush := func() error {
		defer func() { cur, origin, dir, provided, wants = bollwerk.Package{}, "", "", nil, nil }()
		if cur.Name == "" {
			return nil
		}
		if cur.Version == "" {
			in.Problem("package %q has no version", cur.Name)
			return nil
		}
		if len(inv.Packages) >= maxPackages {
			return fmt.Errorf("more than %d packages, the rest is ignored", maxPackages)
		}
		if origin == "" {
			origin = cur.Name
		}
		cur.Ecosystem = sbom.FormatAPK
		cur.Source = &bollwerk.SourcePackage{Name: origin, Version: cur.Version}
		if len(wants) > 0 {
			depends[len(inv.Packages)] = wants
		}
		provides[cur.Name] = cur.Name
		for _, p := range provided {
			if _, taken := provides[p]; !taken {
				provides[p] = cur.Name
			}
		}
		inv.Packages = append(inv.Packages, cur)
		if n++; n%256 == 0 {
			return ctx.Err()
		}
		return nil
	}
	skip := false
	for {
		line, err := br.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			if !skip {
				in.Problem("a line of package %q is longer than %d bytes", cur.Name, maxLine)
			}
			skip = true
			continue
		}
		if skip {
			skip, line = false, []byte("x:")
		}
		for len(line) > 0 && (line[len(line)-1] == '\n' || line[len(line)-1] == '\r') {
			line = line[:len(line)-1]
		}
		switch {
		case len(line) == 0:
			if e := flush(); e != nil {
				return inv, e
			}
		case len(line) > 1 && line[1] == ':':
			v := line[2:]
			switch line[0] {
			case 'P':
				cur.Name = string(v)
			case 'V':
				cur.Version = string(v)
			case 'A':
				cur.Arch = string(v)
			case 'L':
				if len(v) > 0 {
					cur.Licenses = []string{string(v)}
				}
			case 'o':
				origin = string(v)
			case 'C':
				if d := checksum(string(v)); d != "" {
					cur.Hashes = []bollwerk.Digest{d}
				}
			case 'D':
				wants = words(string(v))
			case 'p':
				provided = words(string(v))
			case 'F':
				dir = string(v)
			case 'R':
				if files < maxFiles {
					path := append(append(make([]byte, 0, len(dir)+1+len(v)), dir...), '/')
					path = append(path, v...)
					if dir == "" {
						path = path[1:]
					}
					if sbom.Telling(path) {
						cur.Files = append(cur.Files, string(path))
						files++
					}
				}
			}
		}
		if err == io.EOF {
			if e := flush(); e != nil {
				return inv, e
			}
			if lr.N <= 0 {
				return inv, fmt.Errorf("longer than %d bytes, the rest is ignored", int64(maxDatabase))
			}
			sbom.LinkByName(inv.Packages, depends, func(s string) string { return provides[s] })
			return inv, nil
		}
		if err != nil {
			return inv, err
		}
	}
}

// words splits a dependency or provides line and takes versions and conflicts off:
// "so:libc.musl-x86_64.so.1=1 !foo bar>=2" gives the first and the last name.
func words(s string) []string {
	var out []string
	for _, w := range strings.Fields(s) {
		if w[0] == '!' || len(out) >= 1000 {
			continue
		}
		if i := strings.IndexAny(w, "=<>~"); i > 0 {
			w = w[:i]
		}
		out = append(out, w)
	}
	return out
}

// checksum decodes "Q1<base64 of SHA-1>" (and "Q2" for SHA-256); only the latter is
// a digest that the product knows. SHA-1 is not kept: it identifies the control
// part of the package, not content anybody else can check.
func checksum(s string) bollwerk.Digest {
	b64, ok := strings.CutPrefix(s, "Q2")
	if !ok {
		return ""
	}
	raw, err := base64.StdEncoding.DecodeString(b64)
	if err != nil || len(raw) != 32 {
		return ""
	}
	return bollwerk.Digest("sha256:" + hex.EncodeToString(raw))
}

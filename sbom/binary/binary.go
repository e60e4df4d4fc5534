// Package binary owns what can be told from an executable file: the modules of a
// Go program, the crates of a Rust program built with cargo-auditable, and the
// version of programs known by name (language run-times, servers, the container
// stack) that no package manager lists.
//
// Sources: Go's debug/buildinfo and cmd/link/internal/ld for the header in Go
// programs, https://github.com/rust-secure-code/cargo-auditable/blob/master/PARSING.md
// for Rust, elf(5).
package binary

import (
	"bufio"
	"bytes"
	"context"
	"debug/buildinfo"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom"
)

const (
	// hold is the largest program read into memory. A larger one streams past, which
	// suffices for Go since 1.18 and for version strings.
	hold = 48 << 20
	// minSize: no linker makes a Go or Rust program this small.
	minSize = 8 << 10
	// headSize covers the ELF header and any real program header table.
	headSize = 4 << 10

	maxModInfo = 8 << 20
	streamBuf  = 256 << 10
)

// Extractor reads executables.
type Extractor struct{}

func (Extractor) Name() string                  { return "binary/executable" }
func (Extractor) Ecosystem() bollwerk.Ecosystem { return "" }
func (Extractor) Hints() sbom.Hints             { return sbom.Hints{Any: true} }

// Wants takes executable files that do not have the extension of a script or
// document, and libraries that tell the version of a run-time.
func (Extractor) Wants(f *bollwerk.File) bool {
	if f.Size < minSize || !f.Mode.IsRegular() {
		return false
	}
	base := f.Path[strings.LastIndexByte(f.Path, '/')+1:]
	if f.Mode&0o111 != 0 {
		switch i := strings.LastIndexByte(base, '.'); {
		case i < 0:
			return true
		default:
			switch base[i+1:] {
			case "py", "pyc", "sh", "pl", "pm", "rb", "js", "mjs", "cjs", "ts", "json", "txt", "md", "html", "xml",
				"yaml", "yml", "toml", "jar", "war", "zip", "gz", "xz", "bz2", "zst", "tar", "tgz", "whl", "gem", "png",
				"jpg", "svg", "gif", "css", "ttf", "map", "h", "c", "go", "rs", "java", "class", "ko", "a", "o", "la",
				"conf", "crt", "pem", "php", "bat", "ps1", "lua", "tcl", "el", "vim", "dll", "node", "pdf", "csv":
				return false
			}
			// Shared libraries hold no Go or Rust program as a rule; those that tell a
			// version are known by name.
			if strings.Contains(base, ".so") {
				return classify(base) != nil
			}
			return true
		}
	}
	return strings.Contains(base, ".so") && classify(base) != nil
}

// Extract looks at the first bytes and stops at once if it is no program.
func (Extractor) Extract(ctx context.Context, in *sbom.Input) (bollwerk.Inventory, error) {
	var inv bollwerk.Inventory
	if ra, ok := in.Reader.(io.ReaderAt); ok && in.File.Size > 0 {
		var magic [4]byte
		if _, err := ra.ReadAt(magic[:], 0); err != nil || kind(magic[:]) == none {
			return inv, nil
		}
		return held(ctx, in, ra, in.File.Size)
	}
	br := bufio.NewReaderSize(in.Reader, headSize)
	head, err := br.Peek(headSize)
	if len(head) < 64 || err != nil && err != io.EOF {
		return inv, nil
	}
	k := kind(head)
	if k == none {
		return inv, nil
	}
	goNote := k == elfFile && bytes.Contains(head, []byte("\x04\x00\x00\x00Go\x00\x00")) || bytes.Contains(head, []byte("Go\x00\x00"))
	if k == elfFile && (goNote || in.File.Size > hold) {
		return streamed(ctx, in, br, head)
	}
	if in.File.Size > hold {
		in.Problem("program of %d bytes, in a format that must be held in memory (limit %d)", in.File.Size, hold)
		return inv, nil
	}
	in.Reader = br
	data, err := in.Bytes(hold)
	if err != nil {
		return inv, err
	}
	return held(ctx, in, bytes.NewReader(data), int64(len(data)))
}

type format int

const (
	none format = iota
	elfFile
	peFile
	machFile
)

func kind(b []byte) format {
	switch {
	case len(b) < 4:
	case string(b[:4]) == "\x7fELF":
		return elfFile
	case string(b[:2]) == "MZ":
		return peFile
	case string(b[:4]) == "\xcf\xfa\xed\xfe", string(b[:4]) == "\xce\xfa\xed\xfe", string(b[:4]) == "\xfe\xed\xfa\xcf":
		return machFile
	}
	// Fat Mach-O shares its magic with Java classes and is not looked at.
	return none
}

// held examines a program with random access.
func held(ctx context.Context, in *sbom.Input, ra io.ReaderAt, size int64) (bollwerk.Inventory, error) {
	var inv bollwerk.Inventory
	bi, err := buildinfo.Read(ra)
	switch {
	case err == nil:
		goPackages(&inv, in, bi, func() string {
			return findConstant(bufio.NewReaderSize(io.NewSectionReader(ra, 0, size), streamBuf))
		})
	case strings.Contains(err.Error(), "not a Go executable"), strings.Contains(err.Error(), "unrecognized file format"):
		if crates, err := auditable(ctx, in, ra); err != nil {
			in.Problem("Rust dependency list: %v", err)
		} else {
			inv.Packages = append(inv.Packages, crates...)
		}
	default:
		in.Problem("Go build information: %v", err)
	}
	if c := classify(base(in.File.Path)); c != nil && bi == nil {
		if v := c.find(bufio.NewReaderSize(io.NewSectionReader(ra, 0, size), streamBuf), base(in.File.Path)); v != "" {
			inv.Packages = append(inv.Packages, c.pkg(v))
		}
	}
	return inv, nil
}

var goMagic = []byte("\xff Go buildinf:")

// streamed searches an ELF program that flows past. Only what the loader maps
// writable is searched: the linker puts the header there (DataStart in
// debug/buildinfo does the same).
func streamed(ctx context.Context, in *sbom.Input, br *bufio.Reader, head []byte) (bollwerk.Inventory, error) {
	var inv bollwerk.Inventory
	regions := writable(head)
	c := classify(base(in.File.Path))
	_, isStack := stackModule(base(in.File.Path))
	var consts constants
	big := bufio.NewReaderSize(br, streamBuf)
	if c != nil || isStack {
		// A version string is in the read-only data, in front of the header: one
		// pass for both, without regard to segments.
		v, found := "", false
		err := scan(ctx, big, func(window []byte) (int, bool) {
			if i := bytes.Index(window, goMagic); i >= 0 {
				found = true
				return i, true
			}
			if isStack {
				consts.look(window)
				return 0, false
			}
			v = c.match(window, base(in.File.Path))
			return 0, v != ""
		})
		if err != nil {
			return inv, err
		}
		if !found {
			if v != "" {
				inv.Packages = append(inv.Packages, c.pkg(v))
			}
			return inv, nil
		}
		return inv, readHeader(&inv, in, big, &consts)
	}
	var at int64
	for _, r := range regions {
		if r.off < at {
			continue
		}
		if err := discard(big, r.off-at); err != nil {
			return inv, nil // shorter than its headers say: no program the kernel would run
		}
		found := false
		lim := &io.LimitedReader{R: big, N: r.size}
		seg := bufio.NewReaderSize(lim, streamBuf)
		err := scan(ctx, seg, func(window []byte) (int, bool) {
			i := bytes.Index(window, goMagic)
			found = i >= 0
			return max(i, 0), found
		})
		if err != nil {
			return inv, err
		}
		if found {
			return inv, readHeader(&inv, in, seg, &consts)
		}
		at = r.off + r.size - lim.N
	}
	return inv, nil
}

// scan calls fn with windows of the stream that overlap by 256 bytes. When fn says
// that it is done, the stream is left at the offset fn gave within the window.
func scan(ctx context.Context, br *bufio.Reader, fn func(window []byte) (int, bool)) error {
	const overlap = 256
	for n := 0; ; n++ {
		w, err := br.Peek(streamBuf)
		if len(w) > 0 {
			if off, done := fn(w); done {
				_, e := br.Discard(off)
				return e
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil && err != bufio.ErrBufferFull {
			return err
		}
		if _, err := br.Discard(len(w) - overlap); err != nil {
			return err
		}
		if n%64 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func discard(br *bufio.Reader, n int64) error {
	for n > 0 {
		d, err := br.Discard(int(min(n, 1<<30)))
		n -= int64(d)
		if err != nil {
			return err
		}
	}
	return nil
}

// readHeader decodes the build information at whose magic the stream stands.
func readHeader(inv *bollwerk.Inventory, in *sbom.Input, br *bufio.Reader, consts *constants) error {
	var h [32]byte
	if _, err := io.ReadFull(br, h[:]); err != nil {
		return nil
	}
	if h[15]&2 == 0 {
		in.Problem("Go program from before Go 1.18 of %d bytes (limit %d)", in.File.Size, hold)
		return nil
	}
	version, err := varString(br, 1<<10)
	if err != nil {
		return fmt.Errorf("build information of Go: %w", err)
	}
	mod, err := varString(br, maxModInfo)
	if err != nil {
		return fmt.Errorf("build information of Go: %w", err)
	}
	if len(mod) >= 33 && mod[len(mod)-17] == '\n' {
		mod = mod[16 : len(mod)-16]
	} else {
		mod = ""
	}
	bi, err := debug.ParseBuildInfo(mod)
	if err != nil {
		return fmt.Errorf("build information of Go: %w", err)
	}
	bi.GoVersion = version
	goPackages(inv, in, bi, consts.best)
	return nil
}

func varString(br *bufio.Reader, limit uint64) (string, error) {
	n, err := binary.ReadUvarint(br)
	if err != nil {
		return "", err
	}
	if n > limit {
		return "", errors.New("string is longer than any real one")
	}
	var b strings.Builder
	if _, err := io.CopyN(&b, br, int64(n)); err != nil {
		return "", err
	}
	return b.String(), nil
}

type region struct{ off, size int64 }

// writable returns the file ranges of the writable segments, in order.
func writable(head []byte) []region {
	var bo binary.ByteOrder = binary.LittleEndian
	if head[5] == byte(elf.ELFDATA2MSB) {
		bo = binary.BigEndian
	}
	is64 := head[4] == byte(elf.ELFCLASS64)
	var off uint64
	var size, num int
	if is64 {
		off, size, num = bo.Uint64(head[32:]), int(bo.Uint16(head[54:])), int(bo.Uint16(head[56:]))
	} else {
		off, size, num = uint64(bo.Uint32(head[28:])), int(bo.Uint16(head[42:])), int(bo.Uint16(head[44:]))
	}
	want := 32
	if is64 {
		want = 56
	}
	if size < want || off > uint64(len(head)) {
		return nil
	}
	var out []region
	for i := range num {
		at := off + uint64(i*size)
		if at+uint64(want) > uint64(len(head)) {
			break
		}
		ph := head[at:]
		if elf.ProgType(bo.Uint32(ph)) != elf.PT_LOAD {
			continue
		}
		var flags uint32
		var o, n uint64
		if is64 {
			flags, o, n = bo.Uint32(ph[4:]), bo.Uint64(ph[8:]), bo.Uint64(ph[32:])
		} else {
			flags, o, n = bo.Uint32(ph[24:]), uint64(bo.Uint32(ph[4:])), uint64(bo.Uint32(ph[16:]))
		}
		if flags&uint32(elf.PF_W) != 0 && n > 0 && o < 1<<40 && n < 1<<40 {
			out = append(out, region{int64(o), int64(n)})
		}
	}
	return out
}

func base(p string) string { return p[strings.LastIndexByte(p, '/')+1:] }

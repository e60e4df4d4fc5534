package artifact

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/sbomformat"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Scheme is the kind of a target: the word before the colon on the command line.
type Scheme string

const (
	SchemeRegistry      Scheme = "registry"
	SchemeOCI           Scheme = "oci"            // a directory in the OCI image layout
	SchemeOCIArchive    Scheme = "oci-archive"    // the same in a tar file
	SchemeDockerArchive Scheme = "docker-archive" // what `docker save` writes
	SchemeContainerd    Scheme = "containerd"
	SchemeDocker        Scheme = "docker"
	SchemePodman        Scheme = "podman"
	SchemeDir           Scheme = "dir"
	SchemeHost          Scheme = "host" // the root file system of this machine
	SchemeFile          Scheme = "file"
	SchemeSBOM          Scheme = "sbom"
)

// Schemes lists every scheme that may be written before a colon.
func Schemes() []Scheme {
	return []Scheme{SchemeRegistry, SchemeOCI, SchemeOCIArchive, SchemeDockerArchive, SchemeContainerd,
		SchemeDocker, SchemePodman, SchemeDir, SchemeFile, SchemeSBOM}
}

// ErrTarget is wrapped by errors that say a target is not understood: usage, not failure.
var ErrTarget = errors.New("target not understood")

type targetError struct{ msg string }

func (e *targetError) Error() string        { return e.msg }
func (e *targetError) Is(target error) bool { return target == ErrTarget }

func targetErrorf(format string, args ...any) error {
	return &targetError{fmt.Sprintf(format, args...)}
}

// Detect tells what a target is, by its prefix or by looking at it, and returns the
// rest without the prefix. Nothing is opened but local files. Without a prefix:
//
//   - "/" is this host, an existing file is looked into, an existing directory is an
//     OCI layout or a plain directory;
//   - what is no path is an image reference;
//   - a directory whose name could be an image as well is refused: "alpine" must be
//     written dir:alpine (or ./alpine) or registry:alpine.
//
// Errors wrap ErrTarget when the words are at fault, else they are those of the file system.
func Detect(target string) (Scheme, string, error) {
	if target == "" {
		return "", "", targetErrorf("target is empty: want an image, a path, or one of the prefixes %s", prefixList())
	}
	if strings.IndexByte(target, 0) >= 0 {
		return "", "", targetErrorf("target %q: contains a zero byte", target)
	}
	if rest, ok := strings.CutPrefix(target, "docker://"); ok { // skopeo's word for a registry
		return SchemeRegistry, rest, nil
	}
	if word, rest, ok := strings.Cut(target, ":"); ok {
		for _, s := range Schemes() {
			if word != string(s) {
				continue
			}
			if rest == "" {
				return "", "", targetErrorf("target %q: nothing follows the prefix", target)
			}
			if s == SchemeFile || s == SchemeDir || s == SchemeOCI || s == SchemeSBOM {
				if r, ok := strings.CutPrefix(rest, "//"); ok && strings.HasPrefix(r, "/") {
					rest = r // file:///path
				}
			}
			if s == SchemeDir && filepath.Clean(rest) == "/" {
				return SchemeHost, "/", nil
			}
			return s, rest, nil
		}
	}
	if filepath.Clean(target) == "/" {
		return SchemeHost, "/", nil
	}
	fi, err := os.Stat(target)
	switch {
	case err == nil && fi.IsDir():
		return detectDir(target)
	case err == nil && fi.Mode().IsRegular():
		return detectFile(target)
	case err == nil:
		return "", "", targetErrorf("target %q: neither a file nor a directory", target)
	case looksLikePath(target):
		return "", "", pathError(target, err)
	case !errors.Is(err, fs.ErrNotExist) && !strings.Contains(target, ":"):
		return "", "", err
	case LooksLikeReference(target):
		return SchemeRegistry, target, nil
	}
	return "", "", targetErrorf("target %q: no such file, and not an image reference (registry/repository:tag); prefixes are %s", target, prefixList())
}

func prefixList() string {
	var b strings.Builder
	for i, s := range Schemes() {
		if i > 0 {
			b.WriteString(" ")
		}
		b.WriteString(string(s) + ":")
	}
	return b.String()
}

// pathError names the target in place of the system call that failed.
func pathError(target string, err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return fmt.Errorf("target %s: %w", target, err)
}

func looksLikePath(s string) bool {
	return s == "." || s == ".." || strings.HasPrefix(s, "/") || strings.HasPrefix(s, "./") || strings.HasPrefix(s, "../") || strings.HasPrefix(s, "~")
}

func detectDir(target string) (Scheme, string, error) {
	if fi, err := os.Lstat(filepath.Join(target, "oci-layout")); err == nil && fi.Mode().IsRegular() {
		if _, err := os.Lstat(filepath.Join(target, "index.json")); err == nil {
			return SchemeOCI, target, nil
		}
	}
	if !looksLikePath(target) && !strings.HasSuffix(target, "/") && LooksLikeReference(target) {
		return "", "", targetErrorf("target %q: a directory of this name exists, and it could be an image; write dir:%s or registry:%s", target, target, target)
	}
	return SchemeDir, target, nil
}

func detectFile(target string) (Scheme, string, error) {
	f, err := os.Open(target)
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	head := make([]byte, sbomformat.HeadSize)
	n, err := io.ReadFull(f, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return "", "", err
	}
	head = head[:n]
	if _, ok := sbomformat.Detect(head); ok {
		return SchemeSBOM, target, nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", "", err
	}
	if s := archiveScheme(f, head); s != "" {
		return s, target, nil
	}
	return SchemeFile, target, nil
}

// archiveScheme looks for the marks of an image archive among the entries of a tar
// file. A compressed one is looked into for its first 64 MiB only: the marks of
// both formats are small files, but writers put them where they like; who knows better
// writes the prefix.
func archiveScheme(f *os.File, head []byte) Scheme {
	var r io.Reader = f
	compressed := true
	switch sniff(head) {
	case gzipped:
		z, err := gzip.NewReader(f)
		if err != nil {
			return ""
		}
		r = z
	case zstded:
		z, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(64<<20))
		if err != nil {
			return ""
		}
		defer z.Close()
		r = z
	default:
		if len(head) < 512 || string(head[257:262]) != "ustar" {
			return ""
		}
		compressed = false
	}
	if compressed {
		r = io.LimitReader(r, 64<<20)
	}
	tr := tar.NewReader(r)
	var oci, docker bool
	for range 20_000 {
		h, err := tr.Next()
		if err != nil {
			break
		}
		switch name, _ := cleanPath(h.Name); name {
		case "manifest.json":
			docker = true
		case "oci-layout":
			oci = true
		}
		if docker {
			break
		}
	}
	switch {
	case docker: // docker save writes both marks since version 25; its manifest carries the names
		return SchemeDockerArchive
	case oci:
		return SchemeOCIArchive
	}
	return ""
}

// LooksLikeReference reports whether s has the form of an image reference,
// [host[:port]/]path[:tag][@digest], as the distribution specification has it.
func LooksLikeReference(s string) bool {
	if len(s) == 0 || len(s) > 1024 {
		return false
	}
	name := s
	if i := strings.IndexByte(s, '@'); i >= 0 {
		if _, err := bollwerk.ParseDigest(s[i+1:]); err != nil {
			return false
		}
		name = s[:i]
	}
	if i := strings.LastIndexByte(name, ':'); i >= 0 && !strings.Contains(name[i:], "/") {
		tag := name[i+1:]
		if len(tag) == 0 || len(tag) > 128 || tag[0] == '.' || tag[0] == '-' {
			return false
		}
		for _, c := range []byte(tag) {
			if !isAlnum(c) && !isUpper(c) && c != '_' && c != '.' && c != '-' {
				return false
			}
		}
		name = name[:i]
	}
	parts := strings.Split(name, "/")
	if len(parts) > 1 && (strings.ContainsAny(parts[0], ".:[") || parts[0] == "localhost") {
		if !looksLikeHost(parts[0]) {
			return false
		}
		parts = parts[1:]
	}
	for _, p := range parts {
		if !looksLikeComponent(p) {
			return false
		}
	}
	return true
}

func isAlnum(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }
func isUpper(c byte) bool { return c >= 'A' && c <= 'Z' }

func looksLikeHost(h string) bool {
	for _, c := range []byte(h) {
		if !isAlnum(c) && !isUpper(c) && c != '.' && c != '-' && c != ':' && c != '[' && c != ']' {
			return false
		}
	}
	return h != "" && h[0] != '-' && h[0] != '.'
}

// looksLikeComponent: [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*
func looksLikeComponent(p string) bool {
	if p == "" || !isAlnum(p[0]) || !isAlnum(p[len(p)-1]) {
		return false
	}
	for i := 0; i < len(p); i++ {
		switch c := p[i]; {
		case isAlnum(c), c == '-':
		case c == '.' || c == '_':
			if p[i+1] == '.' || p[i+1] == '-' || p[i+1] == '_' && (c == '.' || i > 0 && p[i-1] == '_') {
				return false
			}
		default:
			return false
		}
	}
	return true
}

package artifact

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestDetect(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	put := func(name string, b []byte) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, b, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	put("layout/oci-layout", []byte(`{}`))
	put("layout/index.json", []byte(`{}`))
	put("alpine/file", nil)
	put("My Project/file", nil)
	put("package-lock.json", []byte(`{"lockfileVersion":3}`))
	put("a.cdx.json", []byte(`{"bomFormat":"CycloneDX","specVersion":"1.6"}`))
	docker := tarball(t, entry{name: "x/layer.tar", body: "x"}, entry{name: "manifest.json", body: "[]"})
	oci := tarball(t, entry{name: "blobs/sha256/"}, entry{name: "oci-layout", body: "{}"}, entry{name: "index.json", body: "{}"})
	put("docker.tar", docker)
	put("docker.tar.gz", gzipBytes(t, docker))
	put("oci.tar", oci)
	put("oci.tar.zst", zstdBytes(t, oci))
	put("plain.tar", tarball(t, entry{name: "a", body: "x"}))
	put("cut.tar.gz", gzipBytes(t, docker)[:20])
	if err := syscall.Mkfifo("pipe", 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		target string
		scheme Scheme
		rest   string
	}{
		{"alpine:3.19", SchemeRegistry, "alpine:3.19"},
		{"debian", SchemeRegistry, "debian"},
		{"ghcr.io/a/b@sha256:" + strings.Repeat("0", 64), SchemeRegistry, "ghcr.io/a/b@sha256:" + strings.Repeat("0", 64)},
		{"localhost:5000/a", SchemeRegistry, "localhost:5000/a"},
		{"registry:alpine", SchemeRegistry, "alpine"},
		{"docker://alpine", SchemeRegistry, "alpine"},
		{"docker:alpine:3", SchemeDocker, "alpine:3"},
		{"podman:x", SchemePodman, "x"},
		{"containerd:x", SchemeContainerd, "x"},
		{"oci:dir:tag", SchemeOCI, "dir:tag"},
		{"oci-archive:f.tar", SchemeOCIArchive, "f.tar"},
		{"docker-archive:f.tar:n", SchemeDockerArchive, "f.tar:n"},
		{"dir:/", SchemeHost, "/"},
		{"dir:x", SchemeDir, "x"},
		{"file:///etc/x", SchemeFile, "/etc/x"},
		{"sbom:x", SchemeSBOM, "x"},
		{"/", SchemeHost, "/"},
		{"//", SchemeHost, "/"},
		{".", SchemeDir, "."},
		{"./alpine", SchemeDir, "./alpine"},
		{"alpine/", SchemeDir, "alpine/"},
		{"dir:alpine", SchemeDir, "alpine"},
		{"My Project", SchemeDir, "My Project"},
		{"./layout", SchemeOCI, "./layout"},
		{"layout", SchemeOCI, "layout"},
		{"package-lock.json", SchemeFile, "package-lock.json"},
		{"a.cdx.json", SchemeSBOM, "a.cdx.json"},
		{"docker.tar", SchemeDockerArchive, "docker.tar"},
		{"docker.tar.gz", SchemeDockerArchive, "docker.tar.gz"},
		{"oci.tar", SchemeOCIArchive, "oci.tar"},
		{"oci.tar.zst", SchemeOCIArchive, "oci.tar.zst"},
		{"plain.tar", SchemeFile, "plain.tar"},
		{"cut.tar.gz", SchemeFile, "cut.tar.gz"},
	} {
		s, rest, err := Detect(c.target)
		if err != nil || s != c.scheme || rest != c.rest {
			t.Errorf("%s: %s %q %v, want %s %q", c.target, s, rest, err, c.scheme, c.rest)
		}
	}
	for _, c := range []struct {
		target, want string
		is           error
	}{
		{"", "empty", ErrTarget},
		{"alpine", "dir:alpine or registry:alpine", ErrTarget},
		{"dir:", "nothing follows", ErrTarget},
		{"Not An Image", "docker-archive:", ErrTarget},
		{"UPPER", "not an image reference", ErrTarget},
		{"a\x00b", "zero byte", ErrTarget},
		{"./missing", "missing", fs.ErrNotExist},
		{"/missing/path", "missing", fs.ErrNotExist},
		{"pipe", "neither a file nor a directory", ErrTarget},
	} {
		_, _, err := Detect(c.target)
		if err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, c.is) {
			t.Errorf("%q: %v", c.target, err)
		}
	}
}

func FuzzDetect(f *testing.F) {
	for _, s := range []string{"alpine", "oci:x", "a/b:c@sha256:" + strings.Repeat("a", 64), "[::1]:5/a", "a_.b", "a__b", "a..b", "-a", "a-"} {
		f.Add(s)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, s string) {
		if strings.Contains(s, "/") && !LooksLikeReference(s) {
			return // not a walk through this machine's files
		}
		t.Chdir(dir)
		scheme, rest, err := Detect(s)
		if err == nil && (scheme == "" || rest == "") {
			t.Errorf("%q: %q %q", s, scheme, rest)
		}
	})
}

// FuzzBlob reads anything as a layer: it must end, with an error or without, and
// paths must be clean.
func FuzzBlob(f *testing.F) {
	plain := tarball(f, entry{name: "a/../../b", body: "x"}, entry{name: "c", typ: '1', link: "d"}, entry{name: ".wh.e"}, entry{name: strings.Repeat("p", 200), body: "y"})
	f.Add(plain)
	f.Add(gzipBytes(f, plain))
	f.Add(zstdBytes(f, plain))
	f.Fuzz(func(t *testing.T, b []byte) {
		v := newRecorder()
		blob := blobOf(b, nil)
		blob.DiffID = ""
		sum, err := ReadBlob(t.Context(), blob, NewBudget(Limits{MaxLayerBytes: 64 << 20, MaxFileSize: 16 << 20, MaxEntries: 10_000}), v)
		if err != nil {
			return
		}
		for p := range v.asked {
			if p != "" && (p[0] == '/' || p == ".." || strings.HasPrefix(p, "../") || strings.Contains(p, "/../")) {
				t.Errorf("path %q", p)
			}
		}
		if sum.Files > sum.Entries || sum.Bytes < 0 {
			t.Errorf("summary %+v", sum)
		}
	})
}

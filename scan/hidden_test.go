package scan_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/artifact"
	"github.com/bollwerk/bollwerk/artifact/oci"
	"github.com/bollwerk/bollwerk/sbom"
	"github.com/bollwerk/bollwerk/sbom/all"
	"github.com/bollwerk/bollwerk/scan"
	"github.com/bollwerk/bollwerk/test/image"
)

// entry is one entry of a layer: a file with content, or a link when to is set.
type entry struct {
	name, content string
	kind          byte // 0: tar.TypeReg
	to            string
	mode          int64
}

func file(name, content string) entry { return entry{name: name, content: content} }
func symlink(name, to string) entry   { return entry{name: name, kind: tar.TypeSymlink, to: to} }
func hardLink(name, to string) entry  { return entry{name: name, kind: tar.TypeLink, to: to} }

func layer(entries ...entry) image.Layer {
	return image.Layer{CreatedBy: "COPY . /", Write: func(w *tar.Writer) error {
		for _, e := range entries {
			h := &tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.to, Size: int64(len(e.content)), Mode: e.mode}
			if h.Typeflag == 0 {
				h.Typeflag = tar.TypeReg
			}
			if h.Mode == 0 {
				h.Mode = 0o644
			}
			if err := w.WriteHeader(h); err != nil {
				return err
			}
			if _, err := w.Write([]byte(e.content)); err != nil {
				return err
			}
		}
		return nil
	}}
}

func layout(t testing.TB, c image.Config, layers ...image.Layer) string {
	t.Helper()
	d := t.TempDir()
	if _, err := image.WriteLayout(d, image.Spec{Tag: "1", Config: c, Layers: layers}); err != nil {
		t.Fatal(err)
	}
	return d
}

func everything(t testing.TB) *sbom.Set {
	t.Helper()
	set, err := sbom.NewSet(all.Extractors()...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func scanLayout(ctx context.Context, t testing.TB, d string, o scan.Options) (*bollwerk.Result, error) {
	t.Helper()
	src, err := oci.Open(ctx, artifact.SchemeOCI, d, oci.Options{Platform: "linux/amd64"})
	if err != nil {
		return nil, err
	}
	defer src.Close()
	if o.Extractors == nil {
		o.Extractors = everything(t)
	}
	return scan.Artifact(ctx, src, o)
}

const (
	debian12 = "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n"
	lockfile = `{"name":"app","lockfileVersion":3,"packages":{"":{"name":"app"},"node_modules/lodash":{"version":"4.17.4"}}}`
)

func status(names ...string) string {
	var b strings.Builder
	for _, n := range names {
		fmt.Fprintf(&b, "Package: %s\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.0-1\nMaintainer: X <x@example.org>\nDescription: x\n\n", n)
	}
	return b.String()
}

func names(r *bollwerk.Result) []string {
	var out []string
	for _, p := range r.Packages {
		out = append(out, p.Name)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// gaps are the coverage rows of a result that are not a pass, without those every
// scan of this file has.
func gaps(r *bollwerk.Result) []string {
	var out []string
	for _, c := range r.Coverage {
		switch {
		case c.Verdict == bollwerk.Pass, c.Area == "standards", c.Area == "database", c.Area == "secrets",
			strings.HasPrefix(c.Area, "advisories:"):
			continue
		}
		out = append(out, fmt.Sprintf("%s: %s %v", c.Area, c.Cause, c.Examples))
	}
	return out
}

// jar is an archive that says what it is.
func jar(t testing.TB) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create("META-INF/maven/org.example/shop/pom.properties")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("groupId=org.example\nartifactId=shop\nversion=1.0\n")); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// manyThen puts more files in front of the entries than a reader remembers.
func manyThen(entries ...entry) image.Layer {
	last := layer(entries...)
	return image.Layer{Write: func(w *tar.Writer) error {
		for i := range 260_000 {
			if err := w.WriteHeader(&tar.Header{Name: fmt.Sprintf("many/%d/%d", i/1000, i), Mode: 0o644}); err != nil {
				return err
			}
		}
		return last.Write(w)
	}}
}

// TestNothingVanishes holds that a package which a container made of the layers has
// is found, or that the result says what was not read.
func TestNothingVanishes(t *testing.T) {
	release := file("etc/os-release", debian12)
	for _, c := range []struct {
		name   string
		layers []image.Layer
		want   string // package
		gap    string // or this in a gap
	}{
		{"plain", []image.Layer{layer(release, file("var/lib/dpkg/status", status("openssl")))}, "openssl", ""},
		{"names with dots", []image.Layer{layer(release, file("./var//lib/./dpkg/status", status("openssl")))}, "openssl", ""},
		{"absolute name", []image.Layer{layer(release, file("/var/lib/dpkg/status", status("openssl")))}, "openssl", ""},
		{"name out of the root", []image.Layer{layer(release, file("../../var/lib/dpkg/status", status("openssl")))}, "openssl", ""},
		{"long name overridden by PAX", []image.Layer{layer(release, file(strings.Repeat("d/", 120)+"../"+strings.Repeat("../", 119)+"var/lib/dpkg/status", status("openssl")))}, "openssl", ""},
		{"hard link to a file nobody wants", []image.Layer{layer(release, file("opt/blob", status("openssl")), hardLink("var/lib/dpkg/status", "opt/blob"))}, "openssl", ""},
		{"hard link to a file that another extractor wants", []image.Layer{layer(release, file("opt/notes.txt", status("openssl")), hardLink("var/lib/dpkg/status", "opt/notes.txt"))}, "openssl", ""},
		{"two hard links, the first for another extractor", []image.Layer{layer(release, file("opt/blob", lockfile), hardLink("opt/settings.json", "opt/blob"), hardLink("srv/package-lock.json", "opt/blob"))}, "lodash", ""},
		{"hard link whose first name goes", []image.Layer{layer(release, file("a/package-lock.json", lockfile), hardLink("b/package-lock.json", "a/package-lock.json")), layer(file("a/.wh.package-lock.json", ""))}, "lodash", ""},
		{"hard link to a program of which only the size tells", []image.Layer{layer(file("opt/blob.dat", jar(t)), hardLink("srv/app.jar", "opt/blob.dat"))}, "org.example:shop", ""},
		{"hard link after very many files", []image.Layer{manyThen(file("opt/blob.dat", jar(t)), hardLink("srv/app.jar", "opt/blob.dat"))}, "org.example:shop", ""},
		{"status is a symbolic link", []image.Layer{layer(release, file("opt/packages", status("openssl")), symlink("var/lib/dpkg/status", "/opt/packages"))}, "openssl", "var/lib/dpkg/status"},
		{"the folder of dpkg is a symbolic link", []image.Layer{layer(release, file("opt/db/status", status("openssl")), symlink("var/lib/dpkg", "../../opt/db"))}, "openssl", "var/lib/dpkg"},
		{"var is a symbolic link", []image.Layer{layer(release, file("data/lib/dpkg/status", status("openssl")), symlink("var", "data"))}, "openssl", "var"},
		{"the database of apk is a symbolic link", []image.Layer{layer(file("etc/os-release", "ID=alpine\nVERSION_ID=3.20.1\n"), file("opt/i", "P:musl\nV:1.2.5-r0\nA:x86_64\n\n"), symlink("lib/apk/db/installed", "/opt/i"))}, "musl", "lib/apk/db/installed"},
		{"the database of rpm is a symbolic link", []image.Layer{layer(file("etc/os-release", "ID=fedora\nVERSION_ID=41\n"), file("opt/rpmdb.sqlite", "x"), symlink("usr/lib/sysimage/rpm", "/opt"))}, "?", "usr/lib/sysimage/rpm"},
		{"a link of a later layer", []image.Layer{layer(release, file("var/lib/dpkg/status", status("openssl"))), layer(file("opt/db/status", status("openssl", "curl")), symlink("var/lib/dpkg", "/opt/db"))}, "curl", "var/lib/dpkg"},
		{"lock file is a symbolic link", []image.Layer{layer(file("opt/lock", lockfile), symlink("srv/package-lock.json", "/opt/lock"))}, "lodash", "srv/package-lock.json"},
		{"os-release replaced", []image.Layer{layer(release, file("var/lib/dpkg/status", status("openssl"))), layer(file("etc/os-release", "ID=nothing\nVERSION_ID=1\n"))}, "openssl", ""},
		{"status and status.d", []image.Layer{layer(release, file("var/lib/dpkg/status", status("bash")), file("var/lib/dpkg/status.d/ssl", status("openssl")))}, "openssl", ""},
		{"the same file twice", []image.Layer{layer(release, file("var/lib/dpkg/status", status("bash")), file("var/lib/dpkg/status", status("openssl")))}, "openssl", ""},
		{"one layer twice", []image.Layer{layer(release, file("var/lib/dpkg/status", status("openssl"))), layer(release, file("var/lib/dpkg/status", status("openssl")))}, "openssl", ""},
		{"white-out of a sibling", []image.Layer{layer(release, file("var/lib/dpkg/status", status("openssl"))), layer(file("var/lib/dpkg/.wh.status.d", ""))}, "openssl", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if testing.Short() && strings.HasSuffix(c.name, "very many files") {
				t.Skip("writes 260,000 files")
			}
			r, err := scanLayout(t.Context(), t, layout(t, image.Config{}, c.layers...), scan.Options{})
			if err != nil {
				if c.gap != "" && strings.Contains(err.Error(), c.gap) {
					return
				}
				t.Fatal(err)
			}
			if slices.Contains(names(r), c.want) {
				return
			}
			for _, g := range gaps(r) {
				if c.gap != "" && strings.Contains(g, c.gap) {
					return
				}
			}
			t.Errorf("packages %v, want %s; gaps %q, want %q", names(r), c.want, gaps(r), c.gap)
		})
	}
}

package binary

import (
	"bytes"
	"compress/zlib"
	"context"
	"debug/elf"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom"
)

func extract(t testing.TB, name string, r io.Reader, size int64) (map[string]bollwerk.Package, []string) {
	t.Helper()
	in := sbom.NewInput(bollwerk.File{Path: name, Size: size, Mode: 0o755}, r)
	inv, err := Extractor{}.Extract(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bollwerk.Package{}
	for _, p := range inv.Packages {
		out[string(p.Ecosystem)+" "+p.Name] = p
	}
	return out, in.Problems()
}

// build makes a Go program of two modules; the dependency is replaced by a folder
// so that no network is needed.
func build(t *testing.T, env []string, args ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":     "module example.org/shop/v2\n\ngo 1.21\n\nrequire example.org/dep v1.2.3\n\nreplace example.org/dep => ./dep\n",
		"main.go":    "package main\n\nimport \"example.org/dep\"\n\nvar version, gitVersion = \"dev\", \"\"\n\nfunc main() { println(version, gitVersion, dep.X) }\n",
		"dep/go.mod": "module example.org/dep\n\ngo 1.21\n",
		"dep/dep.go": "package dep\n\nvar X = 1\n",
	} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(dir, "out")
	cmd := exec.Command("go", append(append([]string{"build", "-buildvcs=false", "-o", out}, args...), ".")...)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod", "GOPROXY=off"), env...)
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, msg)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestGo(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	for _, c := range []struct {
		name, file, version, goos string
		env, args                 []string
	}{
		{"flags", "shop", "v2.3.4", "linux", []string{"GOOS=linux", "GOARCH=amd64"}, []string{"-ldflags=-X main.version=2.3.4"}},
		{"quoted flags", "shop", "v2.3.5", "linux", []string{"GOOS=linux", "GOARCH=amd64"}, []string{"-ldflags=-s -w -X 'main.version=v2.3.5' -X main.other=1.1.1"}},
		{"no version", "shop", "", "linux", []string{"GOOS=linux", "GOARCH=amd64"}, nil},
		{"windows", "shop.exe", "v1.0.0", "windows", []string{"GOOS=windows", "GOARCH=amd64"}, []string{"-ldflags=-X main.version=1.0.0"}},
		// As Kubernetes is built: flags are left out of the build information, and
		// only the constant tells.
		{"stripped and trimmed", "kubelet", "v1.30.4", "linux", []string{"GOOS=linux", "GOARCH=amd64"}, []string{"-trimpath", "-ldflags=-s -w -X main.gitVersion=v1.30.4"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := build(t, c.env, c.args...)
			readers := map[string]io.Reader{
				"random access": bytes.NewReader(data),
				"stream":        io.MultiReader(bytes.NewReader(data)),
			}
			for how, r := range readers {
				got, _ := extract(t, "usr/local/bin/"+c.file, r, int64(len(data)))
				main, ok := got["Go example.org/shop/v2"]
				if !ok || main.Version != c.version || main.GoOS != c.goos {
					t.Errorf("%s: main module %+v, want version %q for %s", how, main, c.version, c.goos)
				}
				if dep, ok := got["Go example.org/dep"]; !ok || dep.Version != "" {
					t.Errorf("%s: dependency replaced by a folder: %+v", how, dep)
				}
				if std := got["Go stdlib"]; !std.Virtual || !strings.HasPrefix(std.Version, "1.") {
					t.Errorf("%s: standard library %+v", how, std)
				}
			}
		})
	}
}

func TestGoVersion(t *testing.T) {
	for in, want := range map[string]string{
		"go1.22.1": "1.22.1", "go1.20": "1.20", "go1.22rc1": "1.22.0-rc.1", "go1.21.0 X:boringcrypto": "1.21.0",
		"go1.19.8-alpine": "1.19.8", "devel go1.23-0123456789 Mon": "", "go1.18beta2": "1.18.0-beta.2", "": "", "x": "",
		"go1.24.4 (Red Hat 1.24.4-1.el9)": "1.24.4",
	} {
		if got := GoVersion(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// rustProgram writes an ELF file with nothing but the section that cargo-auditable
// adds, which is all that is read of one.
func rustProgram(t testing.TB, list string) []byte {
	t.Helper()
	var packed bytes.Buffer
	z := zlib.NewWriter(&packed)
	if _, err := z.Write([]byte(list)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	names := "\x00.dep-v0\x00.shstrtab\x00"
	const ehsize, shsize = 64, 64
	dataOff := uint64(ehsize)
	strOff := dataOff + uint64(packed.Len())
	shOff := (strOff + uint64(len(names)) + 7) &^ 7
	var b bytes.Buffer
	h := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1, Shoff: shOff, Ehsize: ehsize,
		Shentsize: shsize, Shnum: 3, Shstrndx: 2,
	}
	copy(h.Ident[:], "\x7fELF\x02\x01\x01")
	put := func(v any) {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	put(h)
	b.Write(packed.Bytes())
	b.WriteString(names)
	b.Write(make([]byte, shOff-uint64(b.Len())))
	put(elf.Section64{})
	put(elf.Section64{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: dataOff, Size: uint64(packed.Len())})
	put(elf.Section64{Name: 9, Type: uint32(elf.SHT_STRTAB), Off: strOff, Size: uint64(len(names))})
	b.Write(make([]byte, minSize))
	return b.Bytes()
}

func TestRust(t *testing.T) {
	data := rustProgram(t, `{"packages":[
		{"name":"shop","version":"0.1.0","source":"local","dependencies":[1],"root":true},
		{"name":"serde","version":"1.0.160","source":"crates.io","dependencies":[2,99,-1]},
		{"name":"serde_derive","version":"1.0.160","source":"crates.io","kind":"build"}]}`)
	got, problems := extract(t, "usr/bin/shop", io.MultiReader(bytes.NewReader(data)), int64(len(data)))
	if len(problems) > 0 || len(got) != 3 {
		t.Fatalf("%+v, problems %v", got, problems)
	}
	serde := got["crates.io serde"]
	if serde.Version != "1.0.160" || serde.Direct == nil || !*serde.Direct || len(serde.DependsOn) != 1 {
		t.Errorf("%+v", serde)
	}
	if !got["crates.io serde_derive"].Dev {
		t.Error("a crate for the build counts as linked")
	}
}

func TestRustBomb(t *testing.T) {
	if testing.Short() {
		t.Skip("unpacks megabytes")
	}
	data := rustProgram(t, `{"packages":[{"name":"`+strings.Repeat("a", maxAuditContent+1)+`"}]}`)
	got, problems := extract(t, "usr/bin/shop", bytes.NewReader(data), int64(len(data)))
	if len(got) != 0 || len(problems) != 1 {
		t.Errorf("%d packages, problems %v", len(got), problems)
	}
}

func TestPrograms(t *testing.T) {
	pad := strings.Repeat("\x00", minSize)
	for _, c := range []struct{ file, text, want string }{
		{"usr/local/bin/node", "x\x00node.js/v20.11.1\x00", "node 20.11.1"},
		{"usr/local/bin/python3.12", "\x003.12.x\x003.12.1\x00", "python 3.12.1"},
		{"usr/local/lib/libpython3.12.so.1.0", "\x003.12.10+\x00", "python 3.12.10"},
		{"usr/local/bin/python3.12", "\x003.12\x00", ""},
		{"usr/local/sbin/php-fpm", "X-Powered-By: PHP/8.2.10\x00", "php 8.2.10"},
		{"usr/sbin/nginx", "nginx version: nginx/1.25.3\x00", "nginx 1.25.3"},
		{"usr/lib/postgresql/15/bin/postgres", "postgres (PostgreSQL) 15.5\x00", "postgresql 15.5"},
		{"usr/local/bin/postgres", "postgres (PostgreSQL) 16.1 (Debian 16.1-1.pgdg120+1)\x00", "postgresql 16.1"},
		{"usr/sbin/mariadbd", "\x0010.11.6-MariaDB-1\x00", "mariadb 10.11.6"},
		{"usr/local/apache2/bin/httpd", "Apache/2.4.58 (Unix)\x00", "apache 2.4.58"},
		{"bin/busybox", "BusyBox v1.36.1 (2023)\x00", "busybox 1.36.1"},
		{"usr/local/lib/libcrypto.so.3", "OpenSSL 3.0.11 19 Sep 2023\x00", "openssl 3.0.11"},
		{"usr/bin/bash", "@(#)Bash version 5.2.15(1) release GNU\x00", "bash 5.2.15"},
		{"usr/local/bin/redis-server", "Redis server v=%s\x00redis_version:7.2.4\x00", "redis 7.2.4"},
		{"usr/local/bin/other", "node.js/v20.11.1\x00", ""},
	} {
		data := "\x7fELF\x02\x01\x01" + pad + c.text + pad
		for _, big := range []bool{false, true} {
			var r io.Reader = strings.NewReader(data)
			size := int64(len(data))
			if big { // too large to be held: it streams past
				size += hold
				r = io.MultiReader(strings.NewReader(data), io.LimitReader(zeros{}, hold))
			}
			got, _ := extract(t, c.file, r, size)
			text := ""
			for _, p := range got {
				text = p.Name + " " + p.Version
			}
			if text != c.want {
				t.Errorf("%s (large: %v): %q, want %q", c.file, big, text, c.want)
			}
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestEtcdVersion(t *testing.T) {
	// As `go version -m` tells it of an official build, 3.5.12.
	bi := &debug.BuildInfo{
		Main: debug.Module{Path: "go.etcd.io/etcd/server/v3", Version: "(devel)"},
		Deps: []*debug.Module{
			{Path: "go.etcd.io/bbolt", Version: "v1.3.8"},
			{Path: "go.etcd.io/etcd/api/v3", Version: "v3.5.12", Replace: &debug.Module{Path: "../api", Version: "(devel)"}},
		},
	}
	if v := etcdVersion(bi.Main.Path, bi); v != "v3.5.12" {
		t.Errorf("etcd: %q", v)
	}
	// A client of etcd is not etcd.
	if v := etcdVersion("k8s.io/kubernetes", bi); v != "" {
		t.Errorf("kubernetes: %q", v)
	}
}

func TestLinkerVersion(t *testing.T) {
	for _, c := range []struct{ flags, want string }{
		{"-X main.version=1.2.3", "v1.2.3"},
		{`-w -s "-X=github.com/x/y/version.Version=v1.2.3"`, "v1.2.3"},
		{"-X main.goVersion=1.20.1", ""},
		{"-X main.commit=abcdef -X main.date=2020-01-01", ""},
		{"-X k8s.io/client-go/pkg/version.gitVersion=v1.2.3 -X k8s.io/component-base/version.gitVersion=v1.2.4", "v1.2.4"},
		{"-X other.org/lib.Version=v9.9.9 -X github.com/x/y/cmd.version=v1.0.0", "v1.0.0"},
		{"'-X main.version=unterminated", ""},
	} {
		if got := linkerVersion(c.flags, "github.com/x/y"); got != c.want {
			t.Errorf("%s: %q, want %q", c.flags, got, c.want)
		}
	}
}

func FuzzExtract(f *testing.F) {
	f.Add([]byte("\x7fELF\x02\x01\x01"), "usr/bin/kubelet")
	f.Add(append([]byte("MZ"), make([]byte, 200)...), "x.exe")
	f.Add(append(append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 5000)...), "\xff Go buildinf:\x08\x02"...), "usr/bin/x")
	f.Add(rustProgram(f, `{"packages":[{"name":"a","version":"1"}]}`), "usr/bin/x")
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		for _, r := range []io.Reader{bytes.NewReader(data), io.MultiReader(bytes.NewReader(data))} {
			in := sbom.NewInput(bollwerk.File{Path: name, Size: int64(len(data)), Mode: 0o755}, r)
			// An error is as good as a find; neither must take long or much.
			_, _ = Extractor{}.Extract(context.Background(), in)
		}
		br := io.MultiReader(bytes.NewReader(data))
		in := sbom.NewInput(bollwerk.File{Path: name, Size: hold + 1, Mode: 0o755}, br)
		_, _ = Extractor{}.Extract(context.Background(), in)
	})
}

package rpm

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom"
	rpmdb "github.com/erikvarga/go-rpmdb/pkg"
)

// databases are those that the Go module of a known library carries for its own
// tests: real ones of CentOS 5 to 8, Fedora, UBI on s390x (big-endian), SLE and
// CBL-Mariner, in all three containers.
func databases(t testing.TB) []string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/erikvarga/go-rpmdb").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	names, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "pkg/testdata/*/*"))
	if err != nil || len(names) < 10 {
		t.Fatalf("databases of the module: %v, %v", names, err)
	}
	return names
}

func extract(t testing.TB, data []byte) (bollwerk.Inventory, []string, error) {
	t.Helper()
	in := sbom.NewInput(bollwerk.File{Path: "var/lib/rpm/Packages", Size: int64(len(data))}, bytes.NewBuffer(data))
	inv, err := Extractor{}.Extract(context.Background(), in)
	return inv, in.Problems(), err
}

// TestAgainstLibrary reads each database with the library, from the file, and with
// our reader, from memory, and wants the same packages.
func TestAgainstLibrary(t *testing.T) {
	formats := map[string]bool{}
	for _, name := range databases(t) {
		t.Run(filepath.Base(filepath.Dir(name)), func(t *testing.T) {
			if strings.HasSuffix(name, ".sqlite") {
				// The library needs an SQLite driver, which would come with its own
				// way to the file system; what the table must have is checked below.
				checkSQLite(t, name)
				formats["sqlite"] = true
				return
			}
			if fi, err := os.Stat(name); err == nil && testing.Short() && fi.Size() > 8<<20 {
				t.Skip("a large database")
			}
			db, err := rpmdb.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			list, err := db.ListPackages()
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for _, p := range list {
				if p.Name == "gpg-pubkey" {
					continue
				}
				v := p.Version + "-" + p.Release
				if p.Epoch != nil && *p.Epoch != 0 {
					v = fmt.Sprintf("%d:%s", *p.Epoch, v)
				}
				want = append(want, strings.Join([]string{p.Name, v, p.Arch, p.SourceRpm, p.Modularitylabel}, " "))
			}
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			formats[filepath.Ext(name)] = true
			inv, problems, err := extract(t, data)
			if err != nil || len(problems) > 0 {
				t.Fatalf("%v, problems %v", err, problems)
			}
			var got []string
			files := 0
			for _, p := range inv.Packages {
				src := ""
				if p.Source != nil {
					src = p.Source.Name + "-" + p.Source.Version + ".src.rpm"
				}
				got = append(got, strings.Join([]string{p.Name, p.Version, p.Arch, src, p.Modularity}, " "))
				files += len(p.Files)
			}
			sort.Strings(got)
			sort.Strings(want)
			if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
				t.Errorf("found:\n%s\nwant:\n%s", g, w)
			}
			if files == 0 {
				t.Error("no package owns any file")
			}
		})
	}
	if len(formats) < 3 {
		t.Errorf("not all containers were tried: %v", formats)
	}
}

func checkSQLite(t *testing.T, name string) {
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	inv, problems, err := extract(t, data)
	if err != nil || len(problems) > 0 {
		t.Fatalf("%v, problems %v", err, problems)
	}
	// Counts and samples as `rpm -qa` gives them for these databases.
	want := map[string]struct {
		n      int
		sample string
	}{
		"cbl-mariner-2.0":     {129, "curl 7.76.0-6.cm2"},
		"fedora35":            {137, "libgcc 11.2.1-1.fc35"},
		"fedora35-plus-mongo": {141, "mongodb-org-shell 5.0.9-1.el8"},
	}[filepath.Base(filepath.Dir(name))]
	found := ""
	for _, p := range inv.Packages {
		if s := p.Name + " " + p.Version; s == want.sample {
			found = s
		}
	}
	if len(inv.Packages) != want.n || found == "" {
		var some []string
		for _, p := range inv.Packages {
			some = append(some, p.Name+" "+p.Version)
		}
		t.Errorf("%d packages, want %d with %q: %v", len(inv.Packages), want.n, want.sample, some)
	}
}

// TestDamaged cuts and bends real databases: an answer must come, and it must not
// be a clean one.
func TestDamaged(t *testing.T) {
	for _, name := range databases(t) {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(data) > 6<<20 {
			continue
		}
		whole, _, _ := extract(t, data)
		for _, n := range []int{100, 513, 5000, len(data) / 2, len(data) - 5000} {
			if n <= 0 || n >= len(data) {
				continue
			}
			inv, problems, err := extract(t, data[:n])
			if err == nil && len(problems) == 0 && len(inv.Packages) < len(whole.Packages) {
				t.Errorf("%s cut to %d bytes: %d packages of %d and no complaint", name, n, len(inv.Packages), len(whole.Packages))
			}
		}
	}
	// A b-tree whose only child is itself, chains that go round: fuzzing finds more.
	if _, _, err := extract(t, append([]byte(sqliteMagic), make([]byte, 4096)...)); err == nil {
		t.Error("an empty SQLite header was taken for a database")
	}
}

func TestVendor(t *testing.T) {
	for in, foreign := range map[string]bool{
		"Red Hat, Inc.": false, "Fedora Project": false, "CentOS": false, "SUSE LLC <https://www.suse.com/>": false,
		"AlmaLinux": false, "Amazon Linux": false, "Microsoft Corporation": false, "": false, "(none)": false,
		"Docker": true, "Elasticsearch, Inc": true, "NodeSource": true,
	} {
		if got := vendor(in) != ""; got != foreign {
			t.Errorf("%q: somebody else than the distribution: %v", in, got)
		}
	}
}

func TestManifest(t *testing.T) {
	text := "mariner-release\t2.0-4.cm2\t1653816591\t1653753130\tMicrosoft Corporation\t(none)\t580\tnoarch\t0\tmariner-release-2.0-4.cm2.src.rpm\n" +
		"openssl\t1.1.1k-1.cm2\t1\t1\tMicrosoft Corporation\t2\t1\tx86_64\t2\topenssl-1.1.1k-1.cm2.src.rpm\nbroken line\n"
	in := sbom.NewInput(bollwerk.File{Path: "var/lib/rpmmanifest/container-manifest-2", Size: int64(len(text))}, strings.NewReader(text))
	inv, err := Extractor{}.Extract(context.Background(), in)
	if err != nil || len(inv.Packages) != 2 || len(in.Problems()) != 1 {
		t.Fatalf("%+v, %v, %v", inv.Packages, err, in.Problems())
	}
	if p := inv.Packages[1]; p.Version != "2:1.1.1k-1.cm2" || p.Source.Version != "1.1.1k-1.cm2" || p.Arch != "x86_64" || p.Vendor != "" {
		t.Errorf("%+v", p)
	}
}

func FuzzDatabase(f *testing.F) {
	for _, name := range databases(f) {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data[:min(len(data), 32<<10)])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		inv, _, _ := extract(t, data)
		for _, p := range inv.Packages {
			if p.Name == "" || p.Version == "" {
				t.Fatalf("package without name or version: %+v", p)
			}
		}
	})
}

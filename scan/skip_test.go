package scan_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/artifact/dir"
	"github.com/bollwerk/bollwerk/sbom/all"
	"github.com/bollwerk/bollwerk/scan"
)

// What somebody left out on purpose is said, and is no gap in what was checked.
func TestSkipIsNoGap(t *testing.T) {
	root := t.TempDir()
	for name, content := range map[string]string{"a/requirements.txt": "jinja2==2.10\n", "b/requirements.txt": "flask==1.0\n"} {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	src, err := dir.Open(root, false, dir.Options{Skip: []string{"b"}})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	set, err := all.Set()
	if err != nil {
		t.Fatal(err)
	}
	r, err := scan.Artifact(context.Background(), src, scan.Options{Extractors: set})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Packages) != 1 || r.Packages[0].Name != "jinja2" {
		t.Errorf("packages %v", r.Packages)
	}
	i := slices.IndexFunc(r.Coverage, func(c bollwerk.Coverage) bool { return c.Area == "files" })
	if i < 0 {
		t.Fatalf("coverage %v", r.Coverage)
	}
	c := r.Coverage[i]
	if c.Verdict != bollwerk.Pass || c.Checked != c.Total || c.Cause != "1 files or folders were left out by --skip" || !slices.Equal(c.Examples, []string{"b"}) {
		t.Errorf("%+v", c)
	}
}

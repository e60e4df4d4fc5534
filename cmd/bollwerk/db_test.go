package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk/vuln"
	"github.com/bollwerk/bollwerk/vuln/epss"
	"github.com/bollwerk/bollwerk/vuln/kev"
)

// dbMirror is a folder in the layout of the bulk export, with both feeds.
func dbMirror(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	w, err := z.Create("GHSA-1.json")
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write([]byte(`{"id":"GHSA-1","aliases":["CVE-2024-1"],"modified":"2024-01-01T00:00:00Z","summary":"a title",
 "affected":[{"package":{"ecosystem":"npm","name":"lodash"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"4.17.21"}]}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{
		"osv/ecosystems.txt":      "npm\n",
		"osv/npm/all.zip":         buf.String(),
		"osv/npm/modified_id.csv": "2024-01-01T00:00:00Z,GHSA-1\n",
		kev.FileName:              `{"dateReleased":"2026-08-07T00:00:00Z","count":1,"vulnerabilities":[{"cveID":"CVE-2024-1","dateAdded":"2024-02-01"}]}`,
		epss.FileName:             "#model_version:x,score_date:2026-08-16T00:00:00Z\ncve,epss,percentile\nCVE-2024-1,0.5,0.9\n",
	} {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// dbRun runs a command line with its cache in a folder.
func dbRun(t *testing.T, cache string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	e := &env{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, version: "test", getenv: func(k string) string {
		if k == "BOLLWERK_CACHE_DIR" {
			return cache
		}
		return ""
	}}
	code = run(context.Background(), e, args)
	return code, out.String(), errs.String()
}

func TestDBBuildStatusVerify(t *testing.T) {
	cache := filepath.Join(t.TempDir(), "cache")
	// Without a database the snapshot that ships with the program is what scans use.
	if code, out, errs := dbRun(t, cache, "db", "status"); code != exitClean || !strings.Contains(out, "bollwerk db update") {
		t.Errorf("status without a database: %d, %s%s", code, out, errs)
	}
	if err := os.Remove(filepath.Join(cache, "advisories.db")); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := dbRun(t, cache, "db", "build", "--from", dbMirror(t)); code != exitClean || strings.Contains(errs, "warning") {
		t.Fatalf("build: %d, %s", code, errs)
	}
	code, out, errs := dbRun(t, cache, "db", "status", "--format", "json")
	var st vuln.Status
	if code != exitClean || errs != "" || json.Unmarshal([]byte(out), &st) != nil {
		t.Fatalf("status: %d, %s%s", code, out, errs)
	}
	if st.Info.Records != 1 || st.KEV != 1 || st.EPSS != 1 || st.Info.KEVDate != "2026-08-07" || st.Path != filepath.Join(cache, "advisories.db") {
		t.Errorf("got %+v", st)
	}
	if code, out, _ := dbRun(t, cache, "db", "status"); code != exitClean || !strings.Contains(out, "npm") || !strings.Contains(out, "2024-01-01") {
		t.Errorf("status: %d, %s", code, out)
	}
	if code, out, errs := dbRun(t, cache, "db", "verify"); code != exitClean || !strings.Contains(out, "whole") {
		t.Errorf("verify: %d, %s%s", code, out, errs)
	}
	data, err := os.ReadFile(st.Path)
	if err != nil {
		t.Fatal(err)
	}
	data[4200] ^= 1
	if err := os.WriteFile(st.Path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := dbRun(t, cache, "db", "verify"); code != exitFailed || !strings.Contains(errs, "bollwerk db import") {
		t.Errorf("verify of a damaged file: %d, %s", code, errs)
	}
}

func TestDBBuildWithoutFeeds(t *testing.T) {
	dir := dbMirror(t)
	for _, n := range []string{kev.FileName, epss.FileName} {
		if err := os.Remove(filepath.Join(dir, n)); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(t.TempDir(), "x.db")
	code, _, errs := dbRun(t, t.TempDir(), "db", "build", "--from", dir, "--output", out)
	if code != exitClean || !strings.Contains(errs, kev.FileName) || !strings.Contains(errs, epss.FileName) {
		t.Errorf("a missing feed is not said: %d, %s", code, errs)
	}
}

func TestDBExportImport(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	if code, _, errs := dbRun(t, from, "db", "build", "--from", dbMirror(t)); code != exitClean {
		t.Fatal(errs)
	}
	file := filepath.Join(t.TempDir(), "travel.db.zst")
	if code, _, errs := dbRun(t, from, "db", "export", file); code != exitClean {
		t.Fatal(errs)
	}
	if code, _, errs := dbRun(t, to, "db", "import", file); code != exitClean || !strings.Contains(errs, "2024-01-01") {
		t.Fatal(errs)
	}
	if code, _, errs := dbRun(t, to, "db", "verify"); code != exitClean {
		t.Error(errs)
	}
	if err := os.WriteFile(file, []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := dbRun(t, to, "db", "import", file); code != exitFailed || !strings.Contains(errs, file) {
		t.Errorf("import of another file: %d, %s", code, errs)
	}
	if code, _, errs := dbRun(t, to, "db", "verify"); code != exitClean {
		t.Errorf("after a refused import: %s", errs)
	}
}

func TestDBUpdate(t *testing.T) {
	dir := dbMirror(t)
	s := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer s.Close()
	cache := t.TempDir()
	args := []string{"db", "update", "--mirror", s.URL + "/osv", "--kev", s.URL + "/" + kev.FileName, "--epss", s.URL + "/" + epss.FileName}
	code, out, errs := dbRun(t, cache, args...)
	if code != exitClean || out != "" || !strings.Contains(errs, "1 archives") {
		t.Fatalf("%d, %s%s", code, out, errs)
	}
	if code, _, errs := dbRun(t, cache, args...); code != exitClean || !strings.Contains(errs, "1 unchanged, 0 archives") {
		t.Errorf("a second time: %d, %s", code, errs)
	}
	before, err := os.ReadFile(filepath.Join(cache, "advisories.db"))
	if err != nil {
		t.Fatal(err)
	}
	// A feed that is not there: said, with what to do, and the database stays.
	if err := os.Remove(filepath.Join(dir, kev.FileName)); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := dbRun(t, cache, args...); code != exitFailed || !strings.Contains(errs, "--kev") || !strings.Contains(errs, s.URL) {
		t.Errorf("a missing feed: %d, %s", code, errs)
	}
	after, err := os.ReadFile(filepath.Join(cache, "advisories.db"))
	if err != nil || !bytes.Equal(before, after) {
		t.Error("a failed update touched the database in use", err)
	}
	if code, _, errs := dbRun(t, cache, append(args[:4:4], "--kev", "none", "--epss", "none")...); code != exitClean || !strings.Contains(errs, "no known exploited") {
		t.Errorf("without feeds: %d, %s", code, errs)
	}
	// The same as one step from a URL.
	outFile := filepath.Join(t.TempDir(), "url.db")
	if code, _, errs := dbRun(t, t.TempDir(), "db", "build", "--from", s.URL+"/osv", "--kev", "none", "--epss", "none", "--output", outFile); code != exitClean {
		t.Errorf("build from a URL: %d, %s", code, errs)
	}
}

func TestDBUsage(t *testing.T) {
	for _, args := range [][]string{
		{"db", "build"}, {"db", "status", "--format", "xml"}, {"db", "status", "extra"}, {"db", "export"}, {"db", "import", "a", "b"},
		{"db", "update", "--stall", "0s"}, {"db", "verify", "--unheard-of"}, {"db", "frobnicate"},
	} {
		if code, _, errs := dbRun(t, t.TempDir(), args...); code != exitUsage {
			t.Errorf("%v: exit %d, %s", args, code, errs)
		}
	}
}

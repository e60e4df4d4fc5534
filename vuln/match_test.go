package vuln_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/vuln"
	"github.com/bollwerk/bollwerk/vuln/osv"
)

var update = flag.Bool("update", false, "rewrite the expectations of the stories from what the matcher says; read the diff")

// buildTime is when every test database is built.
var buildTime = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// records is a source of OSV records given as JSON texts.
type records struct {
	texts []string
	kev   map[string]bollwerk.KEV
	epss  map[string]bollwerk.EPSS
}

func (records) Name() string { return "test" }

func (r records) Read(_ context.Context, b *vuln.Builder) error {
	for _, t := range r.texts {
		a, err := osv.Parse([]byte(t))
		if err != nil {
			return err
		}
		if err := b.Add(a); err != nil {
			return err
		}
	}
	b.AddKEV("2026-11-20", r.kev)
	for n, e := range r.epss {
		b.AddEPSS(n, e)
	}
	b.SetEPSSDate("2026-11-21")
	return nil
}

func buildDB(t testing.TB, src ...vuln.Source) *vuln.DB {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.db")
	if _, err := vuln.Build(context.Background(), vuln.BuildOptions{Output: path, Sources: src, Now: buildTime}); err != nil {
		t.Fatal(err)
	}
	db, err := vuln.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := db.Verify(context.Background()); err != nil {
		t.Fatalf("a database just built does not verify: %v", err)
	}
	return db
}

// TestStories runs testdata/match/*.txt. Each file holds records and, for packages,
// what is expected:
//
//	record
//	{ an OSV record }
//
//	match ECOSYSTEM NAME VERSION [source=NAME@VERSION] [module=LABEL] [goos=…] [goarch=…] [symbols=a,b]
//	----
//	ID verdict kind severity score fixed=[…] aliases=[…]
//	  the reason
//
// An underscore in ECOSYSTEM stands for a blank; "-" is an empty version.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/match/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no stories", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) { runStory(t, f) })
	}
}

func runStory(t *testing.T, file string) {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var src records
	src.kev, src.epss = map[string]bollwerk.KEV{}, map[string]bollwerk.EPSS{}
	blocks := strings.Split(strings.TrimRight(string(data), "\n"), "\n\n")
	for _, b := range blocks {
		lines := strings.Split(b, "\n")
		for len(lines) > 0 && strings.HasPrefix(lines[0], "#") {
			lines = lines[1:]
		}
		if len(lines) == 0 {
			continue
		}
		f := strings.Fields(lines[0])
		switch f[0] {
		case "record":
			src.texts = append(src.texts, strings.Join(lines[1:], "\n"))
		case "kev":
			src.kev[f[1]] = bollwerk.KEV{DateAdded: f[2], DueDate: f[3], Ransomware: len(f) > 4}
		case "epss":
			var e bollwerk.EPSS
			if _, err := fmt.Sscan(f[2]+" "+f[3], &e.Score, &e.Percentile); err != nil {
				t.Fatal(err)
			}
			src.epss[f[1]] = e
		}
	}
	db := buildDB(t, src)
	var out bytes.Buffer
	checks := 0
	for i, b := range blocks {
		if i > 0 {
			out.WriteString("\n\n")
		}
		head, want, ok := strings.Cut(b, "\n----")
		if !ok {
			out.WriteString(b)
			continue
		}
		lines := strings.Split(head, "\n")
		cmd := lines[len(lines)-1]
		got := tell(t, db, cmd)
		checks++
		if strings.TrimPrefix(want, "\n") != got && !*update {
			t.Errorf("%s\n got:\n%s\nwant:\n%s", cmd, got, strings.TrimPrefix(want, "\n"))
		}
		out.WriteString(head + "\n----")
		if got != "" {
			out.WriteString("\n" + got)
		}
	}
	if checks == 0 {
		t.Fatal("the story checks nothing")
	}
	if *update {
		if err := os.WriteFile(file, append(out.Bytes(), '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// tell answers one line of a story.
func tell(t *testing.T, db *vuln.DB, line string) string {
	f := strings.Fields(line)
	if f[0] == "covers" {
		return fmt.Sprint(db.Covers(bollwerk.Ecosystem(strings.ReplaceAll(f[1], "_", " "))))
	}
	if f[0] != "match" || len(f) < 4 {
		t.Fatalf("%q: want match or covers", line)
	}
	p := bollwerk.Package{Ecosystem: bollwerk.Ecosystem(strings.ReplaceAll(f[1], "_", " ")), Name: f[2], Version: f[3]}
	if p.Version == "-" {
		p.Version = ""
	}
	all := false
	for _, o := range f[4:] {
		k, v, _ := strings.Cut(o, "=")
		switch k {
		case "source":
			n, ver, _ := strings.Cut(v, "@")
			p.Source = &bollwerk.SourcePackage{Name: n, Version: ver}
		case "module":
			p.Modularity = v
		case "goos":
			p.GoOS = v
		case "goarch":
			p.GoArch = v
		case "symbols":
			p.Symbols = strings.Split(v, ",")
		case "json":
			all = true
		default:
			t.Fatalf("%q: unknown option %q", line, k)
		}
	}
	ms, err := db.Match(context.Background(), p)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	var b strings.Builder
	for _, m := range ms {
		if m.Aliases == nil || m.FixedIn == nil {
			t.Errorf("%s: %s has a nil list", line, m.ID)
		}
		if all {
			j, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "%s\n", j)
			continue
		}
		fmt.Fprintf(&b, "%s %s %s %s %.1f fixed=%v aliases=%v\n", m.ID, m.Verdict, m.Kind, m.Severity, m.Score, m.FixedIn, m.Aliases)
		if m.Reachable != nil {
			fmt.Fprintf(&b, "  reachable: %v\n", *m.Reachable)
		}
		fmt.Fprintf(&b, "  %s\n", m.Reason)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/bollwerk/bollwerk/internal/terminal"
	"github.com/bollwerk/bollwerk/vuln"
	"github.com/bollwerk/bollwerk/vuln/epss"
	"github.com/bollwerk/bollwerk/vuln/kev"
	"github.com/bollwerk/bollwerk/vuln/osv"
)

func newDBCommand(e *env) *cobra.Command {
	c := &cobra.Command{
		Use:   "db",
		Short: "build, update, move and check the advisory database",
		Long: `The advisory database is one read-only file, compiled from the OSV bulk export,
CISA's catalogue of known exploited vulnerabilities and FIRST's EPSS scores.
--db FILE picks another one than advisories.db in the cache folder.

Exit codes: 0 done, 2 usage, 3 the work could not be done.`,
		Args: onlyVerbs,
		RunE: showHelp,
	}
	c.AddCommand(newDBStatusCommand(e), newDBUpdateCommand(e), newDBBuildCommand(e),
		newDBExportCommand(e), newDBImportCommand(e), newDBVerifyCommand(e))
	return c
}

func noArguments(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError(fmt.Errorf("%s takes no argument, got %q; see `%s --help`", c.CommandPath(), args[0], c.CommandPath()))
	}
	return nil
}

func oneFile(c *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usageError(fmt.Errorf("%s wants one file, got %d; see `%s --help`", c.CommandPath(), len(args), c.CommandPath()))
	}
	return nil
}

// dbStatusFlags are the flags of `bollwerk db status`.
type dbStatusFlags struct{ format string }

func newDBStatusCommand(e *env) *cobra.Command {
	var f dbStatusFlags
	c := &cobra.Command{
		Use:   "status",
		Short: "say what the database in use knows, and how old it is",
		Args:  noArguments,
		RunE:  func(*cobra.Command, []string) error { return runDBStatus(e, f) },
	}
	c.Flags().StringVarP(&f.format, "format", "f", "table", "how to print: table or json")
	return c
}

func runDBStatus(e *env, f dbStatusFlags) error {
	if f.format != "table" && f.format != "json" {
		return usageError(fmt.Errorf("--format %q: want table or json", f.format))
	}
	db, cause, err := openDatabase(e)
	if err != nil {
		return err
	}
	if db == nil {
		return errors.New(cause)
	}
	defer db.Close()
	st := db.Status()
	if f.format == "json" {
		enc := json.NewEncoder(e.stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(st)
	}
	return printDBStatus(e.stdout, st, time.Now())
}

func printDBStatus(out io.Writer, st vuln.Status, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	kind := "complete"
	switch {
	case st.Info.Starter:
		kind = "the snapshot that ships with the program; `bollwerk db update` fetches today's"
	case st.FactsOnly:
		kind = "facts only, without titles and descriptions"
	}
	fmt.Fprintf(w, "file\t%s\n", terminal.Clean(st.Path, 0))
	fmt.Fprintf(w, "content\t%s\n", kind)
	fmt.Fprintf(w, "advisories as of\t%s (%s)\n", st.Info.AsOf.Format(time.DateOnly), age(now, st.Info.AsOf))
	fmt.Fprintf(w, "built\t%s\n", st.Info.Built.Format(time.RFC3339))
	fmt.Fprintf(w, "records\t%d, %d of them withdrawn, on %d packages\n", st.Info.Records, st.Withdrawn, st.Packages)
	fmt.Fprintf(w, "known exploited\t%s\n", counted(st.KEV, st.Info.KEVDate))
	fmt.Fprintf(w, "EPSS scores\t%s\n", counted(st.EPSS, st.Info.EPSSDate))
	fmt.Fprintf(w, "size\t%.1f MB, format %s\n", float64(st.Size)/1e6, st.Format)
	fmt.Fprintf(w, "digest\t%s\n\n", st.Info.Digest)
	fmt.Fprintf(w, "ECOSYSTEM\tRECORDS\tPACKAGES\tNEWEST\t\n")
	for _, i := range st.Ecosystems {
		note := ""
		if i.FixedOnly {
			note = "fixed issues only"
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\n", terminal.Clean(string(i.Ecosystem), 60), i.Records, i.Packages, i.Newest.Format(time.DateOnly), note)
	}
	return w.Flush()
}

func counted(n int, date string) string {
	if n == 0 {
		return "none in this database"
	}
	return fmt.Sprintf("%d, as of %s", n, terminal.Clean(date, 32))
}

func age(now, t time.Time) string {
	switch days := int(now.Sub(t).Hours() / 24); {
	case t.IsZero():
		return "not known"
	case days <= 0:
		return "today"
	case days == 1:
		return "yesterday"
	default:
		return fmt.Sprintf("%d days ago", days)
	}
}

// dbBuildFlags are the flags of `bollwerk db build`.
type dbBuildFlags struct {
	from, output       string
	factsOnly, starter bool
	sync               syncFlags
}

func newDBBuildCommand(e *env) *cobra.Command {
	var f dbBuildFlags
	c := &cobra.Command{
		Use:   "build --from DIR|URL --output FILE",
		Short: "compile a mirror of advisories into a database file",
		Long: `Compiles a mirror into one file. The mirror has the layout of the OSV bulk export,
<ECOSYSTEM>/all.zip, directly or in a folder osv. KEV and EPSS are taken from files
named ` + kev.FileName + ` and ` + epss.FileName + `
beside it; without them nothing is ranked by exploitation, and the status says so.
A URL is fetched first, into the cache folder.`,
		Example: `  bollwerk db build --from /srv/advisories --output advisories.db
  bollwerk db build --from /srv/advisories --facts-only --output advisories.db.zst`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return runDBBuild(c.Context(), e, f) },
	}
	fl := c.Flags()
	fl.StringVar(&f.from, "from", "", "mirror: a `DIR` or URL")
	fl.StringVarP(&f.output, "output", "o", "", "`FILE` to write (default: the database in use); .zst at the end compresses it for transport")
	fl.BoolVar(&f.factsOnly, "facts-only", false, "leave out titles, descriptions and references")
	fl.BoolVar(&f.starter, "starter", false, "make the snapshot that ships with the program: facts only, and every result made with it is degraded")
	f.sync.addTo(c)
	return c
}

func runDBBuild(ctx context.Context, e *env, f dbBuildFlags) error {
	if f.from == "" {
		return usageError(errors.New("db build: --from DIR|URL says what to compile"))
	}
	output := f.output
	if output == "" {
		var err error
		if output, err = e.dbPath(); err != nil {
			return err
		}
	}
	bar := newProgress(e)
	defer bar.done()
	dir := f.from
	if u, err := url.Parse(f.from); err == nil && (u.Scheme == "http" || u.Scheme == "https") {
		f.sync.mirror = f.from
		if dir, err = f.sync.run(ctx, e, bar); err != nil {
			return err
		}
	}
	return buildDatabase(ctx, e, bar, osv.Folder{Root: dir, Only: f.sync.ecosystems}, vuln.BuildOptions{Output: output, FactsOnly: f.factsOnly, Starter: f.starter})
}

// buildDatabase compiles a folder and says what came out.
func buildDatabase(ctx context.Context, e *env, bar *progress, folder osv.Folder, o vuln.BuildOptions) error {
	dir := folder.Root
	o.Sources = []vuln.Source{folder}
	missing := []string{}
	for _, s := range []struct {
		name, what string
		source     func(string) vuln.Source
	}{
		{kev.FileName, "known exploited vulnerabilities", func(p string) vuln.Source { return kev.File{Path: p} }},
		{epss.FileName, "EPSS scores", func(p string) vuln.Source { return epss.File{Path: p} }},
	} {
		if p, ok := beside(dir, s.name); ok {
			o.Sources = append(o.Sources, s.source(p))
		} else {
			missing = append(missing, s.what+" ("+s.name+")")
		}
	}
	o.Now = time.Now()
	o.Progress = func(what string, done, total int64) {
		switch {
		case total > 0:
			bar.show("compiling: %d of %d %s", done, total, what)
		case done > 0:
			bar.show("compiling: %d %s", done, what)
		default:
			bar.show("%s", what)
		}
	}
	st, err := vuln.Build(ctx, o)
	bar.done()
	if err != nil {
		return err
	}
	for _, m := range missing {
		e.say("warning: %s has no %s", terminal.Clean(dir, 0), m)
	}
	e.say("%s: %d advisories as of %s, %.1f MB", terminal.Clean(st.Path, 0), st.Info.Records, st.Info.AsOf.Format(time.DateOnly), float64(st.Size)/1e6)
	return nil
}

// beside finds a feed in the mirror's folder, or next to its osv folder, compressed
// or not.
func beside(dir, name string) (string, bool) {
	for _, d := range []string{dir, filepath.Dir(filepath.Clean(dir))} {
		for _, n := range []string{name, strings.TrimSuffix(name, ".gz")} {
			p := filepath.Join(d, n)
			if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() {
				return p, true
			}
		}
	}
	return "", false
}

func newDBExportCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "export FILE",
		Short: "copy the database to a file for a machine without network",
		Long: `Verifies the database, copies it to FILE and writes FILE.sha256 beside it. A name
that ends in .zst gets it compressed. Carry both to the other machine and run
bollwerk db import FILE there.`,
		Args: oneFile,
		RunE: func(c *cobra.Command, args []string) error { return runDBExport(c.Context(), e, args[0]) },
	}
}

func runDBExport(ctx context.Context, e *env, to string) error {
	path, err := e.dbPath()
	if err != nil {
		return err
	}
	db, err := vuln.Open(path)
	if err != nil {
		return err
	}
	defer db.Close()
	bar := newProgress(e)
	bar.show("exporting")
	err = vuln.Export(ctx, db, to)
	bar.done()
	if err != nil {
		return err
	}
	e.say("%s: advisories as of %s", terminal.Clean(to, 0), db.Info().AsOf.Format(time.DateOnly))
	return nil
}

func newDBImportCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "import FILE",
		Short: "take a database that was exported elsewhere",
		Long: `Verifies FILE completely (and FILE.sha256, if it is there) and only then puts it in
place of the database in use.`,
		Args: oneFile,
		RunE: func(c *cobra.Command, args []string) error { return runDBImport(c.Context(), e, args[0]) },
	}
}

func runDBImport(ctx context.Context, e *env, from string) error {
	path, err := e.dbPath()
	if err != nil {
		return err
	}
	bar := newProgress(e)
	bar.show("verifying")
	st, err := vuln.Import(ctx, from, path)
	bar.done()
	if err != nil {
		return err
	}
	e.say("%s: %d advisories as of %s", terminal.Clean(st.Path, 0), st.Info.Records, st.Info.AsOf.Format(time.DateOnly))
	return nil
}

func newDBVerifyCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "check every checksum and every record of the database",
		Args:  noArguments,
		RunE:  func(c *cobra.Command, _ []string) error { return runDBVerify(c.Context(), e) },
	}
}

func runDBVerify(ctx context.Context, e *env) error {
	path, err := e.dbPath()
	if err != nil {
		return err
	}
	db, err := vuln.Open(path)
	if err != nil {
		return err
	}
	defer db.Close()
	bar := newProgress(e)
	bar.show("verifying")
	err = db.Verify(ctx)
	bar.done()
	if err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "%s: whole, %s\n", terminal.Clean(path, 0), db.Info().Digest)
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/finding"
	"github.com/bollwerk/bollwerk/report"
	"github.com/bollwerk/bollwerk/scan"
)

// scanFlags are the flags of `bollwerk scan`.
type scanFlags struct {
	open openFlags

	format, output  string
	all             bool
	failOn          []string
	baseline        string
	coverageBelow   float64
	config          string
	policies        []string
	noStandards     bool
	vex             []string
	provenance      string
	noSecrets       bool
	noCache         bool
	cacheMB         int
	memoryMB        int
	maxDatabaseDays int
}

func newScanCommand(e *env) *cobra.Command {
	var f scanFlags
	c := &cobra.Command{
		Use:   "scan TARGET",
		Short: "find out what is wrong with an image, directory, host, file or SBOM",
		Long: `Reads TARGET once, finds the packages in it, matches them with advisories, judges
it by policies, and says what to do first.

TARGET is an image (registry/repository:tag), a path, / for this host, or one of
these prefixes with something behind it: registry: oci: oci-archive: docker-archive:
containerd: docker: podman: dir: file: sbom:

Exit codes: 0 nothing that --fail-on asks for, 1 findings that it asks for, 2 usage,
3 the work could not be done, 4 nothing to scan, 5 coverage below
--fail-coverage-below.`,
		Example: `  bollwerk scan debian:12
  bollwerk scan .
  bollwerk scan --fail-on high+fixable,kev registry.example/shop:1.4
  bollwerk scan --format sarif --output shop.sarif oci:build/image
  bollwerk scan --format cyclonedx --output shop.cdx.json shop.tar && bollwerk scan sbom:shop.cdx.json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError(fmt.Errorf("scan wants one target, got %d; see `bollwerk scan --help`", len(args)))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return runScan(c.Context(), e, &f, args[0]) },
	}
	fl := c.Flags()
	fl.StringVarP(&f.format, "format", "f", "table", "how to write the result, `FORMAT`: "+formatList())
	fl.StringVarP(&f.output, "output", "o", "", "write the result to `FILE` instead of standard output")
	fl.BoolVar(&f.all, "all", false, "list every finding, not only what fits a screen")
	fl.StringArrayVar(&f.failOn, "fail-on", nil, "exit with 1 on these `FINDINGS`: a severity, kev, epss>=0.1, policy, new, fixable, …; joined by + (and) and , (or); may be repeated; none (default "+finding.DefaultThreshold+")")
	fl.StringVar(&f.baseline, "baseline", "", "compare with the JSON result in `FILE`; what it does not have is new")
	fl.Float64Var(&f.coverageBelow, "fail-coverage-below", 0, "exit with 5 when less than this `SHARE` (0 to 1) of what should be checked was")
	fl.StringVar(&f.config, "config", "", "exceptions and policy settings in `FILE` (default: .bollwerk.yaml in the scanned directory, else here)")
	fl.StringArrayVar(&f.policies, "policies", nil, "further policies in `DIR`; may be repeated")
	fl.BoolVar(&f.noStandards, "no-standards", false, "do not judge by policies")
	fl.StringArrayVar(&f.vex, "vex", nil, "statements of OpenVEX, CSAF or CycloneDX in `FILE`; may be repeated")
	fl.StringVar(&f.provenance, "provenance", "", "signature facts for policies: `FILE` written by bollwerk verify --format json")
	fl.BoolVar(&f.noSecrets, "no-secrets", false, "do not look for credentials in files")
	fl.BoolVar(&f.noCache, "no-cache", false, "read every layer, also those that are known")
	fl.IntVar(&f.cacheMB, "cache-size", int(scan.DefaultCacheBytes>>20), "bound of the layer cache in `MB`")
	fl.IntVar(&f.memoryMB, "memory", 64, "bound in `MB` for file contents held while reading")
	fl.IntVar(&f.maxDatabaseDays, "max-db-age", int(scan.DefaultDatabaseAge.Hours()/24), "the result is degraded when the newest advisory is older than `DAYS`; 0: never")
	f.open.register(fl)
	return c
}

// formatList names the formats for the help.
func formatList() string {
	var names []string
	for _, f := range report.Formats() {
		names = append(names, f.Name)
	}
	return strings.Join(names, ", ")
}

func runScan(ctx context.Context, e *env, f *scanFlags, target string) error {
	// The garbage collector may let the heap double before it works; a scanner in a
	// small container must not. The limit is soft: nothing fails when it is exceeded.
	if e.getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(180 << 20)
	}
	format, err := report.Find(f.format)
	if err != nil {
		return usageError(err)
	}
	o := scan.Options{
		Version: e.version, Now: time.Now(),
		Memory: int64(f.memoryMB) << 20, MaxDatabaseAge: time.Duration(f.maxDatabaseDays) * 24 * time.Hour,
	}
	if f.maxDatabaseDays <= 0 {
		o.MaxDatabaseAge = -1
	}
	for _, n := range []struct {
		flag  string
		value int
	}{{"--memory", f.memoryMB}, {"--cache-size", f.cacheMB}} {
		if n.value <= 0 || n.value > 1<<20 {
			return usageError(fmt.Errorf("%s %d: want a number of MB above zero", n.flag, n.value))
		}
	}
	if _, err := f.open.ociOptions(e); err != nil {
		return err // also where the target is none that they speak of: a typing error
	}
	if f.coverageBelow < 0 || f.coverageBelow > 1 {
		return usageError(fmt.Errorf("--fail-coverage-below %s: want a share from 0 to 1", strconv.FormatFloat(f.coverageBelow, 'g', -1, 64)))
	}
	config, err := loadConfig(e, f.config, target)
	if err != nil {
		return err
	}
	failOn := f.failOn
	if len(failOn) == 0 && config != nil {
		failOn = config.FailOn
	}
	threshold, err := finding.ParseThresholds(failOn)
	if err != nil {
		return usageError(fmt.Errorf("--fail-on: %w", err))
	}
	if threshold.NeedsBaseline() && f.baseline == "" {
		return usageError(errors.New("--fail-on asks for new findings: name what they are compared with by --baseline FILE"))
	}
	if f.baseline != "" {
		if o.Baseline, err = loadBaseline(f.baseline); err != nil {
			return err
		}
	}
	if err := f.judgement(e, &o, config); err != nil {
		return err
	}
	db, cause, err := openDatabase(e)
	if err != nil {
		return err
	}
	if db != nil {
		defer db.Close()
	}
	o.Database, o.DatabaseCause = db, cause

	bar := newProgress(e)
	o.Progress = bar.scan
	o.Warn = func(text string) { e.say("bollwerk: %s", text) }
	r, err := scanTarget(ctx, e, f, target, o)
	bar.done()
	if err != nil {
		if errors.Is(err, scan.ErrNothing) {
			return &exitError{exitNothing, err}
		}
		return err
	}
	gate := threshold.Check(r)
	if err := writeResult(e, f, format, r, &gate); err != nil {
		return err
	}
	rememberResult(e, r)
	switch {
	case gate.Failed():
		if f.output != "" || format.Name != "table" && format.Name != "markdown" {
			// The other formats do not say why the command fails.
			e.say("bollwerk: exit 1: %d of %d findings match --fail-on %s", len(gate.Matches), r.Summary.Findings, gate.Threshold)
		}
		return &exitError{code: exitFindings}
	case f.coverageBelow > 0 && r.Summary.Completeness < f.coverageBelow:
		return &exitError{exitCoverage, fmt.Errorf("coverage is %.0f %%, less than the %.0f %% asked for; see the coverage of the result", r.Summary.Completeness*100, f.coverageBelow*100)}
	}
	return nil
}

func loadBaseline(name string) (*finding.Baseline, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, usageError(fmt.Errorf("--baseline: %w", err))
	}
	defer file.Close()
	b, err := finding.Load(file)
	if err != nil {
		return nil, usageError(fmt.Errorf("--baseline %s: %w", name, err))
	}
	return b, nil
}

// writeResult writes to standard output, or to a file that appears whole or not at all.
func writeResult(e *env, f *scanFlags, format report.Format, r *bollwerk.Result, gate *finding.Gate) error {
	o := report.Options{All: f.all, Gate: gate, Baseline: f.baseline, Author: "bollwerk"}
	if f.output == "" || f.output == "-" {
		o.Colour = e.colour()
		o.Width, o.Height = e.size()
		return format.Write(e.stdout, r, o)
	}
	o.All = o.All || format.Name == "table"
	place := f.output
	info, statErr := os.Stat(place)
	if statErr == nil && !info.Mode().IsRegular() {
		// A device or a pipe is written to, never replaced: root could turn /dev/null
		// into an ordinary file.
		return writeThrough(place, func(w io.Writer) error { return format.Write(w, r, o) })
	}
	if real, err := filepath.EvalSymlinks(place); err == nil {
		place = real // the link stays
	}
	// Not os.CreateTemp: a new result gets the mode that the user's umask gives to any
	// new file.
	tmp, err := os.OpenFile(filepath.Join(filepath.Dir(place), fmt.Sprintf(".bollwerk-%016x", rand.Uint64())), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	defer os.Remove(tmp.Name())
	if statErr == nil { // what was private stays private
		if err := tmp.Chmod(info.Mode().Perm()); err != nil {
			tmp.Close()
			return fmt.Errorf("--output %s: %w", f.output, err)
		}
	}
	if err := format.Write(tmp, r, o); err != nil {
		tmp.Close()
		return fmt.Errorf("--output %s: %w", f.output, err)
	}
	if err := tmp.Close(); err != nil {
		return fmt.Errorf("--output %s: %w", f.output, err)
	}
	if err := os.Rename(tmp.Name(), place); err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	return nil
}

// writeThrough writes to something that is no regular file.
func writeThrough(name string, write func(io.Writer) error) error {
	out, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	if err := write(out); err != nil {
		out.Close()
		return fmt.Errorf("--output %s: %w", name, err)
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	return nil
}

// lastResult is where the newest result is kept for `bollwerk explain`.
func lastResult(e *env) (string, error) {
	d, err := e.cacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(d, "last-result.json"), nil
}

// rememberResult keeps the result for `bollwerk explain`. Failing costs nothing but
// that convenience, so it is said and no more.
func rememberResult(e *env, r *bollwerk.Result) {
	name, err := lastResult(e)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(name), 0o700)
	}
	var tmp *os.File
	if err == nil {
		tmp, err = os.CreateTemp(filepath.Dir(name), ".last-*")
	}
	if err == nil {
		defer os.Remove(tmp.Name())
		err = report.JSON(tmp, r, report.Options{})
		if closeErr := tmp.Close(); err == nil {
			err = closeErr
		}
	}
	if err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	if err != nil {
		e.say("bollwerk: the result is not kept for `bollwerk explain`: %v", err)
	}
}

// readLimited reads at most limit bytes and refuses more.
func readLimited(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		return nil, fmt.Errorf("more than %d bytes", limit)
	}
	return b, err
}

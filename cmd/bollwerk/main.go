// Command bollwerk is the command line of the product. Each verb lives in a file
// of its own and holds no logic: it reads flags, composes packages and prints.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/bollwerk/bollwerk/internal/terminal"
)

// Exit codes, a closed list. Findings are never confused with errors.
const (
	exitClean    = 0 // nothing at or above the threshold
	exitFindings = 1 // findings at or above the threshold
	exitUsage    = 2 // the command line or a configuration file is wrong
	exitFailed   = 3 // the work could not be done
	exitNothing  = 4 // there was nothing to scan
	exitCoverage = 5 // less was covered than --fail-coverage-below asks for
)

// exitError carries an exit code to main. A nil err prints nothing.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usageError(err error) error { return &exitError{exitUsage, err} }

// env is the world a verb runs in; tests make their own.
type env struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	version        string

	// Set by persistent flags.
	quiet   bool
	noColor bool
	dbFile  string
}

// cacheDir is where databases and layer results live: $BOLLWERK_CACHE_DIR, else
// "bollwerk" in the user's cache folder.
func (e *env) cacheDir() (string, error) {
	if d := e.getenv("BOLLWERK_CACHE_DIR"); d != "" {
		return d, nil
	}
	if d := e.getenv("XDG_CACHE_HOME"); d != "" {
		return filepath.Join(d, "bollwerk"), nil
	}
	if d := e.getenv("HOME"); d != "" {
		return filepath.Join(d, ".cache", "bollwerk"), nil
	}
	return "", errors.New("no cache folder: set BOLLWERK_CACHE_DIR or HOME")
}

// dbPath is the advisory database in use: --db, $BOLLWERK_DB, else advisories.db
// in the cache folder.
func (e *env) dbPath() (string, error) {
	if e.dbFile != "" {
		return e.dbFile, nil
	}
	if f := e.getenv("BOLLWERK_DB"); f != "" {
		return f, nil
	}
	d, err := e.cacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(d, "advisories.db"), nil
}

// progressTerminal reports whether progress may be drawn on stderr.
func (e *env) progressTerminal() bool {
	f, ok := e.stderr.(*os.File)
	return ok && !e.quiet && term.IsTerminal(int(f.Fd()))
}

// colour reports whether stdout may carry colour.
func (e *env) colour() bool {
	f, ok := e.stdout.(*os.File)
	return ok && !e.noColor && e.getenv("NO_COLOR") == "" && e.getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

// say prints a line for people on stderr unless --quiet is set.
func (e *env) say(format string, args ...any) {
	if !e.quiet {
		e.print(fmt.Sprintf(format, args...))
	}
}

// print writes lines on stderr. Errors and notices carry names that strangers chose.
func (e *env) print(text string) {
	for line := range strings.Lines(text) {
		fmt.Fprintln(e.stderr, terminal.Clean(strings.TrimSuffix(line, "\n"), 0))
	}
}

func newRootCommand(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:   "bollwerk",
		Short: "protects workloads from the pull request to the running process",
		Long: `Bollwerk scans images, directories, hosts and SBOMs and says what to do first.
It works without any network and sends nothing home.

Exit codes: 0 clean, 1 findings at or above the threshold, 2 usage,
3 could not do the work, 4 nothing to scan, 5 incomplete coverage.`,
		Version:       e.version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          onlyVerbs,
		RunE:          showHelp,
	}
	root.SetIn(e.stdin)
	root.SetOut(e.stdout)
	root.SetErr(e.stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError(fmt.Errorf("%w; see `%s --help`", err, c.CommandPath()))
	})
	pf := root.PersistentFlags()
	pf.BoolVarP(&e.quiet, "quiet", "q", false, "print results and errors only")
	pf.BoolVar(&e.noColor, "no-color", false, "never use colour (also: NO_COLOR)")
	pf.StringVar(&e.dbFile, "db", "", "advisory database `FILE` (default: advisories.db in the cache folder; also: BOLLWERK_DB)")
	for _, c := range verbs(e) {
		root.AddCommand(c)
	}
	return root
}

// onlyVerbs are the arguments of a command that only holds other commands: without
// it cobra answers a misspelt verb with the help text and exit code 0.
func onlyVerbs(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	c.SuggestionsMinimumDistance = 2 // letters; cobra sets its default elsewhere
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		hint = fmt.Sprintf("; did you mean `%s %s`?", c.CommandPath(), near[0])
	} else if args[0] == "version" {
		hint = "; the version is printed by `bollwerk --version`"
	}
	return usageError(fmt.Errorf("unknown command %q for `%s`%s; see `%[2]s --help`", args[0], c.CommandPath(), hint))
}

func showHelp(c *cobra.Command, _ []string) error { return c.Help() }

// run executes one command line and returns the exit code.
func run(ctx context.Context, e *env, args []string) int {
	root := newRootCommand(e)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitClean
	}
	var ee *exitError
	if errors.As(err, &ee) {
		if ee.err != nil {
			e.print("bollwerk: " + ee.err.Error())
		}
		return ee.code
	}
	if ctx.Err() != nil {
		fmt.Fprintln(e.stderr, "bollwerk: stopped")
		return exitFailed
	}
	e.print("bollwerk: " + err.Error())
	return exitFailed
}

// buildTag is set by the linker in builds of the Makefile.
var buildTag string

func buildVersion() string {
	if buildTag != "" {
		return buildTag
	}
	if bi, ok := debug.ReadBuildInfo(); ok && bi.Main.Version != "" && bi.Main.Version != "(devel)" {
		return bi.Main.Version
	}
	return "devel"
}

func main() { os.Exit(program()) }

// program is the whole process: a command line in, an exit code out.
func program() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	e := &env{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv, version: buildVersion()}
	return run(ctx, e, os.Args[1:])
}

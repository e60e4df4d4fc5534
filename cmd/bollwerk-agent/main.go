// Command bollwerk-agent protects one node: it sees what processes do, tells what is
// malicious, and stops what is clearly so. Each verb lives in a file of its own and
// holds no logic: it reads flags, composes packages and prints.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/bollwerk/bollwerk/internal/terminal"
)

// Exit codes, a closed list; `doctor` and `status` use the middle ones.
const (
	exitFine     = 0
	exitFindings = 1 // recall, rules: something was detected, a rule is wrong
	exitUsage    = 2 // the command line or a configuration file is wrong
	exitFailed   = 3 // the work could not be done
	exitDegraded = 5 // it works, but less is seen or stopped than there should be
)

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
	stdout, stderr io.Writer
	getenv         func(string) string
	version        string

	// Set by persistent flags.
	noColor bool
	config  string
	state   string
	socket  string
}

// colour reports whether stdout may carry colour.
func (e *env) colour() bool {
	f, ok := e.stdout.(*os.File)
	return ok && !e.noColor && e.getenv("NO_COLOR") == "" && e.getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

// json is where JSON goes: on a terminal with what could act on it escaped, elsewhere as it is.
func (e *env) json() io.Writer {
	if f, ok := e.stdout.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return terminal.JSON(f)
	}
	return e.stdout
}

// print writes lines on stderr. Errors carry names that strangers chose.
func (e *env) print(text string) {
	for line := range strings.Lines(text) {
		e.note(strings.TrimSuffix(line, "\n"))
	}
}

// note writes one line on stderr, whatever is in it.
func (e *env) note(text string) { fmt.Fprintln(e.stderr, terminal.Clean(text, maxLine)) }

// maxLine is the most columns that a line on stderr has.
const maxLine = 600

func newRootCommand(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:   "bollwerk-agent",
		Short: "protects a node and the containers on it",
		Long: `The agent sees programs, files, connections, DNS and privileges of every container
and of the host, detects attacks, and stops what is clearly malicious in containers.
It needs no hub and no network, and sends nothing anywhere.

Exit codes: 0 fine, 1 something was found, 2 usage, 3 could not do the work,
5 degraded: it works, but less is seen or stopped than there should be.`,
		Version:       e.version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          onlyVerbs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetOut(e.stdout)
	root.SetErr(e.stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError(fmt.Errorf("%w; see `%s --help`", err, c.CommandPath()))
	})
	pf := root.PersistentFlags()
	pf.BoolVar(&e.noColor, "no-color", false, "never use colour (also: NO_COLOR)")
	pf.StringVar(&e.config, "config", "", "configuration `FILE` (default: /etc/bollwerk/agent.yaml if it exists; also: BOLLWERK_AGENT_CONFIG)")
	pf.StringVar(&e.state, "state", "", "`FOLDER` of profiles, flight recorder and snapshots (default: /var/lib/bollwerk-agent; also: BOLLWERK_AGENT_STATE)")
	pf.StringVar(&e.socket, "socket", "", "`FILE` of the control socket (default: /run/bollwerk-agent.sock; also: BOLLWERK_AGENT_SOCKET)")
	for _, c := range verbs(e) {
		root.AddCommand(c)
	}
	root.SetHelpCommand(newHelpCommand())
	// Its own answer to a misspelt shell is the help and exit code 0.
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.Args, c.RunE = onlyVerbs, func(c *cobra.Command, _ []string) error { return c.Help() }
		}
	}
	return root
}

// newHelpCommand is cobra's, but for a misspelt verb, which that answers with the help of the
// whole program and exit code 0.
func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use: "help [VERB…]", Short: "say more about a verb",
		RunE: func(c *cobra.Command, args []string) error {
			of, rest, err := c.Root().Find(args)
			if err != nil || of == nil {
				return onlyVerbs(c.Root(), args)
			}
			if len(rest) > 0 {
				return onlyVerbs(of, rest)
			}
			return of.Help()
		},
	}
}

// onlyVerbs refuses a misspelt verb, which cobra would answer with the help and exit code 0.
func onlyVerbs(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	c.SuggestionsMinimumDistance = 2
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		hint = fmt.Sprintf("; did you mean `%s %s`?", c.CommandPath(), near[0])
	}
	return usageError(fmt.Errorf("unknown command %q for `%s`%s; see `%[2]s --help`", args[0], c.CommandPath(), hint))
}

func noArguments(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError(fmt.Errorf("`%s` takes no arguments, got %q; see `%[1]s --help`", c.CommandPath(), args[0]))
	}
	return nil
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, e *env, args []string) int {
	root := newRootCommand(e)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitFine
	}
	var ee *exitError
	if errors.As(err, &ee) {
		if ee.err != nil {
			e.print("bollwerk-agent: " + ee.err.Error())
		}
		return ee.code
	}
	e.print("bollwerk-agent: " + err.Error())
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

func program() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	e := &env{stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv, version: buildVersion()}
	return run(ctx, e, os.Args[1:])
}

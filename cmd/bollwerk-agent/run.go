package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/agent"
)

type runFlags struct {
	json, events bool
	metrics      string
	backend      string
	rules, falco []string
	noRecorder   bool
	verbose      bool
}

func newRunCommand(e *env) *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:   "run",
		Short: "watch, detect and protect until stopped",
		Long: `Runs the agent in the foreground. Detections are printed as they are made: for people,
or with --stdout-json as JSON lines, each with type, action (seen,
denied or killed), container, time, rule, severity, process, workload and more. With --events every event is printed, too.

Without a configuration only what is clearly malicious is stopped, and only in
containers; the host is never touched.

Exit codes: 0 stopped by a signal, 2 usage, 3 could not run.`,
		Example: `  bollwerk-agent run
  bollwerk-agent run --stdout-json --events --metrics 127.0.0.1:9469`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return runRun(c.Context(), e, &f) },
	}
	fl := c.Flags()
	fl.BoolVar(&f.json, "stdout-json", false, "print JSON lines")
	fl.BoolVar(&f.events, "events", false, "print events besides detections (with --stdout-json)")
	fl.StringVar(&f.metrics, "metrics", "", "`ADDRESS` for /metrics and /healthz, such as 127.0.0.1:9469")
	fl.StringVar(&f.backend, "backend", "", "auto, tracing (no LSM) or none (no BPF)")
	fl.StringArrayVar(&f.rules, "rules", nil, "`FOLDER` of further event policies (repeatable)")
	fl.StringArrayVar(&f.falco, "falco", nil, "Falco rule `FILE` (repeatable, later ones override)")
	fl.BoolVar(&f.noRecorder, "no-recorder", false, "keep no flight recorder")
	fl.BoolVarP(&f.verbose, "verbose", "v", false, "log what the agent does on stderr")
	return c
}

func runRun(ctx context.Context, e *env, f *runFlags) error {
	c, err := e.configuration()
	if err != nil {
		return err
	}
	if f.metrics != "" {
		c.Metrics = f.metrics
	}
	if f.backend != "" {
		c.Backend = f.backend
	}
	c.Rules = append(c.Rules, f.rules...)
	c.Falco = append(c.Falco, f.falco...)
	c.Recorder.Off = c.Recorder.Off || f.noRecorder
	if f.events && !f.json {
		return usageError(errors.New("--events prints JSON: use it with --stdout-json"))
	}
	if err := c.Validate(); err != nil {
		return usageError(err)
	}
	level := slog.LevelWarn
	if f.verbose {
		level = slog.LevelDebug
	}
	parts, err := e.parts(c, slog.New(slog.NewTextHandler(e.stderr, &slog.HandlerOptions{Level: level})))
	if err != nil {
		return err
	}
	parts.Detections = e.stdout
	if f.json {
		parts.Detections = e.json()
	}
	switch {
	case !f.json:
		colour := e.colour()
		parts.Show = func(w io.Writer, d *bollwerk.Detection) { printDetection(w, d, colour) }
	case f.events:
		parts.Events = parts.Detections
	}
	// Who reads the lines may end; who guards a machine goes on, and says so in its status.
	gone := make(chan os.Signal, 1)
	signal.Notify(gone, syscall.SIGPIPE)
	defer signal.Stop(gone)
	release, warning, err := agent.Claim(c)
	if err != nil {
		return err
	}
	defer release()
	if warning != "" {
		e.print("warning: " + warning)
	}
	parts.Ready = func(s agent.Started) { sayReady(e.stderr, s) }
	if err := agent.Run(ctx, *parts); err != nil {
		if os.Geteuid() != 0 {
			return fmt.Errorf("%w; the agent is to be run as root", err)
		}
		return err
	}
	return nil
}

func sayReady(w io.Writer, s agent.Started) {
	fmt.Fprintf(w, "watching after %d ms: %d workloads, %d rules, %d detectors\n", s.Took.Round(time.Millisecond).Milliseconds(), s.Workloads, s.Rules, s.Detectors)
	if n := len(s.Causes); n > 0 {
		fmt.Fprintf(w, "degraded: %d things are seen or stopped less well than they could be; see `bollwerk-agent doctor`\n", n)
	}
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/terminal"
	"github.com/bollwerk/bollwerk/sensor"
)

func newDoctorCommand(e *env) *cobra.Command {
	var asJSON bool
	var backend string
	c := &cobra.Command{
		Use:   "doctor",
		Short: "say what this kernel allows, what is lost by it and how to get it",
		Long: `Tries out every means of seeing and stopping on this kernel, as ` + "`run`" + ` does at its start,
and prints what works, what is lost where something does not, and how to get it.
Nothing stays loaded.

Exit codes: 0 everything works, 3 nothing could be tried, 5 something is degraded.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return runDoctor(c.Context(), e, backend, asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().StringVar(&backend, "backend", "", "auto, tracing or none")
	return c
}

func runDoctor(ctx context.Context, e *env, backend string, asJSON bool) error {
	c, err := e.configuration()
	if err != nil {
		return err
	}
	if backend != "" {
		c.Backend = backend
	}
	if err := c.Validate(); err != nil {
		return usageError(err)
	}
	s, err := sensor.Open(ctx, sensor.Options{Log: slog.New(slog.DiscardHandler), NoBPF: c.Backend == "none"}, sources(c)...)
	if err != nil {
		return err
	}
	rows := s.Capabilities()
	if err := s.Close(); err != nil {
		return err
	}
	bad := 0
	for _, r := range rows {
		if r.Verdict != bollwerk.Pass {
			bad++
		}
	}
	if asJSON {
		enc := json.NewEncoder(e.stdout)
		enc.SetIndent("", "  ")
		if err := enc.Encode(rows); err != nil {
			return err
		}
	} else {
		printCapabilities(e.stdout, rows)
	}
	if bad > 0 {
		return &exitError{code: exitDegraded}
	}
	return nil
}

func printCapabilities(w io.Writer, rows []sensor.Capability) {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "WHAT\tVERDICT\tCAN BE\tBY")
	for _, r := range rows {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", terminal.Clean(r.Area, 40), r.Verdict, r.Outcome, terminal.Clean(r.Means, 80))
	}
	_ = tw.Flush()
	n := 0
	for _, r := range rows {
		if r.Verdict == bollwerk.Pass {
			continue
		}
		if n++; n == 1 {
			fmt.Fprintln(w, "\nWhat is lost, and how to get it:")
		}
		fmt.Fprintf(w, "- %s: %s\n", terminal.Clean(r.Area, 40), terminal.Clean(r.Cause, 300))
		if r.Remedy != "" {
			fmt.Fprintf(w, "  → %s\n", terminal.Clean(r.Remedy, 300))
		}
	}
	if n == 0 {
		fmt.Fprintln(w, "\nEverything works.")
	}
}

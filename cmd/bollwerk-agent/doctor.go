package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/agent"
	"github.com/bollwerk/bollwerk/internal/terminal"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/syscalls"
	"github.com/bollwerk/bollwerk/sensor/tracing"
	"github.com/bollwerk/bollwerk/workload"
	identities "github.com/bollwerk/bollwerk/workload/all"
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
	ps, shipped, err := e.eventPolicies(c)
	if err != nil {
		return err
	}
	added := ps[shipped:]
	s, err := sensor.Open(ctx, sensor.Options{Log: slog.New(slog.DiscardHandler), NoBPF: c.Backend == "none"}, sources(c, syscalls.New(syscalls.Config{Off: c.Backend == "none"}), watchesFor(added))...)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		e.note("you are not root: this is what works without; `sudo bollwerk-agent doctor` says what this kernel allows")
	}
	rows := agent.Areas(s.Capabilities())
	if err := s.Close(); err != nil {
		return err
	}
	rows = append(rows, e.runtimes(ctx, c)...)
	bad := 0
	for _, r := range rows {
		if r.Verdict != bollwerk.Pass {
			bad++
		}
	}
	if asJSON {
		if err := encodeJSON(e.json(), rows); err != nil {
			return err
		}
	} else {
		printAreas(e.stdout, rows)
		if slices.ContainsFunc(rows, func(a agent.Area) bool { return a.Name == tracing.AreaFile && a.Verdict != bollwerk.Pass }) {
			printUnseen(e.stdout, added)
		}
	}
	if bad > 0 {
		return &exitError{code: exitDegraded}
	}
	return nil
}

// runtimes asks who can name containers. What is not on this machine is no row.
func (e *env) runtimes(ctx context.Context, c *agent.Config) []agent.Area {
	failed := func(err error) []agent.Area {
		return []agent.Area{{Name: "containers by name", Verdict: bollwerk.NotEvaluated, Cause: err.Error(), Remedy: "see docs/workloads.md, Settings"}}
	}
	names, err := identities.Sources(e.identities(c))
	if err != nil {
		return failed(err)
	}
	r, err := workload.New(workload.Config{Node: c.Node}, names...)
	if err != nil {
		return failed(err)
	}
	found, _ := r.Existing(ctx)
	count := map[string]int{}
	for _, w := range found {
		if w.Container != nil {
			count[w.Container.Runtime]++
		}
	}
	var rows []agent.Area
	for _, s := range r.Sources() {
		if s.Verdict == bollwerk.NotEvaluated {
			continue
		}
		a := agent.Area{Name: "containers of " + s.Name, Verdict: s.Verdict, Outcome: bollwerk.Seen, Cause: s.Cause, Means: []string{fmt.Sprintf("its files and its daemon; %d run now", count[s.Name])}}
		if s.Verdict == bollwerk.Degraded {
			a.Remedy = "see whether " + s.Name + " answers; in a container give the agent the host's folders of it (docs/workloads.md)"
		}
		rows = append(rows, a)
	}
	return rows
}

func printAreas(w io.Writer, rows []agent.Area) {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "WHAT\tVERDICT\tCAN BE\tBY")
	for _, r := range rows {
		by, can := strings.Join(r.Means, " + "), terminal.Clean(string(r.Outcome), 20)
		if len(r.Means) == 0 {
			by, can = "-", "-"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", terminal.Clean(r.Name, 40), verdictWord(r.Verdict), can, terminal.Clean(by, 70))
	}
	_ = tw.Flush()
	n := 0
	remedies := map[string][]string{}
	var order []string
	for _, r := range rows {
		if r.Verdict == bollwerk.Pass {
			continue
		}
		if n++; n == 1 {
			fmt.Fprintln(w, "\nWhat is lost:")
		}
		fmt.Fprintf(w, "- %s: %s\n", terminal.Clean(r.Name, 40), terminal.Clean(r.Cause, 400))
		if r.Remedy != "" {
			if remedies[r.Remedy] == nil {
				order = append(order, r.Remedy)
			}
			remedies[r.Remedy] = append(remedies[r.Remedy], r.Name)
		}
	}
	if n == 0 {
		fmt.Fprintln(w, "\nEverything works.")
		return
	}
	if len(order) > 0 {
		fmt.Fprintln(w, "\nHow to get it:")
	}
	for _, r := range order {
		fmt.Fprintf(w, "- %s (%s)\n", terminal.Clean(r, 300), terminal.Clean(strings.Join(remedies[r], ", "), 200))
	}
}

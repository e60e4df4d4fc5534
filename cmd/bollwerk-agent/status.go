package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/agent"
	"github.com/bollwerk/bollwerk/internal/terminal"
)

func newStatusCommand(e *env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "what the running agent protects, and how well it sees",
		Long: `Asks the running agent for its verdict and for each workload: what is enforced, how
far its profile is, and what of it was lost.

Exit codes: 0 pass, 3 no agent is running, 5 degraded.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return runStatus(c.Context(), e, asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (e *env) ask(ctx context.Context, method, path string, out any) error {
	return e.exchange(ctx, method, path, nil, out)
}

func (e *env) send(ctx context.Context, path string, body []byte, out any) error {
	return e.exchange(ctx, "POST", path, body, out)
}

func (e *env) exchange(ctx context.Context, method, path string, body []byte, out any) error {
	c, err := e.configuration()
	if err != nil {
		return err
	}
	err = agent.Send(ctx, c.Socket, method, path, body, out)
	if errors.Is(err, agent.ErrNotRunning) {
		if r := agent.Other(c); r != nil && r.Socket != "" && r.Socket != c.Socket {
			return fmt.Errorf("%w; the agent of this machine (process %d) was started with another one: use --socket %s", err, r.PID, r.Socket)
		}
		return fmt.Errorf("%w; start it with `bollwerk-agent run`, or name its socket with --socket", err)
	}
	return err
}

func runStatus(ctx context.Context, e *env, asJSON bool) error {
	var s agent.Status
	if err := e.ask(ctx, "GET", "/status", &s); err != nil {
		return err
	}
	if asJSON {
		if err := encodeJSON(e.json(), &s); err != nil {
			return err
		}
	} else {
		printStatus(e.stdout, &s)
	}
	if s.Verdict != bollwerk.Pass {
		return &exitError{code: exitDegraded}
	}
	return nil
}

func printStatus(w io.Writer, s *agent.Status) {
	fmt.Fprintf(w, "bollwerk-agent %s on %s, since %s: %s\n", terminal.Clean(s.Version, 40), terminal.Clean(s.Node, 60), s.Since.Local().Format(time.DateTime), verdictWord(s.Verdict))
	for _, c := range s.Causes {
		fmt.Fprintf(w, "- %s\n", terminal.Clean(c, 200))
	}
	var from []string
	for _, r := range s.Sources {
		if r.Verdict != bollwerk.NotEvaluated {
			from = append(from, fmt.Sprintf("%s (%s)", terminal.Clean(r.Name, 30), verdictWord(r.Verdict)))
		}
	}
	if len(from) == 0 {
		from = []string{"nobody: no container runtime is on this machine"}
	}
	fmt.Fprintf(w, "containers are named by %s\n", strings.Join(from, ", "))
	if m := s.Missed; m.Vanished+m.Evicted+m.Forged > 0 {
		fmt.Fprintf(w, "of containers: %d gone before they could be named, %d forgotten for want of room, %d names that no runtime stands by\n", m.Vanished, m.Evicted, m.Forged)
	}
	if n := s.Addresses; n.Addresses+n.Ambiguous > 0 {
		fmt.Fprintf(w, "workloads are known by %d addresses", n.Addresses)
		if n.Ambiguous > 0 {
			fmt.Fprintf(w, "; %d of them are claimed by several and told as addresses", n.Ambiguous)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
	if len(s.Workloads) == 0 {
		fmt.Fprintln(w, "No workload was seen yet.")
		return
	}
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "WORKLOAD\tVERDICT\tPROFILE\tENFORCED\tEVENTS")
	for _, k := range s.Workloads {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%d\n", terminal.Clean(k.Name, 48), verdictWord(k.Verdict), terminal.Clean(k.Mode, 20), terminal.Clean(k.Enforced, 300), k.Events)
	}
	_ = tw.Flush()
	for _, k := range s.Workloads {
		for _, o := range k.ReportedOnly {
			fmt.Fprintf(w, "- %s: reported only: %s\n", terminal.Clean(k.Name, 48), terminal.Clean(o, 300))
		}
		for _, c := range k.Causes {
			fmt.Fprintf(w, "- %s: %s: %s\n", terminal.Clean(k.Name, 48), verdictWord(k.Verdict), terminal.Clean(c, 200))
		}
	}
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/agent"
	"github.com/bollwerk/bollwerk/internal/terminal"
	"github.com/bollwerk/bollwerk/recorder"
)

type recallFlags struct {
	workloads  []string
	since      string
	until      string
	kinds      []string
	rules      []string
	detections bool
	json       bool
	snapshot   string
}

func newRecallCommand(e *env) *cobra.Command {
	var f recallFlags
	c := &cobra.Command{
		Use:   "recall",
		Short: "replay the flight recorder, or run rules over the past",
		Long: `Reads the flight recorder, also while the agent writes it and after it was killed.
Without --rules it prints what was recorded. With --rules it runs the rules of a folder
or file over it and prints what they would have detected.

--snapshot prints one capture of processes as JSON; its ID is "snapshot" of a detection.
It has the environments of the processes, and so perhaps secrets.

Exit codes: 0 done, 1 rules detected something, 2 usage, 3 could not read,
5 a part of the record is damaged or was lost.`,
		Example: `  bollwerk-agent recall --since 10m
  bollwerk-agent recall --workload 'shop/*' --since 2h --rules my-rules/`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if !c.Flags().Changed("snapshot") {
				return runRecall(c.Context(), e, &f)
			}
			for _, other := range []string{"workload", "since", "until", "kind", "rules", "detections"} {
				if c.Flags().Changed(other) {
					return usageError(fmt.Errorf("--snapshot is one capture: --%s has nothing to choose there", other))
				}
			}
			return printSnapshot(e, f.snapshot)
		},
	}
	fl := c.Flags()
	fl.StringArrayVar(&f.workloads, "workload", nil, "only this `WORKLOAD`: a glob over name or key (repeatable)")
	fl.StringVar(&f.since, "since", "", "`TIME`: 10m, 2h, 3d before now, or 2026-01-31T12:00:00Z")
	fl.StringVar(&f.until, "until", "", "`TIME`, as with --since")
	fl.StringSliceVar(&f.kinds, "kind", nil, "only events of these kinds: exec, connect, dns, …")
	fl.StringArrayVar(&f.rules, "rules", nil, "run the rules of this `FOLDER` or file over the past (repeatable)")
	fl.BoolVar(&f.detections, "detections", false, "only detections")
	fl.BoolVar(&f.json, "json", false, "print JSON lines")
	fl.StringVar(&f.snapshot, "snapshot", "", "print the capture with this `ID`")
	return c
}

func runRecall(ctx context.Context, e *env, f *recallFlags) error {
	c, err := e.configuration()
	if err != nil {
		return err
	}
	// Both would find nothing, whatever is recorded.
	switch {
	case f.detections && len(f.rules) > 0:
		return usageError(errors.New("--detections are those that were told then; --rules make their own from events: choose one"))
	case f.detections && len(f.kinds) > 0:
		return usageError(errors.New("--kind chooses among events, --detections leaves them out: choose one"))
	}
	now := time.Now()
	q := agent.Recall{Query: recorder.Query{OnlyDetections: f.detections}, Workloads: f.workloads}
	if q.Query.Since, err = parseWhen(f.since, now); err != nil {
		return usageError(err)
	}
	if q.Query.Until, err = parseWhen(f.until, now); err != nil {
		return usageError(err)
	}
	if s, u := q.Query.Since, q.Query.Until; !s.IsZero() && !u.IsZero() && !s.Before(u) {
		return usageError(errors.New("--since is not before --until: nothing lies between them"))
	}
	for _, k := range f.kinds {
		kind, err := bollwerk.ParseEventKind(k)
		if err != nil {
			return usageError(fmt.Errorf("--kind %q: want one or more of %s", k, strings.Join(eventKinds(), ", ")))
		}
		q.Query.Kinds = append(q.Query.Kinds, kind)
	}
	if len(f.rules) > 0 {
		ps, note, err := askable(f.rules)
		if err != nil {
			return usageError(fmt.Errorf("--rules: %w", err))
		}
		if note != "" {
			e.note(note)
		}
		if len(ps) == 0 {
			return usageError(errors.New("--rules: no rule that can be asked about events was found there; `bollwerk-agent rules check` says more"))
		}
		q.Rules = ps
	}
	dir := filepath.Join(c.State, "recorder")
	if _, err := os.Stat(dir); errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%s: only root may read what was recorded; run this as root", dir)
	} else if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s: nothing was recorded here; start the agent, or name its folder with --state", dir)
	} else if err != nil {
		return err
	}
	enc := json.NewEncoder(e.json())
	found, told := 0, 0
	q.Detection = func(d *bollwerk.Detection) error {
		found++
		if f.json {
			return enc.Encode(struct {
				Type string `json:"type"`
				*bollwerk.Detection
			}{"detection", d})
		}
		printDetection(e.stdout, d, e.colour())
		return nil
	}
	if len(q.Rules) == 0 {
		q.Event = func(v *bollwerk.Event) error {
			told++
			if f.json {
				return enc.Encode(struct {
					Type string `json:"type"`
					*bollwerk.Event
				}{"event", v})
			}
			fmt.Fprintln(e.stdout, eventLine(v))
			return nil
		}
	}
	s, err := q.Run(ctx, dir)
	if err != nil {
		return err
	}
	for _, d := range s.Damage {
		e.note("damaged: " + d)
	}
	for _, l := range q.Lost {
		e.note("lost: " + l)
	}
	switch {
	case s.Records == 0 || len(q.Rules) == 0 && found+told == 0 || len(q.Rules) > 0 && q.Asked == 0:
		e.print(reach(s))
	case len(q.Rules) > 0 && found == 0:
		e.print(fmt.Sprintf("nothing detected: %s asked about %s", plural(len(q.Rules), "rule was", "rules were"), plural(q.Asked, "event", "events")))
	}
	switch {
	case len(s.Damage) > 0 || len(q.Lost) > 0:
		return &exitError{code: exitDegraded}
	case len(q.Rules) > 0 && found > 0:
		return &exitError{code: exitFindings}
	}
	return nil
}

// printSnapshot prints a capture.
func printSnapshot(e *env, id string) error {
	c, err := e.configuration()
	if err != nil {
		return err
	}
	s, err := recorder.SnapshotOf(filepath.Join(c.State, "snapshots"), id)
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%s: only root may read what was captured; run this as root", filepath.Join(c.State, "snapshots"))
	} else if errors.Is(err, os.ErrNotExist) {
		if ids, problem := recorder.Snapshots(filepath.Join(c.State, "snapshots")); problem == nil && len(ids) > 0 {
			return fmt.Errorf("%w; the newest are %s", err, strings.Join(ids[max(0, len(ids)-3):], ", "))
		}
		return err
	} else if err != nil {
		return err
	}
	return encodeJSON(e.json(), s)
}

// eventKinds are the words of all kinds.
func eventKinds() (words []string) {
	for k := bollwerk.EventUnknown + 1; int(k) < bollwerk.EventKinds; k++ {
		words = append(words, k.String())
	}
	return words
}

func plural(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

func reach(s *recorder.Summary) string {
	if s.Oldest.IsZero() {
		return "nothing is recorded yet"
	}
	return fmt.Sprintf("nothing matches; the record reaches from %s to %s", s.Oldest.Local().Format(time.DateTime), s.Newest.Local().Format(time.DateTime))
}

// parseWhen reads a time or how long ago it was.
func parseWhen(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	var days int
	if n, err := fmt.Sscanf(s, "%dd", &days); n == 1 && err == nil && fmt.Sprintf("%dd", days) == s && days >= 0 {
		return now.AddDate(0, 0, -days), nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return time.Time{}, fmt.Errorf("time %q: want 10m, 2h, 3d or 2026-01-31T12:00:00Z", s)
	}
	return now.Add(-d), nil
}

// eventLine tells an event in one line.
func eventLine(v *bollwerk.Event) string {
	who := "-"
	if p := v.Process; p != nil {
		who = fmt.Sprintf("%s(%d)", p.Name, p.PID)
	}
	line := fmt.Sprintf("%s %-11s %-7s %s  %s  %s", clock(v.Time, time.Now(), "15:04:05.000"), v.Kind, v.Outcome, v.Workload.String(), who, eventSummary(v))
	if v.Count > 1 {
		line += fmt.Sprintf(" ×%d", v.Count)
	}
	return terminal.Clean(line, 300)
}

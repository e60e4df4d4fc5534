package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/terminal"
)

// clock is a time of the day; of another day, with its date.
func clock(t, now time.Time, layout string) string {
	t, now = t.Local(), now.Local()
	if t.Format(time.DateOnly) != now.Format(time.DateOnly) {
		layout = time.DateOnly + " " + layout
	}
	return t.Format(layout)
}

// verdictWord is a verdict as people write it.
func verdictWord(v bollwerk.Verdict) string {
	return terminal.Clean(strings.ReplaceAll(string(v), "_", " "), 20)
}

// printDetection tells one detection in a few lines. Everything in it was chosen by
// strangers and is cleaned.
func printDetection(w io.Writer, d *bollwerk.Detection, colour bool) {
	word := strings.ToUpper(d.Severity.String())
	outcome := terminal.Clean(string(d.Outcome), 20)
	if colour {
		switch {
		case d.Severity >= bollwerk.SeverityHigh:
			word = "\x1b[1;31m" + word + "\x1b[0m"
		case d.Severity == bollwerk.SeverityMedium:
			word = "\x1b[33m" + word + "\x1b[0m"
		}
		if d.Outcome != bollwerk.Seen {
			outcome = "\x1b[1m" + outcome + "\x1b[0m"
		}
	}
	times := ""
	if d.Count > 1 {
		times = fmt.Sprintf(" ×%d", d.Count)
	}
	fmt.Fprintf(w, "%s %s %s [%s] %s%s\n", clock(d.Last, time.Now(), "15:04:05"), word, terminal.Clean(d.Title, 100), terminal.Clean(d.Rule, 60), outcome, times)
	fmt.Fprintf(w, "  where    %s\n", terminal.Clean(d.Workload.String(), 120))
	if p := d.Process; p != nil {
		var chain []string
		for up, n := p, 0; up != nil && n < 5; up, n = up.Parent, n+1 {
			chain = append(chain, fmt.Sprintf("%s(%d)", terminal.Clean(up.Name, 20), up.PID))
		}
		fmt.Fprintf(w, "  process  %s\n", strings.Join(chain, " ← "))
		if len(p.Args) > 0 {
			fmt.Fprintf(w, "  command  %s\n", terminal.Clean(strings.Join(p.Args, " "), 160))
		}
	}
	if d.Message != "" {
		fmt.Fprintf(w, "  what     %s\n", terminal.Clean(d.Message, 400))
	}
	if d.How != "" {
		fmt.Fprintf(w, "  done     %s: %s\n", outcome, terminal.Clean(d.How, 160))
	}
	if d.Nearest != "" {
		fmt.Fprintf(w, "  nearest  %s\n", terminal.Clean(d.Nearest, 160))
	}
	if d.Advice != "" {
		fmt.Fprintf(w, "  advice   %s\n", terminal.Clean(d.Advice, 400))
	}
	if d.Snapshot != "" {
		fmt.Fprintf(w, "  capture  bollwerk-agent recall --snapshot %s\n", terminal.Clean(d.Snapshot, 120))
	}
	for _, c := range d.Causes {
		fmt.Fprintf(w, "  degraded %s\n", terminal.Clean(c, 200))
	}
}

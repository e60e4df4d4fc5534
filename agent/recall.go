package agent

import (
	"context"
	"fmt"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect"
	"github.com/bollwerk/bollwerk/internal/glob"
	"github.com/bollwerk/bollwerk/policy"
	"github.com/bollwerk/bollwerk/recorder"
)

// Recall reads the past: it replays the flight recorder, or asks rules about it.
type Recall struct {
	Query recorder.Query
	// Workloads are globs over names and keys; empty: all.
	Workloads []string
	// Rules, when there are any, judge the events; what they find goes to Detection
	// (with outcome seen: nothing can be done about the past).
	Rules     []*policy.Policy
	Event     func(*bollwerk.Event) error
	Detection func(*bollwerk.Detection) error
	// Asked is how many events the rules were asked about.
	Asked int
	// Lost has a sentence for each loss that the record itself tells of.
	Lost []string

	asked  *bollwerk.Workload // the last that of was asked about, and its answer
	wanted bool
}

// Run reads the log in dir.
func (r *Recall) Run(ctx context.Context, dir string) (*recorder.Summary, error) {
	var judge *rules
	if len(r.Rules) > 0 {
		var err error
		if judge, err = newRules(r.Rules, nil); err != nil {
			return nil, err
		}
		if len(judge.Problems) > 0 {
			return nil, fmt.Errorf("rules: %s", judge.Problems[0])
		}
	}
	q := r.Query
	if len(r.Workloads) > 0 {
		q.Workload = r.of
	}
	folder := detect.NewFolder(detect.FolderConfig{})
	var failed error
	tell := func(d *bollwerk.Detection) {
		if failed == nil && r.Detection != nil {
			failed = r.Detection(d)
		}
	}
	s, err := recorder.Read(ctx, dir, q, func(rec recorder.Record) error {
		if d := rec.Detection; d != nil {
			// Who asks for kinds of events wants events.
			if judge == nil && r.of(d.Workload) && r.Detection != nil && len(r.Query.Kinds) == 0 {
				return r.Detection(d)
			}
			return nil
		}
		e := rec.Event
		if e.Kind == bollwerk.EventLoss {
			// What was lost without a name may have been anybody's.
			switch {
			case e.Loss == nil:
			case e.Workload == nil:
				r.Lost = append(r.Lost, "of any workload: "+e.Loss.Sentence())
			case r.of(e.Workload):
				r.Lost = append(r.Lost, fmt.Sprintf("%s: %s", e.Workload, e.Loss.Sentence()))
			}
			if !r.Query.Wants(e.Kind) {
				return nil
			}
		}
		if !r.of(e.Workload) {
			return nil
		}
		if judge == nil {
			if r.Event != nil {
				return r.Event(e)
			}
			return nil
		}
		r.Asked++
		judge.match(e, func(d *bollwerk.Detection) {
			d.Outcome, d.How = bollwerk.Seen, "found in the record afterwards"
			folder.Add(d, tell)
		})
		return failed
	})
	if err == nil {
		folder.Flush(tell)
		err = failed
	}
	return s, err
}

func (r *Recall) of(w *bollwerk.Workload) bool {
	if len(r.Workloads) == 0 {
		return true
	}
	if w == nil || w != r.asked {
		r.asked, r.wanted = w, glob.MatchAny(r.Workloads, w.String()) || glob.MatchAny(r.Workloads, w.Key())
	}
	return r.wanted
}

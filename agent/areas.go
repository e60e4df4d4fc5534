package agent

import (
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
)

// Area is what the agent says about one thing it should be able to see or do: the best
// means that works here, and what is lost where the best of all does not.
type Area struct {
	Name    string           `json:"area"`
	Verdict bollwerk.Verdict `json:"verdict"`
	Outcome bollwerk.Outcome `json:"outcome"`
	Means   []string         `json:"means"`            // that work, best first
	Cause   string           `json:"cause,omitempty"`  // what is lost
	Remedy  string           `json:"remedy,omitempty"` // how to get it
}

// Areas folds the rows of all sources: several sources may cover one area, the better
// ones first. An area is degraded when a better means was refused or the one in use loses
// something, and not evaluated when none works.
func Areas(rows []sensor.Capability) []Area {
	var order []string
	of := map[string][]sensor.Capability{}
	for _, r := range rows {
		if of[r.Area] == nil {
			order = append(order, r.Area)
		}
		of[r.Area] = append(of[r.Area], r)
	}
	out := make([]Area, 0, len(order))
	for _, name := range order {
		a := Area{Name: name, Verdict: bollwerk.NotEvaluated, Outcome: bollwerk.Seen}
		var lost []string
		for _, r := range of[name] {
			if r.Verdict == bollwerk.NotEvaluated {
				lost = append(lost, r.Cause)
				if a.Remedy == "" {
					a.Remedy = r.Remedy
				}
				continue
			}
			a.Means = append(a.Means, r.Means)
			if strength(r.Outcome) > strength(a.Outcome) {
				a.Outcome = r.Outcome
			}
			if r.Verdict == bollwerk.Degraded {
				// What a means in use loses says more than why a better one is missing.
				lost = append([]string{r.Cause}, lost...)
				if a.Remedy == "" {
					a.Remedy = r.Remedy
				}
				if a.Verdict == bollwerk.NotEvaluated {
					a.Verdict = bollwerk.Degraded
				}
				continue
			}
			a.Verdict = bollwerk.Pass
		}
		if a.Verdict == bollwerk.Pass && len(lost) > 0 {
			a.Verdict = bollwerk.Degraded
		}
		a.Cause = strings.Join(lost, "; ")
		if a.Verdict == bollwerk.Pass {
			a.Remedy = ""
		}
		out = append(out, a)
	}
	return out
}

func strength(o bollwerk.Outcome) int {
	switch o {
	case bollwerk.Denied:
		return 2
	case bollwerk.Killed:
		return 1
	}
	return 0
}

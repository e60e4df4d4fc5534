package finding

import (
	"fmt"

	"github.com/bollwerk/bollwerk"
)

// Judge completes a result whose Findings, Packages, Coverage and Database are
// set: it marks what is new against the baseline (which may be nil), ranks, and
// fills Actions, Summary, Verdict and Causes. Causes that are already there stay
// first. No list of the result is nil afterwards.
func Judge(r *bollwerk.Result, base *Baseline) {
	Rank(r.Findings, RankContext{Packages: r.Packages})
	if base != nil {
		base.Mark(r.Findings)
	}
	r.Actions = Actions(r)
	r.Summary = Summarize(r)
	v, causes := Verdict(r)
	r.Verdict = v
	for _, c := range causes {
		if !contains(r.Causes, c) {
			r.Causes = append(r.Causes, c)
		}
	}
	if r.Causes == nil {
		r.Causes = []string{}
	}
	if r.Coverage == nil {
		r.Coverage = []bollwerk.Coverage{}
	}
	if r.Packages == nil {
		r.Packages = []bollwerk.Package{}
	}
	if r.Findings == nil {
		r.Findings = []bollwerk.Finding{}
	}
	if r.ExpiredExceptions == nil {
		r.ExpiredExceptions = []bollwerk.Exception{}
	}
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// Summarize counts. Findings, BySeverity, ByKind, ByPriority, Fixable, KEV and New
// count what was judged and is not suppressed; the maps hold no zeros.
func Summarize(r *bollwerk.Result) bollwerk.Summary {
	s := bollwerk.Summary{
		Packages:   len(r.Packages),
		BySeverity: map[string]int{}, ByKind: map[string]int{}, ByPriority: map[string]int{},
		Completeness: completeness(r.Coverage),
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		switch {
		case f.Suppressed != nil:
			s.Suppressed++
			continue
		case !judged(f):
			s.NotEvaluated++
			continue
		}
		s.Findings++
		s.BySeverity[f.Severity.String()]++
		s.ByKind[string(f.Kind)]++
		s.ByPriority[string(f.Priority)]++
		if len(f.FixedIn) > 0 {
			s.Fixable++
		}
		if f.KEV != nil {
			s.KEV++
		}
		if f.New {
			s.New++
		}
	}
	return s
}

// completeness is the mean over the coverage rows of what was checked of each.
// Rows are not added up: a million files and ten layers are not one number. A row
// that cannot be counted is whole when it passed, half when it is degraded,
// nothing when it was not evaluated. No rows: nothing is known to be checked.
func completeness(rows []bollwerk.Coverage) float64 {
	if len(rows) == 0 {
		return 0
	}
	sum := 0.0
	for _, c := range rows {
		switch {
		case c.Total > 0 && c.Checked >= 0:
			sum += min(1, float64(c.Checked)/float64(c.Total))
		case c.Verdict == bollwerk.Pass:
			sum++
		case c.Verdict == bollwerk.Degraded:
			sum += 0.5
		}
	}
	return sum / float64(len(rows))
}

// Verdict judges the whole: fail when a finding counts; else the gravest coverage
// row, which is degraded or not evaluated; else pass. The causes say, one sentence
// each, what was checked less than fully, also beside a fail.
func Verdict(r *bollwerk.Result) (bollwerk.Verdict, []string) {
	v := bollwerk.Pass
	var causes []string
	if len(r.Coverage) == 0 {
		v = bollwerk.NotEvaluated
		causes = append(causes, causeNothingChecked)
	}
	for _, c := range r.Coverage {
		if !c.Verdict.NeedsCause() {
			if c.Verdict == bollwerk.Pass || c.Verdict == bollwerk.Fail {
				continue
			}
			c.Verdict = bollwerk.NotEvaluated // an unset verdict is no pass
		}
		v = v.Worse(c.Verdict)
		if c.Cause != "" {
			causes = append(causes, fmt.Sprintf(causeCoverage, c.Area, c.Cause))
		} else {
			causes = append(causes, fmt.Sprintf(causeCoverageNoCause, c.Area, verdictWord(c.Verdict)))
		}
	}
	unjudged := 0
	for i := range r.Findings {
		f := &r.Findings[i]
		if Counts(f) {
			v = v.Worse(bollwerk.Fail)
		}
		if f.Suppressed == nil && !judged(f) && f.Verdict != bollwerk.Pass {
			unjudged++
		}
	}
	if unjudged > 0 {
		v = v.Worse(bollwerk.NotEvaluated)
		if unjudged == 1 {
			causes = append(causes, causeUnevaluatedOne)
		} else {
			causes = append(causes, fmt.Sprintf(causeUnevaluated, unjudged))
		}
	}
	return v, causes
}

func verdictWord(v bollwerk.Verdict) string {
	if v == bollwerk.Degraded {
		return wordDegraded
	}
	return wordNotEvaluated
}

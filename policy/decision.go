package policy

import (
	"fmt"
	"sort"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/fingerprint"
)

// Decision is what one policy says of one subject, or of one violation in it.
type Decision struct {
	Policy  *Policy
	Verdict bollwerk.Verdict
	// Applies is false when the policy's `when` does not hold. The verdict is then
	// pass and means nothing; such decisions are no findings and are not counted.
	Applies bool
	// Cause is set for not evaluated and degraded: one sentence.
	Cause string
	// Message and Fix are set for fail.
	Message, Fix string
	Severity     bollwerk.Severity
	Mode         Mode
	// Key tells decisions of one policy about one artifact apart: the subject's key
	// and what identifies the violation in it.
	Key     string
	Package *bollwerk.FindingPackage
	Path    string
	Line    int
	Layer   *bollwerk.LayerRef
	// Trace is filled by Explain only.
	Trace []TraceLine
}

// Findings turns the decisions that say something into findings of kind standard:
// fail, degraded and not evaluated. A pass and a policy that does not apply are
// no findings. The order is that of the decisions; ranks are the caller's.
func Findings(ds []Decision) []bollwerk.Finding {
	out := []bollwerk.Finding{}
	for _, d := range ds {
		if !d.Applies || d.Verdict == bollwerk.Pass {
			continue
		}
		p := d.Policy
		f := bollwerk.Finding{
			Fingerprint: d.Fingerprint(),
			Kind:        bollwerk.KindStandard,
			ID:          p.ID,
			Aliases:     []string{},
			Title:       p.Title,
			Severity:    d.Severity,
			FixedIn:     []string{},
			Package:     d.Package,
			Layer:       d.Layer,
			Path:        d.Path,
			Line:        d.Line,
			Verdict:     d.Verdict,
			Reason:      d.Message,
			Fix:         d.Fix,
			Policy:      p.ID,
			Mode:        string(d.Mode),
			References:  append([]string(nil), p.References...),
		}
		if d.Verdict != bollwerk.Fail {
			f.Reason = d.Cause
		}
		out = append(out, f)
	}
	return out
}

// Fingerprint names the finding this decision would be. It depends on the policy
// and the place, so that an exception or a baseline made today knows the finding
// tomorrow; the verdict, the message and the mode are not part of it.
func (d *Decision) Fingerprint() bollwerk.FindingID {
	return fingerprint.Of(string(bollwerk.KindStandard), d.Policy.ID, d.Key)
}

// CoverageOf sums the decisions up as the coverage row "standards": how many
// policies apply, how many were judged with everything they need, and why not.
func CoverageOf(ds []Decision) bollwerk.Coverage {
	worst := map[string]bollwerk.Verdict{}
	causes := map[string]string{}
	for _, d := range ds {
		if !d.Applies {
			continue
		}
		id := d.Policy.ID
		v := bollwerk.Pass
		if d.Verdict.NeedsCause() {
			v = d.Verdict
			if causes[id] == "" {
				causes[id] = d.Cause
			}
		}
		worst[id] = worst[id].Worse(v)
	}
	row := bollwerk.Coverage{Area: "standards", Verdict: bollwerk.Pass, Total: len(worst)}
	var short []string
	for id, v := range worst {
		if v == bollwerk.Pass {
			row.Checked++
			continue
		}
		short = append(short, id)
	}
	sort.Strings(short)
	if len(short) == 0 {
		return row
	}
	row.Verdict = bollwerk.Degraded
	if row.Checked == 0 {
		row.Verdict = bollwerk.NotEvaluated
	}
	row.Cause = fmt.Sprintf("%d of %d policies were not fully judged: %s", len(short), row.Total, enumerate(short, 3))
	for _, id := range short {
		if len(row.Examples) == 5 {
			break
		}
		row.Examples = append(row.Examples, id+": "+clip(strings.ReplaceAll(causes[id], "\n", " "), 200))
	}
	return row
}

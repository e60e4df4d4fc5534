package finding

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/bollwerk/bollwerk"
)

// RankContext is what is known beyond the findings themselves.
type RankContext struct {
	// Packages are those of the result. They tell which are for development only.
	Packages []bollwerk.Package
}

// EPSS bands. A probability decides by its order of magnitude: 0.0021 against
// 0.0020 is noise and must not outweigh critical against low. FIRST's own
// threshold for "worth the effort" is 0.1 (https://www.first.org/epss/model);
// a tenth of it is about four times the median issue.
const (
	epssVeryLikely = 0.5
	epssLikely     = 0.1
	epssNotable    = 0.01
)

// Rank orders fs, first things first, and sets Fingerprint, Priority, Rank and
// Factors of each. The order is total and does not depend on the order in which
// the findings came: docs/ranking.md gives it with its reasons.
func Rank(fs []bollwerk.Finding, ctx RankContext) {
	dev := devOnly(ctx.Packages)
	for i := range fs {
		f := &fs[i]
		if f.Aliases == nil {
			f.Aliases = []string{}
		}
		if f.FixedIn == nil {
			f.FixedIn = []string{}
		}
		if len(f.FixedIn) > 1 && f.Package != nil {
			f.FixedIn = nearestFirst(orderOf(f.Package.Ecosystem), f.Package.Version, f.FixedIn)
		}
		isDev := f.Package != nil && dev[f.Package.PURL]
		f.Priority = priority(f, isDev)
		f.Factors = factors(f, isDev)
	}
	keys := make([]rankKey, len(fs))
	for i := range fs {
		keys[i] = keyOf(&fs[i], i)
	}
	slices.SortFunc(keys, func(a, b rankKey) int {
		if c := a.compare(&b); c != 0 {
			return c
		}
		return compareNames(&fs[a.index], &fs[b.index])
	})
	sorted := make([]bollwerk.Finding, len(fs))
	for i := range keys {
		sorted[i] = fs[keys[i].index]
		sorted[i].Rank = i + 1
	}
	copy(fs, sorted)
	stamp(fs)
}

// Counts reports whether a finding weighs in the verdict: judged, not suppressed,
// not a mere notice and not a policy in rehearsal.
func Counts(f *bollwerk.Finding) bool {
	return judged(f) && f.Kind != bollwerk.KindNotice && !(f.Kind == bollwerk.KindStandard && f.Mode == modeObserve)
}

// judged reports whether the finding was evaluated, is wrong, and nobody decided
// that it does not count.
func judged(f *bollwerk.Finding) bool {
	return f.Suppressed == nil && (f.Verdict == bollwerk.Fail || f.Verdict == bollwerk.Degraded)
}

const (
	modeObserve = "observe"
	modeEnforce = "enforce"
)

func priority(f *bollwerk.Finding, dev bool) bollwerk.Priority {
	if !judged(f) {
		return bollwerk.PriorityWatch
	}
	fixable := len(f.FixedIn) > 0
	switch f.Kind {
	case bollwerk.KindMalware:
		return bollwerk.PriorityNow // also as a development dependency: it runs there
	case bollwerk.KindSecret:
		if f.Severity == bollwerk.SeverityLow || f.Severity == bollwerk.SeverityNone {
			return bollwerk.PrioritySoon
		}
		return bollwerk.PriorityNow
	case bollwerk.KindNotice:
		if fixable {
			return bollwerk.PriorityLater
		}
		return bollwerk.PriorityWatch
	case bollwerk.KindStandard:
		switch {
		case f.Mode == modeObserve:
			return bollwerk.PriorityWatch
		case f.Mode == modeEnforce && f.Severity >= bollwerk.SeverityHigh:
			return bollwerk.PrioritySoon
		}
		return bollwerk.PriorityLater
	}
	p := bollwerk.PriorityLater
	epss := epssOf(f)
	switch {
	case f.KEV != nil:
		p = bollwerk.PriorityNow
	case epss >= epssLikely:
		p = bollwerk.PrioritySoon
	case !fixable:
		return bollwerk.PriorityWatch
	case f.Severity == bollwerk.SeverityCritical:
		p = bollwerk.PrioritySoon
	case f.Severity == bollwerk.SeverityHigh && (f.EPSS == nil || epss >= epssNotable || f.Reachable != nil && *f.Reachable):
		// Without an estimate nothing speaks for waiting.
		p = bollwerk.PrioritySoon
	}
	if dev || f.Reachable != nil && !*f.Reachable {
		switch p {
		case bollwerk.PriorityNow:
			p = bollwerk.PrioritySoon
		case bollwerk.PrioritySoon:
			p = bollwerk.PriorityLater
		}
	}
	return p
}

func factors(f *bollwerk.Finding, dev bool) []string {
	out := make([]string, 0, 5)
	if f.Suppressed != nil {
		reason := f.Suppressed.Reason
		if reason == "" {
			reason = factorNoReason
		}
		return append(out, fmt.Sprintf(factorSuppressed, f.Suppressed.By, reason))
	}
	if !judged(f) {
		return append(out, fmt.Sprintf(factorNotEvaluated, f.Reason))
	}
	switch f.Kind {
	case bollwerk.KindMalware:
		out = append(out, factorMalware)
	case bollwerk.KindSecret:
		out = append(out, factorSecret)
	case bollwerk.KindNotice:
		out = append(out, factorNotice)
	case bollwerk.KindStandard:
		name := f.Policy
		if name == "" {
			name = f.ID
		}
		switch f.Mode {
		case modeEnforce:
			out = append(out, fmt.Sprintf(factorPolicyEnforce, name))
		case modeObserve:
			out = append(out, fmt.Sprintf(factorPolicyObserve, name))
		default:
			out = append(out, fmt.Sprintf(factorPolicyWarn, name))
		}
	}
	if f.KEV != nil {
		form := factorKEV
		if f.KEV.Ransomware {
			form = factorKEVRansomware
		}
		out = append(out, fmt.Sprintf(form, f.KEV.DateAdded))
	}
	epss := ""
	if f.EPSS != nil {
		epss = fmt.Sprintf(factorEPSS, percent(f.EPSS.Score), percent(math.Min(f.EPSS.Percentile, 0.999)))
	}
	if epss != "" && f.EPSS.Score >= epssNotable {
		out, epss = append(out, epss), ""
	}
	switch {
	case f.Severity == bollwerk.SeverityUnknown:
		if f.Kind == bollwerk.KindVulnerability {
			out = append(out, factorSeverityNone)
		}
	case f.Score > 0:
		out = append(out, fmt.Sprintf(factorSeverityScore, f.Severity, f.Score))
	default:
		out = append(out, fmt.Sprintf(factorSeverity, f.Severity))
	}
	if f.Reachable != nil {
		if *f.Reachable {
			out = append(out, factorReachable)
		} else {
			out = append(out, factorUnreachable)
		}
	}
	if f.Kind == bollwerk.KindVulnerability {
		if dev {
			out = append(out, factorDev)
		}
		if len(f.FixedIn) > 0 {
			out = append(out, fmt.Sprintf(factorFix, f.FixedIn[0]))
		} else {
			out = append(out, factorNoFix)
		}
	}
	if epss != "" {
		out = append(out, epss)
	}
	if f.Layer != nil && f.Layer.FromBase {
		out = append(out, factorBase)
	}
	return out
}

// percent writes a probability with as many digits as it has meaning: "94 %",
// "1.2 %", "0.04 %".
func percent(p float64) string {
	p *= 100
	switch {
	case math.IsNaN(p) || p < 0:
		return "?"
	case p >= 10:
		return strconv.FormatFloat(math.Min(math.Floor(p), 100), 'f', 0, 64) + " %"
	case p >= 1:
		return strconv.FormatFloat(p, 'f', 1, 64) + " %"
	}
	return strconv.FormatFloat(p, 'f', 2, 64) + " %"
}

func epssOf(f *bollwerk.Finding) float64 {
	if f.EPSS == nil || math.IsNaN(f.EPSS.Score) {
		return 0
	}
	return f.EPSS.Score
}

// rankKey holds what is compared, smaller first. It is built once per finding: a
// comparison that reads the wide Finding structs misses the cache each time.
type rankKey struct {
	steps [9]uint8 // compared from left to right
	epss  float64  // greater first
	score float64  // greater first
	index int
}

func keyOf(f *bollwerk.Finding, index int) rankKey {
	k := rankKey{epss: epssOf(f), score: f.Score, index: index}
	if math.IsNaN(k.score) {
		k.score = 0
	}
	// Not evaluated, then suppressed, stand behind everything that counts.
	switch {
	case f.Suppressed != nil:
		k.steps[0] = 2
	case !judged(f):
		k.steps[0] = 1
	}
	k.steps[1] = priorityStep(f.Priority)
	switch { // what attackers already do
	case f.Kind == bollwerk.KindMalware:
		k.steps[2] = 0
	case f.Kind == bollwerk.KindSecret:
		k.steps[2] = 1
	case f.KEV != nil && f.KEV.Ransomware:
		k.steps[2] = 2
	case f.KEV != nil:
		k.steps[2] = 3
	case f.Kind == bollwerk.KindNotice:
		k.steps[2] = 5
	default:
		k.steps[2] = 4
	}
	switch { // what they will probably do
	case k.epss >= epssVeryLikely:
		k.steps[3] = 0
	case k.epss >= epssLikely:
		k.steps[3] = 1
	case k.epss >= epssNotable:
		k.steps[3] = 2
	default:
		k.steps[3] = 3
	}
	k.steps[4] = severityStep(f.Severity)
	if len(f.FixedIn) == 0 && f.Kind == bollwerk.KindVulnerability {
		k.steps[5] = 1
	}
	switch {
	case f.Reachable == nil:
		k.steps[6] = 1
	case !*f.Reachable:
		k.steps[6] = 2
	}
	if f.Layer != nil && f.Layer.FromBase {
		k.steps[7] = 1
	}
	k.steps[8] = kindStep(f.Kind)
	return k
}

func (k *rankKey) compare(o *rankKey) int {
	for i := range k.steps {
		if k.steps[i] != o.steps[i] {
			return cmp.Compare(k.steps[i], o.steps[i])
		}
	}
	if c := cmp.Compare(o.epss, k.epss); c != 0 {
		return c
	}
	return cmp.Compare(o.score, k.score)
}

func priorityStep(p bollwerk.Priority) uint8 {
	switch p {
	case bollwerk.PriorityNow:
		return 0
	case bollwerk.PrioritySoon:
		return 1
	case bollwerk.PriorityLater:
		return 2
	}
	return 3
}

// severityStep puts unknown between medium and low: an issue nobody has scored is
// neither harmless nor an emergency.
func severityStep(s bollwerk.Severity) uint8 {
	switch s {
	case bollwerk.SeverityCritical:
		return 0
	case bollwerk.SeverityHigh:
		return 1
	case bollwerk.SeverityMedium:
		return 2
	case bollwerk.SeverityUnknown:
		return 3
	case bollwerk.SeverityLow:
		return 4
	}
	return 5
}

func kindStep(k bollwerk.FindingKind) uint8 {
	switch k {
	case bollwerk.KindMalware:
		return 0
	case bollwerk.KindSecret:
		return 1
	case bollwerk.KindVulnerability:
		return 2
	case bollwerk.KindStandard:
		return 3
	}
	return 4
}

// compareNames makes the order total: whatever is still equal goes by name.
func compareNames(a, b *bollwerk.Finding) int {
	var an, av, ae, bn, bv, be string
	if a.Package != nil {
		an, av, ae = a.Package.Name, a.Package.Version, string(a.Package.PURL)
	}
	if b.Package != nil {
		bn, bv, be = b.Package.Name, b.Package.Version, string(b.Package.PURL)
	}
	return cmp.Or(
		cmp.Compare(an, bn), cmp.Compare(av, bv), cmp.Compare(b.ID, a.ID), // newer CVE numbers first
		cmp.Compare(ae, be), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Line, b.Line),
		cmp.Compare(place(a), place(b)), cmp.Compare(a.SecretHash, b.SecretHash),
		cmp.Compare(a.Policy, b.Policy), cmp.Compare(a.Title, b.Title), cmp.Compare(a.Reason, b.Reason),
		layerIndex(a)-layerIndex(b),
	)
}

func layerIndex(f *bollwerk.Finding) int {
	if f.Layer == nil {
		return -1
	}
	return f.Layer.Index
}

// nearestFirst returns the versions above the installed one, ascending, then the
// others: fixes of older release branches, which are no way forward.
func nearestFirst(order order, installed string, fixes []string) []string {
	out := slices.Clone(fixes)
	slices.SortStableFunc(out, func(a, b string) int {
		aUp, bUp := order.compare(a, installed) > 0, order.compare(b, installed) > 0
		if aUp != bUp {
			if aUp {
				return -1
			}
			return 1
		}
		return order.compare(a, b)
	})
	return slices.Compact(out)
}

// devOnly returns the packages that every occurrence declares to be for
// development only.
func devOnly(ps []bollwerk.Package) map[bollwerk.PURL]bool {
	var dev map[bollwerk.PURL]bool
	for i := range ps {
		if ps[i].Dev {
			if dev == nil {
				dev = map[bollwerk.PURL]bool{}
			}
			dev[ps[i].PURL] = true
		}
	}
	if dev == nil {
		return nil
	}
	for i := range ps {
		if !ps[i].Dev {
			delete(dev, ps[i].PURL)
		}
	}
	return dev
}

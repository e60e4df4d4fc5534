package report

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
)

// Every sentence the writers say to people stands here, so that another language
// can stand beside it.
const (
	wordPass         = "PASS"
	wordFail         = "FAIL"
	wordDegraded     = "DEGRADED"
	wordNotEvaluated = "NOT EVALUATED"

	headFindings     = "%s in %s: %s"
	headNoFindings   = "no findings in %s"
	headNothing      = "no packages found, nothing was matched"
	headOnlyHidden   = "no open findings in %s"
	headPackages     = "%s packages"
	headOnePackage   = "1 package"
	headFixable      = "%s fixable"
	headSuppressed   = "%s suppressed"
	headUnjudged     = "%s not evaluated"
	headNew          = "%s new since the baseline"
	headKEV          = "%s known to be exploited"
	headAdvisories   = "advisories as of %s"
	headStarter      = "starter snapshot"
	headStale        = "%d days old"
	headNoAdvisories = "no advisories were available"
	headChecked      = "%s of what should be checked was"

	sectionDo         = "Do this first"
	sectionDoAll      = "Do this, in this order"
	sectionFindings   = "Findings"
	sectionCoverage   = "Not fully checked"
	sectionChecked    = "Checked"
	sectionSuppressed = "Suppressed"
	sectionUnjudged   = "Not evaluated"
	sectionExpired    = "Expired exceptions, they hide nothing any more"

	removesOne    = "removes 1"
	removesMany   = "removes %s"
	removesKEV    = "%s, %s exploited"
	moreActions   = "%s more things to do: --all"
	moreAction    = "1 more thing to do: --all"
	moreFindings  = "%s more findings: --all"
	moreFinding   = "1 more finding: --all"
	gapsHead      = "%s: "
	gapsMore      = " and %s more (--all)"
	moreCoverage  = "%s more: --all"
	whyHint       = "why: bollwerk explain %s"
	noFix         = "no fix yet"
	expiredRow    = "%s  expired %s, owner %s: %s"
	noOwner       = "nobody"
	gateFail      = "exit 1: %s match --fail-on %s"
	gateFailOne   = "exit 1: 1 finding matches --fail-on %s"
	gatePass      = "exit 0: nothing matches --fail-on %s"
	gateOpen      = "exit 0: --fail-on none lets every finding pass"
	configuration = "image configuration"
	coverageCount = "%s of %s"

	signExploited  = "exploited"
	signRansomware = "ransomware"
	signMalware    = "malware"
	signSecret     = "credential"
	signNew        = "new"
	signEPSS       = "EPSS %s"
	signReachable  = "in use"
	signUnused     = "not in use"
	signEnforced   = "enforced"
	signWarn       = "warns"
	signObserve    = "rehearsal"
)

// count writes a number with thousands separated: "87,519".
func count(n int) string {
	s := strconv.Itoa(n)
	neg := strings.HasPrefix(s, "-")
	s = strings.TrimPrefix(s, "-")
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	if neg {
		return "-" + s
	}
	return s
}

func findings(n int) string {
	if n == 1 {
		return "1 finding"
	}
	return count(n) + " findings"
}

func packages(n int) string {
	if n == 1 {
		return headOnePackage
	}
	return fmt.Sprintf(headPackages, count(n))
}

// removes says what an action takes away.
func removes(a bollwerk.Action) string {
	s := ""
	switch k := len(a.Removes); {
	case k == 0:
		return ""
	case k == 1:
		s = removesOne
	default:
		s = fmt.Sprintf(removesMany, count(k))
	}
	if a.KEV > 0 {
		s = fmt.Sprintf(removesKEV, s, count(a.KEV))
	}
	return s
}

func verdictWord(v bollwerk.Verdict) string {
	switch v {
	case bollwerk.Pass:
		return wordPass
	case bollwerk.Fail:
		return wordFail
	case bollwerk.Degraded:
		return wordDegraded
	}
	return wordNotEvaluated
}

func priorityWord(p bollwerk.Priority) string {
	if p == "" {
		return "-"
	}
	return strings.ToUpper(string(p))
}

// priorities in the order of urgency.
func priorities() []bollwerk.Priority {
	return []bollwerk.Priority{bollwerk.PriorityNow, bollwerk.PrioritySoon, bollwerk.PriorityLater, bollwerk.PriorityWatch}
}

// staleDays is from how many days on the age of the advisories is worth a remark.
const staleDays = 7

// advisories says how old the facts are.
func advisories(r *bollwerk.Result) string {
	d := r.Database
	if d.AsOf.IsZero() && d.Records == 0 {
		return headNoAdvisories
	}
	s := fmt.Sprintf(headAdvisories, d.AsOf.UTC().Format(time.DateOnly))
	var notes []string
	if d.Starter {
		notes = append(notes, headStarter)
	}
	if !r.Started.IsZero() {
		if days := int(r.Started.Sub(d.AsOf).Hours() / 24); days > staleDays {
			notes = append(notes, fmt.Sprintf(headStale, days))
		}
	}
	if len(notes) > 0 {
		s += " (" + strings.Join(notes, ", ") + ")"
	}
	return s
}

func percent(p float64) string {
	switch {
	case p < 0 || p != p:
		return "?"
	case p >= 0.1:
		return strconv.Itoa(int(min(p, 1)*100)) + "%"
	case p >= 0.01:
		return strconv.FormatFloat(p*100, 'f', 1, 64) + "%"
	}
	return strconv.FormatFloat(p*100, 'f', 2, 64) + "%"
}

func gateLine(g gateView) string {
	if g.n == 0 && g.threshold == "none" {
		return gateOpen
	}
	if g.n == 0 {
		return fmt.Sprintf(gatePass, g.threshold)
	}
	if g.n == 1 {
		return fmt.Sprintf(gateFailOne, g.threshold)
	}
	return fmt.Sprintf(gateFail, findings(g.n), g.threshold)
}

type gateView struct {
	n         int
	threshold string
}

// Words of the formats for programs.
const (
	noteGap          = "%s: %s: %s"
	noteNoCause      = "no cause given"
	noteUnjudgedOne  = "not evaluated: %s in %s: %s"
	noteUnjudgedMore = "not evaluated either: %s; the JSON result lists them"
	noteLeftOut      = "%s findings of the lowest rank are left out: the format holds %s"
	noteExpired      = "exception %s expired on %s and hides nothing any more"
	noteOther        = "%s of kinds this report format has no place for (credentials, policies) are left out; see the JSON result"

	sentenceVulnerable = "%s %s is affected by %s"
	sentenceMalware    = "%s %s is known to be malicious (%s)"
	sentenceNotice     = "%s %s: %s"
	sentenceSecret     = "%s in %s"
	sentenceConfig     = "%s in the image configuration"
	sentenceFix        = "upgrade to %s"
	sentenceNoFix      = "no fixed version is known"
	sentenceSeverity   = "severity %s"

	junitSuite      = "bollwerk: %s"
	junitCoverage   = "bollwerk: coverage"
	junitSuppressed = "suppressed by %s: %s"
	junitUnjudged   = "not evaluated: %s"
	junitBelow      = "below --fail-on %s"
	junitNone       = "no findings"

	markdownTitle      = "Bollwerk: %s"
	markdownDo         = "Do this first"
	markdownNew        = "New findings (%s)"
	markdownFindings   = "All findings (%s)"
	markdownGaps       = "Not fully checked (%s)"
	markdownSuppressed = "Suppressed (%s)"
	markdownExpired    = "Expired exceptions (%s), they hide nothing any more"
	markdownMore       = "%s more in the full report."
	markdownCompared   = "compared with `%s`"
	markdownNoneNew    = "nothing new since the baseline"
)

// sentence says a finding in one line.
func sentence(f *bollwerk.Finding) string {
	name, version := "", ""
	if f.Package != nil {
		name, version = f.Package.Name, f.Package.Version
	}
	var s string
	switch f.Kind {
	case bollwerk.KindMalware:
		s = fmt.Sprintf(sentenceMalware, name, version, f.ID)
	case bollwerk.KindSecret:
		title := cmp.Or(f.Title, f.ID)
		if f.Path == "" {
			return fmt.Sprintf(sentenceConfig, title)
		}
		return fmt.Sprintf(sentenceSecret, title, f.Path)
	case bollwerk.KindStandard:
		return cmp.Or(f.Reason, f.Title, f.ID)
	case bollwerk.KindNotice:
		return fmt.Sprintf(sentenceNotice, name, version, cmp.Or(f.Title, f.ID))
	default:
		s = fmt.Sprintf(sentenceVulnerable, name, version, f.ID)
		if f.Title != "" && f.Title != f.ID {
			s += " (" + f.Title + ")"
		}
	}
	parts := []string{s}
	if f.Kind == bollwerk.KindVulnerability {
		parts = append(parts, fmt.Sprintf(sentenceSeverity, f.Severity))
	}
	parts = append(parts, signs(f)...)
	if x := fixSentence(f); x != "" {
		parts = append(parts, x)
	}
	return strings.Join(parts, "; ")
}

func fixSentence(f *bollwerk.Finding) string {
	switch {
	case len(f.FixedIn) > 0:
		return fmt.Sprintf(sentenceFix, f.FixedIn[0])
	case f.Kind == bollwerk.KindVulnerability:
		return sentenceNoFix
	}
	return ""
}

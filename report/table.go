package report

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/terminal"
)

// Table writes the result for a person who looks at it for twenty seconds: the
// verdict and how far it can be trusted, what to do first, then the gravest
// findings, as many lines as the terminal has. With All everything is listed.
func Table(w io.Writer, r *bollwerk.Result, o Options) error {
	width, height := o.size()
	t := &table{w: w, r: r, o: o, width: width}
	t.view = newView(r)
	t.left = height - 1 // the prompt comes back on the last line
	if o.All {
		t.left = 1 << 30
	}
	t.head()
	t.body()
	return t.err
}

type table struct {
	w     io.Writer
	r     *bollwerk.Result
	o     Options
	view  view
	width int
	left  int // lines
	err   error
}

// view sorts the findings of a result by how they are shown.
type view struct {
	open, unjudged, suppressed []*bollwerk.Finding
	gaps                       []bollwerk.Coverage
}

func newView(r *bollwerk.Result) view {
	var v view
	for i := range r.Findings {
		f := &r.Findings[i]
		switch {
		case f.Suppressed != nil:
			v.suppressed = append(v.suppressed, f)
		case f.Verdict == bollwerk.Fail || f.Verdict == bollwerk.Degraded:
			v.open = append(v.open, f)
		case f.Verdict != bollwerk.Pass:
			v.unjudged = append(v.unjudged, f)
		}
	}
	for _, c := range r.Coverage {
		if c.Verdict != bollwerk.Pass && c.Verdict != bollwerk.Fail {
			v.gaps = append(v.gaps, c)
		}
	}
	return v
}

// Colours, ECMA-48 "select graphic rendition".
const (
	bold   = "1"
	dim    = "2"
	red    = "1;31"
	green  = "1;32"
	yellow = "1;33"
)

func (t *table) paint(code, s string) string {
	if !t.o.Colour || s == "" || code == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// line writes one line that its maker has cleaned and cut.
func (t *table) line(s string) {
	if t.err != nil {
		return
	}
	t.left--
	_, t.err = io.WriteString(t.w, strings.TrimRight(s, " ")+"\n")
}

// clean makes foreign text fit for w columns.
func clean(s string, w int) string { return terminal.Clean(s, w) }

func (t *table) verdictColour() string {
	switch t.r.Verdict {
	case bollwerk.Pass:
		return green
	case bollwerk.Fail:
		return red
	}
	return yellow
}

const headIndent = 2

func (t *table) head() {
	r := t.r
	word := verdictWord(r.Verdict)
	name := cmp.Or(r.Target.Name, r.Target.Ref)
	kind := string(r.Target.Kind)
	for _, part := range []string{r.Target.Platform, osName(r.Target.OS)} {
		if part != "" {
			kind = strings.TrimPrefix(kind+", "+part, ", ")
		}
	}
	room := t.width - terminal.Width(word) - 2
	name = clean(name, room)
	rest := ""
	if n := room - terminal.Width(name) - 4; n > 8 {
		rest = "  (" + clean(kind, n) + ")"
	}
	t.line(t.paint(t.verdictColour(), word) + "  " + t.paint(bold, name) + t.paint(dim, rest))
	t.paragraph(t.counts())
	t.paragraph([]string{advisories(r), t.completeness()})
}

func osName(d *bollwerk.Distribution) string {
	if d == nil {
		return ""
	}
	return cmp.Or(d.PrettyName, strings.TrimSpace(d.ID+" "+d.VersionID))
}

// paragraph joins parts with "; " and breaks lines between parts if it can.
func (t *table) paragraph(parts []string) {
	line := ""
	for _, p := range parts {
		if p == "" {
			continue
		}
		p = clean(p, 0)
		switch {
		case line == "":
			line = p
		case headIndent+terminal.Width(line)+2+terminal.Width(p) <= t.width:
			line += "; " + p
		default:
			t.line(strings.Repeat(" ", headIndent) + terminal.Truncate(line+";", t.width-headIndent))
			line = p
		}
	}
	for _, l := range terminal.Wrap(line, t.width-headIndent) {
		t.line(strings.Repeat(" ", headIndent) + l)
	}
}

func (t *table) counts() []string {
	s := t.r.Summary
	n := s.Packages
	var parts []string
	switch {
	case s.Findings > 0:
		var by []string
		for _, p := range priorities() {
			if k := s.ByPriority[string(p)]; k > 0 {
				by = append(by, count(k)+" "+string(p))
			}
		}
		parts = append(parts, fmt.Sprintf(headFindings, findings(s.Findings), strings.Join(by, ", ")), "in "+packages(n))
		if s.KEV > 0 {
			parts = append(parts, fmt.Sprintf(headKEV, count(s.KEV)))
		}
		if s.Fixable > 0 {
			parts = append(parts, fmt.Sprintf(headFixable, count(s.Fixable)))
		}
	case n == 0:
		parts = append(parts, headNothing)
	case s.Suppressed > 0 || s.NotEvaluated > 0:
		parts = append(parts, fmt.Sprintf(headOnlyHidden, packages(n)))
	default:
		parts = append(parts, fmt.Sprintf(headNoFindings, packages(n)))
	}
	if s.New > 0 {
		parts = append(parts, fmt.Sprintf(headNew, count(s.New)))
	}
	if s.Suppressed > 0 {
		parts = append(parts, fmt.Sprintf(headSuppressed, count(s.Suppressed)))
	}
	if s.NotEvaluated > 0 {
		parts = append(parts, fmt.Sprintf(headUnjudged, count(s.NotEvaluated)))
	}
	return parts
}

func (t *table) completeness() string {
	c := t.r.Summary.Completeness
	if c >= 1 || len(t.r.Coverage) == 0 {
		return ""
	}
	return fmt.Sprintf(headChecked, percent(min(c, 0.99)))
}

func (t *table) section(title string) {
	t.line("")
	t.line(t.paint(bold, title))
}

// body shares the remaining lines out: gaps in the coverage and expired exceptions
// are never pushed off the screen by findings.
func (t *table) body() {
	tail := 0
	if t.o.Gate != nil {
		tail++
	}
	gaps, expired := len(t.view.gaps), len(t.r.ExpiredExceptions)
	if !t.o.All {
		gaps, expired = min(gaps, 3), min(expired, 2)
	}
	reserve := tail
	if gaps > 0 {
		reserve += gaps + 2
	}
	if expired > 0 {
		reserve += expired + 2
	}
	if len(t.view.open) > 0 {
		reserve += 5 // heading, two findings, how to see more
	}
	t.actions(t.left - reserve)
	if expired > 0 {
		t.expired(expired)
		reserve -= expired + 2
	}
	if gaps > 0 {
		t.gaps(gaps)
		reserve -= gaps + 2
	}
	switch {
	case len(t.view.open) > 0:
		t.findings(sectionFindings, t.view.open, t.left-tail)
	case len(t.view.unjudged) == 0 && gaps == 0 && len(t.r.Coverage) > 0 && !t.o.All:
		t.checked(t.left - tail)
	}
	if t.o.All {
		t.findings(sectionUnjudged, t.view.unjudged, t.left)
		t.findings(sectionSuppressed, t.view.suppressed, t.left)
		t.checked(t.left)
	}
	if g := t.o.Gate; g != nil {
		s := gateLine(gateView{len(g.Matches), g.Threshold})
		colour := green
		if g.Failed() {
			colour = red
		}
		t.line(t.paint(colour, clean(s, t.width)))
	}
}

// maxActions is how many things to do are shown before --all: more than five is a
// list, not an answer.
const maxActions = 5

func (t *table) actions(lines int) {
	as := t.r.Actions
	if len(as) == 0 {
		return
	}
	n := len(as)
	if !t.o.All {
		n = 0
		used := 2
		for n < len(as) && n < maxActions {
			need := 1
			if as[n].Command != "" {
				need = 2
			}
			more := 0
			if n+1 < len(as) {
				more = 1
			}
			if n > 0 && used+need+more > lines {
				break
			}
			used += need
			n++
		}
	}
	title := sectionDo
	if t.o.All {
		title = sectionDoAll
	}
	t.section(title)
	digits := len(fmt.Sprint(n))
	for i, a := range as[:n] {
		num := fmt.Sprintf("%*d", digits, i+1)
		right := ""
		switch k := len(a.Removes); {
		case k == 1:
			right = removesOne
		case k > 1:
			right = fmt.Sprintf(removesMany, count(k))
		}
		prio := terminal.Pad(priorityWord(a.Priority), 5)
		left := 2 + digits + 2 + 5 + 2
		room := t.width - left - len(right)
		if right != "" {
			room -= 2
		}
		text := terminal.Pad(clean(a.Title, room), room)
		if right != "" {
			text += "  " + right
		}
		t.line("  " + num + "  " + t.paint(priorityColour(a.Priority), prio) + "  " + text)
		if a.Command != "" {
			// A command that does not fit is not cut: half a command is a wrong one.
			t.line(strings.Repeat(" ", left) + t.paint(dim, "$ "+clean(a.Command, 0)))
		}
	}
	switch more := len(as) - n; {
	case more == 1:
		t.line("     " + moreAction)
	case more > 1:
		t.line("     " + fmt.Sprintf(moreActions, count(more)))
	}
}

func priorityColour(p bollwerk.Priority) string {
	switch p {
	case bollwerk.PriorityNow:
		return red
	case bollwerk.PrioritySoon:
		return yellow
	}
	return dim
}

func (t *table) expired(n int) {
	t.section(sectionExpired)
	for i, e := range t.r.ExpiredExceptions[:n] {
		if left := len(t.r.ExpiredExceptions) - i; i == n-1 && left > 1 {
			t.line("  " + fmt.Sprintf(moreCoverage, count(left)))
			return
		}
		s := fmt.Sprintf(expiredRow, e.ID, e.Expires, cmp.Or(e.Owner, noOwner), e.Reason)
		t.line("  " + clean(s, t.width-2))
	}
}

func (t *table) gaps(n int) {
	t.section(sectionCoverage)
	area := 0
	for _, c := range t.view.gaps[:n] {
		area = max(area, min(24, terminal.Width(clean(c.Area, 24))))
	}
	for i, c := range t.view.gaps[:n] {
		if left := len(t.view.gaps) - i; i == n-1 && left > 1 {
			t.line("  " + fmt.Sprintf(moreCoverage, count(left)))
			return
		}
		t.line(t.coverageRow(c, area))
	}
}

func (t *table) coverageRow(c bollwerk.Coverage, area int) string {
	code := yellow
	if c.Verdict == bollwerk.Pass {
		code = green
	}
	word := terminal.Pad(strings.ToLower(verdictWord(c.Verdict)), 13)
	s := "  " + t.paint(code, word) + "  " + terminal.Pad(clean(c.Area, area), area)
	text := c.Cause
	if c.Total > 0 {
		text = strings.TrimSuffix(fmt.Sprintf(coverageCount, count(c.Checked), count(c.Total))+", "+text, ", ")
	} else if c.Checked > 0 && text == "" {
		text = count(c.Checked)
	}
	if t.o.All && len(c.Examples) > 0 {
		text += ": " + strings.Join(c.Examples[:min(5, len(c.Examples))], ", ")
	}
	room := t.width - 2 - 13 - 2 - area - 2
	if room < 8 {
		return s
	}
	return s + "  " + clean(text, room)
}

func (t *table) checked(lines int) {
	rows := t.r.Coverage
	if len(rows) == 0 || lines < 4 {
		return
	}
	t.section(sectionChecked)
	n := len(rows)
	if n > lines-2 {
		n = lines - 3
	}
	area := 0
	for _, c := range rows[:n] {
		area = max(area, min(30, terminal.Width(clean(c.Area, 30))))
	}
	for _, c := range rows[:n] {
		t.line(t.coverageRow(c, area))
	}
	if more := len(rows) - n; more > 0 {
		t.line("  " + fmt.Sprintf(moreCoverage, count(more)))
	}
}

func (t *table) findings(title string, fs []*bollwerk.Finding, lines int) {
	if len(fs) == 0 {
		return
	}
	n := len(fs)
	if !t.o.All {
		n = min(n, max(2, lines-3)) // blank, heading, how to see more
	}
	t.section(title)
	shown := fs[:n]
	c := t.columns(shown)
	for _, f := range shown {
		t.line(t.findingRow(f, c))
	}
	if t.o.All {
		return
	}
	hint := fmt.Sprintf(whyHint, clean(fs[0].ID, 40))
	more := ""
	switch k := len(fs) - n; {
	case k == 1:
		more = moreFinding + "; "
	case k > 1:
		more = fmt.Sprintf(moreFindings, count(k)) + "; "
	}
	t.line("  " + t.paint(dim, clean(more+hint, t.width-2)))
}

// columns are the widths of the finding rows; 0 leaves a column out.
type columns struct{ id, what, fix, why int }

const (
	maxID  = 22
	maxFix = 18
	maxWhy = 26
)

// fixed parts of a row: indent, priority, severity and the gaps between.
const rowFixed = 2 + 5 + 2 + 2 + 8 + 2

func (t *table) columns(fs []*bollwerk.Finding) columns {
	var c columns
	for _, f := range fs {
		c.id = max(c.id, min(maxID, terminal.Width(clean(f.ID, maxID))))
		c.fix = max(c.fix, min(maxFix, terminal.Width(clean(t.fix(f), maxFix))))
		c.why = max(c.why, min(maxWhy, terminal.Width(clean(t.why(f), maxWhy))))
	}
	room := t.width - rowFixed - c.id
	// The package has at least 18 columns; what does not fit beside it goes, the
	// reason last because it explains the order.
	const least = 18
	c.what = room
	for _, col := range []*int{&c.why, &c.fix} {
		if *col == 0 {
			continue
		}
		if c.what-*col-2 < least {
			if short := c.what - least - 2; short >= 9 {
				*col = short
			} else {
				*col = 0
				continue
			}
		}
		c.what -= *col + 2
	}
	return c
}

func (t *table) findingRow(f *bollwerk.Finding, c columns) string {
	s := "  " + t.paint(priorityColour(f.Priority), terminal.Pad(priorityWord(f.Priority), 5)) + "  " +
		terminal.Pad(clean(f.ID, c.id), c.id) + "  " +
		t.paint(severityColour(f.Severity), terminal.Pad(f.Severity.String(), 8)) + "  "
	what := clean(what(f), 0)
	if f.Package == nil && f.Path != "" {
		what = terminal.TruncateMiddle(what, c.what)
	} else {
		what = terminal.Truncate(what, c.what)
	}
	s += terminal.Pad(what, c.what)
	if c.fix > 0 {
		s += "  " + terminal.Pad(clean(t.fix(f), c.fix), c.fix)
	}
	if c.why > 0 {
		s += "  " + clean(t.why(f), c.why)
	}
	return s
}

func severityColour(s bollwerk.Severity) string {
	switch s {
	case bollwerk.SeverityCritical:
		return red
	case bollwerk.SeverityHigh:
		return yellow
	}
	return ""
}

// what names the subject of a finding.
func what(f *bollwerk.Finding) string {
	if f.Package != nil {
		return strings.TrimSpace(f.Package.Name + " " + f.Package.Version)
	}
	place := f.Path
	if place != "" && f.Line > 0 {
		place = fmt.Sprintf("%s:%d", place, f.Line)
	}
	title := cmp.Or(f.Title, f.Policy)
	if place == "" {
		return title
	}
	if title == "" {
		return place
	}
	return title + ", " + place
}

func (t *table) fix(f *bollwerk.Finding) string {
	switch {
	case len(f.FixedIn) > 0:
		return "→ " + f.FixedIn[0]
	case f.Kind == bollwerk.KindVulnerability && f.Suppressed == nil:
		return noFix
	}
	return ""
}

func (t *table) why(f *bollwerk.Finding) string { return strings.Join(signs(f), ", ") }

// signs are the words of a row that explain its place, strongest first.
func signs(f *bollwerk.Finding) []string {
	var out []string
	if s := f.Suppressed; s != nil {
		return append(out, cmp.Or(s.Reason, s.Status))
	}
	switch f.Kind {
	case bollwerk.KindMalware:
		out = append(out, signMalware)
	case bollwerk.KindSecret:
		out = append(out, signSecret)
	case bollwerk.KindStandard:
		switch f.Mode {
		case "enforce":
			out = append(out, signEnforced)
		case "warn":
			out = append(out, signWarn)
		case "observe":
			out = append(out, signObserve)
		}
	}
	if f.KEV != nil {
		if f.KEV.Ransomware {
			out = append(out, signRansomware)
		} else {
			out = append(out, signExploited)
		}
	}
	if f.New {
		out = append(out, signNew)
	}
	if f.EPSS != nil && f.EPSS.Score >= 0.01 {
		out = append(out, fmt.Sprintf(signEPSS, percent(f.EPSS.Score)))
	}
	if f.Reachable != nil {
		if *f.Reachable {
			out = append(out, signReachable)
		} else {
			out = append(out, signUnused)
		}
	}
	return out
}

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

// unjudgedShown is how many findings that were not evaluated a format for programs
// names one by one, when it has no place for them but notes.
const unjudgedShown = 20

// unjudgedNotes say what was not evaluated, and why.
func (v *view) unjudgedNotes() []string {
	var out []string
	for _, f := range v.unjudged[:min(len(v.unjudged), unjudgedShown)] {
		place := f.Path
		if f.Package != nil {
			place = f.Package.Name + " " + f.Package.Version
		}
		out = append(out, fmt.Sprintf(noteUnjudgedOne, f.ID, cmp.Or(place, "the target"), cmp.Or(f.Reason, noteNoCause)))
	}
	if n := len(v.unjudged) - unjudgedShown; n > 0 {
		out = append(out, fmt.Sprintf(noteUnjudgedMore, findings(n)))
	}
	return out
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
	// A line that is wider than the terminal takes several.
	t.left -= max(1, (shownWidth(s)+t.width-1)/t.width)
	_, t.err = io.WriteString(t.w, strings.TrimRight(s, " ")+"\n")
}

// shownWidth is the width of a line without its colour codes.
func shownWidth(s string) int {
	if !strings.Contains(s, "\x1b[") {
		return terminal.Width(s)
	}
	n := 0
	for i, part := range strings.Split(s, "\x1b[") {
		if i > 0 {
			_, part, _ = strings.Cut(part, "m")
		}
		n += terminal.Width(part)
	}
	return n
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
			t.wrapped(line + ";")
			line = p
		}
	}
	t.wrapped(line)
}

func (t *table) wrapped(s string) {
	for _, l := range terminal.Wrap(s, t.width-headIndent) {
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
		parts = append(parts, fmt.Sprintf(headFindings, findings(s.Findings), packages(n), strings.Join(by, ", ")))
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
	t.line(t.paint(bold, clean(title, t.width)))
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
	// Beside findings the gaps take one line; alone they are the result.
	inline := len(t.view.open) > 0 && !t.o.All
	switch {
	case gaps > 0 && inline:
		reserve += 2
	case gaps > 0:
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
	}
	switch {
	case gaps > 0 && inline:
		t.gapLine()
	case gaps > 0:
		t.gaps(gaps)
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
	var blocks [][]string
	used := 3 // blank line, heading, how to see more
	for i := range as {
		block := t.action(i)
		need := 0
		for _, l := range block {
			need += max(1, (shownWidth(l)+t.width-1)/t.width)
		}
		if !t.o.All && (i == maxActions || i > 0 && used+need > lines) {
			break
		}
		used += need
		blocks = append(blocks, block)
	}
	title := sectionDo
	if t.o.All {
		title = sectionDoAll
	}
	t.section(title)
	for _, block := range blocks {
		for _, l := range block {
			t.line(l)
		}
	}
	switch more := len(as) - len(blocks); {
	case more == 1:
		t.line("     " + moreAction)
	case more > 1:
		t.line("     " + fmt.Sprintf(moreActions, count(more)))
	}
}

// action returns the lines of one thing to do: priority, sentence, what it takes
// away, the command.
func (t *table) action(i int) []string {
	a := t.r.Actions[i]
	num := fmt.Sprintf("%d", i+1)
	if t.o.All {
		num = fmt.Sprintf("%*d", len(fmt.Sprint(len(t.r.Actions))), i+1)
	}
	prio := terminal.Pad(priorityWord(a.Priority), 5)
	left := 2 + len(num) + 2 + 5 + 2
	room := t.width - left
	text, right := clean(a.Title, 4*room), removes(a)
	if n := terminal.Width(text) + 2 + len(right); right != "" && n <= room {
		text = terminal.Pad(text, room-len(right)) + right
		right = ""
	}
	words := terminal.Wrap(text, room)
	if right == "" && removes(a) != "" {
		words = []string{text} // one line, padded on purpose
	} else {
		if len(words) == 1 {
			words = terminal.Wrap(text, room-len(right)-2)
		}
		if len(words) > 2 && !t.o.All {
			words = []string{words[0], terminal.Truncate(strings.Join(words[1:], " "), room)}
		}
		last := len(words) - 1
		if terminal.Width(words[last])+2+len(right) <= room {
			words[last] = terminal.Pad(words[last], room-len(right)) + right
		} else if t.o.All {
			words = append(words, terminal.Pad("", room-len(right))+right)
		} else {
			words[last] = terminal.Pad(terminal.Truncate(words[last], room-len(right)-2), room-len(right)) + right
		}
	}
	lines := []string{"  " + num + "  " + t.paint(priorityColour(a.Priority), prio) + "  " + words[0]}
	for _, w := range words[1:] {
		lines = append(lines, strings.Repeat(" ", left)+w)
	}
	if a.Command != "" {
		// A command that does not fit is not cut: half a command is a wrong one.
		lines = append(lines, strings.Repeat(" ", left)+t.paint(dim, "$ "+clean(a.Command, 0)))
	}
	return lines
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

// gapLine names what was not fully checked in one line: the cause where there is
// one gap, the areas where there are several.
func (t *table) gapLine() {
	gaps := t.view.gaps
	t.line("")
	head := fmt.Sprintf(gapsHead, sectionCoverage)
	room := t.width - terminal.Width(head)
	text := ""
	if len(gaps) == 1 {
		text = clean(gaps[0].Area+": "+cmp.Or(gaps[0].Cause, noteNoCause), room)
	} else {
		more := ""
		for i := range gaps {
			area := clean(gaps[i].Area, 40)
			if text != "" {
				area = text + ", " + area
			}
			rest := ""
			if n := len(gaps) - i - 1; n > 0 {
				rest = fmt.Sprintf(gapsMore, count(n))
			}
			if text != "" && terminal.Width(area)+len(rest) > room {
				break
			}
			text, more = area, rest
		}
		text = terminal.Truncate(text+more, room)
	}
	t.line(t.paint(yellow, head) + text)
}

// gapLines is how many lines the cause of a gap may take: two when findings do not
// need the room.
func (t *table) gapLines() int {
	switch {
	case t.o.All:
		return 100
	case len(t.view.open) == 0:
		return 2
	}
	return 1
}

func (t *table) gaps(n int) {
	t.section(sectionCoverage)
	area := 0
	for _, c := range t.view.gaps[:n] {
		area = max(area, min(24, terminal.Width(clean(c.Area, 24))))
	}
	shown, more := n, len(t.view.gaps)-n
	if more > 0 {
		shown, more = n-1, more+1
	}
	t.rows(t.view.gaps[:shown], area, t.gapLines())
	if more > 0 {
		t.line("  " + fmt.Sprintf(moreCoverage, count(more)))
	}
}

// coverageRow returns the lines of one row; wrap is how many its cause may take.
func (t *table) coverageRow(c bollwerk.Coverage, area, wrap int) []string {
	code := yellow
	if c.Verdict == bollwerk.Pass {
		code = green
	}
	word := terminal.Pad(strings.ToLower(verdictWord(c.Verdict)), 13)
	s := "  " + t.paint(code, word) + "  " + terminal.Pad(clean(c.Area, area), area)
	text := c.Cause
	if c.Total > 0 {
		n := fmt.Sprintf(coverageCount, count(c.Checked), count(c.Total))
		if text == "" {
			text = n
		} else {
			text += " (" + n + ")"
		}
	} else if c.Checked > 0 && text == "" {
		text = count(c.Checked)
	}
	if t.o.All && len(c.Examples) > 0 {
		text += ": " + strings.Join(c.Examples[:min(5, len(c.Examples))], ", ")
	}
	left := 2 + 13 + 2 + area + 2
	room := t.width - left
	if room < 8 {
		return []string{s}
	}
	words := terminal.Wrap(clean(text, 0), room)
	if len(words) > wrap {
		words = append(words[:wrap-1:wrap-1], terminal.Truncate(strings.Join(words[wrap-1:], " "), room))
	}
	if len(words) == 0 {
		return []string{s}
	}
	lines := []string{s + "  " + words[0]}
	for _, w := range words[1:] {
		lines = append(lines, strings.Repeat(" ", left)+w)
	}
	return lines
}

func (t *table) rows(rows []bollwerk.Coverage, area, wrap int) {
	for _, c := range rows {
		for _, l := range t.coverageRow(c, area, wrap) {
			t.line(l)
		}
	}
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
	wrap := 1
	if t.o.All {
		wrap = 100
	}
	t.rows(rows[:n], area, wrap)
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
	s += terminal.Pad(whatIn(f, c.what), c.what)
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

// what names the subject of a finding: the package, or the place; a policy about
// the whole artifact is named by its title.
func what(f *bollwerk.Finding) string {
	switch {
	case f.Package != nil:
		return strings.TrimSpace(f.Package.Name + " " + f.Package.Version)
	case f.Path != "" && f.Line > 0:
		return fmt.Sprintf("%s:%d", f.Path, f.Line)
	case f.Path != "":
		return f.Path
	case f.Kind == bollwerk.KindSecret:
		return configuration
	}
	return cmp.Or(f.Title, f.Policy, f.ID)
}

// whatIn fits the subject into w columns. Of a package the version stays whole as
// long as it can; of a Maven coordinate the publisher goes first, of a path the
// middle.
func whatIn(f *bollwerk.Finding, w int) string {
	s := clean(what(f), 0)
	if terminal.Width(s) <= w {
		return s
	}
	if f.Package == nil {
		if f.Path != "" {
			return terminal.TruncateMiddle(s, w)
		}
		return terminal.Truncate(s, w)
	}
	name, version := clean(f.Package.Name, 0), clean(f.Package.Version, max(4, w/2))
	if f.Package.Ecosystem.Name() == string(bollwerk.EcosystemMaven) {
		if _, artifact, ok := strings.Cut(name, ":"); ok {
			name = artifact
		}
	}
	return terminal.Truncate(terminal.TruncateMiddle(name, max(4, w-1-terminal.Width(version)))+" "+version, w)
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

// why is the strongest reason on a narrow terminal, all of them on a wide one.
func (t *table) why(f *bollwerk.Finding) string {
	list := signs(f)
	if t.width < 100 && len(list) > 1 {
		list = list[:1]
	}
	return strings.Join(list, ", ")
}

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

package report

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/bollwerk/bollwerk"
)

// markdownMarker lets a bot find its own comment and update it.
const markdownMarker = "<!-- bollwerk:report -->"

// markdownBudget is how many bytes a comment may have; GitHub takes 65,536
// characters and drops a longer comment whole.
const markdownBudget = 60000

// Markdown writes a comment for a pull request: the verdict, what to do, and the
// rest folded away. With a baseline what is new stands first.
func Markdown(w io.Writer, r *bollwerk.Result, o Options) error {
	m := &markdown{r: r, o: o, v: newView(r)}
	m.head()
	m.actions()
	m.lists()
	_, err := io.WriteString(w, m.b.String())
	return err
}

type markdown struct {
	r *bollwerk.Result
	o Options
	v view
	b strings.Builder
}

func (m *markdown) printf(format string, args ...any) { fmt.Fprintf(&m.b, format, args...) }

// full reports that no further row may be written.
func (m *markdown) full() bool { return m.b.Len() > markdownBudget }

func (m *markdown) head() {
	r := m.r
	m.printf("%s\n### %s %s\n\n", markdownMarker, fmt.Sprintf(markdownTitle, verdictWord(r.Verdict)), code(cmp.Or(r.Target.Name, r.Target.Ref), 120))
	t := table{r: r, o: m.o}
	counts := t.counts()
	if m.o.Baseline != "" && r.Summary.New == 0 {
		counts = append(counts, markdownNoneNew)
	}
	if len(counts) > 0 {
		m.printf("**%s**", prose(counts[0], 200))
		for _, c := range counts[1:] {
			m.printf("; %s", prose(c, 200))
		}
		m.printf(".\n")
	}
	line := []string{prose(advisories(r), 200)}
	if c := t.completeness(); c != "" {
		line = append(line, prose(c, 200))
	}
	if m.o.Baseline != "" {
		line = append(line, fmt.Sprintf(strings.ReplaceAll(markdownCompared, "`%s`", "%s"), code(m.o.Baseline, 120)))
	}
	m.printf("%s.\n", upperFirst(strings.Join(line, "; ")))
	if g := m.o.Gate; g != nil {
		m.printf("\n> %s\n", prose(gateLine(gateView{len(g.Matches), g.Threshold}), 300))
	}
}

func upperFirst(s string) string {
	if s != "" && s[0] >= 'a' && s[0] <= 'z' {
		return string(s[0]-'a'+'A') + s[1:]
	}
	return s
}

func (m *markdown) actions() {
	as := m.r.Actions
	if len(as) == 0 {
		return
	}
	n := min(len(as), maxActions)
	if m.o.All {
		n = len(as)
	}
	m.printf("\n#### %s\n\n", markdownDo)
	for i, a := range as[:n] {
		if m.full() {
			n = i
			break
		}
		m.printf("%d. **%s** %s", i+1, priorityWord(a.Priority), prose(a.Title, 240))
		if s := removes(a); s != "" {
			m.printf(" (%s)", s)
		}
		m.printf("\n")
		if a.Command != "" {
			m.printf("   %s\n", code(a.Command, 0))
		}
	}
	if more := len(as) - n; more > 0 {
		m.printf("\n"+markdownMore+"\n", count(more))
	}
}

// markdownRows is how many findings one list shows.
const markdownRows = 50

func (m *markdown) lists() {
	if m.o.Baseline != "" {
		var fresh []*bollwerk.Finding
		for _, f := range m.v.open {
			if f.New {
				fresh = append(fresh, f)
			}
		}
		m.table(markdownNew, fresh, true)
	}
	m.table(markdownFindings, m.v.open, false)
	if gaps := m.v.gaps; len(gaps) > 0 {
		m.open(fmt.Sprintf(markdownGaps, count(len(gaps))), true)
		m.printf("| | area | cause |\n|---|---|---|\n")
		for _, c := range gaps[:min(20, len(gaps))] {
			m.printf("| %s | %s | %s |\n", strings.ToLower(verdictWord(c.Verdict)), code(c.Area, 60), prose(cmp.Or(c.Cause, noteNoCause), 300))
		}
		m.close(len(gaps) - 20)
	}
	if ex := m.r.ExpiredExceptions; len(ex) > 0 {
		m.open(fmt.Sprintf(markdownExpired, count(len(ex))), true)
		for _, e := range ex[:min(20, len(ex))] {
			m.printf("- %s\n", prose(fmt.Sprintf(expiredRow, e.ID, e.Expires, cmp.Or(e.Owner, noOwner), e.Reason), 300))
		}
		m.close(len(ex) - 20)
	}
	m.table(markdownSuppressed, m.v.suppressed, false)
}

func (m *markdown) open(summary string, open bool) {
	tag := "<details>"
	if open {
		tag = "<details open>"
	}
	m.printf("\n%s<summary>%s</summary>\n\n", tag, summary)
}

func (m *markdown) close(more int) {
	if more > 0 {
		m.printf("\n"+markdownMore+"\n", count(more))
	}
	m.printf("\n</details>\n")
}

func (m *markdown) table(title string, fs []*bollwerk.Finding, open bool) {
	if len(fs) == 0 || m.full() {
		return
	}
	m.open(fmt.Sprintf(title, count(len(fs))), open)
	m.printf("| | issue | severity | where | fix | why |\n|---|---|---|---|---|---|\n")
	n := 0
	for _, f := range fs {
		if n == markdownRows && !m.o.All || m.full() {
			break
		}
		n++
		fix := ""
		switch {
		case len(f.FixedIn) > 0:
			fix = code(f.FixedIn[0], 40)
		case f.Kind == bollwerk.KindVulnerability:
			fix = noFix
		}
		m.printf("| %s | %s | %s | %s | %s | %s |\n", priorityWord(f.Priority), code(f.ID, 60), f.Severity,
			code(what(f), 120), fix, prose(strings.Join(signs(f), ", "), 120))
	}
	m.close(len(fs) - n)
}

// code writes foreign text as a code span: nothing in it is markup, a mention or a
// link. Backticks are the only way out, so they are replaced; a bar would end the
// cell of a table.
func code(s string, max int) string {
	s = strings.TrimSpace(clean(s, max))
	if s == "" {
		return ""
	}
	s = strings.ReplaceAll(s, "`", "'")
	s = strings.ReplaceAll(s, "|", `\|`)
	return "`" + s + "`"
}

// prose writes foreign text with every character that Markdown, HTML or a forge
// gives a meaning to made harmless: a package called "@octocat" or "![](http://…)"
// notifies nobody and loads nothing.
func prose(s string, max int) string {
	s = clean(s, max)
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '<':
			b.WriteString("&lt;")
		case '>':
			b.WriteString("&gt;")
		case '&':
			b.WriteString("&amp;")
		case '@':
			// An empty comment keeps the mention apart from its name also in forges
			// that look at the text after rendering.
			b.WriteString("@<!-- -->")
		case '#':
			b.WriteString("#<!-- -->")
		case ':':
			if strings.HasPrefix(s[i:], ":/") {
				b.WriteByte('\\')
			}
			b.WriteByte(c)
		case '\\', '`', '*', '_', '{', '}', '[', ']', '!', '|', '~', '$':
			b.WriteByte('\\')
			b.WriteByte(c)
		case '.':
			if i >= 3 && strings.EqualFold(s[i-3:i], "www") {
				b.WriteByte('\\')
			}
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

package vuln

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/cvss"
)

// assembly builds one match from the records of one issue.
type assembly struct {
	m     *matcher
	issue int
	want  state
	own   issueRecord // of the group's name
	out   Match

	names   []string
	vectors []bollwerk.CVSS
	from    []string // record of each vector
	word    bollwerk.Severity
	wordOf  string
	// several: the word was given to an erratum for several issues at once.
	several bool
	imports []ImportPath
	groups  []*advisoryGroup // the records used
	// deciding are those of groups that decide alone (see issueState.verdict).
	deciding []*advisoryGroup
	reason   string
}

// add uses one record if it speaks of the issue and decided as wanted.
func (a *assembly) add(g *advisoryGroup) error {
	m := a.m
	if g.outcome.state != a.want {
		return nil
	}
	if err := m.en.decode(m.bodies[g.first], len(m.issues)); err != nil {
		return err
	}
	raw, err := m.db.record(sectionAdvisory, sectionAdvTab, g.advisory)
	if err != nil {
		return err
	}
	r, _ := decodeAdvisoryHead(raw)
	if r.err != nil {
		return r.err
	}
	id := strings.Clone(r.id)
	a.out.Advisories = append(a.out.Advisories, id)
	a.addNames(&r, id)
	if a.out.Title == "" {
		a.out.Title = strings.Clone(r.title)
	}
	// The entry that decided, with its own severity and symbols.
	if g.outcome.body != g.first {
		if err := m.en.decode(m.bodies[g.outcome.body], len(m.issues)); err != nil {
			return err
		}
	}
	if err := m.en.decodeTail(); err != nil {
		return err
	}
	switch {
	case r.kind == kindMalware:
		a.out.Kind = bollwerk.KindMalware
	case m.en.flags&entryNotice == 0 && a.out.Kind == bollwerk.KindNotice:
		a.out.Kind = bollwerk.KindVulnerability
	}
	a.addSeverity(&r, id, len(m.en.issues) > 1)
	for _, i := range m.en.imports {
		if importApplies(m.s.pkg, &i) {
			a.imports = append(a.imports, i)
		}
	}
	if a.reason == "" {
		a.reason = m.reason(&m.en, g.outcome, &r)
	}
	a.groups = append(a.groups, g)
	if m.en.flags&entryAuthority != 0 {
		a.deciding = append(a.deciding, g)
	}
	return nil
}

// addNames collects the other names of the issue: all of a record about one issue;
// of an erratum for many its own id and the one name that belongs here.
func (a *assembly) addNames(r *advisoryRecord, id string) {
	a.names = append(a.names, id)
	distribution := isDistribution(a.m.s.ecosystem)
	if len(a.m.en.issues) > 1 {
		if distribution {
			// Among distributions two CVEs are two issues, so the group's name is the
			// one that this erratum means; no need to look through its hundreds.
			a.names = append(a.names, strings.Clone(a.own.name))
			return
		}
		adv := Advisory{ID: r.id, Aliases: r.aliases, Upstream: r.upstream, Related: r.related}
		for i, names := range adv.issueNames(distribution) {
			if i < len(a.m.en.issues) && a.m.en.issues[i] == a.issue {
				a.names = append(a.names, cloneAll(names)...)
			}
		}
		return
	}
	// One issue: the same as issueNames, without its sorting.
	a.names = append(append(a.names, cloneAll(r.aliases)...), cloneAll(r.upstream)...)
	if distribution && len(r.upstream) == 0 && !isCVE(id) && !hasCVE(r.aliases) {
		for _, n := range r.related {
			if isCVE(n) {
				a.names = append(a.names, strings.Clone(n))
			}
		}
	}
}

func (a *assembly) addSeverity(r *advisoryRecord, id string, several bool) {
	en := &a.m.en
	list, word := r.cvss, r.word
	if en.flags&entrySeverity != 0 {
		// What is said of this package beats what is said of the record.
		if len(en.cvss) > 0 {
			list = en.cvss
		}
		if en.word != bollwerk.SeverityUnknown {
			word = en.word
		}
	}
	for _, c := range list {
		if slices.ContainsFunc(a.vectors, func(have bollwerk.CVSS) bool { return have.Vector == c.Vector }) {
			continue
		}
		c.Vector = strings.Clone(c.Vector)
		a.vectors, a.from = append(a.vectors, c), append(a.from, id)
	}
	if word > a.word {
		a.word, a.wordOf, a.several = word, id, several
	}
}

// finish grades, joins exploitation and fixes, and words the reason.
//
// The issue goes by the best name its matching records give it. The name of the
// whole group is only the stand-in for records that know no CVE: of two CVEs tied
// by one advisory, the one that is fixed already must not be reported.
func (a *assembly) finish() (Match, error) {
	out := &a.out
	out.Advisories = uniqueSorted(out.Advisories)
	if !hasCVE(a.names) {
		a.names = append(a.names, strings.Clone(a.own.name))
	}
	out.ID = primaryName(a.names)
	out.Aliases = without(a.names, out.ID)
	if err := a.join(); err != nil {
		return Match{}, err
	}
	if a.want == affected {
		fixes, err := a.fixes()
		if err != nil {
			return Match{}, err
		}
		out.FixedIn = fixes
	} else {
		out.FixedIn = []string{}
	}
	for _, i := range a.imports {
		for _, s := range i.Symbols {
			if len(out.Symbols) < maxShown {
				out.Symbols = append(out.Symbols, strings.Clone(i.Path+"."+s))
			}
		}
	}
	out.Symbols = uniqueSorted(out.Symbols)
	out.Reachable = reach(a.m.s.pkg.Symbols, a.imports)
	out.Reason = a.reason
	out.References = pages(out.ID, out.Advisories)
	return *out, nil
}

// join adds what is known by name: severity lent by other records of the CVE,
// exploitation. An issue with several CVEs takes the worst of them.
func (a *assembly) join() error {
	out := &a.out
	var few [2]issueRecord
	records := few[:0]
	for i := -1; i < len(out.Aliases); i++ {
		n := out.ID
		if i >= 0 {
			n = out.Aliases[i]
		}
		if !isCVE(n) {
			continue
		}
		if n == a.own.name {
			records = append(records, a.own)
			continue
		}
		r, ok, err := a.m.db.issueByName(n)
		if err != nil {
			return err
		}
		if ok {
			records = append(records, r)
		}
	}
	var lent *issueRecord
	for i := range records {
		r := &records[i]
		if r.kev != nil && (out.KEV == nil || r.kev.DateAdded < out.KEV.DateAdded) {
			k := *r.kev
			k.DateAdded, k.DueDate = strings.Clone(k.DateAdded), strings.Clone(k.DueDate)
			out.KEV = &k
		}
		if r.epss != nil && (out.EPSS == nil || r.epss.Score > out.EPSS.Score) {
			e := *r.epss
			out.EPSS = &e
		}
		if r.source != "" && (lent == nil || len(lent.cvss) == 0 && len(r.cvss) > 0) {
			lent = r
		}
	}
	best, ok := cvss.Best(a.vectors)
	switch {
	case ok:
		out.CVSS = a.vectors
		for i, c := range a.vectors {
			if c.Vector == best.Vector {
				out.SeverityFrom = a.from[i]
			}
		}
	case a.word != bollwerk.SeverityUnknown && (!a.several || lent == nil):
		// The source's word for this very issue.
		out.Severity, out.SeverityFrom = a.word, a.wordOf
		return nil
	case lent != nil && len(lent.cvss) > 0:
		for _, c := range lent.cvss {
			c.Vector = strings.Clone(c.Vector)
			out.CVSS = append(out.CVSS, c)
		}
		best, _ = cvss.Best(out.CVSS)
		out.SeverityFrom = strings.Clone(lent.source)
	case lent != nil:
		out.Severity, out.SeverityFrom = lent.word, strings.Clone(lent.source)
		return nil
	default:
		return nil
	}
	out.Score, out.Severity = best.Score, bollwerk.SeverityFromScore(best.Score)
	return nil
}

func (db *DB) issueByName(name string) (issueRecord, bool, error) {
	var few [4]uint32
	numbers, err := db.find(sectionIssueIdx, xxhash.Sum64String(name), few[:0])
	if err != nil {
		return issueRecord{}, false, err
	}
	for _, n := range numbers {
		b, err := db.record(sectionIssue, sectionIssueTab, uint64(n))
		if err != nil {
			return issueRecord{}, false, err
		}
		r := decodeIssue(b)
		if r.err != nil {
			return issueRecord{}, false, r.err
		}
		if r.name == name {
			return r, true, nil
		}
	}
	return issueRecord{}, false, nil
}

// maxFixes bounds the fixes that are looked at: a record with hundreds of ranges has
// one for each branch, and only the nearest matter.
const maxFixes = 12

// fixes returns the fixed versions above the installed one, nearest first, leaving
// out those that another record of the same issue still calls affected. If that
// leaves none, the records disagree, and the highest fix is the best that is known.
func (a *assembly) fixes() ([]string, error) {
	m := a.m
	if len(a.deciding) > 0 {
		a.groups = a.deciding
	}
	var all []string
	checks := 0
	for _, g := range a.groups {
		for i := g.first; i < g.end; i++ {
			if err := m.en.decode(m.bodies[i], len(m.issues)); err != nil {
				return nil, err
			}
			if !m.applies(&m.en) {
				continue
			}
			checks++
			for _, list := range [2][][]Event{m.en.ranges, m.en.custom} {
				for _, rg := range list {
					checks += len(rg) / 2
					for _, e := range rg {
						if e.Kind == Fixed && !atStart(e) && len(all) < maxEvents && m.above(e.Version) && !slices.Contains(all, e.Version) {
							all = append(all, strings.Clone(e.Version))
						}
					}
				}
			}
		}
	}
	if len(all) == 0 {
		return []string{}, nil
	}
	slices.SortFunc(all, func(x, y string) int {
		if c, err := m.s.cmp(x, y); err == nil && c != 0 {
			return c
		}
		return strings.Compare(x, y)
	})
	if len(all) == 1 && len(a.groups) == 1 && checks <= 2 {
		return all, nil
	}
	var clean []string
	for _, v := range all[:min(len(all), maxFixes)] {
		ok, err := a.cleanAt(v)
		if err != nil {
			return nil, err
		}
		if ok {
			clean = append(clean, v)
		}
	}
	if len(clean) == 0 {
		return all[len(all)-1:], nil
	}
	return clean, nil
}

func (m *matcher) above(v string) bool {
	if m.s.version == "" || !m.s.ordered {
		return true
	}
	c, err := m.s.cmp(v, m.s.version)
	return err == nil && c > 0
}

// cleanAt reports whether no record of the match calls a version affected.
func (a *assembly) cleanAt(v string) (bool, error) {
	m := a.m
	there := *m.s
	there.version = v
	was := m.s
	m.s = &there
	defer func() { m.s = was }()
	for _, g := range a.groups {
		var o outcome
		first := true
		for i := g.first; i < g.end; i++ {
			if err := m.en.decode(m.bodies[i], len(m.issues)); err != nil {
				return false, err
			}
			e, ok := m.evaluate(&m.en)
			switch {
			case !ok:
			case first:
				o, first = e, false
			default:
				o = m.combine(o, e)
			}
		}
		if o.state == affected {
			return false, nil
		}
	}
	return true, nil
}

// reason words in one sentence why the record matched, or why it could not be
// evaluated.
func (m *matcher) reason(en *entry, o outcome, r *advisoryRecord) string {
	what := m.s.shown + " " + m.s.version
	if m.s.version == "" {
		what = m.s.shown + " without a version"
	}
	if p := m.s.pkg; m.s.shown != p.Name {
		what += " (the source of " + p.Name + ")"
		if p.Ecosystem == bollwerk.EcosystemBinary {
			what = p.Name + " " + m.s.version + " (" + m.s.shown + ")"
		}
	}
	tail := ""
	if r.flags&flagUnreviewed != 0 {
		tail = "; nobody has reviewed that record"
	}
	switch {
	case o.state == unknown:
		return fmt.Sprintf("%s: %s could not be evaluated: %s%s", what, r.id, o.cause, tail)
	case o.listed:
		return fmt.Sprintf("%s is listed as affected by %s%s", what, r.id, tail)
	}
	rg := m.decidingRange(en)
	if isEverything(rg) {
		return what + ": " + r.id + " affects every version" + tail
	}
	return what + " lies in the affected range " + m.describe(rg) + " of " + r.id + tail
}

// decidingRange returns the range of an entry that made the version affected. See
// evaluate: a range without end does not decide where another one knows the end.
func (m *matcher) decidingRange(en *entry) []Event {
	endless := len(en.custom) == 0 && en.flags&entryUpperUnknown == 0
	for _, rg := range en.ranges {
		if in, err := m.in(rg); err == nil && in && (endless || m.endsAbove(rg)) {
			return rg
		}
	}
	for _, rg := range en.custom {
		if in, err := m.in(rg); err == nil && in {
			return rg
		}
	}
	return nil
}

// describe writes the interval of a range that holds the version: "[1.0, 1.2.3)".
func (m *matcher) describe(rg []Event) string {
	from, to := "", ""
	inclusive := false
	for _, e := range rg {
		switch e.Kind {
		case Introduced:
			if atStart(e) {
				if from == "" {
					from = "0"
				}
				continue
			}
			if c, err := m.s.cmp(e.Version, m.s.version); err == nil && c <= 0 && (from == "" || from == "0" || m.less(from, e.Version)) {
				from = e.Version
			}
		case Fixed, LastAffected, Limit:
			if atStart(e) || e.Version == "*" {
				continue
			}
			c, err := m.s.cmp(e.Version, m.s.version)
			if err == nil && (c > 0 || c == 0 && e.Kind == LastAffected) && (to == "" || m.less(e.Version, to)) {
				to, inclusive = e.Version, e.Kind == LastAffected
			}
		}
	}
	if from == "" {
		from = "0"
	}
	switch {
	case to == "":
		return "[" + from + ", no end)"
	case inclusive:
		return "[" + from + ", " + to + "]"
	}
	return "[" + from + ", " + to + ")"
}

func (m *matcher) less(a, b string) bool {
	c, err := m.s.cmp(a, b)
	return err == nil && c < 0
}

package vuln

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/version"
)

// Match is one issue of one package.
type Match struct {
	ID         string               `json:"id"`         // the CVE if there is one
	Aliases    []string             `json:"aliases"`    // every other name, sorted
	Advisories []string             `json:"advisories"` // ids of the records that matched, sorted
	Kind       bollwerk.FindingKind `json:"kind"`       // vulnerability, malware or notice
	Title      string               `json:"title,omitempty"`

	Severity bollwerk.Severity `json:"severity"`
	Score    float64           `json:"score"` // 0: no vector is known
	CVSS     []bollwerk.CVSS   `json:"cvss,omitempty"`
	// SeverityFrom is the record severity and score were taken from. It is none of
	// Advisories when those state no severity and another record of the CVE does.
	SeverityFrom string         `json:"severity_from,omitempty"`
	KEV          *bollwerk.KEV  `json:"kev"`
	EPSS         *bollwerk.EPSS `json:"epss"`

	// FixedIn are versions with the fix, nearest first: the first one is on the
	// package's own branch if that has one.
	FixedIn []string `json:"fixed_in"`
	// Verdict is fail, or not evaluated when no record could be decided.
	Verdict bollwerk.Verdict `json:"verdict"`
	Reason  string           `json:"reason"`
	// Symbols are the affected functions, "import/path.Func", where the records say.
	Symbols []string `json:"symbols,omitempty"`
	// Reachable: nil when not known. See symbol.go.
	Reachable  *bool    `json:"reachable,omitempty"`
	References []string `json:"references,omitempty"`
}

// maxShown bounds lists in a match that are for people.
const maxShown = 50

// orderOf returns the order of versions of an ecosystem.
func orderOf(e bollwerk.Ecosystem) (order, bool) {
	s, ok := version.For(e)
	if !ok {
		return nil, false
	}
	if e.Name() == string(bollwerk.EcosystemPyPI) {
		return pypiOrder(s), true
	}
	return s.Compare, true
}

// pypiOrder refuses to place a version of PEP 440 among versions that are none. The
// scheme has an order for them, all of the latter first, which is right for sorting
// and wrong for judging: "2.6.0-custom" would lie below every fix, and a range with
// one such bound in the middle would never end. Two of the same sort are compared.
func pypiOrder(s version.Scheme) order {
	return func(a, b string) (int, error) {
		c, err := s.Compare(a, b)
		if c == 0 || err != nil {
			return c, err
		}
		errA, errB := pypiValid(s, a), pypiValid(s, b)
		switch {
		case errA != nil && errB == nil:
			return 0, errA
		case errB != nil && errA == nil:
			return 0, errB
		}
		return c, nil
	}
}

// pypiValid answers for plain numbers, nearly all there are, without parsing.
func pypiValid(s version.Scheme, v string) error {
	dot := true
	for i := 0; ; i++ {
		switch {
		case i == len(v):
			if !dot {
				return nil
			}
		case v[i] >= '0' && v[i] <= '9':
			dot = false
			continue
		case v[i] == '.' && !dot:
			dot = true
			continue
		}
		return s.Valid(v)
	}
}

// subject is a package as the matcher sees it.
type subject struct {
	pkg       *bollwerk.Package
	ecosystem bollwerk.Ecosystem // canonical
	name      string             // canonical, of the source package where those are named
	shown     string             // name for people
	version   string
	modular   bool
	module    string // name:stream
	cmp       order
	ordered   bool
}

var errNoVersion = errors.New("the package has no version")

func newSubject(p *bollwerk.Package, e bollwerk.Ecosystem, name, ver string) subject {
	s := subject{pkg: p, ecosystem: canonicalEcosystem(e), shown: name, version: ver}
	s.name = canonicalName(s.ecosystem, name)
	s.cmp, s.ordered = orderOf(s.ecosystem)
	if isRPM(s.ecosystem) {
		s.modular = p.Modularity != "" || strings.Contains(ver, ".module")
		s.module = moduleStream(p.Modularity)
	}
	if ver == "" {
		s.cmp = func(_, _ string) (int, error) { return 0, errNoVersion }
	}
	return s
}

// subjects says under which names a package is looked up: one, except for programs
// that several ecosystems know (equivalent.go).
func subjects(p *bollwerk.Package) []subject {
	if p.Ecosystem == bollwerk.EcosystemBinary {
		var out []subject
		for _, q := range equivalents(p.Name, p.Version) {
			out = append(out, newSubject(p, q.ecosystem, q.name, q.version))
		}
		return out
	}
	if p.Source != nil && p.Source.Name != "" && bySource(p.Ecosystem) {
		ver := p.Source.Version
		if ver == "" {
			ver = p.Version
		}
		return []subject{newSubject(p, p.Ecosystem, p.Source.Name, ver)}
	}
	return []subject{newSubject(p, p.Ecosystem, p.Name, p.Version)}
}

// Match returns the issues of a package, sorted by id: those whose records say that
// its version is affected, and those no record of which could be evaluated. Nothing
// found in an ecosystem that is not covered (see Covers) means nothing.
//
// The error is ErrClosed, the context's, or a damaged file; matches found before a
// damaged page are not returned, as a part would look like the whole.
func (db *DB) Match(ctx context.Context, p bollwerk.Package) ([]Match, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var out []Match
	subs := subjects(&p)
	for i := range subs {
		m, err := db.matchSubject(&subs[i])
		if err != nil {
			return nil, err
		}
		out = append(out, m...)
	}
	if len(subs) > 1 {
		out = mergeMatches(out)
	}
	return out, nil
}

func (db *DB) matchSubject(s *subject) ([]Match, error) {
	db.mu.RLock()
	defer db.mu.RUnlock()
	b, err := db.findPackage(s.ecosystem, s.name)
	if err != nil {
		return nil, fileError(db.path, err)
	}
	if b == nil {
		return nil, nil
	}
	m := matchers.Get().(*matcher)
	defer matchers.Put(m)
	m.reset(db, s)
	if err := m.run(b); err != nil {
		return nil, fileError(db.path, err)
	}
	out, err := m.matches()
	if err != nil {
		return nil, fileError(db.path, err)
	}
	return out, nil
}

// findPackage returns the record of a package, nil if there is none.
func (db *DB) findPackage(e bollwerk.Ecosystem, name string) ([]byte, error) {
	var few [4]uint32
	numbers, err := db.find(sectionPkgIndex, packageHash(e, name), few[:0])
	if err != nil {
		return nil, err
	}
	for _, n := range numbers {
		b, err := db.record(sectionPackage, sectionPkgTab, uint64(n))
		if err != nil {
			return nil, err
		}
		d := decoder{b: b}
		if eco, nm := d.string(), d.string(); d.err != nil {
			return nil, fmt.Errorf("package record %d: %w", n, d.err)
		} else if eco == string(e) && nm == name {
			return b, nil
		}
	}
	return nil, nil
}

// matchers keeps the scratch memory of look-ups; it holds no state between them.
var matchers = sync.Pool{New: func() any { return new(matcher) }}

// matcher evaluates one package record for one subject.
type matcher struct {
	db     *DB
	s      *subject
	issues []issueState
	groups []advisoryGroup
	links  []link
	spoken []int // issues of the record at hand
	bodies [][]byte
	en     entry
	events []Event
}

// issueState collects what the records say about one issue.
type issueState struct {
	number                   uint64 // of the issue record
	affected, unknown, clean bool
	first, last              int // in matcher.links, plus one
	// authority is what the record says that decides alone, if there is one.
	authority    state
	hasAuthority bool
}

// link says that a group of entries speaks of an issue.
type link struct{ group, next int }

func (st *issueState) hear(s state, authority bool) {
	switch s {
	case affected:
		st.affected = true
	case unknown:
		st.unknown = true
	default:
		st.clean = true
	}
	if authority && (!st.hasAuthority || s == affected || s == unknown && st.authority == unaffected) {
		st.authority, st.hasAuthority = s, true
	}
}

// verdict weighs what the records say. Any of them may call the package affected. A
// record that could be decided and says "not affected" beats one that could not be
// decided. And the Go team's reviewed records decide alone: they know platforms and
// project versions that the GHSA of the same issue does not.
func (st *issueState) verdict() state {
	switch {
	case st.hasAuthority && st.authority == unaffected:
		return unaffected
	case st.affected:
		return affected
	case st.unknown && !st.clean:
		return unknown
	}
	return unaffected
}

// advisoryGroup is what all entries of one record for this package say together.
type advisoryGroup struct {
	advisory   uint64
	first, end int // in bodies
	outcome    outcome
}

// outcome is the state with what is needed to explain it.
type outcome struct {
	state  state
	body   int // the entry that decided
	cause  string
	listed bool // by an explicit version
}

func (m *matcher) reset(db *DB, s *subject) {
	m.db, m.s = db, s
	m.issues, m.groups, m.bodies, m.links = m.issues[:0], m.groups[:0], m.bodies[:0], m.links[:0]
}

func (m *matcher) run(b []byte) error {
	d := decoder{b: b}
	d.string()
	d.string()
	n := d.count()
	for i := 0; i < n && d.err == nil; i++ {
		m.issues = append(m.issues, issueState{number: d.uint()})
	}
	n = d.count()
	for i := 0; i < n && d.err == nil; i++ {
		m.bodies = append(m.bodies, d.bytes())
	}
	if d.err != nil {
		return fmt.Errorf("package %s: %w", m.s.name, d.err)
	}
	for i := 0; i < len(m.bodies); {
		g := advisoryGroup{first: i}
		if err := m.en.decode(m.bodies[i], len(m.issues)); err != nil {
			return fmt.Errorf("package %s: %w", m.s.name, err)
		}
		g.advisory = m.en.advisory
		m.spoken = append(m.spoken[:0], m.en.issues...)
		authority := m.en.flags&entryAuthority != 0
		applies := false
		for {
			o, ok := m.evaluate(&m.en)
			if ok {
				o.body = i
				if !applies {
					g.outcome, applies = o, true
				} else {
					g.outcome = m.combine(g.outcome, o)
				}
			}
			i++
			if i >= len(m.bodies) {
				break
			}
			if err := m.en.decode(m.bodies[i], len(m.issues)); err != nil {
				return fmt.Errorf("package %s: %w", m.s.name, err)
			}
			if m.en.advisory != g.advisory {
				break
			}
		}
		g.end = i
		if applies {
			m.note(g, authority)
		}
	}
	return nil
}

// note keeps what one record says about its issues.
func (m *matcher) note(g advisoryGroup, authority bool) {
	if g.outcome.state != unaffected {
		m.groups = append(m.groups, g)
	}
	for _, k := range m.spoken {
		st := &m.issues[k]
		st.hear(g.outcome.state, authority)
		if g.outcome.state == unaffected {
			continue
		}
		m.links = append(m.links, link{group: len(m.groups) - 1})
		if st.last > 0 {
			m.links[st.last-1].next = len(m.links)
		} else {
			st.first = len(m.links)
		}
		st.last = len(m.links)
	}
}

// combine joins two entries of one record for the same package. They are
// alternatives (one range for each branch), so the package is affected when one of
// them says so. An rpm erratum is different: its entries are the builds that
// carry the fix, one for each minor release or repository it was built for, and
// whoever has the lowest of them has the fix.
func (m *matcher) combine(a, b outcome) outcome {
	if isRPM(m.s.ecosystem) {
		switch {
		case a.state == unaffected:
			return a
		case b.state == unaffected:
			return b
		case a.state == unknown:
			return a
		}
		return b
	}
	switch {
	case a.state == affected:
		return a
	case b.state == affected:
		return b
	case a.state == unknown:
		return a
	}
	return b
}

// evaluate says what one entry means for the subject. False: the entry speaks of
// another build of the package (another module stream).
func (m *matcher) evaluate(en *entry) (outcome, bool) {
	s := m.s
	if !m.applies(en) {
		return outcome{}, false
	}
	if en.flags&entryImports != 0 && s.pkg.GoOS+s.pkg.GoArch != "" {
		if err := en.decodeTail(); err != nil {
			return outcome{state: unknown, cause: err.Error()}, true
		}
		if !importsApply(s.pkg, en.imports) {
			return outcome{state: unaffected}, true // another platform
		}
	}
	if en.flags&entryVersions != 0 && listed(s, en.versions) {
		return outcome{state: affected, listed: true}, true
	}
	var why error
	open := false
	for _, rg := range en.ranges {
		in, err := m.in(rg)
		switch {
		case in && en.flags&entryCustom != 0 && !m.endsAbove(rg):
			// Go: no version the module system knows has the fix, which is why there are
			// custom ranges; they say where it ends.
		case err != nil:
			why = err
		case in && en.flags&entryUpperUnknown != 0 && !m.endsAbove(rg):
			open = true
		case in:
			return outcome{state: affected}, true
		}
	}
	for _, rg := range en.custom {
		if isEverything(rg) {
			return outcome{state: affected}, true
		}
		if why2 := customComparable(s.version); why2 != nil {
			why = why2
			continue
		}
		in, err := m.in(rg)
		if err != nil {
			why = err
		} else if in {
			return outcome{state: affected}, true
		}
	}
	switch {
	case open:
		return outcome{state: unknown, cause: "the record does not say where the affected range ends"}, true
	case why != nil:
		return outcome{state: unknown, cause: why.Error()}, true
	case len(en.ranges) == 0 && len(en.custom) == 0 && en.flags&entryVersions == 0:
		if en.flags&entryGit != 0 {
			return outcome{state: unknown, cause: "the record names commits only, no versions"}, true
		}
		return outcome{state: unknown, cause: "the record names no versions"}, true
	}
	return outcome{state: unaffected}, true
}

// in evaluates one range without disturbing it.
func (m *matcher) in(rg []Event) (bool, error) {
	if isEverything(rg) {
		return true, nil // whatever the version is
	}
	if !m.s.ordered {
		return false, fmt.Errorf("no order of versions is known for %s", m.s.ecosystem.Name())
	}
	m.events = append(m.events[:0], rg...)
	return inEvents(m.s.cmp, m.s.version, m.events)
}

// endsAbove reports whether the range has an end above the version, so that a lost
// upper bound does not matter here.
func (m *matcher) endsAbove(rg []Event) bool {
	for _, e := range rg {
		if e.Kind == Fixed || e.Kind == LastAffected {
			if c, err := m.s.cmp(m.s.version, e.Version); err == nil && c <= 0 {
				return true
			}
		}
	}
	return false
}

func isEverything(rg []Event) bool {
	return len(rg) == 1 && rg[0].Kind == Introduced && rg[0].Version == "0"
}

// listed reports whether the version is enumerated, in whatever spelling.
func listed(s *subject, versions []string) bool {
	if s.version == "" {
		return false
	}
	if slices.Contains(versions, s.version) {
		return true
	}
	if !s.ordered {
		return false
	}
	for _, v := range versions {
		if c, err := s.cmp(s.version, v); err == nil && c == 0 {
			return true
		}
	}
	return false
}

// applies reports whether an entry speaks of this build of the package.
func (m *matcher) applies(en *entry) bool {
	s := m.s
	if isRPM(s.ecosystem) {
		if fixed := entryFixes(en); fixed != "" && strings.Contains(fixed, ".module") != s.modular {
			return false
		}
		if s.modular && s.module != "" && en.flags&entryModule != 0 && moduleStream(en.module) != s.module {
			return false
		}
	}
	return true
}

// entryFixes returns one fixed version of an entry.
func entryFixes(en *entry) string {
	for _, rg := range en.ranges {
		for _, e := range rg {
			if e.Kind == Fixed {
				return e.Version
			}
		}
	}
	return ""
}

// moduleStream cuts "nodejs:18:820…:rhel8" to "nodejs:18".
func moduleStream(label string) string {
	name, rest, ok := strings.Cut(label, ":")
	if !ok {
		return ""
	}
	stream, _, _ := strings.Cut(rest, ":")
	if name == "" || stream == "" {
		return ""
	}
	return name + ":" + stream
}

// matches turns the outcomes into matches, one for each issue.
func (m *matcher) matches() ([]Match, error) {
	var out []Match
	for k := range m.issues {
		want := m.issues[k].verdict()
		if want == unaffected {
			continue
		}
		mt, err := m.match(k, want)
		if err != nil {
			return nil, err
		}
		out = append(out, mt)
	}
	slices.SortFunc(out, func(a, b Match) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

// match assembles one issue from the records that say so.
func (m *matcher) match(k int, want state) (Match, error) {
	issue, err := m.db.record(sectionIssue, sectionIssueTab, m.issues[k].number)
	if err != nil {
		return Match{}, err
	}
	own := decodeIssue(issue)
	if own.err != nil {
		return Match{}, own.err
	}
	a := assembly{m: m, issue: k, want: want, own: own, out: Match{Kind: bollwerk.KindNotice, Verdict: bollwerk.Fail}}
	if want == unknown {
		a.out.Verdict = bollwerk.NotEvaluated
	}
	last := -1
	for l := m.issues[k].first; l > 0; l = m.links[l-1].next {
		gi := m.links[l-1].group
		if gi == last {
			continue // an erratum two of whose names turned out to be one issue
		}
		last = gi
		if err := a.add(&m.groups[gi]); err != nil {
			return Match{}, err
		}
	}
	return a.finish()
}

// sortedWithout returns a copy: sorted, each once, never nil.
func sortedWithout(in []string, not string) []string { return without(slices.Clone(in), not) }

// without sorts a list in place and drops repeats and one name; never nil.
func without(in []string, not string) []string {
	slices.Sort(in)
	out := in[:0]
	for i, s := range in {
		if s == "" || s == not || i > 0 && s == in[i-1] {
			continue
		}
		out = append(out, s)
	}
	if len(out) == 0 {
		return []string{}
	}
	return out
}

package policy

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bollwerk/bollwerk"
)

// Matcher asks the conditions of many policies about one event after the other.
// It means the same as Engine.Evaluate and does it a thousand times faster: the
// conditions that CEL's checker accepted are compiled into functions over
// *bollwerk.Event, what several policies ask is asked once per event, a policy is
// asked only about kinds of events that it can match, and nothing is allocated.
//
// It keeps nothing of CEL. It may be used by several goroutines, each with a
// Scratch of its own.
type Matcher struct {
	rules  map[*Policy]*rule
	byKind [bollwerk.EventKinds][]entry
	memory memory
}

// entry is a policy with its condition for one kind of event.
type entry struct {
	policy *Policy
	code   flagCode
}

// rule is a policy with what is said when it matched.
type rule struct {
	kinds        uint64
	watch        map[bollwerk.EventKind][]Watch
	message, fix []matchPart
}

type matchPart struct {
	text string
	// tried is the text of what did not happen (bollwerk.Attempted).
	tried string
	code  textCode
}

// MatcherOptions configure a Matcher.
type MatcherOptions struct {
	// Parameters override defaults: policy ID → parameter → value.
	Parameters map[string]map[string]any
}

// NewMatcher compiles every policy over events; those over other subjects are
// passed over. A policy that cannot be compiled, or that says something the
// matcher does not know, is not part of it: its problem says what, with file and
// line, and is to be shown as "not evaluated".
func NewMatcher(ps []*Policy, o MatcherOptions) (*Matcher, []Problem) {
	return newMatcher(ps, o, nil)
}

// newMatcher tells asked of each condition that is evaluated, if it is set.
func newMatcher(ps []*Policy, o MatcherOptions, asked func(*Scratch, *node)) (*Matcher, []Problem) {
	m := &Matcher{rules: map[*Policy]*rule{}}
	c := newCatalog()
	e, err := New(Options{Now: time.Unix(0, 0), Parameters: o.Parameters, Subjects: []*Subject{c.subject}})
	if err != nil {
		return m, []Problem{{Rule: "compile", Message: err.Error(), Error: true}}
	}
	e.unplanned = true
	var todo []*Policy
	for _, p := range ps {
		if p.Subject == EventKind {
			todo = append(todo, p)
		}
	}
	// CEL's parser and checker are the dear part; they work on all cores.
	failed := make([]error, len(todo))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, p := range todo {
		g.Go(func() error {
			failed[i] = e.Compile(p)
			return nil
		})
	}
	_ = g.Wait() // no member returns one
	b := &build{m: m, ns: newNodeSet(), catalog: c, asked: asked}
	var problems []Problem
	for i, p := range todo {
		err := failed[i]
		if err == nil {
			err = b.add(e, p)
		}
		if err != nil {
			problems = append(problems, problemsOf(err, p.File)...)
		}
	}
	b.finish()
	return m, problems
}

// build is what making a Matcher needs and the Matcher does not.
type build struct {
	m          *Matcher
	ns         *nodeSet
	catalog    *catalog
	conditions []condition
	asked      func(*Scratch, *node)
}

type condition struct {
	policy *Policy
	rule   *rule
	node   *node
}

func (b *build) add(e *Engine, p *Policy) error {
	c, err := e.compile1(p)
	if err != nil {
		return err
	}
	if b.m.rules[p] != nil {
		return fmt.Errorf("%s: the policy is given twice", p.File)
	}
	if p.Violations.Text != "" {
		return fmt.Errorf("%s:%d: violations: a policy about events is a condition; write match", p.File, p.Violations.Line)
	}
	r := &reader{ns: b.ns, c: c, catalog: b.catalog, names: map[string]*node{}}
	n, err := r.read(c.rule)
	if err != nil {
		return err
	}
	if p.Match.Text == "" {
		n = b.ns.not(n)
	}
	if c.when != nil {
		when, err := r.read(c.when)
		if err != nil {
			return err
		}
		n = b.ns.and(when, n)
	}
	if n.isFalse() {
		return fmt.Errorf("%s:%d: %s: never holds for any event", p.File, c.rule.source.Line, c.rule.what)
	}
	x := &rule{}
	// Texts are made when something was found: they need no memory of the event.
	g := newGenerator(nil)
	for _, t := range []struct {
		from []compiledPart
		to   *[]matchPart
	}{{c.message, &x.message}, {c.fix, &x.fix}} {
		tried := false
		for _, part := range t.from {
			mp := matchPart{text: part.text, tried: part.text}
			if t.to == &x.message && !tried && part.prog == nil {
				// Only what the rule itself says is reworded, not what strangers chose.
				mp.tried = bollwerk.Attempted(part.text)
				tried = mp.tried != mp.text
			}
			if part.prog != nil {
				n, err := r.read(part.prog)
				if err != nil {
					return err
				}
				if n.typ == flagType || n.typ == numberType {
					n = b.ns.make(&node{op: opText, typ: textType, kids: []*node{n}})
				}
				if n.typ != textType {
					return fmt.Errorf("%s:%d: %s: {{ %s }} is not text", p.File, part.prog.source.Line, part.prog.what, part.prog.source.Text)
				}
				mp.code = g.text(n)
			}
			*t.to = append(*t.to, mp)
		}
	}
	b.m.rules[p] = x
	b.conditions = append(b.conditions, condition{p, x, n})
	return nil
}

// matchable says why a Matcher would refuse a policy, nil when it would not.
func (e *Engine) matchable(p *Policy) error {
	b := &build{m: &Matcher{rules: map[*Policy]*rule{}}, ns: newNodeSet(), catalog: newCatalog()}
	return b.add(e, p)
}

// finish makes the functions, for each kind of event those that can match.
func (b *build) finish() {
	type root struct {
		kind   bollwerk.EventKind
		policy *Policy
		node   *node
	}
	var roots []root
	for _, c := range b.conditions {
		c.rule.watch = map[bollwerk.EventKind][]Watch{}
		for k := range bollwerk.EventKinds {
			kind := bollwerk.EventKind(k)
			n := b.ns.forKind(c.node, kind)
			if n.isFalse() {
				continue
			}
			c.rule.kinds |= 1 << kind
			if w := watches(n); len(w) > 0 {
				c.rule.watch[kind] = w
			}
			roots = append(roots, root{kind, c.policy, n})
		}
	}
	seen := map[*node]bool{}
	for _, r := range roots {
		count(r.node, seen)
	}
	g := newGenerator(&b.m.memory)
	g.asked, g.wholes = b.asked, wholes(seen)
	for _, r := range roots {
		b.m.byKind[r.kind] = append(b.m.byKind[r.kind], entry{r.policy, g.flag(r.node)})
	}
	for _, x := range g.indexes {
		x.build()
	}
}

// wholes finds the texts that are parts of others which are searched, too.
func wholes(nodes map[*node]bool) map[*node]*node {
	out := map[*node]*node{}
	for part := range nodes {
		if part.op != opField || part.member.partOf == "" || part.loops > 0 {
			continue
		}
		for whole := range nodes {
			if whole.op == opField && whole.member.name == part.member.partOf && slices.Equal(whole.kids, part.kids) && whole.searches >= minSearches {
				out[part] = whole
			}
		}
	}
	return out
}

func count(n *node, seen map[*node]bool) {
	n.uses++
	if seen[n] {
		return
	}
	seen[n] = true
	if w := n.wordsOf(); w > 0 {
		n.kids[0].searches += w
	}
	if n.op == opInSet || n.op == opEqual && n.kids[0].typ == textType && n.kids[1].constant() {
		n.kids[0].sets++
	}
	for _, k := range n.kids {
		count(k, seen)
	}
}

// Match returns the policies that the event matches, in the order in which they
// were given. The list is valid until the next call with the same Scratch; the
// event must not change while it is looked at.
func (m *Matcher) Match(s *Scratch, e *bollwerk.Event) []*Policy {
	kind := e.Kind
	if int(kind) >= bollwerk.EventKinds {
		kind = bollwerk.EventUnknown
	}
	s.found = s.found[:0]
	entries := m.byKind[kind]
	if len(entries) == 0 {
		return s.found
	}
	s.load(e)
	if s.of != m {
		s.of = m
		s.flags, s.texts, s.lists = make([]flagSlot, m.memory.flags), make([]textSlot, m.memory.texts), make([]listSlot, m.memory.lists)
		s.filters, s.rows = make([]pairSlot, m.memory.filters), make([]rowSlot, m.memory.rows)
	}
	for i := range entries {
		if entries[i].code(s) {
			s.found = append(s.found, entries[i].policy)
		}
	}
	return s.found
}

// Texts fills in message and fix of a policy for an event that it matched. They
// are safe to print, at most 4 KiB each, and may be kept. An unknown policy has none.
func (m *Matcher) Texts(s *Scratch, e *bollwerk.Event, p *Policy) (message, fix string) {
	r := m.rules[p]
	if r == nil {
		return "", ""
	}
	s.load(e)
	return s.fill(r.message), s.fill(r.fix)
}

func (s *Scratch) fill(parts []matchPart) string {
	var b strings.Builder
	for _, part := range parts {
		if part.code == nil {
			if s.e != nil && !s.e.Happened() {
				b.WriteString(part.tried)
			} else {
				b.WriteString(part.text)
			}
			continue
		}
		b.WriteString(printable(part.code(s)))
		if b.Len() > maxTextBytes {
			break
		}
	}
	return clip(strings.TrimSpace(b.String()), maxTextBytes)
}

// Policies counts those that were compiled.
func (m *Matcher) Policies() int { return len(m.rules) }

// Kinds lists the kinds of events that a policy can match, or that any can when p
// is nil: a sensor need not send others for their sake.
func (m *Matcher) Kinds(p *Policy) []bollwerk.EventKind {
	var mask uint64
	for q, r := range m.rules {
		if p == nil || p == q {
			mask |= r.kinds
		}
	}
	var out []bollwerk.EventKind
	for k := range bollwerk.EventKinds {
		if mask&(1<<k) != 0 {
			out = append(out, bollwerk.EventKind(k))
		}
	}
	return out
}

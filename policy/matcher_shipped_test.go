package policy_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/policy"
)

func shippedEvents(t testing.TB) []*policy.Policy {
	t.Helper()
	var out []*policy.Policy
	for _, p := range shipped(t) {
		if p.Subject == policy.EventKind {
			out = append(out, p)
		}
	}
	if len(out) < 40 {
		t.Fatalf("%d policies about events are shipped", len(out))
	}
	return out
}

// shippedMatcher is made once for all tests.
func shippedMatcher(t testing.TB) *policy.Matcher {
	t.Helper()
	m, err := makeShipped()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var makeShipped = sync.OnceValues(func() (*policy.Matcher, error) {
	ps, err := readShipped()
	if err != nil {
		return nil, err
	}
	m, problems := policy.NewMatcher(ps, policy.MatcherOptions{})
	if len(problems) > 0 {
		return nil, fmt.Errorf("%v", problems)
	}
	return m, nil
})

// caseEvents are the events of all tests of the shipped policies.
func caseEvents(t testing.TB, ps []*policy.Policy) []*bollwerk.Event {
	t.Helper()
	var out []*bollwerk.Event
	for _, p := range ps {
		for _, c := range suites(t)[p].Cases {
			m, ok := c.Subject.(map[string]any)
			if !ok {
				continue
			}
			e, err := policy.ParseEvent(m)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, e)
		}
	}
	return out
}

// Every test of a shipped policy holds for the matcher, too, texts included.
func TestMatcherPassesTheSuites(t *testing.T) {
	t.Parallel()
	ps := shippedEvents(t)
	for _, p := range ps {
		suite := suites(t)[p]
		attacks, benign := 0, 0
		plain := matcher(t, p)
		for _, c := range suite.Cases {
			m := plain
			if len(c.Parameters) > 0 {
				var problems []policy.Problem
				if m, problems = policy.NewMatcher([]*policy.Policy{p}, policy.MatcherOptions{Parameters: map[string]map[string]any{p.ID: c.Parameters}}); len(problems) > 0 {
					t.Fatal(problems)
				}
			}
			subject, _ := c.Subject.(map[string]any)
			e, err := policy.ParseEvent(subject)
			if err != nil {
				t.Fatalf("%s: %s: %v", p.ID, c.Name, err)
			}
			var s policy.Scratch
			matched := len(m.Match(&s, e)) == 1
			if matched != (c.Want == string(bollwerk.Fail)) {
				t.Errorf("%s: %s: want %s, the matcher says %v", p.ID, c.Name, c.Want, matched)
			}
			if !matched {
				benign++
				continue
			}
			attacks++
			if message, fix := m.Texts(&s, e, p); message == "" || fix == "" || strings.Contains(message, "{{") {
				t.Errorf("%s: %s: says %q, %q", p.ID, c.Name, message, fix)
			}
		}
		if attacks == 0 || benign < 2 {
			t.Errorf("%s: %d attacks, %d benign cases", p.ID, attacks, benign)
		}
		if len(p.Attack()) == 0 || p.Why == "" || p.Fix.Text == "" || len(p.References) == 0 {
			t.Errorf("%s: wants why, fix, references and techniques", p.ID)
		}
		if p.Mode == policy.Enforce && p.Response == "" {
			t.Errorf("%s: enforce without a response", p.ID)
		}
	}
}

// All shipped policies and CEL's evaluator agree about all events of all tests,
// and about random ones.
func TestShippedPoliciesAreCEL(t *testing.T) {
	t.Parallel()
	ps := shippedEvents(t)
	m, e, s := shippedMatcher(t), engine(t, policy.Options{}), &policy.Scratch{}
	events := caseEvents(t, ps)
	r := rand.New(rand.NewPCG(3, 4))
	n := 100
	if testing.Short() {
		n, events = 10, events[:40]
	}
	for range n {
		events = append(events, mixed(r, events), randomEvent(r))
	}
	for _, event := range events {
		differ(t, e, m, s, ps, event)
		if t.Failed() {
			return
		}
	}
}

// mixed puts parts of two events together: near misses find more than noise.
func mixed(r *rand.Rand, events []*bollwerk.Event) *bollwerk.Event {
	pick := func() *bollwerk.Event { return events[r.IntN(len(events))] }
	e := *pick()
	switch o := pick(); r.IntN(5) {
	case 0:
		e.Process = o.Process
	case 1:
		e.Workload = o.Workload
	case 2:
		e.Kind, e.File, e.Connection = o.Kind, o.File, o.Connection
	case 3:
		if e.Process != nil && o.Process != nil {
			p := *e.Process
			p.Parent = o.Process
			e.Process = &p
		}
	case 4:
		e.Kind = o.Kind
	}
	return &e
}

// The benign cases of every policy are the ordinary life of a machine: no other
// policy of medium or above may speak about them, but for those that are an attack
// of another kind.
func TestBenignCasesAreQuiet(t *testing.T) {
	t.Parallel()
	ps := shippedEvents(t)
	m, s := shippedMatcher(t), &policy.Scratch{}
	others := map[string]string{
		"cloud-credential-read: a service account token is the business of another policy": "service-account-token-read",
		"drift-by-build-tool: somebody else's program":                                     "drift-execution execution-from-temporary-folder",
	}
	for _, p := range ps {
		suite := suites(t)[p]
		for _, c := range suite.Cases {
			subject, ok := c.Subject.(map[string]any)
			if c.Want != string(bollwerk.Pass) || !ok || len(c.Parameters) > 0 {
				continue
			}
			e, err := policy.ParseEvent(subject)
			if err != nil {
				t.Fatal(err)
			}
			for _, q := range m.Match(s, e) {
				if q.Severity >= bollwerk.SeverityMedium && !strings.Contains(others[p.ID+": "+c.Name], q.ID) {
					t.Errorf("%s: %s: %s speaks", p.ID, c.Name, q.ID)
				}
			}
		}
	}
}

func TestMatcherDoesNotAllocate(t *testing.T) {
	ps := shippedEvents(t)
	m, s := shippedMatcher(t), &policy.Scratch{}
	events := caseEvents(t, ps)
	r := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		events = append(events, randomEvent(r))
	}
	all := func() {
		for _, e := range events {
			m.Match(s, e)
		}
	}
	all() // the Scratch finds its size
	if n := testing.AllocsPerRun(20, all); n != 0 && !raceDetector {
		t.Errorf("%v allocations for %d events", n, len(events))
	}
}

// usualEvents are those that no policy of medium or above speaks about.
func usualEvents(m *policy.Matcher, events []*bollwerk.Event) []*bollwerk.Event {
	s := &policy.Scratch{}
	return slices.DeleteFunc(slices.Clone(events), func(e *bollwerk.Event) bool {
		return slices.ContainsFunc(m.Match(s, e), func(p *policy.Policy) bool { return p.Severity >= bollwerk.SeverityMedium })
	})
}

// What the shipped policies may take, in steps that do not depend on the machine: a
// condition takes 2 to 20 ns, a letter 1 to 2, an expression that the regexp package
// looks for up to 100 µs. There is room for some ten more policies. One policy that
// raises a mean by 5 asks something first that nearly always holds, or searches a
// command line without need. A search of the command line of Python, Node and their like
// behind a place that is rarely met (metadata service, API server, token, credentials) is such a need:
// the cases of these policies are a good part of the opens and connects here.
func TestMatcherAsksLittle(t *testing.T) {
	t.Parallel()
	ps := shippedEvents(t)
	var a policy.Asked
	m, problems := policy.NewCountingMatcher(ps, &a)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	all := caseEvents(t, ps)
	byKind := map[bollwerk.EventKind][]*bollwerk.Event{}
	for _, e := range all {
		byKind[e.Kind] = append(byKind[e.Kind], e)
	}
	for _, c := range []struct {
		name                string
		events              []*bollwerk.Event
		conditions, letters float64
	}{
		{"usual", usualEvents(m, all), 71, 6},
		{"all", all, 76, 8},
		{"exec", byKind[bollwerk.EventExec], 129, 18},
		{"open", byKind[bollwerk.EventOpen], 81, 8},
		{"connect", byKind[bollwerk.EventConnect], 29, 8},
	} {
		a = policy.Asked{}
		s := &policy.Scratch{}
		for _, e := range c.events {
			m.Match(s, e)
		}
		n := float64(len(c.events))
		conditions, letters := float64(a.Conditions)/n, float64(a.Letters)/n
		t.Logf("%s: %d events, %.1f conditions, %.1f letters of expressions", c.name, len(c.events), conditions, letters)
		if conditions > c.conditions || letters > c.letters || a.Expressions > 0 {
			t.Errorf("%s: %.1f conditions and %.1f letters an event (bounds %v and %v), %d expressions for the regexp package", c.name, conditions, letters, c.conditions, c.letters, a.Expressions)
		}
		if conditions < 1 {
			t.Errorf("%s: nothing is counted", c.name)
		}
	}
}

func BenchmarkMatcher(b *testing.B) {
	ps := shippedEvents(b)
	m, s := matcher(b, ps...), &policy.Scratch{}
	events := caseEvents(b, ps)
	var execs []*bollwerk.Event
	for _, e := range events {
		if e.Kind == bollwerk.EventExec {
			execs = append(execs, e)
		}
	}
	usual := usualEvents(m, events)
	run := func(name string, events []*bollwerk.Event) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			// The best round of all: what it takes when nobody else wants the processor.
			best := time.Hour
			for b.Loop() {
				start := time.Now()
				for _, e := range events {
					m.Match(s, e)
				}
				best = min(best, time.Since(start))
			}
			b.ReportMetric(float64(best.Nanoseconds())/float64(len(events)), "best-ns/event")
		})
	}
	run("usual", usual)
	run("all", events)
	run("exec", execs)
	// The yardstick: CEL's own evaluator on the same events, in turn.
	b.Run("cel", func(b *testing.B) {
		e := engine(b, policy.Options{})
		i, ours, theirs := 0, time.Duration(0), time.Duration(0)
		for b.Loop() {
			start := time.Now()
			m.Match(s, events[i])
			between := time.Now()
			if _, err := e.Evaluate(context.Background(), policy.EventKind, events[i], ps); err != nil {
				b.Fatal(err)
			}
			ours += between.Sub(start)
			theirs += time.Since(between)
			if i++; i == len(events) {
				i = 0
			}
		}
		b.ReportMetric(float64(theirs)/float64(ours), "cel/matcher")
	})
	b.Run("load", func(b *testing.B) {
		for b.Loop() {
			matcher(b, ps...)
		}
	})
}

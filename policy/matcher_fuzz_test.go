package policy_test

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/policy"
)

// randomCondition puts known conditions together.
func randomCondition(r *rand.Rand, depth int) string {
	if depth == 0 || r.IntN(4) == 0 {
		for {
			if c := conditions[r.IntN(len(conditions))]; !strings.Contains(c, "params.") {
				return "(" + c + ")"
			}
		}
	}
	a, b := randomCondition(r, depth-1), randomCondition(r, depth-1)
	switch r.IntN(8) {
	case 0, 1:
		return "(" + a + " && " + b + ")"
	case 2, 3:
		return "(" + a + " || " + b + ")"
	case 4:
		return "!" + a
	case 5:
		return "(" + a + " ? " + b + " : !" + b + ")"
	case 6:
		return "(" + a + " == " + b + ")"
	}
	return "event.process.ancestors.exists(q, " + a + " && q.name != '')"
}

// compare holds the matcher against CEL's evaluator for one condition.
func compare(t *testing.T, condition string, events []*bollwerk.Event) {
	p := eventPolicy("t", condition)
	m, problems := policy.NewMatcher([]*policy.Policy{p}, policy.MatcherOptions{})
	if len(problems) > 0 {
		return
	}
	e := engine(t, policy.Options{})
	s := &policy.Scratch{}
	for _, event := range events {
		matched := len(m.Match(s, event)) == 1
		ds, err := e.Evaluate(context.Background(), policy.EventKind, event, []*policy.Policy{p})
		if err != nil {
			t.Fatal(err)
		}
		switch d := ds[0]; {
		case d.Verdict == bollwerk.NotEvaluated && (strings.Contains(d.Cause, "overflow") || strings.Contains(d.Cause, "steps and was stopped") || strings.Contains(d.Cause, "longer than")):
			// The matcher stops at the ends of the range, and has no budget to exceed.
		case d.Verdict == bollwerk.NotEvaluated:
			t.Fatalf("%s\nCEL has no value, and the matcher did not refuse: %s", condition, d.Cause)
		case (d.Verdict == bollwerk.Fail) != matched:
			b, _ := json.Marshal(event)
			t.Fatalf("%s\nmatcher %v, CEL %s\n%s", condition, matched, d.Verdict, b)
		}
	}
}

func someEvents(seed uint64, n int) []*bollwerk.Event {
	r := rand.New(rand.NewPCG(seed, 9))
	out := make([]*bollwerk.Event, n)
	for i := range out {
		out[i] = randomEvent(r)
	}
	return out
}

func FuzzConditions(f *testing.F) {
	for seed := range uint64(40) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 1))
		condition := randomCondition(r, 1+r.IntN(4))
		if _, problems := policy.NewMatcher([]*policy.Policy{eventPolicy("t", condition)}, policy.MatcherOptions{}); len(problems) > 0 && !strings.Contains(problems[0].Message, "never holds") && !strings.Contains(problems[0].Message, "inside each other") {
			t.Fatalf("%s\n%v", condition, problems)
		}
		compare(t, condition, someEvents(seed, 25))
	})
}

func FuzzMatcherText(f *testing.F) {
	for _, c := range conditions {
		f.Add(c)
	}
	for _, c := range []string{
		`event.process.pid + 9223372036854775807 > 0`, `-(-9223372036854775807 - 1) == event.process.pid`, `event.process.pid % -1 == 0`,
		`size(event.file.path) - 9 < 0 || event.flow.sent_bytes * 3 > 4`, `[1, 2].exists(x, x == event.process.pid)`, `event.process.args.exists(a, a in event.process.args)`,
		`"a" in ["a"] && event.process.name in []`, `event.process.name.glob("") || "".glob(event.process.name)`, `event.kind.glob("e*")`, `"x".inNetwork(["::/0"])`,
		`event.process.name.containsAny([""]) || event.process.name.endsWithAny([]) || event.process.name.under([""])`, `"\xff" in event.process.args`,
		`event.process.command.matches("") && event.process.command.matches("(ab|cd)+[x-z]")`, `event.process.args.join("\x00") != "" || event.process.args.join() == ""`,
		`(event.in_container ? event.kind : "exec") == "exec"`, `event.kind in [event.process.name, "exec"]`, `event.kind + "x" == "execx" ? event.in_container : false`,
	} {
		f.Add(c)
	}
	events := someEvents(7, 20)
	f.Fuzz(func(t *testing.T, condition string) {
		if len(condition) > 2000 || strings.Contains(condition, "unknown(") {
			return
		}
		compare(t, condition, events)
	})
}

func FuzzParseEvent(f *testing.F) {
	for _, e := range someEvents(1, 20) {
		b, err := json.Marshal(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"kind":"open","file":{"access":["read","all"],"mode":"4755"},"process":{"capabilities":["all"],"parent":{"parent":{}}}}`))
	m := shippedMatcher(f)
	s := &policy.Scratch{}
	f.Fuzz(func(t *testing.T, b []byte) {
		var v map[string]any
		if json.Unmarshal(b, &v) != nil {
			return
		}
		e, err := policy.ParseEvent(v)
		if err != nil {
			return
		}
		for _, p := range m.Match(s, e) {
			message, fix := m.Texts(s, e, p)
			for _, text := range []string{message, fix} {
				if len(text) > 4<<10+8 || strings.ContainsFunc(text, func(c rune) bool { return c < 0x20 || c == 0x7f }) {
					t.Fatalf("%s says %q", p.ID, text)
				}
			}
		}
	})
}

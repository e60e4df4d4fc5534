package agent

import (
	"fmt"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect"
	"github.com/bollwerk/bollwerk/policy"
)

// rules asks all event policies about an event, and words what they found.
type rules struct {
	matcher *policy.Matcher
	scratch policy.Scratch
	info    map[*policy.Policy]*ruleInfo
	kill    map[string]bool
	except  *policy.Config
	// Problems are rules that are not evaluated, with the reason.
	Problems []policy.Problem
}

// ruleInfo is what every detection of a policy says; made once.
type ruleInfo struct {
	attack []string
}

func newRules(ps []*policy.Policy, except *policy.Config, others ...string) (*rules, error) {
	r := &rules{info: map[*policy.Policy]*ruleInfo{}, kill: map[string]bool{}, except: except}
	o := policy.MatcherOptions{}
	if except != nil {
		active, _, err := except.Override(ps, others...)
		if err != nil {
			return nil, err
		}
		ps, o.Parameters = active, except.Parameters()
	}
	r.matcher, r.Problems = policy.NewMatcher(ps, o)
	for _, p := range ps {
		i := &ruleInfo{attack: []string{}}
		for _, m := range p.Mappings {
			if strings.HasPrefix(m.Standard, "MITRE ATT&CK") {
				i.attack = append(i.attack, m.Requirement)
			}
		}
		r.info[p] = i
		if p.Response == policy.Kill {
			r.kill[p.ID] = true
		}
	}
	return r, nil
}

func (r *rules) len() int { return r.matcher.Policies() }

// match reports a detection for each policy that the event matches.
func (r *rules) match(e *bollwerk.Event, found func(*bollwerk.Detection)) {
	for _, p := range r.matcher.Match(&r.scratch, e) {
		found(r.detection(p, e))
	}
}

func (r *rules) detection(p *policy.Policy, e *bollwerk.Event) *bollwerk.Detection {
	message, advice := r.matcher.Texts(&r.scratch, e, p)
	return &bollwerk.Detection{
		Schema: bollwerk.DetectionSchema, ID: detect.ID(p.ID, e.Workload, subject(e)), Rule: p.ID, Title: p.Title, Severity: p.Severity,
		Attack: r.info[p].attack, Message: message, Advice: advice, Mode: string(p.Mode), Time: e.Time, Last: e.Time, Count: max(1, e.Count),
		Process: e.Process, Workload: e.Workload, Events: []*bollwerk.Event{e}, Verdict: bollwerk.Fail,
	}
}

// subject is what tells two cases of one rule in one workload apart: the program, and
// the file, peer or thing it touched.
func subject(e *bollwerk.Event) string {
	var b strings.Builder
	if e.Process != nil {
		b.WriteString(e.Process.Path)
	}
	b.WriteByte(0)
	switch {
	case e.File != nil:
		b.WriteString(e.File.Path)
	case e.Connection != nil:
		fmt.Fprintf(&b, "%s %s", e.Connection.Protocol, e.Connection.Remote)
	case e.DNS != nil:
		b.WriteString(e.DNS.Name)
	case e.Object != nil:
		b.WriteString(e.Object.Name)
	case e.Target != nil:
		b.WriteString(e.Target.Path)
	case e.Mount != nil:
		b.WriteString(e.Mount.Target)
	}
	return b.String()
}

// kills reports whether a rule asks to stop the process in mode enforce.
func (r *rules) kills(id string) bool { return r.kill[id] }

// excepted returns the exception that covers a detection, nil for none.
func (r *rules) excepted(d *bollwerk.Detection, now time.Time) *bollwerk.Exception {
	if r.except == nil {
		return nil
	}
	return r.except.Hush(d, now)
}

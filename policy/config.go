package policy

import (
	"fmt"
	"io"
	"regexp"
	"sort"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/bollwerk/bollwerk"
)

// ConfigName is the file the product looks for in the folder it is run in.
const ConfigName = ".bollwerk.yaml"

// DefaultHorizon is how far ahead an exception may expire before lint objects: a
// decision that nobody has to look at again within a year is a policy, not an
// exception.
const DefaultHorizon = 365 * 24 * time.Hour

// maxExceptions bounds one configuration.
const maxExceptions = 10_000

// Config is what a .bollwerk.yaml says.
type Config struct {
	// Name of the file, for messages and for Suppression.Source.
	Name       string
	Exceptions []bollwerk.Exception
	// Policies changes shipped or own policies, by ID.
	Policies map[string]Override
	// PolicyFolders hold policies of one's own, relative to the file.
	PolicyFolders []string
	// FailOn are default values of --fail-on, as written.
	FailOn []string
	// Horizon is how far ahead an exception may expire, see Lint.
	Horizon time.Duration

	lines []int // of the exceptions
}

// Override changes one policy.
type Override struct {
	Mode     Mode               // "": as shipped
	Severity *bollwerk.Severity // nil: as shipped
	// Disabled is the reason why the policy is not run; "": it is.
	Disabled   string
	Parameters map[string]any
	Line       int
}

// LoadConfig reads a configuration from r. The name is used in messages. It is
// as strict as Parse: whoever mistypes `expires` must not find out from an
// intruder. The error is a *ParseError with every problem and its line.
func LoadConfig(r io.Reader, name string) (*Config, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxDocumentBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	c := &Config{Name: name, Policies: map[string]Override{}, Horizon: DefaultHorizon}
	d := &document{name: name}
	if len(strings.TrimSpace(string(b))) == 0 {
		return c, nil
	}
	root, err := d.root(b)
	if err != nil {
		return nil, err
	}
	d.fields(root, "configuration", map[string]func(*yaml.Node){
		"exceptions": func(n *yaml.Node) {
			d.items(n, "exceptions", func(n *yaml.Node) { d.exception(n, c) })
		},
		"policies": func(n *yaml.Node) {
			d.entries(n, "policies", func(id string, k, v *yaml.Node) { d.override(id, k, v, c) })
		},
		"policy-folders": d.texts("policy-folders", &c.PolicyFolders),
		"fail-on":        d.texts("fail-on", &c.FailOn),
		"exception-horizon": func(n *yaml.Node) {
			var s string
			d.text("exception-horizon", &s)(n)
			if c.Horizon, err = ParseSpan(s); err != nil || c.Horizon <= 0 {
				d.failf(n.Line, "exception-horizon: want a positive duration like 365d")
			}
		},
	})
	if len(c.Exceptions) > maxExceptions {
		d.failf(root.Line, "more than %d exceptions", maxExceptions)
	}
	if err := d.err(); err != nil {
		return nil, err
	}
	return c, nil
}

var exceptionID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$`)

func (d *document) exception(n *yaml.Node, c *Config) {
	var x bollwerk.Exception
	hasScope := false
	line := func(what string, to *string) func(*yaml.Node) { return d.text("exception: "+what, to) }
	d.fields(n, "exception", map[string]func(*yaml.Node){
		"id":       line("id", &x.ID),
		"reason":   line("reason", &x.Reason),
		"owner":    line("owner", &x.Owner),
		"approver": line("approver", &x.Approver),
		"ticket":   line("ticket", &x.Ticket),
		"expires":  line("expires", &x.Expires),
		"scope": func(n *yaml.Node) {
			hasScope = true
			d.fields(n, "exception: scope", map[string]func(*yaml.Node){
				"issues":    d.texts("issues", &x.Scope.Issues),
				"policies":  d.texts("policies", &x.Scope.Policies),
				"kinds":     d.texts("kinds", &x.Scope.Kinds),
				"packages":  d.texts("packages", &x.Scope.Packages),
				"paths":     d.texts("paths", &x.Scope.Paths),
				"artifacts": d.texts("artifacts", &x.Scope.Artifacts),
				"workloads": d.texts("workloads", &x.Scope.Workloads),
				"processes": d.texts("processes", &x.Scope.Processes),
			})
		},
	})
	who := "exception"
	if x.ID != "" {
		who = "exception " + x.ID
	}
	switch {
	case x.ID == "":
		d.failf(n.Line, "%s: id is missing; reports and expiry notices name an exception by it", who)
	case !exceptionID.MatchString(x.ID):
		d.failf(n.Line, "exception id %q: want letters, digits, dots and hyphens", x.ID)
	}
	for i := range c.Exceptions {
		if c.Exceptions[i].ID == x.ID && x.ID != "" {
			d.failf(n.Line, "%s: the id is used in line %d already", who, c.lines[i])
		}
	}
	if x.Reason == "" {
		d.failf(n.Line, "%s: reason is missing; whoever reviews it later has to know why the risk was accepted", who)
	}
	if x.Owner == "" {
		d.failf(n.Line, "%s: owner is missing; somebody has to answer for it when it expires", who)
	}
	if x.Expires == "" {
		d.failf(n.Line, "%s: expires is missing; an exception without an end hides the next incident. Write the last day on which it holds, e.g. expires: 2026-12-31", who)
	} else if _, err := time.Parse(time.DateOnly, x.Expires); err != nil {
		d.failf(n.Line, "%s: expires %q: want a date like 2026-12-31, the last day on which it holds", who, x.Expires)
	}
	s := &x.Scope
	if !hasScope || len(s.Issues)+len(s.Policies)+len(s.Kinds) == 0 {
		d.failf(n.Line, "%s: scope names no issues, policies or kinds, so it would cover nothing", who)
	}
	for _, k := range s.Kinds {
		kinds := []string{"vulnerability", "malware", "secret", "standard", "notice", "detection"}
		if !strings.Contains(" "+strings.Join(kinds, " ")+" ", " "+k+" ") {
			d.failf(n.Line, "%s: kind %q: want %s%s", who, k, strings.Join(kinds, ", "), didYouMean(nearest(k, kinds)))
		}
	}
	for _, list := range [][]string{s.Issues, s.Policies, s.Packages, s.Paths, s.Artifacts, s.Workloads, s.Processes} {
		for _, p := range list {
			if p == "" {
				d.failf(n.Line, "%s: an empty pattern in scope", who)
			}
		}
	}
	c.Exceptions = append(c.Exceptions, x)
	c.lines = append(c.lines, n.Line)
}

func (d *document) override(id string, k, v *yaml.Node, c *Config) {
	o := Override{Line: k.Line}
	var mode, severity string
	d.fields(v, "policies: "+id, map[string]func(*yaml.Node){
		"mode":     d.text("mode", &mode),
		"severity": d.text("severity", &severity),
		"disabled": func(n *yaml.Node) {
			d.text("disabled", &o.Disabled)(n)
			if o.Disabled == "" {
				d.failf(n.Line, "policies: %s: disabled wants the reason, e.g. disabled: the base team checks it", id)
			}
		},
		"parameters": func(n *yaml.Node) {
			raw, err := d.value(n)
			if err != nil {
				d.problems = append(d.problems, err)
				return
			}
			m, ok := raw.(map[string]any)
			if !ok {
				d.failf(n.Line, "policies: %s: parameters: want a mapping, got %s", id, nodeWord(n))
				return
			}
			o.Parameters = m
		},
	})
	var err error
	if mode != "" {
		if o.Mode, err = ParseMode(mode); err != nil {
			d.failf(k.Line, "policies: %s: %v", id, err)
		}
	}
	if severity != "" {
		s, err := bollwerk.ParseSeverity(severity)
		if err != nil || s < bollwerk.SeverityLow {
			d.failf(k.Line, "policies: %s: severity %q: want low, medium, high or critical", id, severity)
		}
		o.Severity = &s
	}
	c.Policies[id] = o
}

// Override applies the configuration to policies: it returns copies with changed
// mode and severity, without those that are disabled; those are returned with
// the reason. An ID or parameter that no policy has, or a value of the wrong
// type, is an error that names the line; others are IDs that mean something else
// (a detector), whose overrides are the caller's business.
func (c *Config) Override(ps []*Policy, others ...string) (active []*Policy, disabled map[string]string, err error) {
	d := &document{name: c.Name}
	known := map[string]bool{}
	disabled = map[string]string{}
	ids := make([]string, 0, len(ps))
	for _, p := range ps {
		known[p.ID] = true
		ids = append(ids, p.ID)
		o, ok := c.Policies[p.ID]
		if !ok {
			active = append(active, p)
			continue
		}
		if _, err := parameterValues(p, o.Parameters); err != nil {
			d.failf(o.Line, "%v", err)
		}
		if o.Disabled != "" {
			disabled[p.ID] = o.Disabled
			continue
		}
		changed := *p
		if o.Mode != "" {
			changed.Mode = o.Mode
		}
		if o.Severity != nil {
			changed.Severity = *o.Severity
		}
		active = append(active, &changed)
	}
	for _, id := range others {
		known[id] = true
		ids = append(ids, id)
	}
	for _, id := range sortedKeys(c.Policies) {
		if !known[id] {
			d.failf(c.Policies[id].Line, "policies: there is no policy %q%s", id, didYouMean(nearest(id, ids)))
		}
	}
	return active, disabled, d.err()
}

// Parameters returns the overrides in the form Options wants.
func (c *Config) Parameters() map[string]map[string]any {
	out := map[string]map[string]any{}
	for id, o := range c.Policies {
		if len(o.Parameters) > 0 {
			out[id] = o.Parameters
		}
	}
	return out
}

// Lint reports what is allowed but unwise, sorted by line: exceptions that are
// expired, that reach beyond the horizon, or that cover every artifact and every
// package; enforced checks that are disabled.
func (c *Config) Lint(now time.Time) []Problem {
	var out []Problem
	warn := func(line int, rule, format string, args ...any) {
		out = append(out, Problem{File: c.Name, Line: line, Rule: rule, Message: fmt.Sprintf(format, args...)})
	}
	for i, x := range c.Exceptions {
		line := c.lines[i]
		end, err := expiry(&x)
		switch {
		case err != nil:
		case !now.Before(end):
			warn(line, "expired", "exception %s expired on %s and hides nothing any more; renew it with a new reason, or remove it", x.ID, x.Expires)
		case end.Sub(now) > c.Horizon+24*time.Hour:
			warn(line, "horizon", "exception %s lasts until %s, more than %d days; nobody will look at it again in time", x.ID, x.Expires, int(c.Horizon.Hours()/24))
		}
		s := &x.Scope
		everything := len(s.Packages)+len(s.Paths)+len(s.Artifacts)+len(s.Workloads)+len(s.Processes) == 0
		for _, p := range append(append(append([]string{}, s.Issues...), s.Policies...), s.Kinds...) {
			if p == "*" && everything {
				warn(line, "broad", "exception %s covers everything; name issues, packages or artifacts", x.ID)
				break
			}
		}
		if len(s.Issues)+len(s.Policies) == 0 && everything {
			warn(line, "broad", "exception %s covers every finding of kind %s; name packages, paths or artifacts", x.ID, strings.Join(s.Kinds, ", "))
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].Line < out[j].Line })
	return out
}

// Problem is something lint objects to.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`
	Rule    string `json:"rule"`
	Message string `json:"message"`
	// Error: the policy or configuration does not work; else it is unwise.
	Error bool `json:"error"`
}

func (p Problem) String() string {
	word := "warning"
	if p.Error {
		word = "error"
	}
	at := p.File
	if p.Line > 0 {
		at = fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s: %s: %s (%s)", at, word, p.Message, p.Rule)
}

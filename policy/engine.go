package policy

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"golang.org/x/sync/errgroup"

	"github.com/bollwerk/bollwerk"
)

// Limits bound one evaluation of one policy. A policy that hits one is not
// evaluated, and says so. The zero value means DefaultLimits.
type Limits struct {
	// Steps are CEL's cost units. The dearest shipped policy (30 globs on each of
	// 50,000 packages) needs some 1,500,000. They are meant to be hit before Time, so
	// that the outcome does not depend on the machine.
	Steps uint64
	// Time is a second line, for what the steps do not see.
	Time time.Duration
}

// DefaultLimits are generous: they are for scans. A caller that somebody waits for
// (an admission webhook) sets tighter ones.
func DefaultLimits() Limits { return Limits{Steps: 10_000_000, Time: 15 * time.Second} }

const (
	interruptEvery = 256 // turns of a loop between two looks at the context
	maxItems       = 100 // findings one policy may make of one subject
	maxTextBytes   = 4 << 10
)

// Options configure an Engine.
type Options struct {
	// Now is the day the policies are judged on. It must be set: a replay with the
	// same time gives the same decisions.
	Now time.Time
	// Parameters override defaults: policy ID → parameter → value.
	Parameters map[string]map[string]any
	// Subjects are the kinds that can be judged; nil means Subjects().
	Subjects []*Subject
	Limits   Limits
}

// Engine evaluates policies. It compiles each policy when it is first needed and
// keeps the result; it may be used by several goroutines at once. Making one is
// cheap: CEL itself is not touched before the first evaluation.
type Engine struct {
	now        time.Time
	parameters map[string]map[string]any
	subjects   map[string]*Subject
	base       func() (*cel.Env, error)
	limits     Limits
	unplanned  bool // nothing is evaluated, only checked: for a Matcher

	mu       sync.Mutex
	compiled map[*Policy]*compilation
}

// compilation is a policy that is compiled once.
type compilation struct {
	once sync.Once
	done atomic.Bool
	c    *compiled
	err  error
}

// New makes an engine. Errors: no time, a subject that is declared wrongly or twice.
func New(o Options) (*Engine, error) {
	if o.Now.IsZero() {
		return nil, errors.New("policy engine: the time is not set")
	}
	if o.Subjects == nil {
		o.Subjects = Subjects()
	}
	if o.Limits.Steps == 0 {
		o.Limits.Steps = DefaultLimits().Steps
	}
	if o.Limits.Time <= 0 {
		o.Limits.Time = DefaultLimits().Time
	}
	e := &Engine{
		now:        o.Now.UTC(),
		parameters: o.Parameters,
		subjects:   make(map[string]*Subject, len(o.Subjects)),
		base:       sync.OnceValues(baseEnv),
		limits:     o.Limits,
		compiled:   map[*Policy]*compilation{},
	}
	for _, s := range o.Subjects {
		if err := s.Validate(); err != nil {
			return nil, err
		}
		if e.subjects[s.Kind] != nil {
			return nil, fmt.Errorf("subject %s: declared twice", s.Kind)
		}
		e.subjects[s.Kind] = s
	}
	return e, nil
}

// Compile checks a policy completely, texts included. The error names file and line.
func (e *Engine) Compile(p *Policy) error {
	c, err := e.compile1(p)
	if err != nil {
		return err
	}
	return c.texts()
}

// compile1 compiles a policy once.
func (e *Engine) compile1(p *Policy) (*compiled, error) {
	x := e.compilation(p)
	x.once.Do(func() {
		x.c, x.err = e.compile(p)
		x.done.Store(true)
	})
	return x.c, x.err
}

func (e *Engine) compilation(p *Policy) *compilation {
	e.mu.Lock()
	defer e.mu.Unlock()
	x, ok := e.compiled[p]
	if !ok {
		x = &compilation{}
		e.compiled[p] = x
	}
	return x
}

// programOptions bound an evaluation.
func (l Limits) programOptions(more ...cel.ProgramOption) []cel.ProgramOption {
	return append([]cel.ProgramOption{cel.CostTracking(functionCosts{}), cel.CostLimit(l.Steps), cel.InterruptCheckFrequency(interruptEvery)}, more...)
}

// Input is a subject with what is known about how completely it was read.
type Input struct {
	// Value is a map of the subject's fields, or a Go struct whose JSON form is one;
	// nil means that there is no such subject, and every policy over it is not evaluated.
	Value any
	// Cause says why there is no value; "" means the subject's own sentence.
	Cause string
	// Key tells subjects of one kind within one artifact apart (the URL of a package,
	// the path of a file), so that findings about them have different fingerprints.
	// Empty for a subject that there is one of.
	Key string
	// Package, Path and Layer are where the subject is, for the finding.
	Package *bollwerk.FindingPackage
	Path    string
	Layer   *bollwerk.LayerRef
	// Coverage rows bound how far a verdict reaches, see Field.Areas.
	Coverage []bollwerk.Coverage

	// conformed: the value was made by this package and needs no check.
	conformed bool
}

// Evaluate judges one subject by every policy whose subject is kind; others are
// skipped. The subject is an Input, a map, a struct with a JSON form, or nil.
// Decisions come in the order of the policies, one for each policy, or one for
// each violation where the policy reports each.
//
// An error means that nothing was judged (the context ended, the kind is not
// declared). Whatever goes wrong with one policy is that policy's decision, not
// evaluated, with the cause.
func (e *Engine) Evaluate(ctx context.Context, kind string, subject any, policies []*Policy) ([]Decision, error) {
	s, ok := e.subjects[kind]
	if !ok {
		return nil, fmt.Errorf("subject %q is not known%s", kind, didYouMean(nearest(kind, sortedKeys(e.subjects))))
	}
	in, shapeErr := s.input(subject)
	todo := make([]*Policy, 0, len(policies))
	for _, p := range policies {
		if p.Subject == kind {
			todo = append(todo, p)
		}
	}
	if err := e.prepare(ctx, todo); err != nil {
		return nil, err
	}
	var out []Decision
	for _, p := range todo {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c, err := e.compile1(p)
		if err == nil {
			err = shapeErr
		}
		if err != nil {
			out = append(out, undecided(p, in, err.Error()))
			continue
		}
		ds, err := e.judge(ctx, c, in)
		if err != nil {
			return nil, err
		}
		out = append(out, ds...)
	}
	return out, nil
}

// prepare compiles on all cores; errors are kept for the decision.
func (e *Engine) prepare(ctx context.Context, ps []*Policy) error {
	var fresh []*Policy
	for _, p := range ps {
		if !e.compilation(p).done.Load() {
			fresh = append(fresh, p)
		}
	}
	if len(fresh) > 1 {
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(runtime.GOMAXPROCS(0))
		for _, p := range fresh {
			g.Go(func() error {
				if gctx.Err() == nil {
					_, _ = e.compile1(p) // the error is kept and becomes the policy's decision
				}
				return nil
			})
		}
		_ = g.Wait() // no member returns one
	}
	return ctx.Err()
}

// input brings a subject into the form CEL reads.
func (s *Subject) input(v any) (Input, error) {
	in, ok := v.(Input)
	if !ok {
		in = Input{Value: v}
	}
	if p, ok := in.Value.(*bollwerk.Provenance); ok && s.Kind == "provenance" {
		in = ProvenanceSubject(p)
	}
	if in.Value == nil || in.conformed {
		return in, nil
	}
	if s.convert != nil {
		converted, err := s.convert(in.Value)
		if err != nil {
			return in, err
		}
		in.Value, in.conformed = converted, true
		return in, nil
	}
	m, isMap := stringMap(in.Value)
	if !isMap {
		decoded, err := decodeJSON(in.Value)
		if err != nil {
			return in, fmt.Errorf("%s: %w", s.Kind, err)
		}
		if m, isMap = decoded.(map[string]any); !isMap {
			return in, fmt.Errorf("%s: want an object, got %s", s.Kind, describeValue(decoded))
		}
	}
	v, err := new(conformer).conform(m, Of(s.Type), s.Kind, 0)
	if err != nil {
		return in, err
	}
	in.Value, in.conformed = v, true
	return in, nil
}

// decision begins a decision about a subject.
func decision(p *Policy, in Input) Decision {
	return Decision{Policy: p, Applies: true, Severity: p.Severity, Mode: p.Mode, Key: in.Key, Package: in.Package, Path: in.Path, Layer: in.Layer}
}

func undecided(p *Policy, in Input, cause string) Decision {
	d := decision(p, in)
	d.Verdict, d.Cause = bollwerk.NotEvaluated, clip(cause, maxTextBytes)
	return d
}

// judge evaluates one policy. The error is the context's.
func (e *Engine) judge(ctx context.Context, c *compiled, in Input) ([]Decision, error) {
	return e.judgeTraced(ctx, c, in, nil)
}

func (e *Engine) judgeTraced(ctx context.Context, c *compiled, in Input, t *tracer) ([]Decision, error) {
	p := c.policy
	if in.Value == nil {
		cause := "there is no " + p.Subject + " to judge"
		switch {
		case in.Cause != "":
			cause = in.Cause
		case c.subject.Absent != "":
			cause = c.subject.Absent
		}
		return []Decision{undecided(p, in, cause)}, nil
	}
	bounded, cancel := context.WithTimeout(ctx, e.limits.Time)
	defer cancel()
	r := &run{ctx: bounded, c: c, vars: map[string]any{c.subject.Kind: in.Value, "now": e.now, "params": c.params}}
	if t != nil {
		r.tracing, r.observe = t.programs, t.observe
	}
	d := decision(p, in)
	if c.when != nil {
		v, cause := r.eval(c.when)
		if cause != "" {
			return []Decision{undecided(p, in, cause)}, ctx.Err()
		}
		if v != types.True {
			d.Applies, d.Verdict = false, bollwerk.Pass
			return []Decision{d}, nil
		}
	}
	v, cause := r.eval(c.rule)
	if cause != "" {
		return []Decision{undecided(p, in, cause)}, ctx.Err()
	}
	violations, failed := v.(traits.Lister)
	switch {
	case failed:
		failed = violations.Size() != types.IntZero
	default:
		b, ok := v.(types.Bool)
		if !ok {
			return []Decision{undecided(p, in, "the rule gave "+v.Type().TypeName()+", not true or false")}, nil
		}
		failed = bool(b) == (p.Match.Text != "")
	}
	if !failed {
		d.Verdict, d.Cause = c.reach(in.Coverage)
		return []Decision{d}, nil
	}
	d.Verdict = bollwerk.Fail
	if violations != nil {
		r.vars["items"] = violations
	}
	if violations == nil || p.Report == Once {
		if violations != nil && violations.Size() == types.IntOne {
			// One finding for the policy, however many violations there are: the key
			// stays that of the subject.
			d.place(violations.Get(types.IntZero))
			d.Key = in.Key
		}
		d.Message, d.Fix = r.texts()
		return []Decision{d}, ctx.Err()
	}
	return r.each(d, violations), ctx.Err()
}

// each makes one decision for every violation, and one more that counts the rest
// when there are too many to list.
func (r *run) each(d Decision, violations traits.Lister) []Decision {
	n := int(violations.Size().(types.Int))
	out := make([]Decision, 0, min(n, maxItems+1))
	for i := range min(n, maxItems) {
		it := violations.Get(types.Int(i))
		one := d
		one.place(it)
		r.vars["it"] = it
		one.Message, one.Fix = r.texts()
		out = append(out, one)
	}
	if n > maxItems {
		rest := d
		rest.Key += "\x00more"
		rest.Message = fmt.Sprintf("%s: %d more are not listed", d.Policy.Title, n-maxItems)
		out = append(out, rest)
	}
	return out
}

// place reads path, line and layer of a violation that has them.
func (d *Decision) place(it ref.Val) {
	if s, ok := it.(types.String); ok {
		d.Key += "\x00" + string(s)
		return
	}
	m, ok := it.(traits.Mapper)
	if !ok {
		return
	}
	if s, ok := find(m, "path").(types.String); ok {
		d.Path = string(s)
	}
	if n, ok := find(m, "line").(types.Int); ok {
		d.Line = int(n)
	}
	if l, ok := find(m, "layer").(traits.Mapper); ok {
		ref := &bollwerk.LayerRef{}
		if n, ok := find(l, "index").(types.Int); ok {
			ref.Index = int(n)
		}
		for _, f := range []struct {
			name string
			set  func(string)
		}{
			{"digest", func(s string) { ref.Digest = bollwerk.Digest(s) }},
			{"diff_id", func(s string) { ref.DiffID = bollwerk.Digest(s) }},
			{"created_by", func(s string) { ref.CreatedBy = s }},
		} {
			if s, ok := find(l, f.name).(types.String); ok {
				f.set(string(s))
			}
		}
		if b, ok := find(l, "from_base").(types.Bool); ok {
			ref.FromBase = bool(b)
		}
		d.Layer = ref
	}
	// The key must tell violations apart and must not move when a line is added
	// above: path, and the name where there is one.
	d.Key += "\x00" + d.Path
	for _, name := range []string{"kind", "detector", "env", "purl", "name", "key", "text"} {
		if s, ok := find(m, name).(types.String); ok {
			d.Key += "\x00" + string(s)
		}
	}
}

func find(m traits.Mapper, key string) ref.Val {
	v, ok := m.Find(types.String(key))
	if !ok {
		return nil
	}
	return v
}

// reach bounds a pass by the coverage of what the policy read.
func (c *compiled) reach(rows []bollwerk.Coverage) (bollwerk.Verdict, string) {
	verdict, cause := bollwerk.Pass, ""
	for _, row := range rows {
		if row.Verdict != bollwerk.Degraded && row.Verdict != bollwerk.NotEvaluated {
			continue
		}
		for _, area := range c.areas {
			exact := row.Area == area
			if !exact && !strings.HasPrefix(row.Area, area+":") {
				continue
			}
			v := bollwerk.Degraded
			if exact && row.Verdict == bollwerk.NotEvaluated {
				// All of the area is missing. That part of it is (packages:npm of
				// packages) only degrades.
				v = bollwerk.NotEvaluated
			}
			// Not evaluated says less than degraded, although Worse ranks it lower.
			if verdict == bollwerk.Pass || v == bollwerk.NotEvaluated && verdict == bollwerk.Degraded {
				verdict = v
				cause = fmt.Sprintf("%s: %s", row.Area, row.Cause)
			}
		}
	}
	return verdict, clip(cause, maxTextBytes)
}

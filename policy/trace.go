package policy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"
	"cel.dev/cel-go/parser"
)

// TraceLine is the value of one sub-expression of a policy.
type TraceLine struct {
	Depth      int    `json:"depth"` // 0: the whole expression
	Part       string `json:"part"`  // "when", "pass", "variables: user"
	Expression string `json:"expression"`
	Value      string `json:"value"`
	// Note says what the value is not: the only one ("for the last element").
	Note string `json:"note,omitempty"`
}

const maxTraceLines = 1000

// Explain judges a subject as Evaluate does, by one policy, and adds the value of
// every sub-expression that was evaluated to the first decision's Trace, outer
// before inner, in the order of evaluation of the parts. It costs several times
// as much as Evaluate.
func (e *Engine) Explain(ctx context.Context, subject any, p *Policy) ([]Decision, error) {
	s, ok := e.subjects[p.Subject]
	if !ok {
		return nil, fmt.Errorf("policy %s: subject %q is not known", p.ID, p.Subject)
	}
	in, err := s.input(subject)
	if err != nil {
		return []Decision{undecided(p, in, err.Error())}, nil
	}
	c, err := e.compile1(p)
	if err != nil {
		return nil, err
	}
	t := &tracer{programs: map[*program]cel.Program{}}
	for _, prog := range c.programs() {
		// No constant folding: the trace shows the expression as it was written.
		prg, err := c.env.Program(prog.ast, e.limits.programOptions(cel.EvalOptions(cel.OptTrackState))...)
		if err != nil {
			return nil, err
		}
		t.programs[prog] = prg
	}
	ds, err := e.judgeTraced(ctx, c, in, t)
	if len(ds) > 0 {
		ds[0].Trace = t.lines
	}
	return ds, err
}

// programs lists rule, when and variables.
func (c *compiled) programs() []*program {
	list := []*program{c.rule}
	if c.when != nil {
		list = append(list, c.when)
	}
	for _, name := range sortedKeys(c.vars) {
		list = append(list, c.vars[name])
	}
	return list
}

type tracer struct {
	programs map[*program]cel.Program
	lines    []TraceLine
}

// observe writes down one evaluation.
func (t *tracer) observe(p *program, v ref.Val, det *cel.EvalDetails, err error) {
	if _, ok := t.programs[p]; !ok {
		return // a message
	}
	state := det.State()
	if state == nil {
		return
	}
	w := &traceWalk{tracer: t, part: p.what, info: p.ast.NativeRep().SourceInfo(), state: state}
	w.visit(p.ast.NativeRep().Expr(), 0, "")
}

type traceWalk struct {
	*tracer
	part  string
	info  *ast.SourceInfo
	state interpreter.EvalState
}

func (w *traceWalk) visit(x ast.Expr, depth int, note string) {
	if len(w.lines) >= maxTraceLines || x == nil {
		return
	}
	text, err := parser.Unparse(x, w.info)
	if err != nil {
		text = "…"
	}
	text = strings.Join(strings.Fields(text), " ")
	v, seen := w.state.Value(x.ID())
	if !literalOnly(x) {
		line := TraceLine{Depth: depth, Part: w.part, Expression: clip(text, 200), Value: "(not evaluated)", Note: note}
		if seen {
			line.Value = clip(literal(v), 300)
		}
		w.lines = append(w.lines, line)
	}
	if !seen {
		return // nor were its parts
	}
	switch x.Kind() {
	case ast.SelectKind:
		// A chain a.b.c is resolved in one step, and its value says it all. What it
		// begins with is of interest when that was computed: f(x).b.c.
		op := x.AsSelect().Operand()
		for op.Kind() == ast.SelectKind {
			op = op.AsSelect().Operand()
		}
		if op.Kind() != ast.IdentKind && w.has(op) {
			w.visit(op, depth+1, note)
		}
	case ast.CallKind:
		call := x.AsCall()
		if call.IsMemberFunction() {
			w.visit(call.Target(), depth+1, note)
		}
		for _, a := range call.Args() {
			if call.FunctionName() == operators.Index && !w.has(a) {
				continue // as above: a[b] is one step
			}
			w.visit(a, depth+1, note)
		}
	case ast.ListKind:
		for _, e := range x.AsList().Elements() {
			if e.Kind() != ast.LiteralKind {
				w.visit(e, depth+1, note)
			}
		}
	case ast.ComprehensionKind:
		c := x.AsComprehension()
		w.visit(c.IterRange(), depth+1, note)
		// The interpreter keeps one value per expression: for what is evaluated once
		// per element, that of the last one.
		if body := macroBody(x, w.info); body != nil {
			w.visit(body, depth+1, "for the last element")
		}
	}
}

func (w *traceWalk) has(x ast.Expr) bool {
	_, ok := w.state.Value(x.ID())
	return ok
}

// literalOnly reports an expression whose text is its value: "a", ["a", "b"].
func literalOnly(x ast.Expr) bool {
	switch x.Kind() {
	case ast.LiteralKind:
		return true
	case ast.ListKind:
		return !slices.ContainsFunc(x.AsList().Elements(), func(e ast.Expr) bool { return !literalOnly(e) })
	}
	return false
}

// macroBody returns the expression a person wrote inside filter, all, exists or
// map: the last argument of the macro as it was before its expansion.
func macroBody(x ast.Expr, info *ast.SourceInfo) ast.Expr {
	call, ok := info.GetMacroCall(x.ID())
	if !ok || call.Kind() != ast.CallKind {
		return nil
	}
	args := call.AsCall().Args()
	if len(args) == 0 {
		return nil
	}
	return args[len(args)-1]
}

// literal writes a value as CEL would.
func literal(v ref.Val) string {
	switch x := v.(type) {
	case types.String:
		return fmt.Sprintf("%q", string(x))
	case types.Timestamp:
		return x.Time.UTC().Format("2006-01-02T15:04:05Z")
	case *types.Err:
		return "error: " + printable(x.Error())
	case traits.Lister:
		n, _ := x.Size().(types.Int)
		parts := make([]string, 0, min(int(n), 5))
		for i := types.Int(0); i < n && i < 5; i++ {
			parts = append(parts, clip(literal(x.Get(i)), 80))
		}
		if n > 5 {
			return fmt.Sprintf("[%s, … %d in all]", strings.Join(parts, ", "), n)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case traits.Mapper:
		if s, ok := find(x, "path").(types.String); ok {
			return fmt.Sprintf("{path: %q, …}", string(s))
		}
		if s, ok := find(x, "name").(types.String); ok {
			return fmt.Sprintf("{name: %q, …}", string(s))
		}
		n, _ := x.Size().(types.Int)
		return fmt.Sprintf("{… %d fields}", n)
	}
	return display(v)
}

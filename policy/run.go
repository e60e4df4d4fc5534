package policy

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
	"cel.dev/cel-go/parser"
)

// run is one evaluation of one policy. It is the activation its expressions see.
type run struct {
	ctx  context.Context
	c    *compiled
	vars map[string]any

	// observe, when set, is told of every evaluation (for traces).
	observe func(p *program, v ref.Val, d *cel.EvalDetails, err error)
	// tracing programs replace the compiled ones when a trace is made.
	tracing map[*program]cel.Program
}

// ResolveName implements interpreter.Activation. A named variable is evaluated
// when it is first asked for: one whose data is missing harms only the
// expressions that need it.
func (r *run) ResolveName(name string) (any, bool) {
	if v, ok := r.vars[name]; ok {
		return v, true
	}
	p, ok := r.c.vars[name]
	if !ok {
		return nil, false
	}
	v, err := r.value(p)
	if err != nil {
		v = types.WrapErr(&variableError{name: name, cause: r.causeOf(p, err)})
	}
	r.vars[name] = v
	return v, true
}

// Parent implements interpreter.Activation.
func (r *run) Parent() interpreter.Activation { return nil }

// variableError carries the cause found inside a named variable outwards.
type variableError struct{ name, cause string }

func (e *variableError) Error() string { return e.cause }

func (r *run) value(p *program) (ref.Val, error) {
	prg := p.prg
	if t, ok := r.tracing[p]; ok {
		prg = t
	}
	v, det, err := prg.ContextEval(r.ctx, r)
	if r.observe != nil {
		r.observe(p, v, det, err)
	}
	if err != nil {
		return nil, err
	}
	if types.IsUnknown(v) {
		return nil, errors.New("a part of the subject is not known")
	}
	return v, nil
}

// eval returns the value, or the cause why there is none.
func (r *run) eval(p *program) (ref.Val, string) {
	v, err := r.value(p)
	if err != nil {
		return nil, r.causeOf(p, err)
	}
	return v, ""
}

// causeOf says why an expression has no value, in words that name the missing fact.
func (r *run) causeOf(p *program, err error) string {
	var inner *variableError
	if errors.As(err, &inner) {
		return inner.cause
	}
	var said *unknownError
	if errors.As(err, &said) {
		return printable(clip(said.cause, maxTextBytes))
	}
	if r.ctx.Err() != nil {
		return fmt.Sprintf("%s took longer than %s and was stopped", p.what, r.c.limits.Time)
	}
	message := err.Error()
	if strings.Contains(message, "cost limit exceeded") {
		return fmt.Sprintf("%s needs more than %d steps and was stopped; filter the list before comparing its entries with each other", p.what, r.c.limits.Steps)
	}
	key, missing := strings.CutPrefix(message, "no such key: ")
	var celErr *types.Err
	if errors.As(err, &celErr) {
		if x := findExpr(p.ast, celErr.NodeID()); x != nil {
			info := p.ast.NativeRep().SourceInfo()
			if missing {
				object, fieldName, absent := r.c.missingField(p, x, key)
				if object != nil {
					x = object
				}
				text, uerr := parser.Unparse(x, info)
				if uerr == nil {
					if fieldName {
						text += "." + key
					}
					return clip(text, 200) + " is not known" + absent
				}
			} else if text, uerr := parser.Unparse(x, info); uerr == nil {
				return fmt.Sprintf("%s: %s", clip(text, 200), message)
			}
		}
	}
	if missing {
		return key + " is not known"
	}
	return p.what + ": " + message
}

// missingField finds, inside the attribute x, the selection of key. It returns
// the expression it was selected from, and the field's advice.
func (c *compiled) missingField(p *program, x ast.Expr, key string) (operand ast.Expr, found bool, absent string) {
	tree := p.ast.NativeRep()
	for x.Kind() == ast.SelectKind {
		sel := x.AsSelect()
		if sel.FieldName() == key {
			operand, found = sel.Operand(), true
			if t := tree.GetType(operand.ID()); t != nil {
				if o, ok := c.prov.objects[t.TypeName()]; ok {
					if f, ok := o.field(key); ok && f.Absent != "" {
						absent = ": " + f.Absent
					}
				}
			}
			// The outermost selection of the name may not be the one that failed
			// (a.x.x); the innermost is the first that can.
		}
		x = sel.Operand()
	}
	return operand, found, absent
}

func findExpr(tree *cel.Ast, id int64) ast.Expr {
	var found ast.Expr
	ast.PreOrderVisit(tree.NativeRep().Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		if x.ID() == id && found == nil {
			found = x
		}
	}))
	return found
}

// texts fills the templates. A text that cannot be made does not change the
// verdict: the title stands in, and the reason follows.
func (r *run) texts() (message, fix string) {
	if err := r.c.texts(); err != nil {
		return r.c.policy.Title + " (the message could not be made: " + err.Error() + ")", ""
	}
	message, cause := r.fill(r.c.message)
	if cause != "" {
		message = r.c.policy.Title + " (the message could not be made: " + cause + ")"
	}
	fix, cause = r.fill(r.c.fix)
	if cause != "" {
		fix = ""
	}
	return message, fix
}

func (r *run) fill(parts []compiledPart) (text, cause string) {
	var b strings.Builder
	for _, part := range parts {
		if part.prog == nil {
			b.WriteString(part.text)
			continue
		}
		v, cause := r.eval(part.prog)
		if cause != "" {
			return "", cause
		}
		b.WriteString(display(v))
		if b.Len() > maxTextBytes {
			break
		}
	}
	return clip(strings.TrimSpace(b.String()), maxTextBytes), ""
}

// display writes a value for people. What comes from the subject may hold line
// breaks and terminal escapes; neither belongs into a message.
func display(v ref.Val) string {
	var s string
	switch x := v.(type) {
	case types.String:
		s = string(x)
	case types.Timestamp:
		s = x.Time.UTC().Format("2006-01-02")
	default:
		if t, ok := v.ConvertToType(types.StringType).(types.String); ok {
			s = string(t)
		} else {
			s = fmt.Sprint(v.Value())
		}
	}
	return printable(s)
}

func printable(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '\n' || c == '\t' || c == '\r':
			return ' '
		case c < 0x20 || c == 0x7f || c >= 0x80 && c < 0xa0 || c >= 0x202a && c <= 0x202e || c >= 0x2066 && c <= 0x2069:
			return '�'
		}
		return c
	}, s)
}

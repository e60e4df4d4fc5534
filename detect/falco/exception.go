package falco

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// exception is what must not hold: one of the values, each of which is a list of what
// the fields are compared with. Nil: it has no values yet.
func (t *translator) exception(x *exception) (*expr, error) {
	var fields []operand
	for _, f := range x.fields {
		p := &parser{s: f.value}
		o, _ := p.operand(0)
		if p.space(); p.err != nil || p.pos != len(p.s) || !strings.Contains(o.field, ".") {
			return nil, fmt.Errorf("%q is not a field", clip(f.value))
		}
		fields = append(fields, o)
	}
	for _, c := range x.comps {
		p := &parser{s: c}
		if c == "exists" || p.operator() == "" || p.pos != len(p.s) {
			return nil, fmt.Errorf("comps: %q is not a comparison", clip(c))
		}
	}
	if x.single {
		// All values are those of the one field.
		e := &expr{op: opCompare, left: fields[0], cmp: x.comps[0]}
		for _, v := range x.values {
			w, err := exceptionWords(v)
			if err != nil {
				return nil, err
			}
			e.right = append(e.right, w...)
		}
		if len(e.right) == 0 {
			return nil, nil
		}
		if e.cmp == "in" || e.cmp == "intersects" || e.cmp == "pmatch" {
			return e, nil
		}
		out := &expr{op: opOr}
		for _, w := range e.right {
			out.kids = append(out.kids, &expr{op: opCompare, left: e.left, cmp: equals(e.cmp), right: []word{w}})
		}
		return out, nil
	}
	out := &expr{op: opOr}
	for _, v := range x.values {
		if v.Kind != yaml.SequenceNode || len(v.Content) != len(fields) {
			return nil, fmt.Errorf("line %d: want a list of %d, a value for each field", v.Line, len(fields))
		}
		all := &expr{op: opAnd}
		for i, c := range v.Content {
			w, err := exceptionWords(c)
			if err != nil {
				return nil, err
			}
			e := &expr{op: opCompare, left: fields[i], cmp: equals(x.comps[i]), right: w}
			if len(w) != 1 && e.cmp != "in" && e.cmp != "intersects" && e.cmp != "pmatch" {
				return nil, fmt.Errorf("line %d: %s compares with one value, got %d", c.Line, e.cmp, len(w))
			}
			all.kids = append(all.kids, e)
		}
		out.kids = append(out.kids, all)
	}
	if len(out.kids) == 0 {
		return nil, nil
	}
	return out, nil
}

func equals(cmp string) string {
	if cmp == "==" {
		return "="
	}
	return cmp
}

// exceptionWords reads a value: a text, a list of texts, or a text that is one: (a, b).
func exceptionWords(n *yaml.Node) ([]word, error) {
	switch n.Kind {
	case yaml.ScalarNode:
		s := strings.TrimSpace(n.Value)
		if strings.HasPrefix(s, "(") {
			p := &parser{s: s}
			if w := p.words("in"); p.err == nil && p.pos == len(s) {
				return w, nil
			}
		}
		return []word{unquote(s)}, nil
	case yaml.SequenceNode:
		var out []word
		for _, c := range n.Content {
			if c.Kind != yaml.ScalarNode {
				return nil, fmt.Errorf("line %d: want texts", c.Line)
			}
			out = append(out, unquote(c.Value))
		}
		return out, nil
	}
	return nil, fmt.Errorf("line %d: want a text or a list of texts", n.Line)
}

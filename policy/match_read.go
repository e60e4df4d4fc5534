package policy

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/parser"

	"github.com/bollwerk/bollwerk"
)

// reader turns an expression that CEL's checker accepted into nodes. What it does
// not know it refuses with a sentence: a condition that means something else here
// than in CEL must not load.
type reader struct {
	ns      *nodeSet
	c       *compiled
	catalog *catalog
	prog    *program
	names   map[string]*node // variables read so far, and entries of loops
	level   int
	made    int
}

// maxNodes bounds what one policy may become; a loop over a written-out list is
// written out again for each entry.
const maxNodes = 200_000

// refusal is why an expression cannot be compiled.
type refusal struct {
	x   ast.Expr
	why string
}

func (r *reader) refuse(x ast.Expr, format string, args ...any) *node {
	panic(refusal{x, fmt.Sprintf(format, args...)})
}

// read compiles one expression. The panic of refuse ends here.
func (r *reader) read(p *program) (n *node, err error) {
	outer := r.prog
	r.prog = p
	defer func() {
		r.prog = outer
		if v := recover(); v != nil {
			no, ok := v.(refusal)
			if !ok {
				panic(v)
			}
			err = r.explain(p, no)
		}
	}()
	return r.node(p.ast.NativeRep().Expr()), nil
}

func (r *reader) explain(p *program, no refusal) error {
	line := p.source.Line
	info := p.ast.NativeRep().SourceInfo()
	at := info.GetStartLocation(no.x.ID())
	if at.Line() > 0 {
		line += at.Line() - 1
	}
	text, err := parser.Unparse(no.x, info)
	if err != nil {
		text = "…"
	}
	return fmt.Errorf("%s:%d: %s: %s: %s", r.c.policy.File, line, p.what, clip(strings.Join(strings.Fields(text), " "), 200), no.why)
}

func (r *reader) typeOf(x ast.Expr) *types.Type {
	if t := r.prog.ast.NativeRep().GetType(x.ID()); t != nil {
		return t
	}
	return types.DynType
}

func (r *reader) node(x ast.Expr) *node {
	if r.made++; r.made > maxNodes {
		return r.refuse(x, "the condition has more than %d parts", maxNodes)
	}
	switch x.Kind() {
	case ast.LiteralKind:
		return r.value(x, x.AsLiteral().Value())
	case ast.IdentKind:
		return r.ident(x, x.AsIdent())
	case ast.SelectKind:
		return r.selection(x)
	case ast.CallKind:
		return r.call(x)
	case ast.ListKind:
		return r.listOf(x)
	case ast.ComprehensionKind:
		return r.comprehension(x)
	}
	return r.refuse(x, "maps and messages are not compiled for events; write the condition without them")
}

// value makes a constant of a literal or parameter.
func (r *reader) value(x ast.Expr, v any) *node {
	switch v := v.(type) {
	case bool:
		return r.ns.flag(v)
	case string:
		return r.ns.textOf(v)
	case int64:
		return r.ns.numberOf(v)
	case []any:
		return r.list(x, v)
	case float64:
		return r.refuse(x, "numbers with a point are not compiled for events; compare whole numbers")
	case time.Time, time.Duration:
		return r.refuse(x, "times are not compiled for events; use the fields that count seconds")
	}
	return r.refuse(x, "a value of type %s is not compiled for events", describeType(r.typeOf(x)))
}

func describeType(t *types.Type) string { return cel.FormatCELType(t) }

func (r *reader) list(x ast.Expr, v []any) *node {
	texts, nums := make([]string, 0, len(v)), make([]int64, 0, len(v))
	for _, e := range v {
		switch e := e.(type) {
		case string:
			texts = append(texts, e)
		case int64:
			nums = append(nums, e)
		default:
			return r.refuse(x, "lists of %s are not compiled for events", describeValue(e))
		}
	}
	if len(nums) > 0 && len(texts) > 0 {
		return r.refuse(x, "a list of texts and numbers is not compiled for events")
	}
	if len(nums) > 0 {
		return r.ns.numbersOf(nums)
	}
	return r.ns.textsOf(texts)
}

func (r *reader) listOf(x ast.Expr) *node {
	elems := x.AsList().Elements()
	if len(x.AsList().OptionalIndices()) > 0 {
		return r.refuse(x, "optional entries are not compiled for events")
	}
	kids := make([]*node, len(elems))
	constant := true
	for i, e := range elems {
		kids[i] = r.node(e)
		constant = constant && kids[i].constant()
		if kids[i].typ != kids[0].typ || kids[i].typ != textType && kids[i].typ != numberType {
			return r.refuse(x, "want a list of texts or of whole numbers")
		}
	}
	switch {
	case constant && len(kids) > 0 && kids[0].typ == numberType:
		nums := make([]int64, len(kids))
		for i, k := range kids {
			nums[i] = k.number
		}
		return r.ns.numbersOf(nums)
	case constant:
		texts := make([]string, len(kids))
		for i, k := range kids {
			texts[i] = k.text
		}
		return r.ns.textsOf(texts)
	}
	return r.ns.intern(&node{op: opList, typ: listType, kids: kids})
}

func (r *reader) ident(x ast.Expr, name string) *node {
	if n, ok := r.names[name]; ok {
		return n
	}
	switch name {
	case EventKind:
		return r.ns.intern(&node{op: opProcess, typ: partType, number: 2, text: "Event"})
	case "params":
		return r.refuse(x, "params is not a value; name one of its fields")
	case "now":
		return r.refuse(x, "now is the time of a scan; events have event.time and ages in seconds")
	}
	p, ok := r.c.vars[name]
	if !ok {
		return r.refuse(x, "%q is not compiled for events", name)
	}
	// A variable sees the variables before it, and no entry of a loop.
	inner := &reader{ns: r.ns, c: r.c, catalog: r.catalog, names: map[string]*node{}, made: r.made}
	for _, v := range r.c.policy.Variables {
		if n, ok := r.names[v.Name]; ok && n.loops == 0 {
			inner.names[v.Name] = n
		}
	}
	n, err := inner.read(p)
	r.made = inner.made
	if err != nil {
		panic(refusal{x, err.Error()})
	}
	if r.level == 0 {
		r.names[name] = n
	}
	return n
}

func (r *reader) selection(x ast.Expr) *node {
	sel := x.AsSelect()
	name := sel.FieldName()
	if op := sel.Operand(); op.Kind() == ast.IdentKind && op.AsIdent() == "params" {
		if sel.IsTestOnly() {
			return r.ns.flag(true)
		}
		return r.value(x, r.c.params[name])
	}
	on := r.node(sel.Operand())
	if on.typ == labelsType {
		key := r.ns.textOf(name)
		if sel.IsTestOnly() {
			return r.ns.intern(&node{op: opInLabels, typ: flagType, kids: []*node{key, on}})
		}
		return r.ns.intern(&node{op: opLabel, typ: textType, kids: []*node{on, key}})
	}
	o, ok := r.catalog.objects[r.typeOf(sel.Operand()).TypeName()]
	if !ok || on.typ != processType && on.typ != partType {
		return r.refuse(x, "fields of %s are not compiled for events", describeType(r.typeOf(sel.Operand())))
	}
	m := o.members[name]
	var kids []*node
	if on.typ == processType {
		kids = []*node{on}
	}
	if sel.IsTestOnly() {
		return r.ns.intern(&node{op: opHas, typ: flagType, kids: kids, member: m})
	}
	n := &node{op: opField, kids: kids, member: m}
	switch {
	case m.text != nil:
		n.typ = textType
	case m.number != nil:
		n.typ = numberType
	case m.flag != nil:
		n.typ = flagType
	case m.list != nil:
		n.typ = listType
	case m.labels != nil:
		n.typ = labelsType
	case m.chain:
		n.typ = chainType
	case m.moment != nil:
		return r.refuse(x, "times are not compiled for events; use the fields that count seconds")
	case m.name == "parent":
		n = &node{op: opParent, typ: processType, kids: kids}
	case m.name == "process":
		n = &node{op: opProcess, typ: processType, number: 0}
	case m.name == "target":
		n = &node{op: opProcess, typ: processType, number: 1}
	default:
		n = &node{op: opProcess, typ: partType, number: 2, text: m.object}
	}
	return r.ns.intern(n)
}

// comprehension reads what the macros exists, all, exists_one, filter and bind
// were expanded to.
func (r *reader) comprehension(x ast.Expr) *node {
	c := x.AsComprehension()
	if c.HasIterVar2() {
		return r.refuse(x, "loops over two variables are not compiled for events")
	}
	if c.IterRange().Kind() == ast.ListKind && c.IterRange().AsList().Size() == 0 && c.LoopCondition().Kind() == ast.LiteralKind {
		// cel.bind(name, value, body)
		v := r.node(c.AccuInit())
		return r.with(c.AccuVar(), v, func() *node { return r.node(c.Result()) })
	}
	word, body := "", ast.Expr(nil)
	step := c.LoopStep()
	if step.Kind() == ast.CallKind {
		args := step.AsCall().Args()
		switch fn := step.AsCall().FunctionName(); {
		case fn == operators.LogicalOr:
			word, body = "exists", args[1]
		case fn == operators.LogicalAnd:
			word, body = "all", args[1]
		case fn == operators.Conditional && c.AccuInit().Kind() == ast.LiteralKind:
			word, body = "one", args[0]
		}
	}
	if word == "" {
		return r.refuse(x, "filter and map are only compiled inside size(): use exists, all or exists_one")
	}
	return r.loop(x, opExists, word, c.IterRange(), c.IterVar(), body)
}

func (r *reader) with(name string, v *node, read func() *node) *node {
	old, had := r.names[name]
	r.names[name] = v
	n := read()
	if had {
		r.names[name] = old
	} else {
		delete(r.names, name)
	}
	return n
}

func (r *reader) loop(x ast.Expr, op nodeOp, word string, rangeOf ast.Expr, name string, body ast.Expr) *node {
	over := r.node(rangeOf)
	var entries []*node
	switch {
	case over.constant() && over.typ == listType:
		for _, t := range over.texts {
			entries = append(entries, r.ns.textOf(t))
		}
	case over.constant() && over.typ == numbersType:
		for _, v := range over.nums {
			entries = append(entries, r.ns.numberOf(v))
		}
	case over.op == opList:
		entries = over.kids
	case over.typ != listType && over.typ != chainType:
		return r.refuse(x, "only lists of texts and the ancestors of a process can be looped over")
	}
	if entries != nil || over.constant() {
		// A list that is written down: the loop is, too.
		kids := make([]*node, len(entries))
		for i, e := range entries {
			kids[i] = r.with(name, e, func() *node { return r.node(body) })
		}
		switch {
		case word == "exists":
			return r.ns.or(kids...)
		case word == "all":
			return r.ns.and(kids...)
		}
		return r.refuse(x, "exists_one and filter over a written-out list are not compiled for events")
	}
	if r.level == maxLoops {
		return r.refuse(x, "more than %d loops inside each other", maxLoops)
	}
	typ := textType
	if over.typ == chainType {
		typ = processType
	}
	entry := r.ns.intern(&node{op: opEntry, typ: typ, number: int64(r.level)})
	level := r.level
	r.level++
	n := r.with(name, entry, func() *node { return r.node(body) })
	r.level--
	return r.ns.loop(op, word, over, n, level)
}

// condition of a filter: size(list.filter(x, condition)).
func (r *reader) filter(x ast.Expr) *node {
	if x.Kind() != ast.ComprehensionKind {
		return nil
	}
	c := x.AsComprehension()
	step := c.LoopStep()
	if c.HasIterVar2() || c.AccuInit().Kind() != ast.ListKind || step.Kind() != ast.CallKind || step.AsCall().FunctionName() != operators.Conditional {
		return nil
	}
	then := step.AsCall().Args()[1]
	if then.Kind() != ast.CallKind || then.AsCall().FunctionName() != operators.Add {
		return nil
	}
	if added := then.AsCall().Args()[1]; added.Kind() != ast.ListKind || added.AsList().Size() != 1 || added.AsList().Elements()[0].Kind() != ast.IdentKind ||
		added.AsList().Elements()[0].AsIdent() != c.IterVar() {
		return nil // a map with a condition
	}
	return r.loop(x, opCount, "", c.IterRange(), c.IterVar(), step.AsCall().Args()[0])
}

func (r *reader) pattern(x ast.Expr, n *node) *regexp.Regexp {
	if !n.constant() {
		r.refuse(x, "the pattern must be written out or be a parameter")
	}
	re, err := regexp.Compile(n.text)
	if err != nil {
		r.refuse(x, "%v", err)
	}
	return re
}

// kindTest makes a mask of words compared with event.kind.
func (r *reader) kindTest(x ast.Expr, words []string) *node {
	mask := uint64(0)
	for _, w := range words {
		k, err := bollwerk.ParseEventKind(w)
		if err != nil && w != "unknown" {
			var all []string
			for i := 1; i < bollwerk.EventKinds; i++ {
				all = append(all, bollwerk.EventKind(i).String())
			}
			return r.refuse(x, "no event is of kind %q%s", w, didYouMean(nearest(w, all)))
		}
		mask |= 1 << k
	}
	return r.ns.kind(mask)
}

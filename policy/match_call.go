package policy

import (
	"slices"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
)

func (r *reader) call(x ast.Expr) *node {
	c := x.AsCall()
	name := c.FunctionName()
	var args []*node
	if name == "size" {
		inner := c.Target()
		if !c.IsMemberFunction() {
			inner = c.Args()[0]
		}
		if n := r.filter(inner); n != nil {
			return n
		}
	}
	if c.IsMemberFunction() {
		args = append(args, r.node(c.Target()))
	}
	for _, a := range c.Args() {
		args = append(args, r.node(a))
	}
	if n := r.operator(x, name, args); n != nil {
		return n
	}
	if n := r.function(x, name, args); n != nil {
		return n
	}
	return r.refuse(x, "%s is not compiled for events", name)
}

// operator reads what is written with signs.
func (r *reader) operator(x ast.Expr, name string, a []*node) *node {
	ns := r.ns
	switch name {
	case operators.LogicalAnd:
		return ns.and(a...)
	case operators.LogicalOr:
		return ns.or(a...)
	case operators.LogicalNot:
		return ns.not(a[0])
	case operators.Conditional:
		if a[1].typ != a[2].typ || a[1].typ > listType {
			return r.refuse(x, "both sides of ?: must be of one type: true or false, text, whole number, or list of texts")
		}
		return ns.choose(a[0], a[1], a[2])
	case operators.Equals:
		return r.equal(x, a[0], a[1])
	case operators.NotEquals:
		return ns.not(r.equal(x, a[0], a[1]))
	case operators.Less:
		return r.less(x, a[0], a[1])
	case operators.Greater:
		return r.less(x, a[1], a[0])
	case operators.LessEquals:
		return ns.not(r.less(x, a[1], a[0]))
	case operators.GreaterEquals:
		return ns.not(r.less(x, a[0], a[1]))
	case operators.In, operators.OldIn:
		return r.in(x, a[0], a[1])
	case operators.Index:
		if a[0].typ == labelsType {
			return ns.intern(&node{op: opLabel, typ: textType, kids: a})
		}
		return r.refuse(x, "a place in a list is not compiled for events, it may not be there; use exists, or event.process.parent.parent")
	case operators.Negate:
		if a[0].typ == numberType {
			return ns.make(&node{op: opSubtract, typ: numberType, kids: []*node{ns.numberOf(0), a[0]}})
		}
	case operators.Add:
		if a[0].typ == textType && a[1].typ == textType {
			return ns.make(&node{op: opJoin, typ: textType, kids: a})
		}
		if a[0].typ == listType && a[1].typ == listType && a[0].constant() && a[1].constant() {
			return ns.textsOf(slices.Concat(a[0].texts, a[1].texts))
		}
		return r.arithmetic(x, opAdd, a)
	case operators.Subtract:
		return r.arithmetic(x, opSubtract, a)
	case operators.Multiply:
		return r.arithmetic(x, opMultiply, a)
	case operators.Divide:
		return r.arithmetic(x, opDivide, a)
	case operators.Modulo:
		return r.arithmetic(x, opModulo, a)
	case "math.bitAnd":
		return r.arithmetic(x, opBitAnd, a)
	case "math.bitOr":
		return r.arithmetic(x, opBitOr, a)
	}
	return nil
}

func (r *reader) arithmetic(x ast.Expr, op nodeOp, a []*node) *node {
	if a[0].typ != numberType || a[1].typ != numberType {
		return r.refuse(x, "only whole numbers, texts and written-out lists can be added up for events")
	}
	if (op == opDivide || op == opModulo) && (!a[1].constant() || a[1].number == 0) {
		return r.refuse(x, "the divisor must be written out or be a parameter, and not be 0")
	}
	return r.ns.make(&node{op: op, typ: numberType, kids: a})
}

func (r *reader) equal(x ast.Expr, a, b *node) *node {
	if a.constant() && !b.constant() {
		a, b = b, a
	}
	switch {
	case a.typ != b.typ || a.typ > numberType:
		return r.refuse(x, "only texts, whole numbers and true or false are compared for events")
	case a.isKind() && b.constant():
		return r.kindTest(x, []string{b.text})
	case a == b:
		return r.ns.flag(true)
	case a.typ == flagType:
		switch {
		case b.isTrue():
			return a
		case b.isFalse():
			return r.ns.not(a)
		}
	case a.typ == textType && b.constant():
		return r.ns.inSet(a, []string{b.text})
	}
	return r.ns.make(&node{op: opEqual, typ: flagType, kids: []*node{a, b}})
}

func (r *reader) less(x ast.Expr, a, b *node) *node {
	if a.typ != b.typ || a.typ != numberType && a.typ != textType {
		return r.refuse(x, "only texts and whole numbers have an order for events")
	}
	return r.ns.make(&node{op: opLess, typ: flagType, kids: []*node{a, b}})
}

func (r *reader) in(x ast.Expr, a, list *node) *node {
	ns := r.ns
	switch {
	case list.constant() && len(list.texts)+len(list.nums) == 0 && (list.typ == listType || list.typ == numbersType):
		return ns.flag(false)
	case a.isKind() && list.constant() && list.typ == listType:
		return r.kindTest(x, list.texts)
	case a.typ == textType && list.constant() && list.typ == listType:
		return ns.inSet(a, list.texts)
	case a.typ == numberType && list.constant() && list.typ == numbersType:
		nums := slices.Clone(list.nums)
		slices.Sort(nums)
		return ns.make(&node{op: opInNumbers, typ: flagType, kids: []*node{a}, nums: slices.Compact(nums)})
	case list.op == opList:
		kids := make([]*node, len(list.kids))
		for i, k := range list.kids {
			kids[i] = r.equal(x, a, k)
		}
		return ns.or(kids...)
	case a.typ == textType && list.typ == listType:
		return ns.intern(&node{op: opInList, typ: flagType, kids: []*node{a, list}})
	case a.typ == textType && list.typ == labelsType:
		return ns.intern(&node{op: opInLabels, typ: flagType, kids: []*node{a, list}})
	}
	return r.refuse(x, "in looks for a text or a whole number in a list, or for a text in labels")
}

// function reads what is written with a name.
func (r *reader) function(x ast.Expr, name string, a []*node) *node {
	ns := r.ns
	flag := func(op nodeOp) *node { return ns.make(&node{op: op, typ: flagType, kids: a}) }
	texts := func(op nodeOp) *node {
		if !a[1].constant() {
			return r.refuse(x, "the list of %s must be written out or be a parameter", name)
		}
		list := slices.Clone(a[1].texts)
		slices.Sort(list)
		list = slices.Compact(list)
		if len(list) == 0 {
			return ns.flag(false)
		}
		return ns.make(&node{op: op, typ: flagType, kids: a[:1], texts: list})
	}
	isText := len(a) > 0 && a[0].typ == textType
	switch {
	case name == "size" && len(a) == 1:
		switch {
		case a[0].constant() && a[0].typ != textType:
			return ns.numberOf(a[0].number)
		case a[0].op == opList:
			return ns.numberOf(int64(len(a[0].kids)))
		case a[0].typ == textType || a[0].typ == listType || a[0].typ == labelsType || a[0].typ == chainType:
			return ns.make(&node{op: opSize, typ: numberType, kids: a})
		}
	case name == "contains" && isText:
		return flag(opContains)
	case name == "startsWith" && isText:
		return flag(opStarts)
	case name == "endsWith" && isText:
		return flag(opEnds)
	case name == "icontains":
		return flag(opIContains)
	case name == "glob":
		return flag(opGlob)
	case name == "matches" && isText:
		re := r.pattern(x, a[1])
		return ns.make(&node{op: opMatches, typ: flagType, kids: a[:1], text: a[1].text, re: re})
	case name == "containsAny":
		return texts(opContainsAny)
	case name == "startsWithAny":
		return texts(opStartsAny)
	case name == "endsWithAny":
		return texts(opEndsAny)
	case name == "globAny":
		return texts(opGlobAny)
	case name == "under":
		return texts(opUnder)
	case name == "inNetwork":
		nets, err := parseNetworks(a[1].texts)
		if err != nil {
			return r.refuse(x, "%v", err)
		}
		if !a[1].constant() {
			return r.refuse(x, "the list of %s must be written out or be a parameter", name)
		}
		return ns.make(&node{op: opInNetworks, typ: flagType, kids: a[:1], texts: a[1].texts, nets: nets})
	case name == "lowerAscii":
		return ns.make(&node{op: opLower, typ: textType, kids: a})
	case name == "string" && len(a) == 1:
		if isText {
			return a[0]
		}
		if a[0].typ == flagType || a[0].typ == numberType {
			return ns.make(&node{op: opText, typ: textType, kids: a})
		}
	case name == "int" && len(a) == 1 && a[0].typ == numberType:
		return a[0]
	case name == "enumerate" && a[0].typ == listType:
		return ns.intern(&node{op: opEnumerate, typ: textType, kids: a})
	case name == "plural":
		return ns.intern(&node{op: opPlural, typ: textType, kids: a})
	case name == "join" && len(a) == 1 && a[0].typ == listType:
		return ns.intern(&node{op: opJoin, typ: textType, kids: []*node{a[0], ns.textOf("")}})
	case name == "join" && len(a) == 2 && a[0].typ == listType && a[1].constant():
		return ns.intern(&node{op: opJoin, typ: textType, kids: a})
	}
	return nil
}

package falco

import (
	"fmt"
	"slices"
	"strings"
)

// Options say what this node knows beyond its events. The zero value is usable.
type Options struct {
	// Users are the host's own users by name (passwd(5)); nil: only root is known.
	Users map[string]uint32
	// Variables are the environment variables that the agent keeps of a program.
	Variables []string
}

// Bounds of one rule: how often macros may be laid open, and how many views of how
// many comparisons that may make.
const (
	maxSteps    = 200_000
	maxExpanded = 50_000 // values of lists
)

// translator turns one rule's condition into CEL.
type translator struct {
	d       *document
	options Options
	calls   map[string]bool // known names of calls
	macros  map[string]*expr
	at      place

	unseenCalls map[string]bool
	positive    bool // not inside a negation
	steps       int
	open        []string // macros being laid open
	err         error
}

func (t *translator) failf(line int, format string, args ...any) {
	if t.err == nil {
		t.err = fmt.Errorf("%s: %s", place{t.at.file, t.at.line + line}, fmt.Sprintf(format, args...))
	}
}

// truth asks the condition of a view.
func (t *translator) truth(e *expr, v *view) truth {
	if t.steps++; t.steps > maxSteps {
		t.failf(e.line, "the condition has more than %d parts, with its macros laid open", maxSteps)
	}
	if t.err != nil {
		return exactly(no)
	}
	switch e.op {
	case opAnd, opOr:
		ts := make([]truth, 0, len(e.kids))
		for _, k := range e.kids {
			x := t.truth(k, v)
			ts = append(ts, x)
			if x.exact() && (e.op == opAnd && x.lo.op == isFalse || e.op == opOr && x.lo.op == isTrue) {
				break
			}
		}
		return join(e.op, ts)
	case opNot:
		return t.negation(e.kids[0], v)
	case opMacro:
		return t.macro(e, v)
	}
	return t.comparison(e, v)
}

// negation is where exceptions stand: "and not (…)". An exception of which a part is
// not told is honoured only as far as it is known, so that the rule reports more, and
// says so. One of which nothing is told is a restriction: leaving it out would make
// another rule of it.
func (t *translator) negation(e *expr, v *view) truth {
	outer := t.positive
	t.positive = false
	x := t.truth(e, v)
	t.positive = outer
	if x.exact() || !outer || !x.seen {
		return x.not()
	}
	out := exactly(negate(x.lo))
	out.seen = true
	for _, g := range x.gaps {
		c := *g
		c.wider = true
		out.gaps = append(out.gaps, &c)
	}
	return out
}

func (t *translator) macro(e *expr, v *view) truth {
	if slices.Contains(t.open, e.name) {
		t.failf(e.line, "macro %s leads back to itself", clip(e.name))
		return exactly(no)
	}
	if len(t.open) > maxNesting {
		t.failf(e.line, "macros lead to macros more than %d deep", maxNesting)
		return exactly(no)
	}
	body, ok := t.macros[e.name]
	if !ok {
		texts := t.d.macros[e.name]
		if texts == nil {
			t.failf(e.line, "there is no macro %s; load the file that has it, too", clip(e.name))
			return exactly(no)
		}
		var err *syntaxError
		if body, err = parseCondition(joined(texts)); err != nil {
			t.err = fmt.Errorf("%s: macro %s: %s", place{texts[0].at.file, texts[0].at.line + err.line}, clip(e.name), err.msg)
			return exactly(no)
		}
		t.macros[e.name] = body
	}
	t.open = append(t.open, e.name)
	x := t.truth(body, v)
	t.open = t.open[:len(t.open)-1]
	return x
}

func joined(texts []text) string {
	s := make([]string, len(texts))
	for i, t := range texts {
		s[i] = t.value
	}
	return strings.Join(s, " ")
}

// words lays open the names of lists among values.
func (t *translator) words(e *expr) []string {
	var out []string
	var add func(w word, depth int)
	add = func(w word, depth int) {
		items, isList := t.d.lists[w.text]
		switch {
		case t.err != nil:
		case len(out) > maxExpanded:
			t.failf(e.line, "more than %d values in one list", maxExpanded)
		case !w.bare || !isList:
			out = append(out, w.text)
		case depth > maxNesting:
			t.failf(e.line, "list %s leads back to itself, or lists lead to lists more than %d deep", clip(w.text), maxNesting)
		default:
			for _, i := range items {
				if t.steps++; t.steps > maxSteps {
					t.failf(e.line, "more than %d values, with the lists laid open", maxSteps)
					return
				}
				add(unquote(i.value), depth+1)
			}
		}
	}
	for _, w := range e.right {
		if e.cmp != "in" && e.cmp != "intersects" && e.cmp != "pmatch" {
			w.bare = false
		}
		add(w, 0)
	}
	return out
}

// unquote reads an item of a list, which may carry quotes of its own.
func unquote(s string) word {
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		p := &parser{s: s}
		if w, ok := p.word(false); ok && p.pos == len(s) {
			return w
		}
	}
	return word{text: strings.TrimSpace(s), bare: true}
}

func (t *translator) comparison(e *expr, v *view) truth {
	words := t.words(e)
	if t.err != nil {
		return exactly(no)
	}
	if len(words) == 0 && e.cmp != "exists" && e.rfield == nil {
		return exactly(no) // an empty list
	}
	f := t.field(e.left, v)
	var a answer
	switch {
	case e.rfield != nil:
		a = t.twoFields(e, f, v)
	case len(e.left.transform) > 0:
		a = transformed(e.left, f, e.cmp, words)
	case e.cmp == "bcontains" || e.cmp == "bstartswith":
		if a = sure(no); !f.absent {
			a = unseen("bytes are not compared")
		}
	default:
		a = f.compare(e.cmp, slices.Clone(words))
	}
	x := truth{lo: a.lo, hi: a.hi, seen: a.gap == "" && a.lo.op != isTrue && a.lo.op != isFalse}
	if a.gap != "" {
		same := a.lo == a.hi
		x.gaps = []*gap{{what: asWritten(e), why: a.gap, line: e.line, wider: same && a.lo.op != isFalse}}
		// A part of an exception may be known although the whole is not.
		x.seen = same
	}
	return x
}

func asWritten(e *expr) string {
	s := e.left.String() + " " + e.cmp
	for i, w := range e.right {
		if i == 3 {
			return clip(s + " …")
		}
		s += " " + w.text
	}
	if e.rfield != nil {
		s += " " + e.rfield.String()
	}
	return clip(s)
}

// transformed compares a field that was changed before.
func transformed(o operand, f value, cmp string, words []string) answer {
	if f.absent {
		return sure(no)
	}
	if f.gap != "" {
		return unseen("%s", f.gap)
	}
	// What is innermost happens first.
	for i := len(o.transform) - 1; i >= 0; i-- {
		how := o.transform[i]
		if how == "val" {
			continue
		}
		if f.typ != isText || f.ask != nil {
			return unseen("%s is for texts that are told as such", how)
		}
		switch how {
		case "tolower":
			f.cel = f.cel + ".lowerAscii()"
		case "toupper":
			// Compared in small letters; a word that has such never equals.
			f.cel = f.cel + ".lowerAscii()"
			for j, w := range words {
				if w != strings.ToUpper(w) || !ascii(w) {
					if len(words) > 1 || cmp == "!=" {
						return unseen("a text in capital letters is compared with small ones")
					}
					return sure(no)
				}
				words[j] = lower(w)
			}
			if i != 0 || cmp == "glob" || cmp == "regex" {
				return unseen("toupper is only known as the last change")
			}
		case "basename":
			name := map[string]string{"event.file.path": "event.file.name", self + ".path": self + ".exe_name", self + ".parent.path": self + ".parent.exe_name"}[f.cel]
			if name == "" {
				return unseen("basename is known for paths of files and of executables")
			}
			f.cel = name
		case "len":
			f = value{typ: isNumber, cel: "size(" + f.cel + ")", present: f.present}
		default:
			return unseen("the transformer %s is not known", how)
		}
	}
	return f.compare(cmp, words)
}

// twoFields compares a field with another: proc.name = val(proc.pname).
func (t *translator) twoFields(e *expr, left value, v *view) answer {
	right := t.field(*e.rfield, v)
	if left.absent || right.absent {
		return sure(no)
	}
	for _, o := range append(slices.Clone(e.left.transform), e.rfield.transform...) {
		if o != "val" {
			return unseen("between two fields no transformer but val is known")
		}
	}
	if left.gap != "" {
		return unseen("%s", left.gap)
	}
	if right.gap != "" {
		return unseen("%s", right.gap)
	}
	if left.ask != nil || right.ask != nil || left.typ != right.typ || left.typ != isText && left.typ != isNumber || len(left.ends) > 1 || len(right.ends) > 1 {
		return unseen("these two fields cannot be compared with each other")
	}
	var n *node
	switch op := map[string]string{"=": "==", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}[e.cmp]; {
	case op != "":
		n = atom("%s %s %s", left.cel, op, right.cel)
	case left.typ == isText && e.cmp == "contains":
		n = atom("%s.contains(%s)", left.cel, right.cel)
	case left.typ == isText && e.cmp == "startswith":
		n = atom("%s.startsWith(%s)", left.cel, right.cel)
	case left.typ == isText && e.cmp == "endswith":
		n = atom("%s.endsWith(%s)", left.cel, right.cel)
	default:
		return unseen("%s is not known between two fields", e.cmp)
	}
	there := []*node{n}
	for _, p := range []*node{left.present, right.present} {
		if p != nil {
			there = append(there, p)
		}
	}
	slices.Reverse(there)
	return sure(both(there...))
}

package falco

import (
	"fmt"
	"strings"
)

// Bounds of one condition. The longest published one has 3 KiB and stands 6 deep.
const (
	maxNesting = 100
	maxParts   = 20_000
)

type exprOp uint8

const (
	opAnd exprOp = iota
	opOr
	opNot
	opMacro
	opCompare
)

// expr is a condition as written.
type expr struct {
	op   exprOp
	kids []*expr
	name string // of a macro
	line int

	left   operand
	cmp    string // =, !=, <, …, contains, in, exists, …
	right  []word
	rfield *operand // right-hand side that is a field: val(proc.pname)
}

// operand is a field with what is done to it.
type operand struct {
	field     string
	arg       string // between brackets
	hasArg    bool
	transform []string // outermost first: tolower, basename, …
}

func (o operand) String() string {
	s := o.field
	if o.hasArg {
		s += "[" + o.arg + "]"
	}
	for i := len(o.transform) - 1; i >= 0; i-- {
		s = o.transform[i] + "(" + s + ")"
	}
	return s
}

// word is a value; a bare one may be the name of a list.
type word struct {
	text string
	bare bool
}

type syntaxError struct {
	line int
	msg  string
}

func (e *syntaxError) Error() string { return e.msg }

type parser struct {
	s     string
	pos   int
	depth int
	parts int
	err   *syntaxError
}

// parseCondition reads Falco's condition language
// (https://falco.org/docs/concepts/rules/conditions/). Lines count from 0.
func parseCondition(s string) (*expr, *syntaxError) {
	p := &parser{s: strings.TrimRight(s, " \t\r\n\v\f")}
	e := p.or()
	if p.space(); p.err == nil && p.pos < len(p.s) {
		p.failf("%q is not expected here", clip(p.s[p.pos:]))
	}
	if p.err != nil {
		return nil, p.err
	}
	return e, nil
}

func (p *parser) line() int { return strings.Count(p.s[:min(p.pos, len(p.s))], "\n") }

func (p *parser) failf(format string, args ...any) {
	if p.err == nil {
		p.err = &syntaxError{p.line(), fmt.Sprintf(format, args...)}
	}
}

func isSpace(c byte) bool {
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f'
}

func (p *parser) space() {
	for p.pos < len(p.s) && isSpace(p.s[p.pos]) {
		p.pos++
	}
}

func isWord(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// keyword takes a whole word if it is the next one.
func (p *parser) keyword(k string) bool {
	p.space()
	if !strings.HasPrefix(p.s[p.pos:], k) {
		return false
	}
	end := p.pos + len(k)
	if end < len(p.s) && (isWord(p.s[end]) || p.s[end] == '.' || p.s[end] == '-') {
		return false
	}
	p.pos = end
	return true
}

func (p *parser) sign(c string) bool {
	p.space()
	if strings.HasPrefix(p.s[p.pos:], c) {
		p.pos += len(c)
		return true
	}
	return false
}

func (p *parser) or() *expr {
	if p.depth++; p.depth > maxNesting {
		p.failf("nested deeper than %d", maxNesting)
	}
	defer func() { p.depth-- }()
	return p.chain(opOr, "or", p.and)
}

func (p *parser) and() *expr { return p.chain(opAnd, "and", p.not) }

func (p *parser) chain(op exprOp, word string, next func() *expr) *expr {
	if p.err != nil {
		return nil
	}
	kids := []*expr{next()}
	for p.err == nil && p.keyword(word) {
		kids = append(kids, next())
	}
	if len(kids) == 1 {
		return kids[0]
	}
	return &expr{op: op, kids: kids}
}

func (p *parser) not() *expr {
	negate := false
	for p.err == nil && p.keyword("not") {
		negate = !negate
	}
	e := p.primary()
	if negate && p.err == nil {
		return &expr{op: opNot, kids: []*expr{e}, line: e.line}
	}
	return e
}

func (p *parser) primary() *expr {
	if p.err != nil {
		return nil
	}
	if p.parts++; p.parts > maxParts {
		p.failf("more than %d parts", maxParts)
		return nil
	}
	if p.sign("(") {
		e := p.or()
		if !p.sign(")") {
			p.failf("a ) is missing")
		}
		return e
	}
	line := p.line()
	o, macro := p.operand(0)
	if p.err != nil {
		return nil
	}
	if macro {
		return &expr{op: opMacro, name: o.field, line: line}
	}
	e := &expr{op: opCompare, left: o, line: line}
	e.cmp = p.operator()
	switch e.cmp {
	case "":
		p.failf("%s: a comparison is missing: =, in, contains, startswith, exists, …", clip(o.String()))
	case "exists":
	case "in", "intersects", "pmatch":
		e.right = p.words(e.cmp)
	default:
		p.right(e)
	}
	return e
}

var transformers = map[string]bool{"tolower": true, "toupper": true, "b64": true, "basename": true, "len": true, "val": true, "concat": true, "join": true}

// operand reads a field, or the name of a macro: a name without a dot.
func (p *parser) operand(depth int) (o operand, macro bool) {
	p.space()
	if depth > 8 {
		p.failf("more than 8 transformers inside each other")
		return o, false
	}
	start := p.pos
	for p.pos < len(p.s) && (isWord(p.s[p.pos]) || p.s[p.pos] == '.') {
		p.pos++
	}
	name := p.s[start:p.pos]
	if name == "" || !strings.ContainsRune(name, '.') && (name == "and" || name == "or" || name == "not" || name == "in") {
		p.pos = start
		rest := "the end"
		if start < len(p.s) {
			rest = fmt.Sprintf("%q", clip(p.s[start:]))
		}
		p.failf("want a field or a macro, got %s", rest)
		return o, false
	}
	if transformers[name] && p.sign("(") {
		o, macro = p.operand(depth + 1)
		if p.err == nil && macro {
			p.failf("%s(…): want a field, got %s", name, clip(o.field))
		}
		if !p.sign(")") {
			p.failf("%s(…): a ) is missing", name)
		}
		o.transform = append([]string{name}, o.transform...)
		return o, false
	}
	o.field = name
	if p.pos < len(p.s) && p.s[p.pos] == '[' {
		end := p.bracket()
		if end < 0 {
			p.failf("%s[: a ] is missing", clip(name))
			return o, false
		}
		o.arg, o.hasArg = strings.Trim(p.s[p.pos+1:end], `"'`), true
		p.pos = end + 1
	}
	return o, !strings.ContainsRune(name, '.')
}

// bracket finds the end of a field's argument, which may be quoted.
func (p *parser) bracket() int {
	i := p.pos + 1
	if i < len(p.s) && (p.s[i] == '"' || p.s[i] == '\'') {
		if end := strings.IndexByte(p.s[i+1:], p.s[i]); end >= 0 {
			i += end + 2
		}
	}
	if end := strings.IndexByte(p.s[min(i, len(p.s)):], ']'); end >= 0 {
		return i + end
	}
	return -1
}

var signs = []string{"==", "!=", "<=", ">=", "=", "<", ">"}

var wordOperators = []string{"contains", "icontains", "bcontains", "startswith", "bstartswith", "istartswith", "endswith", "iendswith", "glob", "iglob", "regex", "in",
	"intersects", "pmatch", "exists"}

func (p *parser) operator() string {
	for _, s := range signs {
		if p.sign(s) {
			if s == "==" {
				return "="
			}
			return s
		}
	}
	for _, w := range wordOperators {
		if p.keyword(w) {
			return w
		}
	}
	return ""
}

// right reads one value, or a field in val().
func (p *parser) right(e *expr) {
	p.space()
	start := p.pos
	for p.pos < len(p.s) && isWord(p.s[p.pos]) {
		p.pos++
	}
	name := p.s[start:p.pos]
	if transformers[name] && p.pos < len(p.s) && p.s[p.pos] == '(' {
		p.pos = start
		o, _ := p.operand(0)
		e.rfield = &o
		return
	}
	p.pos = start
	if w, ok := p.word(false); ok {
		e.right = []word{w}
	} else if p.err == nil {
		p.failf("%s %s: a value is missing", clip(e.left.String()), e.cmp)
	}
}

// words reads (a, b, "c"), or the bare name of a list.
func (p *parser) words(op string) []word {
	if !p.sign("(") {
		w, ok := p.word(false)
		if !ok {
			p.failf("%s: a list in parentheses is missing", op)
		}
		return []word{w}
	}
	var out []word
	for p.err == nil {
		if p.sign(")") {
			return out
		}
		w, ok := p.word(true)
		if !ok {
			p.failf("%s (…: a ) is missing", op)
			break
		}
		if out = append(out, w); len(out) > maxParts {
			p.failf("%s (…: more than %d values", op, maxParts)
		}
		if p.sign(",") {
			continue
		}
		if !p.sign(")") {
			p.failf("%s (…: want , or ) after %q", op, clip(w.text))
		}
		return out
	}
	return out
}

// word reads a quoted or a bare value. A bare one ends at space, parenthesis, quote,
// comma or =.
func (p *parser) word(inList bool) (word, bool) {
	p.space()
	if p.pos >= len(p.s) {
		return word{}, false
	}
	if q := p.s[p.pos]; q == '"' || q == '\'' {
		var b strings.Builder
		for i := p.pos + 1; i < len(p.s); i++ {
			switch c := p.s[i]; {
			case c == '\\' && i+1 < len(p.s):
				i++
				b.WriteString(unescape(p.s[i]))
			case c == q:
				p.pos = i + 1
				return word{text: b.String()}, true
			default:
				b.WriteByte(c)
			}
		}
		p.failf("a closing %c is missing", q)
		return word{}, false
	}
	start := p.pos
	for p.pos < len(p.s) && !isSpace(p.s[p.pos]) && !strings.ContainsRune(`()"',=`, rune(p.s[p.pos])) {
		p.pos++
	}
	return word{p.s[start:p.pos], true}, p.pos > start
}

func unescape(c byte) string {
	switch c {
	case 'b':
		return "\b"
	case 'f':
		return "\f"
	case 'n':
		return "\n"
	case 'r':
		return "\r"
	case 't':
		return "\t"
	case '"', '\'', '\\':
		return string(rune(c))
	}
	return "\\" + string([]byte{c})
}

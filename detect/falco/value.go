package falco

import (
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

type valueType uint8

const (
	isText valueType = iota
	isNumber
	isFlag
	isMany    // several texts, of which one must do: the ancestors, capabilities
	isAddress // of one or both ends of a connection
)

// value is what a field of Falco is here, for one view.
type value struct {
	typ valueType
	// cel is the field; with isMany a text in which the entry is called x, over names the list.
	cel  string
	over string
	// ends are the fields of both ends, of an address or port that may be either's.
	ends []string
	// present is when the field has a value; nil: always. A comparison with what has
	// none does not hold, in Falco, not even !=.
	present *node
	// ask, where a field needs more than a comparison.
	ask func(cmp string, words []string) answer
	// out prints it; "" as cel.
	out string
	// gap: the events do not tell it, for this reason.
	gap string
	// absent: such events have no such field, in Falco either.
	absent bool
}

// answer is a comparison: a node, or why there is none. lo and hi differ where only
// some cases are known.
type answer struct {
	lo, hi *node
	gap    string
}

func sure(n *node) answer { return answer{lo: n, hi: n} }
func unseen(format string, args ...any) answer {
	return answer{lo: no, hi: yes, gap: fmt.Sprintf(format, args...)}
}
func textValue(cel string) value                      { return value{cel: cel} }
func numberValue(cel string) value                    { return value{typ: isNumber, cel: cel} }
func flagValue(cel string) value                      { return value{typ: isFlag, cel: cel} }
func notTold(format string, args ...any) value        { return value{gap: fmt.Sprintf(format, args...)} }
func (v value) if_(present *node) value               { v.present = present; return v }
func (v value) printed(format string, a ...any) value { v.out = fmt.Sprintf(format, a...); return v }

var absent = value{absent: true}

// fixed is a field that has one value for all events of a view.
func fixed(text string) value {
	return value{out: quote(text), ask: func(cmp string, words []string) answer {
		if a, ok := compareFixed(text, cmp, words); ok {
			return sure(constant(a))
		}
		return unseen("the comparison %s is not known for it", cmp)
	}}
}

func compareFixed(s, cmp string, words []string) (holds, known bool) {
	one := func(f func(w string) bool) (bool, bool) {
		for _, w := range words {
			if f(w) {
				return true, true
			}
		}
		return false, true
	}
	switch cmp {
	case "exists":
		return true, true
	case "=", "in", "intersects":
		return one(func(w string) bool { return w == s })
	case "!=":
		return len(words) == 1 && words[0] != s, true
	case "contains":
		return one(func(w string) bool { return strings.Contains(s, w) })
	case "icontains":
		return one(func(w string) bool { return strings.Contains(strings.ToLower(s), strings.ToLower(w)) })
	case "startswith":
		return one(func(w string) bool { return strings.HasPrefix(s, w) })
	case "endswith":
		return one(func(w string) bool { return strings.HasSuffix(s, w) })
	}
	return false, false
}

// compare asks a value. A field with transformers was made into one before.
func (v value) compare(cmp string, words []string) answer {
	switch {
	case v.absent:
		return sure(no)
	case v.gap != "":
		return unseen("%s", v.gap)
	case v.ask != nil:
		return v.ask(cmp, words)
	}
	a := answer{}
	switch v.typ {
	case isText:
		a = compareText(v.cel, cmp, words)
	case isMany:
		if cmp == "exists" {
			return sure(atom("size(%s) > 0", v.over))
		}
		if a = compareText(v.cel, cmp, words); a.gap == "" && a.lo.op != isFalse && a.lo.op != isTrue {
			return sure(atom("%s.exists(x, %s)", v.over, a.lo))
		}
		return a
	case isNumber:
		a = v.compareNumber(cmp, words)
	case isFlag:
		a = compareFlag(v.cel, cmp, words)
	case isAddress:
		a = v.compareAddress(cmp, words)
	}
	if v.present == nil || a.gap != "" && a.lo.op == isFalse && a.hi.op == isTrue {
		return a
	}
	if cmp == "exists" {
		return sure(v.present)
	}
	// An equality with something that is not the empty value says by itself that there
	// is one; everything else needs to ask.
	if v.typ == isText && (cmp == "=" || cmp == "in" || cmp == "startswith" || cmp == "endswith" || cmp == "contains" || cmp == "icontains") {
		for _, w := range words {
			if w == "" {
				return answer{lo: both(v.present, a.lo), hi: both(v.present, a.hi), gap: a.gap}
			}
		}
		return a
	}
	return answer{lo: both(v.present, a.lo), hi: both(v.present, a.hi), gap: a.gap}
}

func compareText(cel, cmp string, words []string) answer {
	if cmp == "exists" {
		return sure(atom(`%s != ""`, cel))
	}
	if len(words) == 0 {
		return sure(no)
	}
	w := words[0]
	call := func(name string) answer { return sure(atom("%s.%s(%s)", cel, name, quote(w))) }
	switch cmp {
	case "=":
		return sure(atom("%s == %s", cel, quote(w)))
	case "!=":
		return sure(atom("%s != %s", cel, quote(w)))
	case "in", "intersects":
		return sure(atom("%s in %s", cel, quoteAll(words)))
	case "contains":
		return call("contains")
	case "icontains":
		if !ascii(w) {
			return unseen("letters other than those of ASCII are not compared without regard to case")
		}
		return call("icontains")
	case "startswith":
		return call("startsWith")
	case "endswith":
		return call("endsWith")
	case "glob":
		if !plainGlob(w) {
			return unseen("of patterns only * and ? are known")
		}
		return call("glob")
	case "iglob":
		if !plainGlob(w) || !ascii(w) {
			return unseen("of patterns only * and ? are known")
		}
		return sure(atom("%s.lowerAscii().glob(%s)", cel, quote(lower(w))))
	case "istartswith", "iendswith":
		if !ascii(w) {
			return unseen("letters other than those of ASCII are not compared without regard to case")
		}
		return sure(atom("%s.lowerAscii().%s(%s)", cel, map[string]string{"istartswith": "startsWith", "iendswith": "endsWith"}[cmp], quote(lower(w))))
	case "regex":
		// The whole text must match, as RE2::FullMatch has it.
		pattern := "^(?:" + w + ")$"
		if _, err := regexp.Compile(pattern); err != nil || len(w) > 4096 {
			return unseen("the pattern is not one of RE2")
		}
		return sure(atom("%s.matches(%s)", cel, quote(pattern)))
	case "pmatch":
		return pathMatch(cel, words)
	}
	return unseen("texts have no order")
}

// pathMatch: one of the words is the path or a folder on the way to it.
func pathMatch(cel string, words []string) answer {
	var folders, patterns []string
	for _, w := range words {
		w = strings.TrimSuffix(w, "/")
		switch {
		case w == "":
			folders = append(folders, "/")
		case !strings.ContainsAny(w, "*?["):
			folders = append(folders, w)
		case plainGlob(w):
			patterns = append(patterns, w, w+"/*")
		default:
			return unseen("of patterns only * and ? are known")
		}
	}
	var kids []*node
	if len(folders) > 0 {
		kids = append(kids, atom("%s.under(%s)", cel, quoteAll(folders)))
	}
	if len(patterns) > 0 {
		kids = append(kids, atom("%s.globAny(%s)", cel, quoteAll(patterns)))
	}
	return sure(either(kids...))
}

// plainGlob: no classes, no escapes and none of fnmatch's extended patterns.
func plainGlob(s string) bool {
	if strings.ContainsAny(s, `[\`) {
		return false
	}
	for _, c := range []string{"?(", "*(", "+(", "@(", "!("} {
		if strings.Contains(s, c) {
			return false
		}
	}
	return true
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// lower makes small letters of the capital ones of ASCII.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

func parseNumber(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 0, 64)
	if err != nil {
		if u, uerr := strconv.ParseUint(s, 0, 64); uerr == nil && u > math.MaxInt64 {
			return 0, false
		}
		n, err = strconv.ParseInt(s, 10, 64)
	}
	return n, err == nil && n > math.MinInt64
}

func parseNumbers(words []string) (out []string, bad string) {
	for _, w := range words {
		n, ok := parseNumber(w)
		if !ok {
			return nil, w
		}
		out = append(out, strconv.FormatInt(n, 10))
	}
	return out, ""
}

func (v value) compareNumber(cmp string, words []string) answer {
	if cmp == "exists" {
		return sure(yes)
	}
	nums, bad := parseNumbers(words)
	if bad != "" {
		return unseen("%q is not a number", clip(bad))
	}
	if len(nums) == 0 {
		return sure(no)
	}
	if len(v.ends) == 0 {
		v.ends = []string{v.cel}
	}
	var kids []*node
	for _, end := range v.ends {
		switch cmp {
		case "=":
			kids = append(kids, atom("%s == %s", end, nums[0]))
		case "!=":
			kids = append(kids, atom("%s != %s", end, nums[0]))
		case "<", "<=", ">", ">=":
			kids = append(kids, atom("%s %s %s", end, cmp, nums[0]))
		case "in", "intersects":
			kids = append(kids, atom("%s in [%s]", end, strings.Join(nums, ", ")))
		default:
			return unseen("%s is for texts", cmp)
		}
	}
	if cmp == "!=" {
		return sure(both(kids...))
	}
	return sure(either(kids...))
}

func compareFlag(cel, cmp string, words []string) answer {
	if cmp == "exists" {
		return sure(yes)
	}
	var kids []*node
	for _, w := range words {
		switch strings.ToLower(w) {
		case "true", "1":
			kids = append(kids, atom("%s", cel))
		case "false", "0":
			kids = append(kids, negate(atom("%s", cel)))
		default:
			kids = append(kids, no)
		}
	}
	n := either(kids...)
	switch cmp {
	case "=", "in", "intersects":
		return sure(n)
	case "!=":
		return sure(negate(n))
	}
	return unseen("%s is not for true and false", cmp)
}

// anyAddress holds of every address, and not of an end that has none.
func anyAddress(cel string) *node { return atom(`%s.inNetwork(["0.0.0.0/0", "::/0"])`, cel) }

func (v value) compareAddress(cmp string, words []string) answer {
	var there []*node
	for _, end := range v.ends {
		there = append(there, anyAddress(end))
	}
	if cmp == "exists" {
		return sure(either(there...))
	}
	var nets []string
	for _, w := range words {
		if p, err := netip.ParsePrefix(w); err == nil {
			nets = append(nets, p.String())
		} else if a, err := netip.ParseAddr(w); err == nil && a.Zone() == "" {
			nets = append(nets, a.Unmap().String())
		} else {
			return unseen("%q is neither an address nor a network", clip(w))
		}
	}
	if len(nets) == 0 {
		return sure(no)
	}
	var kids []*node
	for _, end := range v.ends {
		kids = append(kids, atom("%s.inNetwork(%s)", end, quoteAll(nets)))
	}
	switch cmp {
	case "=", "in", "intersects":
		return sure(either(kids...))
	case "!=":
		return sure(both(either(there...), negate(either(kids...))))
	}
	return unseen("%s is not for addresses", cmp)
}

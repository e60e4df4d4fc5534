package falco

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// shape writes the logic of a rule as a condition in Falco's language, with macros, lists and
// exceptions laid open: its fields, comparisons and system calls. What its authors chose, the
// names and paths that it looks for, is replaced by placeholders of the same kind.
func shape(t *testing.T, d *document, r *rawRule) string {
	t.Helper()
	tr := &shaper{translator: &translator{d: d, macros: map[string]*expr{}, positive: true, at: r.at}, places: map[string]string{}, names: map[string]string{}}
	e, err := tr.condition(r)
	if err != nil {
		t.Fatal(err)
	}
	tr.shape(e, opMacro)
	tr.writing = true
	s := tr.shape(e, opMacro)
	if tr.err != nil {
		t.Fatal(tr.err)
	}
	return s
}

// shaper goes through a condition twice: values that stand in the same comparisons get the same
// placeholder, so that what excludes or includes what stays as it is.
type shaper struct {
	*translator
	writing bool
	places  map[string]string // by value: the comparisons it stands in
	names   map[string]string // by these: the number of the placeholder
}

// word is the placeholder of a value of a comparison.
func (t *shaper) word(e *expr, w string) string {
	form, free := placeholder(e, w)
	if !free {
		return form
	}
	if !t.writing {
		if at := fmt.Sprintf("%p ", e); !strings.Contains(t.places[form+w], at) {
			t.places[form+w] += at
		}
		return ""
	}
	key := form + "\x00" + t.places[form+w]
	if t.names[key] == "" {
		t.names[key] = fmt.Sprint(len(t.names) + 1)
	}
	return strings.Replace(form, "#", t.names[key], 1)
}

// shape of a part that stands within one of the operation outer.
func (t *shaper) shape(e *expr, outer exprOp) string {
	switch e.op {
	case opAnd, opOr:
		var parts []string
		for _, k := range t.flat(e, e.op, nil) {
			if s := t.shape(k, e.op); !slices.Contains(parts, s) {
				parts = append(parts, s)
			}
		}
		if len(parts) == 1 {
			return parts[0]
		}
		word := map[exprOp]string{opAnd: " and ", opOr: " or "}[e.op]
		if outer == opMacro {
			return strings.Join(parts, word)
		}
		return "(" + strings.Join(parts, word) + ")"
	case opNot:
		s := t.shape(e.kids[0], opNot)
		if strings.HasPrefix(s, "(") {
			return "not " + s
		}
		return "not (" + s + ")"
	case opMacro:
		if b := t.body(e); b != nil {
			return t.shape(b, outer)
		}
		return ""
	}
	left := e.left.String()
	if strings.HasPrefix(e.left.field, "container.mount.dest") && e.left.hasArg {
		left = "container.mount.dest[/x]"
	}
	switch {
	case e.cmp == "exists":
		return left + " exists"
	case e.rfield != nil:
		return left + " " + e.cmp + " " + e.rfield.String()
	}
	var words []string
	for _, w := range t.words(e) {
		if w = t.word(e, w); !slices.Contains(words, w) {
			words = append(words, w)
		}
	}
	if e.cmp == "in" || e.cmp == "intersects" || e.cmp == "pmatch" {
		return left + " " + e.cmp + " (" + strings.Join(words, ", ") + ")"
	}
	if len(words) != 1 {
		t.failf(e.line, "%d values for %s", len(words), e.cmp)
		return ""
	}
	return left + " " + e.cmp + " " + words[0]
}

// flat are the parts of a chain of one operation, macros that are such chains included.
func (t *shaper) flat(e *expr, op exprOp, out []*expr) []*expr {
	for _, k := range e.kids {
		b := k
		for n := 0; b != nil && b.op == opMacro && n < maxNesting; n++ {
			b = t.body(b)
		}
		if b != nil && b.op == op {
			out = t.flat(b, op, out)
		} else if b != nil {
			out = append(out, b)
		}
	}
	return out
}

func (t *shaper) body(e *expr) *expr {
	if t.macros[e.name] == nil {
		body, err := parseCondition(joined(t.d.macros[e.name]))
		if err != nil {
			t.failf(e.line, "macro %s: %v", e.name, err)
			return nil
		}
		t.macros[e.name] = body
	}
	return t.macros[e.name]
}

var (
	systemWord = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)
	network    = regexp.MustCompile(`^"?[0-9a-f]*[.:][0-9a-f.:]*[.:][0-9a-f.:]*(/[0-9]+)?"?$`)
	figure     = regexp.MustCompile(`^-?[0-9]+$`)
)

// placeholder is the form of a value, with # where the number goes: free is false of what stays.
// These are words of the system: calls, flags, capabilities, variables, figures, root, and those by
// which Falco says that there is nothing.
func placeholder(e *expr, w string) (form string, free bool) {
	field := e.left.field
	quoted := fmt.Sprintf("%q", w)
	switch {
	case strings.HasPrefix(field, "evt."), strings.HasPrefix(field, "proc.env"), strings.HasPrefix(field, "thread.cap"):
		if systemWord.MatchString(w) || figure.MatchString(w) || field == "evt.type" || field == "evt.dir" {
			return quoted, false
		}
	case strings.HasPrefix(field, "fd.type"), field == "fd.sockfamily", field == "fd.l4proto", field == "container.type":
		return quoted, false
	case strings.HasSuffix(field, "port"):
		return "#", true
	}
	switch w {
	case "", "true", "false", "root", "daemon", "nobody", "host", "<NA>", "N/A":
		return quoted, false
	}
	switch {
	case figure.MatchString(w):
		return quoted, false
	case network.MatchString(w) && strings.ContainsRune(w, '/'):
		return `"192.0.#.0/24"`, true
	case network.MatchString(w):
		return `"192.0.2.#"`, true
	}
	x := "x#"
	if strings.HasPrefix(w, "/") {
		x = "/x#"
	}
	if strings.HasSuffix(w, "/") && len(w) > 1 {
		x += "/"
	}
	if strings.Contains(w, " ") {
		x += " y"
	}
	if strings.HasPrefix(field, "fd.") && strings.Contains(field, "ip.name") {
		x += ".example"
	}
	if strings.Contains(e.cmp, "glob") {
		if strings.HasPrefix(w, "*") {
			x = "*" + x
		}
		if strings.HasSuffix(w, "*") {
			x += "*"
		}
	}
	return fmt.Sprintf("%q", x), true
}

package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"

	"github.com/bollwerk/bollwerk"
)

// JSON writes the contract of docs/result.schema.json: the fields in the order of
// bollwerk.Result, lists element by element (a result with 100,000 packages is
// never held a second time), no list ever null.
func JSON(w io.Writer, r *bollwerk.Result, _ Options) error {
	e := newElements(w)
	v := reflect.ValueOf(r).Elem()
	t := v.Type()
	e.string("{")
	first := true
	for i := range t.NumField() {
		name, options, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name == "-" || name == "" {
			continue
		}
		f := v.Field(i)
		if options == "omitempty" && f.IsZero() {
			continue
		}
		sep := ",\n  "
		if first {
			sep, first = "\n  ", false
		}
		e.string(sep + strconv.Quote(name) + ": ")
		if f.Kind() == reflect.Slice {
			e.list(f)
		} else {
			e.value(f.Addr().Interface())
		}
		if e.err != nil {
			return fmt.Errorf("json: %s: %w", name, e.err)
		}
	}
	e.string("\n}\n")
	return e.err
}

// elements writes JSON values one by one through one buffer. Each element of a
// list stands on a line of its own: the file can be compared line by line, and
// indenting it would cost more time than encoding it.
type elements struct {
	w   io.Writer
	b   bytes.Buffer
	enc *json.Encoder
	err error
}

func newElements(w io.Writer) *elements {
	e := &elements{w: w}
	e.enc = json.NewEncoder(&e.b)
	// The file is read by programs; "\u003e" in every reason helps none of them.
	e.enc.SetEscapeHTML(false)
	return e
}

func (e *elements) string(s string) {
	if e.err == nil {
		_, e.err = io.WriteString(e.w, s)
	}
}

func (e *elements) list(f reflect.Value) {
	if f.Len() == 0 {
		e.string("[]")
		return
	}
	for i := range f.Len() {
		if i == 0 {
			e.string("[\n    ")
		} else {
			e.string(",\n    ")
		}
		if e.value(f.Index(i).Addr().Interface()); e.err != nil {
			return
		}
	}
	e.string("\n  ]")
}

// value writes what the pointer v points to.
func (e *elements) value(v any) {
	if e.err != nil {
		return
	}
	e.b.Reset()
	if e.err = e.enc.Encode(withoutNull(v)); e.err == nil {
		_, e.err = e.w.Write(bytes.TrimSuffix(e.b.Bytes(), []byte("\n")))
	}
}

// withoutNull returns v, or a copy of it whose required lists and maps are empty
// instead of nil. What v points to stays as it is.
func withoutNull(v any) any {
	switch x := v.(type) {
	case *bollwerk.Finding:
		if x.Aliases == nil || x.FixedIn == nil {
			c := *x
			if c.Aliases == nil {
				c.Aliases = []string{}
			}
			if c.FixedIn == nil {
				c.FixedIn = []string{}
			}
			return &c
		}
	case *bollwerk.Action:
		if x.Removes == nil {
			c := *x
			c.Removes = []bollwerk.FindingID{}
			return &c
		}
	case *bollwerk.Artifact:
		if x.BaseImage != nil && x.BaseImage.Layers == nil {
			c, base := *x, *x.BaseImage
			base.Layers = []bollwerk.Digest{}
			c.BaseImage = &base
			return &c
		}
	case *bollwerk.Summary:
		c := *x
		for _, m := range []*map[string]int{&c.BySeverity, &c.ByKind, &c.ByPriority} {
			if *m == nil {
				*m = map[string]int{}
			}
		}
		return &c
	}
	return v
}

package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/bollwerk/bollwerk"
)

// JSON writes the contract of docs/result.schema.json: the fields in the order of
// bollwerk.Result, lists element by element (a result with 100,000 packages is
// never held a second time), no list ever null.
func JSON(w io.Writer, r *bollwerk.Result, _ Options) error {
	v := reflect.ValueOf(*r)
	t := v.Type()
	if _, err := io.WriteString(w, "{"); err != nil {
		return err
	}
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
		if _, err := fmt.Fprintf(w, "%s%q: ", sep, name); err != nil {
			return err
		}
		if err := writeField(w, f); err != nil {
			return fmt.Errorf("json: %s: %w", name, err)
		}
	}
	_, err := io.WriteString(w, "\n}\n")
	return err
}

func writeField(w io.Writer, f reflect.Value) error {
	if f.Kind() != reflect.Slice {
		return writeValue(w, f.Interface(), "  ")
	}
	if f.Len() == 0 {
		_, err := io.WriteString(w, "[]")
		return err
	}
	for i := range f.Len() {
		sep := ",\n    "
		if i == 0 {
			sep = "[\n    "
		}
		if _, err := io.WriteString(w, sep); err != nil {
			return err
		}
		if err := writeValue(w, f.Index(i).Interface(), "    "); err != nil {
			return fmt.Errorf("%d: %w", i, err)
		}
	}
	_, err := io.WriteString(w, "\n  ]")
	return err
}

func writeValue(w io.Writer, v any, prefix string) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	// The file is read by programs; "\u003e" in every reason helps none of them.
	enc.SetEscapeHTML(false)
	enc.SetIndent(prefix, "  ")
	if err := enc.Encode(withoutNull(v)); err != nil {
		return err
	}
	_, err := w.Write(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
	return err
}

// withoutNull returns v with its required lists and maps made empty instead of
// nil. It changes copies only.
func withoutNull(v any) any {
	switch x := v.(type) {
	case bollwerk.Finding:
		if x.Aliases == nil {
			x.Aliases = []string{}
		}
		if x.FixedIn == nil {
			x.FixedIn = []string{}
		}
		return x
	case bollwerk.Action:
		if x.Removes == nil {
			x.Removes = []bollwerk.FindingID{}
		}
		return x
	case bollwerk.Artifact:
		if x.BaseImage != nil && x.BaseImage.Layers == nil {
			base := *x.BaseImage
			base.Layers = []bollwerk.Digest{}
			x.BaseImage = &base
		}
		return x
	case bollwerk.Summary:
		for _, m := range []*map[string]int{&x.BySeverity, &x.ByKind, &x.ByPriority} {
			if *m == nil {
				*m = map[string]int{}
			}
		}
		return x
	}
	return v
}

package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Bounds of one subject. The greatest honest ones are images with some 50,000
// packages of ten fields each.
const (
	maxSubjectBytes  = 256 << 20 // JSON of a typed struct
	maxSubjectValues = 5_000_000
	maxSubjectDepth  = 64
)

// conformer turns a value from outside into the form CEL reads without further
// conversion: nil is dropped, whole numbers become int64, times and durations
// are parsed, and a field the schema does not know is an error with a suggestion.
type conformer struct {
	values int
}

// conform checks v against t. The path names the value in errors.
func (c *conformer) conform(v any, t Type, path string, depth int) (any, error) {
	c.values++
	if c.values > maxSubjectValues {
		return nil, fmt.Errorf("%s: more than %d values", path, maxSubjectValues)
	}
	if depth > maxSubjectDepth {
		return nil, fmt.Errorf("%s: nested deeper than %d", path, maxSubjectDepth)
	}
	wrong := func() error { return fmt.Errorf("%s: want %s, got %s", path, t, describeValue(v)) }
	switch t.kind {
	case textKind:
		if s, ok := v.(string); ok {
			return s, nil
		}
		return nil, wrong()
	case boolKind:
		if b, ok := v.(bool); ok {
			return b, nil
		}
		return nil, wrong()
	case intKind:
		if n, ok := wholeNumber(v); ok {
			return n, nil
		}
		return nil, wrong()
	case realKind:
		switch n := v.(type) {
		case float64:
			return n, nil
		case json.Number:
			if f, err := n.Float64(); err == nil {
				return f, nil
			}
		}
		if n, ok := wholeNumber(v); ok {
			return float64(n), nil
		}
		return nil, wrong()
	case timeKind:
		switch x := v.(type) {
		case time.Time:
			return x, nil
		case string:
			if t, err := parseTime(x); err == nil {
				return t, nil
			}
		}
		return nil, wrong()
	case spanKind:
		switch x := v.(type) {
		case time.Duration:
			return x, nil
		case string:
			d, err := ParseSpan(x)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			return d, nil
		}
		return nil, wrong()
	case listKind:
		return c.list(v, t, path, depth, wrong)
	case mapKind:
		m, ok := stringMap(v)
		if !ok {
			return nil, wrong()
		}
		out := make(map[string]any, len(m))
		for k, e := range m {
			if e == nil {
				continue
			}
			x, err := c.conform(e, *t.elem, path+"["+strconv.Quote(k)+"]", depth+1)
			if err != nil {
				return nil, err
			}
			out[k] = x
		}
		return out, nil
	case objectKind:
		return c.object(v, t.object, path, depth, wrong)
	}
	return c.free(v, path, depth)
}

func (c *conformer) list(v any, t Type, path string, depth int, wrong func() error) (any, error) {
	var in []any
	switch x := v.(type) {
	case []any:
		in = x
	case []string:
		in = make([]any, len(x))
		for i, s := range x {
			in[i] = s
		}
	case []map[string]any:
		in = make([]any, len(x))
		for i, m := range x {
			in[i] = m
		}
	default:
		return nil, wrong()
	}
	out := make([]any, 0, len(in))
	for i, e := range in {
		if e == nil {
			return nil, fmt.Errorf("%s[%d]: is null", path, i)
		}
		x, err := c.conform(e, *t.elem, path+"["+strconv.Itoa(i)+"]", depth+1)
		if err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	return out, nil
}

func (c *conformer) object(v any, o *Object, path string, depth int, wrong func() error) (any, error) {
	m, ok := stringMap(v)
	if !ok {
		return nil, wrong()
	}
	out := make(map[string]any, len(m))
	for _, f := range o.Fields {
		e, ok := m[f.Name]
		if !ok || e == nil {
			continue
		}
		x, err := c.conform(e, f.Type, path+"."+f.Name, depth+1)
		if err != nil {
			return nil, err
		}
		out[f.Name] = x
	}
	for k := range m {
		if _, ok := o.field(k); !ok {
			names := make([]string, 0, len(o.Fields))
			for _, f := range o.Fields {
				names = append(names, f.Name)
			}
			return nil, fmt.Errorf("%s: %s has no field %q%s", path, o.Name, k, didYouMean(nearest(k, names)))
		}
	}
	return out, nil
}

// free conforms a value without a declared type.
func (c *conformer) free(v any, path string, depth int) (any, error) {
	switch x := v.(type) {
	case string, bool, int64, float64, time.Time, time.Duration:
		return x, nil
	case int, int32, uint32, uint64, json.Number:
		if n, ok := wholeNumber(x); ok {
			return n, nil
		}
		if n, ok := x.(json.Number); ok {
			f, err := n.Float64()
			if err != nil {
				return nil, fmt.Errorf("%s: number %q is out of range", path, n)
			}
			return f, nil
		}
	case []any, []string, []map[string]any:
		return c.list(v, List(Any()), path, depth, func() error { return nil })
	}
	if _, ok := stringMap(v); ok {
		return c.conform(v, Map(Any()), path, depth)
	}
	return nil, fmt.Errorf("%s: cannot judge %s", path, describeValue(v))
}

func stringMap(v any) (map[string]any, bool) {
	switch m := v.(type) {
	case map[string]any:
		return m, true
	case map[string]string:
		out := make(map[string]any, len(m))
		for k, s := range m {
			out[k] = s
		}
		return out, true
	}
	return nil, false
}

func wholeNumber(v any) (int64, bool) {
	switch n := v.(type) {
	case int:
		return int64(n), true
	case int32:
		return int64(n), true
	case int64:
		return n, true
	case uint32:
		return int64(n), true
	case uint64:
		return int64(n), n <= math.MaxInt64
	case float64:
		// Beyond 2^53 a float64 no longer says which whole number it was.
		return int64(n), n == math.Trunc(n) && math.Abs(n) <= 1<<53
	case json.Number:
		i, err := n.Int64()
		return i, err == nil
	}
	return 0, false
}

func describeValue(v any) string {
	switch x := v.(type) {
	case nil:
		return "nothing"
	case string:
		if len(x) > 40 {
			x = x[:40] + "…"
		}
		return "the text " + strconv.Quote(x)
	case bool:
		return strconv.FormatBool(x)
	case []any, []string:
		return "a list"
	case map[string]any, map[string]string:
		return "a map"
	case int, int32, int64, uint32, uint64, float64, json.Number:
		return fmt.Sprintf("the number %v", x)
	}
	return fmt.Sprintf("a %T", v)
}

func didYouMean(s string) string {
	if s == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", s)
}

// parseTime reads RFC 3339, or a date as midnight UTC.
func parseTime(s string) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t, nil
	}
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("time %q: want RFC 3339 or YYYY-MM-DD", s)
	}
	return t, nil
}

// ParseSpan reads a duration as Go writes it, or whole days ("180d"): policies
// speak of days far more often than of hours.
func ParseSpan(s string) (time.Duration, error) {
	if d, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseInt(d, 10, 32)
		if err != nil || n < -100_000 || n > 100_000 {
			return 0, fmt.Errorf("duration %q: want whole days like 180d, at most 100000d", s)
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("duration %q: want 36h, 90m or 180d", s)
	}
	return d, nil
}

// decodeJSON turns a Go struct into plain maps by way of its JSON form.
func decodeJSON(v any) (any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return parseJSON(b)
}

func parseJSON(b []byte) (any, error) {
	if len(b) > maxSubjectBytes {
		return nil, fmt.Errorf("subject is larger than %d MiB", maxSubjectBytes>>20)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var out any
	if err := d.Decode(&out); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, errors.New("more than one JSON value")
	}
	return out, nil
}

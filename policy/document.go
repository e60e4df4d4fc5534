package policy

import (
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds of a YAML file of ours. A policy is a page of text.
const (
	maxDocumentBytes = 1 << 20
	maxDocumentNodes = 100_000
	maxDocumentDepth = 32
	maxProblems      = 20
)

// A document reads YAML strictly: every key is known, none is repeated, and every
// complaint names its line. It walks the node tree itself instead of decoding
// into structs, because the decoder's errors speak of Go types and suggest nothing.
type document struct {
	name     string
	problems []error
}

// ParseError lists what is wrong with a file, in the order of lines.
type ParseError struct{ Problems []error }

func (e *ParseError) Error() string {
	lines := make([]string, 0, len(e.Problems))
	for _, p := range e.Problems {
		lines = append(lines, p.Error())
	}
	return strings.Join(lines, "\n")
}

func (e *ParseError) Unwrap() []error { return e.Problems }

func (d *document) failf(line int, format string, args ...any) {
	if len(d.problems) < maxProblems {
		d.problems = append(d.problems, fmt.Errorf("%s:%d: %s", d.name, line, fmt.Sprintf(format, args...)))
	}
}

func (d *document) err() error {
	if len(d.problems) == 0 {
		return nil
	}
	return &ParseError{d.problems}
}

// root parses the bytes into the one node of a one-document file.
func (d *document) root(b []byte) (*yaml.Node, error) {
	if len(b) > maxDocumentBytes {
		return nil, fmt.Errorf("%s: larger than %d KiB", d.name, maxDocumentBytes>>10)
	}
	// A cheap look for depth before the parser recurses: flow brackets nest without
	// indentation, and 500 KiB of "[" would be a deep tree.
	depth := 0
	for _, c := range b {
		switch c {
		case '[', '{':
			if depth++; depth > 1000 {
				return nil, fmt.Errorf("%s: nested deeper than %d", d.name, maxDocumentDepth)
			}
		case ']', '}':
			depth = max(0, depth-1)
		}
	}
	dec := yaml.NewDecoder(strings.NewReader(string(b)))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		return nil, fmt.Errorf("%s:%s", d.name, strings.TrimPrefix(" "+strings.TrimPrefix(err.Error(), "yaml: "), " line "))
	}
	if len(doc.Content) != 1 {
		return nil, fmt.Errorf("%s: empty", d.name)
	}
	var second yaml.Node
	if dec.Decode(&second) == nil {
		return nil, fmt.Errorf("%s:%d: a second YAML document; write one per file", d.name, second.Line)
	}
	nodes := 0
	if err := d.bound(doc.Content[0], 0, &nodes); err != nil {
		return nil, err
	}
	return doc.Content[0], nil
}

func (d *document) bound(n *yaml.Node, depth int, nodes *int) error {
	if *nodes++; *nodes > maxDocumentNodes {
		return fmt.Errorf("%s:%d: more than %d values", d.name, n.Line, maxDocumentNodes)
	}
	if depth > maxDocumentDepth {
		return fmt.Errorf("%s:%d: nested deeper than %d", d.name, n.Line, maxDocumentDepth)
	}
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		// An alias makes ten lines stand for a million values.
		return fmt.Errorf("%s:%d: anchors and aliases are not allowed; write the value out", d.name, n.Line)
	}
	for _, c := range n.Content {
		if err := d.bound(c, depth+1, nodes); err != nil {
			return err
		}
	}
	return nil
}

// fields calls the function of each key of a mapping. A key without a function is
// a problem, with a suggestion. Keys are handled in the order of the file.
func (d *document) fields(n *yaml.Node, what string, handlers map[string]func(*yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		d.failf(n.Line, "%s: want a mapping, got %s", what, nodeWord(n))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind != yaml.ScalarNode {
			d.failf(k.Line, "%s: a key must be a word", what)
			continue
		}
		if line, dup := seen[k.Value]; dup {
			d.failf(k.Line, "%s: %q is set a second time (first in line %d)", what, k.Value, line)
			continue
		}
		seen[k.Value] = k.Line
		h, ok := handlers[k.Value]
		if !ok {
			names := sortedKeys(handlers)
			hint := didYouMean(nearest(k.Value, names))
			if hint == "" {
				hint = "; known keys: " + strings.Join(names, ", ")
			}
			d.failf(k.Line, "%s: unknown key %q%s", what, k.Value, hint)
			continue
		}
		h(v)
	}
}

// entries calls fn for each key and value of a mapping with free keys.
func (d *document) entries(n *yaml.Node, what string, fn func(key string, k, v *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		d.failf(n.Line, "%s: want a mapping, got %s", what, nodeWord(n))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if line, dup := seen[k.Value]; dup || k.Kind != yaml.ScalarNode {
			d.failf(k.Line, "%s: %q is set a second time (first in line %d)", what, k.Value, line)
			continue
		}
		seen[k.Value] = k.Line
		fn(k.Value, k, v)
	}
}

func (d *document) items(n *yaml.Node, what string, fn func(*yaml.Node)) {
	if n.Kind != yaml.SequenceNode {
		d.failf(n.Line, "%s: want a list, got %s", what, nodeWord(n))
		return
	}
	for _, c := range n.Content {
		fn(c)
	}
}

// text stores a scalar. A number or a date written without quotes is taken as
// written; true and null are not, because they are mostly mistakes.
func (d *document) text(what string, to *string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || n.Tag == "!!bool" {
			d.failf(n.Line, "%s: want text, got %s", what, nodeWord(n))
			return
		}
		*to = strings.TrimSpace(n.Value)
	}
}

func (d *document) expression(what string, to *Expression) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
			d.failf(n.Line, "%s: want an expression, got %s", what, nodeWord(n))
			return
		}
		line := n.Line
		if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
			line++ // the node begins at the | or >
		}
		text := strings.TrimRight(n.Value, " \n")
		trimmed := strings.TrimLeft(text, "\n")
		*to = Expression{Text: trimmed, Line: line + len(text) - len(trimmed)}
	}
}

func (d *document) texts(what string, to *[]string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if n.Kind == yaml.ScalarNode {
			var s string
			d.text(what, &s)(n)
			*to = append(*to, s)
			return
		}
		d.items(n, what, func(c *yaml.Node) {
			var s string
			d.text(what, &s)(c)
			*to = append(*to, s)
		})
	}
}

// value decodes a node into plain maps, lists and scalars. Dates stay text: the
// type of the parameter or field decides what they are.
func (d *document) value(n *yaml.Node) (any, error) {
	switch n.Kind {
	case yaml.MappingNode:
		out := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i]
			if _, dup := out[k.Value]; dup || k.Kind != yaml.ScalarNode {
				return nil, fmt.Errorf("%s:%d: key %q is not a word or is set twice", d.name, k.Line, k.Value)
			}
			v, err := d.value(n.Content[i+1])
			if err != nil {
				return nil, err
			}
			out[k.Value] = v
		}
		return out, nil
	case yaml.SequenceNode:
		out := make([]any, 0, len(n.Content))
		for _, c := range n.Content {
			v, err := d.value(c)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	case yaml.ScalarNode:
		switch n.Tag {
		case "!!null":
			return nil, nil
		case "!!bool", "!!int", "!!float":
			var v any
			if err := n.Decode(&v); err != nil {
				return nil, fmt.Errorf("%s:%d: %w", d.name, n.Line, err)
			}
			return v, nil
		case "!!str", "!!timestamp":
			return n.Value, nil
		}
		return nil, fmt.Errorf("%s:%d: values of kind %s are not allowed", d.name, n.Line, n.Tag)
	}
	return nil, errors.New(d.name + ": unreadable value")
}

func nodeWord(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	if n.Tag == "!!null" {
		return "nothing"
	}
	return describeValue(n.Value)
}

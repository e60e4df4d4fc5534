package falco

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds of what is read. The published files have 90 KiB and 130 entries each.
const (
	maxFileBytes  = 4 << 20
	maxFileNodes  = 200_000
	maxDepth      = 32
	maxFiles      = 64
	maxEntries    = 10_000
	maxTextBytes  = 64 << 10
	maxOutputSize = 8 << 10
	maxProblems   = 50
)

// File is a rule file.
type File struct {
	Name string // for messages
	Data []byte
}

// text is a value with the place where it was written, for messages.
type text struct {
	value string
	at    place
}

type place struct {
	file string
	line int
}

func (p place) String() string { return fmt.Sprintf("%s:%d", p.file, p.line) }

type rawRule struct {
	name       string
	at         place
	condition  []text // joined by a space: `append` adds text, and the meaning follows the text
	output     text
	priority   text
	source     string
	desc       string
	tags       []string
	enabled    bool
	exceptions []*exception
}

type exception struct {
	name   string
	at     place
	fields []text
	comps  []string
	single bool // fields is one name and not a list: values are its values
	values []*yaml.Node
}

// document is all files put together: later entries override earlier ones.
type document struct {
	rules    []*rawRule
	byName   map[string]*rawRule
	macros   map[string][]text
	lists    map[string][]text
	problems []error
	warnings []string
	entries  int
}

func newDocument() *document {
	return &document{byName: map[string]*rawRule{}, macros: map[string][]text{}, lists: map[string][]text{}}
}

func (d *document) failf(at place, format string, args ...any) {
	if len(d.problems) < maxProblems {
		d.problems = append(d.problems, fmt.Errorf("%s: %s", at, fmt.Sprintf(format, args...)))
	}
}

func (d *document) warnf(at place, format string, args ...any) {
	if len(d.warnings) < maxProblems {
		d.warnings = append(d.warnings, fmt.Sprintf("%s: %s", at, fmt.Sprintf(format, args...)))
	}
}

// read adds one file. What is wrong with it is noted and the rest is read on, so that
// a file's mistakes are all told at once.
func (d *document) read(f File) {
	at := place{f.Name, 1}
	if len(f.Data) > maxFileBytes {
		d.failf(at, "larger than %d MiB", maxFileBytes>>20)
		return
	}
	// Flow brackets nest without indentation; look before the parser recurses.
	depth := 0
	for _, c := range f.Data {
		switch c {
		case '[', '{':
			if depth++; depth > 1000 {
				d.failf(at, "nested deeper than %d", maxDepth)
				return
			}
		case ']', '}':
			depth = max(0, depth-1)
		}
	}
	dec := yaml.NewDecoder(bytes.NewReader(f.Data))
	for range maxFiles {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			d.failf(at, "%s", strings.TrimPrefix(err.Error(), "yaml: "))
			return
		}
		if len(doc.Content) != 1 {
			continue
		}
		if why := tooMuch(&doc); why != "" {
			d.failf(at, "%s", why)
			return
		}
		root := doc.Content[0]
		if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
			continue
		}
		if root.Kind != yaml.SequenceNode {
			d.failf(place{f.Name, root.Line}, "want a list of rules, macros and lists: - rule: …")
			continue
		}
		for _, n := range root.Content {
			if d.entries++; d.entries > maxEntries {
				d.failf(place{f.Name, n.Line}, "more than %d entries in all files", maxEntries)
				return
			}
			d.entry(f.Name, n)
		}
	}
}

// tooMuch bounds the tree, and refuses aliases: a few of them make a document of any size.
func tooMuch(root *yaml.Node) string {
	nodes, why := 0, ""
	var walk func(n *yaml.Node, depth int)
	walk = func(n *yaml.Node, depth int) {
		nodes++
		switch {
		case why != "":
			return
		case nodes > maxFileNodes:
			why = fmt.Sprintf("more than %d values", maxFileNodes)
		case depth > maxDepth:
			why = fmt.Sprintf("line %d: nested deeper than %d", n.Line, maxDepth)
		case n.Kind == yaml.AliasNode:
			why = fmt.Sprintf("line %d: aliases (*name) are not read; write the value out, or make it a list or macro", n.Line)
		}
		for _, c := range n.Content {
			walk(c, depth+1)
		}
	}
	walk(root, 0)
	return why
}

// fields of an entry.
type fields struct {
	d    *document
	file string
	at   place
	of   map[string]*yaml.Node
	keys []string
}

func (d *document) entry(file string, n *yaml.Node) {
	at := place{file, n.Line}
	if n.Kind != yaml.MappingNode {
		d.failf(at, "want an entry with a key: rule, macro, list, required_engine_version or required_plugin_versions")
		return
	}
	f := &fields{d: d, file: file, at: at, of: map[string]*yaml.Node{}}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i].Value
		if f.of[k] != nil {
			d.failf(place{file, n.Content[i].Line}, "%s is given twice", clip(k))
			return
		}
		f.of[k] = n.Content[i+1]
		f.keys = append(f.keys, k)
	}
	switch {
	case f.of["rule"] != nil:
		d.rule(f)
	case f.of["macro"] != nil:
		d.macro(f)
	case f.of["list"] != nil:
		d.list(f)
	case f.of["required_engine_version"] != nil, f.of["required_plugin_versions"] != nil:
		// What they ask of Falco's own engine says nothing about this one: what a rule
		// needs is told rule by rule.
	default:
		d.warnf(at, "an entry of no known sort is passed over: %s", clip(strings.Join(f.keys, ", ")))
	}
}

func (f *fields) known(keys ...string) {
	for _, k := range f.keys {
		if !slices.Contains(keys, k) {
			f.d.warnf(place{f.file, f.of[k].Line}, "key %s is not known and is passed over", clip(k))
		}
	}
}

// text of a scalar key; false when it is missing or no scalar.
func (f *fields) text(key string) (text, bool) {
	n := f.of[key]
	if n == nil {
		return text{}, false
	}
	at := place{f.file, n.Line}
	if n.Kind != yaml.ScalarNode {
		f.d.failf(at, "%s: want a text", key)
		return text{at: at}, false
	}
	if len(n.Value) > maxTextBytes {
		f.d.failf(at, "%s: longer than %d KiB", key, maxTextBytes>>10)
		return text{at: at}, false
	}
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		at.line++ // the text begins below the > or |
	}
	return text{n.Value, at}, true
}

func (f *fields) flag(key string, otherwise bool) bool {
	t, ok := f.text(key)
	if !ok {
		return otherwise
	}
	switch strings.ToLower(t.value) {
	case "true", "yes", "on":
		return true
	case "false", "no", "off":
		return false
	}
	f.d.failf(t.at, "%s: want true or false, got %q", key, clip(t.value))
	return otherwise
}

func (f *fields) texts(key string) []text {
	n := f.of[key]
	if n == nil {
		return nil
	}
	return f.d.texts(f.file, key, n)
}

func (d *document) texts(file, key string, n *yaml.Node) []text {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		d.failf(place{file, n.Line}, "%s: want a list", key)
		return nil
	}
	var out []text
	for _, c := range n.Content {
		if c.Kind != yaml.ScalarNode {
			d.failf(place{file, c.Line}, "%s: want texts", key)
			continue
		}
		out = append(out, text{c.Value, place{file, c.Line}})
	}
	return out
}

// override says for each key of an entry that changes an earlier one: append or replace.
// Nil: it is a whole new one. `append: true` is the older spelling.
func (f *fields) override(appendable, replaceable []string) map[string]string {
	if f.of["append"] != nil && f.flag("append", false) {
		out := map[string]string{}
		for _, k := range appendable {
			out[k] = "append"
		}
		return out
	}
	n := f.of["override"]
	if n == nil {
		return nil
	}
	at := place{f.file, n.Line}
	if n.Kind != yaml.MappingNode {
		f.d.failf(at, "override: want keys with append or replace")
		return map[string]string{}
	}
	out := map[string]string{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, how := n.Content[i].Value, n.Content[i+1].Value
		can := appendable
		if how == "replace" {
			can = replaceable
		}
		switch {
		case how != "append" && how != "replace":
			f.d.failf(place{f.file, n.Content[i+1].Line}, "override: %s: want append or replace, got %q", clip(key), clip(how))
		case !slices.Contains(can, key):
			f.d.failf(place{f.file, n.Content[i].Line}, "override: %s cannot be changed by %s; it can be %s", clip(key), how, strings.Join(can, ", "))
		case f.of[key] == nil:
			f.d.failf(place{f.file, n.Content[i].Line}, "override: %s is to be changed by %s, but is not given", clip(key), how)
		default:
			out[key] = how
		}
	}
	return out
}

func (d *document) macro(f *fields) {
	f.known("macro", "condition", "append", "override")
	name, ok := f.text("macro")
	if !ok {
		return
	}
	c, ok := f.text("condition")
	if !ok {
		d.failf(f.at, "macro %s: condition is missing", clip(name.value))
		return
	}
	how := f.override([]string{"condition"}, []string{"condition"})
	old := d.macros[name.value]
	if how != nil && old == nil {
		d.failf(f.at, "macro %s: there is none so far that could be changed; load the file that has it first", clip(name.value))
		return
	}
	if how["condition"] == "append" {
		d.macros[name.value] = append(slices.Clip(old), c)
		return
	}
	d.macros[name.value] = []text{c}
}

func (d *document) list(f *fields) {
	f.known("list", "items", "append", "override")
	name, ok := f.text("list")
	if !ok {
		return
	}
	if f.of["items"] == nil {
		d.failf(f.at, "list %s: items are missing", clip(name.value))
		return
	}
	items := f.texts("items")
	how := f.override([]string{"items"}, []string{"items"})
	old, there := d.lists[name.value]
	if how != nil && !there {
		d.failf(f.at, "list %s: there is none so far that could be changed; load the file that has it first", clip(name.value))
		return
	}
	if how["items"] == "append" {
		items = append(slices.Clip(old), items...)
	}
	d.lists[name.value] = items
}

var (
	ruleAppend  = []string{"condition", "output", "desc", "tags", "exceptions"}
	ruleReplace = []string{"condition", "output", "desc", "priority", "tags", "exceptions", "enabled", "warn_evttypes", "skip-if-unknown-filter", "source"}
)

func (d *document) rule(f *fields) {
	f.known("rule", "condition", "output", "desc", "priority", "tags", "exceptions", "enabled", "source", "append", "override", "warn_evttypes",
		"skip-if-unknown-filter", "capture", "capture_duration")
	name, ok := f.text("rule")
	if !ok {
		return
	}
	old := d.byName[name.value]
	if len(f.keys) == 2 && f.of["enabled"] != nil {
		// The old way of switching a rule on or off.
		if old == nil {
			d.failf(f.at, "rule %q: there is none so far that could be switched; load the file that has it first", clip(name.value))
			return
		}
		old.enabled = f.flag("enabled", true)
		return
	}
	how := f.override(ruleAppend, ruleReplace)
	r := &rawRule{name: name.value, at: f.at, enabled: true, source: "syscall"}
	switch {
	case how == nil:
		for _, k := range []string{"condition", "output", "priority"} {
			if f.of[k] == nil {
				d.failf(f.at, "rule %q: %s is missing", clip(name.value), k)
				return
			}
		}
		if f.of["desc"] == nil {
			d.warnf(f.at, "rule %q: desc is missing", clip(name.value))
		}
		how = map[string]string{}
	case old == nil:
		d.failf(f.at, "rule %q: there is none so far that could be changed; load the file that has it first", clip(name.value))
		return
	default:
		c := *old
		r = &c
	}
	r.change(f, how)
	if old == nil {
		d.rules = append(d.rules, r)
	} else {
		d.rules[slices.Index(d.rules, old)] = r
	}
	d.byName[name.value] = r
}

// change lays the keys of an entry over the rule.
func (r *rawRule) change(f *fields, how map[string]string) {
	if t, ok := f.text("condition"); ok {
		if how["condition"] == "append" {
			r.condition = append(slices.Clip(r.condition), t)
		} else {
			r.condition = []text{t}
		}
	}
	if t, ok := f.text("output"); ok && !(how["output"] == "" && r.output.value != "") {
		if how["output"] == "append" {
			t = text{r.output.value + " " + t.value, r.output.at}
		}
		r.output = t
	}
	if t, ok := f.text("desc"); ok {
		if how["desc"] == "append" {
			t.value = r.desc + " " + t.value
		}
		r.desc = t.value
	}
	if t, ok := f.text("priority"); ok {
		r.priority = t
	}
	if t, ok := f.text("source"); ok {
		r.source = t.value
	}
	r.enabled = f.flag("enabled", r.enabled)
	if f.of["tags"] != nil {
		if how["tags"] != "append" {
			r.tags = nil
		}
		for _, t := range f.texts("tags") {
			r.tags = append(slices.Clip(r.tags), t.value)
		}
	}
	if n := f.of["exceptions"]; n != nil {
		if how["exceptions"] != "append" {
			r.exceptions = nil
		}
		f.d.exceptions(f.file, n, r)
	}
}

// exceptions adds to those of the rule: one of a known name gets further values.
func (d *document) exceptions(file string, n *yaml.Node, r *rawRule) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.SequenceNode {
		d.failf(place{file, n.Line}, "exceptions: want a list")
		return
	}
	for _, c := range n.Content {
		x := &exception{at: place{file, c.Line}}
		if c.Kind != yaml.MappingNode {
			d.failf(x.at, "exceptions: want name, fields, comps and values")
			continue
		}
		for i := 0; i+1 < len(c.Content); i += 2 {
			v := c.Content[i+1]
			switch c.Content[i].Value {
			case "name":
				x.name = v.Value
			case "fields":
				if x.single = v.Kind == yaml.ScalarNode; x.single {
					x.fields = []text{{v.Value, place{file, v.Line}}}
				} else {
					x.fields = d.texts(file, "fields", v)
				}
			case "comps":
				if v.Kind == yaml.ScalarNode {
					x.comps = []string{v.Value}
				} else {
					for _, t := range d.texts(file, "comps", v) {
						x.comps = append(x.comps, t.value)
					}
				}
			case "values":
				if v.Kind != yaml.SequenceNode {
					d.failf(place{file, v.Line}, "exception %s: values: want a list", clip(x.name))
					continue
				}
				x.values = v.Content
			}
		}
		d.exception(r, x)
	}
}

func (d *document) exception(r *rawRule, x *exception) {
	if x.name == "" {
		d.failf(x.at, "exception: name is missing")
		return
	}
	for i, old := range r.exceptions {
		if old.name == x.name {
			c := *old
			c.values = append(slices.Clip(c.values), x.values...)
			r.exceptions = slices.Clone(r.exceptions)
			r.exceptions[i] = &c
			return
		}
	}
	if len(x.fields) == 0 {
		d.failf(x.at, "exception %s: fields are missing", clip(x.name))
		return
	}
	if x.comps == nil {
		how := "="
		if x.single {
			how = "in"
		}
		for range x.fields {
			x.comps = append(x.comps, how)
		}
	}
	if len(x.comps) != len(x.fields) {
		d.failf(x.at, "exception %s: %d fields and %d comps: want one comp for each field", clip(x.name), len(x.fields), len(x.comps))
		return
	}
	r.exceptions = append(slices.Clip(r.exceptions), x)
}

// clip shortens what a stranger wrote for a message.
func clip(s string) string {
	if len(s) <= 80 {
		return s
	}
	return strings.ToValidUTF8(s[:80], "") + "…"
}

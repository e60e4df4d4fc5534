package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/bollwerk/bollwerk"
)

// EventKind is the subject of policies about what happens in the kernel. Their
// subjects are *bollwerk.Event, or maps of an event's JSON form.
//
// Every field of an event has a value: a part that the event does not have reads
// as "", 0, false and the empty list, so that a rule about files needs not ask
// first whether there is one. Where 0 would say something (a user id), the value
// is -1. has() asks whether a part is there, or whether a field is not empty.
const EventKind = "event"

// catalog is what the subject "event" is made of.
type catalog struct {
	subject *Subject
	objects map[string]*eventObject
}

type eventObject struct {
	name    string
	members map[string]*member
	typ     *types.Type
}

func eventSubject() *Subject { return newCatalog().subject }

func newCatalog() *catalog {
	tables := smallMembers()
	tables["Event"], tables["Process"], tables["File"], tables["Connection"] = eventMembers(), processMembers(), fileMembers(), connectionMembers()
	docs := map[string]string{"Event": "something that happened", "Process": "one program of one process", "File": "the file an event speaks of",
		"Connection": "a socket's view of the network", "DNS": "a question or an answer", "Flow": "traffic with one peer, summed up",
		"Change": "what became of the rights of a process", "Namespace": "a change of namespaces", "Mount": "a mount", "Object": "a named thing of the kernel",
		"Usage": "what a process consumed", "Loss": "events that did not arrive", "Container": "what the runtime says", "Pod": "what Kubernetes says"}
	c := &catalog{objects: map[string]*eventObject{}}
	shapes := map[string]*Object{}
	for name := range tables {
		shapes[name] = &Object{Name: name, Doc: docs[name]}
	}
	ids := 0
	for name, members := range tables {
		o := &eventObject{name: name, members: make(map[string]*member, len(members)), typ: types.NewObjectType(name)}
		for i := range members {
			m := &members[i]
			m.id = ids
			ids++
			o.members[m.name] = m
			shapes[name].Fields = append(shapes[name].Fields, Field{Name: m.name, Doc: m.doc, Type: m.typ(shapes)})
		}
		c.objects[name] = o
	}
	c.subject = &Subject{Kind: EventKind, Doc: "something that a process did: started a program, wrote a file, made a connection", Type: shapes["Event"],
		convert: c.convert}
	return c
}

func (m *member) typ(shapes map[string]*Object) Type {
	switch {
	case m.text != nil:
		return Text()
	case m.number != nil:
		return Int()
	case m.flag != nil:
		return Bool()
	case m.list != nil:
		return List(Text())
	case m.labels != nil:
		return Map(Text())
	case m.moment != nil:
		return Time()
	case m.chain:
		return List(Of(shapes[m.object]))
	}
	return Of(shapes[m.object])
}

// convert makes of an event, or of its JSON form, the value CEL's evaluator sees.
func (c *catalog) convert(v any) (any, error) {
	var e *bollwerk.Event
	switch x := v.(type) {
	case *bollwerk.Event:
		e = x
	case bollwerk.Event:
		e = &x
	default:
		m, ok := stringMap(v)
		if !ok {
			return nil, fmt.Errorf("event: want an event, got %s", describeValue(v))
		}
		var err error
		if e, err = decodeEvent(m); err != nil {
			return nil, err
		}
	}
	if e == nil {
		return nil, fmt.Errorf("event: want an event, got nothing")
	}
	s := &Scratch{}
	s.load(e)
	return &eventValue{c: c, s: s, object: c.objects["Event"]}, nil
}

// ParseEvent reads the JSON form of an event as tests and `policy explain --input`
// write it: what bollwerk.Event writes, and besides that words for sets of bits
// (access: [write, create]; capabilities: [CAP_SYS_ADMIN] or [all]) and modes as
// text ("4755"). An unknown key is an error.
func ParseEvent(m map[string]any) (*bollwerk.Event, error) { return decodeEvent(m) }

func decodeEvent(m map[string]any) (*bollwerk.Event, error) {
	plain, err := spellBits(m, 0)
	if err != nil {
		return nil, fmt.Errorf("event: %w", err)
	}
	b, err := json.Marshal(plain)
	if err != nil {
		return nil, fmt.Errorf("event: %w", err)
	}
	if len(b) > maxDocumentBytes {
		return nil, fmt.Errorf("event: larger than %d KiB", maxDocumentBytes>>10)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	e := &bollwerk.Event{}
	if err := d.Decode(e); err != nil {
		message := strings.TrimPrefix(err.Error(), "json: ")
		if field, ok := strings.CutPrefix(message, "unknown field "); ok {
			if word, uerr := strconv.Unquote(field); uerr == nil {
				message = fmt.Sprintf("there is no key %q%s", word, didYouMean(nearest(word, jsonKeys(reflect.TypeFor[bollwerk.Event](), map[reflect.Type]bool{}))))
			}
		}
		return nil, fmt.Errorf("event: %s", message)
	}
	depth := 0
	for p := e.Process; p != nil; p = p.Parent {
		if depth++; depth > bollwerk.ProcessDepth {
			p.Parent = nil
		}
	}
	return e, nil
}

// jsonKeys lists the keys of the JSON form of a type, for suggestions.
func jsonKeys(t reflect.Type, seen map[reflect.Type]bool) []string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || seen[t] {
		return nil
	}
	seen[t] = true
	var keys []string
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); name != "" && name != "-" {
			keys = append(keys, name)
			keys = append(keys, jsonKeys(t.Field(i).Type, seen)...)
		}
	}
	return keys
}

// spellBits turns words into the bits that the JSON form of an event has.
func spellBits(v any, depth int) (any, error) {
	if depth > maxSubjectDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxSubjectDepth)
	}
	switch x := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, e := range x {
			var err error
			switch k {
			case "access":
				e, err = bitsOf(k, e, []string{"read", "write", "create", "truncate", "append", "exec"})
			case "capabilities", "permitted", "old_capabilities":
				e, err = bitsOf(k, e, capabilityNames[:])
			case "mode", "old_mode":
				if s, ok := e.(string); ok {
					if e, err = strconv.ParseUint(s, 8, 32); err != nil {
						err = fmt.Errorf("%s %q: want octal digits", k, s)
					}
				}
			case "labels":
			default:
				e, err = spellBits(e, depth+1)
			}
			if err != nil {
				return nil, err
			}
			out[k] = e
		}
		return out, nil
	case []any:
		out := make([]any, len(x))
		for i, e := range x {
			var err error
			if out[i], err = spellBits(e, depth+1); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return v, nil
}

func bitsOf(key string, v any, names []string) (any, error) {
	list, ok := v.([]any)
	if !ok {
		return v, nil
	}
	var bits uint64
	for _, e := range list {
		word, _ := e.(string)
		if word == "all" {
			bits |= 1<<len(names) - 1
			continue
		}
		at := -1
		for i, n := range names {
			if n == word {
				at = i
			}
		}
		if at < 0 {
			return nil, fmt.Errorf("%s: %s is not known%s", key, describeValue(e), didYouMean(nearest(word, names)))
		}
		bits |= 1 << at
	}
	return bits, nil
}

// eventValue is an event, or an object of it, as CEL's evaluator sees it. It is an
// Indexer and not a Mapper, so that has() asks IsSet and not for a key.
type eventValue struct {
	c      *catalog
	s      *Scratch
	object *eventObject
	p      *bollwerk.Process
}

func (v *eventValue) member(key ref.Val) *member {
	name, ok := key.(types.String)
	if !ok {
		return nil
	}
	return v.object.members[string(name)]
}

// Get implements traits.Indexer.
func (v *eventValue) Get(key ref.Val) ref.Val {
	m := v.member(key)
	if m == nil {
		return types.NewErr("no such key: %v", key)
	}
	switch {
	case m.text != nil:
		return types.String(m.text(v.s, v.p))
	case m.number != nil:
		return types.Int(m.number(v.s, v.p))
	case m.flag != nil:
		return types.Bool(m.flag(v.s, v.p))
	case m.list != nil:
		return types.NewStringList(types.DefaultTypeAdapter, m.list(v.s, v.p))
	case m.labels != nil:
		return labelsValue(m.labels(v.s))
	case m.moment != nil:
		return types.Timestamp{Time: m.moment(v.s)}
	case m.chain:
		var chain []ref.Val
		for p := v.p.Inside(); p != nil && len(chain) < bollwerk.ProcessDepth; p = p.Inside() {
			chain = append(chain, &eventValue{v.c, v.s, v.c.objects[m.object], p})
		}
		return types.NewRefValList(types.DefaultTypeAdapter, chain)
	}
	p := v.p
	if m.step != nil {
		p = m.step(v.s, p)
	}
	return &eventValue{v.c, v.s, v.c.objects[m.object], p}
}

// IsSet implements traits.FieldTester.
func (v *eventValue) IsSet(key ref.Val) ref.Val {
	m := v.member(key)
	if m == nil {
		return types.NewErr("no such key: %v", key)
	}
	return types.Bool(m.isSet(v.s, v.p))
}

// isSet answers has().
func (m *member) isSet(s *Scratch, p *bollwerk.Process) bool {
	switch {
	case m.present != nil:
		return m.present(s, p)
	case m.text != nil:
		return m.text(s, p) != ""
	case m.number != nil:
		return m.number(s, p) != 0
	case m.flag != nil:
		return m.flag(s, p)
	case m.list != nil:
		return len(m.list(s, p)) > 0
	case m.labels != nil:
		return len(m.labels(s)) > 0
	case m.moment != nil:
		return !m.moment(s).IsZero()
	case m.chain:
		return p.Inside() != nil
	}
	return true
}

func (v *eventValue) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("%s: cannot become a %s", v.object.name, t)
}

func (v *eventValue) ConvertToType(t ref.Type) ref.Val {
	if t == types.StringType {
		return types.String(v.text())
	}
	return types.NewErr("%s: cannot become a %s", v.object.name, t.TypeName())
}

func (v *eventValue) Equal(other ref.Val) ref.Val {
	o, ok := other.(*eventValue)
	return types.Bool(ok && o.object == v.object && o.s == v.s && o.p == v.p)
}

func (v *eventValue) Type() ref.Type { return v.object.typ }
func (v *eventValue) Value() any     { return v }

// text names the object in a trace.
func (v *eventValue) text() string {
	switch v.object.name {
	case "Event":
		return "{" + v.s.e.Kind.String() + ", …}"
	case "Process":
		return fmt.Sprintf("{%s, pid %d, …}", strconv.Quote(v.p.Name), v.p.PID)
	}
	return "{…}"
}

// labelsValue is a map in which a missing key reads as "".
type labelsValue map[string]string

func (l labelsValue) Get(key ref.Val) ref.Val {
	k, ok := key.(types.String)
	if !ok {
		return types.NewErr("no such key: %v", key)
	}
	return types.String(l[string(k)])
}

func (l labelsValue) IsSet(key ref.Val) ref.Val { return l.Contains(key) }

func (l labelsValue) Contains(key ref.Val) ref.Val {
	k, ok := key.(types.String)
	if !ok {
		return types.False
	}
	_, ok = l[string(k)]
	return types.Bool(ok)
}

func (l labelsValue) Size() ref.Val { return types.Int(len(l)) }

func (l labelsValue) Iterator() traits.Iterator {
	return types.NewStringList(types.DefaultTypeAdapter, sortedKeys(l)).Iterator()
}

func (l labelsValue) plain() ref.Val {
	return types.NewStringStringMap(types.DefaultTypeAdapter, l)
}

func (l labelsValue) ConvertToNative(t reflect.Type) (any, error) {
	return l.plain().ConvertToNative(t)
}
func (l labelsValue) ConvertToType(t ref.Type) ref.Val { return l.plain().ConvertToType(t) }

func (l labelsValue) Equal(other ref.Val) ref.Val {
	if o, ok := other.(labelsValue); ok {
		other = o.plain()
	}
	return l.plain().Equal(other)
}

func (l labelsValue) Type() ref.Type { return types.NewMapType(types.StringType, types.StringType) }
func (l labelsValue) Value() any     { return map[string]string(l) }

package policy

import (
	"fmt"
	"regexp"
	"strings"

	"cel.dev/cel-go/common/types"
)

// Type is the type of a field or parameter. The zero value is Any.
type Type struct {
	kind   typeKind
	elem   *Type
	object *Object
}

type typeKind uint8

const (
	anyKind typeKind = iota
	textKind
	intKind
	realKind
	boolKind
	timeKind
	spanKind
	listKind
	mapKind
	objectKind
)

// The types a value can have. Time is a point in time (RFC 3339 or 2006-01-02 in
// YAML and JSON), Span a duration ("36h", "180d"), Map has text keys.
func Any() Type           { return Type{} }
func Text() Type          { return Type{kind: textKind} }
func Int() Type           { return Type{kind: intKind} }
func Real() Type          { return Type{kind: realKind} }
func Bool() Type          { return Type{kind: boolKind} }
func Time() Type          { return Type{kind: timeKind} }
func Span() Type          { return Type{kind: spanKind} }
func List(elem Type) Type { return Type{kind: listKind, elem: &elem} }
func Map(elem Type) Type  { return Type{kind: mapKind, elem: &elem} }
func Of(o *Object) Type   { return Type{kind: objectKind, object: o} }

// String writes the type as a policy file writes it: "list(string)".
func (t Type) String() string {
	switch t.kind {
	case textKind:
		return "string"
	case intKind:
		return "int"
	case realKind:
		return "double"
	case boolKind:
		return "bool"
	case timeKind:
		return "timestamp"
	case spanKind:
		return "duration"
	case listKind:
		return "list(" + t.elem.String() + ")"
	case mapKind:
		return "map(" + t.elem.String() + ")"
	case objectKind:
		return t.object.Name
	}
	return "any"
}

// ParseType reads what String writes, objects excepted.
func ParseType(s string) (Type, error) { return parseType(s, 0) }

func parseType(s string, depth int) (Type, error) {
	s = strings.TrimSpace(s)
	switch s {
	case "any":
		return Any(), nil
	case "string":
		return Text(), nil
	case "int":
		return Int(), nil
	case "double":
		return Real(), nil
	case "bool":
		return Bool(), nil
	case "timestamp":
		return Time(), nil
	case "duration":
		return Span(), nil
	}
	if inner, ok := strings.CutSuffix(s, ")"); ok && depth < 4 {
		if e, ok := strings.CutPrefix(inner, "list("); ok {
			elem, err := parseType(e, depth+1)
			return List(elem), err
		}
		if e, ok := strings.CutPrefix(inner, "map("); ok {
			elem, err := parseType(e, depth+1)
			return Map(elem), err
		}
	}
	return Type{}, fmt.Errorf("type %q: want string, int, double, bool, timestamp, duration, any, list(…) or map(…)", s)
}

func (t Type) cel() *types.Type {
	switch t.kind {
	case textKind:
		return types.StringType
	case intKind:
		return types.IntType
	case realKind:
		return types.DoubleType
	case boolKind:
		return types.BoolType
	case timeKind:
		return types.TimestampType
	case spanKind:
		return types.DurationType
	case listKind:
		return types.NewListType(t.elem.cel())
	case mapKind:
		return types.NewMapType(types.StringType, t.elem.cel())
	case objectKind:
		return types.NewObjectType(t.object.Name)
	}
	return types.DynType
}

// Object is a value with named, typed fields.
type Object struct {
	// Name is unique among the objects of a subject and shown in messages:
	// "image.Config".
	Name   string
	Doc    string
	Fields []Field
}

// Field is one field of an object.
type Field struct {
	Name string
	Type Type
	Doc  string
	// Areas name the parts of a result's coverage the field was made from ("files",
	// "secrets"). A policy that reads the field passes no further than they were
	// covered: degraded when a part of one was not, not evaluated when all of it was not.
	Areas []string
	// Absent says what to do when the field is not known: "scan with --verify". It
	// is added to the cause of a decision that needed the field.
	Absent string
}

func (o *Object) field(name string) (Field, bool) {
	for _, f := range o.Fields {
		if f.Name == name {
			return f, true
		}
	}
	return Field{}, false
}

// Subject declares a kind of thing that policies judge.
type Subject struct {
	// Kind is the word in a policy's `subject:` and the name of the variable its
	// expressions see: a CEL identifier.
	Kind string
	Doc  string
	Type *Object
	// Absent says why there may be no such subject at all, and what to do. Policies
	// over a missing subject are not evaluated, with this as the cause.
	Absent string

	// convert makes the value that CEL's evaluator sees, where that is not the map
	// that a conformer makes.
	convert func(v any) (any, error)
}

var identifier = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)

// reserved names are variables of every policy.
var reserved = [...]string{"now", "params", "items", "it"}

// Validate reports a declaration that could not work: a kind that is no
// identifier, two different objects of the same name, a field declared twice.
func (s *Subject) Validate() error {
	if !identifier.MatchString(s.Kind) {
		return fmt.Errorf("subject %q: the kind must be a lower-case identifier", s.Kind)
	}
	for _, r := range reserved {
		if s.Kind == r {
			return fmt.Errorf("subject %q: the name is taken by a variable of every policy", s.Kind)
		}
	}
	if s.Type == nil {
		return fmt.Errorf("subject %s: no type", s.Kind)
	}
	_, err := s.objects()
	return err
}

// objects returns every object reachable from the subject, by name.
func (s *Subject) objects() (map[string]*Object, error) {
	found := map[string]*Object{}
	var visitType func(Type) error
	visit := func(o *Object) error {
		if o.Name == "" {
			return fmt.Errorf("subject %s: an object without a name", s.Kind)
		}
		if prev, ok := found[o.Name]; ok {
			if prev != o {
				return fmt.Errorf("subject %s: two objects are named %s", s.Kind, o.Name)
			}
			return nil
		}
		found[o.Name] = o
		seen := map[string]bool{}
		for _, f := range o.Fields {
			if !identifier.MatchString(strings.ToLower(f.Name)) || seen[f.Name] {
				return fmt.Errorf("subject %s: object %s: field %q is declared twice or is no identifier", s.Kind, o.Name, f.Name)
			}
			seen[f.Name] = true
			if err := visitType(f.Type); err != nil {
				return err
			}
		}
		return nil
	}
	visitType = func(t Type) error {
		if t.elem != nil {
			return visitType(*t.elem)
		}
		if t.object != nil {
			return visit(t.object)
		}
		return nil
	}
	return found, visit(s.Type)
}

// describe lists the fields of the subject in the order of their declaration.
func (s *Subject) describe() []KindField {
	var fields []KindField
	open := map[*Object]bool{}
	var walk func(prefix string, o *Object)
	walk = func(prefix string, o *Object) {
		if open[o] {
			return // a process has a parent, which is a process
		}
		open[o] = true
		defer delete(open, o)
		for _, f := range o.Fields {
			fields = append(fields, KindField{Path: prefix + "." + f.Name, Type: f.Type.String(), Doc: f.Doc})
			t, p := f.Type, prefix+"."+f.Name
			for t.elem != nil {
				t, p = *t.elem, p+"[]"
			}
			if t.object != nil {
				walk(p, t.object)
			}
		}
	}
	walk(s.Kind, s.Type)
	return fields
}

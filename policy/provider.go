package policy

import (
	"sort"
	"sync"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// provider tells CEL's checker about the objects of subjects. Values stay plain
// maps: the checker is strict, and at run time a field that is absent from the
// map is an error ("no such key"), which is exactly the difference between "not
// known" and "known to be empty" that a verdict needs. A proto or a Go struct
// would turn a missing field into its zero value and a missing USER into root.
type provider struct {
	types.Provider
	objects map[string]*Object

	mu sync.Mutex
	// missed remembers the fields that were asked for in vain, for suggestions.
	missed map[string]map[string]bool // field → names of objects
}

func newProvider(base types.Provider, objects map[string]*Object) *provider {
	return &provider{Provider: base, objects: objects, missed: map[string]map[string]bool{}}
}

func (p *provider) FindStructType(name string) (*types.Type, bool) {
	if _, ok := p.objects[name]; ok {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return p.Provider.FindStructType(name)
}

func (p *provider) FindStructFieldNames(name string) ([]string, bool) {
	o, ok := p.objects[name]
	if !ok {
		return p.Provider.FindStructFieldNames(name)
	}
	names := make([]string, 0, len(o.Fields))
	for _, f := range o.Fields {
		names = append(names, f.Name)
	}
	sort.Strings(names)
	return names, true
}

func (p *provider) FindStructFieldType(object, field string) (*types.FieldType, bool) {
	o, ok := p.objects[object]
	if !ok {
		return p.Provider.FindStructFieldType(object, field)
	}
	if f, ok := o.field(field); ok {
		// Without IsSet and GetFrom the interpreter looks the field up as a map key.
		return &types.FieldType{Type: f.Type.cel()}, true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.missed[field] == nil {
		p.missed[field] = map[string]bool{}
	}
	p.missed[field][object] = true
	return nil, false
}

func (p *provider) NewValue(name string, fields map[string]ref.Val) ref.Val {
	if _, ok := p.objects[name]; ok {
		return types.NewErr("%s: a policy judges subjects, it cannot make one", name)
	}
	return p.Provider.NewValue(name, fields)
}

// suggestField proposes a field for one that does not exist.
func (p *provider) suggestField(field string) (object, suggestion string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	owners := make([]string, 0, len(p.missed[field]))
	for o := range p.missed[field] {
		owners = append(owners, o)
	}
	sort.Strings(owners)
	for _, o := range owners {
		names, _ := p.FindStructFieldNames(o)
		if s := nearest(field, names); s != "" {
			return o, s
		}
	}
	if len(owners) > 0 {
		return owners[0], ""
	}
	return "", ""
}

package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/bollwerk/bollwerk"
)

// The schema is generated from the Go types and their comments, so that a field
// cannot be in one and not in the other: go test ./report -update writes it.
const schemaFile = "../docs/result.schema.json"

// words are the closed lists of the contract.
func schemaWords() map[string][]string {
	return map[string][]string{
		"ArtifactKind": {"image", "directory", "host", "archive", "sbom"},
		"FindingKind":  {"vulnerability", "malware", "secret", "standard", "notice"},
		"Verdict":      {"pass", "fail", "not_evaluated", "degraded"},
		"Priority":     {"now", "soon", "later", "watch"},
		"FactKind":     {"setuid", "setgid", "capability", "shell", "package-manager", "debug-tool", "world-writable"},
		"Severity":     {"unknown", "none", "low", "medium", "high", "critical"},
	}
}

// limits are bounds that a Go type does not say.
func schemaLimits() map[string]map[string]any {
	unit := map[string]any{"minimum": 0, "maximum": 1}
	score := map[string]any{"minimum": 0, "maximum": 10}
	return map[string]map[string]any{
		"EPSS.score": unit, "EPSS.percentile": unit, "Summary.completeness": unit,
		"CVSS.score": score, "Finding.score": score,
		"Result.schema":           {"pattern": `^1\.[0-9]+$`},
		"Result.duration_seconds": {"minimum": 0},
		"Finding.mode":            {"enum": []any{"observe", "warn", "enforce"}},
		"Finding.rank":            {"minimum": 1},
		"Suppression.by":          {"enum": []any{"exception", "vex"}},
		"KEV.date_added":          {"pattern": `^[0-9]{4}-[0-9]{2}-[0-9]{2}$`},
	}
}

type schemaMaker struct {
	comments map[string]string // "Type" and "Type.Field"
	defs     map[string]any
	words    map[string][]string
	limits   map[string]map[string]any
	used     map[string]bool
}

func (m *schemaMaker) of(t reflect.Type) map[string]any {
	switch {
	case t == reflect.TypeOf(time.Time{}):
		return map[string]any{"type": "string", "format": "date-time"}
	case t.Name() == "Digest":
		return map[string]any{"type": "string", "pattern": "^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})?$"}
	case t.Name() == "FindingID":
		return map[string]any{"type": "string", "pattern": "^[a-z2-7]{12}$"}
	}
	if w, ok := m.words[t.Name()]; ok {
		list := make([]any, len(w))
		for i := range w {
			list[i] = w[i]
		}
		return map[string]any{"type": "string", "enum": list}
	}
	switch t.Kind() {
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return map[string]any{"type": "integer", "minimum": 0}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": m.of(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": m.of(t.Elem())}
	case reflect.Pointer:
		return m.of(t.Elem())
	case reflect.Struct:
		if _, ok := m.defs[t.Name()]; !ok {
			m.defs[t.Name()] = nil // against recursion
			m.defs[t.Name()] = m.object(t)
		}
		return map[string]any{"$ref": "#/$defs/" + t.Name()}
	}
	panic(fmt.Sprintf("no schema for %v", t))
}

func (m *schemaMaker) object(t reflect.Type) map[string]any {
	props := map[string]any{}
	required := []any{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		s := m.of(f.Type)
		key := t.Name() + "." + name
		if l, ok := m.limits[key]; ok {
			m.used[key] = true
			for k, v := range l {
				s[k] = v
			}
		}
		if f.Type.Kind() == reflect.Pointer && options != "omitempty" {
			s = map[string]any{"anyOf": []any{s, map[string]any{"type": "null"}}}
		}
		if c := m.comments[t.Name()+"."+f.Name]; c != "" {
			s["description"] = c
		}
		props[name] = s
		if options != "omitempty" {
			required = append(required, name)
		}
	}
	o := map[string]any{"type": "object", "properties": props, "additionalProperties": false}
	if len(required) > 0 {
		o["required"] = required
	}
	if c := m.comments[t.Name()]; c != "" {
		o["description"] = c
	}
	return o
}

// wordComments reads the comments of the root package's types and fields.
func wordComments(t *testing.T) map[string]string {
	files, err := filepath.Glob("../*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("the root package is not beside this one: %v", err)
	}
	out := map[string]string{}
	text := func(groups ...*ast.CommentGroup) string {
		for _, g := range groups {
			if s := strings.Join(strings.Fields(g.Text()), " "); s != "" {
				return s
			}
		}
		return ""
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range g.Specs {
				ts, ok := spec.(*ast.TypeSpec)
				if !ok {
					continue
				}
				out[ts.Name.Name] = text(ts.Doc, g.Doc)
				st, ok := ts.Type.(*ast.StructType)
				if !ok {
					continue
				}
				for _, f := range st.Fields.List {
					for _, n := range f.Names {
						out[ts.Name.Name+"."+n.Name] = text(f.Doc, f.Comment)
					}
				}
			}
		}
	}
	return out
}

func TestSchemaIsThatOfTheTypes(t *testing.T) {
	m := &schemaMaker{comments: wordComments(t), defs: map[string]any{}, words: schemaWords(), limits: schemaLimits(), used: map[string]bool{}}
	root := m.object(reflect.TypeOf(bollwerk.Result{}))
	for key := range m.limits {
		if !m.used[key] {
			t.Errorf("the bound of %s belongs to no field", key)
		}
	}
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["$id"] = "https://github.com/bollwerk/bollwerk/raw/main/docs/result.schema.json"
	root["title"] = "Bollwerk scan result " + bollwerk.ResultSchema
	root["$defs"] = m.defs
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(root); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(schemaFile, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, b.Bytes()) {
		t.Errorf("docs/result.schema.json is not that of the types in the root package; go test ./report -update\n%s", excerpt(b.Bytes(), got))
	}
}

// The closed lists above are those of the constants in the root package.
func TestSchemaWordsAreTheConstants(t *testing.T) {
	files, err := filepath.Glob("../*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			vs, ok := n.(*ast.ValueSpec)
			if !ok || vs.Type == nil {
				return true
			}
			id, ok := vs.Type.(*ast.Ident)
			if !ok {
				return true
			}
			for _, v := range vs.Values {
				if lit, ok := v.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					found[id.Name] = append(found[id.Name], strings.Trim(lit.Value, `"`))
				}
			}
			return true
		})
	}
	for name, words := range schemaWords() {
		if name == "Severity" {
			for i, w := range words {
				if got := bollwerk.Severity(i).String(); got != w {
					t.Errorf("severity %d is %q, the schema says %q", i, got, w)
				}
			}
			continue
		}
		a, b := append([]string{}, words...), append([]string{}, found[name]...)
		sort.Strings(a)
		sort.Strings(b)
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%s: the schema lists %v, the constants are %v", name, a, b)
		}
	}
}

func compileSchema(t testing.TB, file string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	s, err := c.Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validate(t testing.TB, s *jsonschema.Schema, name string, doc []byte) error {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return s.Validate(v)
}

func TestJSONFollowsTheSchema(t *testing.T) {
	s := compileSchema(t, schemaFile)
	for _, f := range fixtures(t) {
		doc := render(t, f, "json", f.o)
		if err := validate(t, s, f.name, doc); err != nil {
			t.Errorf("%s: %v", f.name, err)
		}
	}
}

// The schema refuses what the contract forbids; a schema that takes everything
// would make the test above worthless.
func TestSchemaRefuses(t *testing.T) {
	s := compileSchema(t, schemaFile)
	good := render(t, fixtures(t)[0], "json", Options{})
	for name, change := range map[string]func(map[string]any){
		"a null list":        func(m map[string]any) { m["findings"] = nil },
		"an unknown field":   func(m map[string]any) { m["verdicts"] = "pass" },
		"a missing field":    func(m map[string]any) { delete(m, "coverage") },
		"an unknown verdict": func(m map[string]any) { m["verdict"] = "ok" },
		"another version":    func(m map[string]any) { m["schema"] = "2.0" },
		"a bad digest":       func(m map[string]any) { m["target"].(map[string]any)["digest"] = "sha256:xyz" },
	} {
		var m map[string]any
		if err := json.Unmarshal(good, &m); err != nil {
			t.Fatal(err)
		}
		change(m)
		doc, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if validate(t, s, name, doc) == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

// A result whose every field is set says every property of the schema, and reads
// back as it was.
func TestJSONSaysEveryField(t *testing.T) {
	var r bollwerk.Result
	fill(reflect.ValueOf(&r).Elem(), 0)
	var b bytes.Buffer
	if err := JSON(&b, &r, Options{}); err != nil {
		t.Fatal(err)
	}
	var back bollwerk.Result
	dec := json.NewDecoder(bytes.NewReader(b.Bytes()))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&back); err != nil {
		t.Fatal(err)
	}
	clearUnwritten(&r)
	if !reflect.DeepEqual(r, back) {
		t.Errorf("read back differs:\n%+v\n%+v", r, back)
	}
	var schema struct {
		Properties map[string]any `json:"properties"`
	}
	raw, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &schema); err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b.Bytes(), &m); err != nil {
		t.Fatal(err)
	}
	for name := range schema.Properties {
		if _, ok := m[name]; !ok {
			t.Errorf("%s is in the schema and was not written", name)
		}
	}
}

// fill sets every field to something that is not zero.
func fill(v reflect.Value, depth int) {
	if v.Type() == reflect.TypeOf(time.Time{}) {
		v.Set(reflect.ValueOf(started))
		return
	}
	if v.Type() == reflect.TypeOf(bollwerk.Severity(0)) {
		v.SetUint(uint64(bollwerk.SeverityHigh))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Float64:
		v.SetFloat(0.5)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), depth+1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), depth+1)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		e := reflect.New(v.Type().Elem()).Elem()
		fill(e, depth+1)
		v.SetMapIndex(reflect.ValueOf("k"), e)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), depth+1)
		}
	}
}

// clearUnwritten empties the fields that the contract leaves out.
func clearUnwritten(r *bollwerk.Result) {
	for i := range r.Packages {
		r.Packages[i].Files, r.Packages[i].Symbols = nil, nil
	}
}

// The empty result has no null but for the two fields where null means "not known".
func TestJSONHasNoNullLists(t *testing.T) {
	r := &bollwerk.Result{Findings: []bollwerk.Finding{{}}, Actions: []bollwerk.Action{{}}, Packages: []bollwerk.Package{{}}, Coverage: []bollwerk.Coverage{{}},
		Target: bollwerk.Artifact{BaseImage: &bollwerk.BaseImage{}}}
	var b bytes.Buffer
	if err := JSON(&b, r, Options{}); err != nil {
		t.Fatal(err)
	}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch x := v.(type) {
		case nil:
			if !strings.HasSuffix(path, ".kev") && !strings.HasSuffix(path, ".epss") {
				t.Errorf("%s is null", path)
			}
		case map[string]any:
			for k, y := range x {
				walk(path+"."+k, y)
			}
		case []any:
			for _, y := range x {
				walk(path, y)
			}
		}
	}
	var v any
	if err := json.Unmarshal(b.Bytes(), &v); err != nil {
		t.Fatal(err)
	}
	walk("", v)
}

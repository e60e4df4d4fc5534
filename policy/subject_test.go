package policy

import (
	"reflect"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
)

// fill sets every field of a struct to something that is not its zero value, so
// that a field of the words that a builder or the schema gets wrong shows up.
func fill(v reflect.Value, depth int) {
	if depth > 8 {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), depth+1)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)))
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), depth+1)
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), depth+1)
		fill(v.Index(1), depth+1)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, depth+1)
		fill(elem, depth+1)
		v.SetMapIndex(key, elem)
	case reflect.String:
		v.SetString("text:1")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint8:
		v.SetUint(3)
	case reflect.Float64:
		v.SetFloat(0.5)
	}
}

// The builders promise that what they make needs no further check. The promise
// is checked here, with full words and with empty ones.
func TestBuildersKeepTheSchema(t *testing.T) {
	subjects := map[string]*Subject{}
	for _, s := range Subjects() {
		if err := s.Validate(); err != nil {
			t.Fatal(err)
		}
		subjects[s.Kind] = s
	}
	for _, full := range []bool{true, false} {
		var r bollwerk.Result
		var p bollwerk.Package
		var f bollwerk.FileFact
		var s bollwerk.Secret
		var x bollwerk.Finding
		var prov bollwerk.Provenance
		if full {
			for _, v := range []any{&r, &p, &f, &s, &x, &prov} {
				fill(reflect.ValueOf(v).Elem(), 0)
			}
		}
		r.Target.Kind = bollwerk.KindImage
		for kind, in := range map[string]Input{
			"image": ImageSubject(&r, []bollwerk.Secret{s}), "distribution": DistributionSubject(&r), "package": PackageSubject(&p),
			"file": FileSubject(&f), "secret": SecretSubject(&s), "finding": FindingSubject(&x), "provenance": ProvenanceSubject(&prov),
		} {
			if !in.conformed {
				t.Errorf("%s: makes no promise", kind)
			}
			if in.Value == nil {
				if full || kind != "distribution" {
					t.Errorf("%s: no value", kind)
				}
				continue
			}
			got, err := new(conformer).conform(in.Value, Of(subjects[kind].Type), kind, 0)
			if err != nil {
				t.Errorf("%s (full: %v): %v", kind, full, err)
				continue
			}
			if !reflect.DeepEqual(got, in.Value) {
				t.Errorf("%s (full: %v): conforming changed the value\nfrom %#v\n  to %#v", kind, full, in.Value, got)
			}
			if !full {
				continue
			}
			for _, field := range subjects[kind].Type.Fields {
				if _, ok := in.Value.(map[string]any)[field.Name]; !ok {
					t.Errorf("%s.%s is declared and never set", kind, field.Name)
				}
			}
		}
	}
}

func TestProvenanceSubject(t *testing.T) {
	if in := ProvenanceSubject(nil); in.Value != nil {
		t.Error("nobody looked, and there is a value")
	}
	in := ProvenanceSubject(&bollwerk.Provenance{Verdict: bollwerk.NotEvaluated, Causes: []string{"the registry stalled", "no network"}})
	if in.Value != nil || in.Cause != "the registry stalled; no network" {
		t.Errorf("%+v", in)
	}
	// A join may hand the word over as it is.
	s := provenanceSubject()
	in, err := s.input(Input{Value: &bollwerk.Provenance{Verdict: bollwerk.Pass, Signed: true}})
	if err != nil || in.Value.(map[string]any)["signed"] != true {
		t.Errorf("%v %+v", err, in)
	}
	in, err = s.input(&bollwerk.Provenance{Verdict: bollwerk.Degraded, Signed: true, Causes: []string{"no log"}})
	if err != nil || len(in.Coverage) != 1 {
		t.Errorf("%v %+v", err, in)
	}
}

func TestTag(t *testing.T) {
	for name, want := range map[string]string{
		"debian:12": "12", "debian": "", "localhost:5000/app": "", "localhost:5000/app:1.2": "1.2", "app:1@sha256:ab": "1", "app@sha256:ab": "", "": "",
	} {
		if got := tagOf(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func TestBaseLines(t *testing.T) {
	h := func(empty ...bool) (out []bollwerk.HistoryLine) {
		for _, e := range empty {
			out = append(out, bollwerk.HistoryLine{EmptyLayer: e})
		}
		return out
	}
	base := func(n, all int) (out []bollwerk.Layer) {
		for i := range all {
			out = append(out, bollwerk.Layer{FromBase: i < n})
		}
		return out
	}
	for _, c := range []struct {
		history []bollwerk.HistoryLine
		layers  []bollwerk.Layer
		want    int
	}{
		{h(false, true, false, true), base(1, 2), 1},
		{h(true, false, true, false), base(1, 2), 2},
		{h(false, false), base(0, 2), 0},
		{h(false, false), base(2, 2), 2},
		{h(true, true), base(1, 1), 0}, // the history does not describe the layers
		{nil, base(1, 1), 0},
	} {
		if got := baseLines(c.history, c.layers); got != c.want {
			t.Errorf("%v %v: %d, want %d", c.history, c.layers, got, c.want)
		}
	}
}

func TestNearest(t *testing.T) {
	fields := []string{"user", "env", "entrypoint", "labels", "exposed_ports"}
	for word, want := range map[string]string{"usr": "user", "uesr": "user", "label": "labels", "exposedports": "exposed_ports", "zzz": "", "": "", "history": ""} {
		if got := nearest(word, fields); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}

func TestSpan(t *testing.T) {
	for s, want := range map[string]time.Duration{"180d": 180 * 24 * time.Hour, "36h": 36 * time.Hour, "0d": 0, "-1d": -24 * time.Hour} {
		if got, err := ParseSpan(s); err != nil || got != want {
			t.Errorf("%s: %v %v", s, got, err)
		}
	}
	for _, s := range []string{"", "d", "1.5d", "999999999999d", "100001d", "1y", "3 d"} {
		if got, err := ParseSpan(s); err == nil {
			t.Errorf("%q: accepted as %v", s, got)
		}
	}
}

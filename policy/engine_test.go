package policy_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/policy"
)

var day = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func engine(t testing.TB, o policy.Options) *policy.Engine {
	t.Helper()
	if o.Now.IsZero() {
		o.Now = day
	}
	e, err := policy.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func shipped(t testing.TB) []*policy.Policy {
	t.Helper()
	ps, err := policy.Load(os.DirFS("../policies"))
	if err != nil {
		t.Fatal(err)
	}
	return ps
}

func TestShipped(t *testing.T) {
	e := engine(t, policy.Options{})
	r := &bollwerk.Result{Target: bollwerk.Artifact{Kind: bollwerk.KindImage, Name: "app:1", Config: &bollwerk.ImageConfig{}},
		Facts: []bollwerk.FileFact{{Kind: bollwerk.FactSetUID, Path: "usr/bin/su", Detail: "4755"}, {Kind: bollwerk.FactShell, Path: "bin/sh"}}}
	start := time.Now()
	ds, err := e.Evaluate(context.Background(), "image", policy.ImageSubject(r, nil), shipped(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Log(time.Since(start))
	for _, d := range ds {
		t.Log(d.Policy.ID, d.Verdict, d.Message, d.Cause, d.Path, d.Fix)
	}
	for _, f := range policy.Findings(ds) {
		t.Log(f.Fingerprint, f.ID, f.Reason)
	}
	start = time.Now()
	ds, err = e.Evaluate(context.Background(), "image", map[string]any{"files": []any{}}, shipped(t))
	t.Log(time.Since(start))
	for _, d := range ds {
		t.Log(d.Policy.ID, d.Verdict, d.Message, d.Cause, d.Path, d.Fix)
	}
}

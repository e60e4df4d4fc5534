package scan

import (
	"strings"

	"github.com/bollwerk/bollwerk"
)

const (
	redactedValue = "(credential left out)"
	redactedLine  = "(left out: the line holds a credential)"
)

// redact takes credentials out of the configuration that the result carries: a
// result is mailed, uploaded and kept, and must not spread what it warns of.
// lines are the history lines in which a credential was found.
func redact(r *bollwerk.Result, lines map[string]bool) {
	if c := r.Target.Config; c != nil {
		named := map[string]bool{}
		for i := range r.Secrets {
			if r.Secrets[i].Env != "" {
				named[r.Secrets[i].Env] = true
			}
		}
		// The configuration belongs to the opened artifact; the result gets its own.
		own := *c
		own.Env = make([]string, len(c.Env))
		for i, e := range c.Env {
			if name, _, ok := strings.Cut(e, "="); ok && named[name] {
				e = name + "=" + redactedValue
			}
			own.Env[i] = e
		}
		own.History = append([]bollwerk.HistoryLine(nil), c.History...)
		for i := range own.History {
			redactLine(&own.History[i].CreatedBy, lines)
		}
		r.Target.Config = &own
	}
	if len(lines) == 0 {
		return
	}
	r.Target.Layers = append([]bollwerk.Layer(nil), r.Target.Layers...)
	for i := range r.Target.Layers {
		redactLine(&r.Target.Layers[i].CreatedBy, lines)
	}
	layer := func(l *bollwerk.LayerRef) {
		if l != nil {
			redactLine(&l.CreatedBy, lines)
		}
	}
	for i := range r.Packages {
		layer(r.Packages[i].Layer)
	}
	for i := range r.Findings {
		layer(r.Findings[i].Layer)
	}
	for i := range r.Facts {
		layer(r.Facts[i].Layer)
	}
	for i := range r.Secrets {
		layer(r.Secrets[i].Layer)
	}
}

func redactLine(line *string, lines map[string]bool) {
	if lines[*line] {
		*line = redactedLine
	}
}

package scan

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/bollwerk/bollwerk"
)

const (
	redactedValue = "(credential left out)"
	redactedLine  = "(left out: the line holds a credential)"
)

// exposure is what a result must not repeat: it is mailed, uploaded and kept, and
// must not spread what it warns of.
type exposure struct {
	// texts of the image configuration in which a credential was found. Where in them
	// it stands is not known, so they go as a whole.
	texts map[string]bool
	// values of variables. Builders write them into the history too ("ENV TOKEN=…"),
	// where only the name tells that they are credentials.
	values []string
}

func (e *exposure) text(t string) {
	if e.texts == nil {
		e.texts = map[string]bool{}
	}
	e.texts[t] = true
}

// shortest is the length from which a value is looked for in other texts: a password
// "root" would blacken half of the history and protect nobody.
const shortest = 6

func (e *exposure) value(v string) {
	if len(v) >= shortest {
		e.values = append(e.values, v)
	}
}

// configured looks for credentials in the image configuration: everybody who can pull
// the image reads it.
func (s *state) configured(ctx context.Context, c *bollwerk.ImageConfig) []bollwerk.Secret {
	var out []bollwerk.Secret
	search := func(place, text string) []bollwerk.Secret {
		found := s.options.Secrets(ctx, place, []byte(text))
		for i := range found {
			found[i].Path, found[i].Env, found[i].Line = place, "", 0
		}
		return found
	}
	for _, e := range c.Env {
		name, value, _ := strings.Cut(e, "=")
		for _, sec := range s.options.Secrets(ctx, "env "+name, []byte(value)) {
			sec.Path, sec.Env, sec.Line = "", name, 0
			s.exposed.value(value)
			out = append(out, sec)
		}
	}
	out = append(out, s.acrossVariables(ctx, c.Env, out)...)
	layer := -1
	for _, h := range c.History {
		if !h.EmptyLayer {
			layer++
		}
		for _, text := range []string{h.CreatedBy, h.Comment} {
			for _, sec := range search("image history", text) {
				s.exposed.text(text)
				if !h.EmptyLayer && layer < len(s.result.Target.Layers) {
					sec.Layer = refOf(s.result.Target.Layers[layer])
				}
				out = append(out, sec)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Labels)) {
		found := search("image label "+name, c.Labels[name])
		if len(found) > 0 {
			s.exposed.text(c.Labels[name])
		}
		out = append(out, found...)
	}
	for _, list := range []struct {
		place string
		words []string
	}{{"image entrypoint", c.Entrypoint}, {"image command", c.Cmd}, {"image health check", c.Healthcheck}} {
		found := search(list.place, strings.Join(list.words, " "))
		if len(found) > 0 {
			// "--password" and its value are two words: which is which is not known.
			for _, w := range list.words[min(1, len(list.words)-1):] {
				s.exposed.text(w)
			}
		}
		out = append(out, found...)
	}
	return out
}

// acrossVariables finds credentials that stand in two variables, as the two halves
// of an AWS key do: neither is a credential for itself.
func (s *state) acrossVariables(ctx context.Context, env []string, known []bollwerk.Secret) []bollwerk.Secret {
	if len(env) < 2 {
		return nil
	}
	seen := map[string]bool{}
	for i := range known {
		seen[known[i].Detector+known[i].Hash] = true
	}
	var out []bollwerk.Secret
	for _, sec := range s.options.Secrets(ctx, "image environment", []byte(strings.Join(env, "\n"))) {
		if seen[sec.Detector+sec.Hash] || sec.Line < 1 || sec.Line > len(env) {
			continue
		}
		name, value, _ := strings.Cut(env[sec.Line-1], "=")
		sec.Path, sec.Env, sec.Line = "", name, 0
		s.exposed.value(value)
		out = append(out, sec)
	}
	return out
}

// redact takes credentials out of the configuration and the layers of the result.
func (e *exposure) redact(r *bollwerk.Result) {
	slices.SortFunc(e.values, func(a, b string) int { return len(b) - len(a) }) // one may hold another
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
		for i, v := range c.Env {
			if name, _, ok := strings.Cut(v, "="); ok && named[name] {
				v = name + "=" + redactedValue
			} else {
				e.clean(&v)
			}
			own.Env[i] = v
		}
		own.History = append([]bollwerk.HistoryLine(nil), c.History...)
		for i := range own.History {
			e.clean(&own.History[i].CreatedBy)
			e.clean(&own.History[i].Comment)
		}
		own.Labels = maps.Clone(c.Labels)
		for name, text := range own.Labels {
			e.clean(&text)
			own.Labels[name] = text
		}
		for _, list := range []*[]string{&own.Entrypoint, &own.Cmd, &own.Healthcheck} {
			*list = slices.Clone(*list)
			for i := range *list {
				e.clean(&(*list)[i])
			}
		}
		r.Target.Config = &own
	}
	if len(e.texts) == 0 && len(e.values) == 0 {
		return
	}
	r.Target.Layers = append([]bollwerk.Layer(nil), r.Target.Layers...)
	for i := range r.Target.Layers {
		e.clean(&r.Target.Layers[i].CreatedBy)
	}
	layer := func(l *bollwerk.LayerRef) {
		if l != nil {
			e.clean(&l.CreatedBy)
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

func (e *exposure) clean(text *string) {
	if e.texts[*text] {
		*text = redactedLine
		return
	}
	for _, v := range e.values {
		*text = strings.ReplaceAll(*text, v, redactedValue)
	}
}

package sbom

import (
	"context"

	"github.com/bollwerk/bollwerk"
)

// TextSearcher is an extractor that can also search text that is no file: a
// variable of an image's environment, a line of its history.
type TextSearcher interface {
	Extractor
	SearchText(ctx context.Context, name string, text []byte) []bollwerk.Secret
}

// SecretsInText searches the value of a variable (name is the variable's name), or
// another text (name says which: "history 3"). What is found has Env set to name
// and no Path.
func (s *Set) SecretsInText(ctx context.Context, name string, text []byte) []bollwerk.Secret {
	var out []bollwerk.Secret
	for _, e := range s.all {
		if t, ok := e.(TextSearcher); ok {
			out = append(out, t.SearchText(ctx, name, text)...)
		}
	}
	return out
}

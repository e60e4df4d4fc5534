package scalibr

import "testing"

// What a foreign reader passes over in silence must not count as clean.
func TestMissed(t *testing.T) {
	const freeze = "constraints: any.base ==4.18.0.0,\n             any.text ==2.0.2\n"
	const stack = "packages:\n- completed:\n    hackage: text-2.0.2@sha256:00,1\n  original:\n    hackage: text-2.0.2\n"
	const renv = `{"R":{"Version":"4.3.1"},"Packages":{"R6":{"Package":"R6","Version":"2.5.1"}}}`
	for _, c := range []struct {
		name, data  string
		found, want int
	}{
		{"haskell/cabal-freeze", freeze, 2, 0},
		{"haskell/cabal-freeze", freeze, 1, 1},
		{"haskell/cabal-freeze", "not a freeze file\n", 0, 1},
		{"haskell/cabal-freeze", "\n", 0, 0},
		{"haskell/stack-lock", stack, 1, 0},
		{"haskell/stack-lock", stack, 0, 1},
		{"r/renv-lock", renv, 1, 0},
		{"r/renv-lock", renv, 0, 1},
		{"npm/package-lock", "{}", 0, 0},
	} {
		if got := missed(c.name, []byte(c.data), c.found); got != c.want {
			t.Errorf("%s with %d found: %d, want %d", c.name, c.found, got, c.want)
		}
	}
}

//go:build keep

package keep

import (
	_ "github.com/google/go-cmp/cmp"
)

package erlang

import (
	"testing"

	"github.com/bollwerk/bollwerk/sbom/sbomtest"
)

func TestStories(t *testing.T) {
	sbomtest.Stories(t, "testdata/*.txtar", Runtime{})
}

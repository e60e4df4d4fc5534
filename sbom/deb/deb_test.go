package deb

import (
	"testing"

	"github.com/bollwerk/bollwerk/sbom/osrelease"
	"github.com/bollwerk/bollwerk/sbom/sbomtest"
)

func TestStories(t *testing.T) {
	sbomtest.Stories(t, "testdata/*.txtar", osrelease.Extractor{}, Status{}, Lists{}, Copyrights{})
}

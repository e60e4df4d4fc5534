package sbom_test

import (
	"context"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom"
)

// slow finds one package in every file, but not before it is allowed to.
type slow struct{ gate chan struct{} }

func (slow) Name() string                  { return "test/slow" }
func (slow) Ecosystem() bollwerk.Ecosystem { return bollwerk.EcosystemNPM }
func (slow) Wants(*bollwerk.File) bool     { return true }
func (s slow) Extract(context.Context, *sbom.Input) (bollwerk.Inventory, error) {
	<-s.gate
	return bollwerk.Inventory{Packages: []bollwerk.Package{{Name: "left-pad", Version: "1.0.0", Ecosystem: bollwerk.EcosystemNPM}}}, nil
}

// The context of a read ends with the read. Files that wait for a worker then must
// still be looked into: left out silently, they would count as clean.
func TestQueuedFilesSurviveTheEndOfTheRead(t *testing.T) {
	s := slow{make(chan struct{})}
	set, err := sbom.NewSet(s)
	if err != nil {
		t.Fatal(err)
	}
	c := set.NewCollector(sbom.CollectorOptions{Workers: 1})
	read, end := context.WithCancel(t.Context())
	for _, name := range []string{"a", "b", "c"} {
		f := bollwerk.File{Path: name, Size: 1}
		if !c.Wants(&f) {
			t.Fatalf("%s is not wanted", name)
		}
		if err := c.Visit(read, f, strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
	}
	end()
	close(s.gate)
	part, err := c.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(part.Inventory.Packages); n != 3 {
		t.Errorf("%d packages of 3 files were found", n)
	}
}

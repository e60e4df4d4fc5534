package policies_test

import (
	"io/fs"
	"os"
	"path"
	"testing"

	"github.com/bollwerk/bollwerk/policies"
)

// A folder that nobody embedded would be tested and never shipped.
func TestEverythingIsShipped(t *testing.T) {
	n := 0
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(name) != ".yaml" {
			return err
		}
		n++
		want, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		got, err := fs.ReadFile(policies.Files(), name)
		if err != nil {
			t.Errorf("%s is not shipped: add its area to the embed line", name)
		} else if string(got) != string(want) {
			t.Errorf("%s is shipped in another form", name)
		}
		return nil
	})
	if err != nil || n == 0 {
		t.Fatal(err, n)
	}
}

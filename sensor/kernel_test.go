package sensor

import (
	"testing"
)

func TestOpenKernel(t *testing.T) {
	s, err := Open(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	t.Log(s.k.Hierarchy, s.k.CgroupRoot, s.k.Unified, s.k.host, s.k.noBPF)
}

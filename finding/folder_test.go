package finding

import "testing"

func TestProjectFolder(t *testing.T) {
	for _, c := range []struct {
		dir, want string
		ok        bool
	}{
		{"services/shop", "services/shop", true},
		{"app/node_modules/axios", "app", true},
		{"app/node_modules/a/node_modules/b", "app", true},
		{"node_modules/axios", "", false},
		{"usr/lib/python3/dist-packages/requests-2.19.0.dist-info", "", false},
	} {
		if got, ok := projectFolder(c.dir); got != c.want || ok != c.ok {
			t.Errorf("%s: %q, %t; want %q, %t", c.dir, got, ok, c.want, c.ok)
		}
	}
}

package profile

import (
	"testing"

	"github.com/bollwerk/bollwerk"
)

func TestEntriesAreReadTheWayPeopleWriteThem(t *testing.T) {
	for _, c := range []struct {
		cat      Category
		in, want string // want "" refuses
	}{
		{Executable, "/usr/bin/git", "/usr/bin/git"},
		{Executable, "(memory)", "(memory)"},
		{Start, "/usr/sbin/nginx -> /bin/sh", "/usr/sbin/nginx -> /bin/sh"},
		{Start, "(outside)->/bin/sh", "(outside) -> /bin/sh"},
		{Start, "/bin/sh", ""},
		{Port, "tcp/8080", "tcp/8080"},
		{Port, "udp/50000", "udp/32768"},
		{Port, "8080", ""},
		{Port, "tcp/80000", ""},
		{Destination, "tcp/5432 name:DB.shop.svc.", "tcp/5432 name:db.shop.svc"},
		{Destination, "tcp/443 203.0.113.7", "tcp/443 203.0.113.7"},
		{Destination, "tcp/443 10.3.4.5/16", "tcp/443 10.3.0.0/16"},
		{Destination, "tcp/443 10.3.4.5/20", ""},
		{Destination, "tcp/443 2001:db8::/32", "tcp/443 2001:db8::/32"},
		{Destination, "tcp/443 2001:db8::/33", ""},
		{Destination, "tcp/443 127.0.0.1", "tcp/443 loopback"},
		{Destination, "unix unix:/run/app-123.sock", "unix/0 unix:/run/app-*.sock"},
		{Destination, "tcp/443 workload:shop/Deployment/cart", "tcp/443 workload:shop/Deployment/cart"},
		{Destination, "tcp/443", ""},
		{Destination, "tcp/443 somewhere", ""},
		{Client, "tcp/80 10.0.0.0/8", "tcp/80 10.0.0.0/8"},
		{Name, "*.example.com", "*.example.com"},
		{Write, "/data/**", "/data/**"},
		{Write, "/tmp/build-4711/x", "/tmp/build-*/x"},
		{Write, "/a\x1b[2J", "/a?[2J"},
		{Write, "", ""},
		{User, "101", "101"},
		{User, "root", ""},
		{Capability, "CAP_NET_RAW", "CAP_NET_RAW"},
		{Behaviour, "", ""},
	} {
		e, err := ParseEntry(c.cat, c.in)
		switch {
		case c.want == "" && err == nil:
			t.Errorf("%s %q: taken as %q", c.cat, c.in, e)
		case c.want != "" && (err != nil || e.String() != c.want):
			t.Errorf("%s %q: %q, %v; want %q", c.cat, c.in, e, err, c.want)
		case c.want != "":
			if again, err := ParseEntry(c.cat, e.String()); err != nil || again.String() != e.String() {
				t.Errorf("%s %q: read again it is %q, %v", c.cat, e, again, err)
			}
		}
	}
}

// What an event showed can be pasted into an edit, and the edit decides about it.
func TestPastedEntriesDecide(t *testing.T) {
	w := newWorld(t, Config{})
	wl, p := w.learned(3, 8*24*60*60*1e9, Observe)
	for _, c := range []struct {
		cat  Category
		text string
		e    *bollwerk.Event
	}{
		{Write, "/srv/out/report-20260310.csv", w.open(wl, p, "/srv/out/report-20260311.csv", bollwerk.AccessWrite)},
		{Destination, "tcp/8443 name:Mail.Example.com", w.connect(wl, p, "mail.example.com", "203.0.113.9:8443")},
		{Destination, "tcp/25 203.0.113.0/24", w.connect(wl, p, "", "203.0.113.9:25")},
		{Port, "tcp/9090", w.listen(wl, p, 9090)},
	} {
		if len(w.book.Observe(c.e, false)) == 0 {
			t.Errorf("%s %s was known before", c.cat, c.text)
		}
		entry := must(ParseEntry(c.cat, c.text))
		if err := w.book.Edit(wl.Key(), entry, Edit{By: "ann", Reason: "release 7"}); err != nil {
			t.Fatal(err)
		}
		w.quiet(c.e)
		if !must(w.book.Profile(wl.Key())).Restriction().Allows(c.e) {
			t.Errorf("%s %s: allowed, but not in the restriction", c.cat, c.text)
		}
	}
}

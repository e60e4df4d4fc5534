package attack

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
)

// wire is a network of containers on this machine, as runtimes make it: each container has a
// namespace and an address of its own, and the host an address and a route. The bridge stands
// in a namespace too, as the host's firewall may forward nothing.
type wire struct {
	t      testing.TB
	bridge *network
	name   string // begins the names of interfaces
	net    string // the first three numbers of the addresses
	ports  int
}

func newWire(t testing.TB) *wire {
	t.Helper()
	need(t, "ip")
	w := &wire{t: t, bridge: newSpace(t), name: fmt.Sprintf("bw%d", os.Getpid()%100000)}
	taken := map[string]bool{}
	addrs, err := net.InterfaceAddrs()
	must(t, err)
	for _, a := range addrs {
		taken[a.(*net.IPNet).IP.Mask(net.CIDRMask(24, 32)).String()] = true
	}
	for i := os.Getpid() % 200; w.net == ""; i = (i + 1) % 200 {
		if s := fmt.Sprintf("10.231.%d", i); !taken[s+".0"] {
			w.net = s
		}
	}
	w.bridge.in(func() {
		w.ip("link add br0 type bridge")
		w.ip("link set br0 up")
	})
	host := w.plug()
	w.ip("addr add %s.1/24 dev %s", w.net, host)
	w.ip("link set %s up", host)
	return w
}

// plug connects an interface, on the host, with the bridge.
func (w *wire) plug() string {
	w.t.Helper()
	w.ports++
	here, there := fmt.Sprintf("%sh%d", w.name, w.ports), fmt.Sprintf("%sb%d", w.name, w.ports)
	w.ip("link add %s type veth peer name %s", here, there)
	w.t.Cleanup(func() { _ = exec.Command("ip", "link", "del", here).Run() })
	w.ip("link set %s netns %s", there, w.bridge.path)
	w.bridge.in(func() {
		w.ip("link set %s master br0", there)
		w.ip("link set %s up", there)
	})
	return here
}

// space is a namespace with an address on the wire.
func (w *wire) space(number int) *network {
	w.t.Helper()
	n := newSpace(w.t)
	port := w.plug()
	w.ip("link set %s netns %s name eth0", port, n.path)
	n.in(func() {
		w.ip("link set lo up")
		w.ip("addr add %s/24 dev eth0", w.at(number))
		w.ip("link set eth0 up")
	})
	return n
}

func (w *wire) at(number int) string { return fmt.Sprintf("%s.%d", w.net, number) }

func (w *wire) ip(format string, args ...any) {
	w.t.Helper()
	f := strings.Fields(fmt.Sprintf(format, args...))
	if out, err := exec.Command("ip", f...).CombinedOutput(); err != nil {
		w.t.Errorf("ip %v: %v: %s", f, err, out)
	}
}

// within has a container live in a namespace.
func within(n *network) option {
	return func(spec map[string]any) {
		for _, ns := range spec["linux"].(map[string]any)["namespaces"].([]any) {
			if m := ns.(map[string]any); m["type"] == "network" {
				m["path"] = n.path
			}
		}
	}
}

const peersConfig = `learn:
  observe: {observed: 0s, span: 0s, replicas: 1, starts: 10, unseen: 1, start_unseen: 1}
  restrict: {observed: 0s, span: 0s, replicas: 1, starts: 10, unseen: 1, start_unseen: 1}
`

// TestPeers: a destination is learned as the workload that it is, and restrict mode follows it
// to another address, to which nobody else may come.
func TestPeers(t *testing.T) {
	if testing.Short() {
		t.Skip("runs containers")
	}
	w := newWire(t)
	cs := newContainers(t, w.bridge)
	config := filepath.Join(t.TempDir(), "agent.yaml")
	must(t, os.WriteFile(config, []byte(peersConfig), 0o600))
	a := startAgent(t, "--config", config, "--events")
	aloneHere(t, a)
	id := func(s string) string { return fmt.Sprintf("%s-%d", s, os.Getpid()) }
	begin := func(name string, n *network) *worker {
		t.Helper()
		r := cs.worker(a, id(name), withCapabilities, within(n))
		r.want(t, "ok", "listen 5432")
		return r
	}
	first, second := w.space(12), w.space(14)
	at11 := w.space(11)
	db, other := begin("db", first), begin("other", w.space(13))
	var front *worker
	for range 11 { // so often, until what it does is known to be all
		if front != nil {
			front.end(t)
		}
		front = begin("front", at11)
		front.want(t, "ok", "connect %s 5432", w.at(12))
	}
	other.want(t, "ok", "connect %s 5432", w.at(12))

	of := func(kind bollwerk.EventKind, of, remote string) (peers []string) {
		for _, e := range a.events {
			if c := e.Connection; e.Kind == kind && c != nil && c.Remote.Addr().String() == remote && e.Workload != nil && e.Workload.Container != nil && e.Workload.Container.ID == id(of) {
				peers = append(peers, c.Peer)
			}
		}
		return peers
	}
	named := func(kind bollwerk.EventKind, who, remote, peer string) {
		t.Helper()
		if !a.await(attackWait, func() bool { return len(of(kind, who, remote)) > 0 }) {
			t.Fatalf("no %s of %s with %s", kind, who, remote)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, p := range of(kind, who, remote) {
			if p != "container runc/"+id(peer) {
				t.Errorf("%s of %s with %s: told as %q", kind, who, remote, p)
			}
		}
	}
	named(bollwerk.EventConnect, "front", w.at(12), "db")
	named(bollwerk.EventAccept, "db", w.at(11), "front")
	named(bollwerk.EventAccept, "db", w.at(13), "other")

	for _, to := range []string{"observe", "restrict"} {
		said, code := "", 1
		for deadline := time.Now().Add(attackWait); code != 0 && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
			var errs string
			said, errs, code = a.verb(t, "profile", "mode", id("front"), to, "--why", "test")
			said += errs
		}
		if code != 0 {
			t.Fatalf("mode %s: %s", to, said)
		}
	}
	show, errs, _ := a.verb(t, "profile", "show", id("front"))
	for _, want := range []string{"tcp/5432 workload:container runc/" + id("db"), "container runc/" + id("db") + " at " + w.at(12)} {
		if !strings.Contains(show, want) {
			t.Errorf("profile show does not say %q:\n%s%s", want, show, errs)
		}
	}
	front.want(t, "ok", "connect %s 5432", w.at(12))
	front.want(t, "EPERM", "connect %s 5432", w.at(13))
	var d *bollwerk.Detection
	if !a.await(attackWait, func() bool {
		i := slices.IndexFunc(a.of(id("front")), func(d *bollwerk.Detection) bool { return d.Rule == "profile-new-destination" })
		if i >= 0 {
			d = a.of(id("front"))[i]
		}
		return i >= 0
	}) {
		t.Fatal("a connection to a workload that is not in the profile is not told")
	}
	if d.Outcome != bollwerk.Denied || !strings.Contains(d.Message, "container runc/"+id("other")) || !strings.Contains(d.Nearest, "container runc/"+id("db")) {
		t.Errorf("%s: %s; nearest %s", d.Outcome, d.Message, d.Nearest)
	}

	// The peer moves, and somebody else gets its address.
	db.end(t)
	begin("db", second)
	until := func(want string, number int) {
		t.Helper()
		began := time.Now()
		for front.does(t, "connect %s 5432", w.at(number)) != want {
			if time.Since(began) > attackWait*slowness() {
				t.Fatalf("%s: still not %s:\n%s", w.at(number), want, a.log())
			}
		}
		t.Logf("%s at %s after %s", want, w.at(number), time.Since(began))
	}
	until("ok", 14)
	begin("third", first)
	until("EPERM", 12)
	front.want(t, "EPERM", "connect %s 5432", w.at(12))
	front.want(t, "EPERM", "connect %s 5432", w.at(13))
	front.want(t, "ok", "connect %s 5432", w.at(14))
	if show, _, _ = a.verb(t, "profile", "show", id("front")); !strings.Contains(show, id("db")+" at "+w.at(14)+"\n") {
		t.Errorf("profile show does not say where the peer is now:\n%s", show)
	}
	// refused are those that front tried to reach and was not let.
	refused := func(remote string) (peers []string) {
		for _, e := range a.events {
			if c := e.Connection; e.Outcome == bollwerk.Denied && c != nil && c.Remote.Addr().String() == remote && e.Workload != nil && e.Workload.Container != nil && e.Workload.Container.ID == id("front") {
				peers = append(peers, c.Peer)
			}
		}
		return peers
	}
	if !a.await(attackWait, func() bool { return len(refused(w.at(12))) > 0 && len(refused(w.at(13))) > 0 }) {
		t.Error("what was refused is not told")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, d := range a.of(id("front")) {
		if d.Rule == "profile-new-destination" && strings.Contains(d.Message, id("db")) && !strings.Contains(d.Message, id("other")) {
			t.Errorf("the known peer is told: %s", d.Message)
		}
	}
	for _, p := range refused(w.at(12)) {
		if p != "container runc/"+id("third") {
			t.Errorf("who has the address now is told as %q", p)
		}
	}
}

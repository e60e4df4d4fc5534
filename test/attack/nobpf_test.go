package attack

import (
	"context"
	"testing"

	"github.com/bollwerk/bollwerk"
	node "github.com/bollwerk/bollwerk/agent"
)

// TestNoBPF: where no BPF program may be loaded the agent still sees, and says how much less.
func TestNoBPF(t *testing.T) {
	if testing.Short() {
		t.Skip("runs containers")
	}
	cs := newContainers(t, newNetwork(t))
	a := startAgent(t, "--backend", "none")
	var s node.Status
	must(t, node.Ask(context.Background(), a.socket, "GET", "/status", &s))
	if s.Verdict != bollwerk.Degraded || len(s.Causes) == 0 {
		t.Errorf("%s %q", s.Verdict, s.Causes)
	}
	for _, tt := range []struct{ name, script, rule string }{
		{"shadow", `cat /etc/shadow > /dev/null`, "password-file-read"},
		{"keys", `mkdir -p /root/.ssh; sleep 0.5; echo ssh-rsa AAAA >> /root/.ssh/authorized_keys`, "authorized-keys-written"},
	} {
		r := cs.start("nobpf-"+tt.name, tt.script+hold)
		a.awaitStatus(t, r.id, func(w *node.WorkloadStatus) bool { return w.Watched })
		r.open(t)
		if !a.await(attackWait, func() bool {
			for _, d := range a.of(r.id) {
				if d.Rule == tt.rule {
					return true
				}
			}
			return false
		}) {
			t.Errorf("%s: %s is not told; told:\n%s", tt.name, tt.rule, describe(a.of(r.id)))
		}
	}
}

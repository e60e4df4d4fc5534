package attack

import (
	"os"
	"path/filepath"
	"testing"
)

// TestOwnRules asks rules about files that nothing that ships looks at.
func TestOwnRules(t *testing.T) {
	if testing.Short() {
		t.Skip("runs containers")
	}
	rules := t.TempDir()
	for id, match := range map[string]string{
		"own-read":    `event.kind == "open" && event.file.read && event.in_container && event.file.path == "/usr/share/own/secret"`,
		"own-name":    `event.kind == "open" && event.file.read && event.in_container && event.file.name == ".ownrc"`,
		"own-written": `event.in_container && event.file.written.under(["/usr/share/mine"])`,
		"own-proc":    `event.kind == "open" && event.in_container && event.file.path.glob("/proc/*/auxv")`,
	} {
		must(t, os.Mkdir(filepath.Join(rules, id), 0o755))
		must(t, os.WriteFile(filepath.Join(rules, id, "policy.yaml"), []byte("id: "+id+"\ntitle: t\ndescription: d\nwhy: w\nfix: f\nseverity: high\nmode: warn\nsubject: event\nmatch: >-\n  "+match+
			"\nmessage: \"{{ event.process.name }} used {{ event.file.path }}\"\nmappings: {MITRE ATT&CK: [T1005]}\n"), 0o644))
	}
	config := filepath.Join(t.TempDir(), "agent.yaml")
	must(t, os.WriteFile(config, []byte("rules: ["+rules+"]\n"), 0o644))
	cs := newContainers(t, newNetwork(t))
	a := startAgent(t, "--config", config)
	r := cs.start("own", `mkdir -p /usr/share/mine; mkdir -p /usr/share/own; echo x > /usr/share/own/secret; echo x > /root/.ownrc; sleep 0.3
cat /usr/share/own/secret /root/.ownrc > /dev/null; echo x > /usr/share/mine/file; cat /proc/$$/auxv > /dev/null`+hold)
	a.awaitProtected(t, r.id)
	r.open(t)
	for _, id := range []string{"own-read", "own-name", "own-written", "own-proc"} {
		if !a.await(attackWait, func() bool {
			for _, d := range a.of(r.id) {
				if d.Rule == id {
					return true
				}
			}
			return false
		}) {
			a.mu.Lock()
			t.Errorf("%s is not told; told:\n%s", id, describe(a.of(r.id)))
			a.mu.Unlock()
		}
	}
}

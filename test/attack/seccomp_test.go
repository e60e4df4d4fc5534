package attack

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestLearnedSeccomp lets the agent learn a container's work, makes a seccomp profile of it
// by the command, and starts the same work under it: it works, and nothing else does.
func TestLearnedSeccomp(t *testing.T) {
	if testing.Short() {
		t.Skip("runs containers")
	}
	n := newNetwork(t)
	n.listen(apiAddr+":443", func(c net.Conn) { fmt.Fprint(c, "welcome\n") })
	cs := newContainers(t, n)
	config := filepath.Join(t.TempDir(), "agent.yaml")
	must(t, os.WriteFile(config, []byte("learn: {syscalls: always}\n"), 0o600))
	a := startAgent(t, "--config", config, "--events")
	id := fmt.Sprintf("calls-%d", os.Getpid())
	// The work is done twice: a profile that is too small would show in the second half, too.
	const work = `for i in 1 2; do
mkdir /tmp/d && cp /etc/passwd /tmp/d/p && mv /tmp/d/p /tmp/d/q && chmod 600 /tmp/d/q && ls -l /tmp/d > /dev/null && rm -r /tmp/d &&
python3 -c 'import socket; s=socket.create_connection(("10.96.0.1",443)); print(s.recv(99).decode(), end="")' && echo did-$i
while [ $i = 1 -a ! -e /run/go-1 ]; do sleep 0.2; done
done`
	const foreign = "; echo x > /tmp/a; ln /tmp/a /tmp/b && echo linked; mkfifo /tmp/f && echo piped"
	run := func(script string, opts ...option) string {
		t.Helper()
		r := cs.startAs(id, script, opts...)
		touch(t, r, "go-1")
		r.open(t)
		return r.output()
	}

	r := cs.startAs(id, work)
	a.awaitProtected(t, id)
	r.begin(t)
	touch(t, r, "go-1")
	<-r.done
	if said := r.output(); !strings.Contains(said, "did-2\n") {
		t.Fatalf("the work does not work:\n%s", said)
	}
	// The agent collects the calls once a minute, and those of a container when it ends.
	if !a.await(time.Minute, func() bool { return len(a.told(id, "stop")) > 0 }) {
		t.Fatalf("its end is not told:\n%s", a.log())
	}
	out, _, _ := a.verb(t, "profile", "show", id)
	for _, calls := range []string{"mkdir", "connect", "rename renameat renameat2"} {
		if !slices.ContainsFunc(strings.Fields(calls), func(c string) bool { return regexp.MustCompile(`(?m)^syscall +` + c + `$`).MatchString(out) }) {
			t.Fatalf("%s is not learned:\n%s", calls, out)
		}
	}
	out, errs, code := a.verb(t, "profile", "render", id, "seccomp")
	if code != 0 {
		t.Fatalf("render: %s", errs)
	}
	var seccomp map[string]any
	must(t, json.Unmarshal([]byte(out), &seccomp))
	under := func(spec map[string]any) { spec["linux"].(map[string]any)["seccomp"] = seccomp }

	if said := run(work, under); !strings.Contains(said, "did-1\n") || !strings.Contains(said, "did-2\n") {
		t.Errorf("the same work does not work under its own profile:\n%s\n%s", said, out)
	}
	if said := run(work + foreign); !strings.Contains(said, "linked\n") || !strings.Contains(said, "piped\n") {
		t.Errorf("what the profile is to refuse fails without it, too:\n%s", said)
	}
	said := run(work+foreign, under)
	if !strings.Contains(said, "did-2\n") || strings.Contains(said, "linked\n") || strings.Contains(said, "piped\n") || strings.Count(said, "Operation not permitted") != 2 {
		t.Errorf("calls that the work does not use pass:\n%s", said)
	}
}

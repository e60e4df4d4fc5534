package tracing

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/sensortest"
)

func watchedProc(t *testing.T, p *Procs) (*sensortest.Log, *sensortest.Box) {
	t.Helper()
	l := sensortest.Watch(t, sensor.Options{}, p)
	mustSee(t, l, AreaProc)
	b := box(t, l, sensortest.Image(t, nil), func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.devices) > 0 })
	return l, b
}

func TestProcSeen(t *testing.T) {
	p := &Procs{Paths: []string{"/proc/*/maps"}}
	l, b := watchedProc(t, p)
	opened := func(name string) func(*bollwerk.Event) bool {
		return func(e *bollwerk.Event) bool { return e.Kind == bollwerk.EventOpen && e.File.Path == name }
	}
	out, _ := b.Sh(t, "sleep 100 & echo $!")
	other := strings.TrimSpace(out)
	b.Sh(t, "cat /proc/"+other+"/environ >/dev/null; cat /proc/"+other+"/status >/dev/null")
	e := l.Find(t, "the environment of another", opened("/proc/"+other+"/environ"))
	if e.Outcome != bollwerk.Seen || e.Process == nil || e.Process.PID == 0 || e.File.Access != bollwerk.AccessRead {
		t.Errorf("%+v by %+v", e.File, e.Process)
	}
	b.Sh(t, "exec 3</proc/"+other+"/mem; exec 3<&-; cat /proc/"+other+"/maps >/dev/null; cat /proc/"+other+"/task/"+other+"/environ >/dev/null")
	l.Find(t, "the memory of another", opened("/proc/"+other+"/mem"))
	l.Find(t, "what a rule names", opened("/proc/"+other+"/maps"))
	l.Find(t, "the environment of a thread", opened("/proc/"+other+"/task/"+other+"/environ"))
	// Its own is everybody's own business; what the host reads there, too.
	if _, err := os.ReadFile("/proc/" + strconv.Itoa(int(b.PID)) + "/environ"); err != nil {
		t.Error(err)
	}
	b.Sh(t, "cat /proc/self/environ >/dev/null; cat /proc/1/environ > /dev/null")
	l.Find(t, "that of the first process", opened("/proc/1/environ"))
	for _, e := range l.Events(func(e *bollwerk.Event) bool { return e.Kind == bollwerk.EventOpen }) {
		if !strings.HasPrefix(e.File.Path, "/proc/"+other+"/") && e.File.Path != "/proc/1/environ" {
			t.Errorf("told of %s by %d (%d) %q, other is %s", e.File.Path, e.Process.PID, e.Process.NSID, e.Process.Args, other)
		}
	}
}

// A container that opens too much is left alone, which is said, and watched again later.
func TestProcFloodIsBounded(t *testing.T) {
	p := &Procs{Most: 100}
	l, b := watchedProc(t, p)
	b.Sh(t, "while :; do read x </proc/version; done & echo $!")
	e := l.Find(t, "the loss", func(e *bollwerk.Event) bool { return e.Kind == bollwerk.EventLoss })
	if e.Loss.Cgroup != b.Cgroup {
		t.Errorf("%+v", e.Loss)
	}
	b.Sh(t, "kill $!")
	p.mu.Lock()
	off := p.boxes[b.Cgroup].off
	p.mu.Unlock()
	if !off {
		t.Error("it is still watched")
	}
	p.resume(e.Time.Add(2 * procsPause))
	b.Sh(t, "sleep 100 & cat /proc/$!/environ > /dev/null")
	l.Find(t, "an open afterwards", func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventOpen && strings.HasSuffix(e.File.Path, "/environ")
	})
}

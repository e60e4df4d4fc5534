package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/lsm"
	"github.com/bollwerk/bollwerk/sensor/network"
	"github.com/bollwerk/bollwerk/sensor/tracing"
	"github.com/bollwerk/bollwerk/test/vm"
)

// What a refusal adds, for each way to refuse: the same call without the agent, or let
// pass, against the one that is refused. Calls are chosen that do no work of their own: the
// connect of a socket for datagrams sends nothing, the program cannot be run.
type refusal struct {
	what    string
	command string // of the worker
	n       int
	path    string
	free    unix.Errno // without the agent, or when it lets pass
	denied  unix.Errno
	policy  sensor.Policy
	// pass is the same policy, but this path is on its list. It is measured for what has to
	// ask the agent, which costs what is allowed, too.
	pass func(*sensor.Policy)
	// waits: for an answer of the agent. Elapsed time is what counts, not the processor's.
	waits bool
	// lsm: BPF LSM refuses, which only the machine has.
	lsm bool
}

func refusals() []refusal {
	program, secret := "/bin/refused", "/etc/shadow"
	return []refusal{
		{what: "a connect, cgroup program", command: "connect", n: 1000, path: "127.0.0.9", denied: unix.EPERM,
			policy: sensor.Policy{Enforce: sensor.GuardEgress, Egress: []sensor.Peer{{Network: netip.MustParsePrefix("10.0.0.0/8")}}},
			pass:   func(p *sensor.Policy) { p.Egress = []sensor.Peer{{Network: netip.MustParsePrefix("127.0.0.0/8")}} }},
		{what: "a program start, BPF LSM", command: "start", n: 100, path: program, free: unix.ENOEXEC, denied: unix.EPERM, lsm: true,
			policy: sensor.Policy{Enforce: sensor.GuardExec, Exec: []string{"/bin/worker"}},
			pass:   func(p *sensor.Policy) { p.Exec = append(p.Exec, program) }},
		{what: "an open to write, BPF LSM", command: "write", n: 200, path: "/etc/some-file", denied: unix.EPERM, lsm: true,
			policy: sensor.Policy{Enforce: sensor.GuardFile, Write: []string{"/tmp/"}},
			pass:   func(p *sensor.Policy) { p.Write = append(p.Write, "/etc/") }},
		{what: "an open of a secret, BPF LSM", command: "read", n: 200, path: secret, denied: unix.EPERM, lsm: true,
			policy: sensor.Policy{Enforce: sensor.GuardRead}, pass: func(p *sensor.Policy) { p.Read = []string{secret} }},
		{what: "a program start, fanotify", command: "start", n: 40, path: program, free: unix.ENOEXEC, denied: unix.EPERM, waits: true,
			policy: sensor.Policy{Enforce: sensor.GuardExec, Exec: []string{"/bin/worker"}},
			pass:   func(p *sensor.Policy) { p.Exec = append(p.Exec, program) }},
		{what: "an open of a secret, fanotify", command: "read", n: 40, path: secret, denied: unix.EPERM, waits: true,
			policy: sensor.Policy{Enforce: sensor.GuardRead}, pass: func(p *sensor.Policy) { p.Read = []string{secret} }},
	}
}

// added is the outcome of one refusal's measurement, in nanoseconds or instructions of one call.
type added struct{ Free, Allowed, Denied float64 }

// measure takes turns, so that a machine that gets slower does not decide.
func (r *refusal) measure(ctx context.Context, w *workload, rounds, times int) (a added, err error) {
	take := func(want unix.Errno) (v []float64, err error) {
		command, last := r.command, strconv.Itoa(int(want))
		if command == "connect" {
			command, last = map[bool]string{true: "deny", false: "allow"}[want != 0], ""
		}
		for range times {
			s, err := w.do(command, r.n, r.path, last)
			if err != nil {
				return v, err
			}
			took := s.cpu
			if r.waits {
				took = s.elapsed
			}
			v = append(v, float64(took)/float64(r.n))
		}
		return v, nil
	}
	var free, allowed, denied []float64
	add := func(to *[]float64, want unix.Errno, p *sensor.Policy) error {
		f := func() error {
			v, err := take(want)
			*to = append(*to, v...)
			return err
		}
		if p == nil {
			return f()
		}
		return r.under(ctx, w, p, f)
	}
	for range rounds {
		pass := r.policy
		r.pass(&pass)
		if err = errors.Join(add(&free, r.free, nil), add(&allowed, r.free, &pass), add(&denied, r.denied, &r.policy)); err != nil {
			return a, fmt.Errorf("%s: %w", r.what, err)
		}
	}
	return added{middle(free), middle(allowed), middle(denied)}, nil
}

// under does something while a policy holds.
func (r *refusal) under(ctx context.Context, w *workload, p *sensor.Policy, do func() error) error {
	var source sensor.Source = network.New(network.Config{})
	switch {
	case r.waits:
		source = &tracing.Gate{}
	case r.lsm:
		source = lsm.New(lsm.Options{})
	}
	s, err := sensor.Open(ctx, sensor.Options{}, source)
	if err != nil {
		return err
	}
	defer s.Close()
	path, id, err := group(w.pid, s.Kernel())
	if err != nil {
		return err
	}
	held := *p
	held.Cgroup, held.CgroupPath, held.PID = id, path, uint32(w.pid)
	run, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.Run(run, func(*bollwerk.Event) {}) }()
	defer func() { stop(); <-done }()
	if err := s.Apply(&held); err != nil {
		return err
	}
	if r.waits {
		// Before somebody answers nobody is asked.
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			if marked() {
				break
			}
			if time.Now().After(deadline) {
				return errors.New("the gate did not mark the container within 10 seconds")
			}
		}
	}
	return do()
}

// marked reports whether a fanotify group of this process has a mark.
func marked() bool {
	entries, _ := os.ReadDir("/proc/self/fdinfo")
	for _, e := range entries {
		b, _ := os.ReadFile("/proc/self/fdinfo/" + e.Name())
		if strings.Contains(string(b), "fanotify mnt_id:") || strings.Contains(string(b), "fanotify ino:") {
			return true
		}
	}
	return false
}

const denyBound = 5000 // nanoseconds

// denials measures what can be refused here.
func denials(b *bench) (out []row, err error) {
	err = b.inContainer(func(w *workload) error {
		for _, r := range refusals() {
			if r.lsm {
				continue
			}
			a, err := r.measure(b.ctx, w, 4, 40)
			if err != nil {
				return err
			}
			plus := a.Denied - a.Free
			l := row{"deny path, " + r.what, "+ ≤ 5 µs", fmt.Sprintf("%+.2f µs", plus/1000), word(plus <= denyBound),
				fmt.Sprintf("%.2f µs refused, %.2f µs when let pass, %.2f µs without", a.Denied/1000, a.Allowed/1000, a.Free/1000)}
			if r.waits {
				// A question to another process, where the kernel has no LSM to ask.
				l.bound, l.holds = "goal + 5 µs", goal(plus <= denyBound)
				l.note += "; elapsed, as the agent answers meanwhile"
			}
			out = append(out, l)
			b.say("%s: %s", l.what, l.measured)
		}
		return nil
	})
	return out, err
}

func (b *bench) inContainer(do func(*workload) error) error {
	im, err := newImages(b.worker)
	if im != nil {
		defer im.close()
	}
	if err != nil {
		return err
	}
	w, err := im.withRunc()
	if err != nil {
		return err
	}
	defer w.close()
	return do(w)
}

// denialsLSM measures in the machine what only BPF LSM refuses, in instructions. How many
// of those a nanosecond has is taken from the same call without the agent, timed here.
func denialsLSM(b *bench) (out []row, err error) {
	here := map[string]float64{}
	err = b.inContainer(func(w *workload) (err error) {
		for _, r := range refusals() {
			if r.lsm && err == nil {
				here[r.what], err = r.alone(w)
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	inside, err := b.refusedInMachine()
	for _, r := range refusals() {
		a, ok := inside[r.what]
		if !ok {
			continue
		}
		speed := a.Free / here[r.what]
		plus := (a.Denied - a.Free) / speed
		l := row{"deny path, " + r.what, "+ ≤ 5 µs", fmt.Sprintf("%+.2f µs", plus/1000), word(plus <= denyBound),
			fmt.Sprintf("%+.0f instructions: %.0f refused, %.0f allowed by the policy, %.0f without; %.1f a nanosecond, by the same call without the agent here", a.Denied-a.Free, a.Denied, a.Allowed, a.Free, speed)}
		out = append(out, l)
		b.say("%s: %s", l.what, l.measured)
	}
	return out, err
}

// alone is the call without anybody looking.
func (r *refusal) alone(w *workload) (float64, error) {
	var v []float64
	for range 60 {
		s, err := w.do(r.command, r.n, r.path, strconv.Itoa(int(r.free)))
		if err != nil {
			return 0, fmt.Errorf("%s: %w", r.what, err)
		}
		v = append(v, float64(s.cpu)/float64(r.n))
	}
	return middle(v), nil
}

const addedMark = "added "

// refusedInGuest runs inside of the machine.
func refusedInGuest() error {
	im, err := newImages("/worker")
	if im != nil {
		defer im.close()
	}
	if err != nil {
		return err
	}
	w, err := im.byHand()
	if err != nil {
		return err
	}
	defer w.close()
	for _, r := range refusals() {
		if !r.lsm {
			continue
		}
		a, err := r.measure(context.Background(), w, 1, 15)
		if err != nil {
			return err
		}
		b, err := json.Marshal(a)
		if err != nil {
			return err
		}
		fmt.Printf("%s%s\t%s\n", addedMark, r.what, b)
	}
	return nil
}

func (b *bench) refusedInMachine() (map[string]added, error) {
	out := map[string]added{}
	m, err := b.machine()
	if err != nil {
		return nil, err
	}
	m.Commands = []vm.Command{{Name: "deny", Args: []string{"/agentbench", "guest-deny"}, Timeout: 5 * time.Minute}}
	results, err := m.Run(b.ctx)
	for _, r := range results {
		for line := range strings.Lines(r.Output) {
			text, ok := strings.CutPrefix(line, addedMark)
			what, numbers, _ := strings.Cut(text, "\t")
			var a added
			if ok && json.Unmarshal([]byte(numbers), &a) == nil {
				out[what] = a
			}
		}
		if r.Code != 0 {
			err = errors.Join(err, fmt.Errorf("code %d: %s", r.Code, r.Output))
		}
	}
	return out, err
}

// rules runs the matcher's own benchmark.
func rules(b *bench) ([]row, error) {
	cmd := exec.CommandContext(b.ctx, "go", "test", "-run=^$", "-bench=^BenchmarkMatcher$/^(usual|all|exec)$", "-benchtime=500ms", "./policy")
	cmd.Dir = b.root
	text, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, text)
	}
	var out []row
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		name, ok := strings.CutPrefix(line, "BenchmarkMatcher/")
		if !ok || len(f) < 6 {
			continue
		}
		name, _, _ = strings.Cut(name, "-")
		value := func(unit string) float64 {
			if i := slices.Index(f, unit); i > 0 {
				if v, err := strconv.ParseFloat(f[i-1], 64); err == nil {
					return v
				}
			}
			return -1
		}
		runs, _ := strconv.ParseFloat(f[1], 64)
		v, allocs := value("best-ns/event"), value("allocs/op")
		r := row{"all shipped rules on one event, " + name, "≤ 2 µs, 0 allocations", fmt.Sprintf("%.2f µs, %.0f", v/1000, allocs),
			word(v >= 0 && v <= 2000 && allocs == 0), fmt.Sprintf("best of %.0f passes over the events of the rules' tests", runs)}
		if name == "exec" {
			r.bound, r.holds = "", ""
		}
		out = append(out, r)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no benchmark spoke: %s", text)
	}
	return out, nil
}

// group is the control group of a process in the hierarchy that the sensor uses.
func group(pid int, k *sensor.Kernel) (path string, id uint64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", 0, err
	}
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		var st syscall.Stat_t
		if len(f) == 3 && f[2] != "/" && syscall.Stat(filepath.Join(k.CgroupRoot, f[2]), &st) == nil {
			return f[2], st.Ino, nil
		}
	}
	return "", 0, fmt.Errorf("process %d has no control group below %s", pid, k.CgroupRoot)
}

// Package process is the source of processes: starts with everything that is known of
// the program, forks, ends, signals to others, changes of rights and namespaces, and
// what already runs. It kills programs that a policy does not let start.
//
// It does not deny them: where the kernel lets BPF do that, sensor/lsm does.
package process

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/bpf"
)

// Config of the source; the zero value is usable.
type Config struct {
	// Variables of the environment that are kept, at most 16; nil: DefaultVariables.
	Variables []string
	// Shells are file names of shells for the reverse-shell guard; nil: DefaultShells.
	Shells []string
	// Loopback lets the reverse-shell guard act on connections with this machine too.
	Loopback bool
	// Covered says which areas ("credentials", "namespaces") another source sees at once;
	// this one notices them with the next fork, exec or end of the process. Nil: none.
	Covered func(area string) bool
	// UsageEvery is the time between two looks at the CPU time of containers' processes;
	// 0: 10 s, negative: never. UsageShare is the part of one CPU from which a process is
	// worth an event; 0: a half.
	UsageEvery time.Duration
	UsageShare float64
}

// DefaultVariables are those that say how a program was bent or from where it was started.
func DefaultVariables() []string {
	return []string{
		"LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "GLIBC_TUNABLES", "GCONV_PATH", "HISTFILE", "HISTSIZE", "TERM",
		"SSH_CONNECTION", "SUDO_USER", "BASH_ENV", "PROMPT_COMMAND", "PYTHONPATH", "NODE_OPTIONS", "PERL5OPT", "HTTPS_PROXY",
	}
}

// DefaultShells are the usual ones.
func DefaultShells() []string {
	return []string{"sh", "bash", "dash", "ash", "zsh", "ksh", "ksh93", "mksh", "fish", "csh", "tcsh", "rbash", "yash", "elvish", "nu", "pwsh"}
}

const mostVariables = 16

// Validate reports what is wrong with the configuration.
func (c *Config) Validate() error {
	if len(c.Variables) > mostVariables {
		return fmt.Errorf("variables: %d are more than %d", len(c.Variables), mostVariables)
	}
	for _, v := range c.Variables {
		if len(v) < 4 || len(v) > 64 {
			return fmt.Errorf("variable %q: names have 4 to 64 letters", v)
		}
	}
	for _, s := range c.Shells {
		if s == "" || len(s) > 15 {
			return fmt.Errorf("shell %q: file names of shells have 1 to 15 letters", s)
		}
	}
	return nil
}

// Source is the source of processes.
type Source struct {
	c    Config
	k    *sensor.Kernel
	objs *sensor.Loaded
	keep map[string]bool // variables
	// kills: the program that ends forbidden ones is attached.
	kills bool
}

// New makes the source.
func New(c Config) *Source { return &Source{c: c} }

// Name implements sensor.Source.
func (s *Source) Name() string { return "process" }

// Open implements sensor.Source.
func (s *Source) Open(_ context.Context, k *sensor.Kernel) ([]sensor.Capability, error) {
	s.k = k
	if s.c.Variables == nil {
		s.c.Variables = DefaultVariables()
	}
	if s.c.Shells == nil {
		s.c.Shells = DefaultShells()
	}
	if s.c.UsageEvery == 0 {
		s.c.UsageEvery = 10 * time.Second
	}
	if s.c.UsageShare == 0 {
		s.c.UsageShare = 0.5
	}
	if s.c.Covered == nil {
		s.c.Covered = func(string) bool { return false }
	}
	if err := s.c.Validate(); err != nil {
		return nil, err
	}
	if err := k.BPF(); err != nil {
		return []sensor.Capability{
			{Area: "exec", Verdict: bollwerk.NotEvaluated, Cause: err.Error(), Remedy: "run the agent with CAP_BPF and CAP_PERFMON on a kernel of 5.10 or newer with BTF"},
		}, nil
	}
	spec, err := bpf.LoadProcess()
	if err != nil {
		return nil, err
	}
	if s.objs, err = k.Load(spec, 0); err != nil {
		return nil, err
	}
	if err := s.configure(); err != nil {
		return nil, err
	}
	k.Decode(bollwerk.EventExec, s.decodeExec)
	k.Decode(bollwerk.EventFork, s.decodeFork)
	k.Decode(bollwerk.EventExit, s.decodeExit)
	k.Decode(kindMoved, s.decodeMoved)
	k.Decode(bollwerk.EventSignal, s.decodeSignal)

	var rows []sensor.Capability
	for _, r := range []struct{ area, program, lost string }{
		{"exec", "process_exec", "program starts are not seen"},
		{"fork", "process_fork", "processes that never start a program are not seen"},
		{"exit", "process_exit", "ends of processes are noticed late"},
		{"cgroup", "process_moved", "a container that is gone within milliseconds may not be named"},
		{"signal", "process_signal", "signals to processes of others are not seen"},
	} {
		c := sensor.Capability{Area: r.area, Means: "tp_btf", Verdict: bollwerk.Pass, Outcome: bollwerk.Seen}
		if err := s.attach(r.program); err != nil {
			c.Verdict, c.Cause = bollwerk.NotEvaluated, r.lost+": "+err.Error()
			c.Remedy = "a kernel of 5.10 or newer with BTF (CONFIG_DEBUG_INFO_BTF)"
		}
		rows = append(rows, c)
	}
	s.kills = rows[0].Verdict == bollwerk.Pass
	kill := sensor.Capability{Area: "kill exec", Means: "bpf_send_signal at tp_btf sched_process_exec", Verdict: bollwerk.Pass, Outcome: bollwerk.Killed}
	if !s.kills {
		kill.Verdict, kill.Outcome, kill.Cause, kill.Remedy = bollwerk.NotEvaluated, bollwerk.Seen, rows[0].Cause, rows[0].Remedy
	}
	rows = append(rows, kill)
	usage := sensor.Capability{Area: "cpu use", Means: "iter/task", Verdict: bollwerk.Pass, Outcome: bollwerk.Seen}
	if err := s.objs.Refusal("process_usage"); err != nil {
		usage.Verdict, usage.Cause, usage.Remedy = bollwerk.NotEvaluated, "miners are not noticed by their use of the CPU: "+err.Error(), "a kernel of 5.10 or newer with BTF"
	}
	rows = append(rows, usage)
	for _, area := range []string{"credentials", "namespaces"} {
		if !s.c.Covered(area) {
			rows = append(rows, sensor.Capability{Area: area, Means: "compared at fork, exec and exit", Verdict: bollwerk.Degraded, Outcome: bollwerk.Seen,
				Cause: "a change is noticed with the next fork, exec or end of the process, not at once", Remedy: "BPF LSM: boot with lsm=…,bpf"})
		}
	}
	if p := s.objs.Programs["process_list"]; p != nil {
		k.Processes.SetList(s.list)
	}
	return rows, nil
}

func (s *Source) attach(program string) error {
	p := s.objs.Programs[program]
	if p == nil {
		return s.objs.Refusal(program)
	}
	l, err := link.AttachTracing(link.TracingOptions{Program: p})
	if program == "process_exec" {
		return s.k.KeepEnforcing(program, l, err)
	}
	return s.k.Keep(l, err)
}

// configure fills the maps of names.
func (s *Source) configure() error {
	s.keep = map[string]bool{}
	wanted := map[uint32]bpf.ProcessBwVariable{}
	for _, v := range s.c.Variables {
		s.keep[v] = true
		var name, mask [8]byte
		copy(name[:], v+"=")
		for i := range min(len(v)+1, 8) {
			mask[i] = 0xff
		}
		four := binary.NativeEndian.Uint32(name[:4])
		n := bpf.ProcessBwVariable{Want: binary.NativeEndian.Uint64(name[:]), Mask: binary.NativeEndian.Uint64(mask[:])}
		if o, ok := wanted[four]; ok { // two names that begin alike: what both have in common
			n.Mask &= o.Mask &^ (n.Want ^ o.Want)
			n.Want &= n.Mask
		}
		wanted[four] = n
	}
	for k, v := range wanted {
		if err := s.objs.Maps["variables"].Put(k, v); err != nil {
			return fmt.Errorf("variables: %w", err)
		}
	}
	shells := s.objs.Maps["shells"]
	for _, n := range s.c.Shells {
		var key [16]byte
		copy(key[:], n)
		if err := shells.Put(key, uint8(1)); err != nil {
			return fmt.Errorf("shells: %w", err)
		}
	}
	loop := uint8(0)
	if s.c.Loopback {
		loop = 1
	}
	return shells.Put([16]byte{}, loop)
}

// Run implements sensor.Source.
func (s *Source) Run(ctx context.Context) error {
	if s.objs == nil || s.objs.Programs["process_usage"] == nil || s.c.UsageEvery < 0 {
		return nil
	}
	return s.watchUsage(ctx)
}

// Apply implements sensor.Enforcer: the lists of the guards at exec stand in the shared
// maps, which the sensor writes itself.
func (s *Source) Apply(*sensor.Policy) error { return nil }

// Remove implements sensor.Enforcer.
func (s *Source) Remove(uint64) error { return nil }

// Means implements sensor.MeansTeller.
func (s *Source) Means() []sensor.Means {
	if !s.kills {
		return nil
	}
	var out []sensor.Means
	for _, g := range []sensor.Guard{sensor.GuardFileless, sensor.GuardDrift, sensor.GuardReverseShell, sensor.GuardExec} {
		out = append(out, sensor.Means{Guard: g, Outcome: bollwerk.Killed, Means: "kill at sched_process_exec",
			Cause: "without BPF LSM the program is ended before its first instruction, but the exec itself is not refused"})
	}
	return out
}

// Close implements sensor.Source.
func (s *Source) Close() error { return nil }

// iterate runs an iterator over the tasks. size says how long the record at the
// beginning of b is, 0 when b does not hold it all.
func iterate(ctx context.Context, p *ebpf.Program, size func(b []byte) int, each func(b []byte)) error {
	l, err := link.AttachIter(link.IterOptions{Program: p})
	if err != nil {
		return err
	}
	defer l.Close()
	r, err := l.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	buf := make([]byte, 128<<10)
	have := 0
	for ctx.Err() == nil {
		n, err := r.Read(buf[have:])
		have += n
		used := 0
		for {
			n := size(buf[used:have])
			if n <= 0 || n > have-used {
				break
			}
			each(buf[used : used+n])
			used += n
		}
		have = copy(buf, buf[used:have])
		switch {
		case errors.Is(err, io.EOF), err == nil && n == 0:
			return nil
		case err != nil:
			return err
		}
	}
	return ctx.Err()
}

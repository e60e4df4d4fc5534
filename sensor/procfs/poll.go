package procfs

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
)

// poller compares the processes of /proc from time to time: the last resort.
type poller struct {
	k           *sensor.Kernel
	execs, ends bool
	known       map[uint32]state
	first       bool
}

// state is what tells one image from the next: the start of the process and its name.
type state struct {
	start uint64 // in ticks, as /proc/PID/stat has it
	name  string
	seen  bool
}

const pollMost = 32768 // processes

func newPoller(k *sensor.Kernel, execs, ends bool) *poller {
	return &poller{k: k, execs: execs, ends: ends, known: map[uint32]state{}, first: true}
}

func (p *poller) run(ctx context.Context, every time.Duration) error {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		if err := p.look(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

func (p *poller) look() error {
	d, err := os.Open("/proc")
	if err != nil {
		return err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	now := time.Now()
	buf := make([]byte, 1024)
	for _, n := range names {
		pid, err := strconv.ParseUint(n, 10, 32)
		if err != nil {
			continue
		}
		s, ok := readState(uint32(pid), buf)
		if !ok {
			continue
		}
		old, known := p.known[uint32(pid)]
		if !known && len(p.known) >= pollMost {
			continue
		}
		if known && old.start != s.start {
			p.end(uint32(pid), now)
			known = false
		}
		s.seen = true
		p.known[uint32(pid)] = s
		if p.first || known && old.name == s.name {
			continue
		}
		r := p.k.Processes.Read(uint32(pid))
		if r == nil || r.Process.Kernel {
			continue
		}
		r.Process.Began = now
		image, _ := p.k.Processes.Exec(r)
		if p.execs {
			p.k.Emit(&bollwerk.Event{Time: now, Kind: bollwerk.EventExec, Process: image, Outcome: bollwerk.Seen, Source: "procfs"})
		}
	}
	for pid, s := range p.known {
		if !s.seen {
			p.end(pid, now)
			delete(p.known, pid)
			continue
		}
		s.seen = false
		p.known[pid] = s
	}
	p.first = false
	return nil
}

func (p *poller) end(pid uint32, now time.Time) {
	known := p.k.Processes.Known(pid, 0)
	if known == nil {
		return
	}
	p.k.Processes.Exit(pid, known.Start, now)
	if p.ends && !known.Kernel {
		p.k.Emit(&bollwerk.Event{Time: now, Kind: bollwerk.EventExit, Process: known, Outcome: bollwerk.Seen, Source: "procfs"})
	}
}

func readState(pid uint32, buf []byte) (state, bool) {
	f, err := os.Open("/proc/" + strconv.FormatUint(uint64(pid), 10) + "/stat")
	if err != nil {
		return state{}, false
	}
	defer f.Close()
	n, err := f.Read(buf)
	if err != nil {
		return state{}, false
	}
	return parseState(buf[:n])
}

// parseState reads name and start of proc_pid_stat(5). The name may hold anything, also
// parentheses and spaces: it ends at the last one.
func parseState(b []byte) (state, bool) {
	from, to := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if from < 0 || to < from {
		return state{}, false
	}
	fields := bytes.Fields(b[to+1:])
	if len(fields) < 20 {
		return state{}, false
	}
	start, err := strconv.ParseUint(string(fields[19]), 10, 64)
	if err != nil {
		return state{}, false
	}
	return state{start: start, name: string(b[from+1 : to])}, true
}

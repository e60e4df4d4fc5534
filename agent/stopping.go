package agent

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
)

// victim is a process that is held by a descriptor: no other one with its number can be
// hit in its place.
type victim struct {
	pid uint32
	fd  int
}

func (v victim) signal(s unix.Signal) error { return unix.PidfdSendSignal(v.fd, s, nil, 0) }

func (v victim) close() { _ = unix.Close(v.fd) }

// hold takes hold of a process. Its start time is compared while it is held.
func hold(p *bollwerk.Process) (victim, error) {
	v := victim{pid: p.PID, fd: -1}
	if p.PID <= 1 || p.Kernel || int(p.PID) == os.Getpid() || int(p.PID) == os.Getppid() {
		return v, fmt.Errorf("process %d is not to be stopped", p.PID)
	}
	var err error
	if v.fd, err = unix.PidfdOpen(int(p.PID), 0); err != nil {
		return v, fmt.Errorf("process %d has ended: %w", p.PID, err)
	}
	start, err := sensor.StartTime(p.PID)
	if err != nil {
		v.close()
		return v, fmt.Errorf("process %d has ended", p.PID)
	}
	// /proc counts in ticks of 10 ms.
	if d := int64(start) - int64(p.Start); p.Start != 0 && (d > int64(20*time.Millisecond) || d < -int64(20*time.Millisecond)) {
		v.close()
		return v, fmt.Errorf("process %d has ended; its number belongs to another one", p.PID)
	}
	return v, nil
}

// culprit is the process to be ended: what a detection is about, or the program of the same
// container behind it.
func culprit(d *bollwerk.Detection) *bollwerk.Process {
	b := d.Behind
	if b == nil || !b.Contained || b.OfRuntime() || b.Cgroup != d.Process.Cgroup {
		return d.Process
	}
	for up := d.Process.Parent; up != nil; up = up.Parent {
		if up.Same(b) {
			return b
		}
	}
	return d.Process
}

// stop ends the culprit of a detection and its descendants. They are frozen first
// (SIGSTOP), which ends the attack as soon as a kill would; what could be seen of them is
// captured while they still have files, sockets and memory; then they are killed. Someone
// else in the container could let them go on (SIGCONT), but for no longer than a capture
// may take. When captures are too many they are killed at once.
func (g *guarding) stop(d *bollwerk.Detection) error {
	root := culprit(d)
	if g.ended[same(root)] || g.ended[same(d.Process)] {
		return nil // with the tree of another one
	}
	first, err := hold(root)
	if err != nil && root != d.Process {
		root = d.Process
		first, err = hold(root)
	}
	if err != nil {
		return err
	}
	if len(g.ended) >= mostEnded {
		g.ended = nil
	}
	if g.ended == nil {
		g.ended = map[identity]bool{}
	}
	victims := []victim{first}
	defer func() {
		for _, v := range victims {
			v.close()
		}
	}()
	job := g.a.capture.before(d)
	end := unix.SIGKILL
	if job {
		end = unix.SIGSTOP
	}
	err = first.signal(end)
	if err == nil && root != d.Process {
		g.ended[same(root)], g.ended[same(d.Process)] = true, true
	}
	for _, o := range g.a.sensor.Kernel().Processes.All() {
		for up := o.Parent; up != nil; up = up.Parent {
			if up.Same(root) {
				if v, err := hold(o); err == nil { // it may have ended with its parent
					if v.signal(end) == nil {
						g.ended[same(o)] = true
					}
					victims = append(victims, v)
				}
				break
			}
		}
	}
	if !job {
		return err
	}
	// A frozen process makes no children any more: those it made before, of which the
	// sensor has not told yet, are all there is.
	victims = withChildren(victims)
	pids := make([]int, len(victims))
	for i, v := range victims {
		pids[i] = int(v.pid)
	}
	g.a.capture.now(d, pids)
	err = first.signal(unix.SIGKILL)
	for _, v := range victims[1:] {
		_ = v.signal(unix.SIGKILL)
	}
	return err
}

// identity of a process that the agent ended.
type identity struct {
	pid   uint32
	start uint64
}

func same(p *bollwerk.Process) identity { return identity{p.PID, p.Start} }

const mostEnded = 4096 // remembered

// mostVictims bounds the work for a process that made thousands of others.
const mostVictims = 512

// withChildren adds the children of processes that were frozen, frozen as well.
func withChildren(victims []victim) []victim {
	known := map[uint32]bool{}
	for _, v := range victims {
		known[v.pid] = true
	}
	for i := 0; i < len(victims) && len(victims) < mostVictims; i++ {
		for _, pid := range children(victims[i].pid) {
			if known[pid] {
				continue
			}
			known[pid] = true
			v, err := hold(&bollwerk.Process{PID: pid})
			if err != nil {
				continue
			}
			if parent(pid) != victims[i].pid {
				v.close() // it ended before it was held
				continue
			}
			_ = v.signal(unix.SIGSTOP)
			victims = append(victims, v)
		}
	}
	return victims
}

// children of a process, of all its threads (/proc/PID/task/TID/children).
func children(pid uint32) (out []uint32) {
	dir := "/proc/" + strconv.Itoa(int(pid)) + "/task"
	d, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer d.Close()
	threads, _ := d.Readdirnames(256)
	for _, t := range threads {
		b, err := os.ReadFile(dir + "/" + t + "/children")
		if err != nil {
			continue
		}
		for _, f := range strings.Fields(string(b)) {
			if n, err := strconv.ParseUint(f, 10, 32); err == nil {
				out = append(out, uint32(n))
			}
		}
	}
	return out
}

// parent of a process, 0 when it is gone.
func parent(pid uint32) uint32 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(int(pid)) + "/stat")
	i := bytes.LastIndexByte(b, ')')
	if err != nil || i < 0 {
		return 0
	}
	f := bytes.Fields(b[i+1:])
	if len(f) < 2 {
		return 0
	}
	n, _ := strconv.ParseUint(string(f[1]), 10, 32)
	return uint32(n)
}

// before reports whether a detection whose process is about to be killed may be captured
// first: not a second time within captureAgain, and only a few in a row, as the judgement
// waits for it.
func (c *capturing) before(d *bollwerk.Detection) bool {
	if last, ok := c.done[d.ID]; ok && d.Time.Sub(last).Abs() < captureAgain {
		return false
	}
	now := time.Now()
	c.credit = min(killCaptures, c.credit+now.Sub(c.credited).Seconds())
	c.credited = now
	return c.credit >= 1 && len(c.jobs) < cap(c.jobs)
}

const (
	killCaptures    = 3 // in a row, then one a second
	killCaptureTime = 100 * time.Millisecond
)

// now captures processes that are frozen; what takes longer, and the writing, is left to
// the goroutine of captures.
func (c *capturing) now(d *bollwerk.Detection, pids []int) {
	c.credit--
	limit, cancel := context.WithTimeout(context.Background(), c.held)
	defer cancel()
	c.add(d, c.processes(limit, d, append(pids, c.around(d.Process)[1:]...)))
}

const killedByAgent = "sigkill by the agent"

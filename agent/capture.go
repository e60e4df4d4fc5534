package agent

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/recorder"
)

// capturing takes snapshots beside the judgement, which must not wait for /proc. At most
// one a second is taken, and one for each fold of a detection.
type capturing struct {
	a    *Agent
	jobs chan job
	done map[string]time.Time // by detection id
	// How many captures before a kill may be made now, and since when that is counted.
	credit   float64
	credited time.Time
	// held is how long processes are kept frozen to be captured.
	held time.Duration
}

// job is a snapshot to be taken, or to be finished.
type job struct {
	d        *bollwerk.Detection
	pids     []int
	snapshot *recorder.Snapshot // what was captured already
	layer    string             // of the container, whose changed files are still to be listed
}

const (
	captureQueue  = 16
	captureAgain  = 10 * time.Minute // for the same detection
	captureTime   = 2 * time.Second
	captureMemory = 1024 // ids remembered
)

func newCapturing(a *Agent) *capturing {
	return &capturing{a: a, jobs: make(chan job, captureQueue), done: map[string]time.Time{}, credit: killCaptures, held: killCaptureTime}
}

// take asks for a snapshot and names it in the detection. Called by the judgement.
func (c *capturing) take(d *bollwerk.Detection) {
	if d.Process == nil || d.Snapshot != "" {
		return
	}
	if last, ok := c.done[d.ID]; ok && d.Time.Sub(last).Abs() < captureAgain {
		return
	}
	copied := *d
	c.add(d, job{d: &copied, pids: c.around(d.Process)})
}

// add hands a job on.
func (c *capturing) add(d *bollwerk.Detection, j job) {
	if len(c.done) >= captureMemory {
		clear(c.done)
	}
	c.done[d.ID] = d.Time
	select {
	case c.jobs <- j:
		d.Snapshot = d.Time.UTC().Format("20060102T150405.000") + "-" + d.ID
	default:
		d.Causes = append(d.Causes, "no snapshot was taken: too many at once")
	}
}

// processes captures what lives only as long as the processes do.
func (c *capturing) processes(ctx context.Context, d *bollwerk.Detection, pids []int) job {
	copied := *d
	// What it will say once it is done.
	copied.Outcome, copied.How = bollwerk.Killed, killedByAgent
	seen := map[int]bool{}
	pids = slices.DeleteFunc(pids, func(pid int) bool { again := seen[pid]; seen[pid] = true; return again })
	s, layer := recorder.CaptureProcesses(ctx, &copied, pids, d.Time)
	return job{d: &copied, snapshot: s, layer: layer}
}

// around are the process, its descendants, its parents within the workload, and their children.
func (c *capturing) around(p *bollwerk.Process) []int {
	pids := []int{int(p.PID)}
	seen := map[uint32]bool{p.PID: true}
	top := p
	for up := p.Parent; up != nil && up.Cgroup == p.Cgroup && up.PID > 1; up = up.Parent {
		top = up
	}
	for _, o := range c.a.sensor.Kernel().Processes.All() {
		if seen[o.PID] {
			continue
		}
		for up := o; up != nil; up = up.Parent {
			if up.Same(top) {
				seen[o.PID] = true
				pids = append(pids, int(o.PID))
				break
			}
		}
	}
	return pids
}

func (c *capturing) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case j := <-c.jobs:
			limit, cancel := context.WithTimeout(ctx, captureTime)
			s := j.snapshot
			if s == nil {
				s = recorder.Capture(limit, j.d, j.pids, j.d.Time)
			} else {
				s.AddChanged(limit, j.layer)
			}
			cancel()
			if _, err := recorder.Save(filepath.Join(c.a.c.State, "snapshots"), s, c.a.c.Recorder.Snapshots); err != nil {
				c.a.log.Error("snapshot", "detection", j.d.ID, "error", err)
			}
			// A flood of detections must not make the agent the load.
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
}

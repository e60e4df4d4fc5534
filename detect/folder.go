package detect

import (
	"slices"
	"strconv"
	"time"

	"github.com/bollwerk/bollwerk"
)

// FolderConfig bounds a Folder. The zero value is usable.
type FolderConfig struct {
	// Quiet is how long nothing must happen for a detection to be over; the next one of
	// its kind is told at once again. Default 10 minutes.
	Quiet time.Duration `yaml:"quiet"`
	// Limit is how many detections are remembered, at most some 14 KiB each whatever they
	// hold, mostly a tenth of that. Default 512.
	Limit int `yaml:"limit"`
}

// Folder makes one detection of many repeats. The first is told at once. Further ones are
// counted and told when the count reaches 10, 100, 1000, …, when something about them
// became worse (severity, or an outcome that was denied and now is only seen), when somebody
// else does the same (another program, user or program that started it, up to MaxOthers), and once
// more, with the final count, when it has been quiet. All of them carry the same ID, so
// that a receiver brings what it knows up to date: a detection told for the first time, or
// as it became worse, carries all its events; one that only counts carries the first of them and
// a brief process. It is used by one goroutine.
type Folder struct {
	cfg   FolderConfig
	table *Table[string, fold]
	// Folded counts detections that were not told by themselves.
	Folded uint64
}

type fold struct {
	first    *bollwerk.Detection
	told     uint64
	next     uint64
	count    uint64
	last     time.Time
	severity bollwerk.Severity
	outcome  bollwerk.Outcome
	doers    [1 + MaxOthers]uint64 // hashes of who did it, the first one's first
	known    int
	others   []string
}

// MaxOthers is how many other doers a folded detection names.
const MaxOthers = 8

// note remembers who did it, and reports whether that is somebody new.
func (x *fold) note(p *bollwerk.Process) bool {
	if p == nil || x.known == len(x.doers) {
		return false
	}
	k := Hash(p.Path) ^ Mix(uint64(p.UID)+1)
	if p.Parent != nil {
		k ^= Mix(Hash(p.Parent.Path) + 1)
	}
	if slices.Contains(x.doers[:x.known], k) {
		return false
	}
	x.doers[x.known] = k
	x.known++
	return x.known > 1
}

// other says who else did it.
func other(p *bollwerk.Process) string {
	s := Who(p) + ", user " + strconv.FormatUint(uint64(p.UID), 10)
	if p.Parent != nil {
		s += ", started by " + Who(p.Parent)
	}
	return s
}

// NewFolder returns a folder.
func NewFolder(cfg FolderConfig) *Folder {
	if cfg.Quiet <= 0 {
		cfg.Quiet = 10 * time.Minute
	}
	if cfg.Limit <= 0 {
		cfg.Limit = 512
	}
	return &Folder{cfg: cfg, table: NewTable[string, fold](cfg.Limit, 0)}
}

// Add takes one detection and tells what is to be told: d itself, an update, or nothing.
func (f *Folder) Add(d *bollwerk.Detection, tell func(*bollwerk.Detection)) {
	if d == nil {
		return
	}
	n := max(1, d.Count)
	x := f.table.Get(d.ID, d.Last)
	// A clock that was turned back has not been quiet for less than no time.
	if x != nil && d.Last.Sub(x.last).Abs() > f.cfg.Quiet {
		f.end(x, tell)
		f.table.Delete(d.ID)
		x = nil
	}
	if x == nil {
		if f.table.Len() >= f.table.Limit() {
			// What is pushed out is told with its count: nothing is forgotten silently.
			if old := f.oldest(); old != nil {
				f.end(old, tell)
			}
		}
		x = f.table.Put(d.ID, d.Last)
		*x = fold{first: small(d), count: n, told: n, next: 10, last: d.Last, severity: d.Severity, outcome: d.Outcome}
		x.note(d.Process)
		for x.next <= n {
			x.next *= 10
		}
		tell(d)
		return
	}
	f.Folded++
	x.count += n
	if d.Last.After(x.last) {
		x.last = d.Last
	}
	someoneNew := x.note(d.Process)
	worse := d.Severity > x.severity || rank(d.Outcome) > rank(x.outcome)
	switch {
	case worse:
		// The graver case speaks for all from now on; when it all began stays.
		c := *d
		c.Time = x.first.Time
		if x.severity > c.Severity {
			c.Severity = x.severity
		}
		if rank(x.outcome) > rank(c.Outcome) {
			c.Outcome, c.How = x.outcome, x.first.How
		}
		x.severity, x.outcome = c.Severity, c.Outcome
		if someoneNew && x.first.Process != nil {
			x.others = append(x.others, other(x.first.Process))
		}
		c.Others = slices.Clone(x.others)
		x.first = small(&c)
		c.Count, c.Last, x.told = x.count, x.last, x.count
		for x.next <= x.count {
			x.next *= 10
		}
		tell(&c)
	case someoneNew:
		x.others = append(x.others, other(d.Process))
		f.update(x, tell)
	case x.count >= x.next:
		f.update(x, tell)
	}
}

// small is a copy of a detection to be kept for long.
func small(d *bollwerk.Detection) *bollwerk.Detection {
	c := *d
	c.Process, c.Behind = brief(d.Process, 4), brief(d.Behind, 1)
	c.Message, c.Nearest, c.Snapshot = clip(d.Message, 1500), clip(d.Nearest, 400), clip(d.Snapshot, 400)
	c.Events = nil
	if len(d.Events) > 0 {
		c.Events = []*bollwerk.Event{BriefEvent(d.Events[0])}
	}
	return &c
}

// rank orders outcomes by how much got through.
func rank(o bollwerk.Outcome) int {
	switch o {
	case bollwerk.Denied:
		return 1
	case bollwerk.Killed:
		return 2
	case bollwerk.Seen:
		return 3
	}
	return 0
}

func (f *Folder) update(x *fold, tell func(*bollwerk.Detection)) {
	for x.next <= x.count {
		x.next *= 10
	}
	x.told = x.count
	c := *x.first
	c.Count, c.Last, c.Others = x.count, x.last, slices.Clone(x.others)
	tell(&c)
}

// end tells the final count, unless it is known already.
func (f *Folder) end(x *fold, tell func(*bollwerk.Detection)) {
	if x.count > x.told {
		f.update(x, tell)
	}
}

func (f *Folder) oldest() *fold {
	if f.table.last < 0 {
		return nil
	}
	return &f.table.nodes[f.table.last].value
}

// Tick ends what has been quiet; call it about once a minute with the time of the events.
func (f *Folder) Tick(now time.Time, tell func(*bollwerk.Detection)) {
	for {
		x := f.oldest()
		// The oldest entry is the one touched longest ago, so that the rest is younger.
		if x == nil || now.Sub(x.last).Abs() <= f.cfg.Quiet {
			return
		}
		f.end(x, tell)
		f.table.drop(f.table.last)
	}
}

// Flush tells every count that is not known yet and forgets all: at the end of a run.
func (f *Folder) Flush(tell func(*bollwerk.Detection)) {
	for x := f.oldest(); x != nil; x = f.oldest() {
		f.end(x, tell)
		f.table.drop(f.table.last)
	}
}

// Len is how many detections are remembered.
func (f *Folder) Len() int { return f.table.Len() }

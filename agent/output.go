package agent

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/bollwerk/bollwerk"
)

// output writes JSON lines, or detections as people read them. A detection is written
// at once; events at the latest after ten milliseconds. Between events nothing wakes it.
type output struct {
	mu         sync.Mutex
	detections *printer
	events     *printer
	show       func(io.Writer, *bollwerk.Detection)
	text       []byte // of an event
	line       []byte
	shapeless  uint64 // events and detections that have no form in JSON, such as a time beyond the year 9999
	why        error  // the last of them has none
}

const (
	outputDelay = 10 * time.Millisecond
	// outputRoom is how much of what nobody has read yet is kept; detections find as much again.
	outputRoom = 1 << 20
	// outputChunk is written at once: who reads that much goes on reading.
	outputChunk = 64 << 10
	// outputPatience is how long a reader may stand still. A slow one holds the agent back, as
	// lines are not lost for want of a moment; one that reads nothing for so long loses lines.
	outputPatience = time.Second
)

func newOutput(detections, events io.Writer, show func(io.Writer, *bollwerk.Detection)) *output {
	o := &output{show: show}
	if detections != nil {
		o.detections = newPrinter(detections, outputPatience)
	}
	switch {
	case events == nil:
	case events == detections:
		o.events = o.detections
	default:
		o.events = newPrinter(events, outputPatience)
	}
	return o
}

// put is one JSON object with its type first, so that a reader of both can tell.
// What was done and in which container comes next, under the names that readers of such
// lines look for; the rest is the event or detection as it is kept.
func (o *output) put(p *printer, kind string, action bollwerk.Outcome, where *bollwerk.Workload, b []byte, urgent bool) {
	// {"type":"event",…}: JSON escapes control characters, so that no name can forge a line.
	l := append(o.line[:0], `{"type":"`...)
	l = append(l, kind...)
	l = append(l, `","action":"`...)
	l = append(l, action...) // one of three words
	l = append(l, `","container":`...)
	l = append(l, containerName(where)...)
	l = append(l, ',')
	l = append(l, b[1:]...)
	l = append(l, '\n')
	p.add(l, urgent)
	if o.line = l; cap(l) > outputChunk { // one of long texts does not stay
		o.line = nil
	}
}

// containerName is the name of a container as JSON, or its id where it has none; "" outside.
func containerName(w *bollwerk.Workload) []byte {
	if w == nil || w.Container == nil {
		return []byte(`""`)
	}
	name := w.Container.Name
	if name == "" {
		name = w.Container.ID
	}
	b, err := json.Marshal(name)
	if err != nil {
		return []byte(`""`)
	}
	return b
}

func (o *output) event(e *bollwerk.Event) {
	if o.events == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	b, err := e.AppendJSON(o.text[:0])
	if err != nil {
		o.shapeless++
		o.why = fmt.Errorf("%s: %w", e.Kind, err)
		return
	}
	if o.text = b; cap(b) > outputChunk {
		o.text = nil
	}
	o.put(o.events, "event", cmp.Or(e.Outcome, bollwerk.Seen), e.Workload, b, false)
}

func (o *output) detection(d *bollwerk.Detection) {
	if o.detections == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.show != nil {
		var b bytes.Buffer
		o.show(&b, d)
		o.detections.add(b.Bytes(), true)
		return
	}
	b, err := json.Marshal(d)
	if err != nil {
		o.shapeless++
		o.why = fmt.Errorf("%s: %w", d.Rule, err)
		return
	}
	if d.Process == nil { // the kernel did not say who it was
		b = append([]byte(`{"process":null,`), b[1:]...)
	}
	o.put(o.detections, "detection", cmp.Or(d.Outcome, bollwerk.Seen), d.Workload, b, true)
}

// flush waits until everything is written, or nobody reads any more.
func (o *output) flush() {
	for _, p := range o.printers() {
		p.flush()
	}
}

// failed says what of the lines was not written, nil when everything was.
func (o *output) failed() error {
	var all []error
	for _, p := range o.printers() {
		if err := p.failed(); err != nil {
			all = append(all, err)
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.shapeless > 0 {
		all = append(all, fmt.Errorf("%d lines lost that cannot be written as JSON, the last: %w", o.shapeless, o.why))
	}
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	return fmt.Errorf("%w; %w", all[0], errors.Join(all[1:]...))
}

// lost is how many lines were not written.
func (o *output) lost() (n uint64) {
	for _, p := range o.printers() {
		p.mu.Lock()
		n += p.lost
		p.mu.Unlock()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return n + o.shapeless
}

// printers are the one or two that there are.
func (o *output) printers() (out []*printer) {
	if o.detections != nil {
		out = append(out, o.detections)
	}
	if o.events != nil && o.events != o.detections {
		out = append(out, o.events)
	}
	return out
}

// printer writes lines in a goroutine that lives while there is something to write. A
// reader that stands still (a stopped pager, a full pipe to a log collector that hangs)
// must stop neither the judging of events nor the end of the agent.
type printer struct {
	w        io.Writer
	patience time.Duration

	mu      sync.Mutex
	waiting []byte
	spare   []byte
	busy    bool      // the goroutine runs
	moved   time.Time // when it last began or ended a write
	step    chan struct{}
	later   *time.Timer // runs while something waits to be written
	timed   bool
	lost    uint64
	err     error
}

func newPrinter(w io.Writer, patience time.Duration) *printer {
	return &printer{w: w, patience: patience, step: make(chan struct{})}
}

// add takes one line, which is the caller's again afterwards.
func (p *printer) add(line []byte, urgent bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	room := outputRoom
	if urgent {
		room *= 2
	}
	for p.err == nil && len(p.waiting) > 0 && len(p.waiting)+len(line) > room && p.await() {
	}
	if p.err != nil || len(p.waiting) > 0 && len(p.waiting)+len(line) > room {
		p.lost++
		return
	}
	p.waiting = append(p.waiting, line...)
	switch {
	case urgent || len(p.waiting) >= outputChunk:
		p.begin()
	case p.timed:
	case p.later == nil:
		p.timed = true
		p.later = time.AfterFunc(outputDelay, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.timed = false
			p.begin()
		})
	default:
		p.timed = true
		p.later.Reset(outputDelay)
	}
}

// begin starts the goroutine. Called under the lock.
func (p *printer) begin() {
	if p.busy || len(p.waiting) == 0 {
		return
	}
	p.busy, p.moved = true, time.Now()
	go p.write()
}

func (p *printer) write() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.waiting) > 0 && p.err == nil {
		lines := p.waiting
		p.waiting, p.spare = p.spare[:0], nil
		for rest := lines; len(rest) > 0 && p.err == nil; {
			chunk := rest[:min(len(rest), outputChunk)]
			p.mu.Unlock()
			n, err := p.w.Write(chunk)
			p.mu.Lock()
			rest, p.err = rest[n:], err
			p.progress()
		}
		if p.spare = lines; cap(lines) > 2*outputChunk {
			p.spare = nil
		}
	}
	p.busy = false
	p.progress()
}

// progress wakes who waits. Called under the lock.
func (p *printer) progress() {
	p.moved = time.Now()
	close(p.step)
	p.step = make(chan struct{})
}

// await gives the lock away until a write has ended, and reports whether one did before the
// reader's time was over.
func (p *printer) await() bool {
	p.begin()
	left := p.patience - time.Since(p.moved)
	if left <= 0 {
		return false
	}
	step := p.step
	p.mu.Unlock()
	defer p.mu.Lock()
	t := time.NewTimer(left)
	defer t.Stop()
	select {
	case <-step:
		return true
	case <-t.C:
		return false
	}
}

func (p *printer) flush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begin()
	p.moved = time.Now() // a last chance
	for p.busy && p.err == nil && p.await() {
	}
}

func (p *printer) failed() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.err != nil:
		return fmt.Errorf("%w; %d lines lost", p.err, p.lost)
	case p.lost > 0:
		return fmt.Errorf("their reader stood still for more than %s; %d lines lost", p.patience, p.lost)
	}
	return nil
}

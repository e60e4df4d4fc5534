package agent

import (
	"bufio"
	"cmp"
	"encoding/json"
	"io"
	"sync"
	"time"

	"github.com/bollwerk/bollwerk"
)

// output writes JSON lines. A detection is written through at once; events at the
// latest after ten milliseconds. Between events nothing wakes it.
type output struct {
	mu         sync.Mutex
	detections *bufio.Writer
	events     *bufio.Writer
	text       []byte // of an event
	err        error
	later      *time.Timer // runs while something waits to be written
	waits      bool
}

const outputDelay = 10 * time.Millisecond

func newOutput(detections, events io.Writer) *output {
	o := &output{}
	if detections != nil {
		o.detections = bufio.NewWriterSize(detections, 64<<10)
	}
	switch {
	case events == nil:
	case events == detections:
		o.events = o.detections
	default:
		o.events = bufio.NewWriterSize(events, 64<<10)
	}
	return o
}

// line is one JSON object with its type first, so that a reader of both can tell.
// What was done and in which container comes next, under the names that readers of such
// lines look for; the rest is the event or detection as it is kept.
func (o *output) line(w *bufio.Writer, kind string, action bollwerk.Outcome, where *bollwerk.Workload, b []byte) {
	// {"type":"event",…}: JSON escapes control characters, so that no name can forge a line.
	_, _ = w.WriteString(`{"type":"`)
	_, _ = w.WriteString(kind)
	_, _ = w.WriteString(`","action":"`)
	_, _ = w.WriteString(string(action)) // one of three words
	_, _ = w.WriteString(`","container":`)
	_, _ = w.Write(containerName(where))
	_ = w.WriteByte(',')
	_, _ = w.Write(b[1:])
	if err := w.WriteByte('\n'); err != nil && o.err == nil {
		o.err = err
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
		return
	}
	if o.text = b; cap(b) > 64<<10 { // one of long texts does not stay
		o.text = nil
	}
	o.line(o.events, "event", cmp.Or(e.Outcome, bollwerk.Seen), e.Workload, b)
	if o.waits || o.events.Buffered() == 0 {
		return
	}
	o.waits = true
	if o.later == nil {
		o.later = time.AfterFunc(outputDelay, o.flush)
	} else {
		o.later.Reset(outputDelay)
	}
}

func (o *output) detection(d *bollwerk.Detection) {
	if o.detections == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	b, err := json.Marshal(d)
	if err != nil {
		return
	}
	if d.Process == nil { // the kernel did not say who it was
		b = append([]byte(`{"process":null,`), b[1:]...)
	}
	o.line(o.detections, "detection", cmp.Or(d.Outcome, bollwerk.Seen), d.Workload, b)
	if err := o.detections.Flush(); err != nil && o.err == nil {
		o.err = err
	}
}

func (o *output) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waits = false
	if o.events != nil {
		if err := o.events.Flush(); err != nil && o.err == nil {
			o.err = err
		}
	}
}

// failed is the first error of writing, nil when everything was written.
func (o *output) failed() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

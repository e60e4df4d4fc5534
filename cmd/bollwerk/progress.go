package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/bollwerk/bollwerk/scan"
)

// progress draws one line on a terminal for work that takes more than a moment, and
// nothing at all anywhere else.
type progress struct {
	w       io.Writer // nil: nobody looks
	started time.Time

	mu   sync.Mutex
	last time.Time
	line bool
}

// quietFor is how long a command may take before progress appears.
const quietFor = 700 * time.Millisecond

func newProgress(e *env) *progress {
	p := &progress{started: time.Now()}
	if e.progressTerminal() {
		p.w = e.stderr
	}
	return p
}

func (p *progress) scan(s scan.Progress) {
	switch s.Stage {
	case "reading":
		p.show("reading: %d of %d parts, %d entries", s.Done, s.Total, s.Files)
	case "matching":
		p.show("matched %d packages", s.Done)
	default:
		p.show("%s", s.Stage)
	}
}

func (p *progress) show(format string, args ...any) {
	if p.w == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Sub(p.started) < quietFor || now.Sub(p.last) < 100*time.Millisecond {
		return
	}
	p.last, p.line = now, true
	fmt.Fprintf(p.w, "\r\x1b[K%4.1f s  %s", now.Sub(p.started).Seconds(), fmt.Sprintf(format, args...))
}

// done removes the line.
func (p *progress) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.line {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.line = false
	}
}

// size of the terminal on standard output; zeros when there is none.
func (e *env) size() (width, height int) {
	f, ok := e.stdout.(*os.File)
	if !ok {
		return 0, 0
	}
	w, h, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0, 0
	}
	return w, h
}

package agent

import (
	"sync/atomic"

	"github.com/bollwerk/bollwerk"
)

// Degradation is the order in which work is given up when the queue or the memory
// fills: what comes first goes first. Detections are made of what is left, to the last.
var Degradation = []Step{
	{"file reads", 0.50, func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventOpen && e.File != nil && e.File.Access&^bollwerk.AccessRead == 0
	}},
	{"flow summaries, forks and CPU samples", 0.60, func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventFlow || e.Kind == bollwerk.EventFork || e.Kind == bollwerk.EventUsage
	}},
	{"mappings and unlinks", 0.70, func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventMmap || e.Kind == bollwerk.EventUnlink
	}},
	{"DNS and datagrams", 0.80, func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventDNS || e.Kind == bollwerk.EventSend
	}},
	{"file writes, exits and network events", 0.90, func(e *bollwerk.Event) bool {
		switch e.Kind {
		case bollwerk.EventExec, bollwerk.EventSetting, bollwerk.EventModule, bollwerk.EventBPF, bollwerk.EventMount, bollwerk.EventNamespace,
			bollwerk.EventPtrace, bollwerk.EventProtocol, bollwerk.EventContainer, bollwerk.EventLoss, bollwerk.EventCredentials:
			return false
		}
		return e.Outcome == bollwerk.Seen
	}},
}

// Step is one thing that is given up, at which fill of the queue (0 to 1).
type Step struct {
	Name string
	At   float64
	Of   func(*bollwerk.Event) bool
}

// queue stands between the sensor, which must not wait, and the judgement. It gives up
// work in the declared order and counts it.
type queue struct {
	ch chan *bollwerk.Event
	// pressure is the share of the memory that is used, in per mille; it raises the fill.
	pressure atomic.Int64
	lost     func(e *bollwerk.Event)
}

func newQueue(size int, lost func(*bollwerk.Event)) *queue {
	return &queue{ch: make(chan *bollwerk.Event, size), lost: lost}
}

// put never waits.
func (q *queue) put(e *bollwerk.Event) {
	fill := max(float64(len(q.ch))/float64(cap(q.ch)), float64(q.pressure.Load())/1000)
	for i := range Degradation {
		if s := &Degradation[i]; fill < s.At {
			break
		} else if s.Of(e) {
			q.lost(e)
			return
		}
	}
	select {
	case q.ch <- e:
	default:
		q.lost(e)
	}
}

// level is how many steps of the degradation are in force.
func (q *queue) level() (n int) {
	fill := max(float64(len(q.ch))/float64(cap(q.ch)), float64(q.pressure.Load())/1000)
	for i := range Degradation {
		if fill >= Degradation[i].At {
			n++
		}
	}
	return n
}

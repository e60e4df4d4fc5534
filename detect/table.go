package detect

import "time"

// Table is a bounded memory: when it is full, what was touched longest ago goes; what
// was not touched for its lifetime is as good as gone. Time is what the events say; when
// the clock is turned, forward or back, by more than the lifetime, all is as good as gone:
// what is joined to entries of "the future" would be joined until that future comes.
//
// It is a hash map over a slice of linked nodes: a flood of new keys reuses nodes and
// leaves nothing for the garbage collector.
type Table[K comparable, V any] struct {
	limit int
	life  time.Duration
	index map[K]int32
	nodes []node[K, V]
	first int32 // most recently touched, -1 when empty
	last  int32
	free  int32
	// Evicted counts entries pushed out before their lifetime ended.
	Evicted uint64
}

type node[K comparable, V any] struct {
	key        K
	value      V
	touched    int64
	prev, next int32
}

// NewTable returns a table of at most limit entries (at least 1), each forgotten when it
// was not touched for life (0: never).
func NewTable[K comparable, V any](limit int, life time.Duration) *Table[K, V] {
	return &Table[K, V]{limit: max(1, limit), life: life, index: map[K]int32{}, first: -1, last: -1, free: -1}
}

// Len is the number of entries held, expired ones included.
func (t *Table[K, V]) Len() int { return len(t.index) }

// Limit is the most entries there can be.
func (t *Table[K, V]) Limit() int { return t.limit }

func (t *Table[K, V]) expired(n *node[K, V], now time.Time) bool {
	if t.life <= 0 {
		return false
	}
	d := now.UnixNano() - n.touched
	return d > int64(t.life) || d < -int64(t.life)
}

// Get returns the entry and touches it; nil when there is none. The pointer is good until
// the next Put.
func (t *Table[K, V]) Get(k K, now time.Time) *V {
	i, ok := t.index[k]
	if !ok {
		return nil
	}
	n := &t.nodes[i]
	if t.expired(n, now) {
		t.drop(i)
		return nil
	}
	t.touch(i, now)
	return &n.value
}

// Peek returns the entry without touching it.
func (t *Table[K, V]) Peek(k K, now time.Time) *V {
	i, ok := t.index[k]
	if !ok || t.expired(&t.nodes[i], now) {
		return nil
	}
	return &t.nodes[i].value
}

// Put returns the entry for k, a zero one when there was none, and touches it. The pointer
// is good until the next Put.
func (t *Table[K, V]) Put(k K, now time.Time) *V {
	if v := t.Get(k, now); v != nil {
		return v
	}
	var i int32
	switch {
	case t.free >= 0:
		i = t.free
		t.free = t.nodes[i].next
	case len(t.index) >= t.limit:
		if !t.expired(&t.nodes[t.last], now) {
			t.Evicted++
		}
		t.drop(t.last)
		i = t.free
		t.free = t.nodes[i].next
	default:
		t.nodes = append(t.nodes, node[K, V]{})
		i = int32(len(t.nodes) - 1)
	}
	t.nodes[i] = node[K, V]{key: k, touched: now.UnixNano(), prev: -1, next: t.first}
	if t.first >= 0 {
		t.nodes[t.first].prev = i
	}
	t.first = i
	if t.last < 0 {
		t.last = i
	}
	t.index[k] = i
	return &t.nodes[i].value
}

// Delete forgets k.
func (t *Table[K, V]) Delete(k K) {
	if i, ok := t.index[k]; ok {
		t.drop(i)
	}
}

func (t *Table[K, V]) touch(i int32, now time.Time) {
	n := &t.nodes[i]
	n.touched = now.UnixNano()
	if t.first == i {
		return
	}
	t.unlink(i)
	n.prev, n.next = -1, t.first
	t.nodes[t.first].prev = i
	t.first = i
}

func (t *Table[K, V]) unlink(i int32) {
	n := &t.nodes[i]
	if n.prev >= 0 {
		t.nodes[n.prev].next = n.next
	} else {
		t.first = n.next
	}
	if n.next >= 0 {
		t.nodes[n.next].prev = n.prev
	} else {
		t.last = n.prev
	}
}

func (t *Table[K, V]) drop(i int32) {
	t.unlink(i)
	delete(t.index, t.nodes[i].key)
	t.nodes[i] = node[K, V]{next: t.free, prev: -1}
	t.free = i
}

// Near reports whether two events lie within a span of each other, whichever is said to be
// the earlier: a clock may have been turned back between them.
func Near(a, b time.Time, span time.Duration) bool { return a.Sub(b).Abs() <= span }

// Clock is the time that passed, added up from event to event: the clock of the host may be
// turned, and a day's learning is not over because it was. The zero value is ready.
type Clock struct {
	last    time.Time
	elapsed time.Duration
}

// longestStep is the longest pause between events that counts as one.
const longestStep = 2 * time.Hour

// At moves on to the time of an event and returns what passed since the first one.
func (c *Clock) At(now time.Time) time.Duration {
	if d := now.Sub(c.last); !c.last.IsZero() && d > 0 && d <= longestStep {
		c.elapsed += d
	}
	// A little out of order is no clock that was turned back: it would count twice.
	if d := now.Sub(c.last); d > 0 || d < -time.Minute {
		c.last = now
	}
	return c.elapsed
}

// Window counts within a span that begins anew when it has passed. It is coarse on
// purpose: two integers for each thing counted. A clock that jumps begins anew too.
type Window struct {
	began int64
	Count uint32
}

// Add counts n at now and returns the count of the span so far.
func (w *Window) Add(now time.Time, span time.Duration, n uint64) uint32 {
	t := now.UnixNano()
	if w.began == 0 || t-w.began > int64(span) || t < w.began-int64(span) {
		w.began, w.Count = t, 0
	}
	w.Count = uint32(min(uint64(w.Count)+n, 1<<31))
	return w.Count
}

// Began says when the span began, the zero time before the first Add.
func (w *Window) Began() time.Time {
	if w.began == 0 {
		return time.Time{}
	}
	return time.Unix(0, w.began).UTC()
}

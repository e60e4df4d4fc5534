package sensor

import "sync"

// Strings keeps one copy of texts that come again and again: paths, names, whole
// argument lists. It forgets what was not asked for in a while, and never holds more
// than twice its number of short texts. Safe for concurrent use.
type Strings struct {
	mu        sync.Mutex
	now, past map[string]string
	lists     map[string][]string
	listsPast map[string][]string
	most      int
}

const (
	internMost   = 2048 // texts in one generation
	internLength = 256  // longer ones are kept by nobody
	listLength   = 1024
)

func newStrings() *Strings {
	return &Strings{now: map[string]string{}, past: map[string]string{}, lists: map[string][]string{}, listsPast: map[string][]string{}, most: internMost}
}

// Text returns b as a string.
func (t *Strings) Text(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if len(b) > internLength {
		return string(b)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text(b)
}

func (t *Strings) text(b []byte) string {
	if s, ok := t.now[string(b)]; ok {
		return s
	}
	s, ok := t.past[string(b)]
	if !ok {
		s = string(b)
	}
	if len(t.now) >= t.most {
		t.past, t.now = t.now, make(map[string]string, 64)
	}
	t.now[s] = s
	return s
}

// List splits b at its zero bytes; a last one ends the last text. The result is shared
// and must not be changed.
func (t *Strings) List(b []byte) []string {
	if len(b) == 0 {
		return nil
	}
	if len(b) > listLength {
		return t.split(b)
	}
	t.mu.Lock()
	l, ok := t.lists[string(b)]
	if !ok {
		l, ok = t.listsPast[string(b)]
	}
	t.mu.Unlock()
	if ok {
		return l
	}
	l = t.split(b)
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lists) >= t.most/4 {
		t.listsPast, t.lists = t.lists, make(map[string][]string, 64)
	}
	t.lists[string(b)] = l
	return l
}

func (t *Strings) split(b []byte) []string {
	if b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	n := 1
	for _, c := range b {
		if c == 0 {
			n++
		}
	}
	out := make([]string, 0, n)
	for from, i := 0, 0; i <= len(b); i++ {
		if i == len(b) || b[i] == 0 {
			out = append(out, t.Text(b[from:i]))
			from = i + 1
		}
	}
	return out
}

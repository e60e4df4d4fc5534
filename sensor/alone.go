package sensor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
)

// Mark is how an agent says on a machine that it is there: a BPF map with a known name
// that holds a short text about it. The kernel numbers its maps for all namespaces
// together, frees one with the last process that holds it, however that ended, and lets
// only the privileged make or read one: an agent in a container is seen from the host
// and from any other container, a killed one leaves nothing behind, and no user of the
// machine can keep an agent from starting.
//
// MarkBusy is returned, with the other's text, when another agent holds such a map. When
// two begin at the same time the one with the lower number stays.
func Mark(text string) (io.Closer, error) { return mark(markName, text) }

func mark(name, text string) (io.Closer, error) {
	// Before 5.11 maps count against RLIMIT_MEMLOCK.
	_ = rlimit.RemoveMemlock()
	if len(text) > markSize {
		text = text[:markSize]
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: name, Type: ebpf.Array, KeySize: 4, ValueSize: markSize, MaxEntries: 1})
	if err != nil {
		return nil, explain(err)
	}
	value := make([]byte, markSize)
	copy(value, text)
	if err := m.Put(uint32(0), value); err != nil {
		return nil, errors.Join(explain(err), m.Close())
	}
	info, err := m.Info()
	own, ok := info.ID()
	if err != nil || !ok {
		return nil, errors.Join(fmt.Errorf("the kernel does not number its maps: %w", err), m.Close())
	}
	other, err := marked(name, own)
	switch {
	case err != nil:
		return nil, errors.Join(err, m.Close())
	case other != "":
		return nil, errors.Join(&MarkBusy{Text: other}, m.Close())
	}
	return m, nil
}

// Marked returns the text of an agent that runs on this machine, "" when there is none
// or its mark cannot be read by who asks.
func Marked() string {
	text, err := marked(markName, ^ebpf.MapID(0))
	if err != nil {
		return ""
	}
	return text
}

// MarkBusy is that another agent runs; Text is what it said of itself.
type MarkBusy struct{ Text string }

func (e *MarkBusy) Error() string { return "another agent runs: " + e.Text }

const (
	markName = "bollwerk_agent" // 15 letters are the most
	markSize = 1024
)

// marked looks for a mark with a number below the given one.
func marked(name string, below ebpf.MapID) (string, error) {
	for id := ebpf.MapID(0); ; {
		next, err := ebpf.MapGetNextID(id)
		if errors.Is(err, os.ErrNotExist) || err == nil && next >= below {
			return "", nil
		}
		if err != nil {
			return "", fmt.Errorf("list of BPF maps: %w", explain(err))
		}
		id = next
		if text := markText(name, id); text != "" {
			return text, nil
		}
	}
}

// markText is the text of a map if it is a mark, else "". One that was freed meanwhile is none.
func markText(name string, id ebpf.MapID) string {
	m, err := ebpf.NewMapFromID(id)
	if err != nil {
		return ""
	}
	defer m.Close()
	if info, err := m.Info(); err != nil || info.Name != name || m.Type() != ebpf.Array || m.ValueSize() != markSize {
		return ""
	}
	var value []byte
	if m.Lookup(uint32(0), &value) != nil {
		return ""
	}
	text, _, _ := bytes.Cut(value, []byte{0})
	if len(text) == 0 {
		return "an agent that is just starting"
	}
	return string(text)
}

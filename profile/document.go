package profile

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bollwerk/bollwerk"
)

// Schema is the version of documents. A reader refuses another first number.
const Schema = "1.0"

// Bounds of a document from outside.
const (
	MaxDocument = 4 << 20 // bytes
	maxEdits    = 1024
)

// Document is a profile as it is stored, exported and imported: JSON, sorted, one
// entry per line, so that two of them can be compared line by line.
type Document struct {
	Schema   string `json:"schema"`
	Workload string `json:"workload"`
	// Window is the sampling window in seconds.
	Window    uint32     `json:"window"`
	First     time.Time  `json:"first,omitzero"`
	Last      time.Time  `json:"last,omitzero"`
	Inherited string     `json:"inherited,omitempty"`
	Saturated []Category `json:"saturated,omitempty"`
	// Sentence is for readers; it is not read back.
	Sentence string `json:"sentence,omitempty"`
	// State is what this node does with the profile; import leaves it out.
	State    *State        `json:"state,omitempty"`
	Replicas []string      `json:"replicas,omitempty"` // hashes, eight hexadecimal digits
	Counts   []Counts      `json:"counts,omitempty"`
	Edits    []EntryEdit   `json:"edits,omitempty"`
	Entries  []EntryRecord `json:"entries"`
}

// State is the mode of a profile on one node.
type State struct {
	Mode  Mode   `json:"mode"`
	Moves []Move `json:"moves,omitempty"`
	// Held: learning rests until then, after something suspicious.
	Held time.Time `json:"held,omitzero"`
}

// Counts are what one writer counted.
type Counts struct {
	Writer   string `json:"writer"` // hash, sixteen hexadecimal digits
	Events   uint64 `json:"events,omitempty"`
	Units    uint32 `json:"units,omitempty"`  // replica-windows
	Starts   uint32 `json:"starts,omitempty"` // of replicas
	Lost     uint64 `json:"lost,omitempty"`
	Withheld uint64 `json:"withheld,omitempty"`
}

// Entry names one behaviour.
//
//	{"category":"executable","value":"/usr/sbin/nginx"}
//	{"category":"start","value":"/bin/sh","parent":"/usr/sbin/nginx"}
//	{"category":"port","protocol":"tcp","port":80}             (32768: any from there on)
//	{"category":"destination","protocol":"tcp","port":5432,"value":"name:db.shop.svc"}
//	{"category":"write","value":"/var/log/nginx/**"}
//	{"category":"user","id":101}
type Entry struct {
	Category Category `json:"category"`
	Value    string   `json:"value,omitempty"`
	Parent   string   `json:"parent,omitempty"`
	Protocol string   `json:"protocol,omitempty"`
	Port     uint32   `json:"port,omitempty"`
	ID       *uint32  `json:"id,omitempty"`
}

// EntryRecord is an entry with what is known about it.
type EntryRecord struct {
	Entry
	Origins  []bollwerk.Origin `json:"origins,omitempty"`
	Sources  []string          `json:"sources,omitempty"` // seed, learned, inherited
	First    time.Time         `json:"first,omitzero"`
	Last     time.Time         `json:"last,omitzero"`
	Replicas []string          `json:"replicas,omitempty"` // at most three hashes
	Counts   []Counts          `json:"counts,omitempty"`
}

// EntryEdit is an entry with what a person decided about it.
type EntryEdit struct {
	Entry
	Edit
}

func (k key) entry() Entry {
	e := Entry{Category: k.cat, Value: k.value}
	switch k.cat {
	case Start:
		e.Parent, e.Value, _ = strings.Cut(k.value, "\x00")
	case Port, Destination, Client:
		e.Protocol, e.Port = k.proto.String(), k.n
	case User:
		n := k.n
		e.ID = &n
	}
	return e
}

// key reads an entry that came from outside.
func (e Entry) key() (key, error) {
	k := key{cat: e.Category, value: e.Value}
	for _, s := range [...]string{e.Value, e.Parent} {
		if err := validText(s); err != nil {
			return key{}, err
		}
	}
	if e.Parent != "" && e.Category != Start {
		return key{}, fmt.Errorf("category %s has no parent", e.Category)
	}
	switch e.Category {
	case Start:
		if e.Parent == "" || e.Value == "" {
			return key{}, errors.New("category start: want parent and value")
		}
		k.value = e.Parent + "\x00" + e.Value
	case Port, Destination, Client:
		k.proto, k.n = protocolOf(e.Protocol), min(e.Port, highPort)
		if e.Port > math.MaxUint16 {
			return key{}, fmt.Errorf("port %d: want at most 65535", e.Port)
		}
	case User:
		if e.ID == nil {
			return key{}, errors.New("category user: id is missing")
		}
		k.n = *e.ID
	case 0:
		return key{}, errors.New("category is missing")
	}
	if k.value == "" && k.cat != Port && k.cat != User {
		return key{}, fmt.Errorf("category %s: value is missing", k.cat)
	}
	return k, nil
}

func validText(s string) error {
	if len(s) > maxText {
		return fmt.Errorf("a text of %d bytes: at most %d are allowed", len(s), maxText)
	}
	if !utf8.ValidString(s) {
		return errors.New("a text that is no UTF-8")
	}
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] == 0x7f {
			return fmt.Errorf("a text with the control character %#x", s[i])
		}
	}
	return nil
}

// Document returns the profile as a document.
func (p *Profile) Document() *Document {
	d := &Document{Schema: Schema, Workload: p.key, Window: p.window, First: timeOf(p.first), Last: timeOf(p.last),
		Inherited: p.inherited, Saturated: p.Saturated(), Entries: []EntryRecord{}}
	for _, h := range p.replicas {
		d.Replicas = append(d.Replicas, fmt.Sprintf("%08x", h))
	}
	for _, t := range p.allTotals() {
		d.Counts = append(d.Counts, Counts{fmt.Sprintf("%016x", t.writer), t.events, t.units, t.starts, t.lost, t.withheld})
	}
	for k, m := range p.entries {
		r := EntryRecord{Entry: k.entry(), First: timeOf(m.first), Last: timeOf(m.last)}
		for i, o := range origins {
			if m.origins&(1<<i) != 0 {
				r.Origins = append(r.Origins, o)
			}
		}
		for i, w := range sourceWords {
			if m.source()&(1<<i) != 0 {
				r.Sources = append(r.Sources, w)
			}
		}
		for _, h := range m.replicas {
			if h != 0 {
				r.Replicas = append(r.Replicas, fmt.Sprintf("%08x", h))
			}
		}
		for _, t := range m.all(p.writer) {
			r.Counts = append(r.Counts, Counts{Writer: fmt.Sprintf("%016x", t.writer), Events: t.events, Units: t.units, Starts: t.starts})
		}
		d.Entries = append(d.Entries, r)
	}
	slices.SortFunc(d.Entries, func(a, b EntryRecord) int { return compareEntries(a.Entry, b.Entry) })
	for k, e := range p.edits {
		d.Edits = append(d.Edits, EntryEdit{k.entry(), *e})
	}
	slices.SortFunc(d.Edits, func(a, b EntryEdit) int { return compareEntries(a.Entry, b.Entry) })
	return d
}

func compareEntries(a, b Entry) int {
	id := func(e Entry) uint32 {
		if e.ID != nil {
			return *e.ID
		}
		return 0
	}
	return cmp.Or(cmp.Compare(a.Category, b.Category), cmp.Compare(a.Value, b.Value), cmp.Compare(a.Parent, b.Parent),
		cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port), cmp.Compare(id(a), id(b)))
}

// WriteTo writes the document as JSON with one entry per line.
func (d *Document) WriteTo(w io.Writer) (int64, error) {
	head := *d
	head.Entries, head.Edits = nil, nil
	b, err := json.MarshalIndent(head, "", "  ")
	if err != nil {
		return 0, err
	}
	// The lists come last, line by line: MarshalIndent would take ten lines an entry.
	b = bytes.TrimSuffix(b, []byte(",\n  \"entries\": null\n}"))
	var out bytes.Buffer
	out.Write(b)
	list := func(name string, n int, item func(int) any) error {
		fmt.Fprintf(&out, ",\n  %q: [", name)
		for i := range n {
			line, err := json.Marshal(item(i))
			if err != nil {
				return err
			}
			if i > 0 {
				out.WriteByte(',')
			}
			out.WriteString("\n    ")
			out.Write(line)
		}
		out.WriteString("\n  ]")
		return nil
	}
	if len(d.Edits) > 0 {
		if err := list("edits", len(d.Edits), func(i int) any { return d.Edits[i] }); err != nil {
			return 0, err
		}
	}
	if err := list("entries", len(d.Entries), func(i int) any { return d.Entries[i] }); err != nil {
		return 0, err
	}
	out.WriteString("\n}\n")
	return out.WriteTo(w)
}

// ReadDocument reads a document from outside: at most MaxDocument bytes, no unknown
// fields, every text and number in its bounds.
func ReadDocument(r io.Reader) (*Document, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxDocument+1))
	if err != nil {
		return nil, err
	}
	if len(data) > MaxDocument {
		return nil, fmt.Errorf("a profile of more than %d bytes", MaxDocument)
	}
	var d Document
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		return nil, fmt.Errorf("not a profile: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("not a profile: something follows the document")
	}
	if _, err := d.profile(0); err != nil {
		return nil, err
	}
	return &d, nil
}

// Profile reads the document as a profile that writer (the name of a node) counts on.
func (d *Document) Profile(writer string) (*Profile, error) { return d.profile(hash(writer)) }

func (d *Document) profile(writer uint64) (*Profile, error) {
	major, _, _ := strings.Cut(d.Schema, ".")
	if major != "1" {
		return nil, fmt.Errorf("schema %q: this program reads version 1", clean(d.Schema))
	}
	if d.Workload == "" || len(d.Workload) > 2*maxKey {
		return nil, fmt.Errorf("workload: a key of %d bytes", len(d.Workload))
	}
	if err := validText(d.Workload[:min(len(d.Workload), maxText)]); err != nil {
		return nil, fmt.Errorf("workload: %w", err)
	}
	if d.Window < 60 || d.Window > 86400 {
		return nil, fmt.Errorf("window: %d seconds, want 60 to 86400", d.Window)
	}
	if len(d.Inherited) > 2*maxKey || len(d.Edits) > maxEdits || len(d.Replicas) > maxReplicas || len(d.Counts) > maxWriters+1 {
		return nil, fmt.Errorf("%s: more edits, replicas or counts than a profile has", clean(d.Workload))
	}
	p := newProfile(d.Workload, writer, d.Window)
	p.inherited = d.Inherited
	p.first, p.last = documentTime(d.First), documentTime(d.Last)
	p.epoch = p.last / p.window
	for _, c := range d.Saturated {
		if c > 0 && c < categories {
			p.saturated[c] = true
		}
	}
	for _, s := range d.Replicas {
		h, err := strconv.ParseUint(s, 16, 32)
		if err != nil || h == 0 {
			return nil, fmt.Errorf("replica %q: want eight hexadecimal digits", clean(s))
		}
		p.addReplica(uint32(h))
	}
	for _, c := range d.Counts {
		w, err := strconv.ParseUint(c.Writer, 16, 64)
		if err != nil {
			return nil, fmt.Errorf("writer %q: want sixteen hexadecimal digits", clean(c.Writer))
		}
		p.joinTotals(totals{w, min(c.Events, math.MaxInt64>>8), c.Units, c.Starts, min(c.Lost, math.MaxInt64>>8), min(c.Withheld, math.MaxInt64>>8)})
	}
	var n [categories]int
	for i, r := range d.Entries {
		k, err := r.key()
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", i, err)
		}
		// Twice the cap: merged profiles may have more than one that was learned.
		if n[k.cat]++; n[k.cat] > 2*caps[k.cat] {
			return nil, fmt.Errorf("category %s: more than %d entries", k.cat, 2*caps[k.cat])
		}
		m, err := r.mark(p)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", i, err)
		}
		if old := p.entries[k]; old != nil {
			old.join(writer, m, writer)
			continue
		}
		k.value = keep(k)
		p.put(k, m)
	}
	for i, e := range d.Edits {
		k, err := e.key()
		if err != nil {
			return nil, fmt.Errorf("edit %d: %w", i, err)
		}
		ed := e.Edit
		if err := ed.validate(); err != nil {
			return nil, fmt.Errorf("edit %d: %w", i, err)
		}
		ed.At = ed.At.UTC().Truncate(time.Second)
		p.setEdit(k, laterEdit(p.edits[k], &ed))
	}
	var s scratch
	p.closeAll(&s)
	return p, nil
}

func documentTime(t time.Time) uint32 {
	if t.IsZero() {
		return 0
	}
	s, ok := seconds(t)
	if !ok {
		return 0
	}
	return s
}

func (r *EntryRecord) mark(p *Profile) (*mark, error) {
	m := &mark{first: documentTime(r.First), last: documentTime(r.Last)}
	for _, o := range r.Origins {
		m.origins |= originBit(o)
	}
	for _, s := range r.Sources {
		i := slices.Index(sourceWords[:], s)
		if i < 0 {
			return nil, fmt.Errorf("source %q: want seed, learned or inherited", clean(s))
		}
		m.addSource(1 << i)
	}
	for _, s := range r.Replicas {
		h, err := strconv.ParseUint(s, 16, 32)
		if err != nil {
			return nil, fmt.Errorf("replica %q: want eight hexadecimal digits", clean(s))
		}
		m.addReplica(uint32(h))
	}
	if len(r.Counts) > maxWriters+1 {
		return nil, fmt.Errorf("%d counts, at most %d", len(r.Counts), maxWriters)
	}
	var others []tally
	for _, c := range r.Counts {
		w, err := strconv.ParseUint(c.Writer, 16, 64)
		if err != nil {
			return nil, fmt.Errorf("writer %q: want sixteen hexadecimal digits", clean(c.Writer))
		}
		t := tally{w, min(c.Events, math.MaxInt64>>8), c.Units, min(c.Starts, 15)}
		if w == p.writer {
			m.events, m.units = max(m.events, t.events), max(m.units, t.units)
			m.setStarts(max(m.starts(), t.starts))
		} else {
			others = joinTallies(others, []tally{t})
		}
	}
	if len(others) > 0 {
		m.others = &others
	}
	// The window the profile was written in may go on: it was counted.
	m.window, m.slots = uint16(p.epoch), math.MaxUint16
	return m, nil
}

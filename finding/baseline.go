package finding

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/bollwerk/bollwerk"
)

// MaxBaseline is how many bytes of a baseline are read: a result with 100,000
// findings has about 100 MB.
const MaxBaseline = 256 << 20

// Baseline is what an earlier result already knew. What it does not know is new.
type Baseline struct {
	// Target and Made name the earlier result, for people.
	Target string
	Made   string

	ids map[bollwerk.FindingID]struct{}
	// keys name issues of packages at places; true: by the finding's own ID, false:
	// by an alias only.
	keys map[string]bool
}

// ErrNotResult says that a file is no JSON result of this program.
var ErrNotResult = errors.New("not a bollwerk JSON result; make one with `bollwerk scan --format json`")

// Load reads a JSON result, of which only schema, target and findings matter. It
// streams: packages and coverage are skipped, not held.
//
// A finding that was suppressed or not evaluated in the baseline is not known by
// it: when an exception runs out or a database learns more, people are to see it.
func Load(r io.Reader) (*Baseline, error) { return load(r, MaxBaseline) }

func load(r io.Reader, limit int64) (*Baseline, error) {
	b := &Baseline{ids: map[bollwerk.FindingID]struct{}{}, keys: map[string]bool{}}
	limited := &io.LimitedReader{R: r, N: limit + 1}
	dec := json.NewDecoder(limited)
	if err := b.read(dec); err != nil {
		if limited.N <= 0 {
			return nil, fmt.Errorf("baseline: larger than %d MiB", limit>>20)
		}
		return nil, fmt.Errorf("baseline: %w", err)
	}
	return b, nil
}

func (b *Baseline) read(dec *json.Decoder) error {
	tok, err := dec.Token()
	if err != nil {
		return notResult(err)
	}
	if tok != json.Delim('{') {
		return ErrNotResult
	}
	schema, findings := "", false
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return notResult(err)
		}
		switch tok {
		case "schema":
			if err := dec.Decode(&schema); err != nil {
				return fmt.Errorf("schema: %w", err)
			}
		case "started":
			if err := dec.Decode(&b.Made); err != nil {
				return fmt.Errorf("started: %w", err)
			}
		case "target":
			var t struct {
				Name string `json:"name"`
			}
			if err := dec.Decode(&t); err != nil {
				return fmt.Errorf("target: %w", err)
			}
			b.Target = t.Name
		case "findings":
			if err := b.readFindings(dec); err != nil {
				return err
			}
			findings = true
		default:
			if err := skip(dec); err != nil {
				return fmt.Errorf("%v: %w", tok, err)
			}
		}
	}
	if _, err := dec.Token(); err != nil {
		return notResult(err)
	}
	// The number before the dot is the promise of the contract.
	major, _, _ := strings.Cut(bollwerk.ResultSchema, ".")
	got, _, _ := strings.Cut(schema, ".")
	switch {
	case schema == "" || !findings:
		return ErrNotResult
	case got != major:
		return fmt.Errorf("schema %s: this program reads %s.x; make the baseline again with it", schema, major)
	}
	return nil
}

// ignored is a value that is read past. The decoder checks its syntax in one pass
// over its bytes; going through it token by token takes fifty times as long.
type ignored struct{}

func (*ignored) UnmarshalJSON([]byte) error { return nil }

// skip passes over one value; of a list it holds one element at a time.
func skip(dec *json.Decoder) error {
	tok, err := dec.Token()
	if err != nil {
		return err
	}
	switch tok {
	case json.Delim('['):
	case json.Delim('{'):
		for dec.More() {
			if _, err := dec.Token(); err != nil {
				return err
			}
			if err := dec.Decode(&ignored{}); err != nil {
				return err
			}
		}
		_, err = dec.Token()
		return err
	default:
		return nil
	}
	for dec.More() {
		if err := dec.Decode(&ignored{}); err != nil {
			return err
		}
	}
	_, err = dec.Token()
	return err
}

func notResult(err error) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w (%v)", ErrNotResult, err)
	}
	return err
}

func (b *Baseline) readFindings(dec *json.Decoder) error {
	tok, err := dec.Token()
	if err != nil {
		return fmt.Errorf("findings: %w", err)
	}
	if tok == nil {
		return nil
	}
	if tok != json.Delim('[') {
		return fmt.Errorf("findings: want a list: %w", ErrNotResult)
	}
	for n := 1; dec.More(); n++ {
		var f bollwerk.Finding
		if err := dec.Decode(&f); err != nil {
			return fmt.Errorf("finding %d: %w", n, err)
		}
		if !judged(&f) {
			continue
		}
		if f.Fingerprint != "" {
			b.ids[f.Fingerprint] = struct{}{}
		}
		b.ids[Fingerprint(&f)] = struct{}{}
		eachKey(&f, func(k string, own bool) bool { b.keys[k] = b.keys[k] || own; return true })
	}
	if _, err := dec.Token(); err != nil {
		return fmt.Errorf("findings: %w", err)
	}
	return nil
}

// Len is the number of distinct findings the baseline knows.
func (b *Baseline) Len() int { return len(b.ids) }

// Mark sets New on every finding that the baseline does not know. A finding is
// known by its fingerprint, or when the same package at the same place had an
// issue of which the ID of one is a name of the other: a GHSA gets a CVE number a
// week later and must not come back as new. Two aliases in common are not enough:
// a distribution's bulletin is an alias of every issue it fixes.
func (b *Baseline) Mark(fs []bollwerk.Finding) {
	for i := range fs {
		f := &fs[i]
		f.New = false
		if !judged(f) {
			continue
		}
		f.New = !b.Knows(f)
	}
}

// Knows reports whether the baseline has the finding.
func (b *Baseline) Knows(f *bollwerk.Finding) bool {
	if f.Fingerprint != "" {
		if _, ok := b.ids[f.Fingerprint]; ok {
			return true
		}
	}
	if f.Package == nil {
		// Without its hash a second credential of one kind in one file looks like the
		// first; then only the stamped fingerprint above tells them apart.
		_, ok := b.ids[Fingerprint(f)]
		return ok && (f.Kind != bollwerk.KindSecret || f.SecretHash != "")
	}
	known := false
	eachKey(f, func(k string, own bool) bool {
		baseOwn, ok := b.keys[k]
		known = ok && (own || baseOwn)
		return !known
	})
	return known
}

// eachKey calls fn with every name of the issue at every place of the package
// until fn returns false; own is true for the finding's ID.
func eachKey(f *bollwerk.Finding, fn func(key string, own bool) bool) {
	if f.Package == nil {
		return
	}
	prefix := string(f.Kind) + "\x00" + f.Package.Ecosystem.Name() + "\x00" + f.Package.Name + "\x00"
	paths := f.Package.Paths
	if len(paths) == 0 {
		paths = []string{""}
	}
	for _, p := range paths {
		p = prefix + withoutVersion(p, f.Package.Version) + "\x00"
		if !fn(p+f.ID, true) {
			return
		}
		for _, a := range f.Aliases {
			if !fn(p+a, false) {
				return
			}
		}
	}
}

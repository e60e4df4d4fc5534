package vuln

import (
	"fmt"
	"strings"

	"github.com/bollwerk/bollwerk"
)

// maxShownPackages bounds how many packages of one record are read back.
const maxShownPackages = 4096

// addAffected reads the affected entries of a record back from the package records.
// The caller holds mu.
func (db *DB) addAffected(a *Advisory, r *advisoryRecord) error {
	for _, k := range r.keys[:min(len(r.keys), maxShownPackages)] {
		b, err := db.findPackage(bollwerk.Ecosystem(k.ecosystem), k.name)
		if err != nil {
			return err
		}
		if b == nil {
			return fmt.Errorf("package %s of %s is missing: %w", k.name, r.id, errDamaged)
		}
		if err := db.entriesOf(b, r.id, func(en *entry) {
			a.Affected = append(a.Affected, en.whole(k))
		}); err != nil {
			return err
		}
	}
	return nil
}

// entriesOf hands over the entries of a package record that belong to an advisory.
func (db *DB) entriesOf(b []byte, id string, do func(*entry)) error {
	d := decoder{b: b}
	d.string()
	d.string()
	issues := d.count()
	for i := 0; i < issues && d.err == nil; i++ {
		d.uint()
	}
	n := d.count()
	var en entry
	last, match := uint64(1<<63), false
	for i := 0; i < n && d.err == nil; i++ {
		if err := en.decode(d.bytes(), issues); err != nil {
			return err
		}
		if en.advisory != last {
			raw, err := db.record(sectionAdvisory, sectionAdvTab, en.advisory)
			if err != nil {
				return err
			}
			rd := decoder{b: raw}
			last, match = en.advisory, rd.string() == id
		}
		if match {
			if err := en.decodeTail(); err != nil {
				return err
			}
			do(&en)
		}
	}
	return d.err
}

// whole copies an entry out of the mapping.
func (en *entry) whole(k packageKey) Affected {
	out := Affected{
		Ecosystem: bollwerk.Ecosystem(strings.Clone(k.ecosystem)), Name: strings.Clone(k.name),
		Versions: cloneAll(en.versions), UpperBoundUnknown: en.flags&entryUpperUnknown != 0,
		OS: cloneAll(en.os), Arch: cloneAll(en.arch), Module: strings.Clone(en.module),
		Ranges: wholeRanges(en.ranges), CustomRanges: wholeRanges(en.custom),
	}
	if en.word != bollwerk.SeverityUnknown {
		out.SeverityWord = en.word.String()
	}
	for _, c := range en.cvss {
		out.Severities = append(out.Severities, Severity{Type: "CVSS_V" + c.Version[:1], Score: strings.Clone(c.Vector)})
	}
	for _, i := range en.imports {
		out.Imports = append(out.Imports, ImportPath{strings.Clone(i.Path), cloneAll(i.Symbols), cloneAll(i.GOOS), cloneAll(i.GOARCH)})
	}
	return out
}

func wholeRanges(in [][]Event) []Range {
	var out []Range
	for _, rg := range in {
		r := Range{Type: RangeEcosystem}
		for _, e := range rg {
			r.Events = append(r.Events, Event{e.Kind, strings.Clone(e.Version)})
		}
		out = append(out, r)
	}
	return out
}

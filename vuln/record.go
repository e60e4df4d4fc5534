package vuln

import (
	"fmt"
	"math"
	"time"

	"github.com/bollwerk/bollwerk"
)

// The kinds of advisory records, in the order of their gravity.
const (
	kindNotice        = 0 // unmaintained and the like
	kindVulnerability = 1
	kindMalware       = 2
	kindBugfix        = 3 // an erratum without a security issue; never matched
)

const (
	flagUnreviewed = 1 << iota
	flagFixedOnly
	flagWithdrawn
)

// advisoryRecord is a decoded advisory. Its strings alias the file.
type advisoryRecord struct {
	id                             string
	kind                           byte
	flags                          uint64
	aliases, upstream, related     []string
	published, modified, withdrawn time.Time
	word                           bollwerk.Severity
	cvss                           []bollwerk.CVSS
	cwes                           []string
	module                         string
	title                          string
	proseBlock                     uint64
	proseOff, proseLen             uint64
	// packages are the numbers of the package records that speak of it; filled in
	// at the end of a build, so they are kept in a list of their own.
	keys []packageKey
	err  error
}

// packageKey names a package record.
type packageKey struct{ ecosystem, name string }

func (r *advisoryRecord) bears(name string) bool {
	if r.id == name {
		return true
	}
	for _, l := range [][]string{r.aliases, r.upstream, r.related} {
		for _, n := range l {
			if n == name {
				return true
			}
		}
	}
	return false
}

func (r *advisoryRecord) encode(e *encoder) {
	e.string(r.id)
	e.byte(r.kind)
	e.uint(r.flags)
	e.strings(r.aliases)
	e.strings(r.upstream)
	e.strings(r.related)
	e.time(r.published)
	e.time(r.modified)
	e.time(r.withdrawn)
	e.byte(byte(r.word))
	encodeCVSS(e, r.cvss)
	e.string(r.module)
	e.string(r.title)
	e.strings(r.cwes)
	e.uint(r.proseBlock)
	e.uint(r.proseOff)
	e.uint(r.proseLen)
	e.int(len(r.keys))
	for _, k := range r.keys {
		e.string(k.ecosystem)
		e.string(k.name)
	}
}

// decodeAdvisory reads a whole record.
func decodeAdvisory(b []byte) advisoryRecord {
	r, d := decodeAdvisoryHead(b)
	n := d.count()
	for i := 0; i < n && d.err == nil; i++ {
		r.keys = append(r.keys, packageKey{d.string(), d.string()})
	}
	r.err = d.err
	return r
}

// decodeAdvisoryHead reads all but the list of packages, which the matcher does not
// need and which is long for errata.
func decodeAdvisoryHead(b []byte) (advisoryRecord, decoder) {
	d := decoder{b: b}
	var r advisoryRecord
	r.id = d.string()
	r.kind = d.byte()
	r.flags = d.uint()
	r.aliases = d.strings()
	r.upstream = d.strings()
	r.related = d.strings()
	r.published = d.time()
	r.modified = d.time()
	r.withdrawn = d.time()
	r.word = decodeWord(&d)
	r.cvss = decodeCVSS(&d)
	r.module = d.string()
	r.title = d.string()
	r.cwes = d.strings()
	r.proseBlock = d.uint()
	r.proseOff = d.uint()
	r.proseLen = d.uint()
	if d.err == nil && (r.id == "" || r.kind > kindBugfix) {
		d.fail("advisory")
	}
	r.err = d.err
	return r, d
}

func decodeWord(d *decoder) bollwerk.Severity {
	w := bollwerk.Severity(d.byte())
	if w > bollwerk.SeverityCritical {
		d.fail("severity")
		return bollwerk.SeverityUnknown
	}
	return w
}

var cvssVersions = [...]string{"2.0", "3.0", "3.1", "4.0"}

func encodeCVSS(e *encoder, list []bollwerk.CVSS) {
	e.int(len(list))
	for _, c := range list {
		v := 0
		for i, w := range cvssVersions {
			if w == c.Version {
				v = i
			}
		}
		e.byte(byte(v))
		e.byte(byte(math.Round(c.Score * 10)))
		e.string(c.Vector)
	}
}

func decodeCVSS(d *decoder) []bollwerk.CVSS {
	n := d.count()
	if n == 0 {
		return nil
	}
	out := make([]bollwerk.CVSS, 0, min(n, 8))
	for i := 0; i < n && d.err == nil; i++ {
		v, s := d.byte(), d.byte()
		if int(v) >= len(cvssVersions) || s > 100 {
			d.fail("severity vector")
			return nil
		}
		out = append(out, bollwerk.CVSS{Version: cvssVersions[v], Score: float64(s) / 10, Vector: d.string()})
	}
	return out
}

// issueRecord is what is known of an issue by its name alone.
type issueRecord struct {
	name string
	kev  *bollwerk.KEV
	epss *bollwerk.EPSS
	// cvss are vectors that some record states for this issue, for records of the
	// same issue that state none; source is that record's id.
	cvss   []bollwerk.CVSS
	word   bollwerk.Severity
	source string
	err    error
}

const epssScale = 1e9

func (r *issueRecord) encode(e *encoder) {
	e.string(r.name)
	var flags byte
	if r.kev != nil {
		flags |= 1
		if r.kev.Ransomware {
			flags |= 2
		}
	}
	if r.epss != nil {
		flags |= 4
	}
	e.byte(flags)
	if r.kev != nil {
		e.string(r.kev.DateAdded)
		e.string(r.kev.DueDate)
	}
	if r.epss != nil {
		e.uint(uint64(math.Round(r.epss.Score * epssScale)))
		e.uint(uint64(math.Round(r.epss.Percentile * epssScale)))
	}
	e.byte(byte(r.word))
	encodeCVSS(e, r.cvss)
	e.string(r.source)
}

func decodeIssue(b []byte) issueRecord {
	d := decoder{b: b}
	var r issueRecord
	r.name = d.string()
	flags := d.byte()
	if flags&1 != 0 {
		r.kev = &bollwerk.KEV{Ransomware: flags&2 != 0, DateAdded: d.string(), DueDate: d.string()}
	}
	if flags&4 != 0 {
		s, p := d.uint(), d.uint()
		if s > epssScale || p > epssScale {
			d.fail("EPSS score")
		}
		r.epss = &bollwerk.EPSS{Score: float64(s) / epssScale, Percentile: float64(p) / epssScale}
	}
	r.word = decodeWord(&d)
	r.cvss = decodeCVSS(&d)
	r.source = d.string()
	if d.err == nil && r.name == "" {
		d.fail("issue")
	}
	r.err = d.err
	return r
}

// Flags of an affected entry.
const (
	entryUpperUnknown = 1 << iota
	entryGit          // has commit ranges beside what is kept
	entrySeverity
	entryVersions
	entryCustom
	entryImports
	entryPlatform
	entryModule
	entryNotice
	entryAuthority // decides alone for its issues
)

// entry is one affected entry of a package record. Decoding stops at what every
// entry has; the rest is read when it is needed.
type entry struct {
	advisory uint64
	issues   []int
	flags    uint64
	ranges   [][]Event
	custom   [][]Event
	versions []string
	cvss     []bollwerk.CVSS
	word     bollwerk.Severity
	imports  []ImportPath
	os, arch []string
	module   string
	tail     decoder // what has not been read yet
	complete bool    // decodeTail was here
}

func encodeEntry(e *encoder, advisory uint64, issues []int, payload []byte) {
	var body encoder
	body.uint(advisory)
	body.int(len(issues))
	for _, i := range issues {
		body.int(i)
	}
	body.b = append(body.b, payload...)
	e.int(len(body.b))
	e.b = append(e.b, body.b...)
}

// encodePayload writes the part of an entry that does not depend on the other
// records of the package.
func (en *entry) encodePayload(e *encoder) {
	e.uint(en.flags)
	encodeRanges(e, en.ranges)
	if en.flags&entryCustom != 0 {
		encodeRanges(e, en.custom)
	}
	if en.flags&entryVersions != 0 {
		e.strings(en.versions)
	}
	if en.flags&entryModule != 0 {
		e.string(en.module)
	}
	if en.flags&entryPlatform != 0 {
		e.strings(en.os)
		e.strings(en.arch)
	}
	if en.flags&entryImports != 0 {
		e.int(len(en.imports))
		for _, i := range en.imports {
			e.string(i.Path)
			e.strings(i.Symbols)
			e.strings(i.GOOS)
			e.strings(i.GOARCH)
		}
	}
	if en.flags&entrySeverity != 0 {
		e.byte(byte(en.word))
		encodeCVSS(e, en.cvss)
	}
}

func encodeRanges(e *encoder, ranges [][]Event) {
	e.int(len(ranges))
	for _, r := range ranges {
		e.int(len(r))
		for _, ev := range r {
			e.byte(byte(ev.Kind))
			e.string(ev.Version)
		}
	}
}

// decode fills en, reusing its slices, with what deciding takes. The rest waits for
// decodeTail: most entries of a package do not match, and lists of symbols are long.
func (en *entry) decode(b []byte, issueCount int) error {
	d := decoder{b: b}
	en.advisory = d.uint()
	en.issues = en.issues[:0]
	n := d.count()
	for i := 0; i < n && d.err == nil; i++ {
		k := d.uint()
		if k >= uint64(issueCount) {
			d.fail("issue number")
			break
		}
		en.issues = append(en.issues, int(k))
	}
	en.flags = d.uint()
	en.ranges = decodeRanges(&d, en.ranges)
	en.custom, en.versions, en.module = en.custom[:0], en.versions[:0], ""
	en.imports, en.os, en.arch, en.cvss, en.word = nil, nil, nil, nil, 0
	if en.flags&entryCustom != 0 {
		en.custom = decodeRanges(&d, en.custom)
	}
	if en.flags&entryVersions != 0 {
		n := d.count()
		for i := 0; i < n && d.err == nil; i++ {
			en.versions = append(en.versions, d.string())
		}
	}
	if en.flags&entryModule != 0 {
		en.module = d.string()
	}
	if d.err == nil && len(en.issues) == 0 {
		d.fail("issues")
	}
	en.tail, en.complete = d, false
	return entryError(d.err)
}

// decodeTail reads platforms, imports and severity; a second call does nothing.
func (en *entry) decodeTail() error {
	d := &en.tail
	if en.complete || d.err != nil {
		return entryError(d.err)
	}
	if en.flags&entryPlatform != 0 {
		en.os, en.arch = d.strings(), d.strings()
	}
	if en.flags&entryImports != 0 {
		n := d.count()
		for i := 0; i < n && d.err == nil; i++ {
			en.imports = append(en.imports, ImportPath{d.string(), d.strings(), d.strings(), d.strings()})
		}
	}
	if en.flags&entrySeverity != 0 {
		en.word = decodeWord(d)
		en.cvss = decodeCVSS(d)
	}
	d.b, d.off = d.b[d.off:], 0
	en.complete = true
	return entryError(d.err)
}

func entryError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("affected entry: %w", err)
}

func decodeRanges(d *decoder, into [][]Event) [][]Event {
	into = into[:0]
	n := d.count()
	for i := 0; i < n && d.err == nil; i++ {
		var evs []Event
		if len(into) < cap(into) {
			into = into[:len(into)+1]
			evs = into[len(into)-1][:0]
		} else {
			into = append(into, nil)
		}
		m := d.count()
		if m > maxEvents {
			d.fail("number of events") // sorting them would take for ever
		}
		for j := 0; j < m && d.err == nil; j++ {
			k := d.byte()
			if k > byte(Limit) {
				d.fail("event")
			}
			evs = append(evs, Event{EventKind(k), d.string()})
		}
		into[len(into)-1] = evs
	}
	return into
}

package spdx

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/bom"
	"github.com/bollwerk/bollwerk/internal/sbomformat"
)

// ReadOptions bound what reading may cost.
type ReadOptions struct {
	bom.Limits
}

// Read reads a document of SPDX 2.2 or 2.3 (JSON or tag-value) or 3 (JSON-LD). An
// error means that the document could not be read to its end, or is not SPDX:
// nothing of it may be relied on. What was read but not understood is in the
// document's Problems.
func Read(r io.Reader, o ReadOptions) (Document, error) {
	o.Limits = o.Limits.WithDefaults()
	in := bufio.NewReaderSize(bom.LimitReader(r, o.MaxBytes), sbomformat.HeadSize)
	head, err := in.Peek(sbomformat.HeadSize)
	if err != nil && err != io.EOF {
		return Document{}, fmt.Errorf("spdx document: %w", err)
	}
	if bytes.HasPrefix(head, []byte("\xef\xbb\xbf")) {
		in.Discard(3)
		head = head[3:]
	}
	rd := &reader{o: o, byID: map[string]int{}}
	format, _ := sbomformat.Detect(head)
	switch first := bytes.TrimLeft(head, " \t\r\n"); {
	case len(first) == 0:
		err = errors.New("empty")
	case format == sbomformat.SPDXYAML || format == sbomformat.SPDXRDF:
		err = fmt.Errorf("%s is not understood: convert it to SPDX JSON", format)
	case first[0] == '{':
		err = rd.json(in)
	case first[0] == '<' || first[0] == '[':
		err = errors.New("neither SPDX JSON nor tag-value")
	default:
		err = rd.tagValue(in)
	}
	if err != nil {
		return Document{}, fmt.Errorf("spdx document: %w", err)
	}
	return rd.finish()
}

// element is a package of a document until the whole document has been read:
// relationships and, in tag-value, annotations come after it.
type element struct {
	id, name, version, purpose string
	purls                      []string
	cpe                        bool
	declared, concluded        string
	checksums                  []bollwerk.Digest
	sourceInfo                 string
	notes                      []string // comments of annotations, attribution texts
}

type edge struct{ from, to string }

type reader struct {
	o        ReadOptions
	doc      Document
	problems bom.Problems
	bound    *bom.Elements // of a JSON document

	version   string // "SPDX-2.3"
	format    string // "JSON"
	elements  []element
	byID      map[string]int
	described []string
	depends   []edge
	count     int
	extracted map[string]string // LicenseRef- to name or short text
}

func (r *reader) add(e element) error {
	if len(r.elements) >= r.o.MaxComponents {
		return fmt.Errorf("more than %d packages", r.o.MaxComponents)
	}
	if e.id != "" {
		if _, twice := r.byID[e.id]; twice {
			r.problems.Add("identifier used twice", e.id)
		} else {
			r.byID[e.id] = len(r.elements)
		}
	}
	r.elements = append(r.elements, e)
	return nil
}

func (r *reader) addReference(e *element, typ, locator string) {
	switch {
	case strings.EqualFold(typ, "purl"):
		e.purls = append(e.purls, strings.TrimSpace(locator))
	case strings.HasPrefix(strings.ToLower(typ), "cpe"):
		e.cpe = true
	}
}

func (r *reader) addChecksum(e *element, algorithm, value string) {
	alg, ok := bom.DigestAlgorithm(algorithm)
	if !ok {
		return
	}
	if d := bollwerk.Digest(alg + ":" + strings.ToLower(strings.TrimSpace(value))); bom.ValidHash(d) {
		e.checksums = append(e.checksums, d)
	}
}

func (r *reader) addLicense(id, name, text string) {
	if r.extracted == nil {
		r.extracted = map[string]string{}
	}
	if name = strings.TrimSpace(name); name == "" || name == noAssert {
		name = strings.TrimSpace(text)
	}
	if id != "" && len(name) <= 200 && !strings.Contains(name, "\n") {
		r.extracted[id] = name
	}
}

// relate takes one relationship (SPDX 2.3, clause 11). Only those that say who
// needs whom, and what the document is about, matter here.
func (r *reader) relate(from, typ, to string) error {
	r.count++
	if r.count > 8*r.o.MaxComponents {
		return fmt.Errorf("more than %d relationships", 8*r.o.MaxComponents)
	}
	switch typ {
	case "DESCRIBES":
		if from == documentID {
			r.described = append(r.described, to)
		}
	case "DESCRIBED_BY":
		if to == documentID {
			r.described = append(r.described, from)
		}
	case "DEPENDS_ON":
		r.depends = append(r.depends, edge{from, to})
	case "DEPENDENCY_OF", "RUNTIME_DEPENDENCY_OF", "DEV_DEPENDENCY_OF", "BUILD_DEPENDENCY_OF", "TEST_DEPENDENCY_OF",
		"OPTIONAL_DEPENDENCY_OF", "PROVIDED_DEPENDENCY_OF":
		r.depends = append(r.depends, edge{to, from})
	}
	return nil
}

func (r *reader) created(s string) {
	if t, err := time.Parse(time.RFC3339, strings.TrimSpace(s)); err == nil {
		r.doc.Created = t
	}
}

// creator takes "Tool: syft-1.4.1"; people and organisations are of no use here.
func (r *reader) creator(s string) {
	if tool, ok := strings.CutPrefix(s, "Tool:"); ok && len(r.doc.Tools) < 32 {
		r.doc.Tools = append(r.doc.Tools, strings.TrimSpace(tool))
	}
}

func (r *reader) finish() (Document, error) {
	d := &r.doc
	switch {
	case r.version == "":
		return Document{}, errors.New("spdx document: spdxVersion is missing")
	case r.version == "SPDX-2.2" || r.version == "SPDX-2.3" || strings.HasPrefix(r.version, "SPDX-3."):
	case strings.HasPrefix(r.version, "SPDX-2."):
		r.problems.Add("version of the specification that is not known; read as 2.3", r.version)
	default:
		return Document{}, fmt.Errorf("spdx document: version %q is not understood: convert it to SPDX 2.3", clip(r.version))
	}
	d.Format = strings.Replace(r.version, "-", " ", 1) + " " + r.format
	d.Artifact.Kind = bollwerk.KindSBOM
	d.Artifact.Name = d.Name
	root := r.root()
	own := false
	if root >= 0 {
		own = r.finishRoot(root)
	}
	var os *bollwerk.Distribution
	index := make(map[string]int, len(r.elements)) // element ID to index in d.Packages
	missing := map[int][]bollwerk.PURL{}
	trivy := len(d.Tools) > 0 && strings.HasPrefix(strings.Join(d.Tools, " "), "trivy")
	for i := range r.elements {
		e := &r.elements[i]
		c := r.facts(e)
		if e.purpose == "OPERATING-SYSTEM" {
			if os == nil && e.name != "" {
				os = bom.NewDistribution(e.name, e.version)
			}
			continue
		}
		if i == root && (own || !bom.RootIsPackage(c.PURL)) {
			continue
		}
		if c.PURL == "" && !bom.Ours(c.Properties) {
			if i != root && e.shouldBePackage(trivy) {
				d.Total++
				d.Unread++
				r.problems.Add("package without package URL", strings.TrimSpace(e.name+" "+e.version))
			}
			continue
		}
		d.Total++
		p, err := c.Package()
		if err != nil {
			d.Unread++
			r.problems.Add("package with a package URL that is not understood", c.PURL)
			continue
		}
		n := len(d.Packages)
		if bom.Ours(c.Properties) {
			for _, q := range c.Properties {
				if name, v, ok := q.Own(); ok && name == "dependsOn" {
					missing[n] = append(missing[n], bollwerk.PURL(v))
				}
			}
		} else if strings.ContainsRune(p.Name+p.Version, '\uFFFD') {
			r.problems.Add("package whose name or version is not valid UTF-8", p.Name)
		}
		d.Packages = append(d.Packages, p)
		if e.id != "" {
			if _, twice := index[e.id]; !twice {
				index[e.id] = n
			}
		}
	}
	for _, e := range r.depends {
		from, ok1 := index[e.from]
		to, ok2 := index[e.to]
		if ok1 && ok2 && d.Packages[to].PURL != "" {
			d.Packages[from].DependsOn = append(d.Packages[from].DependsOn, d.Packages[to].PURL)
		}
	}
	for n, list := range missing {
		d.Packages[n].DependsOn = append(d.Packages[n].DependsOn, list...)
	}
	bom.CompleteLayers(d.Packages, d.Artifact.Layers)
	if own {
		d.OS = d.Artifact.OS
	} else {
		d.OS = bom.CompleteOS(d.Packages, os)
		d.Artifact.OS = d.OS
	}
	d.Problems = r.problems.Sentences()
	return *d, nil
}

// root is the element the document is about, or -1: some tools say that a document
// describes each of its packages, which then are just packages.
func (r *reader) root() int {
	found := -1
	for _, id := range r.described {
		i, ok := r.byID[id]
		if !ok || i == found {
			continue
		}
		if found >= 0 {
			return -1
		}
		found = i
	}
	return found
}

func (r *reader) finishRoot(i int) (own bool) {
	d, c := &r.doc, r.facts(&r.elements[i])
	if c.Name != "" {
		d.Artifact.Name = c.Name
	}
	own, err := bom.ApplyArtifact(d, c.Properties)
	if err != nil {
		r.problems.Add("property of the artifact that is not understood", err.Error())
	}
	if !own {
		bom.ForeignArtifact(&d.Artifact, c)
		for _, h := range r.elements[i].checksums {
			if d.Artifact.Digest == "" && r.elements[i].purpose == "CONTAINER" && h.Algorithm() == "sha256" {
				d.Artifact.Digest = h
			}
		}
	}
	return own
}

// shouldBePackage tells elements that somebody meant as software that can have
// advisories apart from the rest of what SPDX calls a package.
func (e *element) shouldBePackage(trivy bool) bool {
	switch e.purpose {
	case "FILE", "SOURCE", "CONTAINER", "DEVICE", "ARCHIVE":
		return false
	case "APPLICATION":
		return !trivy // Trivy's lock files
	}
	return true
}

func (r *reader) facts(e *element) *bom.Component {
	c := &bom.Component{Name: e.name, Version: e.version, Hashes: e.checksums, SourceInfo: e.sourceInfo}
	for _, u := range e.purls {
		if c.PURL == "" || !bom.Readable(c.PURL) {
			c.PURL = u
		}
	}
	for _, l := range []string{e.declared, e.concluded} {
		if l = r.licence(l); l != "" {
			c.Licenses = []string{l}
			break
		}
	}
	for _, n := range e.notes {
		c.Properties = append(c.Properties, noteProperties(n)...)
	}
	// Syft: "acquired package info from DPKG DB: /var/lib/dpkg/status, /…"
	if rest, ok := strings.CutPrefix(e.sourceInfo, "acquired package info from "); ok {
		if _, paths, ok := strings.Cut(rest, ": "); ok {
			for _, s := range strings.Split(paths, ", ") {
				if s = strings.TrimSpace(s); s != "" && len(c.Paths) < 64 {
					c.Paths = append(c.Paths, s)
				}
			}
		}
	}
	return c
}

func (r *reader) licence(s string) string {
	s = strings.TrimSpace(s)
	if s == noAssert || s == "NONE" {
		return ""
	}
	if name, ok := r.extracted[s]; ok {
		return name
	}
	return s
}

// noteProperties reads the comment of an annotation: our own list, or the "name:
// value" that Trivy writes.
func noteProperties(note string) []bom.Property {
	if strings.HasPrefix(note, `["`+bom.Prefix) {
		var list []string
		if json.Unmarshal([]byte(note), &list) != nil {
			return nil
		}
		out := make([]bom.Property, 0, len(list))
		for _, s := range list {
			if name, value, ok := strings.Cut(s, "="); ok {
				out = append(out, bom.Property{Name: name, Value: value})
			}
		}
		return out
	}
	if name, value, ok := strings.Cut(note, ": "); ok && len(name) < 64 {
		return []bom.Property{{Name: name, Value: strings.TrimSpace(value)}}
	}
	return nil
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}

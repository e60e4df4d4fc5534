// Package spdx writes scan results as SPDX 2.3 documents in JSON
// (https://spdx.github.io/spdx-spec/v2.3/) and reads documents made by anybody:
// SPDX 2.2 and 2.3 as JSON or tag-value, and the packages of SPDX 3 JSON-LD.
//
// It owns the format only. What a package needs to survive the way through a
// document, and what the conventions of other tools mean, is internal/bom's.
//
// The structures are the package's own rather than spdx/tools-golang's, which
// needs the whole document in memory twice (as bytes and as structures), refuses a
// tag-value document for one unknown line, and gives up on a document when one of
// its packages is odd. Its reader is the independent witness in the tests.
package spdx

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/url"
	"sort"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/bom"
	"github.com/bollwerk/bollwerk/internal/license"
)

// Options say how to write. The zero value is good.
type Options struct {
	// Time is the document's creation time; default: when the scan began.
	Time time.Time
	// Namespace is the document's URI; default: derived from the content, so that
	// the same result always gives the same document.
	Namespace string
}

// Document is what Read returns.
type Document = bom.Document

const (
	documentID = "SPDXRef-DOCUMENT"
	rootID     = "SPDXRef-Artifact"
	osID       = "SPDXRef-OperatingSystem"
	noAssert   = "NOASSERTION"
)

// The structures of the JSON form, in the order in which they are written.
type (
	creationInfo struct {
		Created            string   `json:"created"`
		Creators           []string `json:"creators"`
		LicenseListVersion string   `json:"licenseListVersion,omitempty"`
	}
	spdxPackage struct {
		ID               string        `json:"SPDXID"`
		Name             string        `json:"name"`
		Version          string        `json:"versionInfo,omitempty"`
		Supplier         string        `json:"supplier,omitempty"`
		Purpose          string        `json:"primaryPackagePurpose,omitempty"`
		DownloadLocation string        `json:"downloadLocation"`
		FilesAnalyzed    bool          `json:"filesAnalyzed"`
		SourceInfo       string        `json:"sourceInfo,omitempty"`
		LicenseConcluded string        `json:"licenseConcluded"`
		LicenseDeclared  string        `json:"licenseDeclared"`
		Copyright        string        `json:"copyrightText"`
		Checksums        []checksum    `json:"checksums,omitempty"`
		ExternalRefs     []externalRef `json:"externalRefs,omitempty"`
		Annotations      []annotation  `json:"annotations,omitempty"`
		AttributionTexts []string      `json:"attributionTexts,omitempty"`
	}
	checksum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}
	externalRef struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	annotation struct {
		Date      string `json:"annotationDate"`
		Type      string `json:"annotationType"`
		Annotator string `json:"annotator"`
		Comment   string `json:"comment"`
	}
	relationship struct {
		From string `json:"spdxElementId"`
		Type string `json:"relationshipType"`
		To   string `json:"relatedSpdxElement"`
	}
	extractedLicense struct {
		ID   string `json:"licenseId"`
		Name string `json:"name"`
		Text string `json:"extractedText"`
	}
)

type writer struct {
	*bom.Layout
	w         io.Writer
	enc       *json.Encoder
	err       error
	created   string
	annotator string
	layers    []bollwerk.Layer
	licenses  map[string]extractedLicense
	ids       []string
}

// Write writes r's packages, and everything a later scan of the document needs to
// come to the same findings. The bytes depend on r and o only. Errors are w's.
func Write(out io.Writer, r *bollwerk.Result, o Options) error {
	when := o.Time
	if when.IsZero() {
		when = r.Started
	}
	w := &writer{
		Layout: bom.NewLayout(r, when), w: out, created: when.UTC().Format("2006-01-02T15:04:05Z"),
		layers: r.Target.Layers, licenses: map[string]extractedLicense{},
	}
	w.enc = json.NewEncoder(out)
	w.enc.SetEscapeHTML(false)
	tool := "bollwerk"
	if r.Tool.Name != "" {
		tool = bom.Display(r.Tool.Name)
	}
	if r.Tool.Version != "" {
		tool += "-" + bom.Display(r.Tool.Version)
	}
	w.annotator = "Tool: " + tool
	w.name()
	a := &r.Target
	name := bom.Display(a.Name)
	if name == "" {
		name = "unnamed"
	}
	space := o.Namespace
	if space == "" {
		space = "https://spdx.org/spdxdocs/bollwerk/" + url.PathEscape(name) + "-" + w.UUID
	}
	w.put(`{"spdxVersion":"SPDX-2.3","dataLicense":"CC0-1.0","SPDXID":"` + documentID + `","name":`)
	w.value(name)
	w.put(`,"documentNamespace":`)
	w.value(space)
	w.put(`,"creationInfo":`)
	w.value(creationInfo{Created: w.created, Creators: []string{w.annotator}, LicenseListVersion: license.ListVersion})
	w.put(",\"packages\":[\n")
	w.value(w.root(r, name))
	if a.OS != nil {
		w.put(",")
		w.value(w.os(a.OS))
	}
	for i := range w.Packages {
		w.put(",")
		w.value(w.pkg(i))
	}
	w.put("],\"relationships\":[\n")
	w.value(relationship{documentID, "DESCRIBES", rootID})
	row := func(r relationship) { w.put(","); w.value(r) }
	if a.OS != nil {
		row(relationship{rootID, "CONTAINS", osID})
	}
	for _, id := range w.ids {
		row(relationship{rootID, "CONTAINS", id})
	}
	for i := range w.Packages {
		for _, j := range w.DependsOn[i] {
			row(relationship{w.ids[i], "DEPENDS_ON", w.ids[j]})
		}
	}
	w.put("]")
	w.extracted()
	w.put("}\n")
	return w.err
}

func (w *writer) put(s string) {
	if w.err == nil {
		_, w.err = io.WriteString(w.w, s)
	}
}

func (w *writer) value(v any) {
	if w.err == nil {
		w.err = w.enc.Encode(v)
	}
}

// name makes the identifiers: readable, and unique by the hash of the reference.
func (w *writer) name() {
	w.ids = make([]string, len(w.Refs))
	for i, ref := range w.Refs {
		sum := sha256.Sum256([]byte(ref))
		w.ids[i] = "SPDXRef-Package-" + idString(w.Packages[i].Name, 40) + "-" + hex.EncodeToString(sum[:8])
	}
}

// idString keeps what an SPDX identifier may have: letters, digits, dot and dash
// (SPDX 2.3, clause 7.2).
func idString(s string, limit int) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s) && len(b) < limit; i++ {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-' {
			b = append(b, c)
		} else {
			b = append(b, '-')
		}
	}
	return string(b)
}

// note carries properties in an annotation: a JSON array of "name=value".
func (w *writer) note(props []bom.Property) []annotation {
	if len(props) == 0 {
		return nil
	}
	list := make([]string, len(props))
	for i, p := range props {
		list[i] = p.Name + "=" + p.Value
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(list); err != nil && w.err == nil {
		w.err = err
	}
	return []annotation{{Date: w.created, Type: "OTHER", Annotator: w.annotator, Comment: strings.TrimSuffix(b.String(), "\n")}}
}

func (w *writer) root(r *bollwerk.Result, name string) spdxPackage {
	a := &r.Target
	p := spdxPackage{
		ID: rootID, Name: name, Version: bom.Display(bom.ArtifactVersion(a)), DownloadLocation: noAssert,
		LicenseConcluded: noAssert, LicenseDeclared: noAssert, Copyright: noAssert, Purpose: "APPLICATION",
	}
	switch a.Kind {
	case bollwerk.KindImage:
		p.Purpose = "CONTAINER"
	case bollwerk.KindHost:
		p.Purpose = "DEVICE"
	case bollwerk.KindArchive:
		p.Purpose = "ARCHIVE"
	case bollwerk.KindDirectory:
		p.Purpose = "SOURCE"
	}
	if bom.ValidHash(a.Digest) {
		p.Checksums = []checksum{{strings.ToUpper(a.Digest.Algorithm()), a.Digest.Hex()}}
	}
	if u := bom.ArtifactPURL(a); u != "" {
		p.ExternalRefs = []externalRef{{"PACKAGE-MANAGER", "purl", string(u)}}
	}
	p.Annotations = w.note(bom.ArtifactProperties(r))
	return p
}

func (w *writer) os(os *bollwerk.Distribution) spdxPackage {
	p := spdxPackage{
		ID: osID, Name: bom.Display(os.ID), Version: bom.Display(os.VersionID), DownloadLocation: noAssert,
		LicenseConcluded: noAssert, LicenseDeclared: noAssert, Copyright: noAssert, Purpose: "OPERATING-SYSTEM",
	}
	if p.Name == "" {
		p.Name = "unknown"
	}
	return p
}

func (w *writer) pkg(i int) spdxPackage {
	p := w.Packages[i]
	name := bom.Display(p.Name)
	if strings.TrimSpace(name) == "" {
		name = "unnamed"
	}
	out := spdxPackage{
		ID: w.ids[i], Name: name, Version: bom.Display(p.Version), Supplier: noAssert, Purpose: "LIBRARY",
		DownloadLocation: noAssert, LicenseConcluded: noAssert, Copyright: noAssert,
	}
	if p.Ecosystem == bollwerk.EcosystemBinary {
		out.Purpose = "APPLICATION"
	}
	if s := bom.Supplier(p.Ecosystem); s != "" {
		out.Supplier = "Organization: " + s
	}
	if len(p.Paths) > 0 {
		out.SourceInfo = "found in " + bom.Display(strings.Join(p.Paths, ", "))
	}
	native := bom.Native{Hashes: true}
	for _, h := range p.Hashes {
		if bom.ValidHash(h) {
			out.Checksums = append(out.Checksums, checksum{strings.ToUpper(h.Algorithm()), h.Hex()})
		} else {
			native.Hashes = false
		}
	}
	out.LicenseDeclared, native.Licenses = w.declared(p.Licenses)
	if u := string(p.PURL); u != "" && bom.Exact([]string{u}) && !strings.ContainsAny(u, " \t") {
		out.ExternalRefs = []externalRef{{"PACKAGE-MANAGER", "purl", u}}
	}
	props := bom.PackageProperties(p, w.layers, native)
	for _, u := range w.Missing[i] {
		props = append(props, bom.NewProperty("dependsOn", string(u)))
	}
	out.Annotations = w.note(props)
	return out
}

// declared is one valid expression for all licences of a package; what is not on
// the SPDX list becomes a reference to its text at the end of the document (SPDX
// 2.3, clause 10). Exact: it reads back the same.
func (w *writer) declared(list []string) (expression string, exact bool) {
	if len(list) == 0 {
		return noAssert, true
	}
	var parts []string
	seen := map[string]bool{}
	for _, s := range list {
		e, ok := license.Expression(s)
		if !ok {
			e = w.reference(s)
		} else if !license.Simple(e) && len(list) > 1 {
			e = "(" + e + ")"
		}
		if e != "" && !seen[e] {
			seen[e] = true
			parts = append(parts, e)
		}
	}
	if len(parts) == 0 {
		return noAssert, false
	}
	expression = strings.Join(parts, " AND ")
	return expression, len(list) == 1 && expression == list[0]
}

func (w *writer) reference(s string) string {
	text := strings.TrimSpace(bom.Display(s))
	if text == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(s))
	id := "LicenseRef-" + idString(text, 30) + "-" + hex.EncodeToString(sum[:4])
	w.licenses[id] = extractedLicense{id, text, text}
	return id
}

func (w *writer) extracted() {
	if len(w.licenses) == 0 {
		return
	}
	ids := make([]string, 0, len(w.licenses))
	for id := range w.licenses {
		ids = append(ids, id)
	}
	sort.Strings(ids)
	w.put(",\"hasExtractedLicensingInfos\":[\n")
	for i, id := range ids {
		if i > 0 {
			w.put(",")
		}
		w.value(w.licenses[id])
	}
	w.put("]")
}

package spdx

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// maxLine bounds one line of a tag-value document.
const maxLine = 16 << 20

// tagValue reads "Tag: value" lines, where a value may be <text>…</text> over many
// lines (SPDX 2.3, clause 6 to 13 and annex C.4). A line that is not understood is
// a problem, not the end.
func (r *reader) tagValue(in io.Reader) error {
	r.format = "tag-value"
	scan := bufio.NewScanner(in)
	scan.Buffer(make([]byte, 0, 64<<10), maxLine)
	var cur *element // the package that lines speak of; nil outside of packages
	var lic struct{ id, name, text string }
	var note struct{ ref, comment string }
	flush := func() error {
		if cur != nil {
			e := *cur
			cur = nil
			return r.add(e)
		}
		return nil
	}
	notes := map[string][]string{}
	n, kept := 0, 0
	for scan.Scan() {
		n++
		line := strings.TrimSpace(scan.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		tag, value, ok := strings.Cut(line, ":")
		if !ok || strings.ContainsAny(tag, " \t<>") {
			r.problems.Add("line without a tag", fmt.Sprintf("line %d", n))
			continue
		}
		value = strings.TrimSpace(value)
		if text, ok := strings.CutPrefix(value, "<text>"); ok {
			var b strings.Builder
			for {
				before, _, end := strings.Cut(text, "</text>")
				if b.Len() < maxLine {
					b.WriteString(before)
				}
				if end {
					break
				}
				if !scan.Scan() {
					if err := scan.Err(); err != nil {
						return lineError(n, err)
					}
					return fmt.Errorf("line %d: <text> of %s does not end", n, tag)
				}
				n++
				b.WriteByte('\n')
				text = scan.Text()
			}
			value = strings.TrimSpace(b.String())
		}
		switch tag {
		case "SPDXVersion":
			r.version = value
		case "DocumentName":
			r.doc.Name = value
		case "DocumentNamespace":
			r.doc.ID = value
		case "Creator":
			r.creator(value)
		case "Created":
			r.created(value)
		case "PackageName":
			if err := flush(); err != nil {
				return err
			}
			cur = &element{name: value}
		case "FileName", "SnippetSPDXID", "LicenseID":
			if err := flush(); err != nil {
				return err
			}
			if tag == "LicenseID" {
				lic.id, lic.name, lic.text = value, "", ""
			}
		case "LicenseName":
			lic.name = value
			r.addLicense(lic.id, lic.name, lic.text)
		case "ExtractedText":
			lic.text = value
			r.addLicense(lic.id, lic.name, lic.text)
		case "Relationship":
			f := strings.Fields(value)
			if len(f) != 3 {
				r.problems.Add("relationship that is not understood", value)
				continue
			}
			if err := r.relate(f[0], f[1], f[2]); err != nil {
				return err
			}
		case "Annotator":
			note.ref, note.comment = "", ""
		case "SPDXREF", "AnnotationComment":
			if tag == "SPDXREF" {
				note.ref = value
			} else {
				note.comment = value
			}
			if note.ref != "" && note.comment != "" {
				if kept++; kept > 4*r.o.MaxComponents {
					return fmt.Errorf("more than %d annotations", 4*r.o.MaxComponents)
				}
				notes[note.ref] = append(notes[note.ref], note.comment)
				note.ref, note.comment = "", ""
			}
		default:
			if cur != nil {
				r.packageLine(cur, tag, value)
			}
		}
	}
	if err := scan.Err(); err != nil {
		return lineError(n+1, err)
	}
	if err := flush(); err != nil {
		return err
	}
	for id, list := range notes {
		if i, ok := r.byID[id]; ok {
			r.elements[i].notes = append(r.elements[i].notes, list...)
		}
	}
	return nil
}

func lineError(n int, err error) error {
	if err == bufio.ErrTooLong {
		return fmt.Errorf("line %d: longer than %d MiB", n, maxLine>>20)
	}
	return err
}

func (r *reader) packageLine(e *element, tag, value string) {
	switch tag {
	case "SPDXID":
		e.id = value
	case "PackageVersion":
		e.version = value
	case "PrimaryPackagePurpose":
		e.purpose = value
	case "PackageLicenseDeclared":
		e.declared = value
	case "PackageLicenseConcluded":
		e.concluded = value
	case "PackageSourceInfo":
		e.sourceInfo = value
	case "PackageAttributionText":
		e.notes = append(e.notes, value)
	case "PackageChecksum":
		if alg, sum, ok := strings.Cut(value, ":"); ok {
			r.addChecksum(e, strings.TrimSpace(alg), sum)
		}
	case "ExternalRef":
		// ExternalRef: PACKAGE-MANAGER purl pkg:npm/lodash@4.17.21
		if f := strings.Fields(value); len(f) == 3 {
			r.addReference(e, f[1], f[2])
		} else {
			r.problems.Add("external reference that is not understood", value)
		}
	}
}

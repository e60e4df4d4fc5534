// Package report owns how a result is written down for people and for other
// programs: one writer per format. It judges nothing; what a result says was
// decided before (packages scan and finding).
package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/finding"
)

// Options say how to write.
type Options struct {
	// Colour allows ANSI colour; it never carries meaning alone.
	Colour bool
	// Width and Height are those of the terminal; 0 means 80 and 24.
	Width, Height int
	// All lists everything instead of what fits.
	All bool
	// Gate is how the result stands against --fail-on; nil: nobody asked. With it,
	// JUnit fails what the gate matches, and table and markdown say why the command
	// exits with 1.
	Gate *finding.Gate
	// Baseline names what findings were compared with; "": New means nothing.
	Baseline string
	// Author and Now go into documents that carry them (OpenVEX, CycloneDX, SPDX).
	// A zero Now is the time the scan started.
	Author string
	Now    time.Time
}

func (o Options) size() (width, height int) {
	width, height = o.Width, o.Height
	if width <= 0 {
		width = 80
	}
	if height <= 0 {
		height = 24
	}
	return max(40, min(width, 400)), max(12, height)
}

func (o Options) at(r *bollwerk.Result) time.Time {
	if !o.Now.IsZero() {
		return o.Now.UTC()
	}
	return r.Started.UTC()
}

// Writer writes one result. It leaves r as it is. Errors are those of w, or say
// what in the result cannot be written in the format.
type Writer func(w io.Writer, r *bollwerk.Result, o Options) error

// Format is one way to write a result.
type Format struct {
	// Name is what --format takes.
	Name      string
	MediaType string
	// Extension is that of a file in the format, with its dot.
	Extension string
	// Summary says in a few words what it is good for.
	Summary string
	Write   Writer
}

// Formats lists every format, in the order of the help.
func Formats() []Format {
	return []Format{
		{"table", "text/plain; charset=utf-8", ".txt", "for people: what to do, then what was found", buffered(Table)},
		{"json", "application/json", ".json", "the whole result, see docs/result.md", buffered(JSON)},
		{"sarif", "application/sarif+json", ".sarif", "code scanning, editors", buffered(SARIF)},
		{"junit", "application/xml", ".xml", "test reports of CI systems", buffered(JUnit)},
		{"gitlab", "application/json", ".json", "GitLab's security dashboard", buffered(GitLab)},
		{"markdown", "text/markdown; charset=utf-8", ".md", "a comment on a pull request", buffered(Markdown)},
		{"cyclonedx", "application/vnd.cyclonedx+json", ".cdx.json", "bill of material with findings", buffered(CycloneDX)},
		{"cyclonedx-xml", "application/vnd.cyclonedx+xml", ".cdx.xml", "the same as XML", buffered(CycloneDXXML)},
		{"spdx", "application/spdx+json", ".spdx.json", "bill of material", buffered(SPDX)},
		{"openvex", "application/json", ".openvex.json", "decisions about issues, for other tools", buffered(OpenVEX)},
	}
}

// Find returns the format called name.
func Find(name string) (Format, error) {
	fs := Formats()
	names := make([]string, len(fs))
	for i, f := range fs {
		if f.Name == name {
			return f, nil
		}
		names[i] = f.Name
	}
	return Format{}, fmt.Errorf("format %q: want one of %s", name, strings.Join(names, ", "))
}

// buffered gathers the small writes of a writer into large ones.
func buffered(write Writer) Writer {
	return func(w io.Writer, r *bollwerk.Result, o Options) error {
		b := bufio.NewWriterSize(w, 64<<10)
		if err := write(b, r, o); err != nil {
			return err
		}
		return b.Flush()
	}
}

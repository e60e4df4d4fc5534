package finding

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/terminal"
)

// ExplainOptions say how to print.
type ExplainOptions struct {
	// Width is how many columns there are; 0 means 80.
	Width int
	// Limit is how many findings are explained when the name fits several; 0 means 5.
	Limit int
	// Heading wraps headings, in colour for instance; nil leaves them as they are.
	Heading func(string) string
}

// ErrNoFinding says that nothing in the result has the name.
var ErrNoFinding = errors.New("no such finding")

// minPrefix is the shortest beginning of a fingerprint that counts as its name.
const minPrefix = 3

// Explain writes why something is a finding, where it is, why it ranks where it
// ranks, what to do and who decided otherwise. name is a fingerprint or its
// beginning, an issue under any of its names, a policy, a package's name or PURL.
// An unknown name gives ErrNoFinding; a package without findings is said to have none.
func Explain(w io.Writer, r *bollwerk.Result, name string, o ExplainOptions) error {
	if o.Width <= 0 {
		o.Width = 80
	}
	if o.Limit <= 0 {
		o.Limit = 5
	}
	if o.Heading == nil {
		o.Heading = func(s string) string { return s }
	}
	name = strings.TrimSpace(name)
	fs := find(r.Findings, name)
	e := explainer{r: r, o: o}
	if len(fs) == 0 {
		if p := findPackage(r.Packages, name); p != nil {
			e.text(0, explainClean, p.Name, p.Version)
			_, err := io.WriteString(w, e.b.String())
			return err
		}
		return fmt.Errorf("%w: "+explainNone, ErrNoFinding, terminal.Clean(name, 200))
	}
	shown := fs[:min(len(fs), o.Limit)]
	switch {
	case len(fs) > len(shown):
		e.text(0, explainAmbiguous, len(fs), name, len(shown))
		e.b.WriteByte('\n')
	case len(fs) > 1:
		e.text(0, explainSeveral, len(fs), name)
		e.b.WriteByte('\n')
	}
	for i, f := range shown {
		if i > 0 {
			e.b.WriteByte('\n')
		}
		e.explain(f)
	}
	if n := len(fs) - len(shown); n > 0 {
		e.b.WriteByte('\n')
		e.text(0, explainNext, n)
	}
	_, err := io.WriteString(w, e.b.String())
	return err
}

// find returns the findings a name means, in the order of rank. Kinds of names are
// tried from the most exact on; the first that fits anything decides.
func find(fs []bollwerk.Finding, name string) []*bollwerk.Finding {
	if name == "" {
		return nil
	}
	lower := strings.ToLower(name)
	pick := func(fits func(*bollwerk.Finding) bool) []*bollwerk.Finding {
		var out []*bollwerk.Finding
		for i := range fs {
			if fits(&fs[i]) {
				out = append(out, &fs[i])
			}
		}
		return out
	}
	for _, fits := range []func(*bollwerk.Finding) bool{
		func(f *bollwerk.Finding) bool { return string(f.Fingerprint) == lower },
		func(f *bollwerk.Finding) bool {
			if strings.EqualFold(f.ID, name) || f.Policy != "" && strings.EqualFold(f.Policy, name) {
				return true
			}
			for _, a := range f.Aliases {
				if strings.EqualFold(a, name) {
					return true
				}
			}
			return false
		},
		func(f *bollwerk.Finding) bool {
			p := f.Package
			return p != nil && (strings.EqualFold(p.Name, name) || string(p.PURL) == name ||
				strings.EqualFold(p.Name+"@"+p.Version, name) || p.Source != nil && strings.EqualFold(p.Source.Name, name))
		},
		func(f *bollwerk.Finding) bool { return f.Path != "" && f.Path == strings.TrimPrefix(name, "/") },
		func(f *bollwerk.Finding) bool {
			return len(lower) >= minPrefix && strings.HasPrefix(string(f.Fingerprint), lower)
		},
	} {
		if out := pick(fits); len(out) > 0 {
			return out
		}
	}
	return nil
}

func findPackage(ps []bollwerk.Package, name string) *bollwerk.Package {
	for i := range ps {
		p := &ps[i]
		if strings.EqualFold(p.Name, name) || string(p.PURL) == name || strings.EqualFold(p.Name+"@"+p.Version, name) {
			return p
		}
	}
	return nil
}

type explainer struct {
	r     *bollwerk.Result
	o     ExplainOptions
	b     strings.Builder
	graph *dependencies
}

// text writes one cleaned, wrapped paragraph. It is cleaned after formatting, so
// that no argument escapes it.
func (e *explainer) text(indent int, format string, args ...any) {
	s := terminal.Clean(fmt.Sprintf(format, args...), 4000)
	pad := strings.Repeat(" ", indent)
	for _, line := range terminal.Wrap(s, max(20, e.o.Width-indent)) {
		e.b.WriteString(pad)
		e.b.WriteString(line)
		e.b.WriteByte('\n')
	}
}

// item writes one point of a list, further lines under its text.
func (e *explainer) item(s string) {
	mark := "  - "
	for _, line := range terminal.Wrap(terminal.Clean(s, 4000), max(20, e.o.Width-4)) {
		e.b.WriteString(mark + line + "\n")
		mark = "    "
	}
}

// verbatim writes one cleaned line that is not wrapped: a command stays copyable.
func (e *explainer) verbatim(indent int, format string, args ...any) {
	e.b.WriteString(strings.Repeat(" ", indent))
	e.b.WriteString(terminal.Clean(fmt.Sprintf(format, args...), 4000))
	e.b.WriteByte('\n')
}

func (e *explainer) heading(format string, args ...any) {
	e.b.WriteString("\n" + e.o.Heading(fmt.Sprintf(format, args...)) + "\n")
}

func (e *explainer) explain(f *bollwerk.Finding) {
	title := f.ID
	if f.Title != "" {
		title += "  " + f.Title
	}
	e.b.WriteString(e.o.Heading(terminal.Clean(title, max(40, 2*e.o.Width))) + "\n")
	e.what(f)
	e.where(f)
	e.heading(explainWhy)
	switch {
	case f.Reason != "":
		e.text(2, "%s", f.Reason)
	default:
		e.text(2, explainNoReason)
	}
	if f.Suppressed == nil && !judged(f) {
		e.text(2, explainVerdictUnknown)
	}
	if f.New {
		e.text(2, explainNewIssue)
	}
	if s := f.Suppressed; s != nil {
		e.decided(s)
	} else {
		e.heading(explainRank, f.Rank, len(e.r.Findings), f.Priority)
		for _, x := range f.Factors {
			e.item(x)
		}
		e.do(f)
	}
	if len(f.CVSS) > 0 || len(f.References) > 0 {
		e.heading(explainMore)
		for _, c := range f.CVSS {
			e.text(2, explainCVSS, c.Version, c.Score, c.Vector)
		}
		for _, ref := range f.References[:min(5, len(f.References))] {
			e.verbatim(2, "%s", ref)
		}
	}
}

func (e *explainer) what(f *bollwerk.Finding) {
	name, version := "", ""
	if f.Package != nil {
		name, version = f.Package.Name, f.Package.Version
	}
	switch f.Kind {
	case bollwerk.KindMalware:
		e.text(2, explainKindMalware, name, version)
	case bollwerk.KindNotice:
		e.text(2, explainKindNotice, name, version)
	case bollwerk.KindSecret:
		e.text(2, explainKindSecret)
	case bollwerk.KindStandard:
		e.text(2, explainKindStandard, f.Policy, f.Mode)
	default:
		e.text(2, explainKindVulnerability, name, version)
	}
	if len(f.Aliases) > 0 {
		e.text(2, explainAlso, strings.Join(f.Aliases[:min(8, len(f.Aliases))], ", "))
	}
	e.text(2, explainFingerprint, f.Fingerprint)
}

// maxPaths is how many places of one package are listed.
const maxPaths = 5

func (e *explainer) where(f *bollwerk.Finding) {
	p, l := f.Package, f.Layer
	if p == nil && l == nil && f.Path == "" {
		return
	}
	e.heading(explainWhere)
	if p != nil {
		e.verbatim(2, explainPURL, p.PURL)
		if p.Source != nil && p.Source.Name != "" {
			e.text(2, explainSource, p.Source.Name, p.Source.Version)
		}
		for _, path := range p.Paths[:min(maxPaths, len(p.Paths))] {
			e.verbatim(2, "%s", path)
		}
		if n := len(p.Paths) - maxPaths; n > 0 {
			e.text(2, explainPathMore, n)
		}
	}
	if f.Path != "" {
		if f.Line > 0 {
			e.verbatim(2, "%s:%d", f.Path, f.Line)
		} else {
			e.verbatim(2, "%s", f.Path)
		}
	}
	if l != nil {
		digest := l.DiffID
		if l.Digest != "" {
			digest = l.Digest
		}
		if n := len(e.r.Target.Layers); n > 0 {
			e.text(2, explainLayer, l.Index+1, n, digest.Short())
		} else {
			e.text(2, explainLayerOnly, l.Index+1, digest.Short())
		}
		if l.CreatedBy != "" {
			e.text(4, explainLayerBy, l.CreatedBy)
		}
		if l.FromBase {
			if b := e.r.Target.BaseImage; b != nil {
				e.text(4, explainFromBase, b.Name)
			} else {
				e.text(4, explainFromBaseUnnamed)
			}
		}
	}
	if p == nil {
		return
	}
	if e.graph == nil {
		e.graph = newDependencies(e.r.Packages)
	}
	if way := e.graph.chain(p.PURL); len(way) > 1 {
		names := make([]string, len(way))
		for i, q := range way {
			names[i] = q.Name + " " + q.Version
		}
		e.text(2, explainDepends, strings.Join(names, " > "))
	} else if q := e.graph.pkg(p.PURL); q != nil && isDirect(q) {
		e.text(2, explainDependsNone)
	}
}

func (e *explainer) do(f *bollwerk.Finding) {
	e.heading(explainDo)
	if f.Fix != "" {
		e.text(2, "%s", f.Fix)
	}
	if f.Kind == bollwerk.KindVulnerability || f.Kind == bollwerk.KindNotice {
		if len(f.FixedIn) > 0 {
			e.text(2, explainFixed, strings.Join(f.FixedIn[:min(6, len(f.FixedIn))], ", "))
		} else {
			e.text(2, explainFixedNone)
		}
	}
	for i := range e.r.Actions {
		a := &e.r.Actions[i]
		for _, id := range a.Removes {
			if id != f.Fingerprint {
				continue
			}
			if len(a.Removes) == 1 {
				if a.Title != f.Fix { // else it was said in the line before
					e.text(2, explainActionOne, a.Title)
				}
			} else {
				e.text(2, explainAction, a.Title, len(a.Removes))
			}
			if a.Command != "" {
				e.verbatim(4, explainRun, a.Command)
			}
			return
		}
	}
}

func (e *explainer) decided(s *bollwerk.Suppression) {
	e.heading(explainDecided)
	e.text(2, explainSuppressedBy, s.By, strings.ReplaceAll(s.Status, "_", " "))
	for _, t := range []string{s.Reason, s.Statement} {
		if t != "" {
			e.text(2, "%s", t)
		}
	}
	if s.Owner != "" {
		e.text(2, explainSuppressedOwner, s.Owner)
	}
	if s.Expires != "" {
		e.text(2, explainSuppressedUntil, s.Expires)
	}
	if s.Source != "" {
		e.text(2, explainSuppressedAt, s.Source)
	}
}

package finding

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
)

// clockSkew is how far in the future a statement may be dated and still hold. One
// from further on is not in force: it would win over every honest one.
const clockSkew = 24 * time.Hour

// ApplyVEX lets statements speak on findings about packages of art, and returns on
// how many findings one did.
//
// A statement speaks on a finding when it is about the issue (by any of its names)
// and about the package: as a product, or as a subcomponent of the artifact, or
// because it is about the whole artifact. Of several the latest counts, and of
// equally old ones the last in the list. Statuses not_affected and fixed suppress
// the finding; affected and under_investigation are told in its Reason and suppress
// nothing, also not what an older statement would have suppressed. A finding that
// is suppressed already (by an exception) keeps that.
func ApplyVEX(findings []bollwerk.Finding, art bollwerk.Artifact, statements []bollwerk.VEXStatement, now time.Time) (applied int) {
	byIssue := map[string][]*vexStatement{}
	image := newVEXArtifact(&art)
	for i := range statements {
		s := &statements[i]
		if s.Timestamp.After(now.Add(clockSkew)) || len(s.Products) == 0 {
			continue
		}
		v := newVEXStatement(s, i, image)
		for _, name := range append([]string{s.Issue}, s.Aliases...) {
			key := strings.ToUpper(strings.TrimSpace(name))
			if list := byIssue[key]; key != "" && (len(list) == 0 || list[len(list)-1] != v) {
				byIssue[key] = append(list, v)
			}
		}
	}
	for _, list := range byIssue { // newest first: the first that speaks is the one that counts
		slices.SortFunc(list, func(a, b *vexStatement) int {
			if a.after(b) {
				return -1
			}
			return 1
		})
	}
	for i := range findings {
		f := &findings[i]
		if f.Package == nil || f.Kind == bollwerk.KindSecret || f.Kind == bollwerk.KindStandard {
			continue
		}
		pkg := newVEXPackage(f.Package)
		var best *vexStatement
		for _, name := range append([]string{f.ID}, f.Aliases...) {
			for _, v := range byIssue[strings.ToUpper(name)] {
				if !v.after(best) {
					break
				}
				if v.speaksOf(pkg) {
					best = v
					break
				}
			}
		}
		if best != nil {
			best.apply(f)
			applied++
		}
	}
	return applied
}

// vexStatement is a statement with its identifiers taken apart.
type vexStatement struct {
	*bollwerk.VEXStatement
	order         int
	artifact      bool // a product is the artifact
	products      []vexIdentifier
	subcomponents []vexIdentifier
}

func newVEXStatement(s *bollwerk.VEXStatement, order int, image vexArtifact) *vexStatement {
	v := &vexStatement{VEXStatement: s, order: order}
	for _, p := range s.Products {
		id := newVEXIdentifier(p)
		v.artifact = v.artifact || image.is(id)
		v.products = append(v.products, id)
	}
	for _, p := range s.Subcomponents {
		v.subcomponents = append(v.subcomponents, newVEXIdentifier(p))
	}
	return v
}

func (v *vexStatement) after(o *vexStatement) bool {
	if o == nil {
		return true
	}
	if !v.Timestamp.Equal(o.Timestamp) {
		return v.Timestamp.After(o.Timestamp)
	}
	return v.order > o.order
}

func (v *vexStatement) speaksOf(p vexPackage) bool {
	about := func(id vexIdentifier) bool { return id.names(p) }
	if len(v.subcomponents) > 0 {
		// Whether a product that is itself a package contains the subcomponent
		// cannot be told from a finding; only products that are the artifact count.
		return v.artifact && slices.ContainsFunc(v.subcomponents, about)
	}
	return v.artifact || slices.ContainsFunc(v.products, about)
}

func (v *vexStatement) apply(f *bollwerk.Finding) {
	reason := v.reason()
	if v.Status.Suppresses() {
		if f.Suppressed == nil {
			f.Suppressed = &bollwerk.Suppression{
				By: "vex", Status: string(v.Status), Reason: reason, Owner: v.Author,
				Source: v.Source, Statement: v.Statement, Justification: v.Justification,
			}
		}
		return
	}
	var say string
	switch v.Status {
	case bollwerk.VEXAffected:
		say = fmt.Sprintf(vexSaysAffected, v.who())
		if v.ActionStatement != "" {
			say += ": " + strings.TrimSuffix(v.ActionStatement, ".")
		}
	case bollwerk.VEXUnderInvestigation:
		say = fmt.Sprintf(vexSaysInvestigating, v.who())
	default:
		return
	}
	f.Reason = strings.TrimSpace(f.Reason + " " + say + ".")
}

func (v *vexStatement) who() string {
	if v.Author != "" {
		return v.Author
	}
	if v.Source != "" {
		return v.Source
	}
	return vexSomebody
}

// reason is one phrase: the justification in words, else the statement's prose.
func (v *vexStatement) reason() string {
	if w, ok := vexJustifications[v.Justification]; ok {
		return w
	}
	if v.Justification != "" {
		return strings.ReplaceAll(v.Justification, "_", " ")
	}
	if v.Statement != "" {
		return v.Statement
	}
	if v.Status == bollwerk.VEXFixed {
		return vexFixed
	}
	return vexNotAffected
}

const (
	vexSaysAffected      = "VEX of %s says: affected"
	vexSaysInvestigating = "VEX of %s says: under investigation"
	vexSomebody          = "an unnamed author"
	vexFixed             = "the product carries the fix"
	vexNotAffected       = "the product is not affected"
)

// vexJustifications are the status justifications of OpenVEX 0.2, section
// "Status Justifications", and of CSAF 2.0, section 3.2.3.5, which are the same.
var vexJustifications = map[string]string{
	"component_not_present":                             "the component is not present",
	"vulnerable_code_not_present":                       "the vulnerable code is not present",
	"vulnerable_code_not_in_execute_path":               "the vulnerable code is never executed",
	"vulnerable_code_cannot_be_controlled_by_adversary": "an attacker cannot reach the vulnerable code with input",
	"inline_mitigations_already_exist":                  "built-in mitigations prevent the attack",
}

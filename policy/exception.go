package policy

import (
	"fmt"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/glob"
)

// Apply sets Suppressed on every finding that a living exception covers; the
// first exception of the file wins, and a finding that is suppressed already (by
// a VEX statement) is left as it is. The artifact's name is what `artifacts`
// globs are matched with.
//
// expired are the exceptions whose last day has passed: they hide nothing. unused
// are living ones that speak of this artifact and matched no finding: mostly the
// problem is fixed and the exception can go.
func (c *Config) Apply(findings []bollwerk.Finding, artifactName string, now time.Time) (expired, unused []bollwerk.Exception) {
	for i := range c.Exceptions {
		x := &c.Exceptions[i]
		end, err := expiry(x)
		if err != nil || !now.Before(end) {
			expired = append(expired, *x)
			continue
		}
		if len(x.Scope.Artifacts) > 0 && !glob.MatchAny(x.Scope.Artifacts, artifactName) {
			continue
		}
		used := false
		for j := range findings {
			f := &findings[j]
			if !covers(&x.Scope, f) {
				continue
			}
			used = true
			if f.Suppressed == nil {
				f.Suppressed = &bollwerk.Suppression{
					By: "exception", Status: "excepted", Reason: x.Reason, Owner: x.Owner, Expires: x.Expires,
					Source: c.source(i), Statement: x.ID,
				}
			}
		}
		if !used {
			unused = append(unused, *x)
		}
	}
	return expired, unused
}

func (c *Config) source(i int) string {
	if i < len(c.lines) {
		return fmt.Sprintf("%s:%d", c.Name, c.lines[i])
	}
	return c.Name
}

// expiry returns the first moment at which the exception no longer holds: the
// end of its last day, in UTC, so that the answer does not depend on where the
// scan runs.
func expiry(x *bollwerk.Exception) (time.Time, error) {
	day, err := time.Parse(time.DateOnly, x.Expires)
	if err != nil {
		return time.Time{}, fmt.Errorf("exception %s: expires %q is no date", x.ID, x.Expires)
	}
	return day.AddDate(0, 0, 1), nil
}

// covers reports whether a scope covers a finding, the artifact aside: every
// list that is set must match, a list matches when one of its patterns does.
// Issues are compared without regard to case (advisory IDs never differ by case
// alone) and may also be fingerprints.
func covers(s *bollwerk.ExceptionScope, f *bollwerk.Finding) bool {
	if len(s.Issues)+len(s.Policies)+len(s.Kinds) == 0 || len(s.Workloads)+len(s.Processes) > 0 {
		return false
	}
	if len(s.Issues) > 0 && !coversIssue(s.Issues, f) {
		return false
	}
	if len(s.Policies) > 0 && (f.Policy == "" || !glob.MatchAny(s.Policies, f.Policy)) {
		return false
	}
	if len(s.Kinds) > 0 && !glob.MatchAny(s.Kinds, string(f.Kind)) {
		return false
	}
	if len(s.Packages) > 0 && !coversPackage(s.Packages, f.Package) {
		return false
	}
	if len(s.Paths) > 0 && !coversPath(s.Paths, f) {
		return false
	}
	return true
}

// Hush returns the first living exception that covers a detection, nil when there is
// none. The detection is to be recorded all the same, with the exception's ID; it
// must not be shown or counted, and nothing may be done because of it.
//
// Policies are matched with the rule, artifacts with the image, workloads with the
// name, key and image of the workload, processes with the paths of the program, its
// script and its ancestors, and paths with the file of any of its events. Kinds must
// name "detection" if they are set. A scope with packages or issues covers none.
func (c *Config) Hush(d *bollwerk.Detection, now time.Time) *bollwerk.Exception {
	for i := range c.Exceptions {
		x := &c.Exceptions[i]
		if end, err := expiry(x); err == nil && now.Before(end) && coversDetection(&x.Scope, d) {
			return x
		}
	}
	return nil
}

func coversDetection(s *bollwerk.ExceptionScope, d *bollwerk.Detection) bool {
	if len(s.Policies)+len(s.Kinds) == 0 || len(s.Issues)+len(s.Packages) > 0 {
		return false
	}
	if len(s.Kinds) > 0 && !glob.MatchAny(s.Kinds, "detection") || len(s.Policies) > 0 && !glob.MatchAny(s.Policies, d.Rule) {
		return false
	}
	image := ""
	if d.Workload != nil && d.Workload.Container != nil {
		image = d.Workload.Container.Image
	}
	if len(s.Artifacts) > 0 && (image == "" || !glob.MatchAny(s.Artifacts, image)) {
		return false
	}
	if len(s.Workloads) > 0 && !glob.MatchAny(s.Workloads, d.Workload.String()) && !glob.MatchAny(s.Workloads, d.Workload.Key()) && (image == "" || !glob.MatchAny(s.Workloads, image)) {
		return false
	}
	if len(s.Processes) > 0 && !coversProcess(s.Processes, d.Process) {
		return false
	}
	if len(s.Paths) > 0 && !coversFile(s.Paths, d.Events) {
		return false
	}
	return true
}

func coversProcess(patterns []string, p *bollwerk.Process) bool {
	for n := 0; p != nil && n <= bollwerk.ProcessDepth; n++ {
		if p.Path != "" && glob.MatchAny(patterns, p.Path) || p.Script != "" && glob.MatchAny(patterns, p.Script) {
			return true
		}
		p = p.Parent
	}
	return false
}

// coversFile wants every event that has a file to be covered: an exception for one
// file must not hide that another was touched, too.
func coversFile(patterns []string, events []*bollwerk.Event) bool {
	found := false
	for _, e := range events {
		if e.File == nil {
			continue
		}
		if found = true; !glob.MatchAny(patterns, e.File.Path) && (e.File.Target == "" || !glob.MatchAny(patterns, e.File.Target)) {
			return false
		}
	}
	return found
}

func coversIssue(patterns []string, f *bollwerk.Finding) bool {
	for _, p := range patterns {
		if p == string(f.Fingerprint) {
			return true
		}
		p = strings.ToUpper(p)
		if glob.Match(p, strings.ToUpper(f.ID)) {
			return true
		}
		for _, a := range f.Aliases {
			if glob.Match(p, strings.ToUpper(a)) {
				return true
			}
		}
	}
	return false
}

// coversPackage matches the name, the source package's name, and the package URL
// in full, without its qualifiers, and without its version.
func coversPackage(patterns []string, p *bollwerk.FindingPackage) bool {
	if p == nil {
		return false
	}
	plain, _, _ := strings.Cut(string(p.PURL), "?")
	names := []string{p.Name, string(p.PURL), plain}
	// An @ may also begin a scope (pkg:npm/%40babel/core is the canonical form, but
	// not everybody's): the version is behind the last one.
	if i := strings.LastIndex(plain, "@"); i > strings.LastIndex(plain, "/") {
		names = append(names, plain[:i])
	}
	if p.Source != nil {
		names = append(names, p.Source.Name)
	}
	for _, n := range names {
		if n != "" && glob.MatchAny(patterns, n) {
			return true
		}
	}
	return false
}

func coversPath(patterns []string, f *bollwerk.Finding) bool {
	paths := []string{}
	if f.Path != "" {
		paths = append(paths, f.Path)
	}
	if f.Package != nil {
		paths = append(paths, f.Package.Paths...)
	}
	for _, pattern := range patterns {
		pattern = strings.TrimPrefix(pattern, "/")
		for _, p := range paths {
			if glob.Match(pattern, strings.TrimPrefix(p, "/")) {
				return true
			}
		}
	}
	return false
}

package scan

import (
	"context"
	"fmt"
	"runtime"
	"sort"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/finding"
	"github.com/bollwerk/bollwerk/policy"
	"github.com/bollwerk/bollwerk/vuln"
)

// judge turns the inventory into findings and completes the result.
func (s *state) judge(ctx context.Context) error {
	r := s.result
	r.Packages, r.Facts = s.inventory.Packages, s.inventory.Facts
	secrets := s.secrets(ctx)
	r.Secrets = secrets
	s.coverPackages()
	s.coverDatabase()
	if err := s.match(ctx); err != nil {
		return err
	}
	for i := range secrets {
		r.Findings = append(r.Findings, secretFinding(&secrets[i]))
	}
	if err := s.standards(ctx, secrets); err != nil {
		return err
	}
	if len(r.Packages) == 0 && len(r.Findings) == 0 && r.Target.Kind != bollwerk.KindImage && r.Target.Kind != bollwerk.KindHost {
		return s.nothing()
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Fingerprint == "" {
			f.Fingerprint = finding.Fingerprint(f)
		}
	}
	if n := len(s.options.VEXProblems); n > 0 {
		s.cover(bollwerk.Coverage{Area: "vex", Verdict: bollwerk.Degraded, Checked: len(s.options.VEX), Total: len(s.options.VEX) + n,
			Cause: fmt.Sprintf("%d VEX statements were not understood", n), Examples: firstFew(s.options.VEXProblems)})
	}
	finding.ApplyVEX(r.Findings, r.Target, s.options.VEX, s.options.Now)
	if s.options.Config != nil {
		expired, unused := s.options.Config.Apply(r.Findings, r.Target.Name, s.options.Now)
		r.ExpiredExceptions = expired
		s.coverExceptions(unused)
	}
	s.options.Progress(Progress{Stage: "judging"})
	s.exposed.redact(r)
	finding.Judge(r, s.options.Baseline)
	r.Duration = time.Since(s.started).Seconds()
	return nil
}

// nothing is the error of a scan that has no package and no finding. Files that are
// there and were not understood are a failure: "nothing to scan" would hide them.
func (s *state) nothing() error {
	for _, row := range s.result.Coverage {
		if row.Verdict == bollwerk.Pass || len(row.Examples) == 0 || row.Area != "files" && !strings.HasPrefix(row.Area, "packages:") {
			continue
		}
		return fmt.Errorf("%s: nothing was found, but not everything could be read: %s", s.result.Target.Name, row.Examples[0])
	}
	return fmt.Errorf("%s: %w: no package, lock file or other known file was found", s.result.Target.Name, ErrNothing)
}

// secrets are those of the files and of the image configuration; nil means that
// nobody looked. A document of our own says what was found and whether somebody looked.
func (s *state) secrets(ctx context.Context) []bollwerk.Secret {
	if s.document {
		for _, c := range s.result.Coverage {
			if c.Area == "secrets" && c.Verdict != bollwerk.NotEvaluated {
				return append([]bollwerk.Secret{}, s.inventory.Secrets...)
			}
		}
		if s.foreign {
			s.cover(bollwerk.Coverage{Area: "secrets", Verdict: bollwerk.NotEvaluated, Cause: "an SBOM holds no file contents"})
		}
		return nil
	}
	if s.options.Secrets == nil {
		s.cover(bollwerk.Coverage{Area: "secrets", Verdict: bollwerk.NotEvaluated, Cause: "not asked for"})
		return nil
	}
	out := append([]bollwerk.Secret{}, s.inventory.Secrets...)
	if c := s.result.Target.Config; c != nil {
		out = append(out, s.configured(ctx, c)...)
	}
	s.cover(bollwerk.Coverage{Area: "secrets", Verdict: bollwerk.Pass})
	return out
}

func refOf(l bollwerk.Layer) *bollwerk.LayerRef {
	return &bollwerk.LayerRef{Index: l.Index, Digest: l.Digest, DiffID: l.DiffID, CreatedBy: l.CreatedBy, FromBase: l.FromBase}
}

func secretFinding(s *bollwerk.Secret) bollwerk.Finding {
	place := s.Path
	if s.Env != "" {
		place = "environment variable " + s.Env
	}
	f := bollwerk.Finding{
		Kind: bollwerk.KindSecret, ID: s.Detector, Aliases: []string{}, Title: s.Title,
		Severity: s.Severity, FixedIn: []string{}, Layer: s.Layer, Path: s.Path, Line: s.Line,
		Verdict: bollwerk.Fail, SecretHash: s.Hash,
		Reason: fmt.Sprintf("%s in %s (its SHA-256 begins with %s)", s.Title, place, s.Hash),
		Fix:    "revoke it where it was issued, remove it from the files and the history, and hand it over at run time",
	}
	if s.Env != "" {
		f.Path = "env:" + s.Env
	}
	return f
}

// coverPackages says what can be looked up and what cannot: an ecosystem without
// advisories is never silently clean.
func (s *state) coverPackages() {
	r := s.result
	if len(r.Packages) == 0 {
		s.cover(bollwerk.Coverage{Area: "packages", Verdict: bollwerk.NotEvaluated,
			Cause: "no package was found: there is no package database, lock file or program that is known"})
		return
	}
	db := s.options.Database
	count, known := map[bollwerk.Ecosystem]int{}, map[bollwerk.Ecosystem]int{}
	var ecosystems []bollwerk.Ecosystem
	for i := range r.Packages {
		p := &r.Packages[i]
		if count[p.Ecosystem] == 0 {
			ecosystems = append(ecosystems, p.Ecosystem)
		}
		count[p.Ecosystem]++
		if db != nil && db.Knows(p) {
			known[p.Ecosystem]++
		}
	}
	sort.Slice(ecosystems, func(i, j int) bool { return ecosystems[i] < ecosystems[j] })
	for _, e := range ecosystems {
		row := bollwerk.Coverage{Area: "advisories:" + string(e), Verdict: bollwerk.Pass, Checked: known[e], Total: count[e]}
		switch {
		case db == nil:
			row.Verdict, row.Cause = bollwerk.NotEvaluated, "there is no advisory database"
		case e == "":
			row.Area, row.Verdict = "advisories:unknown", bollwerk.NotEvaluated
			row.Cause = "the document does not say which ecosystem these packages belong to"
		case known[e] == 0 && e == bollwerk.EcosystemBinary:
			row.Verdict, row.Cause = bollwerk.NotEvaluated, "programs recognised by their file, for which no source publishes advisories"
		case known[e] == 0:
			row.Verdict = bollwerk.NotEvaluated
			row.Cause = fmt.Sprintf("the database has no advisories for %s; `bollwerk db update` may know them", e)
		case known[e] < count[e]:
			row.Verdict = bollwerk.Degraded
			row.Cause = fmt.Sprintf("no source publishes advisories for %d of these programs", count[e]-known[e])
		default:
			s.coverAge(&row, e)
		}
		s.cover(row)
	}
}

// staleEcosystem is how old the newest advisory of a whole ecosystem may be before
// silence about its packages says little.
const staleEcosystem = 365 * 24 * time.Hour

func (s *state) coverAge(row *bollwerk.Coverage, e bollwerk.Ecosystem) {
	info, ok := s.options.Database.Ecosystem(e)
	switch {
	case !ok:
	case !info.Newest.IsZero() && s.options.Now.Sub(info.Newest) >= staleEcosystem:
		row.Verdict = bollwerk.Degraded
		row.Cause = fmt.Sprintf("the newest advisory for %s is of %s", e, info.Newest.Format(time.DateOnly))
	case info.FixedOnly:
		row.Verdict = bollwerk.Degraded
		row.Cause = fmt.Sprintf("the advisories for %s list what has a fix only; issues without one are not known", e)
	}
}

// coverDatabase says how old the advisories are.
func (s *state) coverDatabase() {
	row := bollwerk.Coverage{Area: "database", Verdict: bollwerk.Pass}
	db := s.options.Database
	if db == nil {
		row.Verdict, row.Cause = bollwerk.NotEvaluated, s.options.DatabaseCause
		if row.Cause == "" {
			row.Cause = "there is no advisory database; `bollwerk db update` fetches one"
		}
		s.cover(row)
		return
	}
	info := db.Info()
	s.result.Database = info
	row.Checked, row.Total = info.Records, info.Records
	age := s.options.Now.Sub(info.AsOf)
	switch {
	case info.Starter:
		row.Verdict = bollwerk.Degraded
		row.Cause = fmt.Sprintf("advisories as of %s, from the snapshot that ships with the program; `bollwerk db update` fetches today's", info.AsOf.Format(time.DateOnly))
	case s.options.MaxDatabaseAge > 0 && age > s.options.MaxDatabaseAge:
		row.Verdict = bollwerk.Degraded
		row.Cause = fmt.Sprintf("advisories as of %s, %d days ago; `bollwerk db update` fetches today's", info.AsOf.Format(time.DateOnly), int(age.Hours()/24))
	}
	s.cover(row)
}

// match looks every package up, on all cores, and keeps the order of the packages.
func (s *state) match(ctx context.Context) error {
	db := s.options.Database
	if db == nil {
		return nil
	}
	pkgs := s.result.Packages
	const chunk = 64
	found := make([][]bollwerk.Finding, (len(pkgs)+chunk-1)/chunk)
	var broken atomic.Int64
	var sample atomic.Value
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for c := range found {
		g.Go(func() error {
			for i := c * chunk; i < min((c+1)*chunk, len(pkgs)); i++ {
				if err := gctx.Err(); err != nil {
					return err
				}
				p := &pkgs[i]
				if !db.Knows(p) {
					continue
				}
				ms, err := db.Match(gctx, *p)
				if err != nil {
					if gctx.Err() != nil {
						return gctx.Err()
					}
					broken.Add(1)
					sample.CompareAndSwap(nil, where(string(p.PURL), err.Error()))
				}
				for k := range ms {
					found[c] = append(found[c], matchFinding(p, &ms[k]))
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if n := int(broken.Load()); n > 0 {
		example, _ := sample.Load().(string)
		s.cover(bollwerk.Coverage{Area: "matching", Verdict: bollwerk.Degraded, Checked: len(pkgs) - n, Total: len(pkgs),
			Cause: fmt.Sprintf("%d packages could not be matched", n), Examples: []string{example}})
	}
	s.result.Findings = append(s.result.Findings, oncePerPackage(found)...)
	s.options.Progress(Progress{Stage: "matching", Done: len(pkgs), Total: len(pkgs)})
	return nil
}

// oncePerPackage keeps one finding per issue and package: the same package at
// several places is one finding with all its paths.
func oncePerPackage(chunks [][]bollwerk.Finding) []bollwerk.Finding {
	type key struct {
		kind bollwerk.FindingKind
		id   string
		purl bollwerk.PURL
	}
	at := map[key]int{}
	var out []bollwerk.Finding
	for _, fs := range chunks {
		for _, f := range fs {
			k := key{f.Kind, f.ID, f.Package.PURL}
			i, seen := at[k]
			if !seen {
				at[k] = len(out)
				out = append(out, f)
				continue
			}
			have := out[i].Package
			paths := append(append([]string(nil), have.Paths...), f.Package.Paths...)
			sort.Strings(paths)
			merged := *have
			merged.Paths = dropRepeats(paths)
			out[i].Package = &merged
		}
	}
	return out
}

func dropRepeats(sorted []string) []string {
	out := sorted[:0]
	for i, s := range sorted {
		if i == 0 || s != sorted[i-1] {
			out = append(out, s)
		}
	}
	return out
}

// headersOnly reports whether a package of the kernel's source holds its headers or
// documents only: the advisories speak of the source, whose code is not in it.
func headersOnly(p *bollwerk.Package) bool {
	if p.Source == nil || !strings.HasPrefix(p.Source.Name, "linux") {
		return false
	}
	return strings.HasPrefix(p.Name, "linux-libc-dev") || strings.HasPrefix(p.Name, "linux-headers-") || strings.HasPrefix(p.Name, "linux-doc")
}

func matchFinding(p *bollwerk.Package, m *vuln.Match) bollwerk.Finding {
	reachable := m.Reachable
	if headersOnly(p) {
		reachable = new(bool)
	}
	return bollwerk.Finding{
		Reachable: reachable,
		Kind:      m.Kind, ID: m.ID, Aliases: m.Aliases, Title: m.Title,
		Severity: m.Severity, Score: m.Score, CVSS: m.CVSS, KEV: m.KEV, EPSS: m.EPSS,
		Package: &bollwerk.FindingPackage{PURL: p.PURL, Name: p.Name, Version: p.Version, Ecosystem: p.Ecosystem, Source: p.Source, Paths: p.Paths},
		FixedIn: m.FixedIn, Layer: p.Layer, Verdict: m.Verdict, Reason: m.Reason, References: m.References,
	}
}

// coverExceptions tells of exceptions that cover nothing (any more): they are no
// gap, but somebody should take them out.
func (s *state) coverExceptions(unused []bollwerk.Exception) {
	if len(unused) == 0 {
		return
	}
	row := bollwerk.Coverage{Area: "exceptions", Verdict: bollwerk.Pass, Cause: fmt.Sprintf("%d exceptions cover nothing and can go", len(unused))}
	for _, x := range unused {
		row.Examples = append(row.Examples, x.ID)
	}
	row.Examples = firstFew(row.Examples)
	s.cover(row)
}

// coverDisabled tells of policies that the configuration switched off: a decision
// with a reason, and no gap.
func (s *state) coverDisabled() {
	if len(s.options.Disabled) == 0 {
		return
	}
	row := bollwerk.Coverage{Area: "standards:disabled", Verdict: bollwerk.Pass, Cause: fmt.Sprintf("%d policies are switched off by %s", len(s.options.Disabled), s.options.Config.Name)}
	for id, reason := range s.options.Disabled {
		row.Examples = append(row.Examples, id+": "+reason)
	}
	sort.Strings(row.Examples)
	row.Examples = firstFew(row.Examples)
	s.cover(row)
}

// standards judges the artifact by policies.
func (s *state) standards(ctx context.Context, secrets []bollwerk.Secret) error {
	o := &s.options
	if o.Engine == nil || len(o.Policies) == 0 {
		s.cover(bollwerk.Coverage{Area: "standards", Verdict: bollwerk.NotEvaluated, Cause: "no policies were given"})
		return nil
	}
	if s.foreign {
		s.cover(bollwerk.Coverage{Area: "standards", Verdict: bollwerk.NotEvaluated, Cause: "an SBOM of another tool says nothing of configuration and files"})
		return nil
	}
	s.coverDisabled()
	decisions, err := Standards(ctx, o.Engine, o.Policies, s.result, secrets, o.Provenance)
	if err != nil {
		return err
	}
	if len(decisions) == 0 {
		return nil
	}
	s.cover(policy.CoverageOf(decisions))
	s.result.Findings = append(s.result.Findings, policy.Findings(decisions)...)
	return nil
}

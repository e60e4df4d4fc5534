package finding

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
)

// manySources is from how many outdated source packages on one line "upgrade the
// distribution" is better advice than naming each.
const manySources = 4

// staleAfter is the age from which the advisories themselves are something to do.
const staleAfter = 7 * 24 * time.Hour

// Actions turns the findings of a ranked result into the few things to do. Every
// finding that can be made to go away belongs to exactly one action:
//
//   - malware and credentials first: remove, revoke;
//   - what lies in the recognised base image is one action, rebuilding on its
//     current version (that this version is fixed is the publisher's promise, the
//     action counts what has a fix);
//   - distribution packages are upgraded by source package, or all at once when
//     there are many;
//   - a compiled program is rebuilt or replaced, whatever modules are in it;
//   - any other package is upgraded to the smallest version that is known to carry
//     all its fixes;
//   - policies are met by changing the image.
//
// The strongest action comes first: by the priority of what it removes, then by
// how much that is. Never nil.
func Actions(r *bollwerk.Result) []bollwerk.Action {
	b := newActionBuilder(r)
	for i := range r.Findings {
		f := &r.Findings[i]
		if !judged(f) {
			continue
		}
		b.add(f)
	}
	return b.finish()
}

// group collects findings that one action removes.
type group struct {
	findings []*bollwerk.Finding
}

// groups keeps groups in the order in which they were first met, which is that of
// the rank.
type groups struct {
	index map[string]int
	keys  []string
	list  []*group
}

func (g *groups) add(key string, f *bollwerk.Finding) {
	if g.index == nil {
		g.index = map[string]int{}
	}
	i, ok := g.index[key]
	if !ok {
		i = len(g.list)
		g.index[key] = i
		g.keys = append(g.keys, key)
		g.list = append(g.list, &group{})
	}
	g.list[i].findings = append(g.list[i].findings, f)
}

type actionBuilder struct {
	r       *bollwerk.Result
	malware map[bollwerk.PURL]bool
	graph   *dependencies

	base      []*bollwerk.Finding
	removed   groups // malware, by package
	secrets   groups // by credential
	system    groups // by ecosystem, own layers or not
	programs  groups // by path
	packages  groups // by ecosystem, name, version
	exploited groups // KEV without a fix, by package
	standards groups // by policy
}

func newActionBuilder(r *bollwerk.Result) *actionBuilder {
	b := &actionBuilder{r: r, malware: map[bollwerk.PURL]bool{}}
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Kind == bollwerk.KindMalware && f.Package != nil && judged(f) {
			b.malware[f.Package.PURL] = true
		}
	}
	return b
}

func (b *actionBuilder) add(f *bollwerk.Finding) {
	switch f.Kind {
	case bollwerk.KindSecret:
		key := f.SecretHash
		if key == "" {
			key = f.ID + "\x00" + f.Path
		}
		b.secrets.add(key, f)
		return
	case bollwerk.KindStandard:
		if Counts(f) {
			key := f.Policy
			if key == "" {
				key = f.ID
			}
			b.standards.add(key, f)
		}
		return
	}
	p := f.Package
	if p == nil {
		return
	}
	if b.malware[p.PURL] {
		b.removed.add(string(p.Ecosystem)+"\x00"+p.Name+"\x00"+p.Version, f)
		return
	}
	if len(f.FixedIn) == 0 {
		if f.KEV != nil {
			b.exploited.add(string(p.Ecosystem)+"\x00"+p.Name+"\x00"+p.Version, f)
		}
		return
	}
	switch {
	case f.Layer != nil && f.Layer.FromBase && b.r.Target.BaseImage != nil:
		b.base = append(b.base, f)
	case managerOf(p.Ecosystem) != managerNone:
		b.system.add(b.systemKey(f), f)
	case isProgram(p):
		b.programs.add(strings.Join(p.Paths, "\x00"), f)
	default:
		b.packages.add(string(p.Ecosystem)+"\x00"+p.Name+"\x00"+p.Version, f)
	}
}

// systemKey separates what the user's own layers install on top of a recognised
// base image: there the way is a rebuild without cache.
func (b *actionBuilder) systemKey(f *bollwerk.Finding) string {
	if b.r.Target.BaseImage != nil {
		return "own\x00" + string(f.Package.Ecosystem)
	}
	return "all\x00" + string(f.Package.Ecosystem)
}

func (b *actionBuilder) finish() []bollwerk.Action {
	var out []bollwerk.Action
	if len(b.base) > 0 {
		out = append(out, b.baseAction())
	}
	for _, g := range b.removed.list {
		out = append(out, b.removeMalware(g))
	}
	for _, g := range b.secrets.list {
		out = append(out, revokeSecret(g))
	}
	for i, g := range b.system.list {
		out = append(out, b.systemActions(strings.HasPrefix(b.system.keys[i], "own\x00"), g)...)
	}
	for _, g := range b.programs.list {
		out = append(out, rebuildProgram(g))
	}
	out = append(out, b.packageActions()...)
	for _, g := range b.exploited.list {
		f := g.findings[0]
		out = append(out, newAction("remove-package", fmt.Sprintf(actNoFix, shortName(f.Package), f.Package.Version), g.findings).about(f.Package).Action)
	}
	for _, g := range b.standards.list {
		out = append(out, changeImage(g))
	}
	if a, ok := b.databaseAction(); ok {
		out = append(out, a)
	}
	weights := b.weights(out)
	order := make([]int, len(out))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(x, y int) int {
		return cmp.Or(
			cmp.Compare(priorityStep(out[x].Priority), priorityStep(out[y].Priority)),
			cmp.Compare(weights[y], weights[x]),
			cmp.Compare(out[x].Title, out[y].Title),
		)
	})
	sorted := make([]bollwerk.Action, len(out))
	for i, j := range order {
		sorted[i] = out[j]
	}
	return sorted
}

// weights says how much each action is worth: a step of priority outweighs ten of
// the next.
func (b *actionBuilder) weights(as []bollwerk.Action) []int {
	worth := make(map[bollwerk.FindingID]int, len(b.r.Findings))
	for i := range b.r.Findings {
		f := &b.r.Findings[i]
		w := 1
		switch {
		case f.Kind == bollwerk.KindMalware:
			w = 5000 // it runs already
		case f.Priority == bollwerk.PriorityNow:
			w = 1000
		case f.Priority == bollwerk.PrioritySoon:
			w = 100
		case f.Priority == bollwerk.PriorityLater:
			w = 10
		}
		worth[f.Fingerprint] = w
	}
	out := make([]int, len(as))
	for i := range as {
		for _, id := range as[i].Removes {
			out[i] += worth[id]
		}
	}
	return out
}

// built is an action under construction.
type built struct{ bollwerk.Action }

func newAction(kind, title string, fs []*bollwerk.Finding) built {
	a := bollwerk.Action{Kind: kind, Title: title, Removes: make([]bollwerk.FindingID, 0, len(fs)), Priority: bollwerk.PriorityWatch}
	for _, f := range fs {
		a.Removes = append(a.Removes, f.Fingerprint)
		if priorityStep(f.Priority) < priorityStep(a.Priority) {
			a.Priority = f.Priority
		}
		if f.KEV != nil {
			a.KEV++
		}
	}
	return built{a}
}

func (b built) about(p *bollwerk.FindingPackage) built {
	if p != nil {
		c := *p
		b.Package = &c
	}
	return b
}

func (b built) run(command string) built { b.Command = command; return b }
func (b built) to(version string) built  { b.To = version; return b }

func (b *actionBuilder) removeMalware(g *group) bollwerk.Action {
	p := g.findings[0].Package
	command := b.inFolder(p, removeCommand(p))
	return newAction("remove-package", fmt.Sprintf(actMalware, shortName(p), p.Version), g.findings).
		about(p).run(command).Action
}

func revokeSecret(g *group) bollwerk.Action {
	f := g.findings[0]
	what := f.Title
	if what == "" {
		what = f.ID
	}
	title := fmt.Sprintf(actSecretEnv, what)
	if f.Path != "" {
		title = fmt.Sprintf(actSecret, what, f.Path)
		places := map[string]bool{}
		for _, o := range g.findings {
			places[o.Path] = true
		}
		if n := len(places) - 1; n > 0 {
			title = fmt.Sprintf(actSecretMany, what, f.Path, n)
		}
	}
	return newAction("rotate-secret", title, g.findings).Action
}

func changeImage(g *group) bollwerk.Action {
	f := g.findings[0]
	title := sentenceCase(strings.TrimSuffix(cmp.Or(f.Fix, f.Title, f.ID), "."))
	if n := len(g.findings); n > 1 {
		title = fmt.Sprintf(actStandardMany, title, n)
	}
	return newAction("change-image", title, g.findings).Action
}

// sentenceCase makes a policy's sentence one of a list of imperatives: "Add a USER
// line" becomes "add a USER line", "USER must be set" stays.
func sentenceCase(s string) string {
	if len(s) > 1 && s[0] >= 'A' && s[0] <= 'Z' && s[1] >= 'a' && s[1] <= 'z' {
		return string(s[0]-'A'+'a') + s[1:]
	}
	return s
}

func (b *actionBuilder) databaseAction() (bollwerk.Action, bool) {
	d := &b.r.Database
	a := bollwerk.Action{Kind: "update-database", Command: "bollwerk db update", Removes: []bollwerk.FindingID{}, Priority: bollwerk.PriorityLater}
	switch {
	case d.Records == 0 && d.AsOf.IsZero():
		if len(b.r.Packages) == 0 {
			return a, false
		}
		a.Title = actDatabaseNone
		a.Priority = bollwerk.PrioritySoon
	case d.Starter || !b.r.Started.IsZero() && b.r.Started.Sub(d.AsOf) > staleAfter:
		a.Title = fmt.Sprintf(actDatabase, d.AsOf.Format(time.DateOnly))
	default:
		return a, false
	}
	return a, true
}

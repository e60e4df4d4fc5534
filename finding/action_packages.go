package finding

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/bollwerk/bollwerk"
)

// baseAction is the one thing to do about everything in the base image.
func (b *actionBuilder) baseAction() bollwerk.Action {
	name := b.r.Target.BaseImage.Name
	return newAction("upgrade-base", fmt.Sprintf(actBase, name), b.base).to(name).
		run("docker build --pull .").Action
}

// systemActions upgrades distribution packages: by source while they are few.
func (b *actionBuilder) systemActions(own bool, g *group) []bollwerk.Action {
	var sources groups
	for _, f := range g.findings {
		sources.add(sourceName(f.Package), f)
	}
	eco := g.findings[0].Package.Ecosystem
	if len(sources.list) >= manySources || own {
		// The strongest sources are named; findings come ranked.
		names := sources.keys
		list := strings.Join(names[:min(2, len(names))], ", ")
		if more := len(names) - 2; more > 0 {
			list = fmt.Sprintf(actAndMore, list, more)
		}
		title := fmt.Sprintf(actSystem, countNames(g.findings), eco.Name(), list)
		if own {
			title = fmt.Sprintf(actSystemOwn, eco.Name(), list)
		}
		command := upgradeAllCommand(eco)
		if own {
			command = "docker build --no-cache --pull ."
		}
		return []bollwerk.Action{newAction("upgrade-system", title, g.findings).run(command).Action}
	}
	var out []bollwerk.Action
	for _, s := range sources.list {
		out = append(out, upgradeSource(s))
	}
	return out
}

func sourceName(p *bollwerk.FindingPackage) string {
	if p.Source != nil && p.Source.Name != "" {
		return p.Source.Name
	}
	return p.Name
}

func countNames(fs []*bollwerk.Finding) int {
	seen := map[string]bool{}
	for _, f := range fs {
		seen[f.Package.Name] = true
	}
	return len(seen)
}

func upgradeSource(g *group) bollwerk.Action {
	f := g.findings[0]
	p := f.Package
	order := orderOf(p.Ecosystem)
	target := smallestFix(order, p.Version, g.findings)
	var names []string
	for _, o := range g.findings {
		if !slices.Contains(names, o.Package.Name) {
			names = append(names, o.Package.Name)
		}
	}
	slices.Sort(names)
	title := fmt.Sprintf(actUpgrade, p.Name, p.Version, target)
	if len(names) > 1 {
		title = fmt.Sprintf(actUpgradeSource, sourceName(p), len(names), p.Version, target)
	}
	return newAction("upgrade-package", title, g.findings).about(p).to(target).
		run(upgradeSystemCommand(p.Ecosystem, names)).Action
}

// isProgram reports whether the package was read out of a compiled program: there
// no manifest can be edited, the program is built anew or exchanged. Go and Rust
// record their modules in the executable; everything the product recognises by its
// file is a program anyway.
func isProgram(p *bollwerk.FindingPackage) bool {
	if p.Ecosystem == bollwerk.EcosystemBinary {
		return true
	}
	if e := p.Ecosystem.Name(); e != string(bollwerk.EcosystemGo) && e != string(bollwerk.EcosystemCrates) {
		return false
	}
	if len(p.Paths) == 0 {
		return false
	}
	for _, path := range p.Paths {
		switch fileName(path) {
		case "go.mod", "go.sum", "go.work", "go.work.sum", "modules.txt", "Cargo.lock", "Cargo.toml":
			return false
		}
	}
	return true
}

func fileName(path string) string { return path[strings.LastIndexAny(path, "/!")+1:] }

func rebuildProgram(g *group) bollwerk.Action {
	var needs []string
	seen := map[string]bool{}
	var byPackage groups
	for _, f := range g.findings {
		byPackage.add(f.Package.Name+"\x00"+f.Package.Version, f)
	}
	first := g.findings[0].Package
	for _, pg := range byPackage.list {
		p := pg.findings[0].Package
		target := smallestFix(orderOf(p.Ecosystem), p.Version, pg.findings)
		need := fmt.Sprintf(actProgramModule, p.Name, target)
		if isGoToolchain(p) {
			need = fmt.Sprintf(actProgramGo, target)
		}
		if !seen[need] {
			seen[need] = true
			needs = append(needs, need)
		}
	}
	list := strings.Join(needs[:min(2, len(needs))], ", ")
	if n := len(needs) - 2; n > 0 {
		list = fmt.Sprintf(actProgramMore, list, n)
	}
	where := first.Name
	if len(first.Paths) > 0 {
		where = first.Paths[0]
		if n := len(first.Paths) - 1; n > 0 {
			where = fmt.Sprintf(actAndMore, where, n)
		}
	}
	a := newAction("upgrade-package", fmt.Sprintf(actProgram, where, list), g.findings)
	if len(byPackage.list) == 1 {
		a = a.about(first).to(smallestFix(orderOf(first.Ecosystem), first.Version, g.findings))
	}
	return a.Action
}

func isGoToolchain(p *bollwerk.FindingPackage) bool {
	return p.Ecosystem.Name() == string(bollwerk.EcosystemGo) && (p.Name == "stdlib" || p.Name == "toolchain" || p.Name == "go")
}

// shortName is how people call a package: of a Maven coordinate the artifact, the
// group is the publisher's address.
func shortName(p *bollwerk.FindingPackage) string {
	if p.Ecosystem.Name() == string(bollwerk.EcosystemMaven) {
		if _, artifact, ok := strings.Cut(p.Name, ":"); ok && artifact != "" {
			return artifact
		}
	}
	return p.Name
}

// inFolder makes a command run beside the lock file when a source tree was scanned.
// Inside an image the folder is not where the developer works.
func (b *actionBuilder) inFolder(p *bollwerk.FindingPackage, command string) string {
	if command == "" || b.r.Target.Kind != bollwerk.KindDirectory || len(p.Paths) == 0 {
		return command
	}
	dir, _, ok := cutLast(p.Paths[0], "/")
	if !ok || strings.Contains(dir, "!/") || strings.HasSuffix(dir, "!") {
		return command
	}
	if dir, ok = projectFolder(dir); !ok {
		return command
	}
	if !shellWord(dir) {
		return "" // beside no other lock file it would be the wrong one
	}
	return "cd " + dir + " && " + command
}

// projectFolder is where a package manager has to be run for what was found in dir.
// What an installed copy of a package says of itself lies in the folder of the
// package; the project is the one around node_modules. Installed Python and Ruby
// packages belong to an environment, which has no folder to go to.
func projectFolder(dir string) (string, bool) {
	if dir == "node_modules" || strings.HasPrefix(dir, "node_modules/") {
		return "", false
	}
	if project, _, ok := strings.Cut(dir, "/node_modules/"); ok {
		return project, true
	}
	for _, installed := range []string{".dist-info", ".egg-info", "/specifications", "/site-packages", "/dist-packages"} {
		if strings.HasSuffix(dir, installed) {
			return "", false
		}
	}
	return dir, true
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// packageActions upgrades what a manifest or lock file names. Installed versions of
// one package that go to the same version are one action.
func (b *actionBuilder) packageActions() []bollwerk.Action {
	type merged struct {
		target   string
		versions []string
		findings []*bollwerk.Finding
	}
	index := map[string]int{}
	var list []*merged
	for _, g := range b.packages.list {
		p := g.findings[0].Package
		target := smallestFix(orderOf(p.Ecosystem), p.Version, g.findings)
		key := string(p.Ecosystem) + "\x00" + p.Name + "\x00" + target
		i, ok := index[key]
		if !ok {
			i = len(list)
			index[key] = i
			list = append(list, &merged{target: target})
		}
		list[i].versions = append(list[i].versions, p.Version)
		list[i].findings = append(list[i].findings, g.findings...)
	}
	if len(list) > 0 {
		b.graph = newDependencies(b.r.Packages)
	}
	var out []bollwerk.Action
	for _, m := range list {
		p := m.findings[0].Package
		order := orderOf(p.Ecosystem)
		slices.SortFunc(m.versions, order.compare)
		from := m.versions[0]
		switch n := len(m.versions); {
		case n == 2:
			from = fmt.Sprintf(actSeveral, from, m.versions[1])
		case n > 2:
			from = fmt.Sprintf(actSeveralMore, from, n-1)
		}
		name, direct := shortName(p), b.graph.direct(p.PURL)
		title := fmt.Sprintf(actUpgrade, name, from, m.target)
		if isGoToolchain(p) {
			title = fmt.Sprintf(actGoToolchain, m.target, from)
		} else if via := b.graph.roots(p.PURL); len(via) > 0 {
			names := strings.Join(via[:min(2, len(via))], ", ")
			if n := len(via) - 2; n > 0 {
				names = fmt.Sprintf(actAndMore, names, n)
			}
			title = fmt.Sprintf(actUpgradeVia, name, from, m.target, names)
		}
		slices.SortStableFunc(m.findings, func(x, y *bollwerk.Finding) int { return cmp.Compare(x.Rank, y.Rank) })
		out = append(out, newAction("upgrade-package", title, m.findings).about(p).to(m.target).
			run(b.inFolder(p, upgradeCommand(p, m.target, direct))).Action)
	}
	return out
}

// smallestFix returns the smallest version that is known to carry the fix of every
// finding, all of one package at one installed version.
//
// Findings name their fixes by release branch ("2.12.4, 2.17.1"), without saying
// where a branch begins to be affected. A version is taken to carry a fix when it
// is one of those named, when it is not below the greatest of them, or when it is
// at or above the greatest named one of its own branch (major.minor, or major when
// that branch has one entry above which nothing is named). The greatest of all
// fixes always qualifies, so there is always an answer; versions below the
// installed one never do.
func smallestFix(order order, installed string, fs []*bollwerk.Finding) string {
	var candidates []string
	seen := map[string]bool{}
	for _, f := range fs {
		for _, v := range f.FixedIn {
			if !seen[v] && (order.compare(v, installed) > 0 || installed == "") {
				seen[v] = true
				candidates = append(candidates, v)
			}
		}
	}
	if len(candidates) == 0 { // the matcher names fixes that lie behind: trust its first
		return fs[0].FixedIn[0]
	}
	slices.SortFunc(candidates, order.compare)
	if len(candidates) == 1 {
		return candidates[0]
	}
	// Findings of one package repeat the same lists of fixes.
	var lists [][]string
	known := map[string]bool{}
	for _, f := range fs {
		k := strings.Join(f.FixedIn, "\x00")
		if !known[k] {
			known[k] = true
			lists = append(lists, f.FixedIn)
		}
	}
	for _, c := range candidates {
		ok := true
		for _, fixes := range lists {
			if !carries(order, c, fixes) {
				ok = false
				break
			}
		}
		if ok {
			return c
		}
	}
	return candidates[len(candidates)-1]
}

func carries(order order, v string, fixes []string) bool {
	greatest := true
	below := [3]bool{} // by depth of branch: a fix at or below v in it
	above := [3]bool{} // a fix above v in it
	for _, x := range fixes {
		c := order.compare(v, x)
		if c == 0 {
			return true
		}
		if c < 0 {
			greatest = false
		}
		for depth := 1; depth <= 2; depth++ {
			if sameBranch(v, x, depth) {
				if c > 0 {
					below[depth] = true
				} else {
					above[depth] = true
				}
			}
		}
	}
	return greatest || below[2] && !above[2] || below[1] && !above[1]
}

// sameBranch compares the first depth numbers of two versions: "v1.2.3" and
// "1.2.9" share a branch of depth 2.
func sameBranch(a, b string, depth int) bool {
	return branch(a, depth) == branch(b, depth)
}

func branch(v string, depth int) string {
	v = strings.TrimPrefix(strings.TrimPrefix(v, "v"), "V")
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case c == '.':
			if depth--; depth == 0 {
				return v[:i]
			}
		case c == ':': // an epoch belongs to the branch
		case c < '0' || c > '9':
			return v[:i]
		}
	}
	return v
}

package sbom

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/bollwerk/bollwerk"
)

// Linked implements the reader's question about hard links: whether the wanted file f
// means what the visited file target meant. Then what was found there is booked
// under the new name too, since a layer above may remove either of them.
func (c *Collector) Linked(f bollwerk.File, target string) bool {
	first := f
	first.Path = target
	if c.set.choose(&f) != c.set.choose(&first) || c.kept != nil && (c.set.kept(&f) || c.set.kept(&first)) {
		return false
	}
	for id := range c.ids(c.set.choose(&f)) {
		if c.set.gather[id] {
			return false // looks at its siblings, which are others
		}
	}
	if c.links == nil {
		c.links = map[string][]string{}
	}
	c.links[target] = append(c.links[target], f.Path)
	return true
}

// maxSpread bounds the records that further names of files may add: a lock file of
// 10,000 packages with 10,000 names must not fill the memory.
const maxSpread = 50_000

// spread books what was found in files under their further names.
func (c *Collector) spread() {
	if len(c.links) == 0 {
		return
	}
	left := maxSpread
	names := func(p string) []string {
		n := c.links[outer(p)]
		if len(n) > left {
			c.problem(outer(p), "", fmt.Sprintf("what is in files with many names would be more than %d records, the rest is left out", maxSpread))
			n = n[:left]
		}
		left -= len(n)
		return n
	}
	in := &c.part.Inventory
	for _, p := range slices.Clip(in.Packages) {
		for _, n := range names(firstPath(&p)) {
			q := p
			q.Paths = make([]string, len(p.Paths))
			for i, old := range p.Paths {
				if outer(old) == outer(firstPath(&p)) {
					old = n + old[len(outer(old)):]
				}
				q.Paths[i] = old
			}
			in.Packages = append(in.Packages, q)
		}
	}
	for _, s := range slices.Clip(in.Secrets) {
		for _, n := range names(s.Path) {
			t := s
			t.Path = n + s.Path[len(outer(s.Path)):]
			in.Secrets = append(in.Secrets, t)
		}
	}
	for _, r := range slices.Clip(c.part.Releases) {
		for _, n := range names(r.Path) {
			c.part.Releases = append(c.part.Releases, Release{Path: n, OS: r.OS})
		}
	}
}

// databases are where package managers keep theirs. A symbolic link in place of one
// of their folders moves the database.
var databases = [...]string{
	"var/lib/dpkg/status", "var/lib/dpkg/status.d/name",
	"lib/apk/db/installed", "usr/lib/apk/db/installed",
	"var/lib/rpm/rpmdb.sqlite", "var/lib/rpm/Packages", "usr/lib/sysimage/rpm/rpmdb.sqlite", "usr/lib/sysimage/rpm/Packages.db",
}

// symlink notes a symbolic link that stands where a file of some extractor is
// expected, or a folder of a package database, and leads to a name that the extractor
// does not know: every program follows the link, and nothing here does. A link to
// another name that is known (etc/os-release, a versioned jar) is the usual case.
func (c *Collector) symlink(f *bollwerk.File) {
	for _, db := range databases {
		rest, ok := strings.CutPrefix(db, f.Path)
		if !ok || rest == "" || rest[0] != '/' {
			continue
		}
		if id, lost := c.lost(f, db, destination(f)+rest); lost {
			c.problem(f.Path, c.set.all[id].Name(), fmt.Sprintf("symbolic link to %s, where package databases are not looked for", f.Linkname))
			return
		}
	}
	if id, lost := c.lost(f, f.Path, ""); lost {
		c.problem(f.Path, c.set.all[id].Name(), fmt.Sprintf("symbolic link to %s, which has no name that is known", f.Linkname))
	}
}

// lost returns an extractor that wants a file called name and does not want it where
// it is; "" means the destination of the link.
func (c *Collector) lost(f *bollwerk.File, name, where string) (uint16, bool) {
	g := bollwerk.File{Path: name, Size: 4096, Mode: fs.FileMode(0o644)}
	want := c.set.choose(&g)
	for i := range want {
		want[i] &= c.set.named[i]
	}
	if want.empty() {
		return 0, false
	}
	if g.Path = where; where == "" {
		g.Path = destination(f)
	}
	has := c.set.choose(&g)
	for id := range c.ids(want) {
		if !has.has(id) {
			return id, true
		}
	}
	return 0, false
}

// destination is the path that a symbolic link leads to, if no other link is on the way.
func destination(f *bollwerk.File) string {
	to := f.Linkname
	if !strings.HasPrefix(to, "/") {
		to = path.Dir(f.Path) + "/" + to
	}
	return strings.TrimPrefix(path.Clean("/"+to), "/")
}

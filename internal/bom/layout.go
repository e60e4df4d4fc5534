package bom

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
)

// Layout is a result arranged for writing: the same arrangement for every format,
// and for every order in which a scan found things.
type Layout struct {
	Packages []*bollwerk.Package // sorted
	// Refs name the packages, uniquely: the package URL, with a number where
	// several share one.
	Refs []string
	// DependsOn are indices into Packages, sorted; Missing are dependencies on
	// something that is not in the document.
	DependsOn [][]int
	Missing   [][]bollwerk.PURL
	// Top are packages that the manifests name, or that nothing depends on.
	Top []int
	// Complete is what the scan's coverage says of the list of packages.
	Complete Completeness
	// UUID is derived from the content (RFC 9562, section 5.8, version 8).
	UUID string
}

// References of what is in a document beside its packages.
const (
	RootRef = "artifact"
	OSRef   = "operating-system"
)

// Completeness of a list of packages.
type Completeness int

const (
	CompletenessUnknown Completeness = iota
	Complete
	Incomplete
)

// NewLayout arranges r. The time goes into the UUID.
func NewLayout(r *bollwerk.Result, when time.Time) *Layout {
	l := &Layout{Packages: make([]*bollwerk.Package, len(r.Packages))}
	for i := range r.Packages {
		l.Packages[i] = &r.Packages[i]
	}
	sort.SliceStable(l.Packages, func(i, j int) bool { return Less(l.Packages[i], l.Packages[j]) })
	l.name()
	l.edges()
	l.completeness(r)
	l.identify(r, when)
	return l
}

func (l *Layout) name() {
	l.Refs = make([]string, len(l.Packages))
	taken := make(map[string]bool, len(l.Packages)+2)
	taken[RootRef], taken[OSRef] = true, true
	next := map[string]int{}
	for i, p := range l.Packages {
		base := Display(string(p.PURL))
		if base == "" {
			base = "package:" + Display(p.Name+"@"+p.Version)
		}
		ref := base
		for taken[ref] {
			// Counting goes on where it stopped: a document may hold one package a
			// hundred thousand times.
			next[base] = max(next[base], 1) + 1
			ref = base + "#" + strconv.Itoa(next[base])
		}
		taken[ref] = true
		l.Refs[i] = ref
	}
}

func (l *Layout) edges() {
	byPURL := make(map[bollwerk.PURL]int, len(l.Packages))
	for i, p := range l.Packages {
		if _, ok := byPURL[p.PURL]; !ok && p.PURL != "" {
			byPURL[p.PURL] = i
		}
	}
	l.DependsOn = make([][]int, len(l.Packages))
	l.Missing = make([][]bollwerk.PURL, len(l.Packages))
	wanted := make([]bool, len(l.Packages))
	for i, p := range l.Packages {
		if len(p.DependsOn) == 0 {
			continue
		}
		seen := make(map[int]bool, len(p.DependsOn))
		for _, u := range p.DependsOn {
			j, ok := byPURL[u]
			if !ok {
				l.Missing[i] = append(l.Missing[i], u)
			} else if !seen[j] {
				seen[j] = true
				wanted[j] = wanted[j] || j != i
				l.DependsOn[i] = append(l.DependsOn[i], j)
			}
		}
		sort.Ints(l.DependsOn[i])
	}
	for i, p := range l.Packages {
		if !wanted[i] || p.Direct != nil && *p.Direct {
			l.Top = append(l.Top, i)
		}
	}
}

func (l *Layout) completeness(r *bollwerk.Result) {
	for i := range r.Coverage {
		c := &r.Coverage[i]
		about := c.Area == "layers" || c.Area == "files" || strings.HasPrefix(c.Area, "packages")
		switch {
		case about && c.Verdict != bollwerk.Pass:
			l.Complete = Incomplete
			return
		case about:
			l.Complete = Complete
		}
	}
}

func (l *Layout) identify(r *bollwerk.Result, when time.Time) {
	h := sha256.New()
	field(h, r.Target.Name, string(r.Target.Digest), r.Tool.Name, r.Tool.Version, when.UTC().Format(time.RFC3339))
	for i, p := range l.Packages {
		field(h, l.Refs[i], p.Name, p.Version, string(p.Ecosystem))
	}
	u := h.Sum(nil)[:16]
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	l.UUID = fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

func field(h hash.Hash, fields ...string) {
	for _, s := range fields {
		io.WriteString(h, s)
		h.Write([]byte{0})
	}
}

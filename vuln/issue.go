package vuln

import (
	"sort"
	"strings"
)

// One issue has many names, and one record may hand down many issues. This file
// decides which is which; docs/decisions/0012-issues-and-their-names.md argues it.
//
//   - `aliases` name the same issue (OSV schema: "the same vulnerability").
//   - `upstream` hands issues down. One CVE in it: that is the issue. Several: the
//     record is an erratum and stands for each of them.
//   - `related` is a neighbour, not a name. Only distributions' errata used it for
//     the list of CVEs they fix before `upstream` existed, and AlmaLinux still does;
//     there it is read as upstream. Elsewhere a single related CVE of a record that
//     has no CVE of its own is taken for its number.
//
// Distributions put several CVEs into `aliases` as well; for them a second CVE is a
// second issue. In language ecosystems it is a second name of the same issue (a
// follow-up CVE for an incomplete fix, a duplicate assignment).

// issueNames returns the issues a record stands for, each as the sorted list of
// names that are good for joining it with other records. The record's own id is in
// the list only when it stands for one issue.
func (a *Advisory) issueNames(distribution bool) [][]string {
	own := append([]string{a.ID}, a.Aliases...)
	up := a.Upstream
	if distribution && len(up) == 0 && !hasCVE(own) {
		up = a.Related
	}
	if len(up) == 0 && !distribution {
		if cves := ofClass(a.Related, isCVE); len(cves) == 1 && !hasCVE(own) {
			// One CVE beside a record that has none of its own is the issue's number,
			// filed under the weaker word. Several are neighbours.
			own = append(own, cves...)
		}
		return [][]string{uniqueSorted(own)}
	}
	all := append(append([]string{}, own...), up...)
	split := ofClass(all, isCVE)
	if len(split) == 0 {
		// No CVE anywhere: the issues are the GHSAs handed down, else the record itself.
		split = ofClass(up, isGHSA)
	}
	if len(split) <= 1 {
		if distribution && len(a.Upstream) == 0 {
			// related was lent for its CVEs only; its other entries stay neighbours
			all = append(append([]string{}, own...), split...)
		}
		return [][]string{uniqueSorted(all)}
	}
	out := make([][]string, 0, len(split))
	for _, s := range split {
		out = append(out, []string{s})
	}
	return out
}

// isCVE also takes the old candidate form "CAN-2004-0001"? No: it was never an
// advisory's id in the sources we read, and folding it would invent names.
func isCVE(s string) bool  { return strings.HasPrefix(s, "CVE-") }
func isGHSA(s string) bool { return strings.HasPrefix(s, "GHSA-") }
func isMAL(s string) bool  { return strings.HasPrefix(s, "MAL-") }

func hasCVE(names []string) bool {
	for _, n := range names {
		if isCVE(n) {
			return true
		}
	}
	return false
}

func ofClass(names []string, is func(string) bool) []string {
	var out []string
	for _, n := range names {
		if is(n) {
			out = append(out, n)
		}
	}
	return uniqueSorted(out)
}

func uniqueSorted(in []string) []string {
	if len(in) == 0 {
		return nil
	}
	out := append([]string{}, in...)
	sort.Strings(out)
	n := 0
	for i, s := range out {
		if s == "" || i > 0 && s == out[i-1] {
			continue
		}
		out[n] = s
		n++
	}
	return out[:n]
}

// primaryName picks the name people know an issue by: the oldest CVE, else the
// first id of a source of the ecosystem itself, else a GHSA.
func primaryName(names []string) string {
	best := ""
	for _, n := range names {
		if best == "" || nameRank(n) < nameRank(best) || nameRank(n) == nameRank(best) && lessName(n, best) {
			best = n
		}
	}
	return best
}

func nameRank(n string) int {
	switch {
	case isCVE(n):
		return 0
	case isMAL(n):
		return 1
	case isGHSA(n):
		return 3
	}
	return 2
}

// lessName orders CVE-2021-9 before CVE-2021-10.
func lessName(a, b string) bool {
	if isCVE(a) && isCVE(b) && len(a) != len(b) && len(a) > 9 && len(b) > 9 && a[:9] == b[:9] {
		return len(a) < len(b)
	}
	return a < b
}

// groupIssues joins the issue names of several records about one package into
// issues: two records that share a name speak of the same one. It returns for each
// record the numbers of its issues, in the order of its names (so a number may occur
// twice), and for each issue its primary name.
func groupIssues(records [][][]string) (of [][]int, primary []string) {
	parent := map[string]string{}
	var find func(string) string
	find = func(s string) string {
		p, ok := parent[s]
		if !ok {
			parent[s] = s
			return s
		}
		if p == s {
			return s
		}
		r := find(p)
		parent[s] = r
		return r
	}
	for _, issues := range records {
		for _, names := range issues {
			first := find(names[0])
			for _, n := range names[1:] {
				if r := find(n); r != first {
					parent[r] = first
				}
			}
		}
	}
	members := map[string][]string{}
	for n := range parent {
		r := find(n)
		members[r] = append(members[r], n)
	}
	number := map[string]int{}
	of = make([][]int, len(records))
	for i, issues := range records {
		for _, names := range issues {
			r := find(names[0])
			k, ok := number[r]
			if !ok {
				k = len(primary)
				number[r] = k
				primary = append(primary, primaryName(members[r]))
			}
			of[i] = append(of[i], k)
		}
	}
	return of, primary
}

package profile

import (
	"fmt"
	"strings"
)

// nearest describes the known behaviour that is closest to k, "" when the category is
// empty. With known set that is the entry itself.
func (p *Profile) nearest(k key, known *mark) string {
	best, bestMark, bestScore := key{}, (*mark)(nil), -1<<62
	if known != nil {
		best, bestMark = k, known
	} else {
		for o, m := range p.entries {
			if o.cat != k.cat || o == k {
				continue
			}
			// Ties go to the smaller text, so that a detection reads the same twice.
			if s := likeness(k, o); s > bestScore || s == bestScore && less(o, best) {
				best, bestMark, bestScore = o, m, s
			}
		}
	}
	if bestMark == nil {
		return "nothing of this kind is known of this workload"
	}
	t := bestMark.total()
	switch {
	case t.events > 0 && bestMark.last != 0:
		return fmt.Sprintf("%s (%s, last %s)", clean(describe(best)), times(t.events), timeOf(bestMark.last).Format("2006-01-02 15:04"))
	case bestMark.source()&sourceInherited != 0:
		return clean(describe(best)) + " (of the image before, not seen since)"
	}
	return clean(describe(best)) + " (declared, not seen yet)"
}

func times(n uint64) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func less(a, b key) bool {
	switch {
	case a.value != b.value:
		return a.value < b.value
	case a.n != b.n:
		return a.n < b.n
	}
	return a.proto < b.proto
}

// likeness of two entries of one category: higher is nearer.
func likeness(a, b key) int {
	switch a.cat {
	case Start:
		ap, ac, _ := strings.Cut(a.value, "\x00")
		bp, bc, _ := strings.Cut(b.value, "\x00")
		s := pathLikeness(ac, bc) + pathLikeness(ap, bp)
		if ac == bc {
			s += 1000 // the same program, another parent
		}
		return s
	case Executable, Write, Read:
		return pathLikeness(a.value, b.value)
	case Port, User:
		s := -abs(int(a.n) - int(b.n))
		if a.proto != b.proto {
			s -= 100000
		}
		return s
	case Destination, Client:
		s := peerLikeness(a.value, b.value)
		if a.n == b.n {
			s += 10
		}
		if a.proto == b.proto {
			s += 5
		}
		return s
	case Name:
		return nameLikeness(a.value, b.value)
	}
	return -distance(a.value, b.value)
}

// pathLikeness: shared folders first, then how alike the rest is written, with the
// name counting most: /usr/bin/curl is nearer to /usr/local/bin/curl than to /usr/bin/wc.
func pathLikeness(a, b string) int {
	s := 0
	for ra, rb := a, b; ; {
		ca, ta, oka := strings.Cut(ra, "/")
		cb, tb, okb := strings.Cut(rb, "/")
		if ca != cb || !oka || !okb {
			break
		}
		s += 8
		ra, rb = ta, tb
	}
	na, nb := a[strings.LastIndexByte(a, '/')+1:], b[strings.LastIndexByte(b, '/')+1:]
	if na == nb {
		s += 24
	}
	return s - distance(na, nb)
}

func nameLikeness(a, b string) int {
	s := 0
	for a != "" && b != "" {
		i, j := strings.LastIndexByte(a, '.'), strings.LastIndexByte(b, '.')
		if a[i+1:] != b[j+1:] {
			break
		}
		s += 16
		a, b = a[:max(i, 0)], b[:max(j, 0)]
	}
	return s - distance(a, b)
}

func peerLikeness(a, b string) int {
	pa, oka := parseNet(a)
	pb, okb := parseNet(b)
	if oka && okb && pa.Addr().Is4() == pb.Addr().Is4() {
		x, y := pa.Addr().AsSlice(), pb.Addr().AsSlice()
		n := 0
		for i := range x {
			if d := x[i] ^ y[i]; d != 0 {
				for ; d&0x80 == 0; d <<= 1 {
					n++
				}
				break
			}
			n += 8
		}
		return n
	}
	ka, _, _ := strings.Cut(a, ":")
	kb, _, _ := strings.Cut(b, ":")
	if ka != kb || oka != okb {
		return -200
	}
	if ka == "name" {
		return nameLikeness(a, b)
	}
	return -distance(a, b)
}

// distance is Levenshtein's (1966) over at most 48 bytes: names of attackers may be
// long, and the work is their product.
func distance(a, b string) int {
	const most = 48
	extra := max(len(a)-most, 0) + max(len(b)-most, 0)
	a, b = a[:min(len(a), most)], b[:min(len(b), most)]
	var row [most + 1]int
	for j := range len(b) + 1 {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		left := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := left
			if a[i-1] != b[j-1] {
				cost++
			}
			left = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)] + extra
}

func abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}

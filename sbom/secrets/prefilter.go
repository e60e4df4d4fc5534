package secrets

import "bytes"

// prefilter finds all anchors of all detectors in one pass. Most bytes of most
// files cost one look into a table, by a hash of the three bytes that begin there.
type prefilter struct {
	first   [1 << 13]uint8 // 1 + index in buckets of the anchors that begin so
	buckets [][]anchor
}

type anchor struct {
	word     []byte
	detector int
}

// slot hashes three bytes (Knuth's multiplicative method).
func slot(k uint32) uint32 { return (k & 0xffffff) * 2654435761 >> 19 }

func newPrefilter(ds []detector) *prefilter {
	p := &prefilter{}
	for i, d := range ds {
		for _, a := range d.anchors {
			k := slot(uint32(a[0])<<16 | uint32(a[1])<<8 | uint32(a[2]))
			if p.first[k] == 0 {
				p.buckets = append(p.buckets, nil)
				p.first[k] = uint8(len(p.buckets))
			}
			b := p.first[k] - 1
			p.buckets[b] = append(p.buckets[b], anchor{[]byte(a), i})
		}
	}
	return p
}

const maxSpots = 200

// find returns the offsets of anchors by detector, at most maxSpots each.
func (p *prefilter) find(data []byte) map[int][]int {
	var out map[int][]int
	if len(data) < 3 {
		return nil
	}
	k := uint32(data[0])<<8 | uint32(data[1])
	for i, c := range data[2:] {
		k = k<<8 | uint32(c)
		b := p.first[slot(k)&(1<<13-1)]
		if b == 0 {
			continue
		}
		for _, a := range p.buckets[b-1] {
			if bytes.HasPrefix(data[i:], a.word) {
				if out == nil {
					out = map[int][]int{}
				}
				if len(out[a.detector]) < maxSpots {
					out[a.detector] = append(out[a.detector], i)
				}
			}
		}
	}
	return out
}

package secrets

import "bytes"

// prefilter finds all anchors of all detectors in one pass. Most bytes of most
// files cost one look into a table of pairs of bytes.
type prefilter struct {
	pair    [1 << 16]uint8 // 1 + index in buckets of the anchors that begin so
	buckets [][]anchor
}

type anchor struct {
	word     []byte
	detector int
}

func newPrefilter(ds []detector) *prefilter {
	p := &prefilter{}
	for i, d := range ds {
		for _, a := range d.anchors {
			k := uint16(a[0])<<8 | uint16(a[1])
			if p.pair[k] == 0 {
				p.buckets = append(p.buckets, nil)
				p.pair[k] = uint8(len(p.buckets))
			}
			b := p.pair[k] - 1
			p.buckets[b] = append(p.buckets[b], anchor{[]byte(a), i})
		}
	}
	return p
}

const maxSpots = 200

// find returns the offsets of anchors by detector, at most maxSpots each.
func (p *prefilter) find(data []byte) map[int][]int {
	var out map[int][]int
	if len(data) < 2 {
		return nil
	}
	k := uint16(data[0])
	for i := 1; i < len(data); i++ {
		k = k<<8 | uint16(data[i])
		b := p.pair[k]
		if b == 0 {
			continue
		}
		for _, a := range p.buckets[b-1] {
			if bytes.HasPrefix(data[i-1:], a.word) {
				if out == nil {
					out = map[int][]int{}
				}
				if len(out[a.detector]) < maxSpots {
					out[a.detector] = append(out[a.detector], i-1)
				}
			}
		}
	}
	return out
}

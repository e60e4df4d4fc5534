package dga

import (
	_ "embed"
	"math"
	"strings"
)

//go:embed words.txt
var words string

// model knows how often one letter follows another in names people choose: bigrams with
// a beginning and an end, counted over words.txt and over pairs of its words put together.
type model struct {
	bits [symbols][symbols]float32 // minus log2 of the probability
}

const (
	edge    = 26 // beginning and end
	digit   = 27
	other   = 28 // "-" and whatever else
	symbols = 29
)

func symbol(c byte) int {
	switch {
	case c >= 'a' && c <= 'z':
		return int(c - 'a')
	case c >= 'A' && c <= 'Z':
		return int(c - 'A')
	case c >= '0' && c <= '9':
		return digit
	}
	return other
}

func newModel() *model {
	var n [symbols][symbols]float64
	list := strings.Fields(words)
	count := func(w string, weight float64) {
		last := edge
		for i := 0; i < len(w); i++ {
			s := symbol(w[i])
			n[last][s] += weight
			last = s
		}
		n[last][edge] += weight
	}
	for i, w := range list {
		count(w, 1)
		// Names are often two words in one: the seam is a bigram too.
		count(w+list[(i*7+13)%len(list)], 0.5)
	}
	// Numbers and hyphens are used, mostly at the end; the words hold none.
	for i := 0; i < 26; i++ {
		n[i][digit] += 2
		n[digit][i] += 1
		n[i][other] += 3
		n[other][i] += 3
	}
	n[digit][digit] += 40
	n[digit][edge] += 40
	n[edge][digit] += 8
	m := &model{}
	for i := range n {
		sum := 0.0
		for j := range n[i] {
			n[i][j] += 0.3 // whatever was not seen can still be
			sum += n[i][j]
		}
		for j := range n[i] {
			m.bits[i][j] = float32(-math.Log2(n[i][j] / sum))
		}
	}
	return m
}

// surprise is the mean number of bits a letter of the label costs: about 4 for words, 6
// and more for letters drawn at random.
func (m *model) surprise(label string) float64 {
	if label == "" {
		return 0
	}
	if len(label) > 63 {
		label = label[:63]
	}
	sum, last := float32(0), edge
	for i := 0; i < len(label); i++ {
		s := symbol(label[i])
		sum += m.bits[last][s]
		last = s
	}
	sum += m.bits[last][edge]
	return float64(sum) / float64(len(label)+1)
}

// drawn reports whether a label looks as if its letters had been drawn at random. Short
// labels never do: abbreviations look like that.
func (m *model) drawn(label string) bool {
	if len(label) < 8 || strings.HasPrefix(label, "xn--") {
		return false
	}
	limit := 5.35
	switch {
	case len(label) >= 14:
		limit = 5.0
	case len(label) >= 11:
		limit = 5.15
	}
	return m.surprise(label) > limit
}

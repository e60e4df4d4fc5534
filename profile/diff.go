package profile

import (
	"fmt"
	"slices"
	"strings"
)

// Difference is one entry that two profiles do not have in common.
type Difference struct {
	// What: "added" (b has it, a has not), "removed", "origins" (an executable comes
	// from elsewhere), "allowed" and "forbidden" (a person's decision in b that a has not).
	What  string `json:"what"`
	Entry Entry  `json:"entry"`
	// Text is the difference in words.
	Text string `json:"text"`
}

// Diff says what b does that a does not, and the other way round: two images, two
// nodes, this week and last week. Counts and times are no differences. An entry that
// falls under a wider one of the other side is none either, nor is a wider one that
// the other side knows in parts. The order is that of
// documents.
func Diff(a, b *Profile) []Difference {
	var out []Difference
	var s scratch
	say := func(k key, what, text string) {
		out = append(out, Difference{what, k.entry(), strings.TrimSpace(clean(describe(k)) + " " + text)})
	}
	for k, m := range b.entries {
		o := a.find(k, &s)
		switch {
		case o == nil:
			say(k, "added", "")
		case k.cat == Executable && o.origins != m.origins && o.origins != 0 && m.origins != 0:
			say(k, "origins", fmt.Sprintf("from %s, was %s", originWords(m.origins), originWords(o.origins)))
		}
	}
	for k := range a.entries {
		if b.find(k, &s) == nil && !(wild(k.cat, k.value) && b.children(k, 0, &s) > 0) {
			say(k, "removed", "")
		}
	}
	for k, e := range b.edits {
		if o := a.edits[k]; o != nil && o.Remove == e.Remove {
			continue
		}
		what := "allowed"
		if e.Remove {
			what = "forbidden"
		}
		say(k, what, fmt.Sprintf("by %s: %s", clean(e.By), clean(e.Reason)))
	}
	slices.SortFunc(out, func(x, y Difference) int {
		if c := compareEntries(x.Entry, y.Entry); c != 0 {
			return c
		}
		return strings.Compare(x.What, y.What)
	})
	return out
}

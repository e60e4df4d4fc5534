package npm

import (
	"slices"

	"github.com/bollwerk/bollwerk"
)

func sortEdges(e []bollwerk.PURL) { slices.Sort(e) }

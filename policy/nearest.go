package policy

// nearest returns the candidate that a person most likely meant, or "" when none
// is near: at most a third of the letters differ (Levenshtein distance, with a
// swap of neighbours counted as one, "optimal string alignment"). Ties go to the
// first candidate.
func nearest(word string, candidates []string) string {
	best, at := "", 1+max(1, len(word)/3)
	if len(word) > 64 {
		return ""
	}
	for _, c := range candidates {
		if d := len(c) - len(word); d >= at || -d >= at {
			continue
		}
		if d := distance(word, c); d < at {
			best, at = c, d
		}
	}
	return best
}

func distance(a, b string) int {
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}

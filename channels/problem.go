package channels

import (
	"slices"
	"strings"
)

// Problem is one mistake in a configuration or in a message of a rule file.
type Problem struct { //nolint:errname // it is a finding for people first
	Field   string // dotted: "timeout", "headers.x-team", "actions[1].id"
	Summary string // reads after the field's name: "is missing"
	Suggest string // what to do next, or ""
}

// Error implements error.
func (p Problem) Error() string {
	text := p.Field + " " + p.Summary
	if p.Suggest != "" {
		text += ": " + p.Suggest
	}
	return text
}

// Problems are all mistakes found, in a fixed order.
type Problems []Problem //nolint:errname // see Problem

// Err returns them as an error, nil if there are none.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// Error implements error, one line a problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// didYouMean words a suggestion, or lists what there is where nothing is near.
func didYouMean(near string, all []string) string {
	if near != "" {
		return "did you mean " + near + "?"
	}
	if len(all) == 0 {
		return "it takes none"
	}
	all = slices.Clone(all)
	slices.Sort(all)
	return "there are " + strings.Join(all, ", ")
}

// nearest returns the candidate with the least edits to word, "" if all are too far to be meant.
func nearest(word string, candidates []string) string {
	best, least := "", max(1, len(word)/3)+1
	for _, c := range candidates {
		if d := edits(word, c); d < least {
			best, least = c, d
		}
	}
	return best
}

// edits is the number of insertions, deletions, replacements and swaps of neighbours between two
// words (optimal string alignment).
func edits(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

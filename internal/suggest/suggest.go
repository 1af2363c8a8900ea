// Package suggest finds the word that somebody meant when he wrote another.
package suggest

import (
	"slices"
	"unicode"
	"unicode/utf8"
)

// Nearest is the candidate that word was probably meant to be, or "" when none is near enough: a
// third of the word's letters may differ, at least one of two and at most three. Of equally near candidates
// it is the first in alphabetical order. Letter case, and "-", "_" and " " between words, are no
// differences. A candidate that is the word itself is never the answer.
func Nearest(word string, candidates []string) string {
	const most = 3
	letters := utf8.RuneCountInString(word)
	best, bestAt := "", min(most, letters-1, max(1, letters/3))+1
	for _, c := range slices.Sorted(slices.Values(candidates)) {
		if c == word || c == "" {
			continue
		}
		if d := distance(fold(word), fold(c)); d < bestAt {
			best, bestAt = c, d
		}
	}
	return best
}

// fold makes spellings that people mix up equal.
func fold(s string) []rune {
	out := make([]rune, 0, len(s))
	for _, r := range s {
		if r == '-' || r == ' ' {
			r = '_'
		}
		out = append(out, unicode.ToLower(r))
	}
	return out
}

// distance is the number of letters to insert, remove, replace or swap with the neighbour (optimal
// string alignment: L. Boytsov, "Indexing methods for approximate dictionary searching", 2011,
// section 2.2.3).
func distance(a, b []rune) int {
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

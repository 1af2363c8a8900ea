// Package finding holds what a check has to say about a place in a file, and prints it.
package finding

import (
	"cmp"
	"slices"
	"unicode/utf8"
)

// Severity says what a finding means for the files it is about.
type Severity string

// An Error stops the files from being used; a Warning should be looked at and does not; an Info is a
// remark.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
	Info    Severity = "info"
)

// rank orders severities, worst first.
func (s Severity) rank() int {
	switch s {
	case Error:
		return 0
	case Warning:
		return 1
	default:
		return 2
	}
}

// AtLeast says whether s is as bad as than, or worse.
func (s Severity) AtLeast(than Severity) bool { return s.rank() <= than.rank() }

// Finding is one thing that a check found. Line and Col count from 1, Col and EndCol in characters;
// EndCol is the column after the last one meant, on the same line. Line 0 is the file as a whole.
type Finding struct {
	Check    string   `json:"check"` // stable id: "rule/unknown-key", "expr/unknown-property"
	Severity Severity `json:"severity"`
	File     string   `json:"file"`
	Line     int      `json:"line"`
	Col      int      `json:"col"`
	EndCol   int      `json:"end_col"`
	Rule     string   `json:"rule,omitempty"`    // the rule (or segment) it is about
	Summary  string   `json:"summary"`           // one line: what is wrong
	Detail   string   `json:"detail,omitempty"`  // what to do next, why it matters
	Suggest  string   `json:"suggest,omitempty"` // what was probably meant
	// Text is the line of the file, so that a finding can be shown without the file.
	Text string `json:"text,omitempty"`
}

// Sort orders findings by file, line, column, id and text, and drops exact repeats.
func Sort(fs []Finding) []Finding {
	slices.SortStableFunc(fs, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Col, b.Col),
			cmp.Compare(a.Severity.rank(), b.Severity.rank()),
			cmp.Compare(a.Check, b.Check),
			cmp.Compare(a.Rule, b.Rule),
			cmp.Compare(a.Summary, b.Summary),
			cmp.Compare(a.Detail, b.Detail),
			cmp.Compare(a.EndCol, b.EndCol),
		)
	})
	return slices.Compact(fs)
}

// Counts is how many findings there are of each severity.
type Counts struct {
	Errors   int `json:"errors"`
	Warnings int `json:"warnings"`
	Infos    int `json:"infos"`
}

// Count counts.
func Count(fs []Finding) Counts {
	var c Counts
	for _, f := range fs {
		switch f.Severity {
		case Error:
			c.Errors++
		case Warning:
			c.Warnings++
		default:
			c.Infos++
		}
	}
	return c
}

// HasErrors says whether one of the findings is an Error.
func HasErrors(fs []Finding) bool { return Count(fs).Errors > 0 }

// Nearest is the candidate that name was probably meant to be, or "" when none is near enough. Of
// equally near ones it is the first in alphabetical order. Letter case is not a difference.
func Nearest(name string, candidates []string) string {
	limit := max(1, utf8.RuneCountInString(name)/3)
	best, bestAt := "", limit+1
	sorted := slices.Sorted(slices.Values(candidates))
	for _, c := range sorted {
		if c == name || c == "" {
			continue
		}
		if d := distance(fold(name), fold(c)); d < bestAt {
			best, bestAt = c, d
		}
	}
	return best
}

// fold makes spellings that people mix up equal: case, and "-", "_" and " " between words.
func fold(s string) []rune {
	out := make([]rune, 0, len(s))
	for _, r := range s {
		switch {
		case r == '-' || r == ' ':
			r = '_'
		case 'A' <= r && r <= 'Z':
			r += 'a' - 'A'
		}
		out = append(out, r)
	}
	return out
}

// distance is the number of letters to insert, remove, replace or swap with the neighbour (optimal
// string alignment).
func distance(a, b []rune) int {
	prev2 := make([]int, len(b)+1)
	prev := make([]int, len(b)+1)
	cur := make([]int, len(b)+1)
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

// Package finding holds what a check has to say about a place in a file, and prints it.
package finding

import (
	"cmp"
	"slices"
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
	File     string   `json:"file"`              // from the workspace's folder on
	Line     int      `json:"line"`              // from 1; 0 is the file as a whole
	Col      int      `json:"col"`               // from 1, in characters
	EndCol   int      `json:"end_col"`           // behind the last character that is meant
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
	Errors   int `json:"errors"`   // how many findings are errors
	Warnings int `json:"warnings"` // how many findings are warnings
	Infos    int `json:"infos"`    // how many findings are remarks
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

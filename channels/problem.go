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

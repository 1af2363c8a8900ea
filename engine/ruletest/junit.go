package ruletest

import (
	"io"
	"strings"

	"nudge/internal/junit"
)

// WriteJUnit writes the results as JUnit XML, a suite for each file.
func WriteJUnit(w io.Writer, results []Result) error {
	all := junit.Suites{Name: "nudge test"}
	for _, r := range results {
		c := junit.Case{Name: r.Test.Name, Class: r.Test.Suite, File: r.Test.File, Line: r.Test.Line}
		if len(r.Failures) > 0 {
			var b strings.Builder
			for _, f := range r.Failures {
				writeFailure(&b, f)
			}
			c.Failure = &junit.Failure{Type: "decision", Message: r.Failures[0].Summary, Text: b.String()}
		}
		all.Add(r.Test.File, c)
	}
	return all.Write(w) //nolint:wrapcheck // says what it was doing
}

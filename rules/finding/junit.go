package finding

import (
	"fmt"
	"io"
	"strings"

	"nudge/internal/junit"
)

// renderJUnit prints sorted findings. Errors and warnings are failures, remarks are cases that passed and
// have something to say. Without a finding there is one case that passed, for an empty file looks broken.
func renderJUnit(w io.Writer, fs []Finding) error {
	all := junit.Suites{Name: "nudge check"}
	for _, f := range fs {
		var text strings.Builder
		writeText(&text, f)
		c := junit.Case{Name: fmt.Sprintf("%s:%d:%d %s", f.File, f.Line, f.Col, f.Check), Class: f.Check, File: f.File, Line: f.Line}
		if f.Severity == Info {
			c.Out = text.String()
		} else {
			c.Failure = &junit.Failure{Type: string(f.Severity), Message: f.Summary, Text: text.String()}
		}
		all.Add(f.File, c)
	}
	if len(fs) == 0 {
		all.Add("nudge", junit.Case{Name: "no findings", Class: "nudge.check"})
	}
	return all.Write(w) //nolint:wrapcheck // says what it was doing
}

package rules

import (
	"io"

	"nudge/rules/finding"
)

// Finding is one thing that a check found; see package finding, where it lives so that everything
// below rules can make them.
type Finding = finding.Finding

// Severity says what a Finding means.
type Severity = finding.Severity

// Severities.
const (
	Error   = finding.Error
	Warning = finding.Warning
	Info    = finding.Info
)

// Format is how findings are printed.
type Format = finding.Format

// Formats.
const (
	Text = finding.Text
	JSON = finding.JSON

	JUnit = finding.JUnit
	SARIF = finding.SARIF
)

// Sort orders findings by place and drops repeats.
func Sort(fs []Finding) []Finding { return finding.Sort(fs) }

// HasErrors says whether one of the findings is an Error.
func HasErrors(fs []Finding) bool { return finding.HasErrors(fs) }

// Render prints findings; each carries its line of source, so no file is read.
func Render(w io.Writer, fs []Finding, format Format) error {
	return finding.Render(w, fs, format) //nolint:wrapcheck // says what it was doing
}

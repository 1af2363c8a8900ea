package finding

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Format is how findings are printed.
type Format string

// Formats.
const (
	Text Format = "text"
	JSON Format = "json"
	// JUnit is XML as CI servers show test results: a suite for each file, a case for each finding.
	JUnit Format = "junit"
	// SARIF is SARIF 2.1.0 (OASIS), as code hosts show findings beside the lines of a change.
	SARIF Format = "sarif"
)

// Render prints findings, sorted, and a line of totals. The same findings give the same bytes.
func Render(w io.Writer, fs []Finding, format Format) error {
	fs = Sort(append([]Finding(nil), fs...))
	switch format {
	case Text:
		return renderText(w, fs)
	case JSON:
		return renderJSON(w, fs)
	case JUnit:
		return renderJUnit(w, fs)
	case SARIF:
		return renderSARIF(w, fs)
	default:
		return fmt.Errorf("unknown format %q: say text, json, junit or sarif", format)
	}
}

// Report is findings as JSON has them.
type Report struct {
	Counts
	Findings []Finding `json:"findings"` // by file, line and column
}

func renderJSON(w io.Writer, fs []Finding) error {
	if fs == nil {
		fs = []Finding{}
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(Report{Count(fs), fs})
	if err != nil {
		return fmt.Errorf("printing findings: %w", err)
	}
	return nil
}

func renderText(w io.Writer, fs []Finding) error {
	var b strings.Builder
	for _, f := range fs {
		writeText(&b, f)
	}
	b.WriteString(totals(Count(fs)))
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("printing findings: %w", err)
	}
	return nil
}

func writeText(b *strings.Builder, f Finding) {
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(b, ":%d:%d", f.Line, f.Col)
	}
	fmt.Fprintf(b, ": %s: %s [%s]\n", f.Severity, f.Summary, f.Check)
	hint := ""
	if f.Suggest != "" {
		hint = fmt.Sprintf("did you mean %q?", f.Suggest)
	}
	if f.Line > 0 && f.Text != "" {
		number := strconv.Itoa(f.Line)
		text, pad, carets := excerpt(f)
		fmt.Fprintf(b, "  %s | %s\n", number, text)
		fmt.Fprintf(b, "  %s | %s%s", strings.Repeat(" ", len(number)), pad, carets)
		if hint != "" {
			b.WriteString(" " + hint)
			hint = ""
		}
		b.WriteByte('\n')
	}
	if hint != "" {
		b.WriteString("  " + hint + "\n")
	}
	for line := range strings.Lines(f.Detail) {
		b.WriteString("  " + strings.TrimRight(line, "\n") + "\n")
	}
	b.WriteByte('\n')
}

// maxShown is the widest excerpt of a line, in characters.
const maxShown = 160

// excerpt is the part of the line around the finding, what stands before the carets, and the carets.
func excerpt(f Finding) (text, pad, carets string) {
	runes := []rune(f.Text)
	from := min(max(f.Col-1, 0), len(runes))
	to := min(max(f.EndCol-1, from+1), max(len(runes), from+1))
	start, prefix := 0, ""
	if len(runes) > maxShown && from > maxShown/2 {
		start, prefix = from-maxShown/2, "…"
	}
	end, suffix := len(runes), ""
	if end-start > maxShown {
		end, suffix = start+maxShown, "…"
	}
	to = max(from+1, min(to, end))
	var t, p strings.Builder
	t.WriteString(prefix)
	p.WriteString(strings.Repeat(" ", utf8.RuneCountInString(prefix)))
	for i, r := range runes[start:end] {
		t.WriteRune(printable(r))
		if start+i < from {
			p.WriteString(blank(r))
		}
	}
	t.WriteString(suffix)
	width := 0
	for i := from; i < to; i++ {
		if i < len(runes) {
			width += cells(runes[i])
		} else {
			width++
		}
	}
	return t.String(), p.String(), strings.Repeat("^", max(1, width))
}

// printable keeps control characters from reaching a terminal; a tab stays, the carets' line has it too.
func printable(r rune) rune {
	if r != '\t' && unicode.IsControl(r) {
		return '\uFFFD'
	}
	return r
}

func blank(r rune) string {
	if r == '\t' {
		return "\t"
	}
	return strings.Repeat(" ", cells(r))
}

// cells is how many columns of a terminal a character takes: none for combining marks, two for the
// wide scripts and most emoji.
func cells(r rune) int {
	switch {
	case unicode.In(r, unicode.Mn, unicode.Me) || r == '\u200d' || r == '\ufe0f':
		return 0
	case unicode.In(r, unicode.Han, unicode.Hangul, unicode.Hiragana, unicode.Katakana),
		r >= 0xff01 && r <= 0xff60, r >= 0x1f300 && r <= 0x1faff:
		return 2
	default:
		return 1
	}
}

func totals(c Counts) string {
	if c == (Counts{}) {
		return "no findings\n"
	}
	var parts []string
	add := func(n int, one, many string) {
		switch {
		case n == 1:
			parts = append(parts, "1 "+one)
		case n > 1:
			parts = append(parts, strconv.Itoa(n)+" "+many)
		}
	}
	add(c.Errors, "error", "errors")
	add(c.Warnings, "warning", "warnings")
	add(c.Infos, "remark", "remarks")
	return strings.Join(parts, ", ") + "\n"
}

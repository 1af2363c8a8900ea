package ruletest

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"nudge/engine/ledger"
	"nudge/internal/counted"
)

// WriteText prints a line a test, failures in full, and a summary. verbose adds what was decided in
// every test.
func WriteText(w io.Writer, results []Result, verbose bool) error {
	var b strings.Builder
	failed := 0
	for _, r := range results {
		verdict := "ok  "
		if len(r.Failures) > 0 {
			verdict, failed = "FAIL", failed+1
		}
		fmt.Fprintf(&b, "%s  %s  (%s)\n", verdict, r.Test.Title(), counted.Of(len(r.Rows), "decision"))
		if verbose && len(r.Failures) == 0 {
			writeRows(&b, "        ", r.Rows)
		}
		for _, f := range r.Failures {
			writeFailure(&b, f)
		}
		if verbose && len(r.Failures) > 0 {
			b.WriteString("    all that was decided:\n")
			writeRows(&b, "        ", r.Rows)
		}
	}
	fmt.Fprintf(&b, "\n%s, %d ok, %d failed\n", counted.Of(len(results), "test"), len(results)-failed, failed)
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("print the results: %w", err)
	}
	return nil
}

func writeFailure(b *strings.Builder, f Failure) {
	fmt.Fprintf(b, "    %s:%d:%d: %s\n", f.File, f.Line, f.Col, f.Summary)
	for _, d := range f.Diff {
		fmt.Fprintf(b, "        - %s: %s\n        + %s: %s\n", d.Field, d.Want, d.Field, d.Got)
	}
	if len(f.Ledger) > 0 {
		fmt.Fprintf(b, "      the ledger of %s:\n", f.About)
		writeRows(b, "        ", f.Ledger)
	}
	if f.Note != "" {
		fmt.Fprintf(b, "      %s\n", f.Note)
	}
}

// writeRows prints rows of the ledger in columns.
func writeRows(b *strings.Builder, indent string, rows []*Row) {
	var at, who int
	for _, r := range rows {
		at, who = max(at, len(r.At)), max(who, len(r.User)+1+len(r.Rule)+len(valueOf(r)))
	}
	for _, r := range rows {
		fmt.Fprintf(b, "%s%-*s  %s  %-*s  %s\n", indent, at, r.At, wall(r.Time), who, r.User+" "+r.Rule+valueOf(r), r.what())
		for _, s := range r.Sent {
			in := ""
			if s.Locale != "" {
				in = " in " + s.Locale
			}
			fmt.Fprintf(b, "%s%-*s  %s%s: %s\n", indent, at, "", s.Channel, in, s.what())
		}
	}
}

func valueOf(r *Row) string {
	if r.Value == "" {
		return ""
	}
	return fmt.Sprintf(" (%s)", r.Value)
}

// what says the row's answer in words: "frequency_cap by two-a-day, due 1d2h".
func (r *Row) what() string {
	s := string(r.Reason)
	switch {
	case r.Reason == ledger.Send && !r.sends(): // it says what keeps it from going further
		s = r.By
	case r.By != "":
		s += " by " + r.By
	}
	if r.Variant != "" {
		s += ", variant " + r.Variant
	}
	switch {
	case r.Due == "":
	case r.sends():
		s += ", the next channel after " + offset(r.due-r.at, 0)
	default:
		s += ", again at " + r.Due
	}
	return s
}

func (s *Sent) what() string {
	if s.Text == nil {
		return strings.TrimSpace(string(s.Status) + " " + s.Error)
	}
	var parts []string
	for _, field := range slices.SortedFunc(mapKeys(s.Text), byImportance) {
		parts = append(parts, field+" "+show(s.Text[field]))
	}
	return strings.Join(parts, ", ")
}

// byImportance puts first what a person reads first.
func byImportance(a, b string) int {
	rank := func(field string) int {
		if i := slices.Index([]string{"title", "subject", "body", "text"}, field); i >= 0 {
			return i
		}
		return 9
	}
	if d := rank(a) - rank(b); d != 0 {
		return d
	}
	return strings.Compare(a, b)
}

// Report is everything that is known of every test, and what they show of the rules.
type Report struct {
	Passed   int       `json:"passed"` // how many tests
	Failed   int       `json:"failed"` // how many tests
	Tests    []Outcome `json:"tests"`
	Coverage *Coverage `json:"coverage"`
}

// Outcome is what came of one test.
type Outcome struct {
	Suite     string    `json:"suite"` // the file's name without _test.yaml
	Name      string    `json:"name"`
	File      string    `json:"file"`
	Line      int       `json:"line"`
	Passed    bool      `json:"passed"`
	Start     time.Time `json:"start"`     // where the test's clock begins
	Until     string    `json:"until"`     // how far it goes, after the start: "1d2h"
	Failures  []Failure `json:"failures"`  // none of a test that passed
	Decisions []*Row    `json:"decisions"` // what the ledger has of the people of the test, in order
}

// WriteJSON prints a Report.
func WriteJSON(w io.Writer, results []Result, covered *Coverage) error {
	out := Report{Tests: []Outcome{}, Coverage: covered}
	for _, r := range results {
		t := Outcome{
			Suite: r.Test.Suite, Name: r.Test.Name, File: r.Test.File, Line: r.Test.Line, Passed: len(r.Failures) == 0,
			Start: time.UnixMilli(r.Test.Start).In(r.Test.zone), Until: offset(r.Test.Until, r.Test.Start),
			Failures: append([]Failure{}, r.Failures...), Decisions: append([]*Row{}, r.Rows...),
		}
		if t.Passed {
			out.Passed++
		} else {
			out.Failed++
		}
		out.Tests = append(out.Tests, t)
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(out); err != nil {
		return fmt.Errorf("print the results: %w", err)
	}
	return nil
}

// Failed says whether one of the tests failed.
func Failed(results []Result) bool {
	return slices.ContainsFunc(results, func(r Result) bool { return len(r.Failures) > 0 })
}

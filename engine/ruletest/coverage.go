package ruletest

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"nudge/engine/ledger"
	"nudge/engine/workspace"
)

// Covered is what tests show of one rule.
type Covered struct {
	Rule string `json:"rule"`
	// Tests that name the rule.
	Tests int `json:"tests"`
	// Fires: somebody was sent its message. Silent: in a test that names it, somebody was to be sent none,
	// or a decision against it was expected.
	Fires  bool `json:"fires"`
	Silent bool `json:"silent"`
}

// Both says whether the rule was seen to do both.
func (c Covered) Both() bool { return c.Fires && c.Silent }

// Cover says of every rule what the tests that passed show of it.
func Cover(all []*workspace.Rule, results []Result) []Covered {
	out := make([]Covered, len(all))
	for i, r := range all {
		c := &out[i]
		c.Rule = r.Name
		for _, result := range results {
			if len(result.Failures) > 0 {
				continue
			}
			t := result.Test
			expected := func(e Expectation) bool { return e.Rule == r.Name }
			silenced := func(s Silence) bool { return s.Rule == r.Name }
			if !slices.ContainsFunc(t.Expect, expected) && !slices.ContainsFunc(t.Silence, silenced) {
				continue
			}
			c.Tests++
			c.Fires = c.Fires || slices.ContainsFunc(result.Rows, func(row *Row) bool { return row.Rule == r.Name && row.Reason == ledger.Send })
			c.Silent = c.Silent || slices.ContainsFunc(t.Silence, func(s Silence) bool { return s.Rule == r.Name || s.Rule == "" }) ||
				slices.ContainsFunc(t.Expect, func(e Expectation) bool { return e.Rule == r.Name && e.Reason != ledger.Send })
		}
	}
	return out
}

// Share is the share of rules (0 to 1) that were seen both to fire and to stay silent; 1 without rules.
func Share(cs []Covered) float64 {
	if len(cs) == 0 {
		return 1
	}
	n := 0
	for _, c := range cs {
		if c.Both() {
			n++
		}
	}
	return float64(n) / float64(len(cs))
}

// WriteCoverage prints how many rules are covered, and of the others what is missing.
func WriteCoverage(w io.Writer, cs []Covered) error {
	var b strings.Builder
	width := 0
	for _, c := range cs {
		if !c.Both() {
			width = max(width, utf8.RuneCountInString(c.Rule))
		}
	}
	fmt.Fprintf(&b, "\ncoverage: %.0f %% of %s seen both to fire and to stay silent\n", 100*Share(cs), count(len(cs), "rule"))
	for _, c := range cs {
		missing := "never fires, and nobody is silent"
		switch {
		case c.Both():
			continue
		case c.Tests == 0:
			missing = "no test names it"
		case c.Fires:
			missing = "nobody is silent: who must not get it?"
		case c.Silent:
			missing = "never fires: who gets it?"
		}
		fmt.Fprintf(&b, "  %s%s  %s\n", c.Rule, strings.Repeat(" ", width-utf8.RuneCountInString(c.Rule)), missing)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("print the coverage: %w", err)
	}
	return nil
}

package ruletest

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"nudge/engine/ledger"
	"nudge/engine/workspace"
	"nudge/internal/counted"
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

// Coverage is what tests show of a workspace.
type Coverage struct {
	Rules []Covered `json:"rules"`
	// Parts is how many parts the rules' conditions have that join no others; Uncovered are those of them that were not
	// seen to decide both ways.
	Parts     int         `json:"parts"`
	Uncovered []Uncovered `json:"uncovered"`
}

// Both says whether the rule was seen to do both.
func (c Covered) Both() bool { return c.Fires && c.Silent }

// Cover says of every rule what the tests that passed show of it, and which parts of conditions decided.
func Cover(all []*workspace.Rule, results []Result, branches *Branches) *Coverage {
	// Of a broadcast nobody writes tests: it is looked at by eye, and sent once.
	all = slices.DeleteFunc(slices.Clone(all), func(r *workspace.Rule) bool { return r.Broadcast })
	out := &Coverage{Rules: make([]Covered, len(all))}
	out.Uncovered, out.Parts = branches.Uncovered()
	for i, r := range all {
		c := &out.Rules[i]
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
			c.Fires = c.Fires || slices.ContainsFunc(result.Rows, func(row *Row) bool { return row.Rule == r.Name && reached(row.Reason) })
			c.Silent = c.Silent || slices.ContainsFunc(t.Silence, func(s Silence) bool { return s.Rule == r.Name || s.Rule == "" }) ||
				slices.ContainsFunc(t.Expect, func(e Expectation) bool { return e.Rule == r.Name && !reached(e.Reason) })
		}
	}
	return out
}

// reached says that an entry's message has gone out, by itself or with others.
func reached(r ledger.Reason) bool { return r == ledger.Send || r == ledger.InDigest }

// Share is the smaller of the shares (0 to 1) of rules that were seen both to fire and to stay silent and of parts of
// conditions that were seen to decide both ways; 1 of none.
func (c *Coverage) Share() float64 { return min(c.ofRules(), c.ofParts()) }

func (c *Coverage) ofRules() float64 {
	if len(c.Rules) == 0 {
		return 1
	}
	n := 0
	for _, r := range c.Rules {
		if r.Both() {
			n++
		}
	}
	return float64(n) / float64(len(c.Rules))
}

func (c *Coverage) ofParts() float64 {
	if c.Parts == 0 {
		return 1
	}
	return float64(c.Parts-len(c.Uncovered)) / float64(c.Parts)
}

// Write prints how much is covered, and of what is not what is missing.
func (c *Coverage) Write(w io.Writer) error {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\ncoverage: %.0f %% of %s seen both to fire and to stay silent\n", 100*c.ofRules(), counted.Of(len(c.Rules), "rule"))
	for _, r := range c.Rules {
		missing := "never fires, and nobody is silent"
		switch {
		case r.Both():
			continue
		case r.Tests == 0:
			missing = "no test names it"
		case r.Fires:
			missing = "nobody is silent: who must not get it?"
		case r.Silent:
			missing = "never fires: who gets it?"
		}
		fmt.Fprintf(t, "  %s\t%s\n", r.Rule, missing)
	}
	if c.Parts > 0 {
		fmt.Fprintf(t, "coverage: %.0f %% of %s of their conditions seen to decide both ways\n", 100*c.ofParts(), counted.Of(c.Parts, "part"))
	}
	for _, u := range c.Uncovered {
		missing := ""
		switch u.Missing {
		case MissingBoth:
			missing = "decides about nobody"
		case MissingFailed:
			missing = "nobody is kept out by it alone: would a test fail if it were not there?"
		case MissingHeld:
			missing = "nobody has it"
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\n", u.Rule, u.Part, missing)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print the coverage: %w", err)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("print the coverage: %w", err)
	}
	return nil
}

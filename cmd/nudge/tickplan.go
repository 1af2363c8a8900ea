package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"nudge/engine/workspace"
	"nudge/rules"
	"nudge/rules/finding"
)

// Plans of a rule.
const (
	planArrival     = "arrival"     // judged for each occurrence, as it arrives
	planIncremental = "incremental" // a tick looks at those for whom something has changed
	planFull        = "full"        // a tick looks at everybody
)

// rulePlan is what a rule's ticks read.
type rulePlan struct {
	Rule string       `json:"rule"`
	File string       `json:"file"`
	Plan string       `json:"plan"`
	Why  []fullReason `json:"why,omitempty"` // of a full one
	// Reads are the histories of an incremental one: those for whom one of these happened are looked at,
	// and those for whom one becomes as old as one of the ages.
	Reads []planSource `json:"reads,omitempty"`
	// Dues says that there are instants besides, which follow from what is known of each person.
	Dues bool `json:"dues,omitempty"`
}

// fullReason names the characters that need a look at everybody; EndCol is the column after them.
type fullReason struct {
	Line   int    `json:"line"`
	Col    int    `json:"col"`
	EndCol int    `json:"end_col"`
	Text   string `json:"text"`
	Why    string `json:"why"`
}

type planSource struct {
	Event string  `json:"event"`
	Rule  string  `json:"rule,omitempty"` // of messages: whose
	Ages  []int64 `json:"ages_ms"`
}

// plansOf are the plans of a workspace's rules, by name; a workspace with errors has none.
func plansOf(ws *workspace.Workspace) []rulePlan {
	plans := []rulePlan{}
	if ws == nil {
		return plans
	}
	for _, r := range ws.Rules {
		if r.Who != nil {
			plans = append(plans, planOf(r))
		}
	}
	return plans
}

func planOf(r *workspace.Rule) rulePlan {
	p := rulePlan{Rule: r.Name, File: r.File, Plan: planIncremental}
	changes := r.Who.Changes()
	if r.On != nil {
		p.Plan = planArrival
		return p
	}
	for _, f := range changes.Full {
		why := fullReason{Why: f.Why}
		if n := r.Source[f.Part]; n != nil {
			at := n.Span(f.From, f.To)
			why.Line, why.Col, why.EndCol = at.Line, at.Col, at.EndCol
			if f.To <= len(n.Text) {
				why.Text = strings.Join(strings.Fields(n.Text[f.From:f.To]), " ")
			}
		}
		p.Plan = planFull
		p.Why = append(p.Why, why)
	}
	if p.Plan == planFull {
		return p
	}
	for _, s := range changes.Sources {
		p.Reads = append(p.Reads, planSource{Event: s.Event, Rule: s.Message, Ages: s.Ages})
	}
	p.Dues = changes.Dues
	return p
}

// writePlans prints a line for each rule, and under one that is full its reasons.
func writePlans(w io.Writer, plans []rulePlan) error {
	if len(plans) == 0 {
		return nil
	}
	width := 0
	for _, p := range plans {
		width = max(width, utf8.RuneCountInString(p.Rule))
	}
	var b strings.Builder
	b.WriteString("\nplan\n")
	for _, p := range plans {
		fmt.Fprintf(&b, "  %s%s  %s\n", p.Rule, strings.Repeat(" ", width-utf8.RuneCountInString(p.Rule)), p.Plan)
		for _, why := range p.Why {
			fmt.Fprintf(&b, "    %s:%d:%d: %s\n      %s\n", p.File, why.Line, why.Col, shortened(why.Text), why.Why)
		}
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("printing the plan: %w", err)
	}
	return nil
}

// shortened keeps a quoted part to one line of a terminal.
func shortened(text string) string {
	const most = 80
	runes := []rune(text)
	if len(runes) <= most {
		return text
	}
	return string(runes[:most-1]) + "…"
}

// writeCheckJSON prints findings with their counts, as rules.Render does, and the plans.
func writeCheckJSON(w io.Writer, findings []rules.Finding, plans []rulePlan) error {
	findings = rules.Sort(append([]rules.Finding{}, findings...))
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(struct {
		finding.Counts
		Findings []rules.Finding `json:"findings"`
		Plan     []rulePlan      `json:"plan"`
	}{finding.Count(findings), findings, plans})
	if err != nil {
		return fmt.Errorf("printing findings: %w", err)
	}
	return nil
}

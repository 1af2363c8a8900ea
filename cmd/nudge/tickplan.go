package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"nudge/engine/workspace"
	"nudge/rules"
	"nudge/rules/finding"
	"nudge/rules/yamlfile"
)

// tickPlan is whom a tick of a rule looks at.
type tickPlan string

// Plans of a rule.
const (
	planArrival     tickPlan = "arrival"     // judged for each occurrence, as it arrives
	planIncremental tickPlan = "incremental" // a tick looks at those for whom something has changed
	planDue         tickPlan = "due"         // a digest: nobody is looked at, what was collected falls due
	planOnce        tickPlan = "once"        // a broadcast: everybody is looked at, once
	planFull        tickPlan = "full"        // a tick looks at everybody
)

// rulePlan is what a rule's ticks read.
type rulePlan struct {
	Rule string       `json:"rule"`
	File string       `json:"file"`
	Plan tickPlan     `json:"plan"`          // whom a tick looks at: those for whom something has changed, everybody, everybody once, or nobody, because it is judged on arrivals
	Why  []fullReason `json:"why,omitempty"` // of a full one: what causes it
	// Reads are the histories of an incremental one: those for whom one of these happened are looked at,
	// and those for whom one of them becomes as old as one of its ages.
	Reads []planSource `json:"reads,omitempty"`
	// Dues says that there are instants besides, at which somebody is looked at, which follow from what is known of each person.
	Dues bool `json:"dues,omitempty"`
}

// fullReason names the characters that need a look at everybody; EndCol is the column after them.
type fullReason struct {
	Line   int    `json:"line"`
	Col    int    `json:"col"`
	EndCol int    `json:"end_col"`
	Text   string `json:"text"` // the characters
	Why    string `json:"why"`  // for people
}

// planSource is a history that a rule's ticks read.
type planSource struct {
	Event string   `json:"event"`
	Rule  string   `json:"rule,omitempty"` // of messages: whose
	Ages  []string `json:"ages"`           // as rule files write them: 1h, 2d
}

// plansOf are the plans of a workspace's rules, by name, but of broadcasts that are over; a workspace with errors has none.
func plansOf(ws *workspace.Workspace, now time.Time) []rulePlan {
	plans := []rulePlan{}
	if ws == nil {
		return plans
	}
	for _, r := range ws.Rules {
		if over := r.OverAt(ws.Zone); r.Who != nil && (over == 0 || now.UnixMilli() < over) {
			plans = append(plans, planOf(r))
		}
	}
	return plans
}

func planOf(r *workspace.Rule) rulePlan {
	p := rulePlan{Rule: r.Name, File: r.File, Plan: planIncremental}
	changes := r.Who.Changes()
	switch {
	case r.On != nil:
		p.Plan = planArrival
		return p
	case r.Digest != "":
		p.Plan = planDue
		return p
	case r.Broadcast:
		p.Plan = planOnce
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
		ages := []string{}
		for _, ms := range s.Ages {
			ages = append(ages, yamlfile.FormatDuration(time.Duration(ms)*time.Millisecond))
		}
		p.Reads = append(p.Reads, planSource{Event: s.Event, Rule: s.Message, Ages: ages})
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

// checkJSON is what was found in a workspace's files, and how its rules are looked at.
type checkJSON struct {
	finding.Report
	Plan []rulePlan `json:"plan"` // of each rule; none where the files have errors
}

// writeCheckJSON prints findings with their counts, as rules.Render does, and the plans.
func writeCheckJSON(w io.Writer, findings []rules.Finding, plans []rulePlan) error {
	findings = rules.Sort(append([]rules.Finding{}, findings...))
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(checkJSON{finding.Report{Counts: finding.Count(findings), Findings: findings}, plans})
	if err != nil {
		return fmt.Errorf("printing findings: %w", err)
	}
	return nil
}

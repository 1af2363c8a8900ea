package backtest

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"nudge/engine/ledger"
	"nudge/internal/counted"
	"nudge/internal/texttable"
)

// Formats that Result.Write knows.
func Formats() []string { return []string{"table", "json"} }

// Only leaves the named rules; none named, all.
func (r *Result) Only(names []string) *Result {
	if len(names) == 0 {
		return r
	}
	named := map[string]bool{}
	for _, n := range names {
		named[n] = true
	}
	out := *r
	out.shown = names
	out.Rules, out.Overlaps = []Rule{}, []Overlap{}
	for _, rule := range r.Rules {
		if named[rule.Rule] {
			out.Rules = append(out.Rules, rule)
		}
	}
	for _, o := range r.Overlaps {
		if named[o.A] || named[o.B] {
			out.Overlaps = append(out.Overlaps, o)
		}
	}
	return &out
}

// Write prints the result.
func (r *Result) Write(w io.Writer, format string) error {
	if format == "json" {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(r) //nolint:wrapcheck // the writer's own error
	}
	_, err := io.WriteString(w, r.text())
	return err //nolint:wrapcheck // the writer's own error
}

func (r *Result) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", r.heading())
	sent := texttable.New("rule", "entries", "people", "sent", "to people", "after a wait", "goal", "followed", "value")
	for _, rule := range r.Rules {
		goal, followed, value := "", "", ""
		if g := rule.Goal; g != nil {
			goal, followed, value = g.Event, strconv.FormatInt(g.Followed, 10), fmt.Sprintf("%.2f", g.Value)
		}
		sent.AppendRow(texttable.Row{rule.Rule, rule.Entries, rule.People, rule.Sent, rule.Reached, rule.Delayed, goal, followed, value})
	}
	fmt.Fprintf(&b, "What would have been sent\n%s\n\n", sent.Render())

	var shown []ledger.Reason
	head := []any{"rule", "entries", "send"}
	for _, reason := range reasons() {
		if reason != ledger.Send && r.any(reason) {
			shown = append(shown, reason)
			head = append(head, string(reason))
		}
	}
	why := texttable.New(head...)
	for _, rule := range r.Rules {
		line := texttable.Row{rule.Rule, rule.Entries, rule.Reasons[ledger.Send]}
		for _, reason := range shown {
			line = append(line, rule.Reasons[reason])
		}
		why.AppendRow(line)
	}
	fmt.Fprintf(&b, "What would have become of everyone who matched\n%s\n\n", why.Render())

	lost := texttable.New("rule", "gives way to", "because of", "entries")
	any := false
	for _, rule := range r.Rules {
		for _, l := range rule.Lost {
			any = true
			lost.AppendRow(texttable.Row{rule.Rule, l.to(), l.because(), l.N})
		}
	}
	if any {
		fmt.Fprintf(&b, "Who would have had to wait for whom, or lost\n%s\n\n", lost.Render())
	}
	if len(r.Overlaps) > 0 {
		both := texttable.New("rule", "and", "people whom both would have reached")
		for i, o := range r.Overlaps {
			if i == mostOverlaps {
				break
			}
			both.AppendRow(texttable.Row{o.A, o.B, o.People})
		}
		fmt.Fprintf(&b, "Who would have heard from two rules\n%s\n", both.Render())
		if n := len(r.Overlaps) - mostOverlaps; n > 0 {
			fmt.Fprintf(&b, "and %d more %s\n", n, counted.Word(n, "pair"))
		}
		b.WriteString("\n")
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "* %s\n", n)
	}
	return b.String()
}

// mostOverlaps is how many pairs of rules are printed.
const mostOverlaps = 10

// heading says what was played.
func (r *Result) heading() string {
	every := ""
	if r.Every != "" {
		every = ", checked every " + r.Every
	}
	all := ""
	if len(r.shown) > 0 {
		all = " of all rules together"
	}
	return fmt.Sprintf("Backtest from %s to %s (%s)%s: %s matched%s, and %s of them would have been written to.",
		r.From.Format("2006-01-02 15:04"), r.To.Format("2006-01-02 15:04"), r.From.Location(), every, counted.Of(r.People, "person"), all, counted.Grouped(r.Messaged))
}

// reasons in the order of columns; Held last, since it is no answer yet.
func reasons() []ledger.Reason { return append(ledger.Reasons(), ledger.Held) }

func (r *Result) any(reason ledger.Reason) bool {
	for _, rule := range r.Rules {
		if rule.Reasons[reason] > 0 {
			return true
		}
	}
	return false
}

func (l Lost) to() string {
	if l.To == "" {
		return "a message sent before"
	}
	return l.To
}

func (l Lost) because() string {
	if l.Cap == "" {
		return "higher priority"
	}
	return "cap " + l.Cap
}

// Speed says how fast it went, for people.
func (r *Result) Speed() string {
	perSecond := 0.0
	if r.Seconds > 0 {
		perSecond = float64(r.Judged) / r.Seconds
	}
	return fmt.Sprintf("%s: %s, %s, %s judged, %.0f a second", time.Duration(r.Seconds*float64(time.Second)).Round(100*time.Millisecond),
		counted.Of(r.Ticks, "look"), counted.Of(r.Queries, "query"), counted.Of(r.Judged, "condition"), perSecond)
}

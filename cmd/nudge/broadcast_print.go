package main

import (
	"fmt"
	"io"
	"strings"

	"nudge/engine/broadcast"
	"nudge/engine/ledger"
	"nudge/engine/workspace"
	"nudge/internal/counted"
)

func sum(m map[ledger.Reason]int) int {
	n := 0
	for _, x := range m {
		n += x
	}
	return n
}

// becomes says for people what a reason means of a broadcast.
func becomes(r ledger.Reason) string {
	switch r {
	case ledger.Send:
		return "get it"
	case ledger.InDigest:
		return "got it with a digest"
	case ledger.Holdout:
		return "are held out, to be compared"
	case ledger.AlreadyTrue:
		return "were only noted"
	case ledger.NotInRollout:
		return "are not in the rollout"
	case ledger.FrequencyCap:
		return "have had as many messages as a cap allows"
	case ledger.Outranked:
		return "get another rule's message"
	case ledger.NoAddress:
		return "have no address on its channels"
	case ledger.NoConsent:
		return "have refused, or were not asked"
	case ledger.QuietHours:
		return "have quiet hours"
	case ledger.Exited:
		return "have done what ends it"
	case ledger.NoLongerTrue:
		return "are none of them any more"
	case ledger.Expired:
		return "have waited for too long"
	case ledger.Merged:
		return "turned out to be somebody else"
	case ledger.TemplateFailed:
		return "the message cannot be made for them"
	case ledger.ConditionError:
		return "the condition cannot be computed for them"
	case ledger.Paused:
		return "were stopped by a pause"
	case ledger.Shadow:
		return "would get it, were it not in shadow"
	case ledger.Held:
		return "wait for the time at which it is sent"
	default:
		return ""
	}
}

// printReasons prints counts in the order of reports.
func printReasons(w io.Writer, counts map[ledger.Reason]int) {
	t := table(w)
	for _, r := range append(ledger.Reasons(), ledger.Held) {
		if n := counts[r]; n > 0 {
			fmt.Fprintf(t, "  %s\t%s\t%s\n", r, counted.Grouped(n), becomes(r))
		}
	}
	_ = t.Flush() // what cannot be printed here cannot be said here either
}

// printForecast prints what would come of a broadcast.
func printForecast(w io.Writer, ws *workspace.Workspace, r *workspace.Rule, f *broadcast.Forecast) {
	fmt.Fprintf(w, "%s, %s: %s\n", r.Name, whenOf(ws, r), counted.Of(f.People, "person"))
	for _, l := range f.Lists {
		fmt.Fprintf(w, "  %s: %s, of whom %s not known\n", l.File, counted.Of(l.People, "person"), are(l.Unknown))
	}
	if f.Got > 0 {
		fmt.Fprintf(w, "  %s decided about before, and get it no more\n", were(f.Got))
	}
	printReasons(w, f.Reasons)
	if f.Failure != "" {
		fmt.Fprintf(w, "  for one of them it cannot: %s\n", f.Failure)
	}
	if f.People > 0 {
		t := table(w)
		fmt.Fprintln(t, "\nchannel\treachable\tconsented\tget it")
		for _, c := range f.Channels {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", c.Channel, counted.Grouped(c.Reachable), counted.Grouped(c.Consented), counted.Grouped(c.Sends))
		}
		_ = t.Flush()
	}
	if p := f.Preview; p != nil {
		printPreview(w, p)
	}
	fmt.Fprintln(w)
}

func are(n int) string {
	if n == 1 {
		return "1 is"
	}
	return counted.Grouped(n) + " are"
}

func were(n int) string {
	if n == 1 {
		return "1 was"
	}
	return counted.Grouped(n) + " were"
}

func printPreview(w io.Writer, p *broadcast.Preview) {
	who := p.UserID
	if who == "" {
		who = "somebody without a user id"
	}
	if p.Gets {
		fmt.Fprintf(w, "\nas %s gets it\n", who)
	} else {
		fmt.Fprintf(w, "\nas %s would get it, who does not now\n", who)
	}
	for _, m := range p.Messages {
		fmt.Fprintf(w, "  %s", m.Channel)
		if m.Locale != "" {
			fmt.Fprintf(w, " in %s", m.Locale)
		}
		fmt.Fprintln(w)
		if m.Error != "" {
			fmt.Fprintf(w, "    it cannot be made: %s\n", m.Error)
			continue
		}
		t := table(w)
		for _, name := range m.Names {
			if value, ok := m.Fields[name]; ok {
				fmt.Fprintf(t, "    %s\t%s\n", name, fieldText(value))
			}
		}
		_ = t.Flush()
	}
}

// sofar says in a line how far a broadcast has come.
func sofar(p *broadcast.Progress) string {
	parts := []string{counted.Grouped(p.Sent) + " sent"}
	for _, part := range []struct {
		n    int
		what string
	}{{p.OnWay, "on their way"}, {sum(p.Waits), "waiting"}, {sum(p.Reasons), "held back"}, {p.Failed, "failed"}} {
		if part.n > 0 {
			parts = append(parts, counted.Grouped(part.n)+" "+part.what)
		}
	}
	return strings.Join(parts, ", ")
}

// printProgress prints what came of a broadcast.
func printProgress(w io.Writer, ws *workspace.Workspace, r *workspace.Rule, p *broadcast.Progress) {
	const minutes = "2006-01-02 15:04"
	switch p.State {
	case broadcast.Scheduled:
		fmt.Fprintf(w, "%s is sent %s\n", r.Name, whenOf(ws, r))
		return
	case broadcast.Due:
		fmt.Fprintf(w, "%s is due, and nobody has begun to send it\n", r.Name)
		return
	case broadcast.Missed:
		fmt.Fprintf(w, "%s was not sent: no nudge ran from %s to %s; change `at` in %s to send it\n",
			r.Name, p.At.Format(minutes), p.Until.Format(minutes), r.File)
		return
	case broadcast.Paused:
		fmt.Fprintf(w, "%s is paused: nudge resume %s lets it go on\n", r.Name, r.Name)
	case broadcast.Waiting:
		next := ""
		if !p.Next.IsZero() {
			next = ", the first of them until " + p.Next.Format(minutes)
		}
		fmt.Fprintf(w, "%s is sent, but to those who wait%s: a running nudge serve sends it to them, or nudge broadcast %s then\n", r.Name, next, r.Name)
	case broadcast.Sending:
		fmt.Fprintf(w, "%s is being sent\n", r.Name)
	case broadcast.Done:
		fmt.Fprintf(w, "%s is sent\n", r.Name)
	}
	fmt.Fprintf(w, "  %s\n", counted.Of(p.Decided, "person"))
	t := table(w)
	for _, part := range []struct {
		n    int
		what string
	}{{p.Sent, "sent"}, {p.OnWay, "on their way"}, {p.Failed, "failed"}} {
		if part.n > 0 || part.what == "sent" {
			fmt.Fprintf(t, "  %s\t%s\n", part.what, counted.Grouped(part.n))
		}
	}
	_ = t.Flush()
	printReasons(w, p.Reasons)
	if len(p.Waits) > 0 {
		fmt.Fprintf(w, "waiting, until %s at most\n", p.Until.Format(minutes))
		printReasons(w, p.Waits)
	}
	fmt.Fprintf(w, "opens, clicks and what follows: nudge report %s\n", r.Name)
}

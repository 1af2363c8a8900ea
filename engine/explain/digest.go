package explain

import (
	"context"
	"fmt"
	"strings"
	"time"

	"nudge/engine/ledger"
	"nudge/engine/workspace"
	"nudge/segments"
)

// digest tells of a rule that sends what was collected. It has no condition; what there is to tell is how much waits for
// the person, when that goes out, and what came of the last one.
func (x *explainer) digest(ctx context.Context, r *workspace.Rule, rule *Rule, name string, profile *segments.Profile) error {
	var waiting uint64
	var due time.Time
	var why string
	err := x.rows(ctx, "SELECT count(), min(d), argMin(b, d) FROM (SELECT argMax(reason, (attempt, seq, `index`)) AS r, argMax(`by`, (attempt, seq, `index`)) AS b, "+
		"argMax(due, (attempt, seq, `index`)) AS d FROM decisions WHERE person IN ("+x.people()+") AND at <= fromUnixTimestamp64Milli(toInt64(@at), 'UTC') GROUP BY entry) "+
		"WHERE r = 'held' AND (b = concat('digest: ', @rule) OR startsWith(b, concat('digest: ', @rule, ': ')))", r.Name, func(scan func(...any) error) error {
		return scan(&waiting, &due, &why)
	})
	if err != nil {
		return fmt.Errorf("read what waits for %s: %w", r.Name, err)
	}
	w := words{x.Workspace.Zone, time.UnixMilli(x.At)}
	var out []string
	if rule.Paused != nil && rule.Paused.Asked != ledger.AskPause {
		out = append(out, fmt.Sprintf("%s has been paused since %s", r.Name, w.instant(rule.Paused.Since)))
	}
	things := fmt.Sprintf("%d things are", waiting)
	if waiting == 1 {
		things = "One thing is"
	}
	switch {
	case waiting == 0:
		out = append(out, fmt.Sprintf("Nothing is collected for %s, so no %s goes to them", name, r.Name))
	case due.After(w.now):
		text := fmt.Sprintf("%s collected for %s and may go out with %s %s", things, name, r.Name, w.on(due))
		if _, behind, _ := ledger.CollectedFor(why); behind != "" {
			text += " (" + x.stopped(r, behind, profile) + ")"
		}
		out = append(out, text)
	default:
		out = append(out, fmt.Sprintf("%s collected for %s and due to go out with %s", things, name, r.Name))
	}
	if last := latest(rule.Entries, ""); last != nil {
		out = append(out, "Before: "+w.got(x, r, last, name, "", profile))
	}
	rule.Headline = strings.Join(out, ". ") + "."
	return nil
}

// collected tells what became of an entry that was collected, "" of any other: that it waits, and for when, or the digest with
// which it went.
func (w words) collected(x *explainer, r *workspace.Rule, e *Entry, name, of string, profile *segments.Profile) string {
	d := e.last()
	if d.Reason == ledger.InDigest {
		return fmt.Sprintf("%s got %s%s with %s %s", name, r.Name, of, d.By, w.on(d.At))
	}
	digest, why, ok := ledger.CollectedFor(d.By)
	if d.Reason != ledger.Held || !ok {
		return ""
	}
	text := fmt.Sprintf("%s of %s is collected for %s", r.Name+of, w.instant(e.Entered), name)
	if d.Again != nil {
		text += "; it goes out with " + digest + " " + w.on(*d.Again)
	}
	if sends := x.rule(digest); why != "" && sends != nil {
		text += " (" + x.stopped(sends, why, profile) + ")"
	}
	return text
}

// stopped says why a digest did not go out at its time.
func (x *explainer) stopped(r *workspace.Rule, why string, profile *segments.Profile) string {
	reason, detail, _ := strings.Cut(why, ": ")
	return "the last time it did not: " + x.reason(r, reason, detail, profile)
}

// collects says that a channel waits for a digest: nothing about times and caps is in its way.
func (x *explainer) collects(channel string) bool {
	return x.Workspace.Policy.Channels[channel].Collects
}

package decide

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"nudge/engine/ledger"
	"nudge/engine/schedule"
	"nudge/rules"
	"nudge/segments"
)

// mostItems is how many things one digest takes along; what else waits does so until the next.
const mostItems = 100

// DigestDue is when the digest that a channel's messages wait for goes out next to a person, after an instant, both Unix
// ms; 0 where it never does. known is false where it is on the person's own clock, which nobody knows, and the workspace
// does not want its own used instead.
func (p *Policy) DigestDue(channel string, profile *segments.Profile, after int64) (at int64, known bool) {
	r := p.Digests[channel]
	if r == nil {
		return 0, true
	}
	loc, known := p.zoneOf(r.Schedule.Zone, profile)
	if !known {
		return 0, false
	}
	at, _ = schedule.Next(r.Schedule, loc, after)
	return at, true
}

// allowed is Consented; what is collected needs a channel besides by which its digest may bring it.
func (p *Policy) allowed(channel, category string, profile *segments.Profile) bool {
	if !p.Consented(channel, category, profile) {
		return false
	}
	r := p.Digests[channel]
	return r == nil || slices.ContainsFunc(r.Channels(), func(by string) bool {
		return p.Consented(by, category, profile) && p.Consented(by, r.Category, profile)
	})
}

// collect keeps an entry, which all stages have let through, until its digest goes out. It counts towards no cap:
// nobody is interrupted.
func (w *walk) collect(c *contest, variant, channel string) {
	due, known := w.in.Policy.DigestDue(channel, c.profile, w.in.At)
	if !known {
		w.zoneUnknown(c)
		return
	}
	d := w.decision(c, ledger.Held, ledger.Collected(w.in.Policy.Digests[channel].Name, ""))
	d.Variant, d.Channels, d.Due, d.Expires = variant, []string{channel}, due, 0
	if c.Rule.SaysExpire {
		d.Expires = w.expires(c)
	}
	d.Due = dueBy(due, d.Expires)
	w.add(c, d)
}

// dueBy is when an entry is looked at again that waits for an instant and expires at another, 0 for never.
func dueBy(due, expires int64) int64 {
	if expires != 0 && (due == 0 || expires < due) {
		return expires
	}
	return due
}

// gather takes a collected entry that has fallen due to the contest of its digest, or lets it wait on: its rule's
// schedule or the person's zone may be others by now. It says whether the entry is one of those.
func (w *walk) gather(c *contest, digests map[string]*contest) bool {
	if c.Open == nil || !c.Open.Collected() || len(c.channels) == 0 {
		return false
	}
	channel := c.channels[0]
	if w.in.Policy.Digests[channel] == nil { // the channel is gone, or collects no more
		w.blocked(c, ledger.NoAddress, "", 0, c.Rule.WhenBlocked.NoAddress)
		return true
	}
	_, why, _ := ledger.CollectedFor(c.Open.By)
	if why == "" && c.Open.Due != 0 {
		if due, known := w.in.Policy.DigestDue(channel, c.profile, c.Open.Due-1); known && due > w.in.At {
			w.waitOn(c, "", due)
			return true
		}
	}
	of := digests[channel]
	if of == nil {
		r := w.in.Policy.Digests[channel]
		of = &contest{
			Contender: &Contender{
				Rule: r, Paused: w.in.DigestPaused != nil && w.in.DigestPaused(r.Name),
				Answer: segments.Answer{Person: w.in.Person, Truth: segments.True, Profile: c.profile},
			},
			profile: c.profile,
		}
		digests[channel] = of
	}
	of.items = append(of.items, c)
	return true
}

// digestBefore runs the stages that look at a digest alone.
func (w *walk) digestBefore(c *contest) bool {
	if c.Paused {
		w.itemsWait(c, string(ledger.Paused), 0)
		return false
	}
	for _, stage := range []func(*walk, *contest) bool{consentStage, reachStage, timeStage} {
		if !stage(w, c) {
			return false
		}
	}
	return true
}

// itemsWait lets everything that a digest would take along wait until an instant, 0 for the digest's next time.
func (w *walk) itemsWait(c *contest, why string, due int64) {
	for _, item := range c.items {
		w.itemWaits(item, why, due)
	}
}

func (w *walk) itemWaits(item *contest, why string, due int64) {
	if due == 0 {
		due, _ = w.in.Policy.DigestDue(item.channels[0], item.profile, w.in.At)
	}
	w.waitOn(item, why, due)
}

// waitOn lets a collected entry wait until an instant.
func (w *walk) waitOn(c *contest, why string, due int64) {
	by := ledger.Collected(w.in.Policy.Digests[c.channels[0]].Name, why)
	due = dueBy(due, c.Open.Expires)
	if by == c.Open.By {
		w.defers = append(w.defers, Defer{Open: c.Open, Due: due})
		return
	}
	d := w.decision(c, ledger.Held, by)
	d.Channels, d.Due, d.Features, d.With = c.channels[:1], due, c.Open.Features, c.Open.With
	w.add(c, d)
}

// item is a collected entry as the digest has it.
type item struct {
	*contest
	variant string
	fields  map[string]any
}

// compose renders what was collected, the most important first, then the newest. What may not go by the channels that the
// digest goes by stays behind, and what cannot be rendered ends.
func (w *walk) compose(c *contest, chosen []string) []item {
	slices.SortStableFunc(c.items, func(a, b *contest) int {
		return cmp.Or(cmp.Compare(b.Rule.Priority, a.Rule.Priority), cmp.Compare(b.Open.Entered, a.Open.Entered),
			cmp.Compare(a.Rule.Name, b.Rule.Name), cmp.Compare(a.Answer.Value, b.Answer.Value), cmp.Compare(a.trigger(), b.trigger()))
	})
	var out []item
	for _, it := range c.items {
		if slices.ContainsFunc(chosen, func(ch string) bool { return !w.in.Policy.Consented(ch, it.Rule.Category, it.profile) }) {
			w.blocked(it, ledger.NoConsent, "", 0, it.Rule.WhenBlocked.NoConsent)
			continue
		}
		variant := w.variantOf(it)
		fields, err := w.in.Render(it.Contender, variant, it.channels[0], it.profile)
		if err != nil {
			w.end(it, ledger.TemplateFailed, it.channels[0]+": "+err.Error())
			continue
		}
		out = append(out, item{it, variant, fields})
	}
	return out
}

// values are what the digest's templates may print of an item.
func (it *item) values() map[string]any {
	out := map[string]any{
		"rule": it.Rule.Name, "category": it.Rule.Category, "at": time.UnixMilli(it.Open.Entered).UTC().Format(time.RFC3339),
	}
	for name, v := range it.fields {
		if v != nil && v != "" {
			out[name] = v
		}
	}
	if it.Answer.Value != "" {
		out["value"] = it.Answer.Value
	}
	return out
}

// sendDigest decides a digest behind the caps: one row for it and for all that it takes along, so that they go together or not at
// all.
func (w *walk) sendDigest(c *contest, chosen []string) {
	items := w.compose(c, chosen)
	for n := min(len(items), mostItems); n > 0; n /= 2 {
		d, err := w.digestRow(c, chosen, items[:n])
		if err != nil {
			d = w.decision(c, ledger.TemplateFailed, clip(err.Error(), maxDetail))
			d.Message, d.With = c.Rule.Hash, nil
			w.put(c, d)
			for _, it := range items {
				w.itemWaits(it.contest, string(ledger.TemplateFailed), 0)
			}
			return
		}
		why := tooLarge(d)
		switch {
		case why == "":
			if d.Reason == ledger.Send {
				for _, ch := range chosen {
					w.uses = append(w.uses, usage{Use: ledger.Use{Entry: d.Entry, Rule: d.Rule, Channel: ch, Category: d.Category, At: w.in.At}, walk: c.Rule.Name})
				}
			}
			w.put(c, d)
			for _, it := range items[n:] {
				w.itemWaits(it.contest, "", 0)
			}
			return
		case n == 1: // nothing makes it smaller: it goes, and the others have the next digest
			w.end(items[0].contest, ledger.ConditionError, why)
			for _, it := range items[1:] {
				w.itemWaits(it.contest, "", 0)
			}
			return
		}
	}
}

// digestRow is the row of a digest that takes some items along.
func (w *walk) digestRow(c *contest, chosen []string, items []item) (*ledger.Decision, error) {
	list := make([]any, len(items))
	for i := range items {
		list[i] = items[i].values()
	}
	c.Answer.With = map[string]any{rules.DigestItems: list, rules.DigestCount: int64(len(items))}
	variant := w.variantOf(c)
	for _, ch := range chosen {
		if _, err := w.in.Render(c.Contender, variant, ch, c.profile); err != nil {
			return nil, fmt.Errorf("%s: %w", ch, err)
		}
	}
	var d *ledger.Decision
	itemReason := ledger.InDigest
	if by := w.heldOut(c); by != "" {
		d, itemReason = w.decision(c, ledger.Holdout, by), ledger.Holdout
		d.Variant = variant
	} else {
		d = w.sending(c, variant, chosen)
	}
	for i := range items {
		row := w.decision(items[i].contest, itemReason, c.Rule.Name)
		row.Variant, row.Channels, row.Expires = items[i].variant, items[i].channels[:1], 0
		row.Features, row.With = nil, nil // they stand in the row by which it was collected
		d.Items = append(d.Items, row)
	}
	return d, nil
}

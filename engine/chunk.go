package engine

import (
	"context"
	"maps"
	"slices"

	"nudge/engine/decide"
	"nudge/engine/ledger"
	"nudge/engine/render"
	"nudge/events"
	"nudge/segments"
)

// chunkBytes is the estimated size at which a chunk is committed; below ledger.MaxChunk by what an
// estimate can be off.
const chunkBytes = ledger.MaxChunk * 3 / 4

// begin writes the tick record to every shard that does not have it.
func (e *Engine) begin(ctx context.Context, t ledger.Tick) error {
	return e.each(func(s *shard) error { return e.beginOn(ctx, s, t) })
}

func (e *Engine) beginOn(ctx context.Context, s *shard, t ledger.Tick) error {
	return e.decide(ctx, s, func(st *ledger.State, commit func([]ledger.Record) error) error {
		if has(st, &t) {
			return nil
		}
		return commit([]ledger.Record{{Tick: &t}})
	})
}

// has says whether a shard has the record of a tick.
func has(st *ledger.State, t *ledger.Tick) bool {
	last, ok := st.Last(t.Kind)
	return ok && last.ID == t.ID && last.P1 == t.P1 && slices.Equal(last.Rules, t.Rules) && maps.Equal(last.Looks, t.Looks)
}

// decideFound takes everybody that was found through decide. Who was merged after the tick's position
// is decided about as whom they became, once that one holds what both had.
func (e *Engine) decideFound(ctx context.Context, l *live, t ledger.Tick, f *found, first []map[string]bool) error {
	for len(f.people) > 0 {
		if err := e.each(func(s *shard) error { return e.decidePeople(ctx, l, t, s, f, first[s.id]) }); err != nil {
			return err
		}
		f = e.astray(f)
	}
	if now := e.live.Load(); now != l { // what was sent by the former rules may have other exits by now
		return e.readExits(ctx, now, events.EndOf(e.people.Position().Seq()), func(string) bool { return true })
	}
	return nil
}

// decidePeople takes the shard's people of the tick through decide, committing chunk by chunk, of which the first
// begins with the tick's record where the shard does not have it.
func (e *Engine) decidePeople(ctx context.Context, l *live, t ledger.Tick, s *shard, f *found, first map[string]bool) error {
	people := f.of(s.id, len(e.shards))
	for len(people) > 0 {
		var left []events.PersonID
		err := e.decide(ctx, s, func(st *ledger.State, commit func([]ledger.Record) error) error {
			var out chunk
			left = people
			for ; len(left) > 0 && out.size < chunkBytes; left = left[1:] {
				if to, merged := e.late.into(left[0]); merged {
					f.strays.add(left[0], to)
					continue
				}
				e.decidePerson(l, t, st, left[0], f.people[left[0]], first, &out)
			}
			if len(out.records) > 0 && !has(st, &t) {
				out.records = slices.Insert(out.records, 0, ledger.Record{Tick: &t})
			}
			return out.commitAll(commit)
		})
		if err != nil {
			return err
		}
		people = left
	}
	return nil
}

// decidePerson decides about one person.
func (e *Engine) decidePerson(l *live, t ledger.Tick, st *ledger.State, id events.PersonID, cs []*contender, first map[string]bool, out *chunk) {
	in := decide.Input{At: t.T1, Tick: t.ID, Person: id, State: st.Person(id), Policy: l.policy, Render: e.renders(l, t.T1), DigestPaused: func(rule string) bool { return e.isPaused(l, l.byName[rule]) }}
	for _, c := range cs {
		if c.elsewhere && !first[c.rule.Name] {
			continue
		}
		if c.open == nil && c.rule.On == nil && st.Answered(c.rule.Name, ledger.Watch{Person: id, Value: c.answer.Value}) {
			continue // it was open when the tick was first run
		}
		if c.answer.Stands {
			if decide.Stands(c.rule.Rule, in.State.Slot(c.rule.Name, c.answer.Value), t.T1) {
				st.Answer(c.rule.Name, ledger.Watch{Person: id, Value: c.answer.Value})
			}
			continue
		}
		if c.open == nil && c.rule.On == nil { // before the decisions: an entry that ends now is asked for at the next look
			st.Answer(c.rule.Name, ledger.Watch{Person: id, Value: c.answer.Value})
		}
		if d, ok := c.decidable(st, t.T1); ok {
			d.FirstLook = first[c.rule.Name]
			in.Contenders = append(in.Contenders, d)
		}
	}
	if len(in.Contenders) == 0 {
		return
	}
	records, defers := decide.Person(in)
	for _, r := range records {
		for _, item := range r.Decision.Items {
			e.metrics.decided(item)
		}
		e.metrics.decided(r.Decision)
		out.add(r)
	}
	for _, d := range defers {
		st.Defer(d.Open, d.Due)
	}
}

// renders is the pure check that a message can be made of what the decision has.
func (e *Engine) renders(l *live, at int64) func(*decide.Contender, string, string, *segments.Profile) (map[string]any, error) {
	return func(c *decide.Contender, variant, channel string, profile *segments.Profile) (map[string]any, error) {
		with := ledger.Values(c.Answer.With)
		if c.Kept {
			with = c.Open.With
		}
		return render.Fields(c.Rule, render.Message{
			Variant: variant, Channel: channel, Value: c.Answer.Value, At: at, With: with, Profile: profile, Zone: l.policy.Zone, Location: l.policy.Location,
		}) //nolint:wrapcheck // becomes the decision's detail
	}
}

// chunk collects records and estimates their size in JSON.
type chunk struct {
	records []ledger.Record
	size    int
}

func (c *chunk) add(r ledger.Record) {
	c.records = append(c.records, r)
	if r.Decision != nil {
		c.size += decide.Weight(r.Decision)
		return
	}
	c.size += 256
}

// commitAll commits everything in messages of bounded size.
func (c *chunk) commitAll(commit func([]ledger.Record) error) error {
	const most = 1000
	for len(c.records) > 0 {
		n := min(len(c.records), most)
		if err := commit(c.records[:n]); err != nil {
			return err
		}
		c.records = c.records[n:]
	}
	return nil
}

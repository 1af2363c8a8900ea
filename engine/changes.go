package engine

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"nudge/engine/ledger"
	"nudge/events"
)

// applyChanges brings merges and erasures up to a position into the shards' states, in stream order,
// before anything is decided as of that position.
func (e *Engine) applyChanges(ctx context.Context, upTo events.Position) error {
	e.moving.Lock()
	defer e.moving.Unlock()
	from := e.changed
	if from == 0 {
		from = e.oldestChange()
	}
	if upTo <= from {
		return nil
	}
	if e.changed != 0 && e.people.Changed() <= from {
		e.changed = upTo
		return nil
	}
	changes, err := e.planner.Changes(ctx, from, upTo)
	if err != nil {
		return fmt.Errorf("read merges and erasures up to %s: %w", upTo, err)
	}
	for _, c := range changes {
		if c.Erased {
			err = e.forget(ctx, c.Person, c.Pos)
		} else {
			err = e.move(ctx, ledger.Move{From: c.Person, To: c.Into, Pos: c.Pos})
		}
		if err != nil {
			return err
		}
	}
	e.changed = upTo
	return nil
}

// oldestChange is the position up to which every shard has applied merges and erasures, at most that of
// the ticks that are repeated at the start.
func (e *Engine) oldestChange() events.Position {
	var oldest events.Position
	for i, s := range e.shards {
		s.mu.Lock()
		if p := s.state.UpTo(); i == 0 || p < oldest {
			oldest = p
		}
		if t, ok := s.state.Last(ledger.TickSchedule); ok {
			oldest = min(oldest, t.P1)
		}
		s.mu.Unlock()
	}
	if e.cutFirst != nil {
		oldest = min(oldest, e.cutFirst.P1)
	}
	return oldest
}

// catchUpChanges brings every shard to the newest merge or erasure that one of them has: a stop may have
// come before the tick for which it was applied, and the ticks that are repeated find two people where it
// is one by now.
func (e *Engine) catchUpChanges(ctx context.Context) error {
	var newest events.Position
	for _, s := range e.shards {
		s.mu.Lock()
		newest = max(newest, s.state.UpTo())
		s.mu.Unlock()
	}
	return e.applyChanges(ctx, newest)
}

// move unites two people. Where they are on two shards the losing one writes everything it knows
// first; a stop in between is mended at the next start.
func (e *Engine) move(ctx context.Context, m ledger.Move) error {
	e.exits.move(m.From, m.To)
	e.late.add(m.From, m.To)
	from, to := e.shardOf(m.From), e.shardOf(m.To)
	if from == to {
		return e.decide(ctx, to, func(st *ledger.State, commit func([]ledger.Record) error) error {
			if st.Person(m.From) == nil {
				return e.unite(st, commit, m.To)
			}
			return e.unite(st, commit, m.To, ledger.Record{Move: &m})
		})
	}
	out := m
	out.Out = true
	sent := false
	err := e.decide(ctx, from, func(st *ledger.State, commit func([]ledger.Record) error) error {
		if before, ok := st.MovedOut(m.From); ok { // a try before this one got no further
			out, sent = before, true
			return nil
		}
		if out.State = st.Person(m.From); out.State == nil {
			return nil
		}
		sent = true
		records, err := out.Split(moveBytes)
		if err != nil {
			return err //nolint:wrapcheck // says what it was doing
		}
		return commit(records)
	})
	if err != nil || !sent {
		return err
	}
	return e.takeIn(ctx, to, out)
}

// takeIn writes on the winning shard what the losing one handed out.
func (e *Engine) takeIn(ctx context.Context, to *shard, m ledger.Move) error {
	m.Out = false
	return e.decide(ctx, to, func(st *ledger.State, commit func([]ledger.Record) error) error {
		if st.Taken(m.From) {
			return e.unite(st, commit, m.To)
		}
		records, err := m.Split(moveBytes)
		if err != nil {
			return err //nolint:wrapcheck // says what it was doing
		}
		return e.unite(st, commit, m.To, records...)
	})
}

// moveBytes is the size of the records that hand somebody over, of whom a message has one.
const moveBytes = ledger.MaxChunk * 3 / 4

// unite writes the records by which somebody takes in another, and ends what then stands side by side. A
// try that was cut short goes on with the latter: nothing is decided about them in between, and a start
// ends what a stop has left (endDoubles). What waits for an address or a consent may have got the other's.
func (e *Engine) unite(st *ledger.State, commit func([]ledger.Record) error, id events.PersonID, records ...ledger.Record) error {
	if err := commit(records); err != nil {
		return err
	}
	if p := st.Person(id); p != nil {
		var out chunk
		for _, r := range mergedEntries(p) {
			out.add(r)
		}
		if err := out.commitAll(commit); err != nil {
			return err
		}
	}
	st.Wake(id, e.since)
	return nil
}

// endDoubles ends on one shard what merges before the last stop have left side by side.
func (e *Engine) endDoubles(ctx context.Context, s *shard) error {
	return e.decide(ctx, s, func(st *ledger.State, commit func([]ledger.Record) error) error {
		var out chunk
		st.Each(func(_ events.PersonID, p *ledger.PersonState) {
			for _, r := range mergedEntries(p) {
				out.add(r)
			}
		})
		return out.commitAll(commit)
	})
}

// mergedEntries ends all but the oldest open entry of each slot, as merged. Entries of `on:` rules
// stand side by side, since each has an occurrence of its own.
func mergedEntries(p *ledger.PersonState) []ledger.Record {
	var out []ledger.Record
	for _, slot := range p.Slots {
		if len(slot.Open) < 2 {
			continue
		}
		open := slices.DeleteFunc(slices.Clone(slot.Open), func(o *ledger.Open) bool { return o.Trigger != 0 })
		slices.SortFunc(open, func(a, b *ledger.Open) int {
			return cmp.Or(cmp.Compare(a.Entered, b.Entered), cmp.Compare(a.Entry, b.Entry))
		})
		for i, o := range open {
			if i == 0 {
				continue
			}
			out = append(out, ledger.Record{Decision: o.Ended(ledger.Merged, open[0].Entry, max(o.Entered, open[0].Entered))})
		}
	}
	return out
}

func (e *Engine) forget(ctx context.Context, id events.PersonID, pos events.Position) error {
	e.exits.forget(id)
	return e.decide(ctx, e.shardOf(id), func(st *ledger.State, commit func([]ledger.Record) error) error {
		if st.Person(id) == nil {
			return nil
		}
		return commit([]ledger.Record{{Forget: &ledger.Forget{Person: id, Pos: pos}}})
	})
}

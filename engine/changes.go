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
	return oldest
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
				return nil
			}
			return e.unite(st, commit, m, st.Person(m.From))
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
		return commit([]ledger.Record{{Move: &out}})
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
			return nil
		}
		return e.unite(st, commit, m, m.State)
	})
}

// unite writes the move and what ends by it as one message: a stop in between would leave entries side
// by side. What waits for an address or a consent may have got the other's.
func (e *Engine) unite(st *ledger.State, commit func([]ledger.Record) error, m ledger.Move, from *ledger.PersonState) error {
	if err := commit(append([]ledger.Record{{Move: &m}}, mergedEntries(m.To, st.Person(m.To), from)...)); err != nil {
		return err
	}
	st.Wake(m.To, e.since)
	return nil
}

// mergedEntries ends all but the oldest open entry of each slot, as merged. Entries of `on:` rules
// stand side by side, since each has an occurrence of its own.
func mergedEntries(id events.PersonID, to, from *ledger.PersonState) []ledger.Record {
	var out []ledger.Record
	for _, slot := range from.Slots {
		open := slices.Clone(slot.Open)
		if have := to.Slot(slot.Rule, slot.Value); have != nil {
			open = append(open, have.Open...)
		}
		open = slices.DeleteFunc(open, func(o *ledger.Open) bool { return o.Trigger != 0 })
		slices.SortFunc(open, func(a, b *ledger.Open) int {
			return cmp.Or(cmp.Compare(a.Entered, b.Entered), cmp.Compare(a.Entry, b.Entry))
		})
		for i, o := range open {
			if i == 0 {
				continue
			}
			out = append(out, ledger.Record{Decision: &ledger.Decision{
				Entry: o.Entry, Attempt: o.Attempt + 1, Rule: slot.Rule, Person: id, Value: slot.Value, Entered: o.Entered,
				At: max(o.Entered, open[0].Entered), Reason: ledger.Merged, By: open[0].Entry,
			}})
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

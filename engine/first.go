package engine

import (
	"context"
	"slices"

	"nudge/engine/decide"
	"nudge/engine/ledger"
	"nudge/engine/workspace"
	"nudge/events"
)

// The first look of a rule is at everybody, which takes minutes where much is stored. Rules that are due at one
// instant must be decided together, person by person, because they contend for the same caps. But who is only noted
// contends for nothing: where that is all that a first look does, it is a tick of its own kind, behind all others,
// and between two of its parts the others' ticks go on (docs/planning.md, "What a look at everybody holds up").

// onlyNotes says whether all that the next look of a rule does is to note people: it is the first, the rule
// has no backfill, and nobody whom it remembers could get anything.
func (e *Engine) onlyNotes(l *live, r *workspace.Rule) bool {
	if e.cutFirst != nil && slices.Contains(e.cutFirst.Rules, r.Name) {
		return true
	}
	hash := l.lookHash(r)
	notes := func(s *shard) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !firstLook(r.Rule, s.state.Looked(r.Name), hash) { // a first look was cut short while it ended
			return false
		}
		only := true
		s.state.Each(func(_ events.PersonID, p *ledger.PersonState) {
			only = only && !slices.ContainsFunc(p.Slots, func(slot *ledger.Slot) bool {
				return slot.Rule == r.Name && !decide.OnlyNotes(r.Rule, slot)
			})
		})
		return only
	}
	return !r.Backfill && !slices.ContainsFunc(e.shards, func(s *shard) bool { return !notes(s) })
}

// lookFirst runs the first looks that only note.
func (e *Engine) lookFirst(ctx context.Context) error {
	for {
		if e.cutFirst != nil {
			if err := e.runTick(ctx, e.live.Load(), *e.cutFirst); err != nil {
				return err
			}
		}
		l := e.live.Load()
		at, due, err := e.pending(ctx, l, e.lastNow.Load(), true)
		if err != nil || len(due) == 0 {
			return err
		}
		if err := e.runTick(ctx, l, e.newTick(l, ledger.TickFirst, at, due)); err != nil {
			return err
		}
	}
}

// meanwhile runs, between two parts of a first look, what has fallen due since it began.
func (e *Engine) meanwhile(ctx context.Context) error {
	if now := e.now().UnixMilli(); now > e.lastNow.Load() {
		return e.stepDue(ctx, now)
	}
	return nil
}

// takeUpFirst finds, at a start, the first looks that a stop has cut short: they are repeated as they are written.
func (e *Engine) takeUpFirst(l *live) {
	var newest ledger.Tick
	for _, s := range e.shards {
		if t, ok := s.state.Last(ledger.TickFirst); ok && t.T1 >= newest.T1 && t.P1 >= newest.P1 {
			newest = t
		}
	}
	newest.Rules = slices.DeleteFunc(slices.Clone(newest.Rules), func(name string) bool {
		r := l.byName[name]
		return r == nil || r.On != nil || e.isPaused(l, r) || newest.Looks[name] != l.looks[name] || e.wentOnSince(name, newest.T1) ||
			!slices.ContainsFunc(e.shards, func(s *shard) bool { return firstLook(r.Rule, s.state.Looked(name), l.lookHash(r)) })
	})
	if len(newest.Rules) > 0 {
		e.cutFirst = &newest
	}
}

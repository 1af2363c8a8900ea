package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"nudge/engine/decide"
	"nudge/engine/ledger"
	"nudge/events"
	"nudge/events/queue"
)

// Outcomes follows the delivery stream of every shard until ctx ends: outcomes settle what counts
// towards caps, and a send that was stopped or that failed gets its entry's next answer.
func (e *Engine) Outcomes(ctx context.Context, now func() int64) error {
	errs := make(chan error, len(e.shards))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for i := range e.shards {
		go func() {
			errs <- e.deliveries.Read(ctx, i, e.settled[i].Load(), func(m queue.Record) error { return e.settle(ctx, i, m, now()) })
		}()
	}
	var first error
	for range e.shards {
		if err := <-errs; err != nil && first == nil {
			first = err
			cancel()
		}
	}
	return first
}

// CatchUp takes in the outcomes that are in the delivery stream by now. For simulated time, where
// nobody runs Outcomes.
func (e *Engine) CatchUp(ctx context.Context, now int64) error {
	return e.each(func(s *shard) error {
		return e.deliveries.Replay(ctx, s.id, e.settled[s.id].Load(), func(m queue.Record) error { return e.settle(ctx, s.id, m, now) })
	})
}

func (e *Engine) settle(ctx context.Context, stream int, m queue.Record, now int64) error {
	chunk, err := ledger.DecodeChunk(m.Data)
	if err != nil {
		return fmt.Errorf("deliveries of shard %d, message %d: %w", stream, m.Seq, err)
	}
	if err := e.countEnded(ctx, stream, m, chunk.Records, now); err != nil {
		return err
	}
	for _, r := range chunk.Records {
		if r.Delivery == nil || !r.Delivery.Status.Final() {
			continue
		}
		if err := e.outcome(ctx, *r.Delivery, now); err != nil {
			return err
		}
	}
	e.settled[stream].Store(m.Seq)
	return nil
}

// outcome folds one outcome into the state of the person as known now.
func (e *Engine) outcome(ctx context.Context, d ledger.Delivery, now int64) error {
	now = max(now, e.lastNow.Load())
	if e.people.Canonical(d.Person) != d.Person {
		// Merges reach the shards later than the identity writer, and the entry is with whom they have
		// brought it to. It does not move meanwhile.
		e.moving.Lock()
		defer e.moving.Unlock()
		d.Person = e.holder(d.Person)
	}
	return e.decide(ctx, e.shardOf(d.Person), func(st *ledger.State, commit func([]ledger.Record) error) error {
		p := st.Person(d.Person)
		if p == nil {
			return nil
		}
		counted := len(p.Uses)
		st.Apply(ledger.Record{Delivery: &d})
		if len(p.Uses) < counted {
			wakeAtCap(st, p, now)
		}
		sent := p.Sent[d.Entry]
		if sent == nil || sent.Next() == "" {
			return nil
		}
		return commit([]ledger.Record{afterOutcome(sent, now)})
	})
}

// wakeAtCap makes due at now what of the person waits for room under a cap: some was given back. They
// come to one walk, where priority says who takes it.
func wakeAtCap(st *ledger.State, p *ledger.PersonState, now int64) {
	for _, slot := range p.Slots {
		for _, o := range slot.Open {
			if decide.AtCap(o) && (o.Due == 0 || o.Due > now) {
				st.Defer(o, now)
			}
		}
	}
}

// gaveBack wakes, in a state that is loaded again, what a final delivery may have made room for: who was
// woken is in no record. An entry that entered later was decided with that room in sight, but for what
// the loop had not heard by then.
func (e *Engine) gaveBack(st *ledger.State, d *ledger.Delivery) {
	if d.Status == ledger.Accepted || !d.Status.Final() {
		return
	}
	p := st.Person(d.Person)
	if p == nil {
		return
	}
	for _, slot := range p.Slots {
		if slices.ContainsFunc(slot.Open, func(o *ledger.Open) bool { return o.Entered <= d.At+heardWithin }) {
			wakeAtCap(st, p, e.since)
			return
		}
	}
}

// heardWithin is how much later than it happened the loop may hear of an outcome, at most, in ms.
const heardWithin = int64(time.Minute / time.Millisecond)

// holder is who holds what the person had, going by the merges that the shards have applied.
func (e *Engine) holder(id events.PersonID) events.PersonID {
	for {
		s := e.shardOf(id)
		s.mu.Lock()
		to := s.state.Into(id)
		s.mu.Unlock()
		if to == id {
			return id
		}
		id = to
	}
}

// answerOutcomes gives the next answer to sends whose outcome came before the last stop.
func (e *Engine) answerOutcomes(ctx context.Context) error {
	for _, s := range e.shards {
		err := e.decide(ctx, s, func(st *ledger.State, commit func([]ledger.Record) error) error {
			var out chunk
			for _, sent := range st.Unanswered() {
				out.add(afterOutcome(sent, max(sent.Decision.At, e.since)))
			}
			return out.commitAll(commit)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// afterOutcome is the next answer of a resolved send: stopped for what stopped it, or, where every
// channel failed and others are left, through the loop again with those. Where a channel took the message before,
// the answer stays, and the row says the same of the escalation.
func afterOutcome(sent *ledger.Sent, now int64) ledger.Record {
	d, next := sent.Decision, sent.Next()
	follows, left := d.Follows(), d.Fallback
	d.Attempt++
	d.At = now
	d.Channels, d.Fallback, d.Due = nil, nil, 0
	switch {
	case follows && next == ledger.Send:
		d.By, d.Due, d.Fallback = ledger.Following(decide.ByFallback), now, left
	case follows:
		d.By = ledger.Following(string(next))
	case next == ledger.Send:
		d.Reason, d.By, d.Due, d.Channels = ledger.Held, decide.ByFallback, now, left
	default:
		d.Reason = next
	}
	return ledger.Record{Decision: &d}
}

// Settled is the newest message of a shard's delivery stream that is folded in.
func (e *Engine) Settled(shard int) uint64 { return e.settled[shard].Load() }

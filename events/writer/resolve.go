package writer

import (
	"context"
	"strings"

	"nudge/events"
	"nudge/events/queue"
)

// resolve takes messages into a batch: it drops duplicates, says whose each event is, derives rows
// and calls OnResolved. It asks the store only about events that may be duplicates, and waits for
// it if it is away.
func (w *Writer) resolve(ctx context.Context, ms []queue.Message, b *batch) error {
	n := 0
	for i := range ms {
		n += len(ms[i].Events)
	}
	duplicate, err := w.judge(ctx, ms, n, b)
	if err != nil {
		return err
	}

	accepted := make([]events.Resolved, 0, n)
	w.mu.Lock()
	i := 0
	for m := range ms {
		for e := range ms[m].Events {
			ev := &ms[m].Events[e]
			if duplicate[i] {
				b.duplicates++
			} else {
				accepted = w.accept(b, accepted, ev, events.At(ms[m].Seq, e))
			}
			i++
		}
	}
	b.links = append(b.links, w.ids.links...)
	b.merges = append(b.merges, w.ids.merges...)
	b.erasures = append(b.erasures, w.ids.erasures...)
	w.ids.links, w.ids.merges, w.ids.erasures = w.ids.links[:0], w.ids.merges[:0], w.ids.erasures[:0]
	w.mu.Unlock()

	for i := range accepted {
		if kept(accepted[i].Kind) {
			b.rows = append(b.rows, &accepted[i])
		}
	}
	b.accepted += len(accepted)
	if b.empty() {
		b.first, b.arrived = ms[0].Seq, ms[0].At
	}
	for i := range ms {
		b.bytes += ms[i].Size
	}
	b.last = ms[len(ms)-1].Seq
	b.awaited = w.opts.OnResolved(accepted, b.end()) || b.awaited
	w.resolved.Store(uint64(b.end()))
	return nil
}

// accept applies one event that is no duplicate.
func (w *Writer) accept(b *batch, accepted []events.Resolved, ev *events.Event, pos events.Position) []events.Resolved {
	if ev.Kind == events.KindRefused {
		b.letters = append(b.letters, letter{pos, ev.Index, strings.Clone(ev.Source), ev.Reason, ev.Raw, ev.ReceivedAt})
		return accepted
	}
	merges := len(w.ids.merges)
	p, what := w.ids.apply(ev, pos)
	if what != accepts {
		b.dropped++
		w.metrics.dropped.WithLabelValues(what.String()).Inc()
		return accepted
	}
	if len(w.ids.merges) > merges {
		w.derive.merged(w.ids.merges[merges:])
	}
	accepted = append(accepted, events.Resolved{Event: *ev, Pos: pos, Person: p})
	w.derive.add(b, &accepted[len(accepted)-1])
	return accepted
}

// judge finds the duplicates among n events of messages.
func (w *Writer) judge(ctx context.Context, ms []queue.Message, n int, b *batch) ([]bool, error) {
	w.unshelved.Lock()
	gone := w.unshelved.rows
	w.unshelved.rows = nil
	w.unshelved.Unlock()
	w.dedup.stored(gone)

	arrivals := make([]arrival, 0, n)
	for m := range ms {
		day := dayOf(ms[m].At)
		for e := range ms[m].Events {
			ev := &ms[m].Events[e]
			a := arrival{pos: events.At(ms[m].Seq, e), day: day, imported: ev.Flags&events.Imported != 0, none: ev.MessageID == ""}
			if !a.none {
				a.key = w.dedup.key(ev.Source, ev.MessageID)
			}
			arrivals = append(arrivals, a)
		}
		w.dedup.advance(day)
	}
	duplicate := make([]bool, n)
	var retry backoff
	for {
		rows, err := w.dedup.judge(ctx, arrivals, duplicate, b.dedup)
		if err == nil {
			b.dedup = rows
			return duplicate, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if retry.changed(err) {
			w.log.Error("the store does not answer; events wait in the queue", "error", err)
		}
		if err := retry.wait(ctx); err != nil {
			return nil, err
		}
	}
}

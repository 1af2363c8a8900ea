package writer

import (
	"context"
	"crypto/rand"
	"math"

	"golang.org/x/sync/errgroup"

	"nudge/events"
	"nudge/events/memory"
	"nudge/events/queue"
)

// runInMemory is Run with Options.Memory: nothing was there before, nothing can fail, and whatever was kept of message
// ids is at hand.
func (w *Writer) runInMemory(ctx context.Context) error {
	var s salt
	_, _ = rand.Read(s[:]) // never fails
	ids := newIdentity(s)
	nothing := func(context.Context, func(idKey)) error { return nil }
	seen := newDedup(s, func(context.Context, []idKey) (map[idKey][]dedupRow, error) { return nil, nil }, nothing)
	seen.room = math.MaxInt // of the shelf: all message ids are in it
	w.mu.Lock()
	w.ids = ids
	w.mu.Unlock()
	w.derive, w.dedup = newDerive(ids), seen
	close(w.ready)

	g, ctx := errgroup.WithContext(ctx)
	messages, batches := make(chan queue.Message, 32), make(chan *batch)
	g.Go(func() error { return w.read(ctx, 0, messages) })
	g.Go(func() error { return w.collect(ctx, messages, batches) })
	g.Go(func() error {
		from := events.Position(0)
		for {
			select {
			case b := <-batches:
				start := w.now()
				w.opts.Memory.Add(b.remembered())
				w.wrote(b, from, start)
				from = b.end()
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	})
	return g.Wait()
}

// remembered are the rows of a batch that conditions read. Who is erased is not read any more; nothing else is done
// about them.
func (b *batch) remembered() memory.Rows {
	stamp := func(p events.PersonID, pos events.Position, at int64) memory.Stamp {
		return memory.Stamp{Person: p, Pos: pos, Time: at}
	}
	rows := memory.Rows{Events: b.rows}
	for _, x := range b.traits {
		rows.Traits = append(rows.Traits, memory.Trait{Stamp: stamp(x.person, x.pos, x.time), Key: x.key, Value: x.value})
	}
	for _, x := range b.devices {
		rows.Devices = append(rows.Devices, memory.Device{Stamp: stamp(x.person, x.pos, x.time), DeviceChange: x.DeviceChange})
	}
	for _, x := range b.consents {
		rows.Consents = append(rows.Consents, memory.Consent{Stamp: stamp(x.person, x.pos, x.time), ConsentChange: x.ConsentChange})
	}
	for _, x := range b.zones {
		rows.Zones = append(rows.Zones, memory.Zone{Stamp: stamp(x.person, x.pos, x.time), Name: x.zone, Locale: x.locale})
	}
	for _, x := range b.fixes {
		rows.Fixes = append(rows.Fixes, memory.Fix{Stamp: stamp(x.person, x.pos, x.time), Fix: x.Fix})
	}
	for _, x := range b.links {
		rows.IDs = append(rows.IDs, memory.ID{Stamp: stamp(x.person, x.pos, x.time), Kind: x.kind, ID: x.id})
	}
	for _, x := range b.merges {
		rows.Merges = append(rows.Merges, memory.Merge{Stamp: stamp(x.loser, x.pos, x.time), Winner: x.winner})
	}
	for _, x := range b.erasures {
		rows.Erasures = append(rows.Erasures, memory.Erasure{Stamp: stamp(x.person, x.pos, x.time)})
	}
	return rows
}

package writer

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"golang.org/x/sync/errgroup"

	"nudge/events"
)

// build makes the columns of the events of a batch, the largest part of the work, while the batch
// before it is inserted.
func (w *Writer) build(ctx context.Context, in <-chan *batch, out chan<- *batch) error {
	memory := &columns{}
	for {
		var b *batch
		select {
		case b = <-in:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		b.built = &eventBlock{columns: memory, rows: b.rows}
		if b.built.len() > 0 {
			_ = b.built.prepare(ctx, w.store.Conn()) // if it fails, put does it again
		}
		select {
		case out <- b:
		case <-ctx.Done():
			b.built.close()
			return context.Cause(ctx)
		}
	}
}

// insert writes batches, one after the other, and moves the checkpoint after each.
func (w *Writer) insert(ctx context.Context, from events.Position, in <-chan *batch, erasures chan<- []erasure) error {
	present, err := w.presentAbove(ctx, from, tableNames())
	if err != nil {
		return err
	}
	for {
		var b *batch
		select {
		case b = <-in:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		start := w.now()
		if err := w.write(ctx, b, from, present); err != nil {
			b.built.close()
			return err
		}
		to := b.end()
		if past(present, to) {
			present = nil
		}
		w.wrote(b, from, start)
		from = to
		if len(b.erasures) > 0 {
			select {
			case erasures <- b.erasures:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
}

// wrote tells everybody that a batch is in the store, which had everything up to from before.
func (w *Writer) wrote(b *batch, from events.Position, start time.Time) {
	stored := b.stored(from)
	w.unshelved.Lock()
	w.unshelved.rows = append(w.unshelved.rows, b.dedup...)
	w.unshelved.Unlock()
	w.note(b, start)
	w.queue.Written(b.last)
	w.opts.OnStored(stored) // first: whoever sees the position knows what came with it
	w.advance(b.end())
}

func (w *Writer) note(b *batch, start time.Time) {
	now := w.now()
	w.took.Store(int64(now.Sub(start)))
	w.metrics.batches.Inc()
	w.metrics.events.Add(float64(len(b.rows)))
	w.metrics.duplicates.Add(float64(b.duplicates))
	w.metrics.insert.Observe(now.Sub(start).Seconds())
	w.metrics.lag.Set(float64(now.UnixMilli()-b.arrived) / 1000)
	w.metrics.position.Set(float64(b.last))
	w.log.Debug("stored", "from", b.first, "to", b.last, "events", len(b.rows), "duplicates", b.duplicates,
		"dropped", b.dropped, "took", now.Sub(start))
}

// stored is what OnStored is told.
func (b *batch) stored(from events.Position) Stored {
	s := Stored{
		From: from, To: b.end(), Names: map[string]int{},
		Traits: len(b.traits), Devices: len(b.devices), Consents: len(b.consents),
		Zones: len(b.zones), Fixes: len(b.fixes), Merges: len(b.merges),
	}
	for i := range b.rows {
		s.Names[nameOf(&b.rows[i].Event)]++
		if b.rows[i].Flags&events.Imported == 0 {
			s.Received = max(s.Received, b.rows[i].ReceivedAt)
		}
	}
	for _, e := range b.erasures {
		if e.person != 0 {
			s.Erased = append(s.Erased, e.person)
		}
	}
	return s
}

// past says whether all positions that were found above the checkpoint are below end.
func past(present map[string]positions, end events.Position) bool {
	for _, ps := range present {
		for p := range ps {
			if p > end {
				return false
			}
		}
	}
	return true
}

// write puts a batch into all its tables and moves the checkpoint. It returns only when that is done
// or ctx has ended.
func (w *Writer) write(ctx context.Context, b *batch, from events.Position, present map[string]positions) error {
	var refused struct {
		sync.Mutex
		letters []letter
	}
	bury := func(l letter) {
		refused.Lock()
		defer refused.Unlock()
		refused.letters = append(refused.letters, l)
	}
	blocks := b.blocks(present)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.put(gctx, blocks[0], from, bury) })
	g.Go(func() error { // while the largest is on its way
		for _, blk := range blocks[1:] {
			if err := w.put(gctx, blk, from, bury); err != nil {
				return err
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if len(refused.letters) > 0 {
		w.metrics.refused.Add(float64(len(refused.letters)))
		w.log.Error("the store refused rows; they are dead letters", "rows", len(refused.letters), "first", refused.letters[0].reason)
		last := lettersTable.block(refused.letters, present["dead_letters"])
		lost := func(l letter) { w.log.Error("the store refuses a dead letter too", "pos", l.pos, "reason", l.reason) }
		if err := w.put(ctx, last, from, lost); err != nil {
			return err
		}
	}
	return w.checkpoint(ctx, b.end())
}

// put inserts a block, whatever it takes: an error that says nothing about the rows is waited out,
// and rows that got in nevertheless are left out of the next attempt; rows that the store refuses
// are found by halving and buried.
func (w *Writer) put(ctx context.Context, blk block, from events.Position, bury func(letter)) error {
	var retry backoff
	for blk.len() > 0 {
		err := blk.send(ctx, w.store.Conn())
		if err == nil {
			w.metrics.rows.WithLabelValues(blk.table()).Add(float64(blk.len()))
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if reason, ok := refusal(err); ok {
			if blk.len() == 1 {
				bury(blk.letter(reason))
				return nil
			}
			if err := w.put(ctx, blk.half(0), from, bury); err != nil {
				return err
			}
			blk = blk.half(1)
			continue
		}
		w.metrics.retries.Inc()
		if retry.changed(err) {
			w.log.Error("the store does not take events; they wait in the queue", "error", err)
		}
		if err := retry.wait(ctx); err != nil {
			return err
		}
		present, err := w.presentAbove(ctx, from, []string{blk.table()})
		if err != nil {
			return err
		}
		blk = blk.without(present[blk.table()])
	}
	return nil
}

// presentAbove lists the positions above a checkpoint that tables hold already: of a batch that was
// on its way when something died. It waits for a store that is away.
func (w *Writer) presentAbove(ctx context.Context, from events.Position, tables []string) (map[string]positions, error) {
	present := make(map[string]positions, len(tables))
	for _, t := range tables {
		err := w.insist(ctx, "look what is in the store", func() error {
			found := positions{}
			rows, err := w.store.Conn().Query(ctx, "SELECT pos FROM "+t+" WHERE pos > "+number(from))
			if err != nil {
				return fmt.Errorf("read positions of %s: %w", t, err)
			}
			defer rows.Close()
			for rows.Next() {
				var p uint64
				if err := rows.Scan(&p); err != nil {
					return fmt.Errorf("read positions of %s: %w", t, err)
				}
				found[events.Position(p)] = struct{}{}
			}
			if len(found) > 0 {
				present[t] = found
			}
			return rows.Err()
		})
		if err != nil {
			return nil, err
		}
	}
	return present, nil
}

// reader is the writer's name in the checkpoints table.
const reader = "writer"

// checkpoint notes durably that the store has everything up to pos.
func (w *Writer) checkpoint(ctx context.Context, pos events.Position) error {
	return w.insist(ctx, "move the checkpoint", func() error {
		return w.store.Conn().Exec(ctx, fmt.Sprintf(
			"INSERT INTO checkpoints (reader, pos, at) SELECT '%s', %d, fromUnixTimestamp64Milli(%d)", reader, pos, w.now().UnixMilli()))
	})
}

// insist does something with the store until it works or ctx ends.
func (w *Writer) insist(ctx context.Context, what string, do func() error) error {
	var retry backoff
	for {
		err := do()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		w.metrics.retries.Inc()
		if retry.changed(err) {
			w.log.Error("the store does not take a batch; trying again", "what", what, "error", err)
		}
		if err := retry.wait(ctx); err != nil {
			return err
		}
	}
}

// refusal says whether an error is about the rows, not about the store or the way to it.
func refusal(err error) (reason string, ok bool) {
	if server, ok := errors.AsType[*clickhouse.Exception](err); ok {
		switch server.Code {
		case 6, 26, 27, 38, 41, 72, // text that cannot be parsed
			53, 69, 70, 117, 131, // wrong type, out of range, not convertible, incorrect, too long
			33, 321, 349, 407, // cut short, not a number, null, decimal overflow
			469: // a constraint that an operator added
			reason, _, _ = strings.Cut(server.Message, "Stack trace")
			return strings.TrimSpace(reason), true
		}
		return "", false
	}
	if _, ok := errors.AsType[*column.ColumnConverterError](err); ok {
		return err.Error(), true
	}
	return "", false
}

func number[T ~uint64](n T) string { return strconv.FormatUint(uint64(n), 10) }

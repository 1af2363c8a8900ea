package ledger

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"nudge/events"
	"nudge/events/queue"
)

// Source is a decision or delivery stream to read from.
type Source interface {
	Last(ctx context.Context, shard int) (uint64, error)
	Replay(ctx context.Context, shard int, after uint64, fn func(queue.Record) error) error
}

// insertBytes bounds what the reader holds before it inserts.
const insertBytes = 16 << 20

// Reader copies the two streams into ClickHouse.
type Reader struct {
	store   *Store
	streams []*copied
	people  People
	log     *slog.Logger
}

// People is what the reader needs of the identity writer.
type People interface {
	// Erased says that nothing may be kept about a person.
	Erased(id events.PersonID) bool
	// Steady runs fn, which asks Erased and then inserts: what it inserts about somebody who is erased
	// meanwhile is cleaned behind it.
	Steady(fn func() error) error
}

type copied struct {
	name   string
	source Source
	ready  bool
	at     atomic.Uint64 // checkpoint
	idle   uint64        // messages up to it that are not copied yet are of idle ticks
	have   Present       // beyond the checkpoint at start; nil once that is copied
}

// NewReader returns a reader of the two streams. Of people who are erased, rows stay as counts without the
// person.
func NewReader(store *Store, decisions, deliveries Source, people People, log *slog.Logger) *Reader {
	return &Reader{
		store: store, people: people, log: log.With("component", "ledger"),
		streams: []*copied{{name: "decisions", source: decisions}, {name: "deliveries", source: deliveries}},
	}
}

// A copy costs the store much the same whatever there is to copy: a part of each table, synced. So the reader rests
// longer after one that took long, and copying never takes more than a tenth of the time.
const (
	restTimes = 9
	restMost  = 5 * time.Second
)

// Run copies until ctx ends, and rests at least so long after each copy; now is the process's clock. Where ClickHouse
// is away it goes on trying; an error is logged when it differs from the last.
func (r *Reader) Run(ctx context.Context, now func() time.Time, rest time.Duration) {
	last := ""
	t := time.NewTimer(rest)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		began, said := now(), ""
		if err := r.Flush(ctx); err != nil && ctx.Err() == nil {
			if said = err.Error(); said != last {
				r.log.Error("cannot write the ledger; what is decided waits in the stream", "error", err)
			}
		}
		last = said
		t.Reset(min(max(rest, restTimes*now().Sub(began)), max(rest, restMost)))
	}
}

// Flush copies everything that is in the streams now. One caller at a time.
func (r *Reader) Flush(ctx context.Context) error {
	for _, c := range r.streams {
		if err := r.people.Steady(func() error { return r.copy(ctx, c) }); err != nil {
			return fmt.Errorf("copy %s to the ledger: %w", c.name, err)
		}
	}
	return nil
}

// Prune is Store.Prune.
func (r *Reader) Prune(ctx context.Context, now time.Time, keep time.Duration) error {
	return r.store.Prune(ctx, now, keep)
}

// Written is the sequence of a stream up to which ClickHouse has everything, synced.
func (r *Reader) Written(stream string) uint64 {
	for _, c := range r.streams {
		if c.name == stream {
			return c.at.Load()
		}
	}
	return 0
}

func (r *Reader) copy(ctx context.Context, c *copied) error {
	if !c.ready {
		at, err := r.store.Checkpoint(ctx, c.name)
		if err != nil {
			return err
		}
		if c.have, err = r.store.Above(ctx, c.name, at); err != nil {
			return err
		}
		c.at.Store(at)
		c.ready = true
	}
	last, err := c.source.Last(ctx, queue.AllShards)
	if err != nil || last <= max(c.at.Load(), c.idle) {
		return err //nolint:wrapcheck // says what it was doing
	}
	var msgs []Message
	size := 0
	insert := func(upTo uint64) error {
		if len(msgs) > 0 {
			// After a failure nobody knows which rows are there: ask again before the next try.
			c.ready = false
			if err := r.store.Insert(ctx, msgs, c.have); err != nil {
				return err
			}
		}
		if err := r.store.SetCheckpoint(ctx, c.name, upTo); err != nil {
			return err
		}
		c.ready = true
		c.at.Store(upTo)
		msgs, size = msgs[:0], 0
		return nil
	}
	err = c.source.Replay(ctx, queue.AllShards, c.at.Load(), func(m queue.Record) error {
		chunk, err := DecodeChunk(m.Data)
		if err != nil {
			return fmt.Errorf("message %d: %w", m.Seq, err)
		}
		for i := range chunk.Records {
			chunk.Records[i].anonymise(r.people.Erased)
		}
		msgs = append(msgs, Message{Shard: m.Shard, Seq: m.Seq, At: m.At, Records: chunk.Records})
		if size += len(m.Data); size >= insertBytes {
			return insert(m.Seq)
		}
		return nil
	})
	if err == nil && allIdle(msgs) {
		c.idle = msgs[len(msgs)-1].Seq // they wait for something to be copied with
		return nil
	}
	if err == nil && len(msgs) > 0 {
		err = insert(msgs[len(msgs)-1].Seq)
	}
	if err == nil {
		c.have = nil // the stream was read behind what was there
	}
	return err //nolint:wrapcheck // says what it was doing
}

// mostIdle is how many messages of idle ticks wait in the stream.
const mostIdle = 256

func allIdle(msgs []Message) bool {
	for _, m := range msgs {
		for _, r := range m.Records {
			if r.Tick == nil || !r.Tick.Idle {
				return false
			}
		}
	}
	return len(msgs) > 0 && len(msgs) < mostIdle
}

// anonymise takes the person out of a record about somebody who was erased: of a decision and of a delivery
// stays what is counted (clickhouse.EraseFromLedger does the same to rows), of any other nothing.
func (r *Record) anonymise(erased func(events.PersonID) bool) {
	switch {
	case r.Decision != nil && erased(r.Decision.Person):
		d := r.Decision
		d.Person, d.UserID, d.Value, d.Zone, d.Trigger, d.Since, d.SincePos = 0, "", "", "", 0, 0, 0
		d.Features, d.With, d.Profile, d.Devices = nil, nil, nil, nil
		if d.Reason == ConditionError || d.Reason == TemplateFailed {
			d.By = ""
		}
	case r.Delivery != nil && erased(r.Delivery.Person):
		d := r.Delivery
		d.Person, d.Device, d.Provider, d.Error, d.Text = 0, "", "", "", nil
	case r.Flip != nil && erased(r.Flip.Person), r.Forget != nil && erased(r.Forget.Person),
		r.Move != nil && (erased(r.Move.From) || erased(r.Move.To)):
		*r = Record{}
	}
}

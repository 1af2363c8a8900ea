package writer

import (
	"context"
	"sync"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"nudge/events"
	"nudge/events/clickhouse"
)

// nameOf is the event's name in the store: what `event("…")` in a condition asks for.
func nameOf(ev *events.Event) string {
	switch ev.Kind {
	case events.KindPage:
		return events.PageViewed
	case events.KindScreen:
		return events.ScreenViewed
	case events.KindTrack, events.KindMessage:
		return ev.Name
	default:
		return ""
	}
}

// kept says whether the events table keeps rows of a kind.
func kept(k events.Kind) bool {
	switch k {
	case events.KindTrack, events.KindPage, events.KindScreen, events.KindMessage,
		events.KindIdentify, events.KindGroup, events.KindAlias:
		return true
	default:
		return false
	}
}

// exactly is the largest integer up to which float64 holds every one.
const exactly = 1 << 53

// columns makes columns of events. It may be used concurrently.
type columns struct{ spare sync.Pool } // of *shaper

// shaper is memory for the columns of one block.
type shaper struct {
	batch *clickhouse.EventBatch
	flat  events.Flattener
}

func (c *columns) take() *shaper {
	if s, ok := c.spare.Get().(*shaper); ok {
		return s
	}
	return &shaper{batch: clickhouse.NewEventBatch(), flat: events.Flattener{Lend: true}}
}

func (c *columns) give(s *shaper) {
	s.batch.Reset()
	c.spare.Put(s)
}

// add appends one event.
func (s *shaper) add(r *events.Resolved) {
	s.flat.Walk(r.Properties, s.leaf)
	s.batch.Append(&clickhouse.EventRow{
		Person: r.Person, Time: r.Time, Pos: r.Pos, Kind: r.Kind, Event: nameOf(&r.Event), Source: r.Source,
		UserID: r.UserID, AnonymousID: r.AnonymousID, MessageID: r.MessageID, ReceivedAt: r.ReceivedAt, Flags: r.Flags,
		Violations: r.Violations, Properties: r.Properties, Context: r.Context, Raw: r.Raw,
	})
}

func (s *shaper) leaf(path string, v events.Leaf) {
	switch v.Kind {
	case events.LeafString:
		s.batch.Str(path, v.Str)
	case events.LeafFloat:
		s.batch.Num(path, v.Num)
	case events.LeafInt:
		s.batch.Num(path, v.Num)
		if v.Int > exactly || v.Int < -exactly {
			s.batch.Big(path, v.Int)
		}
	case events.LeafBool:
		s.batch.Bool(path, v.Bool)
	}
}

// eventBlock is the rows of the table events, whose columns are encoded here: the driver's own would
// take its maps value by value.
type eventBlock struct {
	columns *columns
	rows    []*events.Resolved
	ready   *shaper // holds the rows, or nil
}

func (b *eventBlock) table() string { return "events" }
func (b *eventBlock) len() int      { return len(b.rows) }

func (b *eventBlock) half(i int) block {
	n := len(b.rows) / 2
	if i == 0 {
		return &eventBlock{columns: b.columns, rows: b.rows[:n]}
	}
	return &eventBlock{columns: b.columns, rows: b.rows[n:]}
}

func (b *eventBlock) without(present positions) block {
	left := make([]*events.Resolved, 0, len(b.rows))
	for _, r := range b.rows {
		if _, ok := present[r.Pos]; !ok {
			left = append(left, r)
		}
	}
	return &eventBlock{columns: b.columns, rows: left}
}

func (b *eventBlock) prepare(context.Context, driver.Conn) error {
	b.ready = b.columns.take()
	for _, r := range b.rows {
		b.ready.add(r)
	}
	return nil
}

func (b *eventBlock) send(ctx context.Context, conn driver.Conn) error {
	if len(b.rows) == 0 {
		return nil
	}
	if b.ready == nil {
		if err := b.prepare(ctx, conn); err != nil {
			return err
		}
	}
	defer b.close()
	return b.ready.batch.Insert(ctx, conn)
}

func (b *eventBlock) close() {
	if b.ready != nil {
		b.columns.give(b.ready)
		b.ready = nil
	}
}

func (b *eventBlock) letter(reason string) letter {
	r := b.rows[0]
	return letter{pos: r.Pos, source: r.Source, raw: r.Raw, at: r.ReceivedAt, reason: refusedBy("events", reason)}
}

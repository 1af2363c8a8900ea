package clickhouse

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2"
	drivercolumn "github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"nudge/events"
)

// EventRow is one row of the table events, but for its properties by type, which Str, Num, Bool and
// Big of the batch add. Times are Unix milliseconds. See ddl/0001_history.sql for what they mean.
type EventRow struct {
	Person      events.PersonID
	Time        int64
	Pos         events.Position
	Kind        events.Kind
	Event       string // "Page Viewed" of a page, …; "" where Kind says it
	Source      string
	UserID      string
	AnonymousID string
	MessageID   string
	ReceivedAt  int64
	Flags       events.Flags
	Violations  []string
	Properties  []byte // JSON
	Context     []byte // JSON
	Raw         []byte // where the others are pieces of its memory, they are stored once
}

// EventBatch collects rows of the table events as columns, and inserts them with one INSERT. It
// keeps its memory when it is Reset. It is not safe for concurrent use.
type EventBatch struct {
	names   []string
	columns []column
	scratch []byte

	person, time, pos, kind        *fixed
	event, source                  *low
	userID, anonymousID, messageID *text
	receivedAt, flags              *fixed
	violation                      *text
	violations                     *array
	str                            *text
	num, boolean, big              *fixed
	strs, nums, bools, bigs        *properties
	properties, contextOf, raw     *text
}

// NewEventBatch returns an empty batch.
func NewEventBatch() *EventBatch {
	b := &EventBatch{
		person: position(), time: instant(), pos: position(), kind: &fixed{"UInt8", 1, nil},
		event: &low{}, source: &low{}, userID: &text{}, anonymousID: &text{}, messageID: &text{},
		receivedAt: instant(), flags: &fixed{"UInt32", 4, nil}, violation: &text{},
		str: &text{}, num: &fixed{"Float64", 8, nil}, boolean: &fixed{"Bool", 1, nil}, big: &fixed{"Int64", 8, nil},
		properties: &text{}, contextOf: &text{}, raw: &text{},
	}
	b.violations = newArray(b.violation)
	b.strs, b.nums = newProperties(b.str), newProperties(b.num)
	b.bools, b.bigs = newProperties(b.boolean), newProperties(b.big)
	for _, c := range []struct {
		name string
		column
	}{
		{"person", b.person},
		{"time", b.time},
		{"pos", b.pos},
		{"kind", b.kind},
		{"event", b.event},
		{"source", b.source},
		{"user_id", b.userID},
		{"anonymous_id", b.anonymousID},
		{"message_id", b.messageID},
		{"received_at", b.receivedAt},
		{"flags", b.flags},
		{"violations", b.violations},
		{"strs", b.strs},
		{"nums", b.nums},
		{"bools", b.bools},
		{"bigs", b.bigs},
		{"properties", b.properties},
		{"context", b.contextOf},
		{"raw", b.raw},
	} {
		b.names, b.columns = append(b.names, c.name), append(b.columns, c.column)
	}
	return b
}

// Str adds a string property to the row that the next Append completes; path is dotted, without
// "properties.". A path is added once to a row.
func (b *EventBatch) Str(path, value string) {
	b.strs.keys.add(path)
	appendText(b.str, value)
}

// Num adds a number; every number is added by it, and those beyond ±2^53 by Big too.
func (b *EventBatch) Num(path string, value float64) {
	b.nums.keys.add(path)
	b.num.f64(value)
}

// Bool adds a boolean.
func (b *EventBatch) Bool(path string, value bool) {
	b.bools.keys.add(path)
	b.boolean.bool(value)
}

// Big adds an integer beyond ±2^53.
func (b *EventBatch) Big(path string, value int64) {
	b.bigs.keys.add(path)
	b.big.u64(uint64(value))
}

// Append completes a row. It keeps nothing of r.
func (b *EventBatch) Append(r *EventRow) {
	b.person.u64(uint64(r.Person))
	b.time.u64(uint64(r.Time))
	b.pos.pos(r.Pos)
	b.kind.u8(uint8(r.Kind))
	b.event.add(r.Event)
	b.source.add(r.Source)
	appendText(b.userID, r.UserID)
	appendText(b.anonymousID, r.AnonymousID)
	appendText(b.messageID, r.MessageID)
	b.receivedAt.u64(uint64(r.ReceivedAt))
	b.flags.u32(uint32(r.Flags))
	for _, v := range r.Violations {
		appendText(b.violation, v)
	}
	b.violations.end()
	b.strs.end()
	b.nums.end()
	b.bools.end()
	b.bigs.end()
	appendText(b.properties, r.Properties)
	appendText(b.contextOf, r.Context)
	b.appendRaw(r)
}

// What the column raw has in place of the bytes of the columns beside it, which the column call puts in again. No JSON
// holds these characters.
const propertiesMark, contextMark = 0x01, 0x02

// appendRaw adds the call as received, but for what the columns beside it hold: that is most of it, and would be
// compressed, and merged again and again, twice.
func (b *EventBatch) appendRaw(r *EventRow) {
	type cut struct {
		from, to int
		mark     byte
	}
	cuts := make([]cut, 0, 2)
	add := func(part []byte, mark byte) {
		if from, is := events.PlaceIn(r.Raw, part); is {
			cuts = append(cuts, cut{from, from + len(part), mark})
		}
	}
	add(r.Properties, propertiesMark)
	add(r.Context, contextMark)
	if len(cuts) == 2 && cuts[1].from < cuts[0].from {
		cuts[0], cuts[1] = cuts[1], cuts[0]
	}
	if len(cuts) == 2 && cuts[1].from < cuts[0].to {
		cuts = cuts[:0]
	}
	size := len(r.Raw)
	for _, c := range cuts {
		size -= c.to - c.from - 1
	}
	raw, at := binary.AppendUvarint(b.raw.buf, uint64(size)), 0
	for _, c := range cuts {
		raw = append(append(raw, r.Raw[at:c.from]...), c.mark)
		at = c.to
	}
	raw = append(raw, r.Raw[at:]...)
	b.raw.buf = raw
	b.raw.rows++
}

// Rows is the number of rows in the batch.
func (b *EventBatch) Rows() int {
	_, rows := b.person.size()
	return rows
}

// Size is about what the batch holds, in bytes.
func (b *EventBatch) Size() int {
	total := 0
	for _, c := range b.columns {
		bytes, _ := c.size()
		total += bytes
	}
	return total
}

// Reset empties the batch.
func (b *EventBatch) Reset() {
	for _, c := range b.columns {
		c.reset()
	}
}

// InsertEvents inserts the batch, as its Insert does.
func (s *Store) InsertEvents(ctx context.Context, b *EventBatch) error { return b.Insert(ctx, s.conn) }

// Insert inserts the batch, which stays as it is. When it returns nil the rows are on disk, synced.
// When it returns an error, none, all, or those of some months may be stored: look which are before
// inserting them again.
func (b *EventBatch) Insert(ctx context.Context, conn driver.Conn) error {
	rows := b.Rows()
	if rows == 0 {
		return nil
	}
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
		"async_insert":                    0,
		"max_partitions_per_insert_block": 0, // imported history spans any number of months
	}))
	query := "INSERT INTO events (" + strings.Join(b.names, ", ") + ")"
	b.scratch = slices.Grow(b.scratch[:0], b.Size()+64<<10) // else it would be copied as it grows
	buf := binary.AppendUvarint(b.scratch, uint64(len(b.columns)))
	buf = binary.AppendUvarint(buf, uint64(rows))
	for i, c := range b.columns {
		for _, s := range []string{b.names[i], c.kind()} {
			buf = append(binary.AppendUvarint(buf, uint64(len(s))), s...)
		}
		buf = c.data(c.prefix(buf))
	}
	b.scratch = buf
	err := conn.InsertFormat(ctx, "Native", query, bytes.NewReader(buf))
	if errors.Is(err, clickhouse.ErrFormatNativeUnsupported) {
		err = b.insertColumns(ctx, conn, query)
	}
	if err != nil {
		return fmt.Errorf("insert %d events: %w", rows, err)
	}
	return nil
}

// insertColumns is the way over ClickHouse's native protocol, for which the driver takes no
// encoded blocks: its columns decode ours.
func (b *EventBatch) insertColumns(ctx context.Context, conn driver.Conn, query string) error {
	batch, err := conn.PrepareBatch(ctx, query)
	if err != nil {
		return err
	}
	defer func() { _ = batch.Close() }()
	rows := b.Rows()
	for i, into := range batch.Columns() {
		c := b.columns[i]
		b.scratch = c.data(c.prefix(b.scratch[:0]))
		r := proto.NewReader(bytes.NewReader(b.scratch))
		if stateful, ok := into.(drivercolumn.CustomSerialization); ok {
			if err := stateful.ReadStatePrefix(r); err != nil {
				return fmt.Errorf("column %s: %w", b.names[i], err)
			}
		}
		if err := into.Decode(r, rows); err != nil {
			return fmt.Errorf("column %s: %w", b.names[i], err)
		}
	}
	return batch.Send()
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"nudge/events"
	"nudge/events/clickhouse"
)

// bareRow is a row of the table events as clickhouse-go reads and writes it.
type bareRow struct {
	person                         uint64
	time                           time.Time
	pos                            uint64
	kind                           uint8
	event, source                  string
	userID, anonymousID, messageID string
	receivedAt                     time.Time
	flags                          uint32
	violations                     []string
	strs                           map[string]string
	nums                           map[string]float64
	bools                          map[string]bool
	bigs                           map[string]int64
	properties, context, raw       string
}

const bareColumns = "person, time, pos, kind, event, source, user_id, anonymous_id, message_id, received_at, flags, violations, strs, nums, bools, bigs, properties, context, raw"

func (r *bareRow) pointers() []any {
	return []any{
		&r.person, &r.time, &r.pos, &r.kind, &r.event, &r.source, &r.userID, &r.anonymousID, &r.messageID, &r.receivedAt,
		&r.flags, &r.violations, &r.strs, &r.nums, &r.bools, &r.bigs, &r.properties, &r.context, &r.raw,
	}
}

func (r *bareRow) values() []any {
	return []any{
		r.person, r.time, r.pos, r.kind, r.event, r.source, r.userID, r.anonymousID, r.messageID, r.receivedAt,
		r.flags, r.violations, r.strs, r.nums, r.bools, r.bigs, r.properties, r.context, r.raw,
	}
}

// fill adds the row to a batch of nudge's columns.
func (r *bareRow) fill(b *clickhouse.EventBatch) {
	for k, v := range r.strs {
		b.Str(k, v)
	}
	for k, v := range r.nums {
		b.Num(k, v)
	}
	for k, v := range r.bools {
		b.Bool(k, v)
	}
	for k, v := range r.bigs {
		b.Big(k, v)
	}
	b.Append(&clickhouse.EventRow{
		Person: events.PersonID(r.person), Time: r.time.UnixMilli(), Pos: events.Position(r.pos), Kind: events.Kind(r.kind),
		Event: r.event, Source: r.source, UserID: r.userID, AnonymousID: r.anonymousID, MessageID: r.messageID,
		ReceivedAt: r.receivedAt.UnixMilli(), Flags: events.Flags(r.flags), Violations: r.violations,
		Properties: []byte(r.properties), Context: []byte(r.context), Raw: []byte(r.raw),
	})
}

// bareSample is how many different rows the bare insert writes; when it needs more, it writes them
// again under other positions, times and message ids.
const bareSample = 60_000

// bare inserts rows that the store has through clickhouse-go into the same tables in another database
// of the same engine, and compares.
func (rig *ingestRig) bare(ctx context.Context, total int64, full *phaseResult) (_ []*table, did work, err error) {
	n := rig.node
	perInsert := max(int(full.perInsert), 1)
	rig.s.say("bare insert of %d rows, %d at a time …", total, perInsert)
	rows, err := rig.sample(ctx)
	if err != nil {
		return nil, did, err
	}
	t := &table{
		Key: "bare", Title: fmt.Sprintf("Bare insert of the same rows into the same engine and the same tables, %s at a time", grouped(float64(perInsert), 0)),
		Columns: []column{
			{"run", "run", 0},
			{"rows_per_s", "rows/s", 0},
			{"us_client", "client µs", 1},
			{"us_clickhouse", "clickhouse µs", 1},
			{"us_total", "both µs", 1},
			{"nudge_total", "nudge whole way µs", 1},
			{"ratio", "CPU ratio", 2},
			{"rows", "rows", 0},
			{"load", "load", 2},
		},
	}
	tables := []*table{t}
	own := process{"client", os.Getpid()}
	for _, way := range []struct {
		name, database string
		send           func(context.Context, *clickhouse.Store, []bareRow) error
	}{
		{"clickhouse-go, batch.Append", "bare_rows", sendRows},
		{"clickhouse-go, encoded blocks", "bare_blocks", new(blockSender).send},
	} {
		store, err := clickhouse.On(ctx, n.store.Engine(), way.database, nil)
		if err != nil {
			return tables, did, err
		}
		err = store.Migrate(ctx, clickhouse.Layout{})
		var used map[string]time.Duration
		var took time.Duration
		var before, after map[string]float64
		if err == nil {
			before, err = worked(ctx, store)
		}
		if err == nil {
			used, took, err = insertAll(ctx, store, rows, total, perInsert, way.send, own, n.engine)
		}
		if err == nil {
			after, err = worked(ctx, store)
		}
		if err == nil {
			err = n.store.Conn().Exec(ctx, "DROP DATABASE "+way.database)
		}
		if err = errors.Join(err, store.Close()); err != nil {
			return tables, did, fmt.Errorf("bare insert, %s: %w", way.name, err)
		}
		did = work{"bare", minus(after, before), total}
		client, engine := per(used["client"], total), per(used["clickhouse"], total)
		t.row(way.name, float64(total)/took.Seconds(), client, engine, client+engine, full.nudge+full.engine,
			(full.nudge+full.engine)/(client+engine), float64(total), loadNumber())
	}
	t.note("The whole way is nudge and ClickHouse of the sustained run: HTTP, plan, queue, identity, deduplication, all tables.")
	return tables, did, nil
}

// sample reads rows of the store back.
func (rig *ingestRig) sample(ctx context.Context) ([]bareRow, error) {
	rows, err := rig.node.store.Conn().Query(ctx, fmt.Sprintf("SELECT %s FROM events LIMIT %d", bareColumns, bareSample))
	if err != nil {
		return nil, fmt.Errorf("read rows back: %w", err)
	}
	defer rows.Close()
	var out []bareRow
	for rows.Next() {
		var r bareRow
		if err := rows.Scan(r.pointers()...); err != nil {
			return nil, fmt.Errorf("read rows back: %w", err)
		}
		out = append(out, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read rows back: %w", err)
	}
	if len(out) == 0 {
		return nil, errors.New("read rows back: the store is empty")
	}
	return out, nil
}

// insertAll inserts rows until there are total, and waits until merges have settled.
func insertAll(ctx context.Context, store *clickhouse.Store, rows []bareRow, total int64, perInsert int,
	send func(context.Context, *clickhouse.Store, []bareRow) error, ps ...process,
) (used map[string]time.Duration, took time.Duration, err error) {
	m, err := startMeter(ps...)
	if err != nil {
		return nil, 0, err
	}
	chunk := make([]bareRow, 0, perInsert)
	for done := int64(0); done < total; done += int64(len(chunk)) {
		chunk = chunk[:0]
		for i := done; i < min(done+int64(perInsert), total); i++ {
			r := rows[i%int64(len(rows))]
			round := i / int64(len(rows))
			r.pos += uint64(round) << 40
			r.time = r.time.Add(time.Duration(round) * time.Millisecond)
			r.messageID = fmt.Sprintf("%08d%s", round, r.messageID[min(8, len(r.messageID)):])
			chunk = append(chunk, r)
		}
		if err := send(ctx, store, chunk); err != nil {
			return nil, 0, err
		}
	}
	took = time.Since(m.start)
	if err := settle(ctx, store, quietAfter(took)); err != nil {
		return nil, 0, err
	}
	got, err := number(ctx, store, "SELECT count() FROM events")
	if err == nil && got != total {
		err = fmt.Errorf("%d rows were inserted, the store has %d", total, got)
	}
	if err != nil {
		return nil, 0, err
	}
	used, err = m.used()
	return used, took, err
}

// sendRows is what a Go program does that uses the driver as its documentation shows.
func sendRows(ctx context.Context, store *clickhouse.Store, rows []bareRow) error {
	batch, err := store.Conn().PrepareBatch(ctx, "INSERT INTO events ("+bareColumns+")")
	if err != nil {
		return err
	}
	defer batch.Close() //nolint:errcheck // Send says it
	for i := range rows {
		if err := batch.Append(rows[i].values()...); err != nil {
			return err
		}
	}
	return batch.Send()
}

// blockSender sends nudge's own columns: the least that an insert of these rows can cost.
type blockSender struct{ batch *clickhouse.EventBatch }

func (s *blockSender) send(ctx context.Context, store *clickhouse.Store, rows []bareRow) error {
	if s.batch == nil {
		s.batch = clickhouse.NewEventBatch()
	}
	s.batch.Reset()
	for i := range rows {
		rows[i].fill(s.batch)
	}
	return store.InsertEvents(ctx, s.batch)
}

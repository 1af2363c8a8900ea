package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"nudge/events"
)

// Store is the ledger in ClickHouse: the tables decisions, deliveries, ticks and shard_log, copies of
// the two streams.
type Store struct {
	conn driver.Conn
	past *past // nil: the present
}

// NewStore returns a Store on a connection whose database holds the tables.
func NewStore(conn driver.Conn) *Store { return &Store{conn: conn} }

// past is how far a store had come at an instant (Unix ms): the newest message of each stream.
type past struct {
	upTo map[string]uint64
	at   int64
}

// Before is the store, for reading, as it was before anything was decided, tried, looked at or asked for as of an
// instant at or after the given one, Unix ms.
func (s *Store) Before(ctx context.Context, at int64) (*Store, error) {
	upTo := map[string]uint64{}
	for stream, tables := range map[string][]string{
		"decisions": {
			"SELECT seq, toUnixTimestamp64Milli(at) AS t FROM decisions",
			"SELECT seq, JSONExtractInt(data, 'tick', 't1') AS t FROM shard_log WHERE kind = 'tick'",
		},
		"deliveries": {"SELECT seq, toUnixTimestamp64Milli(at) AS t FROM deliveries"},
	} {
		var last, next uint64
		err := s.conn.QueryRow(ctx, fmt.Sprintf("SELECT max(seq), minIf(seq, t >= %d) FROM (%s)", at, strings.Join(tables, " UNION ALL "))).Scan(&last, &next)
		if err != nil {
			return nil, fmt.Errorf("look where %s stood then: %w", stream, err)
		}
		if upTo[stream] = last; next > 0 {
			upTo[stream] = next - 1
		}
	}
	return &Store{conn: s.conn, past: &past{upTo, at}}, nil
}

// UnderWay reads, of a store of the past, what became later of messages that had been sent by then, up to an instant
// (Unix ms): entry, channel, rule, person, status and instant of each outcome.
func (s *Store) UnderWay(ctx context.Context, until int64) ([]Delivery, error) {
	rows, err := s.conn.Query(ctx, "SELECT entry, channel, any(x.rule), any(x.person), argMax(x.status, (x.seq, x.`index`)), toUnixTimestamp64Milli(argMax(x.at, (x.seq, x.`index`))) AS t "+
		"FROM deliveries AS x WHERE x.seq > @upTo AND x.status NOT IN ('intent', 'retrying') AND x.person != 0 AND x.at < fromUnixTimestamp64Milli(toInt64(@until)) AND "+
		"x.entry IN (SELECT entry FROM decisions WHERE seq <= @decided AND reason = 'send') GROUP BY entry, channel ORDER BY t, entry, channel",
		driver.NamedValue{Name: "upTo", Value: s.past.upTo["deliveries"]}, driver.NamedValue{Name: "until", Value: until},
		driver.NamedValue{Name: "decided", Value: s.past.upTo["decisions"]})
	if err != nil {
		return nil, fmt.Errorf("read what became of messages that were under way: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var out []Delivery
	for rows.Next() {
		var d Delivery
		var person uint64
		var status string
		if err := rows.Scan(&d.Entry, &d.Channel, &d.Rule, &person, &status, &d.At); err != nil {
			return nil, fmt.Errorf("read what became of messages that were under way: %w", err)
		}
		d.Person, d.Status, d.Attempt = events.PersonID(person), Status(status), 1
		out = append(out, d)
	}
	return out, rows.Err()
}

// Message is one message of a decision or delivery stream.
type Message struct {
	Shard   int
	Seq     uint64
	At      int64 // when it was published, Unix ms
	Records []Record
}

// Insert writes messages of one stream. Rows in have are left out: they are there from an insert that
// was cut short. A nil have says that none was.
func (s *Store) Insert(ctx context.Context, msgs []Message, have Present) error {
	b := batches{have: have}
	if have != nil {
		var err error
		if b.haveTicks, err = s.ticksPresent(ctx, msgs); err != nil {
			return err
		}
	}
	for _, m := range msgs {
		for i, r := range m.Records {
			if err := b.add(m, i, r); err != nil {
				return err
			}
		}
	}
	return b.send(ctx, s.conn)
}

// Present are rows by table and place, (seq, index).
type Present map[string]map[[2]uint64]bool

// Above lists the rows of a stream's tables beyond a checkpoint. There are some only where the last
// insert was cut short.
func (s *Store) Above(ctx context.Context, stream string, seq uint64) (Present, error) {
	tables := []string{"decisions", "shard_log"}
	if stream == "deliveries" {
		tables = []string{"deliveries"}
	}
	have := Present{}
	for _, t := range tables {
		rows, err := s.conn.Query(ctx, "SELECT seq, `index` FROM "+t+" WHERE seq > @seq", driver.NamedValue{Name: "seq", Value: seq})
		if err != nil {
			return nil, fmt.Errorf("ask %s for what follows message %d: %w", t, seq, err)
		}
		have[t] = map[[2]uint64]bool{}
		for rows.Next() {
			var seq uint64
			var index uint32
			if err := rows.Scan(&seq, &index); err != nil {
				return nil, errors.Join(fmt.Errorf("ask %s for what follows: %w", t, err), rows.Close())
			}
			have[t][[2]uint64{seq, uint64(index)}] = true
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return nil, fmt.Errorf("ask %s for what follows message %d: %w", t, seq, err)
		}
	}
	return have, nil
}

// tickKey stands for a tick on a shard, whose row does not say which record it is of: ticks of one instant
// have one id, and come further each time.
type tickKey struct {
	id    string
	shard int
	upTo  events.Position
}

// ticksPresent lists those ticks of the messages that are in the table, whose rows go in before those of their
// records.
func (s *Store) ticksPresent(ctx context.Context, msgs []Message) (map[tickKey]bool, error) {
	set := map[int64]bool{}
	for _, m := range msgs {
		for _, r := range m.Records {
			if r.Tick != nil {
				set[r.Tick.T1] = true
			}
		}
	}
	have := map[tickKey]bool{}
	const together = 5000 // bounds the text of a query
	for some := range slices.Chunk(slices.Sorted(maps.Keys(set)), together) {
		instants := make([]string, len(some))
		for i, t1 := range some {
			instants[i] = strconv.FormatInt(t1, 10)
		}
		rows, err := s.conn.Query(ctx, "SELECT id, shard, p1 FROM ticks WHERE t1 IN (SELECT fromUnixTimestamp64Milli(arrayJoin([toInt64("+strings.Join(instants, "), toInt64(")+")])))")
		if err != nil {
			return nil, fmt.Errorf("ask for ticks that are there: %w", err)
		}
		for rows.Next() {
			var id string
			var shard uint16
			var p1 uint64
			if err := rows.Scan(&id, &shard, &p1); err != nil {
				return nil, errors.Join(fmt.Errorf("ask for ticks that are there: %w", err), rows.Close())
			}
			have[tickKey{id, int(shard), events.Position(p1)}] = true
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return nil, fmt.Errorf("ask for ticks that are there: %w", err)
		}
	}
	return have, nil
}

type batches struct {
	have                              Present
	haveTicks                         map[tickKey]bool
	decisions, deliveries, ticks, log [][]any
}

func (b *batches) add(m Message, index int, r Record) error {
	place := [2]uint64{m.Seq, uint64(index)}
	if d := r.Decision; d != nil {
		if b.have["decisions"][place] {
			return nil
		}
		row, err := decisionRow(m, index, d)
		b.decisions = append(b.decisions, row)
		return err
	}
	if d := r.Delivery; d != nil {
		if b.have["deliveries"][place] {
			return nil
		}
		b.deliveries = append(b.deliveries, []any{
			d.Entry, d.Channel, d.Adapter, d.Device, d.Rule, uint64(d.Person), string(d.Status), ms(d.At), uint32(d.Attempt),
			ms(d.Next), d.Provider, d.Error, d.Class, string(d.Text), uint16(m.Shard), m.Seq, uint32(index),
		})
		return nil
	}
	if r == (Record{}) || b.have["shard_log"][place] {
		return nil
	}
	if t := r.Tick; t != nil && !b.haveTicks[tickKey{t.ID, m.Shard, t.P1}] {
		b.ticks = append(b.ticks, []any{t.ID, uint16(m.Shard), ms(t.T1), uint64(t.P1), t.Hash, t.Rules, ms(m.At)})
	}
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode a ledger record: %w", err)
	}
	kind, person := r.kind()
	b.log = append(b.log, []any{uint16(m.Shard), m.Seq, uint32(index), kind, uint64(person), string(data), ms(m.At)})
	return nil
}

func (r Record) kind() (string, events.PersonID) {
	switch {
	case r.Tick != nil:
		return "tick", 0
	case r.Flip != nil:
		return "flip", r.Flip.Person
	case r.Looked != nil:
		return "looked", 0
	case r.Pause != nil:
		return "pause", 0
	case r.Resume != nil:
		return "resume", 0
	case r.Counted != nil:
		return "counted", 0
	case r.Unsubscribed != nil:
		return "unsubscribed", 0
	case r.Overrun != nil:
		return "overrun", 0
	case r.Move != nil:
		return "move", r.Move.To
	default:
		return "forget", r.Forget.Person
	}
}

const decisionColumns = "entry, attempt, rule, version, person, user_id, value, entered, at, tick, reason, `by`, open, wait, due, " +
	"expires, since, since_pos, trigger, category, variant, channels, fallback, watch, zone, message"

func decisionRow(m Message, index int, d *Decision) ([]any, error) {
	features, err := json.Marshal(d.Features)
	if err != nil {
		return nil, fmt.Errorf("encode the features of %s: %w", d.Entry, err)
	}
	with, err := json.Marshal(d.With)
	if err != nil {
		return nil, fmt.Errorf("encode the values of %s: %w", d.Entry, err)
	}
	devices := make([]string, len(d.Devices))
	for i, dev := range d.Devices {
		devices[i] = string(dev)
	}
	return []any{
		d.Entry, uint32(d.Attempt), d.Rule, d.Version, uint64(d.Person), d.UserID, d.Value, ms(d.Entered), ms(d.At), d.Tick,
		string(d.Reason), d.By, d.Open, d.Wait, ms(d.Due), ms(d.Expires), ms(d.Since), uint64(d.SincePos), uint64(d.Trigger), d.Category, d.Variant,
		orEmpty(d.Channels), orEmpty(d.Fallback), d.Watch, d.Zone, d.Message,
		string(features), string(with), string(d.Profile), devices, uint16(m.Shard), m.Seq, uint32(index),
	}, nil
}

func orEmpty(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func (b *batches) send(ctx context.Context, conn driver.Conn) error {
	for _, t := range []struct {
		into string
		rows [][]any
	}{
		{"decisions (" + decisionColumns + ", features, `with`, profile, devices, shard, seq, `index`)", b.decisions},
		{"deliveries (entry, channel, adapter, device, rule, person, status, at, attempt, next, provider_id, error, class, text, shard, seq, `index`)", b.deliveries},
		{"ticks (id, shard, t1, p1, hash, rules, at)", b.ticks},
		{"shard_log (shard, seq, `index`, kind, person, data, at)", b.log},
	} {
		if len(t.rows) == 0 {
			continue
		}
		batch, err := conn.PrepareBatch(ctx, "INSERT INTO "+t.into)
		if err != nil {
			return fmt.Errorf("insert into the ledger: %w", err)
		}
		for _, row := range t.rows {
			if err := batch.Append(row...); err != nil {
				return fmt.Errorf("insert into the ledger (%s): %w", t.into, err)
			}
		}
		if err := batch.Send(); err != nil {
			return fmt.Errorf("insert into the ledger: %w", err)
		}
	}
	return nil
}

func ms(t int64) time.Time { return time.UnixMilli(t).UTC() }

func unix(t time.Time) int64 {
	if m := t.UnixMilli(); m > 0 {
		return m
	}
	return 0
}

// Checkpoint is the sequence of a stream ("decisions", "deliveries") up to which the tables have
// everything, 0 at first.
func (s *Store) Checkpoint(ctx context.Context, stream string) (uint64, error) {
	if s.past != nil {
		return s.past.upTo[stream], nil
	}
	var seq uint64
	row := s.conn.QueryRow(ctx, "SELECT max(pos) FROM checkpoints WHERE reader = @reader", driver.NamedValue{Name: "reader", Value: stream})
	if err := row.Scan(&seq); err != nil {
		return 0, fmt.Errorf("read the checkpoint of %s: %w", stream, err)
	}
	return seq, nil
}

// SetCheckpoint advances the checkpoint; what it covers must be inserted and synced.
func (s *Store) SetCheckpoint(ctx context.Context, stream string, seq uint64) error {
	if s.past != nil {
		return fmt.Errorf("advance the checkpoint of %s: the past is for reading", stream)
	}
	if err := s.conn.Exec(ctx, "INSERT INTO checkpoints (reader, pos) VALUES (@reader, @seq)",
		driver.NamedValue{Name: "reader", Value: stream}, driver.NamedValue{Name: "seq", Value: seq}); err != nil {
		return fmt.Errorf("advance the checkpoint of %s to %d: %w", stream, seq, err)
	}
	return nil
}

// stands says of a decision's row that its values are needed again.
const stands = "reason = 'held' OR notEmpty(fallback)"

// Load calls fn with the records that make up the state of shards, of messages up to and including sequence
// upTo, in stream order. Rows that stay of erased people belong to nobody. The tables are in the order of
// people: a call for all shards reads them once, as one for each shard does.
func (s *Store) Load(ctx context.Context, shards []int, upTo uint64, fn func(shard int, r Record)) error {
	log, err := s.loadLog(ctx, shards, upTo)
	if err != nil {
		return err
	}
	rows, err := s.conn.Query(ctx, "SELECT shard, seq, `index`, "+decisionColumns+", if("+stands+", features, ''), if("+stands+", `with`, '')"+
		" FROM decisions WHERE "+ofShards(shards)+" AND seq <= @upTo AND person != 0 ORDER BY seq, `index`", driver.NamedValue{Name: "upTo", Value: upTo})
	if err != nil {
		return fmt.Errorf("load shards from the ledger: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		at, d, err := scanDecision(rows)
		if err != nil {
			return fmt.Errorf("load shards from the ledger: %w", err)
		}
		for len(log) > 0 && log[0].at.before(at) {
			fn(log[0].at.shard, log[0].record)
			log = log[1:]
		}
		fn(at.shard, Record{Decision: d})
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("load shards from the ledger: %w", err)
	}
	for _, l := range log {
		fn(l.at.shard, l.record)
	}
	return nil
}

// ofShards is a condition of SQL.
func ofShards(shards []int) string {
	list := make([]string, len(shards))
	for i, n := range shards {
		list[i] = strconv.Itoa(n)
	}
	return "shard IN (" + strings.Join(list, ", ") + ")"
}

// place is where a record is in its stream.
type place struct {
	shard int
	seq   uint64
	index uint32
}

func (p place) before(q place) bool { return p.seq < q.seq || p.seq == q.seq && p.index < q.index }

type logged struct {
	at     place
	record Record
}

func (s *Store) loadLog(ctx context.Context, shards []int, upTo uint64) ([]logged, error) {
	these := ofShards(shards) + " AND seq <= " + strconv.FormatUint(upTo, 10)
	rows, err := s.conn.Query(ctx, "SELECT shard, seq, `index`, data FROM shard_log WHERE "+these+
		" AND (kind NOT IN ('tick', 'overrun') OR kind = 'tick' AND (shard, seq, `index`) IN ("+fmt.Sprintf(neededTicks, these)+")) ORDER BY seq, `index`")
	if err != nil {
		return nil, fmt.Errorf("load the log of shards: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var out []logged
	for rows.Next() {
		var l logged
		var shard uint16
		var data string
		if err := rows.Scan(&shard, &l.at.seq, &l.at.index, &data); err != nil {
			return nil, fmt.Errorf("load the log of shards: %w", err)
		}
		l.at.shard = int(shard)
		if err := json.Unmarshal([]byte(data), &l.record); err != nil {
			return nil, fmt.Errorf("load the log of shard %d, message %d: %w", shard, l.at.seq, err)
		}
		out = append(out, l)
	}
	return out, rows.Err()
}

func scanDecision(rows driver.Rows) (where place, d *Decision, err error) {
	d = &Decision{}
	var shard uint16
	var attempt uint32
	var person, sincePos, trigger uint64
	var reason string
	var entered, at, due, expires, since time.Time
	var features, with string
	err = rows.Scan(&shard, &where.seq, &where.index, &d.Entry, &attempt, &d.Rule, &d.Version, &person, &d.UserID, &d.Value, &entered, &at, &d.Tick,
		&reason, &d.By, &d.Open, &d.Wait, &due, &expires, &since, &sincePos, &trigger, &d.Category, &d.Variant, &d.Channels, &d.Fallback,
		&d.Watch, &d.Zone, &d.Message, &features, &with)
	if err == nil && with != "" {
		err = errors.Join(json.Unmarshal([]byte(features), &d.Features), json.Unmarshal([]byte(with), &d.With))
	}
	d.Attempt, d.Person, d.Trigger, d.Reason = int(attempt), events.PersonID(person), events.Position(trigger), Reason(reason)
	d.Entered, d.At, d.Due, d.Expires, d.Since = unix(entered), unix(at), unix(due), unix(expires), unix(since)
	d.SincePos = events.Position(sincePos)
	where.shard = int(shard)
	return where, d, err
}

// LoadDeliveries calls fn with the final deliveries of all shards, of messages up to and including upTo.
func (s *Store) LoadDeliveries(ctx context.Context, upTo uint64, fn func(Record)) error {
	rows, err := s.conn.Query(ctx, "SELECT entry, channel, rule, person, status, at FROM deliveries "+
		"WHERE seq <= @upTo AND status NOT IN ('intent', 'retrying') ORDER BY seq, `index`", driver.NamedValue{Name: "upTo", Value: upTo})
	if err != nil {
		return fmt.Errorf("load the deliveries: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var d Delivery
		var person uint64
		var status string
		var at time.Time
		if err := rows.Scan(&d.Entry, &d.Channel, &d.Rule, &person, &status, &at); err != nil {
			return fmt.Errorf("load the deliveries: %w", err)
		}
		d.Person, d.Status, d.At = events.PersonID(person), Status(status), unix(at)
		fn(Record{Delivery: &d})
	}
	return rows.Err()
}

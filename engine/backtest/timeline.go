package backtest

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"nudge/engine/workspace"
	"nudge/events"
	"nudge/segments/plan"
)

// never is later than everything.
const never = int64(math.MaxInt64)

// timeline says what the store held when. It is passed from its begin to its end.
type timeline interface {
	// next is the first instant that is not passed at which a tick ran, or at which something arrived that `on:` rules
	// hear; never when there is none.
	next(ctx context.Context) (int64, error)
	// pass passes one such instant that lies at or before now, or with all everything up to now.
	pass(now int64, all bool) passed
	// position is up to where the store has everything, of what is passed.
	position() events.Position
	// reached lists whom an address, a consent or a zone became known of between two passes.
	reached(ctx context.Context, conn driver.Conn, before, now moment) ([]events.PersonID, error)
	// zoneOrder is the column of zones and traits by which a zone becomes known, and how far it is.
	zoneOrder() (column string, known func(now int64) int64)
}

// moment is how far a timeline is: an instant and a position.
type moment struct {
	at  int64
	pos events.Position
}

// passed says what was at an instant.
type passed struct {
	heard  bool // `on:` rules heard what had arrived
	ticked bool // what was due ran
	more   bool // there is more at or before the instant
}

// recorded is the past as the ticks of then have it: what each of them saw was in the store when it ran.
type recorded struct {
	ticks   []instant // in the order in which they ran
	between []instant // ends of minutes in which events were received
	newEars bool      // some `on:` rule hears that did not then
	done    int
	begin   events.Position
	to      events.Position
}

type instant struct {
	at      int64 // when it ran: an instant that was missed is made up for later
	p1      events.Position
	arrival bool // `on:` rules heard what had arrived
}

// readRecorded reads the ticks of a time. nil, where they do not go back to its begin.
func readRecorded(ctx context.Context, conn driver.Conn, ws *workspace.Workspace, from, to int64) (*recorded, error) {
	const late = int64(time.Hour / time.Millisecond) // after the begin of the time
	var n, begin uint64
	var first int64
	// A tick of an instant before the time may have run in it, where the instant had been missed: its position is no
	// sign of where the time begins.
	err := conn.QueryRow(ctx, fmt.Sprintf("WITH (SELECT minIf(p1, t1 >= %[1]s) FROM ticks WHERE t1 <= %[2]s) AS ran SELECT count(), toUnixTimestamp64Milli(min(t1)), maxIf(p1, t1 < %[1]s AND (ran = 0 OR p1 <= ran)) "+
		"FROM ticks WHERE t1 <= %[2]s", plan.Instant(from), plan.Instant(to))).Scan(&n, &first, &begin)
	if err != nil {
		return nil, fmt.Errorf("read the ticks of then: %w", err)
	}
	if n == 0 || first > from+late {
		return nil, nil
	}
	known := map[string]bool{} // `on:` rules that have heard
	r := &recorded{begin: events.Position(begin)}
	// Ticks of one position ran in the order of their instants, arrivals first.
	rows, err := conn.Query(ctx, fmt.Sprintf("SELECT toUnixTimestamp64Milli(t1) AS t, startsWith(id, 'a') AS arrival, p1, groupUniqArrayArray(rules) FROM ticks "+
		"WHERE t1 >= %s AND t1 <= %s GROUP BY t, arrival, p1 ORDER BY p1, t, arrival DESC", plan.Instant(from-late), plan.Instant(to)))
	if err != nil {
		return nil, fmt.Errorf("read the ticks of then: %w", err)
	}
	defer func() { _ = rows.Close() }()
	last := int64(math.MinInt64)
	for rows.Next() {
		var t1 int64
		var arrival uint8
		var p1 uint64
		var rules []string
		if err := rows.Scan(&t1, &arrival, &p1, &rules); err != nil {
			return nil, fmt.Errorf("read the ticks of then: %w", err)
		}
		if arrival == 1 {
			for _, name := range rules {
				known[name] = true
			}
		}
		if last = max(last, t1); last >= from {
			r.ticks = append(r.ticks, instant{last, events.Position(p1), arrival == 1})
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the ticks of then: %w", err)
	}
	if r.begin == 0 && len(r.ticks) > 0 { // nudge began then
		r.begin = r.ticks[0].p1
	}
	if err := r.readBetween(ctx, conn, from, to); err != nil {
		return nil, err
	}
	// A rule that is new heard nothing then: it hears whenever a tick ran, and each minute in which something came.
	if slices.ContainsFunc(ws.Rules, func(r *workspace.Rule) bool { return r.On != nil && !known[r.Name] }) {
		for i := range r.ticks {
			r.ticks[i].arrival = true
		}
		ran := r.ticks
		for _, x := range r.between {
			if i, _ := slices.BinarySearchFunc(ran, x.at, func(y instant, t int64) int { return cmp.Compare(y.at, t) }); i < len(ran) {
				x.p1 = min(x.p1, ran[i].p1) // no more than the next one saw
			}
			r.ticks = append(r.ticks, x)
		}
		slices.SortStableFunc(r.ticks, func(a, b instant) int { return cmp.Compare(a.at, b.at) })
		r.newEars = true
	}
	return r, nil
}

// readBetween reads how far the store had come by the end of each minute, as far as one knows from when events were
// received: for instants at which no tick ran.
func (r *recorded) readBetween(ctx context.Context, conn driver.Conn, from, to int64) error {
	rows, err := conn.Query(ctx, fmt.Sprintf("SELECT toInt64(toUnixTimestamp(toStartOfMinute(received_at)) + 60) * 1000 AS minute, max(pos) FROM events "+
		"WHERE received_at >= %s AND received_at < %s GROUP BY minute ORDER BY minute", plan.Instant(from), plan.Instant(to)))
	if err != nil {
		return fmt.Errorf("read when events were received: %w", err)
	}
	defer func() { _ = rows.Close() }()
	furthest := r.begin
	for rows.Next() {
		var x instant
		var pos uint64
		if err := rows.Scan(&x.at, &pos); err != nil {
			return fmt.Errorf("read when events were received: %w", err)
		}
		furthest = max(furthest, events.EndOf(events.Position(pos).Seq()))
		x.p1, x.arrival = furthest, true
		r.between = append(r.between, x)
	}
	return rows.Err() //nolint:wrapcheck // the driver says what it was doing
}

func (r *recorded) next(context.Context) (int64, error) {
	if r.done < len(r.ticks) {
		return r.ticks[r.done].at, nil
	}
	return never, nil
}

func (r *recorded) pass(now int64, all bool) (p passed) {
	for r.done < len(r.ticks) && r.ticks[r.done].at <= now {
		x := r.ticks[r.done]
		r.done++
		p.heard, p.ticked = p.heard || x.arrival, p.ticked || !x.arrival || r.newEars
		if r.to = max(r.to, x.p1); !all {
			break
		}
	}
	p.more = r.done < len(r.ticks) && r.ticks[r.done].at <= now
	if !p.heard && !p.ticked { // no tick ran: what had been received by then, and no more than the next one saw
		if i, _ := slices.BinarySearchFunc(r.between, now+1, func(x instant, t int64) int { return cmp.Compare(x.at, t) }); i > 0 {
			upTo := r.between[i-1].p1
			if r.done < len(r.ticks) {
				upTo = min(upTo, r.ticks[r.done].p1)
			}
			r.to = max(r.to, upTo)
		}
	}
	return p
}

func (r *recorded) position() events.Position { return max(r.begin, r.to) }

func (r *recorded) reached(ctx context.Context, conn driver.Conn, before, now moment) ([]events.PersonID, error) {
	list, err := readReached(ctx, conn, fmt.Sprintf("pos > %d AND pos <= %d", uint64(before.pos), uint64(now.pos)))
	out := make([]events.PersonID, len(list))
	for i, x := range list {
		out[i] = x.person
	}
	return out, err
}

// reached is somebody who may be reached since an instant.
type reached struct {
	at     int64
	person events.PersonID
}

// readReached lists by time of whom a row that meets a condition says how they are reached.
func readReached(ctx context.Context, conn driver.Conn, condition string) ([]reached, error) {
	var parts []string
	for _, from := range []string{"devices WHERE ", "consents WHERE ", "zones WHERE ", fmt.Sprintf("events WHERE event = '' AND kind = %d AND ", events.KindIdentify)} {
		parts = append(parts, "SELECT toUnixTimestamp64Milli(time) AS t, person FROM "+from+condition)
	}
	rows, err := conn.Query(ctx, "SELECT DISTINCT t, person FROM ("+strings.Join(parts, " UNION ALL ")+") ORDER BY t, person")
	if err != nil {
		return nil, err //nolint:wrapcheck // the caller says what for
	}
	defer func() { _ = rows.Close() }()
	var out []reached
	for rows.Next() {
		var x reached
		var person uint64
		if err := rows.Scan(&x.at, &person); err != nil {
			return nil, err //nolint:wrapcheck // the caller says what for
		}
		x.person = events.PersonID(person)
		out = append(out, x)
	}
	return out, rows.Err() //nolint:wrapcheck // the caller says what for
}

func (r *recorded) zoneOrder() (string, func(int64) int64) {
	return "pos", func(int64) int64 { return int64(r.position()) }
}

// happened is the past as if everything had arrived when it happened: of history that was imported nobody knows when
// it would have. The planner finds what lies ahead of its instant when the instant passes it.
type happened struct {
	conn     driver.Conn
	events   string // the table
	triggers string // a condition of SQL, "" without `on:` rules
	end      events.Position

	heard []int64 // the ends of minutes before read in which something happened that `on:` rules hear, in order
	read  int64

	addressed          []reached // of whom something came in (readFrom, readUpTo]
	readFrom, readUpTo int64
}

// ahead is how far ahead something is read together, ms.
const ahead = int64(24 * time.Hour / time.Millisecond)

// earFor is how many minutes `on:` rules hear together: one.
const earFor = int64(time.Minute / time.Millisecond)

func newHappened(conn driver.Conn, table string, ws *workspace.Workspace, end events.Position, from int64) *happened {
	h := &happened{conn: conn, events: table, end: end, read: from}
	var names []string
	for _, r := range ws.Rules {
		if r.On != nil {
			names = append(names, plan.Literal(r.On.Event))
		}
	}
	if len(names) > 0 {
		slices.Sort(names)
		h.triggers = "event IN (" + strings.Join(slices.Compact(names), ", ") + ")"
	}
	return h
}

func (h *happened) position() events.Position { return h.end }

// grow makes room for a message of our own, behind everything that is stored, and says where it begins.
func (h *happened) grow() events.Position {
	h.end = events.EndOf(h.end.Seq() + 1)
	return events.At(h.end.Seq(), 0)
}

func (h *happened) next(ctx context.Context) (int64, error) {
	if h.triggers == "" || h.read == never {
		return never, nil
	}
	for {
		if len(h.heard) > 0 {
			return h.heard[0], nil
		}
		next, any, err := h.nextTrigger(ctx)
		if err != nil {
			return 0, err
		}
		if !any {
			h.read = never
			return never, nil
		}
		h.read = max(h.read, next-next%earFor)
		to := h.read + ahead
		rows, err := h.conn.Query(ctx, fmt.Sprintf("SELECT DISTINCT toInt64(toUnixTimestamp(toStartOfMinute(time)) + 60) * 1000 AS minute FROM %s WHERE %s AND time >= %s AND time < %s ORDER BY minute",
			h.events, h.triggers, plan.Instant(h.read), plan.Instant(to)))
		if err != nil {
			return 0, fmt.Errorf("look for what `on:` rules hear: %w", err)
		}
		for rows.Next() {
			var minute int64
			if err := rows.Scan(&minute); err != nil {
				_ = rows.Close()
				return 0, fmt.Errorf("look for what `on:` rules hear: %w", err)
			}
			h.heard = append(h.heard, minute)
		}
		if err := rows.Err(); err != nil {
			return 0, fmt.Errorf("look for what `on:` rules hear: %w", err)
		}
		h.read = to
	}
}

// nextTrigger is when the first of what is not read yet happened.
func (h *happened) nextTrigger(ctx context.Context) (at int64, any bool, err error) {
	var n uint64
	err = h.conn.QueryRow(ctx, fmt.Sprintf("SELECT count(), toUnixTimestamp64Milli(min(time)) FROM %s WHERE %s AND time >= %s", h.events, h.triggers, plan.Instant(h.read))).Scan(&n, &at)
	if err != nil {
		return 0, false, fmt.Errorf("look for what `on:` rules hear: %w", err)
	}
	return at, n > 0, nil
}

func (h *happened) pass(now int64, _ bool) passed {
	p := passed{ticked: true}
	for len(h.heard) > 0 && h.heard[0] <= now {
		h.heard, p.heard = h.heard[1:], true
	}
	return p
}

// reached reads a day ahead: a query for each step would cost more than all else.
func (h *happened) reached(ctx context.Context, conn driver.Conn, before, now moment) ([]events.PersonID, error) {
	if now.at > h.readUpTo || before.at < h.readFrom {
		h.readFrom, h.readUpTo = before.at, max(now.at, before.at+ahead)
		var err error
		if h.addressed, err = readReached(ctx, conn, fmt.Sprintf("time > %s AND time <= %s", plan.Instant(h.readFrom), plan.Instant(h.readUpTo))); err != nil {
			return nil, err
		}
	}
	at := func(t int64) int {
		i, _ := slices.BinarySearchFunc(h.addressed, t+1, func(x reached, t int64) int { return cmp.Compare(x.at, t) })
		return i
	}
	var out []events.PersonID
	for _, x := range h.addressed[at(before.at):at(now.at)] {
		out = append(out, x.person)
	}
	return out, nil
}

func (h *happened) zoneOrder() (string, func(int64) int64) {
	return "toUnixTimestamp64Milli(time)", func(now int64) int64 { return now }
}

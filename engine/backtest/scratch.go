package backtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"nudge/engine/ledger"
	"nudge/engine/workspace"
	"nudge/events"
	"nudge/events/clickhouse"
	"nudge/segments"
	"nudge/segments/plan"
)

// scratch is a database of the store for what the rules of a backtest read of themselves: the instants at which
// conditions turn for somebody, and messages. It is made only for rules that read such, and dropped at the end; no
// table of nudge's own is written to.
type scratch struct {
	conn      driver.Conn
	own, name string // databases, quoted
	from      int64
	messages  bool // rules read messages
	copies    bool // there are some of then
}

// needs says what rules read of themselves.
func needs(ws *workspace.Workspace) (dues, messages bool) {
	look := func(w *segments.Who) {
		c := w.Changes()
		dues = dues || c.Dues
		for _, s := range c.Sources {
			messages = messages || s.Message != ""
		}
	}
	for _, r := range ws.Rules {
		look(r.Who)
		messages = messages || r.On != nil && strings.HasPrefix(r.On.Event, "Message ")
		for _, x := range r.Exits {
			messages = messages || strings.HasPrefix(x.Event, "Message ")
		}
	}
	return dues, messages
}

// staleAfter is how old a database is that a backtest has left which did not come to its end, ms.
const staleAfter = int64(48 * time.Hour / time.Millisecond)

// openScratch makes the database, and drops those that others have left. It returns nil where none is needed.
func openScratch(ctx context.Context, conn driver.Conn, database string, ws *workspace.Workspace, from, now int64) (*scratch, error) {
	dues, messages := needs(ws)
	if !dues && !messages {
		return nil, nil
	}
	prefix := database + "_backtest_"
	if err := dropStale(ctx, conn, prefix, now); err != nil {
		return nil, err
	}
	s := &scratch{conn: conn, own: clickhouse.QuoteName(database), name: clickhouse.QuoteName(prefix + strconv.FormatInt(now, 10)), from: from, messages: messages}
	ddl := []string{
		"CREATE DATABASE " + s.name,
		"CREATE TABLE " + s.name + ".dues (cond LowCardinality(String), at DateTime64(3, 'UTC'), person UInt64, value String, pos UInt64) ENGINE = MergeTree ORDER BY (cond, at, person, value)",
	}
	if messages {
		var n uint64
		err := conn.QueryRow(ctx, fmt.Sprintf("SELECT count() FROM %s.events WHERE kind = %d AND time >= %s", s.own, events.KindMessage, plan.Instant(from))).Scan(&n)
		if err != nil {
			return nil, fmt.Errorf("look for messages of then: %w", err)
		}
		stored := "" // a filter costs a third of what a query does
		if s.copies = n > 0; s.copies {
			stored = fmt.Sprintf(" WHERE kind != %d OR time < %s", events.KindMessage, plan.Instant(from))
		}
		ddl = append(ddl,
			"CREATE TABLE "+s.name+".messages ENGINE = MergeTree ORDER BY (person, time, pos) AS SELECT * FROM "+s.own+".events LIMIT 0",
			fmt.Sprintf("CREATE VIEW %[1]s.events AS SELECT * FROM %[2]s.events%[3]s UNION ALL SELECT * FROM %[1]s.messages", s.name, s.own, stored))
		if s.copies { // of messages that had been sent: they are opened in the time
			ddl = append(ddl, fmt.Sprintf("INSERT INTO %s.messages SELECT * FROM %s.events WHERE kind = %d AND time >= %s AND strs['entry'] IN (SELECT entry FROM %s.decisions WHERE reason = 'send' AND at < %s)",
				s.name, s.own, events.KindMessage, plan.Instant(from), s.own, plan.Instant(from)))
		}
	}
	for _, sql := range ddl {
		if err := conn.Exec(ctx, sql); err != nil {
			return nil, errors.Join(fmt.Errorf("make a database for what the rules write down: %w", err), s.close(ctx))
		}
	}
	return s, nil
}

func dropStale(ctx context.Context, conn driver.Conn, prefix string, now int64) error {
	rows, err := conn.Query(ctx, "SELECT name FROM system.databases WHERE startsWith(name, "+plan.Literal(prefix)+")")
	if err != nil {
		return fmt.Errorf("look for what other backtests have left: %w", err)
	}
	var stale []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return errors.Join(fmt.Errorf("look for what other backtests have left: %w", err), rows.Close())
		}
		if made, err := strconv.ParseInt(strings.TrimPrefix(name, prefix), 10, 64); err == nil && made < now-staleAfter {
			stale = append(stale, name)
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return fmt.Errorf("look for what other backtests have left: %w", err)
	}
	for _, name := range stale {
		if err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+clickhouse.QuoteName(name)); err != nil {
			return fmt.Errorf("drop what another backtest has left: %w", err)
		}
	}
	return nil
}

// close drops the database. It may be nil.
func (s *scratch) close(ctx context.Context) error {
	if s == nil {
		return nil
	}
	if err := s.conn.Exec(context.WithoutCancel(ctx), "DROP DATABASE IF EXISTS "+s.name); err != nil {
		return fmt.Errorf("drop the backtest's database: %w", err)
	}
	return nil
}

// elsewhere are the tables that the planner finds here.
func (s *scratch) elsewhere() map[string]string {
	if s == nil {
		return nil
	}
	out := map[string]string{"dues": s.name + ".dues"}
	if s.messages {
		out["events"] = s.name + ".events"
	}
	return out
}

func (s *scratch) readsMessages() bool { return s != nil && s.messages }

// copied writes down what is stored of messages that were sent then as well: at its own positions, so that it is seen when
// it was seen.
func (s *scratch) copied(ctx context.Context, sends []*ledger.Decision) error {
	if !s.copies {
		return nil
	}
	for some := range slices.Chunk(sends, 2000) { // bounds the text of a query
		var entries, people []string
		for _, d := range some {
			entries, people = append(entries, plan.Literal(d.Entry)), append(people, strconv.FormatUint(uint64(d.Person), 10))
		}
		sql := fmt.Sprintf("INSERT INTO %s.messages SELECT * FROM %s.events WHERE kind = %d AND person IN (%s) AND time >= %s AND strs['entry'] IN (%s)",
			s.name, s.own, events.KindMessage, strings.Join(people, ", "), plan.Instant(s.from), strings.Join(entries, ", "))
		if err := s.conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("copy what is stored of messages: %w", err)
		}
	}
	return nil
}

// took writes down of messages of which nothing is stored that they were sent or failed, at the position.
func (s *scratch) took(ctx context.Context, told []outcome, pos events.Position) error {
	fresh := slices.DeleteFunc(slices.Clone(told), func(o outcome) bool { return o.decision == nil || o.recorded && s.copies })
	if len(fresh) == 0 {
		return nil
	}
	batch, err := s.conn.PrepareBatch(ctx, "INSERT INTO "+s.name+".messages (person, time, pos, kind, event, source, user_id, message_id, received_at, strs, properties, context)")
	if err != nil {
		return fmt.Errorf("write down messages: %w", err)
	}
	defer func() { _ = batch.Abort() }() // after a Send it does nothing
	for i, o := range fresh {
		name := events.MessageSent
		if o.delivery.Status != ledger.Accepted {
			name = events.MessageFailed
		}
		d := o.decision
		props := map[string]string{"rule": d.Rule, "entry": d.Entry, "channel": o.delivery.Channel}
		for key, value := range map[string]string{"variant": d.Variant, "category": d.Category, "value": d.Value} {
			if value != "" {
				props[key] = value
			}
		}
		raw, err := json.Marshal(props)
		if err != nil {
			return fmt.Errorf("write down messages: %w", err)
		}
		at := time.UnixMilli(o.delivery.At).UTC()
		if err := batch.Append(uint64(d.Person), at, uint64(pos)+uint64(i), uint8(events.KindMessage), name, "nudge", d.UserID,
			d.Entry+"/"+o.delivery.Channel, at, props, string(raw), "{}"); err != nil {
			return fmt.Errorf("write down messages: %w", err)
		}
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("write down messages: %w", err)
	}
	return nil
}

// triggering is a planner whose `on:` rules hear what happened in a time, and not what arrived in it.
type triggering struct {
	*plan.Planner
	of    *happened
	heard int64 // up to when
}

// Look implements engine.Planner.
func (t *triggering) Look(ctx context.Context, look segments.Look, fn func([]segments.Answer) error) error {
	if look.People != nil || look.Triggers != nil || len(look.Who) == 0 || look.Who[0].On() == nil {
		return t.Planner.Look(ctx, look, fn) //nolint:wrapcheck // says what it was doing
	}
	rows, err := t.of.conn.Query(ctx, fmt.Sprintf("SELECT pos FROM %s WHERE %s AND time > %s AND time <= %s", t.of.events, t.of.triggers, plan.Instant(t.heard), plan.Instant(look.At)))
	if err != nil {
		return fmt.Errorf("look for what `on:` rules hear: %w", err)
	}
	look.Triggers = []events.Position{}
	for rows.Next() {
		var pos uint64
		if err := rows.Scan(&pos); err != nil {
			return errors.Join(fmt.Errorf("look for what `on:` rules hear: %w", err), rows.Close())
		}
		look.Triggers = append(look.Triggers, events.Position(pos))
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return fmt.Errorf("look for what `on:` rules hear: %w", err)
	}
	if len(look.Triggers) > 0 {
		if err := t.Planner.Look(ctx, look, fn); err != nil {
			return err //nolint:wrapcheck // says what it was doing
		}
	}
	t.heard = look.At
	return nil
}

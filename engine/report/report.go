// Package report says what rules did: who matched, what became of each, what was sent, opened and
// clicked, and what followed.
package report

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"nudge/engine/ledger"
	"nudge/engine/workspace"
	"nudge/events"
	"nudge/segments"
)

// History reads what people did, for conversions.
type History interface {
	Occurrences(ctx context.Context, people []events.PersonID, names []string, after, at int64, upTo events.Position) (map[events.PersonID][]segments.Occurrence, error)
}

// Query says what to report on.
type Query struct {
	// From and To bound when entries began, [From, To), Unix ms; To 0 is no end.
	From, To int64
	// Rule restricts to one rule; "" is all.
	Rule string
	// By are the dimensions beside the rule: "variant", "channel", "day".
	By []string
}

// Dimensions that Query.By may name.
func Dimensions() []string { return []string{"variant", "channel", "day"} }

// Row counts the entries of one rule (variant, channel, day).
type Row struct {
	Rule    string `json:"rule"`
	Variant string `json:"variant,omitempty"` // where the report is split by it
	Channel string `json:"channel,omitempty"` // where the report is split by it
	Day     string `json:"day,omitempty"`     // on the workspace's clock, on which the entry began, 2026-03-01; where the report is split by it

	Matched int64                   `json:"matched"` // entries
	Reasons map[ledger.Reason]int64 `json:"reasons"` // their answers; Held for those on the way to one

	Sent   int64 `json:"sent"`   // (entry, channel)s that a provider took
	Failed int64 `json:"failed"` // (entry, channel)s that failed for good

	Delivered int64 `json:"delivered"` // entries whose message is known to have arrived
	Opened    int64 `json:"opened"`    // entries whose message was opened; opens of machines are left out
	Clicked   int64 `json:"clicked"`   // entries whose message was clicked; clicks of machines are left out

	Converted int64   `json:"converted"` // entries to which at least one goal event is credited
	Revenue   float64 `json:"revenue"`   // what those events add up to, in the currency of the goal's value
}

// Report is the answer to a Query.
type Report struct {
	From time.Time `json:"from"`        // entries are counted that began from then on
	To   time.Time `json:"to,omitzero"` // and before then; absent: there is no end
	By   []string  `json:"by"`          // what rows are split by beside the rule: variant, channel, day
	Rows []Row     `json:"rows"`        // sorted by rule, variant, channel, day

	Paused   []Paused   `json:"paused"`   // the rules that are paused now
	Overruns []Overruns `json:"overruns"` // rules whose ticks ended after the next was due, of ticks planned in the time
}

// Run reads the ledger. It counts what was written to it so far.
func Run(ctx context.Context, conn driver.Conn, history History, ws *workspace.Workspace, q Query) (*Report, error) {
	r := &reporter{conn: conn, ws: ws, q: q, rows: map[key]*Row{}}
	for _, step := range []struct {
		what string
		run  func(context.Context) error
	}{
		{"entries", r.entries},
		{"deliveries", r.deliveries},
		{"opens and clicks", r.messages},
		{"ticks", r.ticks},
		{"paused rules", r.pauses},
		{"conversions", func(ctx context.Context) error { return r.conversions(ctx, history) }},
	} {
		if err := step.run(ctx); err != nil {
			return nil, fmt.Errorf("report on %s: %w", step.what, err)
		}
	}
	out := &Report{
		From: time.UnixMilli(q.From).In(ws.Zone), By: append([]string{}, q.By...), Rows: []Row{},
		Paused: append([]Paused{}, r.paused...), Overruns: append([]Overruns{}, r.overruns...),
	}
	if q.To != 0 {
		out.To = time.UnixMilli(q.To).In(ws.Zone)
	}
	keys := slices.SortedFunc(maps.Keys(r.rows), func(a, b key) int {
		return cmp.Or(cmp.Compare(a.rule, b.rule), cmp.Compare(a.variant, b.variant), cmp.Compare(a.channel, b.channel), cmp.Compare(a.day, b.day))
	})
	for _, k := range keys {
		out.Rows = append(out.Rows, *r.rows[k])
	}
	return out, nil
}

type key struct{ rule, variant, channel, day string }

type reporter struct {
	conn driver.Conn
	ws   *workspace.Workspace
	q    Query
	rows map[key]*Row

	paused   []Paused
	overruns []Overruns
}

func (r *reporter) by(dimension string) bool { return slices.Contains(r.q.By, dimension) }

// row is the row of a key, with the dimensions that were not asked for left out.
func (r *reporter) row(k key) *Row {
	if !r.by("variant") {
		k.variant = ""
	}
	if !r.by("channel") {
		k.channel = ""
	}
	if !r.by("day") {
		k.day = ""
	}
	row := r.rows[k]
	if row == nil {
		row = &Row{Rule: k.rule, Variant: k.variant, Channel: k.channel, Day: k.day, Reasons: map[ledger.Reason]int64{}}
		r.rows[k] = row
	}
	return row
}

// sentBy are the channels of an entry: those of its last answer, and of one that was escalated all that were used.
const sentBy = "if(startsWith(argMax(d.`by`, (attempt, seq, index)), '" + ledger.Escalation + "'), " +
	"arrayDistinct(arrayFlatten(groupArrayIf(d.channels, d.reason = 'send'))), argMax(d.channels, (attempt, seq, index)))"

// countsAs is the reason that an answer counts as: ledger.CountsAs.
const countsAs = "if(d.reason = '" + string(ledger.Expired) + "' AND d.`by` = '" + string(ledger.NoAddress) + "', '" + string(ledger.NoAddress) + "', d.reason)"

// answers is the query for entries with their last answer, one row each.
func (r *reporter) answers() (string, []any) {
	sql := "SELECT entry, any(d.rule) AS rule, argMax(d.person, (attempt, seq, index)) AS person, argMax(" + countsAs + ", (attempt, seq, index)) AS reason, " +
		"argMax(d.variant, (attempt, seq, index)) AS variant, " + sentBy + " AS channels, " +
		"toString(toDate(min(entered), @zone)) AS day FROM decisions AS d WHERE entered >= fromUnixTimestamp64Milli(toInt64(@from))"
	args := []any{named("zone", r.ws.Zone.String()), named("from", r.q.From)}
	if r.q.To != 0 {
		sql += " AND entered < fromUnixTimestamp64Milli(toInt64(@to))"
		args = append(args, named("to", r.q.To))
	}
	if r.q.Rule != "" {
		sql += " AND d.rule = @rule"
		args = append(args, named("rule", r.q.Rule))
	}
	return sql + " GROUP BY entry", args
}

func named(name string, value any) driver.NamedValue {
	return driver.NamedValue{Name: name, Value: value}
}

func (r *reporter) query(ctx context.Context, sql string, args []any, row func(driver.Rows) error) error {
	rows, err := r.conn.Query(ctx, sql, args...)
	if err != nil {
		return err //nolint:wrapcheck // Run says what for
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err() //nolint:wrapcheck // Run says what for
}

func (r *reporter) entries(ctx context.Context) error {
	answers, args := r.answers()
	channel := "''"
	if r.by("channel") {
		channel = "arrayJoin(if(empty(channels), [''], channels))"
	}
	sql := "SELECT rule, variant, " + channel + " AS channel, day, reason, count() FROM (" + answers + ") GROUP BY ALL"
	return r.query(ctx, sql, args, func(rows driver.Rows) error {
		var k key
		var reason string
		var n uint64
		if err := rows.Scan(&k.rule, &k.variant, &k.channel, &k.day, &reason, &n); err != nil {
			return err //nolint:wrapcheck // Run says what for
		}
		row := r.row(k)
		row.Matched += int64(n)
		row.Reasons[ledger.Reason(reason)] += int64(n)
		return nil
	})
}

func (r *reporter) deliveries(ctx context.Context) error {
	answers, args := r.answers()
	sql := "SELECT e.rule, e.variant, d.channel, e.day, countIf(d.status = 'accepted'), countIf(d.status = 'failed') FROM (" +
		"SELECT entry, channel, argMax(x.status, (seq, index)) AS status FROM deliveries AS x WHERE x.status NOT IN ('intent', 'retrying') GROUP BY entry, channel" +
		") AS d INNER JOIN (" + answers + ") AS e ON d.entry = e.entry GROUP BY ALL"
	return r.query(ctx, sql, args, func(rows driver.Rows) error {
		var k key
		var sent, failed uint64
		if err := rows.Scan(&k.rule, &k.variant, &k.channel, &k.day, &sent, &failed); err != nil {
			return err //nolint:wrapcheck // Run says what for
		}
		row := r.row(k)
		row.Sent += int64(sent)
		row.Failed += int64(failed)
		return nil
	})
}

func (r *reporter) messages(ctx context.Context) error {
	answers, args := r.answers()
	sql := fmt.Sprintf("SELECT e.rule, e.variant, m.channel, e.day, uniqExactIf(m.entry, m.event = '%[1]s'), uniqExactIf(m.entry, m.event = '%[2]s'), "+
		"uniqExactIf(m.entry, m.event = '%[3]s') FROM (SELECT strs['entry'] AS entry, strs['channel'] AS channel, event FROM events "+
		"WHERE kind = %[4]d AND event IN ('%[1]s', '%[2]s', '%[3]s') AND bitAnd(flags, %[5]d) = 0) AS m INNER JOIN (%[6]s) AS e ON m.entry = e.entry GROUP BY ALL",
		events.MessageDelivered, events.MessageOpened, events.MessageClicked, events.KindMessage, uint32(events.MachineOpen), answers)
	return r.query(ctx, sql, args, func(rows driver.Rows) error {
		var k key
		var delivered, opened, clicked uint64
		if err := rows.Scan(&k.rule, &k.variant, &k.channel, &k.day, &delivered, &opened, &clicked); err != nil {
			return err //nolint:wrapcheck // Run says what for
		}
		row := r.row(k)
		row.Delivered += int64(delivered)
		row.Opened += int64(opened)
		row.Clicked += int64(clicked)
		return nil
	})
}

// goalsOf are the goals by rule, and the names of their events, sorted.
func goalsOf(ws *workspace.Workspace) (byRule map[string]*workspace.Goal, names []string) {
	byRule = map[string]*workspace.Goal{}
	set := map[string]bool{}
	for _, rule := range ws.Rules {
		if rule.Goal != nil {
			byRule[rule.Name] = rule.Goal
			set[rule.Goal.Event] = true
		}
	}
	return byRule, slices.Sorted(maps.Keys(set))
}

// valueOf is the amount of a goal event, 0 when it has none.
func valueOf(g *workspace.Goal, o *segments.Occurrence) float64 {
	path, ok := strings.CutPrefix(g.Value, "properties.")
	if !ok {
		return 0
	}
	var total float64
	events.Flatten(o.Properties, func(p string, v any) {
		if p != path {
			return
		}
		switch v := v.(type) {
		case float64:
			total = v
		case int64:
			total = float64(v)
		}
	})
	return total
}

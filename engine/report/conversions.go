package report

import (
	"cmp"
	"context"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"nudge/engine/workspace"
	"nudge/events"
	"nudge/segments"
)

// Touch is one accepted message of an entry, the first where there were several.
type Touch struct {
	Rule   string
	Entry  string
	Person events.PersonID
	At     int64 // Unix ms
	Value  string
}

// creditTogether is of how many people it is read together what they did.
const creditTogether = 8192

// Credit gives each goal event to the last message before it, of any rule whose goal it is: last touch. An entry
// converts when an event is credited to it within its rule's time. fn is called for each event with the message, with
// whether it is the first of the entry, and with its amount.
func Credit(ctx context.Context, history History, ws *workspace.Workspace, touches []Touch, fn func(t *Touch, first bool, value float64)) error {
	goals, names := goalsOf(ws)
	byPerson := map[events.PersonID][]*Touch{}
	for i := range touches {
		if t := &touches[i]; goals[t.Rule] != nil {
			byPerson[t.Person] = append(byPerson[t.Person], t)
		}
	}
	converted := map[string]bool{}
	for people := range slices.Chunk(slices.Sorted(maps.Keys(byPerson)), creditTogether) {
		first, last := int64(math.MaxInt64), int64(0)
		for _, person := range people {
			list := byPerson[person]
			slices.SortFunc(list, func(a, b *Touch) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Entry, b.Entry)) })
			for _, t := range list {
				first, last = min(first, t.At), max(last, t.At+goals[t.Rule].Within.Milliseconds())
			}
		}
		occurrences, err := history.Occurrences(ctx, people, names, first, last, events.Position(math.MaxUint64))
		if err != nil {
			return err //nolint:wrapcheck // says what it was doing
		}
		for _, person := range people {
			for i := range occurrences[person] {
				o := &occurrences[person][i]
				t := lastTouch(byPerson[person], o, goals)
				if t == nil {
					continue
				}
				fn(t, !converted[t.Entry], valueOf(goals[t.Rule], o))
				converted[t.Entry] = true
			}
		}
	}
	return nil
}

// lastTouch is the message that an event is credited to, nil for none. Touches are in order of time.
func lastTouch(list []*Touch, o *segments.Occurrence, goals map[string]*workspace.Goal) *Touch {
	for _, t := range slices.Backward(list) {
		g := goals[t.Rule]
		if o.Event != g.Event || o.Time <= t.At || o.Time > t.At+g.Within.Milliseconds() {
			continue
		}
		if g.Where == nil || g.Where.Eval(o, map[string]any{"entry.value": t.Value, "entry.at": t.At, "entry.since": t.At}) {
			return t
		}
	}
	return nil
}

// conversions counts what is credited to the report's entries.
func (r *reporter) conversions(ctx context.Context, history History) error {
	goals, _ := goalsOf(r.ws)
	if len(goals) == 0 {
		return nil
	}
	touches, keys, err := r.touches(ctx, goals)
	if err != nil {
		return err
	}
	err = Credit(ctx, history, r.ws, touches, func(t *Touch, first bool, value float64) {
		row := r.row(keys[t.Entry])
		row.Revenue += value
		if first {
			row.Converted++
		}
	})
	// Amounts are decimals: what adding floats leaves over is taken away again.
	for _, row := range r.rows {
		row.Revenue = math.Round(row.Revenue*1e6) / 1e6
	}
	return err
}

// touches lists accepted messages of rules with goals, and of which row of the report each entry is.
func (r *reporter) touches(ctx context.Context, goals map[string]*workspace.Goal) ([]Touch, map[string]key, error) {
	answers, args := r.answers()
	sql := "SELECT e.rule, e.variant, d.channel, e.day, d.entry, e.person, d.at, v.value FROM (" +
		"SELECT entry, argMin(x.channel, x.at) AS channel, min(x.at) AS at FROM deliveries AS x WHERE status = 'accepted' GROUP BY entry) AS d INNER JOIN (" +
		answers + ") AS e ON d.entry = e.entry INNER JOIN (SELECT entry, any(y.value) AS value FROM decisions AS y GROUP BY entry) AS v ON v.entry = d.entry"
	var out []Touch
	keys := map[string]key{}
	err := r.query(ctx, sql, args, func(rows driver.Rows) error {
		var t Touch
		var k key
		var person uint64
		var at time.Time
		if err := rows.Scan(&k.rule, &k.variant, &k.channel, &k.day, &t.Entry, &person, &at, &t.Value); err != nil {
			return err //nolint:wrapcheck // Run says what for
		}
		if goals[k.rule] == nil {
			return nil
		}
		t.Rule, t.Person, t.At = k.rule, events.PersonID(person), at.UnixMilli()
		out, keys[t.Entry] = append(out, t), k
		return nil
	})
	return out, keys, err
}

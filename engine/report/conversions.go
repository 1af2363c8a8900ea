package report

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"nudge/engine/workspace"
	"nudge/events"
	"nudge/segments"
)

// touch is one accepted message of an entry.
type touch struct {
	key
	entry  string
	person events.PersonID
	at     int64
	value  string
}

// conversions credits each goal event to the last message before it, of any rule whose goal it is:
// last touch. An entry converts when an event is credited to it within its rule's time.
func (r *reporter) conversions(ctx context.Context, history History) error {
	goals, names := r.goals()
	if len(names) == 0 {
		return nil
	}
	touches, err := r.touches(ctx, goals)
	if err != nil || len(touches) == 0 {
		return err
	}
	var people []events.PersonID
	first, last := touches[0].at, int64(0)
	for _, t := range touches {
		people = append(people, t.person)
		first, last = min(first, t.at), max(last, t.at+goals[t.rule].Within.Milliseconds())
	}
	slices.Sort(people)
	occurrences, err := history.Occurrences(ctx, slices.Compact(people), names, first, last, events.Position(math.MaxUint64))
	if err != nil {
		return err //nolint:wrapcheck // Run says what for
	}
	byPerson := map[events.PersonID][]touch{}
	for _, t := range touches {
		byPerson[t.person] = append(byPerson[t.person], t)
	}
	converted := map[string]bool{}
	for person, list := range byPerson {
		for i := range occurrences[person] {
			o := &occurrences[person][i]
			t := lastTouch(list, o, goals)
			if t == nil {
				continue
			}
			row := r.row(t.key)
			row.Revenue += valueOf(goals[t.rule], o)
			if !converted[t.entry] {
				converted[t.entry] = true
				row.Converted++
			}
		}
	}
	// Amounts are decimals: what adding floats leaves over is taken away again.
	for _, row := range r.rows {
		row.Revenue = math.Round(row.Revenue*1e6) / 1e6
	}
	return nil
}

// lastTouch is the message that an event is credited to, nil for none. Touches are in order of time.
func lastTouch(list []touch, o *segments.Occurrence, goals map[string]*workspace.Goal) *touch {
	for i := len(list) - 1; i >= 0; i-- {
		t := &list[i]
		g := goals[t.rule]
		if o.Event != g.Event || o.Time <= t.at || o.Time > t.at+g.Within.Milliseconds() {
			continue
		}
		if g.Where == nil || g.Where.Eval(o, map[string]any{"entry.value": t.value, "entry.at": t.at, "entry.since": t.at}) {
			return t
		}
	}
	return nil
}

// touches lists accepted messages of rules with goals, by time.
func (r *reporter) touches(ctx context.Context, goals map[string]*workspace.Goal) ([]touch, error) {
	answers, args := r.answers()
	sql := "SELECT e.rule, e.variant, d.channel, e.day, d.entry, e.person, d.at, v.value FROM (" +
		"SELECT entry, argMin(x.channel, x.at) AS channel, min(x.at) AS at FROM deliveries AS x WHERE status = 'accepted' GROUP BY entry) AS d INNER JOIN (" +
		answers + ") AS e ON d.entry = e.entry INNER JOIN (SELECT entry, any(y.value) AS value FROM decisions AS y GROUP BY entry) AS v ON v.entry = d.entry"
	var out []touch
	err := r.query(ctx, sql, args, func(rows driver.Rows) error {
		var t touch
		var person uint64
		var at time.Time
		if err := rows.Scan(&t.rule, &t.variant, &t.channel, &t.day, &t.entry, &person, &at, &t.value); err != nil {
			return err //nolint:wrapcheck // Run says what for
		}
		if goals[t.rule] == nil {
			return nil
		}
		t.person, t.at = events.PersonID(person), at.UnixMilli()
		out = append(out, t)
		return nil
	})
	slices.SortFunc(out, func(a, b touch) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.entry, b.entry)) })
	return out, err
}

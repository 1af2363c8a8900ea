package plan

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"nudge/events"
	"nudge/segments"
)

// Occurrences lists the events of the given names that happened to these people in (after, at], Unix
// ms, and had arrived by upTo, in (time, position) order. Nil people means everybody.
func (p *Planner) Occurrences(ctx context.Context, people []events.PersonID, names []string, after, at int64, upTo events.Position) (map[events.PersonID][]segments.Occurrence, error) {
	if len(names) == 0 || (people != nil && len(people) == 0) {
		return nil, nil
	}
	a := &asker{p: p}
	canonical, err := p.people.at(ctx, a, uint64(upTo))
	if err != nil {
		return nil, err
	}
	m := p.moment(at, uint64(upTo), 0, canonical)
	literals := make([]string, len(names))
	for i, n := range names {
		literals[i] = Literal(n)
	}
	out := map[events.PersonID][]segments.Occurrence{}
	read := func(only []uint64) error {
		from, person, conditions := m.from("events", "e", only)
		conditions = append(conditions, m.bounds("e", after)...)
		conditions = append(conditions, "e.event IN ("+strings.Join(literals, ", ")+")")
		sql := "SELECT " + person + " AS p, toUnixTimestamp64Milli(e.time) AS t, e.pos AS pos, e.event, e.properties, e.context FROM " +
			from + where(conditions) + " ORDER BY p, t, pos"
		ask := a.few
		if only == nil {
			ask = a.query
		}
		return ask(ctx, sql, func(scan func(...any) error) error {
			var person, pos uint64
			var o segments.Occurrence
			var properties, context string
			if err := scan(&person, &o.Time, &pos, &o.Event, &properties, &context); err != nil {
				return err
			}
			o.Pos, o.Properties, o.Context = events.Position(pos), json.RawMessage(properties), json.RawMessage(context)
			id := events.PersonID(person)
			out[id] = append(out[id], o)
			return nil
		})
	}
	if people == nil {
		err = read(nil)
	} else {
		for chunk := range slices.Chunk(canonicalPeople(canonical, people), p.chunk) {
			if err = read(chunk); err != nil {
				break
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read occurrences of %s: %w", strings.Join(names, ", "), err)
	}
	for _, id := range people {
		if c := events.PersonID(canonical.of(uint64(id))); c != id {
			out[id] = out[c]
		}
	}
	return out, nil
}

// Changes lists the merges and erasures that arrived in (after, upTo], in the order of arrival.
func (p *Planner) Changes(ctx context.Context, after, upTo events.Position) ([]segments.Change, error) {
	a := &asker{p: p}
	sql := fmt.Sprintf("SELECT DISTINCT pos, erased, person, into FROM ("+
		"SELECT pos, false AS erased, loser AS person, winner AS into FROM %[1]smerges WHERE pos > %[2]d AND pos <= %[3]d"+
		" UNION ALL SELECT pos, true, person, toUInt64(0) FROM %[1]serasures WHERE pos > %[2]d AND pos <= %[3]d) ORDER BY pos",
		p.database, uint64(after), uint64(upTo))
	var out []segments.Change
	err := a.since(ctx, sql, func(scan func(...any) error) error {
		var pos, person, into uint64
		var c segments.Change
		if err := scan(&pos, &c.Erased, &person, &into); err != nil {
			return err
		}
		c.Pos, c.Person, c.Into = events.Position(pos), events.PersonID(person), events.PersonID(into)
		out = append(out, c)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read merges and erasures: %w", err)
	}
	return out, nil
}

// Zones lists the IANA zones that people's devices were ever in, and those of their traits, sorted.
func (p *Planner) Zones(ctx context.Context) ([]string, error) {
	a := &asker{p: p}
	sql := fmt.Sprintf("SELECT DISTINCT zone FROM (SELECT zone FROM %[1]szones UNION ALL "+
		"SELECT assumeNotNull(str) FROM %[1]straits WHERE key = 'timezone' AND str IS NOT NULL) ORDER BY zone", p.database)
	var out []string
	err := a.query(ctx, sql, func(scan func(...any) error) error {
		var zone string
		if err := scan(&zone); err != nil {
			return err
		}
		if validZone(zone) {
			out = append(out, zone)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read people's zones: %w", err)
	}
	return out, nil
}

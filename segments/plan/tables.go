package plan

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"math"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"nudge/events"
	"nudge/segments"
	"nudge/segments/geo"
)

func (a *tables) merges(ctx context.Context, after, upTo uint64) (fresh []merge, erased map[uint64]uint64, err error) {
	erased = map[uint64]uint64{}
	db := a.p.database
	sql := fmt.Sprintf(
		"SELECT toUInt8(0) AS erasure, loser AS a, winner AS b, pos FROM %smerges WHERE pos > %d AND pos <= %d"+
			" UNION ALL SELECT toUInt8(1), person, toUInt64(0), max(pos) FROM %serasures WHERE pos <= %d GROUP BY person",
		db, after, upTo, db, upTo)
	err = a.since(ctx, sql, func(scan func(...any) error) error {
		var erasure uint8
		var x merge
		if err := scan(&erasure, &x.loser, &x.winner, &x.pos); err != nil {
			return err
		}
		if erasure == 1 {
			erased[x.loser] = x.pos
			return nil
		}
		fresh = append(fresh, x)
		return nil
	})
	return fresh, erased, err
}

func (a *tables) spans(ctx context.Context, m moment) ([]span, error) {
	whole := []span{{0, math.MaxUint64}}
	if a.p.part == DefaultPart && a.isLittle(ctx) {
		return whole, nil
	}
	var n uint64
	if err := a.run(ctx, "SELECT count() FROM "+m.database+"identities", func(scan func(...any) error) error { return scan(&n) }); err != nil {
		return nil, fmt.Errorf("counting people: %w", err)
	}
	parts := int(n) / a.p.part
	if parts < 2 {
		return whole, nil
	}
	levels := make([]byte, 0, 16*parts)
	for i := 1; i < parts; i++ {
		if i > 1 {
			levels = append(levels, ", "...)
		}
		levels = fmt.Appendf(levels, "%.6f", float64(i)/float64(parts))
	}
	var bounds []float64
	sql := fmt.Sprintf("SELECT quantiles(%s)(person) FROM %sidentities", levels, m.database)
	if err := a.query(ctx, sql, func(scan func(...any) error) error { return scan(&bounds) }); err != nil {
		return nil, fmt.Errorf("cutting people into parts: %w", err)
	}
	var out []span
	after := uint64(0)
	for _, b := range bounds {
		if to := uint64(b); to > after {
			out, after = append(out, span{after, to}), to
		}
	}
	return append(out, span{after, math.MaxUint64}), nil
}

// readStreamRow reads a row of arrivedSQL or crossedSQL: stream, kind, name, person, position, instant.
func readStreamRow(scan func(...any) error) (streamRow, error) {
	var of, kind uint8
	var name string
	var x streamRow
	if err := scan(&of, &kind, &name, &x.person, &x.pos, &x.time); err != nil {
		return x, err
	}
	switch x.of = streamOf(of); x.of {
	case ofAnything:
		x.stream = rowOf(events.Kind(kind), name)
	case ofDues:
		x.name = name
	default:
	}
	return x, nil
}

func (a *tables) arrived(ctx context.Context, m moment, readers map[stream][]int, after uint64, each func(streamRow)) error {
	sql := m.arrivedSQL(readers, after)
	if sql == "" {
		return nil
	}
	return a.since(ctx, sql, func(scan func(...any) error) error {
		x, err := readStreamRow(scan)
		if err == nil {
			each(x)
		}
		return err
	})
}

func (a *tables) crossed(ctx context.Context, m moment, ask []needed, most int, each func(streamRow)) error {
	for _, sql := range m.crossedSQL(ask, most) {
		err := a.few(ctx, sql, func(scan func(...any) error) error {
			x, err := readStreamRow(scan)
			if err == nil {
				each(x)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *tables) heard(ctx context.Context, l *look, kinds []listeners, triggers []events.Position, each func(s stream, person uint64, first, last int64)) error {
	if rows := a.atHand(l, kinds); rows != nil {
		l.heardAmong(rows, triggers, each)
		return nil
	}
	return a.since(ctx, l.hearSQL(kinds, triggers), func(scan func(...any) error) error {
		var kind uint8
		var name string
		var person uint64
		var first, last int64
		if err := scan(&kind, &name, &person, &first, &last); err != nil {
			return err
		}
		each(rowOf(events.Kind(kind), name), person, first, last)
		return nil
	})
}

// atHand are the rows of streams that arrived for a look, where they are at hand; else nil.
func (a *tables) atHand(l *look, kinds []listeners) iter.Seq[*row] {
	if l.Triggers != nil {
		return nil
	}
	rows, all := a.p.tail.arrived(streamsOf(kinds), uint64(l.After), uint64(l.UpTo))
	if !all {
		return nil
	}
	return eachRow(rows)
}

func eachRow(rows []row) iter.Seq[*row] {
	return func(yield func(*row) bool) {
		for i := range rows {
			if !yield(&rows[i]) {
				return
			}
		}
	}
}

func (a *tables) triggers(
	ctx context.Context, l *look, on *segments.On, asked []events.Position, h *heard, people []uint64, each func(c candidate, passes bool),
) error {
	if rows := a.atHand(l, []listeners{{on: on}}); rows != nil {
		l.triggersAmong(rows, on, asked, people, each)
		return nil
	}
	var rows []row
	err := a.few(ctx, l.arrivalsSQL(on, asked, h, people), func(scan func(...any) error) error {
		var r row
		if err := scan(&r.person, &r.pos, &r.kind, &r.flags, &r.of.Time, &r.of.Event, &r.of.Properties, &r.of.Context); err != nil {
			return err
		}
		r.of.Pos = events.Position(r.pos)
		rows = append(rows, r)
		return nil
	})
	if err != nil {
		return err
	}
	l.triggersAmong(eachRow(rows), on, asked, people, each)
	return nil
}

func (a *tables) passing(ctx context.Context, l *look, g group, s *span) ([]candidate, error) {
	sql := l.candidatesSQL(g, s)
	if sql == "" {
		return nil, nil
	}
	sets := map[string][]int{} // by what is passed: most candidates share a few
	var out []candidate
	err := a.query(ctx, sql, func(scan func(...any) error) error {
		var c candidate
		var passes []uint8
		if err := scan(&c.person, &c.value, &passes); err != nil {
			return err
		}
		who, ok := sets[string(passes)]
		if !ok {
			for i, w := range g.who {
				if passes[i] == 1 {
					who = append(who, w)
				}
			}
			sets[string(passes)] = who
		}
		c.who = who
		out = append(out, c)
		return nil
	})
	return out, err
}

func (a *tables) lastFixes(ctx context.Context, m moment, o geo.Options, each func(person uint64, at geo.Fix)) error {
	return a.query(ctx, m.lastFixes(o), func(scan func(...any) error) error {
		var person uint64
		var fix geo.Fix
		if err := scan(&person, &fix.Lat, &fix.Lon); err != nil {
			return err
		}
		each(person, fix)
		return nil
	})
}

func (a *tables) histories(ctx context.Context, m moment, f *fold, people []uint64, newest int, r *row, each func()) error {
	sql := f.sql(m, people)
	if newest > 0 {
		sql += fmt.Sprintf(" ORDER BY e.time DESC, e.pos DESC LIMIT %d", newest)
	}
	dest := []any{&r.person, &r.of.Time, &r.pos, &r.kind, &r.of.Event, &r.flags, &r.of.Properties, &r.of.Context}
	return a.about(people)(ctx, sql, func(scan func(...any) error) error {
		r.of = segments.Occurrence{} // nothing is shared with the row before
		if err := scan(dest...); err != nil {
			return err
		}
		each()
		return nil
	})
}

func (a *tables) profiles(ctx context.Context, m moment, people []uint64, parts profileParts, each func(profileRow)) error {
	return a.about(people)(ctx, m.profilesSQL(people, parts), func(scan func(...any) error) error {
		var x profileRow
		if err := scan(&x.what, &x.p, &x.a, &x.b, &x.c, &x.d, &x.t, &x.n, &x.yes); err != nil {
			return err
		}
		each(x)
		return nil
	})
}

func (a *tables) fixes(ctx context.Context, m moment, people []uint64, each func(person uint64, fix geo.Fix)) error {
	from, person, conditions := m.from("fixes", "x", people)
	conditions = append(conditions, m.bounds("x", m.at-geo.History)...)
	return a.few(ctx, "SELECT "+person+" AS p, toUnixTimestamp64Milli(x.time), x.pos, x.lat, x.lon, x.accuracy FROM "+from+where(conditions),
		func(scan func(...any) error) error {
			var p, pos uint64
			var fix geo.Fix
			if err := scan(&p, &fix.Time, &pos, &fix.Lat, &fix.Lon, &fix.Accuracy); err != nil {
				return err
			}
			fix.Pos = events.Position(pos)
			each(p, fix)
			return nil
		})
}

func (a *tables) everyone(ctx context.Context, m moment, all []asked) (counts []uint64, err error) {
	parts := make([]string, len(all))
	for i, x := range all {
		parts[i] = "uniqExactIf(p, " + x.sql + ")"
	}
	rows := m.eventRows([]source{all[0].source}, nil, words(parts...), &conditions{})
	err = a.query(ctx, "SELECT ["+strings.Join(parts, ", ")+"] FROM ("+rows+")", func(scan func(...any) error) error { return scan(&counts) })
	return counts, err
}

func (a *tables) occurrences(
	ctx context.Context, m moment, people []uint64, names []string, after int64, each func(person uint64, o segments.Occurrence),
) error {
	literals := make([]string, len(names))
	for i, n := range names {
		literals[i] = Literal(n)
	}
	from, person, conditions := m.from("events", "e", people)
	conditions = append(conditions, m.bounds("e", after)...)
	conditions = append(conditions, "e.event IN ("+strings.Join(literals, ", ")+")", fmt.Sprintf("bitAnd(e.flags, %d) = 0", uint32(events.MachineOpen)))
	sql := "SELECT " + person + " AS p, toUnixTimestamp64Milli(e.time) AS t, e.pos AS pos, e.event, e.properties, e.context FROM " +
		from + where(conditions) + " ORDER BY p, t, pos"
	ask := a.few
	if people == nil {
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
		each(person, o)
		return nil
	})
}

func (a *tables) changes(ctx context.Context, after, upTo uint64) (out []segments.Change, err error) {
	sql := fmt.Sprintf("SELECT DISTINCT pos, erased, person, into FROM ("+
		"SELECT pos, false AS erased, loser AS person, winner AS into FROM %[1]smerges WHERE pos > %[2]d AND pos <= %[3]d"+
		" UNION ALL SELECT pos, true, person, toUInt64(0) FROM %[1]serasures WHERE pos > %[2]d AND pos <= %[3]d) ORDER BY pos",
		a.p.database, after, upTo)
	err = a.since(ctx, sql, func(scan func(...any) error) error {
		var pos, person, into uint64
		var c segments.Change
		if err := scan(&pos, &c.Erased, &person, &into); err != nil {
			return err
		}
		c.Pos, c.Person, c.Into = events.Position(pos), events.PersonID(person), events.PersonID(into)
		out = append(out, c)
		return nil
	})
	return out, err
}

func (a *tables) zones(ctx context.Context) (out []string, err error) {
	sql := fmt.Sprintf("SELECT DISTINCT zone FROM (SELECT zone FROM %[1]szones UNION ALL "+
		"SELECT assumeNotNull(str) FROM %[1]straits WHERE key = 'timezone' AND str IS NOT NULL) ORDER BY zone", a.p.database)
	err = a.query(ctx, sql, func(scan func(...any) error) error {
		var zone string
		if err := scan(&zone); err != nil {
			return err
		}
		out = append(out, zone)
		return nil
	})
	return out, err
}

func (a *tables) saveDues(ctx context.Context, l *look, dues []due) error {
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0}))
	batch, err := a.p.conn.PrepareBatch(ctx, "INSERT INTO "+l.moment.table("dues")+" (cond, at, person, value, pos)")
	if err != nil {
		return err
	}
	defer func() { _ = batch.Abort() }() // after a Send it does nothing
	for _, d := range dues {
		if err := batch.Append(l.Who[d.who].Hash(), time.UnixMilli(d.at).UTC(), d.person, d.value, uint64(l.UpTo)); err != nil {
			return err
		}
	}
	a.p.queries.Add(1)
	return batch.Send()
}

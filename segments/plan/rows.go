package plan

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"nudge/events"
	"nudge/segments"
)

// eventColumns are the columns of the rows that features are computed from.
const eventColumns = "toUnixTimestamp64Milli(e.time) AS t, e.pos AS pos, e.kind AS kind, e.event AS event, e.flags AS flags, " +
	"e.strs AS strs, e.nums AS nums, e.bools AS bools, e.bigs AS bigs, e.properties AS properties, e.context AS context"

// source is one event whose history is read, and how far back (ms; 0 is all that is kept).
type source struct {
	event, message string
	within         int64
}

func sourcesOf(features []*segments.Feature) []source {
	out := make([]source, len(features))
	for i, f := range features {
		out[i] = source{f.Event, f.Message, f.Within}
	}
	return out
}

// eventRows writes the query for the rows of these events (of everyone, or of some people), with
// the canonical person as p.
func (m moment) eventRows(sources []source, only []uint64, extra ...string) string {
	from, person, conditions := m.canonical.from(m.database, "events", "e", only)
	after := m.after
	if furthest := furthest(sources); furthest > 0 {
		after = max(after, m.at-furthest)
	}
	conditions = append(conditions, m.bounds("e", after)...)
	conditions = append(conditions, named(sources)...)
	conditions = append(conditions, extra...)
	return "SELECT " + person + " AS p, " + eventColumns + " FROM " + from + " WHERE " + strings.Join(conditions, " AND ")
}

// furthest is the longest window, 0 when one has no bound.
func furthest(sources []source) int64 {
	var out int64
	for _, s := range sources {
		if s.within == 0 {
			return 0
		}
		out = max(out, s.within)
	}
	return out
}

// named are conditions that every row of these events passes: they let the table skip the others.
// What belongs to a feature is said again, exactly, by its own condition.
func named(sources []source) []string {
	var names []string
	app, ours, any := false, false, false
	for _, s := range sources {
		switch {
		case s.message != "":
			ours = true
		default:
			app = true
		}
		any = any || s.message == "" && s.event == "*"
		if name := literal(s.event); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	kinds := "e.kind IN (1, 3, 4, 7)"
	switch {
	case !ours:
		kinds = "e.kind IN (1, 3, 4)"
	case !app:
		kinds = "e.kind = 7"
	}
	if any {
		return []string{kinds}
	}
	return []string{kinds, "e.event IN (" + strings.Join(names, ", ") + ")"}
}

// Kinds of the rows that are no events: a trait, a user id, and somebody who merely exists.
const (
	kindTrait  = 255
	kindUserID = 254
	kindPerson = 253
)

// personRows writes the query for all rows that a prefilter about people needs: the events of its
// features, and where asked traits, user ids and everybody, dressed as events that no feature counts.
func (m moment) personRows(need rowsNeeded) string {
	var parts []string
	dressed := len(need.traits) > 0 || need.userID || need.everyone
	if len(need.features) > 0 {
		rows := m.eventRows(sourcesOf(need.features), nil)
		if !dressed {
			return rows
		}
		parts = append(parts, strings.Replace(rows, eventColumns, eventColumns+", '' AS trait", 1))
	}
	row := func(table, alias, at, event, trait string, kind int, extra ...string) {
		from, person, conditions := m.canonical.from(m.database, table, alias, nil)
		conditions = append(append(conditions, m.bounds(alias, math.MinInt64)...), extra...)
		parts = append(parts, fmt.Sprintf("SELECT %s AS p, %s AS t, %s.pos AS pos, toUInt8(%d) AS kind, %s AS event, toUInt32(0) AS flags, "+
			"CAST(map(), 'Map(LowCardinality(String), String)') AS strs, CAST(map(), 'Map(LowCardinality(String), Float64)') AS nums, "+
			"CAST(map(), 'Map(LowCardinality(String), Bool)') AS bools, CAST(map(), 'Map(LowCardinality(String), Int64)') AS bigs, "+
			"'' AS properties, '' AS context, %s AS trait FROM %s WHERE %s",
			person, at, alias, kind, event, trait, from, strings.Join(conditions, " AND ")))
	}
	if len(need.traits) > 0 {
		keys := make([]string, len(need.traits))
		for i, key := range need.traits {
			keys[i] = literal(key)
		}
		row("traits", "x", "toUnixTimestamp64Milli(x.time)", "x.key", "x.value", kindTrait, "x.key IN ("+strings.Join(keys, ", ")+")")
	}
	if need.userID || need.everyone {
		// An id that anonymous rows have is no user id; both say that the person exists.
		row("identities", "i", "toInt64(0)", "toLowCardinality('')", "i.id", kindUserID, "i.kind = 'user'")
	}
	if need.everyone {
		row("identities", "a", "toInt64(0)", "toLowCardinality('')", "''", kindPerson, "a.kind != 'user'")
	}
	return strings.Join(parts, " UNION ALL ")
}

// forEachSource is the history whose values for_each lists.
func forEachSource(f *segments.ForEach) (source, string) {
	return source{event: f.Event}, all(happened(f.Event, ""), render(f.Filter, occurrence{}))
}

// keyedRows writes the query for the rows of a for_each, with the value as v.
func (m moment) keyedRows(f *segments.ForEach, features []*segments.Feature, only []uint64) string {
	own, _ := forEachSource(f)
	rows := m.eventRows(append(sourcesOf(features), own), only)
	return "SELECT *, " + textOf(f.Path) + " AS v FROM (" + rows + ") WHERE v != ''"
}

func personIDs(people []uint64) []events.PersonID {
	out := make([]events.PersonID, len(people))
	for i, p := range people {
		out[i] = events.PersonID(p)
	}
	return out
}

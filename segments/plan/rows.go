package plan

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"nudge/events"
	"nudge/segments"
)

// eventColumns are the columns of the rows that features are computed from.
const eventColumns = "toUnixTimestamp64Milli(e.time) AS t, e.pos AS pos, e.kind AS kind, e.event AS event, e.flags AS flags, " +
	"e.strs AS strs, e.nums AS nums, e.bools AS bools, e.bigs AS bigs, e.properties AS properties, e.context AS context"

// derivedColumns are what aggregates order by, and what they keep of a row.
const derivedColumns = "(t, pos) AS tp, tuple(t, pos, event, properties, context) AS o"

// conditions are the distinct conditions under which rows count, computed once for each row as
// columns c0, c1, …: most features share theirs with others, and what a query costs before it reads
// anything grows with its text.
type conditions struct {
	names map[string]string
	list  []string
}

// column is the name of a condition's column.
func (c *conditions) column(sql string) string {
	if sql == "0" || sql == "1" {
		return sql
	}
	name, ok := c.names[sql]
	if !ok {
		if c.names == nil {
			c.names = map[string]string{}
		}
		name = "c" + strconv.Itoa(len(c.list))
		c.names[sql] = name
		c.list = append(c.list, sql+" AS "+name)
	}
	return name
}

func (c *conditions) columns() string {
	return strings.Join(append([]string{derivedColumns}, c.list...), ", ")
}

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
// the canonical person as p and further columns.
func (m moment) eventRows(sources []source, only []uint64, columns string, extra ...string) string {
	from, person, conditions := m.canonical.from(m.database, "events", "e", only)
	after := m.after
	if furthest := furthest(sources); furthest > 0 {
		after = max(after, m.at-furthest)
	}
	conditions = append(conditions, m.bounds("e", after)...)
	conditions = append(conditions, named(sources)...)
	conditions = append(conditions, extra...)
	if columns != "" {
		columns = ", " + columns
	}
	return "SELECT " + person + " AS p, " + eventColumns + columns + " FROM " + from + where(conditions)
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
func (m moment) personRows(need rowsNeeded, conds *conditions) string {
	var parts []string
	dressed := len(need.traits) > 0 || need.userID || need.everyone
	if len(need.features) > 0 {
		if !dressed {
			return m.eventRows(sourcesOf(need.features), nil, conds.columns())
		}
		parts = append(parts, m.eventRows(sourcesOf(need.features), nil, "'' AS trait"))
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
	if len(parts) == 0 {
		return ""
	}
	return "SELECT *, " + conds.columns() + " FROM (" + strings.Join(parts, " UNION ALL ") + ")"
}

// forEachSource is the history whose values for_each lists.
func forEachSource(f *segments.ForEach) (source, string) {
	return source{event: f.Event}, all(happened(f.Event, ""), render(f.Filter, occurrence{}))
}

// keyedRows writes the query for the rows of a for_each, with the value as v.
func (m moment) keyedRows(f *segments.ForEach, features []*segments.Feature, only []uint64, conds *conditions) string {
	own, _ := forEachSource(f)
	return m.eventRows(append(sourcesOf(features), own), only, textOf(f.Path)+" AS v, "+conds.columns(), "v != ''")
}

func personIDs(people []uint64) []events.PersonID {
	out := make([]events.PersonID, len(people))
	for i, p := range people {
		out[i] = events.PersonID(p)
	}
	return out
}

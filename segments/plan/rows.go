package plan

import (
	"cmp"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"nudge/segments"
)

// rowColumn is a column of the rows that features are computed from.
type rowColumn struct {
	name  string
	event string // of a row of events
	other string // of any other row, unless it has its own
}

var rowColumns = []rowColumn{
	{"t", "toUnixTimestamp64Milli(e.time)", ""},
	{"pos", "e.pos", ""},
	{"kind", "e.kind", ""},
	{"event", "e.event", ""},
	{"flags", "e.flags", "toUInt32(0)"},
	{"strs", "e.strs", "CAST(map(), 'Map(LowCardinality(String), String)')"},
	{"nums", "e.nums", "CAST(map(), 'Map(LowCardinality(String), Float64)')"},
	{"bools", "e.bools", "CAST(map(), 'Map(LowCardinality(String), Bool)')"},
	{"bigs", "e.bigs", "CAST(map(), 'Map(LowCardinality(String), Int64)')"},
	{"properties", "e.properties", "''"},
	{"context", "e.context", "''"},
	{"trait", "''", ""},
}

// derivedColumns are what aggregates order by.
var derivedColumns = []rowColumn{
	{"tp", "(t, pos)", ""},
}

var word = regexp.MustCompile(`[a-z]+`)

// words are the words of SQL texts: whatever columns they read are among them. What a query costs
// before it reads anything grows with its columns, so that only those are selected.
func words(texts ...string) map[string]bool {
	out := map[string]bool{}
	for _, text := range texts {
		for _, w := range word.FindAllString(text, -1) {
			out[w] = true
		}
	}
	return out
}

// columnsOf are the columns of the rows that are read by words: those of the table, and then the derived ones.
func columnsOf(read map[string]bool, conds *conditions) (rows []rowColumn, derived []string) {
	for _, c := range derivedColumns {
		if read[c.name] {
			derived = append(derived, c.event+" AS "+c.name)
		}
	}
	derived = append(derived, conds.list...)
	read = maps.Clone(read)
	maps.Copy(read, words(derived...))
	for _, c := range rowColumns {
		if read[c.name] {
			rows = append(rows, c)
		}
	}
	return rows, derived
}

func selected(columns []rowColumn) []string {
	out := make([]string, len(columns))
	for i, c := range columns {
		out[i] = c.event + " AS " + c.name
	}
	return out
}

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
// the canonical person as p, the columns that the words read, and further ones.
func (m moment) eventRows(sources []source, only []uint64, read map[string]bool, conds *conditions, further ...string) string {
	own, derived := columnsOf(read, conds)
	return m.eventSelect(sources, only, append(append(selected(own), further...), derived...))
}

func (m moment) eventSelect(sources []source, only []uint64, columns []string) string {
	from, person, conditions := m.from("events", "e", only)
	after := m.after
	if furthest := furthest(sources); furthest > 0 {
		after = max(after, m.at-furthest)
	}
	conditions = append(conditions, m.bounds("e", after)...)
	conditions = append(conditions, named(sources)...)
	return "SELECT " + strings.Join(append([]string{person + " AS p"}, columns...), ", ") + " FROM " + from + where(conditions)
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
		if name := Literal(s.event); !slices.Contains(names, name) {
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
	kindTrait  = "255"
	kindUserID = "254"
	kindPerson = "253"
)

// personRows writes the query for all rows that a prefilter about people needs: the events of its
// features, and where asked traits, user ids and everybody, dressed as events that no feature counts.
func (m moment) personRows(need rowsNeeded, read map[string]bool, conds *conditions) string {
	dressed := len(need.traits) > 0 || need.userID || need.everyone
	if !dressed {
		if len(need.features) == 0 {
			return ""
		}
		return m.eventRows(sourcesOf(need.features), nil, read, conds)
	}
	own, derived := columnsOf(read, conds)
	var parts []string
	if len(need.features) > 0 {
		parts = append(parts, m.eventSelect(sourcesOf(need.features), nil, selected(own)))
	}
	row := func(table, alias, at, event, trait, kind string, extra ...string) {
		from, person, conditions := m.from(table, alias, nil)
		conditions = append(append(conditions, m.bounds(alias, math.MinInt64)...), extra...)
		given := map[string]string{"t": at, "pos": alias + ".pos", "kind": "toUInt8(" + kind + ")", "event": event, "trait": trait}
		columns := []string{person + " AS p"}
		for _, c := range own {
			columns = append(columns, cmp.Or(given[c.name], c.other)+" AS "+c.name)
		}
		parts = append(parts, "SELECT "+strings.Join(columns, ", ")+" FROM "+from+where(conditions))
	}
	if len(need.traits) > 0 {
		keys := make([]string, len(need.traits))
		for i, key := range need.traits {
			keys[i] = Literal(key)
		}
		row("traits", "x", "toUnixTimestamp64Milli(x.time)", "x.key", "x.value", kindTrait, "x.key IN ("+strings.Join(keys, ", ")+")")
	}
	if need.userID || need.everyone { // an id that anonymous rows have is no user id; both say that the person exists
		var users []string
		if !need.everyone {
			users = append(users, "i.kind = 'user'")
		}
		row("identities", "i", "toInt64(0)", "toLowCardinality('')", "i.id", "if(i.kind = 'user', "+kindUserID+", "+kindPerson+")", users...)
	}
	rows := strings.Join(parts, " UNION ALL ")
	if len(derived) == 0 {
		return rows
	}
	return "SELECT *, " + strings.Join(derived, ", ") + " FROM (" + rows + ")"
}

// forEachSource is the history whose values for_each lists.
func forEachSource(f *segments.ForEach) (source, string) {
	return source{event: f.Event}, all(happened(f.Event, ""), render(f.Filter, occurrence{}))
}

// keyedRows writes the query for the rows of a for_each, with the value as v.
func (m moment) keyedRows(f *segments.ForEach, features []*segments.Feature, read map[string]bool, conds *conditions) string {
	own, _ := forEachSource(f)
	v := textOf(f.Path)
	maps.Copy(read, words(v))
	return m.eventRows(append(sourcesOf(features), own), nil, read, conds, v+" AS v") + " AND v != ''"
}

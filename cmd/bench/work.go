package main

import (
	"context"
	"fmt"
	"strings"

	"nudge/events/clickhouse"
)

// counters are ClickHouse's own counts of what it did, which say where its CPU goes.
var counters = []struct{ event, title string }{
	{"InsertQuery", "inserts"},
	{"InsertedRows", "rows inserted, all tables"},
	{"SelectQuery", "selects"},
	{"SelectedRows", "rows read by selects"},
	{"Merge", "merges"},
	{"MergedRows", "rows rewritten by merges, all tables"},
	{"FileSync", "files synced"},
	{"DirectorySync", "folders synced"},
}

// worked reads the counters.
func worked(ctx context.Context, store *clickhouse.Store) (map[string]float64, error) {
	names := make([]string, len(counters))
	for i, c := range counters {
		names[i] = c.event
	}
	return counted(ctx, store, names...)
}

// counted is what ClickHouse has counted of some of its events so far.
func counted(ctx context.Context, store *clickhouse.Store, names ...string) (map[string]float64, error) {
	rows, err := store.Conn().Query(ctx, "SELECT event, value FROM system.events WHERE event IN ('"+strings.Join(names, "', '")+"')")
	if err != nil {
		return nil, fmt.Errorf("ask ClickHouse what it did: %w", err)
	}
	defer rows.Close()
	out := map[string]float64{}
	for rows.Next() {
		var event string
		var value uint64
		if err := rows.Scan(&event, &value); err != nil {
			return nil, fmt.Errorf("ask ClickHouse what it did: %w", err)
		}
		out[event] = float64(value)
	}
	return out, rows.Err()
}

// work is what ClickHouse did for n events.
type work struct {
	name     string
	counters map[string]float64
	events   int64
}

// workTable compares what ClickHouse did in several runs.
func workTable(works []work) *table {
	t := &table{
		Key: "work", Title: "What ClickHouse did, for each 1,000 events",
		Columns: []column{{"what", "what", 0}},
	}
	for _, w := range works {
		t.Columns = append(t.Columns, column{w.name, w.name, 2})
	}
	for _, c := range counters {
		cells := []any{c.title}
		for _, w := range works {
			cells = append(cells, w.counters[c.event]/float64(max(w.events, 1))*1000)
		}
		t.row(cells...)
	}
	t.note("The looks of this tool, one select every %s (%s at half rate) and while merges settle, are in all of them.", watchLoosely, watchClosely)
	return t
}

// minus is what was counted since before.
func minus(after, before map[string]float64) map[string]float64 {
	out := map[string]float64{}
	for k, v := range after {
		out[k] = v - before[k]
	}
	return out
}

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
		names[i] = "'" + c.event + "'"
	}
	rows, err := store.Conn().Query(ctx, "SELECT event, value FROM system.events WHERE event IN ("+strings.Join(names, ", ")+")")
	if err != nil {
		return nil, fmt.Errorf("ask ClickHouse what it did: %w", err)
	}
	defer rows.Close() //nolint:errcheck // Err says it
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

// workTable compares what ClickHouse did for a phase with what it did for a bare insert.
func workTable(full, bare map[string]float64, events, rows float64) *table {
	t := &table{
		Key: "work", Title: "What ClickHouse did, for each 1,000 events: the sustained run, and the bare insert of encoded blocks",
		Columns: []column{{"what", "what", 0}, {"nudge", "nudge", 2}, {"bare", "bare", 2}},
	}
	for _, c := range counters {
		t.row(c.title, full[c.event]/events*1000, bare[c.event]/rows*1000)
	}
	t.note("The looks of this tool, one select every %s and while merges settle, are in both.", watchEvery)
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

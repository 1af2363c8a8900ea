package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"nudge/events/clickhouse"
)

// cost is what one look took.
type cost struct {
	took          time.Duration
	queries       int64
	rows, bytes   float64 // that ClickHouse read
	nudge, engine float64 // MB beyond what they had
	nudgeCPU, cpu time.Duration
	people, own   int64 // judged, and their events
	answers       int64
	parts         int
	load          float64
}

// costMeter measures one look.
type costMeter struct {
	t       *ticking
	meter   *meter
	before  map[string]float64
	queries int64
	memory  [2]float64
}

func (t *ticking) startCost(ctx context.Context) (*costMeter, error) {
	debug.FreeOSMemory() // what the look before left is no part of this one
	m := &costMeter{t: t, queries: t.planner.Queries()}
	var err error
	for i, p := range []process{t.self, t.engine} {
		if err := p.forgetPeak(); err != nil {
			return nil, err
		}
		m.memory[i] = p.rss()
	}
	if m.before, err = read(ctx, t.store); err != nil {
		return nil, err
	}
	m.meter, err = startMeter(t.self, t.engine)
	return m, err
}

func (m *costMeter) stop(ctx context.Context) (c cost, err error) {
	c.took = time.Since(m.meter.start)
	used, err := m.meter.used()
	if err != nil {
		return c, err
	}
	c.nudgeCPU, c.cpu = used["nudge"], used["clickhouse"]
	c.nudge, c.engine = max(0, m.t.self.peak()-m.memory[0]), max(0, m.t.engine.peak()-m.memory[1])
	c.queries, c.load = m.t.planner.Queries()-m.queries, loadNumber()
	after, err := read(ctx, m.t.store)
	did := minus(after, m.before)
	c.rows, c.bytes = did["SelectedRows"], did["SelectedBytes"]
	return c, err
}

// read is what ClickHouse has read so far: rows and bytes.
func read(ctx context.Context, store *clickhouse.Store) (map[string]float64, error) {
	return counted(ctx, store, "SelectedRows", "SelectedBytes")
}

// forgetPeak makes the kernel count the process's peak of memory from now on.
func (p process) forgetPeak() error {
	if err := os.WriteFile(filepath.Join("/proc", strconv.Itoa(p.pid), "clear_refs"), []byte("5"), 0); err != nil {
		return fmt.Errorf("measure the memory of %s (this needs Linux): %w", p.name, err)
	}
	return nil
}

// peak is the most memory that the process had resident since forgetPeak, in megabytes.
func (p process) peak() float64 {
	kb, err := strconv.ParseFloat(strings.TrimSuffix(field(fmt.Sprintf("/proc/%d/status", p.pid), "VmHWM"), " kB"), 64)
	if err != nil {
		return 0
	}
	return kb / 1024
}

// median is the look of median duration.
func median(cs []cost) cost { return at(cs, 0.5) }

// at is the look whose duration a share q of all does not exceed.
func at(cs []cost, q float64) cost {
	sorted := slices.SortedFunc(slices.Values(cs), func(a, b cost) int { return int(a.took - b.took) })
	return sorted[min(len(sorted)-1, max(0, int(q*float64(len(sorted))+0.9999999)-1))]
}

// costs is a table of looks.
type costs struct{ table }

func costTable(title string) *costs {
	return &costs{table{
		Key: "ticks", Title: title,
		Columns: []column{
			{"look", "look", 0},
			{"n", "n", 0},
			{"p50_ms", "p50 ms", 0},
			{"p95_ms", "p95 ms", 0},
			{"max_ms", "max ms", 0},
			{"queries", "queries", 0},
			{"rows", "rows read", 0},
			{"mb", "MB read", 1},
			{"people", "judged", 0},
			{"own", "own events", 0},
			{"rows_per_own", "rows/own", 1},
			{"mb_nudge", "nudge MB", 0},
			{"mb_clickhouse", "clickhouse MB", 0},
			{"ms_nudge", "nudge CPU ms", 0},
			{"ms_clickhouse", "clickhouse CPU ms", 0},
			{"load", "load", 1},
		},
	}}
}

func (t *costs) list() []*table { return []*table{&t.table} }

// add is a row of looks of one kind.
func (t *costs) add(name string, cs []cost) {
	mean := func(of func(cost) float64) float64 {
		sum := 0.0
		for _, c := range cs {
			sum += of(c)
		}
		return sum / float64(len(cs))
	}
	most := func(of func(cost) float64) float64 {
		most := 0.0
		for _, c := range cs {
			most = max(most, of(c))
		}
		return most
	}
	rows, own := mean(func(c cost) float64 { return c.rows }), mean(func(c cost) float64 { return float64(c.own) })
	var people, owned, ratio any // of a design that judges nobody in particular
	if own > 0 {
		people, owned, ratio = mean(func(c cost) float64 { return float64(c.people) }), own, rows/own
	}
	t.row(name, float64(len(cs)), ms(at(cs, 0.5).took), ms(at(cs, 0.95).took), ms(at(cs, 1).took), mean(func(c cost) float64 { return float64(c.queries) }),
		rows, mean(func(c cost) float64 { return c.bytes })/1e6, people, owned, ratio,
		most(func(c cost) float64 { return c.nudge }), most(func(c cost) float64 { return c.engine }),
		mean(func(c cost) float64 { return ms(c.nudgeCPU) }), mean(func(c cost) float64 { return ms(c.cpu) }), mean(func(c cost) float64 { return c.load }))
}

// probe is a connection that can be told to note each query.
type probe struct {
	driver.Conn
	mu    sync.Mutex
	on    bool
	noted []*query
}

// query is a query that was noted.
type query struct {
	sql         string
	took        time.Duration
	rows, bytes float64
	result      int64
}

// Query implements driver.Conn.
func (p *probe) Query(ctx context.Context, sql string, args ...any) (driver.Rows, error) {
	p.mu.Lock()
	on := p.on
	p.mu.Unlock()
	if !on {
		return p.Conn.Query(ctx, sql, args...)
	}
	q := &query{sql: sql}
	before, err := p.counters(ctx)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	rows, err := p.Conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return &noted{Rows: rows, close: func(n int64) {
		q.took, q.result = time.Since(start), n
		if after, err := p.counters(ctx); err == nil {
			q.rows, q.bytes = after[0]-before[0], after[1]-before[1]
		}
		p.mu.Lock()
		p.noted = append(p.noted, q)
		p.mu.Unlock()
	}}, nil
}

func (p *probe) counters(ctx context.Context) (out [2]float64, err error) {
	var rows, bytes uint64
	err = p.Conn.QueryRow(ctx, "SELECT sumIf(value, event = 'SelectedRows'), sumIf(value, event = 'SelectedBytes') FROM system.events").Scan(&rows, &bytes)
	return [2]float64{float64(rows), float64(bytes)}, err
}

// noted are rows whose end is noticed.
type noted struct {
	driver.Rows
	n     int64
	close func(n int64)
}

// Next implements driver.Rows.
func (n *noted) Next() bool {
	ok := n.Rows.Next()
	if ok {
		n.n++
	}
	return ok
}

// Close implements driver.Rows.
func (n *noted) Close() error {
	err := n.Rows.Close()
	if n.close != nil {
		n.close(n.n)
		n.close = nil
	}
	return err
}

var (
	listOfNumbers = regexp.MustCompile(`\d+(,\s*\d+){2,}`)
	anyNumber     = regexp.MustCompile(`\b\d{3,}\b`)
	blanks        = regexp.MustCompile(`\s+`)
)

// shape is a query without its numbers.
func shape(sql string) string {
	return blanks.ReplaceAllString(anyNumber.ReplaceAllString(listOfNumbers.ReplaceAllString(sql, "…"), "#"), " ")
}

// shapeRunes is how much of a query the table shows: its beginning and its end.
const shapeRunes = 150

func abridged(text string) string {
	r := []rune(text)
	if len(r) <= shapeRunes {
		return text
	}
	return string(r[:shapeRunes*2/3]) + " … " + string(r[len(r)-shapeRunes/3:])
}

// takeApart ticks once more and notes each query.
func (t *ticking) takeApart(ctx context.Context, set *ruleState) (*table, error) {
	if err := t.arrive(ctx); err != nil {
		return nil, err
	}
	t.probe.on = true
	_, err := t.look(ctx, set, false)
	t.probe.on = false
	if err != nil {
		return nil, err
	}
	return t.queryTable("One tick", "tick")
}

// queryTable shares the time of what the probe noted among the kinds of queries, and forgets it. With
// --profile the texts are written there.
func (t *ticking) queryTable(what, file string) (*table, error) {
	type kind struct {
		query
		n int
	}
	kinds := map[string]*kind{}
	var order []*kind
	var total time.Duration
	var texts strings.Builder
	for _, q := range t.probe.noted {
		fmt.Fprintf(&texts, "-- %.1f ms, %.0f rows, %.0f bytes read, %d rows answered\n%s;\n\n", ms(q.took), q.rows, q.bytes, q.result, q.sql)
		key := shape(q.sql)
		k := kinds[key]
		if k == nil {
			k = &kind{query: query{sql: key}}
			kinds[key] = k
			order = append(order, k)
		}
		k.n++
		k.took, k.rows, k.bytes, k.result = k.took+q.took, k.rows+q.rows, k.bytes+q.bytes, k.result+q.result
		total += q.took
	}
	t.probe.noted = nil
	if t.s.profile != "" {
		if err := os.WriteFile(filepath.Join(t.s.profile, fmt.Sprintf("%s-%d-queries.sql", file, t.shop.Events)), []byte(texts.String()), 0o644); err != nil {
			return nil, fmt.Errorf("write the queries of a look: %w", err)
		}
	}
	slices.SortStableFunc(order, func(a, b *kind) int { return int(b.took - a.took) })
	out := &table{
		Key: file + "_queries", Title: fmt.Sprintf("%s, query by query: %.0f ms in all of them", what, ms(total)),
		Columns: []column{{"ms", "ms", 1}, {"n", "n", 0}, {"rows", "rows read", 0}, {"mb", "MB read", 2}, {"result", "rows answered", 0}, {"query", "query", 0}},
	}
	const most = 15
	for i, k := range order {
		if i == most {
			out.note("%d more kinds of queries are not shown; --profile DIR writes the whole text of each query.", len(order)-most)
			break
		}
		out.row(ms(k.took), float64(k.n), k.rows, k.bytes/1e6, float64(k.result), abridged(k.sql))
	}
	out.note("The time of a query is until its last row was read; queries that run beside each other count each other's rows.")
	return out, nil
}

// diskTable shares the disk out among tables and their further orders.
func diskTable(ctx context.Context, store *clickhouse.Store, n int64) (*table, error) {
	out := &table{
		Key: "disk", Title: "Disk, of tables and of what they keep a second time",
		Columns: []column{{"what", "what", 0}, {"rows", "rows", 0}, {"mb", "MB", 1}, {"per_event", "bytes/event", 2}, {"parts", "parts", 0}},
	}
	rows, err := store.Conn().Query(ctx, `SELECT * FROM (
SELECT table AS what, sum(rows) AS n, sum(bytes_on_disk) AS bytes, count() AS parts FROM system.parts WHERE active AND database = currentDatabase() AND rows > 0 GROUP BY table
UNION ALL
SELECT concat(table, '.', name), sum(rows), sum(bytes_on_disk), count() FROM system.projection_parts WHERE active AND database = currentDatabase() GROUP BY table, name
) WHERE bytes >= 10000 ORDER BY splitByChar('.', what)[1] IN ('events') DESC, splitByChar('.', what)[1], what`)
	if err != nil {
		return nil, fmt.Errorf("ask what the disk holds: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var what string
		var count, bytes, parts uint64
		if err := rows.Scan(&what, &count, &bytes, &parts); err != nil {
			return nil, fmt.Errorf("ask what the disk holds: %w", err)
		}
		out.row(what, float64(count), float64(bytes)/1e6, float64(bytes)/float64(n), float64(parts))
	}
	out.note("A table's bytes include those of its further orders, the rows with a point. Bytes are for each event of the store.")
	return out, rows.Err()
}

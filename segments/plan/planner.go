package plan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync/atomic"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"nudge/events"
	"nudge/events/memory"
	"nudge/segments"
	"nudge/segments/geo"
)

// DefaultChunk is how many people are judged together.
const DefaultChunk = 8192

// DefaultPart is how many people's rows a look at everybody reads together.
const DefaultPart = 150_000

// DefaultRecent is how far back is read first (ms): inactivity is mostly asked for in days up to a week.
const DefaultRecent = 8 * 24 * 60 * 60 * 1000

// DefaultRecentFrom is from how many people on their last days are read first: a query has its price.
const DefaultRecentFrom = 200

// Options configure a Planner.
type Options struct {
	Conn driver.Conn // the store
	// Memory, where it is set, is the store instead.
	Memory   *memory.Store
	Database string // "" is the connection's own
	// Elsewhere says of tables that are read, or written (dues), in another place what their full names are: a
	// backtest has messages and dues of its own.
	Elsewhere map[string]string
	// Fences returns the fences of near(…) and inside(…); nil, or a nil result, has none. It is
	// called once for each Look that brings none.
	Fences func() *geo.Fences
	Fixes  geo.Options // which location fixes count
	Chunk  int         // people judged together; 0 is DefaultChunk
	Part   int         // people of a look at everybody that are read together; 0 is DefaultPart
	// Recent is how far back (ms) is read first of those whose answer can have changed, where they are at least
	// RecentFrom; 0 are DefaultRecent and DefaultRecentFrom.
	Recent     int64
	RecentFrom int
	// Logger is told how far a look at everybody in several parts has come; nil: nobody is.
	Logger *slog.Logger
	// Judged, where it is set, is told whom conditions are judged for. It may be called concurrently.
	Judged func(who *segments.Who, at int64, of *segments.Candidate)
	// Tail has what arrived last, if it is set.
	Tail *Tail
	// Changed is a position up to which people may have been merged or erased, and after which nobody
	// was, as far as the store goes; nil: nobody knows, and the store is asked for every look.
	Changed func() events.Position
}

// Planner answers Looks. It is safe for concurrent use.
type Planner struct {
	conn       driver.Conn
	store      store
	tail       *Tail
	database   string
	elsewhere  map[string]string
	fences     func() *geo.Fences
	fixes      geo.Options
	chunk      int
	part       int
	log        *slog.Logger
	atOnce     int   // people of whom all is read at once
	apartFrom  int   // people who are read apart from others
	recent     int64 // ms
	recentFrom int
	ahead      ahead
	judged     func(who *segments.Who, at int64, of *segments.Candidate)
	queries    atomic.Int64
	asked      atomic.Int64 // queries about everybody
	little     atomic.Bool  // the store holds few events
	mostlyTrue atomic.Bool  // what arrived last made most of the conditions with `on` true
	people     people
	// overlooks is for the test of the tests: changes that a tick does not see (an age of -1: that a row
	// arrives).
	overlooks func(s stream, age int64) bool
}

// New makes a planner. It asks nothing of the store yet.
func New(o Options) *Planner {
	p := &Planner{conn: o.Conn, tail: o.Tail, elsewhere: o.Elsewhere, fences: o.Fences, fixes: o.Fixes, judged: o.Judged, chunk: o.Chunk, part: o.Part, atOnce: readAtOnce, apartFrom: apartFrom, recent: o.Recent, recentFrom: o.RecentFrom}
	p.people.changed = o.Changed
	p.store = &tables{p}
	if o.Memory != nil {
		p.store = &inMemory{o.Memory}
	}
	if o.Database != "" {
		p.database = "`" + strings.ReplaceAll(o.Database, "`", "\\`") + "`."
	}
	if p.fences == nil {
		p.fences = func() *geo.Fences { return nil }
	}
	if p.log = o.Logger; p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if p.recent <= 0 {
		p.recent = DefaultRecent
	}
	if p.recentFrom <= 0 {
		p.recentFrom = DefaultRecentFrom
	}
	if p.chunk <= 0 {
		p.chunk = DefaultChunk
	}
	if p.part <= 0 {
		p.part = DefaultPart
	}
	if p.fixes.MaxAge <= 0 {
		p.fixes.MaxAge = geo.DefaultMaxAge
	}
	if p.fixes.MaxAccuracy <= 0 {
		p.fixes.MaxAccuracy = geo.DefaultMaxAccuracy
	}
	return p
}

// Queries is how many queries the planner has sent to the store since it was made.
func (p *Planner) Queries() int64 { return p.queries.Load() }

// tables is the store of ClickHouse.
type tables struct{ p *Planner }

// Settings of the queries. The newer analyzer of ClickHouse 26 takes a time for the queries of conditions
// that grows with the square of their text: 16 rich conditions (12 KB) 5 s before anything is read, the older
// one 0.4 s of the same machine. The indexes of positions leave out nothing that a key has not, and looking at
// them is a fifth of what a lookup of some people costs. For queries that read little setting up threads costs more
// than a third of all that they cost.
const (
	manyThreads = " SETTINGS enable_analyzer = 0, use_skip_indexes = 0"
	oneThread   = manyThreads + ", max_threads = 1"
	// What has just arrived is in parts that have nothing else: of these the order by position has as much to read
	// as the table, which is taken then, and read whole. So it is named.
	byPosition = " SETTINGS enable_analyzer = 0, max_threads = 1, preferred_optimize_projection_name = 'by_pos'"
)

// littleEvents is how many events one thread reads fast enough (about 50 ms).
const littleEvents = 500_000

// recount is after how many queries about everybody the events are counted again.
const recount = 256

// query runs a query that reads everybody's rows, and calls row for each of its rows; scan reads the
// current one.
func (a *tables) query(ctx context.Context, sql string, row func(scan func(dest ...any) error) error) error {
	if a.isLittle(ctx) {
		return a.run(ctx, sql+oneThread, row)
	}
	return a.run(ctx, sql+manyThreads, row)
}

// isLittle says whether the store holds few events, and counts them again every so often.
func (a *tables) isLittle(ctx context.Context) bool {
	if a.p.asked.Add(1)%recount == 1 {
		a.p.little.Store(a.events(ctx) <= littleEvents)
	}
	return a.p.little.Load()
}

// few runs a query about given people.
func (a *tables) few(ctx context.Context, sql string, row func(scan func(dest ...any) error) error) error {
	return a.run(ctx, sql+oneThread, row)
}

// severalThreadsFrom is about how many people a query is run by several threads.
const severalThreadsFrom = 200

// about runs queries about given people.
func (a *tables) about(people []uint64) func(context.Context, string, func(scan func(...any) error) error) error {
	if len(people) < severalThreadsFrom {
		return a.few
	}
	return a.query
}

// since runs a query about rows of a range of positions.
func (a *tables) since(ctx context.Context, sql string, row func(scan func(dest ...any) error) error) error {
	return a.run(ctx, sql+byPosition, row)
}

// events is how many events are stored here: very many when the store does not say, or keeps them in
// a cluster.
func (a *tables) events(ctx context.Context) uint64 {
	var rows uint64
	database := "currentDatabase()"
	if a.p.database != "" {
		database = Literal(strings.Trim(a.p.database, "`."))
	}
	sql := "SELECT sum(total_rows) FROM system.tables WHERE database = " + database + " AND name = 'events' AND engine LIKE '%MergeTree'"
	err := a.run(ctx, sql, func(scan func(dest ...any) error) error {
		var n *uint64
		if err := scan(&n); err != nil {
			return err
		}
		if n == nil {
			rows = math.MaxUint64
		} else {
			rows = *n
		}
		return nil
	})
	if err != nil {
		return math.MaxUint64
	}
	return rows
}

func (a *tables) run(ctx context.Context, sql string, row func(scan func(dest ...any) error) error) error {
	a.p.queries.Add(1)
	rows, err := a.p.conn.Query(ctx, sql)
	if err != nil {
		return queryError(ctx, err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return queryError(ctx, err)
	}
	return nil
}

// refused is a query that the store answered with an error, as opposed to a store that did not
// answer: the condition behind it is at fault, or too expensive, and others need not suffer.
type refused struct{ err error }

func (r *refused) Error() string        { return segments.ErrRefused.Error() + ": " + r.err.Error() }
func (r *refused) Unwrap() error        { return r.err }
func (r *refused) Is(target error) bool { return target == segments.ErrRefused }

func queryError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var exception *clickhouse.Exception
	if errors.As(err, &exception) || strings.Contains(err.Error(), "DB::Exception") {
		return &refused{err}
	}
	return fmt.Errorf("asking the store: %w", err)
}

func isRefused(err error) bool { return errors.Is(err, segments.ErrRefused) }

// moment is what every query of a look is bound to: an instant, a position, and the people as
// merged at that position.
type moment struct {
	at        int64
	upTo      uint64
	after     int64 // event times ≤ it are beyond retention; math.MinInt64 when there is no limit
	database  string
	elsewhere map[string]string
	canonical *mapping
	span      *span // of people that a query about everybody is about; nil: of all
}

func (p *Planner) moment(at int64, upTo uint64, retention int64, m *mapping) moment {
	after := int64(math.MinInt64)
	if retention > 0 {
		after = at - retention
	}
	return moment{at: at, upTo: upTo, after: after, database: p.database, elsewhere: p.elsewhere, canonical: m}
}

// table is a table's full name.
func (m moment) table(name string) string {
	if there, ok := m.elsewhere[name]; ok {
		return there
	}
	return m.database + name
}

// The instants that a DateTime64(3) can hold, Unix ms: the years 1900 to 2299.
const oldest, newest = -2208988800000, 10413791999999

// Instant writes Unix milliseconds as a DateTime64(3), clamped to what the store can hold.
func Instant(ms int64) string {
	return fmt.Sprintf("fromUnixTimestamp64Milli(toInt64(%d), 'UTC')", min(max(ms, oldest), newest))
}

// bounds are the conditions on time and position of a history table named by the alias.
func (m moment) bounds(alias string, after int64) []string {
	out := []string{
		fmt.Sprintf("%s.pos <= %d", alias, m.upTo),
		fmt.Sprintf("%s.time <= %s", alias, Instant(m.at)),
	}
	if after != math.MinInt64 {
		out = append(out, fmt.Sprintf("%s.time > %s", alias, Instant(after)))
	}
	return out
}

package clickhouse_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"

	"nudge/events"
	store "nudge/events/clickhouse"
	"nudge/events/clickhouse/clickhousetest"
)

// tables are what readers and writers of the store rely on.
var tables = []string{
	"checkpoints", "consents", "dead_letters", "decisions", "dedup", "deliveries", "devices", "dues", "erasures", "events", "fixes",
	"identities", "merges", "pruned", "requests", "shard_log", "sources", "ticks", "traits", "zones",
	"consents_current", "devices_current", "ledger", "people", "person_map", "person_paths", "traits_current",
}

func TestMigrate(t *testing.T) {
	s := clickhousetest.NewUnmigrated(t)
	ctx := context.Background()
	for range 2 { // the second finds all as it is
		require.NoError(t, s.Migrate(ctx, store.Layout{}))
		for _, table := range tables {
			var n uint64
			require.NoError(t, s.Conn().QueryRow(ctx, "SELECT count() FROM "+table).Scan(&n), table)
			require.Zero(t, n, table)
		}
		var versions []uint32
		require.NoError(t, s.Conn().QueryRow(ctx, "SELECT groupArray(version) FROM (SELECT version FROM schema_migrations ORDER BY version)").Scan(&versions))
		require.Equal(t, []uint32{1, 2, 3, 4, 5, 6, 7, 8, 9}, versions)
	}
}

func TestMigrateRefusesANewerStore(t *testing.T) {
	s := clickhousetest.New(t)
	ctx := context.Background()
	require.NoError(t, s.Conn().Exec(ctx, "INSERT INTO schema_migrations (version, name) VALUES (9999, 'later')"))
	require.ErrorContains(t, s.Migrate(ctx, store.Layout{}), "the store has version 9999, this program knows up to 9: use the newer nudge")
}

func TestRetention(t *testing.T) {
	s := clickhousetest.NewUnmigrated(t)
	ctx := context.Background()
	engine := func() (full string) {
		require.NoError(t, s.Conn().QueryRow(ctx, "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = 'events'").Scan(&full))
		return full
	}
	const day = 24 * time.Hour
	require.NoError(t, s.Migrate(ctx, store.Layout{Retention: 90 * day}))
	require.Contains(t, engine(), "TTL toDateTime(time) + toIntervalDay(98)", "eight days longer, for ticks")
	require.NoError(t, s.Migrate(ctx, store.Layout{Retention: 30 * day}))
	require.Contains(t, engine(), "TTL toDateTime(time) + toIntervalDay(38)")
	require.NoError(t, s.Migrate(ctx, store.Layout{}))
	require.NotContains(t, engine(), "TTL toDateTime")
	require.NoError(t, s.Migrate(ctx, store.Layout{Retention: 30 * day}))

	// What is older goes with a merge, and takes nothing younger along.
	b := store.NewEventBatch()
	b.Append(&store.EventRow{Time: t0, Pos: 1}) // the store's own clock is later than t0 by months
	require.NoError(t, s.InsertEvents(ctx, b))
	require.NoError(t, s.Conn().Exec(ctx, "INSERT INTO events (person, time, pos) SELECT 2, now64(3), 2"))
	require.NoError(t, s.Conn().Exec(ctx, "OPTIMIZE TABLE events FINAL"))
	var positions []uint64
	require.NoError(t, s.Conn().QueryRow(ctx, "SELECT groupArray(pos) FROM events").Scan(&positions))
	require.Equal(t, []uint64{2}, positions)
}

// Values of the ledger go, its rows stay. A store of a version that let the rows go is changed.
func TestRetentionOfTheLedger(t *testing.T) {
	s := clickhousetest.NewUnmigrated(t)
	ctx := context.Background()
	const day = 24 * time.Hour
	exec := func(q string) { require.NoError(t, s.Conn().Exec(ctx, q), q) }
	made := func(table string) (q string) {
		require.NoError(t, s.Conn().QueryRow(ctx, "SELECT create_table_query FROM system.tables WHERE database = currentDatabase() AND name = '"+table+"'").Scan(&q))
		return q
	}
	require.NoError(t, s.Migrate(ctx, store.Layout{}))
	fresh := made("decisions")
	for _, table := range []string{"decisions", "deliveries"} {
		exec("ALTER TABLE " + table + " MODIFY TTL toDateTime(at) + toIntervalDay(90)")
	}
	require.NoError(t, s.Migrate(ctx, store.Layout{Retention: 90 * day}))
	require.Equal(t, 4, strings.Count(made("decisions"), " TTL toDateTime(greatest(at, due, expires)) + toIntervalDay(90)"))
	require.Equal(t, 4, strings.Count(made("decisions"), " TTL "))
	require.NoError(t, s.Migrate(ctx, store.Layout{}))
	require.Equal(t, fresh, made("decisions"))
	exec("ALTER TABLE decisions MODIFY COLUMN features TTL toDateTime(at) + toIntervalDay(1)") // cut short
	require.NoError(t, s.Migrate(ctx, store.Layout{Retention: 30 * day}))
	require.Equal(t, 4, strings.Count(made("decisions"), "toIntervalDay(30)"))
	require.Equal(t, 3, strings.Count(made("deliveries"), " TTL toDateTime(at) + toIntervalDay(30)"))

	exec("INSERT INTO decisions (entry, at, expires, features, `with`, profile, devices) SELECT 'old', now64(3) - INTERVAL 60 DAY, 0, 'f', 'w', 'p', ['d'] UNION ALL " +
		"SELECT 'held', now64(3) - INTERVAL 60 DAY, now64(3) - INTERVAL 10 DAY, 'f', 'w', 'p', ['d'] UNION ALL SELECT 'new', now64(3), 0, 'f', 'w', 'p', ['d']")
	exec("INSERT INTO deliveries (entry, at, text) SELECT 'old', now64(3) - INTERVAL 60 DAY, 't'")
	exec("OPTIMIZE TABLE decisions FINAL")
	exec("OPTIMIZE TABLE deliveries FINAL")
	var rows []string
	require.NoError(t, s.Conn().QueryRow(ctx, "SELECT groupArray(r) FROM (SELECT concat(entry, features, `with`, profile, arrayStringConcat(devices)) AS r FROM decisions ORDER BY entry "+
		"UNION ALL SELECT concat(entry, text) FROM deliveries) SETTINGS max_threads = 1").Scan(&rows))
	require.ElementsMatch(t, []string{"heldfwpd", "newfwpd", "old", "old"}, rows)
}

func TestCheckpoints(t *testing.T) {
	s := clickhousetest.New(t)
	ctx := context.Background()
	at := func(reader string) events.Position {
		pos, err := s.Checkpoint(ctx, reader)
		require.NoError(t, err)
		return pos
	}
	require.Zero(t, at("writer"))
	require.NoError(t, s.SetCheckpoint(ctx, "writer", events.EndOf(7)))
	require.NoError(t, s.SetCheckpoint(ctx, "o'reader", 1<<63+1))
	require.NoError(t, s.SetCheckpoint(ctx, "writer", events.EndOf(3)))
	require.Equal(t, events.EndOf(7), at("writer"))
	require.Equal(t, events.Position(1<<63+1), at("o'reader"))

	b := store.NewEventBatch()
	for _, pos := range []events.Position{events.At(6, 0), events.EndOf(7), events.At(8, 0), events.At(9, 1)} {
		b.Append(&store.EventRow{Time: t0, Pos: pos})
	}
	require.NoError(t, s.InsertEvents(ctx, b))
	present, err := s.PresentAbove(ctx, "events", at("writer"))
	require.NoError(t, err)
	require.Equal(t, map[events.Position]bool{events.At(8, 0): true, events.At(9, 1): true}, present)
	_, err = s.PresentAbove(ctx, "nosuch", 0)
	require.ErrorContains(t, err, "read what nosuch has above 0.0")
}

func TestSQL(t *testing.T) {
	s := clickhousetest.New(t)
	const query = "SELECT toUInt64(18446744073709551615) AS big, 'a,\"b\"\n' AS text, map('k', 1.5) AS m, NULL AS nothing, toDateTime64(1.25, 3, 'UTC') AS at, [true, false] AS list; "
	for _, c := range []struct{ format, want string }{
		{"json", "[\n{\"big\":18446744073709551615,\"text\":\"a,\\\"b\\\"\\n\",\"m\":{\"k\":1.5},\"nothing\":null,\"at\":\"1970-01-01 00:00:01.250\",\"list\":[true,false]}\n]\n"},
		{"csv", "big,text,m,nothing,at,list\n18446744073709551615,\"a,\"\"b\"\"\n\",\"{\"\"k\"\":1.5}\",\\N,1970-01-01 00:00:01.250,\"[true,false]\"\n"},
		{"tsv", "big\ttext\tm\tnothing\tat\tlist\n18446744073709551615\ta,\"b\"\\n\t{\"k\":1.5}\t\\N\t1970-01-01 00:00:01.250\t[true,false]\n"},
		{"table", "big                   text     m          nothing  at                       list\n────────────────────  ───────  ─────────  ───────  ───────────────────────  ────────────\n18446744073709551615  a,\"b\"\\n  {\"k\":1.5}  NULL     1970-01-01 00:00:01.250  [true,false]\n"},
	} {
		t.Run(c.format, func(t *testing.T) {
			var out bytes.Buffer
			require.NoError(t, s.SQL(context.Background(), query, &out, c.format))
			require.Equal(t, c.want, out.String())
		})
	}
}

func TestSQLOnlyReads(t *testing.T) {
	s := clickhousetest.New(t)
	ctx := context.Background()
	for _, query := range []string{
		"INSERT INTO events (pos) VALUES (1)", "DROP TABLE events", "CREATE TABLE x (a UInt8) ENGINE = Memory", "ALTER TABLE events DELETE WHERE 1",
		"TRUNCATE TABLE events", "SET readonly = 0", "SELECT 1 SETTINGS readonly = 0", "OPTIMIZE TABLE events",
		"INSERT INTO FUNCTION file('/tmp/nudge-written', CSV, 'a UInt8') SELECT 1", "KILL QUERY WHERE 1", "SYSTEM STOP MERGES",
		"WITH 1 AS x INSERT INTO events (pos) SELECT x", "WITH 1 AS x INSERT INTO FUNCTION file('/tmp/nudge-written', CSV, 'a UInt8') SELECT x",
		"/* SELECT */ -- SELECT\nDROP TABLE events", "(DROP TABLE events)",
	} {
		t.Run(query, func(t *testing.T) {
			var out bytes.Buffer
			require.ErrorContains(t, s.SQL(ctx, query, &out, "json"), "only queries that read are allowed here")
		})
	}
	var out bytes.Buffer
	require.ErrorContains(t, s.SQL(ctx, "SELECT 1; DROP TABLE events", &out, "json"), "Multi-statements are not allowed")
	require.NoError(t, s.SQL(ctx, "-- how many?\n(SELECT count() FROM events SETTINGS max_threads = 1)", &out, "csv"))
	require.NoError(t, s.SQL(ctx, "DESCRIBE merges", &out, "csv"))
	require.NoError(t, s.SQL(ctx, "SHOW TABLES", &out, "csv"))
	require.NoError(t, s.SQL(ctx, "EXPLAIN SELECT 1", &out, "csv"))
	require.NoError(t, s.SQL(ctx, "WITH 1 AS a SELECT a WHERE 0", &out, "table"))
	require.Contains(t, out.String(), "count()\n0\nname,type,")
	require.ErrorContains(t, s.SQL(ctx, "SELECT 1", &out, "xml"), `there is no format "xml": one of table, json, csv, tsv`)
	require.ErrorContains(t, s.SQL(ctx, " ; ", &out, "csv"), "there is no query")
	err := s.SQL(ctx, "SELECT nosuch FROM events", &out, "csv")
	require.ErrorContains(t, err, "nosuch")
	require.Equal(t, 47, store.Code(err))
	require.NoError(t, s.Conn().Exec(ctx, "INSERT INTO events (pos) VALUES (1)"), "the connections of others are not read-only")
}

func TestQueries(t *testing.T) {
	s := clickhousetest.New(t)
	ctx := context.Background()
	t.Run("named parameters", func(t *testing.T) {
		var text string
		var list []uint64
		require.NoError(t, s.Conn().QueryRow(ctx, "SELECT {a:String}, {b:Array(UInt64)}",
			clickhouse.Named("a", "it's\ta \\ {b:UInt64}\n"), clickhouse.Named("b", []uint64{1, 1<<64 - 1})).Scan(&text, &list))
		require.Equal(t, "it's\ta \\ {b:UInt64}\n", text)
		require.Equal(t, []uint64{1, 1<<64 - 1}, list)
	})
	t.Run("settings hold for one query", func(t *testing.T) {
		ask := func(ctx context.Context) (n string) {
			require.NoError(t, s.Conn().QueryRow(ctx, "SELECT toString(getSetting('max_block_size'))").Scan(&n))
			return n
		}
		before := ask(ctx)
		require.Equal(t, "17", ask(clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"max_block_size": 17}))))
		require.Equal(t, before, ask(ctx))
		require.NoError(t, s.Conn().Exec(ctx, "SET max_block_size = 18"))
		require.Equal(t, before, ask(ctx))
	})
	t.Run("a large result comes whole, empty blocks and all", func(t *testing.T) {
		rows, err := s.Conn().Query(ctx, "SELECT number, toString(number) FROM numbers(3000000) WHERE number % 1000000 < 10 OR number > 2900000")
		require.NoError(t, err)
		n := 0
		for rows.Next() {
			n++
		}
		require.NoError(t, rows.Err())
		require.Equal(t, 3*10+99_999, n)
	})
	t.Run("an error in the middle of a result", func(t *testing.T) {
		rows, err := s.Conn().Query(ctx, "SELECT throwIf(number = 5000000, 'far down') FROM numbers(10000000)")
		require.NoError(t, err)
		for rows.Next() {
		}
		require.ErrorContains(t, rows.Err(), "far down")
		require.Equal(t, 395, store.Code(rows.Err()))
		require.NoError(t, s.Conn().Ping(ctx))
	})
	t.Run("errors carry ClickHouse's code", func(t *testing.T) {
		for query, code := range map[string]int{
			"SELEC 1": 62, "SELECT x": 47, "SELECT * FROM nosuch": 60, "SELECT nosuch()": 46, "SELECT 1 SETTINGS nosuch = 1": 115,
			"SELECT toUInt8('x')": 6, "INSERT INTO events (nosuch) VALUES (1)": 16,
		} {
			err := s.Conn().Exec(ctx, query)
			require.Equal(t, code, store.Code(err), "%s: %v", query, err)
			require.False(t, store.Unavailable(err))
		}
	})
	t.Run("batches by row, JSON, Nullable and backticks", func(t *testing.T) {
		batch, err := s.Conn().PrepareBatch(ctx, "INSERT INTO traits (person, key, value, num, str, time, pos)")
		require.NoError(t, err)
		num := 1.5
		require.NoError(t, batch.Append(uint64(1), "plan", `"gold"`, nil, "gold", time.UnixMilli(t0), uint64(1)))
		require.NoError(t, batch.Append(uint64(1), "age", "1.5", &num, nil, time.UnixMilli(t0), uint64(2)))
		require.NoError(t, batch.Send())
		var out bytes.Buffer
		require.NoError(t, s.SQL(ctx, "SELECT key, value, num, str FROM traits ORDER BY key", &out, "csv"))
		require.Equal(t, "key,value,num,str\nage,1.5,1.5,\\N\nplan,\"\"\"gold\"\"\",\\N,gold\n", out.String())

		batch, err = s.Conn().PrepareBatch(ctx, "INSERT INTO dead_letters (pos, `index`, reason, raw)")
		require.NoError(t, err)
		require.NoError(t, batch.Append(uint64(1), uint32(3), "why", "\x00\xff\n"))
		require.NoError(t, batch.Send())
		var index uint32
		require.NoError(t, s.Conn().QueryRow(ctx, "SELECT index FROM dead_letters WHERE raw = '\\0\\xff\\n'").Scan(&index))
		require.EqualValues(t, 3, index)

		require.NoError(t, s.Conn().Exec(ctx, "CREATE TABLE j (id UInt64, doc JSON) ENGINE = MergeTree ORDER BY id"))
		batch, err = s.Conn().PrepareBatch(ctx, "INSERT INTO j")
		require.NoError(t, err)
		require.NoError(t, batch.Append(uint64(1), `{"a":{"b":1},"list":[1,2],"text":"x"}`))
		require.NoError(t, batch.Send())
		var b int64
		require.NoError(t, s.Conn().QueryRow(ctx, "SELECT doc.a.b.:Int64 FROM j").Scan(&b))
		require.EqualValues(t, 1, b)
	})
	t.Run("text formats", func(t *testing.T) {
		require.NoError(t, s.Conn().InsertFormat(ctx, "JSONEachRow", "INSERT INTO merges (loser, winner)", bytes.NewBufferString("{\"loser\":1,\"winner\":2}\n{\"loser\":3,\"winner\":4}\n")))
		require.NoError(t, s.Conn().InsertFormat(ctx, "CSV", "INSERT INTO merges (loser, winner)", bytes.NewBufferString("5,6\n")))
		var sum uint64
		require.NoError(t, s.Conn().QueryRow(ctx, "SELECT sum(loser * winner) FROM merges").Scan(&sum))
		require.EqualValues(t, 2+12+30, sum)
	})
	t.Run("external tables", func(t *testing.T) {
		table, err := newPeople(1, 2, 3)
		require.NoError(t, err)
		var n uint64
		for range 2 { // the second does not find the first's
			require.NoError(t, s.Conn().QueryRow(clickhouse.Context(ctx, clickhouse.WithExternalTable(table)), "SELECT sum(person) FROM people_asked").Scan(&n))
			require.EqualValues(t, 6, n)
		}
		require.Equal(t, 60, store.Code(s.Conn().Exec(ctx, "SELECT * FROM people_asked")))
	})
	t.Run("a cancelled query ends in the engine", func(t *testing.T) {
		cancelled, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() {
			done <- s.Conn().Exec(cancelled, "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 7 SETTINGS max_threads = 1")
		}()
		running := func() (n uint64) {
			require.NoError(t, s.Conn().QueryRow(ctx, "SELECT count() FROM system.processes WHERE query LIKE 'SELECT count() FROM numbers(10000%'").Scan(&n))
			return n
		}
		require.Eventually(t, func() bool { return running() == 1 }, time.Minute, time.Millisecond)
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		require.Eventually(t, func() bool { return running() == 0 }, time.Minute, time.Millisecond)
	})
}

// Erasing is a mutation, and the second order follows it. The lightweight DELETE FROM is refused:
// with `lightweight_mutation_projection_mode = 'rebuild'` the second order still showed the rows.
func TestDelete(t *testing.T) {
	s := clickhousetest.New(t)
	ctx := context.Background()
	b := store.NewEventBatch()
	for i := range 1000 {
		b.Append(&store.EventRow{Person: events.PersonID(i % 10), Event: "Product Viewed", Time: t0 + int64(i), Pos: events.Position(i + 1)})
	}
	require.NoError(t, s.InsertEvents(ctx, b))
	require.ErrorContains(t, s.Conn().Exec(ctx, "DELETE FROM events WHERE person = 7"), "lightweight_mutation_projection_mode")
	require.NoError(t, s.Conn().Exec(ctx, "ALTER TABLE events DELETE WHERE person = 7 SETTINGS mutations_sync = 1"))
	for _, settings := range []string{"optimize_use_projections = 0", "force_optimize_projection = 1"} {
		var n, sevens uint64
		require.NoError(t, s.Conn().QueryRow(ctx, "SELECT count(person), countIf(person = 7) FROM events WHERE event = 'Product Viewed' AND time > 0 SETTINGS "+settings).Scan(&n, &sevens))
		require.Equal(t, []uint64{900, 0}, []uint64{n, sevens}, settings)
	}
}

// An instant that is due goes 40 days after it has passed, by the machine's clock; one of a clock that is
// behind stays as long from the writing. A repeated insert is one row.
func TestDuesExpire(t *testing.T) {
	s := clickhousetest.New(t)
	ctx := context.Background()
	for _, q := range []string{
		"INSERT INTO dues (cond, at, person, written) SELECT 'c', now64(3) - INTERVAL 41 DAY, 1, now() - INTERVAL 41 DAY",
		"INSERT INTO dues (cond, at, person, written) SELECT 'c', now64(3) - INTERVAL 39 DAY, 2, now() - INTERVAL 41 DAY",
		"INSERT INTO dues (cond, at, person) SELECT 'c', now64(3) - INTERVAL 1000 DAY, 3",
		"INSERT INTO dues (cond, at, person) SELECT 'c', toDateTime64('2030-01-01 00:00:00', 3) + toIntervalDay(number), 4 FROM numbers(10000)",
		"INSERT INTO dues (cond, at, person) SELECT 'c', toDateTime64('2030-01-01 00:00:00', 3), 4",
		"OPTIMIZE TABLE dues FINAL",
	} {
		require.NoError(t, s.Conn().Exec(ctx, q), q)
	}
	var counts []uint64
	require.NoError(t, s.Conn().QueryRow(ctx, "SELECT groupArray(n) FROM (SELECT count() AS n FROM dues GROUP BY person ORDER BY person)").Scan(&counts))
	require.Equal(t, []uint64{1, 1, 10000}, counts)
}

func TestUnavailable(t *testing.T) {
	s := clickhousetest.New(t)
	ctx := context.Background()
	err := s.Conn().Exec(ctx, "SELECT groupArray(number) FROM numbers(100000000) SETTINGS max_memory_usage = 10000000")
	require.Equal(t, 241, store.Code(err), "%v", err)
	require.True(t, store.Unavailable(err))
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	require.False(t, store.Unavailable(s.Conn().Exec(cancelled, "SELECT 1")))
	require.False(t, store.Unavailable(nil))
}

package clickhouse

import (
	"context"
	"embed"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"
)

//go:embed ddl/*.sql
var ddl embed.FS

// Layout says how the tables are laid out. The zero Layout is a single node that keeps everything.
type Layout struct {
	// Cluster is the name of a ClickHouse cluster (system.clusters), or "" for a single node.
	// On a cluster each history table is a Replicated table NAME_local, spread by person, behind a
	// Distributed table NAME; small tables are replicated whole to every node. The servers need
	// the macros {shard} and {replica}. This form is rendered and parsed in tests, not run.
	Cluster string
	// Retention is how long events, fixes, dead letters and the values of decisions are kept after
	// they happened, in whole days; 0 keeps them for ever. Changing it changes existing tables.
	Retention time.Duration
}

// migration is one file of ddl/, by number.
type migration struct {
	version    int
	name       string
	statements []string
}

// render returns the migrations of the layout in order. It is the same text on every call.
func (l Layout) render() ([]migration, error) {
	files, err := ddl.ReadDir("ddl")
	if err != nil {
		return nil, fmt.Errorf("read the table definitions: %w", err)
	}
	var out []migration
	for _, file := range files {
		number, name, ok := strings.Cut(strings.TrimSuffix(file.Name(), ".sql"), "_")
		version, err := strconv.Atoi(number)
		if err != nil || !ok {
			return nil, fmt.Errorf("ddl/%s: a migration is named NUMBER_NAME.sql", file.Name())
		}
		text, err := ddl.ReadFile(path.Join("ddl", file.Name()))
		if err != nil {
			return nil, fmt.Errorf("read the table definitions: %w", err)
		}
		parsed, err := template.New(file.Name()).Funcs(l.words()).Parse(string(text))
		if err != nil {
			return nil, fmt.Errorf("ddl: %w", err)
		}
		var sql strings.Builder
		if err := parsed.Execute(&sql, nil); err != nil {
			return nil, fmt.Errorf("ddl: %w", err)
		}
		out = append(out, migration{version, name, statements(sql.String())})
	}
	slices.SortFunc(out, func(a, b migration) int { return a.version - b.version })
	return out, nil
}

// WriteSQL writes every statement of the layout, for those who make the tables themselves or want to
// read them. It is the same text on every call.
func (l Layout) WriteSQL(w io.Writer) error {
	migrations, err := l.render()
	if err != nil {
		return err
	}
	for _, m := range migrations {
		if _, err := fmt.Fprintf(w, "-- %04d_%s\n\n%s;\n\n", m.version, m.name, strings.Join(m.statements, ";\n\n")); err != nil {
			return fmt.Errorf("write the table definitions: %w", err)
		}
	}
	return nil
}

// statements cuts a file at the lines that hold only ";". Statements that a layout does without
// are empty and left out.
func statements(sql string) []string {
	var out []string
	for part := range strings.SplitSeq("\n"+sql, "\n;") {
		var lines []string
		for line := range strings.Lines(part) {
			if text := strings.TrimSpace(line); text != "" && !strings.HasPrefix(text, "--") {
				lines = append(lines, strings.TrimRight(line, "\n"))
			}
		}
		if len(lines) > 0 {
			out = append(out, strings.Join(lines, "\n"))
		}
	}
	return out
}

// words are what the templates of ddl/ may say.
func (l Layout) words() template.FuncMap {
	return template.FuncMap{
		// onCluster follows the name in CREATE.
		"onCluster": func() string {
			if l.Cluster == "" {
				return ""
			}
			return " ON CLUSTER " + QuoteName(l.Cluster)
		},
		// local is the name of the table that holds the rows of a sharded table.
		"local": l.local,
		// sharded is the engine of a table whose rows are spread by person.
		"sharded": func(table string) string {
			if l.Cluster == "" {
				return "MergeTree"
			}
			return fmt.Sprintf("ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/%s', '{replica}')", table)
		},
		// shardedReplacing is like sharded, and keeps of equal keys the row with the highest version.
		"shardedReplacing": func(table, version string) string {
			if l.Cluster == "" {
				return "ReplacingMergeTree(" + version + ")"
			}
			return fmt.Sprintf("ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/%s', '{replica}', %s)", table, version)
		},
		// distributed is the table by which a sharded table is read and written on a cluster.
		"distributed": func(table string) string {
			if l.Cluster == "" {
				return ""
			}
			return fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s ON CLUSTER %s AS %s\nENGINE = Distributed(%s, currentDatabase(), '%s', intHash64(person))",
				table, QuoteName(l.Cluster), l.local(table), quote(l.Cluster), l.local(table))
		},
		// column adds a column to the table by which a sharded table is read and written on a cluster.
		"column": func(table, definition string) string {
			if l.Cluster == "" {
				return ""
			}
			return fmt.Sprintf("ALTER TABLE %s ON CLUSTER %s ADD COLUMN IF NOT EXISTS %s", table, QuoteName(l.Cluster), definition)
		},
		// everywhere is the engine of a small table that every node has as a whole.
		"everywhere": func(table string) string {
			if l.Cluster == "" {
				return "MergeTree"
			}
			return fmt.Sprintf("ReplicatedMergeTree('/clickhouse/tables/all/{database}/%s', '{shard}-{replica}')", table)
		},
		// replacing is like everywhere, and keeps of equal keys the row with the highest version.
		"replacing": func(table, version string) string {
			if l.Cluster == "" {
				return "ReplacingMergeTree(" + version + ")"
			}
			return fmt.Sprintf("ReplicatedReplacingMergeTree('/clickhouse/tables/all/{database}/%s', '{shard}-{replica}', %s)", table, version)
		},
		"ttl": func(column string) string {
			if days := l.days(); days > 0 {
				return "TTL " + l.ttl(column)
			}
			return ""
		},
		// emptied follows a column whose values go before the row does.
		"emptied": func(table string) string {
			if l.days() > 0 {
				return " TTL " + l.ttl(emptied[table].since)
			}
			return ""
		},
		// small and medium follow the codec of a column of which a few rows of many people are read: what is
		// read is a whole compressed block.
		"small":    func() string { return "SETTINGS (min_compress_block_size = 4096)" },
		"medium":   func() string { return "SETTINGS (min_compress_block_size = 16384)" },
		"settings": func() string { return tableSettings + ", ttl_only_drop_parts = 1" },
		// rowsExpire are the settings of a table whose merges leave out each row that has expired.
		"rowsExpire": func() string { return tableSettings },
	}
}

func (l Layout) local(table string) string {
	if l.Cluster == "" {
		return table
	}
	return table + "_local"
}

func (l Layout) days() int { return int(l.Retention / (24 * time.Hour)) }

// lingerDays is how long what happened stays beyond the retention: no condition sees it, but a tick has to
// find what has just passed the retention, and some days of ticks may have been missed.
const lingerDays = 8

func (l Layout) ttl(column string) string {
	days := l.days()
	if column == "time" {
		days += lingerDays
	}
	return fmt.Sprintf("toDateTime(%s) + toIntervalDay(%d)", column, days)
}

// tableSettings hold for every table. The first three sync what an INSERT or a merge has written
// before it is said to be done; a merge without it would replace synced parts with unsynced ones.
// A part of some tens of megabytes is one data file and so one sync (compact), not two for each
// column. Expired rows go with the last row of their part, without rewriting it (ttl_only_drop_parts).
const tableSettings = "fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, " +
	"min_bytes_for_wide_part = 134217728"

// retained are the tables with a TTL, and the column that it counts from.
var retained = map[string]struct {
	column  string
	sharded bool
}{
	"events":       {"time", true},
	"fixes":        {"time", true},
	"dead_letters": {"received_at", false},
	"ticks":        {"t1", false},
}

// emptied are the columns with a TTL in tables that have none, both sharded, and what it counts from. A row
// of decisions goes on deciding whether somebody may enter a rule again. A held entry needs its values
// until it is due, at the latest when it expires.
var emptied = map[string]struct {
	columns []string
	since   string
}{
	"decisions":  {[]string{"features", "with", "profile", "devices"}, "greatest(at, due, expires)"},
	"deliveries": {[]string{"provider_id", "error", "text"}, "at"},
}

// Migrate brings the tables to the layout: it applies the migrations that the store does not have
// yet, and changes the retention of existing tables where it differs. It may be run again at any
// time and by several processes at once.
func (s *Store) Migrate(ctx context.Context, l Layout) error {
	migrations, err := l.render()
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	on := ""
	if l.Cluster != "" {
		on = " ON CLUSTER " + QuoteName(l.Cluster)
	}
	words := l.words()
	engine := words["everywhere"].(func(string) string)("schema_migrations")
	if err := s.conn.Exec(ctx, "CREATE TABLE IF NOT EXISTS schema_migrations"+on+
		" (version UInt32, name String, at DateTime64(3, 'UTC') DEFAULT now64(3)) ENGINE = "+engine+
		" ORDER BY version SETTINGS "+tableSettings); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	applied, err := s.applied(ctx)
	if err != nil {
		return err
	}
	var marks []string
	for _, m := range migrations {
		if applied[m.version] {
			continue
		}
		for _, statement := range m.statements {
			if err := s.conn.Exec(ctx, statement); err != nil {
				head, _, _ := strings.Cut(statement, "\n")
				return fmt.Errorf("migrate: %04d_%s: %s: %w", m.version, m.name, head, err)
			}
		}
		marks = append(marks, "("+strconv.Itoa(m.version)+", "+quote(m.name)+")")
		s.log.Info("migrated", "version", m.version, "name", m.name)
	}
	// The marks come last, and together, since each INSERT is a part: migrations that were cut short are applied
	// again, as every statement allows (IF NOT EXISTS, OR REPLACE).
	if len(marks) > 0 {
		if err := s.conn.Exec(ctx, "INSERT INTO schema_migrations (version, name) VALUES "+strings.Join(marks, ", ")); err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
	}
	for version := range applied {
		if version > migrations[len(migrations)-1].version {
			return fmt.Errorf("migrate: the store has version %d, this program knows up to %d: use the newer nudge", version, migrations[len(migrations)-1].version)
		}
	}
	tables, err := s.adjusted(ctx, l)
	if err != nil {
		return err
	}
	if err := s.tune(ctx, l, tables); err != nil {
		return err
	}
	return s.retain(ctx, l, tables)
}

// made is how a table was made, and changed since.
type made struct {
	Name   string `ch:"name"`
	Engine string `ch:"engine_full"`
	Text   string `ch:"create_table_query"`
}

// adjusted reads how the tables were made that tune and retain may change, and no others: writing out the
// definition of a table costs the store most of such a query.
func (s *Store) adjusted(ctx context.Context, l Layout) ([]made, error) {
	var names []string
	add := func(table string) { names = append(names, quote(table), quote(l.local(table))) }
	for table := range retained {
		add(table)
	}
	for table := range emptied {
		add(table)
	}
	for table := range tuned {
		add(table)
	}
	slices.Sort(names)
	var tables []made
	if err := s.conn.Select(ctx, &tables, "SELECT name, engine_full, create_table_query FROM system.tables WHERE database = currentDatabase() AND name IN ("+
		strings.Join(slices.Compact(names), ", ")+")"); err != nil {
		return nil, fmt.Errorf("migrate: read how the tables were made: %w", err)
	}
	return tables, nil
}

func (s *Store) applied(ctx context.Context) (map[int]bool, error) {
	var rows []struct {
		Version uint32 `ch:"version"`
	}
	if err := s.conn.Select(ctx, &rows, "SELECT DISTINCT version FROM schema_migrations"); err != nil {
		return nil, fmt.Errorf("migrate: read schema_migrations: %w", err)
	}
	out := map[int]bool{}
	for _, r := range rows {
		out[int(r.Version)] = true
	}
	return out, nil
}

// retain changes the TTL of tables and columns that were made with another one. Existing parts are looked at
// when they are merged, not rewritten now.
func (s *Store) retain(ctx context.Context, l Layout, tables []made) error {
	on := ""
	if l.Cluster != "" {
		on = " ON CLUSTER " + QuoteName(l.Cluster)
	}
	for _, table := range tables {
		plain := strings.TrimSuffix(table.Name, "_local")
		var changes []string
		if kept, ok := retained[plain]; ok && (!kept.sharded || table.Name == l.local(plain)) {
			changes = append(changes, l.retention(strings.Contains(table.Engine, " TTL "), table.Engine, kept.column, ""))
		}
		if values, ok := emptied[plain]; ok && table.Name == l.local(plain) {
			if strings.Contains(table.Engine, " TTL ") { // as former versions made it
				changes = append(changes, "REMOVE TTL")
			}
			for _, column := range values.columns {
				made := definition(table.Text, column)
				changes = append(changes, l.retention(strings.Contains(made, " TTL "), made, values.since, "MODIFY COLUMN "+QuoteName(column)+" "))
			}
		}
		for _, change := range changes {
			if change == "" {
				continue
			}
			if err := s.conn.Exec(ctx, "ALTER TABLE "+QuoteName(table.Name)+on+" "+change); err != nil {
				return fmt.Errorf("migrate: retention of %s: %w", table.Name, err)
			}
		}
	}
	return nil
}

// retention is how to change the TTL of a table (what is "") or of a column that was made in this way, "" where
// it is as it should be.
func (l Layout) retention(has bool, made, since, what string) string {
	switch {
	case l.days() == 0 && has:
		return what + "REMOVE TTL"
	case l.days() > 0 && !strings.Contains(made, l.ttl(since)):
		if what == "" {
			what = "MODIFY "
		}
		return what + "TTL " + l.ttl(since) + " SETTINGS materialize_ttl_after_modify = 0"
	default:
		return ""
	}
}

// definition is what the text of a table says of a column.
func definition(table, column string) string {
	_, rest, _ := strings.Cut(table, QuoteName(column)+" ")
	for _, next := range []string{", `", ", INDEX ", ") ENGINE"} {
		rest, _, _ = strings.Cut(rest, next)
	}
	return rest
}

func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// QuoteName writes the name of a database or table as SQL has it.
func QuoteName(s string) string {
	return "`" + strings.NewReplacer(`\`, `\\`, "`", "\\`").Replace(s) + "`"
}

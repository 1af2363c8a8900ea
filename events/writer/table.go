package writer

import (
	"context"
	"fmt"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"nudge/events"
)

// block is rows of one table, ready to be inserted and to be cut in two.
type block interface {
	table() string
	len() int
	half(i int) block // the first (0) or second (1) half
	// prepare makes the columns ahead of send; it holds a connection until send or close.
	prepare(ctx context.Context, conn driver.Conn) error
	close()
	without(positions) block
	send(ctx context.Context, conn driver.Conn) error
	// letter is the dead letter of row 0.
	letter(reason string) letter
}

// table knows how rows of type R become columns.
type table[R any] struct {
	name    string
	columns []field[R]
	pos     func(*R) events.Position
}

// field is one column: its name and type as in the DDL, and its values as a slice that the
// driver appends in one call.
type field[R any] struct {
	name, typ string
	values    func([]*R) any
}

func col[R, V any](name, typ string, get func(*R) V) field[R] {
	return field[R]{name, typ, func(rows []*R) any {
		vs := make([]V, len(rows))
		for i, r := range rows {
			vs[i] = get(r)
		}
		return vs
	}}
}

// block takes the rows whose positions are not in the store yet.
func (t *table[R]) block(rows []R, present positions) block {
	all := make([]*R, len(rows))
	for i := range rows {
		all[i] = &rows[i]
	}
	b := &tableBlock[R]{t: t, rows: all}
	if len(present) == 0 {
		return b
	}
	return b.without(present)
}

type tableBlock[R any] struct {
	t     *table[R]
	rows  []*R
	ready driver.Batch // prepared, or nil
}

func (b *tableBlock[R]) table() string { return b.t.name }
func (b *tableBlock[R]) len() int      { return len(b.rows) }

func (b *tableBlock[R]) half(i int) block {
	n := len(b.rows) / 2
	if i == 0 {
		return &tableBlock[R]{t: b.t, rows: b.rows[:n]}
	}
	return &tableBlock[R]{t: b.t, rows: b.rows[n:]}
}

func (b *tableBlock[R]) without(present positions) block {
	left := make([]*R, 0, len(b.rows))
	for _, r := range b.rows {
		if _, ok := present[b.t.pos(r)]; !ok {
			left = append(left, r)
		}
	}
	return &tableBlock[R]{t: b.t, rows: left}
}

func (b *tableBlock[R]) letter(reason string) letter {
	return letter{pos: b.t.pos(b.rows[0]), reason: refusedBy(b.t.name, reason)}
}

func refusedBy(table, reason string) string {
	return fmt.Sprintf("the store refused the row of table %s: %s", table, reason)
}

func (b *tableBlock[R]) send(ctx context.Context, conn driver.Conn) error {
	if len(b.rows) == 0 {
		return nil
	}
	if b.ready == nil {
		if err := b.prepare(ctx, conn); err != nil {
			return err
		}
	}
	defer b.close()
	if err := b.ready.Send(); err != nil {
		return fmt.Errorf("insert %d rows into %s: %w", len(b.rows), b.t.name, err)
	}
	return nil
}

func (b *tableBlock[R]) close() {
	if b.ready != nil {
		_ = b.ready.Close() // it gives the connection back, and says nothing about the rows
		b.ready = nil
	}
}

func (b *tableBlock[R]) prepare(ctx context.Context, conn driver.Conn) error {
	names := make([]string, len(b.t.columns))
	types := make([]clickhouse.ColumnNameAndType, len(b.t.columns))
	for i, c := range b.t.columns {
		names[i] = "`" + c.name + "`"
		types[i] = clickhouse.ColumnNameAndType{Name: c.name, Type: c.typ}
	}
	ctx = clickhouse.Context(ctx,
		clickhouse.WithColumnNamesAndTypes(types), // over HTTP the driver would ask each time
		clickhouse.WithSettings(clickhouse.Settings{
			"async_insert":                    0,
			"max_partitions_per_insert_block": 0, // imported history spans any number of months
		}))
	out, err := conn.PrepareBatch(ctx, "INSERT INTO "+b.t.name+" ("+strings.Join(names, ", ")+")")
	if err != nil {
		return fmt.Errorf("insert into %s: %w", b.t.name, err)
	}
	b.ready = out
	for i, c := range b.t.columns {
		if err := out.Column(i).Append(c.values(b.rows)); err != nil {
			b.close()
			return fmt.Errorf("insert into %s: column %s: %w", b.t.name, c.name, err)
		}
	}
	return nil
}

// positions is a set.
type positions map[events.Position]struct{}

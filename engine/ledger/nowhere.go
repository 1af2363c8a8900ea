package ledger

import (
	"context"
	"errors"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Nowhere returns a Store that has nothing and keeps nothing: of an engine whose streams are all that there is of its
// ledger.
func Nowhere() *Store { return NewStore(nowhere{}) }

// nowhere is a connection to a store of empty tables.
type nowhere struct{ driver.Conn }

var errNowhere = errors.New("this ledger is kept nowhere")

// Query implements driver.Conn: there are no rows.
func (nowhere) Query(context.Context, string, ...any) (driver.Rows, error) { return noRows{}, nil }

// QueryRow implements driver.Conn: an aggregate over no rows is zero.
func (nowhere) QueryRow(context.Context, string, ...any) driver.Row { return zeroes{} }

// Exec implements driver.Conn, and does nothing.
func (nowhere) Exec(context.Context, string, ...any) error { return nil }

// PrepareBatch implements driver.Conn.
func (nowhere) PrepareBatch(context.Context, string, ...driver.PrepareBatchOption) (driver.Batch, error) {
	return nil, errNowhere
}

// Select implements driver.Conn.
func (nowhere) Select(context.Context, any, string, ...any) error { return nil }

type noRows struct{ driver.Rows }

// Next implements driver.Rows.
func (noRows) Next() bool { return false }

// Err implements driver.Rows.
func (noRows) Err() error { return nil }

// Close implements driver.Rows.
func (noRows) Close() error { return nil }

type zeroes struct{ driver.Row }

// Scan implements driver.Row, and leaves everything as it is.
func (zeroes) Scan(...any) error { return nil }

// Err implements driver.Row.
func (zeroes) Err() error { return nil }

package plan

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// due is an instant (Unix ms) at which a condition may turn by itself for somebody.
type due struct {
	who    int
	person uint64
	value  string
	at     int64
}

// saveDues writes dues down, synced: the answers that they came with are used only then.
func (l *look) saveDues(ctx context.Context, dues []due) error {
	dues = slices.DeleteFunc(dues, func(d due) bool { return d.at > newest }) // so far ahead that a store cannot say it
	if len(dues) == 0 {
		return nil
	}
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0}))
	batch, err := l.p.conn.PrepareBatch(ctx, "INSERT INTO "+l.moment.table("dues")+" (cond, at, person, value, pos)")
	if err != nil {
		return fmt.Errorf("write what falls due: %w", err)
	}
	defer func() { _ = batch.Abort() }() // after a Send it does nothing
	for _, d := range dues {
		if err := batch.Append(l.Who[d.who].Hash(), time.UnixMilli(d.at).UTC(), d.person, d.value, uint64(l.UpTo)); err != nil {
			return fmt.Errorf("write what falls due: %w", err)
		}
	}
	l.p.queries.Add(1)
	if err := batch.Send(); err != nil {
		return fmt.Errorf("write what falls due: %w", err)
	}
	l.p.ahead.addDues(l.Who, dues, uint64(l.UpTo))
	return nil
}

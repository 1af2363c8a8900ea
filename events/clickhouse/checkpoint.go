package clickhouse

import (
	"context"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2"

	"nudge/events"
)

// Checkpoint is the position up to which a reader of the event stream has written everything;
// 0 when it has not begun.
func (s *Store) Checkpoint(ctx context.Context, reader string) (events.Position, error) {
	var pos uint64
	if err := s.conn.QueryRow(ctx, "SELECT max(pos) FROM checkpoints WHERE reader = {reader:String}", clickhouse.Named("reader", reader)).Scan(&pos); err != nil {
		return 0, fmt.Errorf("read the checkpoint of %s: %w", reader, err)
	}
	return events.Position(pos), nil
}

// SetCheckpoint records that reader has written everything up to pos, synced. A checkpoint never
// goes back: one that is lower than the last has no effect.
func (s *Store) SetCheckpoint(ctx context.Context, reader string, pos events.Position) error {
	if err := s.conn.Exec(ctx, fmt.Sprintf("INSERT INTO checkpoints (reader, pos) VALUES (%s, %d)", quote(reader), uint64(pos))); err != nil {
		return fmt.Errorf("write the checkpoint of %s: %w", reader, err)
	}
	return nil
}

// PresentAbove returns the positions greater than pos that table already has rows of: what a
// reader wrote after its checkpoint and before it was stopped. Where one position has several rows
// (traits), they are all there if the reader wrote them with one INSERT of at most a million rows:
// into a table without partitions that is one part, which is stored whole or not at all.
func (s *Store) PresentAbove(ctx context.Context, table string, pos events.Position) (map[events.Position]bool, error) {
	rows, err := s.conn.Query(ctx, fmt.Sprintf("SELECT pos FROM %s WHERE pos > %d", QuoteName(table), uint64(pos)))
	if err != nil {
		return nil, fmt.Errorf("read what %s has above %s: %w", table, pos, err)
	}
	defer func() { _ = rows.Close() }()
	present := map[events.Position]bool{}
	for rows.Next() {
		var p uint64
		if err := rows.Scan(&p); err != nil {
			return nil, fmt.Errorf("read what %s has above %s: %w", table, pos, err)
		}
		present[events.Position(p)] = true
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read what %s has above %s: %w", table, pos, err)
	}
	return present, nil
}

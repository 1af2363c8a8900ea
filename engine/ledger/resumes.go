package ledger

import (
	"context"
	"fmt"
	"strings"
)

// asksToGoOn begins the name of a checkpoint by which somebody asks for a paused rule to go on. The stream of decisions
// is the engine's alone, and may be within its process; the store is there for everybody, also while no engine runs.
const asksToGoOn = "resume/"

// AskResume asks for a rule to go on that was paused at the given instant (Pause.At). A later pause of it stands.
func (s *Store) AskResume(ctx context.Context, rule string, paused int64) error {
	if err := s.SetCheckpoint(ctx, asksToGoOn+rule, uint64(paused)); err != nil {
		return fmt.Errorf("ask for %s to go on: %w", rule, err)
	}
	return nil
}

// Resumes are the rules that were asked to go on, with the instant of the newest pause of each that this is about.
func (s *Store) Resumes(ctx context.Context) (map[string]int64, error) {
	rows, err := s.conn.Query(ctx, "SELECT reader, max(pos) FROM checkpoints WHERE startsWith(reader, '"+asksToGoOn+"') GROUP BY reader")
	if err != nil {
		return nil, fmt.Errorf("read which rules are to go on: %w", err)
	}
	defer func() { _ = rows.Close() }()
	out := map[string]int64{}
	for rows.Next() {
		var reader string
		var paused uint64
		if err := rows.Scan(&reader, &paused); err != nil {
			return nil, fmt.Errorf("read which rules are to go on: %w", err)
		}
		out[strings.TrimPrefix(reader, asksToGoOn)] = int64(paused)
	}
	return out, rows.Err()
}

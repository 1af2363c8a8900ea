package backtest

import (
	"context"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"nudge/events"
)

// people is who is who as of a position that only moves forward. It is moved between calls of the engine.
type people struct {
	position events.Position
	changes  []change // merges and erasures, by position
	applied  int
	into     map[events.PersonID]events.PersonID
}

type change struct {
	pos           events.Position
	loser, winner events.PersonID // 0 of an erasure
}

func readPeople(ctx context.Context, conn driver.Conn) (*people, error) {
	p := &people{into: map[events.PersonID]events.PersonID{}}
	rows, err := conn.Query(ctx, "SELECT DISTINCT pos, loser, winner FROM (SELECT pos, loser, winner FROM merges UNION ALL "+
		"SELECT pos, toUInt64(0), toUInt64(0) FROM erasures) ORDER BY pos")
	if err != nil {
		return nil, fmt.Errorf("read who was merged: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var pos, loser, winner uint64
		if err := rows.Scan(&pos, &loser, &winner); err != nil {
			return nil, fmt.Errorf("read who was merged: %w", err)
		}
		p.changes = append(p.changes, change{events.Position(pos), events.PersonID(loser), events.PersonID(winner)})
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read who was merged: %w", err)
	}
	return p, nil
}

// move moves the position forward.
func (p *people) move(to events.Position) {
	p.position = max(p.position, to)
	for ; p.applied < len(p.changes) && p.changes[p.applied].pos <= p.position; p.applied++ {
		if c := p.changes[p.applied]; c.loser != 0 {
			p.into[c.loser] = c.winner
		}
	}
}

// Position implements engine.People.
func (p *people) Position() events.Position { return p.position }

// Canonical implements engine.People.
func (p *people) Canonical(id events.PersonID) events.PersonID {
	for {
		winner, lost := p.into[id]
		if !lost {
			return id
		}
		id = winner
	}
}

// Changed implements engine.People.
func (p *people) Changed() events.Position {
	if p.applied == 0 {
		return 0
	}
	return p.changes[p.applied-1].pos
}

package broadcast

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"nudge/engine"
	"nudge/engine/ledger"
	"nudge/engine/report"
	"nudge/engine/workspace"
)

// State is how far a broadcast has come.
type State string

// States.
const (
	Scheduled State = "scheduled" // its time has not come
	Due       State = "due"       // its time has come, and nobody has been looked at: no nudge runs, or it has not read the file
	Sending   State = "sending"   // people are looked at, or messages are on their way
	Waiting   State = "waiting"   // all that is left waits: for the end of quiet hours, for a cap, for an address
	Paused    State = "paused"    // by nudge pause, or its pause_when
	Done      State = "done"      // nothing will come of it any more
	Missed    State = "missed"    // no nudge ran when its time came, nor until it was over
)

// Progress is what has come of a broadcast so far, in people, by what stands in the ledger.
type Progress struct {
	State   State                 `json:"state"`
	At      time.Time             `json:"at"`            // when it is sent; on people's own clocks: when in the workspace's zone
	Until   time.Time             `json:"until"`         // nobody waits for longer
	Looked  bool                  `json:"looked"`        // everybody has been looked at
	Decided int                   `json:"decided"`       // people about whom there is a decision
	Sent    int                   `json:"sent"`          // whose message a provider took
	Failed  int                   `json:"failed"`        // whose message failed for good, on all channels
	OnWay   int                   `json:"on_way"`        // whose message waits to be sent, or for a provider's answer
	Waits   map[ledger.Reason]int `json:"waits"`         // who are tried again, by what stopped them
	Reasons map[ledger.Reason]int `json:"reasons"`       // who get nothing, by what stopped them
	Next    time.Time             `json:"next,omitzero"` // when the first of those who wait are tried again; absent where nobody waits for an instant
}

// Finished are the people of whom it is known what came of them.
func (p *Progress) Finished() int { return p.Decided - p.OnWay - count(p.Waits) }

func count(m map[ledger.Reason]int) int {
	n := 0
	for _, x := range m {
		n += x
	}
	return n
}

// Read reads the progress of a broadcast as of now.
func Read(ctx context.Context, conn driver.Conn, ws *workspace.Workspace, r *workspace.Rule, now time.Time) (*Progress, error) {
	over := time.UnixMilli(r.OverAt(ws.Zone))
	p := &Progress{
		At: time.UnixMilli(r.Schedule.At.In(zoneOf(ws, r))).In(ws.Zone), Until: over.In(ws.Zone),
		Waits: map[ledger.Reason]int{}, Reasons: map[ledger.Reason]int{},
	}
	if err := p.entries(ctx, conn, r.Name, ws.Zone); err != nil {
		return nil, fmt.Errorf("read what came of %s: %w", r.Name, err)
	}
	var err error
	if p.Looked, err = looked(ctx, conn, r.Name); err != nil {
		return nil, fmt.Errorf("read whether everybody was looked at for %s: %w", r.Name, err)
	}
	// On people's own clocks the last of them come long after the first.
	p.Looked = p.Looked && !now.Before(over.Add(-r.Expire))
	paused, err := report.PausedRules(ctx, conn, ws, 0)
	if err != nil {
		return nil, err //nolint:wrapcheck // says what it was doing
	}
	is := slices.ContainsFunc(paused, func(x report.Paused) bool {
		return x.Rule == r.Name && x.Asked != ledger.AskResume
	})
	p.State = p.state(now, over, is)
	return p, nil
}

func (p *Progress) state(now, over time.Time, paused bool) State {
	switch isOver := !now.Before(over); {
	case p.Looked && p.OnWay == 0 && len(p.Waits) == 0:
		return Done
	case isOver && p.Decided == 0:
		return Missed
	case isOver && p.OnWay == 0:
		return Done
	case paused:
		return Paused
	case p.Looked && p.OnWay == 0:
		return Waiting
	case now.Before(p.At) && p.Decided == 0:
		return Scheduled
	case p.Decided == 0:
		return Due
	default:
		return Sending
	}
}

func zoneOf(ws *workspace.Workspace, r *workspace.Rule) *time.Location {
	if loc, err := ws.Policy.Location(r.Schedule.Zone); err == nil {
		return loc
	}
	return ws.Zone
}

// entries counts the people of a broadcast by the last that is known of each.
func (p *Progress) entries(ctx context.Context, conn driver.Conn, rule string, zone *time.Location) error {
	rows, err := conn.Query(ctx, "SELECT e.reason, e.waits, count(), countIf(o.accepted > 0), countIf(o.accepted = 0 AND NOT hasAll(o.ended, e.channels)), "+
		"toUnixTimestamp64Milli(minIf(e.due, e.waits)) FROM ("+
		"SELECT entry, argMax(d.reason, (attempt, seq, `index`)) AS reason, argMax(d.open OR d.reason = 'held', (attempt, seq, `index`)) AS waits, "+
		"argMax(d.channels, (attempt, seq, `index`)) AS channels, argMax(d.due, (attempt, seq, `index`)) AS due FROM decisions AS d WHERE rule = @rule GROUP BY entry"+
		") AS e LEFT JOIN ("+
		"SELECT entry, groupArray(channel) AS ended, countIf(status = 'accepted') AS accepted FROM ("+
		"SELECT entry, channel, argMax(x.status, (seq, `index`)) AS status FROM deliveries AS x WHERE rule = @rule AND x.status NOT IN ('intent', 'retrying') GROUP BY entry, channel"+
		") GROUP BY entry) AS o ON e.entry = o.entry GROUP BY e.reason, e.waits", driver.NamedValue{Name: "rule", Value: rule})
	if err != nil {
		return err //nolint:wrapcheck // Read says what for
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var reason string
		var waits bool
		var all, sent, onWay uint64
		var due int64
		if err := rows.Scan(&reason, &waits, &all, &sent, &onWay, &due); err != nil {
			return err //nolint:wrapcheck // Read says what for
		}
		p.Decided += int(all)
		switch {
		case waits:
			p.Waits[ledger.Reason(reason)] += int(all)
			if at := time.UnixMilli(due).In(zone); due > 0 && (p.Next.IsZero() || at.Before(p.Next)) {
				p.Next = at
			}
		case ledger.Reason(reason) == ledger.Send:
			p.Sent += int(sent)
			p.OnWay += int(onWay)
			p.Failed += int(all - sent - onWay)
		default:
			p.Reasons[ledger.Reason(reason)] += int(all)
		}
	}
	return rows.Err() //nolint:wrapcheck // Read says what for
}

// looked says whether every shard has ended its look at everybody, and none was paused since.
func looked(ctx context.Context, conn driver.Conn, rule string) (bool, error) {
	var shards uint64
	err := conn.QueryRow(ctx, "SELECT countIf(last = 'looked') FROM (SELECT shard, argMax(toString(kind), (seq, `index`)) AS last FROM shard_log "+
		"WHERE kind IN ('looked', 'pause') AND JSONExtractString(data, toString(kind), 'rule') = @rule GROUP BY shard)",
		driver.NamedValue{Name: "rule", Value: rule}).Scan(&shards)
	return shards >= engine.Shards, err //nolint:wrapcheck // Read says what for
}

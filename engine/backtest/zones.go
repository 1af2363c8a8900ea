package backtest

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"nudge/segments/plan"
)

// zones are those that people are in, as they become known: a schedule on people's own clocks runs on each.
type zones struct {
	all []zoneSince // in the order in which they become known
	now []string    // sorted
}

type zoneSince struct {
	name  string
	since int64 // a position, or Unix ms: timeline.zoneOrder
}

func readZones(ctx context.Context, conn driver.Conn, planner *plan.Planner, t timeline) (*zones, error) {
	names, err := planner.Zones(ctx)
	if err != nil {
		return nil, err //nolint:wrapcheck // says what it was doing
	}
	order, _ := t.zoneOrder()
	rows, err := conn.Query(ctx, fmt.Sprintf("SELECT zone, min(since) FROM (SELECT toString(zone) AS zone, toInt64(%[1]s) AS since FROM zones UNION ALL "+
		"SELECT assumeNotNull(str), toInt64(%[1]s) FROM traits WHERE key = 'timezone' AND str IS NOT NULL) GROUP BY zone", order))
	if err != nil {
		return nil, fmt.Errorf("read since when people's zones are known: %w", err)
	}
	defer func() { _ = rows.Close() }()
	z := &zones{}
	for rows.Next() {
		var x zoneSince
		if err := rows.Scan(&x.name, &x.since); err != nil {
			return nil, fmt.Errorf("read since when people's zones are known: %w", err)
		}
		if slices.Contains(names, x.name) {
			z.all = append(z.all, x)
		}
	}
	slices.SortFunc(z.all, func(a, b zoneSince) int { return cmp.Or(cmp.Compare(a.since, b.since), cmp.Compare(a.name, b.name)) })
	return z, rows.Err()
}

// learn says whether more zones are known now.
func (z *zones) learn(t timeline, now int64) bool {
	_, known := t.zoneOrder()
	upTo, n := known(now), len(z.now)
	for len(z.all) > 0 && z.all[0].since <= upTo {
		z.now = append(z.now, z.all[0].name)
		z.all = z.all[1:]
	}
	slices.Sort(z.now)
	return len(z.now) > n
}

package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"nudge/engine/ledger"
	"nudge/engine/schedule"
)

// ended says how long a tick took, and whether the next one of its rules was due before it had ended: that
// is written down for reports. The next tick covers what was missed.
func (e *Engine) ended(ctx context.Context, l *live, t ledger.Tick, began time.Time) error {
	done := e.now()
	e.metrics.took.WithLabelValues(t.Kind).Observe(done.Sub(began).Seconds())
	over := ledger.Overrun{Tick: t.ID, At: t.T1, Done: done.UnixMilli()}
	for _, name := range t.Rules {
		r := l.byName[name]
		if r == nil || r.Schedule == nil || e.isPaused(l, r) {
			continue
		}
		clocks, err := e.clocks(ctx, l, r)
		if err != nil {
			return err
		}
		for _, c := range clocks {
			if !inClock(t.Zones[name], c.zone) {
				continue
			}
			if next, ok := schedule.Next(r.Schedule, c.loc, t.T1); ok && next < over.Done && (r.End == 0 || next < r.End) {
				over.Rules = append(over.Rules, name)
				break
			}
		}
	}
	if len(over.Rules) == 0 {
		return nil
	}
	for _, name := range over.Rules {
		e.metrics.overruns.WithLabelValues(name).Inc()
	}
	e.log.Warn("a tick took longer than its rules' periods; the next covers what was missed",
		"tick", t.ID, "took", done.Sub(began), "planned", time.UnixMilli(t.T1).UTC(), "rules", over.Rules)
	err := e.decide(ctx, e.shards[0], func(_ *ledger.State, commit func([]ledger.Record) error) error {
		return commit([]ledger.Record{{Overrun: &over}})
	})
	if err != nil {
		return fmt.Errorf("note that tick %s overran: %w", t.ID, err)
	}
	return nil
}

func inClock(zones []string, zone string) bool {
	return zones == nil || slices.Contains(zones, zone)
}

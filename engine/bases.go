package engine

import (
	"context"
	"maps"
	"slices"
	"strings"

	"nudge/engine/ledger"
	"nudge/engine/workspace"
)

// takeUp takes up, at a start, where each rule's next look begins, and which rules are paused. A look that found
// nobody stands on the first shard alone. Else, where shards differ, the oldest counts: the newer belongs to a tick that
// was cut short, which is repeated as it is written.
func (e *Engine) takeUp() {
	for i, s := range e.shards {
		if i == 0 {
			for rule, zones := range s.state.Bases() {
				e.bases[rule] = maps.Clone(zones)
			}
		}
		for rule, zones := range e.bases {
			for zone, b := range zones {
				there := s.state.Bases()[rule][zone]
				switch {
				case b.Idle:
				case there.Hash != b.Hash:
					delete(zones, zone)
				case there.At < b.At:
					zones[zone] = there
				}
			}
		}
		maps.Copy(e.paused, s.state.Pauses())
	}
}

// baseOf is where a rule's look begins: its last one, on people's own clocks the earliest of those of the given zones,
// of which what lies between is found for nothing. None where one of them is not known.
func (e *Engine) baseOf(rule string, zones []string) (ledger.Base, bool) {
	if zones == nil {
		zones = []string{""}
	}
	var oldest ledger.Base
	for i, zone := range zones {
		b, ok := e.bases[rule][zone]
		if !ok || i > 0 && b.Hash != oldest.Hash {
			return ledger.Base{}, false
		}
		if i == 0 || b.At < oldest.At {
			oldest = b
		}
	}
	oldest.Idle = false
	return oldest, true
}

func (e *Engine) isPaused(l *live, r *workspace.Rule) bool {
	p, ok := e.paused[r.Name]
	return ok && p.Hash == l.looks[r.Name]
}

// pause pauses a rule that the store cannot compute, and says so.
func (e *Engine) pause(ctx context.Context, l *live, t ledger.Tick, rule string, reason error) error {
	p := ledger.Pause{Rule: rule, Hash: l.looks[rule], Reason: shorten(reason.Error()), At: t.T1}
	if err := e.writePause(ctx, p); err != nil {
		return err
	}
	e.paused[rule] = p
	delete(e.bases, rule)
	e.metrics.refused.WithLabelValues(rule).Inc()
	e.metrics.paused.WithLabelValues(rule).Set(1)
	e.log.Error("a rule is paused: the store cannot compute its condition; the other rules go on, and it does when its file, or a segment or fence that it uses, has changed",
		"rule", rule, "tick", t.ID, "error", reason)
	return nil
}

// writePause writes it to the shards that do not have it.
func (e *Engine) writePause(ctx context.Context, p ledger.Pause) error {
	return e.each(func(s *shard) error {
		return e.decide(ctx, s, func(st *ledger.State, commit func([]ledger.Record) error) error {
			if have, ok := st.Pauses()[p.Rule]; ok && have.Hash == p.Hash {
				return nil
			}
			return commit([]ledger.Record{{Pause: &p}})
		})
	})
}

// unpause notes that a rule was looked at.
func (e *Engine) unpause(rule string) {
	if _, ok := e.paused[rule]; ok {
		delete(e.paused, rule)
		e.metrics.paused.DeleteLabelValues(rule)
		e.log.Info("a rule that was paused goes on", "rule", rule)
	}
}

// resumePauses completes what a stop cut short, and says which rules are paused.
func (e *Engine) resumePauses(ctx context.Context) error {
	for _, rule := range slices.Sorted(maps.Keys(e.paused)) {
		p := e.paused[rule]
		if err := e.writePause(ctx, p); err != nil {
			return err
		}
		e.metrics.paused.WithLabelValues(rule).Set(1)
		e.log.Warn("a rule is paused until its file, or a segment or fence that it uses, changes", "rule", rule, "reason", p.Reason)
	}
	return nil
}

// shorten bounds what the store says, which may repeat a query.
func shorten(s string) string {
	const most = 500
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

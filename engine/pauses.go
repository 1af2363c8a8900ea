package engine

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"nudge/engine/ledger"
	"nudge/engine/workspace"
)

// pauses are the rules that the store cannot compute. Ticks and arrivals, which go on side by side, both pause
// rules and ask which are.
type pauses struct {
	mu sync.RWMutex
	by map[string]ledger.Pause // by rule
	// asked says of rules that people want them to go on (`nudge resume`).
	asked map[string]bool
}

func newPauses() *pauses {
	return &pauses{by: map[string]ledger.Pause{}, asked: map[string]bool{}}
}

func (p *pauses) of(rule string) (ledger.Pause, bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	pause, ok := p.by[rule]
	return pause, ok
}

func (p *pauses) has(rule string) bool {
	_, ok := p.of(rule)
	return ok
}

// list is in the order of the rules' names.
func (p *pauses) list() []ledger.Pause {
	p.mu.RLock()
	defer p.mu.RUnlock()
	out := make([]ledger.Pause, 0, len(p.by))
	for _, rule := range slices.Sorted(maps.Keys(p.by)) {
		out = append(out, p.by[rule])
	}
	return out
}

func (p *pauses) add(pause ledger.Pause) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.by[pause.Rule] = pause
	delete(p.asked, pause.Rule)
}

// remove says whether the rule was paused.
func (p *pauses) remove(rule string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.by[rule]
	delete(p.by, rule)
	delete(p.asked, rule)
	return ok
}

// ask notes that a rule shall go on; of one that has been paused anew since, it says nothing.
func (p *pauses) ask(rule string, paused int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pause, ok := p.by[rule]; ok && pause.At <= paused {
		p.asked[rule] = true
	}
}

func (p *pauses) isAsked(rule string) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.asked[rule]
}

func (e *Engine) isPaused(l *live, r *workspace.Rule) bool {
	p, ok := e.paused.of(r.Name)
	return ok && p.Hash == l.looks[r.Name]
}

// pause pauses a rule that the store cannot compute, and says so.
func (e *Engine) pause(ctx context.Context, l *live, t ledger.Tick, rule string, reason error) error {
	p := ledger.Pause{Rule: rule, Hash: l.looks[rule], Reason: shorten(reason.Error()), At: t.T1}
	if err := e.writePause(ctx, p); err != nil {
		return err
	}
	e.paused.add(p)
	e.metrics.refused.WithLabelValues(rule).Inc()
	e.metrics.paused.WithLabelValues(rule).Set(1)
	e.log.Error("a rule is paused: the store cannot compute its condition; the other rules go on, and it does when its file, or a segment or fence that it uses, has changed, or by nudge resume",
		"rule", rule, "tick", t.ID, "error", reason)
	return nil
}

// pauseAll pauses rules, by name.
func (e *Engine) pauseAll(ctx context.Context, l *live, t ledger.Tick, refused map[string]error) error {
	for _, name := range slices.Sorted(maps.Keys(refused)) {
		if err := e.pause(ctx, l, t, name, refused[name]); err != nil {
			return err
		}
	}
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

// unpause notes that a rule goes on.
func (e *Engine) unpause(rule string) {
	if e.paused.remove(rule) {
		e.metrics.paused.DeleteLabelValues(rule)
		e.log.Info("a rule that was paused goes on", "rule", rule)
	}
}

// resumePauses completes what a stop cut short, and says which rules are paused.
func (e *Engine) resumePauses(ctx context.Context) error {
	for _, p := range e.paused.list() {
		if err := e.writePause(ctx, p); err != nil {
			return err
		}
		e.metrics.paused.WithLabelValues(p.Rule).Set(1)
		e.log.Warn("a rule is paused until its file, or a segment or fence that it uses, changes, or until nudge resume", "rule", p.Rule, "reason", p.Reason)
	}
	return e.Resumes(ctx)
}

// Resumes reads which paused rules people want to go on; they do at the next Step or Arrived. The store is
// asked only while there is a paused rule.
func (e *Engine) Resumes(ctx context.Context) error {
	if len(e.paused.list()) == 0 {
		return nil
	}
	asked, err := e.ledger.Resumes(ctx)
	if err != nil {
		return err //nolint:wrapcheck // says what it was doing
	}
	for rule, paused := range asked {
		e.paused.ask(rule, paused)
	}
	return nil
}

// goOn lets paused rules go on that shall, `on:` rules or all others, at now. Of these one whose file has
// changed goes on when it is looked at; an `on:` rule goes on here, behind all that arrived so far.
func (e *Engine) goOn(ctx context.Context, l *live, now int64, on bool) error {
	for _, p := range e.paused.list() {
		r := l.byName[p.Rule]
		if r == nil || (r.On != nil) != on {
			continue
		}
		changed := on && p.Hash != l.looks[p.Rule]
		if !changed && !e.paused.isAsked(p.Rule) {
			continue
		}
		if on {
			if err := e.hearFromHere(ctx, l, now, p.Rule); err != nil {
				return err
			}
		}
		record := ledger.Record{Resume: &ledger.Resume{Rule: p.Rule, At: now}}
		err := e.each(func(s *shard) error {
			return e.decide(ctx, s, func(_ *ledger.State, commit func([]ledger.Record) error) error {
				return commit([]ledger.Record{record})
			})
		})
		if err != nil {
			return err
		}
		e.unpause(p.Rule)
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

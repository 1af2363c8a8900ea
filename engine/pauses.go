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

// pauses are the rules that are paused: by the store that cannot compute them, by their pause_when, or by a person.
// Ticks, arrivals and outcomes, which go on side by side, both pause rules and ask which are.
type pauses struct {
	mu sync.RWMutex
	by map[string]ledger.Pause // by rule
	// asked has by rule who wants it to go on.
	asked map[string]ledger.Request
	// heard is by rule the newest request to pause that was carried out.
	heard map[string]int64

	// writing is held while the shards are told that a rule is paused or goes on: they are told one thing after another.
	writing sync.Mutex
}

func newPauses() *pauses {
	return &pauses{by: map[string]ledger.Pause{}, asked: map[string]ledger.Request{}, heard: map[string]int64{}}
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

// stands says whether a rule is paused until somebody resumes it.
func (p *pauses) stands(rule string) bool {
	pause, ok := p.of(rule)
	return ok && pause.Stands()
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

// add notes a pause; one that would end by itself does not replace one that stands.
func (p *pauses) add(pause ledger.Pause) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard[pause.Rule] = max(p.heard[pause.Rule], pause.Asked)
	if have, ok := p.by[pause.Rule]; ok && have.Stands() && !pause.Stands() {
		return
	}
	p.by[pause.Rule] = pause
	delete(p.asked, pause.Rule)
}

// remove says whether the rule was paused by that pause.
func (p *pauses) remove(rule string, pause ledger.Pause) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if have, ok := p.by[rule]; !ok || have != pause {
		return false
	}
	delete(p.by, rule)
	delete(p.asked, rule)
	return true
}

// carriedOut notes requests that were carried out before a start.
func (p *pauses) carriedOut(requests map[string]int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for rule, at := range requests {
		p.heard[rule] = max(p.heard[rule], at)
	}
}

// ask notes that a rule shall go on; of one that has been paused anew since, it says nothing.
func (p *pauses) ask(r ledger.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pause, ok := p.by[r.Rule]; ok && r.Lifts(pause) {
		p.asked[r.Rule] = r
	}
}

func (p *pauses) askedFor(rule string) (ledger.Request, bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	r, ok := p.asked[rule]
	return r, ok
}

// isNew says of a request to pause that it has not been carried out.
func (p *pauses) isNew(r ledger.Request) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return r.At > p.heard[r.Rule]
}

// isPaused says whether a rule is looked at: one that the store could not compute is when it has changed.
func (e *Engine) isPaused(l *live, r *workspace.Rule) bool {
	p, ok := e.paused.of(r.Name)
	return ok && (p.Stands() || p.Hash == l.looks[r.Name])
}

// Halted says whether messages of a rule that are queued are not to be sent: somebody, or its pause_when, has paused
// it. What was decided before the store refused its condition is as good as it was. Those of a broadcast wait, because
// it goes on where it stopped.
func (e *Engine) Halted(rule string) (halted, waits bool) {
	r := e.live.Load().byName[rule]
	return e.paused.stands(rule), r != nil && r.Broadcast
}

// refused pauses a rule that the store cannot compute.
func (e *Engine) refused(ctx context.Context, l *live, t ledger.Tick, rule string, reason error) error {
	p := ledger.Pause{Rule: rule, Hash: l.looks[rule], Reason: shorten(reason.Error()), At: t.T1}
	if err := e.pause(ctx, p); err != nil {
		return err
	}
	e.metrics.refused.WithLabelValues(rule).Inc()
	e.log.Error("a rule is paused: the store cannot compute its condition; the other rules go on, and it does when its file, or a segment or fence that it uses, has changed, or by nudge resume",
		"rule", rule, "tick", t.ID, "error", reason)
	return nil
}

// refusedAll pauses rules, by name.
func (e *Engine) refusedAll(ctx context.Context, l *live, t ledger.Tick, refused map[string]error) error {
	for _, name := range slices.Sorted(maps.Keys(refused)) {
		if err := e.refused(ctx, l, t, name, refused[name]); err != nil {
			return err
		}
	}
	return nil
}

// pause tells every shard that a rule is paused. From its record on a shard decides nothing of the rule, also in a
// tick that is under way.
func (e *Engine) pause(ctx context.Context, p ledger.Pause) error {
	e.paused.writing.Lock()
	defer e.paused.writing.Unlock()
	if err := e.writePause(ctx, p); err != nil {
		return err
	}
	e.paused.add(p)
	e.metrics.paused.WithLabelValues(p.Rule).Set(1)
	return nil
}

// writePause writes it to the shards that do not have it.
func (e *Engine) writePause(ctx context.Context, p ledger.Pause) error {
	return e.each(func(s *shard) error {
		return e.decide(ctx, s, func(st *ledger.State, commit func([]ledger.Record) error) error {
			if have, ok := st.Pauses()[p.Rule]; ok && (have == p || !p.Stands() && (have.Stands() || have.Hash == p.Hash)) {
				return nil
			}
			return commit([]ledger.Record{{Pause: &p}})
		})
	})
}

// unpause notes that a rule goes on behind a pause.
func (e *Engine) unpause(rule string, p ledger.Pause) {
	if e.paused.remove(rule, p) {
		e.metrics.paused.DeleteLabelValues(rule)
		e.log.Info("a rule that was paused goes on", "rule", rule)
	}
}

// resumePauses completes what a stop cut short, and says which rules are paused.
func (e *Engine) resumePauses(ctx context.Context) error {
	for _, p := range e.paused.list() {
		if err := e.pause(ctx, p); err != nil {
			return err
		}
		until := "nudge resume"
		if !p.Stands() {
			until = "its file, or a segment or fence that it uses, changes, or nudge resume"
		}
		e.log.Warn("a rule is paused", "until", until, "rule", p.Rule, "by", p.Who, "reason", p.Reason)
	}
	return e.Requests(ctx)
}

// Requests reads what people have asked of rules. Those that are to be paused are paused at once, with a tick under
// way too; those that are to go on do at the next Step or Arrived.
func (e *Engine) Requests(ctx context.Context) error {
	requests, err := e.ledger.Requests(ctx)
	if err != nil {
		return err //nolint:wrapcheck // says what it was doing
	}
	for _, name := range slices.Sorted(maps.Keys(requests)) {
		r := requests[name]
		switch {
		case r.Action == ledger.AskResume:
			e.paused.ask(r)
		case e.paused.isNew(r):
			now := max(e.now().UnixMilli(), e.lastNow.Load())
			if err := e.pause(ctx, ledger.Pause{Rule: name, Reason: r.Reason, At: now, By: ledger.PauseByPerson, Who: r.Who, Asked: r.At}); err != nil {
				return err
			}
			e.log.Warn("a rule is paused, as it was asked, until nudge resume", "rule", name, "by", r.Who, "reason", r.Reason)
		}
	}
	return nil
}

// goOn lets paused rules go on that shall, `on:` rules or all others, at now. Of these one that the store could not
// compute and whose file has changed goes on when it is looked at; an `on:` rule goes on here, behind all that arrived
// so far.
func (e *Engine) goOn(ctx context.Context, l *live, now int64, on bool) error {
	for _, p := range e.paused.list() {
		r := l.byName[p.Rule]
		if r == nil || (r.On != nil) != on {
			continue
		}
		request, asked := e.paused.askedFor(p.Rule)
		changed := on && !p.Stands() && p.Hash != l.looks[p.Rule]
		if !changed && !asked {
			continue
		}
		if on {
			if err := e.hearFromHere(ctx, l, now, p.Rule); err != nil {
				return err
			}
		}
		resume := ledger.Resume{Rule: p.Rule, At: now, Who: request.Who, Reason: request.Reason, Asked: request.At}
		if err := e.resumeRule(ctx, p, resume); err != nil {
			return err
		}
	}
	return nil
}

// resumeRule tells every shard that a rule goes on behind a pause, unless it has been paused anew.
func (e *Engine) resumeRule(ctx context.Context, p ledger.Pause, r ledger.Resume) error {
	e.paused.writing.Lock()
	defer e.paused.writing.Unlock()
	if now, _ := e.paused.of(p.Rule); now != p {
		return nil
	}
	err := e.each(func(s *shard) error {
		return e.decide(ctx, s, func(_ *ledger.State, commit func([]ledger.Record) error) error {
			return commit([]ledger.Record{{Resume: &r}})
		})
	})
	if err != nil {
		return err
	}
	e.guards.resumed(r)
	e.unpause(r.Rule, p)
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

package engine

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"nudge/engine/ledger"
	"nudge/engine/schedule"
	"nudge/engine/workspace"
	"nudge/events"
	"nudge/rules"
)

func cmpString(a, b string) int { return cmp.Compare(a, b) }

// Step runs everything that has fallen due by now (Unix ms): each schedule once, at the latest
// instant that it missed, in order of time, then what is due by itself, and last the first looks that
// only note people, between two parts of which it runs what has fallen due meanwhile. When the clock has
// stepped back nothing is done until it passes where it was; that is counted.
func (e *Engine) Step(ctx context.Context, now int64) error {
	e.ticking.Lock()
	defer e.ticking.Unlock()
	if now < e.lastNow.Load() {
		e.metrics.steppedBack.Inc()
		return nil
	}
	e.enter(&e.inTick, &e.inArrival)
	defer func() { e.inTick.Store(e.cut != nil || e.cutFirst != nil) }()
	if err := e.stepDue(ctx, now); err != nil {
		return err
	}
	return e.lookFirst(ctx)
}

// stepDue is Step without the first looks that only note.
func (e *Engine) stepDue(ctx context.Context, now int64) error {
	e.lastNow.Store(now)
	if e.cut != nil {
		if err := e.runTick(ctx, e.live.Load(), *e.cut); err != nil {
			return err
		}
	}
	if err := e.goOn(ctx, e.live.Load(), now, false); err != nil {
		return err
	}
	for {
		l := e.live.Load() // one set for all of the tick, whatever is loaded meanwhile
		at, due, err := e.pending(ctx, l, now, false)
		if err != nil {
			return err
		}
		if len(due) == 0 {
			break
		}
		if err := e.runTick(ctx, l, e.newTick(l, ledger.TickSchedule, at, due)); err != nil {
			return err
		}
	}
	e.wake(now)
	if e.anyDue(now) {
		l := e.live.Load()
		return e.runTick(ctx, l, e.newTick(l, ledger.TickSchedule, now, nil))
	}
	return nil
}

// Next is the earliest instant at which Step has something to do by the clock alone, Unix ms. What
// arrives in the meantime may bring it forward.
func (e *Engine) Next(ctx context.Context) (int64, bool, error) {
	e.ticking.Lock()
	defer e.ticking.Unlock()
	if e.cut != nil || e.cutFirst != nil { // it is repeated
		return e.lastNow.Load(), true, nil
	}
	next, any := e.nextDue()
	l := e.live.Load()
	for _, r := range l.rules {
		if l.over(r, e.lastNow.Load()) {
			continue
		}
		locs, err := e.clocks(ctx, l, r)
		if err != nil {
			return 0, false, err
		}
		for _, c := range locs {
			if at, ok := e.nextOf(l, r, c.loc); ok && (!any || at < next) {
				next, any = at, true
			}
		}
	}
	return max(next, e.lastNow.Load()), any, nil
}

func (e *Engine) nextOf(l *live, r *workspace.Rule, loc *time.Location) (int64, bool) {
	last := e.lastTick(l, r)
	at, ok := schedule.Next(r.Schedule, loc, max(last, r.Start-1))
	if now := e.lastNow.Load(); !ok && r.Broadcast {
		at, ok = e.lastOf(l, r, loc, last, now)
	}
	return at, ok && (r.End == 0 || at < r.End)
}

// lastOf is the last instant in (last, now] at which the schedule of a rule fell due on a clock. A broadcast is due
// now where its time has passed and everybody has not been looked at: because nudge did not run then, because its file came
// later than that, or because it was stopped or paused in the middle. How late it may begin is how long its entries may
// wait.
func (e *Engine) lastOf(l *live, r *workspace.Rule, loc *time.Location, last, now int64) (int64, bool) {
	at, ok := schedule.Last(r.Schedule, loc, last, now)
	if !r.Broadcast {
		return at, ok
	}
	planned := r.Schedule.At.In(loc)
	switch {
	case planned > now || now >= planned+r.Expire.Milliseconds():
		return 0, false
	case ok:
		return at, true
	default:
		return now, e.unlooked(l, r)
	}
}

// unlooked says that a look of a rule at everybody has not come to its end.
func (e *Engine) unlooked(l *live, r *workspace.Rule) bool {
	return slices.ContainsFunc(e.shards, func(s *shard) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return firstLook(r.Rule, s.state.Looked(r.Name), l.lookHash(r))
	})
}

// Due is the earliest instant at which an open entry falls due by itself, Unix ms: Next without the
// schedules.
func (e *Engine) Due() (int64, bool) {
	e.ticking.Lock()
	defer e.ticking.Unlock()
	next, ok := e.nextDue()
	return max(next, e.lastNow.Load()), ok
}

// anyDue says whether an open entry is due by now.
func (e *Engine) anyDue(now int64) bool {
	if e.only == "" {
		next, ok := e.nextDue()
		return ok && next <= now
	}
	return slices.ContainsFunc(e.shards, func(s *shard) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return slices.ContainsFunc(s.state.DueBy(now), func(o *ledger.Open) bool { return o.Slot().Rule == e.only })
	})
}

// nextDue is the earliest due time of any shard.
func (e *Engine) nextDue() (int64, bool) {
	var next int64
	any := false
	for _, s := range e.shards {
		s.mu.Lock()
		if d, ok := s.state.NextDue(); ok && (!any || d < next) {
			next, any = d, true
		}
		s.mu.Unlock()
	}
	return next, any
}

// lastTick is when the rule's schedule last ran, or when the rule went live or goes on behind a pause. One
// whose records were cut short is repeated before any other; one that found nobody stands on one shard.
func (e *Engine) lastTick(l *live, r *workspace.Rule) int64 {
	if e.paused.has(r.Name) {
		return l.since
	}
	var newest int64
	for _, s := range e.shards {
		s.mu.Lock()
		newest = max(newest, s.state.TickOf(r.Name))
		s.mu.Unlock()
	}
	if newest == 0 {
		return l.since
	}
	return newest
}

// clock is one zone whose clock a schedule follows; zone is "" for one that is the same for all.
type clock struct {
	zone string
	loc  *time.Location
}

// clocks are the clocks on which the rule's schedule runs, none for `on:` rules, for digests, which
// go out when what they collected falls due, and while it is paused.
func (e *Engine) clocks(ctx context.Context, l *live, r *workspace.Rule) ([]clock, error) {
	if r.Schedule == nil || r.Digest != "" || e.isPaused(l, r) || e.only != "" && r.Name != e.only {
		return nil, nil
	}
	switch r.Schedule.Zone {
	case "", rules.ZoneWorkspace:
		return []clock{{loc: l.policy.Zone}}, nil
	case rules.ZonePerson:
		names, err := e.zones.get(ctx, e.planner)
		if err != nil {
			return nil, err
		}
		out := []clock{{zone: l.policy.Zone.String(), loc: l.policy.Zone}}
		for _, name := range names {
			if loc, err := l.policy.Location(name); err == nil && name != l.policy.Zone.String() {
				out = append(out, clock{zone: name, loc: loc})
			}
		}
		return out, nil
	default:
		loc, err := l.policy.Location(r.Schedule.Zone)
		if err != nil {
			return nil, fmt.Errorf("rule %s: %w", r.Name, err)
		}
		return []clock{{loc: loc}}, nil
	}
}

// dueRule is a rule that fell due, for people of some zones or (nil) for all.
type dueRule struct {
	rule  *workspace.Rule
	zones []string
}

// pending is the earliest instant at which rules fell due and have not run, and which ones: of those whose look only
// notes people, or of all others.
func (e *Engine) pending(ctx context.Context, l *live, now int64, notes bool) (int64, []dueRule, error) {
	var first int64
	var due []dueRule
	for _, r := range l.rules {
		if l.over(r, now) {
			continue
		}
		clocks, err := e.clocks(ctx, l, r)
		if err != nil {
			return 0, nil, err
		}
		if len(clocks) == 0 {
			continue
		}
		last := e.lastTick(l, r)
		var other *bool
		for _, c := range clocks {
			at, ok := e.lastOf(l, r, c.loc, last, now)
			if !ok || at < r.Start || (r.End != 0 && at >= r.End) {
				continue
			}
			if other == nil {
				is := e.onlyNotes(l, r) != notes
				other = &is
			}
			if *other {
				break
			}
			if len(due) == 0 || at < first {
				first, due = at, nil
			}
			if at > first {
				continue
			}
			if n := len(due) - 1; n >= 0 && due[n].rule == r {
				due[n].zones = append(due[n].zones, c.zone)
				continue
			}
			d := dueRule{rule: r}
			if c.zone != "" {
				d.zones = []string{c.zone}
			}
			due = append(due, d)
		}
	}
	return first, due, nil
}

func (e *Engine) newTick(l *live, kind string, t1 int64, due []dueRule) ledger.Tick {
	t := ledger.Tick{
		Kind: kind, T1: t1, P1: events.EndOf(e.people.Position().Seq()), Hash: l.Hash, Rules: []string{}, Zones: map[string][]string{},
		ID: fmt.Sprintf("%s-%s", kind[:1], time.UnixMilli(t1).UTC().Format("20060102T150405.000Z")),
	}
	for _, d := range due {
		name := d.rule.Name
		t.Rules = append(t.Rules, name)
		if d.zones != nil {
			t.Zones[name] = d.zones
		}
		if t.Looks == nil {
			t.Looks, t.From = map[string]string{}, map[string]ledger.Base{}
		}
		t.Looks[name] = l.looks[name]
		if from, ok := e.baseOf(name, d.zones); ok && from.Hash == l.looks[name] {
			t.From[name] = from
		}
	}
	return t
}

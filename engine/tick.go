package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"nudge/engine/ledger"
	"nudge/engine/schedule"
	"nudge/engine/workspace"
	"nudge/events"
	"nudge/rules"
	"nudge/segments"
)

func cmpString(a, b string) int { return cmp.Compare(a, b) }

// Step runs everything that has fallen due by now (Unix ms): each schedule once, at the latest
// instant that it missed, in order of time, and then what is due by itself. When the clock has
// stepped back nothing is done until it passes where it was; that is counted.
func (e *Engine) Step(ctx context.Context, now int64) error {
	e.ticking.Lock()
	defer e.ticking.Unlock()
	if now < e.lastNow.Load() {
		e.metrics.steppedBack.Inc()
		return nil
	}
	e.lastNow.Store(now)
	e.enter(&e.inTick, &e.inArrival)
	defer func() { e.inTick.Store(e.cut != nil) }()
	if e.cut != nil {
		if err := e.runTick(ctx, e.live.Load(), *e.cut); err != nil {
			return err
		}
	}
	for {
		l := e.live.Load() // one set for all of the tick, whatever is loaded meanwhile
		at, due, err := e.pending(ctx, l, now)
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
	if next, ok := e.nextDue(); ok && next <= now {
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
	next, any := e.nextDue()
	l := e.live.Load()
	for _, r := range l.rules {
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
	at, ok := schedule.Next(r.Schedule, loc, max(e.lastTick(l, r), r.Start-1))
	return at, ok && (r.End == 0 || at < r.End)
}

// Due is the earliest instant at which an open entry falls due by itself, Unix ms: Next without the
// schedules.
func (e *Engine) Due() (int64, bool) {
	e.ticking.Lock()
	defer e.ticking.Unlock()
	next, ok := e.nextDue()
	return max(next, e.lastNow.Load()), ok
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

// lastTick is when the rule's schedule last ran, or when the rule went live. All shards have the
// same, but for a tick whose records were cut short: the oldest counts.
func (e *Engine) lastTick(l *live, r *workspace.Rule) int64 {
	var oldest int64 = -1
	for _, s := range e.shards {
		s.mu.Lock()
		if t := s.state.TickOf(r.Name); oldest < 0 || t < oldest {
			oldest = t
		}
		s.mu.Unlock()
	}
	if oldest <= 0 {
		return l.since
	}
	return oldest
}

// clock is one zone whose clock a schedule follows; zone is "" for one that is the same for all.
type clock struct {
	zone string
	loc  *time.Location
}

// clocks are the clocks on which the rule's schedule runs, none for `on:` rules.
func (e *Engine) clocks(ctx context.Context, l *live, r *workspace.Rule) ([]clock, error) {
	if r.Schedule == nil {
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

// pending is the earliest instant at which rules fell due and have not run, and which ones.
func (e *Engine) pending(ctx context.Context, l *live, now int64) (int64, []dueRule, error) {
	var first int64
	var due []dueRule
	for _, r := range l.rules {
		clocks, err := e.clocks(ctx, l, r)
		if err != nil {
			return 0, nil, err
		}
		if len(clocks) == 0 {
			continue
		}
		last := e.lastTick(l, r)
		for _, c := range clocks {
			at, ok := schedule.Last(r.Schedule, c.loc, last, now)
			if !ok || at < r.Start || (r.End != 0 && at >= r.End) {
				continue
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
		t.Rules = append(t.Rules, d.rule.Name)
		if d.zones != nil {
			t.Zones[d.rule.Name] = d.zones
		}
	}
	return t
}

// runTick looks at everybody for the tick's rules, and at those who are due by themselves, and
// decides. A tick that fails is kept and repeated, as of the same instant and position, before any
// other.
func (e *Engine) runTick(ctx context.Context, l *live, t ledger.Tick) (err error) {
	e.cut = &t
	defer func() {
		if err == nil {
			e.cut = nil
		}
	}()
	if err := e.applyChanges(ctx, t.P1); err != nil {
		return err
	}
	if err := e.begin(ctx, t); err != nil {
		return err
	}
	found := newFound()
	if err := e.lookAtAll(ctx, l, t, found); err != nil {
		return fmt.Errorf("tick %s: %w", t.ID, err)
	}
	if err := e.lookAtDue(ctx, l, t, found); err != nil {
		return fmt.Errorf("tick %s: %w", t.ID, err)
	}
	e.tellRefused(t, found)
	if err := e.findExits(ctx, l, t, found); err != nil {
		return fmt.Errorf("tick %s: %w", t.ID, err)
	}
	return e.decideTick(ctx, l, t, found)
}

func (e *Engine) tellRefused(t ledger.Tick, f *found) {
	for _, r := range f.refused {
		e.metrics.refused.WithLabelValues(r.rule).Inc()
		e.log.Error("a rule's condition cannot be asked; the other rules go on", "rule", r.rule, "tick", t.ID, "error", r.err)
	}
}

// begin writes the tick record to every shard that does not have it.
func (e *Engine) begin(ctx context.Context, t ledger.Tick) error {
	return e.each(func(s *shard) error { return e.beginOn(ctx, s, t) })
}

func (e *Engine) beginOn(ctx context.Context, s *shard, t ledger.Tick) error {
	return e.decide(ctx, s, func(st *ledger.State, commit func([]ledger.Record) error) error {
		if last, ok := st.Last(t.Kind); ok && last.ID == t.ID && last.P1 == t.P1 {
			return nil
		}
		return commit([]ledger.Record{{Tick: &t}})
	})
}

func (l *live) look(t ledger.Tick) segments.Look {
	return segments.Look{
		At: t.T1, UpTo: t.P1, After: t.P0, Retention: l.Retention.Milliseconds(), DefaultZone: l.policy.Zone.String(), Fences: l.Fences,
	}
}

// lookAtAll asks for everybody for whom a rule of the tick is true.
func (e *Engine) lookAtAll(ctx context.Context, l *live, t ledger.Tick, f *found) error {
	look := l.look(t)
	var due []*workspace.Rule
	for _, name := range t.Rules {
		if r := l.byName[name]; r != nil {
			due = append(due, r)
			look.Who = append(look.Who, r.Who)
		}
	}
	if len(due) == 0 {
		return nil
	}
	for _, r := range due {
		f.looked(r.Name)
	}
	return e.planner.Look(ctx, look, func(answers []segments.Answer) error {
		for _, a := range answers {
			r := due[a.Who]
			// A first look notes everybody, on whatever clock; but what is sent is sent on the person's own.
			zones := t.Zones[r.Name]
			elsewhere := a.Person != 0 && zones != nil && !slices.Contains(zones, zoneOf(a.Profile, l))
			if !elsewhere || !r.Backfill {
				f.add(r, a, elsewhere)
			}
		}
		return nil
	})
}

// zoneOf is the zone whose clock is the person's for a schedule.
func zoneOf(p *segments.Profile, l *live) string {
	if p == nil || p.Zone == "" {
		return l.policy.Zone.String()
	}
	return p.Zone
}

// lookAtDue asks about the open entries that are due.
func (e *Engine) lookAtDue(ctx context.Context, l *live, t ledger.Tick, f *found) error {
	var again, kept, triggered []dueOpen
	for _, s := range e.shards {
		s.mu.Lock()
		for _, o := range s.state.DueBy(t.T1) {
			d := dueOpen{person: o.Person(), rule: o.Slot().Rule, value: o.Slot().Value, entry: o.Entry, trigger: o.Trigger}
			r := l.byName[d.rule]
			switch {
			case r == nil:
				f.orphans = append(f.orphans, d)
			case o.Reason == ledger.Held && r.WhileHeld == rules.Keep:
				kept = append(kept, d)
			case r.On != nil:
				triggered = append(triggered, d)
			default:
				again = append(again, d)
			}
		}
		s.mu.Unlock()
	}
	if err := e.keepDue(ctx, l, t, kept, f); err != nil {
		return err
	}
	return errors.Join(e.askAgain(ctx, l, t, again, f), e.askTriggered(ctx, l, t, triggered, f))
}

// dueOpen names an open entry that is due.
type dueOpen struct {
	person  events.PersonID
	rule    string
	value   string
	entry   string
	trigger events.Position
}

func (e *Engine) keepDue(ctx context.Context, l *live, t ledger.Tick, due []dueOpen, f *found) error {
	if len(due) == 0 {
		return nil
	}
	people := make([]events.PersonID, 0, len(due))
	for _, d := range due {
		people = append(people, d.person)
	}
	profiles, err := e.planner.Profiles(ctx, people, t.T1, t.P1)
	if err != nil {
		return fmt.Errorf("read the profiles of held entries: %w", err)
	}
	for _, d := range due {
		f.addDue(l.byName[d.rule], d, segments.Answer{Person: d.person, Value: d.value, Truth: segments.True, Profile: profiles[d.person]}, true)
	}
	return nil
}

// askAgain judges the conditions of open entries again, for these people alone.
func (e *Engine) askAgain(ctx context.Context, l *live, t ledger.Tick, due []dueOpen, f *found) error {
	if len(due) == 0 {
		return nil
	}
	look := l.look(t)
	look.Values = map[events.PersonID][]string{}
	var asked []*workspace.Rule
	open := map[slotKey]dueOpen{}
	people := map[events.PersonID]struct{}{}
	for _, d := range due {
		r := l.byName[d.rule]
		if !slices.Contains(asked, r) {
			asked = append(asked, r)
			look.Who = append(look.Who, r.Who)
		}
		people[d.person] = struct{}{}
		if d.value != "" {
			look.Values[d.person] = append(look.Values[d.person], d.value)
		}
		open[slotKey{d.rule, d.person, d.value}] = d
	}
	look.People = slices.Sorted(maps.Keys(people))
	err := e.planner.Look(ctx, look, func(answers []segments.Answer) error {
		for _, a := range answers {
			r := asked[a.Who]
			key := slotKey{r.Name, a.Person, a.Value}
			if d, ok := open[key]; ok {
				delete(open, key)
				f.addDue(r, d, a, false)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("ask again about %d open entries: %w", len(due), err)
	}
	// No answer at all means that the value's history is gone: that is not true either.
	for _, d := range open {
		f.addDue(l.byName[d.rule], d, segments.Answer{Person: d.person, Value: d.value}, false)
	}
	return nil
}

// askTriggered judges open entries of `on:` rules again, each with its own occurrence.
func (e *Engine) askTriggered(ctx context.Context, l *live, t ledger.Tick, due []dueOpen, f *found) error {
	byRule := map[string][]dueOpen{}
	for _, d := range due {
		byRule[d.rule] = append(byRule[d.rule], d)
	}
	for name, open := range byRule {
		r := l.byName[name]
		look := l.look(t)
		look.Who = []*segments.Who{r.Who}
		byTrigger := map[events.Position]dueOpen{}
		for _, d := range open {
			look.Triggers = append(look.Triggers, d.trigger)
			byTrigger[d.trigger] = d
		}
		err := e.planner.Look(ctx, look, func(answers []segments.Answer) error {
			for _, a := range answers {
				if a.Trigger == nil {
					continue
				}
				if d, ok := byTrigger[a.Trigger.Pos]; ok {
					delete(byTrigger, a.Trigger.Pos)
					f.addDue(r, d, a, false)
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("ask again about %d open entries of %s: %w", len(open), name, err)
		}
		for _, d := range byTrigger {
			f.addDue(r, d, segments.Answer{Person: d.person, Value: d.value}, false)
		}
	}
	return nil
}

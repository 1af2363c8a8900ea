package engine

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"nudge/engine/decide"
	"nudge/engine/ledger"
	"nudge/engine/workspace"
	"nudge/events"
	"nudge/segments"
)

// ticking is a schedule tick under way. It goes over the people part by part: what was found about the
// people of a part is decided before the next part is read, so that memory is bounded by a part, and
// everybody's contenders come together.
type ticking struct {
	e *Engine
	l *live
	t ledger.Tick

	rules []*workspace.Rule // that are looked at, in the order of segments.Tick.Who
	whole []bool            // at everybody
	open  []dueOpen         // entries that are due, by person
	gone  []dueOpen         // of them, those whose rule is gone

	begun    bool
	first    []map[string]bool     // by shard: rules of which this is the first look
	watching [][][]events.PersonID // by rule that everybody is looked at for, and shard: who is remembered, sorted
	refused  map[string]error      // rules that the store cannot compute
}

// runTick looks for those for whom the tick's rules are true now, and at those who are due by themselves, and
// decides. A tick that fails is kept and repeated, as of the same instant and position, before any
// other. It is written down before anything is decided; one that finds nobody on one shard alone, behind it.
func (e *Engine) runTick(ctx context.Context, l *live, t ledger.Tick) (err error) {
	began := e.now()
	t = e.again(l, t)
	cut := &e.cut
	if t.Kind == ledger.TickFirst {
		cut = &e.cutFirst
	}
	*cut = &t
	defer func() {
		if err == nil {
			*cut = nil
		}
	}()
	if err := e.applyChanges(ctx, t.P1); err != nil {
		return err
	}
	k := &ticking{e: e, l: l, t: t, refused: map[string]error{}}
	if err := k.run(ctx); err != nil {
		return fmt.Errorf("tick %s: %w", t.ID, err)
	}
	return e.ended(ctx, l, t, began)
}

// again is a tick as it is run under a rule set, which may be another than the one under which it was cut
// short: rules that decide in another way by now are looked at from the beginning.
func (e *Engine) again(l *live, t ledger.Tick) ledger.Tick {
	looks, from := map[string]string{}, map[string]ledger.Base{}
	for _, name := range t.Rules {
		r := l.byName[name]
		if r == nil || r.On != nil || e.isPaused(l, r) || e.wentOnSince(name, t.T1) {
			continue
		}
		if r.Broadcast && t.T1 < e.since { // it is due anew: what was right hours ago, as quiet hours are, may not be now
			continue
		}
		looks[name] = l.looks[name]
		if base, ok := t.From[name]; ok && t.Looks[name] == looks[name] && base.Hash == looks[name] {
			from[name] = base
		}
	}
	t.Looks, t.From = looks, from
	return t
}

// wentOnSince says of a tick's rule that it has been let go on behind the tick, which is repeated: its first
// look is another one.
func (e *Engine) wentOnSince(rule string, t1 int64) bool {
	return slices.ContainsFunc(e.shards, func(s *shard) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.state.TickOf(rule) > t1
	})
}

func (k *ticking) run(ctx context.Context) error {
	k.due()
	q := segments.Tick{
		At: k.t.T1, UpTo: k.t.P1, Retention: k.l.Retention.Milliseconds(), DefaultZone: k.l.policy.Zone.String(), Fences: k.l.Fences,
	}
	for _, name := range k.t.Rules {
		if _, ok := k.t.Looks[name]; !ok {
			continue
		}
		r := k.l.byName[name]
		from := k.from(r)
		k.rules, k.whole = append(k.rules, r), append(k.whole, from == segments.Baseline{})
		q.Who, q.From, q.OwnClock = append(q.Who, r.Who), append(q.From, from), append(q.OwnClock, k.t.Zones[name] != nil)
	}
	q.Asks, q.Stands = k.asks(q.From), k.stands
	for i, from := range q.From {
		k.whole[i] = from == segments.Baseline{}
	}
	if len(k.rules) > 0 {
		err := k.e.planner.Tick(ctx, q, func(p *segments.Part) error { return k.part(ctx, p) })
		if err != nil {
			return err //nolint:wrapcheck // says what it was doing
		}
	} else if err := k.dueAlone(ctx); err != nil {
		return err
	}
	return k.end(ctx)
}

// stands says that nothing comes of it that a rule's condition is true of somebody. What may change that before it is
// decided is an entry whose end lets them in again, for which State.Asked has them at the next look, and a merge, which
// is a change. On people's own clocks it takes the person's zone to say whose look it is.
func (k *ticking) stands(who int, person events.PersonID, value string) bool {
	r := k.rules[who]
	if k.t.Zones[r.Name] != nil {
		return false
	}
	s := k.e.shardOf(person)
	s.mu.Lock()
	defer s.mu.Unlock()
	return decide.Stands(r.Rule, s.state.Person(person).Slot(r.Name, value), k.t.T1)
}

// from is where a rule's look begins: nowhere when it is a first one.
func (k *ticking) from(r *workspace.Rule) segments.Baseline {
	base, ok := k.t.From[r.Name]
	for _, s := range k.e.shards {
		s.mu.Lock()
		ok = ok && !firstLook(r.Rule, s.state.Looked(r.Name), k.l.lookHash(r))
		s.mu.Unlock()
	}
	if !ok {
		return segments.Baseline{}
	}
	return segments.Baseline{At: base.At, UpTo: base.UpTo}
}

// due takes what is due by itself from the shards.
func (k *ticking) due() {
	if k.t.Kind == ledger.TickFirst { // which only notes
		return
	}
	for _, s := range k.e.shards {
		s.mu.Lock()
		for _, o := range s.state.DueBy(k.t.T1) {
			d := newDueOpen(o)
			if k.e.only != "" && d.rule != k.e.only {
				continue
			}
			r := k.l.byName[d.rule]
			if r == nil {
				k.gone = append(k.gone, d)
				continue
			}
			d.kept, d.paused = keeps(r, o), k.e.isPaused(k.l, r)
			k.open = append(k.open, d)
		}
		s.mu.Unlock()
	}
	slices.SortStableFunc(k.open, func(a, b dueOpen) int { return cmp.Compare(a.person, b.person) })
}

// dueTogether is how many open entries are answered together where no rule is looked at.
const dueTogether = 4096

// dueAlone answers what is due in a tick without rules.
func (k *ticking) dueAlone(ctx context.Context) error {
	var after events.PersonID
	for open := k.open; len(open) > 0; {
		n := min(dueTogether, len(open))
		for n < len(open) && open[n].person == open[n-1].person {
			n++
		}
		p := &segments.Part{After: after, To: open[n-1].person}
		if n == len(open) {
			p.To = math.MaxUint64
		}
		if err := k.part(ctx, p); err != nil {
			return err
		}
		after, open = p.To, open[n:]
	}
	return nil
}

// part decides about the people of a part. Between two chunks of it others may decide.
func (k *ticking) part(ctx context.Context, p *segments.Part) error {
	for _, r := range p.Refused {
		k.refuse(k.rules[r.Who].Name, r.Err)
	}
	f := newFound()
	for i := range p.Answers {
		a := p.Answers[i]
		r := k.rules[a.Who]
		if k.refused[r.Name] == nil {
			f.add(r, a, k.t.Zones[r.Name] != nil && !slices.Contains(k.t.Zones[r.Name], zoneOf(a.Profile, k.l)))
		}
	}
	open := k.openOf(p)
	if len(open) == 0 && len(f.people) == 0 && !judged(p) {
		return nil
	}
	if err := k.begin(ctx); err != nil {
		return err
	}
	k.watch(p)
	if err := k.addDue(ctx, p, open, f); err != nil {
		return err
	}
	if err := k.e.findExits(ctx, k.l, k.t, f); err != nil {
		return err
	}
	if err := k.e.decideFound(ctx, k.l, k.t, f, k.first); err != nil {
		return err
	}
	if err := k.e.each(func(s *shard) error { return k.noteFalse(ctx, s, p, f) }); err != nil {
		return err
	}
	if k.t.Kind == ledger.TickFirst {
		return k.e.meanwhile(ctx)
	}
	return nil
}

func (k *ticking) refuse(rule string, err error) {
	if k.refused[rule] == nil {
		k.refused[rule] = err
	}
}

func judged(p *segments.Part) bool {
	return slices.Contains(p.Everybody, true) || slices.ContainsFunc(p.Judged, func(people []events.PersonID) bool { return len(people) > 0 })
}

// openOf are the entries of the part's people that are due.
func (k *ticking) openOf(p *segments.Part) []dueOpen {
	at := func(id events.PersonID) int {
		n, _ := slices.BinarySearchFunc(k.open, id, func(d dueOpen, id events.PersonID) int {
			if d.person <= id {
				return -1
			}
			return 1
		})
		return n
	}
	return k.open[at(p.After):at(p.To)]
}

// begin writes the tick down, once.
func (k *ticking) begin(ctx context.Context) error {
	if k.begun {
		return nil
	}
	if err := k.e.begin(ctx, k.t); err != nil {
		return err
	}
	k.first = make([]map[string]bool, len(k.e.shards))
	k.watching = make([][][]events.PersonID, len(k.rules))
	for n, s := range k.e.shards {
		first := map[string]bool{}
		s.mu.Lock()
		for i, r := range k.rules {
			if k.whole[i] {
				first[r.Name] = firstLook(r.Rule, s.state.Looked(r.Name), k.l.lookHash(r))
			}
		}
		s.mu.Unlock()
		k.first[n] = first
	}
	k.begun = true
	return nil
}

// watch lists who is remembered of rules that everybody is judged for, once: a part has a range of the list.
func (k *ticking) watch(p *segments.Part) {
	for i, everybody := range p.Everybody {
		if !everybody || k.watching[i] != nil {
			continue
		}
		k.watching[i] = make([][]events.PersonID, len(k.e.shards))
		for n, s := range k.e.shards {
			s.mu.Lock()
			k.watching[i][n] = remembered(s.state, k.rules[i].Name)
			s.mu.Unlock()
		}
	}
}

// remembered are the people of a rule about whom it may matter that its condition is false, sorted.
func remembered(st *ledger.State, rule string) []events.PersonID {
	people := map[events.PersonID]struct{}{}
	for w := range st.Watched(rule) {
		people[w.Person] = struct{}{}
	}
	for _, w := range st.Asked(rule) {
		people[w.Person] = struct{}{}
	}
	return slices.Sorted(maps.Keys(people))
}

// noteFalse notes on one shard for whom of a part the condition is not true where that matters, and that those who
// were asked for in any case were answered.
func (k *ticking) noteFalse(ctx context.Context, s *shard, p *segments.Part, f *found) error {
	return k.e.decide(ctx, s, func(st *ledger.State, commit func([]ledger.Record) error) error {
		var out chunk
		type answer struct {
			rule string
			ledger.Watch
		}
		var settled []answer
		look := func(r *workspace.Rule, id events.PersonID) {
			state := st.Person(id)
			if state == nil || state.Merged > k.t.P1 {
				return // two people at this look; the next sees the one
			}
			for _, slot := range state.Slots {
				if slot.Rule != r.Name {
					continue
				}
				w := ledger.Watch{Person: id, Value: slot.Value}
				_, watched := st.Watched(r.Name)[w]
				_, stands := f.stands[slotKey{r.Name, id, slot.Value}]
				switch {
				case stands: // which decidePerson has taken in
				case !watched:
					settled = append(settled, answer{r.Name, w})
				case inZones(k.t.Zones[r.Name], k.l, slot):
					out.add(ledger.Record{Flip: &ledger.Flip{Rule: r.Name, Person: id, Value: slot.Value, At: k.t.T1}})
				}
			}
		}
		for i, r := range k.rules {
			if k.refused[r.Name] != nil {
				continue
			}
			for _, id := range k.judgedOn(s, i, p, f) {
				look(r, id)
			}
		}
		if err := out.commitAll(commit); err != nil {
			return err
		}
		for _, a := range settled {
			st.Answer(a.rule, a.Watch)
		}
		return nil
	})
}

// judgedOn are the people of a shard who were judged for a rule in a part, and of whom something may be
// remembered; in order.
func (k *ticking) judgedOn(s *shard, rule int, p *segments.Part, f *found) []events.PersonID {
	var out []events.PersonID
	if !p.Everybody[rule] {
		for _, id := range p.Judged[rule] {
			if k.e.shardOf(id) == s {
				out = append(out, id)
			}
		}
		return out
	}
	all := k.watching[rule][s.id]
	from, _ := slices.BinarySearch(all, p.After+1)
	for _, id := range all[from:] {
		if id > p.To {
			break
		}
		out = append(out, id)
	}
	out = append(out, f.of(s.id, len(k.e.shards))...)
	slices.Sort(out)
	return slices.Compact(out)
}

// end ends a tick behind its last part: open entries whose rule is gone, first looks that are complete, rules that
// cannot be computed.
func (k *ticking) end(ctx context.Context) error {
	if !k.begun && len(k.gone) == 0 && len(k.refused) == 0 {
		k.remember()
		k.t.Idle = true
		return k.e.note(ctx, k.t)
	}
	if err := k.begin(ctx); err != nil {
		return err
	}
	if err := k.e.each(func(s *shard) error { return k.endOn(ctx, s) }); err != nil {
		return err
	}
	if err := k.e.refusedAll(ctx, k.l, k.t, k.refused); err != nil {
		return err
	}
	for name := range k.refused {
		delete(k.e.bases, name)
	}
	k.remember()
	return nil
}

func (k *ticking) endOn(ctx context.Context, s *shard) error {
	return k.e.decide(ctx, s, func(st *ledger.State, commit func([]ledger.Record) error) error {
		var out chunk
		for _, d := range k.gone {
			if o := findOpen(st, d); o != nil {
				ended := o.Ended(ledger.Paused, "the rule is gone", k.t.T1)
				ended.Tick = k.t.ID
				out.add(ledger.Record{Decision: ended})
			}
		}
		for _, r := range k.rules {
			if k.refused[r.Name] == nil && k.first[s.id][r.Name] && !st.Halted(r.Name) {
				out.add(ledger.Record{Looked: &ledger.Looked{Rule: r.Name, Hash: k.l.lookHash(r), At: k.t.T1}})
			}
		}
		return out.commitAll(commit)
	})
}

// remember notes for the rules that were carried through where their next look begins.
func (k *ticking) remember() {
	e := k.e
	for _, r := range k.rules {
		if k.refused[r.Name] != nil {
			continue
		}
		if p, ok := e.paused.of(r.Name); ok {
			if p.Stands() { // while the tick was under way
				delete(e.bases, r.Name)
				continue
			}
			e.unpause(r.Name, p)
		}
		if e.bases[r.Name] == nil {
			e.bases[r.Name] = map[string]ledger.Base{}
		}
		zones := k.t.Zones[r.Name]
		if zones == nil {
			zones = []string{""}
		}
		for _, zone := range zones {
			e.bases[r.Name][zone] = ledger.Base{At: k.t.T1, UpTo: k.t.P1, Hash: k.t.Looks[r.Name]}
		}
	}
}

// zoneOf is the zone whose clock is the person's for a schedule.
func zoneOf(p *segments.Profile, l *live) string {
	if p == nil || p.Zone == "" {
		return l.policy.Zone.String()
	}
	return p.Zone
}

// inZones says whether the slot's person was looked at, for a tick on the person's own clock.
func inZones(zones []string, l *live, slot *ledger.Slot) bool {
	return zones == nil || slices.Contains(zones, cmp.Or(slot.Zone, l.policy.Zone.String()))
}

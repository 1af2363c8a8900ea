package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"nudge/engine/decide"
	"nudge/engine/ledger"
	"nudge/engine/workspace"
	"nudge/events"
	"nudge/events/queue"
	"nudge/rules"
	"nudge/segments"
)

// guards count what becomes of the messages of rules with a pause_when. What they count stands in the ledger (final
// deliveries, ledger.Counted, ledger.Unsubscribed), from which a start counts it again; after that an outcome costs an
// addition, however much is stored.
type guards struct {
	mu      sync.Mutex
	tallies map[string]*tally // by rule, of those that have a ledger.Counted
	counted []uint64          // by stream: the newest message of deliveries that is in
	loaded  bool
	// followed has when each message was followed by an unsubscribe: each counts once.
	followed map[messageKey]int64
	oldest   int64 // hour that counts: what is in followed is not much older

	withdrawn []withdrawal    // that are not held against messages yet, in stream order
	imported  events.Position // the newest that was passed over
	heard     events.Position // those up to here are, and in the ledger
	saved     events.Position // heard, as the store has it
}

// messageKey is what counts as one message: an entry on a channel.
type messageKey struct{ entry, channel string }

// withdrawal is a consent that was withdrawn.
type withdrawal struct {
	person  events.PersonID
	consent segments.Consent
	pos     events.Position
}

// tally is of one rule.
type tally struct {
	version string
	from    int64 // messages that came to an end then or later count
	hours   map[int64]rules.Ended
	oldest  int64 // no hour before it is in hours
	sum     rules.Ended
}

func newGuards(shards int) *guards {
	return &guards{tallies: map[string]*tally{}, counted: make([]uint64, shards), followed: map[messageKey]int64{}}
}

func newTally(version string, from int64) *tally {
	return &tally{version: version, from: from, hours: map[int64]rules.Ended{}}
}

// add counts what happened to messages that came to an end at an instant.
func (t *tally) add(at int64, e rules.Ended) {
	hour := ledger.HourOf(at)
	if at < t.from || hour < t.oldest {
		return
	}
	sum := t.hours[hour]
	sum.Add(e)
	t.hours[hour] = sum
	t.sum.Add(e)
}

// forget drops the hours before oldest: it goes over the few that there are, once an hour.
func (t *tally) forget(oldest int64) {
	if oldest <= t.oldest {
		return
	}
	t.oldest, t.sum = oldest, rules.Ended{}
	for hour, e := range t.hours {
		if hour < oldest {
			delete(t.hours, hour)
		} else {
			t.sum.Add(e)
		}
	}
}

// oldestHour is the first hour that counts: those of rules.PauseWindow, or of what is kept at all.
func oldestHour(l *live, now int64) int64 {
	window := rules.PauseWindow
	if l.Retention > 0 {
		window = min(window, l.Retention)
	}
	return ledger.HourOf(now) - int64(window/time.Hour) + 1
}

// began is where the counting of a rule stands.
func (g *guards) began(rule string) (version string, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.tallies[rule]
	if t == nil {
		return "", false
	}
	return t.version, true
}

func (g *guards) begin(c ledger.Counted) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tallies[c.Rule] = newTally(c.Version, c.From)
}

// resumed begins anew: what the rule was paused for does not count again.
func (g *guards) resumed(r ledger.Resume) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t := g.tallies[r.Rule]; t != nil {
		g.tallies[r.Rule] = newTally(t.version, r.At+1)
	}
}

// ended counts the messages of a stream's message that came to an end in it, and says of which rules.
func (g *guards) ended(stream int, seq uint64, records []ledger.Record) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if seq <= g.counted[stream] {
		return nil
	}
	g.counted[stream] = seq
	var of []string
	for _, r := range records {
		d := r.Delivery
		if d == nil || d.Status != ledger.Failed && (d.Status != ledger.Accepted || d.Again) {
			continue
		}
		t := g.tallies[d.Rule]
		if t == nil {
			continue
		}
		e := rules.Ended{Messages: 1}
		if d.Status == ledger.Failed {
			e.Failed = 1
		}
		t.add(d.At, e)
		if !slices.Contains(of, d.Rule) {
			of = append(of, d.Rule)
		}
	}
	return of
}

// unsubscribed counts a message that was followed by an unsubscribe, once.
func (g *guards) unsubscribed(u ledger.Unsubscribed) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.heard = max(g.heard, u.Pos)
	m := messageKey{u.Entry, u.Channel}
	if _, ok := g.followed[m]; ok {
		return
	}
	g.followed[m] = u.At
	if t := g.tallies[u.Rule]; t != nil {
		t.add(u.Sent, rules.Ended{Unsubscribed: 1})
	}
}

func (g *guards) wasFollowed(entry, channel string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, ok := g.followed[messageKey{entry, channel}]
	return ok
}

// forget drops what is too old to count, once an hour.
func (g *guards) forget(oldest int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if oldest <= g.oldest {
		return
	}
	g.oldest = oldest
	for m, at := range g.followed {
		if ledger.HourOf(at) < oldest-int64(rules.UnsubscribedWithin/time.Hour) {
			delete(g.followed, m)
		}
	}
}

// passed says which limit a rule has passed, "" for none.
func (g *guards) passed(r *workspace.Rule, oldest int64) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.tallies[r.Name]
	if t == nil || t.version != r.Version {
		return ""
	}
	t.forget(oldest)
	return r.PauseWhen.Passed(t.sum)
}

// add notes which consents were withdrawn in a batch. Those that are imported are passed over.
func (g *guards) add(batch []events.Resolved) {
	for i := range batch {
		ev := &batch[i]
		if ev.Kind != events.KindConsent {
			continue
		}
		var c events.ConsentChange
		if err := json.Unmarshal(ev.Properties, &c); err != nil || c.Granted {
			continue // what cannot be read is a dead letter
		}
		g.mu.Lock()
		if ev.Flags&events.Imported != 0 {
			g.imported = ev.Pos
		} else {
			g.withdrawn = append(g.withdrawn, withdrawal{ev.Person, segments.Consent{Channel: c.Channel, Category: c.Category, Time: ev.Time}, ev.Pos})
		}
		g.mu.Unlock()
	}
}

// next is the oldest withdrawal that is not held against messages yet, of those up to a position.
func (g *guards) next(upTo events.Position) (withdrawal, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.withdrawn) > 0 && g.withdrawn[0].pos <= g.heard {
		g.withdrawn = g.withdrawn[1:]
	}
	if len(g.withdrawn) == 0 || g.withdrawn[0].pos > upTo {
		return withdrawal{}, false
	}
	return g.withdrawn[0], true
}

// heardNothing says that no rule has ever counted.
func (g *guards) heardNothing() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.saved == 0
}

// heardUpTo is the position up to which withdrawals are held against messages or passed over, of those that the store
// has up to a position.
func (g *guards) heardUpTo(upTo events.Position) events.Position {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.imported <= upTo {
		g.heard = max(g.heard, g.imported)
	}
	return g.heard
}

func (g *guards) done(w withdrawal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.heard = max(g.heard, w.pos)
}

// takeUpGuards takes up, at a start, from when on messages count, and which were followed by an unsubscribe.
func (e *Engine) takeUpGuards() {
	for _, s := range e.shards {
		for _, c := range s.state.Counted() {
			e.guards.begin(c)
		}
	}
	for _, s := range e.shards {
		for _, u := range s.state.Unsubscribed() {
			e.guards.unsubscribed(u)
		}
	}
}

// loadGuards counts, at a start, what became of messages in the delivery streams up to a message that the store has.
func (e *Engine) loadGuards(ctx context.Context, upTo uint64) error {
	g := e.guards
	g.mu.Lock()
	defer g.mu.Unlock()
	oldest := oldestHour(e.live.Load(), max(e.since, e.lastNow.Load()))
	from := map[string]int64{}
	for rule, t := range g.tallies {
		t.forget(oldest)
		from[rule] = max(t.from, oldest*time.Hour.Milliseconds())
	}
	ended, err := e.ledger.LoadEnded(ctx, from, upTo)
	if err != nil {
		return err //nolint:wrapcheck // says what it was doing
	}
	for rule, hours := range ended {
		for hour, n := range hours {
			// Which of the hour's messages count has been asked already.
			g.tallies[rule].add(max(hour*time.Hour.Milliseconds(), g.tallies[rule].from), n)
		}
	}
	for i := range g.counted {
		g.counted[i] = upTo
	}
	g.loaded = true
	return nil
}

// heardOf is the name of the checkpoint of withdrawn consents that have been held against messages.
const heardOf = "withdrawals"

// rememberWithdrawals brings in, at a start, consents that were withdrawn in the moment before the last stop: the store
// has them, and the engine had not heard of them.
func (e *Engine) rememberWithdrawals(ctx context.Context) error {
	g := e.guards
	if len(g.tallies) == 0 {
		return nil
	}
	saved, err := e.ledger.Checkpoint(ctx, heardOf)
	if err != nil {
		return err //nolint:wrapcheck // says what it was doing
	}
	g.saved = events.Position(saved)
	g.heard = max(g.heard, g.saved)
	return e.ledger.Withdrawals(ctx, g.heard, e.people.Position(), func(person events.PersonID, channel, category string, at int64, pos events.Position) { //nolint:wrapcheck // says what it was doing
		g.withdrawn = append(g.withdrawn, withdrawal{person, segments.Consent{Channel: channel, Category: category, Time: at}, pos})
	})
}

// guard begins the counting of rules that have got a pause_when or another version, holds withdrawn consents that are
// in the store against the messages before them, and pauses rules that have passed a limit.
func (e *Engine) guard(ctx context.Context, now int64) error {
	l := e.live.Load()
	if len(l.guarded) == 0 || e.replays { // what people did then was not because of what is sent now
		return nil
	}
	for _, r := range l.guarded {
		if version, ok := e.guards.began(r.Name); ok && version == r.Version {
			continue
		}
		c := ledger.Counted{Rule: r.Name, Version: r.Version, From: now}
		err := e.decide(ctx, e.shards[0], func(_ *ledger.State, commit func([]ledger.Record) error) error {
			return commit([]ledger.Record{{Counted: &c}})
		})
		if err != nil {
			return fmt.Errorf("begin to count the messages of %s: %w", r.Name, err)
		}
		if e.guards.heardNothing() { // what came so far is about no message that counts
			if err := e.saveHeard(ctx, e.people.Position()); err != nil {
				return err
			}
		}
		e.guards.begin(c)
	}
	if err := e.holdWithdrawals(ctx); err != nil {
		return err
	}
	e.guards.forget(oldestHour(l, now))
	return e.pausePassed(ctx, l, l.guarded, now)
}

// pausePassed pauses those of the rules that have passed a limit.
func (e *Engine) pausePassed(ctx context.Context, l *live, of []*workspace.Rule, now int64) error {
	for _, r := range of {
		if e.paused.stands(r.Name) {
			continue
		}
		why := e.guards.passed(r, oldestHour(l, now))
		if why == "" {
			continue
		}
		if err := e.pause(ctx, ledger.Pause{Rule: r.Name, Reason: why, At: now, By: ledger.PauseByGuard}); err != nil {
			return fmt.Errorf("pause %s, of which %s: %w", r.Name, why, err)
		}
		e.log.Error("a rule is paused by its pause_when, until nudge resume", "rule", r.Name, "reason", why)
	}
	return nil
}

// countEnded counts what came to an end in a message of a delivery stream, and pauses what passed a limit by it.
func (e *Engine) countEnded(ctx context.Context, stream int, m queue.Record, records []ledger.Record, now int64) error {
	l := e.live.Load()
	var of []*workspace.Rule
	for _, name := range e.guards.ended(stream, m.Seq, records) {
		if r := l.byName[name]; r != nil && r.PauseWhen != nil {
			of = append(of, r)
		}
	}
	return e.pausePassed(ctx, l, of, max(now, e.lastNow.Load()))
}

// saveHeard notes in the store up to where withdrawals have been heard of, where that has changed.
func (e *Engine) saveHeard(ctx context.Context, heard events.Position) error {
	g := e.guards
	g.mu.Lock()
	saved := g.saved
	g.mu.Unlock()
	if heard <= saved {
		return nil
	}
	if err := e.ledger.SetCheckpoint(ctx, heardOf, uint64(heard)); err != nil {
		return err //nolint:wrapcheck // says what it was doing
	}
	g.mu.Lock()
	g.saved = heard
	g.mu.Unlock()
	return nil
}

// holdWithdrawals holds consents that were withdrawn against the messages before them, in the order of the stream.
func (e *Engine) holdWithdrawals(ctx context.Context) error {
	upTo := events.EndOf(e.people.Position().Seq())
	for {
		w, ok := e.guards.next(upTo)
		if !ok {
			return e.saveHeard(ctx, e.guards.heardUpTo(upTo))
		}
		// Whoever unsubscribes may have got the message under another name.
		if err := e.applyChanges(ctx, upTo); err != nil {
			return err
		}
		if err := e.holdWithdrawal(ctx, w); err != nil {
			return fmt.Errorf("hold a withdrawn consent against messages: %w", err)
		}
		e.guards.done(w)
	}
}

// holdWithdrawal notes which messages a withdrawn consent followed: of each rule the newest that it is about. It is
// one unsubscribe, so it counts once for a rule.
func (e *Engine) holdWithdrawal(ctx context.Context, w withdrawal) error {
	e.moving.Lock()
	defer e.moving.Unlock()
	person := e.holder(w.person)
	var found []ledger.Unsubscribed
	err := e.decide(ctx, e.shardOf(person), func(st *ledger.State, commit func([]ledger.Record) error) error {
		found = found[:0]
		p := st.Person(person)
		if p == nil {
			return nil
		}
		newest := map[string]ledger.Use{}
		for _, u := range p.Uses {
			age := w.consent.Time - u.At
			if !u.Resolved || age < 0 || age > rules.UnsubscribedWithin.Milliseconds() || !decide.Covers(w.consent, u.Channel, u.Category) {
				continue
			}
			if _, counts := e.guards.began(u.Rule); counts && u.At >= newest[u.Rule].At {
				newest[u.Rule] = u
			}
		}
		var records []ledger.Record
		for _, u := range sortedUses(newest) {
			if !e.guards.wasFollowed(u.Entry, u.Channel) {
				found = append(found, ledger.Unsubscribed{Rule: u.Rule, Entry: u.Entry, Channel: u.Channel, Sent: u.At, At: w.consent.Time, Pos: w.pos})
			}
		}
		for i := range found {
			records = append(records, ledger.Record{Unsubscribed: &found[i]})
		}
		return commit(records)
	})
	if err != nil {
		return err
	}
	for _, u := range found {
		e.guards.unsubscribed(u)
	}
	return nil
}

// sortedUses are in the order of the rules' names.
func sortedUses(byRule map[string]ledger.Use) []ledger.Use {
	out := make([]ledger.Use, 0, len(byRule))
	for _, u := range byRule {
		out = append(out, u)
	}
	slices.SortFunc(out, func(a, b ledger.Use) int { return cmpString(a.Rule, b.Rule) })
	return out
}

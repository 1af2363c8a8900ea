// Package engine says when and whether: it runs the rules on their schedules and on arrivals,
// decides about every person in the one loop of their shard, and keeps the ledger. Time is passed in
// everywhere, so that rule tests and the demo step the same code.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"nudge/engine/ledger"
	"nudge/engine/workspace"
	"nudge/events"
	"nudge/events/queue"
	"nudge/segments"

	"github.com/prometheus/client_golang/prometheus"
)

// Shards is how many loops share the people of one process.
const Shards = 16

// Planner finds people and reads what is known of them, as of an instant and a position.
type Planner interface {
	// Tick finds for whom conditions are true now, given that they were answered for everybody before.
	Tick(ctx context.Context, tick segments.Tick, fn func(*segments.Part) error) error
	// Look judges arrivals, and given people.
	Look(ctx context.Context, look segments.Look, fn func([]segments.Answer) error) error
	Profiles(ctx context.Context, people []events.PersonID, at int64, upTo events.Position) (map[events.PersonID]*segments.Profile, error)
	// Occurrences lists, for each person, events of the given names with time > after, in
	// (time, position) order.
	Occurrences(ctx context.Context, people []events.PersonID, names []string, after int64, at int64, upTo events.Position) (map[events.PersonID][]segments.Occurrence, error)
	// Changes lists merges and erasures of positions in (after, upTo], in order.
	Changes(ctx context.Context, after, upTo events.Position) ([]segments.Change, error)
	// Zones lists the IANA zones that people are in.
	Zones(ctx context.Context) ([]string, error)
}

// People is the identity writer: what the store has, and who is who.
type People interface {
	// Position is up to where the store has everything, synced.
	Position() events.Position
	Canonical(events.PersonID) events.PersonID
	// Changed is a position after which nobody in the store was merged or erased.
	Changed() events.Position
}

// Options is what an Engine is made of.
type Options struct {
	Planner    Planner
	People     People
	Ledger     *ledger.Store
	Decisions  Stream
	Deliveries Stream
	Workspace  *workspace.Workspace
	// Since is when the engine goes live, Unix ms: a schedule that has never run is first due after
	// it, and an `on:` rule hears what is stored after From.
	Since  int64
	From   events.Position
	Shards int // 0: Shards
	// Replays says that the past is played again, from a ledger as it was between two ticks: nothing was cut short by
	// a stop, and nobody is woken as at a start, which knows little of what came before it. Every rule begins with
	// a look at everybody, at which the same comes of it, since this planner has not seen what the looks of then
	// wrote down.
	Replays bool
	// Only, when set, is the name of the one rule that is looked at: the schedules of the others, and what waits of them,
	// are left for another time. What a stop cut short is finished all the same.
	Only string
	// Now is the clock by which ticks are timed; nil: they take no time. It decides nothing.
	Now    func() time.Time
	Logger *slog.Logger
	// Registerer takes the metrics.
	Registerer prometheus.Registerer
}

func (o *Options) validate() error {
	for name, missing := range map[string]bool{
		"Planner": o.Planner == nil, "People": o.People == nil, "Ledger": o.Ledger == nil, "Decisions": o.Decisions == nil,
		"Deliveries": o.Deliveries == nil, "Workspace": o.Workspace == nil, "Since": o.Since == 0,
	} {
		if missing {
			return fmt.Errorf("engine: Options.%s is missing", name)
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Registerer == nil {
		o.Registerer = prometheus.NewRegistry()
	}
	if o.Shards == 0 {
		o.Shards = Shards
	}
	return nil
}

// Engine decides. Step, Arrived and Outcomes may be called concurrently with one another, each by one
// caller at a time.
type Engine struct {
	planner    Planner
	people     People
	ledger     *ledger.Store
	deliveries Stream
	log        *slog.Logger
	metrics    *metrics
	clock      func() time.Time
	shards     []*shard
	exits      *exitTail
	since      int64
	replays    bool
	only       string

	// live is the running rule set; a reload swaps it.
	live atomic.Pointer[live]

	moving     sync.Mutex // one merge or erasure at a time
	ticking    sync.Mutex
	bases      map[string]map[string]ledger.Base // by rule and zone: its last look that was carried through
	arriving   sync.Mutex
	lastNow    atomic.Int64    // of Step; at first, what the shards have recorded
	heardAt    int64           // of the newest arrivals
	cut        *ledger.Tick    // failed, and repeated before any other
	cutFirst   *ledger.Tick    // the same of first looks that only note
	cutArrival *ledger.Tick    // the same of arrivals
	arrived    events.Position // `on:` rules have heard everything up to here
	start      *start          // of `on:` rules that are new, nil once they have begun
	news       news
	changed    events.Position // merges and erasures up to here are applied
	settled    []atomic.Uint64 // by shard: the newest delivery message that is folded in
	zones      zoneCache
	wakes      wakes
	paused     *pauses
	guards     *guards

	// inTick and inArrival say that one of them is under way or cut, and late who was merged meanwhile: it
	// looked at them as two.
	inTick, inArrival atomic.Bool
	late              merged
}

// New loads every shard's state. It fails when the streams or the ledger cannot be read.
func New(ctx context.Context, o Options) (*Engine, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	e := &Engine{
		replays: o.Replays, only: o.Only, planner: o.Planner, people: o.People, ledger: o.Ledger, deliveries: o.Deliveries,
		log: o.Logger.With("component", "engine"), metrics: newMetrics(o.Registerer), exits: newExitTail(), since: o.Since,
		clock: o.Now, bases: map[string]map[string]ledger.Base{}, paused: newPauses(),
	}
	e.live.Store(newLive(o.Workspace)) // says what the shards keep
	e.settled = make([]atomic.Uint64, o.Shards)
	for i := range o.Shards {
		e.shards = append(e.shards, &shard{id: i, decisions: o.Decisions})
	}
	e.guards = newGuards(o.Shards)
	if err := load(ctx, e.ledger, e.keepUses(), e.shards...); err != nil { // nobody else has them yet
		return nil, fmt.Errorf("load the shards: %w", err)
	}
	e.begins()
	e.takeUp()
	if o.Replays {
		clear(e.bases)
	}
	e.takeUpGuards()
	if err := e.Reload(ctx, o.Workspace); err != nil {
		return nil, err
	}
	if err := e.replayDeliveries(ctx, e.shards...); err != nil {
		return nil, err
	}
	if err := e.rememberExits(ctx); err != nil {
		return nil, err
	}
	if err := e.rememberWithdrawals(ctx); err != nil {
		return nil, err
	}
	return e, e.resume(ctx, o.From)
}

// begins takes up time where the shards left it: nothing is decided as of an instant before the newest
// that one of them has recorded, whatever the clock shows now.
func (e *Engine) begins() {
	var newest int64
	for _, s := range e.shards {
		for _, kind := range []string{ledger.TickSchedule, ledger.TickFirst, ledger.TickArrival} {
			if t, ok := s.state.Last(kind); ok {
				newest = max(newest, t.T1)
			}
		}
	}
	e.lastNow.Store(newest)
	if e.since < newest {
		e.log.Warn("the clock stands before what was decided; ticks wait until it has passed", "decided", time.UnixMilli(newest).UTC())
		e.since = newest
	}
}

// now is when it is, for those who ask how long something took.
func (e *Engine) now() time.Time {
	if e.clock == nil {
		return time.UnixMilli(e.lastNow.Load())
	}
	return e.clock()
}

// resume finishes what a stop cut short: people handed over between shards, sends whose outcome was
// not answered, the last tick, the last arrivals. It is harmless where nothing was.
func (e *Engine) resume(ctx context.Context, from events.Position) error {
	e.inTick.Store(true)
	e.inArrival.Store(true)
	defer func() {
		e.inTick.Store(e.cutFirst != nil)
		e.inArrival.Store(false)
	}()
	if !e.replays {
		e.takeUpFirst(e.live.Load())
	}
	for _, s := range e.shards {
		for _, m := range s.state.Moved() {
			to := e.shardOf(m.To)
			if !to.state.Taken(m.From) {
				if err := e.takeIn(ctx, to, m); err != nil {
					return err
				}
			}
		}
		if !e.replays {
			s.state.WakeAll(e.since)
		}
	}
	if err := e.each(func(s *shard) error { return e.endDoubles(ctx, s) }); err != nil {
		return err
	}
	if err := e.catchUpChanges(ctx); err != nil {
		return err
	}
	if err := e.resumePauses(ctx); err != nil {
		return err
	}
	if err := e.answerOutcomes(ctx); err != nil {
		return err
	}
	var cut *ledger.Tick
	var arrival *ledger.Tick
	for _, s := range e.shards {
		if t, ok := s.state.Last(ledger.TickSchedule); ok && (cut == nil || t.T1 > cut.T1 || t.T1 == cut.T1 && t.P1 > cut.P1) {
			cut = &t
		}
		if t, ok := s.state.Last(ledger.TickArrival); ok && (arrival == nil || t.P1 > arrival.P1) {
			arrival = &t
		}
	}
	if err := e.resumeArrivals(ctx, arrival, from); err != nil {
		return err
	}
	if cut != nil && !e.replays {
		if err := e.runTick(ctx, e.live.Load(), *cut); err != nil {
			return fmt.Errorf("resume tick %s: %w", cut.ID, err)
		}
	}
	return nil
}

// replayDeliveries folds every outcome into the shards' states; only those of the given shards
// change.
func (e *Engine) replayDeliveries(ctx context.Context, shards ...*shard) error {
	only := map[int]*shard{}
	for _, s := range shards {
		only[s.id] = s
	}
	applyTo := func(d *ledger.Delivery, person events.PersonID) {
		if s := only[e.shardOf(person).id]; s != nil {
			moved := *d
			moved.Person = person
			s.state.Apply(ledger.Record{Delivery: &moved})
			e.gaveBack(s.state, &moved)
		}
	}
	// An entry is with the person of the decision, or with whom merges have brought it to so far.
	apply := func(r ledger.Record) {
		if r.Delivery == nil {
			return
		}
		holder := r.Delivery.Person
		for {
			s := only[e.shardOf(holder).id]
			if s == nil {
				s = shards[0] // it knows at least who came to it
			}
			to := s.state.Into(holder)
			if to == holder {
				break
			}
			holder = to
		}
		applyTo(r.Delivery, holder)
		if known := e.people.Canonical(r.Delivery.Person); known != holder {
			applyTo(r.Delivery, known)
		}
	}
	// As in load: the streams first, then the ledger as far as it has come by then.
	from, err := e.ledger.Checkpoint(ctx, "deliveries")
	if err != nil {
		return err //nolint:wrapcheck // says what it was doing
	}
	tails := make([][]message, len(e.shards))
	for i := range e.shards {
		err = e.deliveries.Replay(ctx, i, from, func(m queue.Record) error {
			chunk, err := ledger.DecodeChunk(m.Data)
			if err != nil {
				return fmt.Errorf("deliveries of shard %d, message %d: %w", i, m.Seq, err)
			}
			tails[i] = append(tails[i], message{m.Seq, chunk.Records})
			return nil
		})
		if err != nil {
			return fmt.Errorf("replay the deliveries of shard %d: %w", i, err)
		}
	}
	present, err := e.ledger.Checkpoint(ctx, "deliveries")
	if err != nil {
		return err //nolint:wrapcheck // says what it was doing
	}
	if err := e.ledger.LoadDeliveries(ctx, present, apply); err != nil {
		return err
	}
	counting := !e.guards.loaded
	if counting {
		if err := e.loadGuards(ctx, present); err != nil {
			return err
		}
	}
	for i := range e.shards {
		settled := present
		for _, m := range tails[i] {
			if m.seq <= present {
				continue
			}
			for _, r := range m.records {
				apply(r)
			}
			if counting {
				e.guards.ended(i, m.seq, m.records)
			}
			settled = m.seq
		}
		if len(only) == len(e.shards) {
			e.settled[i].Store(settled)
		}
	}
	return nil
}

// each runs fn for every shard, a few at a time, and joins the errors.
func (e *Engine) each(fn func(*shard) error) error {
	errs := make([]error, len(e.shards))
	var g errgroup.Group
	g.SetLimit(len(e.shards))
	for i, s := range e.shards {
		g.Go(func() error {
			errs[i] = fn(s)
			return nil
		})
	}
	_ = g.Wait()
	return errors.Join(errs...)
}

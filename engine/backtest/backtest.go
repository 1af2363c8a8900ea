// Package backtest plays a rule set over stored history: who would have got what, when, and why not, had the rules
// gone live at an instant of the past. The engine that decides is the one that runs live, with the ledger as it was
// then; nothing is sent, and no table of nudge's own is written to.
package backtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"nudge/engine"
	"nudge/engine/ledger"
	"nudge/engine/report"
	"nudge/engine/workspace"
	"nudge/events"
	"nudge/events/queue"
	"nudge/rules/yamlfile"
	"nudge/segments"
	"nudge/segments/geo"
	"nudge/segments/plan"
)

// Arrivals says when rules get to know what happened.
type Arrivals string

// Ways of arriving. Auto is Recorded where ticks are recorded from the begin of the time on, else Happened.
const (
	Auto     Arrivals = "auto"
	Recorded Arrivals = "recorded" // what a tick of then saw had arrived by then
	Happened Arrivals = "happened" // everything arrived when it happened: of imported history
)

// AllArrivals lists them.
func AllArrivals() []string { return []string{string(Auto), string(Recorded), string(Happened)} }

// Options of Run. Conn and Workspace are required, and From < To.
type Options struct {
	Conn      driver.Conn // to the database that holds the tables
	Workspace *workspace.Workspace
	// From and To bound the time that is played, [From, To), Unix ms: the rules go live at From.
	From, To int64
	Arrivals Arrivals // "" is Auto
	// Every, when set, looks that seldom, whatever the schedules say: sooner done, and approximate.
	Every time.Duration
	// Now is the wall clock, for the time that is left and for names.
	Now func() time.Time
	// Row, when set, is called with every row of the ledger that the rules would have written, in the order in which it is decided.
	Row      func(*Row) error
	Progress func(Progress)
	Logger   *slog.Logger
}

// Progress is how far a backtest has come.
type Progress struct {
	At       int64   // the simulated instant, Unix ms
	Share    float64 // of the time, 0 to 1
	Left     time.Duration
	Messages int64
}

// Run plays the rules.
func Run(ctx context.Context, o Options) (result *Result, err error) {
	if o.Conn == nil || o.Workspace == nil || o.Now == nil || o.From >= o.To {
		return nil, errors.New("backtest: Conn, Workspace, Now and a time with a beginning before its end are required")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	r := &run{o: o, began: o.Now(), now: o.From - 1}
	if err := o.Conn.QueryRow(ctx, "SELECT currentDatabase()").Scan(&r.database); err != nil {
		return nil, fmt.Errorf("backtest: %w", err)
	}
	if err := r.open(ctx); err != nil {
		return nil, errors.Join(err, r.scratch.close(ctx))
	}
	defer func() { err = errors.Join(err, r.scratch.close(ctx)) }()
	if err := r.play(ctx); err != nil {
		return nil, err
	}
	if err := r.tally.goals(ctx, r.planner); err != nil {
		return nil, err
	}
	return r.result(), nil
}

// run is a backtest under way.
type run struct {
	o     Options
	began time.Time
	mode  Arrivals

	database string // the connection's

	timeline timeline
	people   *people
	scratch  *scratch
	planner  *plan.Planner
	counted  *counting
	engine   *engine.Engine
	tally    *tally

	decisions, deliveries *stream
	decided               []*ledger.Decision // since they were last taken
	outcomes              outcomes
	ledgered              bool     // the ledger has outcomes of then
	paused                []string // rules that were paused when the time began

	now  int64  // the clock
	seen moment // who got an address or a consent by then has been told
	took time.Duration
	told time.Time
}

// open makes everything as of the begin of the time.
func (r *run) open(ctx context.Context) (err error) {
	o, ws := &r.o, r.o.Workspace
	if r.people, err = readPeople(ctx, o.Conn); err != nil {
		return err
	}
	if r.scratch, err = openScratch(ctx, o.Conn, r.database, ws, o.From, o.Now().UnixMilli()); err != nil {
		return err
	}
	if err := r.openTimeline(ctx); err != nil {
		return err
	}
	r.people.move(r.timeline.position())
	r.planner = plan.New(plan.Options{
		Conn: o.Conn, Database: r.database, Elsewhere: r.scratch.elsewhere(), Fixes: ws.Location,
		Fences: func() *geo.Fences { return ws.Fences }, Changed: r.people.Changed, Logger: o.Logger,
	})
	var asked engine.Planner = r.planner
	if h, ok := r.timeline.(*happened); ok {
		asked = &triggering{Planner: r.planner, of: h, heard: o.From}
	}
	r.counted = &counting{Planner: asked, known: r.known}
	if r.counted.zones, err = readZones(ctx, o.Conn, r.planner, r.timeline); err != nil {
		return err
	}
	before, err := ledger.NewStore(o.Conn).Before(ctx, o.From)
	if err != nil {
		return fmt.Errorf("backtest: %w", err)
	}
	r.tally = newTally(ws)
	r.decisions = newStream(1<<60, func(rec ledger.Record) {
		if rec.Decision != nil && rec.Decision.At >= o.From {
			r.decided = append(r.decided, rec.Decision)
		}
	})
	r.deliveries = newStream(1<<60, nil)
	r.deliveries.kept = map[int][]queue.Record{}
	r.engine, err = engine.New(ctx, engine.Options{
		Planner: r.counted, People: r.people, Ledger: before, Decisions: r.decisions, Deliveries: r.deliveries, Workspace: ws,
		Since: o.From - 1, From: r.people.position, Replays: true, Logger: o.Logger,
	})
	if err != nil {
		return fmt.Errorf("backtest: %w", err)
	}
	r.seen = moment{o.From, r.people.position}
	underWay, err := before.UnderWay(ctx, o.To)
	if err != nil {
		return err //nolint:wrapcheck // says what it was doing
	}
	r.outcomes.underWay(underWay)
	paused, err := report.PausedRules(ctx, o.Conn, ws, o.From)
	if err != nil {
		return err //nolint:wrapcheck // says what it was doing
	}
	for _, p := range paused {
		r.paused = append(r.paused, p.Rule)
	}
	return nil
}

func (r *run) openTimeline(ctx context.Context) error {
	o := &r.o
	if o.Arrivals != Happened {
		then, err := readRecorded(ctx, o.Conn, o.Workspace, o.From, o.To)
		if err != nil {
			return err
		}
		if then != nil {
			r.timeline, r.mode = then, Recorded
			var n uint64
			if err := o.Conn.QueryRow(ctx, "SELECT count() FROM deliveries WHERE at >= "+plan.Instant(o.From)).Scan(&n); err != nil {
				return fmt.Errorf("look for messages of then: %w", err)
			}
			r.ledgered = n > 0
			return nil
		}
		if o.Arrivals == Recorded {
			return errors.New("no ticks are recorded from the begin of that time on: take --arrivals happened, or a later --from")
		}
	}
	var last uint64
	if err := o.Conn.QueryRow(ctx, "SELECT max(pos) FROM (SELECT max(pos) AS pos FROM events UNION ALL SELECT max(pos) FROM identities UNION ALL SELECT max(pos) FROM devices UNION ALL "+
		"SELECT max(pos) FROM consents UNION ALL SELECT max(pos) FROM merges)").Scan(&last); err != nil {
		return fmt.Errorf("read how far the store has come: %w", err)
	}
	table := "events"
	if there, ok := r.scratch.elsewhere()["events"]; ok {
		table = there
	}
	r.timeline, r.mode = newHappened(o.Conn, table, o.Workspace, events.EndOf(events.Position(last).Seq()), o.From), Happened
	return nil
}

// play steps the engine from instant to instant to the end of the time.
func (r *run) play(ctx context.Context) error {
	for {
		next, err := r.next(ctx)
		if err != nil {
			return err
		}
		if next >= r.o.To {
			r.tell(r.o.To)
			return nil
		}
		if err := r.step(ctx, next); err != nil {
			return fmt.Errorf("backtest, at %s: %w", time.UnixMilli(next).In(r.o.Workspace.Zone).Format(time.DateTime), err)
		}
		r.tell(next)
	}
}

// late is how much later than it was due something happened then, at most, ms: the loop looks each second.
const late = 2000

// next is the next instant at which there is something to do.
func (r *run) next(ctx context.Context) (int64, error) {
	stop, err := r.timeline.next(ctx)
	if err != nil {
		return 0, err
	}
	due, ok, err := r.engine.Next(ctx)
	if err != nil {
		return 0, fmt.Errorf("backtest: %w", err)
	}
	if !ok {
		due = never
	}
	due = min(due, r.outcomes.next())
	if every := r.o.Every.Milliseconds(); every > 0 {
		first := max(min(due, stop), r.now+1)
		if first >= r.o.To {
			return r.o.To, nil
		}
		return r.o.From + (first-r.o.From+every-1)/every*every, nil
	}
	if stop > due && stop-due <= late {
		return stop, nil
	}
	return max(min(stop, due), r.now), nil
}

// mostRounds bounds what may happen at one instant.
const mostRounds = 100

// step lets everything happen that does at an instant.
func (r *run) step(ctx context.Context, now int64) error {
	r.now = now
	for more := true; more; {
		p := r.timeline.pass(now, r.o.Every > 0)
		more = p.more
		r.people.move(r.timeline.position())
		if p.heard {
			if err := r.hear(ctx, now); err != nil {
				return err
			}
		}
		// Of what ran then an arrival is alone: what is due has a tick of its own.
		if err := r.settle(ctx, now, p.ticked || !p.heard); err != nil {
			return err
		}
	}
	return nil
}

// settle lets run what is due, until nothing is left to do now.
func (r *run) settle(ctx context.Context, now int64, due bool) error {
	for range mostRounds {
		if due {
			if err := r.wake(ctx, now); err != nil {
				return err
			}
			if err := r.engine.Step(ctx, now); err != nil {
				return err //nolint:wrapcheck // play says when
			}
		}
		told, err := r.deliver(ctx, now)
		if err != nil {
			return err
		}
		if told {
			continue
		}
		if next, ok, err := r.engine.Next(ctx); err != nil || !due || !ok || next > now {
			return err //nolint:wrapcheck // play says when
		}
	}
	return fmt.Errorf("the rules kept each other busy for %d rounds at one instant: two rules answer each other's messages", mostRounds)
}

// hear lets `on:` rules hear what has arrived.
func (r *run) hear(ctx context.Context, now int64) error {
	if h, ok := r.timeline.(*happened); ok {
		h.grow()
		r.people.move(h.position())
	}
	names := map[string]int{}
	for _, rule := range r.o.Workspace.Rules {
		if rule.On != nil {
			names[rule.On.Event]++
		}
	}
	if len(names) == 0 {
		return nil
	}
	r.engine.Stored(engine.Stored{UpTo: r.people.position, Names: names})
	return r.engine.Arrived(ctx, now) //nolint:wrapcheck // play says when
}

// wake tells the engine who got an address, a consent or a zone, while entries wait for one.
func (r *run) wake(ctx context.Context, now int64) error {
	before := r.seen
	r.seen = moment{now, r.people.position}
	if r.counted.zones.learn(r.timeline, now) {
		r.engine.Stored(engine.Stored{Zones: true})
	}
	if !r.engine.Waits() || before == r.seen || r.mode == Recorded && before.pos == r.seen.pos {
		return nil
	}
	people, err := r.timeline.reached(ctx, r.o.Conn, before, r.seen)
	if err != nil {
		return fmt.Errorf("look for addresses and consents that came: %w", err)
	}
	batch := make([]events.Resolved, len(people))
	for i, id := range people {
		batch[i] = events.Resolved{Event: events.Event{Kind: events.KindDevice}, Person: id, Pos: r.people.position}
	}
	r.engine.Resolved(batch, r.people.position)
	return nil
}

// deliver takes what was decided, and tells the engine what became of messages by now. It says whether there was
// anything.
func (r *run) deliver(ctx context.Context, now int64) (bool, error) {
	decided := r.decided
	r.decided = nil
	slices.SortFunc(decided, func(a, b *ledger.Decision) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Person, b.Person), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Value, b.Value),
			cmp.Compare(a.Entered, b.Entered), cmp.Compare(a.Attempt, b.Attempt))
	})
	var sends []*ledger.Decision
	for _, d := range decided {
		if d.Reason == ledger.Send {
			sends = append(sends, d)
		}
		r.tally.decided(d)
		if r.o.Row != nil {
			if err := r.o.Row(newRow(d)); err != nil {
				return false, err
			}
		}
	}
	known, err := r.outcomes.of(ctx, r.o.Conn, r.ledgered, sends)
	if err != nil {
		return false, err
	}
	if r.scratch.readsMessages() {
		if err := r.scratch.copied(ctx, known); err != nil {
			return false, err
		}
	}
	told := r.outcomes.by(now)
	if len(told) == 0 {
		return false, nil
	}
	if err := r.publish(ctx, told); err != nil {
		return false, err
	}
	for _, x := range told {
		if x.decision != nil {
			r.tally.delivered(x.decision, x.delivery)
		}
	}
	if r.scratch.readsMessages() {
		at := events.At(r.people.position.Seq()+1, 0)
		if h, ok := r.timeline.(*happened); ok {
			at = h.grow()
			r.people.move(h.position())
		}
		if err := r.scratch.took(ctx, told, at); err != nil {
			return false, err
		}
	}
	return true, r.engine.CatchUp(ctx, now) //nolint:wrapcheck // play says when
}

// publish puts outcomes into the stream of deliveries.
func (r *run) publish(ctx context.Context, told []outcome) error {
	byShard := map[int][]ledger.Record{}
	for _, x := range told {
		shard := engine.ShardOf(x.delivery.Person, engine.Shards)
		byShard[shard] = append(byShard[shard], ledger.Record{Delivery: x.delivery})
	}
	for shard, records := range byShard {
		data, err := ledger.EncodeChunk(records)
		if err != nil {
			return err //nolint:wrapcheck // says what it was doing
		}
		last, err := r.deliveries.Last(ctx, shard)
		if err != nil {
			return err
		}
		if _, err := r.deliveries.Publish(ctx, shard, data, last); err != nil {
			return err
		}
	}
	return nil
}

// tellEvery is how often progress is told.
const tellEvery = 500 * time.Millisecond

func (r *run) tell(now int64) {
	wall := r.o.Now()
	r.took = wall.Sub(r.began)
	if r.o.Progress == nil || wall.Sub(r.told) < tellEvery && now < r.o.To {
		return
	}
	r.told = wall
	p := Progress{At: now, Share: float64(now-r.o.From) / float64(r.o.To-r.o.From), Messages: r.tally.sends}
	const tellable = 0.02 // of the time; what the first looks at everybody take says nothing of the rest
	if p.Share >= tellable {
		p.Left = time.Duration(float64(r.took) * (1 - p.Share) / p.Share)
	}
	r.o.Progress(p)
}

// known is how many people the store knows.
func (r *run) known(ctx context.Context) (int64, error) {
	var n uint64
	if err := r.o.Conn.QueryRow(ctx, "SELECT uniqExact(person) FROM identities").Scan(&n); err != nil {
		return 0, fmt.Errorf("count people: %w", err)
	}
	return int64(n), nil
}

// counting counts whom conditions are asked about.
type counting struct {
	engine.Planner
	zones  *zones
	known  func(context.Context) (int64, error)
	people int64 // asked when first needed
	judged atomic.Int64
	ticks  atomic.Int64
}

// Tick implements engine.Planner.
func (c *counting) Tick(ctx context.Context, t segments.Tick, fn func(*segments.Part) error) error {
	c.ticks.Add(1)
	everybody := make([]bool, len(t.Who))
	err := c.Planner.Tick(ctx, t, func(p *segments.Part) error {
		for i := range t.Who {
			everybody[i] = everybody[i] || p.Everybody[i]
			c.judged.Add(int64(len(p.Judged[i])))
		}
		return fn(p)
	})
	if err != nil {
		return err //nolint:wrapcheck // says what it was doing
	}
	for _, whole := range everybody {
		if !whole {
			continue
		}
		if c.people == 0 {
			if c.people, err = c.known(ctx); err != nil {
				return err
			}
		}
		c.judged.Add(c.people)
	}
	return nil
}

// Zones implements engine.Planner.
func (c *counting) Zones(context.Context) ([]string, error) { return c.zones.now, nil }

// Look implements engine.Planner.
func (c *counting) Look(ctx context.Context, l segments.Look, fn func([]segments.Answer) error) error {
	return c.Planner.Look(ctx, l, func(answers []segments.Answer) error { //nolint:wrapcheck // says what it was doing
		c.judged.Add(int64(len(answers)))
		return fn(answers)
	})
}

func (r *run) result() *Result {
	r.people.move(r.timeline.position())
	out := r.tally.result(r.people.Canonical)
	out.canonical = r.people.Canonical
	zone := r.o.Workspace.Zone
	out.From, out.To = time.UnixMilli(r.o.From).In(zone), time.UnixMilli(r.o.To).In(zone)
	out.Arrivals, out.Ticks, out.Judged, out.Queries = r.mode, r.counted.ticks.Load(), r.counted.judged.Load(), r.planner.Queries()
	out.Seconds = r.took.Seconds()
	if r.o.Every > 0 {
		out.Every = yamlfile.FormatDuration(r.o.Every)
	}
	out.Notes = r.notes()
	return out
}

const ofGoals = "Goals are what people did after a message that most of them did not get: what to expect of doing nothing, not what the rule earns."

// notes say in what the answer may differ from what would have happened.
func (r *run) notes() []string {
	var out []string
	if r.mode == Recorded {
		out = append(out, "Each tick sees what had arrived when it ran, as it was recorded.")
	} else {
		out = append(out, "No ticks are recorded from the begin of this time on: everything counts from when it happened, also what came late or was imported, and who is who is taken from today.")
		if slices.ContainsFunc(r.o.Workspace.Rules, func(w *workspace.Rule) bool { return w.On != nil }) {
			out = append(out, "Rules with `on` hear what happened within a minute at its end, and imported events as if they had just come; live, imported events trigger nothing.")
		}
	}
	if r.o.Every > 0 {
		out = append(out, fmt.Sprintf("Approximate: the rules are looked at every %s at most, and not as often as their schedules say.", yamlfile.FormatDuration(r.o.Every)))
	}
	if len(r.paused) > 0 {
		out = append(out, "Paused when the time began, and so to its end: "+strings.Join(r.paused, ", ")+".")
	}
	if slices.ContainsFunc(r.o.Workspace.Rules, func(w *workspace.Rule) bool { return w.PauseWhen != nil }) {
		out = append(out, "pause_when pauses nothing here: nobody unsubscribes because of a message that was not sent.")
	}
	if r.ledgered {
		out = append(out, "A message that was really sent has the outcome that it had; every other counts as taken by its channel at once.")
	} else {
		out = append(out, "Every message counts as taken by its channel at once; none is opened or clicked.")
	}
	if slices.ContainsFunc(r.o.Workspace.Rules, func(w *workspace.Rule) bool { return w.Goal != nil }) {
		out = append(out, ofGoals)
	}
	return out
}

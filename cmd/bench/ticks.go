package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"nudge/engine/app"
	"nudge/engine/workspace"
	"nudge/events"
	"nudge/events/clickhouse"
	"nudge/segments"
	"nudge/segments/geo"
	planner "nudge/segments/plan"
)

// ticksOptions are the flags of bench ticks.
type ticksOptions struct {
	events, arrivals int64
	ticks            int
	period           time.Duration
	peer, profiled   bool
	store            string
}

func ticksDefaults() *ticksOptions {
	return &ticksOptions{events: 1_000_000, arrivals: 5000, ticks: 20, period: 5 * time.Minute, profiled: true}
}

func ticksCommand(f *common) *cobra.Command {
	o := ticksDefaults()
	cmd := &cobra.Command{
		Use:   "ticks",
		Short: "What a tick costs: only who can have changed, against a look at everybody",
		Long: `Fills the store with ninety days of a shop for a tenth as many people, lets its merges settle, and ticks
twenty rules of the kinds in examples/, all due at each tick. Before each tick --arrivals events arrive,
as many whatever is stored, so that stores of different sizes can be compared.

  first look     a look at everybody, all rules in one pass, as when rules go live
  tick           looks only at people whose answer can have changed (docs/planning.md)
  full look      a look at everybody again, at the instant of the last tick

Who the ticks say is in each rule must be exactly who the full look says; otherwise the command fails.
Rows and bytes are what ClickHouse read; own events are all events stored of the people who were
judged; memory is the peak beyond what the process had before. The full look and one more tick are taken apart query
by query, and the disk is shared out among the tables and their further orders.

How many cross an age grows with what is stored, though what arrives does not: with ten times the events,
ten times as many become seven days old in five minutes. --period 50m on a tenth of the events has as many.

--peer ticks conditions that both can say in the way of the closest open-source system as well: state
for each leaf of a condition, then who is in and who is out of the whole set of people.

100,000,000 events need 20 GB of disk and half an hour to fill; a look at everybody takes a quarter of an hour.`,
		Example: "  bench ticks\n  bench ticks --events 10000000 --peer\n  bench ticks --events 10000000 --period 50m",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			return f.measure(cmd, o.run)
		},
	}
	cmd.Flags().Int64Var(&o.events, "events", o.events, "events in the store; a tenth as many people")
	cmd.Flags().Int64Var(&o.arrivals, "arrivals", o.arrivals, "events that arrive before each tick")
	cmd.Flags().IntVar(&o.ticks, "ticks", o.ticks, "ticks that are measured")
	cmd.Flags().DurationVar(&o.period, "period", o.period, "time from tick to tick")
	cmd.Flags().BoolVar(&o.peer, "peer", o.peer, "compare with the closest open-source design")
	cmd.Flags().StringVar(&o.store, "store", o.store, "folder that keeps the filled store; the next run with it goes on from there")
	cmd.Flags().BoolVar(&o.profiled, "queries", o.profiled, "take the full look, and one more tick, apart query by query")
	return cmd
}

func (o *ticksOptions) check() error {
	switch {
	case o.events < 10_000 || o.events%perMessage != 0:
		return fmt.Errorf("--events is at least 10,000, in hundreds, not %d", o.events)
	case o.arrivals < perMessage || o.arrivals%perMessage != 0:
		return fmt.Errorf("--arrivals is at least 100, in hundreds, not %d", o.arrivals)
	case o.ticks < 1 && (o.ticks != 0 || o.store == ""):
		return errors.New("--ticks is at least 1; with --store, 0 only fills it")
	case o.period < time.Minute || o.period > 24*time.Hour:
		return errors.New("--period is from 1m to 24h")
	}
	return nil
}

// run fills the store and measures.
func (o *ticksOptions) run(ctx context.Context, s *session) (tables []*table, err error) {
	dir := o.store
	if dir == "" {
		dir = filepath.Join(s.dir, "ticks")
	}
	if err := writeWorkspace(dir, tickWorkspace(tickRules)); err != nil {
		return nil, err
	}
	ws, err := loadWorkspace(dir)
	if err != nil {
		return nil, err
	}
	shop, err := o.fillStore(ctx, s, ws, dir)
	if err != nil {
		return nil, err
	}
	if o.ticks == 0 {
		return nil, nil
	}
	store, err := app.OpenStore(ctx, ws, nil) // started again, so that filling is not in its memory
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	t, err := newTicking(ctx, s, dir, store, ws, shop, o)
	if err != nil {
		return nil, err
	}
	whos := ruleSet(ws, tickRules)
	set := newRuleSet(tickRules, whos)
	costs, err := t.measure(ctx, set)
	tables = append(tables, costs...)
	if wrong, ok := errors.AsType[*differError](err); ok { // the other tables may say why
		s.say("Wrong: %v", wrong)
		defer func() { err = errors.Join(err, wrong) }()
	} else if err != nil {
		return tables, err
	}
	if o.profiled {
		profile, err := t.takeApart(ctx, set)
		if err != nil {
			return tables, err
		}
		tables = append(tables, profile)
	}
	disk, err := diskTable(ctx, store, o.events)
	if err != nil {
		return tables, err
	}
	tables = append(tables, disk)
	if o.peer {
		same, err := t.comparePeer(ctx)
		tables = append(tables, same...)
		if err != nil {
			return tables, err
		}
	}
	return tables, nil
}

// shopFile says how far the data of a kept store has come.
const shopFile = "shop.json"

// fillStore makes the tables, fills them and waits until they are merged, unless that was done before.
func (o *ticksOptions) fillStore(ctx context.Context, s *session, ws *workspace.Workspace, dir string) (_ *shop, err error) {
	text, err := os.ReadFile(filepath.Join(dir, shopFile))
	if err == nil {
		var kept shop
		if err := json.Unmarshal(text, &kept); err != nil {
			return nil, fmt.Errorf("read %s of the store that was kept: %w", shopFile, err)
		}
		if kept.Events != o.events {
			return nil, fmt.Errorf("the store that was kept in %s was filled with --events %d", dir, kept.Events)
		}
		shop := kept.begun()
		return &shop, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the store that was kept: %w", err)
	}
	store, err := app.OpenStore(ctx, ws, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := store.Migrate(ctx, clickhouse.Layout{}); err != nil {
		return nil, err
	}
	shop := sized(o.events, time.Now())
	start := time.Now()
	s.say("filling the store with %s events of %s people …", grouped(float64(o.events), 0), grouped(float64(shop.people), 0))
	err = shop.fill(ctx, store, shop.past(), func(done int64) {
		s.say("  %s events, %s a second", grouped(float64(done), 0), grouped(float64(done)/time.Since(start).Seconds(), 0))
	})
	if err != nil {
		return nil, err
	}
	filled := time.Since(start)
	err = settle(ctx, store, quietAfter(filled))
	s.say("filled in %s, merged %s later", filled.Round(time.Second), (time.Since(start) - filled).Round(time.Second))
	return &shop, errors.Join(err, shop.save(dir))
}

// save notes how far the data has come.
func (s *shop) save(dir string) error {
	text, err := json.Marshal(s)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, shopFile), text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("note how far the data has come: %w", err)
	}
	return nil
}

// ruleSet are the compiled conditions of rules, in their order.
func ruleSet(ws *workspace.Workspace, list []tickRule) []*segments.Who {
	whos := make([]*segments.Who, len(list))
	for i, r := range list {
		at := slices.IndexFunc(ws.Rules, func(w *workspace.Rule) bool { return w.Name == r.name })
		whos[i] = ws.Rules[at].Who
	}
	return whos
}

// ticking is a shop whose clock goes on tick by tick.
type ticking struct {
	s       *session
	o       *ticksOptions
	store   *clickhouse.Store
	ws      *workspace.Workspace
	shop    *shop
	probe   *probe
	planner *planner.Planner
	engine  process
	self    process
	dir     string
}

func newTicking(ctx context.Context, s *session, dir string, store *clickhouse.Store, ws *workspace.Workspace, shop *shop, o *ticksOptions) (*ticking, error) {
	t := &ticking{
		s: s, o: o, store: store, ws: ws, shop: shop, probe: &probe{Conn: store.Conn()},
		engine: process{"clickhouse", store.Engine().PID()}, self: process{"nudge", os.Getpid()}, dir: dir,
	}
	t.planner = planner.New(planner.Options{
		Conn: t.probe, Fences: func() *geo.Fences { return ws.Fences }, Fixes: ws.Location,
		Changed: shop.upTo, // some of each tick's arrivals are merges
	})
	_, err := number(ctx, store, "SELECT count() FROM system.one") // it has woken up
	return t, err
}

// now is the instant and the position of the last tick that has arrived.
func (t *ticking) now() segments.Baseline {
	return segments.Baseline{At: t.shop.At, UpTo: t.shop.upTo()}
}

// arrive lets the next tick's events arrive.
func (t *ticking) arrive(ctx context.Context) error {
	if err := t.shop.fill(ctx, t.store, t.shop.tick(t.o.arrivals, t.o.period), nil); err != nil {
		return err
	}
	t.shop.pass(t.o.arrivals, t.o.period)
	return t.shop.save(t.dir)
}

// measure looks at everybody, ticks, looks at everybody again, and holds what both say together.
func (t *ticking) measure(ctx context.Context, set *ruleState) ([]*table, error) {
	table := costTable(fmt.Sprintf("Ticks: %d rules, %s people, %s events, %s arrive every %s", len(set.rules),
		grouped(float64(t.shop.people), 0), grouped(float64(t.shop.Events), 0), grouped(float64(t.o.arrivals), 0), t.o.period))
	t.s.say("first look at everybody …")
	first, err := t.look(ctx, set, true)
	if err != nil {
		return nil, fmt.Errorf("first look: %w", err)
	}
	table.add("first look", []cost{first})
	t.s.say("  %.1f s; %s answers are true", first.took.Seconds(), grouped(float64(set.size()), 0))
	var ticks []cost
	for i := range t.o.ticks {
		if err := t.arrive(ctx); err != nil {
			return table.list(), err
		}
		c, err := t.look(ctx, set, false)
		if err != nil {
			return table.list(), fmt.Errorf("tick %d: %w", i+1, err)
		}
		t.s.say("tick %d: %.0f ms, %d queries, %s rows, %s people judged of whom %s events are stored", i+1, ms(c.took), c.queries,
			grouped(c.rows, 0), grouped(float64(c.people), 0), grouped(float64(c.own), 0))
		ticks = append(ticks, c)
	}
	table.add("tick", ticks)
	t.s.say("full look at everybody …")
	again := newRuleSet(set.rules, set.whos)
	t.probe.on = t.o.profiled
	full, err := t.look(ctx, again, true)
	t.probe.on = false
	if err != nil {
		return table.list(), fmt.Errorf("full look: %w", err)
	}
	table.add("full look", []cost{full})
	table.note("The full look takes %.0f times as long as the median tick and reads %.0f times its rows.", full.took.Seconds()/median(ticks).took.Seconds(), full.rows/max(1, median(ticks).rows))
	table.note("Figures of ticks are means but for time and memory (the most); of each, CPU is of the whole process.")
	if err := set.same(again); err != nil {
		return append(table.list(), set.table(len(ticks))), err
	}
	table.note("After %d ticks each of the %s true answers is the full look's.", len(ticks), grouped(float64(set.size()), 0))
	tables := append(table.list(), set.table(len(ticks)))
	if !t.o.profiled {
		return tables, nil
	}
	queries, err := t.queryTable("The full look", "look")
	return append(tables, queries), err
}

// look asks about all rules, at everybody or since the state's last look, and brings the state to now.
func (t *ticking) look(ctx context.Context, set *ruleState, full bool) (c cost, err error) {
	now := t.now()
	q := segments.Tick{At: now.At, UpTo: now.UpTo, Retention: tickHistory.Milliseconds(), DefaultZone: "UTC", Who: set.whos}
	q.From = make([]segments.Baseline, len(set.whos))
	for i := range q.From {
		if !full {
			q.From[i] = set.at
		}
	}
	if !full {
		q.Stands = set.stands
	}
	got := newHeard(len(set.whos))
	m, err := t.startCost(ctx)
	if err != nil {
		return c, err
	}
	if err := t.planner.Tick(ctx, q, got.part); err != nil {
		return c, err
	}
	if c, err = m.stop(ctx); err != nil {
		return c, err
	}
	c.answers, c.parts = got.answers, got.parts
	if err := t.people(ctx, got, &c); err != nil {
		return c, err
	}
	losers, err := t.losers(ctx, set.at.UpTo, now.UpTo)
	if err != nil {
		return c, err
	}
	set.apply(got, losers, now)
	return c, nil
}

// people counts who was judged, and all events that are stored of them.
func (t *ticking) people(ctx context.Context, got *heard, c *cost) error {
	if got.everybody {
		c.people = t.shop.people + (t.shop.Next-t.shop.Events)/newcomer
		n, err := number(ctx, t.store, "SELECT count() FROM events")
		c.own = n
		return err
	}
	people := got.people()
	c.people = int64(len(people))
	for part := range slices.Chunk(people, 20_000) {
		n, err := number(ctx, t.store, fmt.Sprintf("SELECT count() FROM events WHERE person IN (%[1]s) OR person IN (SELECT loser FROM merges WHERE winner IN (%[1]s))", list(part)))
		if err != nil {
			return err
		}
		c.own += n
	}
	return nil
}

// losers are who was merged into others in (after, upTo].
func (t *ticking) losers(ctx context.Context, after, upTo events.Position) ([]uint64, error) {
	if after == 0 {
		return nil, nil
	}
	rows, err := t.store.Conn().Query(ctx, fmt.Sprintf("SELECT loser FROM merges WHERE pos > %d AND pos <= %d", uint64(after), uint64(upTo)))
	if err != nil {
		return nil, fmt.Errorf("read merges: %w", err)
	}
	defer rows.Close()
	var out []uint64
	for rows.Next() {
		var loser uint64
		if err := rows.Scan(&loser); err != nil {
			return nil, fmt.Errorf("read merges: %w", err)
		}
		out = append(out, loser)
	}
	return out, rows.Err()
}

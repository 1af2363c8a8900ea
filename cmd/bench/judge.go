package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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

// judgeOptions are the flags of bench judge.
type judgeOptions struct {
	events  int64
	repeats int
}

func judgeDefaults() *judgeOptions { return &judgeOptions{events: 1_000_000, repeats: 3} }

func judgeCommand(f *common) *cobra.Command {
	o := judgeDefaults()
	cmd := &cobra.Command{
		Use:   "judge",
		Short: "People judged a second: prefilter in ClickHouse, then the VM",
		Long: `Fills the store with events of the last thirty days for a tenth as many people, lets its merges
settle, and asks the planner for whom each of several rules is true, as a tick does:

  cold      the first look after the engine was started (the files are in the system's page cache)
  warm      the median of the looks after it
  no prefilter  the same, with everybody named, so that the VM judges each of them

People a second is all people of the store divided by the time: those that the prefilter rules out
are judged, too. Each rule is asked alone, and then all in one look.`,
		Example: "  bench judge --events 20000000",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			return f.measure(cmd, o.run)
		},
	}
	cmd.Flags().Int64Var(&o.events, "events", o.events, "events in the store; a tenth as many people")
	cmd.Flags().IntVar(&o.repeats, "repeats", o.repeats, "warm looks, of which the median is shown")
	return cmd
}

func (o *judgeOptions) check() error {
	switch {
	case o.events < 100:
		return fmt.Errorf("--events is at least 100, not %d", o.events)
	case o.repeats < 1:
		return errors.New("--repeats is at least 1")
	}
	return nil
}

// judgeRules are rules as shops have them: an abandoned cart, browsing, previous purchase, inactivity,
// being near a shop.
var judgeRules = map[string]string{
	"nudge.yaml":  "zone: UTC\nsalt: bench\ndata: data\nchannels:\n  push: {adapter: file, kind: push, config: {path: data/push.ndjson}}\n",
	"events.yaml": plan,
	"fences/stores.geojson": `{"type":"FeatureCollection","features":[
		{"type":"Feature","id":"1","properties":{"name":"One"},"geometry":{"type":"Point","coordinates":[13.40,52.52]}},
		{"type":"Feature","id":"2","properties":{"name":"Two"},"geometry":{"type":"Point","coordinates":[13.45,52.50]}}]}`,
	"segments/regulars.yaml": "segment: regulars\nwhen: event(\"Order Completed\").count >= 2\n",
	"rules/cart.yaml": judgeRule("cart", `schedule: "*/5 * * * *"`, `
  let cart = event("Product Added");
  cart.last.ago >= hours(1) and cart.last.ago < days(2)
  and not did("Order Completed").since(cart.last.at)`),
	"rules/browsed.yaml": judgeRule("browsed", "schedule: \"*/15 * * * *\"\nfor_each: event(\"Product Viewed\").by(\"sku\")", `
  it.within(days(1)).count >= 2 and it.last.ago >= minutes(45)
  and not did("Product Added").since(it.first.at)`),
	"rules/bought.yaml": judgeRule("bought", `schedule: "0 10 * * *"`, `
  let orders = event("Order Completed");
  orders.count >= 2 and orders.last.ago >= days(7) and orders.last.ago < days(8)`),
	"rules/inactive.yaml": judgeRule("inactive", `schedule: "0 10 * * *"`, `
  segment("regulars") and event("*").last.ago >= days(5)`),
	"rules/near.yaml": judgeRule("near", `schedule: "*/5 * * * *"`, `
  near("stores/*", meters(300)).dwell >= minutes(5) and event("Order Completed").last.ago > hours(12)`),
}

func judgeRule(name, schedule, when string) string {
	return "rule: " + name + "\ncategory: promotional\n" + schedule + "\nagain: {after: 7d}\nwhen: |" + when + "\nmessage:\n  push: {title: Hello, body: There}\n"
}

func (o *judgeOptions) run(ctx context.Context, s *session) (_ []*table, err error) {
	dir := filepath.Join(s.dir, "judge")
	if err := writeWorkspace(dir, judgeRules); err != nil {
		return nil, err
	}
	ws, err := loadWorkspace(dir)
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC().Truncate(time.Minute).UnixMilli()
	people := o.events / 10
	s.say("filling the store with %d events of %d people …", o.events, people)
	filled := time.Now()
	if err := fillStore(ctx, ws, now, o.events, people); err != nil {
		return nil, err
	}
	s.say("filled in %s", time.Since(filled).Round(100*time.Millisecond))
	store, err := app.OpenStore(ctx, ws, nil) // started again: cold
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	t := &table{
		Key: "judge", Title: fmt.Sprintf("Judging: %s people, %s events, prefilter and VM", grouped(float64(people), 0), grouped(float64(o.events), 0)),
		Columns: []column{
			{"rule", "rule", 0},
			{"look", "look", 0},
			{"ms", "ms", 1},
			{"people_per_s", "people/s", 0},
			{"true", "true", 0},
			{"queries", "queries", 0},
			{"us_nudge", "nudge µs/person", 3},
			{"us_clickhouse", "clickhouse µs/person", 3},
			{"load", "load", 2},
		},
	}
	j := judging{
		t: t, store: store, people: people, repeats: o.repeats,
		planner: planner.New(planner.Options{Conn: store.Conn(), Fences: func() *geo.Fences { return ws.Fences }, Fixes: ws.Location}),
		look:    segments.Look{At: now, UpTo: events.Position(uint64(o.events+people) << 16), DefaultZone: "UTC"},
	}
	everybody := make([]events.PersonID, people)
	for i := range everybody {
		everybody[i] = personOf(int64(i))
	}
	whos := make([]*segments.Who, 0, len(ws.Rules))
	cold := true
	for _, r := range ws.Rules {
		whos = append(whos, r.Who)
		if err := j.rule(ctx, r.Name, []*segments.Who{r.Who}, nil, cold); err != nil {
			return []*table{t}, err
		}
		cold = false
	}
	if err := j.rule(ctx, fmt.Sprintf("all %d in one look", len(whos)), whos, nil, false); err != nil {
		return []*table{t}, err
	}
	for _, r := range ws.Rules {
		if r.Name == "cart" || r.Name == "bought" {
			named := everybody[:min(len(everybody), namedMost)]
			if err := j.rule(ctx, r.Name, []*segments.Who{r.Who}, named, false); err != nil {
				return []*table{t}, err
			}
		}
	}
	t.note("`people/s` of the prefiltered looks is all people of the store by the time of the look; cold is the first look of a fresh engine.")
	return []*table{t}, nil
}

// namedMost bounds the people that a look without prefilter names.
const namedMost = 100_000

// judging asks one rule after the other and notes what it took.
type judging struct {
	t       *table
	store   *clickhouse.Store
	planner *planner.Planner
	look    segments.Look
	people  int64
	repeats int
}

func (j *judging) rule(ctx context.Context, name string, whos []*segments.Who, named []events.PersonID, cold bool) error {
	look := j.look
	look.Who, look.People = whos, named
	people, kind := j.people, "warm"
	if named != nil {
		people, kind = int64(len(named)), "warm, no prefilter"
	}
	type result struct {
		took              time.Duration
		yes, queries      int64
		nudge, clickhouse time.Duration
	}
	once := func() (r result, err error) {
		m, err := startMeter(process{"nudge", os.Getpid()}, process{"clickhouse", j.store.Engine().PID()})
		if err != nil {
			return r, err
		}
		before := j.planner.Queries()
		err = j.planner.Look(ctx, look, func(answers []segments.Answer) error {
			for _, a := range answers {
				switch a.Truth {
				case segments.True:
					r.yes++
				case segments.Failed:
					return fmt.Errorf("the condition failed for person %d: %w", a.Person, a.Err)
				default:
				}
			}
			return nil
		})
		if err != nil {
			return r, fmt.Errorf("look for whom %s is true: %w", name, err)
		}
		r.took, r.queries = time.Since(m.start), j.planner.Queries()-before
		used, err := m.used()
		r.nudge, r.clickhouse = used["nudge"], used["clickhouse"]
		return r, err
	}
	note := func(kind string, r result) {
		j.t.row(name, kind, ms(r.took), float64(people)/r.took.Seconds(), float64(r.yes), float64(r.queries),
			per(r.nudge, people), per(r.clickhouse, people), loadNumber())
	}
	if cold {
		r, err := once()
		if err != nil {
			return err
		}
		note("cold", r)
	}
	var rs []result
	for range j.repeats {
		r, err := once()
		if err != nil {
			return err
		}
		rs = append(rs, r)
	}
	slices.SortFunc(rs, func(a, b result) int { return int(a.took - b.took) })
	note(kind, rs[len(rs)/2])
	return nil
}

// personOf is the id of the i-th person: the position of the event that first named them.
func personOf(i int64) events.PersonID { return events.PersonID(uint64(i+1) << 16) }

// history is how far back the events of the store go.
const history = 30 * 24 * time.Hour

// fillStore opens the store, writes events of the last thirty days, and closes it again.
func fillStore(ctx context.Context, ws *workspace.Workspace, now, count, people int64) (err error) {
	store, err := app.OpenStore(ctx, ws, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := store.Migrate(ctx, clickhouse.Layout{}); err != nil {
		return err
	}
	if err := fillPeople(ctx, store, now, people); err != nil {
		return err
	}
	if err := fillEvents(ctx, store, now, count, people); err != nil {
		return err
	}
	return settle(ctx, store, 3*time.Second)
}

// fillPeople gives each person a user id and, one in twenty, some fixes of today.
func fillPeople(ctx context.Context, store *clickhouse.Store, now, people int64) error {
	born := now - history.Milliseconds()
	for _, sql := range []string{
		fmt.Sprintf("INSERT INTO identities (kind, id, person, pos, time) SELECT 'user', concat('user-', leftPad(toString(number), 8, '0')), "+
			"bitShiftLeft(number + 1, 16), bitShiftLeft(number + 1, 16), fromUnixTimestamp64Milli(%d) FROM numbers(%d)", born, people),
		fmt.Sprintf("INSERT INTO fixes (person, time, pos, lat, lon, accuracy) SELECT bitShiftLeft(number * 20 + 1, 16), "+
			"fromUnixTimestamp64Milli(%d - toInt64(30 - step) * 60000), bitShiftLeft(number * 20 + 1, 16) + step, "+
			"52.50 + (number %% 50) / 1000, 13.40 + (number %% 70) / 1000, 15 FROM numbers(%d) ARRAY JOIN range(1, 29, 3) AS step", now, people/20),
	} {
		if err := store.Conn().Exec(ctx, sql); err != nil {
			return fmt.Errorf("fill the store with people: %w", err)
		}
	}
	return nil
}

// fillEvents writes track calls, one after the other in time, through the writer's columns.
func fillEvents(ctx context.Context, store *clickhouse.Store, now, count, people int64) error {
	const each = 50_000
	source := newCalls(0, int(people))
	r := rand.New(rand.NewPCG(11, 13))
	b := clickhouse.NewEventBatch()
	var norm events.Normaliser
	var flat events.Flattener
	var body []byte
	step := history.Milliseconds() / count
	from := now - history.Milliseconds()
	for i := range count {
		at := from + i*step + r.Int64N(step+1)
		source.setTime(time.UnixMilli(at))
		body, _, _ = source.append(body[:0])
		if err := norm.Read(body, events.KindTrack); err != nil {
			return fmt.Errorf("make event %d: %w", i, err)
		}
		evs, refused := norm.Finish(events.Call{Source: "web", ReceivedAt: at})
		if len(refused) > 0 {
			return fmt.Errorf("make event %d: %s", i, refused[0].Reason)
		}
		ev := &evs[0]
		flat.Walk(ev.Properties, func(path string, v events.Leaf) {
			switch v.Kind {
			case events.LeafString:
				b.Str(path, v.Str)
			case events.LeafFloat, events.LeafInt:
				b.Num(path, v.Num)
			case events.LeafBool:
				b.Bool(path, v.Bool)
			}
		})
		b.Append(&clickhouse.EventRow{
			Person: personOf(r.Int64N(people)), Time: at, Pos: events.Position(uint64(i+people+1) << 16), Kind: ev.Kind, Event: ev.Name,
			Source: ev.Source, UserID: ev.UserID, AnonymousID: ev.AnonymousID, MessageID: ev.MessageID, ReceivedAt: at,
			Properties: ev.Properties, Context: ev.Context, Raw: ev.Raw,
		})
		if b.Rows() == each || i == count-1 {
			if err := store.InsertEvents(ctx, b); err != nil {
				return err
			}
			b.Reset()
		}
	}
	return nil
}

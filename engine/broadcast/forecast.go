package broadcast

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"nudge/engine"
	"nudge/engine/decide"
	"nudge/engine/ledger"
	"nudge/engine/render"
	"nudge/engine/workspace"
	"nudge/events"
	"nudge/rules"
	"nudge/segments"
	"nudge/segments/geo"
	"nudge/segments/plan"
)

// Options of Look.
type Options struct {
	Conn      driver.Conn
	Database  string // "" is the connection's own
	Workspace *workspace.Workspace
	Rule      *workspace.Rule
	At        int64 // now, Unix ms
}

// Forecast is what would come of a broadcast, by what is stored now.
type Forecast struct {
	People   int                   `json:"people"`            // for whom its condition is true
	Got      int                   `json:"got"`               // of them, who have been decided about before
	Reasons  map[ledger.Reason]int `json:"reasons"`           // of the others: what would come of them; held and open ones are waiting
	Failure  string                `json:"failure,omitempty"` // why the message cannot be made for one of those for whom it cannot, or the condition not be computed
	Channels []Channel             `json:"channels"`          // in the order of the file
	Lists    []List                `json:"lists"`             // that its condition names
	Preview  *Preview              `json:"preview,omitempty"`
}

// Channel counts people on a channel.
type Channel struct {
	Channel   string `json:"channel"`   // as the rule calls it
	Reachable int    `json:"reachable"` // who have an address
	Consented int    `json:"consented"` // of them, who may be written to
	Sends     int    `json:"sends"`     // who would be sent it here now
}

// List is a list of people.
type List struct {
	File    string `json:"file"`
	People  int    `json:"people"`  // user ids in it
	Unknown int    `json:"unknown"` // of them, ids that nobody has
}

// Preview is the message as one of the people would get it.
type Preview struct {
	UserID   string    `json:"user_id,omitempty"` // whose data it is
	Gets     bool      `json:"gets"`              // they would be sent it now; else it is somebody's who would not
	Messages []Message `json:"messages"`
}

// Message is a rendered message.
type Message struct {
	Channel string         `json:"channel"`
	Locale  string         `json:"locale,omitempty"` // of the text, where the rule has it in several and this one is theirs
	Names   []string       `json:"-"`                // of the fields in the order of the file
	Fields  map[string]any `json:"fields,omitempty"`
	Error   string         `json:"error,omitempty"` // why it cannot be made
}

// Look asks the store for whom a broadcast's condition is true, and takes each of them through the stages, with what the
// ledger knows. It writes nothing.
func Look(ctx context.Context, o Options) (*Forecast, error) {
	f := &forecaster{Options: o, out: &Forecast{Reasons: map[ledger.Reason]int{}, Channels: []Channel{}, Lists: []List{}}}
	for _, name := range o.Rule.Channels() {
		f.out.Channels = append(f.out.Channels, Channel{Channel: name})
	}
	if err := f.load(ctx); err != nil {
		return nil, err
	}
	var last uint64
	if err := o.Conn.QueryRow(ctx, "SELECT max(pos) FROM checkpoints WHERE reader = 'writer'").Scan(&last); err != nil {
		return nil, fmt.Errorf("read how far the store has come: %w", err)
	}
	planner := plan.New(plan.Options{
		Conn: o.Conn, Database: o.Database, Fixes: o.Workspace.Location, Fences: func() *geo.Fences { return o.Workspace.Fences },
	})
	err := planner.Tick(ctx, segments.Tick{
		At: o.At, UpTo: events.Position(last), Retention: o.Workspace.Retention.Milliseconds(), DefaultZone: o.Workspace.Zone.String(), Fences: o.Workspace.Fences,
		Who: []*segments.Who{o.Rule.Who}, From: make([]segments.Baseline, 1), OwnClock: make([]bool, 1),
	}, f.part)
	if err != nil {
		return nil, fmt.Errorf("look for whom %s is true: %w", o.Rule.Name, err)
	}
	if err := f.lists(ctx); err != nil {
		return nil, err
	}
	return f.out, nil
}

type forecaster struct {
	Options
	states []*ledger.State // by shard
	out    *Forecast
}

// load reads what the ledger knows of everybody.
func (f *forecaster) load(ctx context.Context) error {
	keep := 24 * time.Hour
	for _, c := range f.Workspace.Policy.Caps {
		keep = max(keep, c.MaxWindow())
	}
	numbers := make([]int, engine.Shards)
	for i := range numbers {
		numbers[i] = i
		f.states = append(f.states, ledger.NewState(keep.Milliseconds()))
	}
	store := ledger.NewStore(f.Conn)
	if err := store.Load(ctx, numbers, math.MaxInt64, func(shard int, r ledger.Record) { f.states[shard].Apply(r) }); err != nil {
		return err //nolint:wrapcheck // says what it was doing
	}
	return store.LoadDeliveries(ctx, math.MaxInt64, func(r ledger.Record) { //nolint:wrapcheck // says what it was doing
		f.of(r.Delivery.Person).Apply(r)
	})
}

func (f *forecaster) of(p events.PersonID) *ledger.State {
	return f.states[engine.ShardOf(p, len(f.states))]
}

func (f *forecaster) part(p *segments.Part) error {
	for _, r := range p.Refused {
		return r.Err //nolint:wrapcheck // Look says what it was doing
	}
	for _, a := range p.Answers {
		if a.Truth == segments.True || a.Truth == segments.Failed {
			f.person(a)
		}
	}
	return nil
}

// person takes one of the people through the stages.
func (f *forecaster) person(a segments.Answer) {
	f.out.People++
	profile := a.Profile
	if profile == nil {
		profile = &segments.Profile{Person: a.Person}
		a.Profile = profile
	}
	policy := f.Workspace.Policy
	for i := range f.out.Channels {
		c := &f.out.Channels[i]
		if policy.Reachable(c.Channel, profile) {
			c.Reachable++
			if policy.Consented(c.Channel, f.Rule.Category, profile) {
				c.Consented++
			}
		}
	}
	at := f.sentAt(profile)
	records, _ := decide.Person(decide.Input{
		At: at, Person: a.Person, State: f.of(a.Person).Person(a.Person), Policy: policy,
		Contenders: []decide.Contender{{Rule: f.Rule.Rule, Answer: a}},
		Render: func(_ *decide.Contender, variant, channel string, profile *segments.Profile) (map[string]any, error) {
			return f.render(a, profile, at, variant, channel)
		},
	})
	if len(records) == 0 {
		f.out.Got++
		return
	}
	d := records[len(records)-1].Decision
	f.out.Reasons[d.Reason]++
	if f.out.Failure == "" && (d.Reason == ledger.TemplateFailed || d.Reason == ledger.ConditionError) {
		f.out.Failure = d.By
	}
	for i := range f.out.Channels {
		if d.Reason == ledger.Send && slices.Contains(d.Channels, f.out.Channels[i].Channel) {
			f.out.Channels[i].Sends++
		}
	}
	if p := f.out.Preview; p == nil || !p.Gets && d.Reason == ledger.Send {
		f.out.Preview = f.preview(a, d, at)
	}
}

// sentAt is when the person would be decided about.
func (f *forecaster) sentAt(p *segments.Profile) int64 {
	s := f.Rule.Schedule
	zone := f.Workspace.Zone
	name := s.Zone
	if name == rules.ZonePerson {
		name = p.Zone
	}
	if loc, err := f.Workspace.Policy.Location(name); err == nil {
		zone = loc
	}
	return max(f.At, s.At.In(zone))
}

func (f *forecaster) render(a segments.Answer, p *segments.Profile, at int64, variant, channel string) (map[string]any, error) {
	return render.Fields(f.Rule.Rule, render.Message{ //nolint:wrapcheck // names the field
		Variant: variant, Channel: channel, Value: a.Value, At: at, With: ledger.Values(a.With), Profile: p,
		Zone: f.Workspace.Zone, Location: f.Workspace.Policy.Location,
	})
}

// preview is the message to a person: on the channels that they would get it on, else on all.
func (f *forecaster) preview(a segments.Answer, d *ledger.Decision, at int64) *Preview {
	p := &Preview{UserID: a.Profile.UserID, Gets: d.Reason == ledger.Send, Messages: []Message{}}
	variant, names := d.Variant, d.Channels
	if !p.Gets {
		names = f.Rule.Channels()
		if variant == "" && len(f.Rule.Variants) > 0 {
			variant = f.Rule.Variants[0].Name
		}
	}
	for _, name := range names {
		said, ok := f.Rule.MessageOf(variant, name)
		if !ok {
			continue
		}
		said = said.For(a.Profile.Locale)
		m := Message{Channel: name, Locale: said.Locale}
		for _, field := range said.Fields {
			m.Names = append(m.Names, field.Name)
		}
		fields, err := f.render(a, a.Profile, at, variant, name)
		if m.Fields = fields; err != nil {
			m.Error = err.Error()
		}
		p.Messages = append(p.Messages, m)
	}
	return p
}

// lists counts who of the lists that the condition names are known.
func (f *forecaster) lists(ctx context.Context) error {
	for _, s := range f.Workspace.Sources {
		if s.Kind != workspace.ListSource || !strings.Contains(f.Rule.When, fmt.Sprintf("%q", s.Name)) && !strings.Contains(f.Rule.When, "'"+s.Name+"'") {
			continue
		}
		list, err := segments.ParseList([]byte(s.Text))
		if err != nil {
			return fmt.Errorf("the list %s: %w", s.Name, err)
		}
		l := List{File: s.Name, People: list.Len(), Unknown: list.Len()}
		const together = 5000 // bounds the text of a query
		for some := range slices.Chunk(list.Values(), together) {
			var known uint64
			if err := f.Conn.QueryRow(ctx, "SELECT uniqExact(id) FROM identities WHERE kind = 'user' AND id IN (?)", some).Scan(&known); err != nil {
				return fmt.Errorf("look for the people of %s: %w", s.Name, err)
			}
			l.Unknown -= int(known)
		}
		f.out.Lists = append(f.out.Lists, l)
	}
	return nil
}

// Package explain answers why somebody did or did not get a message: each part of a rule's condition with
// what it read, when time alone changes the answer, and what the ledger has of every entry. It only reads.
package explain

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"nudge/engine/ledger"
	"nudge/engine/report"
	"nudge/engine/workspace"
	"nudge/events"
	"nudge/segments"
	"nudge/segments/geo"
	"nudge/segments/plan"
)

// Options of Explain.
type Options struct {
	Conn      driver.Conn
	Database  string // "" is the connection's own
	Workspace *workspace.Workspace
	Rules     []*workspace.Rule // in the order wanted
	// Person is a user id, or an anonymous id that no user has.
	Person string
	// Value restricts rules with for_each to this one of their values; "" is all.
	Value string
	// At is the instant to explain, Unix ms; what arrived later is not seen, unless nothing at all had arrived by then.
	At int64
	// Since is when Workspace came into use, where it is not the one of now.
	Since time.Time
}

// Explanation is what there is to say of one person.
type Explanation struct {
	Person events.PersonID `json:"person"`
	UserID string          `json:"user_id,omitempty"`
	At     time.Time       `json:"at"`
	// RulesSince is when the rules came into use by which it is explained, where they are others than now.
	RulesSince time.Time `json:"rules_since,omitzero"`
	// Happened: nothing had arrived by then, so everything counts from when it happened, as of history that was
	// imported afterwards.
	Happened bool     `json:"happened,omitempty"`
	Zone     string   `json:"zone,omitempty"`    // the person's, if known
	Locale   string   `json:"locale,omitempty"`  // the person's, if known: a BCP 47 tag
	Address  []string `json:"address,omitempty"` // what channels find of them: "email", "token ios", …
	Rules    []Rule   `json:"rules"`
	profile  *segments.Profile
}

// Rule is what there is to say of the person under one rule.
type Rule struct {
	Rule    string   `json:"rule"`
	Version string   `json:"version"`
	On      string   `json:"on,omitempty"` // the event at which it is judged, of rules with `on`
	Answers []Answer `json:"answers"`      // of for_each one for each value; none: there is nothing to judge
	Stages  []Stage  `json:"stages"`       // one for each channel of the rule
	Entries []Entry  `json:"entries"`      // oldest first
	// Headline says in a sentence or two whether they got it, and if not, why not and what it would take.
	Headline string `json:"headline"`
	// Outlook is of the answer that the headline is about: what would come of them; nil: nothing is judged.
	Outlook *Outlook `json:"outlook,omitempty"`
	// Paused says since when and why the rule was paused at the instant; nil: it was not.
	Paused *report.Paused `json:"paused,omitempty"`
}

// Answer is what came of the condition.
type Answer struct {
	Value string `json:"value,omitempty"` // of for_each or on.by
	Truth string `json:"truth"`           // true, false, unknown, failed
	Error string `json:"error,omitempty"`
	Parts []Part `json:"parts"`
	// Last is when what for_each is about happened last with this value.
	Last *time.Time `json:"last,omitempty"`
	// Trigger is when what was judged happened, of a rule with on.
	Trigger *time.Time `json:"trigger,omitempty"`
	// Turns is when time alone changes the answer, nothing else happening; nil: not within a hundred days.
	Turns *Turn `json:"turns,omitempty"`
	// Flips are the nearest changes that would flip the answer, nearest first: none where none was found.
	Flips []Flip `json:"flips"`
}

// Part is a part of the condition; of parts that join others Joins says how, and those that follow are
// deeper.
type Part struct {
	Text   string         `json:"text"`
	Depth  int            `json:"depth"`
	Joins  string         `json:"joins,omitempty"` // and, or, not
	Truth  string         `json:"truth"`
	Error  string         `json:"error,omitempty"`
	Values map[string]any `json:"values,omitempty"`
	Lacks  int64          `json:"lacks,omitempty"` // of a count that is too small: how many are missing
}

// Turn is a change of an answer.
type Turn struct {
	At    time.Time `json:"at"`
	Truth string    `json:"truth"`
}

// Stage is what a message of the rule on one channel would meet at the instant.
type Stage struct {
	Channel   string `json:"channel"`
	Reachable bool   `json:"reachable"` // there is an address
	Consent   bool   `json:"consent"`
	// QuietUntil is when quiet hours end; nil: it is not quiet, or the rule does not care.
	QuietUntil *time.Time `json:"quiet_until,omitempty"`
	Caps       []Cap      `json:"caps"`
}

// Cap is how full a frequency cap is.
type Cap struct {
	Cap  string `json:"cap"`
	Used int    `json:"used"`
	Max  int    `json:"max"`
	// Frees is when a full one has room again.
	Frees *time.Time `json:"frees,omitempty"`
	// Messages are those that fill it, oldest first.
	Messages []CapUse `json:"messages"`
}

// CapUse is a message that counts towards a cap.
type CapUse struct {
	// At is when a provider took it, until then when it was decided.
	At      time.Time `json:"at"`
	Rule    string    `json:"rule"`
	Channel string    `json:"channel"`
	// OnItsWay: no provider has taken it yet, and it counts until it is known that none does.
	OnItsWay bool `json:"on_its_way,omitempty"`
}

// ErrNobody says that nobody has the id.
var ErrNobody = errors.New("nobody has this id")

func newExplainer(o Options) *explainer {
	return &explainer{Options: o, planner: plan.New(plan.Options{
		Conn: o.Conn, Database: o.Database, Fixes: o.Workspace.Location, Fences: func() *geo.Fences { return o.Workspace.Fences },
	})}
}

// Explain explains.
func Explain(ctx context.Context, o Options) (*Explanation, error) {
	x := newExplainer(o)
	out := &Explanation{At: time.UnixMilli(o.At), RulesSince: o.Since, Rules: []Rule{}}
	if err := x.find(ctx, out); err != nil {
		return nil, err
	}
	if err := x.readUses(ctx); err != nil {
		return nil, err
	}
	paused, err := report.PausedRules(ctx, o.Conn, o.Workspace, o.At)
	if err != nil {
		return nil, err //nolint:wrapcheck // says what it was doing
	}
	for _, r := range o.Rules {
		rule := Rule{Rule: r.Name, Version: r.Version, Answers: []Answer{}, Stages: x.stages(r, out.profile)}
		if r.On != nil {
			rule.On = r.On.Event
		}
		if i := slices.IndexFunc(paused, func(p report.Paused) bool { return p.Rule == r.Name }); i >= 0 {
			rule.Paused = &paused[i]
		}
		if r.Digest == "" {
			rule.Answers, err = x.answers(ctx, r, out.profile)
		}
		if err != nil {
			return nil, fmt.Errorf("ask the condition of %s: %w", r.Name, err)
		}
		if rule.Entries, err = x.entries(ctx, r.Name); err != nil {
			return nil, err
		}
		for i := range rule.Entries {
			for j := range rule.Entries[i].Decisions {
				d := &rule.Entries[i].Decisions[j]
				if d.Reason == ledger.Outranked || d.Reason == ledger.Holdout {
					d.Says = x.reason(r, string(d.Reason), d.By, out.profile)
				}
			}
		}
		if shown, _ := worth(&rule); len(shown) > 0 {
			if rule.Outlook, err = x.outlook(ctx, r, shown[0], rule.Entries, out.profile); err != nil {
				return nil, err
			}
		}
		if name := cmp.Or(out.UserID, x.Person); r.Digest == "" {
			rule.Headline = x.headline(r, &rule, name, out.profile)
		} else if err := x.digest(ctx, r, &rule, name, out.profile); err != nil {
			return nil, err
		}
		out.Rules = append(out.Rules, rule)
	}
	return out, nil
}

// Known is what a message of a rule to a person would be made of.
type Known struct {
	Profile *segments.Profile // nil where nothing is known but the id
	// Answers of the rule's condition: one, of for_each one for each value, none where there is nothing to judge.
	// Whatever the answer is, the values of `with` are there, as far as the person has them.
	Answers []segments.Answer
}

// Read reads what a message of the only rule of the options to the person would be made of.
func Read(ctx context.Context, o Options) (*Known, error) {
	x := newExplainer(o)
	x.anyway = true
	var found Explanation
	if err := x.find(ctx, &found); err != nil {
		return nil, err
	}
	answers, err := x.look(ctx, o.Rules[0], o.At)
	if err != nil {
		return nil, fmt.Errorf("read the values of %s: %w", o.Rules[0].Name, err)
	}
	return &Known{found.profile, answers}, nil
}

// explainer explains one person.
type explainer struct {
	Options
	anyway  bool // values are wanted whatever the condition's answer is
	planner *plan.Planner
	person  events.PersonID
	raw     []uint64 // ids under which rows of the person may stand
	upTo    events.Position
	uses    []ledger.Use // messages that count towards caps
}

// find finds the person and what is known of them.
func (x *explainer) find(ctx context.Context, out *Explanation) error {
	var last, all uint64
	err := x.Conn.QueryRow(ctx, fmt.Sprintf("SELECT maxIf(pos, received_at <= fromUnixTimestamp64Milli(toInt64(%d), 'UTC')), max(pos) FROM events", x.At)).Scan(&last, &all)
	if err != nil {
		return fmt.Errorf("read how far the store has come: %w", err)
	}
	if last == 0 && all > 0 {
		last, out.Happened = all, true
	}
	x.upTo = events.Position(last)
	var root uint64
	err = x.Conn.QueryRow(ctx, "SELECT argMax(if(m.winner = 0, i.person, m.winner), (i.kind = 'user', i.pos)) FROM identities AS i LEFT JOIN person_map AS m ON m.loser = i.person "+
		"WHERE i.id = @id AND i.kind IN ('user', 'anonymous') HAVING count() > 0", driver.NamedValue{Name: "id", Value: x.Person}).Scan(&root)
	if err != nil {
		if errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("%w: %q is neither a user id nor an anonymous id that has been seen", ErrNobody, x.Person)
		}
		return fmt.Errorf("look for %q: %w", x.Person, err)
	}
	x.person = events.PersonID(root)
	rows, err := x.Conn.Query(ctx, "SELECT loser FROM person_map WHERE winner = @person", driver.NamedValue{Name: "person", Value: root})
	if err != nil {
		return fmt.Errorf("look for who became %q: %w", x.Person, err)
	}
	defer rows.Close()
	x.raw = []uint64{root}
	for rows.Next() {
		var loser uint64
		if err := rows.Scan(&loser); err != nil {
			return fmt.Errorf("look for who became %q: %w", x.Person, err)
		}
		x.raw = append(x.raw, loser)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("look for who became %q: %w", x.Person, err)
	}
	profiles, err := x.planner.Profiles(ctx, []events.PersonID{x.person}, x.At, x.upTo)
	if err != nil {
		return fmt.Errorf("read the profile of %q: %w", x.Person, err)
	}
	out.Person = x.person
	if p := profiles[x.person]; p != nil {
		out.profile, out.UserID, out.Zone, out.Locale = p, p.UserID, p.Zone, p.Locale
		out.Address = addresses(p)
	}
	return nil
}

// addresses are what channels can reach of a person.
func addresses(p *segments.Profile) []string {
	var out []string
	for _, trait := range []string{"email", "phone"} {
		if _, has := p.Traits[trait]; has {
			out = append(out, trait)
		}
	}
	for _, d := range p.Devices {
		out = append(out, "token "+d.Platform)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// answers asks the condition about the person.
func (x *explainer) answers(ctx context.Context, r *workspace.Rule, profile *segments.Profile) ([]Answer, error) {
	told, err := x.look(ctx, r, x.At)
	if err != nil {
		return nil, err
	}
	out := make([]Answer, 0, len(told))
	for _, a := range told {
		answer := Answer{Value: a.Value, Truth: a.Truth.String(), Parts: []Part{}, Flips: []Flip{}}
		if a.Err != nil {
			answer.Error = a.Err.Error()
		}
		if a.Trigger != nil {
			answer.Trigger = at(a.Trigger.Time)
		}
		for _, c := range a.Parts {
			p := Part{Text: c.Text, Depth: c.Depth, Joins: c.Operator, Truth: c.Truth.String(), Values: c.Values, Lacks: c.Lacks}
			if c.Err != nil {
				p.Error = c.Err.Error()
			}
			answer.Parts = append(answer.Parts, p)
		}
		out = append(out, answer)
	}
	return out, x.nearest(ctx, r, profile, told, out)
}

// look asks the condition as of an instant: of a rule with `on` about the last occurrence that it heard.
func (x *explainer) look(ctx context.Context, r *workspace.Rule, at int64) ([]segments.Answer, error) {
	q := segments.Look{
		At: at, UpTo: x.upTo, Who: []*segments.Who{r.Who}, People: []events.PersonID{x.person}, Parts: true, Anyway: x.anyway,
		Retention: x.Workspace.Retention.Milliseconds(), DefaultZone: x.Workspace.Zone.String(),
	}
	if x.Value != "" && r.ForEach != "" {
		q.Values = map[events.PersonID][]string{x.person: {x.Value}}
	}
	if r.On != nil {
		last, err := x.lastOf(ctx, r.On.Event)
		if err != nil || last == 0 {
			return nil, err
		}
		q.Triggers = []events.Position{events.Position(last)}
	}
	var out []segments.Answer
	err := x.planner.Look(ctx, q, func(some []segments.Answer) error {
		out = append(out, some...)
		return nil
	})
	return out, err //nolint:wrapcheck // answers says of which rule
}

// lastOf is the position of the newest occurrence of an event, 0 without one.
func (x *explainer) lastOf(ctx context.Context, event string) (uint64, error) {
	var pos uint64
	err := x.Conn.QueryRow(ctx, "SELECT max(pos) FROM events WHERE person IN ("+x.people()+") AND event = @event AND pos <= @pos AND time <= fromUnixTimestamp64Milli(toInt64(@at), 'UTC')",
		driver.NamedValue{Name: "event", Value: event},
		driver.NamedValue{Name: "pos", Value: uint64(x.upTo)}, driver.NamedValue{Name: "at", Value: x.At}).Scan(&pos)
	if err != nil {
		return 0, fmt.Errorf("look for the last %q: %w", event, err)
	}
	return pos, nil
}

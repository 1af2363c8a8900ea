package ticktest

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"nudge/events"
	"nudge/events/memory"
	"nudge/segments"
)

// Planner is what is tested.
type Planner interface {
	Tick(ctx context.Context, q segments.Tick, fn func(*segments.Part) error) error
	Look(ctx context.Context, q segments.Look, fn func([]segments.Answer) error) error
}

// Ways of answering, each held to the naive walk.
const (
	wayTick = "incremental"
	wayFull = "full look, prefiltered"
	wayAll  = "full look at everybody"
)

// Difference is an answer that is not the naive walk's.
type Difference struct {
	Case, Rule, Tick int
	Way              string
	Person           uint64
	Value            string
	Got, Want        string
}

func (d Difference) String() string {
	return fmt.Sprintf("case %d, rule %d, tick %d, %s: person %s %q is %s, want %s", d.Case, d.Rule, d.Tick, d.Way, events.Position(d.Person), d.Value, d.Got, d.Want)
}

// Run is one run of a pack.
type Run struct {
	Pack *Pack
	Conn driver.Conn
	// Memory, where it is set, has the rows instead of Conn.
	Memory *memory.Store
	// New makes a planner, for the first tick and for those before which one restarts.
	New func() Planner
	// After is the position after which the rows of the pack stand. Rows at or below it are others'.
	After uint64
	// Compiled may change what a compiled condition says of itself, to break the planner.
	Compiled func(*segments.Who)
	// Incremental leaves out the ways that look at everybody.
	Incremental bool

	planner   Planner
	histories map[*Case]*history
	upTo      []uint64
	rules     []*running
	Stats     Stats
}

// Stats say how much a run tried.
type Stats struct {
	Cases, Rules, Ticks int
	// Judgements are the naive ones, True those that were true, Turned those that were not what they were
	// at the tick before.
	Judgements, True, Turned int
	// Looks are ticks of rules; Part of them were at a part of the people alone.
	Looks, Part int
	// Reached are people of a case at looks at a part, Judged those of them who were judged.
	Reached, Judged int
}

// Add adds up.
func (s *Stats) Add(o Stats) {
	s.Cases, s.Rules, s.Ticks = s.Cases+o.Cases, s.Rules+o.Rules, s.Ticks+o.Ticks
	s.Judgements, s.True, s.Turned = s.Judgements+o.Judgements, s.True+o.True, s.Turned+o.Turned
	s.Looks, s.Part, s.Reached, s.Judged = s.Looks+o.Looks, s.Part+o.Part, s.Reached+o.Reached, s.Judged+o.Judged
}

// running is a rule while its pack is ticked.
type running struct {
	c           *Case
	index       int
	rule        *Rule
	first, then *segments.Who
	from        segments.Baseline
	holds       map[holder]bool // who was true at the last tick, carried over
	held        map[holder]bool // the same by the naive walk
	want        map[int][]verdict
}

type holder struct {
	person uint64
	value  string
}

func (r *running) who(tick int) *segments.Who {
	if r.rule.Edited > 0 && tick >= r.rule.Edited {
		return r.then
	}
	return r.first
}

// Do stores the pack and ticks it, and returns every answer that is not the naive walk's.
func (r *Run) Do(ctx context.Context) ([]Difference, error) {
	r.histories, r.upTo = r.Pack.layout(r.After)
	all := make([]*history, len(r.Pack.Cases))
	for i, c := range r.Pack.Cases {
		all[i] = r.histories[c]
	}
	if err := r.compile(); err != nil {
		return nil, err
	}
	stored := r.After
	if !r.Pack.Progressive {
		stored = math.MaxUint64
		if err := r.store(ctx, all, r.After, stored); err != nil {
			return nil, err
		}
	}
	r.Stats.Cases, r.Stats.Rules, r.Stats.Ticks = len(r.Pack.Cases), len(r.rules), len(r.Pack.Ticks)
	var out []Difference
	for tick := range r.Pack.Ticks {
		if stored < r.upTo[tick] {
			if err := r.store(ctx, all, stored, r.upTo[tick]); err != nil {
				return nil, err
			}
			stored = r.upTo[tick]
		}
		if tick == 0 || r.Pack.Restarts[tick] {
			r.planner = r.New()
		}
		some, err := r.tick(ctx, tick)
		if err != nil {
			return nil, fmt.Errorf("tick %d: %w", tick, err)
		}
		out = append(out, some...)
	}
	if r.Incremental {
		return out, nil
	}
	// The other ways come last, so that nothing they leave behind helps the first.
	for tick := range r.Pack.Ticks {
		if !r.Pack.Fully[tick] {
			continue
		}
		some, err := r.full(ctx, tick)
		if err != nil {
			return nil, fmt.Errorf("full look at tick %d: %w", tick, err)
		}
		out = append(out, some...)
		if some, err = r.everybody(ctx, tick); err != nil {
			return nil, fmt.Errorf("look at everybody at tick %d: %w", tick, err)
		}
		out = append(out, some...)
	}
	return out, nil
}

func (r *Run) compile() error {
	for _, c := range r.Pack.Cases {
		schema := c.schema()
		one := func(rule *Rule, cond *Cond) (*segments.Who, error) {
			who, problems := segments.Compile(c.spec(rule, cond), schema)
			if segments.HasErrors(problems) {
				return nil, fmt.Errorf("case %d: %s: %v", c.Number, cond, problems)
			}
			if r.Compiled != nil {
				r.Compiled(who)
			}
			return who, nil
		}
		for i, rule := range c.Rules {
			x := &running{c: c, index: i, rule: rule, holds: map[holder]bool{}, held: map[holder]bool{}, want: map[int][]verdict{}}
			var err error
			if x.first, err = one(rule, rule.When); err != nil {
				return err
			}
			if rule.Edited > 0 {
				if x.then, err = one(rule, rule.Then); err != nil {
					return err
				}
			}
			r.rules = append(r.rules, x)
		}
	}
	return nil
}

// turns says of each tick whether an answer of the case is another than at its tick before, as far as
// the naive walk says.
func (p *Pack) turns(c *Case) []bool {
	alone := *p
	alone.Cases = []*Case{c}
	r := &Run{Pack: &alone}
	r.histories, r.upTo = alone.layout(0)
	out := make([]bool, len(p.Ticks))
	if r.compile() != nil {
		return out
	}
	for _, x := range r.rules {
		for tick := range p.Ticks {
			if !x.rule.At[tick] {
				continue
			}
			now := map[holder]bool{}
			for _, v := range r.naive(c, tick).judge(x.who(tick)) {
				if v.truth == segments.True {
					now[holder{v.person, v.value}] = true
				}
			}
			before := slices.Contains(x.rule.At[:tick], true)
			out[tick] = out[tick] || before && !maps.Equal(now, x.held)
			x.held = now
		}
	}
	return out
}

// due are the rules that look at a tick.
func (r *Run) due(tick int) []*running {
	return slices.DeleteFunc(slices.Clone(r.rules), func(x *running) bool { return !x.rule.At[tick] })
}

func (r *Run) naive(c *Case, tick int) *naive {
	return &naive{r.histories[c], r.Pack.Ticks[tick], r.upTo[tick], r.Pack.Retention, r.Pack.DefaultZone, r.Pack.fences}
}

// stands are people of whom no more is asked than whether a condition is true of them.
func stands(_ int, person events.PersonID, _ string) bool { return person%3 == 0 }

func (r *Run) question(tick int, due []*running) segments.Tick {
	q := segments.Tick{
		At: r.Pack.Ticks[tick], UpTo: events.Position(r.upTo[tick]), Retention: r.Pack.Retention, DefaultZone: r.Pack.DefaultZone, Fences: r.Pack.fences,
		From:   make([]segments.Baseline, len(due)),
		Stands: stands,
	}
	for _, x := range due {
		q.Who = append(q.Who, x.who(tick))
	}
	return q
}

// tick ticks as the engine does: what is not judged is carried over.
func (r *Run) tick(ctx context.Context, tick int) ([]Difference, error) {
	due := r.due(tick)
	if len(due) == 0 {
		return nil, nil
	}
	q := r.question(tick, due)
	asked := map[int]uint64{}
	for i, x := range due {
		if x.rule.Edited > 0 && tick >= x.rule.Edited && x.from.UpTo != 0 && !slices.Contains(x.rule.At[x.rule.Edited:tick], true) {
			x.from, x.holds, x.held = segments.Baseline{}, map[holder]bool{}, map[holder]bool{}
		}
		q.From[i] = x.from
		people := r.naive(x.c, tick).everybody()
		if a := x.rule.Asks[tick]; a >= 0 && a < len(people) {
			asked[i] = people[a]
			q.Asks = append(q.Asks, segments.Ask{Who: i, Person: events.PersonID(people[a])})
		}
	}
	var out []Difference
	answers := make([]map[holder]segments.Answer, len(due))
	judged := make([]map[uint64]bool, len(due))
	for i := range due {
		answers[i], judged[i] = map[holder]segments.Answer{}, map[uint64]bool{}
	}
	var last events.PersonID
	err := r.planner.Tick(ctx, q, func(p *segments.Part) error {
		if p.After != last || p.To <= p.After {
			return fmt.Errorf("a part of people (%d, %d] after one that ended with %d", p.After, p.To, last)
		}
		last = p.To
		for _, refused := range p.Refused {
			return fmt.Errorf("condition %d refused: %w", refused.Who, refused.Err)
		}
		for i, x := range due {
			if p.After == 0 {
				r.Stats.Looks++
				if !p.Everybody[i] {
					r.Stats.Part++
				}
			}
			for _, person := range r.naive(x.c, tick).everybody() {
				if id := events.PersonID(person); id > p.After && id <= p.To {
					has := p.Has(i, id)
					judged[i][person] = has
					if !p.Everybody[i] {
						r.Stats.Reached++
						if has {
							r.Stats.Judged++
						}
					}
				}
			}
			for h := range x.holds {
				if p.Has(i, events.PersonID(h.person)) {
					delete(x.holds, h)
				}
			}
		}
		for _, a := range p.Answers {
			h := holder{uint64(a.Person), a.Value}
			answers[a.Who][h] = a
			if a.Truth == segments.True {
				due[a.Who].holds[h] = true
			}
			if !p.Has(a.Who, a.Person) {
				return fmt.Errorf("condition %d answers of %d, who was not judged", a.Who, a.Person)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if last != math.MaxUint64 {
		return nil, fmt.Errorf("the last part ends with %d", last)
	}
	for i, x := range due {
		x.from = segments.Baseline{At: q.At, UpTo: q.UpTo}
		n := r.naive(x.c, tick)
		for h := range x.holds { // who was merged away or erased is in nothing
			if n.of(h.person) != h.person || slices.ContainsFunc(n.erasures, func(e erasure) bool { return e.person == h.person && e.pos <= n.upTo }) {
				delete(x.holds, h)
			}
		}
		want := n.judge(x.who(tick))
		x.want[tick] = want
		r.count(x, want)
		out = append(out, r.compare(x, tick, wayTick, want, func(v verdict) (string, bool) { return word(x.holds[holder{v.person, v.value}]), true })...)
		own := map[holder]bool{}
		for _, v := range want {
			h := holder{v.person, v.value}
			own[h] = true
			a, given := answers[i][h]
			switch {
			case asked[i] == v.person && !given:
				out = append(out, r.difference(x, tick, "an ask", v, "not answered"))
			case given && a.Truth != v.truth && (asked[i] == v.person || a.Truth != segments.True):
				out = append(out, r.difference(x, tick, "an answer", v, truthWords[a.Truth]))
			case given && a.Truth == segments.True && a.Stands != (asked[i] != v.person && stands(i, events.PersonID(v.person), v.value)):
				out = append(out, r.difference(x, tick, "an answer's details", v, strconv.FormatBool(a.Stands)))
			case given && a.Truth == segments.True && !a.Stands && toJSON(a.Features) != toJSON(v.features):
				out = append(out, r.difference(x, tick, "an answer's values", v, toJSON(a.Features)))
			}
		}
		people := n.everybody()
		for h := range x.holds {
			if _, mine := slices.BinarySearch(people, h.person); mine && !own[h] {
				out = append(out, r.difference(x, tick, wayTick, verdict{person: h.person, value: h.value}, "true"))
			}
		}
	}
	return out, nil
}

// count keeps what the naive walk found.
func (r *Run) count(x *running, want []verdict) {
	now := map[holder]bool{}
	for _, v := range want {
		h := holder{v.person, v.value}
		r.Stats.Judgements++
		if v.truth == segments.True {
			r.Stats.True++
			now[h] = true
		}
		if now[h] != x.held[h] {
			r.Stats.Turned++
		}
	}
	x.held = now
}

var truthWords = [...]string{"false", "true", "unknown", "failed"}

func word(is bool) string {
	if is {
		return "true"
	}
	return "not true"
}

func (r *Run) difference(x *running, tick int, way string, v verdict, got string) Difference {
	want := truthWords[v.truth]
	if v.err != nil {
		want += ": " + v.err.Error()
	}
	if strings.HasPrefix(got, "{") {
		want = toJSON(v.features)
	}
	return Difference{Case: x.c.Number, Rule: x.index, Tick: tick, Way: way, Person: v.person, Value: v.value, Got: got, Want: want}
}

// compare holds answers to the naive ones.
func (r *Run) compare(x *running, tick int, way string, want []verdict, got func(verdict) (string, bool)) []Difference {
	var out []Difference
	for _, v := range want {
		wanted := word(v.truth == segments.True)
		if said, ok := got(v); !ok || said != wanted {
			out = append(out, r.difference(x, tick, way, v, said))
		}
	}
	return out
}

// details holds the rest of answers to the naive walk: how they are not true, and what was computed for those that are.
func (r *Run) details(x *running, tick int, way string, got map[holder]segments.Answer) []Difference {
	var out []Difference
	for _, v := range x.want[tick] {
		a, given := got[holder{v.person, v.value}]
		both := a.Truth == segments.True && v.truth == segments.True
		switch {
		case given && a.Truth != v.truth && a.Truth != segments.True && v.truth != segments.True:
			out = append(out, r.difference(x, tick, way, v, truthWords[a.Truth]))
		case both && a.Stands != (way == wayFull && stands(0, events.PersonID(v.person), v.value)) || a.Stands && a.Features != nil:
			out = append(out, r.difference(x, tick, way, v, "stands"))
		case both && !a.Stands && toJSON(a.Features) != toJSON(v.features):
			out = append(out, r.difference(x, tick, way, v, toJSON(a.Features)))
		}
	}
	return out
}

// full looks at everybody for all rules, as at their first tick.
func (r *Run) full(ctx context.Context, tick int) ([]Difference, error) {
	due := r.due(tick)
	if len(due) == 0 {
		return nil, nil
	}
	got := make([]map[holder]segments.Answer, len(due))
	for i := range got {
		got[i] = map[holder]segments.Answer{}
	}
	err := r.planner.Tick(ctx, r.question(tick, due), func(p *segments.Part) error {
		for _, a := range p.Answers {
			got[a.Who][holder{uint64(a.Person), a.Value}] = a
		}
		return nil
	})
	var out []Difference
	for i, x := range due {
		out = append(out, r.compare(x, tick, wayFull, x.want[tick], func(v verdict) (string, bool) {
			return word(got[i][holder{v.person, v.value}].Truth == segments.True), true
		})...)
		out = append(out, r.details(x, tick, wayFull, got[i])...)
	}
	return out, err
}

// together is for how many cases everybody is looked at by one question.
const together = 16

// everybody judges for all people of the cases, without prefilters.
func (r *Run) everybody(ctx context.Context, tick int) ([]Difference, error) {
	var out []Difference
	for cases := range slices.Chunk(r.Pack.Cases, together) {
		due := slices.DeleteFunc(r.due(tick), func(x *running) bool { return !slices.Contains(cases, x.c) })
		if len(due) == 0 {
			continue
		}
		q := segments.Look{
			At: r.Pack.Ticks[tick], UpTo: events.Position(r.upTo[tick]), Retention: r.Pack.Retention, DefaultZone: r.Pack.DefaultZone, Fences: r.Pack.fences,
			People: []events.PersonID{},
		}
		for _, c := range cases {
			for _, person := range r.naive(c, tick).everybody() {
				q.People = append(q.People, events.PersonID(person))
			}
		}
		got := make([]map[holder]segments.Answer, len(due))
		for i, x := range due {
			got[i] = map[holder]segments.Answer{}
			q.Who = append(q.Who, x.who(tick))
		}
		if err := r.planner.Look(ctx, q, func(answers []segments.Answer) error {
			for _, a := range answers {
				got[a.Who][holder{uint64(a.Person), a.Value}] = a
			}
			return nil
		}); err != nil {
			return nil, err
		}
		for i, x := range due {
			out = append(out, r.compare(x, tick, wayAll, x.want[tick], func(v verdict) (string, bool) {
				a, ok := got[i][holder{v.person, v.value}]
				return word(a.Truth == segments.True), ok
			})...)
			out = append(out, r.details(x, tick, wayAll, got[i])...)
		}
	}
	return out, nil
}

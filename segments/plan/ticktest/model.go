package ticktest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing/fstest"

	"nudge/events"
	"nudge/segments"
	"nudge/segments/geo"
)

const (
	second = int64(1000)
	minute = 60 * second
	hour   = 60 * minute
	day    = 24 * hour
)

// stores are the fences that conditions name.
const stores = `{"type": "FeatureCollection", "features": [
  {"type": "Feature", "id": "1", "geometry": {"type": "Point", "coordinates": [0, 0]}},
  {"type": "Feature", "id": "2", "properties": {"radius": 400}, "geometry": {"type": "Point", "coordinates": [0, 0.01]}}]}`

func fences() *geo.Fences {
	out, problems := geo.Load(fstest.MapFS{"fences/stores.json": {Data: []byte(stores)}}, "fences")
	if len(problems) > 0 {
		panic(problems[0])
	}
	return out
}

// Pack is cases that are ticked together.
type Pack struct {
	Ticks       []int64 // the instants t1 of the ticks, rising
	Quiet       []bool  // by tick: nothing arrives between the tick before and this one
	Retention   int64   // ms; 0 is no limit
	DefaultZone string
	// Progressive: rows are stored as the ticks go on, and not all before the first.
	Progressive bool
	// Restarts says of each tick whether the planner is a new one, which remembers nothing.
	Restarts []bool
	// Recent is how far back is read first (ms), of however few people.
	Recent int64
	// Fully says for which ticks everybody is looked at too.
	Fully []bool
	Cases []*Case

	fences     *geo.Fences
	conditions []string
}

// Case is some people, their history, and rules about them. Names of events, traits, rules and
// segments are written with §, which stands for the case.
type Case struct {
	Number   int
	Seed     uint64
	Calls    []*Call // in order of arrival
	Rules    []*Rule
	Segments map[string]string
}

// Call is one arrival.
type Call struct {
	Kind events.Kind
	// Person is the number in the case of the person it is about.
	Person int
	// Step is the tick before which it arrives; one that is as large as there are ticks arrives after all.
	Step  int
	Time  int64
	Event string
	Flags events.Flags
	Props map[string]any
	App   string // context.app
	// Traits are JSON tokens by name (identify).
	Traits map[string]string
	Zone   string   // of the device, or ""
	Locale string   // of the device, or ""
	UserID string   // names the person by it, or ""
	Fix    *geo.Fix // Location Updated; without time and position
	// Loser is the number in the case of who becomes Person, when Merges.
	Merges bool
	Loser  int
}

// Rule is a condition and the ticks at which it is looked at.
type Rule struct {
	ForEach string
	When    *Cond
	// At says of each tick whether the rule is due at it.
	At []bool
	// Edited is the tick from which on Then is the condition, with a first look; 0 is never.
	Edited int
	Then   *Cond
	// Asks names, by tick, a person of the case who is judged in any case, or -1.
	Asks []int
}

// Cond is a condition as it was drawn, so that it can be made smaller.
type Cond struct {
	Op   string // "", "not", "and", "or", "?:", "??", "is false"
	Text string // of a leaf
	Kids []*Cond
}

func (c *Cond) String() string {
	switch c.Op {
	case "not":
		return "not (" + c.Kids[0].String() + ")"
	case "and", "or":
		return "(" + c.Kids[0].String() + " " + c.Op + " " + c.Kids[1].String() + ")"
	case "?:":
		return "(" + c.Kids[0].String() + " ? " + c.Kids[1].String() + " : " + c.Kids[2].String() + ")"
	case "??":
		return "((not (" + c.Kids[0].String() + ")) ?? true)"
	case "is false":
		return "((" + c.Kids[0].String() + ") == false)"
	}
	return c.Text
}

// own replaces § by what stands for the case.
func (c *Case) own(text string) string {
	return strings.ReplaceAll(text, "§", fmt.Sprintf("k%d", c.Number))
}

// Text is a text of the case with the names that stand for it.
func (c *Case) Text(text string) string { return c.shelf(text) }

// shelf is a name that some cases share: values of a for_each are found by one query for all of its
// rules, and so it costs less when cases have the same.
func (c *Case) shelf(text string) string {
	return strings.ReplaceAll(c.own(text), "¤", fmt.Sprintf("s%d", c.Number/24))
}

func (c *Case) spec(r *Rule, cond *Cond) segments.WhoSpec {
	return segments.WhoSpec{When: c.shelf(cond.String()), ForEach: c.shelf(r.ForEach)}
}

// schema is what the case's conditions may name.
func (c *Case) schema() *segments.Schema {
	number, text, when := events.Property{Type: events.TypeNumber}, events.Property{Type: events.TypeString}, events.Property{Type: events.TypeTime}
	declare := func(name string, props map[string]events.Property) events.Declared {
		out := events.Declared{Name: name, Properties: map[string]events.Property{}}
		for path, p := range props {
			p.Path = path
			out.Properties[path] = p
		}
		return out
	}
	plan := &events.Plan{Events: map[string]events.Declared{}, Traits: map[string]events.Property{}}
	for name, props := range map[string]map[string]events.Property{
		"§A": {"price": number, "category": text, "until": when},
		"§B": nil, "§C": nil,
		"¤F":  {"price": number, "until": when},
		"¤G":  nil,
		"§ G": nil,
	} {
		plan.Events[c.shelf(name)] = declare(c.shelf(name), props)
	}
	for name, p := range map[string]events.Property{"§due": when, "§n": number, "§plan": text, "§vip": {}, "§tags": {}, "timezone": {}, "locale": {}, "language": {}, "§g": {}} {
		p.Path = c.own(name)
		plan.Traits[p.Path] = p
	}
	goal := segments.Goal{Event: c.own("§C"), Within: 3 * hour}
	own := map[string]string{}
	for name, source := range c.Segments {
		own[c.own(name)] = c.shelf(source)
	}
	return segments.NewSchema(segments.SchemaOptions{
		Plan: plan, Fences: []string{"stores/1", "stores/2"}, Segments: own,
		Goals: map[string]segments.Goal{c.own("§r1"): goal, c.own("§r2"): {Event: c.own("§B"), Where: "properties.price > 1"}},
	})
}

// clone is a copy that can be made smaller without touching the original.
func (c *Case) clone() *Case {
	out := *c
	out.Calls = slices.Clone(c.Calls)
	out.Rules = nil
	for _, r := range c.Rules {
		copied := *r
		copied.At, copied.Asks = slices.Clone(r.At), slices.Clone(r.Asks)
		out.Rules = append(out.Rules, &copied)
	}
	out.Segments = maps.Clone(c.Segments)
	return &out
}

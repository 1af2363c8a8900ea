package ticktest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"nudge/events"
	"nudge/segments/geo"
)

// Shape says how large packs are.
type Shape struct {
	Cases, Ticks int
	// Conditions, where there are some, are all that is drawn from.
	Conditions []string
	Retention  int64 // ms; 0: drawn
}

// Draw makes a pack from a seed. The cases of a pack have seeds of their own, and do not depend on how
// many there are.
func Draw(seed uint64, s Shape) *Pack {
	d := seeded(seed)
	p := drawTicks(d, s.Ticks)
	if s.Retention > 0 {
		p.Retention = s.Retention
	}
	p.conditions = s.Conditions
	for i := range s.Cases {
		p.Cases = append(p.Cases, p.draw(seed<<24|uint64(i)<<4, i))
	}
	return p
}

// draw draws a case: of a few the first in which an answer turns.
func (p *Pack) draw(seed uint64, number int) *Case {
	var c *Case
	for i := range uint64(4) {
		c = drawCase(seeded(seed+i), p, number, seed+i)
		if turns := p.turns(c); slices.Contains(turns, true) {
			break
		}
	}
	return c
}

// DrawFrom makes a pack of one case from bytes.
func DrawFrom(b []byte, ticks int) *Pack {
	d := fromBytes(b)
	p := drawTicks(d, ticks)
	p.Cases = []*Case{drawCase(d, p, 0, 0)}
	return p.Alone(0)
}

// DrawAt is Draw for given ticks.
func DrawAt(seed uint64, ticks []int64, s Shape) *Pack {
	p := drawTicks(seeded(seed), len(ticks))
	p.Ticks, p.Retention, p.conditions = ticks, s.Retention, s.Conditions
	for i := range s.Cases {
		p.Cases = append(p.Cases, p.draw(seed<<24|uint64(i)<<4, i))
	}
	return p
}

func drawTicks(d *dice, n int) *Pack {
	// A year that is ahead of every clock that a server compares with.
	start := time.Date(2071, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli() + d.span(365*day)
	p := &Pack{
		fences:    fences(),
		Retention: pick(d, 0, 0, 3*day, 10*day), DefaultZone: pick(d, "", "Europe/Berlin", "America/New_York"), Progressive: d.one(3),
	}
	now := start
	for i := range n {
		p.Ticks = append(p.Ticks, now)
		p.Quiet = append(p.Quiet, i > 0 && d.one(4))
		p.Restarts = append(p.Restarts, d.one(4))
		p.Fully = append(p.Fully, d.one(4))
		switch d.n(8) {
		case 0:
			now += 1 + d.span(3)
		case 1:
			now += minute
		case 2, 3, 4:
			now += 5 * minute
		case 5:
			now += hour
		case 6:
			now += d.span(day) + 1
		default:
			now += d.span(3*hour) + 1
		}
	}
	p.Recent = pick(d, 10*minute, 5*hour, 2*day, 8*day)
	return p
}

func drawCase(d *dice, p *Pack, number int, seed uint64) *Case {
	c := &Case{Number: number, Seed: seed, Segments: map[string]string{}}
	w := &drawer{dice: d, c: c, ticks: p.Ticks, segment: true}
	w.schema = c.schema()
	if d.one(4) {
		c.Segments["§s1"] = w.condition(1).String()
		w.schema = c.schema()
		if d.one(2) {
			c.Segments["§s2"] = (&Cond{Op: pick(d, "and", "or"), Kids: []*Cond{{Text: `segment("§s1")`}, {Text: w.leaf()}}}).String()
			w.schema = c.schema()
		}
	}
	w.segment = false
	for range pick(d, 1, 1, 1, 2) {
		r := w.rule(len(p.Ticks))
		if len(p.conditions) > 0 {
			r.ForEach, r.Edited, r.When = "", 0, &Cond{Text: pick(d, p.conditions...)}
		}
		c.Rules = append(c.Rules, r)
	}
	(&past{dice: d, p: p, c: c}).draw()
	return c
}

func (d *drawer) rule(ticks int) *Rule {
	r := &Rule{}
	if d.one(5) {
		r.ForEach = pick(d.dice, `event("¤F").by("cart")`, `event("¤F").by("cart")`, `event("¤G", 'properties.price > 1').by("category")`)
	}
	d.forEach = r.ForEach
	// Of people whom other cases are about an answer is of no use: two in three conditions are theirs alone.
	alone := d.n(3) > 0
	drawn := func() *Cond {
		for {
			c := d.condition(pick(d.dice, 0, 1, 1, 2))
			if alone {
				c = &Cond{Op: "and", Kids: []*Cond{{Text: "user.traits.§g == 1"}, c}}
			}
			if d.compiles(c) {
				return c
			}
		}
	}
	r.When = drawn()
	if d.one(8) {
		r.Edited, r.Then = 1+d.n(ticks), drawn()
	}
	r.At, r.Asks = make([]bool, ticks), make([]int, ticks)
	seldom := d.one(3)
	for i := range r.At {
		r.At[i] = !seldom || d.one(2)
		r.Asks[i] = -1
		if d.one(12) {
			r.Asks[i] = d.n(3)
		}
	}
	return r
}

// past draws what happens to the people of a case.
type past struct {
	*dice
	p *Pack
	c *Case
}

func (d *past) draw() {
	people, ticks := 1+d.n(3), len(d.p.Ticks)
	var calls []*Call
	for person := range people {
		step := 0
		if d.one(4) {
			step = d.n(ticks + 1)
		}
		first := d.call(person, step)
		if d.one(3) || len(first.Traits) == 0 && d.one(2) {
			first = &Call{Kind: events.KindIdentify, Person: person, Step: step, Time: d.when(step, calls)}
		}
		if first.Kind == events.KindIdentify && d.n(8) > 0 { // most pass the gate
			first.Traits = map[string]string{"§g": "1"}
		}
		calls = append(calls, first)
		for range d.n(7) {
			call := d.call(person, min(step+d.late(ticks-step), ticks))
			call.Time = d.when(call.Step, calls)
			calls = append(calls, call)
		}
	}
	for range d.n(3) {
		if people > 1 && d.one(2) {
			step := d.n(ticks + 1)
			a := d.n(people)
			calls = append(calls, &Call{
				Kind: pick(d.dice, events.KindIdentify, events.KindAlias), Person: a, Loser: (a + 1 + d.n(people-1)) % people, Merges: true, Step: step, Time: d.when(step, calls),
			})
		}
	}
	if d.one(12) {
		step := d.n(ticks + 1)
		calls = append(calls, &Call{Kind: events.KindErase, Person: d.n(people), Step: step, Time: d.p.Ticks[min(step, ticks-1)]})
	}
	// In order of arrival; of what arrives before the same tick, any order.
	for step := range ticks + 1 {
		var now []*Call
		for _, call := range calls {
			if call.Step == step {
				at := d.n(len(now) + 1)
				now = append(now, nil)
				copy(now[at+1:], now[at:])
				now[at] = call
			}
		}
		d.c.Calls = append(d.c.Calls, now...)
	}
}

// late is how many ticks after the first something arrives.
func (d *past) late(ticks int) int {
	if ticks == 0 || d.one(2) {
		return 0
	}
	return d.n(ticks + 1)
}

// when draws when something happened that arrived before a tick.
func (d *past) when(step int, before []*Call) int64 {
	ticks := d.p.Ticks
	arrived := ticks[min(step, len(ticks)-1)]
	switch d.n(10) {
	case 0, 1, 2, 3: // on the edge of an age at some tick
		age := spans[d.n(len(spans))].ms
		switch d.n(10) {
		case 0:
			age = 0
		case 1:
			age = d.p.Retention
		case 2:
			age = geo.DefaultMaxAge
		case 3:
			age = pick(d.dice, age/2, 2*age)
		}
		return pick(d.dice, ticks...) - age + pick(d.dice, int64(0), 0, 1, -1, minute)
	case 4: // ahead
		return arrived + d.span(hour) + 1
	case 5: // at the same time as something else
		if len(before) > 0 {
			return pick(d.dice, before...).Time
		}
	case 6:
		return arrived - d.span(12*day)
	case 7:
		return arrived - d.span(20*minute)
	}
	return arrived - d.span(4*hour)
}

var prices = []any{0.0, 1.25, 10.0, 19.75, 2.0, 3.0, nil}

// call draws one call of a person.
func (d *past) call(person, step int) *Call {
	call := &Call{Kind: events.KindTrack, Person: person, Step: step, Time: d.when(step, nil), App: pick(d.dice, "", "ios", "web")}
	if d.one(12) {
		call.Zone = pick(d.dice, "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Mars/Base")
	}
	if d.one(12) {
		call.Locale = pick(d.dice, "de", "fr", "en-US")
	}
	if d.one(10) {
		call.UserID = fmt.Sprintf(pick(d.dice, "§u%d", "§v%d"), person)
	}
	what := d.n(16)
	if d.one(2) && slices.ContainsFunc(d.p.conditions, func(c string) bool { return strings.Contains(c, "near(") }) {
		what = 4
	}
	switch what {
	case 0, 1, 2:
		call.Kind, call.App, call.Traits = events.KindIdentify, "", d.traits()
	case 3:
		call.Kind, call.Event = pick(d.dice, events.KindPage, events.KindScreen), "Page Viewed"
		if call.Kind == events.KindScreen {
			call.Event = "Screen Viewed"
		}
	case 4, 5:
		call.Event = events.LocationUpdated
		call.Fix = &geo.Fix{Lat: pick(d.dice, 0, 0.001, 0.004, 0.01, 0.012, 0.5), Accuracy: pick(d.dice, 0.0, 20, 20, 500)}
	case 6, 7:
		call.Kind, call.Event = events.KindMessage, pick(d.dice, events.MessageSent, events.MessageSent, events.MessageOpened, events.MessageClicked)
		call.Props, call.UserID, call.Zone, call.Locale = map[string]any{"rule": pick(d.dice, "§r1", "§r2")}, "", "", ""
		if call.Event != events.MessageSent && d.one(3) {
			call.Flags = events.MachineOpen
		}
	case 8:
		if d.one(3) {
			call.Kind, call.App = events.KindDevice, ""
			break
		}
		fallthrough
	default:
		call.Event = pick(d.dice, "§A", "§A", "§A", "§B", "§C", "¤F", "¤F", "¤G")
		call.Props = map[string]any{}
		put := func(name string, v any) {
			if v != nil {
				call.Props[name] = v
			}
		}
		put("price", pick(d.dice, prices...))
		put("category", pick[any](d.dice, "x", "x", "y", "z.z", nil))
		put("cart", pick[any](d.dice, "c1", "c1", "c2", 3.0, nil))
		if d.one(3) && (call.Event == "§A" || call.Event == "¤F") {
			put("until", float64(d.moment()))
		}
		if d.one(6) && call.Event != "§A" && call.Event != "¤F" { // of another type, where none is declared
			put("price", "10")
		}
	}
	return call
}

// moment draws an instant that a value names.
func (d *past) moment() int64 {
	at := pick(d.dice, d.p.Ticks...) + pick(d.dice, int64(0), 0, 1, -1, -minute)
	return at + pick(d.dice, int64(-1), 1)*pick(d.dice, int64(0), spans[d.n(len(spans))].ms, d.span(2*day))
}

func (d *past) traits() map[string]string {
	out := map[string]string{}
	for range 1 + d.n(2) {
		switch d.n(9) {
		case 0:
			out["§plan"] = pick(d.dice, `"pro"`, `"free"`, `null`)
		case 1, 2, 3:
			out["§due"] = d.dueToken()
		case 4, 5:
			out["§n"] = pick(d.dice, "1", "2.5", "0", "3", "-1", "24", "null", "0.0003")
		case 6:
			out["§vip"] = pick(d.dice, "true", "false", "null", `"yes"`, "1")
		case 7:
			out["§tags"] = pick(d.dice, `["a","b"]`, `[]`, "null")
		case 8:
			out[pick(d.dice, "locale", "language")] = pick(d.dice, `"de"`, `"fr-CA"`, `"plain"`, "null", "7")
			out["timezone"] = pick(d.dice, `"Asia/Tokyo"`, `"Europe/Berlin"`, `"Nowhere"`, "null")
		}
	}
	if d.one(10) {
		out["§g"] = pick(d.dice, "1", "null")
	}
	return out
}

// dueToken is a time as it stands in a trait: converted to milliseconds, or text as it came.
func (d *past) dueToken() string {
	at := time.UnixMilli(d.moment()).UTC()
	switch d.n(7) {
	case 0:
		return "null"
	case 1:
		return fmt.Sprintf("%q", at.Format(time.RFC3339Nano))
	case 2:
		return fmt.Sprintf("%q", at.AddDate(-30, 0, pick(d.dice, 0, 1)).Format("2006-01-02"))
	case 3:
		return fmt.Sprintf("%q", at.Format("2006-01-02"))
	}
	return strconv.FormatInt(at.UnixMilli(), 10)
}

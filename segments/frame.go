package segments

import (
	"fmt"
	"strings"
	"time"

	"nudge/events"
)

// frame is the environment of one evaluation: the candidate, the instant, and what is computed from
// them at most once. Programs get it as $env.
type frame struct {
	at       int64
	c        *Candidate
	zones    *zones
	loc      *time.Location
	lists    [][]any // by feature, filled when first read
	earlier  map[string]any
	everyone func(i int) (int64, bool)
	steps    int
	lastZone string
	lastLoc  *time.Location
}

// maxSteps bounds the elements that the closures of one evaluation look at: closures inside closures
// multiply, and a list may come from an event of 32 KB.
const maxSteps = 1_000_000

// step counts one look at an element.
func (f *frame) step() {
	if f.steps++; f.steps > maxSteps {
		panic("the condition looks at more than 1,000,000 elements of lists")
	}
}

func (f *frame) reset(at int64, c *Candidate) {
	f.at, f.c, f.loc, f.earlier, f.everyone, f.steps = at, c, nil, nil, nil, 0
	for i := range f.lists {
		f.lists[i] = nil
	}
}

// zone is the person's zone, else the workspace's, else UTC: never missing.
func (f *frame) zone() *time.Location {
	if f.loc != nil {
		return f.loc
	}
	if f.c.Profile != nil {
		f.loc = f.load(f.c.Profile.Zone)
	}
	if f.loc == nil {
		f.loc = f.load(f.c.DefaultZone)
	}
	if f.loc == nil {
		f.loc = time.UTC
	}
	return f.loc
}

// load remembers the zone of the last candidate, for the next one's is mostly the same.
func (f *frame) load(name string) *time.Location {
	if name == "" {
		return nil
	}
	if f.lastLoc == nil || f.lastZone != name {
		f.lastZone, f.lastLoc = name, f.zones.load(name)
	}
	return f.lastLoc
}

func (f *frame) local(name string) any {
	t := time.UnixMilli(f.at).In(f.zone())
	switch name {
	case "hour":
		return float64(t.Hour())
	case "weekday":
		return strings.ToLower(t.Weekday().String())
	case "month":
		return float64(t.Month())
	case "day":
		return float64(t.Day())
	}
	return civilOf(f.at, f.zone()).midnight(f.zone())
}

// value is what the planner delivered for a feature.
func (f *frame) value(i int) any {
	if i >= len(f.c.Values) {
		panic(fmt.Sprintf("the candidate has %d values and feature %d is asked for", len(f.c.Values), i))
	}
	return f.c.Values[i]
}

func (f *frame) whole(i int) int64 {
	n, ok := f.value(i).(int64)
	if !ok {
		panic(fmt.Sprintf("feature %d is %T, want int64", i, f.value(i)))
	}
	return n
}

func (f *frame) occurrence(i int) *Occurrence {
	switch o := f.value(i).(type) {
	case nil:
		return nil
	case *Occurrence:
		return o
	default:
		panic(fmt.Sprintf("feature %d is %T, want *Occurrence", i, o))
	}
}

func (f *frame) list(i int) []any {
	if f.lists[i] == nil {
		var in []*Occurrence
		switch v := f.value(i).(type) {
		case nil:
		case []*Occurrence:
			in = v
		default:
			panic(fmt.Sprintf("feature %d is %T, want []*Occurrence", i, v))
		}
		out := make([]any, len(in))
		for j, o := range in {
			out[j] = o
		}
		f.lists[i] = out
	}
	return f.lists[i]
}

func (f *frame) user(name string) any {
	p := f.c.Profile
	if p == nil {
		return nil
	}
	switch name {
	case "id":
		return present(p.UserID)
	case "timezone":
		return present(p.Zone)
	case "locale":
		return present(p.Locale)
	}
	if p.CreatedAt == 0 {
		return nil
	}
	return instant(p.CreatedAt)
}

func present(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// trait reads a trait; a dotted one may be a member of an object.
func (f *frame) trait(path string, t events.Type) any {
	if f.c.Profile == nil {
		return nil
	}
	for n := len(path); n > 0; n = strings.LastIndexByte(path[:n], '.') {
		token, ok := f.c.Profile.Traits[path[:n]]
		if !ok {
			continue
		}
		if n == len(path) {
			return typed(token, t)
		}
		return typed(lookup(token, path[n+1:]), t)
	}
	return nil
}

func (f *frame) place(i int, name string) any {
	if i >= len(f.c.Places) {
		panic(fmt.Sprintf("the candidate has %d places and place %d is asked for", len(f.c.Places), i))
	}
	p := &f.c.Places[i]
	if !p.Known {
		return nil
	}
	switch name {
	case "now":
		return p.Now
	case "entered":
		if !p.Now {
			return nil
		}
		return instant(p.Entered)
	case "dwell":
		return span(p.Dwell)
	case "distance":
		return p.Distance
	case "fence.id":
		return present(p.FenceID)
	}
	return decode(lookup(p.Fence, strings.TrimPrefix(name, "fence.properties.")))
}

// fieldOf reads one field of an occurrence, except its age.
func fieldOf(o *Occurrence, name string, t events.Type) any {
	if o == nil {
		return nil
	}
	switch name {
	case "at":
		return instant(o.Time)
	case "event":
		return o.Event
	case "properties":
		return objectOf(o.Properties)
	case "context":
		return objectOf(o.Context)
	}
	if path, ok := strings.CutPrefix(name, "properties."); ok {
		return typed(lookup(o.Properties, path), t)
	}
	return typed(lookup(o.Context, strings.TrimPrefix(name, "context.")), t)
}

// itValue is for_each's value in the type that its property is declared with.
func (f *frame) itValue(t events.Type) any {
	switch {
	case isNumeric(t):
		return decodeNumber(f.c.Value)
	case t == events.TypeBoolean:
		switch f.c.Value {
		case "true":
			return true
		case "false":
			return false
		}
		return nil
	}
	return f.c.Value
}

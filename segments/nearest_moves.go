package segments

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"nudge/events"
)

// moves are the states that one more need makes.
func (x *search) moves(s *state) []state {
	var out []state
	for _, l := range x.leaves(s) {
		r := x.readOf(l.node)
		for _, f := range r.histories {
			out = append(out, x.happen(l, s, f, r)...)
			if x.want && !f.Keyed {
				out = append(out, x.undo(l, s, f)...)
			}
		}
		for _, t := range r.traits {
			out = append(out, x.set(l, s, t, r)...)
		}
		if r.user {
			out = append(out, x.identify(l, s)...)
		}
		for _, p := range r.places {
			out = append(out, x.move(l, s, p)...)
		}
		if len(r.trigger) > 0 && s.Trigger != nil {
			out = append(out, x.retrigger(l, s, r)...)
		}
	}
	return out
}

// step makes a state of another by one more need.
func (s *state) step(n Need, l leaf, x *search) state {
	n.Part = strings.TrimSpace(part{node: l.node, place: l.place}.written(x.who.source))
	out := state{Supposed: s.with(), at: s.at, needs: append(slices.Clone(s.needs), n)}
	out.cost = s.cost + n.cost()
	return out
}

// happen supposes that something happens, in the least number that makes the leaf what it should be. Where none does
// and the leaf asks how long ago, time may, once it has happened.
func (x *search) happen(l leaf, s *state, f *Feature, r *read) []state {
	had := 0
	counted := *f
	counted.Within = 0
	for _, o := range x.Past.Occurrences(&counted, x.Value, &s.Supposed) {
		if o.Time <= s.at && (f.Within == 0 || o.Time > s.at-f.Within) {
			had++
		}
	}
	base := x.base(f)
	o := base.occurrence(f.Event, s.at)
	if f.Filter != nil && !f.Filter.Eval(&o, nil) {
		return nil // no occurrence was found that it lets pass
	}
	times := []int{1, 2, 3}
	const most = 10_000
	for _, c := range r.constants {
		if n, is := asFloat(c); is && n > 3 && n < most {
			least := int(math.Ceil(n)) - had
			times = append(times, least, least+1)
		}
	}
	slices.Sort(times)
	times = slices.Compact(times)
	var aging *state
	for _, n := range times {
		if n < 1 {
			continue
		}
		for _, given := range x.given(f, r) {
			if n > 1 && len(given) == 0 && len(r.paths[f]) > 0 {
				continue
			}
			next := s.step(Need{Kind: NeedEvent, Feature: f, Count: n, Had: had, Given: given}, l, x)
			of := base
			for path, v := range given {
				of = of.and(path, v)
			}
			for i := range n {
				for _, path := range r.uniq[f] {
					of = of.and(path, fresh(given[path], len(s.Added)+i))
				}
				one := of.occurrence(f.Event, next.at)
				next.Added = append(next.Added, one)
				next.at++
			}
			if f.Filter != nil && !f.Filter.Eval(&next.Added[len(next.Added)-1], nil) {
				continue
			}
			if x.turns(l, &next) {
				return []state{next}
			}
			if n == 1 && len(given) == 0 && aging == nil && r.ages {
				next.cost += 0.2
				aging = &next
			}
			if x.left <= 0 {
				break
			}
		}
	}
	if aging != nil {
		return []state{*aging}
	}
	return nil
}

// fresh is a value that nothing else has.
func fresh(like any, i int) any {
	if _, is := asFloat(like); is {
		return 1e9 + float64(i)
	}
	return fmt.Sprintf("another %d", i+1)
}

// base is the shape of occurrences that a history counts.
func (x *search) base(f *Feature) shape {
	of := shape{}
	switch {
	case f.Message == "*":
		of = of.and("properties.rule", "any")
	case f.Message != "":
		of = of.and("properties.rule", f.Message)
	}
	if f.Keyed {
		of = of.and(x.who.forEach.Path, x.Value)
		if n := decodeNumber(x.Value); n != nil && !x.keeps(of, f) {
			of = of.and(x.who.forEach.Path, n)
		}
	}
	return passing(f.Filter, of)
}

// keeps says whether the property that tells values apart is known to be text.
func (x *search) keeps(_ shape, f *Feature) bool {
	for _, o := range x.Past.Occurrences(f, x.Value, nil) {
		if l := o.Leaf(x.who.forEach.Path); l.Kind != 0 {
			return l.Kind == events.LeafString
		}
	}
	return true
}

// given are properties to try for a leaf: none, and for each property of the history that it reads those around what it
// is compared with.
func (x *search) given(f *Feature, r *read) []map[string]any {
	out := []map[string]any{nil}
	for _, path := range r.paths[f] {
		for _, c := range r.constants {
			if v, is := asFloat(c); is { // what a sum lacks
				if lacks := rounded(v - x.sum(f, path)); lacks > 0 {
					out = append(out, map[string]any{path: lacks}, map[string]any{path: math.Floor(lacks) + 1})
				}
			}
			for _, v := range around(c) {
				out = append(out, map[string]any{path: v})
			}
			if v, is := asFloat(c); is { // for an average
				out = append(out, map[string]any{path: 10 * (v + 1)})
			}
		}
		if len(r.constants) == 0 {
			out = append(out, map[string]any{path: true}, map[string]any{path: false}, map[string]any{path: "x"}, map[string]any{path: 1.0})
		}
	}
	const most = 24
	return out[:min(len(out), most)]
}

func rounded(v float64) float64 { return math.Round(v*1e6) / 1e6 }

// sum is what the property adds up to so far.
func (x *search) sum(f *Feature, path string) float64 {
	sum := 0.0
	for _, o := range x.Past.Occurrences(f, x.Value, nil) {
		if o.Time <= x.At && (f.Within == 0 || o.Time > x.At-f.Within) {
			sum += o.Leaf(path).Num
		}
	}
	return sum
}

// undo supposes that the newest occurrences of a history had not happened, as few as it takes.
func (x *search) undo(l leaf, s *state, f *Feature) []state {
	var had []*Occurrence
	for _, o := range slices.Backward(x.Past.Occurrences(f, x.Value, &s.Supposed)) {
		if o.Time <= x.At && (f.Within == 0 || o.Time > s.at-f.Within) {
			had = append(had, o)
		}
	}
	const some = 3
	for n := 1; n <= len(had); n++ {
		if n > some {
			n = len(had)
		}
		next := s.step(Need{Kind: NeedWithout, Feature: f, Occurrences: had[:n]}, l, x)
		for _, o := range had[:n] {
			next.Without = append(next.Without, o.Pos)
		}
		if x.turns(l, &next) {
			return []state{next}
		}
	}
	return nil
}

// profile is a copy of what is known of the person.
func (x *search) profile(s *state) Profile {
	out := Profile{}
	if p := x.candidate(s).Profile; p != nil {
		out = *p
	}
	traits := map[string]json.RawMessage{}
	maps.Copy(traits, out.Traits)
	out.Traits = traits
	return out
}

func (x *search) set(l leaf, s *state, t *node, r *read) []state {
	var values []any
	for _, c := range r.constants {
		values = append(values, around(c)...)
	}
	values = append(values, true, false)
	values = append(values, sampleOf(t.declared)...)
	for _, c := range r.constants { // of what is in a list
		values = append(values, []any{c})
	}
	was := decode(x.profile(s).Traits[t.name])
	for _, v := range append(values, nil) {
		p := x.profile(s)
		delete(p.Traits, t.name)
		if v != nil {
			p.Traits[t.name] = raw(v)
		}
		next := s.step(Need{Kind: NeedTrait, Trait: t.name, Was: portable(was), Value: portable(v)}, l, x)
		next.Profile = &p
		if x.turns(l, &next) {
			return []state{next}
		}
	}
	return nil
}

func (x *search) identify(l leaf, s *state) []state {
	p := x.profile(s)
	if p.UserID != "" {
		return nil
	}
	p.UserID = "somebody"
	next := s.step(Need{Kind: NeedUser}, l, x)
	next.Profile = &p
	if x.turns(l, &next) {
		return []state{next}
	}
	return nil
}

// move supposes that the person is at a place for as long as it takes, or is not.
func (x *search) move(l leaf, s *state, i int) []state {
	were := x.candidate(s).Places[i]
	for _, there := range []bool{true, false} {
		for _, dwell := range []int64{0, 5 * msMinute, 15 * msMinute, msHour, msDay} {
			at := Place{Known: true, Now: there, Distance: 1e6, FenceID: were.FenceID, Fence: were.Fence}
			if there {
				at.Distance, at.Entered, at.Dwell = 0, s.at-dwell, dwell
			} else if dwell > 0 {
				break
			}
			next := s.step(Need{Kind: NeedPlace, Place: &x.who.places[i], There: there, Dwell: dwell, Were: were}, l, x)
			if next.Places == nil {
				next.Places = map[int]Place{}
			}
			next.Places[i] = at
			if x.turns(l, &next) {
				return []state{next}
			}
		}
	}
	return nil
}

// retrigger supposes that what arrived said something else.
func (x *search) retrigger(l leaf, s *state, r *read) []state {
	for _, path := range r.trigger {
		values := []any{true, false}
		for _, c := range r.constants {
			values = append(around(c), values...)
		}
		for _, v := range values {
			o, ok := s.Trigger.put(path, v)
			if !ok || x.who.on.Filter != nil && !x.who.on.Filter.Eval(&o, nil) {
				continue
			}
			next := s.step(Need{Kind: NeedTrigger, Given: map[string]any{path: v}}, l, x)
			next.Trigger = &o
			if x.turns(l, &next) {
				return []state{next}
			}
		}
	}
	return nil
}

// put is the occurrence with another property.
func (o Occurrence) put(path string, v any) (Occurrence, bool) {
	name, is := strings.CutPrefix(path, "properties.")
	var of map[string]any
	if !is || json.Unmarshal(o.Properties, &of) != nil {
		return o, false
	}
	if of == nil {
		of = map[string]any{}
	}
	delete(of, name)
	of[name] = v
	if inner := strings.Split(name, "."); len(inner) > 1 {
		return o, false
	}
	o.Properties = raw(of)
	return o, true
}

// read is what a leaf reads and compares it with.
type read struct {
	histories   []*Feature
	traits      []*node
	places      []int
	user, ages  bool
	trigger     []string // paths
	constants   []any    // strings, numbers and booleans
	paths, uniq map[*Feature][]string
}

// readOf walks a leaf.
func (x *search) readOf(n *node) *read {
	r := &read{paths: map[*Feature][]string{}, uniq: map[*Feature][]string{}}
	byKey := map[string]*Feature{}
	history := func(f *Feature) *Feature {
		g := *f
		g.Agg, g.Path, g.N, g.Reads, g.ReadsLater, g.Later = AggCount, "", 0, 0, 0, false
		if had := byKey[g.Key()]; had != nil {
			return had
		}
		byKey[g.Key()] = &g
		r.histories = append(r.histories, &g)
		return &g
	}
	path := func(f *Feature, name string) {
		if h := history(f); strings.HasPrefix(name, "properties.") && !slices.Contains(r.paths[h], name) {
			r.paths[h] = append(r.paths[h], name)
		}
	}
	seen := map[*node]bool{}
	var lists []*Feature // that closures are over
	var walk func(n *node)
	walk = func(n *node) {
		if seen[n] {
			return
		}
		seen[n] = true
		switch n.op {
		case opFeature:
			h := history(n.feat)
			if n.feat.Path != "" {
				path(n.feat, n.feat.Path)
				if n.feat.Agg == AggUniq {
					r.uniq[h] = append(r.uniq[h], n.feat.Path)
				}
			}
			if n.feat.Agg == AggList {
				lists = append(lists, n.feat)
			}
		case opField:
			switch k := n.kids[0]; {
			case n.name == "at" || n.name == "ago":
				r.ages = true
			case k.op == opTrigger:
				r.trigger = append(r.trigger, n.name)
			case k.op == opElem:
				for _, f := range lists {
					path(f, n.name)
				}
			default:
				for _, f := range featuresIn(k) {
					path(f, n.name)
				}
			}
		case opLater, opAfter:
			r.ages = true
		case opListAgg:
			for _, f := range featuresIn(n.kids[0]) {
				if n.name != "" {
					path(f, n.name)
				}
			}
		case opTrait:
			r.traits = append(r.traits, n)
		case opUser:
			r.user = r.user || n.name == "id"
		case opPlace:
			if i := x.e.placeIndex(n.place); i < len(x.who.places) && !slices.Contains(r.places, i) {
				r.places = append(r.places, i)
			}
		case opConst:
			r.constant(n.val)
		default:
		}
		for _, k := range n.kids {
			walk(k)
		}
	}
	walk(n)
	return r
}

func (r *read) constant(v any) {
	switch c := v.(type) {
	case string, bool, float64, int64:
		if !slices.Contains(r.constants, v) {
			r.constants = append(r.constants, v)
		}
	case []any:
		for _, one := range c {
			r.constant(one)
		}
	case instant:
		r.constants = append(r.constants, int64(c))
	}
}

// featuresIn are the features that an occurrence or a list comes from.
func featuresIn(n *node) []*Feature {
	if n.op == opFeature {
		return []*Feature{n.feat}
	}
	var out []*Feature
	for _, k := range n.kids {
		out = append(out, featuresIn(k)...)
	}
	return out
}

package plan

import (
	"context"
	"fmt"
	"math"
	"slices"

	"nudge/segments"
	"nudge/segments/geo"
)

// A place is known of people with a usable location fix that is young enough, and one is there only
// when the last of them is within reach of a fence. These are few, so a look reads them first: a
// condition that needs a place is judged for them alone, or for nobody.

// spots are the people of whom a look can know a place, with the last usable fix of each, by person.
type spots struct {
	people []uint64
	last   []geo.Fix
	fences *geo.Fences
	near   map[spot][]uint64
}

// spot is what a leaf of a condition needs of a place: to be within so many metres of a fence
// (math.Inf(1): that anything is known).
type spot struct {
	ref    segments.PlaceRef
	within float64
}

// locate reads the last usable fix of everybody who has a young one, if a condition asks for places.
func (l *look) locate(ctx context.Context) error {
	if !l.asksPlaces() {
		return nil
	}
	l.spots = &spots{fences: l.fences, near: map[spot][]uint64{}}
	err := l.store.lastFixes(ctx, l.moment, l.p.fixes, func(person uint64, at geo.Fix) {
		l.spots.people, l.spots.last = append(l.spots.people, person), append(l.spots.last, at)
	})
	if err != nil {
		return fmt.Errorf("reading last locations: %w", err)
	}
	return nil
}

func (l *look) asksPlaces() bool {
	return slices.ContainsFunc(l.groups, func(g group) bool {
		return slices.ContainsFunc(g.who, func(w int) bool { return len(l.Who[w].Places()) > 0 })
	})
}

// lastFixes writes the query for the last usable fix of each person that is younger than MaxAge.
func (m moment) lastFixes(o geo.Options) string {
	from, person, conditions := m.from("fixes", "x", nil)
	conditions = append(conditions, m.bounds("x", m.at-min(o.MaxAge, geo.History))...)
	conditions = append(conditions, "x.accuracy >= 0", "x.accuracy <= "+float(o.MaxAccuracy), "abs(x.lat) <= 90", "abs(x.lon) <= 180")
	return "SELECT " + person + " AS p, argMax(x.lat, (x.time, x.pos)), argMax(x.lon, (x.time, x.pos)) FROM " + from + where(conditions) + " GROUP BY p ORDER BY p"
}

// somewhere is whether anything can be known of where the person is.
func (s *spots) somewhere(person uint64) bool {
	if s == nil {
		return true
	}
	_, ok := slices.BinarySearch(s.people, person)
	return ok
}

// at are the people who are at a spot, sorted.
func (s *spots) at(where spot) []uint64 {
	if math.IsInf(where.within, 1) {
		return s.people
	}
	out, known := s.near[where]
	if known {
		return out
	}
	set := s.fences.Match(where.ref.Pattern)
	for i, person := range s.people {
		if fence, _ := set.Nearest(s.last[i].Lat, s.last[i].Lon, where.within, where.ref.Inside); fence != nil {
			out = append(out, person)
		}
	}
	s.near[where] = out
	return out
}

// leaf are the people for whom a leaf about a place can be true; ok is false when it may be true of
// anybody.
func (s *spots) leaf(p *segments.Pred, places []segments.PlaceRef) (people []uint64, ok bool) {
	if p.Op == segments.PredHasNot {
		return nil, false
	}
	for _, o := range []*segments.Operand{p.L, p.R} {
		if o == nil || o.Kind != segments.OperandPlace {
			continue
		}
		some := s.at(s.spot(p, o, places[o.Place]))
		if ok {
			some = intersection(people, some)
		}
		people, ok = some, true
	}
	return people, ok
}

// spot is where one has to be for the leaf to be true, as far as this operand of it says.
func (s *spots) spot(p *segments.Pred, o *segments.Operand, ref segments.PlaceRef) spot {
	there := spot{ref, geo.Reach(ref, s.fences.Match(ref.Pattern))}
	number, given := literalNumber(p.R)
	given = given && o == p.L && o.Scale == 0 && o.Offset == 0
	switch o.Field {
	case "now":
		if p.Op == segments.PredIsTrue || p.Op == segments.PredEq && p.R.Kind == segments.OperandLit && p.R.Lit == true {
			return there
		}
	case "entered":
		return there
	case "dwell": // 0 where one is not
		if given && (p.Op == segments.PredGe && number > 0 || p.Op == segments.PredGt && number >= 0) {
			return there
		}
	case "distance": // 0 where there is no fence at all
		if given && (p.Op == segments.PredLt || p.Op == segments.PredLe) && len(s.people) > 0 {
			if fence, _ := s.fences.Match(ref.Pattern).Nearest(s.last[0].Lat, s.last[0].Lon, math.Inf(1), ref.Inside); fence != nil {
				return spot{ref, number}
			}
		}
	}
	return spot{ref, math.Inf(1)}
}

func literalNumber(o *segments.Operand) (number float64, ok bool) {
	if o == nil || o.Kind != segments.OperandLit || o.Scale != 0 || o.Offset != 0 {
		return 0, false
	}
	switch x := o.Lit.(type) {
	case float64:
		return x, true
	case int64:
		return float64(x), true
	}
	return 0, false
}

// needed are the people for whom a condition can be true because of the places it needs; ok is false
// when it can be true without any.
func (s *spots) needed(p *segments.Pred, places []segments.PlaceRef) (people []uint64, ok bool) {
	if s == nil || p == nil {
		return nil, false
	}
	switch p.Op {
	case segments.PredFalse:
		return nil, true
	case segments.PredTrue, segments.PredMaybe:
		return nil, false
	case segments.PredAnd:
		for _, kid := range p.Kids {
			some, known := s.needed(kid, places)
			switch {
			case !known:
			case ok:
				people = intersection(people, some)
			default:
				people, ok = some, true
			}
		}
		return people, ok
	case segments.PredOr:
		var all []uint64
		for _, kid := range p.Kids {
			some, known := s.needed(kid, places)
			if !known {
				return nil, false
			}
			all = append(all, some...)
		}
		return distinct(all), true
	default:
	}
	return s.leaf(p, places)
}

// intersection of sorted lists.
func intersection(a, b []uint64) []uint64 {
	var out []uint64
	for _, x := range a {
		if _, ok := slices.BinarySearch(b, x); ok {
			out = append(out, x)
		}
	}
	return out
}

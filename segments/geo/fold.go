package geo

import (
	"cmp"
	"math"
	"slices"

	"nudge/events"
	"nudge/segments"
)

// Defaults of Options.
const (
	DefaultMaxAge      = 15 * 60 * 1000 // 15 minutes, in milliseconds
	DefaultMaxAccuracy = 100            // metres
)

// History is how far back the fold looks: 24 hours, in milliseconds.
const History = 24 * 60 * 60 * 1000

// leaveFactor times the radius must be passed to have left.
const leaveFactor = 1.2

// Options say which fixes count. The zero value means the defaults.
type Options struct {
	MaxAge      int64   // ms: a fix counts while it is younger
	MaxAccuracy float64 // metres: a fix that is less certain is ignored; one that does not say (0) counts
}

func (o Options) withDefaults() Options {
	if o.MaxAge <= 0 {
		o.MaxAge = DefaultMaxAge
	}
	if o.MaxAccuracy <= 0 {
		o.MaxAccuracy = DefaultMaxAccuracy
	}
	return o
}

// Fix is one reported location.
type Fix struct {
	Time     int64 // Unix milliseconds
	Pos      events.Position
	Lat, Lon float64 // degrees
	Accuracy float64 // metres; 0: not said
}

func (o Options) usable(f Fix) bool {
	return f.Accuracy >= 0 && f.Accuracy <= o.MaxAccuracy &&
		math.Abs(f.Lat) <= 90 && math.Abs(f.Lon) <= 180 // false for NaN too
}

// Fold answers a near(…) or inside(…) at an instant from a person's fixes, in any order.
//
// It walks the usable fixes of the last 24 hours (what is dated after `at` is unseen) in (time,
// position) order. One is there from the first fix within the radius of a fence (inside: within its
// area), the nearest one winning, and for as long as fixes stay within 1.2 × the radius of the fence
// last entered (inside: of a circle's radius; a polygon has no margin). Silence of MaxAge ends it.
// Going straight from one fence of the pattern into another is one stay: the fence changes, Entered
// does not. The dwell is up to the last fix. Without a usable fix younger than MaxAge nothing is
// known. When one is not there, Distance and Fence are of the nearest fence.
func Fold(fixes []Fix, ref segments.PlaceRef, fences *Fences, opts Options, at int64) segments.Place {
	opts = opts.withDefaults()
	set := fences.Match(ref.Pattern)
	usable := make([]Fix, 0, len(fixes))
	for _, f := range fixes {
		if f.Time <= at && f.Time > at-History && opts.usable(f) {
			usable = append(usable, f)
		}
	}
	if len(usable) == 0 {
		return segments.Place{}
	}
	slices.SortFunc(usable, func(a, b Fix) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Pos, b.Pos))
	})
	last := usable[len(usable)-1]
	if at-last.Time >= opts.MaxAge {
		return segments.Place{}
	}

	var there stay
	for i, f := range usable {
		if i > 0 && f.Time-usable[i-1].Time >= opts.MaxAge {
			there = stay{}
		}
		there = there.next(f, ref, set)
	}
	place := segments.Place{Known: true}
	fence := there.fence
	distance := there.distance
	if fence != nil {
		place.Now = true
		place.Entered = there.entered
		place.Dwell = last.Time - there.entered
	} else {
		fence, distance = set.Nearest(last.Lat, last.Lon, math.Inf(1), ref.Inside)
	}
	if fence != nil {
		place.Distance = distance
		place.FenceID = fence.ID
		place.Fence = fence.Properties
	}
	return place
}

// stay is the state of the walk: being at a fence, or (nil) at none.
type stay struct {
	fence    *Fence
	entered  int64
	distance float64
}

func (s stay) next(f Fix, ref segments.PlaceRef, set *Set) stay {
	enter := ref.Meters
	if ref.Inside {
		enter = 0
	}
	if nearest, distance := set.Nearest(f.Lat, f.Lon, enter, ref.Inside); nearest != nil {
		if s.fence == nil {
			s.entered = f.Time
		} else if d := s.fence.Distance(f.Lat, f.Lon); d == distance {
			nearest = s.fence // equally near: no reason to change
		}
		return stay{fence: nearest, entered: s.entered, distance: distance}
	}
	if s.fence == nil {
		return stay{}
	}
	// The radius left is that of the circle drawn around the fence, or of the circle it is.
	leave := enter * leaveFactor
	if ref.Inside {
		leave = s.fence.radius * (leaveFactor - 1)
	}
	if d := s.fence.Distance(f.Lat, f.Lon); d <= leave {
		return stay{fence: s.fence, entered: s.entered, distance: d}
	}
	return stay{}
}

// Reach is how far from every fence of the set, in metres, the last usable fix shows that one is not
// there: nobody farther away is Now, whatever came before.
func Reach(ref segments.PlaceRef, set *Set) float64 {
	if !ref.Inside {
		return ref.Meters * leaveFactor
	}
	reach := 0.0
	for _, f := range set.areas {
		reach = max(reach, f.radius*(leaveFactor-1))
	}
	return reach
}

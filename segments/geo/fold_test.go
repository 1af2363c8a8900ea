package geo

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/paulmach/orb"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"nudge/events"
	"nudge/segments"
)

const minute = 60 * 1000

// pointFence is a point, or a circle with a radius.
func pointFence(id string, lat, lon, radius float64) *Fence {
	f := &Fence{ID: id, Properties: json.RawMessage(`{"id":"` + id + `"}`), centre: orb.Point{lon, lat}, radius: radius}
	f.box = padded(orb.Bound{Min: f.centre, Max: f.centre}, radius).bound()
	return f
}

func areaFence(id string, ring ...orb.Point) *Fence {
	area := orb.Polygon{append(slices.Clone(ring), ring[0])}
	return &Fence{ID: id, Properties: json.RawMessage(`{}`), areas: []orb.Polygon{area}, box: area.Bound()}
}

// north is a latitude that many metres north of the equator.
func north(meters float64) float64 { return meters / earthRadius / radians }

func TestDistance(t *testing.T) {
	require.InDelta(t, 878_000, Distance(52.5200, 13.4050, 48.8566, 2.3522), 1000, "Berlin to Paris")
	require.InDelta(t, math.Pi*earthRadius, Distance(0, 0, 0, 180), 1)
	require.InDelta(t, 22_239, Distance(0, 179.9, 0, -179.9), 10, "across the date line")

	square := areaFence("s", orb.Point{10, 0}, orb.Point{11, 0}, orb.Point{11, 1}, orb.Point{10, 1})
	require.Zero(t, square.Distance(0.5, 10.5))
	require.InDelta(t, Distance(0.5, 9.99, 0.5, 10), square.Distance(0.5, 9.99), 1, "to the edge, not to a corner")
	require.InDelta(t, Distance(1.01, 11.01, 1, 11), square.Distance(1.01, 11.01), 1, "to the corner")
	square.areas[0] = append(square.areas[0], orb.Ring{{10.4, 0.4}, {10.6, 0.4}, {10.6, 0.6}, {10.4, 0.6}, {10.4, 0.4}})
	require.InDelta(t, Distance(0.5, 10.5, 0.5, 10.4), square.Distance(0.5, 10.5), 5, "a hole is outside")
}

func TestFold(t *testing.T) {
	fences := New([]*Fence{
		pointFence("shop/a", 0, 0, 0),
		pointFence("shop/b", north(3000), 0, 0),
		pointFence("round", 0, 50, 100),
		areaFence("square", orb.Point{100, 0}, orb.Point{100.01, 0}, orb.Point{100.01, 0.01}, orb.Point{100, 0.01}),
	})
	const at = 100 * 24 * 60 * minute
	near := segments.PlaceRef{Pattern: "shop/*", Meters: 1000}
	fix := func(minutesAgo int64, meters float64) Fix {
		return Fix{Time: at - minutesAgo*minute, Lat: north(meters)}
	}
	moved := func(f Fix, lon float64) Fix { f.Lon = lon; return f }
	vague := func(f Fix, accuracy float64) Fix { f.Accuracy = accuracy; return f }
	type want struct {
		known, now     bool
		entered, dwell int64 // minutes ago, minutes
		distance       float64
		fence          string
	}
	cases := map[string]struct {
		ref   segments.PlaceRef
		fixes []Fix
		want  want
	}{
		"no fix":               {near, nil, want{}},
		"near":                 {near, []Fix{fix(5, 900)}, want{true, true, 5, 0, 900, "shop/a"}},
		"not near":             {near, []Fix{fix(5, 1100)}, want{true, false, 0, 0, 1100, "shop/a"}},
		"dwell to last fix":    {near, []Fix{fix(20, 900), fix(12, 10), fix(3, 30)}, want{true, true, 20, 17, 30, "shop/a"}},
		"order does not count": {near, []Fix{fix(3, 30), fix(20, 900), fix(12, 10)}, want{true, true, 20, 17, 30, "shop/a"}},
		"stays to 1.2":         {near, []Fix{fix(9, 900), fix(3, 1199)}, want{true, true, 9, 6, 1199, "shop/a"}},
		"leaves beyond":        {near, []Fix{fix(9, 900), fix(3, 1201)}, want{true, false, 0, 0, 1201, "shop/a"}},
		"enters anew":          {near, []Fix{fix(9, 900), fix(6, 1201), fix(3, 900)}, want{true, true, 3, 0, 900, "shop/a"}},
		"not by 1.2":           {near, []Fix{fix(9, 900), fix(6, 1201), fix(3, 1100)}, want{true, false, 0, 0, 1100, "shop/a"}},
		"silence leaves":       {near, []Fix{fix(18, 900), fix(3, 900)}, want{true, true, 3, 0, 900, "shop/a"}},
		"almost silence":       {near, []Fix{fix(17, 900), fix(3, 900)}, want{true, true, 17, 14, 900, "shop/a"}},
		"too old":              {near, []Fix{fix(15, 900)}, want{}},
		"dated in the future":  {near, []Fix{fix(5, 900), fix(-1, 5000)}, want{true, true, 5, 0, 900, "shop/a"}},
		"inaccurate":           {near, []Fix{fix(5, 900), vague(fix(3, 5000), 101)}, want{true, true, 5, 0, 900, "shop/a"}},
		"invalid accuracy":     {near, []Fix{vague(fix(3, 5), -1)}, want{}},
		"not a place":          {near, []Fix{{Time: at, Lat: math.NaN()}, {Time: at, Lat: 91}}, want{}},
		"nearest wins":         {near, []Fix{fix(9, 2100)}, want{true, true, 9, 0, 900, "shop/b"}},
		"one stay":             {near, []Fix{fix(12, 900), fix(6, 2100)}, want{true, true, 12, 6, 900, "shop/b"}},
		"no fence":             {segments.PlaceRef{Pattern: "nowhere", Meters: 1}, []Fix{fix(1, 0)}, want{true, false, 0, 0, 0, ""}},
		"inside square":        {segments.PlaceRef{Pattern: "square", Inside: true}, []Fix{moved(fix(2, 5), 100.005)}, want{true, true, 2, 0, 0, "square"}},
		"square has no margin": {
			segments.PlaceRef{Pattern: "square", Inside: true},
			[]Fix{moved(fix(2, 5), 100.005), moved(fix(1, -5), 100.005)},
			want{true, false, 0, 0, 5, "square"},
		},
		"inside a point":      {segments.PlaceRef{Pattern: "shop/*", Inside: true}, []Fix{fix(2, 0)}, want{true, false, 0, 0, 0, ""}},
		"inside a circle":     {segments.PlaceRef{Pattern: "round", Inside: true}, []Fix{moved(fix(2, 99), 50)}, want{true, true, 2, 0, 0, "round"}},
		"circle margin":       {segments.PlaceRef{Pattern: "round", Inside: true}, []Fix{moved(fix(2, 99), 50), moved(fix(1, 119), 50)}, want{true, true, 2, 1, 19, "round"}},
		"past circle margin":  {segments.PlaceRef{Pattern: "round", Inside: true}, []Fix{moved(fix(2, 99), 50), moved(fix(1, 121), 50)}, want{true, false, 0, 0, 21, "round"}},
		"a day and no longer": {near, every(at, 10, 25*60, 900), want{true, true, 1430, 1430, 900, "shop/a"}},
		"same time, by position": {
			near,
			[]Fix{{Time: at, Pos: 2, Lat: north(5000)}, {Time: at, Pos: 1, Lat: 0}},
			want{true, false, 0, 0, 2000, "shop/b"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := Fold(c.fixes, c.ref, fences, Options{}, at)
			require.Equal(t, c.want.known, got.Known)
			require.Equal(t, c.want.now, got.Now)
			require.InDelta(t, c.want.distance, got.Distance, 0.5)
			require.Equal(t, c.want.fence, got.FenceID)
			require.Equal(t, c.want.dwell*minute, got.Dwell)
			if c.want.now {
				require.Equal(t, at-c.want.entered*minute, got.Entered)
			} else {
				require.Zero(t, got.Entered)
			}
		})
	}
}

// every is a fix each so many minutes, for so many minutes, at one distance.
func every(at, each, total int64, meters float64) []Fix {
	var fixes []Fix
	for ago := int64(0); ago <= total; ago += each {
		fixes = append(fixes, Fix{Time: at - ago*minute, Lat: north(meters)})
	}
	return fixes
}

func drawFixes(t *rapid.T, at int64) []Fix {
	n := rapid.IntRange(0, 30).Draw(t, "n")
	fixes := make([]Fix, n)
	for i := range fixes {
		fixes[i] = Fix{
			Time: at - rapid.Int64Range(-10*minute, 120*minute).Draw(t, "ago"), Pos: events.Position(i),
			Lat: north(rapid.Float64Range(-3000, 6000).Draw(t, "north")), Accuracy: rapid.SampledFrom([]float64{0, 5, 100, 500}).Draw(t, "accuracy"),
		}
	}
	return fixes
}

func TestFoldProperties(t *testing.T) {
	fences := New([]*Fence{pointFence("a", 0, 0, 0), pointFence("b", north(2200), 0, 300), areaFence("c", orb.Point{-1, north(3000)}, orb.Point{1, north(3000)}, orb.Point{1, north(4000)}, orb.Point{-1, north(4000)})})
	const at = 1_000_000 * minute
	rapid.Check(t, func(t *rapid.T) {
		fixes := drawFixes(t, at)
		ref := segments.PlaceRef{Pattern: rapid.SampledFrom([]string{"*", "a", "b", "c"}).Draw(t, "pattern"), Inside: rapid.Bool().Draw(t, "inside")}
		if !ref.Inside {
			ref.Meters = rapid.Float64Range(1, 2000).Draw(t, "meters")
		}
		place := Fold(fixes, ref, fences, Options{}, at)

		shuffled := rapid.Permutation(fixes).Draw(t, "shuffled")
		require.Equal(t, place, Fold(shuffled, ref, fences, Options{}, at))

		young := slices.ContainsFunc(fixes, func(f Fix) bool {
			return f.Time <= at && at-f.Time < DefaultMaxAge && f.Accuracy <= DefaultMaxAccuracy
		})
		require.Equal(t, young, place.Known)
		if !place.Now {
			require.Zero(t, place.Entered)
			require.Zero(t, place.Dwell)
			return
		}
		require.True(t, young)
		require.GreaterOrEqual(t, place.Dwell, int64(0))
		require.LessOrEqual(t, place.Entered+place.Dwell, int64(at))
		// Hysteresis: whoever is there entered by a fix within the radius, and is within 1.2 of it.
		entry := slices.IndexFunc(fixes, func(f Fix) bool {
			_, d := fences.Match(ref.Pattern).Nearest(f.Lat, f.Lon, math.Inf(1), ref.Inside)
			return f.Time == place.Entered && d <= ref.Meters
		})
		require.GreaterOrEqual(t, entry, 0, "no fix entered")
		if !ref.Inside {
			require.LessOrEqual(t, place.Distance, 1.2*ref.Meters)
		}
	})
}

// The index finds what a walk over all fences finds, everywhere on the globe.
func TestNearestProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		r := rand.New(rand.NewPCG(seed, 1))
		var fences []*Fence
		for i := range rapid.IntRange(1, 400).Draw(t, "fences") {
			lat, lon := r.Float64()*178-89, r.Float64()*360-180
			switch i % 3 {
			case 0:
				lon = math.Min(lon, 178)
				fences = append(fences, areaFence(strconv.Itoa(i), orb.Point{lon, lat}, orb.Point{lon + 1.5, lat}, orb.Point{lon + 1, lat + 0.5}))
			case 1:
				fences = append(fences, pointFence(strconv.Itoa(i), lat, lon, r.Float64()*200_000))
			default:
				fences = append(fences, pointFence(strconv.Itoa(i), lat, lon, 0))
			}
		}
		set := New(fences).Match("*")
		for range 20 {
			lat, lon := r.Float64()*180-90, r.Float64()*360-180
			var best *Fence
			distance := math.Inf(1)
			for _, f := range set.fences {
				if d := f.Distance(lat, lon); d < distance {
					best, distance = f, d
				}
			}
			got, d := set.Nearest(lat, lon, math.Inf(1), false)
			require.InDelta(t, distance, d, 0)
			require.Equal(t, best.ID, got.ID)
			got, _ = set.Nearest(lat, lon, distance, false)
			require.Equal(t, best, got, "at most so far")
			got, _ = set.Nearest(lat, lon, math.Nextafter(distance, -1), false)
			require.Nil(t, got)

			meters := r.Float64() * 50_000
			within := slices.ContainsFunc(set.Boxes(meters), func(b Box) bool {
				return lat >= b.MinLat && lat <= b.MaxLat && lon >= b.MinLon && lon <= b.MaxLon
			})
			require.True(t, within || d > meters, "near, but in no box")
		}
	})
}

func BenchmarkFold(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	var fences []*Fence
	for i := range 10_000 {
		fences = append(fences, pointFence(fmt.Sprintf("stores/%d", i), 48+r.Float64()*6, 8+r.Float64()*6, 0))
	}
	all := New(fences)
	ref := segments.PlaceRef{Pattern: "stores/*", Meters: 500}
	const at = 1_000_000 * minute
	fixes := make([]Fix, 100)
	for i := range fixes {
		fixes[i] = Fix{Time: at - int64(i)*5*minute, Lat: 48 + r.Float64()*6, Lon: 8 + r.Float64()*6}
	}
	all.Match(ref.Pattern)
	for b.Loop() {
		Fold(fixes, ref, all, Options{}, at)
	}
}

package geo

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/paulmach/orb"

	"nudge/segments"
)

// Fence is one place: a point, a circle (a point with a radius) or an area.
type Fence struct {
	ID         string
	Properties json.RawMessage // the feature's properties, a JSON object
	File       string
	Line       int // 1-based, where the feature begins

	areas  []orb.Polygon // empty for a point
	centre orb.Point
	radius float64 // metres, of a circle
	box    orb.Bound
}

// HasArea says whether one can be inside it: a polygon or a point with a radius.
func (f *Fence) HasArea() bool { return len(f.areas) > 0 || f.radius > 0 }

// Distance is the distance in metres from the point to the fence's edge, 0 inside.
func (f *Fence) Distance(lat, lon float64) float64 { return f.distance(orb.Point{lon, lat}) }

func (f *Fence) distance(p orb.Point) float64 {
	if len(f.areas) == 0 {
		return math.Max(0, Distance(p.Lat(), p.Lon(), f.centre.Lat(), f.centre.Lon())-f.radius)
	}
	best := math.Inf(1)
	for _, area := range f.areas {
		best = math.Min(best, polygonDistance(area, p))
	}
	return best
}

// Fences are the fences of a workspace. They are immutable and safe for concurrent use.
// A nil *Fences has none.
type Fences struct {
	all  []*Fence // by id
	mu   sync.Mutex
	sets map[string]*Set // by pattern, filled as asked
}

// New indexes fences; their ids must differ (Load sees to it).
func New(fences []*Fence) *Fences {
	all := slices.Clone(fences)
	slices.SortFunc(all, func(a, b *Fence) int { return strings.Compare(a.ID, b.ID) })
	return &Fences{all: all, sets: map[string]*Set{}}
}

// All returns every fence, by id. The caller must not change it.
func (f *Fences) All() []*Fence {
	if f == nil {
		return nil
	}
	return f.all
}

// Hash is a digest of ids, shapes and properties: what decides, whatever the files are called.
func (f *Fences) Hash() string { return hash(f.All()) }

// Hash is a digest like that of Fences, of the fences of the set.
func (s *Set) Hash() string { return hash(s.fences) }

func hash(fences []*Fence) string {
	h := sha256.New()
	for _, fence := range fences {
		fmt.Fprintf(h, "%q %v %v %v ", fence.ID, fence.centre, fence.radius, fence.areas)
		_, _ = h.Write(fence.Properties) // a hash never fails
		_, _ = io.WriteString(h, "\n")
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Match returns the fences whose id matches the pattern: an id, or a pattern as of
// path.Match ("stores/*"; a `*` stands for any run of characters but "/"). The set is indexed at the first call and kept.
func (f *Fences) Match(pattern string) *Set {
	if f == nil {
		return &Set{}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if set := f.sets[pattern]; set != nil {
		return set
	}
	set := &Set{}
	for _, fence := range f.all {
		if !glob(pattern, fence.ID) {
			continue
		}
		set.fences = append(set.fences, fence)
		if fence.HasArea() {
			set.areas = append(set.areas, fence)
		}
	}
	set.near, set.inside = newTree(set.fences), newTree(set.areas)
	f.sets[pattern] = set
	return set
}

// Check says what is wrong with a reference to these fences, for `nudge check`; nil if nothing is.
func (f *Fences) Check(ref segments.PlaceRef) error {
	set := f.Match(ref.Pattern)
	switch {
	case len(f.All()) == 0:
		return fmt.Errorf("no fence matches %q: there are no fences; add a GeoJSON file to fences/", ref.Pattern)
	case len(set.fences) == 0:
		return fmt.Errorf("no fence matches %q; there are %d fences, the first is %q", ref.Pattern, len(f.all), f.all[0].ID)
	case ref.Inside && len(set.areas) == 0:
		return fmt.Errorf("nobody can be inside %q: its fences are points; give them a \"radius\" property in metres, draw polygons, or use near(…)", ref.Pattern)
	}
	return nil
}

// glob matches as path.Match does; an id always matches itself.
func glob(pattern, id string) bool {
	ok, err := path.Match(pattern, id)
	return pattern == id || ok && err == nil
}

// Set is the fences of one pattern, indexed.
type Set struct {
	fences, areas []*Fence
	near, inside  tree
}

// Len is how many fences the set has.
func (s *Set) Len() int { return len(s.fences) }

// Nearest returns the fence nearest to the point (of equally near ones the smallest id) and the
// distance in metres to its edge, if it is at most limit metres away (math.Inf(1): however far);
// else nil. With inside, points without a radius do not count.
func (s *Set) Nearest(lat, lon, limit float64, inside bool) (*Fence, float64) {
	if inside {
		return s.inside.nearest(orb.Point{lon, lat}, limit)
	}
	return s.near.nearest(orb.Point{lon, lat}, limit)
}

// Box is a range of latitude and longitude in degrees, both ends included.
type Box struct{ MinLat, MinLon, MaxLat, MaxLon float64 }

func (b Box) bound() orb.Bound {
	return orb.Bound{Min: orb.Point{b.MinLon, b.MinLat}, Max: orb.Point{b.MaxLon, b.MaxLat}}
}

// Boxes returns one box for each fence of the set that holds everything within meters of it: who has
// no fix in any of them is not near. A box across the date line covers all longitudes.
func (s *Set) Boxes(meters float64) []Box {
	boxes := make([]Box, 0, len(s.fences))
	for _, f := range s.fences {
		boxes = append(boxes, padded(f.box, meters))
	}
	return boxes
}

func padded(b orb.Bound, meters float64) (box Box) {
	// One per cent and a millimetre more than asked: a box may be too large, never too small.
	lat := (meters*1.01 + 0.001) / earthRadius / radians
	box.MinLat, box.MaxLat = math.Max(-90, b.Min.Lat()-lat), math.Min(90, b.Max.Lat()+lat)
	box.MinLon, box.MaxLon = -180, 180
	// The circle of that radius reaches farthest in longitude at asin(sin r / cos φ).
	far := math.Max(math.Abs(box.MinLat), math.Abs(box.MaxLat)) * radians
	if sin := math.Sin(lat*radians) / math.Cos(far); sin > 0 && sin < 1 {
		lon := math.Asin(sin) / radians
		if b.Min.Lon()-lon >= -180 && b.Max.Lon()+lon <= 180 {
			box.MinLon, box.MaxLon = b.Min.Lon()-lon, b.Max.Lon()+lon
		}
	}
	return box
}

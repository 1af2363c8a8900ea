package geo

import (
	"math"

	"github.com/paulmach/orb"
	"github.com/paulmach/orb/planar"
)

// earthRadius is the mean radius in metres (IUGG), the usual one for great-circle distances.
const earthRadius = 6_371_008.8

const radians = math.Pi / 180

// Distance is the great-circle distance in metres between two points in degrees.
func Distance(lat1, lon1, lat2, lon2 float64) float64 {
	sinLat := math.Sin((lat2 - lat1) * radians / 2)
	sinLon := math.Sin((lon2 - lon1) * radians / 2)
	h := sinLat*sinLat + math.Cos(lat1*radians)*math.Cos(lat2*radians)*sinLon*sinLon
	return 2 * earthRadius * math.Asin(math.Min(1, math.Sqrt(h)))
}

// polygonDistance is the distance in metres from p to the edge of poly, 0 inside and on the edge.
func polygonDistance(poly orb.Polygon, p orb.Point) float64 {
	if planar.PolygonContains(poly, p) {
		return 0
	}
	best := math.Inf(1)
	for _, ring := range poly {
		for i := 1; i < len(ring); i++ {
			best = math.Min(best, segmentDistance(ring[i-1], ring[i], p))
		}
	}
	return best
}

// segmentDistance finds the nearest point of the segment on a plane that touches the earth at p,
// which is exact enough where it matters (within a few hundred kilometres), and measures the great
// circle to that point.
func segmentDistance(a, b, p orb.Point) float64 {
	shrink := math.Cos(p.Lat() * radians)
	ax, ay := wrap(a.Lon()-p.Lon())*shrink, a.Lat()-p.Lat()
	dx, dy := (b.Lon()-a.Lon())*shrink, b.Lat()-a.Lat()
	t := 0.0
	if length := dx*dx + dy*dy; length > 0 {
		t = math.Max(0, math.Min(1, -(ax*dx+ay*dy)/length))
	}
	return Distance(p.Lat(), p.Lon(), a.Lat()+t*(b.Lat()-a.Lat()), a.Lon()+t*(b.Lon()-a.Lon()))
}

// boundDistance is a lower bound in metres for the distance from p to anything within the box: an
// index may skip a box that is farther than the best fence found.
func boundDistance(box orb.Bound, p orb.Point) float64 {
	lat := 0.0
	switch {
	case p.Lat() < box.Min.Lat():
		lat = box.Min.Lat() - p.Lat()
	case p.Lat() > box.Max.Lat():
		lat = p.Lat() - box.Max.Lat()
	}
	lower := lat * radians * earthRadius
	if p.Lon() >= box.Min.Lon() && p.Lon() <= box.Max.Lon() {
		return lower
	}
	// Outside the box's meridians every way to it crosses one of them, and none is nearer than the
	// foot of the perpendicular on it (the pole, from 90 degrees of longitude on).
	lon := math.Min(math.Abs(wrap(p.Lon()-box.Min.Lon())), math.Abs(wrap(p.Lon()-box.Max.Lon())))
	cross := math.Asin(math.Cos(p.Lat()*radians) * math.Sin(math.Min(lon, 90)*radians))
	return math.Max(lower, cross*earthRadius)
}

// wrap brings a difference of longitudes into [-180, 180].
func wrap(degrees float64) float64 {
	switch {
	case degrees > 180:
		return degrees - 360
	case degrees < -180:
		return degrees + 360
	}
	return degrees
}

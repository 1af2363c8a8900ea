// Package geo knows where: it loads fences from GeoJSON files, finds the fence nearest to a point,
// and folds a person's location fixes into the answer of near(…) and inside(…).
//
// Everything here is pure: fences are immutable once loaded, and the fold takes its instant.
package geo

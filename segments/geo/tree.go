package geo

import (
	"cmp"
	"math"
	"slices"

	"github.com/paulmach/orb"
)

// treeFan is how many children a node of the tree has.
const treeFan = 16

// margin covers rounding in comparisons with a lower bound, so that ties are always looked at: a
// thousandth of a millimetre.
const margin = 1e-6

// tree is a packed R-tree (sort-tile-recursive) over the boxes of fences. Points alone would do for
// a quadtree; polygons need boxes.
type tree struct {
	root *node
}

type node struct {
	box    orb.Bound
	kids   []*node
	fences []*Fence // leaves only
}

func newTree(fences []*Fence) tree {
	if len(fences) == 0 {
		return tree{}
	}
	leaves := make([]*node, 0, len(fences)/treeFan+1)
	for _, group := range tile(fences, func(f *Fence) orb.Bound { return f.box }) {
		n := &node{fences: group, box: group[0].box}
		for _, f := range group[1:] {
			n.box = n.box.Union(f.box)
		}
		leaves = append(leaves, n)
	}
	level := leaves
	for len(level) > 1 {
		var up []*node
		for _, group := range tile(level, func(n *node) orb.Bound { return n.box }) {
			n := &node{kids: group, box: group[0].box}
			for _, kid := range group[1:] {
				n.box = n.box.Union(kid.box)
			}
			up = append(up, n)
		}
		level = up
	}
	return tree{root: level[0]}
}

// tile cuts items into groups of at most treeFan that lie close together: slices by longitude, cut
// by latitude.
func tile[T any](items []T, box func(T) orb.Bound) [][]T {
	items = slices.Clone(items)
	byCentre := func(axis int) func(a, b T) int {
		return func(a, b T) int { return cmp.Compare(box(a).Center()[axis], box(b).Center()[axis]) }
	}
	groups := (len(items) + treeFan - 1) / treeFan
	slice := int(math.Ceil(math.Sqrt(float64(groups)))) * treeFan
	slices.SortStableFunc(items, byCentre(0))
	var out [][]T
	for column := range slices.Chunk(items, slice) {
		slices.SortStableFunc(column, byCentre(1))
		for group := range slices.Chunk(column, treeFan) {
			out = append(out, group)
		}
	}
	return out
}

// nearest returns the fence nearest to p (of equally near ones the smallest id) and its distance in
// metres, if it is at most limit metres away; else nil and the limit.
func (t tree) nearest(p orb.Point, limit float64) (*Fence, float64) {
	s := search{p: p, distance: limit}
	if t.root != nil {
		s.visit(t.root)
	}
	return s.fence, s.distance
}

type search struct {
	p        orb.Point
	fence    *Fence
	distance float64 // what is farther cannot win
}

func (s *search) visit(n *node) {
	for _, f := range n.fences {
		if boundDistance(f.box, s.p) > s.distance+margin {
			continue
		}
		if d := f.distance(s.p); d < s.distance || d == s.distance && (s.fence == nil || f.ID < s.fence.ID) {
			s.fence, s.distance = f, d
		}
	}
	var away [treeFan]float64
	var order [treeFan]int
	for i, kid := range n.kids {
		away[i], order[i] = boundDistance(kid.box, s.p), i
	}
	kids := order[:len(n.kids)]
	slices.SortFunc(kids, func(a, b int) int { return cmp.Compare(away[a], away[b]) })
	for _, i := range kids {
		if away[i] > s.distance+margin {
			return
		}
		s.visit(n.kids[i])
	}
}

package writer

import "slices"

// filter says which keys were surely never added. It is a chain of blocked Bloom filters, each
// covering a span of days, so that what is too old is dropped without a rebuild. Two bytes a key:
// about one key in a thousand that was never added is taken for one that was, for each generation.
type filter struct {
	gens []*generation
}

type generation struct {
	blocks   [][8]uint64
	added    int
	room     int
	from, to int32 // days of the keys in it
}

// Sizes of a generation, in keys. A new one has twice the last one's keys, within these bounds.
const (
	smallestGeneration = 1 << 16
	largestGeneration  = 1 << 23
	bitsPerKey         = 16
	daysPerGeneration  = 2
)

func newGeneration(room int, day int32) *generation {
	return &generation{blocks: make([][8]uint64, room*bitsPerKey/512), room: room, from: day, to: day}
}

func (g *generation) block(k idKey) *[8]uint64 {
	return &g.blocks[k.hi%uint64(len(g.blocks))]
}

func (g *generation) has(k idKey) bool {
	b := g.block(k)
	for i := range b {
		if b[i]&(1<<(k.lo>>(6*i)&63)) == 0 {
			return false
		}
	}
	return true
}

func (g *generation) add(k idKey, day int32) {
	b := g.block(k)
	for i := range b {
		b[i] |= 1 << (k.lo >> (6 * i) & 63)
	}
	g.added++
	g.from, g.to = min(g.from, day), max(g.to, day)
}

// has says whether k may have been added; false is certain.
func (f *filter) has(k idKey) bool {
	for _, v := range slices.Backward(f.gens) {
		if v.has(k) {
			return true
		}
	}
	return false
}

// add adds a key that arrived on a day (days since 1970).
func (f *filter) add(k idKey, day int32) {
	n := len(f.gens)
	if n == 0 || f.gens[n-1].added >= f.gens[n-1].room || day-f.gens[n-1].from >= daysPerGeneration {
		room := smallestGeneration
		if n > 0 {
			room = min(max(2*f.gens[n-1].added, smallestGeneration), largestGeneration)
		}
		f.gens = append(f.gens, newGeneration(room, day))
		n++
	}
	f.gens[n-1].add(k, day)
}

// forget drops the generations whose keys are all from before a day.
func (f *filter) forget(before int32) {
	keep := f.gens[:0]
	for _, g := range f.gens {
		if g.to >= before {
			keep = append(keep, g)
		}
	}
	clear(f.gens[len(keep):])
	f.gens = keep
}

// bytes is what the filter holds in memory.
func (f *filter) bytes() (n int) {
	for _, g := range f.gens {
		n += len(g.blocks) * 64
	}
	return n
}

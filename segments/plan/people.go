package plan

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"

	"nudge/events"
)

// people remembers the merges of people, which only ever grow, and asks the store for new ones.
type people struct {
	mu     sync.Mutex
	merges []merge // in order of position
	loaded uint64  // position up to which merges are known
	last   *mapping
	// changed is Options.Changed
	changed func() events.Position
}

type merge struct{ loser, winner, pos uint64 }

// mapping is who is who at a position: who lost a merge reads as the final winner. It is immutable.
type mapping struct {
	upTo   uint64
	root   map[uint64]uint64   // loser → final winner
	losers map[uint64][]uint64 // final winner → all who became it, in order of their merges
	lostAt map[uint64]uint64   // loser → position of the merge
	wonBy  map[uint64]uint64   // loser → who won that merge
	// middle are those who won a merge and lost another later: reading one step of merges from the
	// table leaves only them to be mapped on.
	middle []uint64
	erased map[uint64]uint64 // person → what is at or below the position is gone, though perhaps not deleted yet
	order  []merge           // all of them, by position
	gone   []uint64          // losers, sorted
	// erasedPeople are the keys of erased, sorted.
	erasedPeople []uint64
	roots        []uint64 // final winners, sorted
}

// at returns the mapping as of a position. It asks the store only when it was asked for another
// position before.
func (p *people) at(ctx context.Context, a store, upTo uint64) (*mapping, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last != nil && p.last.upTo == upTo {
		return p.last, nil
	}
	if p.last != nil && p.changed != nil && p.last.upTo < upTo && uint64(p.changed()) <= p.last.upTo {
		same := *p.last
		same.upTo = upTo
		p.last, p.loaded = &same, max(p.loaded, upTo)
		return p.last, nil
	}
	fresh, erased, err := a.merges(ctx, p.loaded, upTo)
	if err != nil {
		return nil, fmt.Errorf("reading merges of people: %w", err)
	}
	m := &mapping{upTo: upTo, erased: erased}
	// A repeated insert may have written a merge twice.
	sort.Slice(fresh, func(i, j int) bool { return fresh[i].pos < fresh[j].pos })
	p.merges = append(p.merges, slices.Compact(fresh)...)
	p.loaded = max(p.loaded, upTo)

	known := p.merges[:sort.Search(len(p.merges), func(i int) bool { return p.merges[i].pos > upTo })]
	if p.last != nil && len(known) == len(p.last.order) { // the same merges: only who has been erased may differ
		*m = *p.last
		m.upTo, m.erased = upTo, erased
	} else {
		m.resolve(known)
	}
	m.erasedPeople = slices.Sorted(maps.Keys(m.erased))
	p.last = m
	return m, nil
}

func (m *mapping) resolve(merges []merge) {
	m.root = make(map[uint64]uint64, len(merges))
	m.lostAt = make(map[uint64]uint64, len(merges))
	m.wonBy = make(map[uint64]uint64, len(merges))
	m.losers = make(map[uint64][]uint64, len(merges))
	for _, x := range merges {
		m.root[x.loser] = x.winner
		m.lostAt[x.loser] = x.pos
		m.wonBy[x.loser] = x.winner
	}
	var find func(uint64) uint64
	find = func(person uint64) uint64 {
		winner, lost := m.root[person]
		if !lost {
			return person
		}
		winner = find(winner)
		m.root[person] = winner
		return winner
	}
	m.order = merges
	middle := map[uint64]bool{}
	for _, x := range merges {
		root := find(x.loser)
		m.losers[root] = append(m.losers[root], x.loser)
		if _, lost := m.root[x.winner]; lost {
			middle[x.winner] = true
		}
	}
	for person := range middle {
		m.middle = append(m.middle, person)
	}
	slices.Sort(m.middle)
	m.gone, m.roots = slices.Sorted(maps.Keys(m.root)), slices.Sorted(maps.Keys(m.losers))
}

// won are those into whom somebody was merged at positions in (after, upTo].
func (m *mapping) won(after uint64) []uint64 {
	first := sort.Search(len(m.order), func(i int) bool { return m.order[i].pos > after })
	var out []uint64
	for _, x := range m.order[first:] {
		out = append(out, m.of(x.loser))
	}
	return distinct(out)
}

// of is the canonical person.
func (m *mapping) of(person uint64) uint64 {
	if root, lost := m.root[person]; lost {
		return root
	}
	return person
}

// raw are the ids under which rows of these canonical people may stand.
func (m *mapping) raw(people []uint64) []uint64 {
	if len(m.root) == 0 {
		return people
	}
	out := slices.Clone(people)
	for _, person := range people {
		out = append(out, m.losers[person]...)
	}
	slices.Sort(out)
	return out
}

func transform(x string, from, to []uint64) string {
	if len(from) == 0 {
		return x
	}
	return fmt.Sprintf("transform(%s, %s, %s, %s)", x, array(from), array(to), x)
}

func array(people []uint64) string { return "CAST([" + ids(people) + "], 'Array(UInt64)')" }

func ids(people []uint64) string {
	var b strings.Builder
	for i, id := range people {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatUint(id, 10))
	}
	return b.String()
}

// canonicalPeople are the canonical ids of people as of the mapping, sorted, each once.
func canonicalPeople(m *mapping, people []events.PersonID) []uint64 {
	out := make([]uint64, len(people))
	for i, person := range people {
		out[i] = m.of(uint64(person))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

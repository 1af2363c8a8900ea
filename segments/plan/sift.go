package plan

import (
	"context"
	"slices"
)

// siftFrom is how many people are sifted by prefilters before all that their conditions ask for is read: a
// query has its price, and one that reads only what prefilters compare leaves most people out.
const siftFrom = 200

// sift leaves out those who do not pass the prefilters, which is an answer too. Whoever was asked for stays.
func (t *tick) sift(ctx context.Context, b *batch) error {
	for g := range b.groups {
		if b.groups[g].forEach != nil { // telling values apart reads nearly all that there is
			continue
		}
		var stay, some []candidate
		var people []uint64
		var who []int
		for _, c := range b.all[g] {
			asked := func(w int) bool { return t.asked[w][c.person] != nil }
			if kept := filter(c.who, asked); len(kept) > 0 {
				stay = append(stay, candidate{person: c.person, who: kept})
				c.who = slices.DeleteFunc(slices.Clone(c.who), asked)
			}
			if len(c.who) > 0 {
				some, people, who = append(some, c), append(people, c.person), sortedUnique(append(who, c.who...))
			}
		}
		if len(some) < t.p.sift {
			continue
		}
		asks := group{who: who}
		passed, err := t.passed(ctx, t.few, asks, t.siftSQL(asks, distinct(people)))
		switch {
		case isRefused(err): // whose fault it is comes out where they are judged
			continue
		case err != nil:
			return err
		}
		b.all[g] = stay
		b.given[g] = append(b.given[g], t.present(some, passed)...)
	}
	return nil
}

// present are those who passed. Of whom no row was read it is only known that they may be in a condition that is
// true of somebody who did nothing.
func (t *tick) present(some, passed []candidate) []candidate {
	read := make(map[uint64][]int, len(passed))
	for _, c := range passed {
		read[c.person] = c.who
	}
	ofNothing := map[int]bool{}
	out := some[:0]
	for _, c := range some {
		passes, there := read[c.person]
		c.who = filter(c.who, func(w int) bool {
			if there {
				return slices.Contains(passes, w)
			}
			is, known := ofNothing[w]
			if !known {
				is = trueOfNothing(t.Who[w].Prefilter(), refs(t.Who[w].Features()), t.At, false)
				ofNothing[w] = is
			}
			return is
		})
		if len(c.who) > 0 {
			out = append(out, c)
		}
	}
	return out
}

func filter(list []int, keep func(int) bool) []int {
	var out []int
	for _, x := range list {
		if keep(x) {
			out = append(out, x)
		}
	}
	return out
}

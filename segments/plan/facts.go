package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"nudge/segments"
	"nudge/segments/geo"
)

// facts are what the conditions of a batch ask for.
type facts struct {
	candidates [][]candidate // by group, with a value each where there is a for_each
	histories
	fixes    map[uint64][]geo.Fix
	profiles map[uint64]*segments.Profile
	whole    bool // what is read later has been read too, and all of the profiles
	early    bool // whole profiles have been read of all candidates
}

// readAtOnce is up to how many people all is read at once that is read of anybody: a query has its price. Of more,
// what only messages are made of is read of those for whom conditions are true.
const readAtOnce = 256

// gather reads what a batch asks for: one query for histories, and one each for fixes and profiles.
func (l *look) gather(ctx context.Context, b *batch) (*facts, error) {
	f := &facts{candidates: make([][]candidate, len(b.groups))}
	w := l.wants(b, true)
	if f.whole = len(w.people) <= l.p.atOnce; !f.whole {
		w = l.wants(b, false)
	}
	// Whoever something arrived of is mostly told something, if it was so before: the profiles for that can be read
	// beside the histories, and need not wait for them.
	var beside errgroup.Group
	if f.early = l.arriving && l.p.mostlyTrue.Load(); f.early {
		parts := wholeProfile()
		parts.created = slices.ContainsFunc(b.who(), func(w int) bool { return l.Who[w].NeedsCreated() })
		beside.Go(func() (err error) {
			f.profiles, err = l.moment.profiles(ctx, l.store, b.people(), parts)
			return err
		})
	}
	var err error
	f.histories, err = l.read(ctx, l.moment, w, b.keyed)
	if err := errors.Join(err, beside.Wait()); err != nil {
		return nil, err
	}
	for g := range b.groups {
		f.candidates[g] = slices.Concat(b.given[g], b.all[g])
		if b.groups[g].forEach != nil {
			f.candidates[g] = b.valued(g, f.keyed[g])
		}
	}
	var placed, profiled []uint64
	parts := profileParts{ids: f.whole, contact: f.whole}
	for g := range b.groups {
		for _, c := range f.candidates[g] {
			for _, w := range c.who {
				parts.created = parts.created || f.whole && l.Who[w].NeedsCreated()
				if len(l.Who[w].Places()) > 0 && l.spots.somewhere(c.person) {
					placed = append(placed, c.person)
				}
				if l.Who[w].NeedsProfile() {
					profiled = append(profiled, c.person)
					changes := l.Who[w].Changes()
					parts.created = parts.created || changes.Created
					parts.ids = parts.ids || changes.UserID || changes.Created
				}
			}
		}
	}
	if f.fixes, err = l.moment.fixes(ctx, l.store, distinct(placed)); err != nil {
		return nil, err
	}
	if !f.early {
		f.profiles, err = l.moment.profiles(ctx, l.store, distinct(profiled), parts)
	}
	return f, err
}

// wants is what is to be read for a batch.
func (l *look) wants(b *batch, later bool) *wanted {
	out := &wanted{later: later}
	rich := map[uint64]bool{}
	known := map[int]reads{} // by condition
	for g, group := range b.groups {
		keyed := group.forEach != nil && len(b.given[g])+len(b.all[g]) > 0
		k := keyedWanted{group: g, forEach: group.forEach}
		for i, list := range [][]candidate{b.given[g], b.all[g]} {
			values := i == 1 && group.forEach != nil // whoever is looked at for all values
			for _, c := range list {
				is := reads{values, values}
				for _, w := range c.who {
					r, told := known[w]
					if !told {
						r = l.reads(w, later, &out.person, &k.columns)
						known[w] = r
					}
					is.any, is.rich = is.any || r.any, is.rich || r.rich
				}
				if is.any {
					out.people = append(out.people, c.person)
				}
				if is.rich {
					rich[c.person] = true
				}
			}
		}
		if keyed {
			k.columns = sortedUnique(k.columns)
			out.keyed = append(out.keyed, k)
		}
	}
	out.person, out.people = sortedUnique(out.person), distinct(out.people)
	for _, person := range out.people {
		if !rich[person] {
			out.plain = append(out.plain, person)
		}
	}
	return out
}

// reads is what a condition reads of histories: anything, and anything but when what happened.
type reads struct{ any, rich bool }

// reads adds the columns that a condition reads.
func (l *look) reads(w int, later bool, person, keyed *[]int) reads {
	var out reads
	features := l.Who[w].Features()
	for i, s := range l.slots[w] {
		if features[i].Later && !later {
			continue
		}
		to := person
		if s.keyed {
			to = keyed
		}
		*to = append(*to, s.column)
		out.any, out.rich = true, out.rich || s.keyed || isRich(&features[i])
	}
	return out
}

// isRich says whether a feature reads more of rows than when what happened.
func isRich(f *segments.Feature) bool {
	return f.Filter != nil || f.Path != "" || f.Message != "" && f.Message != "*"
}

// valued are the candidates of a group with a for_each, given the values that occurred.
func (b *batch) valued(g int, occurred values) []candidate {
	out := slices.Clone(b.given[g])
	wanted := make(map[uint64][]int, len(b.all[g]))
	for _, c := range b.all[g] {
		wanted[c.person] = c.who
	}
	for who := range occurred {
		if conditions := wanted[who.person]; len(conditions) > 0 {
			out = append(out, candidate{person: who.person, value: who.value, who: conditions})
		}
	}
	for _, c := range b.named[g] {
		if _, occurred := occurred[holder{c.person, c.value}]; !occurred {
			out = append(out, c)
		}
	}
	return out
}

func distinct(people []uint64) []uint64 {
	slices.Sort(people)
	return slices.Compact(people)
}

// fixes reads the location fixes that a fold looks at.
func (m moment) fixes(ctx context.Context, from store, people []uint64) (map[uint64][]geo.Fix, error) {
	if len(people) == 0 {
		return nil, nil
	}
	out := map[uint64][]geo.Fix{}
	if err := from.fixes(ctx, m, people, func(person uint64, fix geo.Fix) { out[person] = append(out[person], fix) }); err != nil {
		return nil, fmt.Errorf("reading locations: %w", err)
	}
	return out, nil
}

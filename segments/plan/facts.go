package plan

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"nudge/events"
	"nudge/segments"
	"nudge/segments/geo"
)

// facts are what the conditions of a batch ask for.
type facts struct {
	candidates [][]candidate // by group, with a value each where there is a for_each
	person     values
	keyed      []values // by group
	fixes      map[uint64][]geo.Fix
	profiles   map[uint64]*segments.Profile
}

// gather reads what a batch asks for: one query for each distinct for_each, and one each for the features of
// people, their fixes and their profiles.
func (l *look) gather(ctx context.Context, b *batch) (*facts, error) {
	f := &facts{candidates: make([][]candidate, len(b.groups)), keyed: make([]values, len(b.groups)), profiles: map[uint64]*segments.Profile{}}
	for g := range b.groups {
		f.candidates[g] = b.given[g]
		if b.groups[g].forEach == nil {
			f.candidates[g] = slices.Concat(b.given[g], b.all[g])
			continue
		}
		if err := l.gatherValues(ctx, b, g, f); err != nil {
			return nil, err
		}
	}
	var ofPerson []int
	var featured, placed, profiled []uint64
	wants := make([]int8, len(l.Who)) // 1: reads features of the person, -1: does not
	for g := range b.groups {
		for _, c := range f.candidates[g] {
			for _, w := range c.who {
				if wants[w] == 0 {
					wants[w] = -1
					for _, s := range l.slots[w] {
						if !s.keyed {
							ofPerson, wants[w] = append(ofPerson, s.column), 1
						}
					}
				}
				if wants[w] == 1 {
					featured = append(featured, c.person)
				}
				if len(l.Who[w].Places()) > 0 && l.spots.somewhere(c.person) {
					placed = append(placed, c.person)
				}
				if l.Who[w].NeedsProfile() {
					profiled = append(profiled, c.person)
				}
			}
		}
	}
	var err error
	if f.person, err = l.values(ctx, &l.person, sortedUnique(ofPerson), nil, distinct(featured)); err != nil {
		return nil, err
	}
	if f.fixes, err = l.moment.fixes(ctx, l.asker, distinct(placed)); err != nil {
		return nil, err
	}
	return f, l.readProfiles(ctx, f, profiled)
}

// gatherValues reads the values of a group's people, and lists those of whom all are judged.
func (l *look) gatherValues(ctx context.Context, b *batch, g int, f *facts) error {
	var columns []int
	var people []uint64
	seen := map[int]bool{}
	reads := map[int]bool{}
	add := func(list []candidate, any bool) {
		for _, c := range list {
			need := any
			for _, w := range c.who {
				if !seen[w] {
					seen[w] = true
					for _, s := range l.slots[w] {
						if s.keyed {
							columns = append(columns, s.column)
							reads[w] = true
						}
					}
				}
				need = need || reads[w]
			}
			if need {
				people = append(people, c.person)
			}
		}
	}
	add(b.given[g], false)
	add(b.all[g], true)
	var err error
	if f.keyed[g], err = l.values(ctx, &b.keyed[g], sortedUnique(columns), b.groups[g].forEach, distinct(people)); err != nil || len(b.all[g]) == 0 {
		return err
	}
	wanted := make(map[uint64][]int, len(b.all[g]))
	for _, c := range b.all[g] {
		wanted[c.person] = c.who
	}
	f.candidates[g] = slices.Clone(b.given[g])
	for who := range f.keyed[g] {
		if conditions := wanted[who.person]; len(conditions) > 0 {
			f.candidates[g] = append(f.candidates[g], candidate{person: who.person, value: who.value, who: conditions})
		}
	}
	for _, c := range b.named[g] {
		if _, occurred := f.keyed[g][holder{c.person, c.value}]; !occurred {
			f.candidates[g] = append(f.candidates[g], c)
		}
	}
	return nil
}

func (l *look) readProfiles(ctx context.Context, f *facts, people []uint64) error {
	people = slices.DeleteFunc(distinct(people), func(p uint64) bool { return f.profiles[p] != nil })
	read, err := l.moment.profiles(ctx, l.asker, people)
	if err != nil {
		return err
	}
	maps.Copy(f.profiles, read)
	return nil
}

func distinct(people []uint64) []uint64 {
	slices.Sort(people)
	return slices.Compact(people)
}

// fixes reads the location fixes that a fold looks at.
func (m moment) fixes(ctx context.Context, a *asker, people []uint64) (map[uint64][]geo.Fix, error) {
	if len(people) == 0 {
		return nil, nil
	}
	from, person, conditions := m.from("fixes", "x", people)
	conditions = append(conditions, m.bounds("x", m.at-geo.History)...)
	out := map[uint64][]geo.Fix{}
	err := a.few(ctx, "SELECT "+person+" AS p, toUnixTimestamp64Milli(x.time), x.pos, x.lat, x.lon, x.accuracy FROM "+from+where(conditions),
		func(scan func(...any) error) error {
			var p, pos uint64
			var fix geo.Fix
			if err := scan(&p, &fix.Time, &pos, &fix.Lat, &fix.Lon, &fix.Accuracy); err != nil {
				return err
			}
			fix.Pos = events.Position(pos)
			out[p] = append(out[p], fix)
			return nil
		})
	if err != nil {
		return nil, fmt.Errorf("reading locations: %w", err)
	}
	return out, nil
}

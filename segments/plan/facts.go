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

// facts are what the conditions of some candidates ask for.
type facts struct {
	person, keyed values
	fixes         map[uint64][]geo.Fix
	profiles      map[uint64]*segments.Profile
}

func (l *look) gather(ctx context.Context, g *group, keyed *columns, candidates []candidate) (*facts, error) {
	f := &facts{profiles: map[uint64]*segments.Profile{}}
	var ofPerson, ofValue []int
	var featured, valued, placed, profiled []uint64
	wantsPerson := make(map[int]bool)
	for _, c := range candidates {
		for _, w := range c.who {
			who := l.Who[w]
			wants, seen := wantsPerson[w]
			if !seen {
				for _, s := range l.slots[w] {
					if s.keyed {
						ofValue = append(ofValue, s.column)
					} else {
						ofPerson = append(ofPerson, s.column)
						wants = true
					}
				}
				wantsPerson[w] = wants
			}
			if wants {
				featured = append(featured, c.person)
			}
			if len(who.Places()) > 0 && l.spots.somewhere(c.person) {
				placed = append(placed, c.person)
			}
			if who.NeedsProfile() {
				profiled = append(profiled, c.person)
			}
		}
		valued = append(valued, c.person)
	}
	var err error
	if f.person, err = l.values(ctx, &l.person, sortedUnique(ofPerson), nil, distinct(featured)); err != nil {
		return nil, err
	}
	if len(ofValue) > 0 {
		if f.keyed, err = l.values(ctx, keyed, sortedUnique(ofValue), g.forEach, distinct(valued)); err != nil {
			return nil, err
		}
	}
	if f.fixes, err = l.moment.fixes(ctx, l.asker, distinct(placed)); err != nil {
		return nil, err
	}
	return f, l.readProfiles(ctx, f, profiled)
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
	from, person, conditions := m.canonical.from(m.database, "fixes", "x", people)
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

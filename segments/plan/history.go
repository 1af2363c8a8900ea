package plan

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"nudge/events"
	"nudge/segments"
)

// Occurrences lists the events of the given names that happened to these people in (after, at], Unix
// ms, and had arrived by upTo, in (time, position) order; opens and clicks of machines are left out. Nil people
// means everybody.
func (p *Planner) Occurrences(ctx context.Context, people []events.PersonID, names []string, after, at int64, upTo events.Position) (map[events.PersonID][]segments.Occurrence, error) {
	if len(names) == 0 || (people != nil && len(people) == 0) {
		return nil, nil
	}
	canonical, err := p.people.at(ctx, p.store, uint64(upTo))
	if err != nil {
		return nil, err
	}
	m := p.moment(at, uint64(upTo), 0, canonical)
	out := map[events.PersonID][]segments.Occurrence{}
	read := func(only []uint64) error {
		return p.store.occurrences(ctx, m, only, names, after, func(person uint64, o segments.Occurrence) {
			id := events.PersonID(person)
			out[id] = append(out[id], o)
		})
	}
	if people == nil {
		err = read(nil)
	} else {
		for chunk := range slices.Chunk(canonicalPeople(canonical, people), p.chunk) {
			if err = read(chunk); err != nil {
				break
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read occurrences of %s: %w", strings.Join(names, ", "), err)
	}
	for _, id := range people {
		if c := events.PersonID(canonical.of(uint64(id))); c != id {
			out[id] = out[c]
		}
	}
	return out, nil
}

// Changes lists the merges and erasures that arrived in (after, upTo], in the order of arrival.
func (p *Planner) Changes(ctx context.Context, after, upTo events.Position) ([]segments.Change, error) {
	out, err := p.store.changes(ctx, uint64(after), uint64(upTo))
	if err != nil {
		return nil, fmt.Errorf("read merges and erasures: %w", err)
	}
	return out, nil
}

// Zones lists the IANA zones that people's devices were ever in, and those of their traits, sorted.
func (p *Planner) Zones(ctx context.Context) ([]string, error) {
	names, err := p.store.zones(ctx)
	if err != nil {
		return nil, fmt.Errorf("read people's zones: %w", err)
	}
	return slices.DeleteFunc(names, func(name string) bool { return !validZone(name) }), nil
}

package plan

import (
	"context"

	"nudge/segments"
)

// Explain returns the queries by which a look finds candidates and arrivals and reads histories,
// without running them (but for the merges that they are read through). Where the second pass names
// people, the first one asked for stands for all, or person 0.
func (p *Planner) Explain(ctx context.Context, q segments.Look) ([]string, error) {
	l, err := p.look(ctx, &asker{p: p}, q)
	if err != nil {
		return nil, err
	}
	groups, arriving := grouped(q.Who)
	l.prepare(groups)
	people := []uint64{0}
	var only []uint64
	if len(q.People) > 0 {
		people = canonicalPeople(l.moment.canonical, q.People)[:1]
		only = people
	}
	var out []string
	if q.People == nil && l.asksPlaces() {
		out = append(out, l.moment.lastFixes(p.fixes))
	}
	for g := range groups {
		if q.People != nil {
			continue
		}
		if sql := l.candidatesSQL(groups[g], nil); sql != "" {
			out = append(out, sql)
		}
	}
	for _, w := range arriving {
		out = append(out, l.arrivalsSQL(q.Who[w].On(), q.Triggers, only))
	}
	if len(l.person.features) > 0 {
		out = append(out, l.valuesSQL(l.person.features, nil, people))
	}
	for g := range groups {
		if groups[g].forEach != nil && len(l.keyed[g].features) > 0 {
			out = append(out, l.valuesSQL(l.keyed[g].features, groups[g].forEach, people))
		}
	}
	return out, nil
}

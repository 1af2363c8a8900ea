package plan

import (
	"context"
	"fmt"
	"slices"

	"nudge/segments"
)

// Explain returns the queries by which a look finds candidates and arrivals and reads histories,
// without running them (but for the merges that they are read through). Where the second pass names
// people, the first one asked for stands for all, or person 0.
func (p *Planner) Explain(ctx context.Context, q segments.Look) ([]string, error) {
	l, err := p.look(ctx, q)
	if err != nil {
		return nil, err
	}
	groups, arriving := grouped(q.Who)
	l.prepare(groups)
	people := []uint64{0}
	if len(q.People) > 0 {
		people = canonicalPeople(l.moment.canonical, q.People)[:1]
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
		out = append(out, l.arrivalsSQL(q.Who[w].On(), q.Triggers, nil, people))
	}
	for _, reading := range l.reading(people) {
		out = append(out, reading.SQL)
	}
	return out, nil
}

// reading is the query for histories.
func (l *look) reading(people []uint64) []Query {
	w := &wanted{later: true, people: people}
	for i := range l.person.features {
		w.person = append(w.person, i)
	}
	for g := range l.groups {
		if l.groups[g].forEach == nil {
			continue
		}
		k := keyedWanted{group: g, forEach: l.groups[g].forEach}
		for i := range l.keyed[g].features {
			k.columns = append(k.columns, i)
		}
		w.keyed = append(w.keyed, k)
	}
	f := l.planned(w, l.keyed)
	if f == nil {
		return nil
	}
	return []Query{{For: "histories", SQL: f.sql(l.moment, people)}}
}

// Query is one query that a tick asks, and what the store estimates that it reads.
type Query struct {
	// For says what it is asked for: "arrivals", "crossings", "prefilter", "last fixes", "histories", ….
	For string
	SQL string
	// Rows, Parts and Marks are the store's estimate, from its indexes alone; Known is false where it gives none.
	Rows, Parts, Marks uint64
	Known              bool
}

// ExplainTick returns the queries that a tick asks, without running them (but for the merges that they are
// read through), with the store's estimate of what each reads. Histories are read of a few thousand people
// by a query: its estimate here is for person 1 alone. Nothing that is remembered from other ticks is left out.
func (p *Planner) ExplainTick(ctx context.Context, q segments.Tick) ([]Query, error) {
	t, err := p.tick(ctx, q, nil)
	if err != nil {
		return nil, err
	}
	var out []Query
	readers, needs, after := map[stream][]int{}, map[crossing]int64{}, uint64(t.UpTo)
	for _, w := range t.incremental() {
		after = min(after, uint64(t.from[w].UpTo))
		for _, s := range arriving(t.changes[w]) {
			readers[s] = append(readers[s], w)
		}
		for _, c := range t.crossings(w) {
			if f, ok := needs[c]; !ok || t.from[w].At < f {
				needs[c] = t.from[w].At
			}
		}
	}
	if sql := t.moment.arrivedSQL(readers, after); sql != "" {
		out = append(out, Query{For: "arrivals", SQL: sql})
	}
	var ask []needed
	for c, from := range needs {
		ask = append(ask, needed{c, from, t.At})
	}
	sortNeeded(ask)
	for _, sql := range t.moment.crossedSQL(ask, 0) {
		out = append(out, Query{For: "crossings", SQL: sql})
	}
	if slices.Contains(t.full, true) && t.asksPlaces() {
		out = append(out, Query{For: "last fixes", SQL: t.moment.lastFixes(p.fixes)})
	}
	for _, g := range t.groups {
		full := group{forEach: g.forEach}
		for _, w := range g.who {
			if t.full[w] {
				full.who = append(full.who, w)
			}
		}
		if len(full.who) == 0 {
			continue
		}
		if sql := t.candidatesSQL(full, nil); sql != "" {
			out = append(out, Query{For: "prefilter", SQL: sql})
		}
	}
	out = append(out, t.reading([]uint64{1})...)
	for i := range out {
		if err := (&tables{p}).estimate(ctx, &out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// ExplainArrivals returns the queries by which arrivals of (Look.After, Look.UpTo] are judged, with the store's
// estimates, as ExplainTick does. The rows that arrived and histories are estimated for person 1 alone.
func (p *Planner) ExplainArrivals(ctx context.Context, q segments.Look) ([]Query, error) {
	l, err := p.look(ctx, q)
	if err != nil {
		return nil, err
	}
	groups, arriving := grouped(q.Who)
	l.prepare(groups)
	kinds := l.listeners(arriving)
	out := []Query{{For: "arrivals", SQL: l.hearSQL(kinds, nil)}}
	for _, k := range kinds {
		out = append(out, Query{For: "what arrived", SQL: l.arrivalsSQL(k.on, nil, nil, []uint64{1})})
	}
	out = append(out, l.reading([]uint64{1})...)
	for i := range out {
		if err := (&tables{p}).estimate(ctx, &out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// estimate asks the store what a query would read. One that it refuses is left unknown.
func (a *tables) estimate(ctx context.Context, q *Query) error {
	err := a.run(ctx, "EXPLAIN ESTIMATE "+q.SQL+oneThread, func(scan func(...any) error) error {
		var database, table string
		var parts, rows, marks uint64
		if err := scan(&database, &table, &parts, &rows, &marks); err != nil {
			return fmt.Errorf("reading an estimate: %w", err)
		}
		q.Parts, q.Rows, q.Marks = q.Parts+parts, q.Rows+rows, q.Marks+marks
		return nil
	})
	if isRefused(err) {
		return nil
	}
	q.Known = err == nil
	return err
}

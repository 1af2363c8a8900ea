package plan

import (
	"context"
	"math"
	"slices"

	"nudge/segments"
)

// What happened lately is most of what decides, and is read at a fraction of the price: the store keeps what
// arrived of late in its smaller parts, and those who did nothing of late cost a granule in these only. So of those
// whose answer can have changed their last days are read first; most of them cannot be in a condition
// whatever happened before, and their whole history need not be read.

// refute leaves out those who cannot be in a condition whatever happened before their last days, which is an
// answer too. Whoever was asked for stays.
func (t *tick) refute(ctx context.Context, b *batch) error {
	m := t.moment
	m.after = max(m.after, t.At-t.p.recent)
	if m.after == t.moment.after {
		return nil
	}
	some := newBatch(b.groups, b.keyed)
	people := 0
	for g := range b.groups {
		for _, c := range b.all[g] {
			if c.who = filter(c.who, func(w int) bool { return t.asked[w][c.person] == nil }); len(c.who) > 0 {
				some.all[g] = append(some.all[g], c)
			}
		}
		people += len(some.all[g])
	}
	if people < t.p.recentFrom {
		return nil
	}
	wants := t.wants(some, false)
	for _, w := range some.who() {
		for _, age := range t.ages[w] {
			wants.person, wants.earlier = append(wants.person, age.column), append(wants.earlier, age.column)
		}
	}
	wants.person, wants.earlier, wants.before = sortedUnique(wants.person), sortedUnique(wants.earlier), t.before
	read, err := t.read(ctx, m, wants, b.keyed)
	switch {
	case isRefused(err): // whose fault it is comes out where they are judged
		return nil
	case err != nil:
		return err
	}
	since := m.after
	if t.overlooked(stream{of: ofOlder}, 0) {
		since = math.MinInt64
	}
	for g := range some.groups {
		for _, c := range some.all[g] {
			for _, w := range c.who {
				t.noNews(w, c.person, &read)
			}
		}
	}
	for g := range b.groups {
		values := map[uint64][]string{}
		for of := range read.keyed[g] {
			values[of.person] = append(values[of.person], of.value)
		}
		var stay []candidate
		for _, c := range b.all[g] {
			c.who = filter(c.who, func(w int) bool { return !t.unchanged[w][c.person] })
			who := filter(c.who, func(w int) bool { return t.asked[w][c.person] != nil || t.canPass(w, g, c, since, &read) })
			if len(who) > 0 {
				stay = append(stay, candidate{person: c.person, who: who})
			}
			if b.groups[g].forEach == nil || len(who) == len(c.who) {
				continue
			}
			slices.Sort(values[c.person])
			for _, value := range values[c.person] {
				of := candidate{person: c.person, value: value}
				of.who = filter(c.who, func(w int) bool { return !slices.Contains(who, w) && t.canPass(w, g, of, since, &read) })
				if len(of.who) > 0 {
					b.given[g] = append(b.given[g], of)
				}
			}
		}
		b.all[g] = stay
	}
	return nil
}

// canPass says whether somebody, or of those with a for_each a value (none: any that did not occur in what has been
// read: `it` is the history of the for_each or a narrower one), can pass a condition's prefilter.
func (t *tick) canPass(w, g int, c candidate, since int64, read *histories) bool {
	return t.Who[w].CanPass(t.At, since, &segments.Candidate{Value: c.value, Values: t.assemble(w, g, c, read)})
}

// ageOf is the age of the newest row of a history, of which a condition asks nothing else.
type ageOf struct {
	column int // of people: the newest row
	ages   []int64
}

// readAges notes the columns for what a condition asks only the age of.
func (t *tick) readAges(w int) {
	for _, s := range t.changes[w].Sources {
		if s.AgeOnly {
			t.ages[w] = append(t.ages[w], ageOf{t.person.add(&segments.Feature{Event: s.Event, Agg: segments.AggLast}), s.Ages})
		}
	}
}

// noNews notes that nothing has changed for somebody of whom only newer rows arrived of histories whose age is
// asked for: there was one before that is, for the condition, as old as the newest is now.
func (t *tick) noNews(w int, person uint64, read *histories) {
	if !t.perhaps[w][person] {
		return
	}
	now, then := read.person[holder{person: person}], read.earlier[holder{person: person}]
	if now == nil || then == nil {
		return
	}
	for _, age := range t.ages[w] {
		newest, _ := now[age.column].(*segments.Occurrence)
		newestThen, _ := then[age.column].(*segments.Occurrence)
		if newest == nil || newestThen == nil || !alike(age.ages, t.At-newest.Time, t.At-newestThen.Time) {
			return
		}
	}
	if t.unchanged[w] == nil {
		t.unchanged[w] = map[uint64]bool{}
	}
	t.unchanged[w][person] = true
}

// alike says whether two ages compare alike with all of the given ones.
func alike(ages []int64, a, b int64) bool {
	return !slices.ContainsFunc(ages, func(d int64) bool { return (a < d) != (b < d) || (a <= d) != (b <= d) })
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

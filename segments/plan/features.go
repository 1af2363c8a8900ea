package plan

import (
	"slices"

	"nudge/segments"
)

// columns are the distinct features of one kind that the conditions of a look read.
type columns struct {
	features []*segments.Feature
	places   map[string]int
}

func (c *columns) add(f *segments.Feature) int {
	key := f.Key()
	if at, ok := c.places[key]; ok {
		if had := c.features[at]; had.Reads|f.Reads != had.Reads || had.ReadsLater|f.ReadsLater != had.ReadsLater {
			both := *had
			both.Reads |= f.Reads
			both.ReadsLater |= f.ReadsLater
			c.features[at] = &both
		}
		return at
	}
	if c.places == nil {
		c.places = map[string]int{}
	}
	c.places[key] = len(c.features)
	c.features = append(c.features, f)
	return len(c.features) - 1
}

// slot is where a condition's feature is found.
type slot struct {
	keyed  bool
	column int
}

// holder is a person, or with for_each a person's value.
type holder struct {
	person uint64
	value  string
}

// values are columns by who holds them. A holder without an entry has no history of the columns' events.
type values map[holder][]any

// assemble gives a candidate the values of a condition's features.
func (l *look) assemble(w, g int, c candidate, from *histories) []any {
	features := l.Who[w].Features()
	if len(features) == 0 {
		return nil
	}
	person, keyed := from.person[holder{person: c.person}], from.keyed[g][holder{c.person, c.value}]
	out := make([]any, len(features))
	for i, s := range l.slots[w] {
		row := person
		if s.keyed {
			row = keyed
		}
		if row == nil {
			out[i] = nothing(features[i].Agg)
		} else {
			out[i] = row[s.column]
		}
	}
	return out
}

func sortedUnique(xs []int) []int {
	slices.Sort(xs)
	return slices.Compact(xs)
}

package plan

import (
	"context"
	"fmt"
	"slices"
	"strings"

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
		if had := c.features[at]; had.Reads|f.Reads != had.Reads {
			both := *had
			both.Reads |= f.Reads
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

// valuesSQL writes the query of the second pass: every wanted feature of these people. With forEach
// it is grouped by value too, and lists the values that the for_each has.
func (l *look) valuesSQL(features []*segments.Feature, forEach *segments.ForEach, people []uint64) string {
	conds := &conditions{}
	columns, group := []string{"p", "''"}, "p"
	if forEach != nil {
		columns, group = []string{"p", "v"}, "p, v"
	}
	for _, f := range features {
		columns = append(columns, aggregate(f, l.At, conds))
	}
	rows := ""
	if forEach == nil {
		rows = l.moment.eventRows(sourcesOf(features), people, words(columns...), conds)
	} else {
		_, own := forEachSource(forEach)
		group += " HAVING countIf(" + conds.column(own) + ") > 0"
		rows = l.moment.keyedRows(forEach, features, people, words(columns...), conds)
	}
	return "SELECT " + strings.Join(columns, ", ") + " FROM (" + rows + ") GROUP BY " + group
}

// values reads features of people. The wanted columns are given by their place among all of the
// kind; the rows have all of them, with nil where not wanted.
func (l *look) values(ctx context.Context, all *columns, wanted []int, forEach *segments.ForEach, people []uint64) (values, error) {
	if len(people) == 0 || forEach == nil && len(wanted) == 0 {
		return nil, nil
	}
	features := make([]*segments.Feature, len(wanted))
	for i, at := range wanted {
		features[i] = all.features[at]
	}
	cells := make([]cell, len(features))
	out := values{}
	err := l.few(ctx, l.valuesSQL(features, forEach, people), func(scan func(...any) error) error {
		var who holder
		dest := []any{&who.person, &who.value}
		for i, f := range features {
			cells[i] = cell{agg: f.Agg}
			dest = append(dest, cells[i].dest())
		}
		if err := scan(dest...); err != nil {
			return err
		}
		row := make([]any, len(all.features))
		for i, at := range wanted {
			row[at] = cells[i].value()
		}
		out[who] = row
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading histories: %w", err)
	}
	return out, nil
}

// assemble gives a candidate the values of a condition's features.
func assemble(w *segments.Who, slots []slot, person, keyed []any) []any {
	features := w.Features()
	if len(features) == 0 {
		return nil
	}
	out := make([]any, len(features))
	for i, s := range slots {
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

package plan

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"nudge/segments"
)

// What conditions ask of some people's histories is read in one pass over their rows: the store says of each row
// what it counts for (which is where filters are), and the rows are folded here. A GROUP BY for the features of
// people and one for each for_each would read the same rows again, and take the store longer to understand
// than to answer.

// wanted is what is to be read of some people.
type wanted struct {
	later  bool     // also what is read only of those for whom conditions are true
	people []uint64 // canonical, sorted
	plain  []uint64 // those of them of whom only the columns of people are wanted that are not rich, sorted
	person []int    // columns of people
	keyed  []keyedWanted
	// earlier are columns of people that are read as of an earlier position too: before.
	earlier []int
	before  uint64
}

// keyedWanted are the columns of a group's values.
type keyedWanted struct {
	group   int
	forEach *segments.ForEach
	columns []int
}

// histories are the features of some people.
type histories struct {
	person  values
	keyed   []values // by group
	earlier values
}

// fold is one pass over rows.
type fold struct {
	at      int64
	conds   conditions
	texts   conditions // named x0, x1, … in the query
	numbers conditions // named n0, n1, …
	sources []source
	kinds   []folded
	// By column of conds, whether the long parts of a row are read when it counts.
	properties, context []bool
}

// folded are the features of people, or of the values of one for_each.
type folded struct {
	value    int // column of texts; −1: of people
	own      int // column of conds: a row says that there is the value
	features []foldedFeature
	width    int    // columns of the kind, wanted or not
	before   uint64 // rows beyond this position do not count
	into     values
}

type foldedFeature struct {
	*segments.Feature
	reads        segments.Reads
	column       int // of the kind
	cond         int // column of conds; −1: no row counts
	text, number int // columns of texts and numbers
	since        int64
}

const nothingCounts = -1

// apartFrom is how many people are read apart from others: a query has its price.
const apartFrom = 200

// condition is the column of a condition under which rows count.
func (f *fold) condition(sql string) int {
	if sql == "0" {
		return nothingCounts
	}
	at := f.conds.place(sql)
	for len(f.properties) <= at {
		f.properties, f.context = append(f.properties, false), append(f.context, false)
	}
	return at
}

func (f *fold) add(of *columns, wanted []int, later bool, to *folded) {
	to.width = len(of.features)
	for _, at := range wanted {
		feature := of.features[at]
		x := foldedFeature{Feature: feature, reads: feature.Reads, column: at, since: math.MinInt64}
		if later {
			x.reads = feature.ReadsLater
		}
		if feature.Within > 0 {
			x.since = f.at - feature.Within
		}
		if x.cond = f.condition(all(happened(feature.Event, feature.Message), render(feature.Filter, occurrence{}))); x.cond != nothingCounts {
			f.reads(&x)
		}
		to.features = append(to.features, x)
	}
}

// reads notes what a feature reads of the rows that count.
func (f *fold) reads(x *foldedFeature) {
	f.sources = append(f.sources, source{x.Event, x.Message, x.Within})
	switch x.Agg {
	case segments.AggSum, segments.AggAvg, segments.AggMin, segments.AggMax:
		v := mapValue(strings.TrimPrefix(x.Path, "properties."), "")
		x.number = f.numbers.place("if(" + v.isNum + ", " + v.num + ", nan)")
	case segments.AggUniq, segments.AggTop:
		x.text = f.texts.place(keyOf(x.Path))
	default:
		f.properties[x.cond] = f.properties[x.cond] || x.reads&segments.ReadsProperties != 0
		f.context[x.cond] = f.context[x.cond] || x.reads&segments.ReadsContext != 0
	}
}

// sql writes the query for the rows.
func (f *fold) sql(m moment, people []uint64) string {
	columns := []string{"p", "t", "pos", "toString(event)", f.long("properties", f.properties), f.long("context", f.context)}
	var counts []string
	for i := range f.conds.list {
		name := f.conds.prefix + strconv.Itoa(i)
		columns, counts = append(columns, "toUInt8("+name+")"), append(counts, name)
	}
	further := slices.Concat(f.texts.list, f.numbers.list)
	for i := range f.texts.list {
		columns = append(columns, "x"+strconv.Itoa(i))
	}
	for i := range f.numbers.list {
		columns = append(columns, "n"+strconv.Itoa(i))
	}
	read := words(append(slices.Clone(columns), further...)...)
	return "SELECT " + strings.Join(columns, ", ") + " FROM (" + m.eventRows(f.sources, people, read, &f.conds, further...) + ") WHERE " + anyOf(counts...)
}

// long is a long part of a row, where something reads it.
func (f *fold) long(name string, reads []bool) string {
	var when []string
	for i, r := range reads {
		if r {
			when = append(when, f.conds.prefix+strconv.Itoa(i))
		}
	}
	if len(when) == 0 {
		return "''"
	}
	return "if(" + anyOf(when...) + ", " + name + ", '')"
}

// planned lays out the pass; nil where there is nothing to read.
func (l *look) planned(w *wanted, keyed []columns) *fold {
	f := &fold{at: l.At, conds: conditions{prefix: "c"}, texts: conditions{prefix: "x"}, numbers: conditions{prefix: "n"}}
	if len(w.person) > 0 {
		of := folded{value: -1, own: nothingCounts, before: math.MaxUint64, into: values{}}
		f.add(&l.person, w.person, w.later, &of)
		f.kinds = append(f.kinds, of)
	}
	if len(w.earlier) > 0 {
		of := folded{value: -1, own: nothingCounts, before: w.before, into: values{}}
		f.add(&l.person, w.earlier, w.later, &of)
		f.kinds = append(f.kinds, of)
	}
	for _, k := range w.keyed {
		own, counts := forEachSource(k.forEach)
		of := folded{value: f.texts.place(textOf(k.forEach.Path)), own: f.condition(counts), before: math.MaxUint64, into: values{}}
		f.sources = append(f.sources, own)
		f.add(&keyed[k.group], k.columns, w.later, &of)
		f.kinds = append(f.kinds, of)
	}
	if len(f.conds.list) == 0 {
		return nil
	}
	return f
}

// read reads features of people, as of a moment. Properties are most of what reading a row costs, so those of whom
// none are wanted are read apart, if they are many.
func (l *look) read(ctx context.Context, m moment, w *wanted, keyed []columns) (histories, error) {
	if len(w.plain) < l.p.apartFrom || len(w.people)-len(w.plain) < l.p.apartFrom {
		return l.readAll(ctx, m, w, keyed)
	}
	plain, rich := *w, *w
	plain.people, plain.keyed = w.plain, nil
	isRich := func(column int) bool { return isRich(l.person.features[column]) }
	plain.person = slices.DeleteFunc(slices.Clone(w.person), isRich)
	plain.earlier = slices.DeleteFunc(slices.Clone(w.earlier), isRich)
	rich.people = slices.DeleteFunc(slices.Clone(w.people), func(p uint64) bool {
		_, is := slices.BinarySearch(w.plain, p)
		return is
	})
	some, err := l.readAll(ctx, m, &plain, keyed)
	if err != nil {
		return histories{}, err
	}
	out, err := l.readAll(ctx, m, &rich, keyed)
	if err != nil {
		return histories{}, err
	}
	out.person, out.earlier = out.person.with(some.person), out.earlier.with(some.earlier)
	return out, nil
}

// with adds the values of others.
func (v values) with(others values) values {
	if v == nil {
		return others
	}
	maps.Copy(v, others)
	return v
}

func (l *look) readAll(ctx context.Context, m moment, w *wanted, keyed []columns) (histories, error) {
	out := histories{keyed: make([]values, len(keyed))}
	f := l.planned(w, keyed)
	if f == nil || len(w.people) == 0 {
		return out, nil
	}
	r := f.row()
	err := l.about(w.people)(ctx, f.sql(m, w.people), func(scan func(...any) error) error {
		if err := scan(r.dest...); err != nil {
			return err
		}
		for i := range f.kinds {
			f.kinds[i].count(r)
		}
		return nil
	})
	if err != nil {
		return out, fmt.Errorf("reading histories: %w", err)
	}
	kinds := f.kinds
	if len(w.person) > 0 {
		out.person, kinds = kinds[0].done(), kinds[1:]
	}
	if len(w.earlier) > 0 {
		out.earlier, kinds = kinds[0].done(), kinds[1:]
	}
	for i, k := range w.keyed {
		out.keyed[k.group] = kinds[i].done()
	}
	return out, nil
}

// row is a row that has been read.
type row struct {
	person, pos                uint64
	at                         int64
	event, properties, context string
	counts                     []uint8
	texts                      []string
	numbers                    []float64
	dest                       []any
}

func (f *fold) row() *row {
	r := &row{counts: make([]uint8, len(f.conds.list)), texts: make([]string, len(f.texts.list)), numbers: make([]float64, len(f.numbers.list))}
	r.dest = []any{&r.person, &r.at, &r.pos, &r.event, &r.properties, &r.context}
	for i := range r.counts {
		r.dest = append(r.dest, &r.counts[i])
	}
	for i := range r.texts {
		r.dest = append(r.dest, &r.texts[i])
	}
	for i := range r.numbers {
		r.dest = append(r.dest, &r.numbers[i])
	}
	return r
}

// count counts a row for whatever it counts for. into holds cells until done.
func (k *folded) count(r *row) {
	if r.pos > k.before {
		return
	}
	who := holder{person: r.person}
	exists := false
	if k.value >= 0 {
		if who.value = r.texts[k.value]; who.value == "" {
			return
		}
		exists = k.own != nothingCounts && r.counts[k.own] == 1
	}
	var cells []any
	for i := range k.features {
		x := &k.features[i]
		if x.cond == nothingCounts || r.counts[x.cond] == 0 || r.at <= x.since {
			continue
		}
		if cells == nil {
			cells = k.cells(who)
		}
		c := cells[x.column].(*cell) //nolint:forcetypeassert // made by cells
		c.count(x, r)
	}
	if exists {
		if cells == nil {
			cells = k.cells(who)
		}
		cells[k.width] = true
	}
}

// cells are those of a holder; behind them is whether it exists.
func (k *folded) cells(who holder) []any {
	cells := k.into[who]
	if cells == nil {
		cells = make([]any, k.width+1)
		own := make([]cell, len(k.features))
		for i := range k.features {
			cells[k.features[i].column] = &own[i]
		}
		k.into[who] = cells
	}
	return cells
}

// done turns cells into values, and leaves out values that never occurred.
func (k *folded) done() values {
	for who, cells := range k.into {
		if k.value >= 0 && cells[k.width] == nil {
			delete(k.into, who)
			continue
		}
		for i := range k.features {
			x := &k.features[i]
			c := cells[x.column].(*cell) //nolint:forcetypeassert // made by cells
			cells[x.column] = c.value(x)
		}
		k.into[who] = cells[:k.width]
	}
	return k.into
}

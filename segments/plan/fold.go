package plan

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"nudge/events"
	"nudge/segments"
)

// What conditions ask of some people's histories is read in one pass over their rows, which are filtered and folded
// here. A GROUP BY for the features of people and one for each for_each would read the same rows again, and take the
// store longer to understand than to answer. Filters are not given to the store either: of some people's rows the maps
// of properties cost twice as much to read as the properties as text, and rows of which nothing counts are few.

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
	conds   []condition
	places  map[conditionKey]int // of conds
	sources []source
	kinds   []folded
}

// condition is one under which rows count: they are occurrences of an event and pass a filter.
type condition struct {
	event, message string
	filter         *segments.Pred
	// What is read of the rows that may count: properties and contexts are long.
	properties, context bool
}

type conditionKey struct{ event, message, filter string }

// folded are the features of people, or of the values of one for_each.
type folded struct {
	path     string // of the value; "": of people
	own      int    // index in conds: a row says that there is the value
	features []foldedFeature
	width    int    // columns of the kind, wanted or not
	before   uint64 // rows beyond this position do not count
	into     values
}

type foldedFeature struct {
	*segments.Feature
	reads  segments.Reads
	column int // of the kind
	cond   int // index in conds; −1: no row counts
	since  int64
}

const nothingCounts = -1

// apartFrom is how many people are read apart from others: a query has its price.
const apartFrom = 200

// condition is the index of a condition under which rows count.
func (f *fold) condition(event, message string, filter *segments.Pred) int {
	if filter != nil && filter.Op == segments.PredFalse {
		return nothingCounts
	}
	key := conditionKey{event, message, filter.String()}
	at, ok := f.places[key]
	if !ok {
		at = len(f.conds)
		f.places[key] = at
		c := condition{event: event, message: message, filter: filter}
		c.properties, c.context = readBy(filter)
		c.properties = c.properties || message != "" && message != "*" // the rule is one
		f.conds = append(f.conds, c)
	}
	return at
}

// readBy says what a filter reads of rows.
func readBy(p *segments.Pred) (properties, context bool) {
	if p == nil {
		return false, false
	}
	for _, o := range []*segments.Operand{p.L, p.R} {
		if o != nil && o.Kind == segments.OperandPath && o.Path != "time" {
			inContext := isContext(o.Path)
			properties, context = properties || !inContext, context || inContext
		}
	}
	for _, k := range p.Kids {
		p, c := readBy(k)
		properties, context = properties || p, context || c
	}
	return properties, context
}

func isContext(path string) bool { return strings.HasPrefix(path, "context.") }

// readsPath notes that rows that count under a condition are asked for what is at a path.
func (f *fold) readsPath(cond int, path string) {
	c := &f.conds[cond]
	c.properties, c.context = c.properties || !isContext(path), c.context || isContext(path)
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
		if x.cond = f.condition(feature.Event, feature.Message, feature.Filter); x.cond != nothingCounts {
			f.sources = append(f.sources, source{x.Event, x.Message, x.Within})
			f.reads(&x)
			if to.path != "" {
				f.readsPath(x.cond, to.path)
			}
		}
		to.features = append(to.features, x)
	}
}

// reads notes what a feature reads of the rows that count.
func (f *fold) reads(x *foldedFeature) {
	switch x.Agg {
	case segments.AggCount:
	case segments.AggSum, segments.AggAvg, segments.AggMin, segments.AggMax, segments.AggUniq, segments.AggTop:
		f.readsPath(x.cond, x.Path)
	default:
		c := &f.conds[x.cond]
		c.properties = c.properties || x.reads&segments.ReadsProperties != 0
		c.context = c.context || x.reads&segments.ReadsContext != 0
	}
}

// sql writes the query for the rows.
func (f *fold) sql(m moment, people []uint64) string {
	flags := "toUInt32(0)"
	if slices.ContainsFunc(f.conds, func(c condition) bool { return c.message != "" }) {
		flags = "e.flags"
	}
	return m.eventSelect(f.sources, people, []string{
		"toUnixTimestamp64Milli(e.time)", "e.pos", "e.kind", "toString(e.event)", flags,
		f.long("e.properties", func(c condition) bool { return c.properties }), f.long("e.context", func(c condition) bool { return c.context }),
	})
}

// long is a long part of rows, of the events of which it is read.
func (f *fold) long(column string, isRead func(condition) bool) string {
	var names []string
	for _, c := range f.conds {
		if !isRead(c) {
			continue
		}
		if c.event == "*" {
			return column
		}
		names = append(names, Literal(c.event))
	}
	if len(names) == 0 {
		return "''"
	}
	slices.Sort(names)
	return "if(e.event IN (" + strings.Join(slices.Compact(names), ", ") + "), " + column + ", '')"
}

// planned lays out the pass; nil where there is nothing to read.
func (l *look) planned(w *wanted, keyed []columns) *fold {
	f := &fold{at: l.At, places: map[conditionKey]int{}}
	if len(w.person) > 0 {
		of := folded{own: nothingCounts, before: math.MaxUint64, into: values{}}
		f.add(&l.person, w.person, w.later, &of)
		f.kinds = append(f.kinds, of)
	}
	if len(w.earlier) > 0 {
		of := folded{own: nothingCounts, before: w.before, into: values{}}
		f.add(&l.person, w.earlier, w.later, &of)
		f.kinds = append(f.kinds, of)
	}
	for _, k := range w.keyed {
		own, _ := forEachSource(k.forEach)
		of := folded{path: k.forEach.Path, own: f.condition(own.event, own.message, k.forEach.Filter), before: math.MaxUint64, into: values{}}
		f.sources = append(f.sources, own)
		if of.own != nothingCounts {
			f.readsPath(of.own, of.path)
		}
		f.add(&keyed[k.group], k.columns, w.later, &of)
		f.kinds = append(f.kinds, of)
	}
	if len(f.conds) == 0 {
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
	err := l.store.histories(ctx, m, f, w.people, 0, r, func() {
		if f.counted(r) {
			for i := range f.kinds {
				f.kinds[i].count(r)
			}
		}
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
	person, pos uint64
	kind        uint8
	flags       uint32
	of          segments.Occurrence
	counts      []bool // by condition
}

func (f *fold) row() *row { return &row{counts: make([]bool, len(f.conds))} }

// counted works out what the row counts for, and whether for anything.
func (f *fold) counted(r *row) bool {
	r.of.Pos = events.Position(r.pos)
	any := false
	for i := range f.conds {
		c := &f.conds[i]
		r.counts[i] = c.counts(r)
		any = any || r.counts[i]
	}
	return any
}

// counts says whether a row counts under the condition.
func (c *condition) counts(r *row) bool {
	return c.happened(r) && (c.filter == nil || c.filter.Eval(&r.of, nil))
}

// happened is what the function of the same name is to the store.
func (c *condition) happened(r *row) bool {
	if c.message == "" {
		switch events.Kind(r.kind) {
		case events.KindTrack, events.KindPage, events.KindScreen:
		default:
			return false
		}
		return c.event == r.of.Event || c.event == "*" && r.of.Event != events.LocationUpdated
	}
	if events.Kind(r.kind) != events.KindMessage || c.event != r.of.Event || events.Flags(r.flags)&events.MachineOpen != 0 {
		return false
	}
	if c.message == "*" {
		return true
	}
	rule := r.of.Leaf("properties.rule")
	return rule.Kind == events.LeafString && rule.Str == c.message
}

// count counts a row for whatever it counts for. into holds cells until done.
func (k *folded) count(r *row) {
	if r.pos > k.before {
		return
	}
	who := holder{person: r.person}
	exists := k.own != nothingCounts && r.counts[k.own]
	if !exists && !k.counts(r) {
		return
	}
	if k.path != "" {
		if who.value = textOfLeaf(r.of.Leaf(k.path)); who.value == "" {
			return
		}
	}
	cells := k.cells(who)
	for i := range k.features {
		if x := &k.features[i]; x.counts(r) {
			c := cells[x.column].(*cell) //nolint:forcetypeassert // made by cells
			c.count(x, r)
		}
	}
	if exists {
		cells[k.width] = true
	}
}

func (k *folded) counts(r *row) bool {
	for i := range k.features {
		if k.features[i].counts(r) {
			return true
		}
	}
	return false
}

func (x *foldedFeature) counts(r *row) bool {
	return x.cond != nothingCounts && r.counts[x.cond] && r.of.Time > x.since
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
		if k.path != "" && cells[k.width] == nil {
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

package plan

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"nudge/events"
	"nudge/segments"
	"nudge/segments/geo"
)

// Past is what happened to one person as far as one condition reads it, in memory. What the condition would read at
// another instant, or had something else happened, is folded by what folds the rows of a look. Not for concurrent use.
type Past struct {
	look   *look
	who    *segments.Who
	person uint64
	of     segments.Candidate // but for its values and places
	rows   []Happened         // by (time, position)
	fixes  []geo.Fix
	counts [][]bool // by row: what it counts for, which no instant changes
	values []string // by row: of which value of for_each it is
	last   uint64   // the newest position
	fold   *fold    // laid out once; nil: no history is read
	wanted wanted
}

var _ segments.Past = (*Past)(nil)

// Happened is an occurrence with what else tells what it counts for.
type Happened struct {
	segments.Occurrence
	Kind  events.Kind
	Flags events.Flags
}

// Known is what a Past is made of.
type Known struct {
	Rows    []Happened
	Fixes   []geo.Fix
	Profile *segments.Profile
}

// PastOf makes the past of the only person of a Look about the only condition of it from what is known.
func PastOf(q segments.Look, fixes geo.Options, k Known) *Past {
	fences, ok := q.Fences.(*geo.Fences)
	if !ok {
		fences = &geo.Fences{}
	}
	l := &look{Look: q, fences: fences, p: &Planner{fixes: fixes}}
	groups, _ := grouped(q.Who)
	l.prepare(groups)
	p := &Past{look: l, who: q.Who[0], person: uint64(q.People[0]), rows: slices.Clone(k.Rows), fixes: k.Fixes}
	p.of = segments.Candidate{Person: q.People[0], Profile: k.Profile, DefaultZone: q.DefaultZone}
	for i := range p.rows {
		p.last = max(p.last, uint64(p.rows[i].Pos))
	}
	slices.SortFunc(p.rows, func(a, b Happened) int { return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Pos, b.Pos)) })
	p.wanted = l.everything()
	if p.fold = l.planned(&p.wanted, l.keyed); p.fold == nil {
		return p
	}
	p.counts, p.values = make([][]bool, len(p.rows)), make([]string, len(p.rows))
	for i := range p.rows {
		r := p.row(p.fold, &p.rows[i])
		p.fold.counted(r)
		p.counts[i] = r.counts
		if f := p.who.ForEach(); f != nil {
			p.values[i] = textOfLeaf(r.of.Leaf(f.Path))
		}
	}
	return p
}

// everything are all columns that judging reads.
func (l *look) everything() wanted {
	w := wanted{people: []uint64{0}}
	keyed := keyedWanted{}
	l.reads(0, false, &w.person, &keyed.columns)
	w.person = sortedUnique(w.person)
	if f := l.Who[0].ForEach(); f != nil {
		keyed.forEach, keyed.columns = f, sortedUnique(keyed.columns)
		w.keyed = []keyedWanted{keyed}
	}
	return w
}

// Past reads what happened to the only person of a Look, for the only condition of it, with what is dated up to
// `ahead` ms later, and whether that is all: of more than `most` rows the newest are read.
func (p *Planner) Past(ctx context.Context, q segments.Look, profile *segments.Profile, ahead int64, most int) (past *Past, all bool, err error) {
	l, err := p.look(ctx, q)
	if err != nil {
		return nil, false, err
	}
	groups, _ := grouped(q.Who)
	l.prepare(groups)
	people := canonicalPeople(l.moment.canonical, q.People)
	k := Known{Profile: profile}
	w := l.everything()
	if f := l.planned(&w, l.keyed); f != nil {
		for i := range f.sources {
			if f.sources[i].within > 0 {
				f.sources[i].within += ahead
			}
		}
		m := l.moment
		m.at += ahead
		r := f.row()
		err := l.store.histories(ctx, m, f, people, most+1, r, func() {
			if f.counted(r) {
				k.Rows = append(k.Rows, Happened{r.of, events.Kind(r.kind), events.Flags(r.flags)})
			}
		})
		if err != nil {
			return nil, false, fmt.Errorf("reading what happened: %w", err)
		}
	}
	if len(q.Who[0].Places()) > 0 {
		fixes, err := l.moment.fixes(ctx, l.store, people)
		if err != nil {
			return nil, false, err
		}
		k.Fixes = fixes[people[0]]
	}
	q.Fences = l.fences
	return PastOf(q, p.fixes, k), len(k.Rows) <= most, nil
}

// Rows is how many rows there are to go through for an answer.
func (p *Past) Rows() int { return len(p.rows) }

// Retention is that of the Look, in ms.
func (p *Past) Retention() int64 { return p.look.Retention }

// Ends are when fixes become too old to count.
func (p *Past) Ends() []int64 {
	age := p.look.p.fixes.MaxAge
	if age <= 0 {
		age = geo.DefaultMaxAge
	}
	var out []int64
	for _, f := range p.fixes {
		out = append(out, f.Time+age)
	}
	return out
}

// asOf is the pass laid out for another instant, with nothing counted yet.
func (f *fold) asOf(at int64) *fold {
	out := *f
	out.at, out.kinds = at, slices.Clone(f.kinds)
	for i := range out.kinds {
		k := &out.kinds[i]
		k.into, k.features = values{}, slices.Clone(k.features)
		for j := range k.features {
			if within := k.features[j].Within; within > 0 {
				k.features[j].since = at - within
			}
		}
	}
	return &out
}

func (p *Past) row(f *fold, h *Happened) *row {
	r := f.row()
	r.person, r.pos, r.kind, r.flags, r.of = p.person, uint64(h.Pos), uint8(h.Kind), uint32(h.Flags), h.Occurrence
	return r
}

// added are the occurrences that are supposed to have happened as well, as rows.
func (p *Past) added(s *segments.Supposed) []Happened {
	if s == nil {
		return nil
	}
	out := make([]Happened, len(s.Added))
	for i, o := range s.Added {
		o.Pos = events.Position(p.last + 1 + uint64(i))
		out[i] = Happened{Occurrence: o, Kind: events.KindTrack}
		if strings.HasPrefix(o.Event, "Message ") {
			out[i].Kind = events.KindMessage
		}
	}
	return out
}

// Candidate folds what had happened by the instant.
func (p *Past) Candidate(at int64, value string, s *segments.Supposed) *segments.Candidate {
	l := p.look
	after := int64(math.MinInt64)
	if l.Retention > 0 {
		after = at - l.Retention
	}
	from := histories{keyed: make([]values, max(1, len(l.keyed)))}
	if p.fold != nil {
		f := p.fold.asOf(at)
		count := func(r *row, of string) {
			for i := range f.kinds {
				if f.kinds[i].path == "" || of == value { // what is not asked about need not be folded
					f.kinds[i].count(r)
				}
			}
		}
		var r row
		r.person = p.person
		for i := range p.rows {
			h := &p.rows[i]
			if h.Time > at {
				break
			}
			if h.Time <= after || s != nil && slices.Contains(s.Without, h.Pos) || !slices.Contains(p.counts[i], true) {
				continue
			}
			r.pos, r.of, r.counts = uint64(h.Pos), h.Occurrence, p.counts[i]
			count(&r, p.values[i])
		}
		for _, h := range p.added(s) {
			if r := p.row(f, &h); h.Time <= at && h.Time > after && f.counted(r) {
				count(r, value)
			}
		}
		kinds := f.kinds
		if len(p.wanted.person) > 0 {
			from.person, kinds = kinds[0].done(), kinds[1:]
		}
		if len(p.wanted.keyed) > 0 {
			from.keyed[0] = kinds[0].done()
		}
	}
	c := p.of
	c.Value = value
	c.Values = l.assemble(0, 0, candidate{person: p.person, value: value}, &from)
	for i, ref := range p.who.Places() {
		place := geo.Fold(p.fixes, ref, l.fences, l.p.fixes, at)
		if s != nil {
			if there, is := s.Places[i]; is {
				place = there
			}
		}
		c.Places = append(c.Places, place)
	}
	if s != nil && s.Profile != nil {
		c.Profile = s.Profile
	}
	if s != nil {
		c.Trigger = s.Trigger
	}
	return &c
}

// Occurrences are those that a feature counts, whatever its window.
func (p *Past) Occurrences(x *segments.Feature, value string, s *segments.Supposed) []*segments.Occurrence {
	c := condition{event: x.Event, message: x.Message, filter: x.Filter}
	f := &fold{}
	var out []*segments.Occurrence
	one := func(h *Happened) {
		r := p.row(f, h)
		if !c.happened(r) || c.filter != nil && !c.filter.Eval(&r.of, nil) {
			return
		}
		if x.Keyed && textOfLeaf(r.of.Leaf(p.who.ForEach().Path)) != value {
			return
		}
		o := h.Occurrence
		out = append(out, &o)
	}
	for i := range p.rows {
		if s == nil || !slices.Contains(s.Without, p.rows[i].Pos) {
			one(&p.rows[i])
		}
	}
	for _, h := range p.added(s) {
		one(&h)
	}
	return out
}

package plan

import (
	"context"
	"errors"
	"math"
	"slices"

	"nudge/events"
	"nudge/segments"
)

// cutAfter is how many answers or dues end a part: they are in memory until it is handed on.
const cutAfter = 16_384

// progress is after how many parts of a look at everybody it is told how far it has come.
const progress = 10

// duesKept is how long after its instant a due is kept, less a day (ms): who comes later looks at everybody.
const duesKept = 39 * 24 * 60 * 60 * 1000

// rowsLinger is how long rows can be found that the retention has passed, less a day (ms).
const rowsLinger = 7 * 24 * 60 * 60 * 1000

// tick is one Tick while it is answered.
type tick struct {
	*look
	from    []segments.Baseline
	changes []*segments.Changes
	full    []bool     // conditions that everybody is looked at for
	people  [][]uint64 // by condition: whom to judge whatever a prefilter says, sorted
	// By condition: who of these need not be judged if what arrived is no news, and who turned out so.
	perhaps, unchanged []map[uint64]bool
	ages               [][]ageOf // by condition
	before             uint64    // position that no baseline is before
	asked              []map[uint64]*askedFor
	refused            []error // by condition
	part               segments.Part
	dues               []due
	fn                 func(*segments.Part) error
}

// askedFor are the values that were asked for of somebody; whole: all of them.
type askedFor struct {
	whole bool
	named []string
}

// Tick answers for whom conditions are true, reading only of the people whose answer can have changed since
// the baselines, in calls of fn: docs/planning.md says who they are. An error of fn ends the tick and is
// returned.
//
// People who have been merged by Tick.UpTo are answered for as the person they became. What falls due
// for a person by itself is written to the store before the part with that person is handed on. A
// condition that the store refuses to compute is refused alone, in this part and in those that follow.
func (p *Planner) Tick(ctx context.Context, q segments.Tick, fn func(*segments.Part) error) error {
	t, err := p.tick(ctx, q, fn)
	if err != nil {
		return err
	}
	if err := t.changed(ctx); err != nil {
		return err
	}
	t.ask(q.Asks)
	spans, err := t.spans(ctx)
	if err != nil {
		return err
	}
	for i, s := range spans {
		if err := t.spanned(ctx, s); err != nil {
			return err
		}
		if n := i + 1; len(spans) > 1 && (n%progress == 0 || n == len(spans)) {
			p.log.InfoContext(ctx, "looking at everybody", "parts", n, "of", len(spans))
		}
	}
	return nil
}

func (p *Planner) tick(ctx context.Context, q segments.Tick, fn func(*segments.Part) error) (*tick, error) {
	for _, w := range q.Who {
		if w.On() != nil {
			return nil, errors.New("plan: a condition with `on` is asked by Look")
		}
	}
	l, err := p.look(ctx, segments.Look{
		At: q.At, UpTo: q.UpTo, Who: q.Who, Retention: q.Retention, DefaultZone: q.DefaultZone, Fences: q.Fences,
	})
	if err != nil {
		return nil, err
	}
	n := len(q.Who)
	t := &tick{
		look: l, fn: fn, from: make([]segments.Baseline, n), changes: make([]*segments.Changes, n), full: make([]bool, n),
		people: make([][]uint64, n), perhaps: make([]map[uint64]bool, n), unchanged: make([]map[uint64]bool, n), ages: make([][]ageOf, n), asked: make([]map[uint64]*askedFor, n), refused: make([]error, n),
	}
	copy(t.from, q.From)
	groups, _ := grouped(q.Who)
	l.prepare(groups)
	l.keep = t.wasAsked
	if q.Stands != nil {
		l.stands = func(w int, c candidate) bool {
			return !t.wasAsked(w, c) && q.Stands(w, events.PersonID(c.person), c.value)
		}
	}
	for i, w := range q.Who {
		t.changes[i] = w.Changes()
		if i < len(q.OwnClock) && q.OwnClock[i] {
			moved := *t.changes[i]
			moved.Zone = true
			t.changes[i] = &moved
		}
		l.dated[i] = t.changes[i].Dues
		from := t.from[i]
		forgotten := l.dated[i] && q.At-from.At > duesKept || q.Retention > 0 && q.At-from.At > rowsLinger
		t.readAges(i)
		t.full[i] = from == (segments.Baseline{}) || len(t.changes[i].Full) > 0 || from.At > q.At || from.UpTo > q.UpTo || forgotten
	}
	return t, nil
}

func (t *tick) refuse(w int, err error) { t.refused[w] = err }

// incremental are the conditions for which only those are judged whose answer can have changed.
func (t *tick) incremental() []int {
	var out []int
	for w, full := range t.full {
		if !full {
			out = append(out, w)
		}
	}
	return out
}

// ask adds those who are to be judged in any case.
func (t *tick) ask(asks []segments.Ask) {
	for _, a := range asks {
		person := t.moment.canonical.of(uint64(a.Person))
		if t.asked[a.Who] == nil {
			t.asked[a.Who] = map[uint64]*askedFor{}
		}
		v := t.asked[a.Who][person]
		if v == nil {
			v = &askedFor{}
			t.asked[a.Who][person] = v
			t.people[a.Who] = append(t.people[a.Who], person)
		}
		if a.Value == "" {
			v.whole = true
		} else if !slices.Contains(v.named, a.Value) {
			v.named = append(v.named, a.Value)
		}
	}
	for w := range t.people {
		t.people[w] = distinct(t.people[w])
	}
}

func (t *tick) wasAsked(w int, c candidate) bool {
	v := t.asked[w][c.person]
	return v != nil && (v.whole || slices.Contains(v.named, c.value))
}

// spanned answers for a range of people.
func (t *tick) spanned(ctx context.Context, s span) error {
	found := make([][]candidate, len(t.groups))
	for g := range t.groups {
		var err error
		if found[g], err = t.find(ctx, g, s); err != nil {
			return err
		}
	}
	people := make([][]uint64, len(t.Who))
	for w := range people {
		people[w] = s.within(t.people[w])
	}
	for {
		last, any := t.next(found, people)
		if !any {
			return t.emit(ctx, s.to)
		}
		b := t.chunk(found, people, last)
		if err := t.refute(ctx, b); err != nil {
			return err
		}
		v, err := t.judgeEach(ctx, b, t.refuse)
		if err != nil {
			return err
		}
		sortAnswers(v.answers)
		t.part.Answers, t.dues = append(t.part.Answers, v.answers...), append(t.dues, v.dues...)
		if len(t.part.Answers) >= cutAfter || len(t.dues) >= cutAfter {
			if err := t.emit(ctx, last); err != nil {
				return err
			}
		}
	}
}

// next is the last person of the next chunk.
func (t *tick) next(found [][]candidate, people [][]uint64) (last uint64, any bool) {
	var next []uint64
	for g := range found {
		next = append(next, firstPeople(found[g], t.p.chunk)...)
	}
	for _, list := range people {
		next = append(next, list[:min(len(list), t.p.chunk)]...)
	}
	if len(next) == 0 {
		return 0, false
	}
	next = distinct(next)
	return next[min(len(next), t.p.chunk)-1], true
}

// chunk takes the people up to last off the lists.
func (t *tick) chunk(found [][]candidate, people [][]uint64, last uint64) *batch {
	b := newBatch(t.groups, t.keyed)
	for g, group := range t.groups {
		n, _ := slices.BinarySearchFunc(found[g], last, func(c candidate, person uint64) int {
			if c.person <= person {
				return -1
			}
			return 1
		})
		b.given[g], found[g] = t.unasked(found[g][:n]), found[g][n:]
		who := map[uint64][]int{}
		var order []uint64
		for _, w := range group.who {
			n, there := slices.BinarySearch(people[w], last)
			if there {
				n++
			}
			if t.refused[w] == nil {
				for _, person := range people[w][:n] {
					if who[person] == nil {
						order = append(order, person)
					}
					who[person] = append(who[person], w)
				}
			}
			people[w] = people[w][n:]
		}
		for _, person := range order {
			c := candidate{person: person, who: who[person]}
			b.all[g] = append(b.all[g], c)
			if group.forEach == nil {
				continue
			}
			for _, w := range c.who {
				if v := t.asked[w][person]; v != nil {
					for _, value := range v.named {
						b.named[g] = append(b.named[g], candidate{person: person, value: value, who: []int{w}})
					}
				}
			}
		}
	}
	return b
}

// unasked leaves out what is judged anyway, and what was refused meanwhile.
func (t *tick) unasked(found []candidate) []candidate {
	barred := func(c candidate) func(int) bool {
		return func(w int) bool { return t.refused[w] != nil || t.asked[w][c.person] != nil }
	}
	out := found[:0:0]
	for _, c := range found {
		if slices.ContainsFunc(c.who, barred(c)) {
			c.who = slices.DeleteFunc(slices.Clone(c.who), barred(c))
		}
		if len(c.who) > 0 {
			out = append(out, c)
		}
	}
	return out
}

// find finds those of a range who pass the prefilters of a group's conditions that everybody is looked at for.
func (t *tick) find(ctx context.Context, g int, s span) ([]candidate, error) {
	var who []int
	for _, w := range t.groups[g].who {
		if t.full[w] && t.refused[w] == nil {
			who = append(who, w)
		}
	}
	var found []candidate
	err := each(who, func(who []int) error {
		some, err := t.candidates(ctx, group{t.groups[g].forEach, who}, &s)
		found = append(found, some...)
		return err
	}, t.refuse)
	sortCandidates(found)
	return found, err
}

// emit hands on the part of the people up to the given one.
func (t *tick) emit(ctx context.Context, to uint64) error {
	if err := t.writeDues(ctx, t.dues); err != nil {
		return err
	}
	p := &t.part
	p.To = events.PersonID(to)
	s := &span{uint64(p.After), to}
	p.Judged, p.Everybody, p.Refused = make([][]events.PersonID, len(t.Who)), make([]bool, len(t.Who)), nil
	for w, err := range t.refused {
		switch {
		case err != nil:
			p.Refused = append(p.Refused, segments.Refused{Who: w, Err: err})
		case t.full[w]:
			p.Everybody[w] = true
		default:
			p.Judged[w] = personIDs(t.judged(w, s))
		}
	}
	if len(p.Refused) > 0 {
		p.Answers = slices.DeleteFunc(p.Answers, func(a segments.Answer) bool { return t.refused[a.Who] != nil })
	}
	if err := t.fn(p); err != nil {
		return err
	}
	t.part, t.dues = segments.Part{After: p.To}, t.dues[:0]
	return nil
}

// judged are those of a range who were judged.
func (t *tick) judged(w int, s *span) []uint64 {
	people := s.within(t.people[w])
	if len(t.unchanged[w]) == 0 {
		return people
	}
	return slices.DeleteFunc(slices.Clone(people), func(p uint64) bool { return t.unchanged[w][p] })
}

// spans cuts the people into ranges that are read one after the other. Where nobody is looked at but those
// who are known by now there is one.
func (t *tick) spans(ctx context.Context) ([]span, error) {
	whole := []span{{0, math.MaxUint64}}
	if !slices.Contains(t.full, true) {
		return whole, nil
	}
	if err := t.locate(ctx); err != nil {
		return nil, err
	}
	return t.store.spans(ctx, t.moment)
}

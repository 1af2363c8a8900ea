package plan

import (
	"cmp"
	"context"
	"slices"

	"nudge/events"
	"nudge/segments"
	"nudge/segments/geo"
)

// look is one Look while it is answered.
type look struct {
	segments.Look
	store  store
	p      *Planner
	moment moment
	fences *geo.Fences
	groups []group

	slots  [][]slot // by condition and feature
	person columns
	keyed  []columns // by group
	crowd  *crowd
	spots  *spots                        // nil: no condition asks for places, or nobody knows who is anywhere
	dated  []bool                        // by condition: what falls due by itself is to be written down
	keep   func(w int, c candidate) bool // which answers are told that are neither True nor Failed; nil: none
	stands func(w int, c candidate) bool // of which true ones no more is read than that; nil: of none

	arriving bool // it judges occurrences that arrived
}

// Look answers a question, in calls of fn. It first judges conditions about people and values: a call
// has all answers of the people in it, ordered by person, condition and value. Then it judges
// arrivals in (time, position) order. An error of fn ends the look and is returned.
//
// People who have been merged by Look.UpTo are answered for as the person they became. A condition
// that the store refuses to compute fails alone: its answers are Failed, with Person 0 where everybody
// was to be looked at.
func (p *Planner) Look(ctx context.Context, q segments.Look, fn func([]segments.Answer) error) error {
	l, err := p.look(ctx, q)
	if err != nil {
		return err
	}
	groups, arriving := grouped(q.Who)
	l.prepare(groups)
	if len(groups) > 0 {
		if l.People != nil {
			err = l.given(ctx, fn)
		} else {
			var who []int
			for _, g := range groups {
				who = append(who, g.who...)
			}
			slices.Sort(who)
			err = l.everybody(ctx, who, fn)
		}
	}
	if err != nil || len(arriving) == 0 {
		return err
	}
	return l.arrivals(ctx, arriving, fn)
}

func (p *Planner) look(ctx context.Context, q segments.Look) (*look, error) {
	m, err := p.people.at(ctx, p.store, uint64(q.UpTo))
	if err != nil {
		return nil, err
	}
	fences, ok := q.Fences.(*geo.Fences)
	if !ok {
		fences = p.fences()
	}
	l := &look{Look: q, store: p.store, p: p, fences: fences, moment: p.moment(q.At, uint64(q.UpTo), q.Retention, m)}
	l.crowd = newCrowd(l)
	return l, nil
}

// prepare gives every feature its column.
func (l *look) prepare(groups []group) {
	l.groups = groups
	l.slots = make([][]slot, len(l.Who))
	l.dated = make([]bool, len(l.Who))
	l.keyed = make([]columns, len(groups))
	place := func(w int, keyed *columns) {
		for _, f := range refs(l.Who[w].Features()) {
			if f.Keyed && keyed != nil {
				l.slots[w] = append(l.slots[w], slot{true, keyed.add(f)})
				continue
			}
			l.slots[w] = append(l.slots[w], slot{false, l.person.add(f)})
		}
	}
	for g := range groups {
		for _, w := range groups[g].who {
			place(w, &l.keyed[g])
		}
	}
	for w := range l.Who {
		if l.Who[w].On() != nil {
			place(w, nil)
		}
	}
}

// everybody judges the conditions about people and values for everybody: a Tick that follows none.
func (l *look) everybody(ctx context.Context, who []int, fn func([]segments.Answer) error) error {
	q := segments.Tick{At: l.At, UpTo: l.UpTo, Retention: l.Retention, DefaultZone: l.DefaultZone, Fences: l.Fences}
	for _, w := range who {
		q.Who = append(q.Who, l.Who[w])
	}
	told := make([]bool, len(who))
	return l.p.Tick(ctx, q, func(p *segments.Part) error {
		var out []segments.Answer
		for _, r := range p.Refused {
			if !told[r.Who] {
				told[r.Who] = true
				out = append(out, segments.Answer{Who: who[r.Who], Truth: segments.Failed, Err: r.Err})
			}
		}
		for _, a := range p.Answers {
			if l.Values != nil && a.Value != "" && !slices.Contains(l.Values[a.Person], a.Value) {
				continue
			}
			a.Who = who[a.Who]
			out = append(out, a)
		}
		if len(out) == 0 {
			return nil
		}
		return fn(out)
	})
}

// given judges for given people, whatever the prefilters say.
func (l *look) given(ctx context.Context, fn func([]segments.Answer) error) error {
	l.keep = func(int, candidate) bool { return true }
	for people := range slices.Chunk(canonicalPeople(l.moment.canonical, l.People), l.p.chunk) {
		b := newBatch(l.groups, l.keyed)
		for g, group := range l.groups {
			for _, person := range people {
				switch {
				case group.forEach == nil:
					b.given[g] = append(b.given[g], candidate{person: person, who: group.who})
				case l.Values == nil:
					b.all[g] = append(b.all[g], candidate{person: person, who: group.who})
				}
				if group.forEach != nil {
					for _, value := range l.Values[events.PersonID(person)] {
						b.given[g] = append(b.given[g], candidate{person: person, value: value, who: group.who})
					}
				}
			}
		}
		answers, err := l.judgeOrFail(ctx, b)
		if err != nil {
			return err
		}
		sortAnswers(answers)
		if len(answers) == 0 {
			continue
		}
		if err := fn(answers); err != nil {
			return err
		}
	}
	return nil
}

// judgeOrFail judges a batch; a condition that the store refuses to compute fails for whom it was to be judged.
func (l *look) judgeOrFail(ctx context.Context, b *batch) ([]segments.Answer, error) {
	var failed []segments.Answer
	v, err := l.judgeEach(ctx, b, func(w int, err error) {
		alone := b.only([]int{w})
		for g := range alone.groups {
			for _, c := range slices.Concat(alone.given[g], alone.all[g]) {
				failed = append(failed, segments.Answer{
					Who: w, Person: events.PersonID(c.person), Value: c.value, Trigger: c.trigger, Truth: segments.Failed, Err: err,
				})
			}
		}
	})
	return append(v.answers, failed...), err
}

// firstPeople are the first n people of sorted candidates.
func firstPeople(found []candidate, n int) []uint64 {
	var out []uint64
	for _, c := range found {
		if len(out) > 0 && out[len(out)-1] == c.person {
			continue
		}
		if len(out) == n {
			break
		}
		out = append(out, c.person)
	}
	return out
}

func sortCandidates(found []candidate) {
	slices.SortStableFunc(found, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.person, b.person), cmp.Compare(a.value, b.value))
	})
}

package plan

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"nudge/events"
	"nudge/segments"
	"nudge/segments/geo"
)

// look is one Look while it is answered.
type look struct {
	segments.Look
	*asker
	moment moment
	fences *geo.Fences
	groups []group

	slots  [][]slot // by condition and feature
	person columns
	keyed  []columns // by group
	crowd  *crowd
	spots  *spots // nil: no condition asks for places, or nobody knows who is anywhere
}

// Look answers a question, in calls of fn. It first judges conditions about people and values: a call
// has all answers of the people in it, ordered by person, condition and value. Then it judges
// arrivals in (time, position) order. An error of fn ends the look and is returned.
//
// People who have been merged by Look.UpTo are answered for as the person they became. A condition
// that the store refuses to compute fails alone: its answers are Failed, with Person 0 when not even
// its candidates could be found.
func (p *Planner) Look(ctx context.Context, q segments.Look, fn func([]segments.Answer) error) error {
	l, err := p.look(ctx, &asker{p: p}, q)
	if err != nil {
		return err
	}
	groups, arriving := grouped(q.Who)
	l.prepare(groups)
	if err := l.people(ctx, fn); err != nil {
		return err
	}
	if len(arriving) == 0 {
		return nil
	}
	return l.arrivals(ctx, arriving, fn)
}

func (p *Planner) look(ctx context.Context, a *asker, q segments.Look) (*look, error) {
	m, err := p.people.at(ctx, a, uint64(q.UpTo))
	if err != nil {
		return nil, err
	}
	fences, ok := q.Fences.(*geo.Fences)
	if !ok {
		fences = p.fences()
	}
	l := &look{Look: q, asker: a, fences: fences, moment: p.moment(q.At, uint64(q.UpTo), q.Retention, m)}
	l.crowd = newCrowd(l)
	return l, nil
}

// prepare gives every feature its column.
func (l *look) prepare(groups []group) {
	l.groups = groups
	l.slots = make([][]slot, len(l.Who))
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

// people judges the conditions about people and values.
func (l *look) people(ctx context.Context, fn func([]segments.Answer) error) error {
	if len(l.groups) == 0 {
		return nil
	}
	if l.People != nil {
		return l.given(ctx, fn)
	}
	if err := l.locate(ctx); err != nil {
		return err
	}
	found := make([][]candidate, len(l.groups))
	for g := range l.groups {
		var err error
		if found[g], err = l.find(ctx, l.groups[g], fn); err != nil {
			return err
		}
		found[g] = l.restrict(found[g])
	}
	// People in order, a chunk at a time, over all groups.
	for {
		var next []uint64
		for g := range found {
			next = append(next, firstPeople(found[g], l.p.chunk)...)
		}
		if len(next) == 0 {
			return nil
		}
		slices.Sort(next)
		next = slices.Compact(next)
		last := next[min(len(next), l.p.chunk)-1]
		chunk := make([][]candidate, len(found))
		for g := range found {
			n, _ := slices.BinarySearchFunc(found[g], last, func(c candidate, person uint64) int {
				if c.person <= person {
					return -1
				}
				return 1
			})
			chunk[g], found[g] = found[g][:n], found[g][n:]
		}
		if err := l.emit(ctx, chunk, fn); err != nil {
			return err
		}
	}
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

// find finds a group's candidates; when the store refuses, each condition is tried alone.
func (l *look) find(ctx context.Context, g group, fn func([]segments.Answer) error) ([]candidate, error) {
	found, err := l.candidates(ctx, g)
	if err == nil || !isRefused(err) {
		return found, err
	}
	if len(g.who) == 1 {
		return nil, fn([]segments.Answer{{Who: g.who[0], Truth: segments.Failed, Err: err}})
	}
	found = nil
	for _, w := range g.who {
		some, err := l.find(ctx, group{g.forEach, []int{w}}, fn)
		if err != nil {
			return nil, err
		}
		found = append(found, some...)
	}
	sortCandidates(found)
	return found, nil
}

func sortCandidates(found []candidate) {
	slices.SortStableFunc(found, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.person, b.person), cmp.Compare(a.value, b.value))
	})
}

// restrict keeps the candidates with a value that was asked for.
func (l *look) restrict(found []candidate) []candidate {
	if l.Values == nil {
		return found
	}
	return slices.DeleteFunc(found, func(c candidate) bool {
		return c.value != "" && !slices.Contains(l.Values[events.PersonID(c.person)], c.value)
	})
}

// given judges for given people, whatever the prefilters say.
func (l *look) given(ctx context.Context, fn func([]segments.Answer) error) error {
	for people := range slices.Chunk(canonicalPeople(l.moment.canonical, l.People), l.p.chunk) {
		chunk := make([][]candidate, len(l.groups))
		for g, group := range l.groups {
			for _, person := range people {
				if group.forEach == nil {
					chunk[g] = append(chunk[g], candidate{person: person, who: group.who})
					continue
				}
				for _, value := range l.Values[events.PersonID(person)] {
					chunk[g] = append(chunk[g], candidate{person: person, value: value, who: group.who})
				}
			}
			if group.forEach != nil && l.Values == nil {
				listed, err := l.values(ctx, &l.keyed[g], nil, group.forEach, people)
				if err != nil {
					return err
				}
				for who := range listed {
					chunk[g] = append(chunk[g], candidate{person: who.person, value: who.value, who: group.who})
				}
			}
		}
		if err := l.emit(ctx, chunk, fn); err != nil {
			return err
		}
	}
	return nil
}

// emit judges the candidates of some people and hands the answers on.
func (l *look) emit(ctx context.Context, chunk [][]candidate, fn func([]segments.Answer) error) error {
	var out []segments.Answer
	for g := range chunk {
		answers, err := l.isolate(ctx, &l.groups[g], &l.keyed[g], chunk[g])
		if err != nil {
			return err
		}
		out = append(out, answers...)
	}
	slices.SortFunc(out, func(a, b segments.Answer) int {
		return cmp.Or(cmp.Compare(a.Person, b.Person), cmp.Compare(a.Who, b.Who), cmp.Compare(a.Value, b.Value))
	})
	if len(out) == 0 {
		return nil
	}
	return fn(out)
}

// isolate judges candidates; when the store refuses, each condition is judged alone, and the one at
// fault fails for its candidates.
func (l *look) isolate(ctx context.Context, g *group, keyed *columns, candidates []candidate) ([]segments.Answer, error) {
	answers, err := l.judge(ctx, g, keyed, candidates)
	if err == nil || !isRefused(err) {
		return answers, err
	}
	var who []int
	for _, c := range candidates {
		who = sortedUnique(append(who, c.who...))
	}
	answers = nil
	for _, w := range who {
		var alone []candidate
		for _, c := range candidates {
			if slices.Contains(c.who, w) {
				c.who = []int{w}
				alone = append(alone, c)
			}
		}
		some, err := l.judge(ctx, g, keyed, alone)
		switch {
		case err == nil:
		case !isRefused(err):
			return nil, err
		default:
			for _, c := range alone {
				some = append(some, segments.Answer{
					Who: w, Person: events.PersonID(c.person), Value: c.value, Trigger: c.trigger, Truth: segments.Failed, Err: err,
				})
			}
		}
		answers = append(answers, some...)
	}
	return answers, nil
}

// judge reads what the conditions of the candidates ask for and lets the conditions decide.
func (l *look) judge(ctx context.Context, g *group, keyed *columns, candidates []candidate) ([]segments.Answer, error) {
	if len(candidates) == 0 {
		return nil, nil
	}
	facts, err := l.gather(ctx, g, keyed, candidates)
	if err != nil {
		return nil, err
	}
	var out []segments.Answer
	var judged []*segments.Candidate
	for _, c := range candidates {
		for _, w := range c.who {
			answer, candidate := l.answer(w, c, facts)
			if l.People == nil && answer.Truth != segments.True && answer.Truth != segments.Failed {
				continue
			}
			out = append(out, answer)
			judged = append(judged, candidate)
		}
	}
	return out, l.complete(ctx, out, judged, facts)
}

func (l *look) answer(w int, c candidate, facts *facts) (segments.Answer, *segments.Candidate) {
	who := l.Who[w]
	candidate := &segments.Candidate{
		Person: events.PersonID(c.person), Value: c.value, Trigger: c.trigger, DefaultZone: l.DefaultZone,
		Values:  assemble(who, l.slots[w], facts.person[holder{person: c.person}], facts.keyed[holder{c.person, c.value}]),
		Profile: facts.profiles[c.person],
	}
	for _, ref := range who.Places() {
		candidate.Places = append(candidate.Places, geo.Fold(facts.fixes[c.person], ref, l.fences, l.p.fixes, l.At))
	}
	truth, err := who.Judge(l.At, candidate)
	return segments.Answer{
		Who: w, Person: candidate.Person, Value: c.value, Truth: truth, Err: err, Trigger: c.trigger, Profile: candidate.Profile,
	}, candidate
}

// complete adds what a rule needs of those for whom it is true.
func (l *look) complete(ctx context.Context, answers []segments.Answer, judged []*segments.Candidate, facts *facts) error {
	var missing []uint64
	for i := range answers {
		if answers[i].Truth == segments.True && answers[i].Profile == nil {
			missing = append(missing, uint64(answers[i].Person))
		}
	}
	if err := l.readProfiles(ctx, facts, missing); err != nil {
		return err
	}
	for i := range answers {
		if answers[i].Truth == segments.True {
			judged[i].Profile = facts.profiles[uint64(answers[i].Person)]
			answers[i].Profile = judged[i].Profile
		}
	}
	if err := l.crowd.ask(ctx, answers, judged); err != nil {
		return err
	}
	for i := range answers {
		a, who := &answers[i], l.Who[answers[i].Who]
		if a.Truth == segments.Failed {
			continue
		}
		a.Features = who.Values(judged[i])
		if a.Truth != segments.True {
			continue
		}
		a.Since, _ = who.Since(judged[i])
		var err error
		if a.With, err = who.With(l.At, judged[i], l.crowd.of(who)); err != nil {
			a.Truth, a.Err = segments.Failed, fmt.Errorf("values of the message: %w", err)
		}
	}
	return nil
}

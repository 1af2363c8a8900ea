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

// batch is who is judged together, by group of conditions.
type batch struct {
	groups []group
	keyed  []columns // the columns of each group's values
	// given are to be judged as they are, and so are those in all of a group without for_each; of those in all of
	// one with it (who have no value yet) every value is, and the named values too if they never occurred.
	given, all, named [][]candidate
}

func newBatch(groups []group, keyed []columns) *batch {
	return &batch{groups: groups, keyed: keyed, given: make([][]candidate, len(groups)), all: make([][]candidate, len(groups)), named: make([][]candidate, len(groups))}
}

// who are the conditions that somebody is judged for, sorted.
func (b *batch) who() []int {
	seen := map[int]bool{}
	var out []int
	for _, lists := range [][][]candidate{b.given, b.all} {
		for _, list := range lists {
			for _, c := range list {
				for _, w := range c.who {
					if !seen[w] {
						seen[w] = true
						out = append(out, w)
					}
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

// only is the part of the batch that is about some conditions.
func (b *batch) only(who []int) *batch {
	out := newBatch(b.groups, b.keyed)
	narrow := func(list []candidate) []candidate {
		var kept []candidate
		for _, c := range list {
			c.who = intersect(c.who, who)
			if len(c.who) > 0 {
				kept = append(kept, c)
			}
		}
		return kept
	}
	for g := range b.groups {
		out.given[g], out.all[g], out.named[g] = narrow(b.given[g]), narrow(b.all[g]), narrow(b.named[g])
	}
	return out
}

func intersect(a, b []int) []int {
	var out []int
	for _, x := range a {
		if slices.Contains(b, x) {
			out = append(out, x)
		}
	}
	return out
}

// verdicts are what judging a batch brings.
type verdicts struct {
	answers []segments.Answer
	dues    []due
}

// each runs something for conditions together. What the store refuses is tried with fewer of them, so that
// only those that it refuses alone are told to refuse.
func each(who []int, run func(who []int) error, refuse func(w int, err error)) error {
	if len(who) == 0 {
		return nil
	}
	err := run(who)
	switch {
	case err == nil || !isRefused(err):
		return err
	case len(who) == 1:
		refuse(who[0], err)
		return nil
	}
	half := len(who) / 2
	if err := each(who[:half], run, refuse); err != nil {
		return err
	}
	return each(who[half:], run, refuse)
}

// judgeEach judges a batch; conditions that the store refuses to compute are told to refuse, and have no
// verdicts.
func (l *look) judgeEach(ctx context.Context, b *batch, refuse func(w int, err error)) (verdicts, error) {
	var out verdicts
	whole := b.who()
	err := each(whole, func(who []int) error {
		some := b
		if len(who) < len(whole) {
			some = b.only(who)
		}
		v, err := l.judge(ctx, some)
		out.answers, out.dues = append(out.answers, v.answers...), append(out.dues, v.dues...)
		return err
	}, refuse)
	return out, err
}

// judge reads what the conditions of a batch ask for and lets the conditions decide.
func (l *look) judge(ctx context.Context, b *batch) (verdicts, error) {
	facts, err := l.gather(ctx, b)
	if err != nil {
		return verdicts{}, err
	}
	var out verdicts
	var judged []*segments.Candidate
	for g, list := range facts.candidates {
		for _, c := range list {
			for _, w := range c.who {
				answer, candidate := l.answer(w, g, c, facts)
				if l.dated[w] {
					if at, ok := l.Who[w].Due(l.At, candidate); ok {
						out.dues = append(out.dues, due{w, c.person, c.value, at})
					}
				}
				if answer.Truth != segments.True && answer.Truth != segments.Failed && (l.keep == nil || !l.keep(w, c)) {
					continue
				}
				out.answers = append(out.answers, answer)
				judged = append(judged, candidate)
			}
		}
	}
	return out, l.complete(ctx, out.answers, judged, facts)
}

func (l *look) answer(w, g int, c candidate, facts *facts) (segments.Answer, *segments.Candidate) {
	who := l.Who[w]
	candidate := &segments.Candidate{
		Person: events.PersonID(c.person), Value: c.value, Trigger: c.trigger, DefaultZone: l.DefaultZone,
		Values:  assemble(who, l.slots[w], facts.person[holder{person: c.person}], facts.keyed[g][holder{c.person, c.value}]),
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

func sortAnswers(answers []segments.Answer) {
	slices.SortFunc(answers, func(a, b segments.Answer) int {
		return cmp.Or(cmp.Compare(a.Person, b.Person), cmp.Compare(a.Who, b.Who), cmp.Compare(a.Value, b.Value))
	})
}

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

// people are those of the batch, sorted.
func (b *batch) people() []uint64 {
	var out []uint64
	for _, lists := range [][][]candidate{b.given, b.all} {
		for _, list := range lists {
			for _, c := range list {
				out = append(out, c.person)
			}
		}
	}
	return distinct(out)
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

// verdict is an answer while it is completed.
type verdict struct {
	segments.Answer
	of    *segments.Candidate
	group int
	candidate
	anyway bool // Look.Anyway
}

// asks says whether somebody gets something of the rule, so that more is read of them.
func (v *verdict) asks() bool {
	return (v.Truth == segments.True || v.anyway && v.Truth != segments.Failed) && !v.Stands
}

// judge reads what the conditions of a batch ask for and lets the conditions decide.
func (l *look) judge(ctx context.Context, b *batch) (verdicts, error) {
	facts, err := l.gather(ctx, b)
	if err != nil {
		return verdicts{}, err
	}
	var out verdicts
	var told []verdict
	judged, asking := 0, 0
	for g, list := range facts.candidates {
		for _, c := range list {
			judged += len(c.who)
			for _, w := range c.who {
				v := l.answer(w, g, c, facts)
				if l.dated[w] {
					if at, ok := l.Who[w].Due(l.At, v.of); ok {
						out.dues = append(out.dues, due{w, c.person, c.value, at})
					}
				}
				if v.asks() {
					asking++
				}
				if v.Truth == segments.True || v.Truth == segments.Failed || l.keep != nil && l.keep(w, c) {
					told = append(told, v)
				}
			}
		}
	}
	if err := l.complete(ctx, b, told, facts); err != nil {
		return verdicts{}, err
	}
	if l.arriving && l.People == nil {
		l.p.mostlyTrue.Store(2*asking >= judged)
	}
	for i := range told {
		out.answers = append(out.answers, told[i].Answer)
	}
	return out, nil
}

func (l *look) answer(w, g int, c candidate, facts *facts) verdict {
	who := l.Who[w]
	of := &segments.Candidate{
		Person: events.PersonID(c.person), Value: c.value, Trigger: c.trigger, DefaultZone: l.DefaultZone,
		Values: l.assemble(w, g, c, &facts.histories), Profile: facts.profiles[c.person],
	}
	for _, ref := range who.Places() {
		of.Places = append(of.Places, geo.Fold(facts.fixes[c.person], ref, l.fences, l.p.fixes, l.At))
	}
	if l.p.judged != nil {
		l.p.judged(who, l.At, of)
	}
	truth, err := who.Judge(l.At, of)
	a := segments.Answer{Who: w, Person: of.Person, Value: c.value, Truth: truth, Err: err, Trigger: c.trigger}
	if l.Parts {
		a.Parts = who.Explain(l.At, of)
	}
	return verdict{a, of, g, c, l.Anyway}
}

// complete adds what a rule needs of those for whom it is true.
func (l *look) complete(ctx context.Context, b *batch, told []verdict, facts *facts) error {
	var people []uint64
	parts := profileParts{ids: true, contact: true}
	for i := range told {
		if told[i].Truth == segments.True && l.stands != nil {
			told[i].Stands = l.stands(told[i].Who, told[i].candidate)
		}
		if told[i].asks() && !facts.early && (!facts.whole || facts.profiles[told[i].person] == nil) {
			people = append(people, told[i].person)
			parts.created = parts.created || l.Who[told[i].Who].NeedsCreated()
		}
	}
	if !facts.whole {
		if err := l.readLater(ctx, b, told); err != nil {
			return err
		}
	}
	profiles, err := l.moment.profiles(ctx, l.store, distinct(people), parts)
	if err != nil {
		return err
	}
	for i := range told {
		if v := &told[i]; v.asks() {
			if p := profiles[v.person]; p != nil {
				v.of.Profile = p
			}
			v.Profile = v.of.Profile
		}
	}
	if err := l.crowd.ask(ctx, told); err != nil {
		return err
	}
	for i := range told {
		v, who := &told[i], l.Who[told[i].Who]
		if v.Truth == segments.Failed || v.Stands {
			continue
		}
		v.Features = who.Values(v.of)
		if !v.asks() {
			continue
		}
		v.Since, v.SincePos, _ = who.Since(v.of)
		var err error
		if v.With, err = who.With(l.At, v.of, l.crowd.of(who)); err != nil {
			v.Truth, v.Err = segments.Failed, fmt.Errorf("values of the message: %w", err)
		}
	}
	return nil
}

// readLater reads all that conditions name of those for whom they are true, where judging did not.
func (l *look) readLater(ctx context.Context, b *batch, told []verdict) error {
	some := newBatch(b.groups, b.keyed)
	reads := func(v *verdict) bool {
		return v.asks() && slices.ContainsFunc(l.Who[v.Who].Features(), func(f segments.Feature) bool {
			return f.Later || f.ReadsLater != f.Reads
		})
	}
	for i := range told {
		if v := &told[i]; reads(v) {
			some.given[v.group] = append(some.given[v.group], candidate{person: v.person, who: []int{v.Who}})
		}
	}
	read, err := l.read(ctx, l.moment, l.wants(some, true), b.keyed)
	if err != nil {
		return err
	}
	for i := range told {
		if v := &told[i]; reads(v) {
			v.of.Values = l.assemble(v.Who, v.group, v.candidate, &read)
		}
	}
	return nil
}

func sortAnswers(answers []segments.Answer) {
	slices.SortFunc(answers, func(a, b segments.Answer) int {
		return cmp.Or(cmp.Compare(a.Person, b.Person), cmp.Compare(a.Who, b.Who), cmp.Compare(a.Value, b.Value))
	})
}

package main

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	"nudge/events"
	"nudge/segments"
)

// truth is one true answer: somebody, and the value (a hash of it) for which a rule has one.
type truth struct{ person, value uint64 }

func (a truth) compare(b truth) int {
	return cmp.Or(cmp.Compare(a.person, b.person), cmp.Compare(a.value, b.value))
}

// heard is what a tick said, as small as it can be kept: there may be millions of answers.
type heard struct {
	yes       [][]truth // by rule, in order
	judged    [][]uint64
	whole     [][]span // ranges of people that were judged whole
	everybody bool
	answers   int64
	parts     int
}

// span are the people with after < id ≤ to.
type span struct{ after, to uint64 }

func newHeard(rules int) *heard {
	return &heard{yes: make([][]truth, rules), judged: make([][]uint64, rules), whole: make([][]span, rules)}
}

// part takes in a part of a tick.
func (h *heard) part(p *segments.Part) error {
	h.parts++
	for _, r := range p.Refused {
		return fmt.Errorf("the store refused rule %d: %w", r.Who, r.Err)
	}
	for _, a := range p.Answers {
		switch a.Truth {
		case segments.True:
			h.answers++
			h.yes[a.Who] = append(h.yes[a.Who], truth{uint64(a.Person), hashed(a.Value)})
		case segments.Failed:
			return fmt.Errorf("rule %d failed for person %d: %w", a.Who, a.Person, a.Err)
		default:
		}
	}
	for who, everybody := range p.Everybody {
		if everybody {
			h.everybody = true
			h.whole[who] = append(h.whole[who], span{uint64(p.After), uint64(p.To)})
			continue
		}
		for _, person := range p.Judged[who] {
			h.judged[who] = append(h.judged[who], uint64(person))
		}
	}
	return nil
}

func hashed(value string) uint64 {
	if value == "" {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(value))
	return h.Sum64()
}

// people are who was judged for any rule.
func (h *heard) people() []uint64 {
	var all []uint64
	for _, judged := range h.judged {
		all = append(all, judged...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func list(people []uint64) string {
	if len(people) == 0 {
		return "0"
	}
	var b strings.Builder
	for i, p := range people {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatUint(p, 10))
	}
	return b.String()
}

// ruleState is who is in each rule as of the last tick, kept as the engine keeps it: who was judged is in
// or out, who was not is where they were.
type ruleState struct {
	rules  []tickRule
	whos   []*segments.Who
	at     segments.Baseline
	in     [][]truth
	judged []int64 // in all ticks, but for looks at everybody
	turned []int64
}

func newRuleSet(rules []tickRule, whos []*segments.Who) *ruleState {
	return &ruleState{rules: rules, whos: whos, in: make([][]truth, len(whos)), judged: make([]int64, len(whos)), turned: make([]int64, len(whos))}
}

// stands says that somebody is in a rule already.
func (r *ruleState) stands(who int, person events.PersonID, value string) bool {
	_, in := slices.BinarySearchFunc(r.in[who], truth{uint64(person), hashed(value)}, truth.compare)
	return in
}

// apply brings the state to a tick. Who was merged into somebody else is nobody any more.
func (r *ruleState) apply(h *heard, losers []uint64, at segments.Baseline) {
	slices.Sort(losers)
	for who := range r.in {
		judged := h.judged[who]
		gone := func(t truth) bool {
			if _, found := slices.BinarySearch(judged, t.person); found {
				return true
			}
			if _, found := slices.BinarySearch(losers, t.person); found {
				return true
			}
			return slices.ContainsFunc(h.whole[who], func(s span) bool { return t.person > s.after && t.person <= s.to })
		}
		before := r.in[who]
		next := slices.DeleteFunc(slices.Clone(before), gone)
		next = append(next, h.yes[who]...)
		slices.SortFunc(next, truth.compare)
		if len(h.whole[who]) == 0 {
			left, came := difference(before, next)
			r.turned[who] += int64(len(left) + len(came))
			r.judged[who] += int64(len(judged))
		}
		r.in[who] = next
	}
	r.at = at
}

// difference are the members of only one of two ordered lists.
func difference(a, b []truth) (onlyA, onlyB []truth) {
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].compare(b[0]) < 0:
			onlyA, a = append(onlyA, a[0]), a[1:]
		case len(a) == 0 || a[0].compare(b[0]) > 0:
			onlyB, b = append(onlyB, b[0]), b[1:]
		default:
			a, b = a[1:], b[1:]
		}
	}
	return onlyA, onlyB
}

// size is how many answers are true.
func (r *ruleState) size() int {
	n := 0
	for _, in := range r.in {
		n += len(in)
	}
	return n
}

// same is an error that names the rules about which two states differ.
func (r *ruleState) same(full *ruleState) error {
	var wrong []string
	for who := range r.in {
		onlyTicks, onlyFull := difference(r.in[who], full.in[who])
		if len(onlyTicks)+len(onlyFull) == 0 {
			continue
		}
		var text strings.Builder
		fmt.Fprintf(&text, "%s: %d of %d only by the ticks, %d only by the full look", r.rules[who].name, len(onlyTicks), len(r.in[who]), len(onlyFull))
		for _, one := range slices.Concat(onlyTicks[:min(2, len(onlyTicks))], onlyFull[:min(2, len(onlyFull))]) {
			fmt.Fprintf(&text, " · person %d", one.person)
		}
		wrong = append(wrong, text.String())
	}
	if wrong != nil {
		return &differError{r.at, wrong}
	}
	return nil
}

// differError says about whom ticks and a full look do not agree.
type differError struct {
	at    segments.Baseline
	rules []string
}

// Error implements error.
func (e *differError) Error() string {
	return fmt.Sprintf("the ticks and the full look at %d, position %s, differ:\n  %s", e.at.At, e.at.UpTo, strings.Join(e.rules, "\n  "))
}

// table tells of each rule who is in it and who was looked at.
func (r *ruleState) table(ticks int) *table {
	t := &table{
		Key: "rules", Title: "The rules, people or values a tick",
		Columns: []column{{"rule", "rule", 0}, {"judged", "judged", 1}, {"turned", "turned", 1}, {"in", "in it at the end", 0}},
	}
	for who, rule := range r.rules {
		t.row(rule.name, float64(r.judged[who])/float64(ticks), float64(r.turned[who])/float64(ticks), float64(len(r.in[who])))
	}
	return t
}

package plan

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"nudge/segments"
)

// maxConditions is how many conditions one candidate query answers for: its text has to stay within
// what servers accept (256 KB).
const maxConditions = 64

// group is the conditions of a look that one candidate query can find the people of.
type group struct {
	forEach *segments.ForEach // nil: conditions about the person
	who     []int             // indexes in Look.Who
}

// grouped sorts the conditions of a look by what their candidates are: people, values of a for_each
// (one group for each distinct one), or arrivals.
func grouped(who []*segments.Who) (groups []group, arrivals []int) {
	places := map[string]int{}
	for i, w := range who {
		if w.On() != nil {
			arrivals = append(arrivals, i)
			continue
		}
		key := ""
		if f := w.ForEach(); f != nil {
			key = f.Event + "\x00" + f.Path + "\x00" + f.Filter.String()
		}
		at, ok := places[key]
		if !ok || len(groups[at].who) == maxConditions {
			at = len(groups)
			places[key] = at
			groups = append(groups, group{forEach: w.ForEach()})
		}
		groups[at].who = append(groups[at].who, i)
	}
	return groups, arrivals
}

// candidate is a person, and a value under for_each, for whom some conditions are to be judged.
type candidate struct {
	person  uint64
	value   string
	who     []int
	trigger *segments.Occurrence
}

// candidatesSQL writes the query that finds the candidates of a group in a range of people (nil: of all):
// person, value, and for each condition whether its prefilter is passed.
func (l *look) candidatesSQL(g group, s *span) string {
	m := l.moment
	m.span = s
	pre := newPrefilter(l.At, g.forEach != nil)
	bits := make([]string, len(g.who))
	for i, w := range g.who {
		pre.nowhere = l.located(g, w, s).instead
		bits[i] = "toUInt8(" + pre.add(l.Who[w]) + ")"
	}
	// A list is flat, which matters to the server's analyzer: bits added up would nest as deep as
	// there are conditions.
	passes := "[" + strings.Join(bits, ", ") + "]"
	rows, key, value, having := "", "p", "''", []string{"has(passes, 1)"}
	if g.forEach == nil {
		rows = m.personRows(pre.rows, words(pre.aggregates...), &pre.conds)
		if rows == "" { // no prefilter can hold for anybody
			return ""
		}
	} else {
		key, value = "p, v", "v"
		_, own := forEachSource(g.forEach)
		having = append(having, "n > 0")
		pre.aggregates = append(pre.aggregates, "countIf("+pre.conds.column(own)+") AS n")
		rows = m.keyedRows(g.forEach, pre.rows.features, words(pre.aggregates...), &pre.conds)
	}
	inner := "SELECT " + strings.Join(append([]string{key}, pre.aggregates...), ", ") + " FROM (" + rows + ") GROUP BY " + key
	return "SELECT p, " + value + ", " + passes + " AS passes FROM (" + inner + ")" + where(having) + " ORDER BY " + key
}

// located is what places say of a condition's candidates.
type located struct {
	people  []uint64
	only    bool // nobody else can be one
	instead bool // they are candidates whatever the prefilter says, which then need not pass them
}

func (l *look) located(g group, w int, s *span) located {
	places := l.Who[w].Places()
	if l.spots == nil || len(places) == 0 {
		return located{}
	}
	people, only := l.spots.needed(l.Who[w].Prefilter(), places)
	if !only {
		people = l.spots.people
	}
	people = s.within(people)
	return located{people, only, g.forEach == nil && len(people) <= l.p.chunk}
}

// candidates finds the candidates of a group in a range of people, by person and value.
func (l *look) candidates(ctx context.Context, g group, s *span) ([]candidate, error) {
	asked := group{forEach: g.forEach}
	at := map[int]located{}
	for _, w := range g.who {
		at[w] = l.located(g, w, s)
		if !at[w].only || !at[w].instead && len(at[w].people) > 0 {
			asked.who = append(asked.who, w)
		}
	}
	var out []candidate
	if len(asked.who) > 0 {
		var err error
		if out, err = l.store.passing(ctx, l, asked, s); err != nil {
			return nil, fmt.Errorf("finding candidates: %w", err)
		}
	}
	for i, c := range out {
		barred := func(w int) bool {
			_, there := slices.BinarySearch(at[w].people, c.person)
			return at[w].only && !there
		}
		if slices.ContainsFunc(c.who, barred) {
			out[i].who = slices.DeleteFunc(slices.Clone(c.who), barred)
		}
	}
	for _, w := range g.who {
		if !at[w].instead {
			continue
		}
		passed := map[uint64]bool{}
		for _, c := range out {
			if slices.Contains(c.who, w) {
				passed[c.person] = true
			}
		}
		for _, person := range at[w].people {
			if !passed[person] {
				out = append(out, candidate{person: person, who: []int{w}})
			}
		}
	}
	sortCandidates(out)
	return out, nil
}

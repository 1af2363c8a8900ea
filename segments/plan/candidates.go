package plan

import (
	"context"
	"fmt"
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

// candidatesSQL writes the query that finds the candidates of a group: person, value, and for each
// condition whether its prefilter is passed.
func (l *look) candidatesSQL(g group) string {
	pre := newPrefilter(l.At, g.forEach != nil)
	bits := make([]string, len(g.who))
	for i, w := range g.who {
		bits[i] = "toUInt8(" + pre.add(l.Who[w]) + ")"
	}
	// A list is flat, which matters to the server's analyzer: bits added up would nest as deep as
	// there are conditions.
	passes := "[" + strings.Join(bits, ", ") + "]"
	rows, key, value, having := "", "p", "''", ""
	if g.forEach == nil {
		rows = l.moment.personRows(pre.rows, &pre.conds)
		if rows == "" { // no prefilter can hold for anybody
			return ""
		}
	} else {
		key, value = "p, v", "v"
		_, own := forEachSource(g.forEach)
		having = " AND n > 0"
		pre.aggregates = append(pre.aggregates, "countIf("+pre.conds.column(own)+") AS n")
		rows = l.moment.keyedRows(g.forEach, pre.rows.features, nil, &pre.conds)
	}
	inner := "SELECT " + strings.Join(append([]string{key}, pre.aggregates...), ", ") + " FROM (" + rows + ") GROUP BY " + key
	return "SELECT p, " + value + ", " + passes + " AS passes FROM (" + inner + ") WHERE has(passes, 1)" + having + " ORDER BY " + key
}

// candidates finds the candidates of a group, by person and value.
func (l *look) candidates(ctx context.Context, g group) ([]candidate, error) {
	sql := l.candidatesSQL(g)
	if sql == "" {
		return nil, nil
	}
	sets := map[string][]int{} // by what is passed: most candidates share a few
	var out []candidate
	err := l.query(ctx, sql, func(scan func(...any) error) error {
		var c candidate
		var passes []uint8
		if err := scan(&c.person, &c.value, &passes); err != nil {
			return err
		}
		who, ok := sets[string(passes)]
		if !ok {
			for i, w := range g.who {
				if passes[i] == 1 {
					who = append(who, w)
				}
			}
			sets[string(passes)] = who
		}
		c.who = who
		out = append(out, c)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("finding candidates: %w", err)
	}
	return out, nil
}

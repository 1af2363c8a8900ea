package plan

import (
	"context"
	"fmt"
	"strings"

	"nudge/segments"
)

// maskBits is how many conditions one candidate query answers for.
const maskBits = 64

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
		if !ok || len(groups[at].who) == maskBits {
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

// candidatesSQL writes the query that finds the candidates of a group: person, value, and a bit for
// each condition whose prefilter they pass.
func (l *look) candidatesSQL(g group) string {
	pre := newPrefilter(l.At, g.forEach != nil)
	bits := make([]string, len(g.who))
	passes := make([]string, len(g.who))
	for i, w := range g.who {
		passes[i] = pre.add(l.Who[w])
		bits[i] = fmt.Sprintf("if(%s, bitShiftLeft(toUInt64(1), %d), toUInt64(0))", passes[i], i)
	}
	rows, key := "", "p"
	if g.forEach == nil {
		rows = l.moment.personRows(pre.rows)
		if rows == "" { // no prefilter can hold for anybody
			return ""
		}
	} else {
		key = "p, v"
		rows = l.moment.keyedRows(g.forEach, pre.rows.features, nil)
		_, own := forEachSource(g.forEach)
		pre.aggregates = append(pre.aggregates, "countIf("+own+") AS n")
		for i := range passes {
			passes[i] = all("n > 0", passes[i])
		}
	}
	value := "''"
	if g.forEach != nil {
		value = "v"
	}
	inner := "SELECT " + strings.Join(append([]string{key}, pre.aggregates...), ", ") + " FROM (" + rows + ") GROUP BY " + key
	return "SELECT p, " + value + ", " + strings.Join(bits, " + ") + " FROM (" + inner + ") WHERE " + anyOf(passes...) + " ORDER BY " + key
}

// candidates finds the candidates of a group, by person and value.
func (l *look) candidates(ctx context.Context, g group) ([]candidate, error) {
	sql := l.candidatesSQL(g)
	if sql == "" {
		return nil, nil
	}
	sets := map[uint64][]int{} // by mask: most candidates share a few
	var out []candidate
	err := l.query(ctx, sql, func(scan func(...any) error) error {
		var c candidate
		var mask uint64
		if err := scan(&c.person, &c.value, &mask); err != nil {
			return err
		}
		who, ok := sets[mask]
		if !ok {
			for i, w := range g.who {
				if mask>>i&1 == 1 {
					who = append(who, w)
				}
			}
			sets[mask] = who
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

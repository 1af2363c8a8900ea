package plan

import (
	"fmt"
	"slices"
	"strings"

	"nudge/events"
)

// span is the people with after < id ≤ to.
type span struct{ after, to uint64 }

// within are those of a sorted list who are in the range.
func (s *span) within(people []uint64) []uint64 {
	if s == nil {
		return people
	}
	from, found := slices.BinarySearch(people, s.after)
	if found {
		from++
	}
	to, found := slices.BinarySearch(people, s.to)
	if found {
		to++
	}
	return people[from:to]
}

// maxNamed is how many merged people a query names; where more matter it asks the table.
const maxNamed = 4096

// from writes the FROM clause that reads a table with its canonical person: the clause, the
// expression for the person, and conditions. With people, only their rows are read; else those of the
// moment's range.
func (m moment) from(table, alias string, only []uint64) (from, person string, conditions []string) {
	from, person = m.table(table)+" AS "+alias, alias+".person"
	who := m.canonical
	var gone []uint64 // whose erasure matters
	switch {
	case only != nil:
		raw := who.raw(only)
		conditions = append(conditions, person+" IN ("+ids(raw)+")")
		person = who.renamed(person, raw)
		gone = only
	case m.span != nil:
		from, person, conditions = m.ranged(from, person)
	case len(who.root) > 0:
		from, person = m.joined(from, person)
	}
	return from, person, append(conditions, who.alive(alias, person, gone, m.span)...)
}

// renamed reads those of the ids that lost a merge as who they became.
func (m *mapping) renamed(person string, raw []uint64) string {
	var lost, root []uint64
	for _, id := range raw {
		if r := m.of(id); r != id {
			lost, root = append(lost, id), append(root, r)
		}
	}
	return transform(person, lost, root)
}

// joined reads everybody as who they became.
func (m moment) joined(from, person string) (string, string) {
	from += fmt.Sprintf(" LEFT ANY JOIN (SELECT loser, winner FROM %smerges WHERE pos <= %d) AS merged ON %s = merged.loser",
		m.database, m.canonical.upTo, person)
	return from, m.canonical.renamed(fmt.Sprintf("if(merged.winner = 0, %s, merged.winner)", person), m.canonical.middle)
}

// ranged reads the rows of the people of a range: those under their own ids, which lie together, and
// those under the ids of whoever was merged into them.
func (m moment) ranged(from, person string) (string, string, []string) {
	who, s := m.canonical, m.span
	own := fmt.Sprintf("%[1]s > %[2]d AND %[1]s <= %[3]d", person, s.after, s.to)
	left := s.within(who.gone) // rows of the range that belong elsewhere, perhaps
	var came []uint64
	for _, root := range s.within(who.roots) {
		came = append(came, who.losers[root]...)
	}
	switch {
	case len(left) == 0 && len(came) == 0:
		return from, person, []string{own}
	case len(left)+len(came) <= maxNamed:
		conditions := []string{own}
		if len(came) > 0 {
			conditions[0] = "(" + own + " OR " + person + " IN (" + ids(came) + "))"
		}
		out := who.renamed(person, distinct(append(came, left...)))
		return from, out, append(conditions, fmt.Sprintf("%[1]s > %[2]d AND %[1]s <= %[3]d", out, s.after, s.to))
	}
	root, raw := who.renamed("winner", who.middle), person
	from, person = m.joined(from, person)
	into := fmt.Sprintf("SELECT loser FROM %smerges WHERE pos <= %d AND %[3]s > %[4]d AND %[3]s <= %[5]d", m.database, who.upTo, root, s.after, s.to)
	return from, person, []string{
		"(" + own + " OR " + raw + " IN (" + into + "))",
		fmt.Sprintf("%[1]s > %[2]d AND %[1]s <= %[3]d", person, s.after, s.to),
	}
}

// alive are the conditions under which a row is not of somebody who has been erased since. With
// people, or in a range, only their erasures are said.
func (m *mapping) alive(alias, person string, only []uint64, s *span) []string {
	if len(m.erased) == 0 {
		return nil
	}
	gone := s.within(m.erasedPeople)
	if only != nil {
		gone = intersection(only, gone)
	}
	if len(gone) == 0 {
		return nil
	}
	up := make([]uint64, len(gone))
	for i, id := range gone {
		up[i] = m.erased[id]
	}
	return []string{fmt.Sprintf("%s.pos > transform(%s, %s, %s, toUInt64(0))", alias, person, array(gone), array(up))}
}

func where(conditions []string) string {
	if len(conditions) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(conditions, " AND ")
}

func personIDs(people []uint64) []events.PersonID {
	out := make([]events.PersonID, len(people))
	for i, p := range people {
		out[i] = events.PersonID(p)
	}
	return out
}

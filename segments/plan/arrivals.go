package plan

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"nudge/events"
	"nudge/segments"
)

// arrivalsSQL writes the query for the occurrences that conditions with one `on` are judged for
// (all that arrived since Look.After, or the triggers), of everyone or of some people.
func (l *look) arrivalsSQL(on *segments.On, triggers []events.Position, people []uint64) string {
	from, person, bounds := l.moment.from("events", "e", people)
	bounds = append(bounds, named([]source{onSource(on)})...)
	if l.Triggers != nil {
		positions := make([]uint64, len(triggers))
		for i, pos := range triggers {
			positions[i] = uint64(pos)
		}
		bounds = append(bounds, "e.pos IN ("+ids(positions)+")", fmt.Sprintf("e.pos <= %d", l.UpTo))
	} else {
		// What is dated a little ahead is judged when it arrives: nothing would look at it again.
		bounds = append(bounds, fmt.Sprintf("e.pos > %d AND e.pos <= %d", l.After, l.UpTo), "bitAnd(e.flags, 1) = 0")
		if on.MaxAge > 0 {
			bounds = append(bounds, "e.time > "+instant(l.At-on.MaxAge))
		}
	}
	value := "''"
	if on.By != "" {
		value = textOf(on.By)
	}
	passes := all(happened(on.Event, onSource(on).message), render(on.Filter, occurrence{}))
	having := ""
	if l.Triggers == nil {
		having = where([]string{passes})
		if on.By != "" {
			having += " AND v != ''"
		}
	}
	outer := "SELECT p, " + value + " AS v, t, pos, event, properties, context, toUInt8(" + passes + ")"
	own, _ := columnsOf(words(outer), &conditions{})
	return outer + " FROM (SELECT " + strings.Join(append([]string{person + " AS p"}, selected(own)...), ", ") +
		" FROM " + from + where(bounds) + ")" + having + " ORDER BY t, pos"
}

func onSource(on *segments.On) source {
	s := source{event: on.Event}
	if ours(on.Event) {
		s.message = "*"
	}
	return s
}

// ours says whether only the engine writes events of that name.
func ours(event string) bool {
	switch event {
	case events.MessageSent, events.MessageFailed, events.MessageDelivered, events.MessageOpened, events.MessageClicked:
		return true
	}
	return false
}

// arrivals judges conditions with `on` for each occurrence that arrived, or for the given triggers.
func (l *look) arrivals(ctx context.Context, who []int, fn func([]segments.Answer) error) error {
	type same struct {
		on  *segments.On
		who []int
	}
	var kinds []same
	for _, w := range who {
		on := l.Who[w].On()
		at := slices.IndexFunc(kinds, func(s same) bool {
			return s.on.Event == on.Event && s.on.By == on.By && s.on.MaxAge == on.MaxAge && s.on.Filter.String() == on.Filter.String()
		})
		if at < 0 {
			at = len(kinds)
			kinds = append(kinds, same{on: on})
		}
		kinds[at].who = append(kinds[at].who, w)
	}
	var people []uint64
	if l.People != nil {
		people = canonicalPeople(l.moment.canonical, l.People)
	}
	if l.People != nil {
		l.keep = func(int, candidate) bool { return true }
	}
	var found []candidate
	for _, k := range kinds {
		if l.Triggers == nil {
			some, err := l.arrived(ctx, k.on, k.who, nil, people, fn)
			if err != nil {
				return err
			}
			found = append(found, some...)
		}
		for triggers := range slices.Chunk(l.Triggers, l.p.chunk) {
			some, err := l.arrived(ctx, k.on, k.who, triggers, people, fn)
			if err != nil {
				return err
			}
			found = append(found, some...)
		}
	}
	slices.SortStableFunc(found, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.trigger.Time, b.trigger.Time), cmp.Compare(a.trigger.Pos, b.trigger.Pos))
	})
	for chunk := range slices.Chunk(found, l.p.chunk) {
		b := newBatch([]group{{}}, make([]columns, 1))
		b.given[0] = chunk
		answers, err := l.judgeOrFail(ctx, b)
		if err != nil {
			return err
		}
		slices.SortStableFunc(answers, func(a, b segments.Answer) int {
			return cmp.Or(cmp.Compare(a.Trigger.Time, b.Trigger.Time), cmp.Compare(a.Trigger.Pos, b.Trigger.Pos), cmp.Compare(a.Who, b.Who))
		})
		if len(answers) == 0 {
			continue
		}
		if err := fn(answers); err != nil {
			return err
		}
	}
	return nil
}

// arrived finds the occurrences for conditions that share one `on`. A given trigger that no longer
// passes the filter is answered False here.
func (l *look) arrived(
	ctx context.Context, on *segments.On, who []int, triggers []events.Position, people []uint64, fn func([]segments.Answer) error,
) ([]candidate, error) {
	if people != nil && len(people) == 0 {
		return nil, nil
	}
	only := people
	if len(people) > l.p.chunk { // too many for the text of a query
		only = nil
	}
	var out []candidate
	var refusals []segments.Answer
	err := l.query(ctx, l.arrivalsSQL(on, triggers, only), func(scan func(...any) error) error {
		c := candidate{who: who}
		var at int64
		var pos uint64
		var event, properties, context string
		var passes uint8
		if err := scan(&c.person, &c.value, &at, &pos, &event, &properties, &context, &passes); err != nil {
			return err
		}
		if _, asked := slices.BinarySearch(people, c.person); people != nil && !asked {
			return nil
		}
		c.trigger = occurrenceOf(at, pos, event, properties, context)
		if l.Values != nil && on.By != "" && !slices.Contains(l.Values[events.PersonID(c.person)], c.value) {
			return nil
		}
		if passes == 1 && (on.By == "" || c.value != "") {
			out = append(out, c)
			return nil
		}
		for _, w := range who {
			refusals = append(refusals, segments.Answer{Who: w, Person: events.PersonID(c.person), Value: c.value, Truth: segments.False, Trigger: c.trigger})
		}
		return nil
	})
	if isRefused(err) {
		failed := make([]segments.Answer, len(who))
		for i, w := range who {
			failed[i] = segments.Answer{Who: w, Truth: segments.Failed, Err: err}
		}
		return nil, fn(failed)
	}
	if err != nil {
		return nil, fmt.Errorf("reading arrivals: %w", err)
	}
	if len(refusals) > 0 && l.People != nil {
		return out, fn(refusals)
	}
	return out, nil
}

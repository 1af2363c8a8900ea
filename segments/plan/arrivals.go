package plan

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"math"
	"slices"

	"nudge/events"
	"nudge/events/memory"
	"nudge/segments"
)

// arrivedBounds are the conditions on the rows that `on` conditions are judged for: all that arrived since
// Look.After, or the triggers.
func (l *look) arrivedBounds(alias string, maxAge int64, triggers []events.Position) []string {
	if l.Triggers != nil {
		positions := make([]uint64, len(triggers))
		for i, pos := range triggers {
			positions[i] = uint64(pos)
		}
		return []string{alias + ".pos IN (" + ids(positions) + ")", fmt.Sprintf("%s.pos <= %d", alias, l.UpTo)}
	}
	// What is dated a little ahead is judged when it arrives: nothing would look at it again.
	out := []string{fmt.Sprintf("%[1]s.pos > %[2]d AND %[1]s.pos <= %[3]d", alias, l.After, l.UpTo), "bitAnd(" + alias + ".flags, 1) = 0"}
	if maxAge > 0 {
		out = append(out, alias+".time > "+Instant(l.At-maxAge))
	}
	return out
}

// heard is of whom rows of a stream arrived, and between which instants (Unix ms) they lie.
type heard struct {
	people   []uint64
	from, to int64
}

// hearSQL writes the query for of whom something arrived that `on` conditions are judged for.
func (l *look) hearSQL(kinds []listeners, triggers []events.Position) string {
	maxAge, streams := int64(0), streamsOf(kinds)
	for _, k := range kinds {
		maxAge = max(maxAge, k.on.MaxAge)
	}
	if slices.ContainsFunc(kinds, func(k listeners) bool { return k.on.MaxAge == 0 }) {
		maxAge = 0
	}
	conditions := append(l.arrivedBounds("x", maxAge, triggers), streamsFilter(streams))
	return "SELECT toUInt8(x.kind) AS kind, toString(x.event) AS name, person, toUnixTimestamp64Milli(min(x.time)), toUnixTimestamp64Milli(max(x.time)) FROM " +
		l.moment.table("events") + " AS x" + where(conditions) + " GROUP BY kind, name, person"
}

// hear finds of whom something arrived that `on` conditions are judged for. The rows themselves are read by
// the person then: this one query reads the narrow order by position.
func (l *look) hear(ctx context.Context, kinds []listeners, triggers []events.Position) (map[stream]*heard, error) {
	streams, out := streamsOf(kinds), map[stream]*heard{}
	err := l.store.heard(ctx, l, kinds, triggers, func(own stream, person uint64, first, last int64) {
		for _, s := range append(own.wider(), own) {
			if !streams[s] {
				continue
			}
			h := out[s]
			if h == nil {
				h = &heard{from: first, to: last}
				out[s] = h
			}
			h.people = append(h.people, l.moment.canonical.of(person))
			h.from, h.to = min(h.from, first), max(h.to, last)
		}
	})
	for _, h := range out {
		h.people = distinct(h.people)
		if l.People != nil {
			h.people = intersection(h.people, canonicalPeople(l.moment.canonical, l.People))
		}
	}
	return out, err
}

// arrivalsSQL writes the query for the rows of some people among which are the occurrences that conditions with one `on`
// are judged for.
func (l *look) arrivalsSQL(on *segments.On, triggers []events.Position, h *heard, people []uint64) string {
	from, person, bounds := l.moment.from("events", "e", people)
	bounds = append(append(bounds, named([]source{onSource(on)})...), l.arrivedBounds("e", on.MaxAge, triggers)...)
	if h != nil { // the order of a person's rows is by time: so theirs are found in it
		bounds = append(bounds, "e.time >= "+Instant(h.from), "e.time <= "+Instant(h.to))
	}
	return "SELECT " + person + " AS p, e.pos, e.kind, e.flags, toUnixTimestamp64Milli(e.time), toString(e.event), e.properties, e.context FROM " +
		from + where(bounds)
}

func onSource(on *segments.On) source {
	s := source{event: on.Event}
	if ours(on.Event) {
		s.message = "*"
	}
	return s
}

// ours says whether only the engine writes events of that name.
func ours(event string) bool { return slices.Contains(events.MessageEvents(), event) }

// listeners are the conditions that share an `on`.
type listeners struct {
	on  *segments.On
	who []int
}

func (k *listeners) stream() stream {
	if ours(k.on.Event) {
		return stream{ofMessages, k.on.Event}
	}
	return stream{ofApp, k.on.Event}
}

// streamsOf are those that conditions listen to.
func streamsOf(kinds []listeners) map[stream]bool {
	out := map[stream]bool{}
	for _, k := range kinds {
		out[k.stream()] = true
	}
	return out
}

func (l *look) listeners(who []int) []listeners {
	var kinds []listeners
	for _, w := range who {
		on := l.Who[w].On()
		at := slices.IndexFunc(kinds, func(k listeners) bool {
			return k.on.Event == on.Event && k.on.By == on.By && k.on.MaxAge == on.MaxAge && k.on.Filter.String() == on.Filter.String()
		})
		if at < 0 {
			at = len(kinds)
			kinds = append(kinds, listeners{on: on})
		}
		kinds[at].who = append(kinds[at].who, w)
	}
	return kinds
}

// arrivals judges conditions with `on` for each occurrence that arrived, or for the given triggers.
func (l *look) arrivals(ctx context.Context, who []int, fn func([]segments.Answer) error) error {
	if l.People != nil {
		l.keep = func(int, candidate) bool { return true }
	}
	l.arriving = true
	kinds := l.listeners(who)
	rounds := [][]events.Position{nil}
	if l.Triggers != nil {
		rounds = slices.Collect(slices.Chunk(slices.Sorted(slices.Values(l.Triggers)), l.p.chunk))
	}
	var found []candidate
	for _, triggers := range rounds {
		heard, err := l.hear(ctx, kinds, triggers)
		if err != nil {
			return fmt.Errorf("reading arrivals: %w", err)
		}
		for _, k := range kinds {
			h := heard[k.stream()]
			if h == nil {
				continue
			}
			for people := range slices.Chunk(h.people, l.p.chunk) {
				some, err := l.arrived(ctx, k, triggers, h, people, fn)
				if isRefused(err) {
					err = fn(k.failed(err))
				}
				if err != nil {
					return err
				}
				found = append(found, some...)
			}
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

// failed are the answers of conditions whose occurrences the store refused to find.
func (k *listeners) failed(err error) []segments.Answer {
	out := make([]segments.Answer, len(k.who))
	for i, w := range k.who {
		out[i] = segments.Answer{Who: w, Truth: segments.Failed, Err: err}
	}
	return out
}

// arrived finds the occurrences of some people for conditions that share an `on`. A given trigger that no
// longer passes the filter is answered False here.
func (l *look) arrived(
	ctx context.Context, k listeners, triggers []events.Position, h *heard, people []uint64, fn func([]segments.Answer) error,
) ([]candidate, error) {
	on := k.on
	var out []candidate
	var refusals []segments.Answer
	err := l.store.triggers(ctx, l, on, triggers, h, people, func(c candidate, passes bool) {
		c.who = k.who
		if l.Values != nil && on.By != "" && !slices.Contains(l.Values[events.PersonID(c.person)], c.value) {
			return
		}
		if passes && (on.By == "" || c.value != "") {
			out = append(out, c)
			return
		}
		for _, w := range k.who {
			refusals = append(refusals, segments.Answer{Who: w, Person: events.PersonID(c.person), Value: c.value, Truth: segments.False, Trigger: c.trigger})
		}
	})
	if err != nil {
		return nil, fmt.Errorf("reading arrivals: %w", err)
	}
	if len(refusals) > 0 && l.People != nil {
		return out, fn(refusals)
	}
	return out, nil
}

// What follows picks from rows those that `on` conditions are judged for: from rows at hand, or from what arrivalsSQL reads.

// arrivedNow says whether a row is one that `on` conditions with a largest age (0: none) are judged for; triggers, which
// are sorted, are of a look that brings its own.
func (l *look) arrivedNow(r *row, maxAge int64, triggers []events.Position) bool {
	pos := events.Position(r.pos)
	switch {
	case pos > l.UpTo:
		return false
	case l.Triggers != nil:
		_, asked := slices.BinarySearch(triggers, pos)
		return asked
	}
	return pos > l.After && events.Flags(r.flags)&events.Imported == 0 && (maxAge <= 0 || r.of.Time > l.At-maxAge)
}

// heardAmong tells of whom rows arrived.
func (l *look) heardAmong(rows iter.Seq[*row], triggers []events.Position, each func(s stream, person uint64, first, last int64)) {
	for r := range rows {
		if l.arrivedNow(r, 0, triggers) {
			each(rowOf(events.Kind(r.kind), r.of.Event), r.person, r.of.Time, r.of.Time)
		}
	}
}

// triggersAmong finds the occurrences, by (time, position), that conditions with one `on` are judged for.
func (l *look) triggersAmong(rows iter.Seq[*row], on *segments.On, asked []events.Position, people []uint64, each func(c candidate, passes bool)) {
	m := l.moment
	m.at = math.MaxInt64 // what is dated a little ahead is judged when it arrives
	sees := sight{m, people}
	cond := condition{event: on.Event, message: onSource(on).message, filter: on.Filter}
	type found struct {
		candidate
		passes bool
	}
	var out []found
	for r := range rows {
		if !l.arrivedNow(r, on.MaxAge, asked) || on.Event != "*" && r.of.Event != on.Event && !cond.happened(r) {
			continue
		}
		person, ok := sees.person(memory.Stamp{Person: events.PersonID(r.person), Pos: events.Position(r.pos), Time: r.of.Time}, math.MinInt64)
		if !ok {
			continue
		}
		o := r.of
		c := candidate{person: person, trigger: &o}
		if on.By != "" {
			c.value = textOfLeaf(o.Leaf(on.By))
		}
		passes := cond.counts(r)
		if l.Triggers == nil && (!passes || on.By != "" && c.value == "") {
			continue
		}
		out = append(out, found{c, passes})
	}
	slices.SortStableFunc(out, func(a, b found) int {
		return cmp.Or(cmp.Compare(a.trigger.Time, b.trigger.Time), cmp.Compare(a.trigger.Pos, b.trigger.Pos))
	})
	for _, f := range out {
		each(f.candidate, f.passes)
	}
}

package plan

import (
	"cmp"
	"context"
	"encoding/json"
	"iter"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"nudge/events"
	"nudge/events/memory"
	"nudge/segments"
	"nudge/segments/geo"
)

// inMemory reads a history that is all at hand: it walks over the rows. Nothing is estimated or prefiltered, and what
// is read of whom is what tables gives, which ticktest holds both to.
type inMemory struct{ *memory.Store }

// sight is whose rows a moment sees: of some people (nil: of all).
type sight struct {
	m    moment
	only []uint64
}

// person is who a row is about, and whether it is seen, of rows with time > after.
func (s sight) person(r memory.Stamp, after int64) (uint64, bool) {
	person := s.m.canonical.of(uint64(r.Person))
	switch {
	case uint64(r.Pos) > s.m.upTo, r.Time > s.m.at, after != math.MinInt64 && r.Time <= after, uint64(r.Pos) <= s.m.canonical.erased[person]:
		return 0, false
	case s.only == nil:
		return person, true
	}
	_, found := slices.BinarySearch(s.only, person)
	return person, found
}

func stampOf(r *events.Resolved) memory.Stamp {
	return memory.Stamp{Person: r.Person, Pos: r.Pos, Time: r.Time}
}

// set makes r the event's row.
func (r *row) set(person uint64, e *events.Resolved) {
	r.person, r.pos, r.kind, r.flags = person, uint64(e.Pos), uint8(e.Kind), uint32(e.Flags)
	r.of = segments.Occurrence{Time: e.Time, Pos: e.Pos, Event: e.StoredName(), Properties: e.Properties, Context: e.Context}
}

func (s *inMemory) merges(_ context.Context, after, upTo uint64) (fresh []merge, erased map[uint64]uint64, err error) {
	rows, _ := s.Read()
	for _, x := range rows.Merges {
		if pos := uint64(x.Pos); pos > after && pos <= upTo {
			fresh = append(fresh, merge{uint64(x.Person), uint64(x.Winner), pos})
		}
	}
	erased = map[uint64]uint64{}
	for _, x := range rows.Erasures {
		if pos := uint64(x.Pos); pos <= upTo {
			erased[uint64(x.Person)] = max(erased[uint64(x.Person)], pos)
		}
	}
	return fresh, erased, nil
}

func (*inMemory) spans(context.Context, moment) ([]span, error) {
	return []span{{0, math.MaxUint64}}, nil
}

func (s *inMemory) arrived(_ context.Context, m moment, _ map[stream][]int, after uint64, each func(streamRow)) error {
	rows, _ := s.Read()
	first, _ := slices.BinarySearchFunc(rows.Events, after, func(r *events.Resolved, pos uint64) int { return cmp.Compare(uint64(r.Pos), pos+1) })
	rows.Events = rows.Events[first:]
	streamRows(rows, nil, func(x streamRow) {
		if x.pos > after && x.pos <= m.upTo {
			if x.of == ofZones {
				x.time = 0
			}
			each(x)
		}
	})
	return nil
}

func (s *inMemory) crossed(_ context.Context, m moment, ask []needed, _ int, each func(streamRow)) error {
	from, to := map[streamOf]int64{}, map[streamOf]int64{}
	for _, x := range ask {
		f, known := from[x.of]
		if begins := x.from - x.age - 1; !known || begins < f {
			from[x.of] = begins
		}
		to[x.of] = max(to[x.of], x.to-x.age)
	}
	rows, dues := s.Read()
	streamRows(rows, dues, func(x streamRow) {
		if x.pos > m.upTo && x.of != ofDues {
			return
		}
		for _, w := range append(x.wider(), x.stream) {
			if f, asked := from[w.of]; asked && x.time >= f && x.time <= to[w.of] {
				each(x)
				return
			}
		}
	})
	return nil
}

// streamRows are rows by their streams.
func streamRows(rows memory.Rows, dues []memory.Due, each func(streamRow)) {
	row := func(of stream, r memory.Stamp) { each(streamRow{of, uint64(r.Person), uint64(r.Pos), r.Time}) }
	for _, r := range rows.Events {
		row(rowOf(r.Kind, r.StoredName()), stampOf(r))
	}
	for _, x := range rows.IDs {
		if x.Kind == "user" {
			row(stream{of: ofUserIDs}, x.Stamp)
		} else {
			row(stream{of: ofIDs}, x.Stamp)
		}
	}
	for _, x := range rows.Zones {
		row(stream{of: ofZones}, x.Stamp)
	}
	for _, x := range rows.Fixes {
		row(stream{of: ofFixes}, x.Stamp)
	}
	for _, d := range dues {
		each(streamRow{stream{ofDues, d.Condition}, uint64(d.Person), uint64(d.Pos), d.At})
	}
}

// eventRows are the rows of events, each valid until the next.
func (s *inMemory) eventRows() iter.Seq[*row] {
	rows, _ := s.Read()
	return func(yield func(*row) bool) {
		var r row
		for _, e := range rows.Events {
			r.set(uint64(e.Person), e)
			if !yield(&r) {
				return
			}
		}
	}
}

func (s *inMemory) heard(_ context.Context, l *look, _ []listeners, triggers []events.Position, each func(s stream, person uint64, first, last int64)) error {
	l.heardAmong(s.eventRows(), triggers, each)
	return nil
}

func (s *inMemory) triggers(
	_ context.Context, l *look, on *segments.On, asked []events.Position, _ *heard, people []uint64, each func(c candidate, passes bool),
) error {
	l.triggersAmong(s.eventRows(), on, asked, people, each)
	return nil
}

// passing are all who are known, or all values that occurred: no prefilter leaves out any.
func (s *inMemory) passing(_ context.Context, l *look, g group, of *span) ([]candidate, error) {
	rows, _ := s.Read()
	sees := sight{l.moment, nil}
	within := func(person uint64) bool { return of == nil || person > of.after && person <= of.to }
	seen := map[holder]bool{}
	if g.forEach == nil {
		for _, x := range rows.IDs {
			if person, ok := sees.person(x.Stamp, math.MinInt64); ok && within(person) {
				seen[holder{person: person}] = true
			}
		}
	}
	for _, e := range rows.Events {
		person, ok := sees.person(stampOf(e), l.moment.after)
		if !ok || !within(person) {
			continue
		}
		if g.forEach == nil {
			seen[holder{person: person}] = true
			continue
		}
		r := &row{}
		r.set(person, e)
		if own := (condition{event: g.forEach.Event, filter: g.forEach.Filter}); own.counts(r) {
			if value := textOfLeaf(r.of.Leaf(g.forEach.Path)); value != "" {
				seen[holder{person, value}] = true
			}
		}
	}
	out := make([]candidate, 0, len(seen))
	for who := range seen {
		out = append(out, candidate{person: who.person, value: who.value, who: g.who})
	}
	sortCandidates(out)
	return out, nil
}

func (s *inMemory) lastFixes(_ context.Context, m moment, o geo.Options, each func(person uint64, at geo.Fix)) error {
	rows, _ := s.Read()
	sees := sight{m, nil}
	last := map[uint64]memory.Fix{}
	for _, x := range rows.Fixes {
		person, ok := sees.person(x.Stamp, m.at-min(o.MaxAge, geo.History))
		if !ok || x.Accuracy < 0 || x.Accuracy > o.MaxAccuracy || math.Abs(x.Lat) > 90 || math.Abs(x.Lon) > 180 {
			continue
		}
		if had, known := last[person]; !known || newer(x.Stamp, had.Stamp) {
			last[person] = x
		}
	}
	for _, person := range slices.Sorted(maps.Keys(last)) {
		each(person, geo.Fix{Lat: last[person].Lat, Lon: last[person].Lon})
	}
	return nil
}

// newer says whether a was said after b.
func newer(a, b memory.Stamp) bool { return a.Time > b.Time || a.Time == b.Time && a.Pos > b.Pos }

func (s *inMemory) histories(_ context.Context, m moment, _ *fold, people []uint64, newest int, r *row, each func()) error {
	rows, _ := s.Read()
	sees := sight{m, people}
	if newest > 0 {
		rows.Events = slices.SortedFunc(slices.Values(rows.Events), func(a, b *events.Resolved) int {
			return cmp.Or(cmp.Compare(b.Time, a.Time), cmp.Compare(b.Pos, a.Pos))
		})
	}
	n := 0
	for _, e := range rows.Events {
		if person, ok := sees.person(stampOf(e), m.after); ok {
			r.set(person, e)
			each()
			if n++; n == newest {
				break
			}
		}
	}
	return nil
}

func (s *inMemory) profiles(_ context.Context, m moment, people []uint64, parts profileParts, each func(profileRow)) error {
	rows, _ := s.Read()
	sees := sight{m, people}
	type key struct {
		person       uint64
		name, locale string
	}
	traits := map[key]memory.Trait{}
	for _, x := range rows.Traits {
		if person, ok := sees.person(x.Stamp, math.MinInt64); ok {
			if had, known := traits[key{person: person, name: x.Key}]; !known || newer(x.Stamp, had.Stamp) {
				traits[key{person: person, name: x.Key}] = x
			}
		}
	}
	for k, x := range traits {
		each(profileRow{what: rowTrait, p: k.person, a: x.Key, b: x.Value})
	}
	zones := map[key]memory.Zone{}
	for _, x := range rows.Zones {
		if person, ok := sees.person(x.Stamp, math.MinInt64); ok {
			if had, known := zones[key{person, x.Name, x.Locale}]; !known || newer(x.Stamp, had.Stamp) {
				zones[key{person, x.Name, x.Locale}] = x
			}
		}
	}
	for k, x := range zones {
		each(profileRow{what: rowZone, p: k.person, a: x.Name, b: x.Locale, t: x.Time, n: uint64(x.Pos)})
	}
	if parts.ids {
		ids := map[key]*profileRow{}
		for _, x := range rows.IDs {
			person, ok := sees.person(x.Stamp, math.MinInt64)
			if !ok {
				continue
			}
			had := ids[key{person: person, name: x.Kind}]
			if had == nil {
				had = &profileRow{what: rowID, p: person, a: x.Kind, t: math.MaxInt64}
				ids[key{person: person, name: x.Kind}] = had
			}
			had.t = min(had.t, x.Time)
			if uint64(x.Pos) >= had.n {
				had.b, had.n = x.ID, uint64(x.Pos)
			}
		}
		for _, x := range ids {
			each(*x)
		}
	}
	if parts.created {
		first := map[uint64]int64{}
		for _, e := range rows.Events {
			if person, ok := sees.person(stampOf(e), math.MinInt64); ok {
				if had, known := first[person]; !known || e.Time < had {
					first[person] = e.Time
				}
			}
		}
		for person, at := range first {
			each(profileRow{what: rowEvent, p: person, t: at})
		}
	}
	if parts.contact {
		devices(rows, m, people, each)
		for _, x := range rows.Consents {
			if person, ok := sees.person(x.Stamp, math.MinInt64); ok {
				row := profileRow{what: rowConsent, p: person, a: x.Channel, b: x.Category, c: strconv.FormatUint(uint64(x.Person), 10), t: x.Time, n: uint64(x.Pos)}
				if x.Granted {
					row.yes = 1
				}
				each(row)
			}
		}
	}
	return nil
}

// devices tells the last row of every token that these people ever had: it may be somebody else's.
func devices(rows memory.Rows, m moment, people []uint64, each func(profileRow)) {
	theirs := map[string]bool{}
	last := map[string]memory.Device{}
	seen := map[string]int64{}
	for _, x := range rows.Devices {
		if _, ok := (sight{m, people}).person(x.Stamp, math.MinInt64); ok {
			theirs[x.Token] = true
		}
		if _, ok := (sight{m, nil}).person(x.Stamp, math.MinInt64); !ok {
			continue
		}
		had, known := last[x.Token]
		// The row of a new owner comes behind that of the former one.
		if !known || !newer(had.Stamp, x.Stamp) {
			last[x.Token] = x
		}
		seen[x.Token] = max(seen[x.Token], x.Time)
	}
	for token, x := range last {
		if !theirs[token] {
			continue
		}
		row := profileRow{what: rowDevice, p: m.canonical.of(uint64(x.Person)), a: token, b: x.Platform, c: x.App, d: x.Environment, t: seen[token]}
		if x.Removed {
			row.yes = 1
		}
		each(row)
	}
}

func (s *inMemory) fixes(_ context.Context, m moment, people []uint64, each func(person uint64, fix geo.Fix)) error {
	rows, _ := s.Read()
	sees := sight{m, people}
	for _, x := range rows.Fixes {
		if person, ok := sees.person(x.Stamp, m.at-geo.History); ok {
			each(person, geo.Fix{Time: x.Time, Pos: x.Pos, Lat: x.Lat, Lon: x.Lon, Accuracy: x.Accuracy})
		}
	}
	return nil
}

func (s *inMemory) everyone(_ context.Context, m moment, all []asked) ([]uint64, error) {
	rows, _ := s.Read()
	sees := sight{m, nil}
	people := make([]map[uint64]bool, len(all))
	for i := range all {
		people[i] = map[uint64]bool{}
	}
	for _, e := range rows.Events {
		person, ok := sees.person(stampOf(e), m.after)
		if !ok {
			continue
		}
		r := &row{}
		r.set(person, e)
		for i := range all {
			f := &all[i].feature
			of := condition{event: f.Event, message: f.Message, filter: f.Filter}
			if (f.Within <= 0 || e.Time > m.at-f.Within) && of.counts(r) {
				people[i][person] = true
			}
		}
	}
	out := make([]uint64, len(all))
	for i := range people {
		out[i] = uint64(len(people[i]))
	}
	return out, nil
}

func (s *inMemory) occurrences(
	_ context.Context, m moment, people []uint64, names []string, after int64, each func(person uint64, o segments.Occurrence),
) error {
	rows, _ := s.Read()
	sees := sight{m, people}
	type found struct {
		person uint64
		segments.Occurrence
	}
	var out []found
	for _, e := range rows.Events {
		if person, ok := sees.person(stampOf(e), after); ok && slices.Contains(names, e.StoredName()) && e.Flags&events.MachineOpen == 0 {
			r := &row{}
			r.set(person, e)
			out = append(out, found{person, r.of})
		}
	}
	slices.SortStableFunc(out, func(a, b found) int {
		return cmp.Or(cmp.Compare(a.person, b.person), cmp.Compare(a.Time, b.Time), cmp.Compare(a.Pos, b.Pos))
	})
	for _, f := range out {
		each(f.person, f.Occurrence)
	}
	return nil
}

func (s *inMemory) changes(_ context.Context, after, upTo uint64) ([]segments.Change, error) {
	rows, _ := s.Read()
	var out []segments.Change
	add := func(r memory.Stamp, erased bool, into events.PersonID) {
		c := segments.Change{Pos: r.Pos, Erased: erased, Person: r.Person, Into: into}
		if pos := uint64(r.Pos); pos > after && pos <= upTo && !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	for _, x := range rows.Merges {
		add(x.Stamp, false, x.Winner)
	}
	for _, x := range rows.Erasures {
		add(x.Stamp, true, 0)
	}
	slices.SortStableFunc(out, func(a, b segments.Change) int { return cmp.Compare(a.Pos, b.Pos) })
	return out, nil
}

func (s *inMemory) zones(context.Context) ([]string, error) {
	rows, _ := s.Read()
	var out []string
	for _, x := range rows.Zones {
		out = append(out, x.Name)
	}
	for _, x := range rows.Traits {
		var name string
		if x.Key == "timezone" && strings.HasPrefix(x.Value, `"`) && json.Unmarshal([]byte(x.Value), &name) == nil {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func (s *inMemory) saveDues(_ context.Context, l *look, dues []due) error {
	out := make([]memory.Due, len(dues))
	for i, d := range dues {
		out[i] = memory.Due{Condition: l.Who[d.who].Hash(), At: d.at, Person: events.PersonID(d.person), Value: d.value, Pos: l.UpTo}
	}
	s.AddDues(out)
	return nil
}

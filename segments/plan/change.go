package plan

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"nudge/events"
	"nudge/segments"
	"nudge/segments/geo"
)

// What can change an answer is a row that arrives, or an instant that passes: docs/planning.md. Rows are
// told apart by stream: what a condition reads of it at all.

// stream is one kind of row that can change answers.
type stream struct {
	of   streamOf
	name string // an event's name, or a condition's hash
}

type streamOf uint8

const (
	ofApp      streamOf = iota + 1 // the app's own calls of a name; "*": of any
	ofMessages                     // our messages
	ofIdentify                     // identify calls
	ofAnything                     // any row of events
	ofIDs                          // ids that were named for the first time
	ofUserIDs                      // user ids
	ofZones
	ofFixes
	ofDues
	ofMerges
	ofOlder // than what is read first
	ofAhead // what arrives and crosses later
)

// rowOf is the stream of a row of events.
func rowOf(kind events.Kind, name string) stream {
	switch kind {
	case events.KindTrack, events.KindPage, events.KindScreen:
		return stream{ofApp, name}
	case events.KindMessage:
		return stream{ofMessages, name}
	case events.KindIdentify:
		return stream{of: ofIdentify}
	default:
	}
	return stream{of: ofAnything}
}

// wider are the streams that the row is part of too.
func (s stream) wider() []stream {
	switch s.of {
	case ofApp:
		if s.name != events.LocationUpdated {
			return []stream{{ofApp, "*"}, {of: ofAnything}}
		}
		return []stream{{of: ofAnything}}
	case ofMessages, ofIdentify:
		return []stream{{of: ofAnything}}
	case ofUserIDs:
		return []stream{{of: ofIDs}}
	default:
	}
	return nil
}

// arriving are the streams of which a row that arrives can change a condition's answer.
func arriving(c *segments.Changes) []stream {
	var out []stream
	for _, s := range c.Sources {
		out = append(out, sourceStream(s))
	}
	for _, x := range []struct {
		reads bool
		of    streamOf
	}{
		{len(c.Traits) > 0 || c.Zone, ofIdentify},
		{c.UserID, ofUserIDs},
		{c.Created, ofAnything},
		{c.Anybody || c.Created, ofIDs},
		{c.Zone, ofZones},
		{c.Places, ofFixes},
	} {
		if x.reads {
			out = append(out, stream{of: x.of})
		}
	}
	return out
}

func sourceStream(s segments.ChangeSource) stream {
	if s.Message != "" {
		return stream{ofMessages, s.Event}
	}
	return stream{ofApp, s.Event}
}

// crossing is that a row of a stream becomes so old (ms).
type crossing struct {
	stream
	age int64
}

// crossings are those that can change a condition's answer.
func (t *tick) crossings(w int) []crossing {
	c := t.changes[w]
	var out []crossing
	for _, s := range c.Sources {
		for _, age := range s.Ages {
			out = append(out, crossing{sourceStream(s), age})
		}
		if t.Retention > 0 && readsAsFarAs(t.Who[w], s, t.Retention) {
			out = append(out, crossing{sourceStream(s), t.Retention})
		}
	}
	// What is dated ahead begins to be seen.
	for _, s := range arriving(c) {
		switch s.of {
		case ofIdentify, ofIDs, ofUserIDs, ofZones:
			out = append(out, crossing{s, 0})
		case ofFixes:
			out = append(out, crossing{s, 0}, crossing{s, t.p.fixes.MaxAge}, crossing{s, geo.History})
		default:
		}
	}
	if c.Dues {
		out = append(out, crossing{stream{ofDues, t.Who[w].Hash()}, 0})
	}
	return slices.DeleteFunc(out, func(c crossing) bool { return t.overlooked(c.stream, c.age) })
}

func (t *tick) overlooked(s stream, age int64) bool {
	return t.p.overlooks != nil && t.p.overlooks(s, age)
}

// readsAsFarAs says whether a condition reads a history as far back as the retention lets it.
func readsAsFarAs(w *segments.Who, s segments.ChangeSource, retention int64) bool {
	if f := w.ForEach(); f != nil && s.Message == "" && f.Event == s.Event {
		return true
	}
	return slices.ContainsFunc(w.Features(), func(f segments.Feature) bool {
		return f.Event == s.Event && f.Message == s.Message && (f.Within == 0 || f.Within > retention)
	})
}

// changed finds those whose answers can have changed since the baselines.
func (t *tick) changed(ctx context.Context) error {
	who := t.incremental()
	t.before = uint64(t.UpTo)
	for _, w := range who {
		t.before = min(t.before, uint64(t.from[w].UpTo))
		if !t.overlooked(stream{of: ofMerges}, -1) {
			t.people[w] = append(t.people[w], t.moment.canonical.won(uint64(t.from[w].UpTo))...)
		}
	}
	arrived := slices.DeleteFunc(slices.Clone(who), func(w int) bool { return t.from[w].UpTo >= t.UpTo })
	if err := each(arrived, func(who []int) error { return t.arrived(ctx, who) }, t.refuse); err != nil {
		return err
	}
	who = slices.DeleteFunc(who, func(w int) bool { return t.refused[w] != nil })
	if err := each(who, func(who []int) error { return t.crossed(ctx, who) }, t.refuse); err != nil {
		return err
	}
	for w := range t.people {
		for _, person := range t.people[w] { // something else has changed
			delete(t.perhaps[w], person)
		}
		t.people[w] = distinct(slices.AppendSeq(t.people[w], maps.Keys(t.perhaps[w])))
	}
	return nil
}

// affects adds a person to those to be judged for a condition, unless the row that says so is erased.
func (t *tick) affects(w int, person, pos uint64, perhaps bool) {
	m := t.moment.canonical
	person = m.of(person)
	switch {
	case len(m.erased) > 0 && pos <= m.erased[person]:
	case !perhaps:
		t.people[w] = append(t.people[w], person)
	default:
		if t.perhaps[w] == nil {
			t.perhaps[w] = map[uint64]bool{}
		}
		t.perhaps[w][person] = true
	}
}

// reader is a condition that reads a stream.
type reader struct {
	who     int
	perhaps bool // only how old the newest row is, so that another may be no news
}

// readersOf are the conditions that read the stream of a row, or a wider one.
func (t *tick) readersOf(row stream, readers map[stream][]int) []reader {
	var out []reader
	for _, s := range append(row.wider(), row) {
		for _, w := range readers[s] {
			perhaps := t.isAgeOnly(w, s)
			if i := slices.IndexFunc(out, func(r reader) bool { return r.who == w }); i >= 0 {
				out[i].perhaps = out[i].perhaps && perhaps
			} else {
				out = append(out, reader{w, perhaps})
			}
		}
	}
	return out
}

// isAgeOnly says whether a condition reads only the age of the newest row of a stream.
func (t *tick) isAgeOnly(w int, s stream) bool {
	is := s.of == ofApp
	for _, source := range t.changes[w].Sources {
		is = is && (sourceStream(source) != s || source.AgeOnly)
	}
	return is
}

// arrived finds those of whom something arrived since the baselines that the conditions read.
func (t *tick) arrived(ctx context.Context, who []int) error {
	after, since := uint64(t.UpTo), t.At
	readers := map[stream][]int{}
	for _, w := range who {
		after, since = min(after, uint64(t.from[w].UpTo)), min(since, t.from[w].At)
		for _, s := range arriving(t.changes[w]) {
			if !slices.Contains(readers[s], w) && !t.overlooked(s, -1) {
				readers[s] = append(readers[s], w)
			}
		}
	}
	if len(readers) == 0 {
		return nil
	}
	ahead := t.p.ahead.arriving(after, readers)
	type kind struct {
		readers []reader
		streams []stream
	}
	kinds := map[stream]kind{} // by a row's own stream
	err := t.store.arrived(ctx, t.moment, readers, after, func(x streamRow) {
		s := x.stream
		k, known := kinds[s]
		if !known {
			k = kind{t.readersOf(s, readers), []stream{s}}
			if s.of != ofUserIDs { // whose rows are told as those of ids too
				k.streams = append(k.streams, s.wider()...)
			}
			kinds[s] = k
		}
		if !t.overlooked(stream{of: ofAhead}, 0) {
			ahead.row(k.streams, x.time, x.person, x.pos)
		}
		if x.time > t.At {
			return // found when it begins to be seen
		}
		for _, r := range k.readers {
			if x.pos > uint64(t.from[r.who].UpTo) {
				t.affects(r.who, x.person, x.pos, r.perhaps)
			}
		}
	})
	if err != nil {
		return fmt.Errorf("finding what arrived: %w", err)
	}
	ahead.done(uint64(t.UpTo), since)
	return nil
}

// arrivedSQL writes the query for the rows that arrived: a part for each table, and each with both
// ends of the positions as plain numbers and few columns, so that it is read in the order of positions.
func (m moment) arrivedSQL(readers map[stream][]int, after uint64) string {
	var parts []string
	part := func(of streamOf, table, columns, filter string) {
		parts = append(parts, fmt.Sprintf("SELECT toUInt8(%d) AS what, %s FROM %s AS x WHERE x.pos > %d AND x.pos <= %d%s",
			of, columns, m.table(table), after, m.upTo, filter))
	}
	const row = ", x.person, x.pos, toUnixTimestamp64Milli(x.time)"
	const bare = "toUInt8(0) AS kind, '' AS name" + row
	if filter := streamsFilter(readers); filter != "0" {
		if filter = " AND " + filter; filter == " AND 1" {
			filter = ""
		}
		part(ofAnything, "events", "toUInt8(x.kind) AS kind, toString(x.event) AS name"+row, filter)
	}
	if len(readers[stream{of: ofUserIDs}]) > 0 {
		part(ofUserIDs, "identities", bare, " AND x.kind = 'user'")
	}
	if len(readers[stream{of: ofIDs}]) > 0 {
		part(ofIDs, "identities", bare, "")
	}
	if len(readers[stream{of: ofZones}]) > 0 { // their order by position has no times
		part(ofZones, "zones", "toUInt8(0) AS kind, '' AS name, x.person, x.pos, toInt64(0)", "")
	}
	if len(readers[stream{of: ofFixes}]) > 0 {
		part(ofFixes, "fixes", bare, "")
	}
	return strings.Join(parts, " UNION ALL ")
}

// streamsFilter is the condition under which a row of events belongs to one of the streams.
func streamsFilter[T any](streams map[stream]T) string {
	var app, ours []string
	var ways []string
	for s := range streams {
		switch s.of {
		case ofAnything:
			return "1"
		case ofApp:
			app = append(app, Literal(s.name))
		case ofMessages:
			ours = append(ours, Literal(s.name))
		case ofIdentify:
			ways = append(ways, "x.kind = 2")
		default:
		}
	}
	slices.Sort(app)
	slices.Sort(ours)
	switch {
	case slices.Contains(app, Literal("*")):
		ways = append(ways, "x.kind IN (1, 3, 4)")
	case len(app) > 0:
		ways = append(ways, "x.kind IN (1, 3, 4) AND x.event IN ("+strings.Join(app, ", ")+")")
	}
	if len(ours) > 0 {
		ways = append(ways, "x.kind = 7 AND x.event IN ("+strings.Join(ours, ", ")+")")
	}
	return anyOf(ways...)
}

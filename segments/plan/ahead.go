package plan

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"

	"nudge/segments"
)

// A range of instants costs the store a search of its index and a granule or two however short it is, so a tick asks
// for what crosses a while ahead of it too, and, where that is nothing, farther, until it knows when something will. The
// next ticks need not ask: what arrives meanwhile they read anyway, and see of each row whether it will cross. So only a
// tick at which something crosses, or for which something arrived, has to ask.

// crossed is a row that crosses at an instant (Unix ms).
type crossed struct {
	at          int64
	person, pos uint64
}

// known is what crosses in [from, to] of the rows up to a position, by instant. But for used it is never changed.
type known struct {
	from, to int64 // to may be ever
	pos      uint64
	rows     []crossed
	used     int64 // the instant of the last tick that used it; guarded by the mutex of ahead
}

// ahead remembers what crosses.
type ahead struct {
	mu    sync.Mutex
	known map[crossing]*known
	reach int64 // how many intervals of ticks the last look ahead reached
	many  bool  // that one found many rows
}

const (
	// Each look ahead reaches so many times as far as the one before (the first one interval of ticks), and half as
	// far after one that found many rows: up to so many intervals. Where it finds nothing it reaches on, each time so
	// many times as far, unless that would be many rows.
	farther  = 4
	usually  = 12
	onwards  = 8
	manyRows = 50_000 // and so many of one crossing are kept

	shortest int64 = 60 * 1000                       // interval of ticks (ms) that it counts with
	farthest int64 = 100 * 365 * 24 * 60 * 60 * 1000 // farther ahead (ms) it does not look
	// Farther ahead (ms) than this dues are asked for without an end.
	duesAhead int64 = 30 * 24 * 60 * 60 * 1000
	// What no tick has used for so long (ms) is not kept.
	unusedFor int64 = 8 * 24 * 60 * 60 * 1000

	ever      int64  = math.MaxInt64
	forgotten uint64 = math.MaxUint64 // a position that no row is beyond
)

// with is what is known with further rows, in any order.
func (k *known) with(rows []crossed) *known {
	sortCrossed(rows)
	out := *k
	out.rows = make([]crossed, 0, len(k.rows)+len(rows))
	for old := k.rows; len(old) > 0 || len(rows) > 0; {
		next := &rows
		if len(rows) == 0 || len(old) > 0 && compareCrossed(old[0], rows[0]) <= 0 {
			next = &old
		}
		out.rows = append(out.rows, (*next)[0])
		*next = (*next)[1:]
	}
	return &out
}

// find is the index of the first row that crosses at an instant or later.
func (k *known) find(at int64) int {
	i, _ := slices.BinarySearchFunc(k.rows, at, func(x crossed, at int64) int { return cmp.Compare(x.at, at) })
	return i
}

// bounded leaves out what is too much to keep: first what happened before an instant, which is of use to ticks that come
// seldom, then what is farthest ahead.
func (k *known) bounded(since int64) *known {
	if len(k.rows) <= manyRows {
		return k
	}
	out := *k
	if since > k.from {
		out.from, out.rows = since, k.rows[k.find(since-1):]
	}
	if len(out.rows) > manyRows {
		out.end(out.rows[manyRows].at)
	}
	out.rows = slices.Clone(out.rows)
	return &out
}

// end leaves out what crosses at an instant or later.
func (k *known) end(at int64) {
	k.to, k.rows = at-1, k.rows[:k.find(at)]
}

// addDues takes over what has just been written at a position.
func (a *ahead) addDues(who []*segments.Who, dues []due, pos uint64) {
	fresh := map[crossing][]crossed{}
	for _, d := range dues {
		c := crossing{stream{ofDues, who[d.who].Hash()}, 0}
		fresh[c] = append(fresh[c], crossed{d.at, d.person, pos})
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for c, rows := range fresh {
		old := a.known[c]
		if old == nil {
			continue
		}
		rows = slices.DeleteFunc(rows, func(x crossed) bool { return x.at < old.from || x.at > old.to })
		if len(rows) > 0 {
			a.known[c] = old.with(rows).bounded(old.used)
		}
	}
}

func sortCrossed(rows []crossed) { slices.SortFunc(rows, compareCrossed) }

func compareCrossed(a, b crossed) int {
	return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.person, b.person), cmp.Compare(a.pos, b.pos))
}

// takeover notes what rows that arrived after a position will cross, of streams of which all are told.
type takeover struct {
	a     *ahead
	after uint64
	by    map[stream][]*extended
}

// extended is what has been known of a crossing, and what arrives to it.
type extended struct {
	crossing
	*known
	fresh []crossed
}

// arriving begins to take over what arrives after a position, of the given streams.
func (a *ahead) arriving(after uint64, streams map[stream][]int) *takeover {
	out := &takeover{a: a, after: after, by: map[stream][]*extended{}}
	a.mu.Lock()
	defer a.mu.Unlock()
	for c, k := range a.known {
		_, told := streams[c.stream]
		if told && c.of != ofDues && c.of != ofZones && k.pos >= after { // the order of zones by position has no times
			out.by[c.stream] = append(out.by[c.stream], &extended{crossing: c, known: k})
		}
	}
	return out
}

// row takes over a row of some streams that happened at an instant.
func (x *takeover) row(of []stream, at int64, person, pos uint64) {
	for _, s := range of {
		for _, e := range x.by[s] {
			if cross := at + e.age; pos > e.pos && cross >= e.from-1 && cross <= e.to {
				e.fresh = append(e.fresh, crossed{cross, person, pos})
			}
		}
	}
}

// done makes known what has arrived up to a position. What crossed before an instant is kept if that is not too much.
func (x *takeover) done(upTo uint64, since int64) {
	x.a.mu.Lock()
	defer x.a.mu.Unlock()
	for _, list := range x.by {
		for _, e := range list {
			if x.a.known[e.crossing] != e.known || e.pos >= upTo {
				continue // another tick was faster
			}
			k := *e.known
			if len(e.fresh) > 0 {
				k = *k.with(e.fresh).bounded(since)
			}
			k.pos = upTo
			x.a.known[e.crossing] = &k
		}
	}
}

// needed is a range of instants for which a crossing is to be known.
type needed struct {
	crossing
	from, to int64
}

func sortNeeded(list []needed) {
	slices.SortFunc(list, func(a, b needed) int {
		return cmp.Or(cmp.Compare(a.of, b.of), strings.Compare(a.name, b.name), cmp.Compare(a.age, b.age))
	})
}

// crossed finds those of whom something crosses between the baselines and the tick.
func (t *tick) crossed(ctx context.Context, who []int) error {
	from := map[crossing]int64{}
	last := int64(math.MinInt64)
	lists := make([][]crossing, len(who))
	for i, w := range who {
		lists[i] = t.crossings(w)
		last = max(last, t.from[w].At)
		for _, c := range lists[i] {
			if f, ok := from[c]; !ok || t.from[w].At < f {
				from[c] = t.from[w].At
			}
		}
	}
	all, err := t.lookAhead(ctx, from, t.At-last)
	if err != nil {
		return err
	}
	for i, w := range who {
		for _, c := range lists[i] {
			k := all[c]
			for _, x := range k.rows[k.find(t.from[w].At-1):] { // an age of a fraction of a millisecond is rounded: hence one earlier
				if x.at > t.At {
					break
				}
				if x.pos > uint64(t.from[w].UpTo) && c.of != ofDues {
					continue // it arrived since the baseline, and counts for that
				}
				t.affects(w, x.person, x.pos, false)
			}
		}
	}
	return nil
}

// lookAhead knows what crosses from the given instants up to the tick's, and asks the store where it does not.
func (t *tick) lookAhead(ctx context.Context, from map[crossing]int64, interval int64) (map[crossing]*known, error) {
	a := &t.p.ahead
	a.mu.Lock()
	out := make(map[crossing]*known, len(from))
	var ask []crossing
	for c, f := range from {
		k := a.known[c]
		switch upTo := t.moment.upTo; {
		case k == nil || k.from > f || k.pos < upTo || k.to < t.At && k.pos > upTo && k.pos != forgotten:
			k = &known{from: f, to: f - 2, pos: upTo}
			if c.of == ofDues {
				k.pos = forgotten
			}
			ask = append(ask, c)
		case k.to < t.At:
			extended := *k
			k = &extended
			ask = append(ask, c)
		default:
			k.used = t.At
		}
		out[c] = k
	}
	reach := min(max(1, a.reach*farther), usually)
	if a.many {
		reach = max(1, a.reach/2)
	}
	a.mu.Unlock()
	if len(ask) == 0 {
		return out, nil
	}
	span := max(interval, shortest) * reach
	rest, rows, err := t.extend(ctx, out, ask, span, 0)
	for len(rest) > 0 && span < farthest && err == nil {
		span *= onwards
		rest, _, err = t.extend(ctx, out, rest, span, manyRows)
	}
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known == nil {
		a.known = map[crossing]*known{}
	}
	for c, k := range a.known {
		if k.used < t.At-unusedFor {
			delete(a.known, c)
		}
	}
	for _, c := range ask {
		out[c].used = t.At
		a.known[c] = out[c].bounded(from[c])
	}
	a.reach, a.many = reach, rows > manyRows
	return out, nil
}

// extend asks the store for what crosses from the end of what is known until so long after the tick (ms). The last that
// crosses after the tick is the end of what is known then, so that whoever asks beyond it finds something; what it
// returns are those of which nothing does. Nothing crosses later than what the newest row will, but what is dated ahead.
// What are more than most rows (0: however many) is left unknown: where so much crosses, no tick is idle.
func (t *tick) extend(ctx context.Context, known map[crossing]*known, list []crossing, span int64, most int) (nothing []crossing, n int, err error) {
	ask := make([]needed, len(list))
	for i, c := range list {
		ask[i] = needed{c, known[c].to + 2, t.At + span}
		if c.of == ofDues && span > duesAhead || c.of != ofDues && span >= c.age {
			ask[i].to = ever
		}
	}
	sortNeeded(ask)
	fresh, n, err := t.readCrossed(ctx, ask, most)
	if err != nil || most > 0 && n > most {
		return nil, 0, err
	}
	for _, x := range ask {
		k := known[x.crossing].with(fresh[x.crossing])
		k.to = x.to
		if x.to != ever {
			if last := len(k.rows) - 1; last >= 0 && k.rows[last].at > t.At {
				k.end(k.rows[last].at)
			} else {
				nothing = append(nothing, x.crossing)
			}
		}
		known[x.crossing] = k
	}
	return nothing, n, nil
}

// readCrossed asks the store for what crosses, from one millisecond before each range, or for some of it, if that is more
// than most rows (0: however many).
func (t *tick) readCrossed(ctx context.Context, ask []needed, most int) (out map[crossing][]crossed, n int, err error) {
	out = make(map[crossing][]crossed, len(ask))
	by := map[stream][]needed{}
	for _, x := range ask {
		by[x.stream] = append(by[x.stream], x)
	}
	err = t.store.crossed(ctx, t.moment, ask, most, func(row streamRow) {
		n++
		for _, s := range append(row.wider(), row.stream) {
			for _, x := range by[s] {
				if cross := row.time + x.age; cross >= x.from-1 && cross <= x.to {
					out[x.crossing] = append(out[x.crossing], crossed{cross, row.person, row.pos})
				}
			}
		}
	})
	if err != nil {
		return nil, 0, fmt.Errorf("finding whose time has come: %w", err)
	}
	return out, n, nil
}

// crossedSQL writes the queries for what crosses: of events in one (their second order is by name and
// time, and any number of ranges is planned well), and of each other table. Both ends are in the range.
func (m moment) crossedSQL(ask []needed, most int) []string {
	byRange := map[instants][]needed{}
	var ranges []instants
	for _, x := range ask {
		r := instants{x.from - x.age - 1, x.to - x.age, x.of}
		if x.to == ever {
			r.to = ever
		}
		if x.of == ofUserIDs {
			r.of = ofIDs
		}
		if byRange[r] == nil {
			ranges = append(ranges, r)
		}
		byRange[r] = append(byRange[r], x)
	}
	filters := map[string][]string{}
	var tables []string
	add := func(table, filter string) {
		if filters[table] == nil {
			tables = append(tables, table)
		}
		filters[table] = append(filters[table], filter)
	}
	for _, r := range ranges {
		between := func(column string) string {
			if r.to == ever {
				return fmt.Sprintf("x.%s >= %s", column, Instant(r.from))
			}
			return fmt.Sprintf("x.%[1]s >= %[2]s AND x.%[1]s <= %[3]s", column, Instant(r.from), Instant(r.to))
		}
		names := make([]string, 0, len(byRange[r]))
		for _, x := range byRange[r] {
			names = append(names, Literal(x.name))
		}
		in := " IN (" + strings.Join(names, ", ") + ") AND "
		switch r.of {
		case ofApp:
			if slices.Contains(names, Literal("*")) {
				add("events", "x.kind IN (1, 3, 4) AND "+between("time"))
			} else {
				add("events", "x.event"+in+"x.kind IN (1, 3, 4) AND "+between("time"))
			}
		case ofMessages:
			add("events", "x.event"+in+"x.kind = 7 AND "+between("time"))
		case ofIdentify:
			add("events", "x.event = '' AND x.kind = 2 AND "+between("time"))
		case ofIDs:
			add("identities", between("time"))
		case ofZones:
			add("zones", between("time"))
		case ofFixes:
			add("fixes", between("time"))
		case ofDues:
			add("dues", "x.cond"+in+between("at"))
		default:
		}
	}
	var out []string
	for _, table := range tables {
		columns := crossedColumns(table)
		seen := fmt.Sprintf("x.pos <= %d AND ", m.upTo)
		if table == "dues" { // written by a look that has been repeated since, perhaps
			seen = ""
		}
		limit := ""
		if most > 0 {
			limit = fmt.Sprintf(" LIMIT %d", most+1)
		}
		out = append(out, "SELECT DISTINCT "+columns+" FROM "+m.table(table)+" AS x WHERE "+seen+"("+strings.Join(filters[table], " OR ")+")"+limit)
	}
	return out
}

// instants is a range of instants of the rows of one kind of stream.
type instants struct {
	from, to int64
	of       streamOf
}

// crossedColumns are what is read of a row that crosses: its stream, kind, name, person, position, instant.
func crossedColumns(table string) string {
	what, kind, name, at := "", "toUInt8(0)", "''", "x.time"
	switch table {
	case "events":
		what, kind, name = fmt.Sprint(ofAnything), "toUInt8(x.kind)", "toString(x.event)"
	case "identities":
		what = fmt.Sprintf("if(x.kind = 'user', %d, %d)", ofUserIDs, ofIDs)
	case "zones":
		what = fmt.Sprint(ofZones)
	case "fixes":
		what = fmt.Sprint(ofFixes)
	case "dues":
		what, name, at = fmt.Sprint(ofDues), "toString(x.cond)", "x.at"
	}
	return fmt.Sprintf("toUInt8(%s) AS what, %s, %s, x.person, x.pos, toUnixTimestamp64Milli(%s)", what, kind, name, at)
}

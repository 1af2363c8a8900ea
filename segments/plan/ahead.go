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
// for what crosses a while ahead of it too. The next ticks need not ask: what arrives meanwhile they read anyway, and
// see of each row whether it will cross. While nothing arrives they mostly know that nothing crosses at all.

// crossed is a row that crosses at an instant (Unix ms).
type crossed struct {
	at          int64
	person, pos uint64
}

// known is what crosses in [from, to] of the rows up to a position, by instant. It is never changed.
type known struct {
	from, to int64
	pos      uint64
	rows     []crossed
	moved    bool // rows have arrived since it was read
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
	// far after one that found many rows: up to so many intervals, and while nothing arrives up to a day (ms).
	farther        = 4
	usually        = 12
	manyRows       = 50_000
	farthest int64 = 24 * 60 * 60 * 1000

	forgotten uint64 = math.MaxUint64 // a position that no row is beyond
)

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
			k := *old
			k.rows = append(slices.Clone(old.rows), rows...)
			sortCrossed(k.rows)
			a.known[c] = &k
		}
	}
}

func sortCrossed(rows []crossed) {
	slices.SortFunc(rows, func(a, b crossed) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.person, b.person), cmp.Compare(a.pos, b.pos))
	})
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

// done makes known what has arrived up to a position.
func (x *takeover) done(upTo uint64) {
	x.a.mu.Lock()
	defer x.a.mu.Unlock()
	for _, list := range x.by {
		for _, e := range list {
			if x.a.known[e.crossing] != e.known || e.pos >= upTo {
				continue // another tick was faster
			}
			k := *e.known
			k.pos, k.moved = upTo, true
			if len(e.fresh) > 0 {
				k.rows = append(slices.Clone(k.rows), e.fresh...)
				sortCrossed(k.rows)
			}
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
			rows := all[c].rows
			// An age of a fraction of a millisecond is rounded: hence one earlier.
			first, _ := slices.BinarySearchFunc(rows, t.from[w].At-1, func(x crossed, at int64) int { return cmp.Compare(x.at, at) })
			for _, x := range rows[first:] {
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
	var ask []needed
	idle := false // nothing has arrived since a look ahead that has run out
	for c, f := range from {
		k := a.known[c]
		switch {
		case k == nil || k.pos < t.moment.upTo:
		case k.from <= f && k.to >= t.At:
			out[c] = k
			continue
		default:
			idle = idle || c.of != ofDues && !k.moved
		}
		ask = append(ask, needed{c, f, 0})
	}
	reach := max(1, a.reach*farther)
	if a.many {
		reach = max(1, a.reach/2)
	}
	if reach = min(reach, farthest); !idle {
		reach = min(reach, usually)
	}
	a.mu.Unlock()
	if len(ask) == 0 {
		return out, nil
	}
	for i := range ask {
		ask[i].to = t.At + max(interval, min(interval*reach, farthest))
	}
	sortNeeded(ask)
	fresh, n, err := t.readCrossed(ctx, ask)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known == nil {
		a.known = map[crossing]*known{}
	}
	for c, k := range a.known {
		if k.to < t.At { // of no use to any later tick
			delete(a.known, c)
		}
	}
	for c, k := range fresh {
		out[c], a.known[c] = k, k
	}
	a.reach, a.many = reach, n > manyRows
	return out, nil
}

// readCrossed asks the store for what crosses.
func (t *tick) readCrossed(ctx context.Context, ask []needed) (out map[crossing]*known, n int, err error) {
	out = make(map[crossing]*known, len(ask))
	by := map[stream][]needed{}
	for _, x := range ask {
		k := &known{from: x.from, to: x.to, pos: t.moment.upTo}
		if x.of == ofDues {
			k.pos = forgotten
		}
		out[x.crossing] = k
		by[x.stream] = append(by[x.stream], x)
	}
	err = t.store.crossed(ctx, t.moment, ask, func(row streamRow) {
		n++
		for _, s := range append(row.wider(), row.stream) {
			for _, x := range by[s] {
				if cross := row.time + x.age; cross >= x.from-1 && cross <= x.to {
					out[x.crossing].rows = append(out[x.crossing].rows, crossed{cross, row.person, row.pos})
				}
			}
		}
	})
	if err != nil {
		return nil, 0, fmt.Errorf("finding whose time has come: %w", err)
	}
	for _, k := range out {
		sortCrossed(k.rows)
	}
	return out, n, nil
}

// crossedSQL writes the queries for what crosses: of events in one (their second order is by name and
// time, and any number of ranges is planned well), and of each other table. Both ends are in the range.
func (m moment) crossedSQL(ask []needed) []string {
	byRange := map[instants][]needed{}
	var ranges []instants
	for _, x := range ask {
		r := instants{x.from - x.age - 1, x.to - x.age, x.of}
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
		out = append(out, "SELECT DISTINCT "+columns+" FROM "+m.table(table)+" AS x WHERE "+seen+"("+strings.Join(filters[table], " OR ")+")")
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

package ticktest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"nudge/events"
	"nudge/events/memory"
	"nudge/segments"
	"nudge/segments/geo"
)

// row is one row of events, as the writer would store it.
type row struct {
	person, pos uint64
	time        int64
	kind        events.Kind
	event       string
	flags       events.Flags
	props       map[string]any
	json        string
	context     string
}

func (r *row) occurrence() *segments.Occurrence {
	return &segments.Occurrence{Time: r.time, Pos: events.Position(r.pos), Event: r.event, Properties: []byte(r.json), Context: []byte(r.context)}
}

type trait struct {
	person, pos uint64
	time        int64
	key, token  string
}

type identity struct {
	kind, id    string
	person, pos uint64
	time        int64
}

type fix struct {
	person uint64
	geo.Fix
}

type zone struct {
	person, pos uint64
	time        int64
	name        string
	locale      string
}

type merge struct{ loser, winner, pos uint64 }

type erasure struct{ person, pos uint64 }

// history is the rows of a case.
type history struct {
	people   []uint64 // by number in the case; 0 when never seen
	rows     []row
	traits   []trait
	ids      []identity
	fixes    []fix
	zones    []zone
	merges   []merge
	erasures []erasure
}

// layout gives the calls of a pack their places in the stream and writes their rows. upTo is the
// position of each tick.
func (p *Pack) layout(after uint64) (of map[*Case]*history, upTo []uint64) {
	of = map[*Case]*history{}
	for _, c := range p.Cases {
		people := 0
		for _, call := range c.Calls {
			people = max(people, call.Person+1, call.Loser+1)
		}
		of[c] = &history{people: make([]uint64, people)}
	}
	seq, index := events.Position(after).Seq()+1, 0
	next := func() uint64 {
		if index == 7 { // messages of a few events
			seq, index = seq+1, 0
		}
		index++
		return uint64(events.At(seq, index-1))
	}
	for step := range len(p.Ticks) + 1 {
		received := p.Ticks[min(step, len(p.Ticks)-1)] - 1
		if step < len(p.Ticks) && p.Quiet[step] {
			upTo = append(upTo, upTo[step-1])
			continue
		}
		for i, more := 0, true; more; i++ { // cases take turns
			more = false
			for _, c := range p.Cases {
				calls := c.at(step, p.Quiet)
				if i < len(calls) {
					more = true
					of[c].add(c, calls[i], next, received)
				}
			}
		}
		if step < len(p.Ticks) {
			upTo = append(upTo, uint64(events.EndOf(seq)))
			seq, index = seq+1, 0
		}
	}
	return of, upTo
}

// at are the calls that arrive before a tick. What would arrive in a quiet time arrives after it.
func (c *Case) at(step int, quiet []bool) []*Call {
	var out []*Call
	for _, call := range c.Calls {
		s := call.Step
		for s < len(quiet) && quiet[s] {
			s++
		}
		if s == step {
			out = append(out, call)
		}
	}
	return out
}

func (h *history) canonical(person, upTo uint64) uint64 {
	for _, m := range h.merges {
		if m.pos <= upTo && m.loser == person {
			person = m.winner
		}
	}
	return person
}

func (h *history) erased(person uint64) bool {
	return slices.ContainsFunc(h.erasures, func(e erasure) bool { return e.person == person })
}

// add writes the rows of one call, as the writer would.
func (h *history) add(c *Case, call *Call, next func() uint64, received int64) {
	who := h.people[call.Person]
	if who != 0 {
		if who = h.canonical(who, math.MaxUint64); h.erased(who) {
			return // the writer would give them a new number, who then has another id
		}
	}
	if call.Kind == events.KindErase && who == 0 {
		return
	}
	pos := next()
	known := min(call.Time, received)
	if who == 0 {
		who = pos
		h.people[call.Person] = who
		h.ids = append(h.ids, identity{"anonymous", c.own(fmt.Sprintf("§a%d", call.Person)), who, pos, known})
	}
	switch {
	case call.Kind == events.KindErase:
		for _, person := range h.people {
			if person != 0 && h.canonical(person, math.MaxUint64) == who {
				h.erasures = append(h.erasures, erasure{person, pos})
			}
		}
		return
	case call.Merges:
		if loser := h.canonical(h.people[call.Loser], math.MaxUint64); loser != 0 && loser != who && !h.erased(loser) {
			h.merges = append(h.merges, merge{loser, who, pos})
		}
	}
	if call.UserID != "" {
		h.ids = append(h.ids, identity{"user", c.own(call.UserID), who, pos, known})
	}
	for _, key := range sortedKeys(call.Traits) {
		h.traits = append(h.traits, trait{who, pos, call.Time, c.own(key), call.Traits[key]})
	}
	if call.Zone != "" || call.Locale != "" {
		h.zones = append(h.zones, zone{who, pos, call.Time, call.Zone, call.Locale})
	}
	if call.Fix != nil {
		f := *call.Fix
		f.Time, f.Pos = call.Time, events.Position(pos)
		h.fixes = append(h.fixes, fix{who, f})
	}
	if call.Kind == events.KindDevice { // no row of its own
		return
	}
	r := row{person: who, pos: pos, time: call.Time, kind: call.Kind, event: c.shelf(call.Event), flags: call.Flags, props: map[string]any{}, context: "{}"}
	for name, v := range call.Props {
		if s, ok := v.(string); ok {
			v = c.own(s)
		}
		r.props[name] = v
	}
	r.json = toJSON(r.props)
	if call.App != "" {
		r.context = toJSON(map[string]any{"app": call.App})
	}
	h.rows = append(h.rows, r)
}

func toJSON(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// store writes the rows with positions in (after, upTo].
func (r *Run) store(ctx context.Context, all []*history, after, upTo uint64) error {
	if r.Memory != nil {
		var rows memory.Rows
		for _, h := range all {
			h.remember(&rows, after, upTo)
		}
		slices.SortFunc(rows.Events, func(a, b *events.Resolved) int { return cmp.Compare(a.Pos, b.Pos) })
		r.Memory.Add(rows)
		return nil
	}
	in := &inserter{ctx: ctx, conn: r.Conn, after: after, upTo: upTo}
	var rows []row
	var tables [6][][]any
	for _, h := range all {
		rows = append(rows, h.rows...)
		for _, x := range h.traits {
			tables[0] = append(tables[0], []any{x.pos, x.person, x.key, x.token, at(x.time)})
		}
		for _, x := range h.ids {
			tables[1] = append(tables[1], []any{x.pos, x.kind, x.id, x.person, at(x.time)})
		}
		for _, x := range h.fixes {
			tables[2] = append(tables[2], []any{uint64(x.Pos), x.person, at(x.Time), x.Lat, x.Lon, x.Accuracy})
		}
		for _, x := range h.zones {
			tables[3] = append(tables[3], []any{x.pos, x.person, x.name, x.locale, at(x.time)})
		}
		for _, x := range h.merges {
			tables[4] = append(tables[4], []any{x.pos, x.loser, x.winner, at(0)})
		}
		for _, x := range h.erasures {
			tables[5] = append(tables[5], []any{x.pos, "h", x.person, at(0), at(0)})
		}
	}
	in.events(rows)
	in.insert("traits", "pos, person, key, value, time", tables[0])
	in.insert("identities", "pos, kind, id, person, time", tables[1])
	in.insert("fixes", "pos, person, time, lat, lon, accuracy", tables[2])
	in.insert("zones", "pos, person, zone, locale, time", tables[3])
	in.insert("merges", "pos, loser, winner, time", tables[4])
	in.insert("erasures", "pos, hash, person, time, done_at", tables[5])
	return in.err
}

// remember is store for rows in memory.
func (h *history) remember(rows *memory.Rows, after, upTo uint64) {
	stamp := func(person, pos uint64, at int64) memory.Stamp {
		return memory.Stamp{Person: events.PersonID(person), Pos: events.Position(pos), Time: at}
	}
	between := func(pos uint64) bool { return pos > after && pos <= upTo }
	for i := range h.rows {
		if x := &h.rows[i]; between(x.pos) {
			e := &events.Resolved{Pos: events.Position(x.pos), Person: events.PersonID(x.person)}
			e.Kind, e.Name, e.Time, e.Flags, e.Properties, e.Context = x.kind, x.event, x.time, x.flags, []byte(x.json), []byte(x.context)
			rows.Events = append(rows.Events, e)
		}
	}
	for _, x := range h.traits {
		if between(x.pos) {
			rows.Traits = append(rows.Traits, memory.Trait{Stamp: stamp(x.person, x.pos, x.time), Key: x.key, Value: x.token})
		}
	}
	for _, x := range h.ids {
		if between(x.pos) {
			rows.IDs = append(rows.IDs, memory.ID{Stamp: stamp(x.person, x.pos, x.time), Kind: x.kind, ID: x.id})
		}
	}
	for _, x := range h.fixes {
		if between(uint64(x.Pos)) {
			f := events.Fix{Lat: x.Lat, Lon: x.Lon, Accuracy: x.Accuracy}
			rows.Fixes = append(rows.Fixes, memory.Fix{Stamp: stamp(x.person, uint64(x.Pos), x.Time), Fix: f})
		}
	}
	for _, x := range h.zones {
		if between(x.pos) {
			rows.Zones = append(rows.Zones, memory.Zone{Stamp: stamp(x.person, x.pos, x.time), Name: x.name, Locale: x.locale})
		}
	}
	for _, x := range h.merges {
		if between(x.pos) {
			rows.Merges = append(rows.Merges, memory.Merge{Stamp: stamp(x.loser, x.pos, 0), Winner: events.PersonID(x.winner)})
		}
	}
	for _, x := range h.erasures {
		if between(x.pos) {
			rows.Erasures = append(rows.Erasures, memory.Erasure{Stamp: stamp(x.person, x.pos, 0)})
		}
	}
}

func at(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// inserter writes rows until something fails.
type inserter struct {
	ctx         context.Context //nolint:containedctx // it lives as long as one call of store
	conn        driver.Conn
	after, upTo uint64
	err         error
}

func (in *inserter) events(rows []row) {
	rows = slices.Clone(rows)
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.pos, b.pos) })
	var out [][]any
	for i := range rows {
		r := &rows[i]
		strs, nums, bools := map[string]string{}, map[string]float64{}, map[string]bool{}
		for name, v := range r.props {
			switch x := v.(type) {
			case string:
				strs[name] = x
			case float64:
				nums[name] = x
			case bool:
				bools[name] = x
			}
		}
		out = append(out, []any{
			r.pos, r.person, at(r.time), uint8(r.kind), r.event, "test", uint32(r.flags), strs, nums, bools, map[string]int64{}, r.json, r.context,
		})
	}
	in.insert("events", "pos, person, time, kind, event, source, flags, strs, nums, bools, bigs, properties, context", out)
}

// insert writes rows of a table, whose first column is the position.
func (in *inserter) insert(table, columns string, rows [][]any) {
	rows = slices.DeleteFunc(rows, func(r []any) bool { return r[0].(uint64) <= in.after || r[0].(uint64) > in.upTo })
	if in.err != nil || len(rows) == 0 {
		return
	}
	batch, err := in.conn.PrepareBatch(in.ctx, "INSERT INTO "+table+" ("+columns+")")
	for _, r := range rows {
		if err == nil {
			err = batch.Append(r...)
		}
	}
	if err == nil {
		err = batch.Send()
	}
	if err != nil {
		in.err = fmt.Errorf("store rows of %s: %w", table, err)
	}
}

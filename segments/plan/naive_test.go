package plan

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strconv"

	"nudge/events"
	"nudge/segments"
	"nudge/segments/geo"
)

// town is a made-up world in memory: what the store is filled with, and what the naive evaluation
// below reads.
type town struct {
	people   []uint64
	rows     []happening
	traits   []traitRow
	ids      []idRow
	fixes    []fixRow
	merges   []merge
	erasures map[uint64]uint64
}

type traitRow struct {
	person, pos uint64
	key, token  string
	time        int64
}

type idRow struct {
	kind, id    string
	person, pos uint64
	time        int64
}

type fixRow struct {
	person uint64
	geo.Fix
}

var (
	eventNames = []string{"A", "B", "C"}
	categories = []any{"x", "y", "it's", 7.0, true, "z.z"}
	prices     = []any{0.0, 1.25, 10.0, 19.99, 0.1, 0.2, "10", 100.5, nil}
	carts      = []any{"c1", "c2", 3.0, "ünï", nil}
)

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// newTown makes people with short, dense histories, so that windows, ties and merges matter.
func newTown(seed uint64, n int) *town {
	r := rand.New(rand.NewPCG(seed, 7))
	tw := &town{erasures: map[uint64]uint64{}}
	pos := uint64(0)
	next := func() uint64 { pos++; return pos }
	ago := func() int64 {
		switch r.IntN(6) {
		case 0:
			return t0 - r.Int64N(3)*hour // on the edges of windows, and ties
		case 1:
			return t0 + r.Int64N(2)*minute // now, and not due yet
		case 2:
			return t0 - r.Int64N(40)*day
		}
		return t0 - r.Int64N(4*hour)
	}
	for range n {
		person := next()
		tw.people = append(tw.people, person)
		first := t0
		for range r.IntN(9) {
			h := happening{person: person, time: ago(), pos: next(), event: pick(r, eventNames), context: map[string]any{"app": pick(r, []any{"ios", "web"})}}
			h.props = map[string]any{"price": pick(r, prices), "category": pick(r, categories), "cart": pick(r, carts)}
			switch r.IntN(12) {
			case 0:
				h.kind, h.event = events.KindPage, "Page Viewed"
			case 1:
				h.kind, h.event = events.KindIdentify, ""
			case 2:
				h.event = events.LocationUpdated
			case 3:
				h.kind, h.event = events.KindMessage, pick(r, []string{events.MessageSent, events.MessageOpened})
				h.props["rule"] = pick(r, []any{"r1", "r2"})
				if r.IntN(3) == 0 {
					h.flags = events.MachineOpen
				}
			}
			first = min(first, h.time)
			tw.rows = append(tw.rows, h)
		}
		for range r.IntN(4) {
			x := traitRow{person, next(), pick(r, []string{"plan", "age", "vip"}), pick(r, []string{`"pro"`, `"free"`, `30`, `17.5`, `true`, `null`, `"30"`}), ago()}
			first = min(first, x.time)
			tw.traits = append(tw.traits, x)
		}
		for range r.IntN(5) {
			f := geo.Fix{Time: t0 - r.Int64N(90)*minute, Pos: events.Position(next()), Lat: r.Float64() * 0.02, Accuracy: pick(r, []float64{0, 20, 500})}
			first = min(first, f.Time)
			tw.fixes = append(tw.fixes, fixRow{person, f})
		}
		kind := pick(r, []string{"user", "anonymous"})
		tw.ids = append(tw.ids, idRow{kind, kind + strconv.FormatUint(person, 10), person, person, first})
	}
	// Some merge, some of them on; a few are erased.
	canonical := func(p uint64) uint64 {
		for _, m := range tw.merges {
			if m.loser == p {
				p = m.winner
			}
		}
		return p
	}
	for range n / 4 {
		a, b := canonical(pick(r, tw.people)), canonical(pick(r, tw.people))
		if a != b {
			tw.merges = append(tw.merges, merge{a, b, next()})
		}
	}
	for range n / 30 {
		tw.erasures[canonical(pick(r, tw.people))] = next() - r.Uint64N(pos/2)
	}
	// What arrives after the merges, under the old ids and the new.
	for range n / 2 {
		p := pick(r, tw.people)
		if r.IntN(2) == 0 {
			p = canonical(p)
		}
		tw.rows = append(tw.rows, happening{person: p, time: ago(), pos: next(), event: pick(r, eventNames), props: map[string]any{"price": 1.25, "cart": "c1"}})
	}
	return tw
}

// fill writes the town into the store.
func (tw *town) fill(w *world) {
	w.events(tw.rows...)
	w.insert("traits", "person, key, value, time, pos", rowsOf(tw.traits, traitRow.row)...)
	w.insert("identities", "kind, id, person, pos, time", rowsOf(tw.ids, idRow.row)...)
	w.insert("merges", "loser, winner, pos, time", rowsOf(tw.merges, merge.row)...)
	w.insert("fixes", "person, time, pos, lat, lon, accuracy", rowsOf(tw.fixes, fixRow.row)...)
	for person, pos := range tw.erasures {
		w.insert("erasures", "hash, person, time, pos, done_at", []any{"h", person, when(t0), pos, when(0)})
	}
}

func (x traitRow) row() []any { return []any{x.person, x.key, x.token, when(x.time), x.pos} }
func (x idRow) row() []any    { return []any{x.kind, x.id, x.person, x.pos, when(x.time)} }
func (x merge) row() []any    { return []any{x.loser, x.winner, x.pos, when(t0)} }
func (x fixRow) row() []any {
	return []any{x.person, when(x.Time), uint64(x.Pos), x.Lat, x.Lon, x.Accuracy}
}

func rowsOf[T any](from []T, row func(T) []any) [][]any {
	out := make([][]any, len(from))
	for i, x := range from {
		out[i] = row(x)
	}
	return out
}

// naive answers a look by walking everything for each person.
type naive struct {
	*town
	q      segments.Look
	fences *geo.Fences
}

func (n *naive) of(person uint64) uint64 {
	for _, m := range n.merges {
		if m.pos <= uint64(n.q.UpTo) && m.loser == person {
			person = m.winner
		}
	}
	return person
}

func (n *naive) sees(person, pos uint64, at int64) bool {
	if pos > uint64(n.q.UpTo) || at > n.q.At {
		return false
	}
	erased := n.erasures[n.of(person)]
	return erased > uint64(n.q.UpTo) || pos > erased
}

// everybody are the canonical people who are known.
func (n *naive) everybody() []uint64 {
	var out []uint64
	for _, x := range n.ids {
		if n.sees(x.person, x.pos, x.time) {
			out = append(out, n.of(x.person))
		}
	}
	for _, x := range n.rows {
		if n.sees(x.person, x.pos, x.time) {
			out = append(out, n.of(x.person))
		}
	}
	for _, x := range n.fixes {
		if n.sees(x.person, uint64(x.Pos), x.Time) {
			out = append(out, n.of(x.person))
		}
	}
	return distinct(out)
}

// history is what happened to a person, in (time, position) order.
func (n *naive) history(person uint64) []happening {
	var out []happening
	for _, h := range n.rows {
		if n.of(h.person) == person && n.sees(h.person, h.pos, h.time) && (n.q.Retention == 0 || h.time > n.q.At-n.q.Retention) {
			out = append(out, h)
		}
	}
	slices.SortFunc(out, func(a, b happening) int {
		if a.time != b.time {
			return int(a.time - b.time)
		}
		return int(a.pos) - int(b.pos)
	})
	return out
}

func is(h happening, event, message string) bool {
	switch {
	case message != "":
		return h.kind == events.KindMessage && h.event == event && h.flags&events.MachineOpen == 0 && (message == "*" || h.props["rule"] == message)
	case h.kind == events.KindMessage || h.kind == events.KindIdentify:
		return false
	case event == "*":
		return h.event != events.LocationUpdated
	}
	return h.event == event
}

// text is a value of for_each.
func text(v any) string {
	switch x := v.(type) {
	case string:
		return x
	case float64:
		return strconv.FormatFloat(x, 'f', -1, 64)
	case bool:
		return strconv.FormatBool(x)
	}
	return ""
}

func (n *naive) feature(f segments.Feature, forEach *segments.ForEach, value string, history []happening) any {
	var matching []happening
	for _, h := range history {
		if !is(h, f.Event, f.Message) || !f.Filter.Eval(h.occurrence(), nil) || f.Within > 0 && h.time <= n.q.At-f.Within {
			continue
		}
		if f.Keyed && text(h.props[forEach.Path[len("properties."):]]) != value {
			continue
		}
		matching = append(matching, h)
	}
	var numbers []float64
	var all []any
	for _, h := range matching {
		v := h.props[after(f.Path)]
		if x, ok := v.(float64); ok {
			numbers = append(numbers, x)
		}
		if v != nil {
			all = append(all, v)
		}
	}
	switch f.Agg {
	case segments.AggCount:
		return int64(len(matching))
	case segments.AggSum:
		return exactSum(numbers)
	case segments.AggAvg, segments.AggMin, segments.AggMax:
		if len(numbers) == 0 {
			return nil
		}
		switch f.Agg {
		case segments.AggAvg:
			return exactSum(numbers) / float64(len(numbers))
		case segments.AggMin:
			return slices.Min(numbers)
		default:
		}
		return slices.Max(numbers)
	case segments.AggUniq:
		seen := map[any]bool{}
		for _, v := range all {
			seen[v] = true
		}
		return int64(len(seen))
	case segments.AggTop:
		var best any
		times := map[any]int{}
		for _, v := range all {
			times[v]++
		}
		for _, v := range all { // later wins a tie
			if best == nil || times[v] >= times[best] {
				best = v
			}
		}
		return best
	default:
	}
	list := make([]*segments.Occurrence, 0, len(matching))
	for _, h := range slices.Backward(matching) {
		list = append(list, h.occurrence())
	}
	switch {
	case f.Agg == segments.AggList && f.N > 0:
		return list[:min(f.N, len(list))]
	case f.Agg == segments.AggList:
		return list
	case len(list) == 0:
		return nil
	case f.Agg == segments.AggFirst:
		return list[len(list)-1]
	}
	return list[0]
}

// exactSum adds decimals of two digits exactly.
func exactSum(numbers []float64) float64 {
	hundredths := 0.0
	for _, x := range numbers {
		hundredths += float64(int64(x*100 + 0.5))
	}
	return hundredths / 100
}

func after(path string) string {
	if path == "" {
		return ""
	}
	return path[len("properties."):]
}

func (n *naive) profile(person uint64) *segments.Profile {
	out := &segments.Profile{Person: events.PersonID(person), Traits: map[string]json.RawMessage{}}
	var user, anonymous uint64
	for _, x := range n.ids {
		if n.of(x.person) != person || !n.sees(x.person, x.pos, x.time) {
			continue
		}
		if x.kind == "user" && x.pos >= user {
			user, out.UserID = x.pos, x.id
		}
		if x.kind != "user" && x.pos >= anonymous {
			anonymous, out.Anonymous = x.pos, x.id
		}
		if out.CreatedAt == 0 || x.time < out.CreatedAt {
			out.CreatedAt = x.time
		}
	}
	for _, h := range n.rows {
		if n.of(h.person) == person && n.sees(h.person, h.pos, h.time) && (out.CreatedAt == 0 || h.time < out.CreatedAt) {
			out.CreatedAt = h.time
		}
	}
	newest := map[string]stamp{}
	for _, x := range n.traits {
		s := stamp{x.time, x.pos}
		if n.of(x.person) == person && n.sees(x.person, x.pos, x.time) && s.after(newest[x.key]) {
			newest[x.key] = s
			out.Traits[x.key] = json.RawMessage(x.token)
			if x.token == "null" {
				delete(out.Traits, x.key)
			}
		}
	}
	return out
}

// judge answers one condition for everybody (or the people asked for), sorted by person and value.
func (n *naive) judge(who *segments.Who, people []uint64) []segments.Answer {
	var out []segments.Answer
	for _, person := range people {
		history := n.history(person)
		values := []string{""}
		if f := who.ForEach(); f != nil {
			values = nil
			for _, h := range history {
				if v := text(h.props[after(f.Path)]); v != "" && is(h, f.Event, "") && f.Filter.Eval(h.occurrence(), nil) {
					values = append(values, v)
				}
			}
			slices.Sort(values)
			values = slices.Compact(values)
		}
		for _, value := range values {
			c := &segments.Candidate{Person: events.PersonID(person), Value: value, Profile: n.profile(person)}
			for _, f := range who.Features() {
				c.Values = append(c.Values, n.feature(f, who.ForEach(), value, history))
			}
			var fixes []geo.Fix
			for _, x := range n.fixes {
				if n.of(x.person) == person && n.sees(x.person, uint64(x.Pos), x.Time) {
					fixes = append(fixes, x.Fix)
				}
			}
			for _, ref := range who.Places() {
				c.Places = append(c.Places, geo.Fold(fixes, ref, n.fences, geo.Options{}, n.q.At))
			}
			truth, err := who.Judge(n.q.At, c)
			out = append(out, segments.Answer{Person: c.Person, Value: value, Truth: truth, Err: err, Features: who.Values(c)})
		}
	}
	return out
}

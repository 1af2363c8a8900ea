package ticktest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"nudge/events"
	"nudge/segments"
	"nudge/segments/geo"
)

// naive answers by walking everything that happened in a case, as of an instant and a position. What is
// read, windows, merges and what can be seen are its own; only the last step, from features to the
// truth, is the condition's program.
type naive struct {
	*history
	at        int64
	upTo      uint64
	retention int64
	zone      string
	fences    *geo.Fences
}

// verdict is what the naive walk says of a person and value.
type verdict struct {
	person   uint64
	value    string
	truth    segments.Truth
	err      error
	features map[string]any
}

func (n *naive) of(person uint64) uint64 { return n.canonical(person, n.upTo) }

func (n *naive) sees(person, pos uint64, at int64) bool {
	if pos > n.upTo || at > n.at {
		return false
	}
	for _, e := range n.erasures {
		if e.person == person && e.pos <= n.upTo && pos <= e.pos {
			return false
		}
	}
	return true
}

// everybody are the canonical people of the case who are known, sorted.
func (n *naive) everybody() []uint64 {
	var out []uint64
	for _, x := range n.ids {
		if n.sees(x.person, x.pos, x.time) {
			out = append(out, n.of(x.person))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// past is what happened to a person, in (time, position) order.
func (n *naive) past(person uint64) []*row {
	var out []*row
	for i := range n.rows {
		r := &n.rows[i]
		if n.of(r.person) == person && n.sees(r.person, r.pos, r.time) && (n.retention == 0 || r.time > n.at-n.retention) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b *row) int { return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.pos, b.pos)) })
	return out
}

func (r *row) is(event, message string) bool {
	switch {
	case message != "":
		return r.kind == events.KindMessage && r.event == event && r.flags&events.MachineOpen == 0 && (message == "*" || r.props["rule"] == message)
	case r.kind != events.KindTrack && r.kind != events.KindPage && r.kind != events.KindScreen:
		return false
	case event == "*":
		return r.event != events.LocationUpdated
	}
	return r.event == event
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

func property(r *row, path string) any { return r.props[strings.TrimPrefix(path, "properties.")] }

func (n *naive) feature(f *segments.Feature, forEach *segments.ForEach, value string, past []*row) any {
	var matching []*row
	for _, r := range past {
		if !r.is(f.Event, f.Message) || f.Within > 0 && r.time <= n.at-f.Within || f.Keyed && text(property(r, forEach.Path)) != value {
			continue
		}
		if f.Filter.Eval(r.occurrence(), nil) {
			matching = append(matching, r)
		}
	}
	switch f.Agg {
	case segments.AggCount:
		return int64(len(matching))
	case segments.AggFirst, segments.AggLast:
		if len(matching) == 0 {
			return nil
		}
		if f.Agg == segments.AggFirst {
			return matching[0].occurrence()
		}
		return matching[len(matching)-1].occurrence()
	case segments.AggList:
		list := []*segments.Occurrence{}
		for _, r := range slices.Backward(matching) {
			if f.N == 0 || len(list) < f.N {
				list = append(list, r.occurrence())
			}
		}
		return list
	default:
	}
	return summary(f.Agg, f.Path, matching)
}

// summary is an aggregate over a property.
func summary(agg segments.Agg, path string, of []*row) any {
	var numbers []float64
	var values []any
	times := map[any]int{}
	for _, r := range of {
		v := property(r, path)
		if x, ok := v.(float64); ok {
			numbers = append(numbers, x)
		}
		if v != nil {
			values = append(values, v)
			times[v]++
		}
	}
	sum := new(big.Rat)
	for _, x := range numbers {
		sum.Add(sum, new(big.Rat).SetFloat64(x))
	}
	switch agg {
	case segments.AggSum:
		x, _ := sum.Float64()
		return x
	case segments.AggUniq:
		return int64(len(times))
	case segments.AggTop:
		var best any
		for _, v := range values { // the later wins a tie
			if best == nil || times[v] >= times[best] {
				best = v
			}
		}
		return best
	default:
	}
	switch {
	case len(numbers) == 0:
		return nil
	case agg == segments.AggAvg:
		x, _ := sum.Float64()
		return x / float64(len(numbers))
	case agg == segments.AggMin:
		return slices.Min(numbers)
	}
	return slices.Max(numbers)
}

// newest says whether what was said at (time, pos) is newer than what was found before.
type newest struct {
	time int64
	pos  uint64
}

func (s *newest) by(at int64, pos uint64) bool {
	if s.pos != 0 && (at < s.time || at == s.time && pos < s.pos) {
		return false
	}
	s.time, s.pos = at, pos
	return true
}

func (n *naive) profile(person uint64) *segments.Profile {
	out := &segments.Profile{Person: events.PersonID(person), Traits: map[string]json.RawMessage{}}
	var user, anonymous uint64
	first := func(at int64) {
		if out.CreatedAt == 0 || at < out.CreatedAt {
			out.CreatedAt = at
		}
	}
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
		first(x.time)
	}
	for i := range n.rows {
		if r := &n.rows[i]; n.of(r.person) == person && n.sees(r.person, r.pos, r.time) {
			first(r.time)
		}
	}
	last := map[string]*newest{}
	for _, x := range n.traits {
		if n.of(x.person) != person || !n.sees(x.person, x.pos, x.time) {
			continue
		}
		if last[x.key] == nil {
			last[x.key] = &newest{}
		}
		if last[x.key].by(x.time, x.pos) {
			out.Traits[x.key] = json.RawMessage(x.token)
		}
	}
	for key, token := range out.Traits {
		if string(token) == "null" {
			delete(out.Traits, key)
		}
	}
	var zoned, spoken newest
	for _, x := range n.zones {
		if n.of(x.person) == person && n.sees(x.person, x.pos, x.time) && validZone(x.name) && zoned.by(x.time, x.pos) {
			out.Zone = x.name
		}
		if x.locale != "" && n.of(x.person) == person && n.sees(x.person, x.pos, x.time) && spoken.by(x.time, x.pos) {
			out.Locale = x.locale
		}
	}
	var said string
	if token := out.Traits["timezone"]; out.Zone == "" && bytes.HasPrefix(token, []byte(`"`)) && json.Unmarshal(token, &said) == nil && validZone(said) {
		out.Zone = said
	}
	for _, name := range []string{"language", "locale"} { // the later one holds
		var said string
		if json.Unmarshal(out.Traits[name], &said) == nil && slices.Contains(traitLocales, said) {
			out.Locale = said
		}
	}
	return out
}

// traitLocales are those that the generator draws and that there are.
var traitLocales = []string{"de", "fr-CA"}

func validZone(name string) bool {
	_, err := time.LoadLocation(name)
	return err == nil && name != "" && name != "Local" // Go loads these too
}

// judge answers a condition for everybody in the case, by person and value.
func (n *naive) judge(who *segments.Who) []verdict {
	var out []verdict
	for _, person := range n.everybody() {
		past := n.past(person)
		values := []string{""}
		if f := who.ForEach(); f != nil {
			values = nil
			for _, r := range past {
				if v := text(property(r, f.Path)); v != "" && r.is(f.Event, "") && f.Filter.Eval(r.occurrence(), nil) {
					values = append(values, v)
				}
			}
			slices.Sort(values)
			values = slices.Compact(values)
		}
		if len(values) == 0 {
			continue
		}
		c := &segments.Candidate{Person: events.PersonID(person), Profile: n.profile(person), DefaultZone: n.zone}
		var fixes []geo.Fix
		for _, x := range n.fixes {
			if n.of(x.person) == person && n.sees(x.person, uint64(x.Pos), x.Time) {
				fixes = append(fixes, x.Fix)
			}
		}
		for _, ref := range who.Places() {
			c.Places = append(c.Places, geo.Fold(fixes, ref, n.fences, geo.Options{}, n.at))
		}
		for _, value := range values {
			c.Value, c.Values = value, nil
			features := who.Features()
			for i := range features {
				c.Values = append(c.Values, n.feature(&features[i], who.ForEach(), value, past))
			}
			v := verdict{person: person, value: value, features: who.Values(c)}
			v.truth, v.err = who.Judge(n.at, c)
			out = append(out, v)
		}
	}
	return out
}

package ticktest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"nudge/events"
	"nudge/segments"
	"nudge/segments/geo"
	"nudge/segments/plan"
)

// Claims is what Nearest says of a pack, and what the naive walk has against it.
type Claims struct {
	Asked, Answered, Flips int
	Kinds                  map[segments.NeedKind]int
	ByTime, Both           int // flips by time alone, and by something that happens and time
	Refuted                []string
}

// Nearest asks of everybody in the pack at the last tick what the nearest changes are, makes each of them, and asks the
// naive walk for the answer then.
func (p *Pack) Nearest() (Claims, error) {
	out := Claims{Kinds: map[segments.NeedKind]int{}}
	r := &Run{Pack: p}
	r.histories, r.upTo = p.layout(0)
	if err := r.compile(); err != nil {
		return out, err
	}
	tick := len(p.Ticks) - 1
	for _, x := range r.rules {
		n := r.naive(x.c, tick)
		who := x.who(tick)
		for _, v := range n.judge(who) {
			if v.truth == segments.Failed {
				continue
			}
			n.nearest(who, v, &out, fmt.Sprintf("case %d, seed %d: %s of person %s %q", x.c.Number, x.c.Seed, x.rule.When, events.Position(v.person), v.value))
		}
	}
	return out, nil
}

func (n *naive) nearest(who *segments.Who, v verdict, out *Claims, what string) {
	const ahead = 5 * day
	out.Asked++
	known := plan.Known{Profile: n.profile(v.person)}
	later := *n
	later.at += ahead
	for _, r := range later.past(v.person) {
		if n.retention == 0 || r.time > n.at-n.retention {
			known.Rows = append(known.Rows, plan.Happened{Occurrence: *r.occurrence(), Kind: r.kind, Flags: r.flags})
		}
	}
	for _, r := range n.rows { // what later.past leaves out for its age
		if n.of(r.person) == v.person && later.sees(r.person, r.pos, r.time) && n.retention > 0 && r.time > n.at-n.retention && r.time <= later.at-n.retention {
			known.Rows = append(known.Rows, plan.Happened{Occurrence: *r.occurrence(), Kind: r.kind, Flags: r.flags})
		}
	}
	for _, f := range n.fixes {
		if n.of(f.person) == v.person && n.sees(f.person, uint64(f.Pos), f.Time) {
			known.Fixes = append(known.Fixes, f.Fix)
		}
	}
	past := plan.PastOf(segments.Look{
		At: n.at, Who: []*segments.Who{who}, People: []events.PersonID{events.PersonID(v.person)}, Retention: n.retention, DefaultZone: n.zone, Fences: n.fences,
	}, geo.Options{}, known)
	flips, ok := who.Nearest(segments.Question{At: n.at, Value: v.value, Past: past, Ahead: ahead, Effort: 3000}, v.truth)
	if !ok {
		out.Refuted = append(out.Refuted, fmt.Sprintf("%s: the past says something else than %s", what, v.truth))
		return
	}
	if len(flips) > 0 {
		out.Answered++
	}
	for _, f := range flips {
		out.Flips++
		switch {
		case len(f.Needs) == 0:
			out.ByTime++
		case f.At > n.at:
			out.Both++
		}
		for _, need := range f.Needs {
			out.Kinds[need.Kind]++
		}
		got := n.supposing(who, v, f)
		if got != f.Truth || (got == segments.True) == (v.truth == segments.True) {
			needs, _ := json.Marshal(f.Needs)
			out.Refuted = append(out.Refuted, fmt.Sprintf("%s is %s; at +%d ms it should be %s, is %s, with %s", what, v.truth, f.Judged-n.at, f.Truth, got, needs))
		}
	}
}

// supposing is the naive walk's answer with a change made.
func (n *naive) supposing(who *segments.Who, v verdict, f segments.Flip) segments.Truth {
	then := *n
	h := *n.history
	then.history, then.at = &h, f.Judged
	// What arrives later is no part of the claim, and what is supposed stands in its place.
	h.rows = slices.DeleteFunc(slices.Clone(h.rows), func(r row) bool { return r.pos > n.upTo || slices.Contains(f.Supposed.Without, events.Position(r.pos)) })
	h.merges = slices.DeleteFunc(slices.Clone(h.merges), func(m merge) bool { return m.pos > n.upTo })
	h.erasures = slices.DeleteFunc(slices.Clone(h.erasures), func(e erasure) bool { return e.pos > n.upTo })
	for i, o := range f.Supposed.Added {
		r := row{person: v.person, pos: n.upTo + 1 + uint64(i), time: o.Time, kind: events.KindTrack, event: o.Event, json: string(o.Properties), context: string(o.Context)}
		if strings.HasPrefix(o.Event, "Message ") {
			r.kind = events.KindMessage
		}
		if err := json.Unmarshal(o.Properties, &r.props); err != nil {
			return segments.Failed
		}
		h.rows = append(h.rows, r)
	}
	then.upTo += uint64(len(f.Supposed.Added))
	// Of the profile and of places only what was known at the instant is: what is dated ahead is no part of the claim.
	h.fixes = slices.DeleteFunc(slices.Clone(h.fixes), func(x fix) bool { return x.Time > n.at || uint64(x.Pos) > n.upTo })
	profile := n.profile(v.person)
	if f.Supposed.Profile != nil {
		profile = f.Supposed.Profile
	}
	c := &segments.Candidate{Person: events.PersonID(v.person), Value: v.value, Profile: profile, DefaultZone: n.zone}
	var fixes []geo.Fix
	for _, x := range h.fixes {
		if n.of(x.person) == v.person && n.sees(x.person, uint64(x.Pos), x.Time) {
			fixes = append(fixes, x.Fix)
		}
	}
	for i, ref := range who.Places() {
		place := geo.Fold(fixes, ref, n.fences, geo.Options{}, then.at)
		if there, is := f.Supposed.Places[i]; is {
			place = there
		}
		c.Places = append(c.Places, place)
	}
	past := then.past(v.person)
	features := who.Features()
	for i := range features {
		c.Values = append(c.Values, then.feature(&features[i], who.ForEach(), v.value, past))
	}
	truth, err := who.Judge(then.at, c)
	if err != nil {
		return segments.Failed
	}
	return truth
}

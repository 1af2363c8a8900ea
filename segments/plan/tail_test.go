package plan

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/events"
	"nudge/segments"
)

func (h *happening) resolved() events.Resolved {
	kind := h.kind
	if kind == 0 {
		kind = events.KindTrack
	}
	return events.Resolved{
		Event: events.Event{Kind: kind, Name: h.event, Time: h.time, Flags: h.flags, Properties: toJSON(h.props), Context: toJSON(h.context)},
		Pos:   events.Position(h.pos), Person: events.PersonID(h.person),
	}
}

// Whatever has arrived, and however much of it a Tail has kept, it answers as the store does.
func TestATailAnswersAsTheStore(t *testing.T) {
	const last = 300
	w := newWorld(t)
	draw := rand.New(rand.NewPCG(1, 2))
	rows := make([]happening, 0, last)
	for pos := uint64(1); pos <= last; pos++ {
		h := happening{
			person: 1 + draw.Uint64N(6), time: t0 - draw.Int64N(3*hour), pos: pos,
			props: map[string]any{"parcel_id": draw.Int64N(3), "late": draw.IntN(3) > 0},
		}
		switch draw.IntN(6) {
		case 0:
			h.kind, h.event, h.props["rule"] = events.KindMessage, "Message Opened", "r"
		case 1:
			h.event = events.LocationUpdated
		case 2:
			h.kind = events.KindIdentify
		case 3:
			h.event = "Order Completed"
		default:
			h.event = "Parcel Delivered"
		}
		if draw.IntN(10) == 0 {
			h.flags = events.Imported
		}
		if draw.IntN(10) == 0 {
			delete(h.props, "parcel_id")
		}
		if draw.IntN(20) == 0 {
			h.time = t0 + minute // a phone whose clock is ahead
		}
		rows = append(rows, h)
	}
	w.events(rows...)
	w.merged(5, 1, 90)
	w.merged(6, 5, 120)
	w.insert("erasures", "person, pos, time", []any{uint64(3), uint64(200), when(t0)})
	specs := []segments.WhoSpec{
		{OnEvent: "Parcel Delivered"},
		{OnEvent: "Parcel Delivered", OnWhere: "properties.late", OnBy: "parcel_id"},
		{OnEvent: "Order Completed", OnMaxAge: 30 * minute},
		{OnEvent: "*", OnBy: "parcel_id"},
		{OnEvent: "Message Opened"},
		{OnEvent: "Nothing Ever"},
	}
	var all []*segments.Who
	for _, s := range specs {
		s.When = "true"
		all = append(all, compile(t, s))
	}
	stored := w.planner(Options{})
	for seed := range uint64(15) {
		draw := rand.New(rand.NewPCG(seed, 3))
		tail := NewTail([]int{0, 2_000, 20_000}[seed%3])
		kept := w.planner(Options{Tail: tail})
		start := draw.Uint64N(last / 2) // what came before is in the store alone
		added := start
		add := func(upTo uint64) {
			var batch []events.Resolved
			for ; added < upTo; added++ {
				batch = append(batch, rows[added].resolved())
			}
			tail.Add(batch, events.Position(upTo))
		}
		for after, looks := uint64(0), 0; after < last && looks < 4; looks++ {
			upTo := after + 1 + draw.Uint64N(min(last-after, last/2))
			if upTo > start || draw.IntN(2) == 0 {
				add(max(added, upTo+draw.Uint64N(last-upTo+1))) // what is resolved is ahead of what is stored
			}
			who := []*segments.Who{all[draw.IntN(len(all))], all[draw.IntN(len(all))]}
			q := segments.Look{Who: who, After: events.Position(after), UpTo: events.Position(upTo)}
			require.Equal(t, told(ask(t, stored, q)), told(ask(t, kept, q)), "seed %d: %d to %d", seed, after, upTo)
			if draw.IntN(4) > 0 { // else it is repeated
				after = upTo
			}
		}
	}
}

func told(answers []segments.Answer) []string {
	var out []string
	for _, a := range answers {
		out = append(out, fmt.Sprintf("%d %d %q %d %d %s", a.Who, a.Person, a.Value, a.Truth, a.Trigger.Pos, a.Trigger.Properties))
	}
	return out
}

// What a Tail has is not read back from the store, and what was looked at is not kept.
func TestATailSparesQueries(t *testing.T) {
	w := newWorld(t)
	tail := NewTail(0)
	p := w.planner(Options{Tail: tail, Changed: func() events.Position { return 0 }})
	who := compile(t, segments.WhoSpec{When: "true", OnEvent: "Parcel Delivered"})
	queries := func(after, upTo uint64) int64 {
		for pos := after + 1; pos <= upTo; pos++ {
			h := happening{person: pos, time: t0 - minute, pos: pos, event: "Parcel Delivered"}
			w.events(h)
			require.Equal(t, after > 0, tail.Add([]events.Resolved{h.resolved()}, events.Position(pos)), "awaited once a look has asked")
		}
		before := p.Queries()
		require.Len(t, ask(t, p, segments.Look{Who: []*segments.Who{who}, After: events.Position(after), UpTo: events.Position(upTo)}), int(upTo-after))
		return p.Queries() - before
	}
	require.Equal(t, int64(4), queries(0, 2), "merges, of whom, which, profiles")
	require.Equal(t, int64(1), queries(2, 4), "profiles")
	require.Len(t, tail.rows, 2, "those before are not kept")
	require.Equal(t, int64(1), queries(4, 5))
}

// Profiles are read beside the histories where what arrived is mostly told something: the answers are the same.
func TestProfilesBesideHistories(t *testing.T) {
	w := newWorld(t)
	p := w.planner(Options{Changed: func() events.Position { return 0 }})
	for person := uint64(1); person <= 4; person++ {
		w.known("user", fmt.Sprint("u", person), person, person, t0-day)
		w.trait(person, "n", strconv.FormatUint(person, 10), 10+person, t0-day)
		w.events(happening{person: person, time: t0 - minute, pos: 20 + person, event: "Parcel Delivered"})
	}
	look := func(when string) []segments.Answer {
		return ask(t, p, segments.Look{Who: []*segments.Who{compile(t, segments.WhoSpec{When: when, OnEvent: "Parcel Delivered"})}, After: 20, UpTo: 30})
	}
	for _, when := range []string{`event("Parcel Delivered").count > 0`, `user.traits.n > 2 and event("Parcel Delivered").count > 0`} {
		p.mostlyTrue.Store(false)
		after := look(when)
		require.True(t, p.mostlyTrue.Load(), "half of them or more")
		require.Equal(t, after, look(when), when)
		require.Equal(t, "u4", after[len(after)-1].Profile.UserID)
	}
	require.Empty(t, look(`user.traits.n > 9`))
	require.False(t, p.mostlyTrue.Load())
}

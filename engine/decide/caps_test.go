package decide_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"nudge/engine/decide"
	"nudge/engine/ledger"
	"nudge/rules"
)

func TestCalendarCaps(t *testing.T) {
	for name, c := range map[string]struct {
		calendar, clock, zone string
		first, second         string
		want                  ledger.Reason
		frees                 string
	}{
		"the person's day ends at their midnight": {
			"day", rules.ZonePerson, "America/New_York", "2026-03-02T03:00:00Z", "2026-03-02T04:59:59Z",
			ledger.FrequencyCap, "2026-03-02T05:00:00Z",
		},
		"the next day has room": {
			"day", rules.ZonePerson, "America/New_York", "2026-03-02T03:00:00Z", "2026-03-02T05:00:00Z", ledger.Send, "",
		},
		"a day of 23 hours": {
			"day", rules.ZonePerson, "Europe/Berlin", "2026-03-28T23:30:00Z", "2026-03-29T21:59:00Z",
			ledger.FrequencyCap, "2026-03-29T22:00:00Z",
		},
		"the workspace's week begins on Monday": {
			"week", rules.ZoneWorkspace, "", "2026-03-02T00:00:00Z", "2026-03-08T23:59:59Z",
			ledger.FrequencyCap, "2026-03-09T00:00:00Z",
		},
		"an hour of a zone that is half an hour off": {
			"hour", "Asia/Kolkata", "", "2026-03-02T10:31:00Z", "2026-03-02T11:29:00Z", ledger.FrequencyCap, "2026-03-02T11:30:00Z",
		},
		"a month": {
			"month", "UTC", "", "2026-02-28T23:00:00Z", "2026-03-01T00:00:00Z", ledger.Send, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.profile.Zone = c.zone
			w.policy.Caps = []decide.Cap{{Name: "c", Max: 1, Calendar: c.calendar, Clock: c.clock, Scope: "all", AtCap: rules.Retry}}
			at := func(s string) int64 {
				v, err := time.Parse(time.RFC3339, s)
				require.NoError(t, err)
				return v.UnixMilli()
			}
			d := w.at(at(c.first), rule("a"))[0]
			w.settle(d, ledger.Accepted, at(c.first))
			got := w.at(at(c.second), rule("b"))[0]
			require.Equal(t, c.want, got.Reason)
			if c.frees != "" {
				require.Equal(t, c.frees, time.UnixMilli(got.Due).UTC().Format(time.RFC3339))
			}
		})
	}
}

func TestScopes(t *testing.T) {
	news := func(r *rules.Rule) { r.Category = "news" }
	for name, c := range map[string]struct {
		cap  decide.Cap
		want ledger.Reason
	}{
		"all":                      {decide.Cap{Scope: "all"}, ledger.FrequencyCap},
		"rule":                     {decide.Cap{Scope: "rule"}, ledger.Send},
		"category":                 {decide.Cap{Scope: "category"}, ledger.Send},
		"channel":                  {decide.Cap{Scope: "channel"}, ledger.FrequencyCap},
		"only of another category": {decide.Cap{Scope: "all", Categories: []string{"promotional"}}, ledger.Send},
		"only of another channel":  {decide.Cap{Scope: "all", Channels: []string{"email"}}, ledger.Send},
		"only of this rule":        {decide.Cap{Scope: "all", Rules: []string{"b"}}, ledger.Send},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c.cap.Name, c.cap.Max, c.cap.Window, c.cap.AtCap = "c", 1, time.Hour, rules.Retry
			w.policy.Caps = []decide.Cap{c.cap}
			require.Equal(t, ledger.Send, w.at(noon, rule("a"))[0].Reason)
			require.Equal(t, c.want, w.at(noon+1, rule("b", news))[0].Reason)
		})
	}
}

// Each channel of `deliver: all` is a message of its own to the cap.
func TestAllChannelsCount(t *testing.T) {
	for name, c := range map[string]struct {
		cap  decide.Cap
		want []string
	}{
		"one of all":        {decide.Cap{Scope: "all", Max: 1}, []string{"log"}},
		"two of all":        {decide.Cap{Scope: "all", Max: 2}, []string{"log", "hook"}},
		"one of the rule":   {decide.Cap{Scope: "rule", Max: 1}, []string{"log"}},
		"one of a channel":  {decide.Cap{Scope: "channel", Max: 1}, []string{"log", "hook"}},
		"none of the first": {decide.Cap{Scope: "all", Channels: []string{"log"}}, []string{"hook"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.policy.Channels["hook"] = decide.Channel{}
			c.cap.Name, c.cap.Window, c.cap.AtCap = "c", time.Hour, rules.Retry
			w.policy.Caps = []decide.Cap{c.cap}
			all := func(r *rules.Rule) { r.Deliver = rules.DeliverAll }
			require.Equal(t, c.want, w.at(noon, rule("a", channels("log", "hook"), all))[0].Channels)
		})
	}
}

// TestCapsAreNeverExceeded plays random rules, outcomes and times, and counts in every window what
// was accepted.
func TestCapsAreNeverExceeded(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		window := time.Duration(rapid.IntRange(1, 48).Draw(rt, "window")) * time.Hour
		most := rapid.IntRange(0, 4).Draw(rt, "max")
		action := rapid.SampledFrom([]rules.Action{rules.Retry, rules.Hold, rules.Drop}).Draw(rt, "action")
		w.policy.Caps = []decide.Cap{{Name: "c", Max: most, Window: window, Scope: "all", AtCap: action}}
		w.policy.Channels["hook"] = decide.Channel{}
		known := map[string]*rules.Rule{}
		var accepted []int64 // a message on a channel each
		var pending []*ledger.Decision
		now := noon
		for i := range rapid.IntRange(1, 60).Draw(rt, "steps") {
			now += int64(rapid.IntRange(0, int(6*hour)).Draw(rt, "wait"))
			var rs []*rules.Rule
			for j := range rapid.IntRange(0, 3).Draw(rt, "rules") {
				r := rule(fmt.Sprintf("r%d-%d", i, j), func(r *rules.Rule) { r.Priority = rapid.IntRange(0, 100).Draw(rt, "priority") })
				if rapid.Bool().Draw(rt, "all channels") {
					channels("log", "hook")(r)
					r.Deliver = rules.DeliverAll
				}
				known[r.Name] = r
				rs = append(rs, r)
			}
			for _, o := range w.state.DueBy(now) {
				rs = append(rs, known[o.Slot().Rule])
			}
			for _, d := range w.at(now, rs...) {
				if d.Reason == ledger.Send {
					pending = append(pending, d)
				}
			}
			for len(pending) > 0 && rapid.Bool().Draw(rt, "settle") {
				d := pending[0]
				pending = pending[1:]
				status := rapid.SampledFrom([]ledger.Status{ledger.Accepted, ledger.Accepted, ledger.Failed}).Draw(rt, "status")
				w.settle(d, status, now)
				if status == ledger.Accepted {
					accepted = append(accepted, slices.Repeat([]int64{now}, len(d.Channels))...)
				}
			}
			in := 0
			for _, at := range accepted {
				if at > now-window.Milliseconds() {
					in++
				}
			}
			way := 0
			for _, d := range pending {
				way += len(d.Channels)
			}
			if in+way > most {
				rt.Fatalf("%d accepted in the window and %d under way, but at most %d may be", in, way, most)
			}
		}
	})
}

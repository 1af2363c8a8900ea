package decide_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/robfig/cron/v3"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"nudge/engine/decide"
	"nudge/engine/ledger"
	"nudge/rules"
	"nudge/segments"
)

// letters is a world with a digest at nine every day, and somebody with an address for it.
func letters(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.policy.Channels["digest"] = decide.Channel{Collects: true}
	w.policy.Digests = map[string]*rules.Rule{"digest": daily(t)}
	w.profile.Traits = map[string]json.RawMessage{"email": json.RawMessage(`"u7@shop.example"`)}
	w.fields = map[string]any{"title": "t"}
	return w
}

func daily(t *testing.T, change ...func(*rules.Rule)) *rules.Rule {
	t.Helper()
	r := rule("letter", append([]func(*rules.Rule){channels("email"), func(r *rules.Rule) {
		r.Digest, r.WhileHeld, r.Again = "digest", rules.Keep, rules.Again{Mode: rules.AgainEveryTick}
		schedule, err := cron.ParseStandard("0 9 * * *")
		require.NoError(t, err)
		r.Schedule = &rules.Schedule{Cron: "0 9 * * *", Spec: schedule.(*cron.SpecSchedule)} //nolint:forcetypeassert // what ParseStandard makes of fields
	}}, change...)...)
	return r
}

// item is a rule that collects, and nothing else.
func item(name string, change ...func(*rules.Rule)) *rules.Rule {
	return rule(name, append([]func(*rules.Rule){channels("digest")}, change...)...)
}

// release decides about everything that is due, as the engine does of what was collected: without asking its condition.
func (w *world) release(now int64, rs ...*rules.Rule) []*ledger.Decision {
	w.t.Helper()
	byName := map[string]*rules.Rule{}
	for _, r := range rs {
		byName[r.Name] = r
	}
	var cs []decide.Contender
	for _, o := range w.state.DueBy(now) {
		if r := byName[o.Slot().Rule]; r != nil {
			cs = append(cs, decide.Contender{Rule: r, Open: o, Kept: true, Answer: segments.Answer{Value: o.Slot().Value, Truth: segments.True, Profile: &w.profile}})
		}
	}
	return w.decide(now, cs...)
}

// nine is when the digest behind noon goes out, n days later.
func nine(n int64) int64 { return noon + 21*hour + n*24*hour }

func titles(d *ledger.Decision) []any {
	var out []any
	list, _ := d.With[rules.DigestItems].([]any)
	for _, it := range list {
		out = append(out, it.(map[string]any)["rule"]) //nolint:forcetypeassert // as it is made
	}
	return out
}

func TestACollectedEntryWaitsForItsDigest(t *testing.T) {
	w := letters(t)
	low, high := item("low"), item("high", func(r *rules.Rule) { r.Priority = 60 })
	w.policy.Caps = []decide.Cap{{Name: "none", Max: 1, Window: 24 * time.Hour, Scope: "all", AtCap: rules.Drop}}
	got := w.at(noon, low, high)
	require.Equal(t, []ledger.Reason{ledger.Held, ledger.Held}, reasons(got), "collecting takes no place under a cap")
	for _, d := range got {
		require.Equal(t, "digest: letter", d.By)
		require.Equal(t, nine(0), d.Due)
		require.Zero(t, d.Expires)
		require.Equal(t, []string{"digest"}, d.Channels)
	}
	require.Empty(t, w.release(nine(0)-1, low, high))
	require.Empty(t, w.state.Person(w.person).Uses)

	got = w.release(nine(0), low, high)
	require.Equal(t, []ledger.Reason{ledger.Send}, reasons(got), "one row for the digest and what it takes along")
	require.Equal(t, "letter", got[0].Rule)
	require.Equal(t, []string{"email"}, got[0].Channels)
	require.Equal(t, []any{"high", "low"}, titles(got[0]))
	require.EqualValues(t, 2, got[0].With[rules.DigestCount])
	require.Equal(t, []ledger.Reason{ledger.InDigest, ledger.InDigest}, reasons(got[0].Items))
	require.Equal(t, "letter", got[0].Items[0].By)

	p := w.state.Person(w.person)
	require.Len(t, p.Uses, 1, "the digest takes a place, its items none")
	require.Empty(t, w.state.DueBy(nine(100)))
	require.True(t, p.Slot("low", "").Live.Used)
	require.Empty(t, w.at(nine(1), low, high), "again: never")
}

func TestWhatADigestLeavesOut(t *testing.T) {
	shop := item("shop", func(r *rules.Rule) { r.Expire, r.SaysExpire = 12*time.Hour, true })
	other := item("other")
	for name, tc := range map[string]struct {
		arrange func(w *world, cs []decide.Contender)
		want    ledger.Reason
	}{
		"what an exit ended":   {func(_ *world, cs []decide.Contender) { cs[0].Exited, cs[0].Open.Expires = noon+1, 0 }, ledger.Exited},
		"what has expired":     {nil, ledger.Expired},
		"of a rule that stops": {func(_ *world, cs []decide.Contender) { cs[0].Paused = true; cs[0].Open.Expires = 0 }, ledger.Paused},
		"what they want no more of": {func(w *world, cs []decide.Contender) {
			cs[0].Open.Expires = 0
			w.profile.Consents = []segments.Consent{{Category: "offers", Time: noon + 1}}
		}, ledger.NoConsent},
		"what they want no more of by the channel of the digest": {func(w *world, cs []decide.Contender) {
			cs[0].Open.Expires = 0
			w.profile.Consents = []segments.Consent{{Category: "offers", Channel: "email", Time: noon + 1}}
		}, ledger.NoConsent},
	} {
		t.Run(name, func(t *testing.T) {
			w := letters(t)
			offers := *shop
			offers.Category = "offers"
			require.Len(t, w.at(noon, &offers, other), 2)
			cs := make([]decide.Contender, 2)
			for _, r := range []*rules.Rule{&offers, other} {
				o := w.state.Person(w.person).Slot(r.Name, "").Open[0]
				i := 0
				if r.Name == "other" {
					i = 1
				}
				cs[i] = decide.Contender{Rule: r, Open: o, Kept: true, Answer: segments.Answer{Truth: segments.True, Profile: &w.profile}}
			}
			if tc.arrange != nil {
				tc.arrange(w, cs)
				cs[0].Open.Due = nine(0)
			}
			got := w.decide(nine(0), cs...)
			require.Equal(t, []ledger.Reason{tc.want, ledger.Send}, reasons(got))
			require.Equal(t, []any{"other"}, titles(got[1]))
			require.Len(t, got[1].Items, 1)
		})
	}
}

func TestNothingLeftMeansNoDigest(t *testing.T) {
	w := letters(t)
	one := item("one")
	w.at(noon, one)
	o := w.state.Person(w.person).Slot("one", "").Open[0]
	got := w.decide(nine(0), decide.Contender{Rule: one, Open: o, Kept: true, Exited: noon + 1, Answer: segments.Answer{Truth: segments.True, Profile: &w.profile}})
	require.Equal(t, []ledger.Reason{ledger.Exited}, reasons(got))
}

// TestADigestThatIsStopped has the digest's own stages stop it: its items wait, and go with the next or when it may go.
func TestADigestThatIsStopped(t *testing.T) {
	for name, tc := range map[string]struct {
		stop func(w *world)
		by   string
		due  int64
		goes func(w *world)
	}{
		"by a cap": {
			func(w *world) {
				w.policy.Caps = []decide.Cap{{Name: "one", Max: 1, Window: 24 * time.Hour, Scope: "all", AtCap: rules.Retry}}
				d := w.at(noon+hour, rule("ad"))[0]
				w.settle(d, ledger.Accepted, noon+hour)
			},
			"digest: letter: frequency_cap: one", noon + 25*hour, func(*world) {},
		},
		"by quiet hours": {
			func(w *world) {
				w.policy.Quiet = []decide.Quiet{{From: 8 * 60, To: 11 * 60, Zone: rules.ZoneWorkspace}}
			},
			"digest: letter: quiet_hours", nine(0) + 2*hour, func(*world) {},
		},
		"by a pause": {
			func(w *world) { w.pauses = map[string]bool{"letter": true} },
			"digest: letter: paused", nine(1), func(w *world) { w.pauses = nil },
		},
		"by a template": {
			func(w *world) { w.fails = map[string]error{"letter": errors.New("html: items has no value")} },
			"digest: letter: template_failed", nine(1), func(w *world) { w.fails = nil },
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := letters(t)
			one := item("one")
			require.Equal(t, []ledger.Reason{ledger.Held}, reasons(w.at(noon, one)))
			tc.stop(w)
			got := w.release(nine(0), one)
			last := got[len(got)-1]
			require.Equal(t, ledger.Held, last.Reason)
			require.Equal(t, tc.by, last.By)
			require.Equal(t, tc.due, last.Due)
			tc.goes(w)
			got = w.release(tc.due, one)
			require.Equal(t, []ledger.Reason{ledger.Send}, reasons(got))
			require.Equal(t, []any{"one"}, titles(got[0]))
		})
	}
}

// TestADigestThatMayNotGoAnyMore: no channel may bring it, so its items wait as those of any rule without consent.
func TestADigestThatMayNotGoAnyMore(t *testing.T) {
	w := letters(t)
	w.policy.Digests["digest"].Category = "letters"
	one := item("one")
	w.at(noon, one)
	w.profile.Consents = []segments.Consent{{Category: "letters", Time: noon}}
	require.Equal(t, []ledger.Reason{ledger.NoConsent}, reasons(w.release(nine(0), one)))
	w.profile.Consents = append(w.profile.Consents, segments.Consent{Category: "letters", Granted: true, Time: nine(0) + 1})
	require.Equal(t, 1, w.state.Wake(w.person, nine(0)+hour))
	got := w.release(nine(0)+hour, one)
	require.Equal(t, []ledger.Reason{ledger.Held}, reasons(got))
	require.Equal(t, nine(1), got[0].Due)
}

func TestCollectingIsForWhomTheDigestReaches(t *testing.T) {
	r := rule("r", channels("digest", "log"))
	for name, tc := range map[string]struct {
		change func(w *world)
		want   []string
		reason ledger.Reason
	}{
		"somebody with an address": {func(*world) {}, []string{"digest"}, ledger.Held},
		"somebody without":         {func(w *world) { w.profile.Traits = nil }, []string{"log"}, ledger.Send},
		"who wants no mail":        {func(w *world) { w.profile.Consents = []segments.Consent{{Channel: "email", Time: 1}} }, []string{"log"}, ledger.Send},
		"where nothing sends it":   {func(w *world) { w.policy.Digests = nil }, []string{"log"}, ledger.Send},
		"in quiet hours of all":    {func(w *world) { w.policy.Quiet = []decide.Quiet{{From: 0, To: 23 * 60, Zone: rules.ZoneWorkspace}} }, []string{"digest"}, ledger.Held},
		"whose clock is not known": {func(w *world) {
			w.policy.UnknownZone = "hold"
			w.policy.Digests["digest"].Schedule.Zone = rules.ZonePerson
		}, nil, ledger.Held},
	} {
		t.Run(name, func(t *testing.T) {
			w := letters(t)
			tc.change(w)
			got := w.at(noon, r)
			require.Equal(t, []ledger.Reason{tc.reason}, reasons(got))
			require.Equal(t, tc.want, got[0].Channels)
		})
	}
}

func TestAScheduleThatMovedIsWaitedFor(t *testing.T) {
	w := letters(t)
	one := item("one")
	w.at(noon, one)
	monday, err := cron.ParseStandard("0 9 * * 1")
	require.NoError(t, err)
	w.policy.Digests["digest"].Schedule.Spec = monday.(*cron.SpecSchedule) //nolint:forcetypeassert // as above
	require.Empty(t, w.release(nine(0), one), "it waits on, which is no new answer")
	require.Equal(t, []ledger.Reason{ledger.Send}, reasons(w.release(nine(6), one)))
}

// TestMoreThanADigestHolds: what does not fit waits for the next, and nothing is in two.
func TestMoreThanADigestHolds(t *testing.T) {
	w := letters(t)
	const all = 130
	var rs []*rules.Rule
	for i := range all {
		rs = append(rs, item(fmt.Sprintf("r%03d", i)))
	}
	w.at(noon, rs...)
	first, second := w.release(nine(0), rs...), w.release(nine(1), rs...)
	require.Len(t, titles(first[0]), 100)
	require.Len(t, titles(second[0]), all-100)
	require.NotContains(t, titles(second[0]), titles(first[0])[0])

	w = letters(t)
	w.at(noon, rs[:8]...)
	w.fields = map[string]any{"title": strings.Repeat("x", 200<<10)}
	seen := map[any]bool{}
	for day := range int64(8) {
		for _, d := range w.release(nine(day), rs[:8]...) {
			for _, title := range titles(d) {
				require.False(t, seen[title], "%s is in two", title)
				seen[title] = true
			}
		}
	}
	require.Len(t, seen, 8)
}

func TestWhatIsTooLargeForAnyDigestEnds(t *testing.T) {
	w := letters(t)
	one := item("one")
	w.at(noon, one)
	w.fields = map[string]any{"title": strings.Repeat("x", 1<<20)}
	got := w.release(nine(0), one)
	require.Equal(t, []ledger.Reason{ledger.ConditionError}, reasons(got))
	require.Contains(t, got[0].By, "most of it items")
}

func TestAHoldoutOfADigestTakesItsItems(t *testing.T) {
	w := letters(t)
	w.policy.Digests["digest"] = daily(t, func(r *rules.Rule) { r.Holdout = 1 })
	one := item("one")
	w.at(noon, one)
	got := w.release(nine(0), one)
	require.Equal(t, []ledger.Reason{ledger.Holdout}, reasons(got))
	require.Equal(t, []ledger.Reason{ledger.Holdout}, reasons(got[0].Items))
	require.Empty(t, w.state.DueBy(nine(100)))
}

// TestNothingIsLostOrDoubled collects at random, stops and lets go digests at random, and wants every entry in exactly one
// digest, or ended for a reason of its own.
func TestNothingIsLostOrDoubled(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := letters(t)
		ended := map[string]ledger.Reason{}
		entered := map[string]bool{}
		take := func(ds []*ledger.Decision) {
			for _, d := range ds {
				all := append([]*ledger.Decision{d}, d.Items...)
				for _, x := range all {
					if x.Rule == "letter" {
						continue
					}
					entered[x.Entry] = true
					if x.Reason == ledger.Held || x.Open {
						continue
					}
					if _, twice := ended[x.Entry]; twice {
						rt.Fatalf("%s of %s has two ends", x.Entry, x.Rule)
					}
					ended[x.Entry] = x.Reason
				}
				if d.Rule == "letter" && len(titles(d)) != len(d.Items) {
					rt.Fatalf("the letter lists %d and takes %d along", len(titles(d)), len(d.Items))
				}
			}
		}
		var rs []*rules.Rule
		for i := range 5 {
			rs = append(rs, item(fmt.Sprintf("r%d", i), func(r *rules.Rule) { r.Again = rules.Again{Mode: rules.AgainEveryTick} }))
		}
		now := noon
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			now += rapid.Int64Range(1, 10*hour).Draw(rt, "wait")
			w.pauses = map[string]bool{"letter": rapid.IntRange(0, 3).Draw(rt, "paused") == 0}
			take(w.release(now, rs...))
			r := rs[rapid.IntRange(0, len(rs)-1).Draw(rt, "rule")]
			if slot := w.state.Person(w.person).Slot(r.Name, ""); slot == nil || len(slot.Open) == 0 {
				take(w.decide(now, decide.Contender{Rule: r, Answer: segments.Answer{Truth: segments.True, Profile: &w.profile}}))
			}
		}
		w.pauses = nil
		take(w.release(now+3*24*hour, rs...))
		take(w.release(now+6*24*hour, rs...))
		for entry := range entered {
			if ended[entry] != ledger.InDigest {
				rt.Fatalf("%s ended as %q", entry, ended[entry])
			}
		}
	})
}

package decide_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/engine/decide"
	"nudge/engine/ledger"
	"nudge/events"
	"nudge/rules"
	"nudge/segments"
)

const hour = int64(3600 * 1000)

// noon is Monday 2026-03-02 12:00 UTC.
var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC).UnixMilli()

func policy() *decide.Policy {
	return &decide.Policy{
		Salt: "salt", Zone: time.UTC, UnknownZone: "default", Location: time.LoadLocation,
		Channels: map[string]decide.Channel{
			"push":  {Needs: "token", Platforms: []string{"ios", "android"}},
			"email": {Needs: "email"},
			"log":   {},
		},
		OptIn: func(string, string) bool { return false },
	}
}

func rule(name string, change ...func(*rules.Rule)) *rules.Rule {
	r := &rules.Rule{
		Name: name, Category: rules.Promotional, Priority: 50, Schedule: &rules.Schedule{Cron: "*/5 * * * *"}, Rollout: 1,
		Again: rules.Again{Mode: rules.AgainNever}, Deliver: rules.DeliverFirst, WhileHeld: rules.Recheck, Expire: 24 * time.Hour,
		WhenBlocked: rules.WhenBlocked{Outranked: rules.Retry, NoAddress: rules.Retry, NoConsent: rules.Retry, QuietHours: rules.Retry},
		Message:     []rules.ChannelMessage{{Channel: "log"}}, Hash: "message",
	}
	for _, c := range change {
		c(r)
	}
	return r
}

func channels(names ...string) func(*rules.Rule) {
	return func(r *rules.Rule) {
		r.Message = nil
		for _, n := range names {
			r.Message = append(r.Message, rules.ChannelMessage{Channel: n})
		}
	}
}

// world steps one person through decide with a real state.
type world struct {
	t      *testing.T
	policy *decide.Policy
	state  *ledger.State
	person events.PersonID
	// profile is what the looks bring.
	profile segments.Profile
	render  error
	fields  map[string]any
	fails   map[string]error // by rule
	pauses  map[string]bool
}

func newWorld(t *testing.T) *world {
	return &world{t: t, policy: policy(), state: ledger.NewState(100 * 24 * hour), person: 7, profile: segments.Profile{UserID: "u7"}}
}

// at decides the rules that are true (all of rs), and what is due, and returns the decisions.
func (w *world) at(now int64, rs ...*rules.Rule) []*ledger.Decision {
	w.t.Helper()
	cs := make([]decide.Contender, 0, len(rs))
	open := map[string]*ledger.Open{}
	for _, o := range w.state.DueBy(now) {
		open[o.Slot().Rule] = o
	}
	for _, r := range rs {
		cs = append(cs, decide.Contender{Rule: r, Open: open[r.Name], Answer: segments.Answer{Truth: segments.True, Profile: &w.profile}})
	}
	return w.decide(now, cs...)
}

func (w *world) decide(now int64, cs ...decide.Contender) []*ledger.Decision {
	w.t.Helper()
	records, defers := decide.Person(decide.Input{
		At: now, Tick: "t", Person: w.person, State: w.state.Person(w.person), Contenders: cs, Policy: w.policy, DigestPaused: func(rule string) bool { return w.pauses[rule] },
		Render: func(c *decide.Contender, _, _ string, _ *segments.Profile) (map[string]any, error) {
			if err := w.fails[c.Rule.Name]; err != nil {
				return nil, err
			}
			return w.fields, w.render
		},
	})
	var out []*ledger.Decision
	for _, r := range records {
		data, err := ledger.EncodeChunk([]ledger.Record{r})
		require.NoError(w.t, err)
		back, err := ledger.DecodeChunk(data)
		require.NoError(w.t, err)
		for _, b := range back.Records {
			w.state.Apply(b)
		}
		out = append(out, r.Decision)
	}
	for _, d := range defers {
		w.state.Defer(d.Open, d.Due)
	}
	return out
}

func (w *world) settle(d *ledger.Decision, status ledger.Status, at int64) {
	for _, ch := range d.Channels {
		w.state.Apply(ledger.Record{Delivery: &ledger.Delivery{Entry: d.Entry, Channel: ch, Rule: d.Rule, Person: w.person, Status: status, At: at}})
	}
}

func (w *world) flip(r *rules.Rule, at int64) {
	w.state.Apply(ledger.Record{Flip: &ledger.Flip{Rule: r.Name, Person: w.person, At: at}})
}

func reasons(ds []*ledger.Decision) []ledger.Reason {
	out := []ledger.Reason{}
	for _, d := range ds {
		out = append(out, d.Reason)
	}
	return out
}

func TestAgain(t *testing.T) {
	never := rule("r")
	after := rule("r", func(r *rules.Rule) { r.Again = rules.Again{Mode: rules.AgainAfter, After: 7 * 24 * time.Hour} })
	each := rule("r", func(r *rules.Rule) { r.Again = rules.Again{Mode: rules.AgainEachTime} })
	every := rule("r", func(r *rules.Rule) { r.Again = rules.Again{Mode: rules.AgainEveryTick} })
	day := 24 * hour
	cases := map[string]struct {
		rule *rules.Rule
		// steps are looks at day n; true is a look at which the condition holds, false a flip.
		steps []struct {
			day  int64
			true bool
		}
		sends int
	}{}
	add := func(name string, r *rules.Rule, sends int, steps ...any) {
		c := cases[name]
		c.rule, c.sends = r, sends
		for i := 0; i < len(steps); i += 2 {
			c.steps = append(c.steps, struct {
				day  int64
				true bool
			}{int64(steps[i].(int)), steps[i+1].(bool)})
		}
		cases[name] = c
	}
	add("never is once, whatever the condition does", never, 1, 0, true, 1, false, 2, true, 300, true)
	add("after counts from the entry and needs no change", after, 2, 0, true, 6, true, 7, true)
	add("after is over only when it is over", after, 1, 0, true, 6, true)
	add("each time needs a false look in between", each, 1, 0, true, 1, true, 2, true)
	add("each time after a false look", each, 2, 0, true, 1, false, 2, true, 3, true)
	add("every tick", every, 3, 0, true, 1, true, 2, true)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			sends := 0
			for _, s := range c.steps {
				if !s.true {
					w.flip(c.rule, noon+s.day*day)
					continue
				}
				for _, d := range w.at(noon+s.day*day, c.rule) {
					require.Equal(t, ledger.Send, d.Reason)
					w.settle(d, ledger.Accepted, noon+s.day*day)
					sends++
				}
			}
			require.Equal(t, c.sends, sends)
		})
	}
}

func TestATickThatIsRepeatedDecidesNothingTwice(t *testing.T) {
	w := newWorld(t)
	every := rule("r", func(r *rules.Rule) { r.Again = rules.Again{Mode: rules.AgainEveryTick} })
	require.Len(t, w.at(noon, every), 1)
	require.Empty(t, w.at(noon, every))

	on := rule("on", func(r *rules.Rule) {
		r.Schedule, r.On, r.Again = nil, &rules.On{Event: "E"}, rules.Again{Mode: rules.AgainEachTime}
	})
	arrival := func(pos events.Position) decide.Contender {
		return decide.Contender{Rule: on, Answer: segments.Answer{Truth: segments.True, Profile: &w.profile, Trigger: &segments.Occurrence{Pos: pos, Time: noon}}}
	}
	require.Len(t, w.decide(noon, arrival(1), arrival(2)), 2)
	require.Empty(t, w.decide(noon, arrival(1), arrival(2)))
	require.Len(t, w.decide(noon+1, arrival(3)), 1)
}

func TestOnAgain(t *testing.T) {
	on := func(a rules.Again) *rules.Rule {
		return rule("on", func(r *rules.Rule) { r.Schedule, r.On, r.Again = nil, &rules.On{Event: "E"}, a })
	}
	for name, c := range map[string]struct {
		again rules.Again
		want  int
	}{
		"each time is once for each occurrence": {rules.Again{Mode: rules.AgainEachTime}, 3},
		"after is at most one in the time":      {rules.Again{Mode: rules.AgainAfter, After: time.Hour}, 2},
		"never is once in a lifetime":           {rules.Again{Mode: rules.AgainNever}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			r := on(c.again)
			arrival := func(pos events.Position) decide.Contender {
				return decide.Contender{Rule: r, Answer: segments.Answer{Truth: segments.True, Profile: &w.profile, Trigger: &segments.Occurrence{Pos: pos, Time: noon}}}
			}
			got := len(w.decide(noon, arrival(1), arrival(2)))
			got += len(w.decide(noon+hour, arrival(3)))
			require.Equal(t, c.want, got)
		})
	}
}

func TestFirstLookOnlyNotes(t *testing.T) {
	w := newWorld(t)
	r := rule("r", func(r *rules.Rule) { r.Again = rules.Again{Mode: rules.AgainAfter, After: time.Hour} })
	answer := segments.Answer{Truth: segments.True, Profile: &w.profile}
	require.Equal(t, []ledger.Reason{ledger.AlreadyTrue}, reasons(w.decide(noon, decide.Contender{Rule: r, Answer: answer, FirstLook: true})))
	require.Empty(t, w.at(noon+100*hour, r), "already true never ends by `after`")
	w.flip(r, noon+101*hour)
	require.Equal(t, []ledger.Reason{ledger.Send}, reasons(w.at(noon+102*hour, r)))

	w = newWorld(t)
	r.Backfill = true
	require.Equal(t, []ledger.Reason{ledger.Send}, reasons(w.decide(noon, decide.Contender{Rule: r, Answer: answer, FirstLook: true})))
}

func TestPriorityAndOutranked(t *testing.T) {
	w := newWorld(t)
	w.policy.Caps = []decide.Cap{{Name: "one a day", Max: 1, Window: 24 * time.Hour, Scope: "all", AtCap: rules.Retry}}
	low := rule("a-low", func(r *rules.Rule) { r.Priority = 10 })
	high := rule("z-high", func(r *rules.Rule) { r.Priority = 90 })
	got := w.at(noon, low, high)
	require.Equal(t, []ledger.Reason{ledger.Send, ledger.Outranked}, reasons(got))
	require.Equal(t, "z-high", got[0].Rule)
	require.Equal(t, "z-high", got[1].By, "names the winner")
	require.True(t, got[1].Open)
	require.Equal(t, noon+24*hour, got[1].Due, "when the cap frees")

	w.settle(got[0], ledger.Accepted, noon+hour)
	got = w.at(noon+24*hour, low)
	require.Equal(t, []ledger.Reason{ledger.FrequencyCap}, reasons(got), "the winner is sent by now: it is the cap that stops")
	require.Empty(t, w.at(noon+25*hour-1, low), "it is not due")
	due, ok := w.state.NextDue()
	require.True(t, ok)
	require.Equal(t, noon+25*hour, due, "the cap counts from acceptance")
	require.Equal(t, []ledger.Reason{ledger.Send}, reasons(w.at(due, low)))
}

func TestALoserIsNotOutrankedByARuleThatDoesNotSend(t *testing.T) {
	w := newWorld(t)
	w.policy.Caps = []decide.Cap{{Name: "one a day", Max: 1, Window: 24 * time.Hour, Scope: "all", AtCap: rules.Retry}}
	held := rule("held-out", func(r *rules.Rule) { r.Priority, r.Holdout = 90, 1 })
	low := rule("low", func(r *rules.Rule) { r.Priority = 10 })
	require.Equal(t, []ledger.Reason{ledger.Holdout, ledger.Send}, reasons(w.at(noon, held, low)))
}

func TestCapGivesBack(t *testing.T) {
	capped := []decide.Cap{{Name: "one a day", Max: 1, Window: 24 * time.Hour, Scope: "all", AtCap: rules.Retry}}
	for name, c := range map[string]struct {
		status ledger.Status
		want   ledger.Reason
	}{
		"accepted counts":                   {ledger.Accepted, ledger.FrequencyCap},
		"a permanent failure gives it back": {ledger.Failed, ledger.Send},
		"an exit in the queue too":          {ledger.StoppedExited, ledger.Send},
		"expiry in the queue too":           {ledger.StoppedExpired, ledger.Send},
		"an intent without outcome counts":  {ledger.Intent, ledger.FrequencyCap},
		"a retry counts":                    {ledger.Retrying, ledger.FrequencyCap},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.policy.Caps = capped
			first := w.at(noon, rule("a"))
			w.settle(first[0], c.status, noon)
			require.Equal(t, c.want, w.at(noon+hour, rule("b"))[0].Reason)
		})
	}
}

func TestBlockedByChoice(t *testing.T) {
	quiet := []decide.Quiet{{From: 11 * 60, To: 14 * 60, Zone: rules.ZoneWorkspace}}
	for name, c := range map[string]struct {
		action rules.Action
		first  ledger.Reason
		open   bool
		later  []ledger.Reason // at 14:00, the condition true
		gone   []ledger.Reason // at 14:00, the condition false
	}{
		"retry asks again":         {rules.Retry, ledger.QuietHours, true, []ledger.Reason{ledger.Send}, []ledger.Reason{ledger.NoLongerTrue}},
		"hold releases":            {rules.Hold, ledger.Held, false, []ledger.Reason{ledger.Send}, []ledger.Reason{ledger.NoLongerTrue}},
		"drop is over and used up": {rules.Drop, ledger.QuietHours, false, []ledger.Reason{}, []ledger.Reason{}},
	} {
		t.Run(name, func(t *testing.T) {
			r := rule("r", func(r *rules.Rule) { r.WhenBlocked.QuietHours = c.action })
			for _, truth := range []segments.Truth{segments.True, segments.False} {
				w := newWorld(t)
				w.policy.Quiet = quiet
				got := w.at(noon, r)
				require.Equal(t, []ledger.Reason{c.first}, reasons(got))
				require.Equal(t, c.open, got[0].Open)
				open := w.state.DueBy(noon + 2*hour)
				require.Empty(t, w.state.DueBy(noon+2*hour-1), "not before the window ends")
				var cs []decide.Contender
				for _, o := range open {
					cs = append(cs, decide.Contender{Rule: r, Open: o, Answer: segments.Answer{Truth: truth, Profile: &w.profile}})
				}
				if len(cs) == 0 {
					cs = append(cs, decide.Contender{Rule: r, Answer: segments.Answer{Truth: truth, Profile: &w.profile}})
				}
				want := c.later
				if truth == segments.False {
					want = c.gone
				}
				require.Equal(t, want, reasons(w.decide(noon+2*hour, cs...)))
			}
		})
	}
}

func TestTransactionalSkips(t *testing.T) {
	w := newWorld(t)
	w.policy.Caps = []decide.Cap{{Name: "none", Max: 0, Window: time.Hour, Scope: "all", AtCap: rules.Drop}}
	w.policy.Quiet = []decide.Quiet{{From: 0, To: 24*60 - 1, Zone: rules.ZoneWorkspace}}
	w.policy.Holdout = 1
	parcel := rule("parcel", func(r *rules.Rule) { r.Category = rules.Transactional })
	require.Equal(t, []ledger.Reason{ledger.Send}, reasons(w.at(noon, parcel)))
}

func TestConsentAndAddress(t *testing.T) {
	no := func(ch, cat string, at int64) segments.Consent {
		return segments.Consent{Channel: ch, Category: cat, Time: at}
	}
	yes := func(ch, cat string, at int64) segments.Consent {
		return segments.Consent{Channel: ch, Category: cat, Granted: true, Time: at}
	}
	phone := segments.Device{Token: "tok", Platform: "ios"}
	email := map[string]json.RawMessage{"email": json.RawMessage(`"u@shop.example"`)}
	for name, c := range map[string]struct {
		profile  segments.Profile
		category string
		optIn    bool
		want     ledger.Reason
		channels []string
		fallback []string
	}{
		"push first, e-mail behind it":          {profile: segments.Profile{Devices: []segments.Device{phone}, Traits: email}, want: ledger.Send, channels: []string{"push"}, fallback: []string{"email"}},
		"no device: e-mail":                     {profile: segments.Profile{Traits: email}, want: ledger.Send, channels: []string{"email"}},
		"neither":                               {want: ledger.NoAddress},
		"an e-mail that is no text is none":     {profile: segments.Profile{Traits: map[string]json.RawMessage{"email": json.RawMessage(`12`)}}, want: ledger.NoAddress},
		"refused on push":                       {profile: segments.Profile{Devices: []segments.Device{phone}, Traits: email, Consents: []segments.Consent{no("push", "", 1)}}, want: ledger.Send, channels: []string{"email"}},
		"refused altogether":                    {profile: segments.Profile{Traits: email, Consents: []segments.Consent{no("", "", 1)}}, want: ledger.NoConsent},
		"granted again later":                   {profile: segments.Profile{Traits: email, Consents: []segments.Consent{no("", "", 1), yes("email", "promotional", 2)}}, want: ledger.Send, channels: []string{"email"}},
		"at one instant the refusal wins":       {profile: segments.Profile{Traits: email, Consents: []segments.Consent{no("", "", 2), yes("email", "", 2)}}, want: ledger.NoConsent},
		"opt-in needs a record":                 {profile: segments.Profile{Traits: email}, optIn: true, want: ledger.NoConsent},
		"a blanket refusal leaves parcels":      {profile: segments.Profile{Traits: email, Consents: []segments.Consent{no("", "", 1)}}, category: rules.Transactional, want: ledger.Send, channels: []string{"email"}},
		"a refusal of a channel, parcels too":   {profile: segments.Profile{Traits: email, Consents: []segments.Consent{no("email", "", 1), no("push", "", 1)}}, category: rules.Transactional, want: ledger.NoConsent},
		"transactional can be refused by name":  {profile: segments.Profile{Traits: email, Consents: []segments.Consent{no("", "transactional", 1)}}, category: rules.Transactional, want: ledger.NoConsent},
		"another category's refusal is its own": {profile: segments.Profile{Traits: email, Consents: []segments.Consent{no("", "news", 1)}}, want: ledger.Send, channels: []string{"email"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.profile = c.profile
			w.policy.OptIn = func(string, string) bool { return c.optIn }
			r := rule("r", channels("push", "email"), func(r *rules.Rule) {
				if c.category != "" {
					r.Category = c.category
				}
			})
			got := w.at(noon, r)
			require.Len(t, got, 1)
			require.Equal(t, c.want, got[0].Reason)
			require.Equal(t, c.channels, got[0].Channels)
			require.Equal(t, c.fallback, got[0].Fallback)
			if c.want != ledger.Send {
				require.True(t, w.state.Waits(w.person), "it waits for news")
				require.Equal(t, 1, w.state.Wake(w.person, noon+hour))
				w.profile = segments.Profile{Traits: email, Consents: []segments.Consent{yes("email", r.Category, 9)}}
				require.Equal(t, []ledger.Reason{ledger.Send}, reasons(w.at(noon+hour, r)))
			}
		})
	}
}

func TestSendAtHoldsAndReleases(t *testing.T) {
	w := newWorld(t)
	w.profile.Zone = "Europe/Berlin"
	nine := rules.TimeOfDay(9 * 60)
	r := rule("r", func(r *rules.Rule) { r.SendAt = &nine })
	got := w.at(noon, r)
	require.Equal(t, []ledger.Reason{ledger.Held}, reasons(got))
	require.Equal(t, time.Date(2026, 3, 3, 8, 0, 0, 0, time.UTC).UnixMilli(), got[0].Due)
	require.Equal(t, []ledger.Reason{ledger.Send}, reasons(w.at(got[0].Due, r)))

	late := newWorld(t)
	late.profile.Zone = "Europe/Berlin"
	got = late.at(noon, r)
	require.Equal(t, []ledger.Reason{ledger.Expired}, reasons(late.at(got[0].Expires, r)))
}

func TestUnknownZone(t *testing.T) {
	for policyName, want := range map[string]ledger.Reason{"default": ledger.QuietHours, "hold": ledger.Held, "drop": ledger.QuietHours} {
		t.Run(policyName, func(t *testing.T) {
			w := newWorld(t)
			w.policy.UnknownZone = policyName
			w.policy.Quiet = []decide.Quiet{{From: 11 * 60, To: 14 * 60, Zone: rules.ZonePerson}}
			got := w.at(noon, rule("r"))
			require.Equal(t, want, got[0].Reason)
			require.Equal(t, policyName == "default", got[0].Open)
		})
	}
}

func TestTemplateFailedComesBackWithANewMessage(t *testing.T) {
	w := newWorld(t)
	w.render = errors.New("product is missing")
	r := rule("r")
	got := w.at(noon, r)
	require.Equal(t, []ledger.Reason{ledger.TemplateFailed}, reasons(got))
	require.Contains(t, got[0].By, "product is missing")
	w.render = nil
	require.Empty(t, w.at(noon+hour, r), "the same message is not tried again")
	changed := rule("r", func(r *rules.Rule) { r.Hash = "another" })
	require.Equal(t, []ledger.Reason{ledger.Send}, reasons(w.at(noon+hour, changed)))
}

func TestConditionErrorEndsWhenItEvaluates(t *testing.T) {
	w := newWorld(t)
	r := rule("r")
	failed := decide.Contender{Rule: r, Answer: segments.Answer{Truth: segments.Failed, Err: errors.New("boom"), Profile: &w.profile}}
	require.Equal(t, []ledger.Reason{ledger.ConditionError}, reasons(w.decide(noon, failed)))
	require.Empty(t, w.decide(noon+1, failed), "one row, not one a tick")
	require.Equal(t, []ledger.Reason{ledger.Send}, reasons(w.at(noon+hour, r)))
}

func TestStoppedInTheQueueGivesAgainBack(t *testing.T) {
	w := newWorld(t)
	r := rule("r")
	sent := w.at(noon, r)[0]
	w.settle(sent, ledger.StoppedExited, noon+1)
	un := w.state.Unanswered()
	require.Len(t, un, 1)
	require.Equal(t, ledger.Exited, un[0].Next())
	ended := un[0].Decision
	ended.Attempt, ended.Reason, ended.At = 1, ledger.Exited, noon+1
	w.state.Apply(ledger.Record{Decision: &ended})
	require.Empty(t, w.state.Unanswered())
	require.Empty(t, w.at(noon+hour, r), "closed until the condition was false")
	w.flip(r, noon+2*hour)
	require.Equal(t, []ledger.Reason{ledger.Send}, reasons(w.at(noon+3*hour, r)), "`never` was not used up")
}

func TestShadowKeepsItsOwnCount(t *testing.T) {
	w := newWorld(t)
	w.policy.Caps = []decide.Cap{{Name: "one", Max: 1, Window: 24 * time.Hour, Scope: "all", AtCap: rules.Retry}}
	shadow := rule("r", func(r *rules.Rule) { r.Shadow = true })
	require.Equal(t, []ledger.Reason{ledger.Shadow}, reasons(w.at(noon, shadow)))
	require.Empty(t, w.at(noon+hour, shadow))
	require.Equal(t, []ledger.Reason{ledger.Send}, reasons(w.at(noon+2*hour, rule("r"))), "live starts afresh, and shadow took no room")
}

func TestVariantsAndHoldoutAreSpread(t *testing.T) {
	r := rule("r", func(r *rules.Rule) {
		r.Holdout = 0.2
		r.Variants = []rules.Variant{
			{Name: "a", Weight: 3, Message: []rules.ChannelMessage{{Channel: "log"}}},
			{Name: "b", Weight: 1, Message: []rules.ChannelMessage{{Channel: "log"}}},
		}
	})
	count := map[string]int{}
	const n = 4000
	for i := range n {
		w := newWorld(t)
		w.person = events.PersonID(i + 1)
		d := w.at(noon, r)[0]
		count[string(d.Reason)+d.Variant]++
	}
	require.InDelta(t, 0.2*0.75, float64(count["holdouta"])/n, 0.02)
	require.InDelta(t, 0.8*0.75, float64(count["senda"])/n, 0.03)
	require.InDelta(t, 0.8*0.25, float64(count["sendb"])/n, 0.03)
}

func TestTheOrderOfChannels(t *testing.T) {
	prefers := func(value string) segments.Profile {
		return segments.Profile{
			Devices: []segments.Device{{Token: "tok", Platform: "ios"}},
			Traits:  map[string]json.RawMessage{"email": json.RawMessage(`"u@shop.example"`), "preferred_channel": json.RawMessage(value)},
		}
	}
	for name, c := range map[string]struct {
		profile  segments.Profile
		deliver  rules.Deliver
		urgent   bool
		message  []string
		channels []string
		fallback []string
	}{
		"as the file has it":           {profile: prefers(`"push"`), deliver: rules.DeliverFirst, message: []string{"log", "email", "push"}, channels: []string{"log"}, fallback: []string{"email", "push"}},
		"the preferred one first":      {profile: prefers(`"email"`), deliver: rules.DeliverPreferred, message: []string{"log", "push", "email"}, channels: []string{"email"}, fallback: []string{"log", "push"}},
		"one that the rule has not":    {profile: prefers(`"sms"`), deliver: rules.DeliverPreferred, message: []string{"log", "push"}, channels: []string{"log"}, fallback: []string{"push"}},
		"a trait that is no text":      {profile: prefers(`5`), deliver: rules.DeliverPreferred, message: []string{"log", "push"}, channels: []string{"log"}, fallback: []string{"push"}},
		"no trait":                     {deliver: rules.DeliverPreferred, message: []string{"log", "push"}, channels: []string{"log"}},
		"one that cannot reach them":   {profile: segments.Profile{Traits: map[string]json.RawMessage{"preferred_channel": json.RawMessage(`"email"`)}}, deliver: rules.DeliverPreferred, message: []string{"log", "email"}, channels: []string{"log"}},
		"urgent: push first":           {profile: prefers(`"email"`), deliver: rules.DeliverPreferred, urgent: true, message: []string{"log", "email", "push"}, channels: []string{"push"}, fallback: []string{"log", "email"}},
		"urgent, and push escalates":   {profile: prefers(`"email"`), deliver: rules.DeliverEscalate, urgent: true, message: []string{"log", "push"}, channels: []string{"push"}, fallback: []string{"log"}},
		"urgent, and there is no push": {deliver: rules.DeliverFirst, urgent: true, message: []string{"log"}, channels: []string{"log"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.profile = c.profile
			got := w.at(noon, rule("r", channels(c.message...), func(r *rules.Rule) { r.Deliver, r.Urgent, r.EscalateAfter = c.deliver, c.urgent, time.Hour }))
			require.Equal(t, []ledger.Reason{ledger.Send}, reasons(got))
			require.Equal(t, c.channels, got[0].Channels)
			require.Equal(t, c.fallback, got[0].Fallback)
		})
	}
}

func TestTheLatestDevice(t *testing.T) {
	for name, c := range map[string]struct {
		devices []segments.Device
		latest  bool
		want    []string
	}{
		"all":                   {[]segments.Device{{Token: "a", Platform: "ios", LastSeen: 1}, {Token: "b", Platform: "android", LastSeen: 2}}, false, []string{"a", "b"}},
		"the one seen last":     {[]segments.Device{{Token: "a", Platform: "ios", LastSeen: 3}, {Token: "b", Platform: "android", LastSeen: 2}}, true, []string{"a"}},
		"at one instant":        {[]segments.Device{{Token: "b", Platform: "ios", LastSeen: 3}, {Token: "a", Platform: "ios", LastSeen: 3}}, true, []string{"b"}},
		"of those it can reach": {[]segments.Device{{Token: "a", Platform: "ios", LastSeen: 1}, {Token: "b", Platform: "web", LastSeen: 2}}, true, []string{"a"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.profile.Devices = c.devices
			got := w.at(noon, rule("r", channels("push"), func(r *rules.Rule) { r.LatestDevice = c.latest }))
			require.Equal(t, []ledger.Reason{ledger.Send}, reasons(got))
			var tokens []string
			for _, raw := range got[0].Devices {
				var d segments.Device
				require.NoError(t, json.Unmarshal(raw, &d))
				tokens = append(tokens, d.Token)
			}
			require.Equal(t, c.want, tokens)
		})
	}
}

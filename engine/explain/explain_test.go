package explain_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/engine/enginetest"
	"nudge/engine/explain"
	"nudge/engine/ledger"
	"nudge/engine/workspace"
	"nudge/events"
)

const (
	minute = enginetest.Minute
	hour   = enginetest.Hour
	day    = enginetest.Day
)

func world(t *testing.T) *enginetest.World {
	return enginetest.New(t, map[string]string{
		"nudge.yaml": `zone: UTC
salt: explain
channels: {push: {adapter: file, kind: push, config: {path: data/push.ndjson}}, log: {adapter: stdout}}
caps: [{name: one-a-day, max: 1, per: 24h, scope: all, at_cap: retry}]
`,
		"rules/cart.yaml": `rule: cart
schedule: "*/5 * * * *"
when: |
  event("Product Added").count >= 2 and event("Product Added").last.ago >= hours(1)
    and not did("Order Completed").since(event("Product Added").last.at)
again: never
message: {push: {title: Cart, body: Hello}}
`,
		"rules/hello.yaml": `rule: hello
priority: 90
schedule: "*/5 * * * *"
when: did("Signed Up")
again: never
message: {push: {title: Hello, body: Hello}}
`,
		"rules/seen.yaml": `rule: seen
schedule: "0 3 * * *"
for_each: event("Product Viewed").by("sku")
when: it.count >= 2
again: never
message: {push: {title: Seen, body: Hello}}
`,
		"rules/offer.yaml": `rule: offer
on: {event: Offered, max_age: 24h}
category: transactional
again: each_time
deliver: {escalate: 2h}
message: {push: {title: Offer, body: Hello}, log: {title: Offer}}
`,
		"rules/digest.yaml": `rule: digest
category: transactional
schedule: "0 9 * * *"
when: did("Offered")
again: every_tick
backfill: true
deliver: {escalate: 2d}
message: {push: {title: Digest, body: Hello}, log: {title: Digest}}
`,
		"rules/thanks.yaml": `rule: thanks
category: transactional
on: {event: Order Completed, by: order}
when: trigger.properties.total > 10
again: each_time
message: {push: {title: Thanks, body: Hello}}
`,
	})
}

// about explains a person under one rule.
func about(t *testing.T, w *enginetest.World, person, rule, value string, at int64) explain.Rule {
	t.Helper()
	require.NoError(t, w.Flush(t.Context())) // the ledger
	e, err := explain.Explain(t.Context(), options(w, person, rule, value, at))
	require.NoError(t, err)
	require.Len(t, e.Rules, 1)
	return e.Rules[0]
}

func options(w *enginetest.World, person, rule, value string, at int64) explain.Options {
	ws := w.Load()
	o := explain.Options{Conn: w.Store.Conn(), Database: w.Store.Database(), Workspace: ws, Person: person, Value: value, At: enginetest.Start() + at}
	for _, r := range ws.Rules {
		if r.Name == rule {
			o.Rules = []*workspace.Rule{r}
		}
	}
	return o
}

// A message that escalates: what has been sent, when the next channel comes, and why it does not.
func TestAnEscalation(t *testing.T) {
	w := world(t)
	w.To(5 * minute)
	w.Device("ann", "token-of-ann", "ios")
	w.Track("ann", "Offered", nil)
	r := about(t, w, "ann", "offer", "", 6*minute)
	require.Equal(t, "ann got offer at 09:05 (push); not opened by 11:05, it goes by the next channel too.", r.Headline)
	var text strings.Builder
	e, err := explain.Explain(t.Context(), options(w, "ann", "offer", "", 6*minute))
	require.NoError(t, err)
	require.NoError(t, e.Write(&text, "text", time.UTC))
	require.Contains(t, text.String(), "send by push; the next channel is tried at 2026-03-02 11:05:00 unless it is opened")
	w.To(3 * hour)
	r = about(t, w, "ann", "offer", "", 3*hour)
	require.Equal(t, "ann got offer at 11:05 (push, log).", r.Headline)

	w.Track("ann", "Offered", nil)
	id := w.Sent.Accepted()[len(w.Sent.Accepted())-1].About["entry"]
	w.To(4 * hour)
	w.Send(events.Event{Kind: events.KindMessage, UserID: "ann", Name: events.MessageOpened, Properties: fmt.Appendf(nil, `{"rule":"offer","entry":%q,"channel":"push"}`, id)})
	w.To(4*hour + minute)
	r = about(t, w, "ann", "offer", "", 4*hour+minute)
	require.Equal(t, "ann got offer at 12:00 (push, opened); it goes by no other channel.", r.Headline)
	w.To(6 * hour)
	r = about(t, w, "ann", "offer", "", 6*hour)
	require.Equal(t, "ann got offer at 12:00 (push, opened); it went by no other channel: they opened it.", r.Headline)

	w.To(day + hour) // the digest of nine o'clock waits to be opened
	r = about(t, w, "ann", "digest", "", day+hour)
	require.Equal(t, "again", r.Outlook.Reason)
	require.Contains(t, r.Outlook.By, "waits to be opened (deliver: {escalate: 2d})")
}

// A cart: it lacks one, then time, then it is true and goes out, and then it was bought.
func TestACart(t *testing.T) {
	w := world(t)
	w.To(5 * minute) // the first looks
	w.Device("ann", "token-of-ann", "ios")
	w.Track("ann", "Product Added", nil)

	r := about(t, w, "ann", "cart", "", 6*minute)
	require.Len(t, r.Answers, 1)
	a := r.Answers[0]
	require.Equal(t, "false", a.Truth)
	require.Len(t, a.Parts, 4, "all of, and three parts")
	require.Equal(t, "and", a.Parts[0].Joins)
	require.Equal(t, `event("Product Added").count >= 2`, a.Parts[1].Text)
	require.Equal(t, int64(1), a.Parts[1].Lacks)
	require.Nil(t, a.Turns, "time alone does not help")
	require.Equal(t, "needs one more Product Added; then it would match 1 h later", a.Flips[0].Says)
	require.Equal(t, enginetest.Start()+6*minute+hour, a.Flips[0].At.UnixMilli())
	require.Equal(t, []explain.Need{{Kind: "event", Part: `event("Product Added").count >= 2`, Event: "Product Added", Count: 1, Had: 1}}, a.Flips[0].Needs)
	require.Equal(t, "ann does not match cart: needs one more Product Added; then it would match 1 h later; nothing else stands in the way.", r.Headline)
	require.Empty(t, r.Entries)

	w.To(10 * minute)
	w.Track("ann", "Product Added", nil)
	r = about(t, w, "ann", "cart", "", 20*minute)
	a = r.Answers[0]
	require.Equal(t, "ann does not match cart: would match from 10:10 on (in 50 min), when the Product Added of 09:10 is 1 h old; the look is at 10:10; the message would go then.", r.Headline)
	require.Equal(t, string(ledger.Send), r.Outlook.Reason)
	require.Equal(t, enginetest.Start()+70*minute, r.Outlook.Sends.UnixMilli())
	require.Equal(t, "false", a.Truth)
	require.Zero(t, a.Parts[1].Lacks)
	require.Equal(t, "true", a.Parts[1].Truth)
	require.Equal(t, "false", a.Parts[2].Truth)
	require.NotNil(t, a.Turns)
	require.Equal(t, "true", a.Turns.Truth)
	require.Equal(t, enginetest.Start()+10*minute+hour, a.Turns.At.UnixMilli(), "an hour after the last")

	w.To(2 * hour)
	r = about(t, w, "ann", "cart", "", 2*hour)
	require.Equal(t, "true", r.Answers[0].Truth)
	require.Equal(t, []string{"would end with one more Product Added", "would end with an Order Completed"}, []string{r.Answers[0].Flips[0].Says, r.Answers[0].Flips[1].Says})
	require.Equal(t, "ann got cart at 10:10 (push); not again (again: never; they entered at 10:10).", r.Headline)
	require.Len(t, r.Entries, 1)
	e := r.Entries[0]
	require.Equal(t, enginetest.Start()+hour+10*minute, e.Entered.UnixMilli())
	require.Equal(t, ledger.Send, e.Decisions[len(e.Decisions)-1].Reason)
	require.NotEmpty(t, e.Decisions[0].Features)
	require.Equal(t, "accepted", e.Deliveries[len(e.Deliveries)-1].Status)

	w.Send(events.Event{
		Kind: events.KindMessage, Name: events.MessageBounced, UserID: "ann",
		Properties: json.RawMessage(`{"rule":"cart","entry":"` + e.Entry + `","channel":"push","reason":"5.1.1"}`),
	})
	w.To(2*hour + minute)
	r = about(t, w, "ann", "cart", "", 2*hour+minute)
	require.Equal(t, "ann was sent cart at 10:10 (push, bounced); not again (again: never; they entered at 10:10).", r.Headline)
	require.Equal(t, events.MessageBounced, r.Entries[0].Receipts[0].Event)
	w.Track("ann", "Order Completed", map[string]any{"order": "o1", "total": 5})
	w.To(3 * hour)
	r = about(t, w, "ann", "cart", "", 3*hour)
	require.Equal(t, "false", r.Answers[0].Truth)
	require.Equal(t, "needs one more Product Added; then it would match 1 h later", r.Answers[0].Flips[0].Says)
	require.Equal(t, "an Order Completed (11:01) stands in the way", r.Answers[0].Flips[1].Says)
	require.Equal(t, enginetest.Start()+2*hour+minute, r.Answers[0].Flips[1].Needs[0].Times[0].UnixMilli())
	require.Equal(t, "true", about(t, w, "ann", "cart", "", 2*hour).Answers[0].Truth, "what was known then")
	require.Empty(t, about(t, w, "ann", "cart", "", 30*minute).Entries, "what was decided then")
}

// A cap holds one rule back, and says for how long.
func TestACap(t *testing.T) {
	w := world(t)
	w.To(5 * minute)
	w.Device("ann", "token-of-ann", "ios")
	w.Track("ann", "Product Added", nil)
	w.Track("ann", "Product Added", nil)
	w.To(30 * minute)
	w.Track("ann", "Signed Up", nil)
	w.To(2 * hour)
	e := about(t, w, "ann", "cart", "", 2*hour).Entries
	require.Len(t, e, 1)
	d := e[0].Decisions[0]
	require.Equal(t, ledger.FrequencyCap, d.Reason)
	require.Equal(t, "one-a-day", d.By)
	require.NotNil(t, d.Again)
	require.Equal(t, 24*time.Hour, d.Again.Sub(about(t, w, "ann", "hello", "", 2*hour).Entries[0].Decisions[0].At))
	require.Empty(t, e[0].Deliveries)
	stages := about(t, w, "ann", "cart", "", 2*hour).Stages
	require.Len(t, stages, 1)
	require.True(t, stages[0].Reachable)
	require.True(t, stages[0].Consent)
	require.Len(t, stages[0].Caps, 1)
	c := stages[0].Caps[0]
	require.Equal(t, 1, c.Used)
	require.Equal(t, d.Again.UnixMilli(), c.Frees.UnixMilli(), "when the ledger tries it again")
	require.Equal(t, []explain.CapUse{{At: c.Messages[0].At, Rule: "hello", Channel: "push"}}, c.Messages)
	require.Equal(t, "ann matches cart; the message waits until Mar 3, 09:35 UTC (the cap one-a-day is full).", about(t, w, "ann", "cart", "", 2*hour).Headline)
	require.Equal(t, 0, about(t, w, "ann", "cart", "", 20*minute).Stages[0].Caps[0].Used, "nothing was sent then")
}

func TestValuesAndArrivals(t *testing.T) {
	w := world(t)
	w.To(5 * minute)
	for _, sku := range []string{"a", "a", "b"} {
		w.Track("ann", "Product Viewed", map[string]any{"sku": sku})
	}
	r := about(t, w, "ann", "seen", "", hour)
	require.Len(t, r.Answers, 2)
	require.Equal(t, []string{"a", "true", "b", "false"}, []string{r.Answers[0].Value, r.Answers[0].Truth, r.Answers[1].Value, r.Answers[1].Truth})
	require.Len(t, about(t, w, "ann", "seen", "b", hour).Answers, 1)

	none := about(t, w, "ann", "thanks", "", hour)
	require.Empty(t, none.Answers, "nothing has arrived")
	require.Equal(t, "ann has no Order Completed at which thanks would be judged.", none.Headline)
	w.Track("ann", "Order Completed", map[string]any{"order": "o1", "total": 50})
	w.To(hour)
	w.Track("ann", "Order Completed", map[string]any{"order": "o2", "total": 5})
	w.To(2 * hour)
	r = about(t, w, "ann", "thanks", "", 2*hour)
	require.Len(t, r.Answers, 1, "of the last one")
	require.Equal(t, "o2", r.Answers[0].Value)
	require.Equal(t, "false", r.Answers[0].Truth)
	require.Equal(t, "what arrived would have to say total 11", r.Answers[0].Flips[0].Says)
	require.Len(t, r.Entries, 1)
	require.Equal(t, "o1", r.Entries[0].Value)
	require.Equal(t, ledger.NoAddress, r.Entries[0].Decisions[0].Reason)
	require.False(t, r.Stages[0].Reachable)
	require.Empty(t, r.Stages[0].Caps, "a transactional rule meets no caps")
}

// Who was merged is one person, whichever id is named.
func TestAMergedPerson(t *testing.T) {
	w := world(t)
	w.To(5 * minute)
	w.Track("ann", "Product Added", nil)
	w.Identify("", "browser-1", nil)
	w.Identify("ann", "browser-1", nil)
	w.To(hour)
	var text [2]bytes.Buffer
	for i, id := range []string{"ann", "browser-1"} {
		e, err := explain.Explain(t.Context(), options(w, id, "cart", "", hour))
		require.NoError(t, err)
		require.Equal(t, "ann", e.UserID)
		require.NoError(t, e.Write(&text[i], "text", time.UTC))
	}
	require.Equal(t, text[0].String(), text[1].String())
	require.Contains(t, text[0].String(), "needs 1 more")
}

// History that was imported afterwards counts from when it happened; as soon as something has arrived, only what has.
func TestImportedHistory(t *testing.T) {
	w := world(t)
	w.To(5 * minute)
	for range 2 {
		w.Send(events.Event{Kind: events.KindTrack, UserID: "ann", Name: "Product Added", Properties: []byte(`{}`), Time: enginetest.Start() - 26*hour})
	}
	at := func(at int64) (string, string) {
		e, err := explain.Explain(t.Context(), options(w, "ann", "cart", "", at))
		require.NoError(t, err)
		require.Len(t, e.Rules[0].Answers, 1)
		var text bytes.Buffer
		require.NoError(t, e.Write(&text, "text", time.UTC))
		return e.Rules[0].Answers[0].Truth, text.String()
	}
	const note = "nothing had arrived by then: what was imported since counts from when it happened"
	truth, text := at(-25*hour - 30*minute)
	require.Equal(t, "false", truth, "half an hour after")
	require.Contains(t, text, note)
	require.Contains(t, text, "nearest  would match from 08:00 on (in 30 min), when the Product Added of 07:00 is 1 h old")
	truth, text = at(-25 * hour)
	require.Equal(t, "true", truth)
	require.Contains(t, text, note)
	truth, text = at(hour)
	require.Equal(t, "true", truth)
	require.NotContains(t, text, note)
}

func TestNobody(t *testing.T) {
	w := world(t)
	w.To(5 * minute)
	_, err := explain.Explain(t.Context(), options(w, "nobody", "cart", "", hour))
	require.ErrorIs(t, err, explain.ErrNobody)
}

func TestJSON(t *testing.T) {
	w := world(t)
	w.To(5 * minute)
	w.Track("ann", "Product Added", nil)
	w.To(10 * minute)
	e, err := explain.Explain(t.Context(), options(w, "ann", "cart", "", hour))
	require.NoError(t, err)
	var b bytes.Buffer
	require.NoError(t, e.Write(&b, "json", time.UTC))
	var got explain.Explanation
	require.NoError(t, json.Unmarshal(b.Bytes(), &got))
	require.Equal(t, e.Rules, got.Rules)
}

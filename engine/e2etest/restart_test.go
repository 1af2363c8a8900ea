package e2etest_test

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/channels"
	"nudge/channels/channeltest"
	"nudge/engine/app"
	"nudge/events"
	"nudge/events/clickhouse/clickhousetest"
)

func ruleOn(name, event, more string) string {
	return fmt.Sprintf("rule: %s\non: {event: %s, max_age: 24h}\nagain: each_time\n%s\nmessage: {log: {title: %s}}\n", name, event, more, name)
}

// counts says how often each "user: title" was taken.
func counts(sent *channeltest.Recorder) map[string]int {
	out := map[string]int{}
	for _, m := range sentTo(sent) {
		out[m]++
	}
	return out
}

// TestAStopAndAStartLoseNothing stops with everything pending that can be, and starts on the same
// folder, twice.
func TestAStopAndAStartLoseNothing(t *testing.T) {
	t.Parallel()
	var down atomic.Bool
	sent := &channeltest.Recorder{Answer: func(channels.Message, int) error {
		if down.Load() {
			return &channels.DeliveryError{Class: channels.ClassTemporary, Code: "503", Err: errors.New("the provider is down")}
		}
		return nil
	}}
	p := settle(t, map[string]string{
		"nudge.yaml": `
data: data
channels: {log: {adapter: stdout}}
caps: [{name: one-a-day, max: 1, per: 24h, scope: all, at_cap: retry, categories: [promotional]}]
quiet_hours: [{from: "22:00", to: "07:00", zone: person, categories: [night]}]
categories: {night: , news: }
`,
		"rules/first.yaml":   ruleOn("first", "Hot", "priority: 60\nexpire: 72h"),
		"rules/second.yaml":  ruleOn("second", "Hot", "priority: 50\nexpire: 72h"),
		"rules/receipt.yaml": ruleOn("receipt", "Paid", "category: transactional\nexpire: 72h"),
		"rules/begun.yaml":   ruleOn("begun", "Begun", "category: news\nexit: {event: Finished}\nexpire: 72h"),
		"rules/later.yaml":   ruleOn("later", "Later", "category: news\nsend_at: \"09:00\"\nexpire: 72h"),
	})
	p.routes = recordedBy(sent)
	p.run()
	want := map[string]int{}

	// A cap that frees tomorrow.
	p.track("ann", "Hot", nil)
	want["ann: first"] = 1
	p.becomes("ann outranked first", "%s", last("second"))
	// A hold until nine.
	p.send("track", map[string]any{"userId": "eve", "event": "Later", "context": map[string]any{"timezone": "America/New_York"}})
	p.becomes("eve held send_at", "%s", last("later"))
	// Retries, until the breaker opens; one of them is over before its turn comes.
	p.eventually(func() bool { return len(sent.Accepted()) == 1 }, "the first goes")
	down.Store(true)
	p.track("cyd", "Begun", nil)
	for i := range 8 {
		p.track(fmt.Sprintf("bob%d", i), "Paid", nil)
		want[fmt.Sprintf("bob%d: receipt", i)] = 1
		p.becomes(strconv.Itoa(i+1), "SELECT count() FROM decisions WHERE rule = 'receipt' AND reason = 'send'")
	}
	p.eventually(func() bool { return len(sent.Attempts()) >= 7 }, "the breaker has something to open for")
	p.track("cyd", "Finished", nil)
	p.becomes("1", "SELECT count() FROM events WHERE event = 'Finished'")
	// What was acknowledged a moment before the stop.
	for i := range 5 {
		p.track(fmt.Sprintf("dan%d", i), "Paid", nil)
		want[fmt.Sprintf("dan%d: receipt", i)] = 1
	}
	p.stop()
	down.Store(false)
	p.run()
	p.eventually(func() bool { return len(sent.Accepted()) >= len(want) }, "everything that waited goes")
	p.becomes("cyd exited", "%s", last("begun"))
	require.Equal(t, want, counts(sent))

	// A send that may have an exit does not wait for news when everything is stored already.
	down.Store(true)
	p.track("hal", "Begun", nil)
	p.becomes("cyd exited, hal send", "%s", last("begun"))
	p.stop()
	down.Store(false)
	p.run()
	want["hal: begun"] = 1
	p.eventually(func() bool { return len(sent.Accepted()) >= len(want) }, "what was queued goes")

	p.stop()
	p.run()
	p.track("fay", "Paid", nil)
	want["fay: receipt"] = 1
	p.eventually(func() bool { return len(sent.Accepted()) >= len(want) }, "a new event is answered")
	require.Equal(t, want, counts(sent), "nothing is sent again")

	p.clock.jump(25 * time.Hour)
	want["ann: second"], want["eve: later"] = 1, 1
	p.eventually(func() bool { return len(sent.Accepted()) >= len(want) }, "the cap frees and the hold ends: %v", counts(sent))
	require.Equal(t, want, counts(sent))
	require.Equal(t, http.StatusOK, p.call(http.MethodGet, "/healthz", "", "").status)
}

// TestWhatWasStoredAndNotJudged: a stop between the store and the rules loses no occurrence, the first
// of all neither, and judges none twice.
func TestWhatWasStoredAndNotJudged(t *testing.T) {
	t.Parallel()
	sent := &channeltest.Recorder{}
	p := settle(t, map[string]string{
		"nudge.yaml":       "channels: {log: {adapter: stdout}}\n",
		"rules/paid.yaml":  ruleOn("paid", "Paid", ""),
		"rules/never.yaml": ruleOn("never", "Paid", "when: trigger.properties.no == 1"),
	})
	p.store = clickhousetest.NewUnmigrated(t)
	p.routes = recordedBy(sent)
	cut := func(id string) { // the process ends when everything is stored and nothing judged
		a, err := app.Open(t.Context(), app.Options{Workspace: p.load(), Now: p.clock.Now, Store: p.store, Routes: p.routes(p.load())})
		require.NoError(t, err)
		now := p.clock.Now().UnixMilli()
		seq, err := a.Append(t.Context(), []events.Event{{Kind: events.KindTrack, Name: "Paid", UserID: id, MessageID: id, Source: "app", Time: now, ReceivedAt: now, Raw: []byte("{}")}})
		require.NoError(t, err)
		require.NoError(t, a.Writer.WaitFor(t.Context(), events.EndOf(seq)))
		require.NoError(t, a.Close())
	}
	cut("ann")
	cut("bob")
	p.run()
	p.eventually(func() bool { return len(sent.Accepted()) == 2 }, "both are judged")
	p.track("cyd", "Paid", nil)
	p.eventually(func() bool { return len(sent.Accepted()) == 3 }, "the next is judged")
	p.stop()
	cut("dan")
	p.run()
	p.eventually(func() bool { return len(sent.Accepted()) == 4 }, "it is judged")
	p.stop()
	p.run()
	p.track("eve", "Paid", nil)
	p.eventually(func() bool { return len(sent.Accepted()) == 5 }, "the next is judged")
	require.Equal(t, map[string]int{"ann: paid": 1, "bob: paid": 1, "cyd: paid": 1, "dan: paid": 1, "eve: paid": 1}, counts(sent))
}

// TestAReloadLeavesWhatWasDecided: what waits says what was decided, by the rule that decided.
func TestAReloadLeavesWhatWasDecided(t *testing.T) {
	t.Parallel()
	var down atomic.Bool
	down.Store(true)
	sent := &channeltest.Recorder{Answer: func(channels.Message, int) error {
		if down.Load() {
			return &channels.DeliveryError{Class: channels.ClassTemporary, Code: "503", Err: errors.New("the provider is down")}
		}
		return nil
	}}
	rule := func(name string) string {
		return fmt.Sprintf("rule: r\non: {event: Asked}\nagain: each_time\nwith: {%[1]s: trigger.properties.%[1]s}\nmessage: {log: {title: \"%[1]s {{ %[1]s }}\"}}\n", name)
	}
	p := start(t, map[string]string{"nudge.yaml": "channels: {log: {adapter: stdout}}\n", "rules/r.yaml": rule("old")}, sent)
	p.track("ann", "Asked", map[string]any{"old": "one", "new": "two"})
	p.eventually(func() bool { return len(sent.Attempts()) > 0 }, "it is tried")
	p.write(map[string]string{"rules/r.yaml": rule("new")})
	require.NoError(t, p.app.Reload(t.Context(), p.load()))
	p.track("bob", "Asked", map[string]any{"old": "one", "new": "two"})
	down.Store(false)
	p.eventually(func() bool { return len(sent.Accepted()) == 2 }, "both go")
	require.Equal(t, map[string]int{"ann: old one": 1, "bob: new two": 1}, counts(sent))
}

package send_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/channels"
	"nudge/channels/channeltest"
	"nudge/engine/ledger"
	"nudge/engine/send"
	"nudge/events"
	"nudge/events/queue"
	"nudge/segments"
)

// t0 is when the tests' clocks begin, Unix ms.
const t0 = int64(1_772_366_400_000)

const (
	second = int64(1000)
	minute = 60 * second
	hour   = 60 * minute
)

// bench is a sender with a real queue and recorders as providers.
type bench struct {
	t          *testing.T
	dir        string
	q          *queue.Queue
	decisions  *queue.Log
	deliveries *queue.Log
	opts       send.Options
	sender     *send.Sender
	now        int64
	exited     map[string]int64 // by entry: when
	mu         sync.Mutex
}

func newBench(t *testing.T, routes map[string]send.Route) *bench {
	b := &bench{t: t, dir: t.TempDir(), now: t0, exited: map[string]int64{}}
	b.opts = send.Options{Shards: []int{0, 1}, Routes: routes, Render: renderTitle, Exited: b.isExited}
	b.open()
	t.Cleanup(func() { b.q.Close() })
	b.start()
	return b
}

func (b *bench) open() {
	var err error
	b.q, err = queue.Open(b.t.Context(), queue.Config{Dir: b.dir, Now: func() time.Time { return time.UnixMilli(b.now) }})
	require.NoError(b.t, err)
	b.decisions, err = b.q.Log(b.t.Context(), "decisions")
	require.NoError(b.t, err)
	b.deliveries, err = b.q.Log(b.t.Context(), "deliveries")
	require.NoError(b.t, err)
}

// start makes a sender, as after a start of the process.
func (b *bench) start() {
	b.opts.Decisions, b.opts.Deliveries, b.opts.Events, b.opts.Notes = b.decisions, b.deliveries, b.q, b.q
	b.opts.Registerer = nil
	var err error
	b.sender, err = send.New(b.opts)
	require.NoError(b.t, err)
}

func (b *bench) isExited(_ context.Context, d *ledger.Decision, now int64) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at, ok := b.exited[d.Entry]
	return ok && at <= now, nil
}

func (b *bench) exit(entry string, at int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.exited[entry] = at
}

// renderTitle is pure: the title is the entry.
func renderTitle(d *ledger.Decision, channel string) (send.Rendered, error) {
	if d.With["fail"] == true {
		return send.Rendered{}, errors.New("product is missing")
	}
	return send.Rendered{Fields: map[string]any{"title": d.Entry, "on": channel}, TTL: time.Hour}, nil
}

// decision is a send decision; change it before handing it on.
func decision(entry string, channels ...string) ledger.Decision {
	return ledger.Decision{
		Entry: entry, Rule: "cart", Version: "v1", Person: 7, UserID: "u7", Entered: t0, At: t0, Tick: "t",
		Reason: ledger.Send, Expires: t0 + 24*hour, Category: "promotional", Variant: "a", Channels: channels,
	}
}

func device(platform, token string) json.RawMessage {
	raw, err := json.Marshal(segments.Device{Token: token, Platform: platform, App: "shop"})
	if err != nil {
		panic(err)
	}
	return raw
}

// decide publishes decisions on a shard as one message.
func (b *bench) decide(shard int, ds ...ledger.Decision) uint64 {
	b.t.Helper()
	records := make([]ledger.Record, len(ds))
	for i := range ds {
		records[i].Decision = &ds[i]
	}
	data, err := ledger.EncodeChunk(records)
	require.NoError(b.t, err)
	seq, err := b.decisions.Append(b.t.Context(), shard, data)
	require.NoError(b.t, err)
	return seq
}

func (b *bench) settle(now int64) {
	b.t.Helper()
	b.now = now
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	require.NoError(b.t, b.sender.Settle(ctx, now))
}

// records are the delivery records: "entry channel status attempt".
func (b *bench) records() (out []string) {
	b.t.Helper()
	for _, d := range b.deliveriesOf() {
		out = append(out, fmt.Sprintf("%s %s %s %d", d.Entry, d.Channel, d.Status, d.Attempt))
	}
	return out
}

func (b *bench) deliveriesOf() (out []ledger.Delivery) {
	b.t.Helper()
	require.NoError(b.t, b.deliveries.Replay(b.t.Context(), queue.AllShards, 0, func(r queue.Record) error {
		chunk, err := ledger.DecodeChunk(r.Data)
		for _, rec := range chunk.Records {
			out = append(out, *rec.Delivery)
		}
		return err
	}))
	return out
}

// final are the outcomes: status by "entry channel".
func (b *bench) final() map[string]ledger.Status {
	b.t.Helper()
	out := map[string]ledger.Status{}
	for _, d := range b.deliveriesOf() {
		if key := d.Entry + " " + d.Channel; d.Status.Final() && out[key] == "" {
			out[key] = d.Status
		}
	}
	return out
}

// told are the events in the queue.
func (b *bench) told() (out []events.Event) {
	b.t.Helper()
	last, err := b.q.LastSeq(b.t.Context())
	require.NoError(b.t, err)
	if last == 0 {
		return nil
	}
	enough := errors.New("enough")
	err = b.q.Read(b.t.Context(), 0, func(m queue.Message) error {
		for i := range m.Events {
			out = append(out, events.CopyEvent(&m.Events[i]))
		}
		if m.Seq == last {
			return enough
		}
		return nil
	})
	require.ErrorIs(b.t, err, enough)
	return out
}

func (b *bench) names() (out []string) {
	b.t.Helper()
	for _, ev := range b.told() {
		out = append(out, ev.Name+" "+ev.MessageID)
	}
	return out
}

// provider makes a provider of a recorder.
func provider(name string, r *channeltest.Recorder, change ...func(*channels.Spec)) send.Provider {
	spec := r.Spec()
	spec.Name = name
	for _, c := range change {
		c(&spec)
	}
	return send.Provider{Name: name, Spec: spec, Channel: r}
}

func one(name string, r *channeltest.Recorder, change ...func(*channels.Spec)) send.Route {
	return send.Route{Providers: []send.Provider{provider(name, r, change...)}}
}

func titles(ms []channels.Message) (out []string) {
	for _, m := range ms {
		out = append(out, m.Text("title"))
	}
	return out
}

func failed(class channels.Class, after time.Duration) error {
	return &channels.DeliveryError{Class: class, RetryAfter: after, Code: "X", Err: errors.New("told so")}
}

func TestADecisionIsSentOnceAndTold(t *testing.T) {
	hook := &channeltest.Recorder{}
	b := newBench(t, map[string]send.Route{"webhook": one("hook", hook)})
	d := decision("e1", "webhook")
	d.Profile, _ = json.Marshal(segments.Profile{UserID: "u7", Traits: map[string]json.RawMessage{"email": json.RawMessage(`"a@b.c"`)}})
	b.decide(0, d, ledger.Decision{Entry: "e2", Reason: ledger.Holdout, Channels: []string{"webhook"}})
	b.settle(t0)
	b.settle(t0 + second)

	require.Len(t, hook.Accepted(), 1)
	m := hook.Accepted()[0]
	require.Equal(t, channels.UUID("e1/webhook/"), m.Key)
	require.Equal(t, channels.Address{UserID: "u7", Email: "a@b.c"}, m.Address)
	require.Equal(t, map[string]any{"title": "e1", "on": "webhook"}, m.Fields)
	require.Equal(t, time.Hour, m.TTL)
	require.Equal(t, map[string]string{
		"rule": "cart", "entry": "e1", "channel": "webhook", "variant": "a", "category": "promotional", "user_id": "u7",
	}, m.About)

	require.Equal(t, []string{"e1 webhook intent 1", "e1 webhook accepted 1"}, b.records())
	accepted := b.deliveriesOf()[1]
	require.JSONEq(t, `{"title":"e1","on":"webhook"}`, string(accepted.Text))
	require.Equal(t, t0, accepted.At)
	require.Equal(t, "hook", accepted.Adapter)
	told := b.told()
	require.Len(t, told, 1)
	require.Equal(t, events.MessageSent, told[0].Name)
	require.Equal(t, events.KindMessage, told[0].Kind)
	require.Equal(t, "e1/webhook/accepted", told[0].MessageID)
	require.Equal(t, "u7", told[0].UserID)
	require.Equal(t, t0, told[0].Time)
	require.JSONEq(t, `{"rule":"cart","entry":"e1","channel":"webhook","variant":"a","category":"promotional","adapter":"hook","provider_id":"`+channels.UUID(m.Key)+`","text":{"title":"e1"}}`,
		string(told[0].Properties))
	_, waits := b.sender.Next()
	require.False(t, waits)
}

func TestRetriesBackOff(t *testing.T) {
	cases := []struct {
		name         string
		class        channels.Class
		after        time.Duration
		early, late  int64 // bounds of the wait after the first attempt, ms
		attempts     int   // until accepted
		wantAttempts int
		status       ledger.Status
	}{
		{"temporary", channels.ClassTemporary, 0, 500, 1000, 3, 3, ledger.Accepted},
		{"rate limit with Retry-After", channels.ClassRateLimit, 20 * time.Second, 20_000, 22_000, 2, 2, ledger.Accepted},
		{"credentials", channels.ClassCredential, 0, 30_000, 60_000, 2, 2, ledger.Accepted},
		{"message", channels.ClassMessage, 0, 0, 0, 9, 1, ledger.Failed},
		{"address", channels.ClassAddress, 0, 0, 0, 9, 1, ledger.Failed},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			hook := &channeltest.Recorder{Answer: func(_ channels.Message, attempt int) error {
				if attempt < tc.attempts {
					return failed(tc.class, tc.after)
				}
				return nil
			}}
			b := newBench(t, map[string]send.Route{"webhook": one("hook", hook)})
			b.decide(0, decision("e1", "webhook"))
			b.settle(t0)
			require.Len(t, hook.Attempts(), 1)
			next, waits := b.sender.Next()
			require.Equal(t, tc.status == ledger.Accepted, waits)
			if waits {
				require.GreaterOrEqual(t, next-t0, tc.early)
				require.LessOrEqual(t, next-t0, tc.late)
			}
			for ; waits; next, waits = b.sender.Next() {
				before := len(hook.Attempts())
				b.settle(next - 1)
				require.Len(t, hook.Attempts(), before, "nothing before its time")
				b.settle(next)
			}
			require.Len(t, hook.Attempts(), tc.wantAttempts)
			require.Equal(t, tc.status, b.final()["e1 webhook"])
			b.settle(t0 + 23*hour)
			require.Len(t, hook.Attempts(), tc.wantAttempts, "never again")
			keys := map[string]bool{}
			for _, m := range hook.Attempts() {
				keys[m.Key] = true
			}
			require.Len(t, keys, 1, "the key is the same at every attempt")
			if tc.status == ledger.Failed {
				require.Equal(t, []string{"Message Failed e1/webhook/failed"}, b.names())
			}
		})
	}
}

func TestBackoffIsTheSameInEveryRun(t *testing.T) {
	run := func() (out []int64) {
		hook := &channeltest.Recorder{Answer: func(channels.Message, int) error { return failed(channels.ClassTemporary, 0) }}
		b := newBench(t, map[string]send.Route{"webhook": one("hook", hook)})
		b.decide(0, decision("e1", "webhook"))
		b.settle(t0)
		for range 12 {
			next, ok := b.sender.Next()
			require.True(t, ok)
			out = append(out, next-t0)
			b.settle(next)
		}
		return out
	}
	first := run()
	require.Equal(t, first, run())
	require.Greater(t, first[11], 20*minute, "waits grow")
}

func TestWhatStopsAMessage(t *testing.T) {
	always := func(channels.Message, int) error { return failed(channels.ClassTemporary, 0) }
	cases := []struct {
		name     string
		change   func(b *bench, d *ledger.Decision)
		answer   func(channels.Message, int) error
		until    int64
		status   ledger.Status
		attempts int
		class    string
	}{
		{"an exit before it is sent", func(b *bench, _ *ledger.Decision) { b.exit("e1", t0-2*second) }, nil, t0, ledger.StoppedExited, 0, ""},
		{"an exit between two attempts", func(b *bench, _ *ledger.Decision) { b.exit("e1", t0+1) }, always, t0 + minute, ledger.StoppedExited, 1, ""},
		{"expiry before it is sent", func(_ *bench, d *ledger.Decision) { d.Expires = t0 }, nil, t0, ledger.StoppedExpired, 0, ""},
		{"expiry before the next attempt", func(_ *bench, d *ledger.Decision) { d.Expires = t0 + 100 }, always, t0 + minute, ledger.StoppedExpired, 1, "temporary"},
		{"no expiry is a day", func(_ *bench, d *ledger.Decision) { d.Expires = 0 }, always, t0 + 25*hour, ledger.StoppedExpired, -1, "temporary"},
		{"a template that fails", func(_ *bench, d *ledger.Decision) { d.With = map[string]any{"fail": true} }, nil, t0, ledger.Unrendered, 0, "message"},
		{"a channel that is not set up", func(_ *bench, d *ledger.Decision) { d.Channels = []string{"pigeon"} }, nil, t0, ledger.Failed, 0, "message"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			hook := &channeltest.Recorder{Answer: tc.answer}
			b := newBench(t, map[string]send.Route{"webhook": one("hook", hook)})
			d := decision("e1", "webhook")
			tc.change(b, &d)
			b.decide(1, d)
			b.settle(t0)
			for next, ok := b.sender.Next(); ok && next <= tc.until; next, ok = b.sender.Next() {
				b.settle(next)
			}
			require.Equal(t, map[string]ledger.Status{"e1 " + d.Channels[0]: tc.status}, b.final())
			if tc.attempts >= 0 {
				require.Len(t, hook.Attempts(), tc.attempts)
			}
			all := b.deliveriesOf()
			require.Equal(t, tc.class, all[len(all)-1].Class)
			_, waits := b.sender.Next()
			require.False(t, waits)
		})
	}
}

func TestPushFansOutByDevice(t *testing.T) {
	ios := func(s *channels.Spec) { s.Needs, s.Platforms = "token", []string{"ios"} }
	android := func(s *channels.Spec) { s.Needs, s.Platforms = "token", []string{"android", "web"} }
	dead := func(m channels.Message, _ int) error { return failed(channels.ClassAddress, 0) }
	cases := []struct {
		name           string
		apple, google  func(channels.Message, int) error
		devices        []json.RawMessage
		status         ledger.Status
		toApple        int
		toGoogle       int
		retired, names int
	}{
		{"both take it", nil, nil, []json.RawMessage{device("ios", "i1"), device("android", "a1"), device("android", "a1")}, ledger.Accepted, 1, 1, 0, 1},
		{"one is dead", dead, nil, []json.RawMessage{device("ios", "i1"), device("web", "w1")}, ledger.Accepted, 1, 1, 1, 1},
		{"all are dead", dead, dead, []json.RawMessage{device("ios", "i1"), device("ios", "i2"), device("web", "w1")}, ledger.Failed, 2, 1, 3, 1},
		{"none is served", nil, nil, []json.RawMessage{device("tv", "t1")}, ledger.Failed, 0, 0, 0, 1},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			apple, google := &channeltest.Recorder{Answer: tc.apple}, &channeltest.Recorder{Answer: tc.google}
			b := newBench(t, map[string]send.Route{"push": {Providers: []send.Provider{
				provider("apns", apple, ios), provider("fcm", google, android),
			}}})
			d := decision("e1", "push")
			d.Devices = tc.devices
			b.decide(0, d)
			b.settle(t0)
			require.Len(t, apple.Attempts(), tc.toApple)
			require.Len(t, google.Attempts(), tc.toGoogle)
			require.Equal(t, map[string]ledger.Status{"e1 push": tc.status}, b.final())
			var retired, named int
			for _, ev := range b.told() {
				if ev.Kind == events.KindDevice {
					retired++
					var c events.DeviceChange
					require.NoError(t, json.Unmarshal(ev.Properties, &c))
					require.True(t, c.Removed)
					require.Equal(t, "dead", c.Reason)
					require.Equal(t, "u7", ev.UserID)
				} else {
					named++
				}
			}
			require.Equal(t, tc.retired, retired)
			require.Equal(t, tc.names, named, "one event a message, not a device")
		})
	}
}

func TestWhoOptsOutAtTheProviderWithdrawsConsent(t *testing.T) {
	for _, tc := range []struct {
		name    string
		failure channels.DeliveryError
		mend    func(*ledger.Decision)
		want    int
	}{
		{"opted out", channels.DeliveryError{Class: channels.ClassAddress, OptedOut: true}, nil, 1},
		{"dead, and not opted out", channels.DeliveryError{Class: channels.ClassAddress}, nil, 0},
		{"nobody's", channels.DeliveryError{Class: channels.ClassAddress, OptedOut: true}, func(d *ledger.Decision) { d.UserID = "" }, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.failure.Err = errors.New("refused")
			rec := &channeltest.Recorder{Answer: func(channels.Message, int) error { return &tc.failure }}
			b := newBench(t, map[string]send.Route{"texts": one("texts", rec)})
			d := decision("e1", "texts")
			if tc.mend != nil {
				tc.mend(&d)
			}
			b.decide(0, d)
			b.settle(t0)
			require.Len(t, rec.Attempts(), 1)
			require.Equal(t, map[string]ledger.Status{"e1 texts": ledger.Failed}, b.final())
			var got []events.ConsentChange
			for _, ev := range b.told() {
				if ev.Kind != events.KindConsent {
					continue
				}
				var c events.ConsentChange
				require.NoError(t, json.Unmarshal(ev.Properties, &c))
				require.Equal(t, "u7", ev.UserID)
				require.Equal(t, t0, ev.Time)
				got = append(got, c)
			}
			require.Len(t, got, tc.want)
			if tc.want == 1 {
				require.Equal(t, events.ConsentChange{Channel: "texts"}, got[0], "all that the channel sends")
			}
		})
	}
}

func TestOneDeviceRetriesAloneAfterTheOtherTookIt(t *testing.T) {
	rec := &channeltest.Recorder{Answer: func(m channels.Message, attempt int) error {
		if m.Address.Token == "slow" && attempt < 3 {
			return failed(channels.ClassTemporary, 0)
		}
		return nil
	}}
	b := newBench(t, map[string]send.Route{"push": one("fcm", rec, func(s *channels.Spec) { s.Needs = "token" })})
	d := decision("e1", "push")
	d.Devices = []json.RawMessage{device("android", "quick"), device("android", "slow")}
	b.decide(0, d)
	b.settle(t0)
	require.Equal(t, ledger.Accepted, b.final()["e1 push"], "accepted by any is accepted")
	next, ok := b.sender.Next()
	require.True(t, ok)
	b.start() // a restart in between forgets neither what is done nor what is not
	b.settle(next)
	next, ok = b.sender.Next()
	require.True(t, ok)
	b.settle(next)
	require.Len(t, rec.Accepted(), 2)
	require.Len(t, rec.Attempts(), 4)
	names := b.names()
	slices.Sort(names)
	require.Equal(t, []string{"Message Sent e1/push/accepted"}, slices.Compact(names), "told again after a restart, under the same id")
}

// TestWhatCannotBeRenderedYetIsTriedAgain has a renderer that must ask for the message.
func TestWhatCannotBeRenderedYetIsTriedAgain(t *testing.T) {
	for name, tc := range map[string]struct {
		knows  int64 // from when on
		status ledger.Status
	}{
		"until it can":     {t0 + 10*second, ledger.Accepted},
		"until it expires": {t0 + hour, ledger.StoppedExpired},
	} {
		t.Run(name, func(t *testing.T) {
			hook := &channeltest.Recorder{}
			b := newBench(t, map[string]send.Route{"webhook": one("hook", hook)})
			b.opts.Render = func(d *ledger.Decision, channel string) (send.Rendered, error) {
				if b.now < tc.knows {
					return send.Rendered{}, fmt.Errorf("%w: the store is away", send.ErrLater)
				}
				return renderTitle(d, channel)
			}
			b.start()
			d := decision("e1", "webhook")
			d.Expires = t0 + 30*minute
			b.decide(0, d)
			b.settle(t0)
			for next, ok := b.sender.Next(); ok; next, ok = b.sender.Next() {
				b.settle(next)
			}
			require.Equal(t, map[string]ledger.Status{"e1 webhook": tc.status}, b.final())
			require.Less(t, len(b.deliveriesOf()), 30)
		})
	}
}

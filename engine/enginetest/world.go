// Package enginetest runs a whole nudge on a simulated clock, for tests: real queue, real store, real
// rules, and channels that remember what they were given.
package enginetest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"nudge/channels"
	"nudge/channels/all"
	"nudge/channels/channeltest"
	"nudge/channels/inbox"
	"nudge/engine"
	"nudge/engine/app"
	"nudge/engine/ledger"
	"nudge/engine/send"
	"nudge/engine/workspace"
	"nudge/events"
	"nudge/events/clickhouse"
	"nudge/events/clickhouse/clickhousetest"
	"nudge/rules"
)

// Minute, Hour and Day in Unix milliseconds.
const (
	Minute = int64(60_000)
	Hour   = 60 * Minute
	Day    = 24 * Hour
)

// Start is when every World begins: Monday 2026-03-02 09:00 UTC.
func Start() int64 { return time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC).UnixMilli() }

// World is a workspace that runs. Not for concurrent use.
type World struct {
	*app.Sim
	App   *app.App
	Clock *app.Clock
	// Sent remembers what every channel was given.
	Sent  *channeltest.Recorder
	Store *clickhouse.Store
	// Metrics are those of the App since it was opened.
	Metrics *prometheus.Registry

	t       testing.TB
	dir     string
	only    string
	n       int
	waiting *[]events.Event // what arrives together, nil while all arrives one by one
	between func(engine.Planner) engine.Planner
}

// New writes the files of a workspace into a new folder and opens it.
func New(t testing.TB, files map[string]string) *World {
	t.Helper()
	return NewBetween(t, files, nil)
}

// NewBetween is New with something between the engine and the planner.
func NewBetween(t testing.TB, files map[string]string, between func(engine.Planner) engine.Planner) *World {
	t.Helper()
	w := &World{t: t, between: between, dir: t.TempDir(), Clock: app.NewClock(Start()), Sent: &channeltest.Recorder{}, Store: clickhousetest.NewUsed(t)}
	w.Write(files)
	w.open()
	t.Cleanup(func() {
		if w.App != nil {
			require.NoError(t, w.App.Close())
		}
	})
	return w
}

// Write writes files of the workspace.
func (w *World) Write(files map[string]string) {
	w.t.Helper()
	for name, text := range files {
		path := filepath.Join(w.dir, name)
		require.NoError(w.t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(w.t, os.WriteFile(path, []byte(text), 0o600))
	}
}

// Load compiles the workspace; findings of errors fail the test.
func (w *World) Load() *workspace.Workspace {
	w.t.Helper()
	set, err := all.Set()
	require.NoError(w.t, err)
	ws, findings := workspace.Load(w.dir, workspace.Options{
		Adapters: set, Env: func(string) (string, bool) { return "{}", true }, // credentials of adapters that are never opened
	})
	for _, f := range findings {
		require.NotEqual(w.t, rules.Error, f.Severity, "%+v", f)
	}
	require.NotNil(w.t, ws)
	return ws
}

func (w *World) open() {
	w.t.Helper()
	ws := w.Load()
	w.Metrics = prometheus.NewRegistry()
	a, err := app.Open(w.t.Context(), app.Options{
		Workspace: ws, Now: w.Clock.Now, Registerer: w.Metrics, Store: w.Store, Routes: w.routes(ws), FlushEvery: time.Millisecond, Between: w.between, Only: w.only,
	})
	require.NoError(w.t, err)
	w.App, w.Sim = a, app.NewSim(a, w.Clock)
}

// routes send every channel to the recorder, which needs of a person what the channel's own adapters
// need, but for inboxes, which are what they are.
func (w *World) routes(ws *workspace.Workspace) map[string]send.Route {
	routes := map[string]send.Route{}
	for _, c := range ws.Channels {
		if i := slices.IndexFunc(c.Adapters, func(a workspace.Adapter) bool { return a.Spec.Name == inbox.Name }); i >= 0 {
			spec := c.Adapters[i].Spec // which nobody is behind
			channel, err := spec.New(channels.Options{Now: w.Clock.Now})
			require.NoError(w.t, err)
			routes[c.Name] = send.Route{Providers: []send.Provider{{Name: c.Name, Spec: spec, Channel: channel}}}
			continue
		}
		spec := w.Sent.Spec()
		spec.Needs, spec.Platforms = ws.Policy.Channels[c.Name].Needs, ws.Policy.Channels[c.Name].Platforms
		routes[c.Name] = send.Route{Providers: []send.Provider{{Name: c.Name, Spec: spec, Channel: w.Sent}}, Tracking: send.Tracking{Links: c.TrackLinks, Opens: c.TrackOpens}}
	}
	return routes
}

// Restart closes everything and opens it again on the same queue and store.
func (w *World) Restart() {
	w.t.Helper()
	a := w.App
	w.App = nil
	require.NoError(w.t, a.Close())
	w.open()
}

// RestartOnly is Restart with an engine that looks at one rule alone, at all for "".
func (w *World) RestartOnly(rule string) {
	w.t.Helper()
	w.only = rule
	w.Restart()
}

// Reload takes changed files into use.
func (w *World) Reload() {
	w.t.Helper()
	require.NoError(w.t, w.App.Reload(w.t.Context(), w.Load()))
}

// To moves the clock to Start + at.
func (w *World) To(at int64) {
	w.t.Helper()
	require.NoError(w.t, w.Advance(w.t.Context(), Start()+at, nil))
}

// Together makes what fn sends arrive in one batch, which costs what one event does.
func (w *World) Together(fn func()) {
	w.t.Helper()
	var evs []events.Event
	w.waiting = &evs
	fn()
	w.waiting = nil
	require.NoError(w.t, w.Feed(w.t.Context(), evs))
}

// Send makes an event arrive now. What is not set is filled in: a message id, the source, the time.
func (w *World) Send(ev events.Event) {
	w.t.Helper()
	w.n++
	now := w.Clock.Now().UnixMilli()
	ev.MessageID, ev.Source, ev.ReceivedAt, ev.Raw = fmt.Sprintf("m%d", w.n), "web", now, []byte(`{}`)
	if ev.Time == 0 {
		ev.Time = now
	}
	if w.waiting != nil {
		*w.waiting = append(*w.waiting, ev)
		return
	}
	require.NoError(w.t, w.Feed(w.t.Context(), []events.Event{ev}))
}

// Track makes a track call of a known user arrive now.
func (w *World) Track(user, name string, properties map[string]any) {
	w.t.Helper()
	w.Send(events.Event{Kind: events.KindTrack, UserID: user, Name: name, Properties: w.json(properties)})
}

// Identify makes an identify call arrive now; either id may be empty.
func (w *World) Identify(user, anonymous string, traits map[string]any) {
	w.t.Helper()
	w.Send(events.Event{Kind: events.KindIdentify, UserID: user, AnonymousID: anonymous, Traits: w.json(traits)})
}

// Device gives a user a push token.
func (w *World) Device(user, token, platform string) {
	w.t.Helper()
	w.Send(events.Event{Kind: events.KindDevice, UserID: user, Properties: w.json(events.DeviceChange{Token: token, Platform: platform})})
}

// Consent records a user's answer.
func (w *World) Consent(user, channel, category string, granted bool) {
	w.t.Helper()
	w.Send(events.Event{Kind: events.KindConsent, UserID: user, Properties: w.json(events.ConsentChange{Channel: channel, Category: category, Granted: granted})})
}

func (w *World) json(v any) json.RawMessage {
	w.t.Helper()
	raw, err := json.Marshal(v)
	require.NoError(w.t, err)
	return raw
}

// Answer is the last row of an entry.
type Answer struct {
	Rule, User, Value, By string
	Reason                ledger.Reason
}

// Answers flushes the ledger and lists the last row of every entry, by time and rule.
func (w *World) Answers() []Answer {
	w.t.Helper()
	require.NoError(w.t, w.Flush(w.t.Context()))
	rows, err := w.Store.Conn().Query(w.t.Context(), "SELECT any(d.rule) AS r, argMax(d.user_id, (attempt, seq, index)), any(d.value), argMax(d.`by`, (attempt, seq, index)), "+
		"argMax(d.reason, (attempt, seq, index)) FROM decisions AS d GROUP BY entry ORDER BY min(d.entered), r, entry")
	require.NoError(w.t, err)
	defer rows.Close()
	var out []Answer
	for rows.Next() {
		var a Answer
		var reason string
		require.NoError(w.t, rows.Scan(&a.Rule, &a.User, &a.Value, &a.By, &reason))
		a.Reason = ledger.Reason(reason)
		out = append(out, a)
	}
	require.NoError(w.t, rows.Err())
	return out
}

// Accepted lists "user: title" of the messages that were taken, in order.
func (w *World) Accepted() []string {
	out := []string{}
	for _, m := range w.Sent.Accepted() {
		out = append(out, m.Address.UserID+": "+title(m))
	}
	return out
}

func title(m channels.Message) string {
	s, _ := m.Fields["title"].(string)
	return s
}

package app_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/channels/all"
	"nudge/channels/channeltest"
	"nudge/engine/app"
	"nudge/engine/send"
	"nudge/engine/workspace"
	"nudge/events"
	"nudge/events/clickhouse/clickhousetest"
	"nudge/rules"
)

// files writes a workspace.
func files(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	return dir
}

func load(t *testing.T, dir string) *workspace.Workspace {
	t.Helper()
	set, err := all.Set()
	require.NoError(t, err)
	ws, findings := workspace.Load(dir, workspace.Options{Adapters: set})
	for _, f := range findings {
		require.NotEqual(t, rules.Error, f.Severity, "%+v", f)
	}
	require.NotNil(t, ws)
	return ws
}

const nudgeYAML = `
zone: UTC
channels:
  log: {adapter: stdout}
keys:
  - {name: web, write_key: key-of-the-web}
`

const cartRule = `
rule: cart-abandoned
category: promotional
schedule: "*/5 * * * *"
for_each: event("Product Added").by("cart_id")
when: it.last.ago >= hours(1) and it.last.ago < days(2)
again: never
exit: {event: Order Completed}
with:
  product: it.last.properties.name
message:
  log: {title: "Still thinking about {{ product }}?", body: "It is waiting."}
`

// start is Monday 2026-03-02 09:00 UTC.
var start = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC).UnixMilli()

type sim struct {
	*app.Sim
	t     *testing.T
	app   *app.App
	clock *app.Clock
	sent  *channeltest.Recorder
	n     int
}

func newSim(t *testing.T, w map[string]string) *sim {
	t.Helper()
	dir := files(t, w)
	store := clickhousetest.NewUnmigrated(t)
	ws := load(t, dir)
	clock := app.NewClock(start)
	rec := &channeltest.Recorder{}
	routes := map[string]send.Route{}
	for _, c := range ws.Channels {
		routes[c.Name] = send.Route{Providers: []send.Provider{{Name: c.Name, Spec: rec.Spec(), Channel: rec}}}
	}
	a, err := app.Open(t.Context(), app.Options{Workspace: ws, Now: clock.Now, Store: store, Routes: routes})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, a.Close()) })
	return &sim{Sim: app.NewSim(a, clock), t: t, app: a, clock: clock, sent: rec}
}

func (s *sim) track(user, name string, at int64, properties map[string]any) {
	s.t.Helper()
	raw, err := json.Marshal(properties)
	require.NoError(s.t, err)
	s.n++
	require.NoError(s.t, s.Feed(s.t.Context(), []events.Event{{
		Kind: events.KindTrack, MessageID: time.Unix(int64(s.n), 0).String(), Source: "web", UserID: user, Name: name, Time: at,
		ReceivedAt: s.clock.Now().UnixMilli(), Properties: raw, Raw: []byte(`{}`),
	}}))
}

func (s *sim) advance(to int64) {
	s.t.Helper()
	require.NoError(s.t, s.Advance(s.t.Context(), to, nil))
}

const minute = int64(60_000)

func TestACartIsRemindedOnceAndAnOrderStopsIt(t *testing.T) {
	s := newSim(t, map[string]string{"nudge.yaml": nudgeYAML, "rules/cart.yaml": cartRule})
	s.advance(start + 2*minute)
	s.track("ann", "Product Added", start+2*minute, map[string]any{"cart_id": "a", "name": "Tea"})
	s.track("bob", "Product Added", start+2*minute, map[string]any{"cart_id": "b", "name": "Pot"})
	s.advance(start + 30*minute)
	s.track("bob", "Order Completed", start+30*minute, map[string]any{"revenue": 12.5})
	s.advance(start + 61*minute)
	require.Empty(t, s.sent.Accepted(), "an hour has not passed")
	s.advance(start + 300*minute)
	got := s.sent.Accepted()
	require.Len(t, got, 1)
	require.Equal(t, "ann", got[0].Address.UserID)
	require.Equal(t, "Still thinking about Tea?", got[0].Fields["title"])

	require.NoError(t, s.Flush(t.Context()))
	var sends, exited uint64
	require.NoError(t, s.app.Store.Conn().QueryRow(t.Context(), "SELECT countIf(reason = 'send'), countIf(reason = 'exited') FROM decisions").Scan(&sends, &exited))
	require.Equal(t, []uint64{1, 1}, []uint64{sends, exited})
}

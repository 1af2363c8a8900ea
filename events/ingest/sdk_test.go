package ingest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"nudge/events"
)

// installSDKs installs the SDKs that testdata/sdk locks into a temporary folder.
func installSDKs(t *testing.T) string {
	t.Helper()
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Skip("npm is not installed: the SDKs of Segment and RudderStack are not tried")
	}
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", ".npmrc", "drive.cjs"} {
		data, err := os.ReadFile(filepath.Join("testdata", "sdk", name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	cmd := exec.CommandContext(t.Context(), npm, "ci", "--prefer-offline", "--no-audit", "--no-fund")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "npm ci: %s", out)
	return dir
}

// wanted is what must arrive of one call, beside what every call has.
type wanted struct {
	kind                        events.Kind
	name, user, anonymous, prev string
	group                       string
	properties, traits          string // JSON that must be contained
	time                        int64  // 0: now, within a minute
}

func nodeCalls(user string) []wanted {
	return []wanted{
		{kind: events.KindIdentify, user: user, traits: `{"plan":"pro","logins":3,"é":"ü"}`},
		{kind: events.KindTrack, name: "Order Completed", user: user, properties: `{"revenue":19.99,"items":[{"sku":"a"}],"note":"say \"hi\" \u2028 😀"}`},
		{kind: events.KindTrack, name: "Product Viewed", anonymous: "anon-" + user, properties: `{"id":9007199254740991}`, time: 1_761_991_200_123},
		{kind: events.KindPage, name: "Start", user: user, properties: `{"url":"https://shop.example/start","name":"Start","category":"Docs"}`},
		{kind: events.KindScreen, name: "Cart", user: user, properties: `{"items":2,"name":"Cart"}`},
		{kind: events.KindGroup, user: user, group: "g1", traits: `{"name":"Initech"}`},
		{kind: events.KindAlias, user: user, prev: "anon-" + user},
	}
}

func browserCalls(user string, screen bool) []wanted {
	calls := []wanted{
		{kind: events.KindPage, name: "Start", properties: `{"own":1,"name":"Start","category":"Docs","url":"https://shop.example/start?q=1","title":"Shop"}`},
		{kind: events.KindIdentify, user: user, traits: `{"plan":"pro"}`},
		{kind: events.KindTrack, name: "Order Completed", user: user, properties: `{"revenue":19.99}`},
	}
	if screen {
		calls = append(calls, wanted{kind: events.KindScreen, name: "Cart", user: user, properties: `{"items":2,"name":"Cart","category":"App"}`})
	}
	return append(calls,
		wanted{kind: events.KindGroup, user: user, group: "g1", traits: `{"name":"Initech"}`},
		wanted{kind: events.KindAlias, user: user, prev: "anon-" + user},
	)
}

// TestSDKs sends every call through the SDKs that apps use, changed in nothing but the host.
func TestSDKs(t *testing.T) {
	dir := installSDKs(t)
	for _, c := range []struct {
		sdk   string
		calls []wanted
	}{
		{"segment-node", nodeCalls("segment-node")},
		{"rudder-gzip", nodeCalls("rudder-gzip")},
		{"rudder-plain", nodeCalls("rudder-plain")},
		{"segment-browser", browserCalls("segment-browser", true)},
		{"rudder-browser", browserCalls("rudder-browser", false)},
	} {
		t.Run(c.sdk, func(t *testing.T) {
			f := start(t, func(o *Options) {
				o.Now = time.Now
				o.Registerer = prometheus.NewRegistry()
			})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, "node", "drive.cjs", c.sdk, f.url, "public-web")
			cmd.Dir = dir
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)

			evs := f.queue.all()
			require.Len(t, evs, len(c.calls), "%s", out)
			ids := map[string]bool{}
			for _, want := range c.calls { // an SDK may send several batches at once
				i := slices.IndexFunc(evs, func(ev events.Event) bool { return ev.Kind == want.kind && ev.Name == want.name })
				require.GreaterOrEqual(t, i, 0, "no %s %q arrived", want.kind, want.name)
				requireCall(t, want, &evs[i])
				ids[evs[i].MessageID] = true
			}
			require.Len(t, ids, len(c.calls), "message ids must differ")
		})
	}
}

func requireCall(t *testing.T, want wanted, got *events.Event) {
	t.Helper()
	require.Equal(t, want.kind.String(), got.Kind.String())
	require.Equal(t, want.name, got.Name)
	require.Equal(t, want.user, got.UserID)
	require.Equal(t, want.prev, got.PreviousID)
	require.Equal(t, want.group, got.GroupID)
	if want.anonymous != "" {
		require.Equal(t, want.anonymous, got.AnonymousID)
	}
	require.Equal(t, "web", got.Source)
	require.NotEmpty(t, got.MessageID)
	library, ok := events.Lookup(got.Context, "library", "name")
	require.True(t, ok, "the context says which SDK sent it: %s", got.Context)
	require.NotEmpty(t, library)
	if want.time == 0 {
		require.InDelta(t, got.ReceivedAt, got.Time, 60_000)
	} else {
		require.InDelta(t, want.time, got.Time, 5_000, "but for the correction of the sender's clock")
	}
	requireContains(t, want.properties, got.Properties)
	requireContains(t, want.traits, got.Traits)
}

// requireContains checks that the object has at least the members of want.
func requireContains(t *testing.T, want string, got []byte) {
	t.Helper()
	if want == "" {
		return
	}
	events.Flatten([]byte(want), func(path string, value any) {
		found := false
		events.Flatten(got, func(p string, v any) {
			if p == path {
				require.Equal(t, value, v, path)
				found = true
			}
		})
		require.True(t, found, "%s is missing in %s", path, got)
	})
}

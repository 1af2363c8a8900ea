package workspace_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"

	"nudge/channels"
	"nudge/channels/all"
	"nudge/engine/decide"
	"nudge/engine/workspace"
	"nudge/rules"
	"nudge/segments"
)

var update = flag.Bool("update", false, "write the golden files anew")

func adapters(t testing.TB) channels.Set {
	set, err := all.Set()
	require.NoError(t, err)
	return set
}

// unpack writes the files of an archive to a folder.
func unpack(t testing.TB, a *txtar.Archive) string {
	dir := t.TempDir()
	for _, f := range a.Files {
		path := filepath.Join(dir, filepath.FromSlash(f.Name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, f.Data, 0o644))
	}
	return dir
}

func open(t testing.TB, path string) (*txtar.Archive, string) {
	a, err := txtar.ParseFile(path)
	require.NoError(t, err)
	return a, unpack(t, a)
}

func env(values map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		v, ok := values[name]
		return v, ok
	}
}

// Each archive in testdata is a workspace; its comment is what `nudge check` prints of it.
func TestFindings(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			a, dir := open(t, path)
			var outs [2]string
			for i := range outs {
				var b bytes.Buffer
				require.NoError(t, rules.Render(&b, workspace.Check(dir, workspace.Options{Adapters: adapters(t)}), rules.Text))
				outs[i] = b.String()
			}
			require.Equal(t, outs[0], outs[1], "the same files give the same bytes")
			if *update {
				a.Comment = []byte(outs[0])
				require.NoError(t, os.WriteFile(path, txtar.Format(a), 0o644))
			}
			require.Equal(t, string(a.Comment), outs[0])
		})
	}
}

func TestLoad(t *testing.T) {
	_, dir := open(t, "testdata/good.txtar")
	o := workspace.Options{Adapters: adapters(t), Env: env(map[string]string{"SERVER_KEY": "sk_secret", "HOOK": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"})}
	ws, findings := workspace.Load(dir, o)
	require.Empty(t, findings)

	require.Equal(t, "Europe/Berlin", ws.Zone.String())
	require.Equal(t, filepath.Join(dir, "data/store"), ws.Store.Dir)
	require.Equal(t, filepath.Join(dir, "data/queue"), ws.Queue.Dir)
	require.Equal(t, int64(2<<30), ws.Queue.MaxBacklog)
	require.Equal(t, 400*24*time.Hour, ws.Retention)
	require.Equal(t, "https://go.shop.example", ws.BaseURL)
	require.Equal(t, []workspace.Key{{Name: "web", Value: "wk_web"}, {Name: "server", Value: "sk_secret", Secret: true}}, ws.Keys)

	require.Equal(t, []decide.Cap{
		{Name: "two-a-day", Max: 2, Window: 24 * time.Hour, Clock: rules.ZoneWorkspace, Scope: "all", AtCap: rules.Retry},
		{Name: "push-a-week", Max: 5, Calendar: "week", Clock: rules.ZonePerson, Scope: "channel", Channels: []string{"push"}, Categories: []string{"promotional", "newsletter"}, Rules: []string{"cart"}, AtCap: rules.Next},
	}, ws.Policy.Caps)
	require.Equal(t, []decide.Quiet{
		{From: 21 * 60, To: 8 * 60, Zone: rules.ZonePerson},
		{From: 0, To: 12 * 60, Zone: "Europe/Vienna", Days: []time.Weekday{time.Sunday}, Channels: []string{"email"}},
	}, ws.Policy.Quiet)
	require.InDelta(t, 0.05, ws.Policy.Holdout, 1e-9)
	require.True(t, ws.Policy.OptIn("email", "newsletter"))
	require.False(t, ws.Policy.OptIn("push", "newsletter"))
	require.True(t, ws.Policy.OptIn("push", "tips"))
	require.False(t, ws.Policy.OptIn("push", "promotional"))
	loc, err := ws.Policy.Location("Asia/Tokyo")
	require.NoError(t, err)
	require.Equal(t, "Asia/Tokyo", loc.String())
	_, err = ws.Policy.Location("Local")
	require.Error(t, err)

	require.Len(t, ws.Channels, 3)
	require.Equal(t, "push", ws.Channels[0].Kind)
	require.InDelta(t, 100, ws.Channels[0].RateLimit, 1e-9)
	require.Equal(t, "give_up", ws.Channels[0].AfterCrash)
	require.Equal(t, []string{"stdout", "file"}, []string{ws.Channels[1].Adapters[0].Name, ws.Channels[1].Adapters[1].Name})
	require.Equal(t, []string{"com.shop"}, ws.Channels[1].Adapters[1].Apps)
	hook := ws.Channels[2]
	require.Contains(t, string(hook.Adapters[0].Config), "whsec_")
	require.Equal(t, "webhook", hook.Adapters[0].String())

	require.Len(t, ws.Rules, 2)
	cart := ws.Rules[0]
	require.Equal(t, "cart", cart.Name)
	require.Equal(t, "Product Added", cart.Who.ForEach().Event)
	require.Equal(t, "Order Completed", cart.Exits[0].Event)
	require.NotNil(t, cart.Exits[0].Where)
	require.Equal(t, "properties.revenue", cart.Goal.Value)
	parcel := ws.Rules[1]
	require.Equal(t, &segments.On{Event: "Parcel Delivered", By: "properties.parcel_id", MaxAge: 3_600_000}, parcel.Who.On())
	require.Len(t, ws.Segments, 1)
	require.Len(t, ws.Fences.All(), 1)
	require.Equal(t, int64(600_000), ws.Location.MaxAge)

	kinds := map[string]int{}
	for _, s := range ws.Sources {
		kinds[s.Kind]++
		require.Len(t, s.Hash, 16)
	}
	require.Equal(t, map[string]int{"workspace": 1, "plan": 1, "rule": 2, "segment": 1, "fence": 1, "template": 1}, kinds)

	t.Run("the signing secret is made once", func(t *testing.T) {
		require.Len(t, ws.Signing, 64)
		info, err := os.Stat(filepath.Join(dir, "data/signing.key"))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
		again, findings := workspace.Load(dir, o)
		require.Empty(t, findings)
		require.Equal(t, ws.Signing, again.Signing)
		require.Equal(t, ws.Hash, again.Hash)
	})
	t.Run("without secrets", func(t *testing.T) {
		bare, findings := workspace.Load(dir, workspace.Options{Adapters: adapters(t), WithoutSecrets: true})
		require.Empty(t, findings)
		require.Nil(t, bare.Signing)
		require.Nil(t, bare.Channels[2].Adapters[0].Config)
		require.Equal(t, ws.Hash, bare.Hash)
	})
}

func TestHiddenFoldersAreNotRead(t *testing.T) {
	_, dir := open(t, "testdata/good.txtar")
	hidden := filepath.Join(dir, "rules", "..2026_01_01")
	require.NoError(t, os.Mkdir(hidden, 0o755))
	require.NoError(t, os.Rename(filepath.Join(dir, "rules/cart.yaml"), filepath.Join(hidden, "cart.yaml")))
	require.NoError(t, os.Symlink("..2026_01_01/cart.yaml", filepath.Join(dir, "rules/cart.yaml")))
	ws, findings := workspace.Load(dir, workspace.Options{Adapters: adapters(t), WithoutSecrets: true})
	require.Empty(t, findings)
	require.Len(t, ws.Rules, 2)
}

func TestFilesOutsideAreNotRead(t *testing.T) {
	_, dir := open(t, "testdata/good.txtar")
	outside := filepath.Join(t.TempDir(), "secret.html")
	require.NoError(t, os.WriteFile(outside, []byte("hunter2"), 0o600))
	require.NoError(t, os.Remove(filepath.Join(dir, "templates/cart.html")))
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "templates/cart.html")))
	findings := workspace.Check(dir, workspace.Options{Adapters: adapters(t)})
	require.Len(t, findings, 1)
	require.Equal(t, "message/no-file", findings[0].Check)
}

// TestWhomAChannelNeeds is about adapters whose config says to whom they send: deciding goes by it.
func TestWhomAChannelNeeds(t *testing.T) {
	dir := unpack(t, txtar.Parse([]byte(`
-- nudge.yaml --
zone: UTC
channels:
  note: {adapter: pushbullet, config: {access_token: {env: T}}}
  ops: {adapter: pushbullet, config: {access_token: {env: T}, to: "channel:ops"}}
  courier: {adapter: courier, config: {api_key: {env: T}, to: phone}}
  push: {adapter: sns_push, config: {region: eu-central-1, applications: {android: "arn:aws:sns:eu-central-1:123456789012:app/GCM/shop"}}}
`)))
	ws, findings := workspace.Load(dir, workspace.Options{Adapters: adapters(t), WithoutSecrets: true})
	require.Empty(t, findings)
	require.Equal(t, map[string]decide.Channel{
		"note": {Needs: "email"}, "ops": {}, "courier": {Needs: "phone"}, "push": {Needs: "token", Platforms: []string{"android"}},
	}, ws.Policy.Channels)
}

func TestCheckMakesNothing(t *testing.T) {
	_, dir := open(t, "testdata/good.txtar")
	require.Empty(t, workspace.Check(dir, workspace.Options{Adapters: adapters(t)}))
	require.NoDirExists(t, filepath.Join(dir, "data"))
}

func TestHash(t *testing.T) {
	_, dir := open(t, "testdata/good.txtar")
	hash := func() string {
		ws, findings := workspace.Load(dir, workspace.Options{Adapters: adapters(t), WithoutSecrets: true})
		require.Empty(t, findings)
		return ws.Hash
	}
	base := hash()
	cases := []struct {
		name, file, old, new string
		same                 bool
	}{
		{"a comment", "rules/cart.yaml", "priority", "# why\npriority", true},
		{"where it listens", "nudge.yaml", "127.0.0.1:9090", "127.0.0.1:9091", true},
		{"a priority", "rules/cart.yaml", "priority: 70", "priority: 71", false},
		{"a segment", "segments/vip.yaml", ">= 5", ">= 6", false},
		{"a fence", "fences/stores.geojson", "13.4", "13.5", false},
		{"a cap", "nudge.yaml", "max: 2", "max: 3", false},
		{"a type of the plan", "events.yaml", "revenue: decimal", "revenue: number", false},
		{"a text", "templates/cart.html", "waiting", "gone", false},
		{"a consent", "nudge.yaml", "tips: {consent: opt_in}", "tips: {consent: opt_out}", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(dir, c.file)
			src, err := os.ReadFile(path)
			require.NoError(t, err)
			changed := strings.Replace(string(src), c.old, c.new, 1)
			require.NotEqual(t, string(src), changed)
			require.NoError(t, os.WriteFile(path, []byte(changed), 0o644))
			require.Equal(t, c.same, base == hash())
			require.NoError(t, os.WriteFile(path, src, 0o644))
		})
	}
}

// Who reads what was stored need not have the keys with which others send: those that are not there are left out.
func TestKeysWithoutASecretAreLeftOutWhereNothingIsSent(t *testing.T) {
	dir := unpack(t, &txtar.Archive{Files: []txtar.File{{
		Name: "nudge.yaml", Data: []byte("keys: [{name: a, secret_key: {env: NOPE}}, {name: b, secret_key: {env: B}}, {name: c, write_key: wk_c}]\n"),
	}}})
	o := workspace.Options{Adapters: adapters(t), Env: env(map[string]string{"B": "secret-of-b"})}
	_, findings := workspace.Load(dir, o)
	require.Len(t, findings, 1)
	require.Equal(t, "workspace/no-secret", findings[0].Check)
	o.WithoutSending = true
	ws, findings := workspace.Load(dir, o)
	require.Empty(t, findings)
	require.Equal(t, []workspace.Key{{Name: "b", Value: "secret-of-b", Secret: true}, {Name: "c", Value: "wk_c"}}, ws.Keys)
}

func TestSecretsAreNotShown(t *testing.T) {
	const hidden = "hunter2hunter2"
	config := func(s string) *txtar.Archive {
		return &txtar.Archive{Files: []txtar.File{{Name: "nudge.yaml", Data: []byte(s)}}}
	}
	cases := []struct{ name, config, id string }{
		{"a secret key in the file", "keys: [{name: a, secret_key: " + hidden + "}]\n", "workspace/secret-in-file"},
		{"an adapter's secret in the file", "channels: {hook: {adapter: webhook, config: {url: \"https://a.example\", secrets: [" + hidden + "]}}}\n", "workspace/adapter-config"},
		{"a signing secret in the file", "signing: " + hidden + "\n", "workspace/secret-in-file"},
		{"a password in an address", "store: {dsn: \"clickhouse://u:" + hidden + "@h:9000\"}\n", "workspace/secret-in-file"},
		{"a malformed address", "store: {dsn: \"" + hidden + "\"}\n", "workspace/bad-url"},
		{"a short signing secret", "signing: {env: SHORT}\n", "workspace/bad-secret"},
		{"a malformed adapter's secret", "channels: {hook: {adapter: webhook, config: {url: \"https://a.example\", timeout: 5, secrets: [{env: HOOK}]}}}\n", "workspace/adapter-config"},
		{"two equal keys", "keys: [{name: a, secret_key: {env: HOOK}}, {name: b, secret_key: {env: HOOK}}]\n", "workspace/duplicate-key"},
		{"an unset variable", "keys: [{name: a, secret_key: {env: NOPE}}]\n", "workspace/no-secret"},
		{"a missing file", "keys: [{name: a, secret_key: {file: nope}}]\n", "workspace/no-secret"},
		{"an unset variable of an adapter", "channels: {hook: {adapter: webhook, config: {url: \"https://a.example\", secrets: [{env: NOPE}]}}}\n", "workspace/adapter-config"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := unpack(t, config(c.config))
			_, findings := workspace.Load(dir, workspace.Options{Adapters: adapters(t), Env: env(map[string]string{"HOOK": hidden, "SHORT": "hunter2"})})
			require.NotEmpty(t, findings)
			require.Equal(t, c.id, findings[0].Check)
			for _, format := range []rules.Format{rules.Text, rules.JSON} {
				var b bytes.Buffer
				require.NoError(t, rules.Render(&b, findings, format))
				require.NotContains(t, b.String(), "hunter2")
			}
		})
	}
}

func TestPasswordsAreNotKept(t *testing.T) {
	dir := unpack(t, &txtar.Archive{Files: []txtar.File{{Name: "nudge.yaml", Data: []byte("store: {dsn: \"clickhouse://u:hunter2@h:9000\"}\n")}}})
	ws, findings := workspace.Load(dir, workspace.Options{Adapters: adapters(t)})
	require.Len(t, findings, 1)
	require.Equal(t, "clickhouse://u:hunter2@h:9000", ws.Store.DSN)
	require.Equal(t, "store: {dsn: \"clickhouse://u:***@h:9000\"}\n", ws.Sources[0].Text)
}

func FuzzCheck(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txtar")
	require.NoError(f, err)
	for _, path := range files {
		a, err := txtar.ParseFile(path)
		require.NoError(f, err)
		for _, file := range a.Files {
			if file.Name == "nudge.yaml" {
				f.Add(file.Data)
			}
		}
	}
	o := workspace.Options{Adapters: adapters(f)}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, src []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "nudge.yaml"), src, 0o600))
		for _, x := range workspace.Check(dir, o) {
			if x.File != "nudge.yaml" || x.Line < 1 || x.Col < 1 || x.EndCol <= x.Col || x.Summary == "" || !strings.Contains(x.Check, "/") {
				t.Fatalf("a finding without a place: %+v", x)
			}
		}
	})
}

func TestNoFolder(t *testing.T) {
	ws, findings := workspace.Load(filepath.Join(t.TempDir(), "nope"), workspace.Options{Adapters: adapters(t)})
	require.Nil(t, ws)
	require.Len(t, findings, 1)
	require.Equal(t, "workspace/no-folder", findings[0].Check)
}

package trial_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/channels"
	"nudge/channels/all"
	"nudge/channels/channeltest/apnsd"
	"nudge/channels/channeltest/fcmd"
	"nudge/channels/channeltest/hookd"
	"nudge/engine/enginetest"
	"nudge/engine/explain"
	"nudge/engine/trial"
	"nudge/engine/workspace"
	"nudge/events/clickhouse/embedded"
	"nudge/segments"
)

func TestMain(m *testing.M) {
	embedded.MaybeRunChild() // the test binary is its own engine
	os.Exit(m.Run())
}

const cartRule = `rule: cart
schedule: "*/5 * * * *"
for_each: event("Product Added").by("cart")
when: it.last.ago >= hours(1)
again: never
with:
  product: it.last.properties.name
  price: it.last.properties.price
message:
  push: {title: "Still thinking about {{ product }}?", body: "For {{ price | money: 'EUR' }}, {{ user.traits.first_name }}.", link: "https://shop.example/cart", ttl: 4h}
  email: {subject: "{{ product }}", text: "Cart {{ message.value }}"}
  hook: {text: "{{ product }} waits"}
variants:
  plain: {}
  warm: {message: {push: {title: "We kept {{ product }} warm"}}}
`

// providers are the push services and an endpoint, and a workspace that sends to them.
type providers struct {
	apns *apnsd.Server
	fcm  *fcmd.Server
	hook *hookd.Server
	ws   *workspace.Workspace
}

func start(t *testing.T) *providers {
	t.Helper()
	p := &providers{}
	var err error
	p.apns, err = apnsd.Start(apnsd.Config{Topics: []string{"example.shop"}, Now: time.Now})
	require.NoError(t, err)
	t.Cleanup(p.apns.Close)
	p.fcm, err = fcmd.Start(fcmd.Config{Now: time.Now})
	require.NoError(t, err)
	t.Cleanup(p.fcm.Close)
	p.hook, err = hookd.Start(hookd.Config{Now: time.Now})
	require.NoError(t, err)
	t.Cleanup(p.hook.Close)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"apns.p8": string(p.apns.KeyPEM), "apns-ca.pem": string(p.apns.CA.PEM), "fcm.json": string(p.fcm.Credentials), "fcm-ca.pem": string(p.fcm.CA.PEM),
		"hook-ca.pem": string(p.hook.CA.PEM), "rules/cart.yaml": cartRule,
		"nudge.yaml": fmt.Sprintf(`
zone: UTC
base_url: https://go.shop.example
channels:
  push:
    - {adapter: apns, config: {topic: example.shop, key: {file: apns.p8}, key_id: %s, team_id: %s, host: "%s", ca: apns-ca.pem}}
    - {adapter: fcm, config: {credentials: {file: fcm.json}, endpoint: "%s", token_url: "%s", ca: fcm-ca.pem}}
  email: {adapter: file, needs: email, config: {path: email.ndjson}}
  hook: {adapter: webhook, config: {url: "%s", ca: hook-ca.pem}}
`, p.apns.KeyID, p.apns.TeamID, p.apns.Host(), p.fcm.Endpoint(), p.fcm.TokenURL(), p.hook.URL()),
	} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	set, err := all.Set()
	require.NoError(t, err)
	ws, findings := workspace.Load(dir, workspace.Options{Adapters: set})
	require.NotNil(t, ws, "%+v", findings)
	p.ws = ws
	return p
}

// options are of a message with the data of ann.
func (p *providers) options(to channels.Address) trial.Options {
	return trial.Options{
		Workspace: p.ws, Rule: p.ws.Rules[0], To: to, As: "ann", At: time.Now().UnixMilli(), ID: "id",
		Known: &explain.Known{
			Profile: &segments.Profile{UserID: "ann", Traits: map[string]json.RawMessage{"first_name": json.RawMessage(`"Ann"`)}},
			Answers: []segments.Answer{{Value: "a", Truth: segments.False, With: map[string]any{"product": "Tea", "price": 12.5}}},
		},
	}
}

func (p *providers) send(t *testing.T, o trial.Options) (*trial.Message, trial.Answer) {
	t.Helper()
	m, err := trial.Make(o)
	require.NoError(t, err)
	a, err := m.Send(t.Context(), channels.Options{Now: time.Now, Dir: p.ws.Dir})
	require.NoError(t, err)
	return m, a
}

var (
	iosToken     = strings.Repeat("a1", 32)
	androidToken = "fcm-token:" + strings.Repeat("x", 40)
)

func TestAPNs(t *testing.T) {
	p := start(t)
	m, a := p.send(t, p.options(channels.Address{Token: iosToken, Platform: "ios"}))
	require.Nil(t, a.Failed)
	require.NotEmpty(t, a.ID)
	require.Equal(t, "false", m.Truth)
	require.Equal(t, "plain", m.Variant)
	got := p.apns.Received()
	require.Len(t, got, 1)
	require.Equal(t, iosToken, got[0].Address)
	text := string(got[0].Body)
	require.Contains(t, text, "[Test] Still thinking about Tea?")
	require.Contains(t, text, "12.50, Ann.")
	require.Contains(t, text, "https://shop.example/cart", "links are not tracked")
	require.NotContains(t, text, "go.shop.example")

	p.apns.SetDevice(iosToken, apnsd.Device{Unregistered: true})
	_, a = p.send(t, p.options(channels.Address{Token: iosToken, Platform: "ios"}))
	require.NotNil(t, a.Failed)
	require.Equal(t, channels.ClassAddress, a.Failed.Class)
	require.Contains(t, trial.Advice(a.Failed.Class), "registered lately")
}

func TestFCM(t *testing.T) {
	p := start(t)
	o := p.options(channels.Address{Token: androidToken, Platform: "android"})
	o.Variant, o.Plain = "warm", true
	_, a := p.send(t, o)
	require.Nil(t, a.Failed)
	got := p.fcm.Received()
	require.Len(t, got, 1)
	require.Contains(t, string(got[0].Body), `"We kept Tea warm"`)
}

func TestWebhook(t *testing.T) {
	p := start(t)
	o := p.options(channels.Address{})
	m, a := p.send(t, o)
	require.Nil(t, a.Failed)
	require.Equal(t, "hook", m.Channel, "the others need an address")
	got := p.hook.Received()
	require.Len(t, got, 1)
	text := string(got[0].Body)
	require.Contains(t, text, "[Test] Tea waits")
	require.Contains(t, text, `"test":"true"`)

	p.hook.Close()
	_, a = p.send(t, o)
	require.NotNil(t, a.Failed)
	require.Equal(t, channels.ClassTemporary, a.Failed.Class)
}

func TestFile(t *testing.T) {
	p := start(t)
	m, a := p.send(t, p.options(channels.Address{Email: "ann@shop.example"}))
	require.Nil(t, a.Failed)
	require.Equal(t, "email", m.Channel)
	line, err := os.ReadFile(filepath.Join(p.ws.Dir, "email.ndjson"))
	require.NoError(t, err)
	require.Contains(t, string(line), `"subject":"[Test] Tea"`)
	require.Contains(t, string(line), `"email":"ann@shop.example"`)
	require.NotContains(t, string(line), "message_id", "there is no signed id: opens are not counted")
}

func TestSamples(t *testing.T) {
	p := start(t)
	o := p.options(channels.Address{Token: iosToken, Platform: "ios"})
	o.Known = nil
	o.With = map[string]any{"product": json.RawMessage(`"Tea"`)}
	m, err := trial.Make(o)
	require.NoError(t, err)
	require.Equal(t, []string{"price", "user.traits.first_name"}, m.Samples)
	require.Equal(t, "[Test] Still thinking about Tea?", m.Message.Fields["title"])
	require.Contains(t, m.Message.Fields["body"], "3.00", "money wants a number")
	require.Contains(t, m.Message.Fields["body"], "‹first_name›", "nobody takes it for a person's")
}

// TestSamplesOfDeclaredTraits has samples like what apps are said to send.
func TestSamplesOfDeclaredTraits(t *testing.T) {
	w := enginetest.New(t, map[string]string{
		"nudge.yaml":  "zone: UTC\nchannels: {push: {adapter: file, kind: push, config: {path: p.ndjson}}}\n",
		"events.yaml": "events: {Seen: {}}\ntraits: {city: string, seats: integer, owes: number, admin: boolean, ends: time, plan: {type: string, enum: [pro, free]}}\n",
		"rules/seen.yaml": `rule: seen
on: {event: Seen}
again: each_time
message: {push: {title: "{{ user.traits.city }} {{ user.traits.seats }} {{ user.traits.owes }} {{ user.traits.admin }} {{ user.traits.ends }} {{ user.traits.plan }} {{ user.traits.other }}"}}
`,
	})
	ws := w.Load()
	m, err := trial.Make(trial.Options{Workspace: ws, Rule: ws.Rules[0], To: channels.Address{Token: iosToken, Platform: "ios"}, At: enginetest.Start(), ID: "x", Plain: true})
	require.NoError(t, err)
	require.Equal(t, "‹city› 3 19.9 true 2026-03-02T09:00:00Z pro ‹other›", m.Message.Fields["title"])
}

func TestWrong(t *testing.T) {
	p := start(t)
	email, ios := channels.Address{Email: "a@b.example"}, channels.Address{Token: iosToken, Platform: "ios"}
	cases := []struct {
		name   string
		to     channels.Address
		change func(*trial.Options)
		want   string
		usage  bool
	}{
		{"variant", ios, func(o *trial.Options) { o.Variant = "worm" }, `no variant "worm"; did you mean warm?`, true},
		{"channel", ios, func(o *trial.Options) { o.Channel = "emial" }, `no message for "emial"; did you mean email?`, true},
		{"a channel that cannot", email, func(o *trial.Options) { o.Channel = "push" }, "push needs a device's token", true},
		{"a browser that subscribed elsewhere", channels.Address{Token: "eyJlbmRwb2ludCI6", Platform: "web"}, func(o *trial.Options) { o.Channel = "push" }, "push does not take this token: it has not the form of those of fcm", true},
		{"a device of no adapter", channels.Address{Token: "t", Platform: "web"}, func(o *trial.Options) { o.Channel = "email" }, "email needs an e-mail address", true},
		{"a token without its platform", channels.Address{Token: iosToken}, func(o *trial.Options) { o.Channel = "push" }, "--platform", true},
		{"a value that is none", ios, func(o *trial.Options) { o.With = map[string]any{"prodct": 1} }, `no value "prodct"; did you mean product?`, true},
		{"several values", ios, func(o *trial.Options) { o.Known.Answers = append(o.Known.Answers, segments.Answer{Value: "b"}) }, "--value a, b", true},
		{"what the person has not", ios, func(o *trial.Options) { o.Known.Answers[0].With = nil }, "template_failed", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			o := p.options(c.to)
			c.change(&o)
			_, err := trial.Make(o)
			require.ErrorContains(t, err, c.want)
			var usage *trial.UsageError
			if c.usage {
				require.ErrorAs(t, err, &usage)
			} else {
				require.NotErrorAs(t, err, &usage)
			}
		})
	}
}

// TestOfThePerson reads what a message is made of from a real store, also while the condition is false.
func TestOfThePerson(t *testing.T) {
	w := enginetest.New(t, map[string]string{
		"nudge.yaml": "zone: UTC\nchannels: {push: {adapter: file, kind: push, config: {path: p.ndjson}}}\n",
		"rules/cart.yaml": `rule: cart
schedule: "*/5 * * * *"
for_each: event("Product Added").by("cart")
when: it.last.ago >= hours(1)
again: never
with: {product: it.last.properties.name, others: 'event("Product Added").count'}
message: {push: {title: "{{ product }} of {{ others }}, {{ user.traits.name }}"}}
`,
	})
	w.Identify("ann", "", map[string]any{"name": "Ann"})
	w.Track("ann", "Product Added", map[string]any{"cart": "a", "name": "Tea"})
	w.Track("ann", "Product Added", map[string]any{"cart": "b", "name": "Pot"})
	w.To(enginetest.Minute)
	ws := w.Load()
	o := trial.Options{
		Workspace: ws, Rule: ws.Rules[0], To: channels.Address{Token: iosToken, Platform: "ios"}, As: "ann", Value: "b",
		At: enginetest.Start() + enginetest.Minute, ID: "x",
	}
	var err error
	o.Known, err = explain.Read(t.Context(), explain.Options{
		Conn: w.Store.Conn(), Database: w.Store.Database(), Workspace: ws, Rules: ws.Rules, Person: "ann", Value: "b", At: o.At,
	})
	require.NoError(t, err)
	m, err := trial.Make(o)
	require.NoError(t, err)
	require.Equal(t, "[Test] Pot of 2, Ann", m.Message.Fields["title"])
	require.Equal(t, "false", m.Truth)
	require.Equal(t, "ann", m.Message.Address.UserID)
	require.Empty(t, w.Answers(), "nothing was decided")
}

// TestLongest makes every message of the examples, whatever their filters want.
func TestLongest(t *testing.T) {
	set, err := all.Set()
	require.NoError(t, err)
	for _, dir := range []string{"cookbook", "shop", "first"} {
		ws, findings := workspace.Load(filepath.Join("..", "..", "examples", dir), workspace.Options{Adapters: set, WithoutSecrets: true})
		require.NotNil(t, ws, "%v", findings)
		for _, r := range ws.Rules {
			for _, channel := range r.Channels() {
				variant := ""
				if len(r.Variants) > 0 {
					variant = r.Variants[0].Name
				}
				m, _, err := trial.Longest(ws, r, variant, channel, "")
				require.NoError(t, err, "%s of %s", channel, r.Name)
				require.NotEmpty(t, m.Signed)
			}
		}
	}
	p := start(t)
	m, assumed, err := trial.Longest(p.ws, p.ws.Rules[0], "warm", "push", "")
	require.NoError(t, err)
	require.Equal(t, "We kept "+strings.Repeat("x", 100)+" warm", m.Fields["title"])
	require.Contains(t, m.Fields["body"], "99,999.", "money wants a number, and nothing says that price is one")
	require.Contains(t, m.Fields["link"], "https://go.shop.example/c/")
	require.Equal(t, []trial.Assumed{{Name: "product", Size: "100 characters"}, {Name: "user.traits.first_name", Size: "100 characters"}}, assumed)
}

func TestProbeAsksAndSendsNothing(t *testing.T) {
	hook, err := hookd.Start(hookd.Config{Now: time.Now})
	require.NoError(t, err)
	t.Cleanup(hook.Close)
	adapter := func(name, config string) workspace.Adapter {
		set, err := all.Set()
		require.NoError(t, err)
		spec, ok := set.Get(name)
		require.True(t, ok)
		return workspace.Adapter{Name: name, Spec: spec, Config: json.RawMessage(config)}
	}
	o := channels.Options{Stdout: io.Discard, Now: time.Now, Dir: t.TempDir()}
	require.NoError(t, trial.Probe(t.Context(), adapter("webhook", fmt.Sprintf(`{"url": %q, "ca": %q}`, hook.URL(), string(hook.CA.PEM))), o))
	require.Zero(t, hook.Accepted())
	require.ErrorIs(t, trial.Probe(t.Context(), adapter("stdout", `{}`), o), trial.ErrNothing)
	require.ErrorContains(t, trial.Probe(t.Context(), adapter("webhook", `{"url": "nowhere"}`), o), "url")
	hook.Close()
	err = trial.Probe(t.Context(), adapter("webhook", fmt.Sprintf(`{"url": %q, "ca": %q}`, hook.URL(), string(hook.CA.PEM))), o)
	failure, ok := errors.AsType[*channels.DeliveryError](err)
	require.True(t, ok, err)
	require.Equal(t, channels.ClassTemporary, failure.Class)
}

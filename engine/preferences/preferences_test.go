package preferences_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/channels"
	"nudge/engine/enginetest"
	"nudge/engine/ledger"
	"nudge/engine/preferences"
	"nudge/engine/send"
	"nudge/engine/workspace"
	"nudge/events"
	"nudge/events/clickhouse/embedded"
	"nudge/segments"
)

func TestMain(m *testing.M) {
	embedded.MaybeRunChild() // the test binary is its own engine
	os.Exit(m.Run())
}

const nudgeYAML = `
zone: UTC
salt: test
base_url: https://go.shop.example
preferences: {title: The Shop, about: What we write to you about.}
categories:
  price_alerts: {title: Price alerts, about: When something you looked at gets cheaper.}
  promotional: {title: Offers}
channels:
  email: {adapter: stdout}
  hook: {title: Our app, adapter: stdout, kind: push}
keys:
  - {name: web, write_key: key-of-the-web}
`

const offer = `
rule: offer
schedule: "0 * * * *"
when: did("Product Viewed").within(minutes(61))
again: every_tick
expire: 1h
when_blocked: {no_address: drop, no_consent: drop}
deliver: all
message:
  email: {subject: Look, html: '<html><body><a href="https://shop.example/">Shop</a> <a href="{{ message.unsubscribe_link }}">Enough?</a></body></html>'}
  hook: {title: Look, body: here}
`

const alert = `
rule: alert
category: price_alerts
on: {event: Price Dropped}
when: "true"
again: each_time
message:
  email: {subject: Cheaper}
`

const parcel = `
rule: parcel
category: transactional
on: {event: Parcel Sent}
when: "true"
again: each_time
message:
  email: {subject: Sent}
`

// site is a world and its endpoint, under the name that its links have.
type site struct {
	*enginetest.World
	t    *testing.T
	http http.Handler
}

func newSite(t *testing.T) *site {
	w := enginetest.New(t, map[string]string{"nudge.yaml": nudgeYAML, "rules/offer.yaml": offer, "rules/alert.yaml": alert, "rules/parcel.yaml": parcel})
	h, err := w.App.Handler()
	require.NoError(t, err)
	w.Identify("ann", "", map[string]any{"email": "ann@shop.example"})
	w.Device("ann", "t1", "ios")
	w.To(enginetest.Hour) // the first look
	return &site{World: w, t: t, http: h}
}

// call makes a request of a browser, with a form to post one.
func (s *site) call(link string, form url.Values) (int, string) {
	s.t.Helper()
	at, ok := strings.CutPrefix(link, "https://go.shop.example")
	require.True(s.t, ok, link)
	method, body := http.MethodGet, ""
	if form != nil {
		method, body = http.MethodPost, form.Encode()
	}
	req := httptest.NewRequestWithContext(s.t.Context(), method, at, strings.NewReader(body))
	req.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0")
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	rec := httptest.NewRecorder()
	s.http.ServeHTTP(rec, req)
	out, err := io.ReadAll(rec.Body)
	require.NoError(s.t, err)
	require.NoError(s.t, s.Feed(s.t.Context(), nil))
	return rec.Code, string(out)
}

// last is the last message that was sent by e-mail.
func (s *site) last() channels.Message {
	s.t.Helper()
	all := s.Sent.Accepted()
	for _, m := range slices.Backward(all) {
		if m.About["channel"] == "email" {
			return m
		}
	}
	require.Fail(s.t, "no mail was sent")
	return channels.Message{}
}

func (s *site) reasons(rule string) (out []ledger.Reason) {
	for _, a := range s.Answers() {
		if a.Rule == rule {
			out = append(out, a.Reason)
		}
	}
	return out
}

// boxes are the boxes of a page, by their value; ticked or not.
func boxes(page string) map[string]bool {
	out := map[string]bool{}
	for _, m := range regexp.MustCompile(`name="on" value="([^"]*)"( checked)?`).FindAllStringSubmatch(page, -1) {
		out[m[1]] = m[2] != ""
	}
	return out
}

func TestOneClickEndsACategoryOnAChannel(t *testing.T) {
	s := newSite(t)
	s.Track("ann", "Product Viewed", nil)
	s.To(2 * enginetest.Hour)
	m := s.last()
	require.Contains(t, m.Text("html"), `<a href="`+m.Unsubscribe+`">Enough?</a>`, "the link in the text is the link of the header, and is not tracked")
	require.Contains(t, m.Text("html"), `<a href="https://go.shop.example/c/`)

	// What follows links in mail changes nothing.
	status, page := s.call(m.Unsubscribe, nil)
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, page, "The Shop")
	require.Equal(t, map[string]bool{"email/promotional": true, "hook/promotional": true, "email/price_alerts": true}, boxes(page))
	require.Less(t, strings.Index(page, "Price alerts"), strings.Index(page, ">Offers<"), "in the order of nudge.yaml")
	require.Contains(t, page, "By Our app")
	s.Track("ann", "Price Dropped", nil)
	require.Equal(t, []ledger.Reason{ledger.Send}, s.reasons("alert"))

	status, page = s.call(m.Unsubscribe, url.Values{"List-Unsubscribe": {"One-Click"}})
	require.Equal(t, http.StatusOK, status)
	require.Empty(t, page)
	n := len(s.Sent.Accepted())
	s.Track("ann", "Product Viewed", nil)
	s.To(3 * enginetest.Hour)
	var got []string
	for _, m := range s.Sent.Accepted()[n:] {
		got = append(got, m.About["channel"])
	}
	require.Equal(t, []string{"hook"}, got, "of the category the other channel goes on")
	s.Track("ann", "Price Dropped", nil)
	require.Equal(t, []ledger.Reason{ledger.Send, ledger.Send}, s.reasons("alert"), "and so does the other category")
	_, page = s.call(m.Unsubscribe, nil)
	require.Equal(t, map[string]bool{"email/promotional": false, "hook/promotional": true, "email/price_alerts": true}, boxes(page))
	require.NotContains(t, page, `value="stop"`)
}

func TestThePageDoesWhatItsButtonsSay(t *testing.T) {
	for _, tc := range []struct {
		name string
		form url.Values
		says string
		want map[string]bool
	}{
		{"stop", url.Values{"do": {"stop"}}, "no more “Offers” by e-mail", map[string]bool{"email/promotional": false, "hook/promotional": true, "email/price_alerts": true}},
		{"all", url.Values{"do": {"all"}}, "no more messages", map[string]bool{"email/promotional": false, "hook/promotional": false, "email/price_alerts": false}},
		{
			"save", url.Values{
				"do": {"save"}, "shown": {"email/promotional", "hook/promotional", "email/price_alerts"},
				"was": {"email/promotional", "hook/promotional", "email/price_alerts"}, "on": {"email/promotional"},
			}, "Saved", map[string]bool{"email/promotional": true, "hook/promotional": false, "email/price_alerts": false},
		},
		{
			"a box that is not offered",
			url.Values{"do": {"save"}, "shown": {"email/transactional", "sms/promotional"}, "was": {"email/transactional", "sms/promotional"}},
			"Saved",
			map[string]bool{"email/promotional": true, "hook/promotional": true, "email/price_alerts": true},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSite(t)
			s.Track("ann", "Product Viewed", nil)
			s.To(2 * enginetest.Hour)
			link := s.last().Unsubscribe
			status, page := s.call(link, tc.form)
			require.Equal(t, http.StatusOK, status)
			require.Contains(t, page, tc.says)
			require.Equal(t, tc.want, boxes(page), "what was chosen shows at once")
			_, page = s.call(link, nil)
			require.Equal(t, tc.want, boxes(page), "and when the page is opened again")

			// And back.
			s.To(2*enginetest.Hour + enginetest.Minute)
			all := url.Values{"do": {"save"}}
			for box, on := range boxes(page) {
				all.Add("shown", box)
				all.Add("on", box)
				if on {
					all.Add("was", box)
				}
			}
			s.call(link, all)
			_, page = s.call(link, nil)
			for box, on := range boxes(page) {
				require.True(t, on, box)
			}
			s.Track("ann", "Parcel Sent", nil)
			require.Equal(t, []ledger.Reason{ledger.Send}, s.reasons("parcel"), "what is no advertising comes in any case")
		})
	}
}

func TestLinksThatAreNobodys(t *testing.T) {
	s := newSite(t)
	s.Track("ann", "Product Viewed", nil)
	s.To(2 * enginetest.Hour)
	m := s.last()
	for name, link := range map[string]string{
		"cut":                 m.Unsubscribe[:len(m.Unsubscribe)-3],
		"the id of a message": "https://go.shop.example/u/" + m.Signed,
	} {
		status, page := s.call(link, nil)
		require.Equal(t, http.StatusNotFound, status, name)
		require.Contains(t, page, "not valid", name)
		status, _ = s.call(link, url.Values{"List-Unsubscribe": {"One-Click"}})
		require.Equal(t, http.StatusNotFound, status, name)
	}
	status, _ := s.call(m.Unsubscribe, url.Values{"do": {"dance"}})
	require.Equal(t, http.StatusBadRequest, status)
	status, page := s.call("https://go.shop.example/u/test", url.Values{"do": {"all"}})
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, page, "This was a test message")

	s.Send(events.Event{Kind: events.KindErase, UserID: "ann"})
	_, page = s.call(m.Unsubscribe, nil)
	require.Contains(t, page, "Nothing is kept about you")
	_, page = s.call(m.Unsubscribe, url.Values{"do": {"all"}})
	require.Contains(t, page, "Nothing is kept about you")
	_, known := s.App.Writer.Resolve("ann", "")
	require.False(t, known, "who was erased is not made anew by leaving")
}

// TestOneClickIsHeardWhileTheStoreIsAway has nothing to ask who somebody is.
func TestOneClickIsHeardWhileTheStoreIsAway(t *testing.T) {
	signer, err := send.NewSigner([]byte("a key of this test"))
	require.NoError(t, err)
	var kept []events.Event
	h := preferences.New(preferences.Options{
		Signer: signer, Events: logOf(func(evs []events.Event) { kept = append(kept, evs...) }), Logger: slog.New(slog.DiscardHandler),
		Profile: func(context.Context, events.PersonID) (*segments.Profile, error) {
			return nil, errors.New("the store is away")
		},
		Workspace: func() *workspace.Workspace { return &workspace.Workspace{} }, Now: func() time.Time { return time.UnixMilli(1) },
	})
	link := signer.Preferences("", send.MessageRef{Channel: "email", Category: "promotional", UserID: "ann", Person: 7})
	post := func(form string) int {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, link, strings.NewReader(form))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		return rec.Code
	}
	require.Equal(t, http.StatusServiceUnavailable, post("do=stop"), "the page cannot be shown")
	require.Empty(t, kept)
	require.Equal(t, http.StatusOK, post("List-Unsubscribe=One-Click"))
	require.Len(t, kept, 1)
	require.JSONEq(t, `{"channel":"email","category":"promotional","granted":false}`, string(kept[0].Properties))
}

// logOf is an event stream that hands on what is appended.
type logOf func([]events.Event)

func (l logOf) Append(_ context.Context, evs []events.Event) (uint64, error) {
	l(evs)
	return 1, nil
}

// TestADeadAddressIsRemembered has a provider refuse an address for good.
func TestADeadAddressIsRemembered(t *testing.T) {
	s := newSite(t)
	dead := func(m channels.Message, _ int) error {
		if m.Address.Email == "ann@shop.example" && m.About["channel"] == "email" {
			return &channels.DeliveryError{Class: channels.ClassAddress, Code: "550 5.1.1", Err: errors.New("no such user")}
		}
		return nil
	}
	s.Sent.Answer = dead
	s.Track("ann", "Price Dropped", nil)
	s.Track("ann", "Price Dropped", nil)
	require.Len(t, s.Sent.Attempts(), 1, "nobody is tried again where nobody is")
	require.ElementsMatch(t, []ledger.Reason{ledger.Send, ledger.NoAddress}, s.reasons("alert"))
	s.Identify("ann", "", map[string]any{"email": "ann@new.example"})
	s.Track("ann", "Price Dropped", nil)
	require.Equal(t, "ann@new.example", s.last().Address.Email, "another address is another")
}

// TestLanguages: the page is in the language that is known of the person, else in the browser's, else in English.
func TestLanguages(t *testing.T) {
	s := newSite(t)
	s.Track("ann", "Product Viewed", nil)
	s.To(2 * enginetest.Hour)
	link := s.last().Unsubscribe
	for _, c := range []struct {
		name, locale, accept, lang, heading, stop, box string
	}{
		{"nobody says", "", "", "en", "The Shop: what you get", "Stop “Offers” by e-mail", "By Our app"},
		{"the browser", "", "fr-CH, fr;q=0.9, en;q=0.8", "fr", "The Shop : ce que vous recevez", "Ne plus recevoir « Offers » par e-mail", "Par Our app"},
		{"the browser's second", "", "pt-PT;q=0.9, es;q=0.8, de;q=0.7", "es", "The Shop: qué recibe", "Dejar de recibir «Offers» por correo electrónico", "Por Our app"},
		{"what is no list of languages", "", "%%;q=x", "en", "The Shop: what you get", "Stop “Offers” by e-mail", "By Our app"},
		{"the person before the browser", "de_AT", "fr", "de", "The Shop: was Sie bekommen", "„Offers“ per E-Mail abbestellen", "Per Our app"},
		{"a language that the page has not", "sv", "es", "es", "The Shop: qué recibe", "Dejar de recibir «Offers» por correo electrónico", "Por Our app"},
		{"and the browser neither", "sv", "pl", "en", "The Shop: what you get", "Stop “Offers” by e-mail", "By Our app"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.Identify("ann", "", map[string]any{"locale": c.locale})
			require.NoError(t, s.Feed(t.Context(), nil))
			req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, strings.TrimPrefix(link, "https://go.shop.example"), http.NoBody)
			req.Header.Set("Accept-Language", c.accept)
			rec := httptest.NewRecorder()
			s.http.ServeHTTP(rec, req)
			require.Equal(t, http.StatusOK, rec.Code)
			page := rec.Body.String()
			for _, want := range []string{`<html lang="` + c.lang + `">`, "<title>" + c.heading + "</title>", "<h1>" + c.heading + "</h1>", c.stop + "</button>", "> " + c.box + "</label>"} {
				require.Contains(t, page, want)
			}
			require.NotContains(t, page, "%!", "every text has as many gaps as it is given words")
		})
	}
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/u/nothing", http.NoBody)
	req.Header.Set("Accept-Language", "de")
	rec := httptest.NewRecorder()
	s.http.ServeHTTP(rec, req)
	require.Equal(t, http.StatusNotFound, rec.Code)
	require.Contains(t, rec.Body.String(), "Dieser Link ist nicht gültig.")
	s.Identify("ann", "", map[string]any{"locale": "de"})
	_, page := s.call(link, url.Values{"do": {"stop"}})
	require.Contains(t, page, "Sie bekommen „Offers“ nicht mehr per E-Mail.")
}

// TestWhatCanWaitIsCollectedForWhoSaysSo ticks the box, gets what can wait in one mail, and unticks it again.
func TestWhatCanWaitIsCollectedForWhoSaysSo(t *testing.T) {
	collect := strings.NewReplacer("hook: {title: Our app,", "digest: {adapter: digest, title: a letter at noon}\n  hook: {title: Our app,").Replace(nudgeYAML)
	w := enginetest.New(t, map[string]string{
		"nudge.yaml":       collect,
		"rules/alert.yaml": alert + "  digest: {title: Cheaper}\ndeliver: preferred\n",
		"rules/noon.yaml":  "rule: noon\ndigest: digest\nschedule: \"0 12 * * *\"\nmessage:\n  email: {subject: \"{{ count }} things\", text: t}\n",
	})
	h, err := w.App.Handler()
	require.NoError(t, err)
	s := &site{World: w, t: t, http: h}
	w.Identify("ann", "", map[string]any{"email": "ann@shop.example"})
	w.To(enginetest.Hour)
	w.Track("ann", "Price Dropped", nil)
	link := s.last().Unsubscribe
	ticked := func(page string) bool {
		require.Contains(t, page, "Collect it for me: a letter at noon")
		return strings.Contains(page, `name="collect" value="digest" checked`)
	}
	_, page := s.call(link, nil)
	require.False(t, ticked(page))

	_, page = s.call(link, url.Values{"do": {"save"}, "collects": {"digest"}, "collect": {"digest"}})
	require.True(t, ticked(page), "it shows at once")
	_, page = s.call(link, nil)
	require.True(t, ticked(page), "and when the page is opened again")
	w.Track("ann", "Price Dropped", nil)
	w.Track("ann", "Price Dropped", nil)
	w.To(4 * enginetest.Hour)
	require.Equal(t, []ledger.Reason{ledger.Send, ledger.InDigest, ledger.InDigest}, s.reasons("alert"))
	require.Equal(t, "2 things", s.last().Fields["subject"])

	_, page = s.call(link, url.Values{"do": {"save"}, "collects": {"digest"}, "collected": {"digest"}})
	require.False(t, ticked(page))
	w.Track("ann", "Price Dropped", nil)
	require.Equal(t, "Cheaper", s.last().Fields["subject"])
	_, page = s.call("https://go.shop.example/u/test", url.Values{"do": {"save"}, "collects": {"digest"}, "collect": {"digest"}})
	require.False(t, ticked(page), "a test message changes nothing")
}

package send_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"nudge/channels"
	"nudge/channels/channeltest"
	"nudge/engine/ledger"
	"nudge/engine/send"
	"nudge/events"
	"nudge/events/queue"
)

var key = []byte("0123456789abcdef0123456789abcdef")

func signer(t require.TestingT) *send.Signer {
	s, err := send.NewSigner(key)
	require.NoError(t, err)
	return s
}

func TestASignedIDReadsBackAndNoChangeOfItDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := signer(t)
		text := rapid.String()
		m := send.MessageRef{
			Entry: text.Draw(t, "entry"), Channel: text.Draw(t, "channel"), Rule: text.Draw(t, "rule"),
			Variant: text.Draw(t, "variant"), Category: text.Draw(t, "category"), Person: events.PersonID(rapid.Uint64().Draw(t, "person")),
			UserID: text.Draw(t, "user"), AnonymousID: text.Draw(t, "anonymous"), Decided: rapid.Int64().Draw(t, "decided"),
		}
		signed := s.Sign(m)
		got, err := s.Verify(signed)
		require.NoError(t, err)
		require.Equal(t, m, got)
		require.Equal(t, url.PathEscape(signed), signed, "fit for a URL")

		i := rapid.IntRange(0, len(signed)-1).Draw(t, "at")
		const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		c := letters[rapid.IntRange(0, 63).Draw(t, "letter")]
		changed := signed[:i] + string(c) + signed[i+1:]
		if got, err := s.Verify(changed); err == nil {
			require.Equal(t, m, got, "a change that passes (of the last bits that base64 ignores) changes nothing")
		}
		_, err = s.Verify(signed[:i])
		require.ErrorIs(t, err, send.ErrSignature)
		other, err := send.NewSigner([]byte("another key of the workspace"))
		require.NoError(t, err)
		_, err = other.Verify(signed)
		require.ErrorIs(t, err, send.ErrSignature)
	})
	_, err := send.NewSigner([]byte("short"))
	require.ErrorContains(t, err, "at least 16")
}

func TestATokenOfAnInboxReadsBackAndIsNothingElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := signer(t)
		user, expires := rapid.String().Draw(t, "user"), rapid.Int64().Draw(t, "expires")
		token := s.InboxToken(user, expires)
		require.Equal(t, url.QueryEscape(token), token, "fit for a URL")
		got, at, err := s.VerifyInboxToken(token)
		require.NoError(t, err)
		require.Equal(t, user, got)
		require.Equal(t, expires, at)

		_, _, err = s.VerifyInboxToken(token[:rapid.IntRange(0, len(token)-1).Draw(t, "cut")])
		require.ErrorIs(t, err, send.ErrToken)
		_, err = s.Verify(token)
		require.ErrorIs(t, err, send.ErrSignature, "a token is no id of a message")
		_, err = s.VerifyPreferences(token)
		require.ErrorIs(t, err, send.ErrSignature)
		_, _, err = s.VerifyInboxToken(s.Sign(send.MessageRef{UserID: user, Decided: expires}))
		require.ErrorIs(t, err, send.ErrToken, "nor the other way round")
		other, err := send.NewSigner([]byte("another key of the workspace"))
		require.NoError(t, err)
		_, _, err = other.VerifyInboxToken(token)
		require.ErrorIs(t, err, send.ErrToken)
	})
}

// receipts serves the handlers over HTTP on a bench's queue.
func receipts(t *testing.T, b *bench, now *int64) *httptest.Server {
	r := send.NewReceipts(signer(t), b.q, func() time.Time { return time.UnixMilli(*now) }, nil)
	srv := httptest.NewServer(r.Handler())
	t.Cleanup(srv.Close)
	return srv
}

const phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148"

func request(t *testing.T, method, target, agent string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader("{}"))
	require.NoError(t, err)
	req.Header.Set("User-Agent", agent)
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp
}

func TestReportsBecomeEvents(t *testing.T) {
	b := newBench(t, nil)
	now := t0 + minute
	srv := receipts(t, b, &now)
	m := send.MessageRef{Entry: "e1", Channel: "push", Rule: "cart", Variant: "a", Category: "promotional", Person: 7, UserID: "u7", Decided: t0}
	signed := signer(t).Sign(m)
	cases := []struct {
		what, agent, name, id string
		after                 int64
		flags                 events.Flags
	}{
		{"opened", phone, events.MessageOpened, "e1/push/opened", minute, 0},
		{"opened", "okhttp/4.12.0", events.MessageOpened, "e1/push/opened", minute, 0},
		{"opened", phone, events.MessageOpened, "e1/push/opened/machine", 999, events.MachineOpen},
		{"opened", "Mozilla/5.0 (compatible; GoogleImageProxy)", events.MessageOpened, "e1/push/opened/machine", minute, events.MachineOpen},
		{"clicked", "Go-http-client/2.0", events.MessageClicked, "e1/push/clicked", minute, 0},
		{"dismissed", "Go-http-client/2.0", events.MessageDismissed, "e1/push/dismissed", minute, 0},
		{"delivered", phone, events.MessageDelivered, "e1/push/delivered", 10, 0},
	}
	for i, tc := range cases {
		now = t0 + tc.after
		require.Equal(t, http.StatusOK, request(t, "POST", srv.URL+"/v1/messages/"+signed+"/"+tc.what, tc.agent).StatusCode)
		told := b.told()
		require.Len(t, told, i+1)
		ev := told[i]
		require.Equal(t, [2]string{tc.name, tc.id}, [2]string{ev.Name, ev.MessageID})
		require.Equal(t, tc.flags, ev.Flags)
		require.Equal(t, events.KindMessage, ev.Kind)
		require.Equal(t, "u7", ev.UserID)
		require.Equal(t, now, ev.Time)
		require.JSONEq(t, `{"rule":"cart","entry":"e1","channel":"push","variant":"a","category":"promotional"}`, string(ev.Properties))
	}
	n := len(cases)
	require.Equal(t, http.StatusNotFound, request(t, "POST", srv.URL+"/v1/messages/"+signed[:20]+"/opened", phone).StatusCode)
	burnt := request(t, "POST", srv.URL+"/v1/messages/"+signed+"/burnt", phone)
	require.Equal(t, http.StatusNotFound, burnt.StatusCode)
	says, err := io.ReadAll(burnt.Body)
	require.NoError(t, err)
	require.Contains(t, string(says), "one of opened, clicked, dismissed")
	require.Equal(t, http.StatusMethodNotAllowed, request(t, "GET", srv.URL+"/v1/messages/"+signed+"/opened", phone).StatusCode)
	require.Equal(t, http.StatusNoContent, request(t, "OPTIONS", srv.URL+"/v1/messages/"+signed+"/opened", phone).StatusCode)
	require.Len(t, b.told(), n, "none of these is an event")
}

func TestAFullQueueIsSaid(t *testing.T) {
	b := newBench(t, nil)
	q, err := queue.Open(t.Context(), queue.Config{Dir: t.TempDir(), MaxBacklog: 1, Now: func() time.Time { return time.UnixMilli(t0) }})
	require.NoError(t, err)
	t.Cleanup(q.Close)
	b.q.Close()
	b.q = q
	now := t0 + minute
	srv := receipts(t, b, &now)
	target := "https://shop.example/cart"
	m := send.MessageRef{Entry: "e1", Channel: "email", Decided: t0, UserID: "u7"}
	resp := request(t, "POST", srv.URL+"/v1/messages/"+signer(t).Sign(m)+"/opened", phone)
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.NotEmpty(t, resp.Header.Get("Retry-After"))
	resp = request(t, "GET", signer(t).Link(srv.URL, m, target), phone)
	require.Equal(t, target, resp.Header.Get("Location"), "a person is led on all the same")
}

func TestLinksLeadOnlyWhereTheySay(t *testing.T) {
	b := newBench(t, nil)
	now := t0 + minute
	srv := receipts(t, b, &now)
	s := signer(t)
	m := send.MessageRef{Entry: "e1", Channel: "email", Rule: "cart", Person: 7, UserID: "u7", Decided: t0}
	target := "https://shop.example/cart?a=1&b=%C3%BC#x"
	link := s.Link(srv.URL, m, target)
	resp := request(t, "GET", link, phone)
	require.Equal(t, http.StatusFound, resp.StatusCode)
	require.Equal(t, target, resp.Header.Get("Location"))
	require.Equal(t, http.StatusFound, request(t, "HEAD", link, phone).StatusCode)
	require.Equal(t, http.StatusFound, request(t, "GET", link, "curl/8.5").StatusCode)
	told := b.told()
	require.Len(t, told, 3)
	require.Equal(t, events.MessageClicked, told[0].Name)
	require.Zero(t, told[0].Flags)
	require.Contains(t, string(told[0].Properties), `"link":"https://shop.example/cart?a=1`)
	for _, ev := range told[1:] {
		require.Equal(t, events.MachineOpen, ev.Flags)
		require.Equal(t, told[0].MessageID+"/machine", ev.MessageID)
	}
	u, err := url.Parse(link)
	require.NoError(t, err)
	for name, evil := range map[string]string{
		"another target":  srv.URL + u.Path + "?u=" + url.QueryEscape("https://evil.example/"),
		"no target":       srv.URL + u.Path,
		"an id for opens": srv.URL + "/c/" + s.Sign(m) + "?u=" + url.QueryEscape("https://evil.example/"),
		"an empty target": srv.URL + "/c/" + s.Sign(m) + "?u=",
	} {
		require.Equal(t, http.StatusNotFound, request(t, "GET", evil, phone).StatusCode, name)
	}
	require.Equal(t, http.StatusNotFound, request(t, "POST", srv.URL+"/v1/messages/"+strings.TrimPrefix(u.Path, "/c/")+"/opened", phone).StatusCode,
		"a link's signature is not a message id")
}

func TestLinksAreRewritten(t *testing.T) {
	s := signer(t)
	m := send.MessageRef{Entry: "e1", Channel: "email", Decided: t0}
	const base = "https://go.shop.example/"
	to := func(target string) string { return s.Link(base, m, target) }
	escaped := func(target string) string { return strings.ReplaceAll(to(target), "&", "&amp;") }
	fields := map[string]any{
		"title": "https://shop.example/", "link": "https://shop.example/cart",
		"actions": []any{map[string]any{"id": "buy", "link": "https://shop.example/buy"}, map[string]any{"id": "app", "link": "shop://buy"}},
		"html": `<a href="https://shop.example/a?x=1&amp;y=2">a</a> <A class=b HREF='http://shop.example/b'>b</A> ` +
			`<a href="mailto:a@b.c">m</a> <a href="#top">t</a> <img src="https://shop.example/i.png"> <a href="">e</a>`,
	}
	got := s.Rewrite(base, m, fields)
	require.Equal(t, map[string]any{
		"title": "https://shop.example/", "link": to("https://shop.example/cart"),
		"actions": []any{map[string]any{"id": "buy", "link": to("https://shop.example/buy")}, map[string]any{"id": "app", "link": "shop://buy"}},
		"html": `<a href="` + escaped("https://shop.example/a?x=1&y=2") + `">a</a> <A class=b HREF='` + escaped("http://shop.example/b") + `'>b</A> ` +
			`<a href="mailto:a@b.c">m</a> <a href="#top">t</a> <img src="https://shop.example/i.png"> <a href="">e</a>`,
	}, got)
	require.Equal(t, "https://shop.example/cart", fields["link"], "what was given is not changed")
	require.Equal(t, got, s.Rewrite(base, m, got), "a second time changes nothing")
}

func TestMessagesCarryTheirSignedIDAndLinks(t *testing.T) {
	hook := &channeltest.Recorder{}
	route := one("hook", hook)
	route.Tracking.Links = true
	b := newBench(t, map[string]send.Route{"webhook": route})
	b.opts.Signer, b.opts.Links = signer(t), "https://go.shop.example"
	b.start()
	b.decide(0, decision("e1", "webhook"))
	b.settle(t0)
	msg := hook.Accepted()[0]
	m, err := signer(t).Verify(msg.Signed)
	require.NoError(t, err)
	require.Equal(t, send.MessageRef{
		Entry: "e1", Channel: "webhook", Rule: "cart", Variant: "a", Category: "promotional", Person: 7, UserID: "u7", Decided: t0,
	}, m)
	raw, err := json.Marshal(msg.Fields)
	require.NoError(t, err)
	require.JSONEq(t, `{"title":"e1","on":"webhook"}`, string(raw))
}

func TestWhatIsReportedOfAMessage(t *testing.T) {
	m := send.MessageRef{Entry: "e1", Channel: "email", Rule: "cart", Category: "promotional", Person: 7, UserID: "u7", Decided: t0}
	signed := signer(t).Sign(m)
	for _, tc := range []struct {
		name   string
		report channels.Report
		want   []string // kind, name, flags and body of each event
	}{
		{"delivered", channels.Report{What: channels.Delivered}, []string{`message Message Delivered 0 {"category":"promotional","channel":"email","entry":"e1","rule":"cart"}`}},
		{
			"bounced for good",
			channels.Report{What: channels.Bounced, Dead: "ann@shop.example", Code: "5.1.1", Detail: "no such user"},
			[]string{
				`message Message Bounced 0 {"category":"promotional","channel":"email","entry":"e1","reason":"5.1.1 no such user","rule":"cart"}`,
				`identify  0 {"undeliverable_email":"ann@shop.example"}`,
			},
		},
		{"a number", channels.Report{What: channels.Bounced, Dead: "+4915112345678"}, []string{
			`message Message Bounced 0 {"category":"promotional","channel":"email","entry":"e1","rule":"cart"}`, `identify  0 {"undeliverable_phone":"+4915112345678"}`,
		}},
		{"bounced, and may live", channels.Report{What: channels.Bounced}, []string{`message Message Bounced 0 {"category":"promotional","channel":"email","entry":"e1","rule":"cart"}`}},
		{"spam", channels.Report{What: channels.Complained}, []string{
			`message Message Complained 0 {"category":"promotional","channel":"email","entry":"e1","rule":"cart"}`, `consent  0 {"channel":"email","granted":false}`,
		}},
		{"unsubscribed", channels.Report{What: channels.Unsubscribed}, []string{`consent  0 {"channel":"email","category":"promotional","granted":false}`}},
		{"a machine's open", channels.Report{What: channels.Opened, Machine: true}, []string{`message Message Opened 8 {"category":"promotional","channel":"email","entry":"e1","rule":"cart"}`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, nil)
			now := t0 + minute
			r := send.NewReceipts(signer(t), b.q, func() time.Time { return time.UnixMilli(now) }, nil)
			at := time.UnixMilli(t0 + 1000)
			tc.report.Signed, tc.report.At = signed, at
			stranger := tc.report
			stranger.Signed = signed[:len(signed)-4] + "AAAA"
			srv := httptest.NewServer(r.Callbacks(map[string]channels.Reporter{
				send.CallbackPath("email", "tell"): teller{tc.report, stranger},
			}))
			t.Cleanup(srv.Close)
			require.Equal(t, http.StatusOK, request(t, "POST", srv.URL+"/v1/callbacks/email/tell", "Provider").StatusCode)
			var got []string
			for _, ev := range b.told() {
				body := ev.Properties
				if ev.Kind == events.KindIdentify {
					body = ev.Traits
				}
				require.Equal(t, [2]string{"u7", "nudge"}, [2]string{ev.UserID, ev.Source})
				require.Equal(t, at.UnixMilli(), ev.Time)
				got = append(got, fmt.Sprintf("%s %s %d %s", ev.Kind, ev.Name, ev.Flags, body))
			}
			require.Equal(t, tc.want, got)
		})
	}
}

// teller is a provider that tells the same whatever is posted.
type teller []channels.Report

func (r teller) Reports(*http.Request, []byte) ([]channels.Report, error) { return r, nil }

// forged is a provider's call that is not the provider's.
type forged struct{ err error }

func (f forged) Reports(*http.Request, []byte) ([]channels.Report, error) { return nil, f.err }

func TestCallbacksThatAreRefused(t *testing.T) {
	b := newBench(t, nil)
	now := t0 + minute
	r := send.NewReceipts(signer(t), b.q, func() time.Time { return time.UnixMilli(now) }, nil)
	srv := httptest.NewServer(r.Callbacks(map[string]channels.Reporter{
		"/v1/callbacks/a/forged": forged{channels.ErrForged("no")}, "/v1/callbacks/a/odd": forged{channels.ErrNoCallback},
	}))
	t.Cleanup(srv.Close)
	for path, want := range map[string]int{"/v1/callbacks/a/forged": 403, "/v1/callbacks/a/odd": 400, "/v1/callbacks/a/none": 404} {
		require.Equal(t, want, request(t, "POST", srv.URL+path, "Provider").StatusCode, path)
	}
	require.Empty(t, b.told())
}

func TestAMailThatIsShownIsOpened(t *testing.T) {
	mail := &channeltest.Recorder{}
	route := one("email", mail)
	route.Tracking.Opens = true
	b := newBench(t, map[string]send.Route{"email": route})
	b.opts.Signer, b.opts.Links = signer(t), "https://go.shop.example"
	b.opts.Render = func(*ledger.Decision, string) (send.Rendered, error) {
		return send.Rendered{Fields: map[string]any{"subject": "Hi", "html": "<html><BODY>Hi</BODY ></html>"}}, nil
	}
	b.start()
	b.decide(0, decision("e1", "email"))
	b.settle(t0)
	page := mail.Accepted()[0].Text("html")
	found := regexp.MustCompile(`^<html><BODY>Hi<img src="https://go\.shop\.example(/o/[^"]+)"[^>]*></BODY ></html>$`).FindStringSubmatch(page)
	require.NotNil(t, found, page)
	now := t0 + minute
	srv := receipts(t, b, &now)
	n := len(b.told())
	require.Equal(t, "image/gif", request(t, "GET", srv.URL+found[1], phone).Header.Get("Content-Type"))
	told := b.told()
	require.Len(t, told, n+1)
	require.Equal(t, events.MessageOpened, told[n].Name)
	require.Zero(t, told[n].Flags)
	require.Equal(t, http.StatusOK, request(t, "GET", srv.URL+"/o/"+strings.Repeat("A", 40), phone).StatusCode, "a picture there is in any case")
	require.Equal(t, http.StatusOK, request(t, "GET", srv.URL+"/o/"+mail.Accepted()[0].Signed, phone).StatusCode)
	require.Len(t, b.told(), n+1, "but no event")
}

package inbox_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/engine/enginetest"
	"nudge/engine/inbox"
	"nudge/events"
	"nudge/events/clickhouse/embedded"
)

func TestMain(m *testing.M) {
	embedded.MaybeRunChild() // the test binary is its own engine
	os.Exit(m.Run())
}

const nudgeYAML = `
zone: UTC
salt: test
store: {retention: 3650d}
channels:
  inbox: {adapter: inbox}
  log: {adapter: stdout}
keys:
  - {name: web, write_key: key-of-the-web}
  - {name: server, secret_key: {env: SERVER_KEY}}
`

// secretKey is what every variable of a World's environment says.
const secretKey = "{}"

const parcel = `
rule: parcel
category: transactional
on: {event: Parcel Sent}
when: "true"
again: each_time
with: {n: trigger.properties.n}
message:
  inbox:
    title: "Parcel {{ n }}"
    body: It is on its way to <you>.
    image: https://shop.example/parcel.jpg
    link: https://shop.example/parcels/{{ n }}
    actions: [{id: track, title: Track it, link: "https://shop.example/track/{{ n }}"}]
    data: {n: "{{ n }}"}
`

const sale = `
rule: sale
on: {event: Sale Began}
when: "true"
again: each_time
message:
  inbox: {title: Sale, ttl: 2h}
`

const elsewhere = `
rule: elsewhere
category: transactional
on: {event: Parcel Sent}
when: "true"
again: each_time
message:
  log: {title: not in any inbox}
`

// site is a world and its endpoint, over HTTP.
type site struct {
	*enginetest.World
	t   *testing.T
	srv *httptest.Server
}

func newSite(t *testing.T) *site {
	w := enginetest.New(t, map[string]string{"nudge.yaml": nudgeYAML, "rules/parcel.yaml": parcel, "rules/sale.yaml": sale, "rules/elsewhere.yaml": elsewhere})
	s := &site{World: w, t: t}
	s.serve()
	return s
}

// serve serves the endpoint as it is open now.
func (s *site) serve() {
	s.t.Helper()
	h, err := s.App.Handler()
	require.NoError(s.t, err)
	s.srv = httptest.NewServer(h)
	s.t.Cleanup(s.srv.Close)
}

// restart ends everything as a stop does, and begins anew.
func (s *site) restart() {
	s.t.Helper()
	s.App.Inbox.Close()
	s.srv.Close()
	s.Restart()
	s.serve()
}

// do makes a request; auth may be "".
func (s *site) do(method, path, auth, body string, more ...string) (*http.Response, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.srv.URL+path, strings.NewReader(body))
	require.NoError(s.t, err)
	if auth != "" {
		req.Header.Set("Authorization", "Bearer "+auth)
	}
	for i := 0; i < len(more); i += 2 {
		req.Header.Set(more[i], more[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(s.t, err)
	raw, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	require.NoError(s.t, resp.Body.Close())
	return resp, string(raw)
}

func (s *site) token(user, body string) inbox.Token {
	s.t.Helper()
	resp, text := s.do(http.MethodPost, "/v1/users/"+user+"/inbox/token", secretKey, body)
	require.Equal(s.t, http.StatusOK, resp.StatusCode, text)
	var out inbox.Token
	require.NoError(s.t, json.Unmarshal([]byte(text), &out))
	return out
}

func (s *site) page(token, query string) inbox.Page {
	s.t.Helper()
	resp, text := s.do(http.MethodGet, "/v1/inbox"+query, token, "")
	require.Equal(s.t, http.StatusOK, resp.StatusCode, text)
	require.Equal(s.t, "*", resp.Header.Get("Access-Control-Allow-Origin"))
	require.Equal(s.t, "no-store", resp.Header.Get("Cache-Control"))
	var out inbox.Page
	require.NoError(s.t, json.Unmarshal([]byte(text), &out))
	return out
}

// shown are the titles of an inbox, the newest first, with * where they are unread.
func shown(p inbox.Page) []string {
	out := []string{}
	for _, m := range p.Messages {
		mark := "*"
		if m.Read {
			mark = ""
		}
		out = append(out, m.Title+mark)
	}
	return out
}

func (s *site) parcels(user string, from, to int) {
	s.t.Helper()
	s.Together(func() {
		for n := from; n <= to; n++ {
			s.Track(user, "Parcel Sent", map[string]any{"n": n})
		}
	})
	require.NoError(s.t, s.Flush(s.t.Context()))
}

func (s *site) report(id, what string) {
	s.t.Helper()
	resp, text := s.do(http.MethodPost, "/v1/messages/"+id+"/"+what, "", "{}")
	require.Equal(s.t, http.StatusOK, resp.StatusCode, text)
}

func TestAnAppFetchesReadsAndDismisses(t *testing.T) {
	s := newSite(t)
	s.Identify("ann", "", nil)
	s.Identify("bob", "", nil)
	ann, bob := s.token("ann", "").Token, s.token("bob", `{"ttl": "7d"}`).Token
	require.Empty(t, s.page(ann, "").Messages)
	s.parcels("ann", 1, 3)
	s.parcels("bob", 9, 9)

	page := s.page(ann, "")
	require.Equal(t, []string{"Parcel 3*", "Parcel 2*", "Parcel 1*"}, shown(page))
	require.Equal(t, 3, page.Unread)
	require.Empty(t, page.Next)
	require.Equal(t, []string{"Parcel 9*"}, shown(s.page(bob, "")))
	m := page.Messages[0]
	raw, err := json.Marshal(m)
	require.NoError(t, err)
	require.JSONEq(t, fmt.Sprintf(`{"id": %q, "at": "2026-03-02T09:00:00Z", "channel": "inbox", "category": "transactional", "title": "Parcel 3",
		"body": "It is on its way to <you>.", "image": "https://shop.example/parcel.jpg", "link": "https://shop.example/parcels/3",
		"actions": [{"id": "track", "title": "Track it", "link": "https://shop.example/track/3"}], "data": {"n": "3"}, "read": false}`, m.ID), string(raw))

	first := s.page(ann, "?limit=2")
	require.Equal(t, []string{"Parcel 3*", "Parcel 2*"}, shown(first))
	require.Equal(t, 3, first.Unread, "of the inbox, not of the page")
	s.parcels("ann", 4, 4)
	second := s.page(ann, "?limit=2&before="+first.Next)
	require.Equal(t, []string{"Parcel 1*"}, shown(second), "what came meanwhile moves nothing")
	require.Empty(t, second.Next)

	// Reports count at once: nothing here has waited for the store.
	s.report(m.ID, "opened")
	s.report(page.Messages[1].ID, "clicked")
	s.report(page.Messages[2].ID, "dismissed")
	check := func(when string) {
		page := s.page(ann, "")
		require.Equal(t, []string{"Parcel 4*", "Parcel 3", "Parcel 2"}, shown(page), when)
		require.Equal(t, 1, page.Unread, when)
		require.False(t, page.Messages[1].Clicked, when)
		require.True(t, page.Messages[2].Clicked, when)
	}
	check("at once")
	require.NoError(t, s.Feed(t.Context(), nil))
	check("when the store has it")
	s.restart()
	check("after a restart")
	s.report(m.ID, "opened")
	check("and when it is reported again")
}

func TestMessagesLeaveWhenTheirTimeIsOver(t *testing.T) {
	s := newSite(t)
	s.Identify("ann", "", nil)
	ann := s.token("ann", `{"ttl": "60d"}`).Token
	s.parcels("ann", 1, 1)
	s.Track("ann", "Sale Began", nil)
	require.NoError(t, s.Flush(t.Context()))
	page := s.page(ann, "")
	require.Equal(t, []string{"Sale*", "Parcel 1*"}, shown(page))
	require.Equal(t, page.Messages[0].At.Add(2*time.Hour), *page.Messages[0].Expires)
	s.To(2*enginetest.Hour - 1)
	require.Len(t, s.page(ann, "").Messages, 2)
	s.To(2 * enginetest.Hour)
	page = s.page(ann, "")
	require.Equal(t, []string{"Parcel 1*"}, shown(page), "its ttl is over")
	require.Equal(t, 1, page.Unread)
	s.To(3650*enginetest.Day + 1)
	require.Empty(t, s.page(s.token("ann", "").Token, "").Messages, "and the retention of the other")
}

func TestPeopleBecomeOneAndAreErased(t *testing.T) {
	s := newSite(t)
	s.Identify("ann", "", nil)
	s.Identify("old-ann", "", nil)
	s.parcels("old-ann", 1, 1)
	s.parcels("ann", 2, 2)
	ann, old := s.token("ann", "").Token, s.token("old-ann", "").Token
	require.Equal(t, []string{"Parcel 2*"}, shown(s.page(ann, "")))
	s.Send(events.Event{Kind: events.KindAlias, UserID: "ann", PreviousID: "old-ann", Flags: events.KnownAlias})
	page := s.page(ann, "")
	require.Equal(t, []string{"Parcel 2*", "Parcel 1*"}, shown(page))
	require.Equal(t, page, s.page(old, ""), "both are one now")
	s.report(page.Messages[1].ID, "opened")
	require.NoError(t, s.Feed(t.Context(), nil))
	require.Equal(t, []string{"Parcel 2*", "Parcel 1"}, shown(s.page(old, "")))

	s.Send(events.Event{Kind: events.KindErase, UserID: "ann"})
	require.Empty(t, s.page(ann, "").Messages)
	require.Empty(t, s.page(old, "").Messages)
	s.Identify("ann", "", nil)
	require.Empty(t, s.page(ann, "").Messages, "who comes back under the same id is somebody else")
	s.parcels("ann", 3, 3)
	require.Equal(t, []string{"Parcel 3*"}, shown(s.page(ann, "")))
}

func TestWhoMayRead(t *testing.T) {
	s := newSite(t)
	s.Identify("ann", "", nil)
	s.parcels("ann", 1, 1)
	ann := s.token("ann", `{"ttl": "1h"}`)
	require.Equal(t, s.Clock.Now().Add(time.Hour).UTC(), ann.Expires)
	id := s.page(ann.Token, "").Messages[0].ID
	for _, tc := range []struct {
		name, method, path, auth, body string
		status                         int
		says                           string
	}{
		{"no token", "GET", "/v1/inbox", "", "", 401, "the token is missing"},
		{"a cut one", "GET", "/v1/inbox", ann.Token[:len(ann.Token)-2], "", 401, "not valid"},
		{"a write key", "GET", "/v1/inbox", "key-of-the-web", "", 401, "not valid"},
		{"a secret key", "GET", "/v1/inbox", secretKey, "", 401, "not valid"},
		{"the id of a message", "GET", "/v1/inbox", id, "", 401, "not valid"},
		{"a token as the id of a message", "POST", "/v1/messages/" + ann.Token + "/opened", "", "", 404, "not valid"},
		{"a token in the address of the list", "GET", "/v1/inbox?token=" + ann.Token, "", "", 401, "missing"},
		{"a stream without", "GET", "/v1/inbox/stream", "", "", 401, "missing"},
		{"a stream of a cut one", "GET", "/v1/inbox/stream?token=" + ann.Token[1:], "", "", 401, "not valid"},
		{"a limit of none", "GET", "/v1/inbox?limit=0", ann.Token, "", 400, "from 1 to 100"},
		{"a page that is none", "GET", "/v1/inbox?before=x", ann.Token, "", 400, `before is "x"`},
		{"a parameter that is none", "GET", "/v1/inbox?befor=x", ann.Token, "", 400, `no parameter "befor"`},
		{"another method", "DELETE", "/v1/inbox", ann.Token, "", 405, "use GET"},
		{"a token by nobody", "POST", "/v1/users/ann/inbox/token", "", "", 401, "key"},
		{"a token by a public key", "POST", "/v1/users/ann/inbox/token", "key-of-the-web", "", 403, "needs a secret key"},
		{"a token for ever", "POST", "/v1/users/ann/inbox/token", secretKey, `{"ttl": "1000d"}`, 400, "from 1s to 366d"},
		{"a token for what", "POST", "/v1/users/ann/inbox/token", secretKey, `{"tll": "1d"}`, 400, `send {"ttl": "7d"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp, text := s.do(tc.method, tc.path, tc.auth, tc.body)
			require.Equal(t, tc.status, resp.StatusCode, text)
			require.Contains(t, text, `"success":false`)
			require.Contains(t, strings.ReplaceAll(text, `\"`, `"`), tc.says)
		})
	}
	resp, text := s.do(http.MethodGet, "/v1/inbox/stream", ann.Token, "", "Last-Event-ID", "yesterday")
	require.Equal(t, http.StatusBadRequest, resp.StatusCode)
	require.Contains(t, text, `Last-Event-ID is \"yesterday\"`)
	resp, _ = s.do(http.MethodOptions, "/v1/inbox", "", "")
	require.Equal(t, http.StatusNoContent, resp.StatusCode)
	require.Contains(t, resp.Header.Get("Access-Control-Allow-Headers"), "Authorization")
	s.To(enginetest.Hour)
	resp, text = s.do(http.MethodGet, "/v1/inbox", ann.Token, "")
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	require.Contains(t, text, "has expired")
}

// listening is an open stream.
type listening struct {
	t     *testing.T
	body  io.Closer
	lines *bufio.Scanner
	id    string // of the last event, as a browser remembers it
}

// listen opens a stream, and returns once it is open; last is Last-Event-ID, "" for none.
func (s *site) listen(token, last string) *listening {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.srv.URL+"/v1/inbox/stream?token="+token, nil)
	require.NoError(s.t, err)
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = resp.Body.Close() })
	require.Equal(s.t, http.StatusOK, resp.StatusCode)
	require.Equal(s.t, "text/event-stream", resp.Header.Get("Content-Type"))
	require.Equal(s.t, "*", resp.Header.Get("Access-Control-Allow-Origin"))
	l := &listening{t: s.t, body: resp.Body, lines: bufio.NewScanner(resp.Body), id: last}
	require.True(s.t, l.lines.Scan())
	require.Equal(s.t, "retry: 3000", l.lines.Text())
	return l
}

// next is the next message, false when the stream has ended.
func (l *listening) next() (m inbox.Message, ok bool) {
	l.t.Helper()
	data := ""
	for l.lines.Scan() {
		field, value, _ := strings.Cut(l.lines.Text(), ": ")
		switch field {
		case "id":
			l.id = value
		case "data":
			data = value
		case "":
			if data != "" {
				require.NoError(l.t, json.Unmarshal([]byte(data), &m))
				return m, true
			}
		}
	}
	return m, false
}

func (l *listening) titles(n int) []string {
	l.t.Helper()
	var out []string
	for range n {
		m, ok := l.next()
		require.True(l.t, ok, "the stream has ended behind %v", out)
		out = append(out, m.Title)
	}
	return out
}

// follow runs what a serve runs beside the endpoint.
func (s *site) follow() (stop func()) {
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan struct{})
	in := s.App.Inbox
	go func() {
		defer close(done)
		_ = in.Run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

func TestAStreamMissesNothingAndDoublesNothing(t *testing.T) {
	s := newSite(t)
	s.Identify("ann", "", nil)
	s.Identify("bob", "", nil)
	stop := s.follow()
	ann, bob := s.token("ann", "").Token, s.token("bob", "").Token
	s.parcels("ann", 1, 1)
	stranger := s.token("cyd", "").Token
	a, b, c := s.listen(ann, ""), s.listen(bob, ""), s.listen(stranger, "")
	s.parcels("bob", 20, 20)
	require.Equal(t, []string{"Parcel 20"}, b.titles(1))
	s.Track("ann", "Parcel Sent", map[string]any{"n": 2}) // not copied to the ledger yet
	s.Track("ann", "Parcel Sent", map[string]any{"n": 3})
	require.Equal(t, []string{"Parcel 2", "Parcel 3"}, a.titles(2), "what came before the stream began is in the list")
	require.Equal(t, []string{"Parcel 3*", "Parcel 2*", "Parcel 1*"}, shown(s.page(ann, "")), "what was streamed is in the list, copied or not")
	s.parcels("cyd", 30, 30)
	require.Equal(t, []string{"Parcel 30"}, c.titles(1), "somebody whom nobody knew when the stream began")

	// Away, while more comes: one copied, one not, and one that was dismissed elsewhere.
	require.NoError(t, a.body.Close())
	s.parcels("ann", 4, 5)
	s.Track("ann", "Parcel Sent", map[string]any{"n": 6})
	again := s.listen(ann, a.id)
	require.Equal(t, []string{"Parcel 4", "Parcel 5", "Parcel 6"}, again.titles(3))
	s.Track("ann", "Parcel Sent", map[string]any{"n": 7})
	require.Equal(t, []string{"Parcel 7"}, again.titles(1))
	require.NoError(t, again.body.Close())
	s.parcels("ann", 8, 9)
	s.report(s.page(ann, "").Messages[1].ID, "dismissed")

	// And over a restart, by an id of the process before.
	stop()
	s.restart()
	defer s.follow()()
	again = s.listen(ann, again.id)
	s.Track("ann", "Parcel Sent", map[string]any{"n": 10})
	require.Equal(t, []string{"Parcel 9", "Parcel 10"}, again.titles(2))
	_, ok := c.next()
	require.False(t, ok, "a stop ends streams")
}

func TestAStreamFollowsAMerge(t *testing.T) {
	s := newSite(t)
	s.Identify("ann", "", nil)
	s.Identify("old-ann", "", nil)
	defer s.follow()()
	a, o := s.listen(s.token("ann", "").Token, ""), s.listen(s.token("old-ann", "").Token, "")
	s.Send(events.Event{Kind: events.KindAlias, UserID: "ann", PreviousID: "old-ann", Flags: events.KnownAlias})
	s.parcels("ann", 1, 1)
	s.parcels("old-ann", 2, 2)
	require.Equal(t, []string{"Parcel 1", "Parcel 2"}, a.titles(2))
	require.Equal(t, []string{"Parcel 1", "Parcel 2"}, o.titles(2))
}

func TestStreamsEndWithTheirTokenAndAreBounded(t *testing.T) {
	s := newSite(t)
	s.Identify("ann", "", nil)
	defer s.follow()()
	short, long := s.token("ann", `{"ttl": "1h"}`).Token, s.token("ann", "").Token
	a := s.listen(short, "")
	for range 15 {
		s.listen(long, "")
	}
	resp, text := s.do(http.MethodGet, "/v1/inbox/stream", long, "")
	require.Equal(t, http.StatusTooManyRequests, resp.StatusCode)
	require.Contains(t, text, "16 streams open")
	s.To(enginetest.Hour)
	s.parcels("ann", 1, 1)
	_, ok := a.next()
	require.False(t, ok)
	s.App.Inbox.Close()
	resp, _ = s.do(http.MethodGet, "/v1/inbox/stream", long, "")
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Equal(t, "3", resp.Header.Get("Retry-After"))
}

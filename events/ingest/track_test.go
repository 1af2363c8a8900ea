package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/events"
)

const goodTrack = `{"type":"track","event":"E","userId":"u","messageId":"m"}`

func TestEveryAddress(t *testing.T) {
	for _, c := range []struct {
		path, body string
		kind       events.Kind
		flags      events.Flags
	}{
		{"/v1/track", `{"event":"E","userId":"u"}`, events.KindTrack, 0},
		{"/v1/t", `{"type":"track","event":"E","userId":"u"}`, events.KindTrack, 0},
		{"/v1/identify", `{"userId":"u","traits":{"a":1}}`, events.KindIdentify, 0},
		{"/v1/i", `{"userId":"u"}`, events.KindIdentify, 0},
		{"/v1/page", `{"userId":"u","name":"N"}`, events.KindPage, 0},
		{"/v1/p", `{"userId":"u"}`, events.KindPage, 0},
		{"/v1/screen", `{"userId":"u","name":"N"}`, events.KindScreen, 0},
		{"/v1/s", `{"userId":"u","name":"N"}`, events.KindScreen, 0},
		{"/v1/group", `{"userId":"u","groupId":"g"}`, events.KindGroup, 0},
		{"/v1/g", `{"userId":"u","groupId":"g"}`, events.KindGroup, 0},
		{"/v1/alias", `{"userId":"u","previousId":"p"}`, events.KindAlias, 0},
		{"/v1/a", `{"userId":"u","previousId":"p"}`, events.KindAlias, 0},
		{"/v1/batch", `{"batch":[` + goodTrack + `]}`, events.KindTrack, 0},
		{"/v1/b", `{"batch":[` + goodTrack + `]}`, events.KindTrack, 0},
		{"/beacon/v1/batch?writeKey=public-web", `{"batch":[` + goodTrack + `]}`, events.KindTrack, 0},
		{"/v1/import", `{"batch":[` + goodTrack + `]}`, events.KindTrack, events.Imported},
	} {
		t.Run(c.path, func(t *testing.T) {
			f := start(t, nil)
			code, body, _ := f.do(t, request{path: c.path, body: c.body, key: "public-web"})
			require.Equal(t, http.StatusOK, code, body)
			require.Equal(t, `{"success":true}`, body)
			evs := f.queue.all()
			require.Len(t, evs, 1)
			require.Equal(t, c.kind, evs[0].Kind)
			require.Equal(t, c.flags, evs[0].Flags)
			require.Equal(t, "web", evs[0].Source)
			require.Equal(t, testTime.UnixMilli(), evs[0].ReceivedAt)
		})
	}
}

func TestKeys(t *testing.T) {
	basic := func(user string) http.Header {
		r, _ := http.NewRequest(http.MethodGet, "/", nil)
		r.SetBasicAuth(user, "")
		return r.Header
	}
	for _, c := range []struct {
		name   string
		header http.Header
		path   string
		body   string
		code   int
	}{
		{"basic", basic("public-web"), "/v1/track", goodTrack, 200},
		{"bearer", http.Header{"Authorization": {"Bearer public-web"}}, "/v1/track", goodTrack, 200},
		{"body", nil, "/v1/track", `{"event":"E","userId":"u","writeKey":"public-web"}`, 200},
		{"body of a batch, after the events", nil, "/v1/batch", `{"batch":[` + goodTrack + `],"writeKey":"public-web"}`, 200},
		{"query", nil, "/v1/track?writeKey=public-web", goodTrack, 200},
		{"none", nil, "/v1/track", goodTrack, 401},
		{"unknown, basic", basic("nobody"), "/v1/track", goodTrack, 401},
		{"unknown, body", nil, "/v1/track", `{"event":"E","userId":"u","writeKey":"nobody"}`, 401},
		{"the header counts before the body", basic("nobody"), "/v1/track", `{"event":"E","userId":"u","writeKey":"public-web"}`, 401},
		{"broken base64", http.Header{"Authorization": {"Basic %%%"}}, "/v1/track", goodTrack, 401},
		{"no key and no JSON", nil, "/v1/track", `{`, 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := start(t, nil)
			code, body, _ := f.do(t, request{path: c.path, body: c.body, header: c.header})
			require.Equal(t, c.code, code, body)
			if code == 200 {
				require.Len(t, f.queue.all(), 1)
				return
			}
			require.Empty(t, f.queue.all())
			require.Contains(t, body, `"success":false,"message":"the write key is missing or unknown`)
		})
	}
}

func TestAliasOfKnownPeople(t *testing.T) {
	f := start(t, nil)
	for _, key := range []string{"public-web", "secret-shop"} {
		code, body, _ := f.do(t, request{path: "/v1/alias", body: `{"userId":"u","previousId":"p"}`, key: key})
		require.Equal(t, 200, code, body)
	}
	evs := f.queue.all()
	require.Equal(t, events.Flags(0), evs[0].Flags)
	require.Equal(t, events.KnownAlias, evs[1].Flags)
}

func TestBodies(t *testing.T) {
	batch := `{"batch":[` + goodTrack + `]}`
	for _, c := range []struct {
		name   string
		header http.Header
		body   string
		code   int
		want   string
	}{
		{"text/plain", http.Header{"Content-Type": {"text/plain;charset=UTF-8"}}, batch, 200, `{"success":true}`},
		{"gzip", http.Header{"Content-Encoding": {"gzip"}, "Content-Type": {"application/json"}}, zip(t, batch), 200, `{"success":true}`},
		{"gzip as a form, as RudderStack's Node SDK sends it", http.Header{"Content-Encoding": {"gzip"}, "Content-Type": {"application/x-www-form-urlencoded"}}, zip(t, batch), 200, `{"success":true}`},
		{"gzip that nothing announces", nil, zip(t, batch), 200, `{"success":true}`},
		{"announced as gzip but plain", http.Header{"Content-Encoding": {"gzip"}}, batch, 200, `{"success":true}`},
		{"broken gzip", http.Header{"Content-Encoding": {"gzip"}}, zip(t, batch)[:30], 400, `the body is not valid gzip: unexpected EOF`},
		{"brotli", http.Header{"Content-Encoding": {"br"}}, batch, 400, `Content-Encoding \"br\" is not understood; send gzip or plain JSON`},
		{"too large", nil, strings.Repeat(" ", MaxBodyBytes) + batch, 400, `the body is larger than 512000 bytes (500 KB); send smaller batches`},
		{"a gzip bomb", http.Header{"Content-Encoding": {"gzip"}}, zip(t, strings.Repeat(" ", 10<<20)), 400, `the body is larger than 512000 bytes (500 KB); send smaller batches`},
		{"not JSON", nil, `{"batch":`, 400, `invalid JSON at byte 9: it ends too early`},
		{"nothing", nil, ``, 400, `invalid JSON at byte 0: the body is empty`},
		{"no batch", nil, goodTrack, 400, `has no \"batch\"; send {\"batch\": [ … ]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := start(t, nil)
			code, body, _ := f.do(t, request{path: "/v1/batch", body: c.body, header: c.header, key: "public-web"})
			require.Equal(t, c.code, code, body)
			if code == 200 {
				require.Equal(t, c.want, body)
				require.Len(t, f.queue.all(), 1)
				return
			}
			require.Equal(t, `{"success":false,"message":"`+c.want+`"}`, body)
		})
	}
	t.Run("a chunked body", func(t *testing.T) {
		f := start(t, nil)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.url+"/v1/batch?writeKey=public-web", struct{ *strings.Reader }{strings.NewReader(batch)})
		require.NoError(t, err)
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer res.Body.Close()
		require.Equal(t, 200, res.StatusCode)
	})
	t.Run("the largest batch", func(t *testing.T) {
		f := start(t, nil)
		var evs []string
		for size := 0; size < MaxBodyBytes-700; size += 601 {
			evs = append(evs, fmt.Sprintf(`{"type":"track","event":"E","userId":"u","properties":{"p":"%s"}}`, strings.Repeat("x", 537)))
		}
		code, body, _ := f.do(t, request{path: "/v1/batch", body: `{"batch":[` + strings.Join(evs, ",") + `]}`, key: "public-web"})
		require.Equal(t, 200, code, body)
		require.Len(t, f.queue.all(), len(evs))
	})
}

func TestBadEventsOfABatch(t *testing.T) {
	f := start(t, nil)
	big := `{"type":"track","event":"E","userId":"u","properties":{"p":"` + strings.Repeat("x", 33000) + `"}}`
	bad := []string{
		`{"type":"track","userId":"u"}`,
		`{"type":"track","event":"E","userId":"u","timestamp":5}`,
		`{"type":"track","event":"Message Sent","userId":"u"}`,
		big,
	}
	body := `{"batch":[` + goodTrack + `,` + bad[0] + `,` + bad[1] + `,` + goodTrack + `,` + bad[2] + `,` + bad[3] + `]}`
	code, answer, _ := f.do(t, request{path: "/v1/batch", body: body, key: "public-web"})
	require.Equal(t, 200, code)
	require.JSONEq(t, `{"success":true,"accepted":2,"refused":[
		{"index":1,"reason":"event: is missing: a track call names what happened"},
		{"index":2,"reason":"timestamp: is before the year 2000; check the sender's clock, and that the number is in seconds or milliseconds"},
		{"index":4,"reason":"event: names that begin with \"Message \" are written by nudge alone; report an open or a click by POST /v1/messages/{id}/opened or /clicked"},
		{"index":5,"reason":"the event has 33063 bytes; at most 32768 (32 KB) are allowed"}]}`, answer)
	evs := f.queue.all()
	require.Len(t, evs, 6)
	for i, index := range []int{1, 2, 4, 5} {
		dead := evs[2+i]
		require.Equal(t, events.KindRefused, dead.Kind)
		require.Equal(t, index, dead.Index)
		require.Equal(t, bad[i], string(dead.Raw))
		require.Equal(t, "web", dead.Source)
		require.NotEmpty(t, dead.Reason)
		require.Equal(t, testTime.UnixMilli(), dead.ReceivedAt)
	}
	require.InDelta(t, 2, count(t, f.metrics.accepted[events.KindTrack]), 0)
	require.InDelta(t, 4, count(t, f.metrics.refused), 0)

	t.Run("all bad", func(t *testing.T) {
		code, answer, _ := f.do(t, request{path: "/v1/batch", body: `{"batch":[` + bad[0] + `]}`, key: "public-web"})
		require.Equal(t, 400, code)
		require.JSONEq(t, `{"success":false,"accepted":0,"refused":[{"index":0,"reason":"event: is missing: a track call names what happened"}]}`, answer)
	})
	t.Run("a single call", func(t *testing.T) {
		code, answer, _ := f.do(t, request{path: "/v1/track", body: bad[0], key: "public-web"})
		require.Equal(t, 400, code)
		require.JSONEq(t, `{"success":false,"message":"event: is missing: a track call names what happened"}`, answer)
		evs := f.queue.all()
		last := evs[len(evs)-1]
		require.Equal(t, events.KindRefused, last.Kind)
		require.Equal(t, 0, last.Index)
	})
	t.Run("no JSON", func(t *testing.T) {
		code, _, _ := f.do(t, request{path: "/v1/track", body: `{"event`, key: "public-web"})
		require.Equal(t, 400, code)
		evs := f.queue.all()
		last := evs[len(evs)-1]
		require.Equal(t, -1, last.Index)
		require.Equal(t, `{"event`, string(last.Raw))
		require.Equal(t, "invalid JSON at byte 1: this string has no end", last.Reason)
	})
	t.Run("an empty batch", func(t *testing.T) {
		code, answer, _ := f.do(t, request{path: "/v1/batch", body: `{"batch":[]}`, key: "public-web"})
		require.Equal(t, 200, code, answer)
	})
}

func TestPlanInForce(t *testing.T) {
	plan := &events.Plan{Events: map[string]events.Declared{
		"E": {Properties: map[string]events.Property{"price": {Path: "price", Type: events.TypeDecimal}}},
		"Strict": {OnViolation: events.Refuse, Properties: map[string]events.Property{
			"n": {Path: "n", Type: events.TypeInteger, Required: true},
		}},
	}}
	f := start(t, func(o *Options) { o.Plan = func() *events.Plan { return plan } })
	code, answer, _ := f.do(t, request{path: "/v1/batch", key: "public-web", body: `{"batch":[
		{"type":"track","event":"E","userId":"u","properties":{"price":"19.99"}},
		{"type":"track","event":"Strict","userId":"u","properties":{}},
		{"type":"track","event":"E","userId":"u","properties":{"price":"dear"}}]}`})
	require.Equal(t, 200, code)
	require.JSONEq(t, `{"success":true,"accepted":2,"refused":[{"index":1,"reason":"properties.n is required and missing"}]}`, answer)
	evs := f.queue.all()
	require.Len(t, evs, 3)
	require.Equal(t, `{"price":19.99}`, string(evs[0].Properties))
	require.Equal(t, `{}`, string(evs[1].Properties))
	require.Equal(t, events.Violation, evs[1].Flags)
	require.Equal(t, []string{`properties.price is "dear", not a decimal`}, evs[1].Violations)
	require.Equal(t, events.KindRefused, evs[2].Kind)
	require.InDelta(t, 1, count(t, f.metrics.violations), 0)
}

func TestQueueFails(t *testing.T) {
	f := start(t, nil)
	f.queue.err = errors.New("backlog full")
	for name, q := range map[string]request{
		"batch":            {path: "/v1/batch", body: `{"batch":[` + goodTrack + `]}`, key: "public-web"},
		"single":           {path: "/v1/track", body: goodTrack, key: "public-web"},
		"a bad call":       {path: "/v1/track", body: `{}`, key: "public-web"},
		"a body not JSON":  {path: "/v1/track", body: `{`, key: "public-web"},
		"device":           {method: http.MethodDelete, path: "/v1/users/u/devices/t", key: "public-web"},
		"erasing a person": {method: http.MethodDelete, path: "/v1/users/u", key: "secret-shop"},
	} {
		t.Run(name, func(t *testing.T) {
			code, body, header := f.do(t, q)
			require.Equal(t, 503, code)
			require.Equal(t, "2", header.Get("Retry-After"))
			require.JSONEq(t, `{"success":false,"message":"the events could not be written; send them again"}`, body)
		})
	}
	require.InDelta(t, 0, count(t, f.metrics.accepted[events.KindTrack]), 0)
}

func TestTurningAwayIsLoggedOnce(t *testing.T) {
	var log bytes.Buffer
	f := start(t, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	send := func() { f.do(t, request{path: "/v1/track", body: goodTrack, key: "public-web"}) }
	f.queue.err = errors.New("backlog full")
	send()
	send()
	f.queue.err = nil
	send()
	send()
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	require.Len(t, lines, 2)
	require.Contains(t, lines[0], `level=WARN msg="events are turned away until the queue takes them again" component=ingest err="write 1 events to the queue: backlog full"`)
	require.Contains(t, lines[1], `level=INFO msg="events are accepted again" component=ingest`)
}

func TestBrowsers(t *testing.T) {
	f := start(t, nil)
	origin := http.Header{"Origin": {"https://shop.example"}, "Access-Control-Request-Method": {"POST"}, "Access-Control-Request-Headers": {"authorization,anonymousid,content-type"}}
	for _, path := range []string{"/v1/t", "/v1/batch", "/beacon/v1/batch", "/sourceConfig/", "/v1/projects/public-web/settings", "/v1/users/u/devices/t"} {
		code, _, h := f.do(t, request{method: http.MethodOptions, path: path, header: origin})
		require.Equal(t, 204, code, path)
		require.Equal(t, "https://shop.example", h.Get("Access-Control-Allow-Origin"))
		require.Equal(t, "authorization,anonymousid,content-type", h.Get("Access-Control-Allow-Headers"))
		require.Contains(t, h.Get("Access-Control-Allow-Methods"), "POST")
	}
	code, _, h := f.do(t, request{path: "/v1/t", body: goodTrack, key: "public-web", header: http.Header{"Origin": {"https://shop.example"}, "Content-Type": {"text/plain"}}})
	require.Equal(t, 200, code)
	require.Equal(t, "https://shop.example", h.Get("Access-Control-Allow-Origin"))
	require.Equal(t, "Retry-After", h.Get("Access-Control-Expose-Headers"), "the browser SDK reads it")
	code, _, h = f.do(t, request{path: "/v1/t", body: `{}`, header: http.Header{"Origin": {"https://shop.example"}}})
	require.Equal(t, 401, code)
	require.Equal(t, "https://shop.example", h.Get("Access-Control-Allow-Origin"), "a browser must be able to read the reason")
}

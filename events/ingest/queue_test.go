package ingest

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/events"
	"nudge/events/queue"
)

// TestDurable sends singles and batches over many connections into the real queue, opens the queue's
// files again, and finds every acknowledged event once, whole, and every refused one with its reason.
func TestDurable(t *testing.T) {
	dir := t.TempDir()
	open := func() *queue.Queue {
		q, err := queue.Open(t.Context(), queue.Config{Dir: dir, Now: time.Now})
		require.NoError(t, err)
		return q
	}
	q := open()
	s, err := New(Options{Queue: q, Keys: func() []Key { return testKeys }, Now: func() time.Time { return testTime }})
	require.NoError(t, err)
	srv := httptest.NewServer(s.Handler())
	defer srv.Close()
	f := &fixture{Server: s, url: srv.URL}

	const senders, rounds, batch = 16, 10, 20
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			for r := range rounds {
				id := fmt.Sprintf("%d-%d", i, r)
				if code, body, _, err := f.send(t.Context(), request{path: "/v1/track", key: "public-web", body: named(id + "-single")}); code != 200 {
					t.Error(code, body, err)
				}
				evs := []string{`{"type":"track","userId":"` + id + `"}`}
				for n := range batch {
					evs = append(evs, named(fmt.Sprintf("%s-%d", id, n)))
				}
				if code, body, _, err := f.send(t.Context(), request{path: "/v1/batch", key: "public-web", body: `{"batch":[` + strings.Join(evs, ",") + `]}`}); code != 200 {
					t.Error(code, body, err)
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, s.Close(t.Context()))
	q.Close()

	q = open()
	defer q.Close()
	accepted, refused, messages := map[string]int{}, 0, 0
	last, err := q.LastSeq(t.Context())
	require.NoError(t, err)
	done := errors.New("all read")
	err = q.Read(t.Context(), 0, func(m queue.Message) error {
		messages++
		for _, ev := range m.Events {
			if ev.Kind == events.KindRefused {
				refused++
				require.Equal(t, "event: is missing: a track call names what happened", ev.Reason)
				require.Equal(t, 0, ev.Index)
				continue
			}
			accepted[ev.MessageID]++
			require.JSONEq(t, named(ev.MessageID), string(ev.Raw))
			require.JSONEq(t, `{"price":19.99,"name":"Kä\u0073e"}`, string(ev.Properties))
			require.Equal(t, testTime.UnixMilli(), ev.Time)
		}
		if m.Seq == last {
			return done
		}
		return nil
	})
	require.ErrorIs(t, err, done)
	require.Len(t, accepted, senders*rounds*(batch+1))
	for id, n := range accepted {
		require.Equal(t, 1, n, id)
	}
	require.Equal(t, senders*rounds, refused)
	require.Less(t, messages, 2*senders*rounds, "senders must share messages")
}

func named(id string) string {
	return `{"type":"track","event":"E","userId":"u","messageId":"` + id + `","properties":{"price":19.99,"name":"K\u00e4se"}}`
}

func TestBacklogFull(t *testing.T) {
	q, err := queue.Open(t.Context(), queue.Config{Dir: t.TempDir(), Now: time.Now, MaxBacklog: 4000})
	require.NoError(t, err)
	defer q.Close()
	f := start(t, func(o *Options) { o.Queue = q })
	sent, code := 0, 0
	var header http.Header
	for code = 200; code == 200 && sent < 1000; sent++ {
		code, _, header = f.do(t, request{path: "/v1/track", key: "public-web", body: goodTrack})
	}
	require.Equal(t, 503, code)
	require.Equal(t, "2", header.Get("Retry-After"))
	require.Greater(t, sent, 2)

	last, err := q.LastSeq(t.Context())
	require.NoError(t, err)
	require.Equal(t, uint64(sent-1), last, "what was answered 503 is not in the queue, all else is")
	q.Written(last) // the store has caught up
	require.Eventually(t, func() bool {
		code, _, _, err := f.send(t.Context(), request{path: "/v1/track", key: "public-web", body: goodTrack})
		return err == nil && code == 200
	}, time.Minute, 10*time.Millisecond)
}

var _ Appender = (*queue.Queue)(nil)

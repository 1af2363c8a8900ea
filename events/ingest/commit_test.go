package ingest

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/events"
)

func tracks(n, size int) []events.Event {
	evs := make([]events.Event, n)
	for i := range evs {
		evs[i] = events.Event{Kind: events.KindTrack, Name: "E", UserID: "u", MessageID: strconv.Itoa(i), Raw: []byte(strings.Repeat("x", size))}
	}
	return evs
}

func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &memory{gate: make(chan struct{})}
		c := newCommitter(q, time.Now, newMetrics(nil, routeNames()))
		var wg sync.WaitGroup
		answered := make(chan int, 100)
		submit := func(n int) {
			wg.Go(func() {
				if err := c.commit(tracks(n, 10)); err != nil {
					t.Error(err)
				}
				answered <- n
			})
			synctest.Wait()
		}
		for range inFlight {
			submit(1)
		}
		submit(2)
		for range 10 {
			submit(3) // while messages are on their way, these gather
		}
		require.Empty(t, answered, "nobody is answered before their message is safe")
		q.gate <- struct{}{}
		synctest.Wait()
		require.Len(t, answered, 1)
		close(q.gate)
		wg.Wait()
		require.NoError(t, c.close(t.Context()))
		require.Len(t, q.messages, inFlight+1)
		require.Len(t, q.messages[inFlight], 32)
		require.Zero(t, c.waiting)
	})
}

func TestCommitSplitsLargeMessages(t *testing.T) {
	q := &memory{} // panics beyond 900,000 bytes
	c := newCommitter(q, time.Now, newMetrics(nil, routeNames()))
	evs := tracks(100, 32_000)
	require.NoError(t, c.commit(evs))
	require.Greater(t, len(q.messages), 3)
	var ids []string
	for _, ev := range q.all() {
		ids = append(ids, ev.MessageID)
	}
	require.Len(t, ids, 100)

	q = &memory{}
	c = newCommitter(q, time.Now, newMetrics(nil, routeNames()))
	require.NoError(t, c.commit(tracks(70_000, 0)), "more than a message may hold by number")
	require.Len(t, q.all(), 70_000)
}

func TestCommitFailsTheWholeGroupOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &memory{gate: make(chan struct{}), err: errors.New("disk full")}
		c := newCommitter(q, time.Now, newMetrics(nil, routeNames()))
		failed := make(chan error, 2)
		go func() { failed <- c.commit(tracks(1, 1)) }()
		synctest.Wait()
		q.gate <- struct{}{}
		require.ErrorContains(t, <-failed, "write 1 events to the queue: disk full")
		q.mu.Lock()
		q.err = nil
		q.mu.Unlock()
		go func() { failed <- c.commit(tracks(1, 1)) }()
		synctest.Wait()
		q.gate <- struct{}{}
		require.NoError(t, <-failed)
	})
}

func TestCommitTurnsAwayWhenTooMuchWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &memory{gate: make(chan struct{})}
		c := newCommitter(q, time.Now, newMetrics(nil, routeNames()))
		done := make(chan error, 3)
		go func() { done <- c.commit(tracks(1000, 32<<10)) }()
		go func() { done <- c.commit(tracks(1000, 32<<10)) }()
		synctest.Wait()
		require.ErrorIs(t, c.commit(tracks(100, 32<<10)), errBusy)
		close(q.gate)
		require.NoError(t, <-done)
		require.NoError(t, <-done)
		require.NoError(t, c.commit(tracks(100, 32<<10)))
	})
}

func TestAppendThatNeverAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCommitter(&memory{gate: make(chan struct{})}, time.Now, newMetrics(nil, routeNames()))
		begin := time.Now()
		require.ErrorIs(t, c.commit(tracks(1, 1)), context.DeadlineExceeded)
		require.Equal(t, appendTimeout, time.Since(begin))
	})
}

func TestServeDrains(t *testing.T) {
	q := &memory{gate: make(chan struct{}), entered: make(chan int, 1)}
	s, err := New(Options{Queue: q, Keys: func() []Key { return testKeys }, Now: time.Now})
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l, time.Minute) }()

	status := make(chan int, 1)
	go func() {
		res, err := http.Post("http://"+l.Addr().String()+"/v1/track?writeKey=public-web", "application/json", strings.NewReader(goodTrack))
		if err != nil {
			status <- 0
			return
		}
		res.Body.Close()
		status <- res.StatusCode
	}()
	<-q.entered // the request is being written
	stop()
	require.Eventually(t, func() bool { // it listens no more
		conn, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			conn.Close()
		}
		return err != nil
	}, time.Minute, time.Millisecond)
	require.Empty(t, status)
	close(q.gate)
	require.Equal(t, 200, <-status, "what was being served is finished")
	require.NoError(t, <-served)
	require.ErrorIs(t, s.Commit(tracks(1, 1)), errClosed)
	require.Len(t, q.all(), 1)
}

func TestServeGivesUpDraining(t *testing.T) {
	q := &memory{gate: make(chan struct{}), entered: make(chan int, 1)}
	s, err := New(Options{Queue: q, Keys: func() []Key { return testKeys }, Now: time.Now})
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Commit(tracks(1, 1)) }()
	<-q.entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorContains(t, s.Close(ctx), "wait for events that are being written")
	close(q.gate)
	require.NoError(t, <-done)
	require.NoError(t, s.Close(t.Context()))
}

func TestOptions(t *testing.T) {
	keys := func() []Key { return nil }
	for want, o := range map[string]Options{
		"Options.Queue is required": {Keys: keys, Now: time.Now},
		"Options.Keys is required":  {Queue: &memory{}, Now: time.Now},
		"Options.Now is required":   {Queue: &memory{}, Keys: keys},
	} {
		_, err := New(o)
		require.ErrorContains(t, err, want)
	}
}

package channeltest

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"time"

	"nudge/channels"
	"nudge/channels/channeltest/provider"

	"github.com/stretchr/testify/require"
)

func (k Kit) testCases(t *testing.T) {
	b := k.open(t, nil)
	for i, c := range k.Cases {
		t.Run(c.Name, func(t *testing.T) {
			b.Log.Script(func(provider.Request) provider.Fault { return c.Fault })
			r := b.send(t, k.Message(i))[0]
			require.Equal(t, c.Class, class(r), "%v", r.Err)
			if r.Err != nil {
				failure := channels.AsDelivery(r.Err)
				require.Equal(t, c.After, failure.RetryAfter)
				if c.Code != "" {
					require.Equal(t, c.Code, failure.Code)
				}
				retire := failure.Class == channels.ClassAddress || failure.Class == channels.ClassMessage
				require.Equal(t, !retire, failure.Class.Retryable())
			}
			// The same message, once the provider is itself again, goes through.
			b.Log.Script(nil)
			require.NoError(t, b.send(t, k.Message(i))[0].Err)
		})
	}
}

// testTableIsWhole holds the spec's table of answers, which the docs print, and the cases together.
func (k Kit) testTableIsWhole(t *testing.T) {
	for _, a := range k.Spec.Answers {
		if a.Class == "" {
			continue
		}
		found := slices.ContainsFunc(k.Cases, func(c Case) bool {
			return (a.Status == 0 || c.Fault.Status == a.Status) && (a.Code == "" || c.Fault.Code == a.Code) && c.Class == a.Class
		})
		require.Truef(t, found, "no case for the answer %d %s (%s)", a.Status, a.Code, a.Class)
	}
}

func (k Kit) testPartial(t *testing.T) {
	b := k.open(t, nil)
	batch := k.messages(min(k.Spec.Batch, 30))
	cases := slices.Clone(k.Cases)
	if k.Together {
		cases = slices.DeleteFunc(cases, func(c Case) bool { return c.Class != channels.ClassMessage })
		require.NotEmpty(t, cases, "the retry table has no refusal of a message")
	}
	want := make(map[string]Case)
	for i, m := range batch {
		if i%3 == 1 {
			want[k.ID(m.Key)] = cases[i%len(cases)]
		}
	}
	b.Log.Script(func(r provider.Request) provider.Fault { return want[r.ID].Fault })
	for i, r := range b.send(t, batch...) {
		require.Equalf(t, want[k.ID(batch[i].Key)].Class, class(r), "message %d: %v", i, r.Err)
	}
}

func (k Kit) testStableKey(t *testing.T) {
	b := k.open(t, nil)
	m, other := k.Message(1), k.Message(2)
	require.NotEqual(t, m.Key, other.Key)
	for range 3 { // three attempts: the last two after a crash that lost the first's outcome
		require.NoError(t, b.send(t, m)[0].Err)
	}
	require.NoError(t, b.send(t, other)[0].Err)
	got := b.Log.Received()
	require.Len(t, got, 4)
	for _, r := range got[:3] {
		require.Equal(t, k.ID(m.Key), r.ID)
		requireSame(t, got[0].Body, r.Body)
	}
	require.NotEqual(t, got[0].ID, got[3].ID)
	reopened := k.open(t, nil) // and after a restart
	require.NoError(t, reopened.send(t, m)[0].Err)
	require.Equal(t, k.ID(m.Key), reopened.Log.Received()[0].ID)
}

// requireSame checks that a repeat is the same message: as JSON, where the provider speaks it.
func requireSame(t *testing.T, first, repeat []byte) {
	t.Helper()
	if json.Valid(first) {
		require.JSONEq(t, string(first), string(repeat), "a repeat must be the same message")
		return
	}
	require.Equal(t, string(first), string(repeat), "a repeat must be the same message")
}

func (k Kit) testRetryAfter(t *testing.T) {
	b := k.open(t, nil)
	for name, c := range map[string]struct {
		header string
		want   time.Duration
	}{
		"seconds":        {"17", 17 * time.Second},
		"date":           {b.now.Add(90 * time.Second).UTC().Format(http.TimeFormat), 90 * time.Second},
		"a past date":    {b.now.Add(-time.Hour).UTC().Format(http.TimeFormat), k.Patience},
		"no number":      {"soon", k.Patience},
		"negative":       {"-5", k.Patience},
		"more than sane": {"99999999999", 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			limited := slices.IndexFunc(k.Cases, func(c Case) bool {
				return c.Fault.Status == http.StatusTooManyRequests && c.Class == channels.ClassRateLimit
			})
			require.GreaterOrEqual(t, limited, 0, "the retry table has no 429")
			fault := k.Cases[limited].Fault
			fault.Header = http.Header{"Retry-After": {c.header}}
			b.Log.Script(func(provider.Request) provider.Fault { return fault })
			r := b.send(t, k.Message(1))[0]
			require.Equal(t, channels.ClassRateLimit, class(r), "%v", r.Err)
			require.Equal(t, c.want, channels.AsDelivery(r.Err).RetryAfter)
		})
	}
}

func (k Kit) testCancelMidSend(t *testing.T) {
	b := k.open(t, nil)
	batch := k.messages(min(k.Spec.Batch, 6))
	b.Log.Script(func(r provider.Request) provider.Fault {
		return provider.Fault{Hang: r.ID == k.ID(batch[len(batch)-1].Key)}
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan []channels.Result, 1)
	go func() { done <- b.channel.Send(ctx, batch) }()
	await(t, b.Log.Hung())
	cancel()
	results := await(t, done)
	requireKept(t, batch, results)
	for i, r := range results[:len(results)-1] {
		require.Containsf(t, []channels.Class{"", channels.ClassCancelled}, class(r), "message %d: %v", i, r.Err)
	}
	require.Equal(t, channels.ClassCancelled, class(results[len(results)-1]))
	b.Log.Script(nil) // the channel goes on working
	require.NoError(t, b.send(t, k.Message(100))[0].Err)
}

func (k Kit) testTimeout(t *testing.T) {
	b := k.open(t, map[string]any{"timeout": "100ms"})
	// Until the connection stands: on a busy machine to connect takes longer than the timeout.
	for tries := patience / (100 * time.Millisecond); ; tries-- {
		r := b.send(t, k.Message(0))[0]
		if r.Err == nil {
			break
		}
		require.Equal(t, "timeout", channels.AsDelivery(r.Err).Code, "%v", r.Err)
		require.Positive(t, tries, "no message went through")
	}
	b.Log.Script(func(provider.Request) provider.Fault { return provider.Fault{Hang: true} })
	r := b.send(t, k.Message(1))[0]
	require.Equal(t, channels.ClassTemporary, class(r), "%v", r.Err)
	require.Equal(t, "timeout", channels.AsDelivery(r.Err).Code)
}

func (k Kit) testDeadline(t *testing.T) {
	b := k.open(t, nil)
	b.Log.Script(func(provider.Request) provider.Fault { return provider.Fault{Hang: true} })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	results := b.channel.Send(ctx, k.messages(1))
	require.Equal(t, channels.ClassCancelled, class(results[0]))
}

func (k Kit) testSlow(t *testing.T) {
	b := k.open(t, nil)
	b.Log.Script(func(provider.Request) provider.Fault { return provider.Fault{Delay: 150 * time.Millisecond} })
	batch := k.messages(min(k.Spec.Batch, 10))
	for _, r := range b.send(t, batch...) {
		require.NoError(t, r.Err)
	}
}

func (k Kit) testEndless(t *testing.T) {
	b := k.open(t, nil)
	for name, fault := range map[string]provider.Fault{
		"with an error": {Status: http.StatusServiceUnavailable, Endless: true},
		"with success":  {Endless: true},
	} {
		t.Run(name, func(t *testing.T) {
			b.Log.Script(func(provider.Request) provider.Fault { return k.fault(fault) })
			r := b.send(t, k.Message(3))[0]
			require.Contains(t, []channels.Class{"", channels.ClassTemporary}, class(r), "%v", r.Err)
			if r.Err != nil {
				require.Less(t, len(r.Err.Error()), 1000)
			}
			b.Log.Script(nil)
			require.NoError(t, b.send(t, k.Message(4))[0].Err)
		})
	}
}

func (k Kit) testReset(t *testing.T) {
	b := k.open(t, nil)
	require.NoError(t, b.send(t, k.Message(0))[0].Err)
	b.Log.Script(func(provider.Request) provider.Fault { return provider.Fault{Reset: true} })
	r := b.send(t, k.Message(1))[0]
	require.Equal(t, channels.ClassTemporary, class(r), "%v", r.Err)
	b.Log.Script(nil)
	require.NoError(t, b.send(t, k.Message(1))[0].Err)
}

func (k Kit) testGarbage(t *testing.T) {
	b := k.open(t, nil)
	for name, c := range map[string]struct {
		fault provider.Fault
		want  []channels.Class
	}{
		"not the protocol":   {provider.Fault{Garbage: true}, []channels.Class{channels.ClassTemporary}},
		"an error page":      {provider.Fault{Status: 502, Body: []byte("<html>Bad gateway</html>")}, []channels.Class{channels.ClassTemporary}},
		"binary":             {provider.Fault{Status: 500, Body: []byte("\x00\xff\xfe\x80")}, []channels.Class{channels.ClassTemporary}},
		"accepted, but what": {provider.Fault{Status: 200, Body: []byte("{\"name\": 12, <<")}, []channels.Class{""}},
	} {
		t.Run(name, func(t *testing.T) {
			b.Log.Script(func(provider.Request) provider.Fault { return k.fault(c.fault) })
			r := b.send(t, k.Message(1))[0]
			require.Contains(t, c.want, class(r), "%v", r.Err)
			b.Log.Script(nil)
			require.NoError(t, b.send(t, k.Message(1))[0].Err)
		})
	}
}

func (k Kit) testNobody(t *testing.T) {
	b := k.open(t, nil)
	require.NoError(t, b.send(t, k.Message(0))[0].Err)
	b.Stop()
	r := b.send(t, k.Message(1))[0]
	require.Equal(t, channels.ClassTemporary, class(r), "%v", r.Err)
}

func (k Kit) testNoRetry(t *testing.T) {
	b := k.open(t, nil)
	faults := map[string]provider.Fault{"500": {Status: 500}, "503": {Status: 503}, "reset": {Reset: true}}
	if k.Statuses == nil {
		faults["429"] = provider.Fault{Status: 429, Header: http.Header{"Retry-After": {"0"}}}
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			b.Log.Reset()
			b.Log.Script(func(provider.Request) provider.Fault { return k.fault(fault) })
			require.Error(t, b.send(t, k.Message(5))[0].Err)
			require.EqualValues(t, 1, b.Log.Requests())
		})
	}
}

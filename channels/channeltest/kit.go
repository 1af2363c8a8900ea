// Package channeltest is what tests of channels and of their senders share: the conformance kit
// that every adapter passes, a channel that records, and one that discards. Its sub-packages are
// local servers that speak the providers' protocols.
package channeltest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/channels"
	"nudge/channels/channeltest/provider"
)

// patience is how long any one step of the kit may take before it has failed.
const patience = 15 * time.Second

// Kit is the conformance test of one adapter; Run runs all of it.
type Kit struct {
	Spec channels.Spec
	// Start begins the adapter's provider; it ends with the test.
	Start func(t *testing.T, now func() time.Time) Provider
	// Message makes the i-th of a series of valid messages with keys and addresses of their own.
	Message func(i int) channels.Message
	// ID is how the provider knows a message by its key.
	ID func(key string) string
	// Cases is the retry table: the provider's answers and what each must mean. nil for adapters
	// without a provider.
	Cases []Case
}

// Provider is the other side of the wire.
type Provider struct {
	// Config is a valid config, secrets resolved, that leads to the provider.
	Config map[string]any
	// Log is the provider's memory; nil for adapters without a provider.
	Log *provider.Log
	// Output, for adapters without a provider, returns the keys of the messages that came out.
	Output func() []string
	// Stop ends the provider: nobody listens any more.
	Stop func()
	// Stdout is given to the adapter.
	Stdout io.Writer
}

// Case is one answer of the provider and what it means.
type Case struct {
	Name  string
	Fault provider.Fault
	Class channels.Class // "" is accepted
	Code  string         // what DeliveryError.Code must be; "" is not looked at
	After time.Duration  // what RetryAfter must be
}

// Run runs the whole kit.
func (k Kit) Run(t *testing.T) {
	t.Run("spec", k.testSpec)
	t.Run("config", k.testConfig)
	t.Run("sends in order", k.testOrder)
	t.Run("empty batch", k.testEmpty)
	t.Run("cancelled before", k.testCancelledBefore)
	t.Run("concurrency", k.testConcurrency)
	if k.Cases == nil {
		return
	}
	t.Run("retry table", k.testCases)
	t.Run("answers have cases", k.testTableIsWhole)
	t.Run("partial failures", k.testPartial)
	t.Run("stable key", k.testStableKey)
	t.Run("retry after", k.testRetryAfter)
	t.Run("cancel mid-send", k.testCancelMidSend)
	t.Run("timeout", k.testTimeout)
	t.Run("deadline", k.testDeadline)
	t.Run("slow server", k.testSlow)
	t.Run("endless body", k.testEndless)
	t.Run("connection reset", k.testReset)
	t.Run("garbage", k.testGarbage)
	t.Run("nobody there", k.testNobody)
	t.Run("no secret in errors", k.testSecrets)
	t.Run("never retries by itself", k.testNoRetry)
}

// bench is one adapter opened against one provider.
type bench struct {
	Provider
	channel channels.Channel
	now     time.Time
}

// open starts a provider and the adapter. with overrides config fields.
func (k Kit) open(t *testing.T, with map[string]any) bench {
	t.Helper()
	now := time.Now().Truncate(time.Second)
	clock := func() time.Time { return now }
	p := k.Start(t, clock)
	config := maps.Clone(p.Config)
	maps.Copy(config, with)
	raw, err := json.Marshal(config)
	require.NoError(t, err)
	out := p.Stdout
	if out == nil {
		out = io.Discard
	}
	channel, err := k.Spec.New(channels.Options{Config: raw, Stdout: out, Now: clock, Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() {
		if closer, ok := channel.(channels.Closer); ok {
			require.NoError(t, closer.Close())
		}
	})
	return bench{Provider: p, channel: channel, now: now}
}

// send sends with the kit's patience and checks what every Send must keep.
func (b bench) send(t *testing.T, ctx context.Context, batch ...channels.Message) []channels.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	results := b.channel.Send(ctx, batch)
	require.NoError(t, ctx.Err(), "the send did not end in %s", patience)
	requireKept(t, batch, results)
	return results
}

// requireKept checks the contract's form: a result each, errors of the right type and of a known
// class.
func requireKept(t *testing.T, batch []channels.Message, results []channels.Result) {
	t.Helper()
	require.Len(t, results, len(batch))
	for i, r := range results {
		if r.Err == nil {
			continue
		}
		failure, ok := r.Err.(*channels.DeliveryError) //nolint:errorlint // the contract says the error is one, not wraps one
		require.Truef(t, ok, "result %d is a %T", i, r.Err)
		require.Error(t, failure.Err, "result %d has no cause", i)
		require.Contains(t, []channels.Class{
			channels.ClassTemporary, channels.ClassRateLimit, channels.ClassAddress,
			channels.ClassMessage, channels.ClassCredential, channels.ClassCancelled,
		}, failure.Class)
	}
}

// class is a result's class, "" for accepted.
func class(r channels.Result) channels.Class {
	if r.Err == nil {
		return ""
	}
	return channels.AsDelivery(r.Err).Class
}

// messages makes the first n.
func (k Kit) messages(n int) []channels.Message {
	batch := make([]channels.Message, n)
	for i := range batch {
		batch[i] = k.Message(i)
	}
	return batch
}

func (k Kit) testSpec(t *testing.T) {
	var set channels.Set
	require.NoError(t, set.Add(k.Spec))
	require.Error(t, set.Add(k.Spec), "the same name twice")
	require.NotEmpty(t, k.Spec.About)
	require.NotEmpty(t, k.Spec.Tried)
	for _, f := range slices.Concat(k.Spec.Config, k.Spec.Message) {
		require.NotEmptyf(t, f.About, "field %s", f.Name)
		require.Truef(t, f.Example != "" || f.Secret, "field %s has no example", f.Name)
	}
}

func (k Kit) testConfig(t *testing.T) {
	p := k.Start(t, time.Now)
	for _, f := range k.Spec.Config {
		if !f.Required {
			continue
		}
		config := maps.Clone(p.Config)
		delete(config, f.Name)
		raw, err := json.Marshal(config)
		require.NoError(t, err)
		_, err = k.Spec.New(channels.Options{Config: raw, Stdout: io.Discard, Now: time.Now, Dir: t.TempDir()})
		require.ErrorContains(t, err, f.Name+" is missing")
	}
	config := maps.Clone(p.Config)
	config["surely_not_a_field"] = 1
	raw, err := json.Marshal(config)
	require.NoError(t, err)
	_, err = k.Spec.New(channels.Options{Config: raw, Stdout: io.Discard, Now: time.Now, Dir: t.TempDir()})
	require.ErrorContains(t, err, "surely_not_a_field is not a field")
}

func (k Kit) testOrder(t *testing.T) {
	b := k.open(t, nil)
	batch := k.messages(min(k.Spec.Batch, 50))
	for i, r := range b.send(t, t.Context(), batch...) {
		require.NoErrorf(t, r.Err, "message %d", i)
	}
	var want []string
	for _, m := range batch {
		want = append(want, k.ID(m.Key))
	}
	require.ElementsMatch(t, want, b.out())
}

// out is what reached the other side.
func (b bench) out() []string {
	if b.Log == nil {
		return b.Output()
	}
	var ids []string
	for _, r := range b.Log.Received() {
		if r.Accepted {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

func (k Kit) testEmpty(t *testing.T) {
	require.Empty(t, k.open(t, nil).send(t, t.Context()))
}

func (k Kit) testCancelledBefore(t *testing.T) {
	b := k.open(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	batch := k.messages(min(k.Spec.Batch, 3))
	results := b.channel.Send(ctx, batch)
	requireKept(t, batch, results)
	for _, r := range results {
		require.Equal(t, channels.ClassCancelled, class(r))
		require.ErrorIs(t, r.Err, context.Canceled)
	}
	require.Empty(t, b.out())
}

func (k Kit) testConcurrency(t *testing.T) {
	b := k.open(t, nil)
	const batches, size = 20, 10
	var group sync.WaitGroup
	gate := make(chan struct{}, k.Spec.Concurrency)
	failures := make(chan error, batches*size)
	var want []string
	for i := range batches {
		var batch []channels.Message
		for j := range min(size, k.Spec.Batch) {
			m := k.Message(i*size + j)
			batch, want = append(batch, m), append(want, k.ID(m.Key))
		}
		gate <- struct{}{}
		group.Go(func() {
			defer func() { <-gate }()
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			for _, r := range b.channel.Send(ctx, batch) {
				if r.Err != nil {
					failures <- r.Err
				}
			}
		})
	}
	group.Wait()
	close(failures)
	for err := range failures {
		require.NoError(t, err)
	}
	require.ElementsMatch(t, want, b.out())
}

func (k Kit) testCases(t *testing.T) {
	b := k.open(t, nil)
	for i, c := range k.Cases {
		t.Run(c.Name, func(t *testing.T) {
			b.Log.Script(func(provider.Request) provider.Fault { return c.Fault })
			r := b.send(t, t.Context(), k.Message(i))[0]
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
			require.NoError(t, b.send(t, t.Context(), k.Message(i))[0].Err)
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
	want := make(map[string]Case)
	for i, m := range batch {
		if i%3 == 1 {
			want[k.ID(m.Key)] = k.Cases[i%len(k.Cases)]
		}
	}
	b.Log.Script(func(r provider.Request) provider.Fault { return want[r.ID].Fault })
	for i, r := range b.send(t, t.Context(), batch...) {
		require.Equalf(t, want[k.ID(batch[i].Key)].Class, class(r), "message %d: %v", i, r.Err)
	}
}

func (k Kit) testStableKey(t *testing.T) {
	b := k.open(t, nil)
	m, other := k.Message(1), k.Message(2)
	require.NotEqual(t, m.Key, other.Key)
	for range 3 { // three attempts: the last two after a crash that lost the first's outcome
		require.NoError(t, b.send(t, t.Context(), m)[0].Err)
	}
	require.NoError(t, b.send(t, t.Context(), other)[0].Err)
	got := b.Log.Received()
	require.Len(t, got, 4)
	for _, r := range got[:3] {
		require.Equal(t, k.ID(m.Key), r.ID)
		require.JSONEq(t, string(got[0].Body), string(r.Body), "a repeat must be the same message")
	}
	require.NotEqual(t, got[0].ID, got[3].ID)
	reopened := k.open(t, nil) // and after a restart
	require.NoError(t, reopened.send(t, t.Context(), m)[0].Err)
	require.Equal(t, k.ID(m.Key), reopened.Log.Received()[0].ID)
}

func (k Kit) testRetryAfter(t *testing.T) {
	b := k.open(t, nil)
	for name, c := range map[string]struct {
		header string
		want   time.Duration
	}{
		"seconds":        {"17", 17 * time.Second},
		"date":           {b.now.Add(90 * time.Second).UTC().Format(http.TimeFormat), 90 * time.Second},
		"a past date":    {b.now.Add(-time.Hour).UTC().Format(http.TimeFormat), 0},
		"no number":      {"soon", 0},
		"negative":       {"-5", 0},
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
			r := b.send(t, t.Context(), k.Message(1))[0]
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
	require.NoError(t, b.send(t, t.Context(), k.Message(100))[0].Err)
}

func (k Kit) testTimeout(t *testing.T) {
	b := k.open(t, map[string]any{"timeout": "100ms"})
	require.NoError(t, b.send(t, t.Context(), k.Message(0))[0].Err) // the connection stands
	b.Log.Script(func(provider.Request) provider.Fault { return provider.Fault{Hang: true} })
	r := b.send(t, t.Context(), k.Message(1))[0]
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
	for _, r := range b.send(t, t.Context(), batch...) {
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
			b.Log.Script(func(provider.Request) provider.Fault { return fault })
			r := b.send(t, t.Context(), k.Message(3))[0]
			require.Contains(t, []channels.Class{"", channels.ClassTemporary}, class(r), "%v", r.Err)
			if r.Err != nil {
				require.Less(t, len(r.Err.Error()), 1000)
			}
			b.Log.Script(nil)
			require.NoError(t, b.send(t, t.Context(), k.Message(4))[0].Err)
		})
	}
}

func (k Kit) testReset(t *testing.T) {
	b := k.open(t, nil)
	require.NoError(t, b.send(t, t.Context(), k.Message(0))[0].Err)
	b.Log.Script(func(provider.Request) provider.Fault { return provider.Fault{Reset: true} })
	r := b.send(t, t.Context(), k.Message(1))[0]
	require.Equal(t, channels.ClassTemporary, class(r), "%v", r.Err)
	b.Log.Script(nil)
	require.NoError(t, b.send(t, t.Context(), k.Message(1))[0].Err)
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
			b.Log.Script(func(provider.Request) provider.Fault { return c.fault })
			r := b.send(t, t.Context(), k.Message(1))[0]
			require.Contains(t, c.want, class(r), "%v", r.Err)
			b.Log.Script(nil)
			require.NoError(t, b.send(t, t.Context(), k.Message(1))[0].Err)
		})
	}
}

func (k Kit) testNobody(t *testing.T) {
	b := k.open(t, nil)
	require.NoError(t, b.send(t, t.Context(), k.Message(0))[0].Err)
	b.Stop()
	r := b.send(t, t.Context(), k.Message(1))[0]
	require.Equal(t, channels.ClassTemporary, class(r), "%v", r.Err)
}

func (k Kit) testSecrets(t *testing.T) {
	b := k.open(t, map[string]any{"timeout": "200ms"})
	secrets := b.secrets(k.Spec)
	for name, fault := range map[string]provider.Fault{
		"echo":     {Status: 500, Echo: true},
		"echo 400": {Status: 400, Echo: true},
		"echo 403": {Status: 403, Echo: true},
		"reset":    {Reset: true},
		"garbage":  {Garbage: true},
		"hang":     {Hang: true},
	} {
		t.Run(name, func(t *testing.T) {
			b.Log.Script(func(provider.Request) provider.Fault { return fault })
			m := k.Message(7)
			r := b.send(t, t.Context(), m)[0]
			require.Error(t, r.Err)
			requireSilent(t, r.Err, append(slices.Clone(secrets), m.Address.Token, m.Signed)...)
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		b.Log.Script(func(provider.Request) provider.Fault { return provider.Fault{Hang: true} })
		ctx, cancel := context.WithCancel(t.Context())
		m := k.Message(8)
		done := make(chan []channels.Result, 1)
		go func() { done <- b.channel.Send(ctx, []channels.Message{m}) }()
		await(t, b.Log.Hung())
		cancel()
		requireSilent(t, await(t, done)[0].Err, append(slices.Clone(secrets), m.Address.Token, m.Signed)...)
	})
	t.Run("the channel itself", func(t *testing.T) {
		// No log line that prints a config may show it either.
		requireSilent(t, fmt.Errorf("%+v", k.Spec), secrets...)
	})
}

// secrets are the values of the config's secret fields.
func (b bench) secrets(spec channels.Spec) []string {
	var secrets []string
	var walk func(value any)
	walk = func(value any) {
		switch v := value.(type) {
		case string:
			if v != "" {
				secrets = append(secrets, v)
			}
		case []any:
			for _, item := range v {
				walk(item)
			}
		case map[string]any:
			for _, item := range v {
				walk(item)
			}
		}
	}
	for _, f := range spec.Config {
		if f.Secret {
			walk(b.Config[f.Name])
		}
	}
	return secrets
}

// requireSilent checks that no form of an error, nor of anything it wraps, has a secret in it.
func requireSilent(t *testing.T, err error, secrets ...string) {
	t.Helper()
	var forms []string
	var walk func(err error)
	walk = func(err error) {
		if err == nil {
			return
		}
		forms = append(forms, err.Error(), fmt.Sprintf("%v", err), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err), fmt.Sprintf("%s", err), fmt.Sprintf("%q", err))
		switch e := err.(type) { //nolint:errorlint // walking the tree by hand
		case interface{ Unwrap() error }:
			walk(e.Unwrap())
		case interface{ Unwrap() []error }:
			for _, inner := range e.Unwrap() {
				walk(inner)
			}
		}
	}
	walk(err)
	for _, secret := range secrets {
		if secret == "" {
			continue
		}
		for _, part := range append(strings.Split(secret, "\n"), secret) {
			if len(part) < 8 || strings.HasPrefix(part, "-----") {
				continue
			}
			for _, form := range forms {
				require.NotContains(t, form, part)
			}
		}
	}
}

func (k Kit) testNoRetry(t *testing.T) {
	b := k.open(t, nil)
	for name, fault := range map[string]provider.Fault{
		"500": {Status: 500}, "503": {Status: 503}, "reset": {Reset: true},
		"429": {Status: 429, Header: http.Header{"Retry-After": {"0"}}},
	} {
		t.Run(name, func(t *testing.T) {
			b.Log.Reset()
			b.Log.Script(func(provider.Request) provider.Fault { return fault })
			require.Error(t, b.send(t, t.Context(), k.Message(5))[0].Err)
			require.EqualValues(t, 1, b.Log.Requests())
		})
	}
}

// await receives with the kit's patience.
func await[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case value := <-from:
		return value
	case <-timer.C:
		require.FailNow(t, "nothing came", "within %s", patience)
		panic("unreachable")
	}
}

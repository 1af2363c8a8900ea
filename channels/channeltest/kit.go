// Package channeltest is what tests of channels and of their senders share: the conformance kit
// that every adapter passes, a channel that records, and one that discards. Its sub-packages are
// local servers that speak the providers' protocols.
package channeltest

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nudge/channels"
	"nudge/channels/channeltest/provider"

	"github.com/stretchr/testify/require"
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
	// Statuses are what the provider says instead, where it does not speak HTTP: its own for each of
	// HTTP's 400, 403, 500, 502 and 503. The tests of Retry-After are HTTP's alone.
	Statuses map[int]int
	// Together says that a batch is one request, of which the provider takes all or nothing: what happens to the
	// request happens to every message of it, but a message that is refused.
	Together bool
	// Patience is what RetryAfter must be after a 429 that does not say; 0 leaves it to the sender.
	Patience time.Duration
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
	if k.Spec.MaxPayload > 0 && k.Spec.Unit == "" {
		t.Run("measures", k.testMeasure)
	}
	if k.Cases == nil {
		return
	}
	t.Run("retry table", k.testCases)
	t.Run("answers have cases", k.testTableIsWhole)
	t.Run("partial failures", k.testPartial)
	t.Run("stable key", k.testStableKey)
	if k.Statuses == nil {
		t.Run("retry after", k.testRetryAfter)
	}
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

// fault is one that the kit names by HTTP's status, in the provider's own words.
func (k Kit) fault(f provider.Fault) provider.Fault {
	if own, ok := k.Statuses[f.Status]; ok {
		f.Status = own
	}
	return f
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
func (b bench) send(t *testing.T, batch ...channels.Message) []channels.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
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

// testMeasure holds what the spec measures and what Send takes together: the limit is sent, a byte more is refused.
func (k Kit) testMeasure(t *testing.T) {
	b := k.open(t, nil)
	m := k.Message(1)
	i := slices.IndexFunc(k.Spec.Message, func(f channels.Field) bool { return f.Type == "string" && f.Template && m.Text(f.Name) != "" })
	require.GreaterOrEqual(t, i, 0, "no text to lengthen")
	name := k.Spec.Message[i].Name
	short, err := k.Spec.Measure(&m)
	require.NoError(t, err)
	m.Fields = maps.Clone(m.Fields)
	m.Fields[name] = m.Text(name) + strings.Repeat("x", k.Spec.MaxPayload-short)
	size, err := k.Spec.Measure(&m)
	require.NoError(t, err)
	require.Equal(t, k.Spec.MaxPayload, size)
	require.Empty(t, class(b.send(t, m)[0]))
	m.Fields[name] = m.Text(name) + "x"
	require.Equal(t, channels.ClassMessage, class(b.send(t, m)[0]))
	nowhere := m
	nowhere.Address = channels.Address{}
	size, err = k.Spec.Measure(&nowhere)
	require.NoError(t, err)
	require.Equal(t, k.Spec.MaxPayload+1, size, "an address makes a message longer")
}

func (k Kit) testOrder(t *testing.T) {
	b := k.open(t, nil)
	batch := k.messages(min(k.Spec.Batch, 50))
	for i, r := range b.send(t, batch...) {
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
	require.Empty(t, k.open(t, nil).send(t))
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

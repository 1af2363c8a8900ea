package channeltest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"nudge/channels"
	"nudge/channels/apns"
	"nudge/channels/channeltest"
	"nudge/channels/channeltest/apnsd"

	"github.com/stretchr/testify/require"
)

func TestRecorderConforms(t *testing.T) {
	r := &channeltest.Recorder{}
	channeltest.Kit{
		Spec: r.Spec(),
		Start: func(*testing.T, func() time.Time) channeltest.Provider {
			r.Reset()
			return channeltest.Provider{Config: map[string]any{}, Output: func() []string {
				var keys []string
				for _, m := range r.Accepted() {
					keys = append(keys, m.Key)
				}
				return keys
			}}
		},
		Message: channeltest.Message,
		ID:      func(key string) string { return key },
	}.Run(t)
}

func TestRecorderFailsByScript(t *testing.T) {
	r := &channeltest.Recorder{Answer: func(_ channels.Message, attempt int) error {
		if attempt == 1 {
			return &channels.DeliveryError{Class: channels.ClassTemporary, Err: errors.New("first")}
		}
		return nil
	}}
	batch := []channels.Message{channeltest.Message(1)}
	require.Error(t, r.Send(t.Context(), batch)[0].Err)
	require.NoError(t, r.Send(t.Context(), batch)[0].Err)
	require.Len(t, r.Attempts(), 2)
	require.Len(t, r.Accepted(), 1)
}

func TestRecorderHoldsAtItsGate(t *testing.T) {
	r := &channeltest.Recorder{Gate: make(chan struct{})}
	done := make(chan []channels.Result, 1)
	go func() { done <- r.Send(t.Context(), []channels.Message{channeltest.Message(1)}) }()
	r.Gate <- struct{}{}
	require.NoError(t, (<-done)[0].Err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Equal(t, channels.ClassCancelled, channels.AsDelivery(r.Send(ctx, []channels.Message{channeltest.Message(1)})[0].Err).Class)
}

func TestDiscardCounts(t *testing.T) {
	d := &channeltest.Discard{}
	for range 3 {
		for _, r := range d.Send(t.Context(), make([]channels.Message, 10)) {
			require.NoError(t, r.Err)
		}
	}
	require.EqualValues(t, 30, d.Sent())
}

// sick is a channel with one sickness.
type sick struct {
	channels.Channel
	send func(ctx context.Context, well channels.Channel, batch []channels.Message) []channels.Result
}

func (s sick) Send(ctx context.Context, batch []channels.Message) []channels.Result {
	return s.send(ctx, s.Channel, batch)
}

func (s sick) Close() error { return s.Channel.(channels.Closer).Close() }

// sicknesses are what the kit must find, each with the part of it that does.
var sicknesses = map[string]func() func(context.Context, channels.Channel, []channels.Message) []channels.Result{
	"partial failures": func() func(context.Context, channels.Channel, []channels.Message) []channels.Result {
		return func(ctx context.Context, well channels.Channel, batch []channels.Message) []channels.Result {
			results := well.Send(ctx, batch)
			slices.Reverse(results) // not in order
			return results
		}
	},
	"never retries by itself": func() func(context.Context, channels.Channel, []channels.Message) []channels.Result {
		return func(ctx context.Context, well channels.Channel, batch []channels.Message) []channels.Result {
			results := well.Send(ctx, batch)
			if len(batch) == 1 && results[0].Err != nil && ctx.Err() == nil {
				return well.Send(ctx, batch)
			}
			return results
		}
	},
	"no secret in errors": func() func(context.Context, channels.Channel, []channels.Message) []channels.Result {
		return func(ctx context.Context, well channels.Channel, batch []channels.Message) []channels.Result {
			results := well.Send(ctx, batch)
			for i, r := range results {
				if r.Err != nil {
					failure := channels.AsDelivery(r.Err)
					results[i].Err = &channels.DeliveryError{Class: failure.Class, Code: failure.Code, RetryAfter: failure.RetryAfter, Err: fmt.Errorf("for %s: %w", batch[i].Address.Token, failure.Err)}
				}
			}
			return results
		}
	},
	"stable key": func() func(context.Context, channels.Channel, []channels.Message) []channels.Result {
		var mu sync.Mutex
		n := 0
		return func(ctx context.Context, well channels.Channel, batch []channels.Message) []channels.Result {
			mu.Lock()
			defer mu.Unlock()
			batch = slices.Clone(batch)
			for i := range batch {
				n++
				batch[i].Key += strconv.Itoa(n)
			}
			return well.Send(ctx, batch)
		}
	},
	"cancel mid-send": func() func(context.Context, channels.Channel, []channels.Message) []channels.Result {
		return func(ctx context.Context, well channels.Channel, batch []channels.Message) []channels.Result {
			results := well.Send(ctx, batch)
			for i, r := range results {
				if r.Err != nil && ctx.Err() != nil {
					results[i] = channels.Failed(channels.ClassTemporary, "", errors.New("who knows"))
				}
			}
			return results
		}
	},
	"retry table": func() func(context.Context, channels.Channel, []channels.Message) []channels.Result {
		return func(ctx context.Context, well channels.Channel, batch []channels.Message) []channels.Result {
			results := well.Send(ctx, batch)
			for i, r := range results {
				if r.Err != nil && channels.AsDelivery(r.Err).Class == channels.ClassAddress {
					results[i] = channels.Failed(channels.ClassTemporary, "", r.Err)
				}
			}
			return results
		}
	},
	"sends in order": func() func(context.Context, channels.Channel, []channels.Message) []channels.Result {
		return func(ctx context.Context, well channels.Channel, batch []channels.Message) []channels.Result {
			if len(batch) > 1 { // says that it sent what it did not
				return append(well.Send(ctx, batch[1:]), channels.Result{})
			}
			return well.Send(ctx, batch)
		}
	},
}

// TestSick runs the kit on a sick adapter; only TestKitFindsSicknesses calls it.
func TestSick(t *testing.T) {
	sickness, ok := sicknesses[os.Getenv("CHANNELTEST_SICKNESS")]
	if !ok {
		return
	}
	spec := apns.Spec()
	open, send := spec.New, sickness()
	spec.New = func(o channels.Options) (channels.Channel, error) {
		well, err := open(o)
		return sick{well, send}, err
	}
	kit := channeltest.Kit{
		Spec: spec,
		Start: func(t *testing.T, now func() time.Time) channeltest.Provider {
			server, err := apnsd.Start(apnsd.Config{Now: now})
			require.NoError(t, err)
			t.Cleanup(server.Close)
			return channeltest.Provider{Log: server.Log, Stop: server.Close, Config: map[string]any{
				"topic": "example.shop", "key": string(server.KeyPEM), "key_id": server.KeyID, "team_id": server.TeamID,
				"host": server.Host(), "ca": string(server.CA.PEM),
			}}
		},
		Message: channeltest.Message,
		ID:      channels.UUID,
	}
	for _, a := range spec.Answers {
		if a.Code != "" {
			c := channeltest.Case{Name: a.Code, Class: a.Class}
			c.Fault.Status, c.Fault.Code = a.Status, a.Code
			kit.Cases = append(kit.Cases, c)
		}
	}
	kit.Run(t)
}

func TestKitFindsSicknesses(t *testing.T) {
	for name := range sicknesses {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestSick$/^"+strings.ReplaceAll(name, " ", "_")+"$", "-test.v")
			cmd.Env = append(os.Environ(), "CHANNELTEST_SICKNESS="+name)
			out, err := cmd.CombinedOutput()
			require.Error(t, err, "%s", out)
			require.Contains(t, string(out), "--- FAIL: TestSick/"+strings.ReplaceAll(name, " ", "_"))
		})
	}
}

package inbox_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/channels"
	"nudge/channels/channeltest"
	"nudge/channels/inbox"
)

// listed remembers what a channel answers: of an inbox, the ids under which the ledger has the messages.
type listed struct {
	channels.Channel
	mu  sync.Mutex
	ids []string
}

func (l *listed) Send(ctx context.Context, batch []channels.Message) []channels.Result {
	results := l.Channel.Send(ctx, batch)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range results {
		if r.Err == nil {
			l.ids = append(l.ids, r.ProviderID)
		}
	}
	return results
}

func TestConformance(t *testing.T) {
	var l *listed
	spec := inbox.Spec()
	spec.New = func(o channels.Options) (channels.Channel, error) {
		c, err := inbox.Spec().New(o)
		l = &listed{Channel: c}
		return l, err
	}
	channeltest.Kit{
		Spec: spec,
		Start: func(*testing.T, func() time.Time) channeltest.Provider {
			return channeltest.Provider{Config: map[string]any{}, Output: func() []string {
				l.mu.Lock()
				defer l.mu.Unlock()
				return slices.Clone(l.ids)
			}}
		},
		Message: func(i int) channels.Message {
			m := channeltest.Message(i)
			m.Signed = "signed " + m.Key
			return m
		},
		ID: func(key string) string { return "signed " + key },
	}.Run(t)
}

func TestRefusals(t *testing.T) {
	channel, err := inbox.Spec().New(channels.Options{})
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		change func(m *channels.Message)
		want   string
	}{
		"a test message":           {func(m *channels.Message) { m.Signed = "" }, "in no ledger"},
		"what is no JSON":          {func(m *channels.Message) { m.Fields["data"] = func() {} }, "encoding the message"},
		"more than an inbox takes": {func(m *channels.Message) { m.Fields["body"] = string(make([]byte, inbox.MaxPayload)) }, "an inbox takes 32768"},
	} {
		t.Run(name, func(t *testing.T) {
			m := channeltest.Message(1)
			tc.change(&m)
			failure := channels.AsDelivery(channel.Send(t.Context(), []channels.Message{m})[0].Err)
			require.Equal(t, channels.ClassMessage, failure.Class)
			require.ErrorContains(t, failure, tc.want)
		})
	}
}

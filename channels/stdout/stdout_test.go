package stdout_test

import (
	"bytes"
	"errors"
	"regexp"
	"sync"
	"testing"
	"time"

	"nudge/channels"
	"nudge/channels/channeltest"
	"nudge/channels/stdout"

	"github.com/stretchr/testify/require"
)

// buffer is an output that several goroutines may use.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func TestConformance(t *testing.T) {
	channeltest.Kit{
		Spec: stdout.Spec(),
		Start: func(*testing.T, func() time.Time) channeltest.Provider {
			out := &buffer{}
			return channeltest.Provider{
				Config: map[string]any{},
				Stdout: out,
				Output: func() []string {
					var keys []string
					for _, match := range regexp.MustCompile(`key=(\S+)`).FindAllStringSubmatch(out.buf.String(), -1) {
						keys = append(keys, match[1])
					}
					return keys
				},
			}
		},
		Message: func(i int) channels.Message {
			m := channeltest.Message(i)
			m.Fields = map[string]any{"title": "key=" + m.Key}
			return m
		},
		ID: func(key string) string { return key },
	}.Run(t)
}

func TestFormat(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for _, c := range []struct {
		name    string
		config  string
		message channels.Message
		want    string
	}{
		{
			"a push", `{}`,
			channels.Message{
				Address: channels.Address{UserID: "u1", Token: "0123456789abcdef0123", Platform: "ios"},
				Fields:  map[string]any{"title": "Still thinking?", "body": "It waits.", "link": "https://shop.example/cart", "badge": 3.0},
				About:   map[string]string{"rule": "cart-abandoned"},
			},
			"2026-03-04 05:06:07  → u1 (ios 0123…0123)  [cart-abandoned]  Still thinking?\n    It waits.\n    https://shop.example/cart\n    badge: 3\n",
		},
		{
			"an e-mail, without other fields", `{"fields": false}`,
			channels.Message{Address: channels.Address{Email: "a@b.example"}, Fields: map[string]any{"body": "Hello", "badge": 3.0}},
			"2026-03-04 05:06:07  → <a@b.example>\n    Hello\n",
		},
		{
			"control characters stay out of the terminal", `{}`,
			channels.Message{Address: channels.Address{UserID: "u\x1b[31m1"}, Fields: map[string]any{"title": "a\nb\x07"}},
			"2026-03-04 05:06:07  → u[31m1  a b\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			channel, err := stdout.Spec().New(channels.Options{Config: []byte(c.config), Stdout: &out, Now: func() time.Time { return at }})
			require.NoError(t, err)
			require.NoError(t, channel.Send(t.Context(), []channels.Message{c.message})[0].Err)
			require.Equal(t, c.want, out.String())
		})
	}
}

// full is an output that is full.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestFailedWriteIsTemporary(t *testing.T) {
	channel, err := stdout.Spec().New(channels.Options{Stdout: full{}, Now: time.Now})
	require.NoError(t, err)
	failure := channels.AsDelivery(channel.Send(t.Context(), []channels.Message{{Key: "k"}})[0].Err)
	require.Equal(t, channels.ClassTemporary, failure.Class)
}

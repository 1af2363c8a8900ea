package channels_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"nudge/channels"

	"github.com/stretchr/testify/require"
)

func TestKeysStayWhatTheyAre(t *testing.T) {
	// Fixed for ever: other values would let retries after an upgrade arrive twice.
	require.Equal(t, "08c417da-e863-56d8-ac83-e5be9956cdc8", channels.UUID("cart/1/push"))
	require.Equal(t, "qaE30MKuHDHub-JkCg3dyQ", channels.ShortHash("cart/1/push"))
}

func TestMessageFields(t *testing.T) {
	m := channels.Message{Fields: map[string]any{
		"text": "a", "number": 2.5, "whole": 3.0, "rendered": " 7 ", "yes": true, "yes_text": "true", "null": nil, "empty": "",
		"list": []any{1.0}, "map": map[string]any{"a": 1.0}, "big": 12345678901.0,
		"actions": []any{map[string]any{"id": "buy", "title": "Buy", "link": "https://x.example"}},
	}}
	for name, want := range map[string]string{"text": "a", "number": "2.5", "whole": "3", "yes": "true", "null": "", "absent": "", "list": "[1]", "map": `{"a":1}`, "big": "12345678901"} {
		require.Equal(t, want, m.Text(name), name)
	}
	for name, want := range map[string]int{"whole": 3, "rendered": 7} {
		n, given, err := m.Int(name)
		require.NoError(t, err)
		require.True(t, given)
		require.Equal(t, want, n)
	}
	for _, name := range []string{"absent", "null", "empty"} {
		_, given, err := m.Int(name)
		require.NoError(t, err)
		require.False(t, given, name)
	}
	for _, name := range []string{"text", "number", "list", "yes"} {
		_, _, err := m.Int(name)
		require.ErrorContains(t, err, "the field "+name+" is not a")
		require.Equal(t, channels.ClassMessage, channels.AsDelivery(err).Class)
	}
	require.True(t, m.Flag("yes"))
	require.True(t, m.Flag("yes_text"))
	require.False(t, m.Flag("text"))
	actions, err := m.Actions()
	require.NoError(t, err)
	require.Equal(t, []channels.Action{{ID: "buy", Title: "Buy", Link: "https://x.example"}}, actions)
	_, err = (&channels.Message{Fields: map[string]any{"actions": "buy"}}).Actions()
	require.Error(t, err)
	_, err = m.Map("text")
	require.Error(t, err)
}

func TestLifetime(t *testing.T) {
	for name, c := range map[string]struct {
		m    channels.Message
		want time.Duration
		bad  bool
	}{
		"the message's": {channels.Message{TTL: time.Hour, Fields: map[string]any{"ttl": "2h"}}, time.Hour, false},
		"the field's":   {channels.Message{Fields: map[string]any{"ttl": "2h"}}, 2 * time.Hour, false},
		"none":          {channels.Message{}, 0, false},
		"not one":       {channels.Message{Fields: map[string]any{"ttl": "soon"}}, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.m.Lifetime()
			require.Equal(t, c.bad, err != nil)
			require.Equal(t, c.want, got)
		})
	}
}

func TestClassify(t *testing.T) {
	table := []channels.Answer{
		{Status: 400, Code: "BadToken", Class: channels.ClassAddress},
		{Status: 0, Code: "SLOW", Class: channels.ClassRateLimit},
		{Status: 404, Class: channels.ClassCredential},
	}
	for _, c := range []struct {
		status int
		code   string
		want   channels.Class
	}{
		{200, "", ""},
		{204, "", ""},
		{301, "", channels.ClassCredential},
		{400, "BadToken", channels.ClassAddress},
		{400, "Other", channels.ClassMessage},
		{410, "BadToken", channels.ClassMessage},
		{400, "SLOW", channels.ClassRateLimit},
		{503, "SLOW", channels.ClassRateLimit},
		{404, "", channels.ClassCredential},
		{404, "Other", channels.ClassCredential},
		{401, "", channels.ClassCredential},
		{403, "", channels.ClassCredential},
		{407, "", channels.ClassCredential},
		{408, "", channels.ClassTemporary},
		{425, "", channels.ClassTemporary},
		{429, "", channels.ClassRateLimit},
		{500, "", channels.ClassTemporary},
		{599, "", channels.ClassTemporary},
	} {
		require.Equal(t, c.want, channels.Classify(table, c.status, c.code), "%d %s", c.status, c.code)
	}
}

func TestTransportDropsURLs(t *testing.T) {
	err := fmt.Errorf("sending: %w", &url.Error{Op: "Post", URL: "https://push.example/3/device/0123456789abcdef", Err: errors.New("broken pipe for hunter2")})
	failure := channels.Transport(t.Context(), err, "hunter2")
	require.Equal(t, channels.ClassTemporary, failure.Class)
	require.Equal(t, "temporary (network): broken pipe for ***", failure.Error())
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	failure = channels.Transport(cancelled, err)
	require.Equal(t, channels.ClassCancelled, failure.Class)
	require.ErrorIs(t, failure, context.Canceled)
	require.Equal(t, "timeout", channels.Transport(t.Context(), context.DeadlineExceeded).Code)
}

func TestExcerpt(t *testing.T) {
	require.Equal(t, "a *** b", channels.Excerpt([]byte("a\n\thunter2   b\xff"), "hunter2"))
	require.LessOrEqual(t, len(channels.Excerpt(make([]byte, 1<<20))), 210)
}

func TestEachKeepsOrderAndWidth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		batch := make([]channels.Message, 100)
		for i := range batch {
			batch[i].Key = strconv.Itoa(i)
		}
		var now, most atomic.Int64
		results := channels.Each(t.Context(), batch, 7, func(ctx context.Context, m *channels.Message) channels.Result {
			n := now.Add(1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			<-time.After(time.Duration(len(m.Key)) * time.Second)
			now.Add(-1)
			return channels.Result{ProviderID: m.Key}
		})
		for i, r := range results {
			require.Equal(t, strconv.Itoa(i), r.ProviderID)
		}
		require.EqualValues(t, 7, most.Load())
	})
}

func TestEachAnswersWhatItNeverBegan(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	results := channels.Each(ctx, make([]channels.Message, 10), 1, func(context.Context, *channels.Message) channels.Result {
		cancel()
		return channels.Result{}
	})
	require.NoError(t, results[0].Err)
	for _, r := range results[1:] {
		require.Equal(t, channels.ClassCancelled, channels.AsDelivery(r.Err).Class)
	}
}

func TestShortToken(t *testing.T) {
	require.Equal(t, "0123…cdef", channels.ShortToken("0123456789abcdef"))
	require.Equal(t, "…", channels.ShortToken("short"))
}

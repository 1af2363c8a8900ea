package channeltest

import (
	"encoding/json"
	"maps"
	"testing"
	"time"

	"nudge/channels"

	"github.com/stretchr/testify/require"
)

// Open opens an adapter with a config, secrets resolved, and closes it with the test.
func Open(t testing.TB, spec channels.Spec, config map[string]any) channels.Channel {
	t.Helper()
	raw, err := json.Marshal(config)
	require.NoError(t, err)
	channel, err := spec.New(channels.Options{Config: raw, Now: time.Now, Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() {
		if closer, ok := channel.(channels.Closer); ok {
			require.NoError(t, closer.Close())
		}
	})
	return channel
}

// With is a config with some fields changed, without those that are nil.
func With(config, changes map[string]any) map[string]any {
	out := maps.Clone(config)
	maps.Copy(out, changes)
	maps.DeleteFunc(out, func(_ string, v any) bool { return v == nil })
	return out
}

// Refused checks that an adapter refuses a config, with these words and without what it must not say.
func Refused(t testing.TB, spec channels.Spec, config map[string]any, words string, secrets ...string) {
	t.Helper()
	raw, err := json.Marshal(config)
	require.NoError(t, err)
	_, err = spec.New(channels.Options{Config: raw, Now: time.Now, Dir: t.TempDir()})
	require.ErrorContains(t, err, words)
	for _, secret := range secrets {
		require.NotContains(t, err.Error(), secret)
	}
}

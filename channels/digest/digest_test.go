package digest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/channels"
	"nudge/channels/channeltest"
	"nudge/channels/digest"
)

func TestNothingIsSentByItself(t *testing.T) {
	_, err := digest.Spec().New(channels.Options{Config: []byte(`{"url":"x"}`)})
	require.Error(t, err, "it has nothing to configure")
	channel, err := digest.Spec().New(channels.Options{})
	require.NoError(t, err)
	results := channel.Send(t.Context(), []channels.Message{channeltest.Message(1), channeltest.Message(2)})
	require.Len(t, results, 2)
	for _, r := range results {
		failure := channels.AsDelivery(r.Err)
		require.Equal(t, channels.ClassMessage, failure.Class)
		require.ErrorContains(t, failure, "what a digest collects is not sent by itself")
	}
}

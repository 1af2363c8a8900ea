package fcm_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"nudge/channels"
	"nudge/channels/channeltest"
	"nudge/channels/channeltest/fcmd"
	"nudge/channels/channeltest/provider"
	"nudge/channels/fcm"

	"github.com/stretchr/testify/require"
)

// BenchmarkSend measures pushes a second with the local server in the same process, which shares
// the machine's cores.
func BenchmarkSend(b *testing.B) {
	for _, delay := range []time.Duration{0, 50 * time.Millisecond} {
		b.Run(fmt.Sprintf("answers after %s", delay), func(b *testing.B) {
			server, config := start(b, fcmd.Config{Now: time.Now})
			server.Keep = false
			if delay > 0 {
				server.Script(func(provider.Request) provider.Fault { return provider.Fault{Delay: delay} })
			}
			raw, err := json.Marshal(config)
			require.NoError(b, err)
			spec := fcm.Spec()
			channel, err := spec.New(channels.Options{Config: raw, Now: time.Now})
			require.NoError(b, err)
			defer func() { require.NoError(b, channel.(channels.Closer).Close()) }()
			channeltest.Bench(b, spec, channel, message)
			b.ReportMetric(float64(server.Connections()), "connections")
			require.EqualValues(b, b.N+spec.Batch, server.Accepted())
		})
	}
}

package webhook_test

import (
	"testing"
	"time"

	"nudge/channels/channeltest"
	"nudge/channels/webhook"
)

// BenchmarkSend measures signed posts a second over TLS with the local endpoint in the same process.
func BenchmarkSend(b *testing.B) {
	server, config := start(b, time.Now)
	server.Keep = false
	channel := open(b, config, time.Now())
	spec := webhook.Spec()
	channeltest.Bench(b, spec, channel, channeltest.Message)
}

package email_test

import (
	"testing"
	"time"

	"nudge/channels/channeltest"
	"nudge/channels/channeltest/smtpd"
	"nudge/channels/email"
)

// BenchmarkSend measures messages a second over TLS, with the local server in the same process: it
// reads and checks each one, and with a key both sides do the work of the signature.
func BenchmarkSend(b *testing.B) {
	for name, with := range map[string]map[string]any{
		"signed":   {"connections": 8, "per_connection": 0},
		"unsigned": {"connections": 8, "per_connection": 0, "dkim_key": "", "dkim_selector": ""},
	} {
		b.Run(name, func(b *testing.B) {
			server, config := start(b, time.Now, func(c *smtpd.Config) {
				if name == "unsigned" {
					c.Key = nil
				}
			})
			server.Keep = false
			channel := open(b, config, with)
			spec := email.Spec()
			channeltest.Bench(b, spec, channel, letter)
		})
	}
}

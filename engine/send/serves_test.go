package send_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/channels"
	"nudge/channels/apns"
	"nudge/channels/channeltest/webpushd"
	"nudge/channels/fcm"
	"nudge/channels/webpush"
	"nudge/engine/send"
	"nudge/segments"
)

// One channel may hold them all; a device goes to the first that takes it, whatever their order.
func TestADeviceFindsItsAdapter(t *testing.T) {
	subscription := webpushd.Token("updates.push.services.mozilla.com", "ann")
	for _, c := range []struct {
		name   string
		device segments.Device
		want   string
	}{
		{"a phone of Apple's", segments.Device{Platform: "ios", Token: "a1a1"}, "apns"},
		{"a phone of Google's", segments.Device{Platform: "android", Token: "fGx:APA91b"}, "fcm"},
		{"a browser by the Firebase SDK", segments.Device{Platform: "web", Token: "fGx:APA91b"}, "fcm"},
		{"a Firebase token that begins like JSON", segments.Device{Platform: "web", Token: "eyJGx:APA91b"}, "fcm"},
		{"a browser's own subscription", segments.Device{Platform: "web", Token: subscription}, "webpush"},
		{"a phone with a browser's token", segments.Device{Platform: "android", Token: subscription}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var takers []string
			for _, spec := range []channels.Spec{apns.Spec(), fcm.Spec(), webpush.Spec()} {
				if send.Serves(spec, nil, c.device) {
					takers = append(takers, spec.Name)
				}
			}
			if c.want == "" {
				require.Empty(t, takers)
				return
			}
			require.Equal(t, []string{c.want}, takers)
		})
	}
}

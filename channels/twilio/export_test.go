package twilio

import (
	"net/url"

	"nudge/channels"
)

// Signature is what X-Twilio-Signature has to be.
func Signature(token, address string, form url.Values) string {
	return signature(token, address, form)
}

var _ channels.Reporter = (*channel)(nil)

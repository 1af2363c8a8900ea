package email

import (
	"net/http"

	"nudge/channels"
)

// ReachSNS has a channel ask SNS by a transport.
func ReachSNS(c channels.Channel, by http.RoundTripper) {
	c.(*channel).caller.(ses).topic.http.Transport = by
}

var _ channels.Reporter = (*channel)(nil)

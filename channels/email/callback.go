package email

import (
	"fmt"
	"mime"
	"net/http"

	"nudge/channels"
)

// Reports implements channels.Reporter: mail that came back, posted whole by whatever takes it. It needs no
// signature of its own: it tells only of a message whose signed id it brings along.
func (c *channel) Reports(r *http.Request, body []byte) ([]channels.Report, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err == nil && (kind == "message/rfc822" || kind == "message/global") {
		return returned(body)
	}
	return nil, fmt.Errorf("%w: mail that came back is posted with Content-Type: message/rfc822", channels.ErrNoCallback)
}

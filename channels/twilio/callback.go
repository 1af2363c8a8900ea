package twilio

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // it is what Twilio signs with
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"nudge/channels"
)

// messageParam has the signed id of the message in the address that Twilio calls.
const messageParam = "m"

// callback is where Twilio tells what becomes of a message, "" for nowhere.
func (c *channel) callback(m *channels.Message) string {
	if c.settings.Callback != "" || c.reports == "" || c.signing == "" || m.Signed == "" {
		return c.settings.Callback
	}
	return c.reports + "?" + messageParam + "=" + m.Signed
}

// Reports implements channels.Reporter: a status callback, signed with the account's auth token (Twilio's "Validating
// signatures": HMAC-SHA1 of the address and the sorted parameters).
func (c *channel) Reports(r *http.Request, body []byte) ([]channels.Report, error) {
	if c.reports == "" || c.signing == "" {
		return nil, channels.ErrNoCallback
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, fmt.Errorf("read the form that Twilio posts: %w", err)
	}
	address := c.reports
	if r.URL.RawQuery != "" {
		address += "?" + r.URL.RawQuery
	}
	if !hmac.Equal([]byte(signature(c.signing.Reveal(), address, form)), []byte(r.Header.Get("X-Twilio-Signature"))) {
		return nil, channels.ErrForged("the signature is not Twilio's: is the auth token that of the account, and base_url the address that Twilio calls?")
	}
	report := channels.Report{Signed: r.URL.Query().Get(messageParam), Code: form.Get("ErrorCode")}
	switch form.Get("MessageStatus") {
	case "delivered":
		report.What = channels.Delivered
	case "undelivered", "failed":
		report.What = channels.Bounced
		if report.Code != "" && channels.Classify(c.table, http.StatusBadRequest, report.Code) == channels.ClassAddress {
			report.Dead = form.Get("To")
		}
	default: // on its way
		return nil, nil
	}
	return []channels.Report{report}, nil
}

// signature is what X-Twilio-Signature has to be.
func signature(token, address string, form url.Values) string {
	h := hmac.New(sha1.New, []byte(token))
	h.Write([]byte(address))
	for _, name := range slices.Sorted(maps.Keys(form)) {
		h.Write([]byte(name + strings.Join(form[name], "")))
	}
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

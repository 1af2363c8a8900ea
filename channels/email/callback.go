package email

import (
	"fmt"
	"mime"
	"net/http"
	"net/mail"
	"strings"
	"time"

	"nudge/channels"
)

// caller is a provider that calls back.
type caller interface {
	// reports reads a call and checks that it is the provider's.
	reports(r *http.Request, body []byte) ([]channels.Report, error)
	// mark adds to the headers of a message what makes the provider hand its signed id back.
	mark(headers map[string]any, signed string) error
}

// readCallbacks reads who calls.
func (c *channel) readCallbacks(bad report) {
	s := &c.settings
	switch s.Callbacks {
	case "":
		if s.CallbackTopic != "" {
			bad("callbacks", "is missing", "callback_topic says whom to believe; say who calls: ses")
		}
	case "ses":
		t, ok := newTopic(s.CallbackTopic, c.now)
		if !ok {
			bad("callback_topic", "is not the ARN of a topic of Amazon SNS", "for example arn:aws:sns:eu-central-1:123456789012:mail")
			return
		}
		c.caller = ses{t}
	default:
		bad("callbacks", "is not ses", "")
	}
}

// Reports implements channels.Reporter: the calls of the provider that the config names, and mail that came back,
// posted whole by whatever takes it. That needs no signature of its own: it tells only of a message whose signed id it
// brings along.
func (c *channel) Reports(r *http.Request, body []byte) ([]channels.Report, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case err == nil && (kind == "message/rfc822" || kind == "message/global"):
		return returned(body)
	case c.caller == nil:
		return nil, fmt.Errorf("%w: name the provider in the config of email (callbacks), and post mail that came back with Content-Type: message/rfc822", channels.ErrNoCallback)
	}
	return c.caller.reports(r, body)
}

// oldest is how far from now the time of a call may be: long enough for the provider's first attempts to repeat it,
// and short enough that who got hold of one has little use for it.
const oldest = 15 * time.Minute

// stale says whether a call is too old, or from the future.
func stale(at, now time.Time) bool { return now.Sub(at).Abs() > oldest }

// errStale refuses a call that is stale.
func errStale() error {
	return channels.ErrForged("the call is not of the last 15 minutes: is the clock of this machine right?")
}

// instant reads an instant as ISO 8601 has it; one that is none is zero.
func instant(text string) time.Time {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}
	}
	return at.UTC()
}

// addressIn is the bare address of a recipient.
func addressIn(recipient string) string {
	if parsed, err := mail.ParseAddress(recipient); err == nil {
		return parsed.Address
	}
	return strings.TrimSpace(recipient)
}

// nobody says whether what a provider calls a hard bounce means that there is nobody at the address. Some call so what
// is a matter of policy or of our set-up too; then its enhanced code says that. One that says nothing leaves it at the
// provider's word.
func nobody(code string) bool {
	if code == "" || strings.HasSuffix(code, ".0.0") || code == "5.5.0" {
		return true
	}
	class := classOf(answers(), int(code[0]-'0')*100+50, code)
	return class == channels.ClassAddress || class == channels.ClassMessage && strings.HasPrefix(code, "5.1.")
}

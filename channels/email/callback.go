package email

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/mail"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"nudge/channels"
)

// caller is a provider that calls back.
type caller interface {
	// reports reads a call and checks that it is the provider's.
	reports(r *http.Request, body []byte) ([]channels.Report, error)
	// mark adds to the headers of a message what makes the provider hand its signed id back.
	mark(headers map[string]any, signed string) error
}

// markName is what a provider that hands metadata back has the signed id as.
const markName = "nudge_message"

// shortestKey is that of a key that is a password, in bytes.
const shortestKey = 16

// readCallbacks reads who calls.
func (c *channel) readCallbacks(bad report) {
	s := &c.settings
	key := s.CallbackKey.Reveal()
	providers := []string{"ses", "sendgrid", "mailgun", "postmark"}
	switch {
	case s.Callbacks == "":
		if key != "" || s.CallbackTopic != "" {
			bad("callbacks", "is missing", "callback_key and callback_topic say what to believe; say who calls: "+strings.Join(providers, ", "))
		}
		return
	case !slices.Contains(providers, s.Callbacks):
		bad("callbacks", "is none of "+strings.Join(providers, ", "), "")
		return
	case s.Callbacks == "ses" && key != "":
		bad("callback_key", "is of no use with ses", "Amazon SNS signs with a certificate; callback_topic says which topic is believed")
	case s.Callbacks != "ses" && s.CallbackTopic != "":
		bad("callback_topic", "is of no use with "+s.Callbacks, "it is a topic of Amazon SNS, for ses")
	case s.Callbacks != "ses" && key == "":
		bad("callback_key", "is missing", "without it anybody could call")
		return
	}
	switch s.Callbacks {
	case "ses":
		t, ok := newTopic(s.CallbackTopic, c.now)
		if !ok {
			bad("callback_topic", "is not the ARN of a topic of Amazon SNS", "for example arn:aws:sns:eu-central-1:123456789012:mail")
		}
		c.caller = ses{t}
	case "sendgrid":
		public, err := newSendgrid(key, c.now)
		if err != nil {
			bad("callback_key", err.Error(), "copy the verification key of the signed event webhook")
		}
		c.caller = public
	case "mailgun":
		c.caller = newMailgun(s.CallbackKey, c.now)
	case "postmark":
		if len(key) < shortestKey {
			bad("callback_key", "is shorter than "+strconv.Itoa(shortestKey)+" characters", "make one with openssl rand -hex 24")
		}
		c.caller = postmark{s.CallbackKey}
	}
}

// markJSON puts the signed id into a header that is a JSON object, below some names of it, beside what stands there.
func markJSON(headers map[string]any, name, signed string, below ...string) error {
	all := map[string]any{}
	for have := range headers {
		own := channels.Message{Fields: headers}
		text := own.Text(have)
		if !strings.EqualFold(have, name) || strings.TrimSpace(text) == "" {
			continue
		}
		name = have
		dec := json.NewDecoder(strings.NewReader(text))
		dec.UseNumber()
		if err := dec.Decode(&all); err != nil || all == nil || dec.More() {
			return refused("field", "the header %s is not a JSON object, which nudge could add its id to", name)
		}
	}
	in := all
	for _, key := range below {
		inner, ok := in[key].(map[string]any)
		if in[key] != nil && !ok {
			return refused("field", "%s of the header %s is not a JSON object, which nudge could add its id to", key, name)
		}
		if !ok {
			inner = map[string]any{}
			in[key] = inner
		}
		in = inner
	}
	in[markName] = signed
	raw, err := json.MarshalIndent(all, "", " ") // a header is folded at blanks
	if err != nil {
		return fmt.Errorf("writing the header %s: %w", name, err)
	}
	headers[name] = asciiJSON(string(raw))
	return nil
}

// asciiJSON writes JSON in ASCII: what is beyond would be written as encoded words, which are no JSON.
func asciiJSON(text string) string {
	var out strings.Builder
	for _, unit := range utf16.Encode([]rune(text)) {
		if unit < 0x80 {
			out.WriteByte(byte(unit))
		} else {
			fmt.Fprintf(&out, `\u%04x`, unit)
		}
	}
	return out.String()
}

// Reports implements channels.Reporter: the calls of the provider that the config names, and mail that came back,
// posted whole by whatever takes it. That needs no signature of its own: it tells only of a message whose signed id it
// brings along.
func (c *channel) Reports(r *http.Request, body []byte) ([]channels.Report, error) {
	const mailed = "mail that came back is posted with Content-Type: message/rfc822"
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case err == nil && (kind == "message/rfc822" || kind == "message/global"):
		return returned(body)
	case c.caller == nil:
		return nil, fmt.Errorf("%w: name the provider in the config of email (callbacks); %s", channels.ErrNoCallback, mailed)
	case kind == "application/x-www-form-urlencoded": // curl says so if it is not told
		return nil, errors.New("the provider of the config (" + c.settings.Callbacks + ") posts no forms; " + mailed)
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

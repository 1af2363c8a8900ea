package email

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"nudge/channels"
)

// postmark is Postmark: its pages on webhooks, which carry a password instead of a signature, and "Custom metadata FAQ".
type postmark struct{ key channels.Secret }

// keyHeader has the password where it does not stand in the webhook's address.
const keyHeader = "X-Nudge-Key"

// What Postmark takes of metadata: as many fields, of so many bytes each.
const (
	mostMetadata   = 10
	metadataLength = 80
)

// metadataName is the n-th field's.
func metadataName(n int) string { return markName + "_" + strconv.Itoa(n) }

// mark implements caller. A signed id is longer than one field. One that is longer than all of them stays away: the
// message goes out, and nothing is told of it.
func (postmark) mark(headers map[string]any, signed string) error {
	if len(signed) > mostMetadata*metadataLength {
		return nil
	}
	for n := 1; signed != ""; n++ {
		part := signed[:min(len(signed), metadataLength)]
		headers["X-PM-Metadata-"+metadataName(n)] = part
		signed = signed[len(part):]
	}
	return nil
}

// postmarkEvent is what is read of a call.
type postmarkEvent struct {
	RecordType        string
	Metadata          map[string]any
	Type              string // of a bounce: HardBounce, SoftBounce, …
	Email             string
	Description       string
	Details           string
	BouncedAt         string
	DeliveredAt       string
	ReceivedAt        string // of an open or a click
	ChangedAt         string
	UserAgent         string
	OriginalLink      string
	SuppressSending   bool
	SuppressionReason string
}

// reports implements caller.
func (p postmark) reports(r *http.Request, body []byte) ([]channels.Report, error) {
	_, password, _ := r.BasicAuth()
	if !p.known(password) && !p.known(r.Header.Get(keyHeader)) {
		return nil, channels.ErrForged("callback_key is missing: give it in the webhook's address (https://nudge:KEY@…), or in its header " + keyHeader)
	}
	var e postmarkEvent
	if err := json.Unmarshal(body, &e); err != nil {
		return nil, fmt.Errorf("read what Postmark posts: %w", err)
	}
	one := channels.Report{Signed: e.signed()}
	if one.Signed == "" {
		return nil, nil
	}
	switch e.RecordType {
	case "Delivery":
		one.What, one.At = channels.Delivered, instant(e.DeliveredAt)
	case "Bounce":
		return e.bounces(one), nil
	case "SpamComplaint":
		one.What, one.At = channels.Complained, instant(e.BouncedAt)
	case "Open":
		one.What, one.At, one.Machine = channels.Opened, instant(e.ReceivedAt), channels.ByMachine(e.UserAgent)
	case "Click":
		one.What, one.At, one.Machine = channels.Clicked, instant(e.ReceivedAt), channels.ByMachine(e.UserAgent)
		one.Link = e.OriginalLink
	case "SubscriptionChange": // bounces and complaints are told by themselves
		if !e.SuppressSending || e.SuppressionReason != "ManualSuppression" {
			return nil, nil
		}
		one.What, one.At = channels.Unsubscribed, instant(e.ChangedAt)
	default:
		return nil, nil
	}
	return []channels.Report{one}, nil
}

// known says whether a password is the right one, in a time that does not tell how much of it is.
func (p postmark) known(password string) bool {
	a, b := sha256.Sum256([]byte(password)), sha256.Sum256([]byte(p.key.Reveal()))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// signed is the id that comes back. The names of fields come from a header, whose case nobody keeps.
func (e *postmarkEvent) signed() string {
	fields := make(map[string]string, len(e.Metadata))
	for name, value := range e.Metadata {
		if text, ok := value.(string); ok {
			fields[strings.ToLower(name)] = text
		}
	}
	var all strings.Builder
	for n := 1; n <= mostMetadata; n++ {
		all.WriteString(fields[metadataName(n)])
	}
	return unfolded(all.String())
}

// bounces is what a bounce tells ("Bounce types").
func (e *postmarkEvent) bounces(one channels.Report) []channels.Report {
	one.What, one.At, one.Code = channels.Bounced, instant(e.BouncedAt), e.Type
	one.Detail = channels.Excerpt([]byte(strings.TrimSpace(e.Description + " " + e.Details)))
	switch e.Type {
	case "HardBounce":
		status, code := replyOf(e.Details, "")
		if status == 0 || nobody(code) {
			one.Dead = addressIn(e.Email)
		}
	case "BadEmailAddress":
		one.Dead = addressIn(e.Email)
	case "Transient", "AutoResponder", "AddressChange", "DnsError", "OpenRelayTest", "VirusNotification", "ChallengeVerification", "Subscribe":
		return nil // still under way, or an answer
	case "Unsubscribe":
		one.What = channels.Unsubscribed
	case "SpamComplaint":
		one.What = channels.Complained
	}
	return []channels.Report{one}
}

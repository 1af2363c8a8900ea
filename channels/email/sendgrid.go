package email

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"nudge/channels"
)

// sendgrid is Twilio SendGrid: "Event Webhook Reference" and "Event Webhook Security Features", and for what comes back
// "Building an X-SMTPAPI header".
type sendgrid struct {
	key *ecdsa.PublicKey
	now func() time.Time
}

// newSendgrid takes the verification key as the console shows it, base64 of DER, or as PEM.
func newSendgrid(key string, now func() time.Time) (*sendgrid, error) {
	der, err := base64.StdEncoding.DecodeString(strings.TrimSpace(key))
	if block, _ := pem.Decode([]byte(key)); block != nil {
		der, err = block.Bytes, nil
	}
	if err != nil {
		return nil, errors.New("is neither base64 nor PEM")
	}
	public, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, errors.New("is not a public key")
	}
	ec, ok := public.(*ecdsa.PublicKey)
	if !ok || ec.Curve != elliptic.P256() {
		return nil, errors.New("is not a public key of the curve P-256")
	}
	return &sendgrid{ec, now}, nil
}

// mark implements caller.
func (*sendgrid) mark(headers map[string]any, signed string) error {
	return markJSON(headers, "X-SMTPAPI", signed, "unique_args")
}

// sendgridEvent is what is read of an event. Unique arguments stand beside the event's own fields.
type sendgridEvent struct {
	Signed      string `json:"nudge_message"`
	Event       string `json:"event"`
	Email       string `json:"email"`
	Timestamp   int64  `json:"timestamp"` // Unix s
	Type        string `json:"type"`      // of a bounce: bounce or blocked
	Status      string `json:"status"`
	Reason      string `json:"reason"`
	URL         string `json:"url"`
	UserAgent   string `json:"useragent"`
	MachineOpen bool   `json:"sg_machine_open"`
}

// reports implements caller.
func (s *sendgrid) reports(r *http.Request, body []byte) ([]channels.Report, error) {
	stamp := r.Header.Get("X-Twilio-Email-Event-Webhook-Timestamp")
	signature, err := base64.StdEncoding.DecodeString(r.Header.Get("X-Twilio-Email-Event-Webhook-Signature"))
	sum := sha256.Sum256(append([]byte(stamp), body...))
	if err != nil || !ecdsa.VerifyASN1(s.key, sum[:], signature) {
		return nil, channels.ErrForged("the signature is not SendGrid's: is the signed event webhook switched on, and callback_key its verification key?")
	}
	at, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || stale(time.Unix(at, 0), s.now()) {
		return nil, errStale()
	}
	var events []sendgridEvent
	if err := json.Unmarshal(body, &events); err != nil {
		return nil, fmt.Errorf("read the events of SendGrid: %w", err)
	}
	var reports []channels.Report
	for i := range events {
		if e := &events[i]; e.Signed != "" {
			reports = append(reports, e.reports()...)
		}
	}
	return reports, nil
}

// reports is what one event tells.
func (e *sendgridEvent) reports() []channels.Report {
	one := channels.Report{Signed: unfolded(e.Signed), At: time.Unix(e.Timestamp, 0).UTC()}
	switch e.Event {
	case "delivered":
		one.What = channels.Delivered
	case "bounce":
		_, code := replyOf(e.Reason, enhancedForm.FindString(e.Status))
		one.What, one.Code, one.Detail = channels.Bounced, code, channels.Excerpt([]byte(e.Reason))
		if e.Type != "blocked" && nobody(code) {
			one.Dead = addressIn(e.Email)
		}
	case "dropped": // by SendGrid, which knows the address from before
		one.What, one.Code, one.Detail = channels.Bounced, "dropped", channels.Excerpt([]byte(e.Reason))
		switch e.Reason {
		case "Bounced Address", "Invalid":
			one.Dead = addressIn(e.Email)
		case "Unsubscribed Address", "Spam Reporting Address":
			left := one
			left.What = channels.Unsubscribed
			return []channels.Report{one, left}
		}
	case "spamreport":
		one.What = channels.Complained
	case "unsubscribe", "group_unsubscribe":
		one.What = channels.Unsubscribed
	case "open":
		one.What, one.Machine = channels.Opened, e.MachineOpen || channels.ByMachine(e.UserAgent)
	case "click":
		one.What, one.Link, one.Machine = channels.Clicked, e.URL, channels.ByMachine(e.UserAgent)
	default: // processed, deferred, group_resubscribe
		return nil
	}
	return []channels.Report{one}
}

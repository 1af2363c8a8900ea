package email

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"nudge/channels"
)

// ses is Amazon SES, which tells a topic of Amazon SNS what became of messages: "Contents of event data that Amazon SES
// publishes to Amazon SNS", and the same of the older notifications of an identity.
type ses struct{ topic *topic }

// mark implements caller: SES hands back the headers that there are.
func (ses) mark(map[string]any, string) error { return nil }

// sesEvent is what is read of an event.
type sesEvent struct {
	EventType        string // of a configuration set
	NotificationType string // of an identity
	Mail             struct {
		Headers []struct{ Name, Value string }
	}
	Bounce struct {
		BounceType        string // Permanent, Transient or Undetermined
		BounceSubType     string
		BouncedRecipients []struct{ EmailAddress, Status, DiagnosticCode string }
		Timestamp         string
	}
	Complaint struct {
		ComplaintFeedbackType string
		Timestamp             string
	}
	Delivery     struct{ Timestamp string }
	Reject       struct{ Reason string }
	Open         struct{ Timestamp, UserAgent string }
	Click        struct{ Timestamp, UserAgent, Link string }
	Subscription struct {
		Timestamp           string
		NewTopicPreferences struct{ UnsubscribeAll bool }
	}
}

// reports implements caller.
func (s ses) reports(r *http.Request, body []byte) ([]channels.Report, error) {
	text, ok, err := s.topic.open(r, body)
	// SES writes a sentence to a topic that it begins to use.
	if err != nil || !ok || !strings.HasPrefix(strings.TrimSpace(text), "{") {
		return nil, err
	}
	var e sesEvent
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		return nil, fmt.Errorf("read an event of SES: %w", err)
	}
	report := channels.Report{}
	if len(e.Mail.Headers) == 0 {
		return nil, errors.New("an event of SES has no headers, which say what message it is about: use the event destination of a configuration set, or let the identity's notifications include the original headers")
	}
	for _, h := range e.Mail.Headers {
		if strings.EqualFold(h.Name, signedHeader) {
			report.Signed = unfolded(h.Value)
		}
	}
	if report.Signed == "" {
		return nil, nil
	}
	switch e.EventType + e.NotificationType {
	case "Bounce":
		return e.bounces(report), nil
	case "Complaint":
		if e.Complaint.ComplaintFeedbackType == "not-spam" {
			return nil, nil
		}
		report.What, report.At, report.Code = channels.Complained, instant(e.Complaint.Timestamp), e.Complaint.ComplaintFeedbackType
	case "Delivery":
		report.What, report.At = channels.Delivered, instant(e.Delivery.Timestamp)
	case "Reject":
		report.What, report.Code, report.Detail = channels.Bounced, "Reject", channels.Excerpt([]byte(e.Reject.Reason))
	case "Open":
		report.What, report.At, report.Machine = channels.Opened, instant(e.Open.Timestamp), channels.ByMachine(e.Open.UserAgent)
	case "Click":
		report.What, report.At, report.Machine = channels.Clicked, instant(e.Click.Timestamp), channels.ByMachine(e.Click.UserAgent)
		report.Link = e.Click.Link
	case "Subscription":
		if !e.Subscription.NewTopicPreferences.UnsubscribeAll {
			return nil, nil
		}
		report.What, report.At = channels.Unsubscribed, instant(e.Subscription.Timestamp)
	default: // Send, DeliveryDelay
		return nil, nil
	}
	return []channels.Report{report}, nil
}

// bounces is what a bounce tells.
func (e *sesEvent) bounces(report channels.Report) []channels.Report {
	b := &e.Bounce
	report.What, report.At, report.Code = channels.Bounced, instant(b.Timestamp), b.BounceType+"/"+b.BounceSubType
	if len(b.BouncedRecipients) == 0 {
		return []channels.Report{report}
	}
	var reports []channels.Report
	for _, to := range b.BouncedRecipients {
		_, said, _ := strings.Cut(to.DiagnosticCode, ";")
		_, code := replyOf(said, enhancedForm.FindString(to.Status))
		one := report
		if code != "" {
			one.Code = code
		}
		one.Detail = channels.Excerpt([]byte(strings.TrimSpace(said)))
		if b.BounceType == "Permanent" && nobody(code) {
			one.Dead = addressIn(to.EmailAddress)
		}
		reports = append(reports, one)
	}
	return reports
}

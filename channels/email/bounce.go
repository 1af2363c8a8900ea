package email

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"net/textproto"
	"regexp"
	"strconv"
	"strings"
	"time"

	"nudge/channels"

	"github.com/emersion/go-message"
)

// notice is mail that reports on other mail (RFC 6522).
type notice struct {
	kind string // delivery-status, feedback-report, …
	at   time.Time
	// blocks are what it says to machines: for a report of delivery one about the message, then one a recipient.
	blocks []textproto.MIMEHeader
	// signed is the signed id in the message that came back, "" where it is not one of ours, or came back without its header.
	signed string
}

// returned reads mail that came back. Of mail that is no report, an answer or an out-of-office note, there is nothing
// to tell.
func returned(raw []byte) ([]channels.Report, error) {
	n, err := readNotice(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("read mail that came back: %w", err)
	}
	if n.signed == "" {
		return nil, nil
	}
	switch n.kind {
	case "delivery-status":
		return n.deliveries(), nil
	case "feedback-report":
		return n.complaints(), nil
	}
	return nil, nil
}

// readNotice reads a report; its kind is "" where the mail is none.
func readNotice(r io.Reader) (notice, error) {
	entity, err := message.Read(r)
	if fatal(err) {
		return notice{}, err
	}
	kind, params, err := entity.Header.ContentType()
	parts := entity.MultipartReader()
	if err != nil || kind != "multipart/report" || parts == nil {
		return notice{}, nil
	}
	n := notice{kind: strings.ToLower(params["report-type"]), at: dateOf(entity.Header.Get("Date"))}
	for {
		part, err := parts.NextPart()
		if fatal(err) {
			if errors.Is(err, io.EOF) || n.signed != "" { // the end, or cut off in the message that came back
				return n, nil
			}
			return notice{}, err
		}
		kind, _, err := part.Header.ContentType()
		if err != nil {
			continue
		}
		switch kind {
		case "message/delivery-status", "message/global-delivery-status", "message/feedback-report":
			if n.blocks, err = blocksOf(part.Body); err != nil {
				return notice{}, err
			}
		case "message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers":
			// What was read of a header that is cut off or broken counts: the id's signature says whether it is whole.
			header, _ := textproto.NewReader(bufio.NewReader(part.Body)).ReadMIMEHeader()
			n.signed = unfolded(header.Get(signedHeader))
		}
	}
}

// fatal says whether an error of go-message ends the reading; unknown charsets and encodings do not.
func fatal(err error) bool {
	return err != nil && !message.IsUnknownCharset(err) && !message.IsUnknownEncoding(err)
}

// unfolded is a signed id as it was before servers broke the line.
func unfolded(value string) string { return strings.Join(strings.Fields(value), "") }

// dateOf reads a date of mail; one that is none is zero.
func dateOf(value string) time.Time {
	at, err := mail.ParseDate(value)
	if err != nil {
		return time.Time{}
	}
	return at.UTC()
}

// blocksOf reads groups of fields.
func blocksOf(body io.Reader) ([]textproto.MIMEHeader, error) {
	var all []textproto.MIMEHeader
	reader := textproto.NewReader(bufio.NewReader(body))
	for {
		block, err := reader.ReadMIMEHeader()
		if len(block) > 0 {
			all = append(all, block)
		}
		switch {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil && len(all) == 0:
			return nil, err
		case err != nil:
			return all, nil
		}
	}
}

// deliveries is what a report of delivery (RFC 3464) tells: of what failed or arrived. What is late is still under
// way, and what was relayed or expanded is in hands that report no more.
func (n *notice) deliveries() []channels.Report {
	var reports []channels.Report
	table := answers()
	for _, block := range n.blocks {
		if block.Get("Final-Recipient") == "" && block.Get("Original-Recipient") == "" {
			continue // about the message
		}
		report := channels.Report{Signed: n.signed, At: n.at}
		if at := dateOf(block.Get("Last-Attempt-Date")); !at.IsZero() {
			report.At = at
		}
		switch strings.ToLower(bare(block.Get("Action"))) {
		case "failed":
			report.What = channels.Bounced
			var class channels.Class
			if class, report.Code, report.Detail = failureOf(table, block); class == channels.ClassAddress {
				report.Dead = recipientOf(block)
			}
		case "delivered":
			report.What = channels.Delivered
		default:
			continue
		}
		reports = append(reports, report)
	}
	return reports
}

// complaints is what a feedback report (RFC 5965) tells: that the person took the message for spam, or for fraud.
func (n *notice) complaints() []channels.Report {
	for _, block := range n.blocks {
		switch kind := strings.ToLower(bare(block.Get("Feedback-Type"))); kind {
		case "abuse", "fraud":
			return []channels.Report{{Signed: n.signed, What: channels.Complained, At: n.at, Code: kind}}
		}
	}
	return nil
}

// recipientOf is the address that a block is about, as we wrote it where the block knows.
func recipientOf(block textproto.MIMEHeader) string {
	for _, name := range []string{"Original-Recipient", "Final-Recipient"} {
		_, address, _ := strings.Cut(block.Get(name), ";")
		if parsed, err := mail.ParseAddress(strings.TrimSpace(address)); err == nil {
			return parsed.Address
		}
	}
	return ""
}

// replyForm is a server's reply inside a diagnostic.
var replyForm = regexp.MustCompile(`(?:^|[\s(])([245]\d\d)[ -]+(?:#?([245]\.\d{1,3}\.\d{1,3})\b)?`)

// failureOf reads a failure: what it means by the table of the server's answers (one that was temporary until the
// server gave up, 4.4.7, stays temporary: the address may live), its enhanced code or what there is of one, and what
// the other server said.
func failureOf(table []channels.Answer, block textproto.MIMEHeader) (class channels.Class, code, said string) {
	code = enhancedForm.FindString(bare(block.Get("Status")))
	kind, said, ok := strings.Cut(block.Get("Diagnostic-Code"), ";")
	status := 0
	if ok && strings.EqualFold(strings.TrimSpace(kind), "smtp") {
		status, code = replyOf(said, code)
	}
	said = channels.Excerpt([]byte(strings.TrimSpace(said)))
	switch {
	case status >= 400:
		class = classify(table, stageRecipient, status, code)
	case code != "":
		class = classify(table, stageRecipient, int(code[0]-'0')*100+50, code)
	default:
		class = channels.ClassMessage
	}
	return class, code, said
}

// replyOf reads a server's reply: its status, 0 where there is none, and the enhanced code of it or of who reports it.
func replyOf(said, code string) (int, string) {
	m := replyForm.FindStringSubmatch(said)
	if m == nil {
		return 0, code
	}
	status, _ := strconv.Atoi(m[1]) // three digits
	if m[2] != "" && (code == "" || strings.HasSuffix(code, ".0.0")) {
		code = m[2] // the server that knew says more than the one that reports
	}
	return status, code
}

// bare is a value without the comment behind it.
func bare(value string) string {
	value, _, _ = strings.Cut(value, "(")
	return strings.TrimSpace(value)
}

package email

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"net/textproto"
	"regexp"
	"strconv"
	"strings"

	"nudge/channels"

	"github.com/emersion/go-message"
)

// maxBounce is how much of a report is read, in bytes: it may bring the whole message back.
const maxBounce = 4 << 20

// ErrNoBounce is the error of mail that is no report of delivery: an answer, an out-of-office note.
var ErrNoBounce = errors.New("this is no report of delivery")

// Bounce is what a report of delivery (RFC 3464) says of one recipient.
type Bounce struct {
	// ID is the UUID of the message's key, with which its Message-ID begins and which its envelope
	// sender has with `verp`; "" where the report has neither.
	ID        string
	Recipient string
	Action    string // failed, delayed, delivered, relayed or expanded
	// Class says what it means, by the table of the server's answers; "" where nothing failed. A
	// failure that was temporary until the server gave up (4.4.7) is ClassTemporary: the address may live.
	Class channels.Class
	// Code is the enhanced code, or what there is of one.
	Code string
	// Text is what the other server said, on one line.
	Text string
}

// ParseBounce reads mail that came back, and returns a Bounce for each recipient that it is about.
func ParseBounce(r io.Reader) ([]Bounce, error) {
	entity, err := message.Read(io.LimitReader(r, maxBounce))
	if err != nil && !message.IsUnknownCharset(err) && !message.IsUnknownEncoding(err) {
		return nil, fmt.Errorf("reading a bounce: %w", err)
	}
	kind, params, err := entity.Header.ContentType()
	parts := entity.MultipartReader()
	if err != nil || kind != "multipart/report" || !strings.EqualFold(params["report-type"], "delivery-status") || parts == nil {
		return nil, ErrNoBounce
	}
	var bounces []Bounce
	id := ""
	for _, name := range []string{"To", "Delivered-To", "X-Original-To", "Envelope-To"} {
		if m := verpForm.FindStringSubmatch(entity.Header.Get(name)); m != nil {
			id = strings.ToLower(m[1])
		}
	}
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !message.IsUnknownCharset(err) && !message.IsUnknownEncoding(err) {
			if bounces != nil { // cut off in the message that came back
				break
			}
			return nil, fmt.Errorf("reading a bounce: %w", err)
		}
		kind, _, err := part.Header.ContentType()
		if err != nil {
			continue
		}
		switch kind {
		case "message/delivery-status", "message/global-delivery-status":
			some, err := recipients(part.Body)
			if err != nil {
				return nil, err
			}
			bounces = append(bounces, some...)
		case "message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers":
			header, err := textproto.NewReader(bufio.NewReader(part.Body)).ReadMIMEHeader()
			if m := idForm.FindStringSubmatch(header.Get("Message-Id")); m != nil && (err == nil || errors.Is(err, io.EOF)) {
				id = strings.ToLower(m[1])
			}
		}
	}
	if len(bounces) == 0 {
		return nil, ErrNoBounce
	}
	for i := range bounces {
		bounces[i].ID = id
	}
	return bounces, nil
}

// What our ids look like in a Message-ID, and in an envelope sender with verp.
var (
	idForm   = regexp.MustCompile(`^\s*<([0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})@`)
	verpForm = regexp.MustCompile(`\+([0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})@`)
)

// recipients reads the blocks of a status: one about the message, then one a recipient.
func recipients(body io.Reader) ([]Bounce, error) {
	var all []Bounce
	table := answers()
	reader := textproto.NewReader(bufio.NewReader(body))
	for {
		block, err := reader.ReadMIMEHeader()
		if block.Get("Final-Recipient") != "" || block.Get("Original-Recipient") != "" {
			all = append(all, bounceOf(table, block))
		}
		switch {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil && len(all) == 0:
			return nil, fmt.Errorf("reading a bounce: %w", err)
		case err != nil:
			return all, nil
		}
	}
}

// replyForm is a server's reply inside a diagnostic.
var replyForm = regexp.MustCompile(`(?:^|[\s(])([245]\d\d)[ -]+(?:#?([245]\.\d{1,3}\.\d{1,3})\b)?`)

// bounceOf reads one recipient's block.
func bounceOf(table []channels.Answer, block textproto.MIMEHeader) Bounce {
	b := Bounce{Action: strings.ToLower(bare(block.Get("Action")))}
	for _, name := range []string{"Original-Recipient", "Final-Recipient"} {
		_, address, _ := strings.Cut(block.Get(name), ";")
		if parsed, err := mail.ParseAddress(strings.TrimSpace(address)); err == nil {
			b.Recipient = parsed.Address
			break
		}
	}
	b.Code = enhancedForm.FindString(bare(block.Get("Status")))
	kind, said, ok := strings.Cut(block.Get("Diagnostic-Code"), ";")
	status := 0
	if ok && strings.EqualFold(strings.TrimSpace(kind), "smtp") {
		if m := replyForm.FindStringSubmatch(said); m != nil {
			status, _ = strconv.Atoi(m[1]) // three digits
			if m[2] != "" && (b.Code == "" || strings.HasSuffix(b.Code, ".0.0")) {
				b.Code = m[2] // the server that knew says more than the one that reports
			}
		}
	}
	b.Text = channels.Excerpt([]byte(strings.TrimSpace(said)))
	switch {
	case b.Action == "delayed":
		b.Class = channels.ClassTemporary
	case b.Action != "failed":
	case status >= 400:
		b.Class = classify(table, stageRecipient, status, b.Code)
	case b.Code != "":
		b.Class = classify(table, stageRecipient, int(b.Code[0]-'0')*100+50, b.Code)
	default:
		b.Class = channels.ClassMessage
	}
	return b
}

// bare is a value without the comment behind it.
func bare(value string) string {
	value, _, _ = strings.Cut(value, "(")
	return strings.TrimSpace(value)
}

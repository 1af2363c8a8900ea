package email

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/mail"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"nudge/channels"

	"github.com/emersion/go-message"
	"github.com/emersion/go-msgauth/dkim"
	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"
)

// transactional is the category of the messages that nobody unsubscribes from.
const transactional = "transactional"

// maxLink is how long a link in a header may be, in bytes: a line may have 998.
const maxLink = 900

// letter is a message as SMTP wants it.
type letter struct {
	id       string // Message-ID, without the angle brackets
	from, to string // the envelope
	utf8     bool   // the recipient's name is not ASCII
	raw      []byte
	hidden   []string // what no error may contain
}

// field is one header field.
type field struct{ name, value string }

// refused is the error of a message that is not sent.
func refused(code, format string, args ...any) error {
	return &channels.DeliveryError{Class: channels.ClassMessage, Code: code, Err: fmt.Errorf(format, args...)}
}

// compose makes the letter of a message. But for its Date it is the same for every attempt.
func (c *channel) compose(m *channels.Message, at time.Time) (*letter, error) {
	to, wide, err := mailbox(m.Address.Email)
	if err != nil {
		return nil, &channels.DeliveryError{Class: channels.ClassAddress, Code: "address", Err: err}
	}
	uuid := channels.UUID(m.Key)
	l := &letter{id: uuid + "@" + c.domain, from: c.bounce, to: to, utf8: wide}
	l.hidden = append(slices.Clone(c.hidden), m.Address.Email, to, m.Signed)
	if c.settings.VERP {
		name, domain, _ := strings.Cut(c.bounce, "@")
		l.from = name + "+" + uuid + "@" + domain
	}
	header, err := c.header(m, l, at)
	if err != nil {
		return nil, err
	}
	plain, page := m.Text("text"), m.Text("html")
	if strings.TrimSpace(plain) == "" && strings.TrimSpace(page) == "" {
		return nil, refused("field", "the message has neither text nor html")
	}
	if !utf8.ValidString(plain) || !utf8.ValidString(page) {
		return nil, refused("field", "the text or html is not UTF-8")
	}
	var out bytes.Buffer
	if page == "" {
		err = writeText(&out, header, plain)
	} else {
		if strings.TrimSpace(plain) == "" {
			plain = textOf(page)
		}
		err = writeBoth(&out, header, "=_"+uuid, plain, withPreheader(page, m.Text("preheader")))
	}
	if err != nil {
		return nil, refused("message", "writing the message: %w", err)
	}
	if out.Len() > maxPayload {
		return nil, refused("size", "the message is %d bytes, and at most %d are sent", out.Len(), maxPayload)
	}
	if l.raw, err = c.sign(out.Bytes()); err != nil {
		return nil, fmt.Errorf("signing the message: %w", err)
	}
	return l, nil
}

// signedHeader has the signed id of the message.
const signedHeader = "X-Nudge-Message"

// header makes the fields of a message, in the order in which they are read.
func (c *channel) header(m *channels.Message, l *letter, at time.Time) ([]field, error) {
	from, err := c.sender(m)
	if err != nil {
		return nil, err
	}
	subject := line(m.Text("subject"))
	if subject == "" {
		return nil, refused("field", "the field subject is empty")
	}
	fields := []field{
		{"From", from.String()},
		{"To", (&mail.Address{Address: l.to}).String()},
		{"Subject", subject},
		{"Date", at.UTC().Format("Mon, 02 Jan 2006 15:04:05 -0700")},
		{"Message-ID", "<" + l.id + ">"},
	}
	reply := c.settings.ReplyTo
	if text := line(m.Text("reply_to")); text != "" {
		reply = text
	}
	if reply != "" {
		to, err := mail.ParseAddress(reply)
		if err != nil {
			return nil, refused("field", "the field reply_to is not an e-mail address")
		}
		fields = append(fields, field{"Reply-To", to.String()})
	}
	unsubscribe, link, err := c.unsubscribe(m)
	if err != nil {
		return nil, err
	}
	fields = append(fields, unsubscribe...)
	if link != "" {
		l.hidden = append(l.hidden, link)
	}
	if m.Signed != "" {
		// What comes back brings our header with it, and so says which message it was.
		fields = append(fields, field{signedHeader, m.Signed})
		l.hidden = append(l.hidden, m.Signed)
	}
	own, err := m.Map("headers")
	if err != nil {
		return nil, err
	}
	values := channels.Message{Fields: maps.Clone(c.settings.Headers)}
	if values.Fields == nil {
		values.Fields = map[string]any{}
	}
	for name, value := range own {
		if problem := headerProblem(name); problem != "" {
			return nil, refused("field", "the field headers has %s, which %s", name, problem)
		}
		maps.DeleteFunc(values.Fields, func(have string, _ any) bool { return strings.EqualFold(have, name) })
		values.Fields[name] = value
	}
	if c.caller != nil && m.Signed != "" {
		if err := c.caller.mark(values.Fields, m.Signed); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(values.Fields)) {
		fields = append(fields, field{name, line(values.Text(name))})
	}
	return fields, nil
}

// sender is the From address: a message may have its own at the channel's domain, which is what
// SPF, DKIM and DMARC speak for.
func (c *channel) sender(m *channels.Message) (*mail.Address, error) {
	from := *c.from
	if text := line(m.Text("from")); text != "" {
		own, err := mail.ParseAddress(text)
		if err != nil {
			return nil, refused("field", "the field from is not an e-mail address")
		}
		address, wide, err := mailbox(own.Address)
		if err != nil || wide || !strings.EqualFold(domainOf(address), c.domain) {
			return nil, refused("field", "the field from is not an address at %s, the domain of the channel's `from`", c.domain)
		}
		from = mail.Address{Name: own.Name, Address: address}
	}
	return &from, nil
}

// unsubscribe makes the header fields by which inboxes offer to unsubscribe, at one click where there
// is a link (RFC 8058): the message's own, else the channel's, else nudge's page of preferences.
func (c *channel) unsubscribe(m *channels.Message) (fields []field, link string, err error) {
	link = strings.TrimSpace(m.Text("unsubscribe"))
	promotional := m.About["category"] != transactional
	if link == "" && promotional {
		link = c.unsubscribeLink(m)
	}
	if link == "" && strings.HasPrefix(m.Unsubscribe, "https://") { // inboxes take no other; a base_url may be http where one tries things out
		link = m.Unsubscribe
	}
	var ways []string
	if link != "" {
		u, err := url.Parse(link)
		if err == nil {
			link = escaped(u.String())
		}
		if err != nil || u.Scheme != "https" || u.Host == "" || len(link) > maxLink {
			return nil, "", refused("field", "the field unsubscribe is not an https link of at most %d bytes", maxLink)
		}
		ways = append(ways, "<"+link+">")
	}
	if c.mailto != "" && promotional {
		ways = append(ways, "<"+c.mailto+">")
	}
	if len(ways) == 0 {
		return nil, "", nil
	}
	fields = append(fields, field{"List-Unsubscribe", strings.Join(ways, ", ")})
	if link != "" {
		fields = append(fields, field{"List-Unsubscribe-Post", "List-Unsubscribe=One-Click"})
	}
	return fields, link, nil
}

// escaped is a link without what would end it in a header; net/url leaves queries as they are.
func escaped(link string) string {
	var out strings.Builder
	for i := range len(link) {
		if b := link[i]; b <= ' ' || b >= 0x7f || b == '<' || b == '>' || b == '"' {
			fmt.Fprintf(&out, "%%%02X", b)
		} else {
			out.WriteByte(b)
		}
	}
	return out.String()
}

// unsubscribeLink is the channel's link for one message, "" where it has none, or where the link is to
// carry a signed id and the message (a test of `nudge send`) has none: it would lead nowhere.
func (c *channel) unsubscribeLink(m *channels.Message) string {
	link := c.settings.Unsubscribe
	if strings.Contains(link, "message_id") && m.Signed == "" {
		return ""
	}
	values := map[string]string{
		"message_id": m.Signed, "user_id": m.Address.UserID, "category": m.About["category"], "rule": m.About["rule"], "channel": m.About["channel"],
	}
	return placeholder.ReplaceAllStringFunc(link, func(spot string) string {
		return url.QueryEscape(values[placeholder.FindStringSubmatch(spot)[1]])
	})
}

// headerProblem says why a message or config may not set a header field, "" where it may.
func headerProblem(name string) string {
	for _, r := range name {
		if r <= ' ' || r >= 0x7f || r == ':' {
			return "is not a header's name"
		}
	}
	low := strings.ToLower(name)
	switch low {
	case "":
		return "is not a header's name"
	case "from", "sender", "to", "cc", "bcc", "subject", "date", "message-id", "reply-to", "mime-version", "received", "return-path", "dkim-signature":
		return "is set by the adapter"
	}
	if strings.HasPrefix(low, "content-") || strings.HasPrefix(low, "list-unsubscribe") {
		return "is set by the adapter"
	}
	return ""
}

// line is a text on one line.
func line(s string) string { return strings.Join(strings.Fields(s), " ") }

// head makes a header of fields. go-message writes what was added last first.
func head(fields []field) message.Header {
	var h message.Header
	for _, f := range slices.Backward(fields) {
		switch f.name {
		case "From", "To", "Reply-To", "List-Unsubscribe", "Message-ID": // as they are: addresses encode their names themselves
			h.Set(f.name, f.value)
		default:
			if strings.Contains(f.value, "=?") {
				h.Set(f.name, encodedWords(f.value))
			} else {
				h.SetText(f.name, f.value)
			}
		}
	}
	return h
}

// encodedWords encodes a text whole: one that looks like an encoded word would be read as one, and
// libraries encode only what is not ASCII.
func encodedWords(s string) string {
	const most = 45 // bytes: 60 of base64, 72 with what stands around them, of 75
	var words []string
	for len(s) > 0 {
		n := min(most, len(s))
		for n < len(s) && !utf8.RuneStart(s[n]) {
			n--
		}
		words = append(words, "=?utf-8?b?"+base64.StdEncoding.EncodeToString([]byte(s[:n]))+"?=")
		s = s[n:]
	}
	return strings.Join(words, " ")
}

// partHeader is the header of a text: quoted-printable, and base64 for scripts that it would treble. Both
// are safe for any server and any line: nothing depends on 8BITMIME, on dots or on trailing blanks.
func partHeader(h *message.Header, kind, body string) {
	encoding, wide := "quoted-printable", 0
	for i := range len(body) {
		if body[i] >= 0x80 {
			wide++
		}
	}
	if wide > len(body)/3 {
		encoding = "base64"
	}
	h.Set("Content-Transfer-Encoding", encoding)
	h.SetContentType("text/"+kind, map[string]string{"charset": "utf-8"})
}

// writeText writes a message of text alone.
func writeText(out *bytes.Buffer, fields []field, plain string) error {
	h := head(fields)
	partHeader(&h, "plain", plain)
	w, err := message.CreateWriter(out, h)
	if err != nil {
		return err
	}
	if err := writeBody(w, plain); err != nil {
		return err
	}
	endLine(out)
	return nil
}

// writeBoth writes a message of text and HTML. The boundary cannot occur in either: "=" and "_" never
// stand together in quoted-printable, and neither is in base64.
func writeBoth(out *bytes.Buffer, fields []field, boundary, plain, page string) error {
	h := head(fields)
	h.SetContentType("multipart/alternative", map[string]string{"boundary": boundary})
	w, err := message.CreateWriter(out, h)
	if err != nil {
		return err
	}
	for _, part := range []struct{ kind, body string }{{"plain", plain}, {"html", page}} { // the best last (RFC 2046)
		var ph message.Header
		partHeader(&ph, part.kind, part.body)
		pw, err := w.CreatePart(ph)
		if err != nil {
			return err
		}
		if err := writeBody(pw, part.body); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	endLine(out)
	return nil
}

// writeBody writes a text with the line ends of mail.
func writeBody(w io.WriteCloser, body string) error {
	body = strings.ReplaceAll(strings.ReplaceAll(body, "\r\n", "\n"), "\r", "\n")
	if _, err := io.WriteString(w, strings.ReplaceAll(body, "\n", "\r\n")); err != nil {
		return err
	}
	return w.Close()
}

// endLine ends the last line: SMTP would, and the signature is over what arrives.
func endLine(out *bytes.Buffer) {
	if !bytes.HasSuffix(out.Bytes(), []byte("\r\n")) {
		out.WriteString("\r\n")
	}
}

// signed are the header fields under the signature. From and Subject are named twice, so that nobody
// adds another (RFC 6376, 8.15); RFC 8058 wants both of List-Unsubscribe.
func signed() []string {
	return []string{"From", "From", "To", "Subject", "Subject", "Date", "Message-Id", "Reply-To", "Mime-Version", "Content-Type", "Content-Transfer-Encoding", "List-Unsubscribe", "List-Unsubscribe-Post"}
}

// sign puts a DKIM signature in front of a message, where there is a key. Its time is the library's.
func (c *channel) sign(raw []byte) ([]byte, error) {
	if c.key == nil {
		return raw, nil
	}
	signer, err := dkim.NewSigner(&dkim.SignOptions{
		Domain: c.dkimDomain, Selector: c.settings.DKIMSelector, Signer: c.key, HeaderKeys: signed(),
		HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
	})
	if err != nil {
		return nil, err
	}
	_, err = signer.Write(raw)
	if err := errors.Join(err, signer.Close()); err != nil {
		return nil, err
	}
	return append([]byte(signer.Signature()), raw...), nil
}

// mailbox reads a bare address; its domain comes back as DNS has it, and wide says that what stands
// before it takes SMTPUTF8. Errors do not repeat the address.
func mailbox(address string) (clean string, wide bool, err error) {
	address = strings.TrimSpace(address)
	if address == "" {
		return "", false, errors.New("the person has no e-mail address")
	}
	parsed, err := mail.ParseAddress(address)
	if err != nil || parsed.Address != address {
		return "", false, errors.New("the e-mail address is malformed")
	}
	at := strings.LastIndexByte(address, '@')
	domain, err := idna.Lookup.ToASCII(address[at+1:])
	if err != nil || domain == "" {
		return "", false, errors.New("the e-mail address's domain is malformed")
	}
	clean = address[:at] + "@" + domain
	if at > 64 || len(clean) > 254 {
		return "", false, errors.New("the e-mail address is too long")
	}
	return clean, strings.ContainsFunc(address[:at], func(r rune) bool { return r >= 0x80 }), nil
}

// domainOf is what stands after the @.
func domainOf(address string) string { return address[strings.LastIndexByte(address, '@')+1:] }

// aligned says whether a signature of a domain speaks for a From address, as DMARC sees it by default:
// both belong to one registered domain.
func aligned(from, signer string) bool {
	a, err := publicsuffix.EffectiveTLDPlusOne(strings.ToLower(from))
	if err != nil {
		return strings.EqualFold(from, signer)
	}
	b, err := publicsuffix.EffectiveTLDPlusOne(strings.ToLower(signer))
	return err == nil && a == b
}

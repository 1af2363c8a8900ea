package smtpd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/mail"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-message"
	"github.com/emersion/go-msgauth/dkim"
	"github.com/emersion/go-smtp"
)

// letter is a message as it was read.
type letter struct {
	header textproto.MIMEHeader
	parts  []Part
}

// Part is a text of a message.
type Part struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

// id is what stands before the @ of the Message-ID.
func (m *letter) id() string {
	id, _, _ := strings.Cut(strings.Trim(m.header.Get("Message-Id"), "<> "), "@")
	return id
}

// read reads a message strictly. Its error is the refusal.
func read(raw []byte, key func(string) ([]string, error)) (*letter, error) {
	m := &letter{header: textproto.MIMEHeader{}}
	bad := func(format string, args ...any) (*letter, error) {
		return m, &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 6, 0}, Message: "Malformed message: " + fmt.Sprintf(format, args...)}
	}
	head, _, ok := bytes.Cut(raw, []byte("\r\n\r\n"))
	if !ok {
		return bad("no end of the header")
	}
	standard, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return bad("%v", err)
	}
	m.header = textproto.MIMEHeader(standard.Header)
	for line := range bytes.SplitSeq(bytes.TrimSuffix(raw, []byte("\r\n")), []byte("\r\n")) {
		if len(line) > 998 {
			return bad("a line of %d bytes", len(line))
		}
		if bytes.ContainsAny(line, "\r\n") {
			return bad("a bare CR or LF")
		}
	}
	if slices.ContainsFunc(head, func(b byte) bool { return b >= 0x80 }) {
		return bad("a header beyond ASCII")
	}
	if err := m.checkHeader(standard.Header); err != nil {
		return bad("%v", err)
	}
	entity, err := message.Read(bytes.NewReader(raw))
	if err != nil {
		return bad("%v", err)
	}
	if m.parts, err = parts(entity); err != nil {
		return bad("%v", err)
	}
	if key != nil {
		return m, checkSignature(raw, m.header, key)
	}
	return m, nil
}

// checkHeader checks what RFC 5322, 2047 and 8058 ask.
func (m *letter) checkHeader(header mail.Header) error {
	for _, name := range []string{"From", "To", "Subject", "Date", "Message-Id", "Mime-Version", "Content-Type"} {
		if len(header[name]) != 1 {
			return fmt.Errorf("%d fields %s", len(header[name]), name)
		}
	}
	if _, err := header.Date(); err != nil {
		return err
	}
	for _, name := range []string{"From", "To", "Reply-To"} {
		if header.Get(name) == "" {
			continue
		}
		if list, err := header.AddressList(name); err != nil || len(list) != 1 {
			return fmt.Errorf("%s is not one address", name)
		}
	}
	for name, values := range header {
		for _, value := range values {
			for word := range strings.FieldsSeq(value) {
				if strings.HasPrefix(word, "=?") && len(word) > 75 {
					return fmt.Errorf("an encoded word of %d characters in %s", len(word), name)
				}
			}
			if text, err := new(mime.WordDecoder).DecodeHeader(value); err != nil || !utf8.ValidString(text) || text == value && strings.Contains(text, "=?") {
				return fmt.Errorf("an encoded word in %s that cannot be read", name)
			}
		}
	}
	if post := header["List-Unsubscribe-Post"]; len(post) > 0 {
		if len(post) != 1 || post[0] != "List-Unsubscribe=One-Click" || len(header["List-Unsubscribe"]) != 1 {
			return errors.New("List-Unsubscribe-Post is not as RFC 8058 has it")
		}
		link, _, _ := strings.Cut(strings.TrimPrefix(header.Get("List-Unsubscribe"), "<"), ">")
		if u, err := url.Parse(link); err != nil || u.Scheme != "https" || u.Host == "" {
			return errors.New("List-Unsubscribe has no https link")
		}
	}
	return nil
}

// parts are the texts of a message, decoded.
func parts(entity *message.Entity) ([]Part, error) {
	kind, params, err := entity.Header.ContentType()
	if err != nil {
		return nil, err
	}
	if reader := entity.MultipartReader(); reader != nil {
		var all []Part
		for {
			next, err := reader.NextPart()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, err
			}
			some, err := parts(next)
			if err != nil {
				return nil, err
			}
			all = append(all, some...)
		}
		if kind != "multipart/alternative" || len(all) != 2 || all[0].Type != "text/plain" || all[1].Type != "text/html" {
			return nil, fmt.Errorf("%s is not a text and then its HTML", kind)
		}
		return all, nil
	}
	if (kind != "text/plain" && kind != "text/html") || !strings.EqualFold(params["charset"], "utf-8") {
		return nil, fmt.Errorf("a part of %s", entity.Header.Get("Content-Type"))
	}
	body, err := io.ReadAll(entity.Body)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(body) || len(bytes.TrimSpace(body)) == 0 {
		return nil, fmt.Errorf("a part of %s that is empty or not UTF-8", kind)
	}
	return []Part{{Type: kind, Text: strings.ReplaceAll(string(body), "\r\n", "\n")}}, nil
}

// checkSignature checks DKIM: a valid signature of the From address's domain or of one above it, over
// what must not be changed.
func checkSignature(raw []byte, header textproto.MIMEHeader, key func(string) ([]string, error)) error {
	bad := func(last int, format string, args ...any) error {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, last}, Message: fmt.Sprintf(format, args...)}
	}
	found, err := dkim.VerifyWithOptions(bytes.NewReader(raw), &dkim.VerifyOptions{LookupTXT: key})
	if err != nil || len(found) != 1 || found[0].Err != nil {
		return bad(20, "No valid DKIM signature: %v %v", err, found)
	}
	from, err := mail.ParseAddress(header.Get("From"))
	if err != nil {
		return bad(22, "No From address")
	}
	domain := from.Address[strings.LastIndexByte(from.Address, '@')+1:]
	if domain != found[0].Domain && !strings.HasSuffix(domain, "."+found[0].Domain) {
		return bad(22, "The signature is of %s, the sender of %s", found[0].Domain, domain)
	}
	for _, name := range []string{"From", "To", "Subject", "Date", "Message-Id", "Content-Type", "Reply-To", "List-Unsubscribe", "List-Unsubscribe-Post"} {
		under := slices.ContainsFunc(found[0].HeaderKeys, func(k string) bool { return strings.EqualFold(k, name) })
		if header.Get(name) != "" && !under {
			return bad(21, "%s is not under the signature", name)
		}
	}
	return nil
}

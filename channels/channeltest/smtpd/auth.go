package smtpd

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"github.com/emersion/go-smtp"
)

// signIn is one attempt to sign in.
type signIn struct {
	session   *session
	mechanism string
	step      int
	username  string
}

// challenge is what CRAM-MD5 is asked about.
const challenge = "<1896.697170952@localhost>"

// Next implements sasl.Server.
func (a *signIn) Next(response []byte) (question []byte, done bool, err error) {
	if response != nil {
		a.session.said = append(a.session.said, base64.StdEncoding.EncodeToString(response), strings.ReplaceAll(string(response), "\x00", " "))
	}
	c := a.session.server.config
	a.step++
	switch a.mechanism {
	case "PLAIN":
		if response == nil {
			return []byte{}, false, nil
		}
		return nil, true, a.judge(string(response) == "\x00"+c.Username+"\x00"+c.Password)
	case "LOGIN":
		if a.step == 1 && response == nil {
			return []byte("User Name\x00"), false, nil // as Exchange asks
		}
		if a.username == "" {
			a.username = string(response)
			return []byte("Password\x00"), false, nil
		}
		return nil, true, a.judge(a.username == c.Username && string(response) == c.Password)
	case "CRAM-MD5":
		if response == nil {
			return []byte(challenge), false, nil
		}
		mac := hmac.New(md5.New, []byte(c.Password))
		mac.Write([]byte(challenge))
		return nil, true, a.judge(string(response) == c.Username+" "+hex.EncodeToString(mac.Sum(nil)))
	}
	return nil, true, smtp.ErrAuthUnknownMechanism
}

// judge ends the attempt.
func (a *signIn) judge(right bool) error {
	if !right {
		return smtp.ErrAuthFailed
	}
	a.session.signed = true
	return nil
}

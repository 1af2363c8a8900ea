package send

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"nudge/events"
)

// MessageRef is what a signed message id says: which message it is and whom it reached.
type MessageRef struct {
	Entry, Channel, Rule string
	Variant, Category    string
	Person               events.PersonID
	UserID, AnonymousID  string
	// Decided is when the message was decided, Unix ms: no human opens it sooner.
	Decided int64
}

func messageOf(u *unit) MessageRef {
	d := u.decision
	user, anonymous := ids(d)
	return MessageRef{
		Entry: d.Entry, Channel: u.channel, Rule: d.Rule, Variant: d.Variant, Category: d.Category,
		Person: d.Person, UserID: user, AnonymousID: anonymous, Decided: d.At,
	}
}

// Signer makes and reads signed message ids. They are URL-safe, readable by whoever has one, and
// cannot be made without the key. It is safe for concurrent use.
type Signer struct{ key []byte }

// shortestKey of a signer, in bytes.
const shortestKey = 16

// NewSigner takes the workspace's secret, at least 16 bytes.
func NewSigner(key []byte) (*Signer, error) {
	if len(key) < shortestKey {
		return nil, fmt.Errorf("the key for signed message ids has %d bytes; give at least %d", len(key), shortestKey)
	}
	return &Signer{key: append([]byte(nil), key...)}, nil
}

// ErrSignature says that a signed id was not made by this workspace, or was cut or changed.
var ErrSignature = errors.New("the signed message id is not valid")

const (
	signedVersion = 1
	macSize       = 16
)

// Sign makes the signed id of a message, with which the app reports opens and clicks.
func (s *Signer) Sign(m MessageRef) string { return s.sign(m, "") }

func (s *Signer) sign(m MessageRef, target string) string {
	b := []byte{signedVersion}
	for _, field := range []string{m.Entry, m.Channel, m.Rule, m.Variant, m.Category, m.UserID, m.AnonymousID} {
		b = binary.AppendUvarint(b, uint64(len(field)))
		b = append(b, field...)
	}
	b = binary.AppendUvarint(b, uint64(m.Person))
	b = binary.AppendVarint(b, m.Decided)
	return base64.RawURLEncoding.EncodeToString(append(b, s.mac(b, target)...))
}

// mac binds the payload to a link's target; ids for opens have an empty one.
func (s *Signer) mac(payload []byte, target string) []byte {
	h := hmac.New(sha256.New, s.key)
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(payload))))
	h.Write(payload)
	h.Write([]byte(target))
	return h.Sum(nil)[:macSize]
}

// What else than a message id is signed; the signature covers which, so that none passes for another.
const (
	forPixel       = "\x00pixel"
	forPreferences = "\x00preferences"
	forInbox       = "\x00inbox"
)

// Verify reads a signed id.
func (s *Signer) Verify(signed string) (MessageRef, error) { return s.verify(signed, "") }

func (s *Signer) verify(signed, target string) (m MessageRef, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(signed, "="))
	if err != nil || len(raw) < macSize+1 {
		return m, ErrSignature
	}
	payload, sum := raw[:len(raw)-macSize], raw[len(raw)-macSize:]
	if !hmac.Equal(sum, s.mac(payload, target)) || payload[0] != signedVersion {
		return m, ErrSignature
	}
	rest := payload[1:]
	for _, field := range []*string{&m.Entry, &m.Channel, &m.Rule, &m.Variant, &m.Category, &m.UserID, &m.AnonymousID} {
		n, used := binary.Uvarint(rest)
		if used <= 0 || n > uint64(len(rest)-used) {
			return m, ErrSignature
		}
		*field = string(rest[used : used+int(n)])
		rest = rest[used+int(n):]
	}
	person, used := binary.Uvarint(rest)
	if used <= 0 {
		return m, ErrSignature
	}
	m.Person = events.PersonID(person)
	if m.Decided, used = binary.Varint(rest[used:]); used <= 0 {
		return m, ErrSignature
	}
	return m, nil
}

// ErrToken says that a token of an inbox was not made by this workspace, or was cut or changed.
var ErrToken = errors.New("the token is not valid")

// InboxToken makes the token with which an app reads the inbox of a user until it expires, Unix ms.
func (s *Signer) InboxToken(user string, expires int64) string {
	b := append(binary.AppendVarint([]byte{signedVersion}, expires), user...)
	return base64.RawURLEncoding.EncodeToString(append(b, s.mac(b, forInbox)...))
}

// VerifyInboxToken reads whose a token is and when it expires, Unix ms, which is for the caller to judge.
func (s *Signer) VerifyInboxToken(token string) (user string, expires int64, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(token, "="))
	if err != nil || len(raw) < macSize+1 {
		return "", 0, ErrToken
	}
	payload, sum := raw[:len(raw)-macSize], raw[len(raw)-macSize:]
	if !hmac.Equal(sum, s.mac(payload, forInbox)) || payload[0] != signedVersion {
		return "", 0, ErrToken
	}
	expires, used := binary.Varint(payload[1:])
	if used <= 0 {
		return "", 0, ErrToken
	}
	return string(payload[1+used:]), expires, nil
}

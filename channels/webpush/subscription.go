package webpush

import (
	"crypto/ecdh"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// tokenStart is how the base64url of a JSON object begins.
const tokenStart = "eyJ"

// maxEndpoint bounds the URL of a subscription, in bytes; those of browsers have some hundred.
const maxEndpoint = 2048

// IsSubscription says whether a device token has the form of a browser's subscription; the
// registration tokens of Firebase, which browsers may have too, always hold a colon.
func IsSubscription(token string) bool {
	return strings.HasPrefix(token, tokenStart) && !strings.Contains(token, ":")
}

// subscription is what a browser gives to whoever may push to it.
type subscription struct {
	endpoint *url.URL
	key      *ecdh.PublicKey // p256dh
	auth     []byte
}

// origin is what a VAPID token is for.
func (s *subscription) origin() string { return s.endpoint.Scheme + "://" + s.endpoint.Host }

// readSubscription reads a device token: the base64url, without padding, of the subscription's
// JSON. Its errors do not show the token.
func readSubscription(token string) (*subscription, error) {
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(token, "="))
	if err != nil || !IsSubscription(token) {
		return nil, errors.New("it is not the base64url of a PushSubscription")
	}
	var body struct {
		Endpoint string `json:"endpoint"`
		Keys     struct {
			P256DH string `json:"p256dh"`
			Auth   string `json:"auth"`
		} `json:"keys"`
	}
	if json.Unmarshal(raw, &body) != nil {
		return nil, errors.New("it is not the JSON of a PushSubscription")
	}
	s := &subscription{}
	if s.endpoint, err = url.Parse(body.Endpoint); err != nil || len(body.Endpoint) > maxEndpoint ||
		s.endpoint.Scheme != "https" || s.endpoint.Hostname() == "" || s.endpoint.User != nil {
		return nil, errors.New("its endpoint is not an https URL")
	}
	s.endpoint.Host = strings.ToLower(s.endpoint.Host)
	s.endpoint.Fragment, s.endpoint.RawFragment = "", ""
	point, err := decodeKey(body.Keys.P256DH)
	if err != nil {
		return nil, fmt.Errorf("its p256dh %w", err)
	}
	if s.key, err = ecdh.P256().NewPublicKey(point); err != nil {
		return nil, errors.New("its p256dh is not a point of P-256")
	}
	if s.auth, err = decodeKey(body.Keys.Auth); err != nil || len(s.auth) != 16 {
		return nil, errors.New("its auth is not 16 bytes in base64url")
	}
	return s, nil
}

// decodeKey reads base64url, with or without padding, and the ordinary base64 that some libraries
// write instead.
func decodeKey(text string) ([]byte, error) {
	text = strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(strings.TrimSpace(text), "="))
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(raw) == 0 {
		return nil, errors.New("is not base64url")
	}
	return raw, nil
}

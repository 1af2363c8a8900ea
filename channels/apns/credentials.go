package apns

import (
	"crypto/tls"
	"encoding/base64"
	"strings"
	"time"

	"nudge/channels"

	"github.com/sideshow/apns2/certificate"
	"github.com/sideshow/apns2/token"
)

// renewAfter is Apple's rule: a provider token may be replaced once in 20 minutes.
const renewAfter = 20 * time.Minute

// loadKey reads the signing key. Errors do not show it.
func (s *settings) loadKey() (*token.Token, error) {
	key, err := token.AuthKeyFromBytes([]byte(s.Key.Reveal()))
	if err != nil {
		return nil, channels.Problem{Field: "key", Summary: "is not a signing key", Suggest: "it is the text of the .p8 file from your Apple developer account, PEM with a PKCS#8 private key of the curve P-256"}
	}
	t := &token.Token{AuthKey: key, KeyID: s.KeyID, TeamID: s.TeamID}
	if ok, err := t.Generate(); !ok || err != nil {
		return nil, channels.Problem{Field: "key", Summary: "cannot sign", Suggest: "it must be of the curve P-256"}
	}
	return t, nil
}

// loadCertificate reads a .p12 (base64, as secrets from binary files come) or a PEM file.
func (s *settings) loadCertificate() (tls.Certificate, error) {
	text := s.Certificate.Reveal()
	bad := channels.Problem{Field: "certificate", Summary: "cannot be read", Suggest: "it is a .p12 file or a PEM file with certificate and private key; is the password right?"}
	if encoded, ok := strings.CutPrefix(text, "base64:"); ok {
		raw, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			return tls.Certificate{}, bad
		}
		cert, err := certificate.FromP12Bytes(raw, s.Password.Reveal())
		if err != nil {
			return tls.Certificate{}, bad
		}
		return cert, nil
	}
	cert, err := certificate.FromPemBytes([]byte(text), s.Password.Reveal())
	if err != nil {
		return tls.Certificate{}, bad
	}
	return cert, nil
}

// bearer is the provider token in use.
func (c *channel) bearer() string {
	c.token.Lock()
	defer c.token.Unlock()
	return c.token.Bearer
}

// renew has the next push make a new provider token, unless the present one is so fresh that Apple
// would refuse another.
func (c *channel) renew() {
	if c.token == nil {
		return
	}
	c.token.Lock()
	defer c.token.Unlock()
	if c.now().Sub(time.Unix(c.token.IssuedAt, 0)) >= renewAfter {
		c.token.IssuedAt = 0
	}
}

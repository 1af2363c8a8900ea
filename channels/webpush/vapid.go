package webpush

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"nudge/channels"

	"github.com/golang-jwt/jwt/v5"
)

// How long a VAPID token is good, and how long before its end it is replaced. RFC 8292 allows a
// day; half of it leaves room for clocks that go wrong.
const (
	tokenLife  = 12 * time.Hour
	tokenEarly = time.Hour
)

// maxOrigins bounds the tokens kept: where every host is allowed, clients choose the origins.
const maxOrigins = 256

// Keys is a VAPID key pair as text: the base64url of the private scalar and of the public point.
type Keys struct{ Private, Public string }

// NewKeys makes a key pair.
func NewKeys() (Keys, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Keys{}, fmt.Errorf("making a VAPID key: %w", err)
	}
	scalar, err := key.Bytes()
	if err != nil {
		return Keys{}, fmt.Errorf("writing a VAPID key: %w", err)
	}
	public, err := publicOf(key)
	return Keys{Private: base64.RawURLEncoding.EncodeToString(scalar), Public: public}, err
}

// publicOf is a key's public half as browsers and push services want it.
func publicOf(key *ecdsa.PrivateKey) (string, error) {
	point, err := key.PublicKey.Bytes()
	if err != nil {
		return "", fmt.Errorf("writing a VAPID public key: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(point), nil
}

// readKey reads a private key: base64url of 32 bytes, or PEM. Errors do not show it.
func readKey(text string) (*ecdsa.PrivateKey, error) {
	bad := channels.Problem{Field: "private_key", Summary: "is not a VAPID private key", Suggest: "it is the base64url of 32 bytes that `nudge channels vapid` prints, or the PEM of a P-256 key"}
	if block, _ := pem.Decode([]byte(text)); block != nil {
		if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil && key.Curve == elliptic.P256() {
			return key, nil
		}
		if parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if key, ok := parsed.(*ecdsa.PrivateKey); ok && key.Curve == elliptic.P256() {
				return key, nil
			}
		}
		return nil, bad
	}
	raw, err := decodeKey(text)
	if err != nil || len(raw) != 32 {
		return nil, bad
	}
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), raw)
	if err != nil {
		return nil, bad
	}
	return key, nil
}

// checkSubject holds a contact to what the strictest service (Apple) takes.
func checkSubject(subject string) error {
	bad := func(suggest string) error {
		return channels.Problem{Field: "subject", Summary: "is not a contact that push services take", Suggest: suggest}
	}
	if strings.ContainsAny(subject, " \t\r\n<>") {
		return bad("write mailto: and the address alone, without spaces or angle brackets")
	}
	if address, ok := strings.CutPrefix(subject, "mailto:"); ok {
		name, host, _ := strings.Cut(address, "@")
		if name == "" || !strings.Contains(strings.Trim(host, "."), ".") {
			return bad("Apple refuses an address whose host is localhost or has no dot: for example mailto:push@shop.example")
		}
		return nil
	}
	if u, err := url.Parse(subject); err != nil || u.Scheme != "https" || !strings.Contains(u.Hostname(), ".") {
		return bad("for example mailto:push@shop.example or https://shop.example/contact")
	}
	return nil
}

// vapid makes the Authorization header of each push service (RFC 8292) and keeps it until shortly
// before it ends: a signature for every push would be dearer than its encryption.
type vapid struct {
	key     *ecdsa.PrivateKey
	public  string
	subject string
	now     func() time.Time

	mu      sync.Mutex
	headers map[string]header // by origin
}

// header is an Authorization header and when its token ends.
type header struct {
	text  string
	token string // the part of it that no error may show
	until time.Time
}

// newVAPID makes the source.
func newVAPID(key *ecdsa.PrivateKey, subject string, now func() time.Time) (*vapid, error) {
	public, err := publicOf(key)
	if err != nil {
		return nil, err
	}
	return &vapid{key: key, public: public, subject: subject, now: now, headers: make(map[string]header)}, nil
}

// header returns the header for an origin.
func (v *vapid) header(origin string) (header, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.now()
	if h, ok := v.headers[origin]; ok && h.until.Sub(now) > tokenEarly && h.until.Sub(now) <= tokenLife {
		return h, nil
	}
	until := now.Add(tokenLife)
	token, err := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"aud": origin, "exp": until.Unix(), "sub": v.subject}).SignedString(v.key)
	if err != nil {
		return header{}, fmt.Errorf("signing the VAPID token: %w", err)
	}
	if len(v.headers) >= maxOrigins {
		clear(v.headers)
	}
	h := header{text: "vapid t=" + token + ", k=" + v.public, token: token, until: until}
	v.headers[origin] = h
	return h, nil
}

// drop forgets a header that was refused.
func (v *vapid) drop(origin string, refused header) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.headers[origin].token == refused.token {
		delete(v.headers, origin)
	}
}

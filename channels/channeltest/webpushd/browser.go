package webpushd

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
)

// keysOf are a browser's keys: always the same for a name, so that servers need not remember them.
func keysOf(name string) (private *ecdh.PrivateKey, auth []byte, err error) {
	scalar := sha256.Sum256([]byte("p256dh of " + name))
	scalar[0] = 1 // below the order of the curve
	if private, err = ecdh.P256().NewPrivateKey(scalar[:]); err != nil {
		return nil, nil, fmt.Errorf("making a browser's key: %w", err)
	}
	secret := sha256.Sum256([]byte("auth of " + name))
	return private, secret[:16], nil
}

// Subscription is a browser's PushSubscription as JSON.
func Subscription(addr, name string) []byte {
	private, auth, err := keysOf(name)
	if err != nil {
		return nil
	}
	var s struct { // in the order in which the snippet writes it
		Endpoint string `json:"endpoint"`
		Keys     struct {
			P256DH string `json:"p256dh"`
			Auth   string `json:"auth"`
		} `json:"keys"`
	}
	s.Endpoint = "https://" + addr + "/push/" + name
	s.Keys.P256DH = base64.RawURLEncoding.EncodeToString(private.PublicKey().Bytes())
	s.Keys.Auth = base64.RawURLEncoding.EncodeToString(auth)
	raw, err := json.Marshal(s)
	if err != nil {
		return nil
	}
	return raw
}

// Token is a browser's subscription as a device token.
func Token(addr, name string) string {
	return base64.RawURLEncoding.EncodeToString(Subscription(addr, name))
}

// publicKey reads a VAPID public key.
func publicKey(text string) (*ecdsa.PublicKey, error) {
	point, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("reading a VAPID key: %w", err)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return nil, fmt.Errorf("reading a VAPID key: %w", err)
	}
	return key, nil
}

// Decrypt reads a push as the browser with that name does.
func Decrypt(name string, body []byte) ([]byte, error) {
	private, auth, err := keysOf(name)
	if err != nil {
		return nil, err
	}
	return DecryptWith(private, auth, body)
}

// DecryptWith reads a body of aes128gcm with one record. It takes the steps of RFC 8291 section 3.4
// with nothing but HMAC, as the text writes them out.
func DecryptWith(private *ecdh.PrivateKey, auth, body []byte) ([]byte, error) {
	if len(body) < 16+4+1+65+1+16 || body[20] != 65 {
		return nil, errors.New("the body has no header of aes128gcm with a P-256 key")
	}
	salt, size, sender, record := body[:16], binary.BigEndian.Uint32(body[16:20]), body[21:86], body[86:]
	if int64(size) < int64(len(record)) {
		return nil, errors.New("there is more than one record")
	}
	theirs, err := ecdh.P256().NewPublicKey(sender)
	if err != nil {
		return nil, fmt.Errorf("the key of the header: %w", err)
	}
	shared, err := private.ECDH(theirs)
	if err != nil {
		return nil, fmt.Errorf("agreeing on a secret: %w", err)
	}
	mac := func(key []byte, parts ...[]byte) []byte {
		h := hmac.New(sha256.New, key)
		for _, part := range parts {
			h.Write(part)
		}
		return h.Sum(nil)
	}
	one := []byte{1}
	prkKey := mac(auth, shared)
	ikm := mac(prkKey, []byte("WebPush: info"), []byte{0}, private.PublicKey().Bytes(), sender, one)
	prk := mac(salt, ikm)
	cek := mac(prk, []byte("Content-Encoding: aes128gcm"), []byte{0}, one)[:16]
	nonce := mac(prk, []byte("Content-Encoding: nonce"), []byte{0}, one)[:12]
	block, err := aes.NewCipher(cek)
	if err != nil {
		return nil, fmt.Errorf("setting up AES: %w", err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("setting up GCM: %w", err)
	}
	padded, err := gcm.Open(nil, nonce, record, nil)
	if err != nil {
		return nil, errors.New("the body does not decrypt")
	}
	end := len(padded) - 1
	for end >= 0 && padded[end] == 0 {
		end--
	}
	if end < 0 || padded[end] != 2 {
		return nil, errors.New("the record does not end as the last one does")
	}
	return padded[:end], nil
}

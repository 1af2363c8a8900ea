package webpush

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
)

// Sizes of an encrypted message (RFC 8188 section 2, RFC 8291 section 4), in bytes.
const (
	recordSize = 4096
	saltSize   = 16
	tagSize    = 16
	pointSize  = 65
	headerSize = saltSize + 4 + 1 + pointSize
	// maxPlain is what fits into the 4096 bytes that every push service takes: without the header,
	// the tag and the delimiter.
	maxPlain = recordSize - headerSize - tagSize - 1
)

// encrypt makes the body of a push (RFC 8291), with a key and a salt that are used once.
func encrypt(plain []byte, to *subscription) ([]byte, error) {
	once, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	salt := make([]byte, saltSize)
	rand.Read(salt)
	return seal(plain, to, once, salt)
}

// seal is encrypt with the key and the salt given: one record of aes128gcm.
func seal(plain []byte, to *subscription, once *ecdh.PrivateKey, salt []byte) ([]byte, error) {
	shared, err := once.ECDH(to.key)
	if err != nil {
		return nil, fmt.Errorf("agreeing on a secret: %w", err)
	}
	public := once.PublicKey().Bytes()
	info := slices.Concat([]byte("WebPush: info\x00"), to.key.Bytes(), public)
	ikm, err := hkdf.Key(sha256.New, shared, to.auth, string(info), 32)
	if err != nil {
		return nil, fmt.Errorf("deriving the input key: %w", err)
	}
	prk, err := hkdf.Extract(sha256.New, ikm, salt)
	if err != nil {
		return nil, fmt.Errorf("deriving the keys: %w", err)
	}
	key, err := hkdf.Expand(sha256.New, prk, "Content-Encoding: aes128gcm\x00", 16)
	if err != nil {
		return nil, fmt.Errorf("deriving the content key: %w", err)
	}
	nonce, err := hkdf.Expand(sha256.New, prk, "Content-Encoding: nonce\x00", 12)
	if err != nil {
		return nil, fmt.Errorf("deriving the nonce: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("setting up AES: %w", err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("setting up GCM: %w", err)
	}
	out := make([]byte, 0, headerSize+len(plain)+1+tagSize)
	out = append(out, salt...)
	out = binary.BigEndian.AppendUint32(out, recordSize)
	out = append(out, byte(len(public)))
	out = append(out, public...)
	// The delimiter 2 says that this record is the last.
	return gcm.Seal(out, nonce, append(slices.Clip(plain), 2), nil), nil
}

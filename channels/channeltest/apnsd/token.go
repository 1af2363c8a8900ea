package apnsd

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"
)

// verify checks a provider token (a JWT signed by ES256) and returns when it was issued. Tokens
// already checked are remembered.
func (s *Server) verify(bearer string, at time.Time) (time.Time, *refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.known[bearer]; ok {
		return known.issued, nil
	}
	issued, err := s.parse(bearer)
	if err != nil || issued.After(at.Add(5*time.Minute)) {
		return time.Time{}, &refusal{http.StatusForbidden, "InvalidProviderToken"}
	}
	// Apple: refresh the token no more than once every 20 minutes. A third one in that time is one
	// too many; the second is the end of the first's life.
	s.fresh = slices.DeleteFunc(s.fresh, func(f freshToken) bool { return at.Sub(f.at) >= tokenRefresh })
	if len(s.fresh) >= 2 {
		return time.Time{}, &refusal{http.StatusTooManyRequests, "TooManyProviderTokenUpdates"}
	}
	s.fresh = append(s.fresh, freshToken{bearer, at})
	s.known[bearer] = verified{issued}
	return issued, nil
}

// parse checks form, names and signature.
func (s *Server) parse(bearer string) (time.Time, error) {
	parts := strings.Split(bearer, ".")
	if len(parts) != 3 {
		return time.Time{}, errToken
	}
	var header struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
	}
	var claims struct {
		Issuer string `json:"iss"`
		Issued int64  `json:"iat"`
	}
	for i, into := range []any{&header, &claims} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || json.Unmarshal(raw, into) != nil {
			return time.Time{}, errToken
		}
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || len(signature) != 64 || header.Algorithm != "ES256" || header.KeyID != s.KeyID || claims.Issuer != s.TeamID || claims.Issued == 0 {
		return time.Time{}, errToken
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	r, v := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	if !ecdsa.Verify(s.public, sum[:], r, v) {
		return time.Time{}, errToken
	}
	return time.Unix(claims.Issued, 0), nil
}

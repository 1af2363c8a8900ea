package fcmd

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// grant is the token endpoint: a signed assertion in, an access token out (RFC 7523).
func (s *Server) grant(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	refuse := func(status int, code, description string) {
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"error":%q,"error_description":%q}`, code, description)
	}
	if status := int(s.broken.Load()); status != 0 {
		refuse(status, "internal_failure", "broken by order")
		return
	}
	if r.Method != http.MethodPost || r.ParseForm() != nil || r.PostForm.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		refuse(http.StatusBadRequest, "unsupported_grant_type", "Invalid grant_type: "+r.PostForm.Get("grant_type"))
		return
	}
	at := s.config.Now()
	if problem := s.assertion(r.PostForm.Get("assertion"), at); problem != "" {
		refuse(http.StatusBadRequest, "invalid_grant", problem)
		return
	}
	access := "ya29.c." + newID() + newID() + newID() + newID()
	s.mu.Lock()
	s.access[access] = at.Add(s.config.TokenLife)
	s.mu.Unlock()
	s.grants.Add(1)
	fmt.Fprintf(w, `{"access_token":%q,"expires_in":%d,"token_type":"Bearer"}`, access, int(s.config.TokenLife/time.Second)-1)
}

// assertion checks the JWT of a service account and returns what is wrong with it.
func (s *Server) assertion(text string, at time.Time) string {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return "Invalid JWT: not three parts"
	}
	var header struct {
		Algorithm string `json:"alg"`
	}
	var claims struct {
		Issuer   string `json:"iss"`
		Audience string `json:"aud"`
		Scope    string `json:"scope"`
		Issued   int64  `json:"iat"`
		Expires  int64  `json:"exp"`
	}
	for i, into := range []any{&header, &claims} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || json.Unmarshal(raw, into) != nil {
			return "Invalid JWT: malformed"
		}
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	scopes := strings.Fields(claims.Scope)
	allowed := slices.Contains(scopes, "https://www.googleapis.com/auth/firebase.messaging") || slices.Contains(scopes, "https://www.googleapis.com/auth/cloud-platform")
	issued, expires := time.Unix(claims.Issued, 0), time.Unix(claims.Expires, 0)
	switch {
	case err != nil || header.Algorithm != "RS256" || rsa.VerifyPKCS1v15(s.key, crypto.SHA256, sum[:], signature) != nil:
		return "Invalid JWT Signature."
	case claims.Issuer != s.email:
		return "Invalid grant: account not found"
	case claims.Audience != s.TokenURL():
		return "Invalid JWT: wrong audience"
	case !allowed:
		return "Invalid OAuth scope or ID token audience provided."
	case issued.After(at.Add(5*time.Minute)) || expires.Before(at) || expires.Sub(issued) > time.Hour+10*time.Second:
		return "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."
	}
	return ""
}

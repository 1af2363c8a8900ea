package webpush

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"nudge/channels"
)

// Codes that we give to answers which each service words in its own way.
const (
	codeMismatch = "VapidPkHashMismatch" // Apple's word
	codeVAPID    = "vapid"
)

// answers is what push services say (RFC 8030) and what each means for us.
func answers() []channels.Answer {
	return []channels.Answer{
		{Status: 201, About: "accepted (any 2xx)"},
		{Code: codeMismatch, Class: channels.ClassMessage, About: "the browser subscribed with another VAPID key (Google says it with 403, Mozilla with 401, Apple with 400 or 403). It is not retired: mostly the configured key is the wrong one, and then every subscription would be. The snippet subscribes anew where it finds another key"},
		{Status: 301, Class: channels.ClassMessage, About: "any 3xx: never followed, because endpoints come from outside"},
		{Status: 400, Code: codeVAPID, Class: channels.ClassCredential, About: "a 400 that complains of the VAPID token: look at private_key, subject and the machine's clock"},
		{Status: 400, Class: channels.ClassMessage, About: "any other 400"},
		{Status: 401, Class: channels.ClassCredential, About: "the VAPID token was refused: look at private_key, subject and the machine's clock"},
		{Status: 403, Class: channels.ClassCredential, About: "the VAPID token was refused (Apple: BadJwtToken, mostly for its subject)"},
		{Status: 404, Class: channels.ClassAddress, About: "the subscription has ended or never was"},
		{Status: 406, Class: channels.ClassRateLimit, About: "Windows: too many for this browser"},
		{Status: 410, Class: channels.ClassAddress, About: "the person withdrew the permission, or the subscription has ended"},
		{Status: 413, Class: channels.ClassMessage, About: "the service takes less than we may send"},
		{Status: 429, Class: channels.ClassRateLimit, About: "slow down; Retry-After is honoured"},
		{Status: 500, Class: channels.ClassTemporary, About: "any 5xx; Retry-After is honoured"},
	}
}

// classOf is what an answer means.
func classOf(table []channels.Answer, status int, code string) channels.Class {
	if status >= 300 && status < 400 {
		status = http.StatusMovedPermanently // the table's line for all of them
	}
	return channels.Classify(table, status, code)
}

// codeOf is the service's own reason, else the status.
func codeOf(status int, raw []byte) string {
	text := strings.ToLower(string(raw))
	has := func(words ...string) bool {
		for _, word := range words {
			if strings.Contains(text, word) {
				return true
			}
		}
		return false
	}
	refused := status == http.StatusBadRequest || status == http.StatusUnauthorized || status == http.StatusForbidden
	if refused && has("vapidpkhashmismatch", "vapid public key mismatch", "do not correspond to the credentials", "does not correspond to the sender id") {
		return codeMismatch
	}
	if status == http.StatusBadRequest && has("vapid", "jwt", "authorization") {
		return codeVAPID
	}
	var body struct {
		Reason string `json:"reason"` // Apple
		Errno  int    `json:"errno"`  // Mozilla
	}
	if json.Unmarshal(raw, &body) == nil {
		switch {
		case body.Reason != "" && len(body.Reason) <= 40 && isWord(body.Reason):
			return body.Reason
		case body.Errno > 0 && body.Errno < 1000:
			return "errno " + strconv.Itoa(body.Errno)
		}
	}
	return strconv.Itoa(status)
}

// isWord says whether a text is letters alone: a reason, and nothing that we sent.
func isWord(text string) bool {
	for _, r := range text {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
			return false
		}
	}
	return true
}

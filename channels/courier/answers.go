package courier

import (
	"encoding/json"
	"net/http"
	"strconv"
	"sync"

	"nudge/channels"
	"nudge/channels/rest"
)

// answers is what Courier's answers mean for us, from its page "Responses & Error Codes" and, of 402, from its official
// libraries.
func answers() []channels.Answer {
	return []channels.Answer{
		{Status: 202, About: "accepted: Courier has queued the message; what becomes of it stands in Courier's log"},
		{Status: 400, Code: "invalid_request_error", Class: channels.ClassMessage, About: "the message is malformed"},
		{Status: 401, Code: "authentication_error", Class: channels.ClassCredential, About: "the API key is wrong, was revoked, or is of another environment"},
		{Status: 403, Code: "authorization_error", Class: channels.ClassCredential, About: "the API key may not send"},
		{Status: 404, Code: "invalid_request_error", Class: channels.ClassMessage, About: "no such template, brand or topic in this environment"},
		{Status: 409, Code: "invalid_request_error", Class: channels.ClassTemporary, About: "Courier is still at an earlier attempt"},
		{Status: 413, Code: "invalid_request_error", Class: channels.ClassMessage, About: "the request is above 6 MB (checked before sending)"},
		{Status: 429, Code: "rate_limit_error", Class: channels.ClassRateLimit, About: "too many requests; Retry-After is honoured"},
		{Status: 500, Code: "api_error", Class: channels.ClassTemporary, About: "an error at Courier"},
		{Status: 503, Code: "api_error", Class: channels.ClassTemporary, About: "the service is unavailable; Retry-After is honoured"},
		{Status: 400, Class: channels.ClassMessage, About: "any other 400"},
		{Status: 401, Class: channels.ClassCredential, About: "any other 401"},
		{Status: 402, Class: channels.ClassCredential, About: "the workspace's plan does not have this"},
		{Status: 403, Class: channels.ClassCredential, About: "any other 403"},
		{Status: 404, Class: channels.ClassCredential, About: "any other 404: the URL is not Courier's"},
		{Status: 409, Class: channels.ClassTemporary, About: "any other 409"},
		{Status: 429, Class: channels.ClassRateLimit, About: "any other 429; Retry-After is honoured"},
		{Status: 500, Class: channels.ClassTemporary, About: "any other 5xx; Retry-After is honoured"},
	}
}

// answer is what Courier says: the id of a request that it has taken, or an error.
type answer struct {
	RequestID string `json:"requestId"`
	Type      string `json:"type"`
	Message   string `json:"message"`
}

// readAnswer reads an answer; one that is not Courier's JSON is empty.
func readAnswer(raw []byte) answer {
	var a answer
	if json.Unmarshal(raw, &a) != nil {
		return answer{}
	}
	a.Type = rest.Word(a.Type)
	return a
}

// most is how many messages spent remembers.
const most = 10_000

// spent remembers the messages whose idempotency key Courier has answered with an error. Courier repeats that answer
// for a day, so the next attempt, which is to be a new one, needs another key; an attempt whose answer was lost needs
// the same. An error that Courier may have given before it looked at the key (too fast, not allowed), and any after a
// lost answer, does not say that nothing was made under the key: then the next attempt has the same key once more.
//
// What is forgotten, after a restart too, costs attempts that are told the old errors.
type spent struct {
	mu sync.Mutex
	of map[string]used
}

// used is what became of a message's keys.
type used struct {
	keys  int  // that are spent
	lost  bool // an answer to the key of now
	asked bool // the key of now was answered with an error that says nothing about it
}

func newSpent() *spent { return &spent{of: make(map[string]used)} }

// key is the idempotency key for the next attempt at a message.
func (s *spent) key(message string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.of[message].keys; n > 0 {
		message += "\n" + strconv.Itoa(n)
	}
	return channels.UUID(message)
}

// lost notes that nobody knows what Courier made of an attempt.
func (s *spent) lost(message string) {
	s.change(message, func(u used) used {
		u.lost = true
		return u
	})
}

// refused notes that Courier has answered an attempt with an error.
func (s *spent) refused(message string, status int) {
	early := status == http.StatusTooManyRequests || status == http.StatusUnauthorized || status == http.StatusForbidden
	s.change(message, func(u used) used {
		if (early || u.lost) && !u.asked {
			u.asked = true
			return u
		}
		return used{keys: u.keys + 1}
	})
}

func (s *spent) change(message string, change func(used) used) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, known := s.of[message]
	if !known && len(s.of) >= most {
		clear(s.of)
	}
	s.of[message] = change(u)
}

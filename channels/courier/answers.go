package courier

import (
	"encoding/json"
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
// the same. What is forgotten, after a restart too, costs attempts that are told the old errors, and sends nothing twice.
type spent struct {
	mu    sync.Mutex
	times map[string]int
}

func newSpent() *spent { return &spent{times: make(map[string]int)} }

// key is the idempotency key for the next attempt at a message.
func (s *spent) key(message string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.times[message]; n > 0 {
		message += "\n" + strconv.Itoa(n)
	}
	return channels.UUID(message)
}

// spend notes that the key of a message has been answered with an error.
func (s *spent) spend(message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.times[message]; !known && len(s.times) >= most {
		clear(s.times)
	}
	s.times[message]++
}

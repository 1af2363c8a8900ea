package airship

import (
	"encoding/json"
	"strconv"
	"strings"

	"nudge/channels"
)

// answers is what Airship's statuses mean for us. Its error codes are the status and two digits more; only those
// are listed that its documentation and its own libraries show for pushes.
func answers() []channels.Answer {
	return []channels.Answer{
		{Status: 202, About: "accepted: Airship has queued the push (any 2xx). It says nothing of whether the person has a device, or has agreed to pushes: Airship's reports do"},
		{Status: 301, Class: channels.ClassCredential, About: "any 3xx: `url` is not Airship's; never followed"},
		{Status: 400, Code: "40000", Class: channels.ClassMessage, About: "the push is malformed; the error names the place; if that is `device_types`, which stand in the config, it is `credentials`. Of a batch, the pushes that are to blame are found by halving it, and the others are sent"},
		{Status: 400, Code: "40001", Class: channels.ClassMessage, About: "the push is refused for what it says"},
		{Status: 400, Class: channels.ClassMessage, About: "any other 400"},
		{Status: 401, Code: "40101", Class: channels.ClassCredential, About: "the app key and its secret or token do not fit together (it wants the master secret, not the app secret), or belong to the other data centre"},
		{Status: 401, Class: channels.ClassCredential, About: "any other 401"},
		{Status: 402, Class: channels.ClassCredential, About: "the account does not pay for this"},
		{Status: 403, Class: channels.ClassCredential, About: "the account or its token may not do this"},
		{Status: 404, Class: channels.ClassCredential, About: "`url` is not Airship's"},
		{Status: 405, Class: channels.ClassCredential, About: "`url` is not Airship's"},
		{Status: 406, Class: channels.ClassCredential, About: "there is no version 3 of the API at `url`"},
		{Status: 413, Class: channels.ClassMessage, About: "the push is too large; of a batch as with 40000"},
		{Status: 429, Class: channels.ClassRateLimit, About: "too many requests; Retry-After is honoured"},
		{Status: 500, Code: "50000", Class: channels.ClassTemporary, About: "an error at Airship"},
		{Status: 500, Class: channels.ClassTemporary, About: "any 5xx; Retry-After is honoured"},
	}
}

// answer is what Airship says: of pushes that it took, their ids in order; of others, why not.
type answer struct {
	PushIDs []string `json:"push_ids"`

	Error   string `json:"error"`
	Code    int    `json:"error_code"`
	Details struct {
		Error string `json:"error"`
		Path  string `json:"path"`
	} `json:"details"`
}

// readAnswer reads an answer; one that is not Airship's JSON is empty.
func readAnswer(raw []byte) answer {
	var a answer
	if json.Unmarshal(raw, &a) != nil {
		// The details have had other forms; what was wrong is said without them too.
		var plain struct {
			Error string `json:"error"`
			Code  int    `json:"error_code"`
		}
		if json.Unmarshal(raw, &plain) != nil {
			return answer{}
		}
		a = answer{Error: plain.Error, Code: plain.Code}
	}
	return a
}

// code is the error's code, "" for none.
func (a *answer) code() string {
	if a.Code <= 0 {
		return ""
	}
	return strconv.Itoa(a.Code)
}

// text is what a person should read of a refusal, "" where Airship says nothing.
func (a *answer) text() string {
	if a.Error == "" {
		return ""
	}
	text := strings.TrimSuffix(a.Error, ".")
	if a.Details.Error != "" {
		text += ": " + a.Details.Error
	}
	if a.Details.Path != "" {
		text += " (" + a.Details.Path + ")"
	}
	return text
}

// aboutSetup says whether the complaint is about the platforms, which stand in the config: then every push would be
// refused, and none is to be given up for it.
func (a *answer) aboutSetup() bool { return strings.HasSuffix(a.Details.Path, "device_types") }

package parse

import (
	"encoding/json"
	"strconv"
	"strings"

	"nudge/channels"
)

// Codes of Parse's errors that the adapter itself looks at.
const (
	pushMisconfigured  = "115"
	operationForbidden = "119"
)

// answers is what Parse Server's answers mean for us. Its codes are those of Parse.Error; refusals of the key have none.
func answers() []channels.Answer {
	return []channels.Answer{
		{Status: 200, About: "accepted: Parse Server has noted the push, and looks for installations afterwards. A push that no installation fits is accepted too; what became of one stands in the server's _PushStatus"},
		{Status: 301, Class: channels.ClassCredential, About: "any 3xx: `url` is out of date; never followed"},
		{Status: 400, Code: pushMisconfigured, Class: channels.ClassMessage, About: "the push is malformed; if the complaint is that the server has no push adapter, it is `credentials`"},
		{Status: 400, Code: operationForbidden, Class: channels.ClassCredential, About: "the key is a read-only master key"},
		{Status: 400, Class: channels.ClassMessage, About: "any other 400"},
		{Status: 401, Class: channels.ClassCredential, About: "something before the server wants to know who we are"},
		{Status: 403, Class: channels.ClassCredential, About: "the application id or the master key is wrong, or this machine's address is not one of the server's masterKeyIps"},
		{Status: 404, Class: channels.ClassCredential, About: "there is no Parse Server at `url`: it ends with where the server is mounted, mostly /parse"},
		{Status: 405, Class: channels.ClassCredential, About: "there is no Parse Server at `url`"},
		{Status: 413, Class: channels.ClassMessage, About: "the push is too large for what stands before the server"},
		{Status: 429, Class: channels.ClassRateLimit, About: "the server's rateLimit (code 100), or what stands before it; Retry-After is honoured"},
		{Status: 500, Code: "1", Class: channels.ClassTemporary, About: "an error in the server; it can be about the push, the server's log says"},
		{Status: 500, Class: channels.ClassTemporary, About: "any 5xx; Retry-After is honoured"},
	}
}

// answer is an error of Parse Server's.
type answer struct {
	Code    int    `json:"code"`
	Error   string `json:"error"`
	Message string `json:"message"` // of uncaught errors
}

// readAnswer reads an answer; one that is not Parse Server's JSON is empty.
func readAnswer(raw []byte) answer {
	var a answer
	if json.Unmarshal(raw, &a) != nil {
		return answer{}
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

// aboutSetup says whether the complaint is that the server cannot push at all. It has the code of malformed pushes.
func (a *answer) aboutSetup() bool {
	return a.code() == pushMisconfigured && (strings.Contains(a.Error, "Missing push configuration") || strings.Contains(a.Error, "Push controller is not set"))
}

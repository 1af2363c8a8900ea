package twilio

import (
	"encoding/json"
	"slices"
	"strconv"

	"nudge/channels"
)

// answers is what Twilio's error codes mean for us. A code means the same with every status, so the
// lines with one name none.
func answers() []channels.Answer {
	return []channels.Answer{
		{Status: 201, About: "accepted: Twilio has queued the message; what becomes of it is told to `status_callback` alone"},
		{Code: "20003", Class: channels.ClassCredential, About: "the account and its key do not fit together"},
		{Code: "20005", Class: channels.ClassCredential, About: "the account is not active"},
		{Code: "20006", Class: channels.ClassCredential, About: "the key may not send messages"},
		{Code: "20008", Class: channels.ClassCredential, About: "these are test credentials"},
		{Code: "20404", Class: channels.ClassCredential, About: "no such account, or an endpoint of another region"},
		{Code: "20429", Class: channels.ClassRateLimit, About: "too many requests at once: nothing was sent"},
		{Code: "20500", Class: channels.ClassTemporary, About: "an error at Twilio"},
		{Code: "20503", Class: channels.ClassTemporary, About: "the service is unavailable"},
		{Code: "21211", Class: channels.ClassAddress, About: "the number is not valid"},
		{Code: "21212", Class: channels.ClassCredential, About: "the sender is not valid"},
		{Code: "21265", Class: channels.ClassAddress, About: "the number is a short code"},
		{Code: "21266", Class: channels.ClassMessage, About: "the number is the sender itself"},
		{Code: "21267", Class: channels.ClassCredential, About: "a trial account has no senders made of letters"},
		{Code: "21268", Class: channels.ClassAddress, About: "the number is a premium or service number"},
		{Code: "21408", Class: channels.ClassMessage, About: "the account does not send to this country: allow it in Twilio's console (Geo permissions)"},
		{Code: "21602", Class: channels.ClassMessage, About: "no text (checked before sending)"},
		{Code: "21603", Class: channels.ClassCredential, About: "no sender"},
		{Code: "21604", Class: channels.ClassMessage, About: "no number (checked before sending)"},
		{Code: "21605", Class: channels.ClassMessage, About: "the text is too long (checked before sending)"},
		{Code: "21606", Class: channels.ClassCredential, About: "the sender cannot send text messages, or not to this country"},
		{Code: "21608", Class: channels.ClassMessage, About: "a trial account sends to numbers that were verified alone"},
		{Code: "21609", Class: channels.ClassCredential, About: "`status_callback` is not a URL that Twilio can call"},
		{Code: "21610", Class: channels.ClassAddress, OptedOut: true, About: "the person has answered STOP"},
		{Code: "21611", Class: channels.ClassRateLimit, About: "more than ten hours of messages wait for this sender"},
		{Code: "21612", Class: channels.ClassMessage, About: "this sender cannot reach this number"},
		{Code: "21614", Class: channels.ClassAddress, About: "the number is not a mobile's"},
		{Code: "21617", Class: channels.ClassMessage, About: "the text is above 1600 characters (checked before sending)"},
		{Code: "21635", Class: channels.ClassAddress, About: "the number is a landline's"},
		{Code: "21659", Class: channels.ClassCredential, About: "the sender is not a number of Twilio's, or a short code of another country"},
		{Code: "21660", Class: channels.ClassCredential, About: "the sender is another account's"},
		{Code: "21661", Class: channels.ClassCredential, About: "the sender cannot send text messages"},
		{Code: "21703", Class: channels.ClassCredential, About: "the messaging service has no sender"},
		{Code: "21704", Class: channels.ClassCredential, About: "the messaging service has no sender for this message"},
		{Code: "21705", Class: channels.ClassCredential, About: "no such messaging service"},
		{Code: "21712", Class: channels.ClassCredential, About: "the sender is not one of the messaging service's"},
		{Code: "30001", Class: channels.ClassRateLimit, About: "the queue is full"},
		{Code: "30002", Class: channels.ClassCredential, About: "the account is suspended"},
		{Code: "30003", Class: channels.ClassTemporary, About: "the phone is switched off or away"},
		{Code: "30004", Class: channels.ClassMessage, About: "the message was blocked, by the phone or by its carrier"},
		{Code: "30005", Class: channels.ClassAddress, About: "the number is not known, or not any more"},
		{Code: "30006", Class: channels.ClassAddress, About: "the number is a landline's, or its carrier cannot be reached"},
		{Code: "30007", Class: channels.ClassMessage, About: "the message was filtered as spam"},
		{Code: "30008", Class: channels.ClassTemporary, About: "an unknown error at a carrier"},
		{Code: "30034", Class: channels.ClassCredential, About: "the sender is not registered for the USA (A2P 10DLC)"},
		{Status: 400, Class: channels.ClassMessage, About: "any other 400"},
		{Status: 401, Class: channels.ClassCredential, About: "any other 401"},
		{Status: 403, Class: channels.ClassCredential, About: "any other 403"},
		{Status: 404, Class: channels.ClassCredential, About: "any other 404"},
		{Status: 429, Class: channels.ClassRateLimit, About: "any other 429; Retry-After is honoured"},
		{Status: 500, Class: channels.ClassTemporary, About: "any 5xx; Retry-After is honoured"},
	}
}

// ofSender are the codes that complain about the sender. Where a message names its own, they are about the
// message: the set-up, with which all others are sent, is not to be doubted for it.
var ofSender = []string{"21212", "21267", "21603", "21606", "21659", "21660", "21661", "21704", "21712", "30034"}

// aboutSender says whether a code complains about the sender.
func aboutSender(code string) bool { return slices.Contains(ofSender, code) }

// answer is what Twilio says: an error, or the message it has made. A message that has failed at once is made,
// and has an error.
type answer struct {
	// Of an error.
	Code    int    `json:"code"`
	Message string `json:"message"`
	// Of a message.
	SID       string `json:"sid"`
	ErrorCode *int   `json:"error_code"`
}

// readAnswer reads an answer; one that is not Twilio's JSON is empty.
func readAnswer(raw []byte) answer {
	var a answer
	if json.Unmarshal(raw, &a) != nil {
		return answer{}
	}
	return a
}

// code is the error's code, "" for none.
func (a *answer) code() string {
	n := a.Code
	if a.ErrorCode != nil {
		n = *a.ErrorCode
	}
	if n <= 0 {
		return ""
	}
	return strconv.Itoa(n)
}

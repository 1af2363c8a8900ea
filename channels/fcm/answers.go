package fcm

import (
	"encoding/json"
	"strings"

	"nudge/channels"
)

// answers is Google's table of FCM error codes and what each line means for us.
func answers() []channels.Answer {
	return []channels.Answer{
		{Status: 200, About: "accepted"},
		{Status: 400, Code: "INVALID_ARGUMENT", Class: channels.ClassMessage, About: "the message is malformed; if the complaint is about the token, the address is retired"},
		{Status: 400, Class: channels.ClassMessage, About: "any other 400"},
		{Status: 401, Code: "THIRD_PARTY_AUTH_ERROR", Class: channels.ClassCredential, About: "the APNs key or web push key in the Firebase project is missing or wrong"},
		{Status: 401, Code: "UNAUTHENTICATED", Class: channels.ClassCredential, About: "our access token was refused: a new one is asked for"},
		{Status: 403, Code: "SENDER_ID_MISMATCH", Class: channels.ClassMessage, About: "the token belongs to another Firebase project. It is not retired: mostly the credentials are of the wrong project, and then every token would be"},
		{Status: 403, Code: "PERMISSION_DENIED", Class: channels.ClassCredential, About: "the service account may not send for this project"},
		{Status: 404, Code: "UNREGISTERED", Class: channels.ClassAddress, About: "the app is gone from the device, or the token has expired"},
		{Status: 404, Code: "NOT_FOUND", Class: channels.ClassCredential, About: "no such project"},
		{Status: 404, Class: channels.ClassTemporary, About: "any other 404: Google's front has answered with a page in the past"},
		{Status: 429, Code: "QUOTA_EXCEEDED", Class: channels.ClassRateLimit, About: "too many messages, for the project or the device; Retry-After is honoured, and is a minute where Google does not say"},
		{Status: 429, Class: channels.ClassRateLimit, About: "any other 429"},
		{Status: 500, Code: "INTERNAL", Class: channels.ClassTemporary, About: "an error at Google"},
		{Status: 503, Code: "UNAVAILABLE", Class: channels.ClassTemporary, About: "overloaded; Retry-After is honoured"},
	}
}

// errorBody is an error answer: google.rpc.Status as JSON.
type errorBody struct {
	Error struct {
		Status  string `json:"status"`
		Message string `json:"message"`
		Details []struct {
			Type       string `json:"@type"`
			ErrorCode  string `json:"errorCode"`
			Violations []struct {
				Field       string `json:"field"`
				Description string `json:"description"`
			} `json:"fieldViolations"`
		} `json:"details"`
	} `json:"error"`
}

// readError reads an answer; one that is not Google's JSON is empty.
func readError(raw []byte) errorBody {
	var body errorBody
	if json.Unmarshal(raw, &body) != nil {
		return errorBody{}
	}
	return body
}

// code is FCM's own code, else the general one, "" for none that can be one.
func (e *errorBody) code() string {
	code := e.Error.Status
	for _, d := range e.Error.Details {
		if strings.HasSuffix(d.Type, "/google.firebase.fcm.v1.FcmError") && d.ErrorCode != "" {
			code = d.ErrorCode
			break
		}
	}
	if len(code) > 40 || strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") != "" {
		return ""
	}
	return code
}

// aboutToken says whether the complaint is about the registration token.
func (e *errorBody) aboutToken() bool {
	for _, d := range e.Error.Details {
		for _, v := range d.Violations {
			if v.Field == "message.token" {
				return true
			}
		}
	}
	return strings.Contains(e.Error.Message, "registration token is not a valid")
}

// text is what a person should read of it.
func (e *errorBody) text(raw []byte, secrets ...string) string {
	if e.Error.Message == "" {
		return channels.Excerpt(raw, secrets...)
	}
	parts := []string{e.Error.Message}
	for _, d := range e.Error.Details {
		for _, v := range d.Violations {
			parts = append(parts, v.Field+": "+v.Description)
		}
	}
	return channels.Excerpt([]byte(strings.Join(parts, "; ")), secrets...)
}

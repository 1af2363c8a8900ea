package sns

import (
	"strings"

	"nudge/channels"
)

// answers is what AWS's error codes mean for us. A code means the same with every status, so the lines with one
// name none.
func answers() []channels.Answer {
	return []channels.Answer{
		{Status: 200, About: "accepted: SNS has queued the message; what becomes of it stands in CloudWatch, if delivery status logging is on"},
		{Code: "InvalidParameter", Class: channels.ClassMessage, About: "a parameter is malformed; if the complaint is about the number, it is `address`"},
		{Code: "ParameterValueInvalid", Class: channels.ClassMessage, About: "a parameter's value is malformed"},
		{Code: "ValidationException", Class: channels.ClassMessage, About: "a parameter is malformed"},
		{Code: "OptedOut", Class: channels.ClassAddress, OptedOut: true, About: "the person has answered STOP"},
		{Code: "UserError", Class: channels.ClassMessage, About: "the account is in the SMS sandbox, and the number is not verified"},
		{Code: "Throttled", Class: channels.ClassRateLimit, About: "too many messages for the account in this region"},
		{Code: "Throttling", Class: channels.ClassRateLimit, About: "the same"},
		{Code: "ThrottlingException", Class: channels.ClassRateLimit, About: "the same"},
		{Code: "RequestLimitExceeded", Class: channels.ClassRateLimit, About: "the same"},
		{Code: "AuthorizationError", Class: channels.ClassCredential, About: "the key may not publish: it wants sns:Publish on *"},
		{Code: "AccessDenied", Class: channels.ClassCredential, About: "the same"},
		{Code: "AccessDeniedException", Class: channels.ClassCredential, About: "the same"},
		{Code: "InvalidClientTokenId", Class: channels.ClassCredential, About: "no such key"},
		{Code: "UnrecognizedClientException", Class: channels.ClassCredential, About: "the same"},
		{Code: "InvalidSecurity", Class: channels.ClassCredential, About: "the signature is not valid"},
		{Code: "SignatureDoesNotMatch", Class: channels.ClassCredential, About: "the secret is wrong, the region is another, or the machine's clock is off"},
		{Code: "IncompleteSignature", Class: channels.ClassCredential, About: "the signature is malformed"},
		{Code: "MissingAuthenticationToken", Class: channels.ClassCredential, About: "the request was not signed"},
		{Code: "ExpiredToken", Class: channels.ClassCredential, About: "the session has ended"},
		{Code: "RequestExpired", Class: channels.ClassCredential, About: "the signature is too old: look at the machine's clock"},
		{Code: "OptInRequired", Class: channels.ClassCredential, About: "the account is not subscribed to the service"},
		{Code: "InvalidAction", Class: channels.ClassCredential, About: "the endpoint is not SNS"},
		{Code: "InternalError", Class: channels.ClassTemporary, About: "an error at AWS"},
		{Code: "InternalFailure", Class: channels.ClassTemporary, About: "the same"},
		{Code: "ServiceUnavailable", Class: channels.ClassTemporary, About: "the service is unavailable"},
		{Status: 400, Class: channels.ClassMessage, About: "any other 400"},
		{Status: 403, Class: channels.ClassCredential, About: "any other 403"},
		{Status: 404, Class: channels.ClassCredential, About: "any 404: the endpoint is not SNS"},
		{Status: 429, Class: channels.ClassRateLimit, About: "any other 429; Retry-After is honoured"},
		{Status: 500, Class: channels.ClassTemporary, About: "any 5xx; Retry-After is honoured"},
	}
}

// aboutNumber says whether a complaint about a parameter is about the number.
func aboutNumber(code, message string) bool {
	return code == "InvalidParameter" && strings.Contains(message, "Invalid parameter: PhoneNumber")
}

// aboutOptOut says whether a complaint is that the person has opted out: SNS has said so in words, too.
func aboutOptOut(code, message string) bool {
	return code == "InvalidParameter" && strings.Contains(strings.ToLower(message), "opted out")
}

package sns

import (
	"strings"

	"nudge/channels"
)

// answers is what SNS's answers to text messages mean for us.
func answers() []channels.Answer {
	return append([]channels.Answer{
		{Status: 200, About: "accepted: SNS has queued the message; what becomes of it stands in CloudWatch, if delivery status logging is on"},
		{Code: "InvalidParameter", Class: channels.ClassMessage, About: "a parameter is malformed; if the complaint is about the number, it is `address`"},
		{Code: "OptedOut", Class: channels.ClassAddress, OptedOut: true, About: "the person has answered STOP"},
		{Code: "UserError", Class: channels.ClassMessage, About: "the account is in the SMS sandbox, and the number is not verified"},
	}, general()...)
}

// endpointAnswers is what SNS's answers to pushes mean for us.
func endpointAnswers() []channels.Answer {
	return append([]channels.Answer{
		{Status: 200, About: "accepted: SNS hands the push to Apple or Google; if they refuse the token, SNS disables the endpoint"},
		{Code: "EndpointDisabled", Class: channels.ClassAddress, About: "Apple or Google no longer know the device: an app that registers it again must enable its endpoint"},
		{Code: "InvalidParameter", Class: channels.ClassMessage, About: "a parameter is malformed; if the complaint is about the token or the endpoint, it is `address`"},
		{Code: "PlatformApplicationDisabled", Class: channels.ClassCredential, About: "the platform application's own key at Apple or Google is not valid any more"},
		{Code: "NotFound", Class: channels.ClassAddress, About: "no such endpoint; if nudge has made it itself it is `temporary` (the next attempt makes another), and if there is no such platform application, `credentials`"},
	}, general()...)
}

// topicAnswers is what SNS's answers to messages for a topic mean for us, of a whole request or of one message in it.
func topicAnswers() []channels.Answer {
	return append([]channels.Answer{
		{Status: 200, About: "accepted, if the message is not among those that the answer says have failed"},
		{Code: "InvalidParameter", Class: channels.ClassMessage, About: "a parameter is malformed"},
		{Code: "NotFound", Class: channels.ClassCredential, About: "no such topic"},
		{Code: "BatchRequestTooLong", Class: channels.ClassMessage, About: "above 256 KB (checked before sending)"},
		{Code: "KMSAccessDenied", Class: channels.ClassCredential, About: "the key may not use the topic's encryption key"},
		{Code: "KMSDisabled", Class: channels.ClassCredential, About: "the topic's encryption key is disabled"},
		{Code: "KMSInvalidState", Class: channels.ClassCredential, About: "the topic's encryption key cannot be used now"},
		{Code: "KMSNotFound", Class: channels.ClassCredential, About: "the topic's encryption key is gone"},
		{Code: "KMSOptInRequired", Class: channels.ClassCredential, About: "the account is not subscribed to KMS"},
		{Code: "KMSThrottling", Class: channels.ClassRateLimit, About: "too many uses of the topic's encryption key"},
	}, general()...)
}

// general is what AWS's error codes mean for us, whatever is asked. A code means the same with every status, so the
// lines with one name none.
func general() []channels.Answer {
	return []channels.Answer{
		{Code: "ParameterValueInvalid", Class: channels.ClassMessage, About: "a parameter's value is malformed"},
		{Code: "ValidationException", Class: channels.ClassMessage, About: "a parameter is malformed"},
		{Code: "Throttled", Class: channels.ClassRateLimit, About: "too many messages for the account in this region"},
		{Code: "Throttling", Class: channels.ClassRateLimit, About: "the same"},
		{Code: "ThrottlingException", Class: channels.ClassRateLimit, About: "the same"},
		{Code: "RequestLimitExceeded", Class: channels.ClassRateLimit, About: "the same"},
		{Code: "AuthorizationError", Class: channels.ClassCredential, About: "the key may not do this: it wants sns:Publish, and for `applications` sns:CreatePlatformEndpoint"},
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

// aboutAddress says whether a complaint about a parameter is about the number, the device token or the endpoint.
func aboutAddress(code, message string) bool {
	return code == "InvalidParameter" && (strings.Contains(message, "Invalid parameter: PhoneNumber") ||
		strings.Contains(message, "Invalid parameter: Token Reason:") || noEndpoint(message))
}

// noEndpoint says whether a complaint is that there is no such endpoint.
func noEndpoint(message string) bool {
	return strings.Contains(message, "No endpoint found for the target arn")
}

// aboutOptOut says whether a complaint is that the person has opted out: SNS has said so in words, too.
func aboutOptOut(code, message string) bool {
	return code == "InvalidParameter" && strings.Contains(strings.ToLower(message), "opted out")
}

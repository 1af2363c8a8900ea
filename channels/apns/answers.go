package apns

import "nudge/channels"

// answers is Apple's table "Handling notification responses from APNs" and what each line means
// for us.
func answers() []channels.Answer {
	const (
		setUp   = channels.ClassCredential
		message = channels.ClassMessage
		dead    = channels.ClassAddress
		later   = channels.ClassTemporary
	)
	return []channels.Answer{
		{Status: 200, About: "accepted"},
		{Status: 400, Code: "BadCollapseId", Class: message, About: "the collapse id is too long"},
		{Status: 400, Code: "BadDeviceToken", Class: dead, About: "no such token, or one of the other environment"},
		{Status: 400, Code: "BadExpirationDate", Class: message, About: "the expiration is malformed"},
		{Status: 400, Code: "BadMessageId", Class: message, About: "the apns-id is malformed"},
		{Status: 400, Code: "BadPriority", Class: message, About: "the priority is malformed"},
		{Status: 400, Code: "BadTopic", Class: setUp, About: "the topic is malformed"},
		{Status: 400, Code: "DeviceTokenNotForTopic", Class: message, About: "the token belongs to another app. It is not retired: mostly `topic` or `apps` is wrong, and then every token would be"},
		{Status: 400, Code: "DuplicateHeaders", Class: message, About: "a header came twice"},
		{Status: 400, Code: "ExpiredToken", Class: dead, About: "the device token has expired (Apple has documented this with 400 and with 410)"},
		{Status: 400, Code: "IdleTimeout", Class: later, About: "the connection was idle too long"},
		{Status: 400, Code: "InvalidPushType", Class: message, About: "the push type is malformed"},
		{Status: 400, Code: "MissingDeviceToken", Class: message, About: "no token in the path"},
		{Status: 400, Code: "MissingTopic", Class: setUp, About: "no topic"},
		{Status: 400, Code: "PayloadEmpty", Class: message, About: "no payload"},
		{Status: 400, Code: "TopicDisallowed", Class: setUp, About: "this key or certificate may not push to the topic"},
		{Status: 400, Class: message, About: "any other 400"},
		{Status: 403, Code: "BadCertificate", Class: setUp, About: "the certificate is bad"},
		{Status: 403, Code: "BadCertificateEnvironment", Class: setUp, About: "the certificate is for the other environment"},
		{Status: 403, Code: "BadEnvironmentKeyIdInToken", Class: setUp, About: "the key is for the other environment"},
		{Status: 403, Code: "BadEnvironmentKeyInToken", Class: setUp, About: "the same"},
		{Status: 403, Code: "ExpiredProviderToken", Class: setUp, About: "our provider token is older than an hour: a new one is made; look at the machine's clock"},
		{Status: 403, Code: "Forbidden", Class: setUp, About: "not allowed"},
		{Status: 403, Code: "InvalidProviderToken", Class: setUp, About: "key, key_id and team_id do not fit together"},
		{Status: 403, Code: "MissingProviderToken", Class: setUp, About: "neither token nor certificate"},
		{Status: 403, Code: "UnrelatedKeyIdInToken", Class: setUp, About: "key_id is not of the key that this connection began with"},
		{Status: 403, Class: setUp, About: "any other 403"},
		{Status: 404, Code: "BadPath", Class: setUp, About: "the host is not APNs"},
		{Status: 404, Class: setUp, About: "any other 404"},
		{Status: 405, Code: "MethodNotAllowed", Class: setUp, About: "the host is not APNs"},
		{Status: 405, Class: setUp, About: "any other 405"},
		{Status: 410, Code: "ExpiredToken", Class: dead, About: "the device token has expired"},
		{Status: 410, Code: "Unregistered", Class: dead, About: "the app is gone from the device, or notifications are off"},
		{Status: 410, Class: dead, About: "any other 410"},
		{Status: 413, Code: "PayloadTooLarge", Class: message, About: "above 4096 bytes (checked before sending)"},
		{Status: 413, Class: message, About: "any other 413"},
		{Status: 429, Code: "TooManyProviderTokenUpdates", Class: channels.ClassRateLimit, About: "the provider token changed more than once in 20 minutes"},
		{Status: 429, Code: "TooManyRequests", Class: channels.ClassRateLimit, About: "too many pushes to the same device"},
		{Status: 429, Class: channels.ClassRateLimit, About: "any other 429"},
		{Status: 500, Code: "InternalServerError", Class: later, About: "Apple asks for 15 minutes' patience after any 5xx"},
		{Status: 503, Code: "ServiceUnavailable", Class: later, About: "the service is unavailable"},
		{Status: 503, Code: "Shutdown", Class: later, About: "the server is shutting down"},
	}
}

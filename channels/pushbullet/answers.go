package pushbullet

import "nudge/channels"

// answers is what Pushbullet's answers mean for us. The statuses, the error object and its `param` are those of its
// page "Errors"; the codes are not documented, but the service has sent them for years: invalid_access_token and
// pushbullet_pro_required.
func answers() []channels.Answer {
	return []channels.Answer{
		{Status: 200, About: "accepted; a push whose `guid` it has seen is answered with that push"},
		{Code: "invalid_access_token", Class: channels.ClassCredential, About: "the access token is wrong or was revoked"},
		{Code: "pushbullet_pro_required", Class: channels.ClassCredential, About: "the account has used up its 500 pushes of the month: it takes Pushbullet Pro, or the next month"},
		{Status: 400, Code: "email", Class: channels.ClassAddress, About: "the e-mail address is not one"},
		{Status: 400, Code: "device_iden", Class: channels.ClassCredential, About: "no such device in the account; `message` if the message named it"},
		{Status: 400, Code: "channel_tag", Class: channels.ClassCredential, About: "no such channel, or not the account's; `message` if the message named it"},
		{Status: 400, Code: "source_device_iden", Class: channels.ClassCredential, About: "`source_device` is not one of the account's"},
		{Status: 400, Class: channels.ClassMessage, About: "any other 400: mostly a parameter that is missing or malformed"},
		{Status: 401, Class: channels.ClassCredential, About: "no access token, or none that is valid"},
		{Status: 403, Class: channels.ClassCredential, About: "the access token may not do this"},
		{Status: 404, Class: channels.ClassCredential, About: "what is pushed to does not exist; `message` if the message named it"},
		{Status: 429, Class: channels.ClassRateLimit, About: "too many requests; tried again when X-Ratelimit-Reset says"},
		{Status: 500, Class: channels.ClassTemporary, About: "any 5xx; Retry-After is honoured"},
	}
}

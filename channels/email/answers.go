package email

import (
	"fmt"
	"regexp"
	"slices"

	"nudge/channels"

	"github.com/emersion/go-smtp"
)

// answers says what a server's replies mean: the plain code of RFC 5321, or the enhanced one of RFC
// 3463 and its registry (RFC 5248), which decides where there is one.
func answers() []channels.Answer {
	const (
		temporary = channels.ClassTemporary
		rate      = channels.ClassRateLimit
		address   = channels.ClassAddress
		message   = channels.ClassMessage
		ours      = channels.ClassCredential
	)
	return []channels.Answer{
		{Status: 250, About: "any 2xx: accepted"},
		{Status: 421, Class: temporary, About: "the server ends the connection: a new one is made"},
		{Status: 421, Code: "4.7.0", Class: rate, About: "too much at once (Gmail)"},
		{Status: 432, Class: ours, About: "the password has to be changed"},
		{Status: 450, Class: temporary, About: "any other 4xx: not now"},
		{Status: 451, Class: temporary, About: "an error at the server"},
		{Status: 452, Class: temporary, About: "no room at the server"},
		{Status: 454, Class: rate, About: "throttling: the sending rate or quota is exceeded (Amazon SES)"},
		{Status: 454, Code: "4.7.0", Class: temporary, About: "signing in or TLS does not work just now"},
		{Code: "4.7.12", Class: ours, About: "the password has to be changed"},
		{Code: "4.7.28", Class: rate, About: "too much at once (Gmail)"},
		{Status: 500, Class: ours, About: "the server does not know a command: it is not the server that the configuration takes it for"},
		{Status: 501, Class: message, About: "the server cannot read an address"},
		{Status: 502, Class: ours, About: "the server does not have a command"},
		{Status: 503, Class: ours, About: "the server wants something first, mostly that we sign in"},
		{Status: 504, Class: ours, About: "the server does not have a parameter"},
		{Status: 521, Class: ours, About: "the server takes no mail"},
		{Status: 523, Class: ours, About: "the server wants TLS"},
		{Status: 530, Class: ours, About: "the server wants us to sign in, or TLS"},
		{Status: 534, Class: ours, About: "the server wants another way to sign in"},
		{Status: 535, Class: ours, About: "username or password are wrong"},
		{Status: 538, Class: ours, About: "the server wants TLS"},
		{Status: 550, Class: message, About: "any other 5xx: the server refuses this message. Without an enhanced code it may be for the address or for what the message says, so the address is not retired. With 5.7.1 it is a policy; for every message, mostly that the server does not relay for us"},
		{Status: 551, Class: address, About: "the person is not at this server"},
		{Status: 552, Class: message, About: "the mailbox is full, or the message too large"},
		{Status: 553, Class: message, About: "an address is not allowed"},
		{Status: 554, Class: message, About: "the server refuses this message"},
		{Status: 556, Class: address, About: "the domain takes no mail"},
		{Code: "5.1.1", Class: address, About: "no such mailbox"},
		{Code: "5.1.2", Class: address, About: "no such domain"},
		{Code: "5.1.3", Class: address, About: "the address is malformed"},
		{Code: "5.1.6", Class: address, About: "the mailbox has moved, without a new address"},
		{Code: "5.1.7", Class: ours, About: "the sender's address is malformed"},
		{Code: "5.1.8", Class: ours, About: "the sender's domain does not exist"},
		{Code: "5.1.10", Class: address, About: "the domain takes no mail (null MX)"},
		{Code: "5.2.1", Class: address, About: "the mailbox is disabled"},
		{Code: "5.2.2", Class: message, About: "the mailbox is full"},
		{Code: "5.3.4", Class: message, About: "the message is too large for the server"},
		{Code: "5.4.4", Class: address, About: "the domain has no mail server"},
		{Code: "5.7.3", Class: ours, About: "signing in failed (Exchange)"},
		{Code: "5.7.8", Class: ours, About: "username or password are wrong"},
		{Code: "5.7.9", Class: ours, About: "the server wants a safer way to sign in (Gmail: an app password)"},
		{Code: "5.7.11", Class: ours, About: "the server wants TLS to sign in"},
		{Code: "5.7.13", Class: ours, About: "the account is disabled"},
		{Code: "5.7.14", Class: ours, About: "the account must be unlocked at the provider"},
		{Code: "5.7.20", Class: ours, About: "no valid DKIM signature"},
		{Code: "5.7.21", Class: ours, About: "no acceptable DKIM signature"},
		{Code: "5.7.22", Class: ours, About: "no valid DKIM signature of the From address's domain"},
		{Code: "5.7.23", Class: ours, About: "SPF does not allow the server to send for the domain"},
		{Code: "5.7.24", Class: ours, About: "the domain's SPF record is broken"},
		{Code: "5.7.25", Class: ours, About: "the sending machine has no reverse DNS name"},
		{Code: "5.7.26", Class: ours, About: "the message is not authenticated: SPF, DKIM and DMARC failed"},
		{Code: "5.7.27", Class: ours, About: "the sender's domain takes no mail (null MX)"},
		{Code: "5.7.28", Class: rate, About: "a flood of mail was detected"},
		{Code: "5.7.57", Class: ours, About: "the server wants us to sign in (Microsoft 365)"},
		{Code: "5.7.60", Class: ours, About: "the account may not send as the From address (Microsoft 365)"},
		{Code: "5.7.139", Class: ours, About: "the account may not sign in by password (Microsoft 365)"},
	}
}

// stage is how far a conversation with a server has come.
type stage int

const (
	stageConnect stage = iota // up to signing in: nothing has been said of any message
	stageSender               // MAIL FROM
	stageRecipient
	stageData
)

// enhancedForm is an enhanced code at the beginning of a reply.
var enhancedForm = regexp.MustCompile(`^([245]\.\d{1,3}\.\d{1,3})(?:\s|$)`)

// enhanced is a reply's enhanced code, "" where it has none.
func enhanced(reply *smtp.SMTPError) string {
	if e := reply.EnhancedCode; e[0] > 0 {
		return fmt.Sprintf("%d.%d.%d", e[0], e[1], e[2])
	}
	if m := enhancedForm.FindStringSubmatch(reply.Message); m != nil {
		return m[1]
	}
	return ""
}

// classify says what a refusal at a stage means.
func classify(table []channels.Answer, at stage, status int, code string) channels.Class {
	class := classOf(table, status, code)
	permanent := class == channels.ClassAddress || class == channels.ClassMessage
	switch {
	case at == stageConnect && permanent:
		// No message was spoken of: it is us whom the server refuses.
		return channels.ClassCredential
	case at == stageSender && class == channels.ClassAddress:
		// The person's address was not spoken of yet: it is ours that is wrong.
		return channels.ClassCredential
	}
	return class
}

// classOf finds a reply in the table: by both codes, by the enhanced one, by its first digit where
// it is not in the table, and by the plain one.
func classOf(table []channels.Answer, status int, code string) channels.Class {
	find := func(status int, code string) (channels.Class, bool) {
		i := slices.IndexFunc(table, func(a channels.Answer) bool { return a.Status == status && a.Code == code })
		if i < 0 {
			return "", false
		}
		return table[i].Class, true
	}
	if code != "" {
		if class, ok := find(status, code); ok {
			return class
		}
		if class, ok := find(0, code); ok {
			return class
		}
		// One that is not in the table has at least said whether to try again.
		if int(code[0]-'0') != status/100 {
			status = int(code[0]-'0')*100 + 50
		}
	}
	if class, ok := find(status, ""); ok {
		return class
	}
	if status/100 == 5 {
		return channels.ClassMessage
	}
	return channels.ClassTemporary
}

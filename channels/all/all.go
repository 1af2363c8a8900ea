// Package all lists the adapters that a nudge binary has.
package all

import (
	"fmt"

	"nudge/channels"
	"nudge/channels/airship"
	"nudge/channels/apns"
	"nudge/channels/chat"
	"nudge/channels/courier"
	"nudge/channels/digest"
	"nudge/channels/email"
	"nudge/channels/fcm"
	"nudge/channels/file"
	"nudge/channels/inbox"
	"nudge/channels/parse"
	"nudge/channels/pushbullet"
	"nudge/channels/sns"
	"nudge/channels/stdout"
	"nudge/channels/twilio"
	"nudge/channels/webhook"
	"nudge/channels/webpush"
)

// Set returns a new set of all adapters.
func Set() (channels.Set, error) {
	var set channels.Set
	for _, spec := range []channels.Spec{
		airship.Spec(),
		apns.Spec(),
		chat.Spec(),
		courier.Spec(),
		digest.Spec(),
		email.Spec(),
		fcm.Spec(),
		file.Spec(),
		inbox.Spec(),
		parse.Spec(),
		pushbullet.Spec(),
		sns.Spec(),
		sns.PushSpec(),
		sns.TopicSpec(),
		stdout.Spec(),
		twilio.Spec(),
		webhook.Spec(),
		webpush.Spec(),
	} {
		if err := set.Add(spec); err != nil {
			return channels.Set{}, fmt.Errorf("listing the channel adapters: %w", err)
		}
	}
	return set, nil
}

// Package all lists the adapters that a nudge binary has.
package all

import (
	"fmt"

	"nudge/channels"
	"nudge/channels/apns"
	"nudge/channels/fcm"
	"nudge/channels/file"
	"nudge/channels/stdout"
	"nudge/channels/webhook"
)

// Set returns a new set of all adapters.
func Set() (channels.Set, error) {
	var set channels.Set
	for _, spec := range []channels.Spec{
		apns.Spec(),
		fcm.Spec(),
		file.Spec(),
		stdout.Spec(),
		webhook.Spec(),
	} {
		if err := set.Add(spec); err != nil {
			return channels.Set{}, fmt.Errorf("listing the channel adapters: %w", err)
		}
	}
	return set, nil
}

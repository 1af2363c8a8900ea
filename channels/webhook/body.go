package webhook

import (
	"time"

	"nudge/channels"
)

// roots are the names that a placeholder may begin with.
var roots = []string{"key", "message_id", "timestamp", "user_id", "address", "fields", "about", "urgent", "ttl_seconds"}

// valuesOf are the parts of a message by the names that bodies use.
func valuesOf(m *channels.Message, at time.Time) map[string]any {
	address := map[string]any{}
	for name, part := range map[string]string{
		"token": m.Address.Token, "platform": m.Address.Platform, "app": m.Address.App,
		"environment": m.Address.Environment, "email": m.Address.Email, "phone": m.Address.Phone,
	} {
		if part != "" {
			address[name] = part
		}
	}
	about := make(map[string]any, len(m.About))
	for k, v := range m.About {
		about[k] = v
	}
	return map[string]any{
		"key": m.Key, "message_id": m.Signed, "timestamp": at.UTC().Format(time.RFC3339Nano), "user_id": m.Address.UserID,
		"address": address, "fields": m.Fields, "about": about, "urgent": m.Urgent, "ttl_seconds": m.TTL.Seconds(),
	}
}

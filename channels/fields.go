package channels

// TextFields are the message fields of adapters that show plain text or pass a message on
// (stdout, file, webhook).
func TextFields() []Field {
	return []Field{
		{Name: "title", Type: "string", Template: true, Text: true, Example: "Still thinking about {{ product }}?", About: "the headline"},
		{Name: "body", Type: "string", Template: true, Text: true, Example: "It is waiting in your cart.", About: "the text"},
		{Name: "link", Type: "string", Template: true, Example: "https://shop.example/cart", About: "where a tap leads"},
		{Name: "data", Type: "map", Template: true, Example: `{order: "{{ order }}"}`, About: "anything else that the receiver wants"},
	}
}

// PushFields are the message fields of the kind `push`, one vocabulary for every platform. An
// adapter lists those that its platform has and passes over the others, so that one message in a
// rule file serves all devices of a person.
func PushFields(names ...string) []Field {
	all := []Field{
		{Name: "title", Type: "string", Template: true, Text: true, Example: "Still thinking about {{ product }}?", About: "the headline"},
		{Name: "body", Type: "string", Template: true, Text: true, Example: "It is waiting in your cart.", About: "the text"},
		{Name: "link", Type: "string", Template: true, Example: "https://shop.example/cart", About: "where a tap leads; the app reads it as `link`"},
		{Name: "image", Type: "string", Template: true, Example: "https://shop.example/p/17.jpg", About: "an image's https URL"},
		{Name: "actions", Type: "actions", Template: true, Text: true, Example: "[{id: buy, title: Buy now}]", About: "buttons"},
		{Name: "data", Type: "map", Template: true, Example: `{order: "{{ order }}"}`, About: "custom keys for the app"},
		{Name: "sound", Type: "string", Template: true, Example: "default", About: "name of a sound"},
		{Name: "badge", Type: "int", Template: true, Example: "3", About: "the number on the app's icon; 0 removes it"},
		{Name: "collapse", Type: "string", Template: true, Example: "order-{{ order }}", About: "a newer message with the same text here replaces this one on the device; by default only a repeat of the same message does"},
		{Name: "silent", Type: "bool", Example: "true", About: "wakes the app without showing anything"},
		{Name: "ttl", Type: "duration", Example: "4h", About: "how long the provider may keep trying"},
		{Name: "subtitle", Type: "string", Template: true, Text: true, Example: "Your cart", About: "a second headline (iOS)"},
		{Name: "category", Type: "string", Template: true, Example: "CART", About: "the app's registered notification category, whose buttons are shown (iOS)"},
		{Name: "thread", Type: "string", Template: true, Example: "cart", About: "groups notifications (iOS)"},
		{Name: "mutable", Type: "bool", Example: "true", About: "lets the app's service extension change the notification; set by itself when there is an image or an action (iOS)"},
		{Name: "interruption", Type: "string", Template: true, Example: "time-sensitive", About: "passive, active, time-sensitive or critical (iOS)"},
		{Name: "relevance", Type: "number", Template: true, Example: "0.8", About: "0 to 1, which notification of the app stands out in a summary (iOS)"},
		{Name: "channel_id", Type: "string", Template: true, Example: "offers", About: "the app's notification channel (Android)"},
		{Name: "click_action", Type: "string", Template: true, Example: "OPEN_CART", About: "the activity that a tap opens (Android)"},
		{Name: "icon", Type: "string", Template: true, Example: "ic_cart", About: "a drawable (Android) or an image's URL (web)"},
		{Name: "badge_icon", Type: "string", Template: true, Example: "https://shop.example/badge.png", About: "the small image of one colour that stands for the site where there is little room (web)"},
		{Name: "require_interaction", Type: "bool", Example: "true", About: "stays until the person does something with it (web)"},
		{Name: "urgency", Type: "string", Example: "low", About: "very-low, low, normal or high: whether a device that saves power is woken; by default normal, and high for transactional messages (web)"},
		{Name: "color", Type: "string", Template: true, Example: "#ff6600", About: "accent colour as #rrggbb (Android)"},
	}
	var fields []Field
	for _, f := range all {
		for _, name := range names {
			if f.Name == name {
				fields = append(fields, f)
			}
		}
	}
	return fields
}

package rules

import "time"

// ChannelSpec is what a rule file's message for a channel is checked against. It is a value so that
// rules need not know the adapters.
type ChannelSpec struct {
	Name   string // as the rule file calls it: "push", "email"
	Kind   string // the adapter's kind
	Fields []FieldSpec
	// Any says that fields beside these are taken too, as they come.
	Any bool
	// Collects says that its messages wait for a digest.
	Collects bool
	// MaxPayload is the provider's limit in bytes, 0 for none.
	MaxPayload int
}

// FieldSpec is one field of a message.
type FieldSpec struct {
	Name     string
	Type     string // string, int, number, bool, duration, list, map, actions
	Required bool
	Template bool // the value is a Liquid template
	Text     bool // people read it, so that every language has its own
}

// ChannelMessage is what a rule sends on one channel.
type ChannelMessage struct {
	Channel string
	Locale  string // of what For has chosen; "" is the message as it stands, without one
	// Fields in the order of the file.
	Fields []Field
	TTL    time.Duration // the field `ttl`, where the channel has it; 0 for none
	// Locales are what people of other languages get, in the order of the file.
	Locales []Localized

	matcher *matcher // of Locales; nil without
}

// Field is one field of a message: a value whose strings may be templates.
type Field struct {
	Name  string
	Value Value
}

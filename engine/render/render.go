// Package render makes a message of a rule's templates and what a decision holds. It is pure: the loop
// calls it to learn whether a message can be made, and the sender makes the same one again.
package render

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"nudge/engine/ledger"
	"nudge/rules"
	"nudge/segments"
)

// Message is what a rendering depends on.
type Message struct {
	Variant string
	Channel string
	Value   string // of for_each or on.by
	At      int64  // when it was decided, Unix ms
	With    ledger.Values
	Profile *segments.Profile // may be nil
	// Zone is the workspace's, for people without one.
	Zone *time.Location
	// Location is time.LoadLocation, or a cache over it, which reads a file each time.
	Location func(name string) (*time.Location, error)
}

// UnsubscribeLink is what message.unsubscribe_link prints: the sender puts a signed link of the message there. Rendering
// is the same for everybody who renders, and so knows no secret.
const UnsubscribeLink = "nudge:unsubscribe"

// Fields renders the rule's message for a channel, in the language of m.Profile. An error says which field failed and
// why; nothing may be sent then.
func Fields(r *rules.Rule, m Message) (map[string]any, error) {
	msg, err := Of(r, m)
	if err != nil {
		return nil, err
	}
	return msg.Render(vars(r, m)) //nolint:wrapcheck // names the field
}

// Of is what Fields renders: the rule's message for the channel, in the language of m.Profile where it has that.
func Of(r *rules.Rule, m Message) (rules.ChannelMessage, error) {
	msg, ok := r.MessageOf(m.Variant, m.Channel)
	if !ok {
		return msg, fmt.Errorf("the rule has no message for %s", m.Channel)
	}
	if m.Profile == nil {
		return msg, nil
	}
	return msg.For(m.Profile.Locale), nil
}

// vars are the names that a template may print: those of `with`, and user.… and message.….
func vars(r *rules.Rule, m Message) map[string]any {
	out := make(map[string]any, len(m.With)+2)
	maps.Copy(out, m.With)
	loc := m.Zone
	user := map[string]any{}
	if p := m.Profile; p != nil {
		traits := make(map[string]any, len(p.Traits))
		for name, raw := range p.Traits {
			if v := ledger.Value(raw); v != nil {
				traits[name] = v
			}
		}
		user["traits"] = traits
		if p.UserID != "" {
			user["id"] = p.UserID
		}
		if p.Anonymous != "" {
			user["anonymous_id"] = p.Anonymous
		}
		if p.Zone != "" {
			user["timezone"] = p.Zone
			if l, err := m.Location(p.Zone); err == nil {
				loc = l
			}
		}
		if p.Locale != "" {
			user["locale"] = p.Locale
		}
		if p.CreatedAt != 0 {
			user["created_at"] = time.UnixMilli(p.CreatedAt).In(loc)
		}
	}
	out["user"] = user
	out["message"] = map[string]any{
		"rule": r.Name, "channel": m.Channel, "variant": m.Variant, "category": r.Category, "value": m.Value,
		"at": time.UnixMilli(m.At).In(loc), "unsubscribe_link": UnsubscribeLink,
	}
	return out
}

// Profile reads back the profile that a decision carries; nil for none.
func Profile(raw json.RawMessage) (*segments.Profile, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	var p segments.Profile
	if err := ledger.Unmarshal(raw, &p); err != nil {
		return nil, fmt.Errorf("read the decision's profile: %w", err)
	}
	return &p, nil
}

package airshipd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// maxOverride is the most bytes that a platform's part may have.
const maxOverride = 4096

// problem is what is wrong with a push, and where.
type problem struct{ path, what string }

// checker finds what is wrong with a value.
type checker func(path string, value any) *problem

var (
	uuid   = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	token  = regexp.MustCompile(`^[0-9A-F]{64}$`)
	colour = regexp.MustCompile(`^#[0-9a-f]{6}$`)
	auto   = regexp.MustCompile(`^(auto|[+-]\d+)$`)
)

// check validates a push.
func (s *Server) check(raw []byte) *problem {
	var push any
	if json.Unmarshal(raw, &push) != nil {
		return &problem{"", "the push is not JSON"}
	}
	types := func(path string, value any) *problem {
		list, ok := value.([]any)
		if !ok || len(list) == 0 {
			return &problem{path, "must be a list of platforms"}
		}
		for _, t := range list {
			if name, _ := t.(string); !slices.Contains(s.config.Types, name) {
				return &problem{path, fmt.Sprintf("the platform '%v' is not one of the application's", t)}
			}
		}
		return nil
	}
	if p := fields(map[string]checker{
		"audience": audience, "device_types": types, "notification": notification, "options": options,
		"campaigns": anything, "message": anything, "in_app": anything, "localizations": anything, "feed_references": anything,
	})("", push); p != nil {
		return p
	}
	of := push.(map[string]any)
	for _, key := range []string{"audience", "device_types"} {
		if of[key] == nil {
			return &problem{key, "is required"}
		}
	}
	if of["notification"] == nil && of["message"] == nil && of["in_app"] == nil {
		return &problem{"notification", "one of notification, message and in_app is required"}
	}
	return nil
}

// audience is a selector.
func audience(path string, value any) *problem {
	if value == "all" {
		return nil
	}
	selector, ok := value.(map[string]any)
	if !ok || len(selector) == 0 {
		return &problem{path, "is not an audience selector"}
	}
	if _, ok := selector["attribute"]; ok {
		return fields(map[string]checker{"attribute": text(0), "operator": text(0), "value": anything, "precision": text(0)})(path, value)
	}
	if group, ok := selector["group"]; ok {
		if p := text(0)(path+".group", group); p != nil {
			return p
		}
		selector = maps.Clone(selector)
		delete(selector, "group")
		if _, tagged := selector["tag"]; !tagged {
			return &problem{path, "a group is one of tags"}
		}
	}
	if len(selector) != 1 {
		return &problem{path, "must have one selector"}
	}
	for name, of := range selector {
		at := join(path, name)
		switch name {
		case "and", "or", "AND", "OR":
			return selectors(at, of)
		case "not", "NOT":
			return audience(at, of)
		case "ios_channel", "android_channel", "amazon_channel", "channel", "open_channel", "apid", "wns":
			return pattern(uuid)(at, of)
		case "device_token":
			return pattern(token)(at, of)
		case "named_user":
			return oneOrMore(text(128))(at, of)
		case "tag", "alias", "segment", "static_list", "subscription_lists":
			return oneOrMore(text(0))(at, of)
		default:
			return &problem{at, fmt.Sprintf("The key '%s' is not allowed in this context", name)}
		}
	}
	return nil
}

// selectors is a list of selectors.
func selectors(path string, value any) *problem {
	list, ok := value.([]any)
	if !ok || len(list) == 0 {
		return &problem{path, "must be a list of selectors"}
	}
	for i, of := range list {
		if p := audience(fmt.Sprintf("%s[%d]", path, i), of); p != nil {
			return p
		}
	}
	return nil
}

// notification is what is shown.
func notification(path string, value any) *problem {
	of, ok := value.(map[string]any)
	if !ok || len(of) == 0 {
		return &problem{path, "Notification body may not be empty"}
	}
	return fields(map[string]checker{
		"alert": text(0), "actions": actions, "interactive": anything,
		"ios": sized(fields(ios())), "android": sized(fields(android())), "amazon": sized(fields(amazon())), "web": sized(fields(web())),
	})(path, value)
}

// ios are the keys of iOS.
func ios() map[string]checker {
	return map[string]checker{
		"alert": either(text(0), object), "title": text(0), "subtitle": text(0), "category": text(0), "thread_id": text(0),
		"badge": either(number(0, 1<<31), pattern(auto)), "sound": either(text(0), object), "content_available": boolean, "mutable_content": boolean,
		"extra": object, "expiry": expiry, "priority": oneOf(5.0, 10.0), "collapse_id": text(64), "target_content_id": text(0),
		"interruption_level": oneOf("passive", "active", "time-sensitive", "critical"), "relevance_score": number(0, 1),
		"media_attachment": fields(map[string]checker{"url": text(0), "content": object, "options": object}),
		"interactive":      anything, "actions": actions, "live_activity": anything,
	}
}

// android are the keys of Android.
func android() map[string]checker {
	return map[string]checker{
		"alert": text(0), "title": text(0), "summary": text(0), "collapse_key": text(0), "notification_tag": text(0), "notification_channel": text(0),
		"time_to_live": expiry, "delivery_priority": oneOf("high", "normal"), "priority": number(-2, 2), "visibility": number(-1, 1),
		"local_only": boolean, "sound": text(0), "icon": text(0), "icon_color": pattern(colour), "extra": texts(true), "style": style, "category": text(0),
		"wearable": object, "public_notification": object, "interactive": anything, "actions": actions, "live_update": anything, "deliver_to": oneOf("all", "opted_in"),
	}
}

// amazon are the keys of Amazon's devices.
func amazon() map[string]checker {
	return map[string]checker{
		"alert": text(0), "title": text(0), "summary": text(0), "consolidation_key": text(0), "expires_after": expiry, "extra": texts(false), "sound": text(0),
		"icon": text(0), "icon_color": pattern(colour), "notification_channel": text(0), "notification_tag": text(0), "style": style, "interactive": anything, "actions": actions,
	}
}

// web are the keys of browsers.
func web() map[string]checker {
	link := fields(map[string]checker{"url": text(0)})
	return map[string]checker{
		"alert": text(0), "title": text(0), "extra": texts(false), "icon": link, "image": link, "time_to_live": expiry,
		"require_interaction": boolean, "interactive": anything, "actions": actions, "buttons": anything,
	}
}

// style is one of Android's styles.
func style(path string, value any) *problem {
	return fields(map[string]checker{
		"type": oneOf("big_text", "big_picture", "inbox"), "big_text": text(0), "big_picture": text(0), "lines": anything, "title": text(0), "summary": text(0),
	})(path, value)
}

// actions are what a tap does.
func actions(path string, value any) *problem {
	return fields(map[string]checker{
		"open":    fields(map[string]checker{"type": oneOf("url", "deep_link", "landing_page"), "content": either(text(0), object), "fallback_url": text(0)}),
		"add_tag": oneOrMore(text(0)), "remove_tag": oneOrMore(text(0)), "share": text(0), "app_defined": object, "add_custom_event": object,
	})(path, value)
}

// options are those of a push.
func options(path string, value any) *problem {
	return fields(map[string]checker{
		"expiry": expiry, "bypass_frequency_limits": boolean, "bypass_holdout_groups": boolean, "no_throttle": boolean,
		"omit_from_activity_log": boolean, "personalization": boolean, "redact_payload": boolean,
	})(path, value)
}

// expiry is seconds or an instant.
func expiry(path string, value any) *problem {
	switch v := value.(type) {
	case float64:
		if v == float64(int64(v)) && v >= 0 {
			return nil
		}
	case string:
		if _, err := time.Parse("2006-01-02T15:04:05", strings.TrimSuffix(v, "Z")); err == nil {
			return nil
		}
	}
	return &problem{path, "must be seconds or an instant as 2026-11-13T09:42:30"}
}

// fields is an object with known keys.
func fields(known map[string]checker) checker {
	return func(path string, value any) *problem {
		of, ok := value.(map[string]any)
		if !ok {
			return &problem{path, "must be an object"}
		}
		for _, key := range slices.Sorted(maps.Keys(of)) {
			check, ok := known[key]
			if !ok {
				return &problem{join(path, key), fmt.Sprintf("The key '%s' is not allowed in this context", key)}
			}
			if p := check(join(path, key), of[key]); p != nil {
				return p
			}
		}
		return nil
	}
}

// sized is a platform's part, with its limit.
func sized(check checker) checker {
	return func(path string, value any) *problem {
		var raw bytes.Buffer
		enc := json.NewEncoder(&raw)
		enc.SetEscapeHTML(false) // or & would count as six
		if err := enc.Encode(value); err != nil || raw.Len()-1 > maxOverride {
			return &problem{path, fmt.Sprintf("must not have more than %d bytes", maxOverride)}
		}
		return check(path, value)
	}
}

// texts is an object of texts, for Android without the keys that are Google's.
func texts(google bool) checker {
	return func(path string, value any) *problem {
		of, ok := value.(map[string]any)
		if !ok {
			return &problem{path, "must be an object"}
		}
		for key, v := range of {
			if _, ok := v.(string); !ok {
				return &problem{join(path, key), "must be a string"}
			}
			taken := slices.Contains([]string{"from", "message_type", "data"}, key) || strings.HasPrefix(key, "google") || strings.HasPrefix(key, "gcm")
			if google && taken {
				return &problem{join(path, key), "is disallowed"}
			}
		}
		return nil
	}
}

// text is a text that is not empty, of at most limit characters; 0 is no limit.
func text(limit int) checker {
	return func(path string, value any) *problem {
		if v, ok := value.(string); !ok || v == "" || limit > 0 && utf8.RuneCountInString(v) > limit {
			return &problem{path, "must be a string that is neither empty nor too long"}
		}
		return nil
	}
}

func pattern(form *regexp.Regexp) checker {
	return func(path string, value any) *problem {
		if v, ok := value.(string); !ok || !form.MatchString(v) {
			return &problem{path, "has the wrong form"}
		}
		return nil
	}
}

func number(from, to float64) checker {
	return func(path string, value any) *problem {
		if v, ok := value.(float64); !ok || v < from || v > to {
			return &problem{path, fmt.Sprintf("must be a number from %v to %v", from, to)}
		}
		return nil
	}
}

func oneOf(words ...any) checker {
	return func(path string, value any) *problem {
		if !slices.Contains(words, value) {
			return &problem{path, fmt.Sprintf("must be one of %v", words)}
		}
		return nil
	}
}

func oneOrMore(check checker) checker {
	return func(path string, value any) *problem {
		list, ok := value.([]any)
		if !ok {
			return check(path, value)
		}
		for i, item := range list {
			if p := check(fmt.Sprintf("%s[%d]", path, i), item); p != nil {
				return p
			}
		}
		return nil
	}
}

func either(a, b checker) checker {
	return func(path string, value any) *problem {
		if a(path, value) == nil {
			return nil
		}
		return b(path, value)
	}
}

func boolean(path string, value any) *problem {
	if _, ok := value.(bool); !ok {
		return &problem{path, "must be true or false"}
	}
	return nil
}

func object(path string, value any) *problem {
	if _, ok := value.(map[string]any); !ok {
		return &problem{path, "must be an object"}
	}
	return nil
}

func anything(string, any) *problem { return nil }

// join makes a path.
func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

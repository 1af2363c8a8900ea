package format

import "nudge/rules/yamlfile"

type order = yamlfile.Order

// keys is a set of keys in their order.
func keys(names ...string) *order { return &order{Keys: names} }

// with adds what is below some of the keys.
func with(o *order, of map[string]*order) *order {
	o.Of = of
	return o
}

// each is the order of all items of a list, or below all keys that the author chooses.
func each(o *order) *order { return &order{Each: o} }

// code is a text of the language of conditions.
func code() *order { return &order{Code: true} }

// orders are the orders of the keys of all kinds of files, as docs/rules.md and docs/testing.md list them. What is
// below `with`, `message` and `variants` keeps the author's order: there it means something.
func orders() map[string]*order {
	return map[string]*order{"rule": rule(), "segment": segment(), "events": events(), "workspace": config(), "test": tests()}
}

func silence() *order { return each(keys("check", "reason", "until")) }

func rule() *order {
	return with(
		keys("rule", "about", "owner", "category", "priority", "digest", "schedule", "at", "on", "start", "end", "send_at", "for_each", "when", "again",
			"backfill", "exit", "goal", "with", "holdout", "rollout", "pause_when", "shadow", "deliver", "urgent", "devices", "when_blocked", "while_held", "expire", "message",
			"variants", "silence"),
		map[string]*order{
			"schedule":     keys("cron", "zone"),
			"at":           keys("time", "zone"),
			"on":           with(keys("event", "where", "by", "max_age"), map[string]*order{"where": code()}),
			"for_each":     code(),
			"when":         code(),
			"exit":         with(keys("event", "where", "since"), map[string]*order{"where": code(), "since": code()}),
			"goal":         with(keys("event", "where", "within", "value"), map[string]*order{"where": code()}),
			"with":         each(code()),
			"when_blocked": keys("frequency_cap", "outranked", "no_address", "no_consent", "quiet_hours"),
			"silence":      silence(),
		},
	)
}

func segment() *order {
	return with(keys("segment", "about", "when", "silence"), map[string]*order{"when": code(), "silence": silence()})
}

func events() *order {
	properties := each(keys("type", "required", "enum", "items", "description"))
	return with(keys("undeclared_events", "undeclared_properties", "events", "traits"), map[string]*order{
		"events": each(with(keys("description", "on_violation", "properties"), map[string]*order{"properties": properties})),
		"traits": properties,
	})
}

func config() *order {
	adapter := keys("title", "adapter", "kind", "needs", "rate_limit", "after_crash", "track_links", "track_opens", "config", "apps", "adapters")
	adapter.Of = map[string]*order{"adapters": each(keys("adapter", "config", "apps"))}
	return with(
		keys("zone", "locale", "unknown_zone", "listen", "base_url", "salt", "data", "holdout", "everyone_min", "store", "queue", "signing", "keys",
			"categories", "channels", "caps", "quiet_hours", "location", "preferences", "silence"),
		map[string]*order{
			"store":       keys("dsn", "dir", "database", "retention", "library", "cluster"),
			"queue":       keys("url", "dir", "max_backlog", "keep"),
			"keys":        each(keys("name", "write_key", "secret_key")),
			"categories":  each(keys("title", "about", "consent")),
			"channels":    each(adapter),
			"caps":        each(keys("name", "max", "per", "window", "clock", "scope", "channels", "categories", "rules", "at_cap", "counts")),
			"quiet_hours": keys("from", "to", "zone", "days", "channels", "categories"),
			"location":    keys("max_age", "accuracy"),
			"preferences": keys("title", "about"),
			"silence":     silence(),
		},
	)
}

func tests() *order {
	details := []string{"value", "by", "variant", "channel", "text"}
	// The terse forms have one key, which nobody knows beforehand, and below it the details.
	expectation := with(keys(append([]string{"at", "user", "rule", "reason"}, details...)...), map[string]*order{"text": nil})
	expectation.Each = keys(details...)
	one := with(keys("name", "about", "start", "people", "events", "arms", "expect", "silence", "until", "others"), map[string]*order{
		"people": each(with(keys("traits", "devices", "consents", "zone", "locale", "anonymous"), map[string]*order{
			"devices":  keys("platform", "token", "app", "environment"),
			"consents": keys("channel", "category", "granted"),
		})),
		"events": each(keys("at", "arrives", "user", "track", "page", "screen", "identify", "alias", "device", "consent", "opened", "clicked",
			"properties", "context", "anonymous", "id", "secret", "off_plan")),
		"expect":  each(expectation),
		"silence": keys("user", "rule", "until"),
	})
	return &order{Each: one, Apart: true}
}

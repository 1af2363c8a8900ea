package schema

import "maps"

func workspace() object {
	// A secret is {env: NAME}, {file: PATH}, or the same as text.
	secret := anyOf(text(), keys(object{"env": text(), "file": text()}))
	size := object{"type": "string", "pattern": `^\s*[0-9]+\s*(KB|MB|GB|TB)\s*$`}
	names := some(text())
	word := object{"pattern": `^[a-z0-9][a-z0-9_-]{0,99}$`}
	adapter := object{
		"adapter": is(text(), "nudge channels lists them."), "config": is(object{"type": "object"}, "Its configuration; secrets as {env: NAME} or {file: PATH}."),
		"apps": is(names, "Bundle ids or package names that it serves; all without it."),
	}
	channel := object{
		"adapters": is(listOf(keys(adapter, "adapter")), "Several adapters, for push one a platform."),
		"kind":     is(text(), "Whose message fields it takes."), "needs": is(text(), "What it needs of a person, where a file or a webhook stands in: email, phone."),
		"rate_limit":  is(anyOf(text(), number()), "Messages in a time: 100/s, 5000/m."),
		"after_crash": is(oneOf("retry", "give_up"), "Of an attempt whose outcome was lost."),
		"track_links": is(truth(), "Rewrite links so that clicks are known."),
		"track_opens": is(truth(), "Put a picture into HTML so that opens are known."),
		"title":       is(text(), "What people call it, on the page of preferences."),
	}
	maps.Copy(channel, adapter)
	consent := oneOf("opt_in", "opt_out")
	quiet := keys(object{
		"from": timeOfDay(), "to": timeOfDay(), "zone": is(zone(), "person without it."),
		"days":     is(some(oneOf("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")), "On which the window begins."),
		"channels": names, "categories": names,
	}, "from", "to")
	return keys(object{
		"zone":         is(text(), "The workspace's time zone: Europe/Berlin."),
		"locale":       is(locale(), "The language of the messages' own texts, beside which others stand under `locales`: en."),
		"unknown_zone": is(oneOf("default", "hold", "drop"), "For people without a time zone, where a clock matters."),
		"listen":       is(text(), "Address of the HTTP endpoint: 127.0.0.1:8080."),
		"base_url":     is(text(), "What signed links in messages begin with."),
		"salt":         is(text(), "Who is in which arm; changing it deals everybody anew."),
		"data":         is(text(), "The data folder."),
		"holdout":      is(percent(), "The share of people who get no promotional message at all."),
		"everyone_min": is(object{"type": "integer", "minimum": 1}, "The fewest people that everyone.… tells of."),
		"store": is(keys(object{
			"dsn": is(secret, "Address of a ClickHouse server."), "dir": is(text(), "Folder of the embedded engine."), "database": text(),
			"retention": is(duration(), "How long history is kept; for ever without it."), "library": is(text(), "Path of libchdb."), "cluster": text(),
		}), "Where history is kept."),
		"queue": is(keys(object{
			"url": is(secret, "Address of a NATS cluster."), "dir": is(text(), "Folder of the embedded queue."), "max_backlog": size, "keep": duration(),
		}), "Where events wait."),
		"signing": is(secret, "The secret that signs message ids and links."),
		"keys": is(listOf(keys(object{
			"name": is(text(), "What the events' source says."), "write_key": is(secret, "Apps ship it."), "secret_key": is(secret, "A server keeps it."),
		}, "name")), "Who may send events."),
		"categories": is(object{"type": "object", "propertyNames": word, "additionalProperties": anyOf(nothing(), keys(object{
			"title": is(text(), "What people call it, on the page of preferences."), "about": is(text(), "What it is, for them."),
			"consent": anyOf(consent, named(consent)),
		}))}, "Categories of messages, and what consent each needs."),
		"channels": is(object{"type": "object", "propertyNames": word, "additionalProperties": anyOf(keys(channel), listOf(keys(adapter, "adapter")))}, "What rules write to, by name."),
		"caps": is(listOf(keys(object{
			"name":   is(text(), "It stands in the ledger where the cap stopped a message."),
			"max":    is(object{"type": "integer", "minimum": 0}, "How many messages fit."),
			"per":    is(anyOf(oneOf("hour", "day", "week", "month"), duration()), "24h rolls, day follows the calendar."),
			"window": oneOf("rolling", "calendar"), "clock": is(zone(), "Of a calendar window: person, workspace, or a zone."),
			"scope": is(oneOf("all", "channel", "category", "rule"), "What counts together."), "counts": oneOf("accepted"),
			"at_cap":   is(oneOf("retry", "hold", "drop", "next"), "What becomes of an entry at the cap."),
			"channels": names, "categories": names, "rules": names,
		}, "name", "max", "per", "scope", "at_cap")), "Frequency caps for each person."),
		"quiet_hours": is(some(quiet), "When nothing is sent."),
		"location":    is(keys(object{"max_age": is(duration(), "How long a fix counts."), "accuracy": is(object{"type": "number", "minimum": 1}, "The least certain fix that counts, in metres.")}), "How places are used."),
		"preferences": is(keys(object{"title": is(text(), "Who sends: the name of the shop, the app."), "about": text()}), "The page at which people choose what they get."),
		"silence":     silence(),
	})
}

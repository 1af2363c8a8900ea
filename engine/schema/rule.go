package schema

import "nudge/rules"

func rule() object {
	action := func(more ...string) object { return oneOf(append([]string{"retry", "hold", "drop"}, more...)...) }
	schedule := object{"type": "string", "pattern": `\S`, "examples": []string{"*/5 * * * *", "0 9 * * 1", "@daily"}}
	s := keys(object{
		"rule":     is(name(), "The rule's name. A rule is its name: renaming it makes a new rule, with a history of its own."),
		"about":    is(text(), "What it is for, for people."),
		"owner":    is(text(), "Who looks after it, for people."),
		"category": is(text(), "promotional (the default), transactional, or one of nudge.yaml's. A transactional rule skips quiet hours, arbitration, caps and holdout."),
		"priority": is(whole(0, 100), "Of the rules due for one person the highest goes first; 50 without it."),
		"digest":   is(text(), "Send what this channel of nudge.yaml collects in one message, at the times of `schedule`; there is no condition then."),
		"schedule": is(anyOf(schedule, keys(object{"cron": schedule, "zone": zone()}, "cron")), "When the rule is looked at: a cron expression of five fields, @hourly, @daily, …, or {cron, zone}."),
		"at":       is(anyOf(date(), keys(object{"time": date(), "zone": zone()}, "time")), "Look once: a date and time, or {time, zone}."),
		"on": is(anyOf(text(), keys(object{
			"event":   is(text(), "The event that sets the rule off."),
			"where":   is(expression(), "A filter on it: properties.total > 10."),
			"by":      is(text(), "A property: each of its values is an entry of its own."),
			"max_age": is(duration(), "Older events set nothing off; 1h without it."),
		}, "event")), "Judge at each accepted occurrence of an event."),
		"start":    is(date(), "A date: not before."),
		"end":      is(date(), "A date: not from then on."),
		"send_at":  is(timeOfDay(), "A time of day in the person's zone; entries wait for it."),
		"for_each": is(expression(), `event("…").by("property"): one entry for each value.`),
		"when":     is(anyOf(expression(), truth()), "The condition."),
		"again": is(anyOf(oneOf("never", "each_time", "every_tick"), keys(object{"after": duration()}, "after")),
			"Whether one person can get it more than once: never, each_time (whenever it has become true anew), every_tick, or {after: 7d}."),
		"backfill": is(truth(), "Message those for whom it is true already when the rule goes live; otherwise they are only noted."),
		"exit":     is(some(exit()), "What ends entries: somebody bought."),
		"goal": is(keys(object{
			"event":  is(text(), "The event that the message should lead to."),
			"where":  is(expression(), "A filter on it."),
			"within": is(duration(), "After the message; 7d without it."),
			"value":  is(text(), "The property that is an amount: revenue."),
		}, "event"), "What counts as a conversion."),
		"with": is(object{"type": "object", "additionalProperties": anyOf(expression(), number(), truth()), "propertyNames": object{"pattern": `^[A-Za-z_][A-Za-z0-9_]*$`, "not": oneOf(rules.Reserved()...)}},
			"Names for messages, each an expression; later ones may use earlier ones."),
		"holdout": is(percent(), "The share of people who get nothing and are compared."),
		"rollout": is(percent(), "The share of people whom the rule is for; raising it keeps those who were in."),
		"shadow":  is(truth(), "Decide, write it down, send nothing."),
		"pause_when": is(anyOf(
			pauseWhen("unsubscribes"), pauseWhen("failures"),
		), "Pause the rule by itself when too many of its newest messages (of seven days) were followed by an unsubscribe or failed."),
		"deliver": is(anyOf(oneOf("first", "all", "preferred"), keys(object{"escalate": duration()}, "escalate")),
			"first: the first channel that can reach the person; all of them; preferred: the one that their trait preferred_channel names, before the others; {escalate: 2h}: the next one when the message is not opened within the time."),
		"urgent":  is(truth(), "Push before the other channels, and the device is woken at once."),
		"devices": is(oneOf("all", "latest"), "Whether push goes to all devices of a person, or to the one that was seen last."),
		"when_blocked": is(anyOf(action(), keys(object{
			"frequency_cap": action("next"), "outranked": action(), "no_address": action(), "no_consent": action(), "quiet_hours": action(),
		})), "What becomes of an entry that a stage stops: retry, hold, drop; at a cap also next (channel)."),
		"while_held": is(oneOf("recheck", "keep"), "Ask the condition again when a hold ends, or keep the entry as it was."),
		"expire":     is(duration(), "How long an entry may wait; 24h without it."),
		"message":    is(message(), "What is sent, by channel of nudge.yaml; nudge channels lists the fields of each."),
		"variants": is(object{"type": "object", "minProperties": 2, "propertyNames": object{"pattern": `^[a-z0-9][a-z0-9_-]{0,99}$`}, "additionalProperties": anyOf(nothing(), keys(object{
			"weight": is(object{"type": "integer", "minimum": 1}, "Relative to the other variants'."), "message": message(),
		}))}, "Arms of an experiment."),
		"silence": silence(),
	}, "rule")
	s["allOf"] = []object{
		anyOf(requires("schedule", "when", "again"), requires("at", "when"), requires("on", "again"), requires("digest", "schedule")), // a broadcast has at, and needs no again
		anyOf(requires("message"), requires("variants")),
	}
	return s
}

// pauseWhen are guards, of which one at least is there.
func pauseWhen(required string) object {
	limit := object{"type": "string", "pattern": `^\s*>\s*[0-9]{1,2}(\.[0-9]{1,4})?\s*%\s*$`, "examples": []string{"> 1%"}}
	return keys(object{
		"unsubscribes": is(limit, "The share of messages that may be followed by an unsubscribe within a day."),
		"failures":     is(limit, "The share of messages that may fail for good."),
		"min":          is(object{"type": "integer", "minimum": 1}, "How many messages must have been taken or have failed before; 200 without it."),
	}, required)
}

func exit() object {
	return anyOf(text(), keys(object{
		"event": is(text(), "The event that ends the entry."),
		"where": is(expression(), "A filter that may use entry.value, entry.at and entry.since."),
		"since": is(expression(), "A time; what happened before does not end it."),
	}, "event"))
}

func message() object {
	texts := object{"type": "object", "minProperties": 1}
	locales := object{"type": "object", "propertyNames": object{"pattern": localePattern}, "additionalProperties": texts}
	return named(object{"type": "object", "properties": object{
		"locales": is(locales, "What people of other languages get; what a locale leaves out is as above: {de: {title: …}, pt-BR: {title: …}}."),
	}})
}

func segment() object {
	return keys(object{
		"segment": is(name(), "The segment's name: conditions ask segment(\"…\")."),
		"about":   is(text(), "What it is, for people."),
		"when":    is(expression(), "Who is in it."),
		"silence": silence(),
	}, "segment", "when")
}

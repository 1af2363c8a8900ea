package schema

func events() object {
	kind := oneOf("string", "number", "integer", "decimal", "boolean", "time", "array", "object")
	properties := named(anyOf(kind, keys(object{
		"type": kind, "required": truth(), "description": text(), "enum": listOf(text()), "items": kind,
	}, "type")))
	flag := oneOf("flag", "refuse")
	return keys(object{
		"undeclared_events":     is(flag, "Events that are not declared here: store and mark them, or refuse them."),
		"undeclared_properties": is(flag, "Properties that are not declared here."),
		"events": is(object{
			"type": "object", "propertyNames": object{"not": object{"pattern": "^(Message |\\*$)"}},
			"additionalProperties": anyOf(nothing(), keys(object{
				"description": text(), "on_violation": is(flag, "What breaks the declaration: flag or refuse."),
				"properties": is(properties, "By path: price, address.city."),
			})),
		}, "What apps send, by name."),
		"traits": is(properties, "What is known of people, by path."),
	})
}

package schema

// test is the least strict: events and expectations have terse forms that only nudge test reads.
func test() object {
	anything := object{}
	one := keys(object{
		"name":    is(text(), "What the test shows, in a few words."),
		"about":   text(),
		"start":   is(text(), "When the clock begins: 2026-03-02 09:00."),
		"people":  is(named(anything), "Who is there before it begins: {ann: {devices: [ios], traits: {plan: pro}}}."),
		"events":  is(listOf(anything), "What happens: - 10m ann Product Added: {name: Tea}."),
		"arms":    is(named(anything), "Who is in which arm of a rule."),
		"expect":  is(listOf(anything), "What is decided: - 1h10m ann cart-abandoned: {channel: push}."),
		"silence": is(listOf(anything), "Who gets nothing."),
		"others":  is(oneOf("allowed", "refused"), "Whether decisions that are not expected fail the test."),
		"until":   is(text(), "How far the clock goes."),
	}, "name")
	one["anyOf"] = []object{requires("expect"), requires("silence")}
	return listOf(one)
}

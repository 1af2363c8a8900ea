package segments

import (
	"fmt"
	"math/bits"

	"pgregory.net/rapid"

	"nudge/events"
)

func instantsSchema() *Schema {
	properties := map[string]events.Property{"x": prop(events.TypeNumber), "eta": prop(events.TypeTime), "cart": prop(events.TypeString)}
	return NewSchema(SchemaOptions{
		Plan: &events.Plan{
			Events: map[string]events.Declared{"A": {Name: "A", Properties: properties}, "B": {Name: "B", Properties: properties}},
			Traits: map[string]events.Property{"n": prop(events.TypeNumber), "t": prop(events.TypeTime), "plan": prop(events.TypeString)},
		},
		Goals:    map[string]Goal{"r": {Event: "A", Within: msHour}},
		Rules:    []string{"r"},
		Segments: map[string]string{"s": `event("B").last.ago > hours(2)`, "t": `segment("s") or now > user.traits.t`, "not": `not (event("A").within(hours(1)).count > 1)`},
		Fences:   []string{"mall"},
	})
}

// grammar draws conditions over the whole language, with much of what moves.
type grammar struct {
	t     *rapid.T
	keyed bool
	since int // narrowings that are open: they do not nest deeper
}

func (g *grammar) pick(options ...string) string { return options[roll(g.t, len(options))] }
func (g *grammar) roll(n int) int                { return roll(g.t, n) }

// roll is a number below n, each as likely as the others: rapid's own are mostly small.
func roll(t *rapid.T, n int) int {
	k := 0
	for range bits.Len(uint(n)) + 2 {
		k <<= 1
		if rapid.Bool().Draw(t, "bit") {
			k++
		}
	}
	return k % n
}

func one[T any](t *rapid.T, options ...T) T { return options[roll(t, len(options))] }

func (g *grammar) history(depth int) string {
	h := ""
	switch g.roll(8) {
	case 0:
		h = g.pick(`message("r")`, `message("*").opened`, `message("r").converted`)
	case 1:
		h = `event("*")`
	case 2, 3:
		if g.keyed {
			h = "it"
			break
		}
		fallthrough
	default:
		h = fmt.Sprintf("event(%q%s)", g.pick("A", "B"), g.pick("", "", `, "properties.x > 1"`, `, "properties.cart == \"c1\""`))
	}
	h += g.pick("", "", "", ".within(hours(1))", ".within(hours(2))", ".within(days(1))")
	if g.roll(5) == 0 && depth > 0 && g.since == 0 {
		g.since++
		h += ".since(" + g.time(depth-1) + ")"
		g.since--
	}
	return h
}

func (g *grammar) edge() string { return g.pick("last", "last", "first") }

func (g *grammar) time(depth int) string {
	switch n := g.roll(14); {
	case n < 3 || depth <= 0 && n > 7:
		return "now"
	case n < 5:
		return g.history(depth-1) + "." + g.edge() + ".at"
	case n == 5:
		return g.pick("user.created_at", "user.traits.t", `inside("mall").entered`)
	case n == 6:
		return g.history(depth-1) + g.pick(".last.properties.eta", `.min("eta")`, `.max("eta")`, `.top("eta")`)
	case n == 7:
		return g.pick("now", "user.traits.t")
	case n == 8:
		return "(" + g.condition(depth-1) + " ? " + g.time(depth-1) + " : " + g.time(depth-1) + ")"
	case n == 9:
		return "(" + g.time(depth-1) + " ?? " + g.time(depth-1) + ")"
	case n == 10:
		return "(" + g.span(depth-1) + " + " + g.time(depth-1) + ")"
	}
	return "(" + g.time(depth-1) + g.pick(" + ", " - ", " - ") + g.span(depth-1) + ")"
}

func (g *grammar) constantSpan() string {
	return g.pick("minutes(30)", "hours(1)", "hours(1)", "hours(1.5)", "hours(3)", "days(1)", "days(2)", "minutes(0)", "minutes(-90)", "minutes(0.0001)", "days(1e300)")
}

func (g *grammar) span(depth int) string {
	switch n := g.roll(22); {
	case n < 5 || depth <= 0 && n > 12:
		return g.constantSpan()
	case n < 10:
		return g.history(depth-1) + "." + g.edge() + ".ago"
	case n == 10:
		return g.pick("hours(user.traits.n)", "minutes(user.traits.n)", "days(user.traits.n)", `inside("mall").dwell`)
	case n == 11 && depth > 0:
		return g.pick("find", "findLast") + "(" + g.history(depth-1) + ".list(3), " + g.element() + ").ago"
	case n < 13:
		return g.history(depth-1) + ".list(3)" + g.pick("[0]", "[1]", "[-1]") + ".ago"
	case n < 15:
		return "(" + g.time(depth-1) + " - " + g.time(depth-1) + ")"
	case n == 15:
		return "(" + g.span(depth-1) + g.pick(" + ", " - ") + g.span(depth-1) + ")"
	case n == 16:
		return "(" + g.span(depth-1) + g.pick(" * ", " / ") + g.pick("2", "3", "0.5", "0.1", "-1", "7", "1e6", "user.traits.n", "0") + ")"
	case n == 17:
		return "(" + g.pick("2", "3", "0.3", "user.traits.n") + " * " + g.span(depth-1) + ")"
	case n == 18:
		return "-" + g.span(depth-1)
	case n == 19:
		return "(" + g.condition(depth-1) + " ? " + g.span(depth-1) + " : " + g.span(depth-1) + ")"
	case n == 20:
		return "(" + g.span(depth-1) + " ?? " + g.span(depth-1) + ")"
	}
	return "(" + g.span(depth-1) + " + " + g.constantSpan() + ")"
}

func (g *grammar) number(depth int) string {
	switch n := g.roll(14); {
	case n < 3 || depth <= 0 && n > 5:
		return g.pick("0", "1", "2", "1.5", "user.traits.n")
	case n < 6:
		return g.history(depth-1) + g.pick(".count", `.sum("x")`, `.max("x")`, `.last.properties.x`, `.uniq("cart")`)
	case n == 6:
		return "len(" + g.history(depth-1) + ".list(3))"
	case n < 10:
		return "(" + g.span(depth-1) + " / " + g.pick("hours(1)", "hours(1)", "days(1)", "minutes(7)", "days(user.traits.n)", g.span(depth-1)) + ")"
	case n == 10:
		return "(" + g.number(depth-1) + g.pick(" + ", " - ", " * ", " / ", " % ") + g.number(depth-1) + ")"
	case n == 11:
		return g.pick("round", "abs", "floor", "int") + "(" + g.number(depth-1) + ")"
	case n == 12:
		return g.pick("local.hour", "local.day")
	}
	return "count(" + g.history(depth-1) + ".list(3), " + g.element() + ")"
}

// element is a condition on an element of a list.
func (g *grammar) element() string {
	return g.pick("#.properties.x > 1", "#.ago > hours(1)", "#.ago <= hours(1.5)", "#.at > now - hours(3)", "#.at + hours(user.traits.n) > now",
		"#.properties.eta > now", "(#.properties.x > 1) == (now > user.traits.t)", "#.ago > #.ago / 2", "(user.traits.plan == \"pro\" ? #.ago : hours(2)) > hours(1)")
}

func (g *grammar) condition(depth int) string {
	op := g.pick(" > ", " >= ", " < ", " <= ", " > ", " < ", " == ", " != ")
	switch n := g.roll(24); {
	case n < 4 || depth <= 0:
		switch g.roll(8) {
		case 0:
			return "(" + g.pick("user.traits.t", "user.created_at", `event("A").last.properties.eta`, `inside("mall").entered`) + op + "now - " + g.constantSpan() + ")"
		case 1:
			return "(" + g.history(1) + "." + g.edge() + ".ago" + op + g.pick("hours", "minutes") + "(user.traits.n))"
		case 2:
			return g.pick("did(\"A\")", "did(\"B\")") + ".since(now - hours(user.traits.n))"
		case 3, 4, 5:
			return "(" + g.history(1) + "." + g.edge() + ".ago" + op + g.constantSpan() + ")"
		}
		return "(" + g.history(1) + ".count" + op + g.pick("0", "1", "2") + ")"
	case n < 8:
		return "(" + g.span(depth-1) + op + g.span(depth-1) + ")"
	case n < 12:
		return "(" + g.time(depth-1) + op + g.time(depth-1) + ")"
	case n < 15:
		return "(" + g.number(depth-1) + op + g.number(depth-1) + ")"
	case n == 15:
		return "not " + g.condition(depth-1)
	case n == 16:
		return "(" + g.condition(depth-1) + " and " + g.condition(depth-1) + ")"
	case n == 17:
		return "(" + g.condition(depth-1) + " or " + g.condition(depth-1) + ")"
	case n == 18:
		return "(" + g.condition(depth-1) + " ? " + g.condition(depth-1) + " : " + g.condition(depth-1) + ")"
	case n == 19:
		return "(" + g.span(depth-1) + " in [" + g.constantSpan() + ", " + g.constantSpan() + "])"
	case n == 20:
		return "has(" + g.pick(g.time(depth-1), g.span(depth-1), g.history(depth-1)+".last") + ")"
	case n == 21:
		return g.pick(`segment("s")`, `segment("t")`, `segment("not")`, `inside("mall")`, `user.traits.plan == "pro"`, "has(user.id)", `user.timezone == "Europe/Berlin"`, "now > \"2023-11-15\"", "now < \"2023-11-14T23:30:00Z\"", "now == anniversary(user.traits.t)")
	case n == 22:
		return g.pick("any", "all", "none", "one") + "(" + g.pick(g.history(depth-1)+".list(3)", "filter("+g.history(depth-1)+".list, "+g.element()+")") + ", " + g.element() + ")"
	}
	return "((" + g.condition(depth-1) + ") == (" + g.condition(depth-1) + "))"
}

// drawnCondition is a condition that compiles, with its source.
type drawnCondition struct {
	who    *Who
	source string
}

func drawCondition(schema *Schema) *rapid.Generator[drawnCondition] {
	return rapid.Custom(func(t *rapid.T) drawnCondition {
		for {
			g := &grammar{t: t, keyed: roll(t, 4) == 0}
			spec := WhoSpec{When: g.condition(1 + roll(t, 5))}
			if g.keyed {
				spec.ForEach = `event("A").by("cart")`
			}
			// What was drawn blindly may be impossible, as .since of a duration that is too short for it.
			if who, problems := Compile(spec, schema); !HasErrors(problems) {
				return drawnCondition{who, spec.ForEach + " when " + spec.When}
			}
		}
	})
}

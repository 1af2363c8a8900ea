package ticktest

import (
	"fmt"
	"time"

	"nudge/segments"
)

// drawer draws the conditions of a case over the whole language.
type drawer struct {
	*dice
	schema *segments.Schema
	c      *Case
	ticks  []int64
	// keyed: the rule has a for_each, and conditions may ask it.
	forEach string
	segment bool // a segment's condition: it uses no other
}

// spans are constant durations, which histories have edges at.
var spans = []struct {
	text string
	ms   int64
}{
	{"minutes(5)", 5 * minute},
	{"minutes(30)", 30 * minute},
	{"hours(1)", hour},
	{"hours(3)", 3 * hour},
	{"days(1)", day},
	{"days(2)", 2 * day},
	{"days(3)", 3 * day},
	{"minutes(0.5)", minute / 2},
}

func (d *drawer) span() string { return spans[d.n(len(spans))].text }

var (
	orders  = []string{">", ">=", "<", "<="}
	compare = []string{">", ">=", "<", "<=", "==", "!="}
)

// narrow draws what may follow a history.
func (d *drawer) narrow() string {
	switch d.n(8) {
	case 0, 1:
		return ".within(" + d.span() + ")"
	case 2:
		return ".since(now - " + d.span() + ")"
	case 3:
		return ".since(" + d.time() + ")"
	}
	return ""
}

// plain draws a history that is not narrowed.
func (d *drawer) plain() string {
	if d.forEach != "" && d.one(2) {
		return "it"
	}
	if d.one(8) {
		return fmt.Sprintf("message(%q)", pick(d.dice, "§r1", "§r2", "*")) + pick(d.dice, "", ".opened", ".clicked")
	}
	event := pick(d.dice, "§A", "§A", "§A", "§B", "§B", "§C", "*", "Page Viewed", "¤F")
	filter := pick(d.dice, "", "", "", "", "", "", "", "", "", "", "", "", "", "", `, 'properties.price > 1'`, `, "properties.category == \"x\""`, `, 'not (properties.price == 10)'`,
		`, 'properties.category in ["x", "z.z"]'`, `, 'context.app == "ios" or has(properties.cart)'`, `, 'properties.category startsWith "z"'`,
		`, 'properties.category matches "^[xy]$"'`, `, '(properties.price ?? 10) >= 10'`)
	return fmt.Sprintf("event(%q%s)", event, filter)
}

// history draws a history, narrowed or not.
func (d *drawer) history() string { return d.plain() + d.narrow() }

// edge draws one occurrence.
func (d *drawer) edge() string { return d.history() + pick(d.dice, ".last", ".last", ".first") }

// literal draws a time that is written out, on the clock of the person or not.
func (d *drawer) literal() string {
	at := time.UnixMilli(pick(d.dice, d.ticks...) - pick(d.dice, 0, hour, day, 3*day) + pick(d.dice, 0, second, minute)).UTC()
	return fmt.Sprintf("%q", at.Format(pick(d.dice, "2006-01-02T15:04:05Z", "2006-01-02T15:04:05", "2006-01-02", "2006-01-02T15:04")))
}

// time draws a time.
func (d *drawer) time() string {
	switch d.n(14) {
	case 0, 1, 2:
		return d.plain() + pick(d.dice, ".last", ".first") + ".at"
	case 3:
		return "user.created_at"
	case 4:
		return "user.traits.§due"
	case 5:
		return d.literal()
	case 6:
		return d.plain() + `.last.properties.until`
	case 7:
		return `event("§A").` + pick(d.dice, "min", "max") + `("until")`
	case 8:
		return "(" + d.time() + pick(d.dice, " + ", " - ") + d.span() + ")"
	case 9:
		return "(" + d.time() + " ?? user.created_at)"
	case 10:
		return "(now - " + d.duration() + ")"
	case 11:
		return pick(d.dice, "local.date", "anniversary(user.traits.§due)", `anniversary("2000-09-22")`, "now")
	}
	return d.edge() + ".at"
}

// duration draws a duration that is known for the person, or constant.
func (d *drawer) duration() string {
	switch d.n(9) {
	case 0, 1:
		return pick(d.dice, "hours", "days", "minutes") + "(user.traits.§n)"
	case 2:
		return "hours(" + d.plain() + ".last.properties.price)"
	case 3:
		return "hours(" + d.history() + ".count)"
	case 4:
		return "(user.traits.§n ?? 2) * " + d.span()
	case 5:
		return `(user.traits.§plan == "pro" ? ` + d.span() + " : " + d.span() + ")"
	}
	return d.span()
}

// age draws a comparison of an age with a constant, in the forms that it can be written in.
func (d *drawer) age() string {
	x, s, op := d.edge(), d.span(), pick(d.dice, orders...)
	switch d.n(16) {
	case 0:
		return fmt.Sprintf("now - %s.at %s %s", x, op, s)
	case 1:
		return fmt.Sprintf("%s.at %s now - %s", x, op, s)
	case 2:
		return fmt.Sprintf("%s.at + %s %s now", x, s, op)
	case 3:
		return fmt.Sprintf("2 * %s.ago %s %s", x, op, s)
	case 4:
		return fmt.Sprintf("%s - %s.ago %s %s", s, x, op, d.span())
	case 5:
		return fmt.Sprintf("%s %s %s.ago + minutes(7) %s %s", s, pick(d.dice, "<", "<="), x, pick(d.dice, "<", "<="), d.span())
	case 6:
		return fmt.Sprintf("%s.ago / hours(1) %s %s", x, op, pick(d.dice, "1", "3", "0.5", "24"))
	case 7:
		return fmt.Sprintf("%s.ago / 2 %s %s", x, op, s)
	case 8:
		return fmt.Sprintf("%s.ago %s %s", x, pick(d.dice, "==", "!="), s)
	case 9:
		return fmt.Sprintf("%s - 0.5 * %s.ago %s minutes(0)", s, x, op)
	}
	return fmt.Sprintf("%s.ago %s %s", x, op, s)
}

// two draws a comparison of two ages, or of an age with what is known for the person.
func (d *drawer) two() string {
	a, b, op := d.edge(), d.edge(), pick(d.dice, orders...)
	switch d.n(10) {
	case 0, 1:
		return fmt.Sprintf("%s.ago %s %s.ago", a, op, b)
	case 2:
		return fmt.Sprintf("%s.ago %s %s.ago + %s", a, op, b, d.span())
	case 3:
		return fmt.Sprintf("%s.at - %s.at %s %s", a, b, op, d.span())
	case 4:
		return fmt.Sprintf("2 * %s.ago %s %s.ago", a, op, b)
	case 5:
		return fmt.Sprintf("%s.ago - %s.ago %s %s", a, b, op, d.duration())
	case 6:
		return fmt.Sprintf("%s.ago + %s.ago %s %s", a, b, op, d.span())
	}
	return fmt.Sprintf("%s.ago %s %s", a, op, d.duration())
}

// values draws a comparison that does not read now.
func (d *drawer) values() string {
	h, op := d.history(), pick(d.dice, compare...)
	number := pick(d.dice, "0", "1", "2", "10", "1.25", "19.75")
	switch d.n(13) {
	case 0, 1, 2:
		return fmt.Sprintf("%s.count %s %s", h, op, pick(d.dice, "0", "1", "2"))
	case 3, 4:
		return fmt.Sprintf(`%s.%s("price") %s %s`, h, pick(d.dice, "sum", "sum", "avg", "min", "max"), op, number)
	case 5:
		return fmt.Sprintf(`%s.uniq("category") %s %s`, h, op, pick(d.dice, "0", "1", "2"))
	case 6:
		return fmt.Sprintf(`%s.top("category") %s "x"`, h, pick(d.dice, "==", "!="))
	case 7:
		return fmt.Sprintf("%s.properties.price %s %s", d.edge(), op, number)
	case 8:
		return d.edge() + "." + pick(d.dice, `properties.category == "x"`, `context.app != "ios"`, `properties.category in ["y", "z.z"]`,
			`properties.cart contains "c"`, `properties.category matches "^x"`, `properties.category not in ["x"]`)
	case 9:
		return pick(d.dice, "has(", "nil == (") + d.edge() + pick(d.dice, ".properties.price)", ".properties.category)", ".at)", ")")
	case 10:
		return fmt.Sprintf("(%s.properties.price ?? 0) %s %s", d.edge(), op, number)
	case 11:
		return fmt.Sprintf("%s.count > %s.count", h, d.history())
	}
	return pick(d.dice, "any", "all", "none") + fmt.Sprintf("(%s.list(%s), #.properties.price %s %s)", h, pick(d.dice, "", "2", "3"), op, number)
}

// closure draws what asks for ages inside lists, or calculates with them.
func (d *drawer) closure() string {
	h, op := d.history(), pick(d.dice, orders...)
	switch d.n(6) {
	case 0:
		return fmt.Sprintf("any(%s.list(3), .ago %s %s)", h, op, d.span())
	case 1:
		return fmt.Sprintf("count(%s.list(), .at %s now - %s) == 1", h, op, d.span())
	case 2:
		return fmt.Sprintf("round(%s.ago / hours(1)) %s 3", d.edge(), op)
	case 3:
		return fmt.Sprintf("(%s.ago / days(1)) ** 2 %s 4", d.edge(), op)
	case 4:
		return fmt.Sprintf("len(%s.list(4) | filter(.ago < %s)) %s 1", h, d.span(), op)
	}
	return fmt.Sprintf("sum(%s.list(5), .properties.price) %s 11", h, op)
}

// person draws a condition about the profile.
func (d *drawer) person() string {
	op := pick(d.dice, orders...)
	switch d.n(16) {
	case 0, 1:
		return pick(d.dice, `user.traits.§plan == "pro"`, `has(user.traits.§plan)`, `user.traits.§plan != "free"`, `user.traits.§vip`, `user.traits.§vip == nil`,
			`user.traits.§n in [1, 2.5]`, `user.traits.§n > 1`, `"a" in user.traits.§tags`, `user.traits.§plan matches "^p"`, `(user.traits.§plan ?? "free") == "free"`)
	case 2, 3:
		return "user.traits.§due " + op + " now" + pick(d.dice, "", " - ", " + ") + d.maybeSpan()
	case 4:
		return "user.traits.§due " + op + " " + d.time()
	case 5:
		return fmt.Sprintf("now - user.traits.§due %s %s", op, d.duration())
	case 6:
		return pick(d.dice, `has(user.id)`, `user.id startsWith "k"`, `user.id == nil`, `user.id == "§u1"`)
	case 7, 8:
		return pick(d.dice, "user.created_at "+op+" now - "+d.span(), "now - user.created_at "+op+" "+d.span(), "user.created_at "+op+" "+d.time())
	case 9:
		return pick(d.dice, `user.timezone == "Europe/Berlin"`, `has(user.timezone)`, `user.timezone contains "America"`,
			`user.locale == "de"`, `has(user.locale)`, `user.locale startsWith "fr"`)
	case 10:
		return pick(d.dice, "local.hour >= 12", `local.weekday in ["saturday", "sunday"]`, "local.date == anniversary(user.traits.§due)", "local.day > 15",
			"anniversary(user.traits.§due) - days(1) <= now", "local.date > user.traits.§due")
	case 11:
		return "now " + op + " " + d.literal()
	case 12, 13:
		return d.edge() + ".at " + op + " " + d.time()
	case 14:
		return d.edge() + ".properties.until " + op + " now" + pick(d.dice, "", " - ", " + ") + d.maybeSpan()
	}
	return d.time() + " " + op + " " + d.time()
}

func (d *drawer) maybeSpan() string {
	return pick(d.dice, "minutes(0)", d.span(), d.duration())
}

func (d *drawer) place() string {
	place := pick(d.dice, `near("stores/*", meters(500))`, `near("stores/1", meters(300))`, `inside("stores/2")`, `inside("stores/*")`, `near("stores/*", meters(100))`)
	return place + pick(d.dice, "", "", ".dwell >= minutes(10)", ".dwell > minutes(0)", ".dwell < minutes(20)", ".distance > meters(400)", ".distance <= meters(300)",
		".entered < now - minutes(5)", ".entered == nil", `.fence.id == "stores/2"`, ".now == false", ".entered > "+d.time(), ".entered < now - "+d.duration(),
		" == nil", ".dwell > "+d.edge()+".ago")
}

// leaf draws one comparison.
func (d *drawer) leaf() string {
	for range 12 {
		if text := d.form(); d.compiles(&Cond{Text: text}) {
			return text
		}
	}
	return `event("§A").last.ago > hours(1)`
}

// compiles says whether a condition has no findings of errors: it is drawn without a look at types.
func (d *drawer) compiles(c *Cond) bool {
	_, problems := segments.Compile(d.c.spec(&Rule{ForEach: d.forEach}, c), d.schema)
	return !segments.HasErrors(problems)
}

func (d *drawer) form() string {
	switch d.n(22) {
	case 0, 1, 2, 3, 4:
		return d.age()
	case 5, 6:
		return d.two()
	case 7, 8, 9:
		return d.values()
	case 10:
		return fmt.Sprintf("did(%q).since(%s)", pick(d.dice, "§A", "§B", "§C"), d.time())
	case 11:
		return fmt.Sprintf("%s.since(%s).count %s 1", d.plain(), d.time(), pick(d.dice, compare...))
	case 12:
		if d.one(3) {
			return d.closure()
		}
		return d.values()
	case 13, 14, 15:
		return d.person()
	case 16:
		return d.place()
	case 17:
		if !d.segment && len(d.c.Segments) > 0 {
			return `segment("` + pick(d.dice, sortedKeys(d.c.Segments)...) + `")`
		}
	case 18:
		return fmt.Sprintf("message(%q)%s.count %s %s", pick(d.dice, "§r1", "§r2", "*"), pick(d.dice, "", ".opened", ".clicked")+d.narrow(), pick(d.dice, compare...), pick(d.dice, "0", "1"))
	case 19:
		return fmt.Sprintf("message(%q).converted%s.count %s %s", pick(d.dice, "§r1", "§r2"), pick(d.dice, "", ".within(days(1))"), pick(d.dice, compare...), pick(d.dice, "0", "1"))
	case 20:
		return fmt.Sprintf("(let x = %s; x.last.ago > %s and x.within(%s).count < 2)", d.plain(), d.span(), d.span())
	}
	return fmt.Sprintf("(%s.at ?? %s) %s now - %s", d.edge(), d.time(), pick(d.dice, orders...), d.duration())
}

// condition draws a condition.
func (d *drawer) condition(depth int) *Cond {
	if depth == 0 || d.one(4) {
		return &Cond{Text: d.leaf()}
	}
	kid := func() *Cond { return d.condition(depth - 1) }
	switch d.n(14) {
	case 0, 1:
		return &Cond{Op: "not", Kids: []*Cond{kid()}}
	case 2:
		return &Cond{Op: "??", Kids: []*Cond{kid()}}
	case 3:
		return &Cond{Op: "is false", Kids: []*Cond{kid()}}
	case 4:
		return &Cond{Op: "?:", Kids: []*Cond{kid(), kid(), kid()}}
	case 5, 6, 7, 8:
		return &Cond{Op: "or", Kids: []*Cond{kid(), kid()}}
	}
	return &Cond{Op: "and", Kids: []*Cond{kid(), kid()}}
}

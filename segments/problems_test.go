package segments

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/events"
)

// marked takes the «…» out of a source and returns what they enclosed, in bytes.
func marked(src string) (plain string, spans [][2]int) {
	var b strings.Builder
	for _, r := range src {
		switch r {
		case '«':
			spans = append(spans, [2]int{b.Len(), -1})
		case '»':
			for i := len(spans) - 1; i >= 0; i-- {
				if spans[i][1] < 0 {
					spans[i][1] = b.Len()
					break
				}
			}
		default:
			b.WriteRune(r)
		}
	}
	return b.String(), spans
}

func TestProblems(t *testing.T) {
	cases := []struct {
		name, src, id, suggest string
		warning                bool
	}{
		{"property misspelt", `event("Product Added").last.properties.«pirce» > 10`, idProperty, "price", false},
		{"property misspelt after an umlaut", `event("Product Added").last.properties.name == "Süßes" and event("Product Added").last.properties.«pirce» > 10`, idProperty, "price", false},
		{"property misspelt in an alias", `let cart = event("Product Added"); cart.last.properties.«pirce» > 10`, idProperty, "price", false},
		{"property undeclared", `event("Product Added").last.properties.«zodiac» == "lion"`, idProperty, "", true},
		{"property of an aggregate", `event("Product Added").sum(«"prise"») > 10`, idProperty, "price", false},
		{"property in a filter", `did("Product Added", 'properties.«quantety» > 1')`, idProperty, "quantity", false},
		{"property in a filter with escapes", `did("Product Added", «'properties.name == "\x41" and properties.quantety > 1'»)`, idProperty, "quantity", false},
		{"event misspelt", `did(«"Product Aded"»)`, idEvent, "Product Added", false},
		{"event undeclared", `did(«"Tea Drunk"»)`, idEvent, "", true},
		{"trait misspelt", `user.traits.«plann» == "pro"`, idTrait, "plan", false},
		{"trait undeclared", `user.traits.«shoe_size» == 43`, idTrait, "", true},
		{"trait without traits", `user.«plan» == "pro"`, idField, "traits.plan", false},
		{"segment unknown", `segment(«"vipp"»)`, idSegment, "vip", false},
		{"segment in a circle", `segment(«"a"»)`, idCircle, "", false},
		{"segment with problems", `segment(«"broken"»)`, idBroken, "", false},
		{"rule unknown", `message(«"cart-abandonedd"»).count == 0`, idRule, "cart-abandoned", false},
		{"rule without a goal", `message("welcome").«converted».count > 0`, idGoal, "", false},
		{"fence unknown", `near(«"store/*"», meters(500))`, idFence, "", false},
		{"fence misspelt", `inside(«"maul"»)`, idFence, "mall", false},
		{"fence pattern broken", `inside(«"stores/["»)`, idFence, "", false},
		{"near without a unit", `near("stores/*", «500»)`, idConstant, "", false},
		{"near of nothing", `near("stores/*", «meters(0)»)`, idConstant, "", false},
		{"name unknown", `«nwo» > user.created_at`, idName, "now", false},
		{"function unknown", `«hous»(3) > hours(1)`, idFunction, "hours", false},
		{"clock", `«now»() > user.created_at`, idFunction, "", false},
		{"date", `now > «date»("2026-01-01")`, idFunction, "", false},
		{"repeat", `«repeat»("x", 1000000) == "x"`, idFunction, "", false},
		{"history field", `event("Product Added").«cuont» > 1`, idField, "count", false},
		{"history of message field", `message("welcome").«openned».count > 1`, idField, "opened", false},
		{"occurrence field", `event("Product Added").last.«att» > now`, idField, "at", false},
		{"history has no age", `event("Product Added").«ago» > hours(1)`, idField, "", false},
		{"local field", `local.«our» == 9`, idField, "hour", false},
		{"place from a list", `«[near("stores/*", meters(500)), inside("stores/*")][0]».now`, idType, "", false},
		{"place in a closure", `any([near("stores/*", meters(500))], {«#».dwell > minutes(5)})`, idType, "", false},
		{"place in a closure as a condition", `any([near("stores/*", meters(500))], {«#»})`, idType, "", false},
		{"place field", `near("stores/*", meters(500)).«dwel» > minutes(5)`, idField, "dwell", false},
		{"fence field", `inside("mall").fence.«idd» == "mall"`, idField, "id", false},
		{"field of a number", `event("Product Added").count.«x» == 1`, idField, "", false},
		{"history as a value", `«event("Product Added")» > 3`, idHistoryCall, "", false},
		{"history as a condition", `«event("Product Added")» and true`, idHistoryCall, "", false},
		{"history renamed", `let e = «event»; e("Product Added").count > 1`, idHistoryCall, "", false},
		{"history in a closure", `any([1, 2], «event("Product Added")».count > #)`, idClosure, "", false},
		{"list of a history in a closure", `let l = event("Product Added").list(10); any(l, any(«l», #.properties.price > 1))`, idClosure, "", false},
		{"outer element in an inner closure", `any(event("Product Added").list(10), {let o = #; any(#.properties.tags, # == «o».properties.name)})`, idClosure, "", false},
		{"event name computed", `did(«"Product " + "Added"»)`, idLiteral, "", false},
		{"filter computed", `did("Product Added", «"a" + "b"»)`, idLiteral, "", false},
		{"window computed", `event("Product Added").within(«days(user.traits.age)»).count > 1`, idConstant, "", false},
		{"window of nothing", `event("Product Added").within(«days(0)»).count > 1`, idConstant, "", false},
		{"window without unit", `event("Product Added").within(«7»).count > 1`, idType, "", false},
		{"window is a word", `event("Product Added").within(«"7d"»).count > 1`, idType, "", false},
		{"since a duration", `event("Product Added").since(«days(7)»).count > 1`, idType, "", false},
		{"since a word", `event("Product Added").since(«"yesterday"»).count > 1`, idType, "", false},
		{"since without argument", `event("Product Added").«since».count > 1`, idArguments, "", false},
		{"count with brackets", `event("Product Added").«count()» > 1`, idArguments, "", false},
		{"two arguments too many", `«days(1, 2, 3)» > hours(1)`, idArguments, "", false},
		{"number with string", `event("Product Added").count «==» "3"`, idType, "", false},
		{"string with number", `"19.99" «>» 10`, idType, "", false},
		{"age with number", `event("Product Added").last.ago «>» 3600`, idType, "", false},
		{"time with duration", `event("Product Added").last.at «>» hours(1)`, idType, "", false},
		{"time with undeclared", `now «>» event("*").last.properties.date`, idType, "", false},
		{"distance with number", `near("stores/*", meters(500)).distance «<» 100`, idType, "", false},
		{"booleans ordered", `true «<» false`, idType, "", false},
		{"an age between nothing", `event("Product Added").last.ago > days(7) and «event("Product Added").last.ago < days(3)»`, idNeverTrue, "", true},
		{"an age at one end", `event("Product Added").last.ago >= days(7) and «event("Product Added").last.ago < days(7)»`, idNeverTrue, "", true},
		{"the age the other way round", `days(7) < event("Product Added").last.ago and «days(3) > event("Product Added").last.ago»`, idNeverTrue, "", true},
		{"windows that cannot meet", `did("Product Added").within(days(1)) and «event("Product Added").last.ago > days(2)»`, idNeverTrue, "", true},
		{"not within, and younger", `not did("Product Added").within(days(7)) and «event("Product Added").last.ago < days(3)»`, idNeverTrue, "", true},
		{"within one window and not in a longer one", `did("Product Added").within(days(1)) and not «did("Product Added").within(days(7))»`, idNeverTrue, "", true},
		{"never, and not long ago", `event("Product Added").last == nil and «event("Product Added").last.ago < days(1)»`, idNeverTrue, "", true},
		{"counts", `event("Product Added").count > 3 and «event("Product Added").count < 4»`, idNeverTrue, "", true},
		{"a count below none", `«event("Product Added").count < 0» and did("Product Added")`, idNeverTrue, "", true},
		{"a trait that is two", `user.traits.plan == "pro" and «user.traits.plan == "free"»`, idNeverTrue, "", true},
		{"in one of two", `did("Product Viewed") or (did("Product Added") and «event("Product Added").count == 0»)`, idNeverTrue, "", true},
		{"denied as one", `not (event("Product Added").count <= 3 or «event("Product Added").count > 2»)`, idNeverTrue, "", true},
		{"a count of at least none", `«event("Product Added").count >= 0» and did("Product Viewed")`, idAlwaysTrue, "", true},
		{"counts in windows", `event("Product Added").within(hours(1)).count > 3 and «event("Product Added").within(days(1)).count < 3»`, idNeverTrue, "", true},
		{"counts in a window and ever", `event("Product Added").count < 2 and «event("Product Added").within(days(1)).count >= 2»`, idNeverTrue, "", true},
		{"a trait that is none of a list", `user.traits.plan in ["free", "trial"] and «user.traits.plan == "pro"»`, idNeverTrue, "", true},
		{"lists that share nothing", `user.traits.plan in ["free", "trial"] and «user.traits.plan in ["pro"]»`, idNeverTrue, "", true},
		{"no such hour", `«local.hour > 23» and did("Product Added")`, idNeverTrue, "", true},
		{"every hour", `did("Product Added") and «local.hour <= 23»`, idAlwaysTrue, "", true},
		{"no such month", `did("Product Added") and «local.month == 13»`, idNeverTrue, "", true},
		{"constants", `«1 > 2»`, idNeverTrue, "", true},
		{"did has no before", `did("Product Added").«before»(days(3))`, idField, "", false},
		{"did misspelt", `did("Product Added").«withn»(days(3))`, idField, "within", false},
		{"nil ordered", `nil «>» 10`, idNeverTrue, "", false},
		{"list compared", `«[1, 2]» == 1`, idType, "", false},
		{"occurrence compared", `«event("Product Added").last» == 1`, idType, "", false},
		{"contains in a list", `«event("Product Added").last.properties.tags» contains "sale"`, idType, "", false},
		{"in a string", `"a" «in» "abc"`, idType, "", false},
		{"in nothing", `user.traits.plan in «[]»`, idNeverTrue, "", false},
		{"nil in a list", `user.traits.plan in ["a", «nil»]`, idNeverTrue, "", false},
		{"in a list of numbers", `user.traits.plan in ["a", «1»]`, idType, "", false},
		{"range of strings", `local.hour in «"a".."b"»`, idConstant, "", false},
		{"not a condition", `«event("Product Added").count»`, idNotBoolean, "", false},
		{"not a condition in and", `true and «hours(1)»`, idNotBoolean, "", false},
		{"weekday misspelt", `local.weekday == «"munday"»`, idNeverTrue, "monday", false},
		{"enum misspelt", `event("Product Added").last.properties.category == «"shoe"»`, idNeverTrue, "shoes", false},
		{"enum misspelt in a list", `event("Product Added").last.properties.category in ["hats", «"shirt"»]`, idNeverTrue, "shirts", false},
		{"enum misspelt in a filter", `did("Product Added", 'properties.category == «"shoe"»')`, idNeverTrue, "shoes", false},
		{"pattern broken", `user.traits.plan matches «"("»`, idRegexp, "", false},
		{"pattern computed", `user.traits.plan matches «user.id»`, idLiteral, "", false},
		{"sum of a string", `event("Product Added").sum(«"name"») > 1`, idType, "", false},
		{"uniq of an array", `event("Product Added").uniq(«"tags"») > 1`, idType, "", false},
		{"arithmetic of times", `now «+» now > now`, idType, "", false},
		{"time plus number", `now «-» 3600 > user.created_at`, idType, "", false},
		{"branches of two types", `(true ? 1 : «"a"») == 1`, idType, "", false},
		{"default of another type", `(user.traits.age ?? «"none"») > 3`, idType, "", false},
		{"it without for_each", `«it».last.ago > hours(1)`, idScope, "", false},
		{"trigger without on", `«trigger».ago > hours(1)`, idScope, "", false},
		{"everyone in when", `«everyone».event("Product Viewed").within(days(1)).people > 3`, idScope, "", false},
		{"entry in when", `«entry».value == "x"`, idScope, "", false},
		{"properties in when", `«properties».price > 3`, idScope, "", false},
		{"filter with a function", `did("Product Added", '«lower(properties.name)» == "x"')`, idFilter, "", false},
		{"filter with history", `did("Product Added", '«did("Order Completed")»')`, idFilter, "", false},
		{"filter with now", `did("Product Added", 'at > «now»')`, idFilter, "", false},
		{"filter with a list", `did("Product Added", '"sale" in «properties.tags»')`, idFilter, "", false},
		{"filter with a closure", `did("Product Added", '«any(properties.tags, # == "a")»')`, idFilter, "", false},
		{"filter with user", `did("Product Added", 'properties.name == «user».id')`, idName, "", false},
		{"filter with outside", `did("Product Added", 'properties.name == «$user».id')`, idScope, "", false},
		{"filter without properties", `did("Product Added", '«price» > 3')`, idName, "properties.price", false},
		{"filter with a local date", `did("Product Added", 'properties.expires > «"2026-01-01"»')`, idFilter, "", false},
		{"filter with a syntax error", `did("Product Added", 'properties.price >«»')`, idSyntax, "", false},
		{"sequence", `«true; false»`, idSyntax, "", false},
		{"object", `«{a: 1}» == nil`, idSyntax, "", false},
		{"let of a known word", `let «now» = 3; true`, idName, "", false},
		{"ends early", `event("Product Added").count >«»`, idSyntax, "", false},
		{"empty", `«   »`, idSyntax, "", false},
		{"and in capitals", `true «AND» false`, idSyntax, "and", false},
		{"a duration of the files", `event("Product Added").last.ago > «30m» and true`, idSyntax, "", false},
		{"unit behind a number", `event("Product Added").last.ago > 1 «hour»`, idSyntax, "", false},
		{"one equals sign", `event("Product Added").count «=» 3`, idSyntax, "", false},
		{"pointer outside a closure", `«#» > 3`, idSyntax, "", false},
		{"list too long", `any(event("Product Added").list(«20000»), true)`, idConstant, "", false},
		{"order of a sort", `len(sortBy(event("Product Added").list(3), #.at, «"down"»)) > 0`, idArguments, "", false},
		{"did is not a number", `did("Product Added").«count» > 3`, idField, "", false},
		{"method that is none", `user.id.«upper»() == "A"`, idFunction, "", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			src, spans := marked(c.src)
			_, problems := Compile(WhoSpec{When: src}, testSchema())
			require.Len(t, problems, 1, "%v", problems)
			p := problems[0]
			require.Equal(t, c.id, p.ID, "%v", p)
			require.Equal(t, c.suggest, p.Suggest, "%v", p)
			require.Equal(t, c.warning, p.Warning, "%v", p)
			got := [2]int{p.From, p.To}
			require.Equal(t, spans[0], got, "%v: points at %q", p, src[p.From:p.To])
			require.Equal(t, "when", p.Part)
		})
	}
}

// What the details say that people who are new cannot know.
func TestProblemsTellTheWayOut(t *testing.T) {
	cases := []struct{ name, when, summary, detail string }{
		{"a duration of the files", `event("A").last.ago > 30m`, `"30m" is no number.`, "A duration is written minutes(30)."},
		{"a number in quotes", `event("A").count >= "20"`, "This compares a number with a string, which is never true.", "Write 20, without quotes."},
		{"a word for a number", `event("A").count >= "many"`, "This compares a number with a string, which is never true.", "A string never equals or exceeds a number, also when it looks like one."},
		{"a unit that is none", `event("A").last.ago > 30x`, `bad number syntax: "30x"`, ""},
		{"an event like none", `did("Something Else")`, `The tracking plan has no event "Something Else".`, "Declare it in events.yaml if apps send it; it has: A, B."},
		{
			"ages that exclude each other", "event(\"A\").last.ago >= days(2)\n  and event(\"A\").last.ago < hours(1)",
			"This and `event(\"A\").last.ago >= days(2)` rule each other out.", "Nobody can meet both. Join them with `or`, or change one of the two.",
		},
		{"one of them denied", `not did("A") and event("A").count > 2`, "This and `not (did(\"A\"))` rule each other out.", "Nobody can meet both. Join them with `or`, or change one of the two."},
		{"one of them in a segment", `segment("fresh") and event("A").last.ago > days(2)`, "This and `segment(\"fresh\")` rule each other out.", "Nobody can meet both. Join them with `or`, or change one of the two."},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			plan := &events.Plan{Events: map[string]events.Declared{"A": {}, "B": {}}}
			schema := NewSchema(SchemaOptions{Plan: plan, Segments: map[string]string{"fresh": `event("A").last.ago < hours(1)`}})
			_, problems := Compile(WhoSpec{When: c.when}, schema)
			require.Len(t, problems, 1, "%v", problems)
			require.Equal(t, c.summary, problems[0].Summary)
			require.Equal(t, c.detail, problems[0].Detail)
		})
	}
}

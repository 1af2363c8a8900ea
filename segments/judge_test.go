package segments

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// world answers features by their names, so that cases need not know their order.
type world struct {
	values   map[string]any // by Feature.Key; missing ones get the value of what never happened
	traits   string         // JSON object
	profile  Profile
	places   []Place
	trigger  *Occurrence
	value    string
	zone     string
	noPerson bool
}

func (w world) candidate(t testing.TB, who *Who) *Candidate {
	t.Helper()
	c := &Candidate{Value: w.value, Trigger: w.trigger, Places: w.places, DefaultZone: w.zone}
	known := map[string]bool{}
	for _, f := range who.Features() {
		k := f.Key()
		known[k] = true
		v, ok := w.values[k]
		if !ok {
			switch f.Agg {
			case AggCount, AggUniq:
				v = int64(0)
			case AggSum:
				v = 0.0
			case AggFirst, AggLast:
				v = (*Occurrence)(nil)
			case AggList:
				v = []*Occurrence(nil)
			default:
			}
		}
		c.Values = append(c.Values, v)
	}
	for k := range w.values {
		require.True(t, known[k], "the condition has no feature %s, but %v", k, known)
	}
	if !w.noPerson {
		p := w.profile
		if w.traits != "" {
			require.NoError(t, json.Unmarshal([]byte(w.traits), &p.Traits))
		}
		c.Profile = &p
	}
	return c
}

const (
	added     = `event("Product Added").`
	completed = `event("Order Completed").`
	anything  = `event("*").`
)

// cart is a history of "Product Added", newest first.
func cart(ps ...string) world {
	var l []*Occurrence
	for i, p := range ps {
		l = append(l, occ(int64(i+1)*msHour, p))
	}
	return world{values: map[string]any{added + "list(5)": l}}
}

func some(p string) *Occurrence { return occ(msHour, p) }

func TestTruth(t *testing.T) {
	last := func(p string) world { return world{values: map[string]any{anything + "last": some(p)}} }
	traits := func(j string) world { return world{traits: j} }
	x := func(c string) string { return `let x = event("*").last.properties.x; ` + c }
	cases := []struct {
		name, when string
		world      world
		want       Truth
	}{
		// Of an event that never happened.
		{"never: count is 0", `event("Product Added").count == 0`, world{}, True},
		{"never: sum is 0", `event("Product Added").sum("price") == 0`, world{}, True},
		{"never: uniq is 0", `event("Product Added").uniq("product_id") == 0`, world{}, True},
		{"never: list is empty", `len(event("Product Added").list(3)) == 0`, world{}, True},
		{"never: ago is longer than any", `event("Product Added").last.ago > weeks(100000)`, world{}, True},
		{"never: first ago too", `event("Product Added").first.ago > weeks(100000)`, world{}, True},
		{"never: ago is not shorter", `event("Product Added").last.ago < days(1)`, world{}, False},
		{"never: ago plus does not overflow", `event("Product Added").last.ago + days(1) > days(1)`, world{}, True},
		{"never: ago times does not overflow", `event("Product Added").last.ago * 3 >= event("Product Added").last.ago`, world{}, True},
		{"never: ago minus ago is missing", `event("Product Added").last.ago - event("Order Completed").last.ago > days(0)`, world{}, Unknown},
		{"never: now minus ago is missing", `now - event("Product Added").last.ago < now`, world{}, Unknown},
		{"never: at is missing", `event("Product Added").last.at > user.created_at`, world{profile: Profile{CreatedAt: 1}}, Unknown},
		{"never: avg is missing", `event("Product Added").avg("price") > 1`, world{}, Unknown},
		{"never: top is missing", `event("Product Added").top("category") == "shoes"`, world{}, Unknown},
		{"never: not top is not true", `not (event("Product Added").top("category") == "shoes")`, world{}, Unknown},
		{"never: property is missing", `event("Product Added").last.properties.price > 1`, world{}, Unknown},
		{"never: is nil", `event("Product Added").last == nil`, world{}, True},
		{"never: has", `has(event("Product Added").last)`, world{}, False},
		{"never: did", `did("Product Added")`, world{}, False},
		{"never: not did", `not did("Product Added")`, world{}, True},
		{"never: did since", `did("Product Added").since(now - days(1))`, world{}, False},

		// Kleene.
		{"missing == 10", x(`x == 10`), last(`{}`), Unknown},
		{"not (missing == 10)", x(`not (x == 10)`), last(`{}`), Unknown},
		{"missing != 10", x(`x != 10`), last(`{}`), Unknown},
		{"missing > 10", x(`x > 10`), last(`{}`), Unknown},
		{"null > 10", x(`x > 10`), last(`{"x":null}`), Unknown},
		{"missing or true", x(`x > 10 or event("*").count == 0`), last(`{}`), True},
		{"missing or false", x(`x > 10 or event("*").count > 0`), last(`{}`), Unknown},
		{"missing and false", x(`x > 10 and event("*").count > 0`), last(`{}`), False},
		{"missing and true", x(`x > 10 and event("*").count == 0`), last(`{}`), Unknown},
		{"not (missing and false)", x(`not (x > 10 and event("*").count > 0)`), last(`{}`), True},
		{"text > number", x(`x > 10`), last(`{"x":"19.99"}`), Unknown},
		{"text == number", x(`x == 19.99`), last(`{"x":"19.99"}`), Unknown},
		{"text != number", x(`x != 19.99`), last(`{"x":"19.99"}`), Unknown},
		{"not (text > number)", x(`not (x > 10)`), last(`{"x":"19.99"}`), Unknown},
		{"number > number", x(`x > 10`), last(`{"x":19.99}`), True},
		{"boolean == number", x(`x == 1`), last(`{"x":true}`), Unknown},
		{"list == number", x(`x == 1`), last(`{"x":[1]}`), Unknown},
		{"object == number", x(`x == 1`), last(`{"x":{"y":1}}`), Unknown},
		{"undeclared as condition", x(`x`), last(`{"x":true}`), True},
		{"undeclared false as condition", x(`not x`), last(`{"x":false}`), True},
		{"undeclared 1 as condition", x(`x`), last(`{"x":1}`), Unknown},
		{"x == x of missing", x(`x == x`), last(`{}`), Unknown},
		{"choice: unknown", x(`x > 1 ? true : true`), last(`{}`), Unknown},
		{"choice: true", x(`x > 1 ? true : false`), last(`{"x":2}`), True},
		{"choice: false", x(`x > 1 ? true : false`), last(`{"x":0}`), False},
		{"if else", x(`if x > 1 { x < 3 } else { x < 0 }`), last(`{"x":-1}`), True},
		{"choice of values", x(`(x > 1 ? "many" : "few") == "few"`), last(`{"x":1}`), True},
		{"truth as a value", x(`(x > 1) == (x > 2)`), last(`{"x":3}`), True},
		{"unknown truth as a value", x(`(x > 1) == true`), last(`{}`), Unknown},

		// Asking about what is missing.
		{"nil", x(`x == nil`), last(`{}`), True},
		{"nil of null", x(`x == nil`), last(`{"x":null}`), True},
		{"not nil", x(`x != nil`), last(`{"x":0}`), True},
		{"nil first", x(`nil == x`), last(`{}`), True},
		{"has", x(`has(x)`), last(`{"x":false}`), True},
		{"has not", x(`not has(x)`), last(`{}`), True},
		{"default", x(`(x ?? 11) > 10`), last(`{}`), True},
		{"default not used", x(`(x ?? 11) > 10`), last(`{"x":3}`), False},
		{"default of a wrong type", x(`(x ?? 11) > 10`), last(`{"x":"a"}`), Unknown},
		{"a default that is no boolean, as a condition", x(`x ?? 0`), last(`{}`), Unknown},
		{"default for a condition", x(`(x > 10) ?? true`), last(`{}`), True},
		{"default of an occurrence", `(event("Product Added").last ?? event("Order Completed").last).at < now`, world{values: map[string]any{completed + "last": some(`{}`)}}, True},

		// Numbers.
		{"large integers are exact", x(`x == 9007199254740993`), last(`{"x":9007199254740993}`), True},
		{"large integers differ", x(`x == 9007199254740992`), last(`{"x":9007199254740993}`), False},
		{"large integer and float", x(`x > 9007199254740992.0`), last(`{"x":9007199254740993}`), True},
		{"division by zero is missing", x(`1 / x > 0`), last(`{"x":0}`), Unknown},
		{"arithmetic", x(`(x + 1) * 2 - 3 == 5`), last(`{"x":3}`), True},
		{"arithmetic on text is missing", x(`x + 1 > 0`), last(`{"x":"3"}`), Unknown},
		{"modulo", x(`x % 5 == 2`), last(`{"x":17}`), True},
		{"power", x(`x ** 2 == 9`), last(`{"x":3}`), True},
		{"minus", x(`-x == -3`), last(`{"x":3}`), True},
		{"chained", x(`1 < x < 5`), last(`{"x":3}`), True},
		{"chained false", x(`1 < x < 2`), last(`{"x":3}`), False},
		{"text joined", x(`x + "!" == "hi!"`), last(`{"x":"hi"}`), True},

		// Declared properties.
		{"declared decimal", `event("Product Added").last.properties.price >= 19.99`, world{values: map[string]any{added + "last": some(`{"price":19.99}`)}}, True},
		{"declared number that is text is missing", `event("Product Added").last.properties.price >= 1`, world{values: map[string]any{added + "last": some(`{"price":"19.99"}`)}}, Unknown},
		{"declared time in ms", `event("Product Added").last.properties.expires < now`, world{values: map[string]any{added + "last": some(`{"expires":1600000000000}`)}}, True},
		{"declared time as text", `event("Product Added").last.properties.expires < now`, world{values: map[string]any{added + "last": some(`{"expires":"2020-01-01T00:00:00Z"}`)}}, True},
		{"declared boolean", `event("Product Added").last.properties.gift`, world{values: map[string]any{added + "last": some(`{"gift":true}`)}}, True},
		{"declared nested", `event("Product Added").last.properties.address.city == "Bonn"`, world{values: map[string]any{added + "last": some(`{"address":{"city":"Bonn"}}`)}}, True},
		{"nested with a dotted key", `event("Product Added").last.properties.address.city == "Bonn"`, world{values: map[string]any{added + "last": some(`{"address.city":"Bonn"}`)}}, True},
		{"undeclared nested", x(`event("*").last.properties.a.b.c == 1`), last(`{"a":{"b":{"c":1}}}`), True},
		{"strange name", `event("*").last.properties["odd name"] == 1`, last(`{"odd name":1}`), True},
		{"context", `event("*").last.context.app.version == "1.2"`, world{values: map[string]any{anything + "last": &Occurrence{Time: now, Context: json.RawMessage(`{"app":{"version":"1.2"}}`)}}}, True},
		{"optional chaining", `event("*").last?.properties?.x == 1`, last(`{"x":1}`), True},

		// Lists and text.
		{"in", x(`x in ["a", "b"]`), last(`{"x":"b"}`), True},
		{"not in", x(`x not in ["a", "b"]`), last(`{"x":"c"}`), True},
		{"missing not in", x(`x not in ["a", "b"]`), last(`{}`), Unknown},
		{"number not in strings", x(`x not in ["a", "b"]`), last(`{"x":1}`), Unknown},
		{"in mixed", x(`x in ["a", 1]`), last(`{"x":1}`), True},
		{"in range", x(`x in 1..3`), last(`{"x":3}`), True},
		{"not in range", x(`x in 1..3`), last(`{"x":3.5}`), False},
		{"in a property list", `"sale" in event("Product Added").last.properties.tags`, world{values: map[string]any{added + "last": some(`{"tags":["new","sale"]}`)}}, True},
		{"in a missing list", x(`"sale" in x`), last(`{}`), Unknown},
		{"key in an object", x(`"y" in x`), last(`{"x":{"y":1}}`), True},
		{"contains", x(`x contains "ell"`), last(`{"x":"hello"}`), True},
		{"not contains", x(`x not contains "elk"`), last(`{"x":"hello"}`), True},
		{"number contains", x(`x contains "1"`), last(`{"x":11}`), Unknown},
		{"startsWith", x(`x startsWith "he" and x endsWith "lo"`), last(`{"x":"hello"}`), True},
		{"matches", x(`x matches "^h.*o$"`), last(`{"x":"hello"}`), True},
		{"not matches", x(`not (x matches "^h.*o$")`), last(`{}`), Unknown},
		{"lower", x(`lower(x) == "hello"`), last(`{"x":"HeLLo"}`), True},
		{"index", x(`x[1] == 2 and x[-1] == 3 and x[7] == nil`), last(`{"x":[1,2,3]}`), True},
		{"slice", x(`len(x[1:]) == 2 and x[:1][0] == 1`), last(`{"x":[1,2,3]}`), True},
		{"len of text counts letters", x(`len(x) == 5`), last(`{"x":"héllo"}`), True},
		{"split and join", x(`join(split(x, ","), "+") == "a+b"`), last(`{"x":"a,b"}`), True},
		{"float of text", x(`float(x) > 3`), last(`{"x":"3.5"}`), True},
		{"float of nonsense", x(`float(x) > 3`), last(`{"x":"abc"}`), Unknown},
		{"max", x(`max(x, 3) == 5`), last(`{"x":5}`), True},
		{"max of missing", x(`max(x, 3) == 5`), last(`{}`), Unknown},
		{"sum of list", x(`sum(x) == 6`), last(`{"x":[1,2,3]}`), True},
		{"keys", x(`keys(x) | join(",") == "a,b"`), last(`{"x":{"b":1,"a":2}}`), True},

		// Profile, zone.
		{"trait", `user.traits.plan == "pro"`, traits(`{"plan":"pro"}`), True},
		{"trait missing", `user.traits.plan == "pro"`, traits(`{}`), Unknown},
		{"trait of a wrong type", `user.traits.age > 18`, traits(`{"age":"20"}`), Unknown},
		{"trait nested", `user.traits.address.city == "Bonn"`, traits(`{"address":{"city":"Bonn"}}`), True},
		{"no profile", `user.traits.plan == nil`, world{noPerson: true}, True},
		{"id", `user.id == "u1"`, world{profile: Profile{UserID: "u1"}}, True},
		{"anonymous", `user.id == nil`, world{}, True},
		{"created", `now - user.created_at > days(30)`, world{profile: Profile{CreatedAt: now - 31*msDay}}, True},
		{"timezone missing", `has(user.timezone)`, world{}, False},
		{"hour in the default zone", `local.hour == 23`, world{zone: "Europe/Berlin"}, True}, // 22:13:20 UTC
		{"hour in the person's zone", `local.hour == 7`, world{zone: "Europe/Berlin", profile: Profile{Zone: "Asia/Tokyo"}}, True},
		{"hour with an unknown zone", `local.hour == 23`, world{zone: "Europe/Berlin", profile: Profile{Zone: "Mars/Base"}}, True},
		{"hour without any zone", `local.hour == 22`, world{noPerson: true}, True},
		{"weekday", `local.weekday == "wednesday" and local.day == 15 and local.month == 11`, world{profile: Profile{Zone: "Asia/Tokyo"}}, True},
		{"local date", `local.date == "2023-11-15"`, world{profile: Profile{Zone: "Asia/Tokyo"}}, True},
		{"local date elsewhere", `local.date == "2023-11-14"`, world{profile: Profile{Zone: "America/New_York"}}, True},
		{"time literal with offset", `now == "2023-11-14T22:13:20Z"`, world{}, True},
		{"time literal in the zone", `now >= "2023-11-15T07:13" and now < "2023-11-15T07:14"`, world{profile: Profile{Zone: "Asia/Tokyo"}}, True},
		{"anniversary of a declared date", `local.date == anniversary(user.traits.birthday)`, world{traits: `{"birthday":"1990-11-14"}`, profile: Profile{Zone: "America/New_York"}}, True},
		{"anniversary of a declared date in ms", `local.date == anniversary(user.traits.birthday)`, world{traits: fmt.Sprintf(`{"birthday":%d}`, time.Date(1990, 11, 14, 0, 0, 0, 0, time.UTC).UnixMilli()), profile: Profile{Zone: "America/New_York"}}, True},
		{"anniversary another day", `local.date == anniversary(user.traits.birthday)`, world{traits: `{"birthday":"1990-11-15"}`, profile: Profile{Zone: "America/New_York"}}, False},
		{"anniversary of nothing", `local.date == anniversary(user.traits.birthday)`, world{}, Unknown},
		{"week before an anniversary", `local.date == anniversary(user.traits.birthday) - days(7)`, world{traits: `{"birthday":"1990-11-21"}`}, True},

		// Histories.
		{"count", `event("Product Added").within(days(7)).count >= 3`, world{values: map[string]any{added + "within(days(7)).count": int64(3)}}, True},
		{"narrowed twice", `event("Product Added").within(days(7)).within(days(3)).count == 1`, world{values: map[string]any{added + "within(days(3)).count": int64(1)}}, True},
		{"since now minus days is within", `event("Product Added").since(now - days(7)).count == 1`, world{values: map[string]any{added + "within(days(7)).count": int64(1)}}, True},
		{"sum", `event("Product Added").sum("price") > 100`, world{values: map[string]any{added + `sum("price")`: 100.5}}, True},
		{"max of times", `event("Product Added").max("expires") > now`, world{values: map[string]any{added + `max("expires")`: float64(now + 1)}}, True},
		{"top", `event("Product Added").top("category") == "shoes"`, world{values: map[string]any{added + `top("category")`: "shoes"}}, True},
		{"did since: later", `did("Order Completed").since(event("Product Added").last.at)`, world{values: map[string]any{added + "last": occ(2*msHour, `{}`), completed + "last": occ(msHour, `{}`)}}, True},
		{"did since: earlier", `did("Order Completed").since(event("Product Added").last.at)`, world{values: map[string]any{added + "last": occ(msHour, `{}`), completed + "last": occ(2*msHour, `{}`)}}, False},
		{"did since: at the same moment", `did("Order Completed").since(event("Product Added").last.at)`, world{values: map[string]any{added + "last": occ(msHour, `{}`), completed + "last": occ(msHour, `{}`)}}, False},
		{"did since: never", `not did("Order Completed").since(event("Product Added").last.at)`, world{values: map[string]any{added + "last": occ(msHour, `{}`)}}, True},
		{"did since missing", `did("Order Completed").since(event("Product Added").last.at)`, world{values: map[string]any{completed + "last": occ(msHour, `{}`)}}, Unknown},
		{"not did since missing", `not did("Order Completed").since(event("Product Added").last.at)`, world{}, Unknown},
		{"count since > 0 needs only the last", `event("Order Completed").since(event("Product Added").last.at).count > 0`, world{values: map[string]any{added + "last": occ(2*msHour, `{}`), completed + "last": occ(msHour, `{}`)}}, True},
		{"count since == 0 needs only the last", `0 == event("Order Completed").since(event("Product Added").last.at).count`, world{values: map[string]any{added + "last": occ(2*msHour, `{}`)}}, True},
		{"count since >= 2", `event("Order Completed").since(event("Product Added").last.at).count >= 2`, world{values: map[string]any{added + "last": occ(3*msHour, `{}`), completed + "list(0)": []*Occurrence{occ(msHour, `{}`), occ(2*msHour, `{}`), occ(3*msHour, `{}`)}}}, True},
		{"count since: after, not at", `event("Order Completed").since(event("Product Added").last.at).count == 2`, world{values: map[string]any{added + "last": occ(3*msHour, `{}`), completed + "list(0)": []*Occurrence{occ(msHour, `{}`), occ(2*msHour, `{}`), occ(3*msHour, `{}`)}}}, True},
		{"count since missing", `event("Order Completed").since(event("Product Added").last.at).count < 2`, world{}, Unknown},
		{"sum since", `event("Order Completed").since(event("Product Added").last.at).sum("revenue") == 0.3`, world{values: map[string]any{added + "last": occ(3*msHour, `{}`), completed + "list(0)": []*Occurrence{occ(msHour, `{"revenue":0.1}`), occ(2*msHour, `{"revenue":0.2}`), occ(4*msHour, `{"revenue":9}`)}}}, True},
		{"last since", `event("Order Completed").since(event("Product Added").last.at).last.properties.revenue == 1`, world{values: map[string]any{added + "last": occ(3*msHour, `{}`), completed + "last": occ(msHour, `{"revenue":1}`)}}, True},
		{"last since is before", `event("Order Completed").since(event("Product Added").last.at).last == nil`, world{values: map[string]any{added + "last": occ(3*msHour, `{}`), completed + "last": occ(4*msHour, `{"revenue":1}`)}}, True},
		{"ago of last since, never", `event("Order Completed").since(event("Product Added").last.at).last.ago > days(9)`, world{values: map[string]any{added + "last": occ(3*msHour, `{}`)}}, True},
		{"ago of last since missing", `event("Order Completed").since(event("Product Added").last.at).last.ago > days(9)`, world{}, Unknown},
		{"first since", `event("Order Completed").since(event("Product Added").last.at).first.ago == hours(2)`, world{values: map[string]any{added + "last": occ(3*msHour, `{}`), completed + "list(0)": []*Occurrence{occ(msHour, `{}`), occ(2*msHour, `{}`), occ(4*msHour, `{}`)}}}, True},
		{"since twice", `event("Order Completed").since(event("Product Added").last.at).since(now - hours(2)).count == 1`, world{values: map[string]any{added + "last": occ(3*msHour, `{}`), completed + "within(hours(2)).list(0)": []*Occurrence{occ(msHour, `{}`)}}}, True},
		{"list since, two of them", `len(event("Order Completed").since(event("Product Added").last.at).list(2)) == 2`, world{values: map[string]any{added + "last": occ(30*msHour, `{}`), completed + "list(0)": []*Occurrence{occ(msHour, `{}`), occ(2*msHour, `{}`), occ(3*msHour, `{}`)}}}, True},
		{"message", `message("welcome").opened.count > 0`, world{values: map[string]any{`message("welcome").opened.count`: int64(1)}}, True},
		{"message by event", `event("Message Opened").within(days(30)).count == 0`, world{}, True},
		{"message converted", `message("cart-abandoned").converted.count == 1`, world{values: map[string]any{
			`message("cart-abandoned").list(0)`: []*Occurrence{occ(msHour, `{}`), occ(5*msHour, `{}`), occ(9*msDay, `{}`)},
			completed + "list(0)":               []*Occurrence{occ(2*msHour, `{}`)},
		}}, True},
		{"segment", `segment("vip")`, world{values: map[string]any{completed + `sum("revenue")`: 1000.5}}, True},
		{"segment not", `not segment("vip")`, world{values: map[string]any{completed + `sum("revenue")`: 1000.0}}, True},
		{"segment in a segment", `segment("vip here")`, world{values: map[string]any{completed + `sum("revenue")`: 2000.0}, profile: Profile{Zone: "America/New_York"}}, True},

		// Closures.
		{"any", `any(event("Product Added").list(5), .properties.price > 10)`, cart(`{"price":3}`, `{"price":30}`), True},
		{"any of none", `any(event("Product Added").list(5), .properties.price > 10)`, cart(`{"price":3}`), False},
		{"any with unknown", `any(event("Product Added").list(5), .properties.price > 10)`, cart(`{"price":3}`, `{}`), Unknown},
		{"all", `all(event("Product Added").list(5), .properties.price > 10)`, cart(`{"price":13}`, `{"price":30}`), True},
		{"all with unknown", `all(event("Product Added").list(5), .properties.price > 10)`, cart(`{"price":13}`, `{}`), Unknown},
		{"all with unknown and false", `all(event("Product Added").list(5), .properties.price > 10)`, cart(`{"price":1}`, `{}`), False},
		{"all of nothing", `all(event("Product Added").list(5), .properties.price > 10)`, world{}, True},
		{"none", `none(event("Product Added").list(5), .properties.price > 10)`, cart(`{"price":1}`, `{"price":2}`), True},
		{"none with unknown", `none(event("Product Added").list(5), .properties.price > 10)`, cart(`{"price":1}`, `{}`), Unknown},
		{"one", `one(event("Product Added").list(5), .properties.price > 10)`, cart(`{"price":1}`, `{"price":20}`), True},
		{"one of two", `one(event("Product Added").list(5), .properties.price > 10)`, cart(`{"price":11}`, `{"price":20}`), False},
		{"one with unknown", `one(event("Product Added").list(5), .properties.price > 10)`, cart(`{"price":11}`, `{}`), Unknown},
		{"one, two known and one unknown", `one(event("Product Added").list(5), .properties.price > 10)`, cart(`{"price":11}`, `{"price":12}`, `{}`), False},
		{"one of none and unknown", `one(event("Product Added").list(5), .properties.price > 10)`, cart(`{"price":1}`, `{}`), Unknown},
		{"count", `count(event("Product Added").list(5), .properties.price > 10) == 1`, cart(`{"price":11}`, `{}`), True},
		{"filter and map", `(event("Product Added").list(5) | filter(.properties.price > 10) | map(.properties.name) | join(" ")) == "a c"`, cart(`{"price":11,"name":"a"}`, `{"price":1,"name":"b"}`, `{"price":12,"name":"c"}`), True},
		{"sum", `sum(event("Product Added").list(5), .properties.price * 2) == 24`, cart(`{"price":11}`, `{"price":1}`, `{}`), True},
		{"find", `find(event("Product Added").list(5), .properties.price < 10).properties.name == "b"`, cart(`{"price":11,"name":"a"}`, `{"price":1,"name":"b"}`), True},
		{"find nothing", `find(event("Product Added").list(5), .properties.price < 0).ago > days(1)`, cart(`{"price":11,"name":"a"}`), Unknown},
		{"findIndex", `findIndex(event("Product Added").list(5), .properties.price < 10) == 1`, cart(`{"price":11}`, `{"price":1}`), True},
		{"sortBy", `sortBy(event("Product Added").list(5), .properties.price)[0].properties.name == "b"`, cart(`{"price":11,"name":"a"}`, `{"price":1,"name":"b"}`), True},
		{"sortBy down", `sortBy(event("Product Added").list(5), .properties.price, "desc")[0].properties.name == "a"`, cart(`{"price":11,"name":"a"}`, `{"price":1,"name":"b"}`), True},
		{"nested", `any(event("Product Added").list(5), any(.properties.tags, # == "sale"))`, cart(`{"tags":["a"]}`, `{"tags":["b","sale"]}`), True},
		{"nested over a missing list", `any(event("Product Added").list(5), any(.properties.tags, # == "sale"))`, cart(`{}`), Unknown},
		{"index of the element", `any(event("Product Added").list(5), #index == 1 and .properties.price == 1)`, cart(`{"price":11}`, `{"price":1}`), True},
		{"age of an element", `all(event("Product Added").list(5), .ago < days(1))`, cart(`{"price":11}`, `{"price":1}`), True},
		{"let inside a closure", `any(event("Product Added").list(5), {let p = .properties.price; p > 1 and p < 5})`, cart(`{"price":3}`), True},
		{"let outside a closure", `let n = event("Order Completed").count; any(event("Product Added").list(5), .properties.price == n)`, cart(`{"price":0}`), True},
		{"choice inside a closure", `any(event("Product Added").list(5), (.properties.price > 1 ? "dear" : "cheap") == "dear")`, cart(`{"price":3}`), True},
		{"default inside a closure", `all(event("Product Added").list(5), (.properties.price ?? 0) == 0)`, cart(`{}`), True},

		// Places.
		{"near", `near("stores/*", meters(500))`, world{places: []Place{{Known: true, Now: true}}}, True},
		{"not near", `not near("stores/*", meters(500))`, world{places: []Place{{Known: true}}}, True},
		{"unknown place", `not near("stores/*", meters(500))`, world{places: []Place{{}}}, Unknown},
		{"dwell", `near("stores/*", meters(500)).dwell >= minutes(5)`, world{places: []Place{{Known: true, Now: true, Dwell: 5 * msMinute}}}, True},
		{"distance", `near("stores/*", meters(500)).distance < meters(100)`, world{places: []Place{{Known: true, Distance: 99}}}, True},
		{"entered", `now - near("stores/*", meters(500)).entered == minutes(1)`, world{places: []Place{{Known: true, Now: true, Entered: now - msMinute}}}, True},
		{"not entered", `has(near("stores/*", meters(500)).entered)`, world{places: []Place{{Known: true}}}, False},
		{"choice of places", `now > "2001-01-01" ? near("stores/*", meters(500)) : inside("stores/*")`, world{places: []Place{{Known: true, Now: true}, {Known: true}}}, True},
		{"the other place", `now < "2001-01-01" ? near("stores/*", meters(500)) : inside("stores/*")`, world{places: []Place{{Known: true, Now: true}, {Known: true}}}, False},
		{"field of a choice of places", `(now > "2001-01-01" ? near("stores/*", meters(500)) : nil).dwell >= minutes(5)`, world{places: []Place{{Known: true, Now: true, Dwell: 5 * msMinute}}}, True},
		{"field of no place", `(now < "2001-01-01" ? near("stores/*", meters(500)) : nil).dwell >= minutes(5)`, world{places: []Place{{Known: true, Now: true, Dwell: 5 * msMinute}}}, Unknown},
		{"choice of places by name", `let p = now > "2001-01-01" ? near("stores/*", meters(500)) : inside("stores/*"); p and p.fence.id == "stores/2"`, world{places: []Place{{Known: true, Now: true, FenceID: "stores/2"}, {Known: true}}}, True},
		{"fence", `inside("mall").fence.id == "mall" and inside("mall").fence.properties.open`, world{places: []Place{{Known: true, FenceID: "mall", Fence: json.RawMessage(`{"open":true}`)}}}, True},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := mustCompile(t, WhoSpec{When: c.when})
			cand := c.world.candidate(t, w)
			got, err := w.Judge(now, cand)
			require.NoError(t, err)
			require.Equal(t, c.want, got, "%s\nprefilter %s", c.when, w.Prefilter())
			w.Values(cand)
			if got == True {
				require.True(t, w.Passes(now, cand), "prefilter %s", w.Prefilter())
			}
		})
	}
}

func TestConditionThatFails(t *testing.T) {
	w := mustCompile(t, WhoSpec{When: `event("Product Added").count > 1`, With: []NamedExpr{{"n", `event("Product Added").count`}}, ExitSince: `event("Product Added").last.at`})
	for name, c := range map[string]*Candidate{
		"no values":   {},
		"wrong types": {Values: []any{"three", "yesterday"}},
	} {
		t.Run(name, func(t *testing.T) {
			truth, err := w.Judge(now, c)
			require.Equal(t, Failed, truth)
			require.ErrorContains(t, err, "feature 0")
			_, err = w.With(now, c, nil)
			require.ErrorContains(t, err, "with.n")
			_, _, ok := w.Since(c)
			require.False(t, ok)
			require.Contains(t, w.Values(c), `event("Product Added").count`)
		})
	}
	truth, err := w.Judge(now, &Candidate{Values: []any{int64(2), nil}})
	require.NoError(t, err, "a failure leaves nothing behind")
	require.Equal(t, True, truth)
}

func TestTooManyElements(t *testing.T) {
	w := mustCompile(t, WhoSpec{When: `let x = event("*").last.properties.x; any(x, any(x, any(x, # == 2)))`})
	long := make([]int, 2000)
	b, err := json.Marshal(map[string]any{"x": long})
	require.NoError(t, err)
	truth, err := w.Judge(now, &Candidate{Values: []any{occ(0, string(b))}})
	require.Equal(t, Failed, truth)
	require.ErrorContains(t, err, "1,000,000 elements")
}

func TestWithValuesSurviveJSON(t *testing.T) {
	w := mustCompile(t, WhoSpec{When: "true", With: []NamedExpr{
		{"at", `event("Product Added").last.at`},
		{"ago", `event("Product Added").last.ago`},
		{"last", `event("Product Added").last`},
		{"names", `event("Product Added").list(2) | map(.properties.name)`},
		{"big", `event("Order Completed").last.properties.number`},
		{"missing", `event("Product Added").last.properties.gift`},
		{"yes", `event("Product Added").count > 1`},
		{"unknown", `event("Product Added").last.properties.price > 1`},
		{"text", `"Hello " + (user.traits.plan ?? "you") + "!"`},
		{"twice", `ago * 2`},
	}})
	c := world{values: map[string]any{
		added + "last": occ(2*msHour, `{"name":"Boots"}`), added + "list(2)": []*Occurrence{occ(0, `{"name":"a"}`), occ(0, `{}`)},
		completed + "last": occ(0, `{"number":9007199254740995}`), added + "count": int64(2),
	}}.candidate(t, w)
	got, err := w.With(now, c, nil)
	require.NoError(t, err)
	require.Equal(t, map[string]any{
		"at": "2023-11-14T20:13:20.000Z", "ago": 7200.0, "names": []any{"a", nil}, "big": int64(9007199254740995), "yes": true, "text": "Hello you!", "twice": 14400.0,
		"last": map[string]any{"at": "2023-11-14T20:13:20.000Z", "event": "Product Added", "properties": map[string]any{"name": "Boots"}, "context": map[string]any{}},
	}, got)
}

func TestJudgeConcurrently(t *testing.T) {
	w := mustCompile(t, WhoSpec{When: `any(event("Product Added").list(5), .properties.price > 10) and local.hour == 23`})
	done := make(chan Truth)
	for i := range 8 {
		go func() {
			ok := True
			for range 500 {
				price, want := `{"price":11}`, True
				if i%2 == 0 {
					price, want = `{"price":1}`, False
				}
				if got, _ := w.Judge(now, &Candidate{Values: []any{[]*Occurrence{occ(1, price)}}, DefaultZone: "Europe/Berlin"}); got != want {
					ok = Failed
				}
			}
			done <- ok
		}()
	}
	for range 8 {
		require.Equal(t, True, <-done)
	}
}

func TestHash(t *testing.T) {
	hash := func(spec WhoSpec) string { return mustCompile(t, spec).Hash() }
	base := hash(WhoSpec{When: `event("Product Added").count > 3 and segment("vip")`})
	same := map[string]WhoSpec{
		"layout": {When: "event('Product Added')\n  .count > 3 // a comment\n and segment(\"vip\")"},
		"names":  {When: `let cart = event("Product Added"); cart.count > 3 and segment("vip")`},
		"with":   {When: `event("Product Added").count > 3 and segment("vip")`, With: []NamedExpr{{"a", "1"}}, ExitSince: "user.created_at"},
	}
	for name, spec := range same {
		require.Equal(t, base, hash(spec), name)
	}
	for name, spec := range map[string]WhoSpec{
		"number":   {When: `event("Product Added").count > 4 and segment("vip")`},
		"event":    {When: `event("Product Viewed").count > 3 and segment("vip")`},
		"filter":   {When: `event("Product Added", 'properties.gift').count > 3 and segment("vip")`},
		"segment":  {When: `event("Product Added").count > 3 and segment("vip here")`},
		"for_each": {ForEach: `event("Product Added").by("cart_id")`, When: `event("Product Added").count > 3 and segment("vip")`},
		"on":       {OnEvent: "Parcel Delivered", When: `event("Product Added").count > 3 and segment("vip")`},
	} {
		require.NotEqual(t, base, hash(spec), name)
	}
}

func TestWhatAConditionAsks(t *testing.T) {
	w := mustCompile(t, WhoSpec{
		ForEach: `event("Product Added", 'not properties.gift').by("cart_id")`,
		When: `it.last.ago > hours(1) and it.first.ago > hours(2) and it.last.properties.price > 3 and message("welcome").within(days(3)).count == 0 and
			near("stores/*", meters(500)) and near("stores/*", meters(500)).dwell > minutes(5) and inside("mall") and user.traits.plan == "pro"`,
		With: []NamedExpr{{"name", "user.traits.address.city"}},
	})
	var keys []string
	for _, f := range w.Features() {
		keys = append(keys, f.Key())
	}
	require.Equal(t, []string{
		`it.where("not properties.gift:boolean").of("Product Added").last`, `it.where("not properties.gift:boolean").of("Product Added").first`,
		`message("welcome").within(days(3)).count`,
	}, keys)
	require.Equal(t, []PlaceRef{{Pattern: "stores/*", Meters: 500}, {Pattern: "mall", Inside: true}}, w.Places())
	require.Equal(t, []string{"Message Sent", "Product Added"}, w.Events())
	require.Equal(t, []string{"address.city", "plan"}, w.TraitNames())
	require.True(t, w.NeedsProfile())
	require.False(t, mustCompile(t, WhoSpec{When: `event("Product Added").count > 1`}).NeedsProfile())
	require.True(t, mustCompile(t, WhoSpec{When: `now > "2026-01-01"`}).NeedsProfile(), "the person's zone")
	for _, spec := range []WhoSpec{
		{When: "user.created_at < now - days(7)"},
		{When: "true", With: []NamedExpr{{"since", "user.created_at"}}},
		{When: "true", SaysCreated: true},
		{When: "true", With: []NamedExpr{{"others", `everyone.event("Product Added", 'at > $user.created_at').within(days(1)).people`}}},
	} {
		require.True(t, mustCompile(t, spec).NeedsCreated())
	}
	require.False(t, w.NeedsCreated())
	require.Equal(t, "properties.cart_id", w.ForEach().Path)
	on := mustCompile(t, WhoSpec{When: "true", OnEvent: "Parcel Delivered", OnWhere: "properties.weight > 1", OnBy: "parcel_id"}).On()
	require.Equal(t, On{Event: "Parcel Delivered", Filter: on.Filter, By: "properties.parcel_id", MaxAge: DefaultMaxAge}, *on)
}

func TestAnniversary(t *testing.T) {
	for _, c := range []struct{ of, now, zone, want string }{
		{"1992-02-29", "2023-02-27T12:00:00Z", "UTC", "2023-02-28"},
		{"1992-02-29", "2024-02-27T12:00:00Z", "UTC", "2024-02-29"},
		{"1990-01-01", "2023-12-31T23:30:00Z", "Asia/Tokyo", "2024-01-01"},
		{"1990-01-01", "2023-12-31T23:30:00Z", "America/New_York", "2023-01-01"},
		{"1990-10-30", "2024-10-01T00:00:00Z", "Asia/Beirut", "2024-10-30"},
		{"1990-03-31", "2024-03-01T00:00:00Z", "Asia/Beirut", "2024-03-31"}, // midnight does not exist there on that day
	} {
		at, err := time.Parse(time.RFC3339, c.now)
		require.NoError(t, err)
		loc, err := time.LoadLocation(c.zone)
		require.NoError(t, err)
		_, d, _, _, ok := parseTime(c.of)
		require.True(t, ok)
		got := time.UnixMilli(int64(anniversary(d, at.UnixMilli(), loc))).In(loc)
		require.Equal(t, c.want, got.Format(dateOnly), "%v", c)
		require.Less(t, got.Hour(), 2)
	}
}

package segments

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"nudge/events"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func filterOf(t testing.TB, src string, scope FilterScope) *Pred {
	t.Helper()
	p, problems := CompileFilter(src, testSchema(), "Product Added", scope)
	require.Empty(t, problems)
	return p
}

func TestFilters(t *testing.T) {
	entry := map[string]any{"entry.value": "5", "entry.at": now - msHour, "entry.since": now - 2*msHour}
	cases := []struct {
		name, src, props string
		want             bool
		text             string // of the predicate; "" leaves it unchecked
	}{
		{"equal", `properties.category == "shoes"`, `{"category":"shoes"}`, true, `properties.category:string == "shoes"`},
		{"literal first", `10 < properties.price`, `{"price":11}`, true, `properties.price:decimal > 10`},
		{"missing", `properties.category == "shoes"`, `{}`, false, ""},
		{"not missing", `not (properties.category == "shoes")`, `{}`, false, `properties.category:string != "shoes"`},
		{"not other", `not (properties.category == "shoes")`, `{"category":"hats"}`, true, ""},
		{"declared number as text", `properties.price == 5`, `{"price":"5"}`, false, ""},
		{"undeclared text and number", `properties.zodiac2 == 5 or properties.zodiac2 != 5`, `{"zodiac2":"5"}`, false, ""},
		{"de Morgan", `not (properties.price > 3 and properties.gift)`, `{"price":4,"gift":false}`, true, `(properties.price:decimal <= 3 or not properties.gift:boolean)`},
		{"linear", `properties.price * 2 + 1 >= 9`, `{"price":4}`, true, `properties.price:decimal*2+1 >= 9`},
		{"linear the other way", `10 - properties.price < properties.quantity`, `{"price":6,"quantity":5}`, true, `properties.price:decimal*-1+10 < properties.quantity:integer`},
		{"divided", `properties.price / 3 > 1`, `{"price":4}`, true, ""},
		{"in", `properties.category in ["shoes", "hats"]`, `{"category":"hats"}`, true, ""},
		{"not in", `properties.category not in ["shoes", "hats"]`, `{}`, false, ""},
		{"in numbers", `properties.quantity in 1..3`, `{"quantity":2}`, true, `properties.quantity:integer in [1, 2, 3]`},
		{"contains", `properties.name contains "oot"`, `{"name":"Boots"}`, true, ""},
		{"not contains", `properties.name not contains "oot"`, `{"name":"Hat"}`, true, ""},
		{"matches", `properties.name matches "^B.*s$"`, `{"name":"Boots"}`, true, ""},
		{"not matches missing", `not (properties.name matches "^B")`, `{}`, false, ""},
		{"has", `has(properties.name)`, `{"name":null}`, false, ""},
		{"has not", `properties.name == nil`, `{"name":null}`, true, ""},
		{"default", `(properties.quantity ?? 1) == 1`, `{}`, true, ""},
		{"default, not used", `(properties.quantity ?? 1) == 1`, `{"quantity":2}`, false, ""},
		{"default, not", `not ((properties.quantity ?? 1) > 1)`, `{}`, true, ""},
		{"default of a boolean", `not (properties.gift ?? false)`, `{}`, true, ""},
		{"choice", `properties.gift ? properties.price > 5 : properties.price > 50`, `{"gift":true,"price":6}`, true, ""},
		{"choice unknown", `properties.gift ? properties.price > 5 : properties.price > 5`, `{"price":6}`, false, ""},
		{"nested", `properties.address.city == "Bonn"`, `{"address":{"city":"Bonn"}}`, true, ""},
		{"context", `context.app.version startsWith "2."`, `{}`, true, ""},
		{"at", `at >= "2023-11-14T00:00:00Z"`, `{}`, true, ""},
		{"declared time", `properties.expires < at`, `{"expires":1600000000000}`, true, ""},
		{"text from before it was declared a time", `properties.expires < at`, `{"expires":"2020-01-01T00:00:00Z"}`, false, ""},
		{"array is not comparable", `properties.zodiac2 == 5`, `{"zodiac2":[5]}`, false, ""},
		{"constant", `1 < 2`, `{}`, true, `true`},
		{"constant names", `let dear = properties.price > 10; dear and not properties.gift`, `{"price":11,"gift":false}`, true, ""},
		{"entry value is text", `properties.cart_id == entry.value`, `{"cart_id":"5"}`, true, ""},
		{"entry value is a number's text", `properties.zodiac2 == entry.value`, `{"zodiac2":5}`, true, ""},
		{"entry value differs", `properties.zodiac2 != entry.value`, `{"zodiac2":6}`, true, ""},
		{"entry value is not", `properties.zodiac2 != entry.value`, `{"zodiac2":5}`, false, ""},
		{"entry value missing here", `properties.zodiac2 != entry.value`, `{}`, false, ""},
		{"entry since", `at > entry.since and at <= entry.at`, `{}`, true, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p, problems := CompileFilter(c.src, testSchema(), "Product Added", FilterEntry)
			require.False(t, HasErrors(problems), "%v", problems)
			if c.text != "" {
				require.Equal(t, c.text, p.String())
			}
			o := &Occurrence{Time: now - msHour, Properties: json.RawMessage(c.props), Context: json.RawMessage(`{"app":{"version":"2.1"}}`)}
			require.Equal(t, c.want, p.Eval(o, entry), "%s", p)
			bound := p.Bind(entry)
			require.Equal(t, c.want, bound.Eval(o, nil), "bound %s", bound)
			require.Equal(t, c.want, p.Bind(nil).Eval(o, nil) || c.want && strings.Contains(c.src, "entry"))
		})
	}
}

func TestBindOfEveryone(t *testing.T) {
	w := mustCompile(t, WhoSpec{
		ForEach: `event("Product Added").by("quantity")`,
		When:    "true",
		With: []NamedExpr{
			{"category", `it.last.properties.category`},
			{"n", `everyone.event("Product Viewed", 'properties.category == $category and (properties.product_id == $it.last.properties.product_id or context.n == $it.value or has($user.traits.plan) or at > $it.last.at)').within(days(1)).people`},
			{"m", `(n ?? 0) + 1`},
		},
	})
	require.Equal(t, []EveryoneRef{{Event: "Product Viewed", Filter: w.Everyone()[0].Filter, Within: msDay, Min: DefaultEveryoneMin}}, w.Everyone())
	c := &Candidate{Value: "7", Values: []any{occ(msHour, `{"category":"hats","product_id":"p"}`)}, Profile: &Profile{Traits: map[string]json.RawMessage{"plan": json.RawMessage(`"pro"`)}}}
	want := map[string]any{"$category": "hats", "$it.last.properties.product_id": "p", "$it.value": 7.0, "$user.traits.plan": "pro", "$it.last.at": now - msHour}
	require.Equal(t, want, w.EveryoneArgs(0, now, c))
	bound := w.Everyone()[0].Filter.Bind(want)
	require.Equal(t, `properties.category:string == "hats"`, bound.String(), "has($user…) holds")
	asked := 0
	with, err := w.With(now, c, func(int, map[string]any) (int64, bool) { asked++; return 4, true })
	require.NoError(t, err)
	require.Equal(t, map[string]any{"category": "hats", "m": 1.0}, with, "4 are fewer than the minimum")
	require.Equal(t, 1, asked)
	c.Values = []any{occ(msHour, `{}`)}
	require.Nil(t, w.EveryoneArgs(0, now, c), "a value from outside is missing: nothing is asked")
}

func TestProblemsOfParts(t *testing.T) {
	cases := []struct {
		name   string
		spec   func(src string) WhoSpec
		src    string
		part   string
		id     string
		ignore bool
	}{
		{"for_each without by", func(s string) WhoSpec { return WhoSpec{When: "true", ForEach: s} }, `«event("Product Added")»`, "for_each", idHistoryCall, false},
		{"for_each by a misspelling", func(s string) WhoSpec { return WhoSpec{When: "true", ForEach: s} }, `event("Product Added").by(«"cart_ids"»)`, "for_each", idProperty, false},
		{"for_each misspelt and it", func(s string) WhoSpec { return WhoSpec{When: "it.count > 1", ForEach: s} }, `event(«"Product Aded"»).by("cart_id")`, "for_each", idEvent, false},
		{"on misspelt and trigger", func(s string) WhoSpec { return WhoSpec{When: "trigger.ago > days(1)", OnEvent: s} }, `«Parcel Deliverd»`, "on.event", idEvent, false},
		{"for_each and on", func(s string) WhoSpec { return WhoSpec{When: "it.count > 1", OnEvent: "Parcel Delivered", ForEach: s} }, `«event("Product Added").by("cart_id")»`, "for_each", idScope, false},
		{"for_each by a list", func(s string) WhoSpec { return WhoSpec{When: "true", ForEach: s} }, `event("Product Added").by(«"tags"»)`, "for_each", idType, false},
		{"for_each of a window", func(s string) WhoSpec { return WhoSpec{When: "true", ForEach: s} }, `«event("Product Added").within(days(1))».by("cart_id")`, "for_each", idHistoryCall, false},
		{"for_each of messages", func(s string) WhoSpec { return WhoSpec{When: "true", ForEach: s} }, `«message("welcome")».by("channel")`, "for_each", idHistoryCall, false},
		{"on an unknown event", func(s string) WhoSpec { return WhoSpec{When: "true", OnEvent: s} }, `«Parcel Deliverd»`, "on.event", idEvent, false},
		{"on where", func(s string) WhoSpec { return WhoSpec{When: "true", OnEvent: "Parcel Delivered", OnWhere: s} }, `properties.«wieght» > 1`, "on.where", idProperty, false},
		{"on by", func(s string) WhoSpec { return WhoSpec{When: "true", OnEvent: "Parcel Delivered", OnBy: s} }, `«parcel»`, "on.by", idProperty, true},
		{"with", func(s string) WhoSpec { return WhoSpec{When: "true", With: []NamedExpr{{"a", "1"}, {"b", s}}} }, `«aa» + 1`, "with.b", idName, false},
		{"with after use", func(s string) WhoSpec { return WhoSpec{When: "true", With: []NamedExpr{{"b", s}, {"a", "1"}}} }, `«a» + 1`, "with.b", idName, false},
		{"with twice", func(s string) WhoSpec { return WhoSpec{When: "true", With: []NamedExpr{{"a", "1"}, {"a", s}}} }, `«1»`, "with.a", idDefinedTwice, false},
		{"everyone without a window", func(s string) WhoSpec { return WhoSpec{When: "true", With: []NamedExpr{{"a", s}}} }, `«everyone.event("Product Viewed")».people`, "with.a", idArguments, false},
		{"everyone counted", func(s string) WhoSpec { return WhoSpec{When: "true", With: []NamedExpr{{"a", s}}} }, `everyone.event("Product Viewed").within(days(1)).«count»`, "with.a", idField, false},
		{"everyone with an unknown value", func(s string) WhoSpec { return WhoSpec{When: "true", With: []NamedExpr{{"a", s}}} }, `everyone.event("Product Viewed", 'properties.product_id == «$user».traits.planx').within(days(1)).people`, "with.a", idTrait, true},
		{"everyone with it", func(s string) WhoSpec { return WhoSpec{When: "true", With: []NamedExpr{{"a", s}}} }, `everyone.event("Product Viewed", 'properties.product_id == $«it».value').within(days(1)).people`, "with.a", idScope, false},
		{"everyone with a misspelt name", func(s string) WhoSpec { return WhoSpec{When: "true", With: []NamedExpr{{"title1", "1"}, {"a", s}}} }, `everyone.event("Product Viewed", 'properties.product_id == «$title2»').within(days(1)).people`, "with.a", idName, false},
		{"since with now", func(s string) WhoSpec { return WhoSpec{When: "true", ExitSince: s} }, `«now» - hours(1)`, "exit.since", idScope, false},
		{"since with an age", func(s string) WhoSpec { return WhoSpec{When: "true", ExitSince: s} }, `event("Product Added").last.«ago»`, "exit.since", idScope, false},
		{"since a number", func(s string) WhoSpec { return WhoSpec{When: "true", ExitSince: s} }, `«event("Product Added").count»`, "exit.since", idType, false},
		{"it in a segment", func(s string) WhoSpec { return WhoSpec{When: s} }, `segment(«"broken"»)`, "when", idBroken, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			src, spans := marked(c.src)
			_, problems := Compile(c.spec(src), testSchema())
			require.Len(t, problems, 1, "%v", problems)
			p := problems[0]
			require.Equal(t, c.part, p.Part)
			require.Equal(t, c.id, p.ID, "%v", p)
			if !c.ignore {
				got := [2]int{p.From, p.To}
				require.Equal(t, spans[0], got, "%v: points at %q", p, src[p.From:p.To])
			}
		})
	}
}

// A filter says of an occurrence what the VM says of the same condition.
func TestFiltersAgreeWithTheVM(t *testing.T) {
	plan := &events.Plan{Events: map[string]events.Declared{"E": {Properties: map[string]events.Property{"n": {Type: events.TypeNumber}, "s": {Type: events.TypeString}, "b": {Type: events.TypeBoolean}}}}}
	schema := NewSchema(SchemaOptions{Plan: plan})
	var filter func(depth int) *rapid.Generator[string]
	filter = func(depth int) *rapid.Generator[string] {
		leaf := rapid.Custom(func(t *rapid.T) string {
			u := rapid.SampledFrom([]string{"properties.u", "properties.v", "(properties.u ?? 1)", `(properties.v ?? "a")`}).Draw(t, "u")
			n := rapid.SampledFrom([]string{"properties.n", "properties.n * 3", "properties.n - 0.1", "(properties.n ?? 2)", "2 - properties.n", "properties.n * 2 + 0.3"}).Draw(t, "n")
			o := rapid.SampledFrom([]string{"==", "!=", "<", "<=", ">", ">="}).Draw(t, "o")
			l := rapid.SampledFrom([]string{"1", "2.9", `"a"`, `"1"`}).Draw(t, "l")
			return rapid.SampledFrom([]string{
				fmt.Sprintf("%s %s %s", u, o, l), fmt.Sprintf("%s %s %s", n, o, rapid.SampledFrom([]string{"1", "2.9", "-0.1", "properties.n"}).Draw(t, "m")),
				fmt.Sprintf("properties.s %s \"a\"", o), fmt.Sprintf("properties.u %s properties.v", o), "properties.b", "properties.u",
				fmt.Sprintf("has(%s)", rapid.SampledFrom([]string{"properties.u", "properties.n"}).Draw(t, "h")), `properties.v in ["a", "b"]`, `properties.v in [1, 2]`,
				`properties.s contains "a"`, `properties.v startsWith "a"`, `properties.u matches "^[a1]"`, `(properties.s ?? "a") endsWith "a"`, `(properties.b ?? true)`,
			}).Draw(t, "leaf")
		})
		if depth == 0 {
			return leaf
		}
		return rapid.OneOf(leaf, rapid.Custom(func(t *rapid.T) string {
			a, b := filter(depth-1).Draw(t, "a"), filter(depth-1).Draw(t, "b")
			return fmt.Sprintf(rapid.SampledFrom([]string{"(%s and %s)", "(%s or %s)", "(not (%s) and %s)", "(%s ? false : %s)"}).Draw(t, "join"), a, b)
		}))
	}
	values := rapid.SampledFrom([]any{nil, 1.0, 2.0, 2.9, 3.0, -0.1, "a", "b", "1", "ab", true, false, []any{1.0}})
	held := map[bool]int{}
	rapid.Check(t, func(t *rapid.T) {
		src := filter(3).Draw(t, "filter")
		p, problems := CompileFilter(src, schema, "E", FilterPlain)
		if HasErrors(problems) {
			t.Fatalf("%s: %v", src, problems)
		}
		w, problems := Compile(WhoSpec{When: strings.ReplaceAll(src, "properties.", `event("E").last.properties.`)}, schema)
		if HasErrors(problems) {
			t.Fatalf("%s: %v", src, problems)
		}
		for range 5 {
			fields := map[string]any{}
			for _, f := range []string{"u", "v", "n", "s", "b"} {
				fields[f] = values.Draw(t, f)
			}
			props, _ := json.Marshal(fields)
			o := occ(msHour, string(props))
			c := &Candidate{}
			for range w.Features() {
				c.Values = append(c.Values, o)
			}
			truth, err := w.Judge(now, c)
			if err != nil || p.Eval(o, nil) != (truth == True) {
				t.Fatalf("%s\nof %s: VM %v %v, filter %s", src, props, truth, err, p)
			}
			if truth == True && !w.Passes(now, c) {
				t.Fatalf("%s\nof %s: true and not passed by %s", src, props, w.Prefilter())
			}
			held[truth == True]++
		}
	})
	require.Greater(t, held[true], 20)
	require.Greater(t, held[false], 20)
}

func TestBindAgreesWithEval(t *testing.T) {
	schema := NewSchema(SchemaOptions{})
	rapid.Check(t, func(t *rapid.T) {
		o := rapid.SampledFrom([]string{"==", "!=", "<", "<=", ">", ">="}).Draw(t, "o")
		src := rapid.SampledFrom([]string{
			"properties.x " + o + " entry.value", "entry.value " + o + " properties.x", "has(entry.value) and properties.x > 1", "entry.value " + o + " 3",
			"(entry.value ?? \"b\") " + o + " properties.x", "not (properties.x == entry.value) or entry.value == nil", "at " + o + " entry.since", "properties.x contains entry.value",
			"entry.value startsWith \"a\"", "entry.value in [\"a\", \"5\"]",
		}).Draw(t, "filter")
		p, problems := CompileFilter(src, schema, "E", FilterEntry)
		if HasErrors(problems) {
			t.Fatalf("%s: %v", src, problems)
		}
		outside := map[string]any{}
		if rapid.Bool().Draw(t, "has value") {
			outside["entry.value"] = rapid.SampledFrom([]any{"a", "5", "5.0", "true", "NaN", ""}).Draw(t, "value")
		}
		if rapid.Bool().Draw(t, "has since") {
			outside["entry.since"] = now - rapid.Int64Range(0, 3).Draw(t, "since")*msHour
		}
		props, _ := json.Marshal(map[string]any{"x": rapid.SampledFrom([]any{nil, "a", "5", 5.0, true, "ab"}).Draw(t, "x")})
		occurrence := occ(msHour, string(props))
		bound := p.Bind(outside)
		collectOutside(bound, func(path string) { t.Fatalf("%s is still outside of %s", path, bound) })
		if p.Eval(occurrence, outside) != bound.Eval(occurrence, nil) {
			t.Fatalf("%s with %v of %s: %v, bound to %s: %v", p, outside, props, p.Eval(occurrence, outside), bound, bound.Eval(occurrence, nil))
		}
	})
}

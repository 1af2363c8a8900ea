package events

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func declared(name string, on OnViolation, properties ...Property) *Plan {
	d := Declared{Name: name, OnViolation: on, Properties: map[string]Property{}}
	for _, p := range properties {
		d.Properties[p.Path] = p
	}
	return &Plan{Events: map[string]Declared{name: d}}
}

func TestConvert(t *testing.T) {
	const gone = "" // removed
	for _, c := range []struct {
		name     string
		t, items Type
		in, want string
		objects  string // the violation, if any
	}{
		{"string", TypeString, 0, `"x"`, `"x"`, ""},
		{"string from an integer", TypeString, 0, `1234`, `"1234"`, ""},
		{"string from a decimal keeps its digits", TypeString, 0, `1.50`, `"1.50"`, ""},
		{"string from a boolean", TypeString, 0, `true`, `"true"`, ""},
		{"string from an object", TypeString, 0, `{"a":1}`, gone, `properties.p is {"a":1}, not a string`},
		{"string from an array", TypeString, 0, `["a"]`, gone, `properties.p is ["a"], not a string`},
		{"number", TypeNumber, 0, `1.5`, `1.5`, ""},
		{"number from a string", TypeNumber, 0, `" 12.50 "`, `12.50`, ""},
		{"number from words", TypeNumber, 0, `"twelve"`, gone, `properties.p is "twelve", not a number`},
		{"number from a currency", TypeNumber, 0, `"$19.99"`, gone, `properties.p is "$19.99", not a number`},
		{"number from a decimal comma", TypeNumber, 0, `"19,99"`, gone, `properties.p is "19,99", not a number`},
		{"number from NaN", TypeNumber, 0, `"NaN"`, gone, `properties.p is "NaN", not a number`},
		{"number from hexadecimal", TypeNumber, 0, `"0x10"`, gone, `properties.p is "0x10", not a number`},
		{"number from an endless one", TypeNumber, 0, `"1e999"`, gone, `properties.p is "1e999", not a number`},
		{"number from a boolean", TypeNumber, 0, `true`, gone, `properties.p is true, not a number`},
		{"number from an empty string", TypeNumber, 0, `""`, gone, `properties.p is "", not a number`},
		{"integer", TypeInteger, 0, `12`, `12`, ""},
		{"integer from a string", TypeInteger, 0, `"12"`, `12`, ""},
		{"integer from a long string", TypeInteger, 0, `"9223372036854775807"`, `9223372036854775807`, ""},
		{"integer from one too long", TypeInteger, 0, `"9223372036854775808"`, gone, `properties.p is "9223372036854775808", not an integer`},
		{"integer from a whole float", TypeInteger, 0, `12.0`, `12`, ""},
		{"integer from an exponent", TypeInteger, 0, `1.2e1`, `12`, ""},
		{"integer from a huge exponent", TypeInteger, 0, `1e300`, gone, `properties.p is 1e300, not an integer`},
		{"integer from a tiny exponent", TypeInteger, 0, `1e-300`, gone, `properties.p is 1e-300, not an integer`},
		{"integer from zero with a huge exponent", TypeInteger, 0, `0e-300`, `0`, ""},
		{"integer from a fraction", TypeInteger, 0, `12.5`, gone, `properties.p is 12.5, not an integer`},
		{"integer from a signed string", TypeInteger, 0, `"+12"`, gone, `properties.p is "+12", not an integer`},
		{"decimal", TypeDecimal, 0, `19.99`, `19.99`, ""},
		{"decimal from a string", TypeDecimal, 0, `"19.99"`, `19.99`, ""},
		{"decimal from an integer", TypeDecimal, 0, `-20`, `-20`, ""},
		{"decimal from what floats do", TypeDecimal, 0, `59.97000000000001`, `59.97`, ""},
		{"decimal is rounded half away from zero", TypeDecimal, 0, `-0.0000000005`, `-0.000000001`, ""},
		{"decimal from an exponent", TypeDecimal, 0, `1.5e3`, `1500`, ""},
		{"decimal too large", TypeDecimal, 0, `1e18`, gone, `properties.p is 1e18, not a decimal`},
		{"decimal tiny", TypeDecimal, 0, `1e-300`, `0`, ""},
		{"boolean", TypeBoolean, 0, `false`, `false`, ""},
		{"boolean from a word", TypeBoolean, 0, `"True"`, `true`, ""},
		{"boolean from a number", TypeBoolean, 0, `1`, gone, `properties.p is 1, not a boolean`},
		{"boolean from yes", TypeBoolean, 0, `"yes"`, gone, `properties.p is "yes", not a boolean`},
		{"time", TypeTime, 0, `"2026-01-01T00:00:00Z"`, `1767225600000`, ""},
		{"time from seconds", TypeTime, 0, `1767225600`, `1767225600000`, ""},
		{"time from milliseconds stays", TypeTime, 0, `1767225600000`, `1767225600000`, ""},
		{"time from words", TypeTime, 0, `"tomorrow"`, gone, `properties.p is "tomorrow", not a time`},
		{"array", TypeArray, 0, `[1,"a",{"x":[]}]`, `[1,"a",{"x":[]}]`, ""},
		{"array of strings", TypeArray, TypeString, `["a",1]`, `["a","1"]`, ""},
		{"array of integers with one that is none", TypeArray, TypeInteger, `["1","x",3]`, `[1,3]`, `properties.p is ["1","x",3], not an array of integers`},
		{"array of objects", TypeArray, TypeObject, `[{"a":1}]`, `[{"a":1}]`, ""},
		{"array from a string", TypeArray, 0, `"a"`, gone, `properties.p is "a", not an array`},
		{"empty array", TypeArray, TypeString, `[]`, `[]`, ""},
		{"object", TypeObject, 0, `{"a":1}`, `{"a":1}`, ""},
		{"object from a string", TypeObject, 0, `"a"`, gone, `properties.p is "a", not an object`},
		{"untyped", Untyped, 0, `"a"`, `"a"`, ""},
		{"null is missing and no fault", TypeInteger, 0, `null`, `null`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan := declared("E", Flag, Property{Path: "p", Type: c.t, Items: c.items}, Property{Path: "q", Type: TypeNumber})
			ev := Event{Kind: KindTrack, Name: "E", Properties: json.RawMessage(`{"p":` + c.in + `,"q":1}`)}
			require.Empty(t, plan.Apply(&ev))
			want := `{"p":` + c.want + `,"q":1}`
			if c.want == gone {
				want = `{"q":1}`
			}
			require.Equal(t, want, string(ev.Properties))
			if c.objects == "" {
				require.Empty(t, ev.Violations)
				require.Zero(t, ev.Flags)
			} else {
				require.Equal(t, []string{c.objects}, ev.Violations)
				require.Equal(t, Violation, ev.Flags)
			}
			// Applying again changes nothing: what was written is of its type.
			before := string(ev.Properties)
			require.Empty(t, plan.Apply(&ev))
			require.Equal(t, before, string(ev.Properties))

			refusing := declared("E", Refuse, Property{Path: "p", Type: c.t, Items: c.items}, Property{Path: "q", Type: TypeNumber})
			ev = Event{Kind: KindTrack, Name: "E", Properties: json.RawMessage(`{"p":` + c.in + `,"q":1}`)}
			require.Equal(t, c.objects, refusing.Apply(&ev))
		})
	}
}

func TestApply(t *testing.T) {
	order := declared("Order Completed", Flag,
		Property{Path: "revenue", Type: TypeDecimal, Required: true},
		Property{Path: "address.city", Type: TypeString, Required: true},
		Property{Path: "state", Type: TypeString, Enum: []string{"new", "paid"}},
		Property{Path: "extra", Type: TypeObject},
		Property{Path: "any"},
	)
	strict := *order
	strict.UndeclaredProperties = Refuse
	strict.UndeclaredEvents = Refuse
	traits := &Plan{Traits: map[string]Property{"age": {Path: "age", Type: TypeInteger}}}
	track := func(properties string) Event {
		return Event{Kind: KindTrack, Name: "Order Completed", Properties: json.RawMessage(properties)}
	}
	for _, c := range []struct {
		name   string
		plan   *Plan
		ev     Event
		refuse string
		want   string // properties or traits
		found  []string
	}{
		{"nothing wrong", order, track(`{"revenue":1,"address":{"city":"Ulm"}}`), "", `{"revenue":1,"address":{"city":"Ulm"}}`, nil},
		{"a dotted key is the path", order, track(`{"revenue":1,"address.city":7}`), "", `{"revenue":1,"address.city":"7"}`, nil},
		{"nested conversion", order, track(`{"address":{"zip":1,"city":7},"revenue":"1"}`), "", `{"address":{"zip":1,"city":"7"},"revenue":1}`, []string{"properties.address.zip is not declared"}},
		{"required and missing", order, track(`{"address":{}}`), "", `{"address":{}}`, []string{"properties.address.city is required and missing", "properties.revenue is required and missing"}},
		{"required and null", order, track(`{"revenue":null,"address":{"city":"Ulm"}}`), "", `{"revenue":null,"address":{"city":"Ulm"}}`, []string{"properties.revenue is required and missing"}},
		{"required and not convertible", order, track(`{"revenue":"x","address":{"city":"Ulm"}}`), "", `{"address":{"city":"Ulm"}}`, []string{`properties.revenue is "x", not a decimal`, "properties.revenue is required and missing"}},
		{"no properties at all", order, track(``), "", ``, []string{"properties.address.city is required and missing", "properties.revenue is required and missing"}},
		{"enum", order, track(`{"revenue":1,"address":{"city":"Ulm"},"state":"lost"}`), "", `{"revenue":1,"address":{"city":"Ulm"},"state":"lost"}`, []string{`properties.state is "lost", not one of new, paid`}},
		{"within a declared object all is allowed", &strict, track(`{"revenue":1,"address":{"city":"Ulm"},"extra":{"a":{"b":1}},"any":{"x":1}}`), "", `{"revenue":1,"address":{"city":"Ulm"},"extra":{"a":{"b":1}},"any":{"x":1}}`, nil},
		{"undeclared property, flagged", order, track(`{"revenue":1,"address":{"city":"Ulm"},"x":1}`), "", `{"revenue":1,"address":{"city":"Ulm"},"x":1}`, []string{"properties.x is not declared"}},
		{"undeclared property, refused", &strict, track(`{"revenue":1,"address":{"city":"Ulm"},"x":1}`), "properties.x is not declared", "", nil},
		{"undeclared event, flagged", order, Event{Kind: KindTrack, Name: "Ordr"}, "", "", []string{`the event "Ordr" is not declared`}},
		{"undeclared event, refused", &strict, Event{Kind: KindTrack, Name: "Ordr"}, `the event "Ordr" is not declared`, "", nil},
		{"location updates need no declaration", &strict, Event{Kind: KindTrack, Name: LocationUpdated}, "", "", nil},
		{"pages need no declaration", &strict, Event{Kind: KindPage, Name: "Start"}, "", "", nil},
		{"declared pages are checked", declared(PageViewed, Flag, Property{Path: "url", Type: TypeString, Required: true}), Event{Kind: KindPage}, "", "", []string{"properties.url is required and missing"}},
		{"traits", traits, Event{Kind: KindIdentify, Traits: json.RawMessage(`{"age":"41"}`)}, "", `{"age":41}`, nil},
		{"traits wrong", traits, Event{Kind: KindIdentify, Traits: json.RawMessage(`{"age":"old","x":1}`)}, "", `{"x":1}`, []string{`traits.age is "old", not an integer`, `traits.x is not declared`}},
		{"a plan of traits alone does not judge events", traits, track(`{"x":1}`), "", `{"x":1}`, nil},
		{"no plan", nil, track(`{"x":1}`), "", `{"x":1}`, nil},
		{"our own records", &strict, Event{Kind: KindMessage, Name: MessageSent, Properties: json.RawMessage(`{"x":1}`)}, "", `{"x":1}`, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			ev := c.ev
			require.Equal(t, c.refuse, c.plan.Apply(&ev))
			if c.refuse != "" {
				return
			}
			got := ev.Properties
			if ev.Kind == KindIdentify {
				got = ev.Traits
			}
			require.Equal(t, c.want, string(got))
			require.Equal(t, c.found, ev.Violations)
			require.Equal(t, len(c.found) > 0, ev.Flags&Violation != 0)
		})
	}
}

// TestApplyAlways draws objects and plans: what Apply leaves is in normal form and of the declared
// types, a second time changes nothing, and where the short way sees nothing to do the long one does
// nothing.
func TestApplyAlways(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body, err := json.Marshal(anyObject(3).Draw(t, "object"))
		if err != nil {
			t.Fatal(err)
		}
		ev, err := Normalise([]byte(`{"event":"E","userId":"u","properties":`+string(body)+`}`), KindTrack, call())
		if err != nil {
			t.Skip("beyond a limit")
		}
		properties := map[string]Property{}
		Flatten(ev.Properties, func(path string, _ any) {
			if rapid.IntRange(0, 3).Draw(t, "declared") > 0 {
				properties[path] = Property{
					Path: path, Type: Type(rapid.IntRange(0, int(TypeObject)).Draw(t, "type")), Required: rapid.Bool().Draw(t, "required"),
				}
			}
		})
		plan := &Plan{Events: map[string]Declared{"E": {Name: "E", Properties: properties}}}
		a := applier{plan: plan, ev: &ev, declared: properties}
		if a.clean(ev.Properties, false) {
			a.met = 0
			a.members("properties", ev.Properties, false)
			if a.changed || len(a.found) > 0 || string(a.out) != string(ev.Properties) {
				t.Fatalf("%s is clean, yet becomes %s with %q", ev.Properties, a.out, a.found)
			}
		}
		if reason := plan.Apply(&ev); reason != "" {
			t.Fatal(reason)
		}
		Flatten(ev.Properties, func(path string, value any) {
			want, ok := properties[path]
			if !ok {
				return
			}
			fits := false
			switch value.(type) {
			case string:
				fits = want.Type == TypeString || want.Type == Untyped
			case bool:
				fits = want.Type == TypeBoolean || want.Type == Untyped
			case int64:
				fits = want.Type != TypeString && want.Type != TypeBoolean
			case float64:
				fits = want.Type == TypeNumber || want.Type == TypeDecimal || want.Type == Untyped
			}
			if !fits {
				t.Fatalf("%s: %T is no %s", path, value, want.Type)
			}
		})
		again, err := Normalise([]byte(`{"event":"E","userId":"u","properties":`+string(ev.Properties)+`}`), KindTrack, call())
		if err != nil {
			t.Fatalf("%s: %v", ev.Properties, err)
		}
		if string(again.Properties) != string(ev.Properties) {
			t.Fatalf("%s is not in normal form: %s", ev.Properties, again.Properties)
		}
		for _, p := range properties {
			if p.Type == TypeTime {
				return // milliseconds of the years around 1970 read as seconds
			}
		}
		if reason := plan.Apply(&again); reason != "" || string(again.Properties) != string(ev.Properties) {
			t.Fatalf("applied again, %s becomes %s", ev.Properties, again.Properties)
		}
	})
}

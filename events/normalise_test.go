package events

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const received = int64(1_767_225_600_000) // 2026-01-01T00:00:00Z

func call() Call { return Call{Source: "web", ReceivedAt: received} }

func TestNormaliseRefuses(t *testing.T) {
	track := func(properties string) string {
		return `{"type":"track","event":"E","userId":"u","properties":` + properties + `}`
	}
	for _, c := range []struct {
		name, body, want string
	}{
		{"duplicate key", track(`{"a":1,"a":2}`), `properties: the key "a" stands twice in one object`},
		{"duplicate key, one escaped", track(`{"a":1,"\u0061":2}`), `properties: the key "a" stands twice in one object`},
		{"duplicate key, deep", track(`{"x":[{"y":{"b":1,"c":2,"b":3}}]}`), `properties.x[0].y: the key "b" stands twice in one object`},
		{"duplicate key among many", track(manyKeys(100, `"k7":1`)), `properties: the key "k7" stands twice in one object`},
		{"colliding paths", track(`{"a":{"b":1},"a.b":2}`), `properties.a.b: stands twice (a key with a dot collides with a nested one)`},
		{"colliding paths, dot first", track(`{"a.b.c":1,"a":{"b":{"c":2}}}`), `properties.a.b.c: stands twice (a key with a dot collides with a nested one)`},
		{"colliding paths, value and object", track(`{"a":1,"a.b":2}`), `properties.a: is a value and also holds other values (a key with a dot collides with a nested one)`},
		{"colliding paths, empty keys", track(`{"":{"z":1},".z":2}`), `properties..z: stands twice (a key with a dot collides with a nested one)`},
		{"integer of 65 bits", track(`{"n":9223372036854775808}`), `properties.n: the integer 9223372036854775808 does not fit into 64 bits; send it as a string`},
		{"negative integer of 65 bits", track(`{"n":-9223372036854775809}`), `properties.n: the integer -9223372036854775809 does not fit into 64 bits; send it as a string`},
		{"23-digit integer in an array", track(`{"n":[1,12345678901234567890123]}`), `properties.n[1]: the integer 12345678901234567890123 does not fit into 64 bits; send it as a string`},
		{"infinite", track(`{"n":1e309}`), `properties.n: the number 1e309 is too large for a 64-bit float`},
		{"huge exponent", track(`{"n":1e999999999999}`), `properties.n: the number 1e999999999999 has an exponent beyond ±400`},
		{"tiny exponent", track(`{"n":1e-999}`), `properties.n: the number 1e-999 has an exponent beyond ±400`},
		{"endless fraction", track(`{"n":0.` + strings.Repeat("3", 300) + `}`), `properties.n: the number 0.33333333333333333333333333333333333333… has 302 characters; at most 300 are allowed`},
		{"deep objects", track(strings.Repeat(`{"a":`, 17) + `1` + strings.Repeat(`}`, 17)), `properties` + strings.Repeat(".a", 16) + `: is nested deeper than 16 levels`},
		{"deep arrays", track(`{"a":` + strings.Repeat(`[`, 16) + strings.Repeat(`]`, 16) + `}`), `properties.a` + strings.Repeat("[0]", 15) + `: is nested deeper than 16 levels`},
		{"invalid UTF-8", track("{\"a\":\"\xff\"}"), `properties.a: is not valid UTF-8 at byte 60 of the body`},
		{"invalid UTF-8 in a key", track("{\"\xc3\x28\":1}"), `properties: is not valid UTF-8 at byte 56 of the body`},
		{"lone high surrogate", track(`{"a":"\ud800x"}`), `properties.a: has half of a surrogate pair (\ud800) at byte 60 of the body`},
		{"lone low surrogate", track(`{"a":"\udc00"}`), `properties.a: has half of a surrogate pair (\udc00) at byte 60 of the body`},
		{"two high surrogates", track(`{"a":"\ud800\ud800"}`), `properties.a: has half of a surrogate pair (\ud800) at byte 60 of the body`},
		{"long key", track(`{"` + strings.Repeat("k", 256) + `":1}`), `properties: the key "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"… has 256 bytes; at most 255 are allowed`},
		{"properties an array", track(`[]`), `properties: must be an object, not an array`},
		{"properties a string", track(`"x"`), `properties: must be an object, not a string`},
		{"context a number", `{"type":"track","event":"E","userId":"u","context":1}`, `context: must be an object, not a number`},
		{"traits a boolean", `{"type":"identify","userId":"u","traits":true}`, `traits: must be an object, not a boolean`},
		{"event a number", `{"type":"track","event":7,"userId":"u"}`, `event: must be a string, not a number`},
		{"event missing", `{"type":"track","userId":"u"}`, `event: is missing: a track call names what happened`},
		{"event blank", `{"type":"track","event":" ","userId":"u"}`, `event: is missing: a track call names what happened`},
		{"event long", `{"type":"track","event":"` + strings.Repeat("e", 256) + `","userId":"u"}`, `event: has 256 bytes; at most 255 are allowed`},
		{"event twice", `{"type":"track","event":"E","event":"F","userId":"u"}`, `event: stands twice`},
		{"reserved event", `{"type":"track","event":"Message Opened","userId":"u"}`, `event: names that begin with "Message " are written by nudge alone; report an open or a click by POST /v1/messages/{id}/opened or /clicked`},
		{"no ids", `{"type":"track","event":"E"}`, `userId or anonymousId is required`},
		{"empty ids", `{"type":"track","event":"E","userId":"","anonymousId":null}`, `userId or anonymousId is required`},
		{"id an object", `{"type":"track","event":"E","userId":{}}`, `userId: must be a string, not an object`},
		{"id a fraction", `{"type":"track","event":"E","userId":1.5}`, `userId: must be a string, not the number 1.5`},
		{"id long", `{"type":"track","event":"E","userId":"` + strings.Repeat("u", 513) + `"}`, `userId: has 513 bytes; at most 512 are allowed`},
		{"messageId an array", `{"type":"track","event":"E","userId":"u","messageId":[]}`, `messageId: must be a string, not an array`},
		{"no type", `{"event":"E","userId":"u"}`, `has no type; send one of track, identify, page, screen, group, alias`},
		{"unknown type", `{"type":"trak","event":"E","userId":"u"}`, `type: "trak" is not a call; send one of track, identify, page, screen, group, alias`},
		{"type a number", `{"type":1}`, `type: must be a string, not a number`},
		{"group without groupId", `{"type":"group","userId":"u"}`, `groupId: is missing`},
		{"alias without previousId", `{"type":"alias","userId":"u"}`, `previousId: is missing`},
		{"alias without userId", `{"type":"alias","previousId":"a","anonymousId":"b"}`, `userId: is missing: an alias says whose the previous id is`},
		{"timestamp no time", `{"type":"track","event":"E","userId":"u","timestamp":"yesterday"}`, `timestamp: "yesterday" is not a time; send RFC 3339, such as 2026-01-31T08:30:00.000Z`},
		{"timestamp a boolean", `{"type":"track","event":"E","userId":"u","timestamp":true}`, `timestamp: must be a time as a string (RFC 3339) or a number (Unix milliseconds), not a boolean`},
		{"timestamp of 1970", `{"type":"track","event":"E","userId":"u","timestamp":1700000}`, `timestamp: is before the year 2000; check the sender's clock, and that the number is in seconds or milliseconds`},
		{"timestamp far ahead", `{"type":"track","event":"E","userId":"u","timestamp":"2027-01-03T00:00:00Z"}`, `timestamp: is too far in the future; check the sender's clock, or raise the tracking plan's limit`},
		{"timestamp far ahead, numeric", `{"type":"track","event":"E","userId":"u","originalTimestamp":99999999999}`, `originalTimestamp: is too far in the future; check the sender's clock, or raise the tracking plan's limit`},
		{"sentAt no time", `{"type":"track","event":"E","userId":"u","sentAt":"x"}`, `sentAt: "x" is not a time; send RFC 3339, such as 2026-01-31T08:30:00.000Z`},
		{"too large", track(`{"a":"` + strings.Repeat("x", MaxEventBytes) + `"}`), `the event has 32831 bytes; at most 32768 (32 KB) are allowed`},
		{"deep in what is not kept", `{"type":"track","event":"E","userId":"u","integrations":` + strings.Repeat(`[`, 17) + strings.Repeat(`]`, 17) + `}`, `integrations` + strings.Repeat("[0]", 16) + `: is nested deeper than 16 levels`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Normalise([]byte(c.body), 0, call())
			var refused *RefusedError
			require.ErrorAs(t, err, &refused)
			require.Equal(t, c.want, err.Error())

			// In a batch it is refused alone, with its index, and its neighbours stay.
			good := `{"type":"track","event":"Good","userId":"u"}`
			var n Normaliser
			require.NoError(t, n.Read([]byte(`{"batch":[`+good+`, `+c.body+` ,`+good+`]}`), 0))
			evs, bad := n.Finish(call())
			require.Len(t, evs, 2)
			require.Len(t, bad, 1)
			require.Equal(t, 1, bad[0].Index)
			require.Equal(t, c.body, string(bad[0].Raw))
		})
	}
}

func manyKeys(n int, more string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := range n {
		fmt.Fprintf(&b, `"k%d":%d,`, i, i)
	}
	return b.String() + more + "}"
}

func TestNotJSON(t *testing.T) {
	for _, c := range []struct{ name, body, want string }{
		{"empty", ``, `invalid JSON at byte 0: a JSON object was expected`},
		{"an array", `[]`, `invalid JSON at byte 0: a JSON object was expected`},
		{"cut", `{"type":"track"`, `invalid JSON at byte 15: it ends too early`},
		{"cut in a string", `{"type":"tra`, `invalid JSON at byte 8: this string has no end`},
		{"cut in an escape", `{"type":"tra\`, `invalid JSON at byte 12: it ends too early`},
		{"no colon", `{"type" "track"}`, `invalid JSON at byte 8: a colon was expected after the key`},
		{"no comma", `{"type":"track" "a":1}`, `invalid JSON at byte 16: a comma or a closing brace was expected`},
		{"comma at the end", `{"type":"track",}`, `invalid JSON at byte 16: a key in double quotes was expected`},
		{"single quotes", `{'type':'track'}`, `invalid JSON at byte 1: a key in double quotes was expected`},
		{"NaN", `{"n":NaN}`, `invalid JSON at byte 5: a value was expected`},
		{"leading zero", `{"n":01}`, `invalid JSON at byte 5: this number is not written as JSON writes numbers`},
		{"leading plus", `{"n":+1}`, `invalid JSON at byte 5: a value was expected`},
		{"point without digits", `{"n":1.}`, `invalid JSON at byte 5: this number is not written as JSON writes numbers`},
		{"minus alone", `{"n":-}`, `invalid JSON at byte 5: this number is not written as JSON writes numbers`},
		{"half a word", `{"n":tru}`, `invalid JSON at byte 5: a value was expected`},
		{"bare control character", "{\"n\":\"a\nb\"}", `invalid JSON at byte 7: a control character must be escaped in a string`},
		{"unknown escape", `{"n":"\x"}`, `invalid JSON at byte 6: unknown escape`},
		{"short \\u", `{"n":"\u12"}`, `invalid JSON at byte 6: \u needs four hexadecimal digits`},
		{"more after it", `{"type":"track","event":"E","userId":"u"} x`, `invalid JSON at byte 42: nothing was expected after the object`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Normalise([]byte(c.body), 0, call())
			var bad *SyntaxError
			require.ErrorAs(t, err, &bad)
			require.Equal(t, c.want, err.Error())
		})
	}
}

func TestNormaliseAccepts(t *testing.T) {
	for _, c := range []struct {
		name, body string
		want       Event
	}{
		{
			"a track call",
			`{"type":"track","event":"Order Completed","userId":"u1","anonymousId":"a1","messageId":"m1","properties":{"revenue":19.90,"items":[{"id":1}]},"context":{"ip":"::1"},"integrations":{"All":true}}`,
			Event{
				Kind: KindTrack, Name: "Order Completed", UserID: "u1", AnonymousID: "a1", MessageID: "m1", Time: received,
				Properties: json.RawMessage(`{"revenue":19.90,"items":[{"id":1}]}`), Context: json.RawMessage(`{"ip":"::1"}`),
			},
		},
		{
			"white space and needless escapes go, digits and order stay",
			"{ \"type\" : \"track\" , \"event\":\"E\\u00e9\\/\", \"userId\":\"u\",\"messageId\":\"m\", \"properties\" : { \"b\" : [ 1 , -0 , 1.50 , 1E+2 ] ,\n \"a\\u0062\" : \"\\u0041\\n\\u000a\\/\\ud83d\\ude00\\u0001\\\"\" , \"e\":{ } } }",
			Event{
				Kind: KindTrack, Name: "Eé/", UserID: "u", MessageID: "m", Time: received,
				Properties: json.RawMessage("{\"b\":[1,0,1.50,1E+2],\"ab\":\"A\\n\\n/😀\\u0001\\\"\",\"e\":{}}"),
			},
		},
		{
			"numbers as ids",
			`{"type":"identify","userId":4711,"anonymousId":-1,"messageId":"m","traits":{"plan":"pro"}}`,
			Event{Kind: KindIdentify, UserID: "4711", AnonymousID: "-1", MessageID: "m", Time: received, Traits: json.RawMessage(`{"plan":"pro"}`)},
		},
		{
			"identify with traits in the context",
			`{"type":"identify","userId":"u","messageId":"m","context":{"traits":{"plan":"pro"}}}`,
			Event{Kind: KindIdentify, UserID: "u", MessageID: "m", Time: received, Traits: json.RawMessage(`{"plan":"pro"}`), Context: json.RawMessage(`{"traits":{"plan":"pro"}}`)},
		},
		{
			"a page's name and category join its properties",
			`{"type":"page","userId":"u","messageId":"m","name":"Home \"x\"","category":"Docs","properties":{"category":"own"}}`,
			Event{Kind: KindPage, Name: `Home "x"`, UserID: "u", MessageID: "m", Time: received, Properties: json.RawMessage(`{"category":"own","name":"Home \"x\""}`)},
		},
		{
			"a screen without properties",
			`{"type":"screen","userId":"u","messageId":"m","name":"Cart"}`,
			Event{Kind: KindScreen, Name: "Cart", UserID: "u", MessageID: "m", Time: received, Properties: json.RawMessage(`{"name":"Cart"}`)},
		},
		{
			"group",
			`{"type":"group","userId":"u","groupId":"g","messageId":"m","traits":{"n":1}}`,
			Event{Kind: KindGroup, UserID: "u", GroupID: "g", MessageID: "m", Time: received, Traits: json.RawMessage(`{"n":1}`)},
		},
		{
			"alias",
			`{"type":"alias","userId":"u","previousId":"a","messageId":"m"}`,
			Event{Kind: KindAlias, UserID: "u", PreviousID: "a", MessageID: "m", Time: received},
		},
		{
			"the largest integers",
			`{"type":"track","event":"E","userId":"u","messageId":"m","properties":{"a":9223372036854775807,"b":-9223372036854775808}}`,
			Event{Kind: KindTrack, Name: "E", UserID: "u", MessageID: "m", Time: received, Properties: json.RawMessage(`{"a":9223372036854775807,"b":-9223372036854775808}`)},
		},
		{
			"dotted keys that collide with nothing",
			`{"type":"track","event":"E","userId":"u","messageId":"m","properties":{"a.b":1,"a":{"c":2}}}`,
			Event{Kind: KindTrack, Name: "E", UserID: "u", MessageID: "m", Time: received, Properties: json.RawMessage(`{"a.b":1,"a":{"c":2}}`)},
		},
		{
			"sixteen levels",
			`{"type":"track","event":"E","userId":"u","messageId":"m","properties":` + strings.Repeat(`{"a":`, 16) + `1` + strings.Repeat(`}`, 16) + `}`,
			Event{Kind: KindTrack, Name: "E", UserID: "u", MessageID: "m", Time: received, Properties: json.RawMessage(strings.Repeat(`{"a":`, 16) + `1` + strings.Repeat(`}`, 16))},
		},
		{
			"nulls",
			`{"type":"track","event":"E","userId":"u","anonymousId":null,"messageId":"m","properties":null,"context":null,"timestamp":null}`,
			Event{Kind: KindTrack, Name: "E", UserID: "u", MessageID: "m", Time: received},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Normalise([]byte(c.body), 0, call())
			require.NoError(t, err)
			c.want.Source, c.want.ReceivedAt, c.want.Raw = "web", received, []byte(c.body)
			require.Equal(t, c.want, got)
		})
	}
}

func TestTimes(t *testing.T) {
	const second = int64(1000)
	for _, c := range []struct {
		name, fields string
		want         int64
	}{
		{"none", ``, received},
		{"sentAt alone", `,"sentAt":"2025-12-31T23:00:00Z"`, received},
		{"timestamp without sentAt is believed", `,"timestamp":"2025-12-31T23:00:00.250Z"`, received - 3600*second + 250},
		{"sender's clock is a day behind", `,"timestamp":"2025-12-30T23:59:00Z","sentAt":"2025-12-31T00:00:00Z"`, received - 60*second},
		{"sender's clock is in 1970", `,"timestamp":1,"sentAt":61`, received - 60*second},
		{"sender's clock is years ahead", `,"timestamp":"2031-01-01T00:00:00Z","sentAt":"2031-01-01T00:00:05+00:00"`, received - 5*second},
		{"originalTimestamp is corrected", `,"originalTimestamp":"2025-12-31T00:00:00Z","sentAt":"2025-12-31T00:00:10Z"`, received - 10*second},
		{"timestamp beside originalTimestamp is correct already", `,"timestamp":"2025-06-01T00:00:00Z","originalTimestamp":"2025-12-31T00:00:00Z","sentAt":"2025-12-31T00:00:10Z"`, 1_748_736_000_000},
		{"offset", `,"timestamp":"2026-01-01T01:00:00+01:00"`, received},
		{"offset without colon", `,"timestamp":"2026-01-01T01:00:00.5+0100"`, received + 500},
		{"no zone is UTC", `,"timestamp":"2026-01-01T00:00:00"`, received},
		{"a space", `,"timestamp":"2026-01-01 00:00:01"`, received + second},
		{"a day", `,"timestamp":"2026-01-01"`, received},
		{"seconds", `,"timestamp":1767225600`, received},
		{"seconds with a fraction", `,"timestamp":1767225600.125`, received + 125},
		{"milliseconds", `,"timestamp":1767225600007`, received + 7},
		{"milliseconds in a string", `,"timestamp":"1767225600007"`, received + 7},
		{"a year ahead", `,"timestamp":"2027-01-01T00:00:00Z"`, received + 365*86400*second},
	} {
		t.Run(c.name, func(t *testing.T) {
			ev, err := Normalise([]byte(`{"event":"E","userId":"u"`+c.fields+`}`), KindTrack, call())
			require.NoError(t, err)
			require.Equal(t, c.want, ev.Time)
		})
	}
	t.Run("the limit ahead can be set", func(t *testing.T) {
		c := call()
		c.MaxAhead = 1000
		_, err := Normalise([]byte(`{"event":"E","userId":"u","timestamp":1767225601001}`), KindTrack, c)
		require.ErrorContains(t, err, "too far in the future")
		_, err = Normalise([]byte(`{"event":"E","userId":"u","timestamp":1767225601000}`), KindTrack, c)
		require.NoError(t, err)
	})
	t.Run("no such day", func(t *testing.T) {
		_, ok := ParseTime("2026-02-30T00:00:00Z")
		require.False(t, ok)
	})
}

func TestBatch(t *testing.T) {
	var n Normaliser
	body := []byte(`{"sentAt":"2025-12-31T00:00:00Z","batch":[
		{"type":"track","event":"A","userId":"u","timestamp":"2025-12-30T23:59:59Z","writeKey":"inner"},
		{"type":"identify","anonymousId":"a","context":{"own":1}},
		{"type":"alias","userId":"u","previousId":"v"}
	],"context":{"library":{"name":"x"}},"writeKey":"k1"}`)
	require.NoError(t, n.Read(body, 0))
	require.Equal(t, "k1", n.WriteKey())
	evs, bad := n.Finish(Call{Source: "web", ReceivedAt: received, Imported: true, Secret: true})
	require.Empty(t, bad)
	require.Len(t, evs, 3)
	require.Equal(t, received-1000, evs[0].Time)
	require.JSONEq(t, `{"library":{"name":"x"}}`, string(evs[0].Context))
	require.JSONEq(t, `{"own":1}`, string(evs[1].Context))
	require.Equal(t, Imported, evs[0].Flags)
	require.Equal(t, Imported|KnownAlias, evs[2].Flags)
	require.NotEqual(t, evs[0].MessageID, evs[1].MessageID)
	require.Len(t, evs[0].MessageID, 30)

	for _, c := range []struct{ name, body, want string }{
		{"no batch", `{"event":"E"}`, `has no "batch"; send {"batch": [ … ]}`},
		{"batch an object", `{"batch":{}}`, `batch: must be an array of calls, not an object`},
		{"batch twice", `{"batch":[],"batch":[]}`, `batch: stands twice`},
		{"too many", `{"batch":[` + strings.Repeat(`{},`, MaxBatch) + `{}]}`, `batch: has more than 2500 events; send them in several batches`},
		{"sentAt", `{"batch":[],"sentAt":"now"}`, `sentAt: "now" is not a time; send RFC 3339, such as 2026-01-31T08:30:00.000Z`},
		{"large shared context", `{"batch":[],"context":{"a":"` + strings.Repeat("x", 5000) + `"}}`, `context: has 5008 bytes; what a batch shares may have 4096`},
		{"shared context broken", `{"batch":[],"context":{"a":1,"a":1}}`, `context: the key "a" stands twice in one object`},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.EqualError(t, n.Read([]byte(c.body), 0), c.want)
		})
	}
	t.Run("elements that are no objects", func(t *testing.T) {
		require.NoError(t, n.Read([]byte(`{"batch":[1,"x",null,[{"a":"]}"}]]}`), 0))
		evs, bad := n.Finish(call())
		require.Empty(t, evs)
		require.Len(t, bad, 4)
		require.Equal(t, "must be an object, not an array", bad[3].Reason)
		require.JSONEq(t, `[{"a":"]}"}]`, string(bad[3].Raw))
	})
}

// FuzzNormalise compares with encoding/json: whatever is accepted is valid JSON, its normal form
// means the same as the input and is its own normal form.
func FuzzNormalise(f *testing.F) {
	for _, s := range []string{
		`{"a":1,"b":[true,null,"x\u00e9\n"],"c":{"d":-1.5e3}}`, `{"a.b":1,"a":{"b":2}}`, ` { "\ud83d\ude00" : "\/" } `,
		`{"a":-0,"b":-0.0}`, `{"":""}`, `{"a":"\ud800"}`, `{"a":1e400}`, `{"a":12345678901234567890}`, "{\"a\":\"\xff\"}",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, properties string) {
		body := `{"event":"E","userId":"u","messageId":"m","properties":` + properties + `}`
		ev, err := Normalise([]byte(body), KindTrack, call())
		if err != nil {
			return
		}
		if !json.Valid([]byte(body)) {
			t.Fatalf("accepted what is not JSON: %s", body)
		}
		if ev.Properties == nil {
			return
		}
		var want, got any
		require.NoError(t, json.Unmarshal(ev.Properties, &got), "the normal form %s", ev.Properties)
		var whole struct{ Properties any }
		require.NoError(t, json.Unmarshal([]byte(body), &whole))
		want = whole.Properties
		if !reflect.DeepEqual(want, got) {
			t.Fatalf("%s became %s", body, ev.Properties)
		}
		again, err := Normalise([]byte(`{"event":"E","userId":"u","properties":`+string(ev.Properties)+`}`), KindTrack, call())
		require.NoError(t, err)
		require.Equal(t, string(ev.Properties), string(again.Properties))
		Flatten(ev.Properties, func(string, any) {})
		back := roundTrip(t, []Event{ev})
		require.Equal(t, ev, back[0])
	})
}

func roundTrip(t *testing.T, evs []Event) []Event {
	t.Helper()
	data := AppendBatch(nil, evs)
	size := 64
	for i := range evs {
		size += EncodedSize(&evs[i])
	}
	require.LessOrEqual(t, len(data), size)
	back, err := DecodeBatch(data)
	require.NoError(t, err)
	return back
}

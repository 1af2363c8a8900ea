package events

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestFlatten(t *testing.T) {
	type leaf struct {
		path  string
		value any
	}
	for _, c := range []struct {
		name, in string
		want     []leaf
	}{
		{"nothing", ``, nil},
		{"empty", `{}`, nil},
		{"all kinds", `{"s":"x","i":12,"f":1.5,"e":1e2,"t":true,"u":false,"n":null,"a":[1,{"b":2}],"o":{}}`, []leaf{
			{"s", "x"}, {"i", int64(12)}, {"f", 1.5}, {"e", 100.0}, {"t", true}, {"u", false},
		}},
		{"nested and dotted", `{"a":{"b":{"c":1},"d.e":2},"f":3}`, []leaf{{"a.b.c", int64(1)}, {"a.d.e", int64(2)}, {"f", int64(3)}}},
		{"empty keys", `{"":{"z":1,"":{"":2}},"z":3,"a":{"":4}}`, []leaf{{".z", int64(1)}, {"..", int64(2)}, {"z", int64(3)}, {"a.", int64(4)}}},
		{"escapes", `{"a\"b":"x\n\"\\\u0001"}`, []leaf{{`a"b`, "x\n\"\\\u0001"}}},
		{"brackets in strings", `{"a":{"x":"}]"},"b":["}",{"c":"]"}],"d":"{"}`, []leaf{{"a.x", "}]"}, {"d", "{"}}},
		{"the largest integers", `{"a":9223372036854775807,"b":-9223372036854775808}`, []leaf{{"a", int64(math.MaxInt64)}, {"b", int64(math.MinInt64)}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []leaf
			Flatten([]byte(c.in), func(path string, value any) { got = append(got, leaf{path, value}) })
			require.Equal(t, c.want, got)
		})
	}
	t.Run("what is not normalised does not panic", func(t *testing.T) {
		for _, in := range []string{`{`, `{"`, `{"a`, `{"a"`, `{"a":`, `{"a":"`, `{"a":{`, `{"a":{"b"`, `{"a":1,`, `[`, `{"a":"\`, `x`} {
			Flatten([]byte(in), func(string, any) {})
			Lookup([]byte(in), "a", "b")
		}
	})
	t.Run("more paths than a Flattener remembers", func(t *testing.T) {
		var f Flattener
		for i := range maxPaths + 10 {
			f.Walk([]byte(fmt.Sprintf(`{"k%d":1}`, i)), func(path string, _ Leaf) { require.Equal(t, fmt.Sprintf("k%d", i), path) })
		}
		require.LessOrEqual(t, len(f.paths), maxPaths)
	})
}

func TestLookup(t *testing.T) {
	o := json.RawMessage(`{"a":{"b":"x","a":1},"b":[1],"c.d":2}`)
	for path, want := range map[string]string{"a/b": `"x"`, "a/a": `1`, "b": `[1]`, "c.d": `2`, "a": `{"b":"x","a":1}`, "c": "", "a/c": "", "b/c": ""} {
		got, ok := Lookup(o, strings.Split(path, "/")...)
		require.Equal(t, want, string(got), path)
		require.Equal(t, want != "", ok, path)
	}
}

// anyJSON draws a value as encoding/json would decode it.
func anyJSON(depth int) *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		kinds := 7
		if depth == 0 {
			kinds = 5
		}
		switch rapid.IntRange(1, kinds).Draw(t, "kind") {
		case 1:
			return rapid.String().Draw(t, "string")
		case 2:
			return rapid.Float64Range(-1e300, 1e300).Draw(t, "number")
		case 3:
			return float64(rapid.Int32().Draw(t, "integer"))
		case 4:
			return rapid.Bool().Draw(t, "bool")
		case 5:
			return nil
		case 6:
			return rapid.SliceOfN(anyJSON(depth-1), 0, 4).Draw(t, "array")
		default:
			return anyObject(depth-1).Draw(t, "object")
		}
	})
}

func anyObject(depth int) *rapid.Generator[map[string]any] {
	key := rapid.OneOf(rapid.StringMatching(`[a-z]{1,3}`), rapid.StringN(0, 20, 200)).Filter(func(s string) bool { return !strings.Contains(s, ".") })
	return rapid.MapOfN(key, anyJSON(depth), 0, 30)
}

// TestNormaliseKeepsTheMeaning draws objects, writes them with encoding/json (compact or indented,
// with its escapes), and reads them back from the normal form.
func TestNormaliseKeepsTheMeaning(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		object := anyObject(4).Draw(t, "object")
		var body []byte
		var err error
		if rapid.Bool().Draw(t, "indented") {
			body, err = json.MarshalIndent(object, "", "\t")
		} else {
			body, err = json.Marshal(object)
		}
		if err != nil {
			t.Fatal(err)
		}
		ev, err := Normalise([]byte(`{"event":"E","userId":"u","properties":`+string(body)+`}`), KindTrack, call())
		if err != nil {
			if strings.Contains(err.Error(), "bytes; at most") || strings.Contains(err.Error(), "does not fit into 64 bits") {
				t.Skip("beyond a limit")
			}
			t.Fatal(err)
		}
		var want, got any
		if err := json.Unmarshal(body, &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(ev.Properties, &got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(want, got) {
			t.Fatalf("%s became %s", body, ev.Properties)
		}
		leaves := map[string]any{}
		Flatten(ev.Properties, func(path string, value any) {
			if i, ok := value.(int64); ok {
				value = float64(i)
			}
			leaves[path] = value
		})
		expected := map[string]any{}
		flat("", false, want, expected)
		if !reflect.DeepEqual(expected, leaves) {
			t.Fatalf("%s flattened to %v", ev.Properties, leaves)
		}
	})
}

func flat(path string, nested bool, v any, into map[string]any) {
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			p := k
			if nested {
				p = path + "." + k
			}
			flat(p, true, inner, into)
		}
	case string, float64, bool:
		into[path] = v
	}
}

func TestAppendString(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := strings.ToValidUTF8(rapid.String().Draw(t, "s"), "")
		var back string
		if err := json.Unmarshal(AppendString(nil, s), &back); err != nil || back != s {
			t.Fatalf("%q became %q, %v", s, back, err)
		}
	})
}

func TestFlattenerLends(t *testing.T) {
	properties := []byte(`{"a":"plain","b":{"c":"with \"quotes\" and \n","d":1.5},"e":"","f":[1],"g":true,"h":"ümlaut \\"}`)
	seen := func(lend bool) []string {
		f := Flattener{Lend: lend}
		var out []string
		f.Walk(properties, func(path string, v Leaf) {
			out = append(out, fmt.Sprintf("%s=%d %s %v %v", path, v.Kind, strings.Clone(v.Str), v.Num, v.Bool))
		})
		return out
	}
	require.Equal(t, seen(false), seen(true))
	require.Len(t, seen(true), 6)
}

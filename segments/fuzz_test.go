package segments

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// seeds are every example of the docs and every case of the problem table.
func seeds(f *testing.F) {
	f.Helper()
	t := &testing.T{}
	_, examples := examplesOf(t, "../docs/language.md")
	for _, e := range examples {
		f.Add(e.source)
	}
	for _, s := range []string{
		"((((((((((", "not not not not true", "let a = 1; let b = a + a; b == 2", "\x00", "é == \"é\"", "event(\"A\", 'properties.x == \"')", "1 ?? 2 ?? 3 == 3",
		"# == 1", "any([1], # == #index)", "1..2", "{}", "[]", "a ? b : c ? d : e", "true ?: false", "::now()", "event(\"A\").last[0]", "event(\"A\")[1:2]", "b\"x\" == 1",
		"x?.[0]", "map([1], {let a = #; [a]})", "0x7fffffffffffffff == 1", "-9223372036854775808 == 1", "1e308 * 10 > 1", "user.traits.a.b.c.d", "days(1e300) > days(1)", "if true {false} else if false {true} else {false}",
		"-days(1) < days(1)", "days(1) - event(\"A\").last.ago < hours(2)", "sum([1], {#})", "meters(9007199254740993) == meters(1)", "near(\"mall\", meters(9007199254740993))", "(user.id == nil ? near(\"mall\", meters(1)) : nil).dwell == nil",
	} {
		f.Add(s)
	}
}

func FuzzCompile(f *testing.F) {
	seeds(f)
	schema := testSchema()
	f.Fuzz(func(t *testing.T, src string) {
		w, problems := Compile(WhoSpec{
			ForEach: `event("Product Added").by("cart_id")`, When: src,
			With: []NamedExpr{{"v", src}}, ExitSince: src,
		}, schema)
		for _, p := range problems {
			if p.From < 0 || p.To < p.From || p.To > len(src) || p.Summary == "" || p.ID == "" || p.Part == "" {
				t.Fatalf("%q: %+v", src, p)
			}
		}
		_, fp := CompileFilter(src, schema, "Product Added", FilterEntry)
		for _, p := range fp {
			if p.From < 0 || p.To < p.From || p.To > len(src) {
				t.Fatalf("%q: %+v", src, p)
			}
		}
		w2, problems2 := Compile(WhoSpec{When: src}, schema)
		if HasErrors(problems2) {
			return
		}
		_ = w
		for _, c := range []*Candidate{world{}.candidate(t, w2), world{traits: `{"plan":"pro","age":3}`, zone: "Europe/Berlin"}.candidate(t, w2)} {
			c.Places = make([]Place, len(w2.Places()))
			truth, err := w2.Judge(now, c)
			if (truth == Failed) != (err != nil) {
				t.Fatalf("%q: %v %v", src, truth, err)
			}
			if truth == True && !w2.Passes(now, c) {
				t.Fatalf("%q is true and does not pass %s", src, w2.Prefilter())
			}
			w2.Values(c)
			if due, ok := w2.Due(now, c); ok && due <= now {
				t.Fatalf("%q is due at %d", src, due-now)
			}
		}
		for _, f := range w2.Changes().Full {
			if f.Part != partWhen || f.From < 0 || f.To <= f.From || f.To > len(src) || f.Why == "" {
				t.Fatalf("%q: %+v", src, f)
			}
		}
		again, _ := Compile(WhoSpec{When: " " + src + " "}, schema)
		require.Equal(t, w2.Hash(), again.Hash())
	})
}

func FuzzLookup(f *testing.F) {
	f.Add(`{"a":{"b":1},"c.d":[1,{"e":"\u0041"}]}`, "a.b")
	f.Add(`{"a":`, "a")
	f.Add(`{"a":{"b":{"c":"x"}},"a.b":2}`, "a.b.c")
	f.Fuzz(func(t *testing.T, raw, path string) {
		token := lookup([]byte(raw), path)
		v := decode(token)
		if !json.Valid([]byte(raw)) || token == nil {
			return
		}
		require.True(t, json.Valid(token) || strings.Contains(raw, "\\"), "%q", token)
		portable(v)
	})
}

// lookup finds what a full decoding finds.
func TestLookupAgreesWithDecoding(t *testing.T) {
	keys := rapid.SampledFrom([]string{"a", "b", "ab", "ä", `q"`, "\\", "\t"})
	var value func(depth int) *rapid.Generator[any]
	value = func(depth int) *rapid.Generator[any] {
		leaf := rapid.OneOf(rapid.SampledFrom([]any{nil, true, false, 0.0, -1.5, 1e300, "x", `}"{`, "\u2028\\", ""}))
		if depth == 0 {
			return leaf
		}
		return rapid.OneOf(leaf, rapid.Custom(func(t *rapid.T) any { return rapid.MapOfN(keys, value(depth-1), 0, 4).Draw(t, "object") }),
			rapid.Custom(func(t *rapid.T) any { return rapid.SliceOfN(value(depth-1), 0, 3).Draw(t, "list") }))
	}
	rapid.Check(t, func(t *rapid.T) {
		root := rapid.MapOfN(keys, value(3), 0, 4).Draw(t, "root")
		var raw []byte
		if rapid.Bool().Draw(t, "indent") {
			raw, _ = json.MarshalIndent(root, " ", "\t")
		} else {
			raw, _ = json.Marshal(root)
		}
		path := rapid.SliceOfN(keys, 1, 3).Draw(t, "path")
		var want any = root
		for _, k := range path {
			m, _ := want.(map[string]any)
			want = m[k]
		}
		got := decode(lookup(raw, strings.Join(path, ".")))
		require.Equal(t, want, got, "%s in %s", path, raw)
	})
}

func TestLimits(t *testing.T) {
	schema := testSchema()
	deep := strings.Repeat("(", 300) + "true" + strings.Repeat(")", 300)
	var doubling strings.Builder
	doubling.WriteString("let a0 = user.traits.age + 1; ")
	for i := range 30 {
		fmt.Fprintf(&doubling, "let a%d = a%d + a%d; ", i+1, i, i)
	}
	doubling.WriteString("true")
	truths := "user.traits.newsletter"
	for range 60 {
		truths = "((" + truths + ") == true)"
	}
	for name, src := range map[string]string{
		"long":     strings.Repeat("true and ", 4000) + "true",
		"many":     strings.Repeat("1 + ", 2000) + "1 == 1",
		"deep":     deep,
		"deep not": strings.Repeat("not ", 300) + "true",
		"doubling": doubling.String(),
		"truths":   truths,
	} {
		t.Run(name, func(t *testing.T) {
			w, problems := Compile(WhoSpec{When: src}, schema)
			require.Nil(t, w)
			require.Len(t, problems, 1)
			require.Equal(t, idTooLarge, problems[0].ID, "%v", problems)
		})
	}
}

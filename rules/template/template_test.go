package template_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/events"
	"nudge/rules/template"
)

func vars(t *testing.T) map[string]any {
	berlin, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	return map[string]any{
		"product": "Blue & <b>Shoes</b>", "price": 19.5, "big": float64(1234567), "count": int64(3), "ms": int64(1_767_225_600_000),
		"list": []any{"b", "a", "b"}, "items": []any{map[string]any{"name": "x"}, map[string]any{"name": "y"}},
		"obj": map[string]any{"a": "1", "deep": map[string]any{"x y": "z"}}, "yes": true, "no": false, "empty": "", "iso": "2026-03-01T10:00:00Z",
		"many": map[string]any{"h": 8, "g": 7, "f": 6, "e": 5, "d": 4, "c": 3, "b": 2, "a": 1},
		"gone": nil, "holes": []any{"a", nil}, template.Zone: berlin,
		"user": map[string]any{"traits": map[string]any{"first name": "Ann"}, "created_at": time.Date(2026, 1, 2, 23, 30, 0, 0, time.UTC)},
	}
}

func TestRender(t *testing.T) {
	cases := []struct{ name, src, want string }{
		{"plain", "hello", "hello"},
		{"name", "{{ product }}!", "Blue & <b>Shoes</b>!"},
		{"trim", "a {{- count -}} b", "a3b"},
		{"float", "{{ price }} {{ big }} {{ big | times: 1000 }}", "19.5 1234567 1234567000"},
		{"whole numbers stay whole", "{{ count | plus: 1 }} {{ count | divided_by: 2 }} {{ count | times: 1.5 }}", "4 1 4.5"},
		{"list", "{{ list }}", "b, a, b"},
		{"list filters", "{{ list | uniq | sort | join: '-' }} {{ list | first }} {{ list | size }}", "a-b b 3"},
		{"map over", "{{ items | map: 'name' | join: ' ' }}", "x y"},
		{"path", "{{ obj.a }}{{ obj.deep['x y'] }}{{ user.traits['first name'] }}", "1zAnn"},
		{"default", "{{ gone | default: 'friend' }} {{ empty | default: 'x' }} {{ absent.deep | default: count }}", "friend x 3"},
		{"if", "{% if gone %}a{% elsif count > 2 and yes %}b{% else %}c{% endif %}", "b"},
		{"if missing compared", "{% if gone > 3 %}a{% else %}b{% endif %}{% if gone == nil %}c{% endif %}", "bc"},
		{"unless", "{% unless no %}x{% endunless %}", "x"},
		{"case", "{% case count %}{% when 1, 2 %}few{% when 3 %}three{% else %}many{% endcase %}", "three"},
		{"for", "{% for i in items limit:1 %}{{ i.name }}{{ forloop.index }}{% endfor %}", "x1"},
		{"for over a range", "{% for i in (1..3) %}{{ i }}{% endfor %}{% for i in (1..3) reversed %}{{ i }}{% endfor %}{% for i in (2..count) limit:1 %}{{ i }}{% endfor %}", "1233212"},
		{"for over a filtered list", "{% for i in list | uniq | sort limit:1 offset:1 %}{{ i }}{% endfor %}{% for i in 'a,b,c' | split: ',' reversed %}{{ i }}{% endfor %}", "bcba"},
		{"for over a group of values", "{% for p in many %}{{ p[0] }}{{ p[1] }}{% endfor %}", "a1b2c3d4e5f6g7h8"},
		{"for over missing", "a{% for i in gone %}{{ i }}{% endfor %}b", "ab"},
		{"assign", "{% assign a = product | upcase %}{{ a }}", "BLUE & <B>SHOES</B>"},
		{"capture", "{% capture a %}{{ count }}!{% endcapture %}{{ a }}", "3!"},
		{"comment and raw", "{% comment %}{{ nothing }} {% if %}{% endcomment %}{% raw %}{{ x }}{% endraw %}", "{{ x }}"},
		{"cycle", "{% for i in list %}{% cycle 'a', 'b' %}{% endfor %}", "aba"},
		{"date in the zone", "{{ ms | date: '%d.%m.%Y %H:%M' }}", "01.01.2026 01:00"},
		{"date without format", "{{ user.created_at | date }}", "2026-01-03"},
		{"date of text", "{{ iso | date: '%H' }} {{ '2026-03-01' | date: '%A' }}", "11 Sunday"},
		{"date, then more", "{{ ms | date: '%B' | upcase | append: '!' }}", "JANUARY!"},
		{"money", "{{ price | money: 'EUR' }} {{ big | money: 'USD' }} {{ price | money: 'EUR', 'de' }} {{ big | money: 'JPY' }}", "€19.50 $1,234,567.00 19,50\u00a0€ ¥1,234,567"},
		{"money without sign", "{{ price | money: 'CHF' }}", "19.50\u00a0CHF"},
		{"number", "{{ big | number }} {{ price | number: 2, 'de' }}", "1,234,567 19,50"},
		{"round", "{{ 2.345 | round: 2 }} {{ 2.5 | round }} {{ price | ceil }} {{ price | floor }}", "2.35 3 20 19"},
		{"truncate counts letters", "{{ 'Übergrößen' | truncate: 8 }} {{ 'a b c d' | truncatewords: 2 }}", "Überg... a b..."},
		{"slice", "{{ 'Grüße' | slice: 2, 2 }} {{ 'Grüße' | slice: -1 }}", "üß e"},
		{"replace", "{{ 'a-b-c' | replace: '-', '+' | remove_first: '+' }}", "ab+c"},
		{"split", "{{ 'a,b' | split: ',' | last }}", "b"},
		{"strip html", "{{ product | strip_html }}", "Blue & Shoes"},
		{"url", "{{ product | url_encode }}", "Blue+%26+%3Cb%3EShoes%3C%2Fb%3E"},
		{"json", "{{ obj | json }}", `{"a":"1","deep":{"x y":"z"}}`},
		{"comparison printed", "{{ count == 3 }}", "true"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			tmpl, problems := template.Parse(c.src)
			require.Empty(t, problems)
			got, err := tmpl.Render(vars(t))
			require.NoError(t, err)
			require.Equal(t, c.want, got)
			again, err := tmpl.Render(vars(t))
			require.NoError(t, err)
			require.Equal(t, got, again)
		})
	}
}

func TestMissingFailsClosed(t *testing.T) {
	cases := []struct{ name, src, names string }{
		{"printed", "hi {{ gone }}", "gone"},
		{"not there at all", "hi {{ absent }}", "absent"},
		{"field of what is missing", "{{ gone.name }}", "gone.name"},
		{"field that is not there", "{{ obj.nope }}", "obj.nope"},
		{"through a filter", "{{ gone | upcase }}", "upcase"},
		{"as an argument", "{{ 'x' | append: gone }}", "append"},
		{"assigned", "{% assign a = gone %}{{ a }}", "a"},
		{"date", "{{ gone | date: '%Y' }}", "date"},
		{"default of nothing", "{{ gone | default: gone }}", "gone | default: gone"},
		{"in a list", "{{ holes }}", "holes"},
		{"in a joined list", "{{ holes | join: ',' }}", "join"},
		{"past the end", "{{ list[9] }}", "list[9]"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			tmpl, problems := template.Parse(c.src)
			require.Empty(t, problems)
			out, err := tmpl.Render(vars(t))
			require.ErrorIs(t, err, template.ErrMissing)
			require.ErrorContains(t, err, c.names)
			require.Empty(t, out)
		})
	}
}

func TestFailsClosed(t *testing.T) {
	for name, src := range map[string]string{
		"a group of values": "{{ obj }}",
		"division by zero":  "{{ count | divided_by: 0 }}",
		"no number":         "{{ product | plus: 1 }}",
		"no date":           "{{ product | date: '%Y' }}",
		"no currency":       "{{ price | money: 'euros' }}",
		"too long":          "{% for i in (1..9000) %}" + strings.Repeat("x", 200) + "{% endfor %}",
		"too many":          "{% for i in (1..1000000000) %}{% endfor %}",
	} {
		t.Run(name, func(t *testing.T) {
			tmpl, problems := template.Parse(src)
			require.Empty(t, problems)
			_, err := tmpl.Render(vars(t))
			require.Error(t, err)
			require.NotErrorIs(t, err, template.ErrMissing)
		})
	}
}

func TestHTMLIsEscaped(t *testing.T) {
	tmpl, problems := template.ParseHTML("<p>{{ product }} {{ product | escape }} {{ product | raw }}</p>")
	require.Empty(t, problems)
	got, err := tmpl.Render(vars(t))
	require.NoError(t, err)
	const escaped = "Blue &amp; &lt;b&gt;Shoes&lt;/b&gt;"
	require.Equal(t, "<p>"+escaped+" "+escaped+" Blue & <b>Shoes</b></p>", got)
}

func TestProblems(t *testing.T) {
	cases := []struct{ name, src, under, id, suggest string }{
		{"unknown filter", "{{ a | upcas }}", "upcas", "template/unknown-filter", "upcase"},
		{"arguments", "{{ a | replace: 'x' }}", "replace", "template/arguments", ""},
		{"no arguments", "{{ a | money }}", "money", "template/arguments", ""},
		{"too many", "{{ a | upcase: 1 }}", "upcase", "template/arguments", ""},
		{"unknown tag", "{% inlude 'x' %}", "inlude", "template/unknown-tag", ""},
		{"include is not allowed", "{% include 'x' %}", "include", "template/unknown-tag", ""},
		{"misspelt tag", "{% iff a %}", "iff", "template/unknown-tag", "if"},
		{"never closed", "{% if a %}x", "{% if a %}", "template/unclosed", ""},
		{"closes the wrong one", "{% for x in a %}{% endif %}{% endfor %}", "endif", "template/unopened", ""},
		{"else alone", "{% else %}", "else", "template/unopened", ""},
		{"break outside", "{% break %}", "break", "template/unopened", ""},
		{"placeholder over lines", "é {{ a |\n upcase }}", "{{", "template/syntax", ""},
		{"open placeholder", "x {{ a }", "{{", "template/syntax", ""},
		{"closing braces alone", "x }} y", "}}", "template/syntax", ""},
		{"bad expression", "{{ a + b }}", "a + b", "template/syntax", ""},
		{"empty condition", "{% if %}x{% endif %}", "", "template/syntax", ""},
		{"for without in", "{% for x of a %}{% endfor %}", "x of a", "template/syntax", ""},
		{"takes our name", "{% assign user = 1 %}", "user", "template/taken-name", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			tmpl, problems := template.Parse(c.src)
			require.Nil(t, tmpl)
			require.NotEmpty(t, problems)
			p := problems[0]
			require.Equal(t, c.id, p.ID)
			require.Equal(t, c.under, c.src[p.From:p.To])
			require.Equal(t, c.suggest, p.Suggest)
		})
	}
}

func TestCheck(t *testing.T) {
	scope := template.Scope{
		With: []string{"product", "others"},
		Plan: &events.Plan{Traits: map[string]events.Property{"first_name": {}, "address.city": {}, "meta": {}}}, WithoutLinks: true,
	}
	cases := []struct{ name, src, under, id, suggest string }{
		{"known", "{{ product.name }} {% if others %}{{ user.traits.first_name }}{{ message.rule }}{% endif %}", "", "", ""},
		{"nested traits", "{{ user.traits.address.city }}{% if user.traits.address %}{% endif %}{{ user.traits.meta.x }}", "", "", ""},
		{"misspelt", "é {{ 'a' | append: prodct }}", "prodct", "template/unknown-name", "product"},
		{"in a condition", "{% if product == '1' or othrs %}x{% endif %}", "othrs", "template/unknown-name", "others"},
		{"a trait without its group", "{{ first_name }}", "first_name", "template/unknown-name", "user.traits.first_name"},
		{"a nested one", "{{ address.city }}", "address.city", "template/unknown-name", "user.traits.address.city"},
		{"in brackets", "{{ product[key] }}", "key", "template/unknown-name", ""},
		{"trait", "{{ user.traits.frist_name }}", "user.traits.frist_name", "template/unknown-trait", "first_name"},
		{"user", "{{ user.created }}", "user.created", "template/unknown-name", ""},
		{"group", "{{ user.traits }}", "user.traits", "template/group", ""},
		{"loop variable outside", "{% for i in product %}{{ i }}{% endfor %}{{ i }}", "i", "template/unknown-name", ""},
		{"assigned", "{% assign x = product %}{{ x.y }}", "", "", ""},
		{"used before assigned", "{{ x }}{% assign x = product %}", "x", "template/unknown-name", ""},
		{"a link of ours without an address", "{{ message.unsubscribe_link }}", "message.unsubscribe_link", "template/no-base-url", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			tmpl, problems := template.Parse(c.src)
			require.Empty(t, problems)
			problems = tmpl.Check(scope)
			if c.id == "" {
				require.Empty(t, problems)
				return
			}
			require.Len(t, problems, 1)
			p := problems[0]
			require.Equal(t, []string{c.id, c.under, c.suggest}, []string{p.ID, c.src[p.From:p.To], p.Suggest})
		})
	}
}

func TestRenderLeavesVarsAloneAndIsSafeForConcurrentUse(t *testing.T) {
	tmpl, problems := template.Parse("{% assign product = 'other' %}{% for i in list %}{{ i }}{% endfor %}{{ product }}")
	require.Empty(t, problems)
	shared := vars(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				out, err := tmpl.Render(shared)
				if err != nil || out != "babother" {
					t.Errorf("got %q, %v", out, err)
				}
			}
		})
	}
	wg.Wait()
	require.Equal(t, vars(t)["product"], shared["product"])
}

func TestZone(t *testing.T) {
	tmpl, problems := template.Parse("{{ ms | date: '%H:%M' }}")
	require.Empty(t, problems)
	tokyo, err := time.LoadLocation("Asia/Tokyo")
	require.NoError(t, err)
	for name, c := range map[string]struct {
		vars map[string]any
		want string
	}{
		"none":               {map[string]any{}, "00:00"},
		"of message.at":      {map[string]any{"message": map[string]any{"at": time.UnixMilli(0).In(tokyo)}}, "09:00"},
		"its own goes first": {map[string]any{template.Zone: time.UTC, "message": map[string]any{"at": time.UnixMilli(0).In(tokyo)}}, "00:00"},
	} {
		t.Run(name, func(t *testing.T) {
			c.vars["ms"] = int64(0)
			got, err := tmpl.Render(c.vars)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

// What was declared as a time and sent as a date is midnight UTC: the same date for everybody.
func TestDateOfADateIsThatDateEverywhere(t *testing.T) {
	newYork, err := time.LoadLocation("America/New_York")
	require.NoError(t, err)
	berlin, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	for name, c := range map[string]struct {
		day, format string
		zone        *time.Location
		want        string
	}{
		"a date, west of Greenwich":       {"2026-03-08T00:00:00Z", "%d.%m.%Y", newYork, "08.03.2026"},
		"a date, east of it":              {"2026-03-08T00:00:00Z", "%d.%m.%Y", berlin, "08.03.2026"},
		"a date that is plain text":       {"2026-03-08", "%A", newYork, "Sunday"},
		"midnight in another zone":        {"2026-03-08T00:00:00+01:00", "%d.%m.", newYork, "07.03."},
		"midnight in the person's zone":   {"2026-03-08T00:00:00+01:00", "%d.%m.", berlin, "08.03."},
		"an instant of that night":        {"2026-03-08T00:00:01Z", "%d.%m.", newYork, "07.03."},
		"with the time of day":            {"2026-03-08T00:00:00Z", "%d.%m. %H:%M", newYork, "07.03. 19:00"},
		"with the time of day, padded":    {"2026-03-08T00:00:00Z", "%d.%m. %-I %p", newYork, "07.03. 7 PM"},
		"with a percent sign before an H": {"2026-03-08T00:00:00Z", "%d.%m. %%H", newYork, "08.03. %H"},
	} {
		t.Run(name, func(t *testing.T) {
			tmpl, problems := template.Parse("{{ day | date: '" + c.format + "' }}")
			require.Empty(t, problems)
			got, err := tmpl.Render(map[string]any{"day": c.day, template.Zone: c.zone})
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"{{ a | date: 'x', b | upcase }}", "{% for i in (1..3) reversed %}{{ i }}{% endfor %}", "{{ a[b['c']] }}",
		"{% case a %}{% when 'x', y %}{% endcase %}", "{% if (a | date: 'x') == 'y' %}{% endif %}", "{%- raw -%}{{{%- endraw -%}", "{{ '}}' }}",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, src string) {
		tmpl, problems := template.Parse(src)
		if (tmpl == nil) != (len(problems) > 0) {
			t.Fatalf("template %v with problems %v", tmpl, problems)
		}
		for _, p := range problems {
			if p.From < 0 || p.To < p.From || p.To > len(src) || p.Summary == "" {
				t.Fatalf("no place: %+v", p)
			}
		}
		if tmpl == nil || strings.Contains(src, "..") {
			return
		}
		for _, v := range tmpl.Names() {
			if v.From < 0 || v.To > len(src) || v.From >= v.To {
				t.Fatalf("no place: %+v", v)
			}
		}
		out, err := tmpl.Render(map[string]any{"a": "x", "b": int64(1)})
		if err != nil && out != "" {
			t.Fatal("text beside an error")
		}
	})
}

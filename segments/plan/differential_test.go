package plan

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"nudge/events"
	"nudge/segments"
	"nudge/segments/geo"
)

func from[T any](t *rapid.T, options ...T) T { return rapid.SampledFrom(options).Draw(t, "choice") }

// drawHistory draws a history of the language: event(…), narrowed or not; or it.
func drawHistory(t *rapid.T, keyed bool) string {
	h := ""
	switch {
	case keyed && rapid.Bool().Draw(t, "it"):
		h = "it"
	case rapid.IntRange(0, 5).Draw(t, "message") == 0:
		h = fmt.Sprintf("message(%q)", from(t, "r1", "*")) + from(t, "", ".opened")
	default:
		filter := from(t, "", "", `, 'properties.price > 1'`, `, "properties.category == \"it's\""`, `, 'not (properties.price == 10)'`,
			`, 'properties.category in ["x", "z.z"]'`, `, 'context.app == "ios" or has(properties.cart)'`, `, 'properties.category startsWith "z"'`)
		h = fmt.Sprintf("event(%q%s)", from(t, "A", "B", "C", "*", "Page Viewed"), filter)
	}
	return h + from(t, "", "", ".within(hours(1))", ".within(days(2))")
}

func drawTerm(t *rapid.T, keyed bool) string {
	h := drawHistory(t, keyed)
	compare := from(t, ">", ">=", "<", "<=", "==", "!=")
	number := from(t, "0", "1", "2", "10", "1.25", "19.99", "0.3")
	age := from(t, "minutes(30)", "hours(1)", "hours(3)", "days(3)")
	switch rapid.IntRange(0, 19).Draw(t, "form") {
	case 0, 1:
		return fmt.Sprintf("%s.count %s %s", h, compare, from(t, "0", "1", "2"))
	case 2:
		return fmt.Sprintf(`%s.%s("price") %s %s`, h, from(t, "sum", "avg", "min", "max"), compare, number)
	case 3:
		return fmt.Sprintf(`%s.uniq("category") %s %s`, h, compare, from(t, "0", "1", "2"))
	case 4:
		return fmt.Sprintf(`%s.top("category") %s %s`, h, from(t, "==", "!="), from(t, `"x"`, "7", "true"))
	case 5, 6:
		return fmt.Sprintf("%s.%s.ago %s %s", h, from(t, "last", "first"), from(t, ">", ">=", "<", "<="), age)
	case 7:
		return fmt.Sprintf("%s.%s.properties.price %s %s", h, from(t, "last", "first"), compare, number)
	case 8:
		return fmt.Sprintf(`%s.last.%s`, h, from(t, `properties.category == "x"`, `context.app != "ios"`, `properties.category in ["y", "it's"]`, `properties.cart contains "c"`))
	case 9:
		return fmt.Sprintf("has(%s.last.properties.%s)", h, from(t, "price", "category"))
	case 10:
		return fmt.Sprintf("%s.last.at > %s.last.at", h, drawHistory(t, keyed))
	case 11:
		return fmt.Sprintf(`did("A").since(%s.last.at)`, h)
	case 12:
		return fmt.Sprintf(`%s.since(event("B").first.at).count %s %s`, `event("A")`, compare, number)
	case 13:
		return fmt.Sprintf(`any(%s.list(3), #.properties.price %s %s)`, h, compare, number)
	case 14:
		return from(t, `user.traits.plan == "pro"`, `user.traits.age > 17`, `user.traits.vip`, `has(user.traits.plan)`, `user.traits.plan != "free"`, `user.traits.age in [30, 17.5]`)
	case 15:
		return from(t, `has(user.id)`, `user.id startsWith "user1"`, `user.created_at < now - hours(1)`, "local.hour >= 12")
	case 16, 17, 18:
		place := from(t, `near("stores/*", meters(500))`, `near("stores/1", meters(300))`, `inside("stores/2")`, `inside("stores/*")`, `near("stores/*", meters(100))`)
		return place + from(t, "", ".dwell >= minutes(10)", ".dwell > minutes(0)", ".dwell < minutes(20)", ".distance > 400", ".distance <= 300",
			".entered < now - minutes(5)", ".entered == nil", `.fence.id == "stores/2"`, ".now == false", `.entered > event("A").last.at`)
	}
	return fmt.Sprintf("%s.%s.ago > %s.last.ago", h, from(t, "last", "first"), drawHistory(t, keyed))
}

func drawCondition(t *rapid.T, keyed bool, depth int) string {
	if depth == 0 || rapid.IntRange(0, 3).Draw(t, "leaf") == 0 {
		if rapid.IntRange(0, 5).Draw(t, "not") == 0 {
			return "not (" + drawTerm(t, keyed) + ")"
		}
		return drawTerm(t, keyed)
	}
	a, b := drawCondition(t, keyed, depth-1), drawCondition(t, keyed, depth-1)
	return "(" + a + from(t, " and ", " and ", " or ") + b + ")"
}

const twoStores = `{"type": "FeatureCollection", "features": [
  {"type": "Feature", "id": "1", "geometry": {"type": "Point", "coordinates": [0, 0]}},
  {"type": "Feature", "id": "2", "properties": {"radius": 400}, "geometry": {"type": "Point", "coordinates": [0, 0.01]}}]}`

// For random conditions over random histories the planner says what a walk over everything says:
// with prefilters (everybody), and without (people given).
func TestLikeNaive(t *testing.T) {
	fences, problems := geo.Load(fstest.MapFS{"fences/stores.json": {Data: []byte(twoStores)}}, "fences")
	require.Empty(t, problems)
	tw := newTown(11, 300)
	w := newWorld(t)
	tw.fill(w)
	last := tw.rows[len(tw.rows)-1].pos
	p := w.planner(Options{Fences: func() *geo.Fences { return fences }, Chunk: 160})
	schema := segments.NewSchema(segments.SchemaOptions{Fences: []string{"stores/1", "stores/2"}})

	check(t, 2, func(rt *rapid.T) {
		q := segments.Look{
			At:        t0 + from(rt, 0, -2*hour, minute),
			UpTo:      events.Position(from(rt, math.MaxInt64, last, last/2, last*4/5)),
			Retention: from(rt, 0, 0, 3*day),
		}
		sources := []string{}
		for i := range 12 {
			keyed := i%4 == 3
			source := drawCondition(rt, keyed, 2)
			spec := segments.WhoSpec{When: source}
			if keyed {
				spec.ForEach = from(rt, `event("A").by("cart")`, `event("B", 'properties.price > 1').by("category")`, `event("A").by("cart")`)
			}
			who, problems := segments.Compile(spec, schema)
			if segments.HasErrors(problems) { // a comparison that can never be true: drawn blindly
				rt.Log(problems)
				continue
			}
			q.Who, sources = append(q.Who, who), append(sources, spec.ForEach+" when "+source)
		}
		n := &naive{tw, q, fences}
		everybody := n.everybody()

		got := make([][]segments.Answer, len(q.Who))
		for _, a := range ask(rt, p, q) {
			got[a.Who] = append(got[a.Who], a)
		}
		q.People = personIDs(everybody)
		given := make([][]segments.Answer, len(q.Who))
		for _, a := range ask(rt, p, q) {
			given[a.Who] = append(given[a.Who], a)
		}
		for i, who := range q.Who {
			want := n.judge(who, everybody)
			var wantTrue []segments.Answer
			for _, a := range want {
				require.NoError(rt, a.Err)
				if a.Truth == segments.True {
					wantTrue = append(wantTrue, a)
				}
			}
			require.Equal(rt, lines(wantTrue), lines(got[i]), "%s\nprefilter %s", sources[i], who.Prefilter())
			require.Equal(rt, lines(want), lines(given[i]), "%s", sources[i])
		}
	})
}

// check is rapid.Check with so many cases unless -rapid.checks says otherwise: each asks the store
// much.
func check(t *testing.T, cases int, prop func(*rapid.T)) {
	t.Helper()
	f := flag.Lookup("rapid.checks")
	if f.Value.String() == f.DefValue {
		require.NoError(t, f.Value.Set(strconv.Itoa(cases)))
		defer func() { require.NoError(t, f.Value.Set(f.DefValue)) }()
	}
	rapid.Check(t, prop)
}

// lines writes answers with everything that can be compared.
func lines(answers []segments.Answer) string {
	var b strings.Builder
	for _, a := range answers {
		features, err := json.Marshal(a.Features)
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(&b, "%d %q %d %v %s\n", a.Person, a.Value, a.Truth, a.Err, features)
	}
	return b.String()
}

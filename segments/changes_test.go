package segments

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// told writes changes in one line; Full reasons by their characters.
func toldChanges(c *Changes, when string) string {
	var parts []string
	for _, s := range c.Sources {
		name := s.Event
		if s.Message != "" {
			name += " of " + s.Message
		}
		if s.Keyed {
			name += " it"
		}
		if s.Filter != nil {
			name += " " + s.Filter.String()
		}
		var ages []string
		for _, d := range s.Ages {
			ages = append(ages, spanShort(d))
		}
		parts = append(parts, name+": "+strings.Join(ages, " "))
	}
	for _, t := range c.Traits {
		parts = append(parts, "trait "+t)
	}
	if c.UserID {
		parts = append(parts, "id")
	}
	if c.Created {
		parts = append(parts, "created")
	}
	if c.Zone {
		parts = append(parts, "zone")
	}
	if c.Places {
		parts = append(parts, "places")
	}
	if c.Anybody {
		parts = append(parts, "anybody")
	}
	if c.Dues {
		parts = append(parts, "dues")
	}
	for _, f := range c.Full {
		parts = append(parts, fmt.Sprintf("full %q", when[f.From:f.To]))
	}
	return strings.Join(parts, "; ")
}

func spanShort(ms int64) string {
	for _, u := range []struct {
		ms   int64
		name string
	}{{msDay, "d"}, {msHour, "h"}, {msMinute, "m"}} {
		if ms != 0 && ms%u.ms == 0 {
			return strconv.FormatInt(ms/u.ms, 10) + u.name
		}
	}
	return strconv.FormatInt(ms, 10)
}

func TestChanges(t *testing.T) {
	for _, c := range []struct{ name, when, want string }{
		{"a count", `event("A").count > 2`, `A: 0`},
		{"a window", `event("A").within(days(7)).count > 2`, `A: 0 7d`},
		{"windows of one history", `event("A").within(days(7)).count > 2 and event("A").within(hours(1)).count == 0`, `A: 0 1h 7d`},
		{"since a constant time ago", `did("A").since(now - days(2))`, `A: 0 2d`},
		{"since another event", `did("A").since(event("B").last.at)`, `B: 0; A: 0`},
		{"list since another event", `event("A").since(event("B").last.at).count > 1`, `A: 0; B: 0`},
		{"an age", `event("A").last.ago >= hours(1)`, `A: 0 1h; anybody`},
		{"either way round", `hours(1) < event("A").last.ago`, `A: 0 1h; anybody`},
		{"not", `not (event("A").last.ago > hours(1))`, `A: 0 1h`},
		{"the first", `event("A").first.ago > days(3) and did("A")`, `A: 0 3d`},
		{"a time", `event("A").last.at < now - days(2)`, `A: 0 2d`},
		{"now minus a time", `now - event("A").last.at > days(2)`, `A: 0 2d`},
		{"a time plus", `event("A").last.at + days(2) < now`, `A: 0 2d`},
		{"an age plus", `event("A").last.ago + hours(1) > hours(3)`, `A: 0 2h; anybody`},
		{"a multiple", `2 * event("A").last.ago > hours(3)`, `A: 0 90m; anybody`},
		{"a multiple that is no whole ms", `7 * event("A").last.ago > hours(1)`, `A: 0 514286; anybody`},
		{"a negated age", `-event("A").last.ago < minutes(-5)`, `A: 0 5m; anybody`},
		{"a part, rounded", `event("A").last.ago / 10 > minutes(1)`, `A: 0 599995 600005; anybody`},
		{"a number of days", `event("A").last.ago / days(1) >= 3`, `A: 0 3d`},
		{"an age that has always passed", `event("A").last.ago > minutes(-5)`, `A: 0; anybody`},
		{"longer than any", `event("A").last.ago > days(1e300)`, `A: 0`},
		{"an age of the same two ways", `event("A").last.ago + (now - event("A").last.at) > days(2)`, `A: 0 1d`},
		{"two ages", `event("A").last.ago > event("B").last.ago + hours(1)`, `A: 0; B: 0`},
		{"a sum of two ages", `event("A").last.ago + event("B").last.ago > hours(1)`, `A: 0; B: 0; anybody; dues`},
		{"an age of one of a list", `event("A").list(3)[1].ago > hours(1)`, `A: 0 1h; anybody`},
		{"an age equals", `event("A").last.ago == hours(1)`, `A: 0 1h`},
		{"an age in", `event("A").last.ago in [hours(1), hours(2)]`, `A: 0 1h 2h`},
		{"has an age", `has(event("A").last.ago)`, `A: 0; anybody`},
		{"has", `has(event("A").last.properties.x)`, `A: 0`},
		{"default of an age", `(event("A").last.ago ?? hours(2)) > hours(1)`, `A: 0 1h; anybody`},
		{"a choice of ages", `(user.traits.plan == "pro" ? event("A").last.ago : event("B").last.ago) > hours(1)`, `A: 0 1h; B: 0 1h; trait plan`},
		{"a choice of limits", `event("A").last.ago > (did("B") ? hours(1) : hours(2))`, `B: 0; A: 0 1h 2h; anybody`},
		{"let", `let a = event("A").last.ago; a > hours(1) and a < days(1)`, `A: 0 1h 1d`},
		{"messages", `message("welcome").within(days(1)).count == 0 and not did("Message Opened")`, `Message Sent of welcome: 0 1d; Message Opened of *: 0; anybody`},
		{"conversions", `message("cart-abandoned").converted.within(days(9)).count > 0`, `Message Sent of cart-abandoned: 0 9d; Order Completed: 0`},
		{"a filter", `event("A", 'properties.x > 1').last.ago > hours(1)`, `A properties.x > 1: 0 1h; anybody`},
		{"since a list's time ago", `event("A").since(did("B") ? now - days(1) : now - days(2)).count > 1`, `B: 0; A: 0 1d 2d; anybody`},
		{"the first since", `event("A").since(event("B").last.at).first.ago > hours(5)`, `A: 0 5h; B: 0 5h; anybody`},
		{"another narrowing of it", `event("A").within(days(4)).since(event("B").last.at).list(3)[0].ago < hours(5)`, `A: 0 5h 4d; B: 0 5h; anybody`},
		{"a segment", `segment("vip") and did("B")`, `Order Completed: 0; B: 0`},

		{"traits", `user.traits.plan == "pro" and user.traits.address.city == "X" and has(user.id)`, `trait address.city; trait plan; id`},
		{"created", `user.created_at < event("A").last.at`, `A: 0; created`},
		{"created ago", `user.created_at < now - days(7)`, `created; anybody; dues`},
		{"a date", `event("A").last.at > "2026-11-27"`, `A: 0; zone`},
		{"now and a date", `now > "2026-11-27" and now < "2026-11-28T00:00:00Z"`, `zone; anybody; dues`},
		{"a time zone", `user.timezone == "Europe/Berlin"`, `zone; anybody`},
		{"a trait that is a time", `user.traits.birthday > now - days(6000)`, `trait birthday; dues`},
		{"a trait that is a number of days", `event("A").last.ago > days(user.traits.interval_days)`, `A: 0; trait interval_days; dues`},
		{"an age times a trait", `event("A").last.ago * user.traits.interval_days > days(1)`, `A: 0; trait interval_days; dues`},
		{"a property that is a time", `event("Product Added").last.properties.expires < now + hours(1)`, `Product Added: 0; dues`},
		{"the largest of times", `event("Product Added").max("expires") < now`, `Product Added: 0; dues`},
		{"since as long as a trait says", `did("A").since(now - days(user.traits.interval_days))`, `A: 0; trait interval_days; dues`},
		{"a list since as long as a trait says", `event("A").since(now - days(user.traits.interval_days)).count > 2`, `A: 0; trait interval_days; dues`},
		{"two different times", `event("A").last.ago > now - event("B").last.at - days(user.traits.interval_days)`, `A: 0; B: 0; trait interval_days`},
		{"places", `near("mall", meters(100)) and inside("stores/*").dwell > minutes(5)`, `places`},
		{"entered", `inside("mall").entered < now - minutes(5)`, `places; dues`},

		{"local", `did("A") and local.hour >= 9`, `A: 0; zone; full "local.hour"`},
		{"local of no zone", `local.date == "2026-11-27"`, `zone; anybody; full "local.date"`},
		{"anniversary", `now >= anniversary(user.traits.birthday)`, `trait birthday; zone; full "anniversary(user.traits.birthday)"`},
		{"a function of an age", `did("A") and round(event("A").last.ago / days(1)) >= 3`, `A: 0; full "round(event(\"A\").last.ago / days(1))"`},
		{"an age's root", `(event("A").last.ago / days(1)) ** 2 > 4`, `A: 0; full "(event(\"A\").last.ago / days(1)) ** 2"`},
		{"ages multiplied", `event("A").last.ago / event("B").last.ago > 2`, `A: 0; B: 0; full "event(\"A\").last.ago / event(\"B\").last.ago"`},
		{"under an age", `days(10) / event("A").last.ago > 2`, `A: 0; full "days(10) / event(\"A\").last.ago"`},
		{"an age among numbers", `(event("A").last.ago / days(1)) in event("A").last.properties.l`, `A: 0; full "event(\"A\").last.ago"`},
		{"fractions of two ages", `0.5 * event("A").last.ago > event("B").last.ago`, `A: 0; B: 0; full "0.5 * event(\"A\").last.ago > event(\"B\").last.ago"`},
		{"large multiples of two ages", `1e9 * event("A").last.ago > 1e9 * event("B").last.ago`, `A: 0; B: 0; full "1e9 * event(\"A\").last.ago > 1e9 * event(\"B\").last.ago"`},
		{"in a closure", `any(event("A").list(3), #.ago > hours(1))`, `A: 0 1h`},
		{"a time in a closure", `count(event("A").within(days(2)).list(3), #.at + hours(3) > now) > 1`, `A: 0 3h 2d; anybody`},
		{"in a closure in a closure", `any(filter(event("A").list(3), #.ago > hours(1)), any(#.properties.l, # == 1) and #.ago > hours(2))`, `A: 0 1h 2h; anybody`},
		{"in a closure over two histories", `any(did("C") ? event("A").list(3) : event("B").list(3), #.ago > hours(1))`, `C: 0; A: 0 1h; B: 0 1h`},
		{"in a closure, as long as a trait says", `any(event("A").list(3), #.ago > days(user.traits.interval_days))`, `A: 0; trait interval_days; full "#.ago"`},
		{"now in a closure", `any(event("Product Added").list(3), #.properties.expires < now)`, `Product Added: 0; full "now"`},
		{"mapped", `max(map(event("A").list(3), #.ago / hours(1))) > 2`, `A: 0; anybody; full "max(map(event(\"A\").list(3), #.ago / hours(1)))"`},
		{"sorted", `len(sortBy(event("A").list(3), #.ago)) > 1`, `A: 0; anybody; full "len(sortBy(event(\"A\").list(3), #.ago))"`},
		{"found", `find(event("A").list(3), #.ago > hours(1)).properties.x == 1`, `A: 0 1h; anybody`},
		{"inside a segment", `did("A") and segment("vip here")`, `A: 0; Order Completed: 0; zone; full "segment(\"vip here\")"`},
		{"not a segment", `did("A") and not segment("not here")`, `A: 0; zone; full "not segment(\"not here\")"`},
		{"twice", `local.hour == 9 or local.hour == 10`, `zone; anybody; full "local.hour"; full "local.hour"`},

		{"nobody", `event("A").count > 0`, `A: 0`},
		{"who did nothing", `event("A").count == 0`, `A: 0; anybody`},
		{"who has no trait", `not has(user.traits.plan) and not did("A")`, `A: 0; trait plan; anybody`},
		{"who did nothing, but something else", `not did("A") and did("B")`, `A: 0; B: 0`},
		{"any of a list", `any(event("A").list(3), #.properties.x == 1)`, `A: 0`},
		{"all of a list", `all(event("A").list(3), #.properties.x == 1)`, `A: 0; anybody`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, problems := Compile(WhoSpec{When: c.when}, testSchema())
			require.False(t, HasErrors(problems), problems)
			require.Equal(t, c.want, toldChanges(w.Changes(), c.when))
			for _, f := range w.Changes().Full {
				require.Equal(t, "when", f.Part)
				require.True(t, strings.HasPrefix(f.Why, "This ") && strings.HasSuffix(f.Why, "."), f.Why)
			}
		})
	}
}

func TestChangesForEach(t *testing.T) {
	w := mustCompile(t, WhoSpec{
		ForEach: `event("Product Added", 'properties.quantity > 1').by("cart_id")`,
		When:    `it.last.ago >= hours(1) and it.last.ago < days(2) and event("Message Sent").within(days(1)).count < 3`,
		With:    []NamedExpr{{"hour", "local.hour"}, {"other", `event("Order Completed").count`}},
	})
	require.Equal(t, "Product Added it properties.quantity:integer > 1: 0 1h 2d; Message Sent of *: 0 1d", toldChanges(w.Changes(), ""))
	w = mustCompile(t, WhoSpec{ForEach: `event("Product Added").by("cart_id")`, When: `event("Order Completed").count == 0`})
	require.Equal(t, "Product Added it: 0; Order Completed: 0", toldChanges(w.Changes(), ""))
}

// Of an occurrence only what a rule reads is asked of the store; where it is handed on, all of it.
func TestReads(t *testing.T) {
	for name, c := range map[string]struct {
		spec  WhoSpec
		want  Reads // by judging
		later Reads // by everything
	}{
		"when it was":    {WhoSpec{When: `event("A").last.ago > days(1)`}, 0, 0},
		"whether it was": {WhoSpec{When: `did("A").since(event("A").last.at)`}, 0, 0},
		"a property":     {WhoSpec{When: `event("A").last.properties.x == 1`}, ReadsProperties, ReadsProperties},
		"its context":    {WhoSpec{When: `event("A").last.context.app == "ios"`}, ReadsContext, ReadsContext},
		"more in the message": {
			WhoSpec{When: `event("A").last.context.app == "ios"`, With: []NamedExpr{{Name: "x", Expr: `event("A").last.properties.x`}}},
			ReadsContext, ReadsProperties | ReadsContext,
		},
		"in the message only": {
			WhoSpec{When: `event("A").last.ago > days(1)`, With: []NamedExpr{{Name: "x", Expr: `event("A").last.properties.x`}}},
			0, ReadsProperties,
		},
		"one of two": {WhoSpec{When: `(event("A").last ?? event("B").last).properties.x == 1`}, ReadsProperties | ReadsContext, ReadsProperties | ReadsContext},
	} {
		t.Run(name, func(t *testing.T) {
			who, problems := Compile(c.spec, NewSchema(SchemaOptions{}))
			require.False(t, HasErrors(problems), problems)
			for _, f := range who.Features() {
				require.Equal(t, c.want, f.Reads, f.Key())
				require.Equal(t, c.later, f.ReadsLater, f.Key())
				require.False(t, f.Later, f.Key())
			}
		})
	}
	w, problems := Compile(WhoSpec{
		When: `event("A").count > 1`, With: []NamedExpr{{"x", `event("A").last.properties.x`}, {"n", `event("A").count`}}, ExitSince: `event("B").first.at`,
	}, NewSchema(SchemaOptions{}))
	require.Empty(t, problems)
	later := map[string]bool{}
	for _, f := range w.Features() {
		later[f.Key()] = f.Later
	}
	require.Equal(t, map[string]bool{`event("A").count`: false, `event("A").last`: true, `event("B").first`: true}, later)
}

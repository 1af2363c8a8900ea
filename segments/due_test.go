package segments

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDue(t *testing.T) {
	traits := func(j string) world { return world{traits: j} }
	at := func(d int64) string { return `"` + instantText(instant(now+d)) + `"` }
	last := func(w world, ago int64) world {
		w.values = map[string]any{`event("A").last`: occ(ago, `{"x":1}`)}
		return w
	}
	for _, c := range []struct {
		name, when string
		world      world
		want       int64 // ms from now; 0: none
	}{
		{"a time ahead", `user.traits.birthday < now`, traits(`{"birthday":` + at(5000) + `}`), 5000},
		{"equal at first", `user.traits.birthday <= now`, traits(`{"birthday":` + at(0) + `}`), 1},
		{"a time that has passed", `user.traits.birthday < now`, traits(`{"birthday":` + at(-5000) + `}`), 0},
		{"before a time", `now > user.traits.birthday - days(3)`, traits(`{"birthday":` + at(4*msDay) + `}`), msDay},
		{"no such trait", `user.traits.birthday < now`, world{}, 0},
		{"no time", `user.traits.birthday < now`, traits(`{"birthday":"soon"}`), 0},
		{"as long as a trait says", `event("A").last.ago > days(user.traits.interval_days)`, last(traits(`{"interval_days":2}`), msDay), msDay},
		{"it never happened", `event("A").last.ago > days(user.traits.interval_days)`, traits(`{"interval_days":2}`), 0},
		{"longer than any", `event("A").last.ago > days(user.traits.interval_days)`, last(traits(`{"interval_days":1e300}`), msDay), 0},
		{"in more than a hundred years", `event("A").last.ago > days(user.traits.interval_days)`, last(traits(`{"interval_days":50000}`), msDay), 0},
		{"times a trait", `event("A").last.ago * user.traits.interval_days > days(1)`, last(traits(`{"interval_days":3}`), 0), 8 * msHour},
		{"times a fraction, rounded", `event("A").last.ago * user.traits.interval_days > minutes(1)`, last(traits(`{"interval_days":0.1}`), 0), 599_995},
		{"the sum of ages", `event("A").last.ago + (now - user.created_at) > hours(4)`, last(world{profile: Profile{CreatedAt: now - msHour}}, msHour), msHour},
		{"created", `user.created_at < now - days(7)`, world{profile: Profile{CreatedAt: now - 6*msDay}}, msDay},
		{"a date where the person is", `now >= "2023-11-16"`, world{profile: Profile{Zone: "Europe/Berlin"}}, 1_700_089_200_000 - now},
		{"a date where nobody knows", `now >= "2023-11-16"`, world{}, 1_700_092_800_000 - now},
		{"the earliest of two", `now > user.traits.birthday and now > user.created_at + days(1)`, world{traits: `{"birthday":` + at(2*msHour) + `}`, profile: Profile{CreatedAt: now - msDay + msHour}}, msHour},
		{"whatever the rest says", `event("A").count > 7 and now > user.traits.birthday`, traits(`{"birthday":` + at(2*msHour) + `}`), 2 * msHour},
		{"inside not", `not (now > user.traits.birthday)`, traits(`{"birthday":` + at(2*msHour) + `}`), 2 * msHour},
		{"a property that is a time", `event("Product Added").last.properties.expires < now + hours(1)`, world{values: map[string]any{`event("Product Added").last`: occ(msHour, `{"expires":`+at(3*msHour)+`}`)}}, 2 * msHour},
		{"the largest of times", `event("Product Added").max("expires") < now`, world{values: map[string]any{`event("Product Added").max("expires")`: float64(now + 77)}}, 77},
		{"entered", `inside("mall").entered < now - minutes(5)`, world{places: []Place{{Known: true, Now: true, Entered: now - msMinute}}}, 4 * msMinute},
		{"outside", `inside("mall").entered < now - minutes(5)`, world{places: []Place{{Known: true}}}, 0},
		{"a window that a trait gives", `did("A").since(now - days(user.traits.interval_days))`, last(traits(`{"interval_days":2}`), msDay), msDay},
		{"a window over a list", `event("A").since(now - hours(user.traits.interval_days)).count > 1`, world{
			traits: `{"interval_days":5}`, values: map[string]any{`event("A").list(0)`: []*Occurrence{occ(msHour, `{}`), occ(3*msHour, `{}`), occ(9*msHour, `{}`)}},
		}, 2 * msHour},
		{"a choice of times", `now > (has(user.id) ? user.traits.birthday : user.created_at + days(1))`, world{traits: `{"birthday":` + at(9) + `}`, profile: Profile{CreatedAt: now}}, 9},
		{"too large to be a time", `has(now + days(user.traits.interval_days))`, traits(`{"interval_days":106751991147}`), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, problems := Compile(WhoSpec{When: c.when}, testSchema())
			require.False(t, HasErrors(problems), problems)
			require.True(t, w.Changes().Dues)
			require.Empty(t, w.Changes().Full)
			if c.world.values == nil {
				c.world.values = map[string]any{}
			}
			cand := c.world.candidate(t, w)
			due, ok := w.Due(now, cand)
			if c.want == 0 {
				require.False(t, ok, due-now)
				return
			}
			require.True(t, ok)
			require.Equal(t, c.want, due-now)
		})
	}
}

// One that is past says nothing more, and instants always go on.
func TestDueGoesOn(t *testing.T) {
	w := mustCompile(t, WhoSpec{When: `user.traits.birthday == now`})
	c := world{}.candidate(t, w)
	c.Profile.Traits = map[string]json.RawMessage{"birthday": json.RawMessage(`"` + instantText(instant(now+10)) + `"`)}
	var dues []int64
	for at := now; ; {
		next, ok := w.Due(at, c)
		if !ok {
			break
		}
		dues = append(dues, next-now)
		at = next
	}
	require.Equal(t, []int64{10, 11}, dues)
}

func BenchmarkDue(b *testing.B) {
	w := mustCompile(b, WhoSpec{When: `event("Product Added").last.ago > days(user.traits.interval_days) and user.traits.birthday > now`})
	c := world{traits: `{"interval_days":2,"birthday":"2024-01-01T00:00:00Z"}`, values: map[string]any{`event("Product Added").last`: occ(msDay, `{}`)}}.candidate(b, w)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := w.Due(now, c); !ok {
			b.Fatal("no due")
		}
	}
}

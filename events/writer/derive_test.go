package writer

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"nudge/events"
)

// step is an event of one person about one token.
type step struct {
	kind   events.Kind
	user   string
	anon   string
	at     int64
	put    string // platform of a put; "" and not gone: context.device of the call
	gone   string // reason of a removal
	secret string // alias: the previous id
}

func (s step) event() events.Event {
	ev := events.Event{Kind: s.kind, UserID: s.user, AnonymousID: s.anon, Time: s.at, PreviousID: s.secret}
	switch s.kind {
	case events.KindDevice:
		ev.Properties, _ = json.Marshal(events.DeviceChange{Token: "tok", Platform: s.put, Removed: s.gone != "", Reason: s.gone})
	case events.KindAlias:
		ev.Flags = events.KnownAlias
	default:
		ev.Context = []byte(`{"device":{"token":"tok","type":"ios"}}`)
	}
	return ev
}

func TestDevices(t *testing.T) {
	const day = int64(24 * time.Hour / time.Millisecond)
	const trackCall, identifyCall, device = events.KindTrack, events.KindIdentify, events.KindDevice
	tests := map[string]struct {
		steps []step
		want  []string // "person removed reason @time" for each row
	}{
		"seen again within a day writes nothing": {
			[]step{{kind: trackCall, user: "u", at: 1}, {kind: trackCall, user: "u", at: day}},
			[]string{"1 false  @1"},
		},
		"seen again after a day says so": {
			[]step{{kind: trackCall, user: "u", at: 1}, {kind: trackCall, user: "u", at: day + 1}},
			[]string{"1 false  @1", fmt.Sprintf("1 false  @%d", day+1)},
		},
		"it goes to the last who identified on it": {
			[]step{{kind: identifyCall, user: "u", at: 1}, {kind: identifyCall, user: "v", at: 100}},
			[]string{"1 false  @1", "1 true moved @99", "2 false  @100"},
		},
		"somebody anonymous does not take it from a known person": {
			[]step{{kind: identifyCall, user: "u", at: 1}, {kind: trackCall, anon: "a", at: 100}},
			[]string{"1 false  @1"},
		},
		"an anonymous owner who becomes known keeps it": {
			[]step{{kind: trackCall, anon: "a", at: 1}, {kind: identifyCall, user: "u", anon: "a", at: 100}},
			[]string{"1 false  @1"},
		},
		"a late call from before the change does not take it back": {
			[]step{{kind: identifyCall, user: "u", at: 1}, {kind: identifyCall, user: "v", at: 100}, {kind: identifyCall, user: "u", at: 50}},
			[]string{"1 false  @1", "1 true moved @99", "2 false  @100"},
		},
		"removed stays removed until it is put or identified on": {
			[]step{
				{kind: device, user: "u", put: "ios", at: 1},
				{kind: device, user: "u", gone: "app", at: 10},
				{kind: trackCall, user: "u", at: 20},
				{kind: identifyCall, user: "u", at: 30},
			},
			[]string{"1 false  @1", "1 true app @10", "1 false  @30"},
		},
		"a removal by who does not have it changes nothing": {
			[]step{{kind: device, user: "u", put: "ios", at: 1}, {kind: device, user: "v", gone: "app", at: 10}},
			[]string{"1 false  @1"},
		},
		"a dead token is dead, whoever was sent to": {
			[]step{{kind: device, user: "u", put: "ios", at: 1}, {kind: device, user: "v", gone: "dead", at: 10}},
			[]string{"1 false  @1", "1 true dead @10"},
		},
		"another platform is a change": {
			[]step{{kind: device, user: "u", put: "ios", at: 1}, {kind: device, user: "u", put: "web", at: 2}},
			[]string{"1 false  @1", "1 false  @2"},
		},
		"after a merge it is still theirs": {
			[]step{
				{kind: device, user: "u", put: "ios", at: 1},
				{kind: trackCall, user: "v", at: 2},
				{kind: events.KindAlias, user: "u", secret: "v", at: 3},
				{kind: trackCall, user: "v", at: 4},
			},
			[]string{"1 false  @1", "1 true moved @1", "2 false  @2"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			ids := newIdentity(testSalt)
			d := newDerive(ids)
			b := &batch{}
			for i, s := range tt.steps {
				ev := s.event()
				pos := events.At(uint64(i+1), 0)
				p, _ := ids.apply(&ev, pos)
				d.add(b, &events.Resolved{Event: ev, Pos: pos, Person: p})
			}
			var got []string
			for _, r := range b.devices {
				got = append(got, fmt.Sprintf("%d %t %s @%d", events.Position(r.person).Seq(), r.Removed, r.Reason, r.time))
			}
			require.Equal(t, tt.want, got)
		})
	}
}

func TestZones(t *testing.T) {
	ids := newIdentity(testSalt)
	d := newDerive(ids)
	b := &batch{}
	see := func(user string, at int64, zone string) {
		ev := events.Event{Kind: events.KindTrack, UserID: user, Time: at, Context: []byte(`{"timezone":"` + zone + `"}`)}
		pos := events.At(uint64(at), 0)
		p, _ := ids.apply(&ev, pos)
		d.add(b, &events.Resolved{Event: ev, Pos: pos, Person: p})
	}
	see("u", 10, "Europe/Berlin")
	see("u", 20, "Europe/Berlin")
	see("u", 5, "Asia/Tokyo") // late
	see("u", 30, "Nowhere/Land")
	see("u", 40, "Asia/Tokyo")
	see("v", 41, "Asia/Tokyo")
	ev := alias("u", "v", true)
	_, _ = ids.apply(&ev, events.At(42, 0))
	d.merged(ids.merges)
	see("v", 43, "Asia/Tokyo") // whose is it now? written again
	var got []string
	for _, z := range b.zones {
		got = append(got, fmt.Sprintf("%d %s", z.time, z.zone))
	}
	require.Equal(t, []string{"10 Europe/Berlin", "40 Asia/Tokyo", "41 Asia/Tokyo", "43 Asia/Tokyo"}, got)
}

func TestLocales(t *testing.T) {
	ids := newIdentity(testSalt)
	d := newDerive(ids)
	b := &batch{}
	see := func(user string, at int64, context string) {
		ev := events.Event{Kind: events.KindTrack, UserID: user, Time: at, Context: []byte(context)}
		pos := events.At(uint64(len(b.zones))+uint64(at), 0)
		p, _ := ids.apply(&ev, pos)
		d.add(b, &events.Resolved{Event: ev, Pos: pos, Person: p})
	}
	see("u", 10, `{"locale":"de_DE","timezone":"Europe/Berlin"}`)
	see("u", 20, `{"locale":"de-de","timezone":"Europe/Berlin"}`)
	see("u", 5, `{"locale":"fr"}`) // late
	see("u", 30, `{"locale":"klingon"}`)
	see("u", 40, `{"locale":"en","timezone":"Europe/Berlin"}`) // the row says both
	see("u", 41, `{"timezone":"Asia/Tokyo"}`)
	see("u", 50, `{"locale":"en"}`)
	see("v", 60, `{"locale":"en"}`)
	ev := alias("u", "v", true)
	_, _ = ids.apply(&ev, events.At(70, 0))
	d.merged(ids.merges)
	see("v", 71, `{"locale":"en"}`) // whose is it now? written again
	var got []string
	for _, z := range b.zones {
		got = append(got, fmt.Sprintf("%d %s %s", z.time, z.zone, z.locale))
	}
	require.Equal(t, []string{"10 Europe/Berlin de-DE", "40 Europe/Berlin en", "41 Asia/Tokyo ", "60  en", "71  en"}, got)
}

// Whatever order rows are read in, at every moment a token has at most one owner: of each person the
// newest row by (time, position) decides, as readers do it.
func TestDeviceHasOneOwner(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ids := newIdentity(testSalt)
		d := newDerive(ids)
		b := &batch{}
		for i := range rapid.IntRange(1, 30).Draw(t, "n") {
			s := step{
				kind: rapid.SampledFrom([]events.Kind{events.KindTrack, events.KindIdentify, events.KindDevice}).Draw(t, "kind"),
				user: rapid.SampledFrom([]string{"u", "v", "w"}).Draw(t, "user"),
				at:   rapid.Int64Range(1, 40).Draw(t, "at"),
				put:  "ios",
			}
			if rapid.Bool().Draw(t, "removal") && s.kind == events.KindDevice {
				s.gone = rapid.SampledFrom([]string{"app", "dead"}).Draw(t, "reason")
			}
			ev, pos := s.event(), events.At(uint64(i+1), 0)
			p, _ := ids.apply(&ev, pos)
			d.add(b, &events.Resolved{Event: ev, Pos: pos, Person: p})
			type last struct {
				time    int64
				pos     events.Position
				removed bool
			}
			newest := map[events.PersonID]last{}
			for _, r := range b.devices {
				l := newest[r.person]
				if r.time > l.time || r.time == l.time && r.pos >= l.pos {
					newest[r.person] = last{r.time, r.pos, r.Removed}
				}
			}
			owners := 0
			for _, l := range newest {
				if !l.removed {
					owners++
				}
			}
			require.LessOrEqual(t, owners, 1, "%+v", b.devices)
		}
	})
}

// Who goes from one device to another and back is known to be on the one that they used last, within the day.
func TestRowsTellTheDeviceThatWasUsedLast(t *testing.T) {
	ids := newIdentity(testSalt)
	d := newDerive(ids)
	b := &batch{}
	see := func(user, token string, at int64) {
		ev := events.Event{Kind: events.KindTrack, UserID: user, Time: at, Context: []byte(`{"device":{"token":"` + token + `","type":"ios"}}`)}
		pos := events.At(uint64(at), 0)
		p, _ := ids.apply(&ev, pos)
		d.add(b, &events.Resolved{Event: ev, Pos: pos, Person: p})
	}
	see("u", "phone", 10)
	see("u", "phone", 20)
	see("u", "pad", 30)
	see("u", "pad", 40)
	see("u", "phone", 25) // late
	see("u", "phone", 50)
	see("u", "phone", 60)
	see("v", "other", 61)
	ev := alias("u", "v", true)
	_, _ = ids.apply(&ev, events.At(62, 0))
	d.merged(ids.merges)
	see("u", "phone", 63) // one person's, who was on the other since
	see("v", "phone", 64)
	var got []string
	for _, r := range b.devices {
		got = append(got, fmt.Sprintf("%s @%d", r.Token, r.time))
	}
	want := []string{"phone @10", "pad @30", "phone @50", "other @61", "phone @63"}
	require.Equal(t, want, got)

	// The same is known after a start.
	again := newDerive(ids)
	for _, r := range b.devices {
		again.loadDevice(r.person, r.time, r.DeviceChange)
	}
	require.Equal(t, d.seen, again.seen)
}

// Of one device, where the app says which it is, the newest token counts.
func TestTheNewestTokenOfADevice(t *testing.T) {
	type seen struct {
		user, token, app, device string
		at                       int64
	}
	for name, c := range map[string]struct {
		seen []seen
		want []string // "token removed reason @time" for each row
	}{
		"the older goes":                 {[]seen{{"u", "old", "a", "d1", 1}, {"u", "new", "a", "d1", 2}}, []string{"old false  @1", "old true replaced @2", "new false  @2"}},
		"without an id both stay":        {[]seen{{"u", "old", "a", "", 1}, {"u", "new", "a", "", 2}}, []string{"old false  @1", "new false  @2"}},
		"another device":                 {[]seen{{"u", "old", "a", "d1", 1}, {"u", "new", "a", "d2", 2}}, []string{"old false  @1", "new false  @2"}},
		"another app of the vendor":      {[]seen{{"u", "old", "a", "d1", 1}, {"u", "new", "b", "d1", 2}}, []string{"old false  @1", "new false  @2"}},
		"the id comes later":             {[]seen{{"u", "old", "a", "", 1}, {"u", "old", "a", "d1", 2}, {"u", "new", "a", "d1", 3}}, []string{"old false  @1", "old false  @2", "old true replaced @3", "new false  @3"}},
		"a late call with the old one":   {[]seen{{"u", "new", "a", "d1", 5}, {"u", "old", "a", "d1", 2}}, []string{"new false  @5"}},
		"the old one is not seen again":  {[]seen{{"u", "old", "a", "d1", 1}, {"u", "new", "a", "d1", 2}, {"u", "old", "a", "d1", 3}}, []string{"old false  @1", "old true replaced @2", "new false  @2"}},
		"somebody else's is theirs":      {[]seen{{"u", "old", "a", "d1", 1}, {"v", "new", "a", "d1", 2}}, []string{"old false  @1", "new false  @2"}},
		"three, one after the other":     {[]seen{{"u", "1", "a", "d1", 1}, {"u", "2", "a", "d1", 2}, {"u", "3", "a", "d1", 3}}, []string{"1 false  @1", "1 true replaced @2", "2 false  @2", "2 true replaced @3", "3 false  @3"}},
		"also where a start is between":  {[]seen{{"u", "old", "a", "d1", 1}, {}, {"u", "new", "a", "d1", 2}}, []string{"old false  @1", "old true replaced @2", "new false  @2"}},
		"a start behind the replacement": {[]seen{{"u", "1", "a", "d1", 1}, {"u", "2", "a", "d1", 2}, {}, {"u", "3", "a", "d1", 3}}, []string{"1 false  @1", "1 true replaced @2", "2 false  @2", "2 true replaced @3", "3 false  @3"}},
	} {
		t.Run(name, func(t *testing.T) {
			ids := newIdentity(testSalt)
			d := newDerive(ids)
			b := &batch{}
			for i, s := range c.seen {
				if s.token == "" { // as after a start: the last row of each token
					d = newDerive(ids)
					last := map[string]deviceRow{}
					for _, r := range b.devices {
						last[r.Token] = r
					}
					for _, r := range last {
						d.loadDevice(r.person, r.time, r.DeviceChange)
					}
					continue
				}
				context := fmt.Sprintf(`{"device":{"id":%q,"token":%q,"type":"ios"},"app":{"namespace":%q}}`, s.device, s.token, s.app)
				ev := events.Event{Kind: events.KindTrack, UserID: s.user, Time: s.at, Context: []byte(context)}
				pos := events.At(uint64(i+1), 0)
				p, _ := ids.apply(&ev, pos)
				d.add(b, &events.Resolved{Event: ev, Pos: pos, Person: p})
			}
			var got []string
			for _, r := range b.devices {
				got = append(got, fmt.Sprintf("%s %t %s @%d", r.Token, r.Removed, r.Reason, r.time))
			}
			require.Equal(t, c.want, got)
		})
	}
}

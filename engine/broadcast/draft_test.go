package broadcast_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/engine/broadcast"
	"nudge/engine/format"
)

func TestDraftsAreFiles(t *testing.T) {
	for _, c := range []struct {
		name string
		d    broadcast.Draft
		want map[string]string
	}{
		{"a segment", broadcast.Draft{
			Name: "figs", At: "2026-12-01 09:00", Who: []string{`segment("vip")`}, Channel: "push",
			Fields: []broadcast.Field{{Name: "title", Value: "Fresh figs"}, {Name: "body", Value: "yes"}, {Name: "badge", Value: "3", JSON: true}},
		}, map[string]string{"broadcasts/figs.yaml": `rule: figs
at: "2026-12-01 09:00"
when: |
  segment("vip")
again: never
when_blocked: {no_address: drop, no_consent: drop}
message:
  push:
    title: Fresh figs
    body: "yes"
    badge: 3
`}},
		{"everything", broadcast.Draft{
			Name: "figs", Category: "transactional", At: "2026-12-01 09:00", Persons: true, Who: []string{"user.traits.age > 20\nor user.traits.old"},
			List: []string{"ann", "bob"}, Holdout: "5%", Goal: "Order: Completed", Channel: "email",
			Fields: []broadcast.Field{{Name: "subject", Value: "It's \"here\": <b> #1"}},
		}, map[string]string{"broadcasts/figs.txt": "ann\nbob\n", "broadcasts/figs.yaml": `rule: figs
category: transactional
at: {time: "2026-12-01 09:00", zone: person}
when: |
  (user.id in list("broadcasts/figs.txt")) and
  (user.traits.age > 20
  or user.traits.old)
again: never
goal: {event: "Order: Completed"}
holdout: 5%
when_blocked: {no_address: drop, no_consent: drop}
message:
  email:
    subject: "It's \"here\": <b> #1"
`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := map[string]string{}
			for name, src := range c.d.Files() {
				got[name] = string(src)
			}
			require.Equal(t, c.want, got)
			file := broadcast.File(c.d.Name)
			again, findings := format.Source(format.File{Path: file, Kind: format.KindOf(file)}, []byte(got[file]))
			require.Empty(t, findings)
			require.Equal(t, got[file], string(again), "nudge fmt leaves it alone")
		})
	}
}

func TestNameOf(t *testing.T) {
	for says, want := range map[string]string{
		"Fresh figs!":                     "fresh-figs",
		"Hi {{ user.traits.name }}, news": "hi-news",
		"{% if x %}Sale{% endif %}":       "sale",
		"Äpfel":                           "pfel",
		"???":                             "",
		"One two three four five six seven eight nine ten": "one-two-three-four-five-six-seven-eight",
	} {
		t.Run(says, func(t *testing.T) { require.Equal(t, want, broadcast.NameOf(says)) })
	}
}

func TestSame(t *testing.T) {
	for _, c := range []struct {
		name, a, b string
		want       bool
	}{
		{"another time", "rule: x\nat: 2026-12-01\nwhen: true\n", "rule: x\nat: \"2026-12-02T09:00:00Z\"\nwhen: true\n", true},
		{"another condition", "rule: x\nat: 2026-12-01\nwhen: true\n", "rule: x\nat: 2026-12-01\nwhen: false\n", false},
		{"in a text", "rule: x\nabout: |\n  at: 1\n", "rule: x\nabout: |\n  at: 2\n", false},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.want, broadcast.Same([]byte(c.a), []byte(c.b))) })
	}
}

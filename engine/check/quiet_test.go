package check_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/engine/check"
)

func TestQuietElsewhere(t *testing.T) {
	const quiet = "quiet_hours: {from: \"21:00\", to: \"08:00\", zone: person}\n"
	for _, c := range []struct {
		name, config, rule string
		want               []string
	}{
		{"the morning", quiet, "schedule: \"0 9 * * *\"\n", []string{
			"every look is in the quiet hours of people in America/New_York, America/Los_Angeles, America/Sao_Paulo and 6 more of 22 time zones: at 09:00 UTC it is 04:00 in America/New_York",
			"Their messages wait until 08:00 there, and go only if the condition is still true then.", "looks at 09:00 of everybody's own clock",
		}},
		{"another zone's morning", quiet, "schedule: {cron: \"30 7 * * 1\", zone: Asia/Tokyo}\n", []string{"at 07:30 JST it is 04:00 in Asia/Kolkata"}},
		{"once", quiet, "at: 2026-12-24 18:00\n", []string{"at 18:00 UTC it is 23:30 in Asia/Kolkata"}},
		{"dropped", quiet, "schedule: \"0 9 * * *\"\nwhen_blocked: {quiet_hours: drop}\n", []string{"They never get it: the rule drops what falls into quiet hours."}},
		{"held for less than the night", quiet, "schedule: \"0 9 * * *\"\nwhen_blocked: {quiet_hours: hold}\nexpire: 1h\n", []string{"They never get it: quiet hours end 4h later, and the rule's entries expire after 1h."}},
		{"held for longer", quiet, "schedule: \"0 9 * * *\"\nwhen_blocked: {quiet_hours: hold}\nwhile_held: keep\n", []string{"Their messages wait until 08:00 there. With"}},
		{"some looks are not", quiet, "schedule: \"0 9,21 * * *\"\n", nil},
		{"all day", quiet, "schedule: \"*/15 * * * *\"\n", nil},
		{"a day of the week that is not quiet", "quiet_hours: {from: \"21:00\", to: \"08:00\", zone: person, days: [monday]}\n", "schedule: \"0 9 * * *\"\n", nil},
		{"the person's clock", quiet, "schedule: {cron: \"0 9 * * *\", zone: person}\n", nil},
		{"at a time of their day", quiet, "schedule: \"0 3 * * *\"\nsend_at: \"09:00\"\n", nil},
		{"quiet on the workspace's clock", "quiet_hours: {from: \"21:00\", to: \"08:00\", zone: workspace}\n", "schedule: \"0 9 * * *\"\n", nil},
		{"another channel", "quiet_hours: {from: \"21:00\", to: \"08:00\", zone: person, channels: [email]}\n", "schedule: \"0 9 * * *\"\n", nil},
		{"transactional", quiet, "schedule: \"0 9 * * *\"\ncategory: transactional\n", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			rule := "rule: r\nwhen: did(\"A\")\nagain: {after: 7d}\nmessage: {push: {title: Hi, body: Ho}}\n" + c.rule
			got := found(t, check.Example(fmt.Sprintf("-- nudge.yaml --\nunknown_zone: default\n%s-- rules/r.yaml --\n%s", c.config, rule)))["rule/quiet-elsewhere"]
			if c.want == nil {
				require.Empty(t, got)
				return
			}
			require.Len(t, got, 1)
			for _, want := range c.want {
				require.Contains(t, got[0].Summary+" "+got[0].Detail, want)
			}
			require.Equal(t, 5, got[0].Line)
		})
	}
}

func TestExpireWithoutHold(t *testing.T) {
	const holding = "caps: [{name: one, max: 1, per: 24h, scope: all, at_cap: hold}]\n"
	for _, c := range []struct {
		name, config, rule string
		want               bool
	}{
		{"tried again", "", "schedule: \"0 9 * * *\"\nexpire: 2h\n", true},
		{"not said", "", "schedule: \"0 9 * * *\"\n", false},
		{"on an event", "", "on: A\nexpire: 2h\n", false},
		{"held", "", "schedule: \"0 9 * * *\"\nexpire: 2h\nwhen_blocked: hold\n", false},
		{"held for one reason", "", "schedule: \"0 9 * * *\"\nexpire: 2h\nwhen_blocked: {quiet_hours: hold}\n", false},
		{"held for a time of day", "", "schedule: \"0 9 * * *\"\nexpire: 2h\nsend_at: \"09:00\"\n", false},
		{"held by a cap", holding, "schedule: \"0 9 * * *\"\nexpire: 2h\n", false},
		{"not by a cap that it overrules", holding, "schedule: \"0 9 * * *\"\nexpire: 2h\nwhen_blocked: {frequency_cap: drop}\n", true},
		{"not by a cap that is not for it", holding, "schedule: \"0 9 * * *\"\nexpire: 2h\ncategory: transactional\n", true},
		{"held for a zone", "unknown_zone: hold\nquiet_hours: {from: \"21:00\", to: \"08:00\", zone: person}\n", "schedule: {cron: \"0 9 * * *\", zone: person}\nexpire: 2h\n", false},
		{"all is dropped", "", "schedule: \"0 9 * * *\"\nexpire: 2h\nwhen_blocked: drop\n", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			rule := "rule: r\nwhen: did(\"A\")\nagain: never\nmessage: {push: {title: Hi, body: Ho}}\n" + c.rule
			files := "-- rules/r.yaml --\n" + rule
			if c.config != "" {
				files = "-- nudge.yaml --\n" + c.config + files
			}
			got := found(t, check.Example(files))["rule/expire-without-hold"]
			require.Equal(t, c.want, len(got) == 1)
		})
	}
	lifetime := "rule: r\nwhen: did(\"A\")\nagain: never\nschedule: \"0 9 * * *\"\nexpire: 2h\nmessage: {push: {title: Hi, ttl: 2h}}\n"
	require.Empty(t, found(t, check.Example(lifetime))["rule/expire-without-hold"], "delivery is meant")
}

func TestAlwaysQuietSaysWhatBecomes(t *testing.T) {
	for _, c := range []struct{ name, rule, want string }{
		{"tried again", "schedule: {cron: \"0 22 * * *\", zone: person}\n", "Its messages wait until 08:00, and go only if the condition is still true then."},
		{"held and kept", "schedule: {cron: \"0 22 * * *\", zone: person}\nwhen_blocked: hold\nwhile_held: keep\n", "Its messages wait until 08:00."},
		{"dropped", "schedule: {cron: \"0 22 * * *\", zone: person}\nwhen_blocked: drop\n", "Nobody ever gets it: the rule drops what falls into quiet hours."},
		{"held for too short a time", "schedule: {cron: \"0 22 * * *\", zone: person}\nwhen_blocked: hold\nexpire: 9h\n", "Nobody ever gets it: quiet hours end 10h later, and the rule's entries expire after 9h."},
		{"on an event, at night", "on: A\nsend_at: \"22:00\"\nexpire: 9h\n", "Nobody ever gets it: quiet hours end 10h later"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rule := "rule: r\nwhen: did(\"A\")\nagain: {after: 7d}\nmessage: {push: {title: Hi, body: Ho}}\n" + c.rule
			got := found(t, check.Example("-- nudge.yaml --\nquiet_hours: {from: \"21:00\", to: \"08:00\", zone: person}\n-- rules/r.yaml --\n"+rule))["rule/always-quiet"]
			require.Len(t, got, 1)
			require.Contains(t, got[0].Detail, c.want)
		})
	}
}

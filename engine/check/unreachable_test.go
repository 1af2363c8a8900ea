package check_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/engine/check"
	"nudge/engine/enginetest"
	"nudge/engine/ledger"
	"nudge/events/clickhouse/embedded"
)

func TestMain(m *testing.M) {
	embedded.MaybeRunChild() // the test binary is its own engine
	os.Exit(m.Run())
}

const (
	oneAWeek = "caps: [{name: one-a-week, max: 1, per: 7d, scope: all, at_cap: retry}]\n"
	message  = "message: {push: {title: Hi, body: Ho}}\n"
	daily    = "schedule: \"0 9 * * *\"\n"
)

// rule is a rule's file but for its name; parts of it may be replaced.
func rule(name string, parts ...string) string {
	text := "rule: " + name + "\n" + daily + "when: did(\"A\")\nagain: {after: 1d}\n" + message
	for i := 0; i+1 < len(parts); i += 2 {
		if parts[i] == "" {
			text += parts[i+1] + "\n"
		} else {
			text = strings.Replace(text, parts[i], parts[i+1], 1)
		}
	}
	return text
}

func TestUnreachable(t *testing.T) {
	const narrower = `when: did("A") and user.traits.likes == "shoes"`
	both := func(config, a, b string) string {
		return "-- nudge.yaml --\nunknown_zone: default\n" + config + "-- rules/a.yaml --\n" + a + "-- rules/b.yaml --\n" + b
	}
	for _, c := range []struct{ name, files, want string }{
		// b comes after a by its name.
		{"a is due again before there is room", both(oneAWeek, rule("a"), rule("b")), "b always outranked: a goes first whenever this rule is due, and one-a-week has room for one message"},
		{"b asks for more, a looks back", both(oneAWeek, rule("a", "", "backfill: true"), rule("b", `when: did("A")`, narrower)), "b always outranked"},
		{"b asks for more, and a only noted some", both(oneAWeek, rule("a"), rule("b", `when: did("A")`, narrower)), ""},
		{"b asks for less", both(oneAWeek, rule("a", `when: did("A")`, narrower, "", "backfill: true"), rule("b")), ""},
		{"the same in another order", both(oneAWeek, rule("a", `did("A")`, `did("A") and event("B").count > 2`), rule("b", `did("A")`, `event("B").count > 2   and (did("A"))`)), "b always outranked"},
		{"b goes first", both(oneAWeek, rule("a"), rule("b", "", "priority: 60")), "a always outranked"},
		{"a is due again too late", both(oneAWeek, rule("a", "1d", "6d"), rule("b")), ""},
		{"a is over after one", both(oneAWeek, rule("a", "{after: 1d}", "never"), rule("b")), ""},
		{"both once, and b gives up", both(oneAWeek, rule("a", "{after: 1d}", "never"), rule("b", "{after: 1d}", "never", "", "when_blocked: {outranked: drop}")), "b always outranked"},
		{"both once, and b waits", both(oneAWeek, rule("a", "{after: 1d}", "never"), rule("b", "{after: 1d}", "never")), ""},
		{"b looks back", both(oneAWeek, rule("a"), rule("b", "", "backfill: true")), ""},
		{"another schedule", both(oneAWeek, rule("a"), rule("b", "0 9", "0 10")), ""},
		{"room for two", both(strings.Replace(oneAWeek, "max: 1", "max: 2", 1), rule("a"), rule("b")), ""},
		{"a calendar's week", both(strings.Replace(oneAWeek, "per: 7d", "per: week, clock: person", 1), rule("a"), rule("b")), ""},
		{"a cap of its own on a", both(strings.Replace(oneAWeek, "caps: [", "caps: [{name: a-month, max: 1, per: 30d, scope: all, rules: [a], at_cap: retry}, ", 1), rule("a"), rule("b")), ""},
		{"a drops at the cap", both(oneAWeek, rule("a", "", "when_blocked: {frequency_cap: drop}"), rule("b")), ""},
		{"a has a holdout", both(oneAWeek, rule("a", "", "holdout: 10%\ngoal: {event: A}"), rule("b")), ""},
		{"a is for some", both(oneAWeek, rule("a", "", "rollout: 50%"), rule("b")), ""},
		{"a is a shadow", both(oneAWeek, rule("a", "", "shadow: true"), rule("b")), ""},
		{"a can be ended", both(oneAWeek, rule("a", "", "exit: B"), rule("b")), ""},
		{"both are ended", both(oneAWeek, rule("a", "", "exit: B"), rule("b", "", "exit: B")), "b always outranked"},
		{"another category", both(oneAWeek+"categories: {news: {consent: opt_in}}\n", rule("a"), rule("b", "", "category: news")), ""},
		{"a channel that a has not", both(oneAWeek, rule("a"), rule("b", "message: {", "message: {email: {subject: Hi}, ")), ""},
		{"per value and per person", both(oneAWeek, rule("a"), rule("b", "", `for_each: event("A").by("x")`)), ""},

		{"never between start and end", "-- rules/r.yaml --\n" + rule("r", "0 9 * * *", "0 9 * * 1", "", "start: 2026-12-22\nend: 2026-12-28"), "r the rule never looks"},
		{"once between start and end", "-- rules/r.yaml --\n" + rule("r", "0 9 * * *", "0 9 * * 1", "", "start: 2026-12-22\nend: 2026-12-29"), ""},
		{"on some clock between start and end", both("", rule("r", daily, "schedule: {cron: \"0 9 * * 1\", zone: person}\n", "", "start: 2026-12-22\nend: 2026-12-28"), rule("b")), ""},
		{"at a time before the start", "-- rules/r.yaml --\n" + rule("r", daily, "at: 2026-12-24 09:00\n", "", "start: 2026-12-25"), "r the rule never looks"},
		{"at a time after the end", "-- rules/r.yaml --\n" + rule("r", daily, "at: 2026-12-24 09:00\n", "", "end: 2026-12-24"), "r the rule never looks"},
		{"at a time before the end", "-- rules/r.yaml --\n" + rule("r", daily, "at: 2026-12-24 09:00\n", "", "end: 2026-12-25"), ""},
		{"waits for too long", both("", rule("r", daily, "schedule: {cron: \"0 10 * * *\", zone: person}\n", "", "send_at: \"09:00\"\nexpire: 20h"), rule("b")), "r send_at is 23h after the look, and entries expire after 20h"},
		{"waits as long as it may", both("", rule("r", daily, "schedule: {cron: \"0 10 * * *\", zone: person}\n", "", "send_at: \"12:00\"\nexpire: 2h"), rule("b")), "r send_at is 2h after the look"},
		{"one of the looks is near", both("", rule("r", daily, "schedule: {cron: \"0 8,10 * * *\", zone: person}\n", "", "send_at: \"09:00\"\nexpire: 20h"), rule("b")), ""},
		{"for nobody", "-- rules/r.yaml --\n" + rule("r", "", "rollout: 0%"), "r the rule is for nobody"},
		{"all are held out", "-- rules/r.yaml --\n" + rule("r", "", "holdout: 100%\ngoal: {event: A}"), "r everybody is held out"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := found(t, check.Example(c.files))["rule/unreachable"]
			if c.want == "" {
				require.Empty(t, got)
				return
			}
			require.Len(t, got, 1, "%v", got)
			require.Contains(t, got[0].Rule+" "+got[0].Summary, c.want)
		})
	}
}

// What is called always outranked is sent to nobody, and where it is not called so by one difference, it is sent.
func TestOutrankedIsNeverSent(t *testing.T) {
	for _, c := range []struct {
		name, a, b string
		sent       bool // b is
	}{
		{"b asks for more, a looks back", rule("a", "", "backfill: true"), rule("b", `when: did("A")`, `when: did("A") and user.traits.likes == "shoes"`), false},
		{"both once, and b gives up", rule("a", "{after: 1d}", "never"), rule("b", "{after: 1d}", "never", "", "when_blocked: {outranked: drop}"), false},
		{"a is due again too late", rule("a", "1d", "8d"), rule("b"), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := oneAWeek + "channels: {push: {adapter: file, kind: push, config: {path: data/push.ndjson}}}\n"
			files := map[string]string{"nudge.yaml": "unknown_zone: default\n" + config, "rules/a.yaml": c.a, "rules/b.yaml": c.b}
			called := found(t, check.Example("-- nudge.yaml --\n"+files["nudge.yaml"]+"-- rules/a.yaml --\n"+c.a+"-- rules/b.yaml --\n"+c.b))["rule/unreachable"]
			require.Equal(t, !c.sent, len(called) == 1)
			w := enginetest.New(t, files)
			w.Device("ann", strings.Repeat("a1", 32), "ios")
			w.Identify("ann", "", map[string]any{"likes": "shoes"})
			w.To(25 * 60 * enginetest.Minute)
			w.Track("ann", "A", nil)
			for day := range 16 {
				w.To(int64(day+2) * 24 * 60 * enginetest.Minute)
			}
			sent := map[string]int{}
			for _, a := range w.Answers() {
				if a.Reason == ledger.Send {
					sent[a.Rule]++
				}
			}
			require.Positive(t, sent["a"])
			require.Equal(t, c.sent, sent["b"] > 0, "%v", sent)
		})
	}
}

package ruletest_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/channels/all"
	"nudge/engine/ruletest"
	"nudge/engine/workspace"
	"nudge/events/clickhouse/clickhousetest"
)

// The rules of the example do what their tests say.
func TestShop(t *testing.T) {
	ws, tests := folder(t, "../../examples/shop")
	for _, r := range ws.Rules {
		fires, silent := false, false
		for _, test := range tests {
			for _, e := range test.Expect {
				fires = fires || e.Rule == r.Name && e.Reason == "send"
			}
			for _, s := range test.Silence {
				silent = silent || s.Rule == r.Name || s.Rule == ""
			}
		}
		require.True(t, fires && silent, "%s has tests in which it fires, and in which it is silent", r.Name)
	}
	passes(t, ws, tests)
}

// folder loads a workspace and its tests, neither with a finding.
func folder(t *testing.T, dir string) (*workspace.Workspace, []*ruletest.Test) {
	t.Helper()
	set, err := all.Set()
	require.NoError(t, err)
	ws, findings := workspace.Load(dir, workspace.Options{Adapters: set, WithoutSecrets: true})
	require.NotNil(t, ws, "%+v", findings)
	tests, findings := ruletest.Load(ws)
	require.Empty(t, findings, render(t, findings))
	return ws, tests
}

// passes runs tests, none of which may fail.
func passes(t *testing.T, ws *workspace.Workspace, tests []*ruletest.Test) []ruletest.Result {
	t.Helper()
	results, err := ruletest.Run(t.Context(), ruletest.Options{Workspace: ws, Tests: tests})
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, ruletest.WriteText(&out, results, false))
	require.False(t, ruletest.Failed(results), out.String())
	return results
}

// What is decided with histories in memory is what is decided with them in the tables of ClickHouse, to the last row. CI
// compares the tests of the examples, too.
func TestMemoryDecidesAsTheTables(t *testing.T) {
	ws, tests := folder(t, "testdata/behaviour")
	written := func(o ruletest.Options) string {
		o.Workspace, o.Tests = ws, tests
		results, err := ruletest.Run(t.Context(), o)
		require.NoError(t, err)
		branches, err := ruletest.NewBranches(nil)
		require.NoError(t, err)
		var out bytes.Buffer
		require.NoError(t, ruletest.WriteJSON(&out, results, ruletest.Cover(ws.Rules, results, branches)))
		return out.String()
	}
	require.Equal(t, written(ruletest.Options{Engine: clickhousetest.Engine(t)}), written(ruletest.Options{}))
}

// Tests share a timeline when they begin together and no rule counts the same event of both over all
// people.
func TestTimelines(t *testing.T) {
	files := small()
	files["rules/social.yaml"] = "rule: social\nschedule: \"0 * * * *\"\nwhen: event(\"A\").count > 0\nagain: never\n" +
		"with: {others: 'everyone.event(\"Order Completed\").within(days(1)).people'}\nmessage: {push: {title: x, body: \"{% if others %}{{ others }}{% endif %}\"}}\n"
	files["tests/a_test.yaml"] = `
- {name: one, events: [1m u A: {id: x}], expect: [5m u each no_address]}
- {name: two, events: [1m u A: {id: x}, 2m u Order Completed], expect: [5m u each no_address]}
- {name: three, events: [1m u Order Completed], silence: [u], until: 1d}
- {name: four, start: 2026-05-01 09:00, events: [1m u A: {id: x}], expect: [5m u each no_address]}
`
	ws := load(t, files)
	tests, findings := ruletest.Load(ws)
	require.Empty(t, findings, render(t, findings))
	require.Equal(t, [][]string{{"a: three"}, {"a: one", "a: two"}, {"a: four"}}, ruletest.Timelines(ws, tests))
}

// aging are rules whose answers change with time in all the ways that the language has.
func aging() map[string]string {
	const head = "schedule: \"*/10 * * * *\"\nmessage: {log: {title: \"{{ user.id }}\"}}\n"
	return map[string]string{
		"nudge.yaml": "zone: UTC\nchannels: {log: {adapter: stdout}}\nlocation: {max_age: 20m}\n" +
			"caps: [{name: some, max: 3, per: 2h, window: rolling, scope: all, counts: accepted, at_cap: retry}]\n",
		"fences/f.geojson":       `{"type":"FeatureCollection","features":[{"type":"Feature","id":"here","properties":{},"geometry":{"type":"Point","coordinates":[13.4,52.5]}}]}`,
		"segments/busy.yaml":     "segment: busy\nwhen: event(\"A\").within(minutes(50)).count >= 2\n",
		"rules/age.yaml":         "rule: age\nwhen: event(\"A\").last.ago >= minutes(30) and event(\"A\").last.ago < hours(2)\nagain: each_time\n" + head,
		"rules/strict.yaml":      "rule: strict\nwhen: event(\"A\").last.ago > minutes(30) and not did(\"B\").since(event(\"A\").last.at)\nagain: each_time\n" + head,
		"rules/window.yaml":      "rule: window\nwhen: event(\"A\").within(hours(1)).count == 1\nagain: each_time\n" + head,
		"rules/gone.yaml":        "rule: gone\nwhen: event(\"B\").count > 0 and event(\"B\").within(minutes(70)).count == 0\nagain: {after: 90m}\n" + head,
		"rules/segment.yaml":     "rule: segment\nwhen: segment(\"busy\")\nagain: {after: 2h}\n" + head,
		"rules/each.yaml":        "rule: each\nfor_each: event(\"A\").by(\"id\")\nwhen: it.last.ago >= minutes(25)\nagain: never\nexit: {event: B}\n" + head,
		"rules/place.yaml":       "rule: place\nwhen: near(\"f/*\", meters(200)).dwell >= minutes(10)\nagain: each_time\n" + head,
		"rules/left.yaml":        "rule: left\nwhen: near(\"f/*\", meters(200)).now == false or not has(near(\"f/*\", meters(200)).now)\nagain: each_time\n" + head,
		"rules/told.yaml":        "rule: told\nwhen: message(\"age\").count > 0 and message(\"age\").last.ago >= minutes(40)\nagain: each_time\n" + head,
		"rules/arithmetic.yaml":  "rule: arithmetic\nwhen: event(\"A\").last.ago / hours(1) > 1.5\nagain: each_time\n" + head,
		"rules/clock.yaml":       "rule: clock\nwhen: local.hour == 11 and event(\"A\").count > 0\nagain: each_time\n" + head,
		"rules/every.yaml":       "rule: every\nwhen: event(\"A\").within(minutes(15)).count > 0\nagain: every_tick\n" + head,
		"rules/of-the-zone.yaml": "rule: of-the-zone\nschedule: {cron: \"0 12 * * *\", zone: person}\nwhen: event(\"A\").last.ago >= minutes(10)\nagain: each_time\nmessage: {log: {title: x}}\n",
	}
}

// Leaving out the ticks at which nothing can have changed decides the same as looking at every one.
func TestJumpingDecidesTheSame(t *testing.T) {
	r := rand.New(rand.NewPCG(jumpSeed, 0))
	var b strings.Builder
	for i := range 12 {
		fmt.Fprintf(&b, "- name: t%d\n  others: allowed\n  silence: [{user: nobody}]\n  until: 3h\n  people: {nobody: {}, u: {zone: %s}}\n  events:\n",
			i, []string{"UTC", "Europe/Berlin", "Europe/London"}[r.IntN(3)])
		for n := 1 + r.IntN(8); n > 0; n-- {
			at := r.IntN(180)
			switch r.IntN(6) {
			case 0:
				fmt.Fprintf(&b, "    - %dm u B\n", at)
			case 1:
				fmt.Fprintf(&b, "    - %dm u Location Updated: {latitude: %g, longitude: 13.4}\n", at, []float64{52.5, 52.6}[r.IntN(2)])
			case 2:
				fmt.Fprintf(&b, "    - {at: %dm, user: u, arrives: %dm, track: A, properties: {id: x}}\n", at, r.IntN(180))
			case 3:
				fmt.Fprintf(&b, "    - -%dm u A: {id: h}\n", at+1)
			default:
				fmt.Fprintf(&b, "    - %dm u A: {id: %s}\n", at/5*5, []string{"x", "y"}[r.IntN(2)])
			}
		}
	}
	files := aging()
	files["tests/a_test.yaml"] = b.String()
	ws := load(t, files)
	tests, findings := ruletest.Load(ws)
	require.Empty(t, findings, render(t, findings))
	everyTick := ruletest.EveryTick(ws, tests)
	require.Len(t, everyTick, 13)
	for rule, every := range everyTick {
		require.Equal(t, slices.Contains([]string{"arithmetic", "clock", "every"}, rule), every, rule)
	}
	run := func(every bool) string {
		results, err := ruletest.Run(t.Context(), ruletest.Options{Workspace: ws, Tests: tests, EveryTick: every})
		require.NoError(t, err)
		var out bytes.Buffer
		require.NoError(t, ruletest.WriteText(&out, results, true))
		return out.String()
	}
	want := run(true)
	require.Greater(t, strings.Count(want, " send"), 20, "there is something to compare")
	require.Equal(t, want, run(false), b.String())
}

// jumpSeed makes the events; any seed must do.
const jumpSeed = 1

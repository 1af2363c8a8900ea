package ruletest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/channels/all"
	"nudge/engine/ruletest"
	"nudge/engine/workspace"
)

// load compiles a workspace of files.
func load(t testing.TB, files map[string]string) *workspace.Workspace {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	set, err := all.Set()
	require.NoError(t, err)
	ws, findings := workspace.Load(dir, workspace.Options{Adapters: set, WithoutSecrets: true})
	require.NotNil(t, ws, "%+v", findings)
	return ws
}

// small is a workspace of two rules, whose tests a case adds.
func small() map[string]string {
	return map[string]string{
		"nudge.yaml": "zone: UTC\nchannels: {push: {adapter: stdout, kind: push}, email: {adapter: stdout}}\n",
		"events.yaml": "events:\n  A: {properties: {id: {type: string, required: true}}}\n  B: {on_violation: refuse, properties: {n: {type: integer, required: true}}}\n" +
			"  Order Completed: {}\n",
		"rules/hello.yaml": "rule: hello\nschedule: {cron: \"0 10 * * *\", zone: person}\nwhen: event(\"A\").last.ago < days(1)\nagain: never\n" +
			"message: {push: {title: Hello, body: you}}\n",
		"rules/each.yaml": "rule: each\nschedule: \"*/5 * * * *\"\nfor_each: event(\"A\").by(\"id\")\nwhen: it.count > 0\nagain: never\n" +
			"message: {push: {title: One, body: x}}\nvariants:\n  one: {weight: 1}\n  two: {weight: 1, message: {email: {subject: Two, text: x}}}\n",
	}
}

// Every mistake in a test file is found, in its place.
func TestMistakes(t *testing.T) {
	const head = "- name: a\n  people: {ann: {devices: ios}}\n  events:\n    - 1m ann A: {id: x}\n"
	const tail = "  silence: [ann]\n  until: 2d\n"
	for name, c := range map[string]struct {
		file string
		want string // "LINE:COL ID", more separated by "; "
	}{
		"not a list":                     {"name: a\n", "1:1 test/wrong-type"},
		"empty":                          {"", "1:1 test/no-tests"},
		"an empty list":                  {"[]\n", "1:1 test/no-tests"},
		"a test that is text":            {"- a\n", "1:3 test/wrong-type"},
		"no name":                        {"- events: [1m ann A: {id: x}]\n" + tail, "1:3 test/missing-key"},
		"two of one name":                {head + tail + head + tail, "7:9 test/duplicate-name"},
		"an unknown key":                 {head + tail + "  utnil: 1d\n", "7:3 test/unknown-key"},
		"nothing expected":               {head, "1:3 test/no-expectation"},
		"nobody":                         {"- name: a\n  silence: [{rule: each}]\n  until: 1d\n", "1:3 test/no-people"},
		"a bad start":                    {head + "  start: 9 o'clock\n" + tail, "5:10 test/bad-time"},
		"the clock does not go":          {head + "  silence: [ann]\n", "5:13 test/no-until"},
		"the clock stops too soon":       {head + "  expect: [1h ann each]\n  until: 30m\n", "6:10 test/too-soon"},
		"until is before the start":      {"- name: a\n  people: {ann: {}}\n  silence: [ann]\n  until: -1d\n", "4:10 test/bad-time"},
		"a silence nobody could break":   {head + "  silence: [ann hello]\n  until: 30m\n", "5:13 test/never-looked"},
		"an unknown rule":                {head + "  expect: [1h ann eaach]\n", "5:19 test/unknown-rule"},
		"an unknown rule in a silence":   {head + "  silence: [ann helo]\n  until: 1d\n", "5:17 test/unknown-rule"},
		"an unknown rule, full form":     {head + "  expect: [{user: ann, rule: eaach}]\n", "5:30 test/unknown-rule"},
		"an unknown rule in arms":        {head + "  arms: {eaach: one}\n" + tail, "5:10 test/unknown-rule"},
		"an unknown arm":                 {head + "  arms: {each: three}\n" + tail, "5:16 test/bad-value"},
		"an unknown person":              {head + "  expect: [1h an each]\n", "5:15 test/unknown-user"},
		"an unknown person in a silence": {head + "  silence: [an]\n  until: 1d\n", "5:13 test/unknown-user"},
		"an unknown reason":              {head + "  expect: [1h ann each exitet]\n", "5:24 test/unknown-reason"},
		"an unknown channel":             {head + "  expect: [1h ann hello: {channel: email}]\n", "5:36 test/bad-value"},
		"an unknown field":               {head + "  expect: [1h ann hello: {text: {titel: x}}]\n", "5:34 test/unknown-field"},
		"an unknown variant":             {head + "  expect: [1h ann each: {variant: three}]\n", "5:35 test/bad-value"},
		"a variant of none":              {head + "  expect: [1h ann hello: {variant: three}]\n", "5:36 test/no-variants"},
		"a value of none":                {head + "  expect: [1h ann hello: {value: x}]\n", "5:34 test/no-value"},
		"text of what is not sent":       {head + "  expect: [1h ann each exited: {text: {title: x}}]\n", "5:33 test/conflict"},
		"an expectation before start":    {head + "  expect: [-1h ann each]\n", "5:12 test/bad-time"},
		"an expectation that ends early": {head + "  expect: [2h..1h ann each]\n", "5:12 test/bad-time"},
		"an expectation of a word":       {head + "  expect: [soon ann each]\n", "5:12 test/bad-time"},
		"too few words":                  {head + "  expect: [1h ann]\n", "5:12 test/bad-expectation"},
		"too many words":                 {head + "  silence: [ann each now]\n  until: 1d\n", "5:13 test/bad-silence"},
		"a silence of nobody":            {head + "  silence: [{until: 1h}]\n", "5:13 test/bad-silence"},
		"an unknown event":               {head + "    - 2m ann Aa: {id: x}\n" + tail, "5:14 test/unknown-event"},
		"an event with no name":          {head + "    - 2m ann\n" + tail, "5:7 test/bad-event"},
		"an event of no kind":            {head + "    - {at: 2m, user: ann}\n" + tail, "5:7 test/bad-event"},
		"an event of two kinds":          {head + "    - {at: 2m, user: ann, track: A, page: B}\n" + tail, "5:37 test/conflict"},
		"an event without a time":        {head + "    - {user: ann, track: A}\n" + tail, "5:7 test/missing-key"},
		"an event at no time":            {head + "    - 2x ann A: {id: x}\n" + tail, "5:7 test/bad-time"},
		"an event over and over":         {head + "    - 1m..2m ann A: {id: x}\n" + tail, "5:7 test/bad-time"},
		"an event too often":             {head + "    - 1m..9d/1s ann A: {id: x}\n" + tail, "5:7 test/bad-time"},
		"against the plan":               {head + "    - 2m ann A: {id: 1, nope: 1}\n" + tail, "5:25 test/off-plan"},
		"a property is missing":          {head + "    - 2m ann A\n" + tail, "5:7 test/off-plan"},
		"off plan, and it is not":        {head + "    - {at: 2m, user: ann, track: A, properties: {id: x}, off_plan: true}\n" + tail, "5:7 test/off-plan"},
		"refused by the plan":            {head + "    - 2m ann B: {n: x}\n" + tail, "5:7 test/refused-event"},
		"refused by the endpoint":        {head + "    - {at: 2m, user: ann, track: Message Sent, off_plan: true}\n" + tail, "5:7 test/refused-event"},
		"a device of no platform":        {head + "    - 2m ann device iso\n" + tail, "5:21 test/bad-value"},
		"a consent without an answer":    {head + "    - 2m ann consent: {channel: push}\n" + tail, "5:7 test/missing-key"},
		"a consent for no channel":       {head + "    - 2m ann consent: {channel: pull, granted: true}\n" + tail, "5:33 test/bad-value"},
		"a consent for no category":      {head + "    - 2m ann consent: {category: promo, granted: true}\n" + tail, "5:34 test/bad-value"},
		"opened before the start":        {head + "    - -1h ann opened each\n" + tail, "5:7 test/bad-time"},
		"opened of no rule":              {head + "    - 2m ann opened eaach\n" + tail, "5:21 test/unknown-rule"},
		"a bad zone":                     {"- name: a\n  people: {ann: {zone: Berlin}}\n" + tail, "2:24 test/unknown-zone"},
		"an infinite number":             {head + "    - 2m ann A: {id: x, v: .inf}\n" + tail, "5:28 test/bad-number; 5:25 test/off-plan"},
		"YAML":                           {"- name: a\n\t- b\n", "2:1 yaml/syntax"},
	} {
		t.Run(name, func(t *testing.T) {
			files := small()
			files["tests/a_test.yaml"] = c.file
			tests, findings := ruletest.Load(load(t, files))
			require.Nil(t, tests)
			var got []string
			for _, f := range findings {
				require.Equal(t, "tests/a_test.yaml", f.File)
				got = append(got, fmt.Sprintf("%d:%d %s", f.Line, f.Col, f.Check))
			}
			want := strings.Split(c.want, "; ")
			slices.Sort(want)
			slices.Sort(got)
			require.Equal(t, want, got, render(t, findings))
		})
	}
}

func TestNoTests(t *testing.T) {
	_, findings := ruletest.Load(load(t, small()))
	require.Equal(t, "tests: error: there are no tests [test/no-tests]\n  Tests are lists in files named tests/…_test.yaml; docs/testing.md shows one.\n\n1 error\n", render(t, findings))

	files := small()
	files["tests/a.yaml"] = "- name: a\n"
	_, findings = ruletest.Load(load(t, files))
	require.Len(t, findings, 2)
	require.Equal(t, "test/no-tests", findings[0].Check)
	require.Equal(t, "test/ignored-file", findings[1].Check)
}

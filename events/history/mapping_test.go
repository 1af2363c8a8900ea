package history

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const good = "source: s\ntime: {column: t}\nuser_id: {column: u}\nevents:\n  - event: E\n"

func TestMappingProblems(t *testing.T) {
	tests := map[string]struct {
		yaml string
		want string // all problems, a line each, after "map.yaml:"
	}{
		"nothing":               {"", "1:1: one YAML document is expected here, with `events:` and `time:`"},
		"a list":                {"- a\n", "1:1: the mapping must be a mapping (key: value)\n1:1: `source:` is missing: a short name for where the rows are from\n1:1: `events:` is missing: say what a row becomes"},
		"no YAML":               {"source: [", "1:9: sequence end token ']' not found"},
		"unknown key":           {good + "evnets: []\n", "6:1: the mapping has no key \"evnets\"; did you mean \"events\"?"},
		"unknown key of a call": {good + "    proprties: {}\n", "6:5: an event has no key \"proprties\"; did you mean \"properties\"?"},
		"unknown type":          {good + "    type: tarck\n", "6:11: type must be track, identify, page, screen, group, alias, not \"tarck\""},
		"unknown value type":    {good + "    properties: {p: {column: c, type: float}}\n", "6:39: type must be string, number, integer, boolean, time, json, not \"float\""},
		"no column":             {good + "    properties: {p: {type: number}}\n", "6:21: p needs `column:` (or write a constant)"},
		"unknown zone":          {good + "    properties: {p: {column: c, zone: Europe/Berln}}\n", "6:39: zone \"Europe/Berln\" is not known; write it as in Europe/Berlin"},
		"bad expression":        {good + "skip: [{column: c, matches: '('}]\n", "6:29: matches: error parsing regexp: missing closing ): `(`"},
		"empty condition":       {good + "skip: [{column: c}]\n", "6:17: a condition needs one of empty, is, not, matches, below, above"},
		"a path under a value":  {good + "    properties: {a: 1, a.b: 2}\n", "6:29: \"a\" is a value already, so \"a.b\" cannot be under it"},
		"no time and no person": {"source: s\nevents:\n  - event: E\n", "3:5: `time:` is missing, here and at the top of the file\n3:5: `user_id:` or `anonymous_id:` is missing, here and at the top of the file"},
		"no name":               {"source: s\ntime: {column: t}\nuser_id: {column: u}\nevents:\n  - properties: {}\n", "5:5: a track call needs `event:`, its name"},
		"alias without an id":   {good + "  - type: alias\n", "6:5: an alias needs `previous_id:`"},
		"two mistakes at once":  {good + "    tpye: track\nfromat: csv\n", "6:5: an event has no key \"tpye\"; did you mean \"type\"?\n7:1: the mapping has no key \"fromat\"; did you mean \"format\"?"},
		"a format of a number":  {good + "    properties: {p: {column: c, type: number, format: unix}}\n", "6:30: format and zone belong to times, not to type number"},
		"twice":                 {good + "    properties: {p: 1, p: 2}\n", "6:24: mapping key \"p\" already defined at [6:18]"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := ParseMapping("map.yaml", []byte(tt.yaml))
			var problems *MappingError
			require.ErrorAs(t, err, &problems)
			require.Equal(t, tt.want, strings.ReplaceAll(err.Error(), "map.yaml:", ""))
		})
	}
}

func TestMappingsOfRealData(t *testing.T) {
	for _, name := range []string{"online_retail", "complete_journey", "demographics", "rees46", "taobao", "otto"} {
		_, err := LoadMapping("testdata/" + name + ".yaml")
		require.NoError(t, err, name)
	}
	_, err := LoadMapping("testdata/none.yaml")
	require.ErrorContains(t, err, "read the mapping")
}

func FuzzParseMapping(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("a: [\n"))
	f.Add([]byte("events:\n - &a {event: {column: 1}}\n - *a\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseMapping("map.yaml", data)
		if (m == nil) == (err == nil) {
			t.Fatal("neither a mapping nor an error, or both")
		}
	})
}

package sources_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/channels/all"
	"nudge/engine/enginetest"
	"nudge/engine/sources"
	"nudge/engine/workspace"
)

// TestTheRulesOfThen changes a rule, adds another, and changes it back, and wants at every instant the files that were
// in use.
func TestTheRulesOfThen(t *testing.T) {
	rule := func(name, hours string) string {
		return "rule: " + name + "\nschedule: \"0 * * * *\"\nwhen: event(\"Seen\").last.ago > hours(" + hours + ")\nagain: never\nmessage: {log: {title: Hello}}\n"
	}
	w := enginetest.New(t, map[string]string{
		"nudge.yaml": "zone: UTC\nchannels: {log: {adapter: stdout}}\n", "rules/seen.yaml": rule("seen", "1"), "segments/all.yaml": "segment: all\nwhen: did(\"Seen\")\n",
	})
	first := versions(w.Load())
	w.To(enginetest.Hour)
	w.Write(map[string]string{"rules/seen.yaml": rule("seen", "2"), "rules/more.yaml": rule("more", "3")})
	w.Reload()
	second := versions(w.Load())
	w.To(2 * enginetest.Hour)
	w.Write(map[string]string{"rules/seen.yaml": rule("seen", "1")})
	w.Reload()
	w.Restart() // with the same files: nothing is written down
	third := versions(w.Load())
	require.NotEqual(t, first["seen"], second["seen"])
	require.Equal(t, first["seen"], third["seen"])

	var rows uint64
	require.NoError(t, w.Store.Conn().QueryRow(t.Context(), "SELECT count() FROM sources WHERE kind = 'set'").Scan(&rows))
	require.EqualValues(t, 3, rows)
	for name, test := range map[string]struct {
		at    int64
		since int64
		want  map[string]string
	}{
		"at the start":           {0, 0, first},
		"before the change":      {enginetest.Hour - 1, 0, first},
		"behind it":              {enginetest.Hour, enginetest.Hour, second},
		"when it is as it was":   {2 * enginetest.Hour, 2 * enginetest.Hour, third},
		"long afterwards, still": {100 * enginetest.Hour, 2 * enginetest.Hour, third},
	} {
		t.Run(name, func(t *testing.T) {
			set, err := sources.At(t.Context(), w.Store.Conn(), time.UnixMilli(enginetest.Start()+test.at))
			require.NoError(t, err)
			require.Equal(t, enginetest.Start()+test.since, set.Since.UnixMilli())
			dir := t.TempDir()
			require.NoError(t, set.Write(dir))
			adapters, err := all.Set()
			require.NoError(t, err)
			ws, findings := workspace.Load(dir, workspace.Options{Adapters: adapters, WithoutSecrets: true})
			require.NotNil(t, ws, "%v", findings)
			require.Equal(t, test.want, versions(ws))
			require.Len(t, ws.Segments, 1)
			require.True(t, set.Is(ws))
			require.Equal(t, len(test.want) == len(third) && test.want["seen"] == third["seen"], set.Is(w.Load()))
		})
	}
	none, err := sources.At(t.Context(), w.Store.Conn(), time.UnixMilli(enginetest.Start()-1))
	require.NoError(t, err)
	require.Nil(t, none, "nobody knows")
}

func versions(ws *workspace.Workspace) map[string]string {
	out := map[string]string{}
	for _, r := range ws.Rules {
		out[r.Name] = r.Version
	}
	return out
}

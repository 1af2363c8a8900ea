package file_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"nudge/channels"
	"nudge/channels/channeltest"
	"nudge/channels/file"

	"github.com/stretchr/testify/require"
)

// read returns the lines of a file.
func read(t *testing.T, path string) []file.Line {
	t.Helper()
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil
	}
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	var lines []file.Line
	for scanner := bufio.NewScanner(f); scanner.Scan(); {
		var line file.Line
		require.NoErrorf(t, json.Unmarshal(scanner.Bytes(), &line), "line %q", scanner.Text())
		lines = append(lines, line)
	}
	return lines
}

func open(t *testing.T, dir string, config map[string]any, now func() time.Time) channels.Channel {
	t.Helper()
	raw, err := json.Marshal(config)
	require.NoError(t, err)
	channel, err := file.Spec().New(channels.Options{Config: raw, Now: now, Dir: dir})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, channel.(channels.Closer).Close()) })
	return channel
}

func TestConformance(t *testing.T) {
	channeltest.Kit{
		Spec: file.Spec(),
		Start: func(t *testing.T, _ func() time.Time) channeltest.Provider {
			path := filepath.Join(t.TempDir(), "out", "messages.ndjson")
			return channeltest.Provider{
				Config: map[string]any{"path": path},
				Output: func() []string {
					var keys []string
					for _, line := range read(t, path) {
						keys = append(keys, line.Key)
					}
					return keys
				},
			}
		},
		Message: channeltest.Message,
		ID:      func(key string) string { return key },
	}.Run(t)
}

func TestLineHoldsTheWholeMessage(t *testing.T) {
	dir, at := t.TempDir(), time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	m := channeltest.Message(1)
	m.Urgent = true
	channel := open(t, dir, map[string]any{"path": "m.ndjson"}, func() time.Time { return at })
	require.NoError(t, channel.Send(t.Context(), []channels.Message{m})[0].Err)
	lines := read(t, filepath.Join(dir, "m.ndjson"))
	require.Equal(t, []file.Line{{
		At: at, Key: m.Key, Address: file.Address(m.Address), Fields: m.Fields, About: m.About,
		Signed: m.Signed, TTL: 14400, Urgent: true,
	}}, lines)
}

func TestAppendsToWhatIsThere(t *testing.T) {
	for name, before := range map[string]string{"a whole line": `{"key":"old"}` + "\n", "a torn line": `{"key":"old`} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "m.ndjson")
			require.NoError(t, os.WriteFile(path, []byte(before), 0o644))
			channel := open(t, dir, map[string]any{"path": "m.ndjson"}, time.Now)
			require.NoError(t, channel.Send(t.Context(), []channels.Message{{Key: "new"}})[0].Err)
			raw, err := os.ReadFile(path)
			require.NoError(t, err)
			lines := strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n")
			require.Len(t, lines, 2)
			var line file.Line
			require.NoError(t, json.Unmarshal([]byte(lines[1]), &line))
			require.Equal(t, "new", line.Key)
		})
	}
}

func TestRotates(t *testing.T) {
	dir, at := t.TempDir(), time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	channel := open(t, dir, map[string]any{"path": "m.ndjson", "max_bytes": 1000}, func() time.Time { return at })
	for i := range 20 {
		require.NoError(t, channel.Send(t.Context(), []channels.Message{{Key: fmt.Sprintf("%03d", i), Fields: map[string]any{"body": strings.Repeat("x", 300)}}})[0].Err)
	}
	paths, err := filepath.Glob(filepath.Join(dir, "m.ndjson*"))
	require.NoError(t, err)
	require.Len(t, paths, 7)
	seen := map[string]bool{}
	for _, path := range paths {
		for _, line := range read(t, path) {
			require.False(t, seen[line.Key])
			seen[line.Key] = true
		}
	}
	require.Len(t, seen, 20)
}

func TestTwoProcessesDoNotTearLines(t *testing.T) {
	dir := t.TempDir()
	var group sync.WaitGroup
	for p := range 4 {
		channel := open(t, dir, map[string]any{"path": "m.ndjson", "sync": "never"}, time.Now)
		group.Go(func() {
			for i := range 200 {
				channel.Send(t.Context(), []channels.Message{{Key: fmt.Sprintf("%d-%d", p, i)}, {Key: fmt.Sprintf("%d-%d-b", p, i), Fields: map[string]any{"body": strings.Repeat("y", i)}}})
			}
		})
	}
	group.Wait()
	require.Len(t, read(t, filepath.Join(dir, "m.ndjson")), 1600)
}

func TestRefusals(t *testing.T) {
	t.Run("a message that JSON cannot hold", func(t *testing.T) {
		channel := open(t, t.TempDir(), map[string]any{"path": "m.ndjson"}, time.Now)
		results := channel.Send(t.Context(), []channels.Message{{Key: "a"}, {Key: "b", Fields: map[string]any{"f": func() {}}}, {Key: "c"}})
		require.NoError(t, results[0].Err)
		require.Equal(t, channels.ClassMessage, channels.AsDelivery(results[1].Err).Class)
		require.NoError(t, results[2].Err)
	})
	t.Run("a full disk", func(t *testing.T) {
		channel := open(t, t.TempDir(), map[string]any{"path": "/dev/full", "sync": "never"}, time.Now)
		failure := channels.AsDelivery(channel.Send(t.Context(), []channels.Message{{Key: "a"}})[0].Err)
		require.Equal(t, channels.ClassTemporary, failure.Class)
		require.ErrorContains(t, failure, "no space left")
	})
	for name, c := range map[string]struct{ config, want string }{
		"no path":       {`{}`, "path is missing"},
		"a wrong sync":  {`{"path":"x","sync":"often"}`, "sync is \"often\": write always or never"},
		"a typo":        {`{"path":"x","snyc":"always"}`, "snyc is not a field: did you mean sync?"},
		"a wrong limit": {`{"path":"x","max_bytes":"10MB"}`, "max_bytes is a string, not a whole number"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := file.Spec().New(channels.Options{Config: []byte(c.config), Now: time.Now, Dir: t.TempDir()})
			require.ErrorContains(t, err, c.want)
		})
	}
}

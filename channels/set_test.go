package channels_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"nudge/channels"

	"github.com/stretchr/testify/require"
)

// spec is one with a field of every type.
func spec(name string) channels.Spec {
	return channels.Spec{
		Name: name, Kind: "push", Batch: 1, Concurrency: 1, Repeat: channels.RepeatHarmless,
		Config: []channels.Field{
			{Name: "team_id", Type: "string", Required: true, Example: "ABCDE12345", About: "your team"},
			{Name: "timeout", Type: "duration", Default: "30s", Example: "5s"},
			{Name: "connections", Type: "int", Default: "4", Example: "2"},
			{Name: "sandbox", Type: "bool", Default: "true", Example: "true"},
			{Name: "key", Type: "string", Secret: true},
			{Name: "secrets", Type: "list", Secret: true},
			{Name: "headers", Type: "map", Secret: true},
			{Name: "hosts", Type: "list", Example: "[a]"},
		},
		Message: []channels.Field{
			{Name: "title", Type: "string", Template: true},
			{Name: "badge", Type: "int", Template: true, Example: "3"},
			{Name: "silent", Type: "bool"},
			{Name: "actions", Type: "actions", Template: true},
			{Name: "ttl", Type: "duration"},
		},
		New: func(channels.Options) (channels.Channel, error) { return nil, errors.New("not in this test") },
	}
}

func TestSet(t *testing.T) {
	var set channels.Set
	for _, name := range []string{"fcm", "apns", "webpush"} {
		require.NoError(t, set.Add(spec(name)))
	}
	require.ErrorContains(t, set.Add(spec("apns")), `channel adapter "apns": added twice`)
	var names []string
	for _, s := range set.List() {
		names = append(names, s.Name)
	}
	require.Equal(t, []string{"apns", "fcm", "webpush"}, names)
	_, ok := set.Get("apns")
	require.True(t, ok)
	_, ok = set.Get("apn")
	require.False(t, ok)
	require.Equal(t, "apns", set.Suggest("apn"))
	require.Equal(t, "webpush", set.Suggest("wepbush"))
	require.Empty(t, set.Suggest("carrier_pigeon"))
	require.Equal(t, []string{"push"}, set.Kinds())
	require.Len(t, set.MessageFields("push"), 5)
}

func TestSetRefusesMalformedSpecs(t *testing.T) {
	for name, mend := range map[string]func(*channels.Spec){
		"the name must match":   func(s *channels.Spec) { s.Name = "Web Push" },
		"it has no kind":        func(s *channels.Spec) { s.Kind = "" },
		"it has no constructor": func(s *channels.Spec) { s.New = nil },
		"must be at least 1":    func(s *channels.Spec) { s.Batch = 0 },
		"repeat must be":        func(s *channels.Spec) { s.Repeat = "" },
		"does not measure":      func(s *channels.Spec) { s.MaxPayload = 4 },
		`field "connections" is no int of the config whose default is 3`: func(s *channels.Spec) {
			s.MaxPayload, s.LimitField, s.Measure = 3, "connections", func(*channels.Message) (int, error) { return 0, nil }
		},
		`field "timeout" is no int`: func(s *channels.Spec) { s.LimitField = "timeout" },
		`type "text" is none of`:    func(s *channels.Spec) { s.Config = []channels.Field{{Name: "a", Type: "text"}} },
		`field "a": malformed or`: func(s *channels.Spec) {
			s.Message = []channels.Field{{Name: "a", Type: "int"}, {Name: "a", Type: "int"}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			var set channels.Set
			s := spec("apns")
			mend(&s)
			require.ErrorContains(t, set.Add(s), name)
		})
	}
}

func TestTheConfigSetsWhatPeopleAreReachedBy(t *testing.T) {
	s := spec("pushes")
	s.Config = append(s.Config, channels.Field{Name: "reach", Type: "string", Default: "user_id"})
	s.Needs, s.Fit, s.Platforms, s.Takes = "user_id", channels.FitReach, []string{"ios"}, func(string) bool { return true }
	for name, c := range map[string]struct {
		config map[string]any
		want   string
	}{
		"not given":                {map[string]any{}, "user_id"},
		"given":                    {map[string]any{"reach": "token"}, "token"},
		"not one that can be said": {map[string]any{"reach": "email"}, "user_id"},
		"not a text":               {map[string]any{"reach": 1}, "user_id"},
	} {
		t.Run(name, func(t *testing.T) {
			with := s.With(c.config)
			require.Equal(t, c.want, with.Needs)
			require.Equal(t, c.want == "token", with.Platforms != nil, "a person has no platform")
			require.Equal(t, c.want == "token", with.Takes != nil)
		})
	}
}

func TestTheConfigSetsTheLimit(t *testing.T) {
	limited := spec("texts")
	limited.MaxPayload, limited.LimitField = 4, "connections"
	for name, c := range map[string]struct {
		spec   channels.Spec
		config map[string]any
		want   int
	}{
		"not given":            {limited, map[string]any{}, 4},
		"given":                {limited, map[string]any{"connections": int64(7)}, 7},
		"not a number":         {limited, map[string]any{"connections": "many"}, 4},
		"not a whole one":      {limited, map[string]any{"connections": 1.5}, 4},
		"no limit at all":      {limited, map[string]any{"connections": 0}, 4},
		"the provider's alone": {spec("texts"), map[string]any{"connections": 7, "": 7}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, c.spec.With(c.config).MaxPayload)
		})
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct{ name, config, want string }{
		{"whole", `{"team_id":"T","timeout":"5s","connections":2,"sandbox":false,"key":{"env":"K"},"secrets":[{"file":"k"}],"headers":{"a":"b","c":{"env":"C"}},"hosts":["x"]}`, ""},
		{"a missing field", `{}`, "team_id is missing: your team, for example ABCDE12345"},
		{"a null is missing", `{"team_id":null}`, "team_id is missing: your team, for example ABCDE12345"},
		{"a typo", `{"team_id":"T","timout":"5s"}`, "timout is not a field: did you mean timeout?"},
		{"nothing near", `{"team_id":"T","x":1}`, "x is not a field: there are connections, headers, hosts, key, sandbox, secrets, team_id, timeout"},
		{"a number for a string", `{"team_id":1}`, "team_id is a number, not a string: for example ABCDE12345"},
		{"a string for a number", `{"team_id":"T","connections":"2"}`, "connections is a string, not a whole number: for example 2"},
		{"a fraction", `{"team_id":"T","connections":2.5}`, "connections is a number, not a whole number: for example 2"},
		{"a string for a bool", `{"team_id":"T","sandbox":"yes"}`, "sandbox is a string, not a bool: for example true"},
		{"a duration without a unit", `{"team_id":"T","timeout":30}`, "timeout is a number, not a duration: for example 5s"},
		{"a malformed duration", `{"team_id":"T","timeout":"5 seconds"}`, "timeout is not a duration: write a number with ms, s, m, h, d or w, for example 30s"},
		{"an item of a list", `{"team_id":"T","hosts":["a",1]}`, "hosts[1] is a number, not a string: for example [a]"},
		{"a secret in the file", `{"team_id":"T","key":"hunter2hunter2"}`, "key is a secret written into the file: name where it stands: {env: NAME} or {file: PATH}"},
		{"a secret in a list", `{"team_id":"T","secrets":[{"env":"A"},"hunter2hunter2"]}`, "secrets[1] is a secret written into the file: name where it stands: {env: NAME} or {file: PATH}"},
		{"a secret of no form", `{"team_id":"T","key":{"vault":"x"}}`, "key is a secret written into the file: name where it stands: {env: NAME} or {file: PATH}"},
		{"a header of no form", `{"team_id":"T","headers":{"a":{"vault":"hunter2hunter2"}}}`, "headers.a is neither text nor {env: NAME} nor {file: PATH}"},
		{"all at once", `{"team":"T","timeout":"soon","sandbox":1}`, "team is not a field: there are connections, headers, hosts, key, sandbox, secrets, team_id, timeout\n" +
			"team_id is missing: your team, for example ABCDE12345\n" +
			"timeout is not a duration: write a number with ms, s, m, h, d or w, for example 30s\nsandbox is a number, not a bool: for example true"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var config map[string]any
			require.NoError(t, json.Unmarshal([]byte(c.config), &config))
			got := spec("apns").Check(config)
			require.Equal(t, c.want, got.Error())
			require.Equal(t, c.want == "", got.Err() == nil)
			require.NotContains(t, got.Error(), "hunter2")
		})
	}
}

func TestResolve(t *testing.T) {
	from := channels.Sources{
		Env: func(name string) (string, bool) { return "from-" + name, name != "NONE" },
		File: func(path string) ([]byte, error) {
			switch path {
			case "key.p8":
				return []byte("-----BEGIN-----\n"), nil
			case "key.p12":
				return []byte{0xff, 0x00, 0xfe}, nil
			}
			return nil, fmt.Errorf("open %s: %w", path, os.ErrNotExist)
		},
	}
	raw, err := spec("apns").Resolve(map[string]any{
		"team_id": "T", "key": map[string]any{"file": "key.p8"},
		"secrets": []any{map[string]any{"env": "A"}, map[string]any{"file": "key.p12"}},
		"headers": map[string]any{"plain": "x", "auth": map[string]any{"env": "H"}},
	}, from)
	require.NoError(t, err)
	require.JSONEq(t, `{"team_id":"T","key":"-----BEGIN-----","secrets":["from-A","base64:/wD+"],"headers":{"plain":"x","auth":"from-H"}}`, string(raw))

	_, err = spec("apns").Resolve(map[string]any{"team_id": "T", "key": map[string]any{"env": "NONE"}, "secrets": []any{map[string]any{"file": "none"}}}, from)
	require.EqualError(t, err, "key cannot be read: the environment variable NONE is not set\nsecrets[0] cannot be read: reading none: open none: file does not exist")
	_, err = spec("apns").Resolve(map[string]any{}, from)
	require.ErrorContains(t, err, "team_id is missing")
}

func TestDecode(t *testing.T) {
	type config struct {
		TeamID      string                     `json:"team_id"`
		Timeout     channels.Duration          `json:"timeout"`
		Connections int                        `json:"connections"`
		Sandbox     bool                       `json:"sandbox"`
		Key         channels.Secret            `json:"key"`
		Secrets     []channels.Secret          `json:"secrets"`
		Headers     map[string]channels.Secret `json:"headers"`
		Hosts       []string                   `json:"hosts"`
	}
	var got config
	require.NoError(t, spec("apns").Decode(json.RawMessage(`{"team_id":"T","key":"hunter2hunter2"}`), &got))
	require.Equal(t, config{TeamID: "T", Timeout: channels.Duration(30 * time.Second), Connections: 4, Sandbox: true, Key: "hunter2hunter2"}, got)

	for name, raw := range map[string]string{"not JSON": `{"key":"hunter2hunter2`, "a list": `["hunter2hunter2"]`, "a wrong type": `{"team_id":"T","key":{"x":"hunter2hunter2"}}`} {
		err := spec("apns").Decode(json.RawMessage(raw), &got)
		require.Errorf(t, err, name)
		require.NotContains(t, err.Error(), "hunter2")
	}
	require.NoError(t, spec("apns").Decode(json.RawMessage(`{"team_id":"T","timeout":"2d"}`), &got))
	require.Equal(t, channels.Duration(48*time.Hour), got.Timeout)
}

func TestSecretIsNeverShown(t *testing.T) {
	secret := struct {
		Key channels.Secret
		All []channels.Secret
	}{"hunter2hunter2", []channels.Secret{"hunter2hunter2"}}
	raw, err := json.Marshal(secret)
	require.NoError(t, err)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("config", "key", secret.Key, "all", secret)
	for _, form := range []string{fmt.Sprintf("%v %+v %#v %s %q", secret, secret, secret, secret, secret.Key), string(raw), log.String()} {
		require.NotContains(t, form, "hunter2")
		require.Contains(t, form, "***")
	}
	require.Equal(t, "hunter2hunter2", secret.Key.Reveal())
}

func TestCheckMessage(t *testing.T) {
	var set channels.Set
	require.NoError(t, set.Add(spec("apns")))
	open := spec("file")
	open.Kind, open.Any = "file", true
	require.NoError(t, set.Add(open))
	for _, c := range []struct{ name, kind, message, want string }{
		{"whole", "push", `{"title":"Hi {{ name }}","badge":3,"silent":true,"ttl":"4h","actions":[{"id":"a","title":"A","link":"{{ x }}"}]}`, ""},
		{"a template for a number", "push", `{"badge":"{{ count }}"}`, ""},
		{"a text for a number", "push", `{"badge":"three"}`, "badge is a string, not a whole number: for example 3"},
		{"a number for a text is printed", "push", `{"title":12}`, ""},
		{"a list for a text", "push", `{"title":["x"]}`, "title is a list, not a string"},
		{"a template where none may be", "push", `{"silent":"{{ x }}"}`, "silent is a string, not a bool"},
		{"a typo", "push", `{"tilte":"x"}`, "tilte is not a field: did you mean title?"},
		{"an action without a title", "push", `{"actions":[{"id":"a"}]}`, "actions[0].title is missing"},
		{"an action with a typo", "push", `{"actions":[{"id":"a","title":"A","lnik":"x"}]}`, "actions[0].lnik is not a field: did you mean link?"},
		{"an action that is none", "push", `{"actions":["a"]}`, "actions[0] is a string, not a map: for example {id: buy, title: Buy now}"},
		{"an unknown kind", "pusch", `{}`, "pusch is not a kind of message: did you mean push?"},
		{"any field for a channel that passes on", "file", `{"whatever":1}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var message map[string]any
			require.NoError(t, json.Unmarshal([]byte(c.message), &message))
			require.Equal(t, c.want, set.CheckMessage(c.kind, message).Error())
		})
	}
}

package channels_test

import (
	"testing"

	"nudge/channels"

	"github.com/stretchr/testify/require"
)

func TestBlank(t *testing.T) {
	values := map[string]any{"user": "ann", "fields": map[string]any{"n": 3.5, "on": true, "tags": []any{"a"}}}
	for _, c := range []struct {
		name     string
		in, want any
		names    bool // the user
	}{
		{"no gap", map[string]any{"a": []any{1.0, "x", nil}}, map[string]any{"a": []any{1.0, "x", nil}}, false},
		{"a gap alone keeps its type", []any{"{{ fields.n }}", "{{fields.on}}", "{{ fields.tags }}"}, []any{3.5, true, []any{"a"}}, false},
		{"a gap in a text is text", "{{ user }}-{{ fields.n }}-{{ fields.tags }}", `ann-3.5-["a"]`, true},
		{"what is missing", []any{"{{ fields.x }}", "<{{ fields.x.y }}>"}, []any{nil, "<>"}, false},
		{"deep down", map[string]any{"or": []any{map[string]any{"is": "{{ user }}"}}}, map[string]any{"or": []any{map[string]any{"is": "ann"}}}, true},
		{"keys are not filled", map[string]any{"{{ user }}": "x"}, map[string]any{"{{ user }}": "x"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := channels.NewBlank("who", c.in, "user", "fields")
			require.NoError(t, err)
			require.Equal(t, c.want, b.Fill(values))
			require.Equal(t, c.names, b.Names("user"))
		})
	}
	b, err := channels.NewBlank("who", "{{ user }} {{ fields.n }}", "user", "fields", "token")
	require.NoError(t, err)
	require.Empty(t, b.Missing(values))
	require.Equal(t, "fields", b.Missing(map[string]any{"user": "ann"}))
	require.Equal(t, "user", b.Missing(map[string]any{"user": "", "fields": values}), "what is empty would find who has nothing there")
	for name, c := range map[string]struct {
		in   any
		want string
	}{
		"another name": {map[string]any{"a": []any{"x", "{{ usr }}"}}, "who.a[1] names usr, which a message does not have: there are user, fields"},
		"a filter":     {"{{ user | upcase }}", "who has a {{ … }} that is not a name: write for example {{ user }}"},
		"not closed":   {"{{ user", "who has a {{ … }} that is not a name: write for example {{ user }}"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := channels.NewBlank("who", c.in, "user", "fields")
			require.EqualError(t, err, c.want)
		})
	}
}

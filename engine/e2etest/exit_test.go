package e2etest_test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/channels/channeltest"
)

const slowYAML = `
channels:
  slow: {adapter: stdout, rate_limit: 1/s}
  fast: {adapter: stdout}
caps: [{name: one-a-day, max: 1, per: 24h, scope: all, at_cap: drop}]
`

// TestAnExitStopsWhatIsQueued: a slow channel holds messages back; an exit that is acknowledged stops
// every one that has not gone, and gives its cap back.
func TestAnExitStopsWhatIsQueued(t *testing.T) {
	t.Parallel()
	sent := &channeltest.Recorder{}
	p := start(t, map[string]string{
		"nudge.yaml": slowYAML,
		"rules/begun.yaml": `
rule: begun
on: {event: Begun}
again: each_time
exit: {event: Finished, where: properties.amount > 0}
message: {slow: {title: "Go on"}}
`,
		"rules/finished.yaml": `
rule: second
on: {event: Second}
again: each_time
message: {fast: {title: "Second"}}
`,
	}, sent)
	batch := func(event string, users []string) string {
		var calls []string
		for _, u := range users {
			calls = append(calls, fmt.Sprintf(`{"type": "track", "messageId": "%s-%s", "userId": %q, "event": %q, "properties": {"amount": 1}}`, event, u, u, event))
		}
		return `{"batch": [` + strings.Join(calls, ",") + `]}`
	}
	var users []string
	for i := range 12 {
		users = append(users, fmt.Sprintf("u%02d", i))
	}
	p.ok(http.MethodPost, "/v1/batch", publicKey, batch("Begun", users))
	p.eventually(func() bool { return len(sent.Accepted()) >= 2 }, "the first messages go")
	p.track("u11", "Finished", map[string]any{"amount": 0}) // not the exit that is meant
	p.ok(http.MethodPost, "/v1/batch", publicKey, batch("Finished", users[:11]))
	gone := sentTo(sent) // by the time of the answer
	p.becomes("12", "SELECT uniqExact(entry) FROM deliveries WHERE status IN ('accepted', 'exited')")
	want := map[string]bool{"u11: Go on": true}
	for _, m := range gone {
		want[m] = true
	}
	got := sentTo(sent)
	require.Len(t, got, len(want), "acknowledged, and sent after all: %v", got)
	require.Subset(t, got, gone)
	p.becomes(strconv.Itoa(12-len(want)), "SELECT count() FROM (SELECT argMax(reason, (attempt, seq, index)) AS last FROM decisions WHERE rule = 'begun' GROUP BY entry) WHERE last = 'exited'")
	require.Less(t, len(want), 10, "most were still waiting")

	// The cap is free for those who were not sent to, and full for the others.
	p.ok(http.MethodPost, "/v1/batch", publicKey, batch("Second", users))
	p.becomes("12", "SELECT count() FROM decisions WHERE rule = 'second'")
	var answers []string
	for _, u := range users {
		reason := "send"
		if want[u+": Go on"] {
			reason = "frequency_cap one-a-day"
		}
		answers = append(answers, u+" "+reason)
	}
	slices.Sort(answers)
	p.becomes(strings.Join(answers, ", "), "%s", last("second"))
}

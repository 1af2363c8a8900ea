package e2etest_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/channels/channeltest"
)

// TestAFullBacklogIsSaid: while ClickHouse stands still events are taken until the backlog is full,
// then refused with 503; nothing that was acknowledged is missing.
func TestAFullBacklogIsSaid(t *testing.T) {
	t.Parallel()
	p := settle(t, map[string]string{"nudge.yaml": "data: data\nqueue: {max_backlog: 256KB}\n"})
	p.run()
	p.track("ann", "Warm", nil)
	p.becomes("1", "SELECT count() FROM events")
	pid := p.app.Store.Engine().PID()
	require.NotZero(t, pid)
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	defer syscall.Kill(pid, syscall.SIGCONT) //nolint:errcheck // it may be gone
	acked := 0
	var refused answer
	for refused.status == 0 {
		body := fmt.Sprintf(`{"messageId": "full%d", "userId": "u", "event": "Filled", "properties": {"text": %q}}`, acked, strings.Repeat("x", 8000))
		a := p.call(http.MethodPost, "/v1/track", publicKey, body)
		if a.status == http.StatusOK {
			acked++
			require.Less(t, acked, 200, "the backlog never fills")
			continue
		}
		refused = a
	}
	require.Equal(t, http.StatusServiceUnavailable, refused.status, refused.body)
	require.NotEmpty(t, refused.header.Get("Retry-After"))
	require.Greater(t, acked, 10)
	// Small ones find room for a little longer; people's records are refused in the same way.
	p.eventually(func() bool {
		return p.call(http.MethodPut, "/v1/users/u/devices/"+strings.Repeat("t", 500), publicKey, `{"platform": "ios"}`).status == http.StatusServiceUnavailable
	}, "devices are refused")
	require.NoError(t, syscall.Kill(pid, syscall.SIGCONT))
	p.becomes(strconv.Itoa(acked), "SELECT count() FROM events WHERE event = 'Filled'")
	p.track("ann", "After", nil)
	p.becomes("1", "SELECT count() FROM events WHERE event = 'After'")
}

// killStore ends the embedded ClickHouse as the kernel would.
func killStore(p *place) {
	p.t.Helper()
	pid := 0
	p.eventually(func() bool { pid = p.app.Store.Engine().PID(); return pid > 0 }, "ClickHouse runs")
	require.NoError(p.t, syscall.Kill(pid, syscall.SIGKILL))
}

// TestClickHouseComesBack: it is killed; events are acknowledged meanwhile, and decided about after.
func TestClickHouseComesBack(t *testing.T) {
	t.Parallel()
	sent := &channeltest.Recorder{}
	p := settle(t, map[string]string{
		"nudge.yaml": "data: data\nchannels: {log: {adapter: stdout}}\n",
		"rules/tick.yaml": `
rule: tick
schedule: "* * * * *"
when: event("Bought").count > 0
again: never
backfill: true
message: {log: {title: tick}}
`,
		"rules/now.yaml": ruleOn("now", "Bought", ""),
	})
	p.routes = recordedBy(sent)
	p.run()
	p.track("ann", "Bought", nil)
	p.eventually(func() bool { return counts(sent)["ann: now"] == 1 }, "it works")
	for i := range 2 {
		killStore(p)
		users := []string{fmt.Sprintf("bob%d", i), fmt.Sprintf("cyd%d", i)}
		for _, u := range users {
			p.track(u, "Bought", nil)
		}
		for _, u := range users {
			p.eventually(func() bool { return counts(sent)[u+": now"] == 1 }, "%s is answered", u)
		}
		if i == 1 { // the tick itself finds it gone
			killStore(p)
		}
		p.clock.next(time.Minute)
		for _, u := range users {
			p.eventually(func() bool { return counts(sent)[u+": tick"] == 1 }, "%s is told", u)
		}
	}
	p.becomes("5", "SELECT count() FROM events WHERE event = 'Bought'")
	p.clock.next(time.Minute)
	p.becomes("10", "SELECT count() FROM ledger WHERE reason = 'send'")
	for who, n := range counts(sent) {
		require.Equal(t, 1, n, who)
	}
}

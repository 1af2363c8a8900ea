package faulttest_test

import (
	"fmt"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestStoreAwayDuringIngestAndTicks stops the embedded ClickHouse while events come in and schedules
// fall due (over NUDGE_AWAY minutes' ticks), and then kills it: events are taken all the while,
// nothing is lost, and the ticks that were missed are made up for once.
func TestStoreAwayDuringIngestAndTicks(t *testing.T) {
	t.Parallel()
	hook := receive(t, 4)
	files := wanted(hook.URL)
	files["rules/digest.yaml"] = rule("digest", "category: transactional\nschedule: \"* * * * *\"\nbackfill: true\nwhen: event(\"Subscribed\").count > 0\nagain: every_tick")
	in := install(t, "", files)
	in.start()
	batch := []byte(`{"batch":[`)
	const subscribers = 50
	for i := range subscribers {
		batch = fmt.Appendf(batch, `{"type":"track","messageId":"s/%d","userId":"s%d","event":"Subscribed"},`, i, i)
	}
	batch = append(batch[:len(batch)-1], "]}"...)
	require.True(t, (&load{in: in, client: quick(), batches: map[string]*sending{}}).try(t.Context(), "s", batch))
	in.settle()

	allowed := int64(50)
	l := &load{in: in, body: people}
	l.hold = func() bool { return l.acked.Load() >= allowed }
	l.begin(t, 2, 1)
	advance(t, l.acked.Load, 10)
	in.signalEngine(syscall.SIGSTOP) // connected, and silent
	stopped := time.Now()
	advance(t, l.acked.Load, 20) // ingest goes on
	ticks := number(t, "NUDGE_AWAY", 1)
	back := stopped.Truncate(time.Minute).Add(time.Duration(ticks)*time.Minute + 2*time.Second)
	eventually(t, time.Duration(ticks+1)*time.Minute, func() bool { return time.Now().After(back) }, func() string { return "time stands still" })
	eventually(t, startWithin, func() bool { return l.acked.Load() >= allowed }, func() string { return "ingest stopped with the store" })
	l.end()
	in.signalEngine(syscall.SIGKILL)
	in.settle()
	away := "SELECT uniqExact(at) FROM decisions WHERE rule = 'digest' AND at > fromUnixTimestamp64Milli(%d) AND at < fromUnixTimestamp64Milli(%d)"
	s := in.open()
	defer s.Close() //nolint:errcheck // only read
	made := func() uint64 { return ask(t, s, fmt.Sprintf(away, stopped.UnixMilli(), back.UnixMilli())) }
	eventually(t, startWithin, func() bool { return made() > 0 }, func() string { return "nobody made up for the missed ticks" })
	countMessages(t, in, hook, l)
	require.EqualValues(t, 1, made(), "%d missed ticks are one", ticks)
	require.Zero(t, ask(t, s, "SELECT count() FROM (SELECT at, uniqExact(user_id) AS n, count() AS c FROM decisions WHERE rule = 'digest' GROUP BY at HAVING n != "+
		strconv.Itoa(subscribers)+" OR c != n)"), "a digest is for every subscriber, once")
}

package faulttest_test

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/events/clickhouse"
)

// The rules of a world in which everybody is wanted by four rules and may hear from three, one at a
// time; and in which every payment has a receipt, without caps.
const (
	spaced = 6 * time.Second
	most   = 3
)

func wanted(hook string) map[string]string {
	files := map[string]string{
		"nudge.yaml": config(hook) + fmt.Sprintf(`caps:
  - {name: spaced, max: 1, per: %s, window: rolling, scope: all, at_cap: retry}
  - {name: few, max: %d, per: 24h, window: rolling, scope: all, at_cap: retry}
  - {name: week, max: 5, per: week, window: calendar, clock: workspace, scope: all, at_cap: retry}
`, spaced, most),
		"rules/receipt.yaml": rule("receipt", "category: transactional\non: {event: Paid, by: id, max_age: 24h}\nagain: each_time"),
	}
	for i := range 2 {
		on, every := fmt.Sprintf("hot-%d", i), fmt.Sprintf("seen-%d", i)
		files["rules/"+on+".yaml"] = rule(on, fmt.Sprintf("priority: %d\non: {event: Hot, max_age: 24h}\nagain: never", 50+i))
		files["rules/"+every+".yaml"] = rule(every, fmt.Sprintf("priority: %d\nschedule: \"* * * * *\"\nbackfill: true\nwhen: event(\"Hot\").count > 0\nagain: never", 40+i))
	}
	return files
}

// paidPerBatch is how many people a batch has, each with one payment.
const paidPerBatch = perBatch / 2

// people is a batch of people who are all wanted, and pay.
func people(buf []byte, batch string) []byte {
	buf = append(buf, `{"batch":[`...)
	for i := range paidPerBatch {
		user, n := "u"+batch+"."+strconv.Itoa(i), "p"+strconv.Itoa(2*i)
		buf = fmt.Appendf(buf, `{"type":"track","messageId":%q,"userId":%q,"event":"Hot"},`, batch+"/"+n, user)
		n = "p" + strconv.Itoa(2*i+1)
		buf = fmt.Appendf(buf, `{"type":"track","messageId":%q,"userId":%q,"event":"Paid","properties":{"id":%q}},`, batch+"/"+n, user, batch+"/"+n)
	}
	return append(buf[:len(buf)-1], "]}"...)
}

// behind says whether messages are so far behind that clients wait.
func (l *load) behind(hook *receiver) func() bool {
	const ahead = 8000
	return func() bool { return l.acked.Load()*paidPerBatch*(1+most) > hook.accepted.Load()+ahead }
}

// TestKillDuringDecisionsAndDelivery kills both processes while people become true for several rules
// under caps, and messages go out.
func TestKillDuringDecisionsAndDelivery(t *testing.T) {
	t.Parallel()
	hook := receive(t, 2)
	in := install(t, "", wanted(hook.URL))
	chance := seeded(t)
	l := &load{in: in, body: people}
	l.hold = l.behind(hook)
	in.start()
	l.begin(t, 2, chance.Uint64())
	begin := time.Now()
	upset(t, in, chance, kills(t), func() int64 { return l.acked.Load() + hook.accepted.Load()/20 })
	took := time.Since(begin)
	l.end()
	in.settle()
	t.Logf("%d kills of serve and %d of ClickHouse in %s", kills(t), kills(t), took.Round(time.Second))
	countMessages(t, in, hook, l)
}

// countMessages waits until everybody has been messaged and holds what was received against what
// had to be, and the ledger against both.
func countMessages(t *testing.T, in *installation, hook *receiver, l *load) {
	t.Helper()
	s := in.open()
	defer s.Close() //nolint:errcheck // only read
	paid := texts(t, s, "SELECT message_id FROM events WHERE event = 'Paid'")
	hot := texts(t, s, "SELECT user_id FROM events WHERE event = 'Hot'")
	acked := 0
	l.mu.Lock()
	for _, b := range l.batches {
		if b.acked {
			acked++
		}
	}
	l.mu.Unlock()
	require.GreaterOrEqual(t, len(paid), acked*paidPerBatch, "acknowledged events are lost")
	// A retry that met an unresolved message waits a minute; schedules come each minute.
	want := len(paid) + most*len(hot)
	have := func() int {
		all, digests := hook.different()
		return all - digests
	}
	eventually(t, 3*time.Minute, func() bool { return have() >= want }, func() string {
		return fmt.Sprintf("%d of %d messages were received", have(), want)
	})
	in.settle()                                // one that is too many would come now
	eventually(t, 2*time.Minute, func() bool { // clear of the next tick
		sec := time.Now().Second()
		all, _ := hook.different()
		return sec >= 5 && sec < 45 && ask(t, s, "SELECT uniqExact(entry) FROM deliveries WHERE status = 'accepted'") == uint64(all)
	}, func() string { return "the ledger is behind" })
	got := hook.messages()
	checkReceipts(t, got, paid)
	repeats := checkCaps(t, s, got, hot)
	checkLedger(t, s, got)
	countDerived(t, s)
	t.Logf("%d people and %d payments of %d acknowledged batches: %d messages, 0 lost, 0 over a cap; %d were sent twice under one webhook-id, because a kill lost their outcome",
		len(hot), len(paid), acked, len(got), repeats)
}

func texts(t *testing.T, s *clickhouse.Store, query string) []string {
	t.Helper()
	rows, err := s.Conn().Query(t.Context(), query)
	require.NoError(t, err)
	defer rows.Close()
	var out []string
	for rows.Next() {
		var text string
		require.NoError(t, rows.Scan(&text))
		out = append(out, text)
	}
	require.NoError(t, rows.Err())
	return out
}

// checkReceipts wants one message for each payment.
func checkReceipts(t *testing.T, got map[string]*message, paid []string) {
	t.Helper()
	times := map[string]int{}
	for _, m := range got {
		if m.rule == "receipt" {
			times[m.value]++
		}
	}
	for _, id := range paid {
		require.Equal(t, 1, times[id], "receipts of payment %s", id)
		delete(times, id)
	}
	require.Empty(t, times, "receipts of payments that nobody made")
}

// checkCaps goes by the receiver's log alone: how many messages each person got in every window. It
// returns how many messages were taken more than once.
func checkCaps(t *testing.T, s *clickhouse.Store, got map[string]*message, hot []string) (repeats int) {
	t.Helper()
	byUser := map[string][]*message{}
	for _, m := range got {
		repeats += len(m.taken) - 1
		if m.rule != "receipt" && m.rule != "digest" {
			byUser[m.user] = append(byUser[m.user], m)
		}
	}
	wrong := 0
	for user, list := range byUser {
		if len(list) != most && wrong < 5 {
			wrong++
			t.Errorf("%s was sent %d messages instead of %d: %s", user, len(list), most, person(t, s, user))
		}
	}
	require.Zero(t, wrong)
	for user, list := range byUser {
		slices.SortFunc(list, func(a, b *message) int { return a.taken[0].Compare(b.taken[0]) })
		rules := map[string]bool{}
		for i, m := range list {
			require.False(t, rules[m.rule], "%s heard from %s twice", user, m.rule)
			rules[m.rule] = true
			if i > 0 {
				require.GreaterOrEqual(t, m.taken[0].Sub(list[i-1].taken[0]), spaced,
					"%s got %s (%s) and %s (%s)", user, list[i-1].rule, list[i-1].entry, m.rule, m.entry)
			}
		}
	}
	require.Equal(t, slices.Compact(slices.Sorted(slices.Values(hot))), slices.Sorted(maps.Keys(byUser)), "who was messaged")
	return repeats
}

// story is everything that the ledger has of an entry.
func story(t *testing.T, s *clickhouse.Store, entry string) string {
	t.Helper()
	return fmt.Sprint(texts(t, s, "SELECT line FROM (SELECT concat(toString(at), ' decided ', rule, ' ', reason, ' attempt ', toString(attempt), ' shard ', toString(shard), "+
		"' seq ', toString(seq), ' tick ', tick) AS line FROM decisions WHERE entry = '"+entry+"' UNION ALL SELECT concat(toString(at), ' ', status, ' attempt ', toString(attempt), "+
		"' shard ', toString(shard), ' seq ', toString(seq)) FROM deliveries WHERE entry = '"+entry+"') ORDER BY line"))
}

// person is everything that the ledger has of someone.
func person(t *testing.T, s *clickhouse.Store, user string) string {
	t.Helper()
	var out []string
	for _, entry := range texts(t, s, "SELECT DISTINCT entry FROM decisions WHERE user_id = '"+user+"'") {
		out = append(out, entry+": "+story(t, s, entry))
	}
	return strings.Join(out, "\n")
}

// checkLedger wants each message to be one entry, decided to be sent once and delivered once.
func checkLedger(t *testing.T, s *clickhouse.Store, got map[string]*message) {
	t.Helper()
	received := map[string]int{}
	for _, m := range got {
		received[m.entry]++
	}
	for entry, n := range received {
		require.Equal(t, 1, n, "webhook-ids of entry %s", entry)
	}
	for what, query := range map[string]string{
		"decided":   "SELECT entry FROM decisions WHERE reason = 'send'",
		"delivered": "SELECT entry FROM deliveries WHERE status = 'accepted'",
	} {
		seen := map[string]int{}
		for _, entry := range texts(t, s, query) {
			if seen[entry]++; seen[entry] != 1 || received[entry] != 1 {
				require.FailNow(t, "the ledger is not what was received", "entry %s was %s %d times and received %d times: %s",
					entry, what, seen[entry], received[entry], story(t, s, entry))
			}
		}
		missing := 0
		for entry := range received {
			if seen[entry] == 0 && missing < 5 {
				missing++
				t.Errorf("entry %s was received and, by the ledger, not %s: %s", entry, what, story(t, s, entry))
			}
		}
		require.Zero(t, missing)
	}
	require.Zero(t, ask(t, s, "SELECT count() FROM deliveries WHERE status NOT IN ('intent', 'retrying', 'accepted')"))
	require.Zero(t, ask(t, s, "SELECT count() FROM (SELECT 1 FROM decisions GROUP BY entry, attempt HAVING count() > 1)"), "an attempt was decided twice")
}

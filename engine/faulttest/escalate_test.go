package faulttest_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestKillDuringEscalations kills both processes while messages go out that nobody opens: every one is followed by one on
// the second channel, once, and not before its time.
func TestKillDuringEscalations(t *testing.T) {
	t.Parallel()
	const after = 2 * time.Second
	hook := receive(t, 9)
	in := install(t, "", map[string]string{
		"nudge.yaml": config(hook.URL)[:len(config(hook.URL))-2] + fmt.Sprintf(", second: {adapter: webhook, config: {url: %s}}}\n", hook.URL),
		"rules/receipt.yaml": fmt.Sprintf("rule: receipt\ncategory: transactional\non: {event: Paid, by: id, max_age: 24h}\nagain: each_time\n"+
			"deliver: {escalate: %s}\nmessage: {hook: {title: one, body: hello}, second: {title: two, body: hello}}\n", after),
	})
	chance := seeded(t)
	const inBatch = 10
	l := &load{in: in, events: inBatch, body: func(buf []byte, batch string) []byte {
		buf = append(buf, `{"batch":[`...)
		for i := range inBatch {
			id := batch + "/" + strconv.Itoa(i)
			buf = fmt.Appendf(buf, `{"type":"track","messageId":%q,"userId":%q,"event":"Paid","properties":{"id":%q}},`, id, "u"+id, id)
		}
		return append(buf[:len(buf)-1], "]}"...)
	}}
	l.hold = func() bool { return l.acked.Load()*2*inBatch > hook.accepted.Load()+2000 }
	in.start()
	l.begin(t, 2, chance.Uint64())
	upset(t, in, chance, kills(t), func() int64 { return l.acked.Load() + hook.accepted.Load()/inBatch })
	l.end()
	in.settle()
	s := in.open()
	defer s.Close() //nolint:errcheck // only read
	paid := texts(t, s, "SELECT message_id FROM events WHERE event = 'Paid'")
	eventually(t, 2*time.Minute, func() bool { all, _ := hook.different(); return all >= 2*len(paid) }, func() string {
		all, _ := hook.different()
		return fmt.Sprintf("%d of %d messages were received", all, 2*len(paid))
	})
	wait(t, 2*after) // one that is too many would come now
	in.settle()
	byValue := map[string][]*message{}
	for _, m := range hook.messages() {
		byValue[m.value] = append(byValue[m.value], m)
	}
	require.Len(t, byValue, len(paid))
	for value, list := range byValue {
		slices.SortFunc(list, func(a, b *message) int { return a.taken[0].Compare(b.taken[0]) })
		require.Len(t, list, 2, "of %s: %s", value, story(t, s, list[0].entry))
		// The second counts from when the outcome of the first was known, which a kill may have lost.
		require.GreaterOrEqual(t, list[1].taken[0].Sub(list[0].taken[0]), after-50*time.Millisecond, "of %s: %s", value, story(t, s, list[0].entry))
	}
	require.Zero(t, ask(t, s, "SELECT count() FROM (SELECT 1 FROM decisions GROUP BY entry, attempt HAVING count() > 1)"), "an attempt was decided twice")
	t.Logf("%d payments, each with a message on both channels", len(paid))
}

package faulttest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/engine/app"
	"nudge/events/clickhouse"
)

// perBatch is how many events of a batch the store must have; one more is bad on purpose.
const perBatch = 20

// mixed is a batch of every kind of event that leads to rows of its own. Every tenth event is an
// identify with a trait, and so on; all message ids begin with the batch's name.
func mixed(buf []byte, batch string) []byte {
	buf = append(buf, `{"batch":[`...)
	for i := range perBatch {
		id := batch + "/" + strconv.Itoa(i)
		user := "u" + batch // of this batch alone
		switch i % 10 {
		case 0:
			buf = fmt.Appendf(buf, `{"type":"identify","messageId":%q,"userId":%q,"traits":{"mark":%q,"n":%d}},`, id, user, id, i)
		case 1:
			buf = fmt.Appendf(buf, `{"type":"track","messageId":%q,"userId":%q,"event":"Opened App","context":{"device":{"token":%q,"type":"ios"}}},`, id, user, id)
		case 2:
			buf = fmt.Appendf(buf, `{"type":"track","messageId":%q,"userId":%q,"event":"Location Updated","context":{"location":{"latitude":52.5,"longitude":13.4}}},`, id, user)
		case 3:
			buf = fmt.Appendf(buf, `{"type":"track","messageId":%q,"anonymousId":%q,"event":"Seen"},`, id, "a"+id)
		case 4:
			buf = fmt.Appendf(buf, `{"type":"identify","messageId":%q,"userId":%q,"anonymousId":%q},`, id, user, "a"+batch+"/"+strconv.Itoa(i-1))
		default:
			buf = fmt.Appendf(buf, `{"type":"track","messageId":%q,"userId":%q,"event":"Seen","properties":{"price":%d.5,"id":%q}},`, id, "u"+strconv.Itoa(len(buf)%500), i, id)
		}
	}
	return fmt.Appendf(buf, `{"type":"track","messageId":%q,"event":"Nobody's"}]}`, batch+"/bad")
}

// TestKillDuringIngest kills `nudge serve` and its embedded ClickHouse, in turn and at moments of
// chance, while clients post as fast as they can.
func TestKillDuringIngest(t *testing.T) {
	t.Parallel()
	hook := receive(t, 1)
	in := install(t, "", map[string]string{"nudge.yaml": config(hook.URL)})
	chance := seeded(t)
	l := &load{in: in, body: mixed}
	in.start()
	l.begin(t, 4, chance.Uint64())
	begin := time.Now()
	upset(t, in, chance, kills(t), l.acked.Load)
	took := time.Since(begin)
	l.end()
	in.settle()
	n := countEvents(t, in, l)
	in.kill()
	in.start() // what was written twice or lost by this would show now
	in.settle()
	again := countEvents(t, in, l)
	require.Equal(t, n, again)
	t.Logf("%d kills of serve and %d of ClickHouse in %s: %d batches acknowledged, %d not, %d events stored, 0 lost, 0 twice",
		kills(t), kills(t), took.Round(time.Second), n.acked, n.unacked, n.events)
}

// upset kills serve n times and the embedded ClickHouse n times. Each comes after some more progress,
// or in the middle of the recovery from the last.
func upset(t *testing.T, in *installation, chance *rand.Rand, n int, progress func() int64) {
	t.Helper()
	most := between(t)
	for i := range 2 * n {
		hasty := chance.IntN(4) == 0 // while it starts
		if i%2 == 0 {
			if hasty {
				wait(t, time.Duration(chance.IntN(2500))*time.Millisecond)
			} else {
				in.revive()
				advance(t, progress, 1+chance.Int64N(most))
			}
			in.kill()
			in.begin()
			if chance.IntN(4) != 0 {
				in.revive()
			}
			continue
		}
		if !hasty {
			in.revive()
			advance(t, progress, 1+chance.Int64N(most))
		}
		in.signalEngine(syscall.SIGKILL)
	}
	in.revive()
}

// revive waits for the process, or starts another where the last gave up because its ClickHouse was
// killed while it was being started.
func (in *installation) revive() {
	in.t.Helper()
	in.mu.Lock()
	p := in.run
	in.mu.Unlock()
	if p != nil {
		select {
		case <-p.ended:
		case <-p.up:
			return
		}
	}
	in.start()
}

// advance waits for some more progress.
func advance(t *testing.T, progress func() int64, by int64) {
	t.Helper()
	until := progress() + by
	eventually(t, startWithin, func() bool { return progress() >= until }, func() string {
		return fmt.Sprintf("progress stands at %d of %d", progress(), until)
	})
}

// wait lets time pass: for a fault in the middle of a start there is nothing else to wait for.
func wait(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

// open joins the running process's store. The caller closes it before the next fault, since whoever
// has it open starts the engine again when it ends.
func (in *installation) open() *clickhouse.Store {
	in.t.Helper()
	s, err := app.OpenStore(in.t.Context(), in.workspace(), nil)
	require.NoError(in.t, err)
	return s
}

// settle posts a last event and waits until it is stored: then everything before it is.
func (in *installation) settle() {
	in.t.Helper()
	mark := fmt.Sprintf("settled-%d", time.Now().UnixNano())
	l := &load{in: in, client: quick(), batches: map[string]*sending{}}
	body := fmt.Appendf(nil, `{"batch":[{"type":"track","messageId":%q,"userId":"settler","event":"Settled"}]}`, mark)
	eventually(in.t, startWithin, func() bool { return l.try(in.t.Context(), mark, body) }, func() string { return "no answer" })
	s := in.open()
	defer s.Close() //nolint:errcheck // only read
	eventually(in.t, 2*startWithin, func() bool {
		return ask(in.t, s, "SELECT count() FROM events WHERE message_id = '"+mark+"' AND pos <= (SELECT max(pos) FROM checkpoints WHERE reader = 'writer')") == 1
	}, func() string { return "the store is behind" })
}

// ask runs a query that answers one number. An error of a store that is being started counts as 0.
func ask(t *testing.T, s *clickhouse.Store, query string) (n uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, s.Conn().QueryRow(ctx, query).Scan(&n), query)
	return n
}

// counted is what the store had.
type counted struct{ acked, unacked, events int }

// countEvents holds the store against what clients were told.
func countEvents(t *testing.T, in *installation, l *load) counted {
	t.Helper()
	s := in.open()
	defer s.Close() //nolint:errcheck // only read
	rows, err := s.Conn().Query(t.Context(), "SELECT splitByChar('/', message_id)[1] AS batch, count(), uniqExact(message_id) FROM events "+
		"WHERE source = 'web' AND event != 'Settled' GROUP BY batch")
	require.NoError(t, err)
	stored := map[string]uint64{}
	var n counted
	for rows.Next() {
		var batch string
		var all, distinct uint64
		require.NoError(t, rows.Scan(&batch, &all, &distinct))
		require.Equal(t, distinct, all, "events of batch %s are stored twice", batch)
		stored[batch] = all
		n.events += int(all)
	}
	require.NoError(t, rows.Err())
	require.NoError(t, rows.Close())
	l.mu.Lock()
	defer l.mu.Unlock()
	lost := 0
	for name, b := range l.batches {
		switch {
		case b.acked:
			n.acked++
			if stored[name] != uint64(l.events) {
				lost++
				t.Errorf("batch %s was acknowledged (attempt %d); the store has %d of %d events", name, b.attempts, stored[name], l.events)
			}
		default:
			n.unacked++
			require.LessOrEqual(t, stored[name], uint64(l.events))
		}
		if lost > 20 {
			break
		}
		delete(stored, name)
	}
	require.Zero(t, lost)
	require.Empty(t, stored, "batches that nobody posted")
	countDerived(t, s)
	return n
}

// countDerived holds every table against the events that it is made of, and looks for rows that are
// there twice.
func countDerived(t *testing.T, s *clickhouse.Store) {
	t.Helper()
	for table, key := range map[string]string{
		"events": "pos", "dedup": "pos", "identities": "kind, id, pos", "merges": "loser, pos", "traits": "key, pos",
		"devices": "token, person, removed, pos", "consents": "channel, category, pos", "zones": "pos", "fixes": "pos", "dead_letters": "pos, index",
		"decisions": "seq, index", "deliveries": "seq, index", "shard_log": "seq, index", "ticks": "id, shard, p1",
	} {
		twice := ask(t, s, "SELECT count() FROM (SELECT 1 FROM "+table+" GROUP BY "+key+" HAVING count() > 1)")
		require.Zero(t, twice, "rows of %s are there twice", table)
	}
	// Outcomes of messages go on being stored, and come to the tables one by one.
	stored := ask(t, s, "SELECT max(pos) FROM checkpoints WHERE reader = 'writer'")
	for _, c := range []struct{ what, want, have string }{
		{
			"message ids", "SELECT count() FROM events WHERE source = 'web'",
			"SELECT count() FROM dedup AS d WHERE d.pos IN (SELECT pos FROM events WHERE source = 'web')",
		},
		{
			"message ids of nothing", "SELECT 0::UInt64",
			fmt.Sprintf("SELECT count() FROM dedup AS d WHERE d.pos <= %d AND d.pos NOT IN (SELECT pos FROM events)", stored),
		},
		{
			"traits", "SELECT 2 * count() FROM events WHERE kind = 2 AND anonymous_id = '' AND source = 'web'",
			"SELECT count() FROM traits WHERE key IN ('mark', 'n')",
		},
		{"fixes", "SELECT count() FROM events WHERE event = 'Location Updated'", "SELECT count() FROM fixes"},
		{"devices", "SELECT count() FROM events WHERE event = 'Opened App'", "SELECT uniqExact(token) FROM devices"},
		{
			"user ids", "SELECT uniqExact(user_id) FROM events WHERE user_id != ''",
			"SELECT uniqExact(id) FROM identities WHERE kind = 'user'",
		},
		{
			"anonymous ids", "SELECT uniqExact(anonymous_id) FROM events WHERE anonymous_id != ''",
			"SELECT uniqExact(id) FROM identities WHERE kind = 'anonymous'",
		},
		{
			"merges", "SELECT count() FROM events WHERE kind = 2 AND anonymous_id != ''",
			"SELECT uniqExact(loser) FROM merges",
		},
	} {
		require.Equal(t, ask(t, s, c.want), ask(t, s, c.have), c.what)
	}
}

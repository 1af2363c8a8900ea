package faulttest_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestPowerCuts runs everything on a disk whose power is cut at moments of chance, in the middle of
// ingest, decisions and delivery.
func TestPowerCuts(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	hook := receive(t, 5)
	in := install(t, filepath.Join(d.mount, "data"), wanted(hook.URL))
	chance := seeded(t)
	l := &load{in: in, body: everything, events: 2 * perBatch}
	l.hold = func() bool { return l.acked.Load()*paidPerBatch > hook.accepted.Load()+2000 }
	in.start()
	l.begin(t, 2, chance.Uint64())
	progress := func() int64 { return l.acked.Load() + hook.accepted.Load()/20 }
	begin := time.Now()
	cuts, torn := (kills(t)+1)/2, 0
	for range cuts {
		if chance.IntN(4) != 0 {
			in.revive()
			advance(t, progress, 1+chance.Int64N(between(t)))
		}
		if d.fails(1+chance.Int64N(300), time.Duration(chance.IntN(3000))*time.Millisecond) {
			torn++
		}
		var keeps *rand.Rand
		if chance.IntN(2) == 0 {
			keeps = chance
		}
		d.cut(keeps)
		in.killAll()
		d.unplug()
		require.NoError(t, d.plug())
		in.begin()
	}
	took := time.Since(begin)
	in.revive()
	advance(t, l.acked.Load, 1)
	l.end()
	in.settle()
	n := countEvents(t, in, l)
	t.Logf("%d power cuts (%d between two writes) in %s: %d batches acknowledged, %d not, %d events stored, 0 lost, 0 twice; of what was done between %d fsyncs, %d KB and %d changes of names and lengths were lost",
		cuts, torn, took.Round(time.Second), n.acked, n.unacked, n.events, d.syncs, d.lost.bytes>>10, d.lost.changes)
	countMessages(t, in, hook, l)
}

// everything is a batch of mixed events and of people to be messaged.
func everything(buf []byte, batch string) []byte {
	buf = people(buf, batch)
	buf = append(buf[:len(buf)-2], ',')
	return append(buf, mixed(nil, batch)[len(`{"batch":[`):]...)
}

// killAll ends the process and its embedded ClickHouse.
func (in *installation) killAll() {
	in.t.Helper()
	engine := in.engine()
	if engine != 0 {
		_ = syscall.Kill(engine, syscall.SIGKILL)
	}
	in.kill()
	in.gone(engine)
}

// gone waits for the end of a process that is not ours.
func (in *installation) gone(pid int) {
	in.t.Helper()
	eventually(in.t, startWithin, func() bool {
		_, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
		return pid == 0 || err != nil
	}, func() string { return fmt.Sprintf("process %d lives on", pid) })
}

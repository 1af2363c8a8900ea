package writer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/events"
	"nudge/events/clickhouse"
	"nudge/events/clickhouse/embedded"
	"nudge/events/queue"
)

// The fault tests run a whole writer (queue, store with its engine, writer, and somebody who sends)
// in a process of its own, this test binary again, and kill it.

const (
	loadDir   = "NUDGE_WRITER_LOAD" // folder: be the process under load
	loadFrom  = "NUDGE_WRITER_FROM" // first message to send
	faultsEnv = "NUDGE_FAULTS"      // kills in TestNothingIsLostOrDoubled; 10 if unset
	seedEnv   = "NUDGE_FAULTS_SEED" // 1 if unset
	perSend   = 20                  // events in a message
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(loadDir); dir != "" {
		if err := loadProcess(dir); err != nil {
			fmt.Fprintln(os.Stderr, "load:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// loadMessage is what is sent as number i, always the same.
func loadMessage(i int) []events.Event {
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC).UnixMilli() + int64(i)*1000
	evs := make([]events.Event, perSend)
	for j := range evs {
		n := i*perSend + j
		ev := &evs[j]
		*ev = events.Event{
			Kind: events.KindTrack, MessageID: fmt.Sprintf("m-%d", n), Source: "app", Name: "Product Viewed",
			Time: at + int64(j), ReceivedAt: at + int64(j),
			UserID: fmt.Sprintf("u%d", n*7919%997), Properties: []byte(`{"price":12.5,"sku":"a"}`), Raw: []byte(`{"r":1}`),
		}
		switch n % 10 {
		case 0:
			ev.Kind, ev.Traits = events.KindIdentify, []byte(`{"plan":"x","age":3}`)
			ev.AnonymousID = fmt.Sprintf("a%d", n*31%701)
		case 1, 2:
			ev.UserID, ev.AnonymousID = "", fmt.Sprintf("a%d", n*31%701)
		case 3:
			ev.Context = []byte(fmt.Sprintf(`{"timezone":"%s","device":{"token":"t%d","type":"ios"}}`,
				[]string{"Europe/Berlin", "Asia/Tokyo"}[n/10%2], n%211))
		case 4:
			ev.Name, ev.Properties = events.LocationUpdated, []byte(`{"latitude":1,"longitude":2}`)
		case 5:
			ev.Kind, ev.Properties = events.KindConsent, []byte(`{"channel":"push","granted":true}`)
		case 6:
			*ev = events.Event{Kind: events.KindRefused, Index: j, Reason: "no", Raw: []byte("{"), Time: at, ReceivedAt: at}
		case 7:
			ev.Kind, ev.PreviousID, ev.Flags = events.KindAlias, fmt.Sprintf("u%d", n*17%997), events.KnownAlias
		}
	}
	return evs
}

// loadProcess sends messages from a number on until its standard input closes; then it waits for the
// store and says how many there are. Each message that is acknowledged is a line of its own.
func loadProcess(dir string) error {
	ctx := context.Background()
	from, err := strconv.Atoi(os.Getenv(loadFrom))
	if err != nil {
		return err
	}
	q, err := queue.Open(ctx, queue.Config{Dir: filepath.Join(dir, "queue"), Now: time.Now})
	if err != nil {
		return err
	}
	defer q.Close()
	store, err := clickhouse.Open(ctx, clickhouse.Config{Dir: dir})
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	if err := store.Migrate(ctx, clickhouse.Layout{}); err != nil {
		return err
	}
	w, err := New(Options{Queue: q, Store: store, Now: time.Now, FlushEvery: 15 * time.Millisecond})
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- w.Run(ctx) }()
	stop := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(stop)
	}()
	var seq uint64
	for i := from; ; i++ {
		select {
		case <-stop:
			if err := w.WaitFor(ctx, events.EndOf(seq)); err != nil {
				return err
			}
			fmt.Println("done", i)
			return nil
		case err := <-failed:
			return err
		default:
		}
		if seq, err = q.Append(ctx, loadMessage(i)); err != nil {
			return err
		}
		fmt.Println("acknowledged", i, store.Engine().PID())
	}
}

// load is a running loadProcess.
type load struct {
	cmd   *exec.Cmd
	stdin io.Closer
	lines chan string
}

func startLoad(t *testing.T, dir string, from int) *load {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), loadDir+"="+dir, loadFrom+"="+strconv.Itoa(from))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	l := &load{cmd, stdin, make(chan string, 1<<16)}
	go func() {
		defer close(l.lines)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			l.lines <- s.Text()
		}
	}()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return l
}

// until reads lines for which ok is false; it reports false when the process has ended.
func (l *load) until(acked, engine *int, ok func() bool) bool {
	for line := range l.lines {
		var n, pid int
		if c, _ := fmt.Sscanf(line, "acknowledged %d %d", &n, &pid); c == 2 {
			*acked = n
			if pid != 0 {
				*engine = pid
			}
		}
		if ok() {
			return true
		}
	}
	return false
}

// expected is how many rows the tables hold of messages [0, n), by the pure parts alone.
func expected(n int) map[string]int {
	ids := newIdentity(testSalt)
	d := newDerive(ids)
	b := &batch{}
	for i := range n {
		for j, ev := range loadMessage(i) {
			if ev.Kind == events.KindRefused {
				b.letters = append(b.letters, letter{})
				continue
			}
			b.dedup = append(b.dedup, dedupRow{})
			p, _ := ids.apply(&ev, events.At(uint64(i+1), j))
			d.merged(ids.merges[len(b.merges):])
			b.merges = ids.merges
			r := events.Resolved{Event: ev, Pos: events.At(uint64(i+1), j), Person: p}
			d.add(b, &r)
			if kept(ev.Kind) {
				b.rows = append(b.rows, &events.Resolved{})
			}
		}
	}
	return map[string]int{
		"events": len(b.rows), "dedup": len(b.dedup), "identities": len(ids.links), "merges": len(ids.merges),
		"traits": len(b.traits), "devices": len(b.devices), "consents": len(b.consents), "zones": len(b.zones),
		"fixes": len(b.fixes), "erasures": 0, "dead_letters": len(b.letters),
	}
}

func fromEnv(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, name)
	return n
}

// Whatever is killed whenever: every acknowledged event is in the store once, with its rows in every
// table, and nothing is there twice.
func TestNothingIsLostOrDoubled(t *testing.T) {
	if _, err := embedded.FindLib(""); err != nil {
		t.Skip(err)
	}
	kills, seed := fromEnv(t, faultsEnv, 10), fromEnv(t, seedEnv, 1)
	rnd := rand.New(rand.NewPCG(uint64(seed), 1))
	dir := t.TempDir()
	acked, engine := -1, 0
	l := startLoad(t, dir, 0)
	for kill := range kills {
		goal := acked + 5 + rnd.IntN(60)
		require.True(t, l.until(&acked, &engine, func() bool { return acked >= goal }), "the process ended by itself")
		<-time.After(time.Duration(rnd.IntN(40)) * time.Millisecond)
		if rnd.IntN(2) == 0 {
			t.Logf("kill %d: the engine, after message %d", kill, acked)
			if err := syscall.Kill(engine, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				require.NoError(t, err)
			}
			continue
		}
		t.Logf("kill %d: the process, after message %d", kill, acked)
		require.NoError(t, l.cmd.Process.Kill())
		l.until(&acked, &engine, func() bool { return false }) // what it said before it died
		_ = l.cmd.Wait()
		l = startLoad(t, dir, acked+1)
	}
	goal := acked + 20
	require.True(t, l.until(&acked, &engine, func() bool { return acked >= goal }), "the process ended by itself")
	require.NoError(t, l.stdin.Close())
	l.until(&acked, &engine, func() bool { return false })
	require.NoError(t, l.cmd.Wait())

	store, err := clickhouse.Open(t.Context(), clickhouse.Config{Dir: dir})
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	got := map[string]int{}
	for _, table := range tableNames() {
		n, err := strconv.Atoi(rowsOf(t, store, "SELECT count() FROM "+table)[0])
		require.NoError(t, err)
		got[table] = n
	}
	// A refused call has no message id: what is sent again after a kill is a dead letter of its own.
	want := expected(acked + 1)
	require.GreaterOrEqual(t, got["dead_letters"], want["dead_letters"])
	require.LessOrEqual(t, got["dead_letters"], want["dead_letters"]+kills*perSend/10)
	require.Equal(t, rowsOf(t, store, "SELECT count() FROM dead_letters"), rowsOf(t, store, "SELECT uniqExact(pos) FROM dead_letters"))
	want["dead_letters"] = got["dead_letters"]
	require.Equal(t, want, got)
	require.Equal(t, rowsOf(t, store, "SELECT count() FROM events"), rowsOf(t, store, "SELECT uniqExact(message_id) FROM events"))
	t.Logf("%d messages, %d events, %d kills", acked+1, got["events"], kills)
}

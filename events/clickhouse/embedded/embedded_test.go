package embedded_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/events/clickhouse"
	"nudge/events/clickhouse/embedded"
)

// The test binary is also the engine's child and, for the tests with several processes, a program
// that uses the engine.
func TestMain(m *testing.M) {
	embedded.MaybeRunChild()
	if dir := os.Getenv("TEST_USES_ENGINE"); dir != "" {
		if err := useEngine(dir); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// useEngine is the other program: it starts or joins the engine of dir, says whose it is, and then
// answers each query on its standard input with the first column of the first row.
func useEngine(dir string) error {
	ctx := context.Background()
	store, err := clickhouse.Open(ctx, clickhouse.Config{Dir: dir})
	if err != nil {
		return err
	}
	fmt.Println(store.Engine().PID())
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		fmt.Println(ask(ctx, store, lines.Text()))
	}
	return store.Close()
}

func ask(ctx context.Context, s *clickhouse.Store, query string) string {
	rows, err := s.Conn().Query(ctx, query)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = rows.Close() }()
	var answer string
	for rows.Next() {
		if err := rows.Scan(&answer); err != nil {
			return err.Error()
		}
	}
	if err := rows.Err(); err != nil {
		return err.Error()
	}
	return answer
}

func open(t *testing.T, dir string) *clickhouse.Store {
	t.Helper()
	store, err := clickhouse.Open(context.Background(), clickhouse.Config{Dir: dir})
	if _, ok := errors.AsType[*embedded.MissingLibError](err); ok {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func TestCrash(t *testing.T) {
	ctx := context.Background()
	s := open(t, t.TempDir())
	require.NoError(t, s.Conn().Exec(ctx, "CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n SETTINGS fsync_after_insert = 1, fsync_part_directory = 1"))

	// One goroutine inserts batches all the time, another reads; the engine is killed in between.
	var acknowledged, refused atomic.Int64
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			err := s.Conn().Exec(ctx, fmt.Sprintf("INSERT INTO t SELECT %d + number FROM numbers(100)", n*100))
			switch {
			case err == nil:
				acknowledged.Add(100)
			case clickhouse.Unavailable(err):
				refused.Add(1)
			default:
				t.Errorf("insert: %v", err)
				return
			}
		}
	}()
	killed := 0
	for range 3 {
		before := acknowledged.Load()
		require.Eventually(t, func() bool { return acknowledged.Load() >= before+300 && s.Engine().PID() != 0 }, time.Minute, time.Millisecond)
		pid := s.Engine().PID()
		running := make(chan error, 1)
		go func() {
			running <- s.Conn().Exec(ctx, "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 7 SETTINGS max_threads = 1")
		}()
		require.Eventually(t, func() bool {
			return ask(ctx, s, "SELECT toString(count()) FROM system.processes WHERE query LIKE 'SELECT count() FROM numbers(1000%'") == "1"
		}, time.Minute, time.Millisecond)
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		err := <-running
		require.Error(t, err)
		require.True(t, clickhouse.Unavailable(err), "%v", err)
		killed++
	}
	before := acknowledged.Load()
	require.Eventually(t, func() bool { return acknowledged.Load() > before }, time.Minute, time.Millisecond)
	close(stop)
	<-done
	stored, err := strconv.ParseInt(ask(ctx, s, "SELECT toString(uniqExact(n)) FROM t"), 10, 64)
	require.NoError(t, err)
	require.GreaterOrEqual(t, stored, acknowledged.Load())
	require.LessOrEqual(t, stored, acknowledged.Load()+100*refused.Load())
	require.Positive(t, refused.Load()+int64(killed))
	t.Logf("killed %d times: %d rows acknowledged, %d stored, %d inserts refused", killed, acknowledged.Load(), stored, refused.Load())
}

// program is the test binary as another program that uses the engine of dir.
type program struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
	child int // the pid of its engine, 0 when it joined
}

func run(t *testing.T, dir string) *program {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "TEST_USES_ENGINE="+dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &program{cmd: cmd, in: in, lines: bufio.NewScanner(out)}
	require.True(t, p.lines.Scan(), "the other program said nothing")
	p.child, err = strconv.Atoi(p.lines.Text())
	require.NoError(t, err, p.lines.Text())
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	return p
}

func (p *program) ask(t *testing.T, query string) string {
	t.Helper()
	_, err := fmt.Fprintln(p.in, query)
	require.NoError(t, err)
	require.True(t, p.lines.Scan())
	return p.lines.Text()
}

func TestNoOrphan(t *testing.T) {
	dir := t.TempDir()
	open(t, t.TempDir()) // skips where there is no libchdb
	p := run(t, dir)
	require.Positive(t, p.child)
	require.True(t, alive(p.child))
	require.NoError(t, p.cmd.Process.Kill())
	require.Eventually(t, func() bool { return !alive(p.child) }, time.Minute, time.Millisecond)
}

func TestSecondProcessJoins(t *testing.T) {
	dir := t.TempDir()
	ctx := context.Background()
	s := open(t, dir)
	require.NoError(t, s.Conn().Exec(ctx, "CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n"))
	p := run(t, dir)
	require.Zero(t, p.child, "it must join, not start an engine of its own")
	require.NoError(t, s.Conn().Exec(ctx, "INSERT INTO t VALUES (1), (2)"))
	require.Equal(t, "2", p.ask(t, "SELECT toString(count()) FROM t"))
	// It goes, however rudely, and takes nothing along.
	require.NoError(t, p.cmd.Process.Kill())
	_ = p.cmd.Wait()
	require.Equal(t, "3", ask(ctx, s, "SELECT toString(sum(n)) FROM t"))
}

func TestJoinedProcessTakesOver(t *testing.T) {
	dir := t.TempDir()
	ctx := context.Background()
	open(t, t.TempDir()) // skips where there is no libchdb
	p := run(t, dir)
	require.Positive(t, p.child)
	s := open(t, dir)
	require.Zero(t, s.Engine().PID())
	require.NoError(t, s.Conn().Exec(ctx, "CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n"))
	require.NoError(t, s.Conn().Exec(ctx, "INSERT INTO t VALUES (1), (2)"))
	require.NoError(t, p.cmd.Process.Kill())
	require.Eventually(t, func() bool { return !alive(p.child) }, time.Minute, time.Millisecond)
	require.Eventually(t, func() bool { return ask(ctx, s, "SELECT toString(sum(n)) FROM t") == "3" }, time.Minute, time.Millisecond)
	require.Positive(t, s.Engine().PID())
}

// Many processes that begin at once agree on one engine.
func TestStartedAtOnce(t *testing.T) {
	dir := t.TempDir()
	open(t, t.TempDir()) // skips where there is no libchdb
	const n = 4
	engines := make(chan *embedded.Engine, n)
	for range n {
		go func() {
			e, err := embedded.Start(context.Background(), embedded.Config{Dir: dir})
			if err != nil {
				t.Errorf("start: %v", err)
			}
			engines <- e
		}()
	}
	owners := 0
	var all []*embedded.Engine
	for range n {
		e := <-engines
		require.NotNil(t, e)
		all = append(all, e)
		if e.PID() != 0 {
			owners++
		}
	}
	require.Equal(t, 1, owners)
	for _, e := range all {
		require.NoError(t, e.Close())
	}
}

func TestDataOutlivesTheEngine(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("a long name ", 10)) // longer than a socket's address
	ctx := context.Background()
	s := open(t, dir)
	require.NoError(t, s.Conn().Exec(ctx, "CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n"))
	require.NoError(t, s.Conn().Exec(ctx, "INSERT INTO t VALUES (1), (2)"))
	pid := s.Engine().PID()
	require.NoError(t, s.Close())
	require.Eventually(t, func() bool { return !alive(pid) }, time.Minute, time.Millisecond)
	require.Equal(t, "3", ask(ctx, open(t, dir), "SELECT toString(sum(n)) FROM t"))
}

func TestMissingLib(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv(embedded.LibEnv, "")
	_, err := embedded.FindLib("")
	if _, ok := errors.AsType[*embedded.MissingLibError](err); !ok { // beside the test binary there is none, wherever it was built
		t.Fatalf("found %v", err)
	}
	require.ErrorContains(t, err, "run `make setup` to get it, set NUDGE_LIBCHDB to its path, or point the store at a ClickHouse server with a DSN")
	_, err = embedded.FindLib("/nowhere/libchdb.so")
	require.ErrorContains(t, err, "the embedded ClickHouse at /nowhere/libchdb.so")
	here := filepath.Join(t.TempDir(), "libchdb.so")
	require.NoError(t, os.WriteFile(here, []byte("not a library"), 0o600))
	_, err = embedded.Start(context.Background(), embedded.Config{Dir: t.TempDir(), Lib: here})
	require.ErrorContains(t, err, "the embedded ClickHouse did not start")
	require.ErrorContains(t, err, "libchdb.so")
}

func TestHTTP(t *testing.T) {
	s := open(t, t.TempDir())
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return s.Engine().Dial(ctx, "")
	}}}
	for _, c := range []struct {
		name, method, path string
		query              url.Values
		header             http.Header
		body               string
		status             int
		want               string
		code               string
	}{
		{name: "ping", method: "GET", path: "/ping", status: 200, want: "Ok.\n"},
		{name: "elsewhere", method: "GET", path: "/nosuch", status: 404, want: "There is no handle /nosuch\n"},
		{name: "query in the body", method: "POST", path: "/", body: "SELECT 1, 'x'", status: 200, want: "1\tx\n"},
		{name: "query in the URL", method: "GET", path: "/", query: url.Values{"query": {"SELECT 1 FORMAT CSV"}}, status: 200, want: "1\n"},
		{name: "query in both", method: "POST", path: "/", query: url.Values{"query": {"SELECT 1"}}, body: "+ 1", status: 200, want: "2\n"},
		{name: "format, parameter and setting", method: "POST", path: "/", query: url.Values{"default_format": {"JSONEachRow"}, "param_n": {"5"}, "limit": {"2"}}, body: "SELECT number FROM numbers({n:UInt8})", status: 200, want: "{\"number\":0}\n{\"number\":1}\n"},
		{name: "GET only reads", method: "GET", path: "/", query: url.Values{"query": {"CREATE TABLE x (a UInt8) ENGINE = Memory"}}, status: 403, want: "READONLY", code: "164"},
		{name: "unknown table", method: "POST", path: "/", body: "SELECT * FROM nosuch", status: 404, want: "UNKNOWN_TABLE", code: "60"},
		{name: "unknown database", method: "POST", path: "/", query: url.Values{"database": {"nosuch"}}, body: "SELECT 1", status: 404, want: "UNKNOWN_DATABASE", code: "81"},
		{name: "syntax", method: "POST", path: "/", body: "SELEC 1 2", status: 400, want: "SYNTAX_ERROR", code: "62"},
		{name: "unknown setting", method: "POST", path: "/", query: url.Values{"nosuch": {"1"}}, body: "SELECT 1", status: 400, want: "UNKNOWN_SETTING", code: "115"},
		{name: "a setting that is none", method: "POST", path: "/", query: url.Values{"max_threads=1, readonly": {"1"}}, body: "SELECT 1", status: 400, want: "UNKNOWN_SETTING", code: "115"},
		{name: "nothing", method: "POST", path: "/", status: 400, want: "SYNTAX_ERROR", code: "62"},
		{name: "compression", method: "POST", path: "/", query: url.Values{"compress": {"1"}}, body: "SELECT 1", status: 400, want: "switch compression off"},
		{name: "no rows", method: "POST", path: "/", query: url.Values{"default_format": {"Native"}}, body: "SELECT 1 WHERE 0", status: 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			req, err := http.NewRequest(c.method, "http://embedded"+c.path+"?"+c.query.Encode(), strings.NewReader(c.body))
			require.NoError(t, err)
			resp, err := client.Do(req)
			require.NoError(t, err)
			defer func() { require.NoError(t, resp.Body.Close()) }()
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, c.status, resp.StatusCode, "%s", body)
			require.Equal(t, c.code, resp.Header.Get("X-ClickHouse-Exception-Code"))
			if c.status == http.StatusOK {
				require.Equal(t, c.want, string(body))
			} else {
				require.Contains(t, string(body), c.want)
			}
		})
	}
}

package e2etest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/channels/all"
	"nudge/channels/channeltest"
	"nudge/engine/app"
	"nudge/engine/report"
	"nudge/engine/send"
	"nudge/engine/workspace"
	"nudge/events"
	"nudge/events/clickhouse"
	"nudge/events/clickhouse/clickhousetest"
	"nudge/events/clickhouse/embedded"
)

func TestMain(m *testing.M) {
	embedded.MaybeRunChild()
	os.Exit(m.Run())
}

// The keys of every workspace here.
const (
	publicKey = "key-of-the-app"
	secretKey = "key-of-the-server"
)

// within bounds how long anything may take to come about.
const within = time.Minute

// clock is the machine's, and can be set forward so that schedules and caps need no waiting.
type clock struct{ ahead atomic.Int64 }

func (c *clock) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// jump sets the clock forward.
func (c *clock) jump(d time.Duration) { c.ahead.Add(int64(d)) }

// next sets the clock forward to the next moment at which it shows t mod every, and a moment more.
func (c *clock) next(every time.Duration) {
	now := c.Now()
	c.jump(now.Truncate(every).Add(every).Sub(now) + 10*time.Millisecond)
}

// place is an installation of nudge: a folder, and the process's part that serves it.
type place struct {
	t      *testing.T
	dir    string
	clock  *clock
	addr   string
	listen kept
	store  *clickhouse.Store // given; nil lets nudge open its own
	routes func(*workspace.Workspace) map[string]send.Route
	logs   *logs

	app  *app.App
	stop func()
}

// kept is a listener that a server cannot close: nobody else gets its port while the place stands still.
type kept struct{ *net.TCPListener }

// Close ends Accept.
func (l kept) Close() error { return l.SetDeadline(time.Unix(1, 0)) }

// logs keeps what was logged, and shows it when the test fails.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// settle makes a place without starting it. The files' nudge.yaml is without address and keys.
func settle(t *testing.T, files map[string]string) *place {
	t.Helper()
	p := &place{t: t, dir: t.TempDir(), clock: &clock{}, logs: &logs{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p.addr, p.listen = l.Addr().String(), kept{l.(*net.TCPListener)}
	files["nudge.yaml"] += fmt.Sprintf(`
base_url: http://%s
keys:
  - {name: app, write_key: %s}
  - {name: server, secret_key: {env: SERVER_KEY}}
`, p.addr, publicKey)
	p.write(files)
	t.Cleanup(func() {
		if p.stop != nil {
			p.stop()
		}
		_ = l.Close()
		if t.Failed() {
			t.Logf("what nudge logged:\n%s", p.logs.text())
		}
	})
	return p
}

// start makes a place in the store that all tests share and runs it; channels are those of the files
// but for the recorder's, where one is given.
func start(t *testing.T, files map[string]string, sent *channeltest.Recorder) *place {
	t.Helper()
	p := settle(t, files)
	p.store = clickhousetest.NewUnmigrated(t)
	if sent != nil {
		p.routes = recordedBy(sent)
	}
	p.run()
	return p
}

// recordedBy sends every channel to the recorder, which needs of a person what the channel's own
// adapters need.
func recordedBy(sent *channeltest.Recorder) func(*workspace.Workspace) map[string]send.Route {
	return func(ws *workspace.Workspace) map[string]send.Route {
		routes := map[string]send.Route{}
		for _, c := range ws.Channels {
			spec := sent.Spec()
			spec.Needs, spec.Platforms = ws.Policy.Channels[c.Name].Needs, ws.Policy.Channels[c.Name].Platforms
			routes[c.Name] = send.Route{
				Providers: []send.Provider{{Name: c.Name, Spec: spec, Channel: sent}}, Rate: c.RateLimit, Tracking: send.Tracking{Links: c.TrackLinks},
			}
		}
		return routes
	}
}

func (p *place) write(files map[string]string) {
	p.t.Helper()
	for name, text := range files {
		path := filepath.Join(p.dir, name)
		require.NoError(p.t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(p.t, os.WriteFile(path, []byte(text), 0o600))
	}
}

// load reads the workspace as `nudge serve` does.
func (p *place) load() *workspace.Workspace {
	p.t.Helper()
	set, err := all.Set()
	require.NoError(p.t, err)
	ws, findings := workspace.Load(p.dir, workspace.Options{Adapters: set, Env: func(name string) (string, bool) {
		return secretKey, name == "SERVER_KEY"
	}})
	require.NotNil(p.t, ws, "%+v", findings)
	return ws
}

// run starts nudge on the folder and returns when it answers.
func (p *place) run() {
	p.t.Helper()
	if p.store == nil {
		library(p.t)
	}
	ws := p.load()
	log := slog.New(slog.NewTextHandler(p.logs, &slog.HandlerOptions{Level: slog.LevelInfo}))
	o := app.Options{Workspace: ws, Now: p.clock.Now, Logger: log, Store: p.store, Stdout: io.Discard}
	if p.routes != nil {
		o.Routes = p.routes(ws)
	}
	require.NoError(p.t, p.listen.SetDeadline(time.Time{}))
	a, err := app.Open(context.WithoutCancel(p.t.Context()), o)
	require.NoError(p.t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(p.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx, p.listen, nil) }()
	p.app = a
	p.stop = func() {
		p.stop = nil
		cancel()
		require.NoError(p.t, <-ended, "a stop is no failure")
		require.NoError(p.t, a.Close())
	}
	p.eventually(func() bool {
		r, err := http.Get("http://" + p.addr + "/readyz")
		if err != nil {
			return false
		}
		_ = r.Body.Close()
		return r.StatusCode == http.StatusOK
	}, "nudge answers")
}

// library is the path of the embedded ClickHouse; where it has not been set up the test is skipped.
func library(t *testing.T) string {
	t.Helper()
	lib, err := embedded.FindLib("")
	if _, missing := errors.AsType[*embedded.MissingLibError](err); missing {
		t.Skip(err)
	}
	require.NoError(t, err)
	return lib
}

// eventually polls until ok.
func (p *place) eventually(ok func() bool, what string, args ...any) {
	p.t.Helper()
	late := time.NewTimer(within)
	defer late.Stop()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for !ok() {
		select {
		case <-poll.C:
		case <-late.C:
			require.FailNow(p.t, "it did not come about: "+fmt.Sprintf(what, args...))
		}
	}
}

// answer is what an HTTP call was answered.
type answer struct {
	status int
	header http.Header
	body   string
}

// call makes an HTTP call with a key by bearer; "" sends none.
func (p *place) call(method, path, key, body string) answer {
	p.t.Helper()
	if !strings.HasPrefix(path, "http") {
		path = "http://" + p.addr + path
	}
	r, err := http.NewRequestWithContext(p.t.Context(), method, path, strings.NewReader(body))
	require.NoError(p.t, err)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Shop/3.1")
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	got, err := client.Do(r)
	require.NoError(p.t, err)
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	require.NoError(p.t, err)
	return answer{got.StatusCode, got.Header, string(text)}
}

// ok makes a call that must be accepted.
func (p *place) ok(method, path, key, body string) {
	p.t.Helper()
	a := p.call(method, path, key, body)
	require.Equal(p.t, http.StatusOK, a.status, "%s %s: %s", method, path, a.body)
}

// track sends a track call of a user as an app does.
func (p *place) track(user, event string, properties map[string]any) {
	p.t.Helper()
	p.send("track", map[string]any{"userId": user, "event": event, "properties": properties})
}

// send makes one call of the tracking API with the public key. Its message id is its own.
func (p *place) send(call string, body map[string]any) {
	p.t.Helper()
	body["messageId"] = fmt.Sprintf("m%d", serial.Add(1))
	if _, ok := body["timestamp"]; !ok {
		body["timestamp"] = p.clock.Now().UTC().Format("2006-01-02T15:04:05.000Z07:00")
	}
	raw, err := json.Marshal(body)
	require.NoError(p.t, err)
	p.ok(http.MethodPost, "/v1/"+call, publicKey, string(raw))
}

var serial atomic.Int64

// rows asks ClickHouse, as `nudge sql` does: cells as text.
func (p *place) rows(query string, args ...any) [][]string {
	p.t.Helper()
	out, err := p.ask(query, args...)
	require.NoError(p.t, err)
	return out
}

func (p *place) ask(query string, args ...any) ([][]string, error) {
	var b bytes.Buffer
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.t.Context()), within)
	defer cancel()
	if err := p.app.Store.SQL(ctx, fmt.Sprintf(query, args...), &b, "tsv"); err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	var out [][]string
	for _, line := range lines[1:] { // names of the columns
		out = append(out, strings.Split(line, "\t"))
	}
	return out, nil
}

// one is the only cell of the answer.
func (p *place) one(query string, args ...any) string {
	p.t.Helper()
	rows := p.rows(query, args...)
	require.Len(p.t, rows, 1, query)
	return rows[0][0]
}

// becomes waits until the only cell of the answer is want.
func (p *place) becomes(want, query string, args ...any) {
	p.t.Helper()
	got := ""
	late := time.NewTimer(within)
	defer late.Stop()
	for {
		rows, err := p.ask(query, args...)
		switch {
		case err != nil:
			got = err.Error()
		case len(rows) == 1:
			if got = rows[0][0]; got == want {
				return
			}
		default:
			got = fmt.Sprint(rows)
		}
		select {
		case <-late.C:
			require.Equal(p.t, want, got, query, args)
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// stored waits until the store has everything that was acknowledged, and ticks may see it.
func (p *place) stored() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), within)
	defer cancel()
	seq, err := p.app.Queue.LastSeq(ctx)
	require.NoError(p.t, err)
	require.NoError(p.t, p.app.Writer.WaitFor(ctx, events.EndOf(seq)))
}

// last is a query for the newest answers of a rule: "user reason by", one a line, sorted.
func last(rule string) string {
	return fmt.Sprintf("SELECT arrayStringConcat(arraySort(groupArray(concat(user, ' ', reason, if(by = '', '', concat(' ', by))))), ', ') FROM ("+
		"SELECT argMax(user_id, (attempt, seq, index)) AS user, argMax(reason, (attempt, seq, index)) AS reason, argMax(d.by, (attempt, seq, index)) AS by "+
		"FROM decisions AS d WHERE rule = '%s' GROUP BY entry)", rule)
}

// report is one rule's row of the report.
func (p *place) report(rule string) report.Row {
	p.t.Helper()
	r, err := report.Run(p.t.Context(), p.app.Store.Conn(), p.app.Planner, p.app.Workspace(), report.Query{Rule: rule})
	require.NoError(p.t, err)
	for _, row := range r.Rows {
		if row.Rule == rule {
			return row
		}
	}
	return report.Row{}
}

// sentTo lists "user: title" of what the recorder took, in order.
func sentTo(sent *channeltest.Recorder) []string {
	out := []string{}
	for _, m := range sent.Accepted() {
		title, _ := m.Fields["title"].(string)
		out = append(out, m.Address.UserID+": "+title)
	}
	return out
}

package send_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/channels"
	"nudge/channels/webhook"
	"nudge/engine/ledger"
	"nudge/engine/send"
	"nudge/events"
	"nudge/events/queue"
)

// child makes the test binary a process that sends until it is killed.
const child = "NUDGE_SEND_TEST_CHILD"

// childConfig is what the child gets in the variable.
type childConfig struct {
	Dir, URL string
	Repeat   channels.Repeat
	After    send.AfterCrash
}

func TestMain(m *testing.M) {
	if raw := os.Getenv(child); raw != "" {
		var c childConfig
		err := json.Unmarshal([]byte(raw), &c)
		if err == nil {
			err = c.run()
		}
		fmt.Fprintln(os.Stderr, "the child ended:", err)
		os.Exit(3)
	}
	os.Exit(m.Run())
}

// window of the children's provider.
const (
	childBatch       = 5
	childConcurrency = 2
)

// route is a real webhook adapter.
func (c childConfig) route() (send.Route, error) {
	config, err := json.Marshal(map[string]any{"url": c.URL})
	if err != nil {
		return send.Route{}, err
	}
	hook, err := webhook.Spec().New(channels.Options{Config: config, Now: time.Now})
	if err != nil {
		return send.Route{}, err
	}
	spec := webhook.Spec()
	spec.Batch, spec.Concurrency, spec.Repeat = childBatch, childConcurrency, c.Repeat
	return send.Route{AfterCrash: c.After, Providers: []send.Provider{{Name: "hook", Spec: spec, Channel: hook}}}, nil
}

func (c childConfig) run() error {
	ctx := context.Background()
	q, err := queue.Open(ctx, queue.Config{Dir: c.Dir, Now: time.Now})
	if err != nil {
		return err
	}
	decisions, err := q.Log(ctx, "decisions")
	if err != nil {
		return err
	}
	deliveries, err := q.Log(ctx, "deliveries")
	if err != nil {
		return err
	}
	route, err := c.route()
	if err != nil {
		return err
	}
	s, err := send.New(send.Options{
		Decisions: decisions, Deliveries: deliveries, Events: q, Notes: q, Shards: []int{0, 1, 2, 3},
		Routes: map[string]send.Route{"webhook": route}, Render: renderTitle, Now: time.Now, Hold: 40,
		SaveEvery: 10 * time.Millisecond,
	})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	return s.Run(ctx)
}

// receiver counts what arrives, and can kill somebody in the middle of a request.
type receiver struct {
	mu       sync.Mutex
	byID     map[string]int
	requests int
	killAt   int
	kill     func()
}

func (r *receiver) ServeHTTP(_ http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byID[req.Header.Get("webhook-id")]++
	r.requests++
	if r.kill != nil && r.requests >= r.killAt {
		r.kill() // before it is answered: accepted, and the sender will never know
		r.kill = nil
	}
}

func TestKilledBetweenIntentAndOutcome(t *testing.T) {
	const window = childBatch * childConcurrency
	kills := rounds(t, 4)
	units := 80 * kills
	cases := []struct {
		name       string
		repeat     channels.Repeat
		after      send.AfterCrash
		atLeast    int // arrivals of each message
		atMost     int
		maxMissing int
	}{
		{"a harmless repeat is repeated", channels.RepeatHarmless, send.GiveUp, 1, 1 + kills, 0},
		{"retry: at least once", channels.RepeatDoubles, send.Retry, 1, 1 + kills, 0},
		{"give up: at most once", channels.RepeatDoubles, send.GiveUp, 0, 1, kills * window},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			r := &receiver{byID: map[string]int{}}
			srv := httptest.NewServer(r)
			defer srv.Close()
			b := newBench(t, nil)
			c := childConfig{Dir: b.dir, URL: srv.URL, Repeat: tc.repeat, After: tc.after}
			ds := many(units, "cart", "webhook")
			now := time.Now().UnixMilli()
			for i := range ds {
				ds[i].Expires = now + hour
				if i%10 == 9 {
					b.decide(i%4, ds[i-9:i+1]...)
				}
			}
			b.q.Close()
			for k := range kills {
				killed(t, r, c, (k+1)*60)
			}

			b.open()
			route, err := c.route()
			require.NoError(t, err)
			b.opts.Shards, b.opts.Routes = []int{0, 1, 2, 3}, map[string]send.Route{"webhook": route}
			b.start()
			b.settle(now)

			missing, repeated := 0, 0
			for _, d := range ds {
				n := r.byID[webhookID(d.Entry)]
				require.GreaterOrEqual(t, n, tc.atLeast, d.Entry)
				require.LessOrEqual(t, n, tc.atMost, d.Entry)
				if n == 0 {
					missing++
				}
				if n > 1 {
					repeated++
				}
			}
			t.Logf("%d messages, %d kills: %d requests, %d messages repeated, %d missing", units, kills, r.requests, repeated, missing)
			require.Len(t, r.byID, units-missing, "nothing else arrived")
			require.LessOrEqual(t, missing, tc.maxMissing)
			require.LessOrEqual(t, repeated, kills*window)
			finals := b.final()
			require.Len(t, finals, units)
			sent := map[string]bool{}
			for _, ev := range b.told() {
				require.Equal(t, events.MessageSent, ev.Name)
				sent[ev.MessageID] = true
			}
			for _, d := range ds {
				require.Equal(t, ledger.Accepted, finals[d.Entry+" webhook"])
				require.True(t, sent[d.Entry+"/webhook/accepted"], "%s is told", d.Entry)
			}
		})
	}
}

// rounds is how often a test kills: n, or NUDGE_KILLS for a long run by hand.
func rounds(t *testing.T, n int) int {
	if s := os.Getenv("NUDGE_KILLS"); s != "" {
		var err error
		n, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	return n
}

func webhookID(entry string) string { return channels.UUID(channels.UUID(entry + "/webhook/")) }

// killed runs the child until the receiver has had n requests, then kills it with SIGKILL.
func killed(t *testing.T, r *receiver, c childConfig, n int) {
	t.Helper()
	raw, err := json.Marshal(c)
	require.NoError(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), child+"="+string(raw))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	dead := make(chan struct{})
	r.mu.Lock()
	r.killAt = n
	r.kill = func() { _ = cmd.Process.Kill(); close(dead) }
	require.NoError(t, cmd.Start())
	r.mu.Unlock()
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan(), "the child did not start")
	select {
	case <-dead:
	case <-time.After(time.Minute):
		_ = cmd.Process.Kill()
		t.Error("the child sends nothing")
	}
	_ = cmd.Wait() // "signal: killed"
}

package faulttest_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// load posts batches from several clients at once, as fast as they are answered.
type load struct {
	in     *installation
	client *http.Client
	body   func(buf []byte, batch string) []byte // of a batch of the given name
	events int                                   // of a batch, that the store must have; 0: perBatch
	// hold, when set and true, keeps clients back.
	hold func() bool

	acked atomic.Int64 // batches

	mu      sync.Mutex
	batches map[string]*sending
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// sending is what a client knows of one of its batches.
type sending struct {
	attempts int
	acked    bool
}

// begin starts the clients. Each repeats a batch that was not acknowledged, with the same message
// ids, as an SDK does, or forgets it, as an app that was closed does.
func (l *load) begin(t *testing.T, clients int, seed uint64) {
	l.client = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	l.batches = map[string]*sending{}
	if l.events == 0 {
		l.events = perBatch
	}
	ctx, stop := context.WithCancel(t.Context())
	l.stop = stop
	t.Cleanup(l.end)
	for c := range clients {
		l.done.Go(func() { l.post(ctx, c, rand.New(rand.NewPCG(seed, uint64(c+100)))) })
	}
}

// end stops the clients after what they are posting.
func (l *load) end() {
	l.stop()
	l.done.Wait()
}

func (l *load) post(ctx context.Context, client int, chance *rand.Rand) {
	var buf []byte
	pause := time.NewTicker(5 * time.Millisecond)
	defer pause.Stop()
	for n := 0; ctx.Err() == nil; {
		for l.hold != nil && l.hold() && ctx.Err() == nil {
			<-pause.C
		}
		name := fmt.Sprintf("c%d.%d", client, n)
		buf = l.body(buf[:0], name)
		if l.try(ctx, name, buf) {
			l.acked.Add(1)
			n++
			continue
		}
		if chance.IntN(2) == 0 {
			n++ // forgotten
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
	}
}

// try posts a batch once.
func (l *load) try(ctx context.Context, name string, body []byte) bool {
	addr := l.in.addr.Load()
	if addr == nil {
		return false
	}
	l.mu.Lock()
	b := l.batches[name]
	if b == nil {
		b = &sending{}
		l.batches[name] = b
	}
	b.attempts++
	l.mu.Unlock()
	req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodPost, "http://"+*addr+"/v1/batch", bytes.NewReader(body))
	if err != nil {
		return false
	}
	req.SetBasicAuth(writeKey, "")
	resp, err := l.client.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return false
	}
	l.mu.Lock()
	b.acked = true
	l.mu.Unlock()
	return true
}

// writeKey is the key of every workspace here.
const writeKey = "wk_fault"

// config is what every nudge.yaml begins with.
func config(hook string) string {
	return fmt.Sprintf(`zone: UTC
salt: fault
keys: [{name: web, write_key: %s}]
channels: {hook: {adapter: webhook, config: {url: %s}}}
`, writeKey, hook)
}

// rule is a rule file whose message names the rule.
func rule(name, rest string) string {
	return "rule: " + name + "\n" + rest + "\nmessage: {hook: {title: " + name + ", body: hello}}\n"
}

// quick is a client for a request now and then.
func quick() *http.Client { return &http.Client{Timeout: 20 * time.Second} }

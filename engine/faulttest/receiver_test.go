package faulttest_test

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// receiver is the server that messages are sent to. It keeps a log of every request.
type receiver struct {
	*httptest.Server
	accepted atomic.Int64

	mu       sync.Mutex
	requests []request
	ids      map[string]bool // webhook-ids of accepted messages
	digests  int             // ids of the rule "digest"
	chance   *rand.Rand
	trouble  float64 // share of requests that are refused for now
}

// request is one line of the log.
type request struct {
	id                       string // webhook-id
	rule, entry, user, value string
	at                       time.Time
	status                   int
}

func receive(t *testing.T, seed uint64) *receiver {
	r := &receiver{ids: map[string]bool{}, chance: rand.New(rand.NewPCG(seed, 1)), trouble: 0.02}
	r.Server = httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) serve(w http.ResponseWriter, req *http.Request) {
	at := time.Now()
	var body struct {
		Data struct {
			User  string            `json:"user_id"`
			About map[string]string `json:"about"`
		} `json:"data"`
	}
	if err := json.NewDecoder(req.Body).Decode(&body); err != nil {
		w.WriteHeader(http.StatusBadRequest) // cut off in the middle: it was never received
		return
	}
	about := body.Data.About
	line := request{
		id: req.Header.Get("webhook-id"), rule: about["rule"], entry: about["entry"], value: about["value"],
		user: body.Data.User, at: at, status: http.StatusOK,
	}
	r.mu.Lock()
	if r.chance.Float64() < r.trouble {
		line.status = http.StatusServiceUnavailable
	}
	r.requests = append(r.requests, line)
	if line.status == http.StatusOK && !r.ids[line.id] {
		r.ids[line.id] = true
		if line.rule == "digest" {
			r.digests++
		}
	}
	r.mu.Unlock()
	if line.status == http.StatusOK {
		r.accepted.Add(1)
	}
	w.WriteHeader(line.status)
}

// message is what one webhook-id was about, with when it was taken: more than once where an outcome
// was lost.
type message struct {
	request
	taken []time.Time
}

// different counts accepted messages by webhook-id, and those of them that are digests. It is asked
// again and again.
func (r *receiver) different() (all, digests int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ids), r.digests
}

// messages are the accepted ones by webhook-id.
func (r *receiver) messages() map[string]*message {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]*message{}
	for _, req := range r.requests {
		if req.status != http.StatusOK {
			continue
		}
		m := out[req.id]
		if m == nil {
			m = &message{request: req}
			out[req.id] = m
		}
		m.taken = append(m.taken, req.at)
	}
	return out
}

// Package provider holds what the local servers share that stand on the provider's side of the
// wire in tests and benches: faults to order, a log of what arrived, certificates.
package provider

import (
	"maps"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Fault is what a server does with one request instead of its ordinary work. The zero value is
// the ordinary work.
type Fault struct {
	// Status and Code make the provider's own error answer (its documented form and body).
	Status int
	Code   string
	// Header is added to the answer.
	Header http.Header
	// Body replaces the answer's body where it is not nil.
	Body []byte
	// Endless lets the body of the answer never end, until the client hangs up.
	Endless bool
	// Echo puts everything that the client sent, headers too, into the body.
	Echo bool
	// Delay waits before the answer.
	Delay time.Duration
	// Hang gives no answer until the client hangs up or the server closes.
	Hang bool
	// Reset cuts the connection.
	Reset bool
	// Garbage answers with bytes that are not the protocol's.
	Garbage bool
}

// Received is one request as a server saw it.
type Received struct {
	ID       string // apns-id, webhook-id, or the tag of the FCM message
	Address  string // device token, "" where there is none
	At       time.Time
	Status   int // what was answered; 0 for none
	Code     string
	Header   http.Header
	Body     []byte
	Accepted bool // the provider took responsibility: the person may get it
}

// Request is what a Script decides on.
type Request struct {
	N       int64 // 1 for the first request of the server
	ID      string
	Address string
}

// Script orders faults; nil is none. It is called concurrently.
type Script func(Request) Fault

// Log is a server's memory: safe for concurrent use, and cheap enough for benches, where Keep is
// off and only the counters run.
type Log struct {
	// Keep says that every request is kept; set before the first.
	Keep bool
	// OnReceived, where set before the first request, is told every one (for logs on disk).
	OnReceived func(Received)

	script   atomic.Pointer[Script]
	requests atomic.Int64
	accepted atomic.Int64
	mu       sync.Mutex
	all      []Received
	hanging  chan struct{}
	statuses map[int]int64
}

// NewLog returns a log that keeps everything.
func NewLog() *Log { return &Log{Keep: true, hanging: make(chan struct{}, 1<<16)} }

// Script orders what happens to requests from now on; nil ends it.
func (l *Log) Script(s Script) {
	if s == nil {
		l.script.Store(nil)
		return
	}
	l.script.Store(&s)
}

// Next counts a request and returns the fault ordered for it.
func (l *Log) Next(id, address string) Fault { return l.nextOf([]Part{{ID: id, Address: address}}) }

// nextOf counts one request and returns the first fault that is ordered for one of its messages.
func (l *Log) nextOf(parts []Part) Fault {
	n := l.requests.Add(1)
	s := l.script.Load()
	if s == nil {
		return Fault{}
	}
	for _, p := range parts {
		if fault := (*s)(Request{N: n, ID: p.ID, Address: p.Address}); !fault.isZero() {
			return fault
		}
	}
	return Fault{}
}

// isZero says whether it is the ordinary work.
func (f *Fault) isZero() bool { return reflect.ValueOf(*f).IsZero() }

// Wanted says whether anybody wants to know more of a request than the counters: servers spare the
// work where nobody does.
func (l *Log) Wanted() bool { return l.Keep || l.OnReceived != nil }

// Add notes what became of a request. Servers call it before they answer, so that whoever has the
// answer finds the request in the log.
func (l *Log) Add(r Received) {
	if r.Accepted {
		l.accepted.Add(1)
	}
	if l.OnReceived != nil {
		l.OnReceived(r)
	}
	if !l.Keep {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, r)
	if l.statuses == nil {
		l.statuses = make(map[int]int64)
	}
	l.statuses[r.Status]++
}

// Hanging tells that a request has arrived which a fault keeps without an answer.
func (l *Log) Hanging() {
	select {
	case l.hanging <- struct{}{}:
	default:
	}
}

// Hung receives once for each request that hangs.
func (l *Log) Hung() <-chan struct{} { return l.hanging }

// Requests is the number of requests, accepted or not.
func (l *Log) Requests() int64 { return l.requests.Load() }

// Accepted is the number of messages that the provider took.
func (l *Log) Accepted() int64 { return l.accepted.Load() }

// Received returns everything kept, in order of arrival.
func (l *Log) Received() []Received {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.all)
}

// Statuses counts answers by HTTP status.
func (l *Log) Statuses() map[int]int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.statuses)
}

// Reset forgets what was kept, the counters and the script.
func (l *Log) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all, l.statuses = nil, nil
	l.requests.Store(0)
	l.accepted.Store(0)
	l.script.Store(nil)
	for len(l.hanging) > 0 {
		<-l.hanging
	}
}

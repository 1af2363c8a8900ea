// Package ingest is the HTTP endpoint that apps send their events to. It speaks Segment's tracking
// API, so that Segment's and RudderStack's SDKs work with nothing but a changed host, and nudge's own
// API for people: devices, consents, erasing.
//
// What is answered with 200 is durable: calls that arrive within a moment share one queue message and
// one sync, and each is answered when its message is safe. What is refused is kept, with its reason
// and the body as received, as a dead letter in the same queue.
//
//	200  accepted. {"success":true}; a batch of which some were refused says
//	     {"success":true,"accepted":99,"refused":[{"index":3,"reason":"…"}]}
//	400  not JSON, too large, or nothing in it could be accepted; sending it again will not help.
//	     {"success":false,"message":"…"}
//	401  the write key is missing or unknown. (Segment answers 200 and drops the call; nobody notices.)
//	403  the call needs a secret key
//	404  no such address; 405 another method is meant
//	503  the queue takes nothing more now, with Retry-After; the SDKs send again, and what had been
//	     written nevertheless is recognised by its messageId
package ingest

import (
	"context"
	"crypto/subtle"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"nudge/events"
)

// Key lets somebody send events.
type Key struct {
	Name     string // what the events' Source says
	WriteKey string // what the sender presents
	// Secret keys are for servers: they may also give consents, erase people and merge known people.
	// Others ship with apps and are public.
	Secret bool
}

// Options of a Server.
type Options struct {
	Queue Appender                    // required
	Keys  func() []Key                // required; read for every request, so it may change
	Plan  func() *events.Plan         // the tracking plan in force; nil, or returning nil, allows everything
	Now   func() time.Time            // required
	Ready func(context.Context) error // what /readyz answers; nil is always ready

	Logger     *slog.Logger          // nil discards
	Registerer prometheus.Registerer // nil registers nothing

	// PublicURL is the address at which apps reach this server ("https://in.shop.example"), told to
	// browser SDKs in their settings. Empty: what the request itself was sent to.
	PublicURL string
}

// Server is the endpoint. Its methods may be called concurrently, but Mount only before serving.
type Server struct {
	opts      Options
	log       *slog.Logger
	metrics   *metrics
	commits   *committer
	mux       *http.ServeMux
	scratch   sync.Pool   // of *scratch
	unzippers sync.Pool   // of *unzipper
	away      atomic.Bool // the last commit failed
}

// New returns a server that listens nowhere yet.
func New(o Options) (*Server, error) {
	switch {
	case o.Queue == nil:
		return nil, errors.New("ingest: Options.Queue is required")
	case o.Keys == nil:
		return nil, errors.New("ingest: Options.Keys is required")
	case o.Now == nil:
		return nil, errors.New("ingest: Options.Now is required")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Plan == nil {
		o.Plan = func() *events.Plan { return nil }
	}
	s := &Server{opts: o, log: o.Logger.With("component", "ingest"), mux: http.NewServeMux()}
	s.metrics = newMetrics(o.Registerer, routeNames())
	s.commits = newCommitter(o.Queue, o.Now, s.metrics)
	s.routes()
	return s, nil
}

// Handler serves everything that is mounted.
func (s *Server) Handler() http.Handler { return s.mux }

// Mount adds a handler of somebody else to the same address; pattern is http.ServeMux's. It must be
// called before serving.
func (s *Server) Mount(pattern string, h http.Handler) { s.mux.Handle(pattern, h) }

// Commit makes events durable together with those of the API, in the same messages and syncs. It
// returns when they are, and does not return before the queue is done with their memory.
func (s *Server) Commit(evs []events.Event) error {
	if err := s.commits.commit(evs); err != nil {
		return err
	}
	if s.away.Load() && s.away.CompareAndSwap(true, false) {
		s.log.Info("events are accepted again")
	}
	s.metrics.durable(evs)
	return nil
}

// Close refuses new events and returns when those that were accepted are answered, or ctx ends.
func (s *Server) Close(ctx context.Context) error { return s.commits.close(ctx) }

// Serve answers on l until ctx ends; then it stops listening, lets the requests that are being served
// finish for up to drain, and returns nil if they did.
func (s *Server) Serve(ctx context.Context, l net.Listener, drain time.Duration) error {
	srv := &http.Server{
		Handler:           s.mux,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      appendTimeout + 30*time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	err := srv.Shutdown(end)
	if err != nil {
		srv.Close() //nolint:errcheck // the drain is over; whoever is left is cut off
	}
	return errors.Join(err, s.Close(end))
}

// key finds who presents the given key. Every key is compared in the same time.
func (s *Server) key(presented string) (Key, bool) {
	var found Key
	ok := false
	if presented == "" {
		return found, false
	}
	for _, k := range s.opts.Keys() {
		if subtle.ConstantTimeCompare([]byte(k.WriteKey), []byte(presented)) == 1 {
			found, ok = k, true
		}
	}
	return found, ok
}

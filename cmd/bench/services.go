package main

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"nudge/channels/channeltest/apnsd"
	"nudge/channels/channeltest/fcmd"
	"nudge/channels/channeltest/hookd"
	"nudge/channels/channeltest/provider"
	"nudge/channels/channeltest/smtpd"
	"nudge/channels/channeltest/webpushd"
)

// servicesReady is what the local providers say once they serve: the config of each adapter, and where they are
// controlled.
type servicesReady struct {
	Config  map[string]json.RawMessage `json:"config"`  // by the adapter's name
	Push    string                     `json:"push"`    // host and port of the push service for browsers
	Control string                     `json:"control"` // URL: GET /accepted, POST /fault?service=&kind=
	Proxy   string                     `json:"proxy"`   // URL of a proxy to which these are Apple and Google
}

// tally is what a provider has taken.
type tally struct {
	Accepted int64 `json:"accepted"`
	Distinct int64 `json:"distinct"` // of different ids, where they are counted
}

// service is a local provider.
type service struct {
	name   string
	config map[string]any
	real   string // host and port of the service that it stands for, "" for none
	addr   string // its own
	log    *provider.Log
	// fault orders a fault for every message; the zero one ends it.
	fault func(provider.Fault)
	close func()

	mu  sync.Mutex
	ids map[string]struct{}
}

// servicesCommand is all local providers, as a child of this program.
func servicesCommand(in io.Reader, out io.Writer) *cobra.Command {
	var count bool
	cmd := &cobra.Command{
		Use: "services", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := untilEOF(cmd.Context(), in)
			defer cancel()
			if err := serveServices(ctx, out, count); err != nil {
				return failure{err}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&count, "count", false, "count different ids")
	return cmd
}

// scripted is the fault of a provider that takes one for every request.
func scripted(log *provider.Log) func(provider.Fault) {
	return func(f provider.Fault) {
		if f.Status == 0 && f.Delay == 0 && !f.Reset && !f.Garbage {
			log.Script(nil)
			return
		}
		log.Script(func(provider.Request) provider.Fault { return f })
	}
}

// startServices starts all of them; those that were started are returned also with an error.
func startServices() (all []*service, push string, err error) {
	add := func(name string, log *provider.Log, close func(), config map[string]any) *service {
		log.Keep = false
		s := &service{name: name, config: config, log: log, close: close, fault: scripted(log), ids: map[string]struct{}{}}
		all = append(all, s)
		return s
	}
	a, err := apnsd.Start(apnsd.Config{Now: time.Now})
	if err != nil {
		return all, "", err
	}
	apple := add("apns", a.Log, a.Close, map[string]any{
		"topic": "example.shop", "key": string(a.KeyPEM), "key_id": a.KeyID, "team_id": a.TeamID, "host": a.Host(), "ca": string(a.CA.PEM),
	})
	apple.real, apple.addr = apnsd.Domain+":443", strings.TrimPrefix(a.Host(), "https://")
	f, err := fcmd.Start(fcmd.Config{Now: time.Now})
	if err != nil {
		return all, "", err
	}
	google := add("fcm", f.Log, f.Close, map[string]any{"credentials": string(f.Credentials), "endpoint": f.Endpoint(), "ca": string(f.CA.PEM)})
	google.real, google.addr = fcmd.Domain+":443", strings.TrimPrefix(f.Endpoint(), "https://")
	vapid, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return all, "", fmt.Errorf("make a VAPID key: %w", err)
	}
	w, err := webpushd.Start(webpushd.Config{Key: base64.RawURLEncoding.EncodeToString(vapid.PublicKey().Bytes()), Now: time.Now})
	if err != nil {
		return all, "", err
	}
	add("webpush", w.Log, w.Close, map[string]any{
		"private_key": base64.RawURLEncoding.EncodeToString(vapid.Bytes()), "subject": "mailto:push@shop.example", "services": []any{w.Addr()}, "ca": string(w.CA.PEM),
	})
	m, err := smtpd.Start(smtpd.Config{Now: time.Now, Security: "tls"})
	if err != nil {
		return all, w.Addr(), err
	}
	mail := add("email", m.Log, m.Close, map[string]any{
		"host": "127.0.0.1", "port": m.Port(), "tls": "tls", "ca": string(m.CA.PEM), "from": "The Shop <news@shop.example>", "connections": 8, "per_connection": 0,
	})
	mail.fault = func(f provider.Fault) {
		if f.Status != 0 {
			f.Status, f.Code = 451, "4.3.0"
		}
		m.At(smtpd.Rcpt, func(string) provider.Fault { return f })
	}
	h, err := hookd.Start(hookd.Config{Now: time.Now})
	if err != nil {
		return all, w.Addr(), err
	}
	add("webhook", h.Log, h.Close, map[string]any{"url": h.URL(), "ca": string(h.CA.PEM)})
	return all, w.Addr(), nil
}

// faultOf is the fault that a word orders: one of faults, or how late every answer is ("50ms").
func faultOf(word string) (provider.Fault, bool) {
	if f, ok := faults()[word]; ok {
		return f, true
	}
	delay, err := time.ParseDuration(word)
	return provider.Fault{Delay: delay}, err == nil && delay >= 0
}

// faults by the word that orders them, "" for none.
func faults() map[string]provider.Fault {
	return map[string]provider.Fault{
		"":          {},
		"slow":      {Delay: 2 * time.Second},
		"refusing":  {Status: http.StatusServiceUnavailable},
		"resetting": {Reset: true},
		"garbage":   {Garbage: true},
	}
}

func serveServices(ctx context.Context, out io.Writer, count bool) error {
	all, push, err := startServices()
	defer func() {
		for _, s := range all {
			s.close()
		}
	}()
	if err != nil {
		return err
	}
	proxy, err := startProxy(ctx, all)
	if err != nil {
		return err
	}
	defer proxy.close()
	ready := servicesReady{Config: map[string]json.RawMessage{}, Push: push, Proxy: proxy.url()}
	for _, s := range all {
		if count {
			s.log.OnReceived = s.received
		}
		if ready.Config[s.name], err = json.Marshal(s.config); err != nil {
			return fmt.Errorf("write the config of %s: %w", s.name, err)
		}
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: control(all)}
	go srv.Serve(l)   //nolint:errcheck // it ends with Close
	defer srv.Close() //nolint:errcheck // nobody asks any more
	ready.Control = "http://" + l.Addr().String()
	if err := json.NewEncoder(out).Encode(ready); err != nil {
		return fmt.Errorf("say that the services are ready: %w", err)
	}
	<-ctx.Done()
	return nil
}

// received counts the different ids that were accepted.
func (s *service) received(r provider.Received) {
	if r.Accepted {
		s.mu.Lock()
		s.ids[r.ID] = struct{}{}
		s.mu.Unlock()
	}
}

func control(all []*service) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /accepted", func(w http.ResponseWriter, _ *http.Request) {
		out := map[string]tally{}
		for _, s := range all {
			s.mu.Lock()
			out[s.name] = tally{s.log.Accepted(), int64(len(s.ids))}
			s.mu.Unlock()
		}
		_ = json.NewEncoder(w).Encode(out)
	})
	mux.HandleFunc("POST /fault", func(w http.ResponseWriter, r *http.Request) {
		fault, ok := faultOf(r.FormValue("kind"))
		for _, s := range all {
			if ok && s.name == r.FormValue("service") {
				s.fault(fault)
				return
			}
		}
		http.Error(w, "no such service or fault", http.StatusNotFound)
	})
	return mux
}

// services are the running providers.
type services struct {
	*child
	ready servicesReady
}

func startServicesChild(ctx context.Context, s *session, args ...string) (*services, error) {
	p := &services{}
	var err error
	p.child, err = startChild(ctx, "services", append([]string{"services"}, args...), s.progress, &p.ready)
	return p, err
}

// accepted asks what the providers have taken.
func (p *services) accepted(ctx context.Context) (map[string]tally, error) {
	text, err := get(ctx, p.ready.Control+"/accepted")
	if err != nil {
		return nil, fmt.Errorf("ask the services what they accepted: %w", err)
	}
	out := map[string]tally{}
	return out, json.Unmarshal(text, &out)
}

// order has a provider behave badly from now on, "" well again.
func (p *services) order(ctx context.Context, service, kind string) (err error) {
	query := url.Values{"service": {service}, "kind": {kind}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.ready.Control+"/fault?"+query.Encode(), http.NoBody)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("order a fault: %w", err)
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("order a fault: %s is answered with %s", kind, resp.Status)
	}
	return nil
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"nudge/channels"
	"nudge/engine"
	"nudge/engine/ledger"
	"nudge/engine/render"
	"nudge/engine/send"
	"nudge/engine/workspace"
	"nudge/events/queue"
	"nudge/segments"
)

// chunkOf is how many decisions one message of the decision stream has.
const chunkOf = 400

// sendWithin bounds one run of the sender.
const sendWithin = time.Hour

// sending is a whole sender with decisions to send, and no engine: its streams are its own.
type sending struct {
	queue                 *queue.Queue
	rule                  *workspace.Rule
	location              func(name string) (*time.Location, error)
	signer                *send.Signer
	decisions, deliveries *queue.Log
	sender                *send.Sender
}

func newSending(ctx context.Context, s *session) (_ *sending, err error) {
	dir, err := os.MkdirTemp(s.dir, "send-*")
	if err != nil {
		return nil, err
	}
	if err := writeWorkspace(dir, sendWorkspace); err != nil {
		return nil, err
	}
	ws, err := loadWorkspace(dir)
	if err != nil {
		return nil, err
	}
	p := &sending{rule: ws.Rules[0], location: ws.Policy.Location}
	if p.signer, err = send.NewSigner(ws.Signing); err != nil {
		return nil, err
	}
	if p.queue, err = queue.Open(ctx, queue.Config{Dir: filepath.Join(dir, "queue"), Now: time.Now, MaxBacklog: 1 << 40}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if p.decisions, err = p.queue.Log(ctx, "decisions"); err != nil {
		return nil, err
	}
	p.deliveries, err = p.queue.Log(ctx, "deliveries")
	return p, err
}

func (p *sending) close() { p.queue.Close() }

// open makes the sender, with a channel for each target, of its name. metrics may be nil.
func (p *sending) open(opened map[string]channels.Channel, all []target, metrics prometheus.Registerer) (err error) {
	shards := make([]int, engine.Shards)
	for i := range shards {
		shards[i] = i
	}
	routes := map[string]send.Route{}
	for _, t := range all {
		routes[t.name] = send.Route{Providers: []send.Provider{{Name: t.name, Spec: t.spec, Channel: opened[t.name]}}}
	}
	p.sender, err = send.New(send.Options{
		Decisions: p.decisions, Deliveries: p.deliveries, Events: p.queue, Notes: p.queue, Shards: shards, Render: p.render, Signer: p.signer,
		Now: time.Now, Routes: routes, Registerer: metrics,
	})
	return err
}

// run runs the sender, and feed beside it, until told says of an accepted message that it is enough. told is given the
// name of the target and how long it took from the decision to the outcome.
func (p *sending) run(ctx context.Context, feed func(context.Context) error, told func(name string, took time.Duration) bool) error {
	ctx, cancel := context.WithTimeout(ctx, sendWithin)
	defer cancel()
	failed := make(chan error, 3)
	running := sync.WaitGroup{}
	life, stop := context.WithCancel(ctx)
	part := func(what string, fn func(context.Context) error, done func()) {
		running.Go(func() {
			switch err := fn(life); {
			case err != nil && life.Err() == nil:
				failed <- fmt.Errorf("%s: %w", what, err)
			case err == nil && done != nil:
				done()
			}
		})
	}
	done := make(chan struct{})
	part("the sender", p.sender.Run, nil)
	part("decisions", feed, nil)
	part("outcomes", func(ctx context.Context) error { return p.outcomes(ctx, told) }, func() { close(done) })
	var err error
	select {
	case <-done:
	case err = <-failed:
	case <-ctx.Done():
		err = fmt.Errorf("wait for outcomes: %w", context.Cause(ctx))
	}
	stop()
	running.Wait()
	return err
}

// outcomes reads the delivery stream until told has enough.
func (p *sending) outcomes(ctx context.Context, told func(name string, took time.Duration) bool) error {
	err := p.deliveries.Read(ctx, -1, 0, func(rec queue.Record) error {
		chunk, err := ledger.DecodeChunk(rec.Data)
		if err != nil {
			return err
		}
		now := time.Now().UnixMilli()
		for _, r := range chunk.Records {
			d := r.Delivery
			switch {
			case d == nil || d.Status == ledger.Intent || d.Status == ledger.Retrying:
			case d.Status == ledger.Accepted:
				var at int64
				name, _, _ := strings.Cut(d.Entry, "-")
				if _, err := fmt.Sscanf(d.Entry[len(d.Entry)-13:], "%d", &at); err != nil {
					return fmt.Errorf("the entry %q does not say when it was made: %w", d.Entry, err)
				}
				if told(name, time.Duration(now-at)*time.Millisecond) {
					return errEnough
				}
			default:
				return fmt.Errorf("the entry %s ended as %s: %s", d.Entry, d.Status, d.Error)
			}
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// decide puts the decisions first … upTo−1 about a target into the decision stream.
func (p *sending) decide(ctx context.Context, t *target, first, upTo int) error {
	for from := first; from < upTo; from += chunkOf {
		records := make([]ledger.Record, 0, chunkOf)
		now := time.Now().UnixMilli()
		for i := from; i < min(from+chunkOf, upTo); i++ {
			user := fmt.Sprintf("user-%08d", i)
			profile, err := json.Marshal(segments.Profile{
				Person: personOf(int64(i)), UserID: user, Zone: "Europe/Berlin",
				Traits: map[string]json.RawMessage{"email": json.RawMessage(`"` + user + `@customers.example"`)},
			})
			if err != nil {
				return err
			}
			d := &ledger.Decision{
				Entry: fmt.Sprintf("%s-%016x-%013d", t.name, i, now), Rule: p.rule.Name, Version: "bench", Person: personOf(int64(i)),
				UserID: user, Value: fmt.Sprintf("%08d", i), Entered: now, At: now, Tick: "bench", Reason: ledger.Send,
				Expires: now + 24*time.Hour.Milliseconds(), Category: p.rule.Category, Channels: []string{t.name},
				With: ledger.Values{"product": "Linen shirt, blue", "others": int64(12)}, Profile: profile,
			}
			if len(t.tokens) > 0 {
				device, err := json.Marshal(segments.Device{Token: t.tokens[i%len(t.tokens)], Platform: t.platform, App: "example.shop", Environment: "production"})
				if err != nil {
					return err
				}
				d.Devices = []json.RawMessage{device}
			}
			records = append(records, ledger.Record{Decision: d})
		}
		data, err := ledger.EncodeChunk(records)
		if err != nil {
			return err
		}
		if _, err = p.decisions.Append(ctx, from/chunkOf%engine.Shards, data); err != nil {
			return err
		}
	}
	return nil
}

// pace decides first … upTo−1 at a rate, twenty times a second.
func (p *sending) pace(ctx context.Context, t *target, first, upTo int, rate float64) error {
	each := max(int(rate/20), 1)
	start := time.Now()
	for from := first; from < upTo; from += each {
		if !waitUntil(ctx, start.Add(time.Duration(float64(from-first)/rate*float64(time.Second)))) {
			return nil
		}
		if err := p.decide(ctx, t, from, min(from+each, upTo)); err != nil {
			return err
		}
	}
	return nil
}

// render makes a message as the engine's app does.
func (p *sending) render(d *ledger.Decision, channel string) (send.Rendered, error) {
	profile, err := render.Profile(d.Profile)
	if err != nil {
		return send.Rendered{}, err
	}
	fields, err := render.Fields(p.rule.Rule, render.Message{Variant: d.Variant, Channel: channel, Value: d.Value, At: d.At, With: d.With, Profile: profile, Zone: time.UTC, Location: p.location})
	if err != nil {
		return send.Rendered{}, err
	}
	msg, _ := p.rule.MessageOf(d.Variant, channel)
	return send.Rendered{Fields: fields, TTL: msg.TTL}, nil
}

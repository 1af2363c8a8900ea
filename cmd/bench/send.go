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
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"nudge/channels"
	"nudge/channels/apns"
	"nudge/channels/channeltest"
	"nudge/channels/fcm"
	"nudge/engine"
	"nudge/engine/ledger"
	"nudge/engine/render"
	"nudge/engine/send"
	"nudge/engine/workspace"
	"nudge/events/queue"
	"nudge/segments"
)

// sendOptions are the flags of bench send.
type sendOptions struct {
	messages int
	rate     float64
	paced    time.Duration
}

func sendDefaults() *sendOptions {
	return &sendOptions{messages: 100_000, rate: 2000, paced: 5 * time.Second}
}

func sendCommand(f *common) *cobra.Command {
	o := sendDefaults()
	cmd := &cobra.Command{
		Use:   "send",
		Short: "Pushes a second to a local APNs and FCM: the adapter alone, and the whole sender",
		Long: `Starts a local APNs and a local FCM (HTTP/2 over TLS, checking tokens and payloads as the real ones
document it) in a process of their own, and sends to them:

  adapter        batches through the adapter alone
  sender         decisions wait in the decision stream; the sender reads them, renders their Liquid
                 templates, writes intents, sends, writes outcomes and events, all of it synced
  sender, paced  decisions come at --rate: how long one takes from its commit to its outcome

At the end the servers must have accepted as many as were sent.`,
		Example: "  bench send --messages 500000",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			return f.measure(cmd, o.run)
		},
	}
	cmd.Flags().IntVar(&o.messages, "messages", o.messages, "messages of each run")
	cmd.Flags().Float64Var(&o.rate, "rate", o.rate, "decisions a second of the paced run")
	cmd.Flags().DurationVar(&o.paced, "paced", o.paced, "how long the paced run takes")
	return cmd
}

func (o *sendOptions) check() error {
	switch {
	case o.messages < 1:
		return fmt.Errorf("--messages is at least 1, not %d", o.messages)
	case o.rate <= 0 || o.paced <= 0:
		return errors.New("--rate and --paced must be more than nothing")
	}
	return nil
}

// sendWorkspace has the rule whose messages are sent.
var sendWorkspace = map[string]string{
	"nudge.yaml":  "zone: UTC\nsalt: bench\ndata: data\nchannels:\n  push: {adapter: file, kind: push, config: {path: data/push.ndjson}}\n",
	"events.yaml": plan,
	"rules/cart.yaml": `rule: cart
category: promotional
schedule: "*/5 * * * *"
for_each: event("Product Added").by("cart_id")
when: it.last.ago >= hours(1) and it.last.ago < days(2)
again: never
with:
  product: it.last.properties.name
  others: event("Product Viewed").count
message:
  push:
    title: "Still thinking about {{ product }}?"
    body: "It is waiting in your cart.{% if others %} {{ others }} people looked at it today.{% endif %}"
    link: https://shop.example/cart
    ttl: 4h
`,
}

// target is one of the two services.
type target struct {
	name, platform string
	spec           channels.Spec
	config         json.RawMessage
	token          func(i int) string
	count          func(accepted) int64
}

func (o *sendOptions) run(ctx context.Context, s *session) (_ []*table, err error) {
	servers, err := startPush(ctx, s)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, servers.stop()) }()
	t := &table{
		Key: "send", Title: "Sending: to a local APNs and FCM in a process of their own",
		Columns: []column{
			{"run", "run", 0},
			{"sends_per_s", "sends/s", 0},
			{"p50_ms", "p50 ms", 1},
			{"p99_ms", "p99 ms", 1},
			{"us_nudge", "nudge µs", 1},
			{"us_server", "server µs", 1},
			{"sends", "sends", 0},
			{"load", "load", 2},
		},
	}
	tables := []*table{t}
	for _, g := range []target{
		{"APNs", "ios", apns.Spec(), servers.ready.APNs, channeltest.Token, func(a accepted) int64 { return a.APNs }},
		{
			"FCM", "android", fcm.Spec(), servers.ready.FCM, func(i int) string { return fmt.Sprintf("fGx%d:APA91b%s", i, channeltest.Token(i)) },
			func(a accepted) int64 { return a.FCM },
		},
	} {
		r := &sendRig{o: o, s: s, servers: servers, target: g, table: t}
		if err := r.run(ctx); err != nil {
			return tables, fmt.Errorf("%s: %w", g.name, err)
		}
	}
	t.note("Adapter alone: p50 and p99 are of a call with a batch of messages. Sender at once: none, all wait from the start. Paced: from a decision's commit to its outcome, synced.")
	t.note("Checked: the servers accepted what was sent, no more and no less.")
	return tables, nil
}

// sendRig measures one service.
type sendRig struct {
	o       *sendOptions
	s       *session
	servers *pushServers
	target  target
	table   *table
}

func (r *sendRig) run(ctx context.Context) error {
	channel, err := r.target.spec.New(channels.Options{Config: r.target.config, Now: time.Now})
	if err != nil {
		return err
	}
	if c, ok := channel.(channels.Closer); ok {
		defer c.Close() //nolint:errcheck // connections of this run
	}
	r.s.say("%s: the adapter alone, %d messages …", r.target.name, r.o.messages)
	if err := r.adapter(ctx, channel); err != nil {
		return err
	}
	r.s.say("%s: the whole sender, %d messages …", r.target.name, r.o.messages)
	if err := r.sender(ctx, channel, r.o.messages, 0); err != nil {
		return err
	}
	paced := max(int(r.o.rate*r.o.paced.Seconds()), 1)
	r.s.say("%s: the whole sender at %.0f a second, %d messages …", r.target.name, r.o.rate, paced)
	return r.sender(ctx, channel, paced, r.o.rate)
}

// counted runs something that sends n messages, and notes what it took.
func (r *sendRig) counted(ctx context.Context, name string, n int, l *latencies, do func() error) error {
	before, err := r.servers.accepted(ctx)
	if err != nil {
		return err
	}
	m, err := startMeter(process{"nudge", os.Getpid()}, r.servers.process())
	if err != nil {
		return err
	}
	profiled, err := r.s.profileSelf("send-" + strings.ToLower(r.target.name) + "-" + name)
	if err != nil {
		return err
	}
	if err := errors.Join(do(), profiled()); err != nil {
		return err
	}
	took := time.Since(m.start)
	used, err := m.used()
	if err != nil {
		return err
	}
	after, err := r.servers.accepted(ctx)
	if err != nil {
		return err
	}
	if got := r.target.count(after) - r.target.count(before); got != int64(n) {
		return fmt.Errorf("%s: %d messages were sent, the server accepted %d", name, n, got)
	}
	var p50, p99 any
	if l.n > 0 {
		p50, p99 = ms(l.quantile(0.5)), ms(l.quantile(0.99))
	}
	r.table.row(r.target.name+", "+name, float64(n)/took.Seconds(), p50, p99, per(used["nudge"], int64(n)), per(used["push servers"], int64(n)), float64(n), loadNumber())
	return nil
}

func (r *sendRig) message(i int) channels.Message {
	m := channeltest.Message(i)
	m.Address.Platform, m.Address.Token = r.target.platform, r.target.token(i%500)
	return m
}

func (r *sendRig) adapter(ctx context.Context, channel channels.Channel) error {
	batch := make([]channels.Message, r.target.spec.Batch)
	for i := range batch {
		batch[i] = r.message(i)
	}
	for _, res := range channel.Send(ctx, batch) { // connections stand
		if res.Err != nil {
			return res.Err
		}
	}
	var l latencies
	return r.counted(ctx, "adapter", r.o.messages, &l, func() error {
		ctx, stop := context.WithCancelCause(ctx)
		defer stop(nil)
		var left atomic.Int64
		left.Store(int64(r.o.messages))
		var group sync.WaitGroup
		for range r.target.spec.Concurrency {
			group.Go(func() {
				for ctx.Err() == nil {
					size := int64(len(batch))
					n := min(left.Add(-size)+size, size)
					if n <= 0 {
						return
					}
					start := time.Now()
					for _, res := range channel.Send(ctx, batch[:n]) {
						if res.Err != nil {
							stop(res.Err)
							return
						}
					}
					l.add(time.Since(start))
				}
			})
		}
		group.Wait()
		return context.Cause(ctx)
	})
}

// sender sends n decisions through the whole sender: all at once, or at a rate.
func (r *sendRig) sender(ctx context.Context, channel channels.Channel, n int, rate float64) (err error) {
	name := "sender"
	if rate > 0 {
		name = "sender, paced"
	}
	dir, err := os.MkdirTemp(r.s.dir, "send-*")
	if err != nil {
		return err
	}
	if err := writeWorkspace(dir, sendWorkspace); err != nil {
		return err
	}
	ws, err := loadWorkspace(dir)
	if err != nil {
		return err
	}
	q, err := queue.Open(ctx, queue.Config{Dir: filepath.Join(dir, "queue"), Now: time.Now, MaxBacklog: 1 << 40})
	if err != nil {
		return err
	}
	defer q.Close()
	p := &sendRun{rig: r, n: n, rule: ws.Rules[0]}
	if p.decisions, err = q.Log(ctx, "decisions"); err != nil {
		return err
	}
	if p.deliveries, err = q.Log(ctx, "deliveries"); err != nil {
		return err
	}
	shards := make([]int, engine.Shards)
	for i := range shards {
		shards[i] = i
	}
	signer, err := send.NewSigner(ws.Signing)
	if err != nil {
		return err
	}
	s, err := send.New(send.Options{
		Decisions: p.decisions, Deliveries: p.deliveries, Events: q, Notes: q, Shards: shards, Render: p.render, Signer: signer, Now: time.Now,
		Routes: map[string]send.Route{"push": {Providers: []send.Provider{{Name: r.target.spec.Name, Spec: r.target.spec, Channel: channel}}}},
	})
	if err != nil {
		return err
	}
	if rate == 0 {
		for first := 0; first < n; first += chunkOf {
			if err := p.decide(ctx, first, min(first+chunkOf, n)); err != nil {
				return err
			}
		}
	}
	var l latencies
	return r.counted(ctx, name, n, &l, func() error { return p.run(ctx, s, rate, &l) })
}

// chunkOf is how many decisions one message of the decision stream has.
const chunkOf = 400

// sendWithin bounds one run of the sender.
const sendWithin = 10 * time.Minute

// sendRun is one run of the whole sender.
type sendRun struct {
	rig                   *sendRig
	n                     int
	rule                  *workspace.Rule
	decisions, deliveries *queue.Log
}

// run runs the sender until every decision has its outcome.
func (p *sendRun) run(ctx context.Context, s *send.Sender, rate float64, l *latencies) error {
	ctx, cancel := context.WithTimeout(ctx, sendWithin)
	defer cancel()
	failed := make(chan error, 3)
	running := sync.WaitGroup{}
	life, stop := context.WithCancel(ctx)
	running.Go(func() {
		if err := s.Run(life); err != nil && life.Err() == nil {
			failed <- fmt.Errorf("the sender ended: %w", err)
		}
	})
	if rate > 0 {
		running.Go(func() {
			if err := p.pace(life, rate); err != nil && life.Err() == nil {
				failed <- err
			}
		})
	}
	done := make(chan struct{})
	running.Go(func() {
		if err := p.outcomes(life, rate > 0, l); err != nil && life.Err() == nil {
			failed <- err
			return
		}
		close(done)
	})
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

// outcomes reads the delivery stream until every message has been accepted.
func (p *sendRun) outcomes(ctx context.Context, timed bool, l *latencies) error {
	left := p.n
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
				left--
				if timed {
					var at int64
					if _, err := fmt.Sscanf(d.Entry[len(d.Entry)-13:], "%d", &at); err != nil {
						return fmt.Errorf("the entry %q does not say when it was made: %w", d.Entry, err)
					}
					l.add(time.Duration(now-at) * time.Millisecond)
				}
			default:
				return fmt.Errorf("the entry %s ended as %s: %s", d.Entry, d.Status, d.Error)
			}
		}
		if left <= 0 {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// decide puts the decisions first … upTo−1 into the decision stream, one message.
func (p *sendRun) decide(ctx context.Context, first, upTo int) error {
	records := make([]ledger.Record, 0, upTo-first)
	now := time.Now().UnixMilli()
	for i := first; i < upTo; i++ {
		profile, err := json.Marshal(segments.Profile{Person: personOf(int64(i)), UserID: fmt.Sprintf("user-%08d", i), Zone: "Europe/Berlin"})
		if err != nil {
			return err
		}
		device, err := json.Marshal(segments.Device{Token: p.rig.target.token(i), Platform: p.rig.target.platform, App: "example.shop", Environment: "production"})
		if err != nil {
			return err
		}
		records = append(records, ledger.Record{Decision: &ledger.Decision{
			Entry: fmt.Sprintf("%016x-%013d", i, now), Rule: p.rule.Name, Version: "bench", Person: personOf(int64(i)),
			UserID: fmt.Sprintf("user-%08d", i), Value: fmt.Sprintf("%08d", i), Entered: now, At: now, Tick: "bench", Reason: ledger.Send,
			Expires: now + 24*time.Hour.Milliseconds(), Category: p.rule.Category, Channels: []string{"push"},
			With: ledger.Values{"product": "Linen shirt, blue", "others": int64(12)}, Profile: profile, Devices: []json.RawMessage{device},
		}})
	}
	data, err := ledger.EncodeChunk(records)
	if err != nil {
		return err
	}
	_, err = p.decisions.Append(ctx, first/chunkOf%engine.Shards, data)
	return err
}

// pace decides at a rate, twenty times a second.
func (p *sendRun) pace(ctx context.Context, rate float64) error {
	each := max(int(rate/20), 1)
	start := time.Now()
	for first := 0; first < p.n; first += each {
		if !waitUntil(ctx, start.Add(time.Duration(float64(first)/rate*float64(time.Second)))) {
			return nil
		}
		if err := p.decide(ctx, first, min(first+each, p.n)); err != nil {
			return err
		}
	}
	return nil
}

// render makes a message as the engine's app does.
func (p *sendRun) render(d *ledger.Decision, channel string) (send.Rendered, error) {
	profile, err := render.Profile(d.Profile)
	if err != nil {
		return send.Rendered{}, err
	}
	fields, err := render.Fields(p.rule.Rule, render.Message{Variant: d.Variant, Channel: channel, Value: d.Value, At: d.At, With: d.With, Profile: profile, Zone: time.UTC, Location: time.LoadLocation})
	if err != nil {
		return send.Rendered{}, err
	}
	msg, _ := p.rule.MessageOf(d.Variant, channel)
	return send.Rendered{Fields: fields, TTL: msg.TTL}, nil
}

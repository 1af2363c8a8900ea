package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"nudge/channels"
	"nudge/channels/apns"
	"nudge/channels/channeltest"
	"nudge/channels/channeltest/webpushd"
	"nudge/channels/email"
	"nudge/channels/fcm"
	"nudge/channels/webhook"
	"nudge/channels/webpush"
)

// sendOptions are the flags of bench send.
type sendOptions struct {
	messages int
	rate     float64
	paced    time.Duration
	only     []string
}

func sendDefaults() *sendOptions {
	return &sendOptions{messages: 100_000, rate: 2000, paced: 5 * time.Second}
}

func sendCommand(f *common) *cobra.Command {
	o := sendDefaults()
	cmd := &cobra.Command{
		Use:   "send",
		Short: "Messages a second to local providers: the adapter alone, and the whole sender",
		Long: `Starts local providers in a process of their own (APNs, FCM, a push service for browsers, an SMTP server, a webhook's
endpoint; all over TLS, checking what they get as the real ones document it), and sends to them:

  adapter        batches through the adapter alone
  sender         decisions wait in the decision stream; the sender reads them, renders their Liquid
                 templates, writes intents, sends, writes outcomes and events, all of it synced
  sender, paced  decisions come at --rate: how long one takes from its commit to its outcome

At the end the servers must have accepted as many as were sent.`,
		Example: "  bench send --messages 500000\n  bench send --only apns,fcm",
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
	cmd.Flags().StringSliceVar(&o.only, "only", nil, "these adapters alone: apns, fcm, webpush, email, webhook")
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
	for _, name := range o.only {
		if !slices.Contains(serviceNames(), name) {
			return fmt.Errorf("--only knows %s, not %q", strings.Join(serviceNames(), ", "), name)
		}
	}
	return nil
}

// sendWorkspace has the rule whose messages are sent, on a channel for each provider.
var sendWorkspace = map[string]string{
	"nudge.yaml": `zone: UTC
salt: bench
data: data
channels:
  apns: {adapter: file, kind: push, config: {path: data/apns.ndjson}}
  fcm: {adapter: file, kind: push, config: {path: data/fcm.ndjson}}
  webpush: {adapter: file, kind: push, config: {path: data/webpush.ndjson}}
  email: {adapter: file, config: {path: data/email.ndjson}}
  webhook: {adapter: file, config: {path: data/webhook.ndjson}}
`,
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
` + pushMessage("apns") + pushMessage("fcm") + pushMessage("webpush") + `  email:
    subject: "Still thinking about {{ product }}?"
    text: "It is waiting in your cart.{% if others %} {{ others }} people looked at it today.{% endif %}"
  webhook:
    title: "Still thinking about {{ product }}?"
    body: "{{ others }} people looked at it today."
`,
}

func pushMessage(channel string) string {
	return "  " + channel + `:
    title: "Still thinking about {{ product }}?"
    body: "It is waiting in your cart.{% if others %} {{ others }} people looked at it today.{% endif %}"
    link: https://shop.example/cart
    ttl: 4h
`
}

// target is one of the providers.
type target struct {
	name   string // of the adapter, and of the channel
	title  string
	spec   channels.Spec
	config json.RawMessage
	// tokens of devices, for the adapters that need one: as many as take turns.
	tokens   []string
	platform string
}

// serviceNames are the adapters that there are providers for.
func serviceNames() []string { return []string{"apns", "fcm", "webpush", "email", "webhook"} }

// devices is how many tokens take turns.
const devices = 500

// targets are the providers of a running child, all or those that are named.
func targets(ready servicesReady, only []string) []target {
	var out []target
	for _, t := range []struct {
		target
		token func(i int) string
	}{
		{target{name: "apns", title: "APNs", spec: apns.Spec(), platform: "ios"}, channeltest.Token},
		{target{name: "fcm", title: "FCM", spec: fcm.Spec(), platform: "android"}, func(i int) string { return fmt.Sprintf("fGx%d:APA91b%s", i, channeltest.Token(i)) }},
		{target{name: "webpush", title: "Web Push", spec: webpush.Spec(), platform: "web"}, func(i int) string { return webpushd.Token(ready.Push, fmt.Sprintf("browser-%d", i)) }},
		{target{name: "email", title: "E-mail", spec: email.Spec()}, nil},
		{target{name: "webhook", title: "Webhook", spec: webhook.Spec()}, nil},
	} {
		if len(only) > 0 && !slices.Contains(only, t.name) {
			continue
		}
		t.config = ready.Config[t.name]
		for i := 0; t.token != nil && i < devices; i++ {
			t.tokens = append(t.tokens, t.token(i))
		}
		out = append(out, t.target)
	}
	return out
}

// message is the i-th for the adapter alone.
func (t *target) message(i int) channels.Message {
	m := channeltest.Message(i)
	m.Address = channels.Address{UserID: m.Address.UserID, Email: fmt.Sprintf("user-%08d@customers.example", i)}
	if len(t.tokens) > 0 {
		m.Address.Platform, m.Address.Token, m.Address.App, m.Address.Environment = t.platform, t.tokens[i%len(t.tokens)], "example.shop", "production"
	}
	if t.name == "email" {
		m.Fields = map[string]any{"subject": m.Fields["title"], "text": m.Fields["body"]}
	}
	return m
}

func (o *sendOptions) run(ctx context.Context, s *session) (_ []*table, err error) {
	providers, err := startServicesChild(ctx, s)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, providers.stop()) }()
	t := &table{
		Key: "send", Title: "Sending: to local providers in a process of their own",
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
	for _, g := range targets(providers.ready, o.only) {
		r := &sendRig{o: o, s: s, services: providers, target: g, table: t}
		if err := r.run(ctx); err != nil {
			return tables, fmt.Errorf("%s: %w", g.title, err)
		}
	}
	t.note("Adapter alone: p50 and p99 are of a call with a batch of messages. Sender at once: none, all wait from the start. Paced: from a decision's commit to its outcome, synced.")
	t.note("Checked: the providers accepted what was sent, no more and no less.")
	return tables, nil
}

// sendRig measures one service.
type sendRig struct {
	o        *sendOptions
	s        *session
	services *services
	target   target
	table    *table
}

func (r *sendRig) run(ctx context.Context) error {
	channel, err := r.target.spec.New(channels.Options{Config: r.target.config, Now: time.Now})
	if err != nil {
		return err
	}
	if c, ok := channel.(channels.Closer); ok {
		defer c.Close() //nolint:errcheck // connections of this run
	}
	r.s.say("%s: the adapter alone, %d messages …", r.target.title, r.o.messages)
	if err := r.adapter(ctx, channel); err != nil {
		return err
	}
	r.s.say("%s: the whole sender, %d messages …", r.target.title, r.o.messages)
	if err := r.sender(ctx, channel, r.o.messages, 0); err != nil {
		return err
	}
	paced := max(int(r.o.rate*r.o.paced.Seconds()), 1)
	r.s.say("%s: the whole sender at %.0f a second, %d messages …", r.target.title, r.o.rate, paced)
	return r.sender(ctx, channel, paced, r.o.rate)
}

// counted runs something that sends n messages, and notes what it took.
func (r *sendRig) counted(ctx context.Context, name string, n int, l *latencies, do func() error) error {
	before, err := r.services.accepted(ctx)
	if err != nil {
		return err
	}
	m, err := startMeter(process{"nudge", os.Getpid()}, r.services.process())
	if err != nil {
		return err
	}
	profiled, err := r.s.profileSelf("send-" + r.target.name + "-" + name)
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
	after, err := r.services.accepted(ctx)
	if err != nil {
		return err
	}
	if got := after[r.target.name].Accepted - before[r.target.name].Accepted; got != int64(n) {
		return fmt.Errorf("%s: %d messages were sent, the server accepted %d", name, n, got)
	}
	var p50, p99 any
	if l.n > 0 {
		p50, p99 = ms(l.quantile(0.5)), ms(l.quantile(0.99))
	}
	r.table.row(r.target.title+", "+name, float64(n)/took.Seconds(), p50, p99, per(used["nudge"], int64(n)), per(used["services"], int64(n)), float64(n), loadNumber())
	return nil
}

func (r *sendRig) adapter(ctx context.Context, channel channels.Channel) error {
	batch := make([]channels.Message, r.target.spec.Batch)
	for i := range batch {
		batch[i] = r.target.message(i)
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
func (r *sendRig) sender(ctx context.Context, channel channels.Channel, n int, rate float64) error {
	name := "sender"
	if rate > 0 {
		name = "sender, paced"
	}
	l, err := newSending(ctx, r.s)
	if err != nil {
		return err
	}
	defer l.close()
	if err := l.open(map[string]channels.Channel{r.target.name: channel}, []target{r.target}); err != nil {
		return err
	}
	if rate == 0 {
		if err := l.decide(ctx, &r.target, 0, n); err != nil {
			return err
		}
	}
	var took latencies
	left := n
	return r.counted(ctx, name, n, &took, func() error {
		return l.run(ctx, func(life context.Context) error {
			if rate == 0 {
				return nil
			}
			return l.pace(life, &r.target, 0, n, rate)
		}, func(_ string, at time.Duration) bool {
			if rate > 0 {
				took.add(at)
			}
			left--
			return left <= 0
		})
	})
}

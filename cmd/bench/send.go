package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
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
	delay    time.Duration
	waiting  int
	slow     time.Duration
	gorush   string
}

func sendDefaults() *sendOptions {
	return &sendOptions{messages: 100_000, rate: 2000, paced: 5 * time.Second, waiting: 100_000, slow: 10 * time.Second}
}

func sendCommand(f *common) *cobra.Command {
	o := sendDefaults()
	cmd := &cobra.Command{
		Use:   "send",
		Short: "Messages a second to local providers: plain libraries, the adapter alone, and the whole sender",
		Long: `Starts local providers in a process of their own (APNs, FCM, a push service for browsers, an SMTP server, a webhook's
endpoint; all over TLS, checking what they get as the real ones document it), and sends to them, each run in a process of
its own:

  library        the client library in a loop, as its README has it
  adapter        batches through the adapter alone
  sender         decisions wait in the decision stream; the sender reads them, renders their Liquid
                 templates, writes intents, sends, writes outcomes and events, all of it synced
  sender, paced  decisions come at --rate: how long one takes from its commit to its outcome
  gorush         with --gorush, for apns and fcm: the push server of that name, posted to over HTTP
  slow           the whole sender with --waiting decisions and a provider that takes two seconds for
                 each answer: its memory, over --slow

--delay has the servers answer that much later, as real ones do. Memory is the most that was resident while it sent.
But for slow, the servers must have accepted as many as were sent.

gorush knows Apple's and Google's hosts alone; it is led to the local servers by a proxy in its config, and by
SSL_CERT_FILE. Nothing of it is changed.`,
		Example: "  bench send --messages 500000\n  bench send --only apns,fcm --delay 50ms\n  bench send --only apns,fcm --gorush ../gorush/gorush",
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
	cmd.Flags().DurationVar(&o.delay, "delay", o.delay, "the servers answer after it")
	cmd.Flags().IntVar(&o.waiting, "waiting", o.waiting, "decisions that wait for the slow provider; 0 leaves the run out")
	cmd.Flags().DurationVar(&o.slow, "slow", o.slow, "how long the slow provider is sent to")
	cmd.Flags().StringVar(&o.gorush, "gorush", o.gorush, "program of gorush to compare with")
	return cmd
}

func (o *sendOptions) check() error {
	switch {
	case o.messages < 1:
		return fmt.Errorf("--messages is at least 1, not %d", o.messages)
	case o.rate <= 0 || o.paced <= 0:
		return errors.New("--rate and --paced must be more than nothing")
	case o.delay < 0 || o.waiting < 0 || o.slow <= 0:
		return errors.New("--delay and --waiting cannot be negative, and --slow must be more than nothing")
	}
	if o.gorush != "" {
		program, err := exec.LookPath(o.gorush)
		if err == nil {
			program, err = filepath.Abs(program) // it runs in a folder of its own
		}
		if err != nil {
			return fmt.Errorf("--gorush: %w; build it with `GOBIN=DIR go install github.com/appleboy/gorush@latest`", err)
		}
		o.gorush = program
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

func (o *sendOptions) run(ctx context.Context, s *session) ([]*table, error) {
	t := &table{
		Key: "send", Title: "Sending: to local providers in a process of their own",
		Columns: []column{
			{"run", "run", 0},
			{"sends_per_s", "sends/s", 0},
			{"p50_ms", "p50 ms", 1},
			{"p99_ms", "p99 ms", 1},
			{"us_sending", "sending µs", 1},
			{"us_server", "server µs", 1},
			{"peak_mb", "peak MB", 0},
			{"sends", "sends", 0},
			{"load", "load", 2},
		},
	}
	if o.delay > 0 {
		t.Title += fmt.Sprintf(" that answer after %s", o.delay)
	}
	t.note("Sending µs is the CPU of the process that sends, for each message; peak is the most of its memory that was resident meanwhile.")
	t.note("Library and adapter alone: p50 and p99 are of a call: with one message, and with a batch of them (the adapter, and SendEach of Firebase). Sender at once: none, all wait from the start. Paced: from a decision's commit to its outcome, synced.")
	t.note("Checked: the providers accepted what was sent, no more and no less.")
	tables := []*table{t}
	var slow *table
	if o.waiting > 0 {
		slow = o.slowTable()
		tables = append(tables, slow)
	}
	for _, g := range targets(servicesReady{}, o.only) {
		if err := o.measure(ctx, s, &g, t, slow); err != nil {
			return tables, fmt.Errorf("%s: %w", g.title, err)
		}
	}
	return tables, nil
}

func (o *sendOptions) slowTable() *table {
	t := &table{
		Key: "slow", Title: fmt.Sprintf("The whole sender with a provider that takes 2 s for each answer, for %s", o.slow),
		Columns: []column{
			{"run", "provider", 0},
			{"waiting", "waiting", 0},
			{"sends", "accepted", 0},
			{"held", "most in memory", 0},
			{"before_mb", "MB before", 0},
			{"peak_mb", "peak MB", 0},
			{"load", "load", 2},
		},
	}
	t.note("Before: of the same process, with the queue and its streams open and all decisions written. In memory: messages, of those waiting.")
	return t
}

// measure makes all rows of one provider.
func (o *sendOptions) measure(ctx context.Context, s *session, g *target, t, slow *table) error {
	kinds := []rowKind{rowLibrary, rowAdapter, rowSender, rowPaced}
	late := o.delay.String()
	for _, kind := range kinds {
		spec := rowSpec{Kind: kind, Target: g.name, Messages: o.messages, Late: late}
		if kind == rowPaced {
			spec.Messages, spec.Rate = max(int(o.rate*o.paced.Seconds()), 1), o.rate
		}
		r, err := runRow(ctx, s, spec)
		if err != nil {
			return err
		}
		r.add(t, g.title)
	}
	if o.gorush != "" && (g.name == "apns" || g.name == "fcm") {
		for _, way := range gorushWays(g.name) {
			if err := o.gorushRow(ctx, s, g.name, way, t); err != nil {
				return fmt.Errorf("%s: %w", way.name, err)
			}
		}
	}
	if slow == nil {
		return nil
	}
	r, err := runRow(ctx, s, rowSpec{Kind: rowSlow, Target: g.name, Messages: o.waiting, For: o.slow, Late: "slow"})
	if err != nil {
		return err
	}
	slow.row(g.title, float64(o.waiting), float64(r.Sends), float64(r.Held), r.BeforeMB, r.PeakMB, r.Load)
	return nil
}

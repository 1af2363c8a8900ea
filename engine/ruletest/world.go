package ruletest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"nudge/channels"
	"nudge/engine/app"
	"nudge/engine/decide"
	"nudge/engine/ledger"
	"nudge/engine/render"
	"nudge/engine/send"
	"nudge/engine/workspace"
	"nudge/events"
	"nudge/events/clickhouse"
	"nudge/events/memory"
	"nudge/events/queue"
	"nudge/segments"
)

// world is a timeline that runs: a whole nudge on a clock of its own, whose channels only remember.
type world struct {
	line     *timeline
	byPrefix map[string]*Test
	clock    *app.Clock
	app      *app.App
	sim      *app.Sim
	sent     *recorder
	reports  http.Handler
	stops    *stops
	heard    int                 // messages that the stops know of
	failures map[*Test][]Failure // of what could not be done
}

// open makes the world of a timeline in a folder, and a store of its own or (nil) in memory.
func open(ctx context.Context, ws *workspace.Workspace, line *timeline, store *clickhouse.Store, dir string, o Options) (*world, error) {
	log := o.Logger
	w := &world{
		stops: newStops(ws, line, o.EveryTick), line: line, byPrefix: map[string]*Test{}, clock: app.NewClock(line.start), sent: &recorder{},
		failures: map[*Test][]Failure{},
	}
	for _, t := range line.tests {
		w.byPrefix[t.prefix] = t
	}
	tested := *ws
	policy := *ws.Policy
	policy.Arm = w.arm
	tested.Policy = &policy
	tested.Rules = unguarded(ws.Rules)
	tested.Queue = workspace.Queue{Dir: filepath.Join(dir, "queue"), Keep: ws.Queue.Keep, MaxBacklog: ws.Queue.MaxBacklog}
	tested.Signing = []byte("the reports of rule tests")
	tested.BaseURL = "" // links stay as the rule has them
	opts := app.Options{
		Workspace: &tested, Now: w.clock.Now, Logger: log, Store: store, Routes: w.sent.routes(ws), Owner: "test", Since: line.start,
		FlushEvery: time.Millisecond, Simulated: true,
	}
	if o.Branches != nil {
		opts.Judged = o.Branches.judged
	}
	if store == nil {
		opts.Memory = &memory.Store{}
	}
	a, err := app.Open(ctx, opts)
	if err != nil {
		return nil, err //nolint:wrapcheck // says what it was doing
	}
	w.app, w.sim = a, app.NewSim(a, w.clock)
	w.reports = send.NewReceipts(a.Signer, a, w.clock.Now, log).Handler()
	return w, nil
}

// unguarded are the rules without their pause_when, which would count the messages of all tests together.
func unguarded(of []*workspace.Rule) []*workspace.Rule {
	out := make([]*workspace.Rule, len(of))
	for i, r := range of {
		said, rule := *r.Rule, *r
		said.PauseWhen = nil
		rule.Rule = &said
		out[i] = &rule
	}
	return out
}

// arm places people where their test says, and everybody else in no holdout and the first variant.
func (w *world) arm(rule string, p *segments.Profile) decide.Arm {
	t := w.testOf(p.UserID, p.Anonymous)
	if t == nil {
		return decide.Arm{}
	}
	arm := t.arms[rule]
	if arm.Holdout == "" {
		arm.Holdout = t.arms[""].Holdout
	}
	return arm
}

// testOf is the test that an id belongs to.
func (w *world) testOf(ids ...string) *Test {
	for _, id := range ids {
		if i := strings.IndexByte(strings.TrimPrefix(id, "~"), '~'); i >= 0 && id[0] == '~' {
			return w.byPrefix[id[:i+2]]
		}
	}
	return nil
}

// step is something that arrives in a test of the timeline.
type step struct {
	arrival
	test *Test
}

// run plays the timeline to its end. passed is called with the clock's instant now and then.
func (w *world) run(ctx context.Context, passed func(now int64)) error {
	var history []events.Event
	var steps []step
	for _, t := range w.line.tests {
		for _, a := range t.arrivals {
			if a.history {
				history = append(history, a.event)
			} else {
				steps = append(steps, step{a, t})
			}
		}
	}
	if err := w.sim.Feed(ctx, history); err != nil {
		return fmt.Errorf("load the history: %w", err)
	}
	slices.SortStableFunc(steps, func(a, b step) int { return cmp.Compare(a.at, b.at) })
	for i := range history {
		w.stops.happened(&history[i], w.line.start)
	}
	for len(steps) > 0 {
		n := 1
		for n < len(steps) && steps[n].at == steps[0].at {
			n++
		}
		if err := w.advance(ctx, steps[0].at, passed); err != nil {
			return err
		}
		if err := w.arrive(ctx, steps[:n]); err != nil {
			return err
		}
		steps = steps[n:]
	}
	return w.advance(ctx, w.line.until, passed)
}

// advance moves the clock to an instant, by way of every stop and of everything that falls due by
// itself. What is due at the instant happens before what arrives then.
func (w *world) advance(ctx context.Context, to int64, passed func(now int64)) error {
	for {
		now := w.clock.Now().UnixMilli()
		next, ok := w.stops.next(now)
		for _, due := range []func() (int64, bool){w.app.Engine.Due, w.app.Sender.Next} {
			if at, any := due(); any && (!ok || at < next) {
				next, ok = max(at, now), true
			}
		}
		if !ok || next > to {
			break
		}
		if err := w.settle(ctx, next); err != nil {
			return err
		}
		passed(next)
	}
	if w.clock.Now().UnixMilli() == to {
		return nil
	}
	return w.settle(ctx, to)
}

// settle sets the clock and lets everything run that is due.
func (w *world) settle(ctx context.Context, now int64) error {
	w.clock.Set(now)
	if err := w.sim.Feed(ctx, nil); err != nil {
		return err //nolint:wrapcheck // says what it was doing
	}
	w.moved(now)
	return nil
}

// moved notes what the looks at an instant may have led to: entries, and messages that are history by
// themselves.
func (w *world) moved(now int64) {
	w.stops.looked(now)
	if n := w.sent.count(); n != w.heard {
		w.heard = n
		w.stops.sent(now)
	}
}

// arrive makes everything of one instant arrive, in the order of the files.
func (w *world) arrive(ctx context.Context, steps []step) error {
	now := steps[0].at
	var evs []events.Event
	for i := range steps {
		if steps[i].report == nil {
			evs = append(evs, steps[i].event)
			w.stops.happened(&steps[i].event, now)
		}
	}
	if err := w.sim.Feed(ctx, evs); err != nil {
		return fmt.Errorf("feed %d events: %w", len(evs), err)
	}
	reported := false
	for _, s := range steps {
		if s.report != nil {
			w.report(ctx, s.test, s.report, s.at)
			reported = true
		}
	}
	if reported {
		w.stops.sent(now)
		if err := w.sim.Feed(ctx, nil); err != nil {
			return err //nolint:wrapcheck // says what it was doing
		}
	}
	w.moved(now)
	return nil
}

// report makes an app report what somebody did with the last message of a rule.
func (w *world) report(ctx context.Context, t *Test, r *report, at int64) {
	person, ok := w.personOf(t, r.user)
	var signed string
	for _, m := range w.sent.messages() {
		ref, err := w.app.Signer.Verify(m.Signed)
		if err == nil && ok && ref.Rule == r.rule && w.app.Writer.Canonical(ref.Person) == person {
			signed = m.Signed
		}
	}
	if signed == "" {
		w.fail(t, r, "there is no message of %s to %s that could be %s at %s", r.rule, r.user, r.what, offset(at, t.Start))
		return
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "/v1/messages/"+signed+"/"+r.what, http.NoBody)
	if err != nil {
		w.fail(t, r, "the report cannot be made: %v", err)
		return
	}
	req.Header.Set("User-Agent", "nudge test")
	var answer answer
	w.reports.ServeHTTP(&answer, req)
	if answer.status != http.StatusOK {
		w.fail(t, r, "the report was answered with %d: %s", answer.status, strings.TrimSpace(answer.body.String()))
	}
}

func (w *world) fail(t *Test, r *report, format string, args ...any) {
	line, col := place(r.node)
	w.failures[t] = append(w.failures[t], Failure{File: t.File, Line: line, Col: col, Summary: fmt.Sprintf(format, args...)})
}

// answer is an http.ResponseWriter that keeps what it is given.
type answer struct {
	status int
	body   strings.Builder
	header http.Header
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header {
	if a.header == nil {
		a.header = http.Header{}
	}
	return a.header
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) { a.status = status }

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) {
	a.status = cmp.Or(a.status, http.StatusOK)
	return a.body.Write(b) //nolint:wrapcheck // never fails
}

// personOf is who a test's name belongs to by now.
func (w *world) personOf(t *Test, name string) (events.PersonID, bool) {
	user, anonymous := t.id(name), ""
	if who := t.known(name); who != nil && who.anonymous {
		user, anonymous = "", user
	}
	p, ok := w.app.Writer.Resolve(user, anonymous)
	return w.app.Writer.Canonical(p), ok
}

// same says which of a test's names people go by: of those that are one person by now, the first in
// the file that is not anonymous.
func (w *world) same(t *Test) map[string]string {
	first := map[events.PersonID]string{}
	for _, anonymous := range []bool{false, true} {
		for _, who := range t.people {
			if p, ok := w.personOf(t, who.name); ok && who.anonymous == anonymous && first[p] == "" {
				first[p] = who.name
			}
		}
	}
	out := map[string]string{}
	for _, who := range t.people {
		if p, ok := w.personOf(t, who.name); ok {
			out[who.name] = first[p]
		}
	}
	return out
}

// rows reads the decision and delivery streams: every row of the ledger, by test, in the order in which
// they were decided, and when which rule was looked at.
func (w *world) rows(ctx context.Context) (map[*Test][]*Row, map[string][]int64, error) {
	owners := map[events.PersonID]*Test{}
	names := map[events.PersonID]string{}
	for _, t := range w.line.tests {
		same := w.same(t)
		for _, who := range t.people {
			if p, ok := w.personOf(t, who.name); ok {
				owners[p], names[p] = t, same[who.name]
			}
		}
	}
	out := map[*Test][]*Row{}
	looks := map[string][]int64{}
	byEntry := map[string][]*Row{}
	err := w.replay(ctx, "decisions", func(r ledger.Record) {
		switch {
		case r.Tick != nil:
			for _, rule := range r.Tick.Rules {
				if n := len(looks[rule]); n == 0 || looks[rule][n-1] != r.Tick.T1 {
					looks[rule] = append(looks[rule], r.Tick.T1)
				}
			}
		case r.Decision != nil:
			d := r.Decision
			person := w.app.Writer.Canonical(d.Person)
			t := owners[person]
			if t == nil {
				return
			}
			row := newRow(t, names[person], d)
			row.locales = w.locales(d)
			out[t] = append(out[t], row)
			byEntry[d.Entry] = append(byEntry[d.Entry], row)
		}
	})
	if err != nil {
		return nil, nil, err
	}
	err = w.replay(ctx, "deliveries", func(r ledger.Record) {
		if r.Delivery != nil {
			for _, row := range byEntry[r.Delivery.Entry] {
				row.delivered(r.Delivery)
			}
		}
	})
	for _, rows := range out {
		for _, row := range rows {
			row.ordered()
		}
		slices.SortStableFunc(rows, func(a, b *Row) int {
			return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.User, b.User), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Value, b.Value))
		})
	}
	for _, at := range looks {
		slices.Sort(at)
	}
	return out, looks, err
}

func (w *world) replay(ctx context.Context, name string, fn func(ledger.Record)) error {
	log, err := w.app.Queue.Log(ctx, name)
	if err != nil {
		return err //nolint:wrapcheck // says what it was doing
	}
	err = log.Replay(ctx, -1, 0, func(m queue.Record) error {
		chunk, err := ledger.DecodeChunk(m.Data)
		if err != nil {
			return fmt.Errorf("message %d: %w", m.Seq, err)
		}
		for _, r := range chunk.Records {
			fn(r)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read what was decided: %w", err)
	}
	return nil
}

// recorder stands for every channel: it takes what it is given and remembers it.
type recorder struct {
	mu  sync.Mutex
	all []channels.Message
}

// Send implements channels.Channel.
func (r *recorder) Send(_ context.Context, batch []channels.Message) []channels.Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	results := make([]channels.Result, len(batch))
	for i, m := range batch {
		r.all = append(r.all, m)
		results[i].ProviderID = "test-" + strconv.Itoa(len(r.all))
	}
	return results
}

func (r *recorder) messages() []channels.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

func (r *recorder) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.all)
}

// routes lead every channel of the workspace to the recorder, which needs of a person what the
// channel's own adapters need.
func (r *recorder) routes(ws *workspace.Workspace) map[string]send.Route {
	out := map[string]send.Route{}
	for _, c := range ws.Channels {
		p := ws.Policy.Channels[c.Name]
		spec := channels.Spec{
			Name: "test", Kind: c.Kind, About: "Remembers messages, in rule tests.", Needs: p.Needs, Platforms: p.Platforms,
			Batch: 100, Concurrency: 4, Repeat: channels.RepeatHarmless, Any: true,
			New: func(channels.Options) (channels.Channel, error) { return r, nil },
		}
		out[c.Name] = send.Route{Providers: []send.Provider{{Name: c.Name, Spec: spec, Channel: r}}}
	}
	return out
}

// Row is one row of the ledger about somebody of a test, with what was sent because of it.
type Row struct {
	At       string         `json:"at"`   // after the start: "1h5m"
	Time     time.Time      `json:"time"` // the same instant, on the workspace's clock
	User     string         `json:"user"`
	Rule     string         `json:"rule"`
	Value    string         `json:"value,omitempty"` // of the entry, under for_each or on: {by}
	Reason   ledger.Reason  `json:"reason"`
	By       string         `json:"by,omitempty"`  // the rule or cap that won, or the stage's detail
	Due      string         `json:"due,omitempty"` // when it is tried again, after the start; of a send when the next channel is used
	Variant  string         `json:"variant,omitempty"`
	Channels []string       `json:"channels,omitempty"`
	Sent     []Sent         `json:"sent,omitempty"`
	With     map[string]any `json:"with,omitempty"` // the values of the rule's with

	at, due int64
	test    *Test
	locales map[string]string // of the texts, by channel, where it is one of several
}

// Sent is what became of one message.
type Sent struct {
	Channel string         `json:"channel"`
	Status  ledger.Status  `json:"status"`
	Error   string         `json:"error,omitempty"`
	Locale  string         `json:"locale,omitempty"` // of the text, where the rule has it in several and this one was theirs
	Text    map[string]any `json:"text,omitempty"`   // the message's fields, as sent
}

// locales are the languages in which a decision's messages are made, by channel; those without a choice are not in it.
func (w *world) locales(d *ledger.Decision) map[string]string {
	out := map[string]string{}
	profile, err := render.Profile(d.Profile)
	if d.Reason != ledger.Send || err != nil || profile == nil {
		return out
	}
	for _, r := range w.app.Workspace().Rules {
		if r.Name != d.Rule {
			continue
		}
		for _, channel := range d.Channels {
			if m, ok := r.MessageOf(d.Variant, channel); ok {
				out[channel] = m.For(profile.Locale).Locale
			}
		}
	}
	return out
}

func newRow(t *Test, user string, d *ledger.Decision) *Row {
	row := &Row{
		At: offset(d.At, t.Start), Time: time.UnixMilli(d.At).In(t.zone), User: user, Rule: d.Rule, Value: t.strip(d.Value), Reason: d.Reason,
		By: t.strip(d.By), Variant: d.Variant, Channels: d.Channels, With: d.With, at: d.At, due: d.Due, test: t,
	}
	if d.Due != 0 {
		row.Due = offset(d.Due, t.Start)
	}
	return row
}

// sends says that the row sends something.
func (r *Row) sends() bool { return r.Reason == ledger.Send && len(r.Channels) > 0 }

// delivered notes an outcome of a message; of each channel the last one stands.
func (r *Row) delivered(d *ledger.Delivery) {
	if r.Reason != ledger.Send || d.Status == ledger.Intent || !slices.Contains(r.Channels, d.Channel) {
		return
	}
	s := Sent{Channel: d.Channel, Status: d.Status, Error: r.test.strip(d.Error), Locale: r.locales[d.Channel]}
	if len(d.Text) > 0 && json.Unmarshal([]byte(r.test.strip(string(d.Text))), &s.Text) != nil {
		s.Text = nil
	}
	if i := slices.IndexFunc(r.Sent, func(x Sent) bool { return x.Channel == d.Channel }); i >= 0 {
		if s.Text == nil {
			s.Text = r.Sent[i].Text
		}
		r.Sent[i] = s
		return
	}
	r.Sent = append(r.Sent, s)
}

// ordered puts the messages in the order in which the rule has their channels: the channels send at once, and
// any of them may be the first to be done.
func (r *Row) ordered() {
	slices.SortFunc(r.Sent, func(a, b Sent) int {
		return cmp.Compare(slices.Index(r.Channels, a.Channel), slices.Index(r.Channels, b.Channel))
	})
}

// strip takes the test's prefix out of a text.
func (t *Test) strip(text string) string { return strings.ReplaceAll(text, t.prefix, "") }

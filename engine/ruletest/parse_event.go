package ruletest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"nudge/events"
	"nudge/internal/suggest"
	"nudge/rules"
	"nudge/rules/yamlfile"
)

// source is the name of the write key that the events of tests come by.
const source = "test"

// verbs are the kinds of event, as the full form's key and the terse form's third word. A terse form
// without one is a track call.
var verbs = []string{"track", "page", "screen", "identify", "alias", "device", "consent", "opened", "clicked"}

// happening is one item of `events`, taken apart.
type happening struct {
	node  *yamlfile.Node // of the item, for findings
	times []int64
	user  string
	verb  string
	// name is of the event, the page, the previous id or the rule; text is the node it stands in.
	name word
	text *yamlfile.Node
	// value is properties, traits, a device or a consent; nil for none.
	value     *yamlfile.Node
	context   *yamlfile.Node
	arrives   *yamlfile.Node
	anonymous string
	id        string
	secret    bool
	offPlan   bool
}

// event reads one item of `events`.
func (p *parser) event(n *yamlfile.Node) {
	h := happening{node: n}
	ok := false
	if text, value, short := terse(n); short {
		ok = p.terseEvent(&h, text, value)
	} else {
		ok = p.fullEvent(&h, n)
	}
	if !ok {
		return
	}
	p.use(h.user)
	if h.verb == "opened" || h.verb == "clicked" {
		p.report(h)
		return
	}
	for _, at := range h.times {
		p.happen(h, at)
	}
}

// terseEvent reads `TIME USER [VERB] NAME`, alone or with a value behind a colon.
func (p *parser) terseEvent(h *happening, n, value *yamlfile.Node) bool {
	ws := words(n.Text)
	if len(ws) < 3 {
		p.r.Report(n, "bad-event", "Write when, who and what: `10m ann Product Added: {cart_id: a}`.", "%q is not an event", n.Text)
		return false
	}
	var ok bool
	if h.times, ok = p.repeat(n, ws[0].from, ws[0].to); !ok {
		return false
	}
	h.user, h.verb, h.text, h.value = ws[1].text, "track", n, value
	named := 2
	if slices.Contains(verbs, ws[2].text) {
		h.verb, named = ws[2].text, 3
	}
	h.name = rest(n.Text, ws, named)
	if value != nil && value.Kind == yamlfile.Null {
		p.r.Report(n, "empty", "Give it a value or leave the colon out.", "there is nothing behind the colon")
		return false
	}
	if h.name.text == "" && slices.Contains([]string{"track", "alias", "opened", "clicked"}, h.verb) {
		p.r.Report(n, "bad-event", "", "%q does not say what", n.Text)
		return false
	}
	if h.verb == "device" && h.name.text != "" && value == nil {
		h.value = n // `10m ann device ios`
	}
	return true
}

// fullEvent reads `{at, user, track: NAME, properties, …}`.
func (p *parser) fullEvent(h *happening, n *yamlfile.Node) bool {
	if n.Kind != yamlfile.Map {
		p.r.Report(n, "wrong-type", "Write when, who and what: `10m ann Product Added: {cart_id: a}`.", "expected an event, found %s", n.Kind)
		return false
	}
	f := p.r.Fields(n)
	at := f.Must("at", timeHelp)
	h.user = p.r.Text(f.Must("user", "Say who."))
	for _, v := range verbs {
		node := f.Get(v)
		if node == nil {
			continue
		}
		if h.verb != "" {
			p.r.Report(node.Key, "conflict", "An event is one of them.", "%q and %q stand together", h.verb, v)
			return false
		}
		h.verb, h.text = v, node
		switch v {
		case "identify", "device", "consent":
			h.value = node
		default:
			h.name = word{p.r.Text(node), 0, len(node.Text)}
		}
	}
	if properties := f.Get("properties"); properties != nil {
		if !slices.Contains([]string{"track", "page", "screen"}, h.verb) {
			p.r.Report(properties.Key, "conflict", "", "only track, page and screen have properties")
		}
		h.value = properties
	}
	h.context, h.arrives = f.Get("context"), f.Get("arrives")
	if a := f.Get("anonymous"); a != nil {
		h.anonymous = p.r.Text(a)
		p.use(h.anonymous).anonymous = true
	}
	if id := f.Get("id"); id != nil {
		h.id = p.r.Text(id)
	}
	h.secret = p.r.Bool(f.Get("secret"), false)
	h.offPlan = p.r.Bool(f.Get("off_plan"), false)
	f.Done()
	if h.verb == "" {
		p.r.Report(n, "bad-event", "", "the event does not say what happened: give one of %s", strings.Join(verbs, ", "))
		return false
	}
	if at == nil || h.user == "" {
		return false
	}
	var ok bool
	h.times, ok = p.repeat(at, 0, len(at.Text))
	return ok
}

// repeat reads a time, or a stretch with a step, in a node's text.
func (p *parser) repeat(n *yamlfile.Node, from, to int) ([]int64, bool) {
	times, err := parseRepeat(n.Text[from:to], p.t.Start, p.t.zone)
	if err != nil || n.Kind != yamlfile.String {
		p.badTime(n, from, to, err)
		return nil, false
	}
	return times, true
}

// report reads that a message was opened or clicked.
func (p *parser) report(h happening) {
	r := p.ruleAt(h.text, h.name.from, h.name.to)
	if h.value != nil {
		p.r.Report(h.value, "conflict", "", "a report that a message was %s has no properties", h.verb)
	}
	for _, at := range h.times {
		if at <= p.t.Start {
			p.r.Report(h.node, "bad-time", "", "nothing was sent before the start that could be %s", h.verb)
			return
		}
		p.reached(at, h.node)
		if r != nil {
			p.t.arrivals = append(p.t.arrivals, arrival{at: at, report: &report{user: h.user, rule: r.Name, what: h.verb, node: h.node}})
		}
	}
}

// happen makes an event that happens at an instant.
func (p *parser) happen(h happening, at int64) {
	arrives := max(at, p.t.Start)
	history := at < p.t.Start
	if h.arrives != nil {
		v, ok := p.time(h.arrives, 0, len(h.arrives.Text))
		if !ok {
			return
		}
		if v < p.t.Start {
			p.r.Report(h.arrives, "bad-time", "What arrived before the start needs no `arrives`.", "the event arrives before the test starts")
			return
		}
		arrives, history = v, false
	}
	ev, ok := p.make(h, at, arrives, history)
	if !ok {
		return
	}
	ev.Time, ev.ReceivedAt = at, arrives
	if history {
		ev.Flags |= events.Imported
	}
	p.reached(arrives, h.node)
	p.t.arrivals = append(p.t.arrivals, arrival{at: arrives, history: history, event: ev})
}

func (p *parser) make(h happening, at, arrives int64, history bool) (events.Event, bool) {
	switch h.verb {
	case "device":
		if h.value == nil {
			p.r.Report(h.node, "bad-event", "Write `device ios`, or `device: {platform: ios, token: t1}`.", "the event does not say which device")
			return events.Event{}, false
		}
		if h.value == h.text && h.text.Kind == yamlfile.String && h.name.text != "" {
			return p.platform(h.user, h.text, h.name)
		}
		return p.device(h.user, h.value)
	case "consent":
		if h.value == nil {
			p.r.Report(h.node, "bad-event", "Write `consent: {channel: push, granted: false}`.", "the event does not say which consent")
			return events.Event{}, false
		}
		return p.consent(h.user, h.value)
	}
	call := map[string]json.RawMessage{"timestamp": mustJSON(time.UnixMilli(at).UTC().Format(time.RFC3339Nano)), "received": mustJSON(arrives)}
	kind := events.KindTrack
	body := "properties"
	switch h.verb {
	case "track":
		call["event"] = mustJSON(h.name.text)
		if !p.nameKnown(h) {
			h.offPlan = true // one cause, one finding
		}
	case "page", "screen":
		kind = events.KindPage
		if h.verb == "screen" {
			kind = events.KindScreen
		}
		call["name"] = mustJSON(h.name.text)
	case "identify":
		kind, body = events.KindIdentify, "traits"
	case "alias":
		kind, body = events.KindAlias, ""
		call["previousId"] = mustJSON(p.t.id(h.name.text))
		p.use(h.name.text)
	}
	if h.value != nil {
		if body == "" {
			p.r.Report(h.value, "conflict", "", "an alias has no properties")
			return events.Event{}, false
		}
		call[body] = p.object(h.value)
	}
	if h.context != nil {
		call["context"] = p.object(h.context)
	}
	if h.anonymous != "" {
		call["anonymousId"] = mustJSON(p.t.id(h.anonymous))
	}
	if h.id != "" {
		call["messageId"] = mustJSON(p.t.id(h.id))
	}
	ev, ok := p.normalise(h.user, kind, call, h.node, h.value, h.offPlan)
	if h.secret && kind == events.KindAlias {
		ev.Flags |= events.KnownAlias
	}
	return ev, ok
}

// nameKnown reports an event that neither the plan declares nor a rule reads: a slip of the pen would
// make every promise of silence come true.
func (p *parser) nameKnown(h happening) bool {
	name, plan := h.name.text, p.l.ws.Plan
	if h.offPlan || name == events.LocationUpdated || plan == nil && p.l.read[name] {
		return true
	}
	var names []string
	for e := range p.l.read {
		names = append(names, e)
	}
	what := "no rule reads an event %q"
	if plan != nil {
		if _, declared := plan.Events[name]; declared {
			return true
		}
		what = "the tracking plan does not declare the event %q"
		for e := range plan.Events {
			names = append(names, e)
		}
	}
	f := h.text.FindingIn(h.name.from, h.name.to, "test/unknown-event", fmt.Sprintf(what, name))
	f.Suggest = suggest.Nearest(name, names)
	f.Detail = "If it is meant, write the full form with `off_plan: true`."
	p.r.Add(f)
	return false
}

// normalise takes a call the way of the endpoint: normal form, then the tracking plan.
func (p *parser) normalise(user string, kind events.Kind, call map[string]json.RawMessage, at, value *yamlfile.Node, offPlan bool) (events.Event, bool) {
	p.messages++
	c := events.Call{Source: source, ReceivedAt: p.t.Start}
	if raw, ok := call["received"]; ok {
		if err := json.Unmarshal(raw, &c.ReceivedAt); err != nil {
			return events.Event{}, false
		}
		delete(call, "received")
	}
	id := "userId"
	if p.use(user).anonymous {
		id = "anonymousId"
	}
	call[id] = mustJSON(p.t.id(user))
	if _, given := call["messageId"]; !given {
		call["messageId"] = mustJSON(fmt.Sprintf("%sm%d", p.t.prefix, p.messages))
	}
	ev, err := events.Normalise(mustJSON(call), kind, c)
	if err != nil {
		p.r.Report(at, "refused-event", "It never reaches a rule.", "the endpoint refuses the event: %v", err)
		return ev, false
	}
	if refused := p.l.ws.Plan.Apply(&ev); refused != "" {
		p.r.Report(at, "refused-event", "It never reaches a rule.", "the endpoint refuses the event: %s", refused)
		return ev, false
	}
	switch {
	case len(ev.Violations) > 0 && !offPlan && kind != events.KindPage && kind != events.KindScreen:
		for _, objection := range ev.Violations {
			p.r.Report(objected(objection, at, value), "off-plan", "Put it right, or write the full form with `off_plan: true` if that is what is tested.",
				"the tracking plan objects: %s", objection)
		}
	case len(ev.Violations) == 0 && offPlan && p.l.ws.Plan != nil:
		p.r.Report(at, "off-plan", "Leave `off_plan` out.", "the tracking plan has nothing against this event")
	}
	return ev, true
}

// objected is the key that an objection of the plan is about, else the event as a whole.
func objected(objection string, at, value *yamlfile.Node) *yamlfile.Node {
	for _, body := range []string{"properties.", "traits."} {
		if path, ok := strings.CutPrefix(objection, body); ok {
			name, _, _ := strings.Cut(path, " ")
			if v := value.Get(name); v != nil && v.Key != nil {
				return v.Key
			}
		}
	}
	return at
}

// device reads a platform, or `{platform, token, app, environment, removed}`.
func (p *parser) device(user string, n *yamlfile.Node) (events.Event, bool) {
	if n.Kind == yamlfile.String {
		return p.platform(user, n, word{n.Text, 0, len(n.Text)})
	}
	f := p.r.Fields(n)
	c := events.DeviceChange{Platform: p.r.OneOf(f.Must("platform", "Say ios, android or web."), platforms...)}
	c.Token = c.Platform
	if token := f.Get("token"); token != nil {
		c.Token = p.r.Text(token)
	}
	c.Token = p.t.id(user + "-" + c.Token)
	if app := f.Get("app"); app != nil {
		c.App = p.r.Text(app)
	}
	c.Environment = p.r.OneOf(f.Get("environment"), "production", "sandbox")
	if c.Removed = p.r.Bool(f.Get("removed"), false); c.Removed {
		c.Reason = "app"
	}
	f.Done()
	return p.record(user, events.KindDevice, c), c.Platform != ""
}

var platforms = []string{"ios", "android", "web"}

// platform is a device of which only the platform is said.
func (p *parser) platform(user string, n *yamlfile.Node, w word) (events.Event, bool) {
	if !slices.Contains(platforms, w.text) {
		f := n.FindingIn(w.from, w.to, "test/bad-value", fmt.Sprintf("%q is not one of %s", w.text, strings.Join(platforms, ", ")))
		f.Suggest = suggest.Nearest(w.text, platforms)
		p.r.Add(f)
		return events.Event{}, false
	}
	return p.record(user, events.KindDevice, events.DeviceChange{Token: p.t.id(user + "-" + w.text), Platform: w.text}), true
}

// consent reads `{channel, category, granted}`.
func (p *parser) consent(user string, n *yamlfile.Node) (events.Event, bool) {
	f := p.r.Fields(n)
	var c events.ConsentChange
	if ch := f.Get("channel"); ch != nil {
		c.Channel = p.r.OneOf(ch, p.l.channels()...)
	}
	if cat := f.Get("category"); cat != nil {
		c.Category = p.r.OneOf(cat, p.l.categories()...)
	}
	granted := f.Must("granted", "Say true or false.")
	c.Granted = p.r.Bool(granted, false)
	f.Done()
	return p.record(user, events.KindConsent, c), granted != nil
}

// record is an event that nudge's own API writes.
func (p *parser) record(user string, kind events.Kind, change any) events.Event {
	p.messages++
	ev := events.Event{
		Kind: kind, MessageID: fmt.Sprintf("%sm%d", p.t.prefix, p.messages), Source: source,
		Properties: mustJSON(change), Raw: []byte(`{}`),
	}
	if p.use(user).anonymous {
		ev.AnonymousID = p.t.id(user)
	} else {
		ev.UserID = p.t.id(user)
	}
	return ev
}

// date puts the set-up before everything else, and all in order of arrival.
func (p *parser) date() {
	t := p.t
	first := t.Start
	for _, a := range t.arrivals {
		if a.report == nil {
			first = min(first, a.event.Time)
		}
	}
	slices.SortStableFunc(t.arrivals, func(a, b arrival) int {
		if a.history && b.history {
			return cmp.Compare(a.event.Time, b.event.Time)
		}
		return cmp.Compare(a.at, b.at)
	})
	var setup []arrival
	for _, ev := range p.setup {
		ev.Time, ev.ReceivedAt = first-1, t.Start
		ev.Flags |= events.Imported
		setup = append(setup, arrival{at: t.Start, history: true, event: ev})
	}
	t.arrivals = append(setup, t.arrivals...)
}

func (l *loader) channels() []string {
	var out []string
	for _, c := range l.ws.Channels {
		out = append(out, c.Name)
	}
	return out
}

// categories are those that some rule has: a consent for another could have no effect.
func (l *loader) categories() []string {
	out := []string{rules.Promotional, rules.Transactional}
	for _, r := range l.ws.Rules {
		if !slices.Contains(out, r.Category) {
			out = append(out, r.Category)
		}
	}
	return out
}

package rules

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"nudge/events"
	"nudge/internal/suggest"
	"nudge/rules/yamlfile"
)

// Options is what a rule file is read against.
type Options struct {
	// Zone is the workspace's, for `start` and `end`; nil is UTC.
	Zone *time.Location
	// Locale of the texts that messages have without one, a BCP 47 tag; "" where nobody says.
	Locale string
	// Channels that a message may name.
	Channels []ChannelSpec
	// Categories beside promotional and transactional.
	Categories []string
	// Plan declares the traits that templates may print; nil allows every one.
	Plan *events.Plan
	// WithoutLinks says that nudge.yaml has no base_url, and messages therefore no links of ours.
	WithoutLinks bool
	// Broadcast says that the file is one of broadcasts/.
	Broadcast bool
	// ReadFile reads a template's file, by its path within the workspace.
	ReadFile func(path string) ([]byte, error)
}

// Defaults of a rule file.
const (
	DefaultPriority = 50
	DefaultExpire   = 24 * time.Hour
	DefaultMaxAge   = time.Hour
	DefaultWithin   = 7 * 24 * time.Hour
)

// ParseRule reads one rule file and finds everything that is wrong with it, short of what its
// expressions mean. The rule is nil when nothing usable was in the file; with error findings it is
// only good for checking further.
func ParseRule(path string, src []byte, o Options) (*Rule, []Finding) {
	doc, broken := yamlfile.Parse(path, src)
	p := &ruleParser{r: yamlfile.NewReader("rule"), o: o, rule: &Rule{File: path, Broadcast: o.Broadcast, Source: map[string]*yamlfile.Node{}}, keys: map[string]*yamlfile.Node{}}
	if p.o.Zone == nil {
		p.o.Zone = time.UTC
	}
	if len(broken) > 0 && doc.Root.Kind != yamlfile.Map {
		return nil, broken
	}
	if doc.Root.Kind == yamlfile.Null {
		p.r.Report(doc.Root, "empty-file", "A rule file begins with `rule: its-name`.", "the file holds no rule")
		return nil, p.r.Findings()
	}
	p.parse(doc.Root)
	p.rule.Version = hash(doc.Root, p.files, "about", "owner", "silence", "pause_when")
	p.rule.Hash = hashOfMessage(doc.Root, p.files)
	if p.rule.Name == "" {
		return nil, append(broken, p.r.Findings()...)
	}
	return p.rule, append(broken, p.r.Findings()...)
}

// ruleParser reads one file.
type ruleParser struct {
	r     *yamlfile.Reader
	o     Options
	rule  *Rule
	files []string                  // texts of template files, in the order of use
	keys  map[string]*yamlfile.Node // of message: the channels' keys
}

// nameForm is the form of names of rules and segments: they are in streams, in metrics and on
// command lines.
var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,99}$`)

// name reads a rule's or segment's name.
func name(r *yamlfile.Reader, n *yamlfile.Node) string {
	s := r.Text(n)
	if s == "" {
		return ""
	}
	if !nameForm.MatchString(s) {
		f := n.Finding("rule/bad-name", fmt.Sprintf("%q is not a name", s))
		f.Detail = "Names are small letters, digits, - and _, at most 100: they stand in reports and on command lines."
		if better := strings.Trim(notInName.ReplaceAllString(strings.ToLower(s), "-"), "-_"); nameForm.MatchString(better) {
			f.Suggest = better
		}
		r.Add(f)
	}
	return s
}

var notInName = regexp.MustCompile(`[^a-z0-9_-]+`)

func (p *ruleParser) parse(root *yamlfile.Node) {
	r, rule := p.r, p.rule
	f := r.Fields(root)
	nameNode := f.Must("rule", "A rule is its name: begin the file with `rule: its-name`.")
	rule.Name = name(r, nameNode)
	rule.Source["rule"] = nameNode
	r.SetRule(rule.Name)
	rule.About = r.Text(f.Get("about"))
	rule.Owner = r.Text(f.Get("owner"))
	rule.Category = Promotional
	if n := f.Get("category"); n != nil {
		rule.Category = r.OneOf(n, append([]string{Promotional, Transactional}, p.o.Categories...)...)
	}
	rule.Priority = int(r.Int(f.Get("priority"), DefaultPriority, 0, 100))

	if digest := f.Get("digest"); digest != nil || f.Has("digest") {
		p.digest(f, digest)
	} else {
		p.occasion(f)
		p.period(f)
		p.condition(f)
		p.again(f)
	}
	p.exits(f.Get("exit"))
	p.goal(f.Get("goal"))
	p.with(f.Get("with"))

	holdout := f.Get("holdout")
	rule.Holdout = r.Percent(holdout, 0)
	if holdout != nil && rule.Transactional() {
		r.Warn(holdout, "no-effect", "A delivery notice is for everyone it concerns.", "a transactional rule has no holdout")
	}
	rule.Rollout = r.Percent(f.Get("rollout"), 1)
	rule.Shadow = r.Bool(f.Get("shadow"), false)
	rule.PauseWhen = pauseWhen(r, f.Get("pause_when"))

	deliver := f.Get("deliver")
	p.deliver(deliver)
	rule.Urgent = r.Bool(f.Get("urgent"), false)
	if n := f.Get("devices"); n != nil {
		rule.LatestDevice = r.OneOf(n, "all", "latest") == "latest"
	}
	p.whenBlocked(f.Get("when_blocked"))
	rule.WhileHeld = Recheck
	if rule.On != nil || rule.Digest != "" {
		rule.WhileHeld = Keep
	}
	if n := f.Get("while_held"); n != nil {
		rule.WhileHeld = WhileHeld(r.OneOf(n, string(Recheck), string(Keep)))
	}
	expire := f.Get("expire")
	rule.Expire, rule.SaysExpire = r.Duration(expire, DefaultExpire), expire != nil
	p.messages(f, f.Get("message"), f.Get("variants"))
	if to := rule.Channels(); rule.Deliver == DeliverEscalate && len(to) == 1 {
		r.Warn(deliver, "no-effect", "Name a second channel under `message`, or leave `deliver` out.", "there is nothing to escalate to: %s is the only channel", to[0])
	}
	p.collects()
	rule.Silences = ReadSilences(r, f.Get("silence"))
	f.Done()
}

// text reads an expression and notes its place.
func (p *ruleParser) text(part string, n *yamlfile.Node) string {
	s := p.r.Text(n)
	if s != "" {
		p.rule.Source[part] = n
	}
	return s
}

// occasion reads what makes the rule be looked at: exactly one of schedule, at and on.
func (p *ruleParser) occasion(f *yamlfile.Fields) {
	r := p.r
	schedule, at, on := f.Get("schedule"), f.Get("at"), f.Get("on")
	var given []*yamlfile.Node
	for _, n := range []*yamlfile.Node{schedule, at, on} {
		if n != nil {
			given = append(given, n)
		}
	}
	if p.rule.Broadcast {
		p.broadcast(f, schedule, at, on)
		return
	}
	switch {
	case len(given) == 0 && !f.Has("schedule") && !f.Has("at") && !f.Has("on") && f.Node() != nil:
		r.Report(p.place(f), "missing-key", "Say when to look: `schedule: \"*/5 * * * *\"`, `at: 2026-12-24 09:00`, or `on: {event: …}`.",
			"the rule has none of schedule, at and on")
	case len(given) > 1:
		for _, n := range given[1:] {
			r.Report(n.Key, "conflict", "Keep one: a rule is looked at by the clock or at each event.",
				"a rule has one of schedule, at and on; this one has %q too", given[0].Key.Text)
		}
	}
	switch {
	case on != nil:
		p.on(on)
	case schedule != nil:
		p.schedule(schedule)
	case at != nil:
		p.at(at)
	}
}

// broadcast reads when a broadcast is sent.
func (p *ruleParser) broadcast(f *yamlfile.Fields, schedule, at, on *yamlfile.Node) {
	const detail = "Write `at: 2026-12-24 09:00`. What is sent again and again, or at an event, is a rule: move the file to rules/."
	for _, n := range []*yamlfile.Node{schedule, on} {
		if n != nil {
			p.r.Report(n.Key, "conflict", detail, "a broadcast is sent once and has no %q", n.Key.Text)
		}
	}
	switch {
	case at != nil:
		p.at(at)
	case !f.Has("at") && schedule == nil && on == nil && f.Node() != nil:
		p.r.Report(p.place(f), "missing-key", detail, `"at" is missing`)
	}
}

// place is where to report what the rule lacks: its name.
func (p *ruleParser) place(f *yamlfile.Fields) *yamlfile.Node {
	if n := p.rule.Source["rule"]; n != nil {
		return n
	}
	return f.Node()
}

func (p *ruleParser) on(n *yamlfile.Node) {
	on := &On{MaxAge: DefaultMaxAge}
	p.rule.On = on
	if n.Kind == yamlfile.String {
		on.Event = p.text("on", n)
		return
	}
	f := p.r.Fields(n)
	on.Event = p.text("on", f.Must("event", "Name the event that sets the rule off."))
	on.Where = p.text("on.where", f.Get("where"))
	on.By = property(p.text("on.by", f.Get("by")))
	on.MaxAge = p.r.Duration(f.Get("max_age"), DefaultMaxAge)
	f.Done()
}

// property completes the path of a property: "parcel_id" is "properties.parcel_id".
func property(path string) string {
	if path == "" || strings.HasPrefix(path, "properties.") || strings.HasPrefix(path, "context.") {
		return path
	}
	return "properties." + path
}

func (p *ruleParser) period(f *yamlfile.Fields) {
	start, end := f.Get("start"), f.Get("end")
	if t, ok := p.localTime(start); ok {
		p.rule.Start = t.In(p.o.Zone)
	}
	if t, ok := p.localTime(end); ok {
		p.rule.End = t.In(p.o.Zone)
		if p.rule.Start >= p.rule.End {
			p.r.Report(end, "bad-period", "", "the rule ends before it starts")
		}
	}
	if minutes, ok := p.r.TimeOfDay(f.Get("send_at")); ok {
		t := TimeOfDay(minutes)
		p.rule.SendAt = &t
	}
}

func (p *ruleParser) condition(f *yamlfile.Fields) {
	r, rule := p.r, p.rule
	forEach, when, backfill := f.Get("for_each"), f.Get("when"), f.Get("backfill")
	rule.ForEach = p.text("for_each", forEach)
	if forEach != nil && rule.On != nil {
		r.Report(forEach.Key, "conflict", "Use `on: {event: …, by: property}`: then each value is an entry of its own.",
			"a rule with `on` has no for_each")
	}
	switch {
	case when != nil && when.Kind == yamlfile.Bool:
		rule.When = when.Text
		rule.Source["when"] = when
	case when != nil:
		rule.When = p.text("when", when)
	case rule.On != nil && !f.Has("when"):
		rule.When = "true" // the event alone is the condition
	case !f.Has("when") && f.Node() != nil:
		r.Report(p.place(f), "missing-key", "Say for whom: `when: did(\"Product Added\").within(days(1))`.", `"when" is missing`)
	}
	rule.Backfill = r.Bool(backfill, rule.Broadcast)
	if rule.Broadcast && !rule.Backfill {
		r.Report(backfill, "conflict", "Leave it out.", "a broadcast without backfill would be sent to nobody")
	}
	if backfill != nil && rule.On != nil {
		r.Warn(backfill.Key, "no-effect", "It hears what arrives from now on.", "a rule with `on` has no first look to backfill")
	}
}

func (p *ruleParser) again(f *yamlfile.Fields) {
	r := p.r
	if p.rule.Broadcast {
		p.rule.Again = Again{Mode: AgainNever}
		if n := f.Get("again"); n != nil && (n.Kind != yamlfile.String || n.Text != string(AgainNever)) {
			r.Report(n, "conflict", "Write never, or leave it out.", "a broadcast is sent to nobody twice")
		}
		return
	}
	n := f.Must("again", "Say whether one person can get it more than once: never, each_time, every_tick or {after: 7d}.")
	if n == nil {
		return
	}
	if n.Kind == yamlfile.Map {
		g := r.Fields(n)
		p.rule.Again = Again{AgainAfter, r.Duration(g.Must("after", "Write {after: 7d}."), 0)}
		g.Done()
		return
	}
	modes := []string{string(AgainNever), string(AgainEachTime), string(AgainEveryTick)}
	if n.Kind == yamlfile.String && !slices.Contains(modes, n.Text) { // as OneOf says it, and what is no word
		x := n.Finding("rule/bad-value", fmt.Sprintf("%q is not one of %s or {after: 7d}", n.Text, strings.Join(modes, ", ")))
		x.Suggest = suggest.Nearest(n.Text, modes)
		r.Add(x)
		return
	}
	mode := AgainMode(r.OneOf(n, modes...))
	p.rule.Again = Again{Mode: mode}
	if mode == AgainEveryTick && p.rule.On != nil {
		r.Report(n, "conflict", "Use each_time: once for each occurrence.", "a rule with `on` has no ticks")
	}
}

func (p *ruleParser) exits(n *yamlfile.Node) {
	if n == nil {
		return
	}
	if n.Kind != yamlfile.List {
		p.rule.Exits = append(p.rule.Exits, p.exit("exit", n))
		return
	}
	for i, item := range n.Items {
		p.rule.Exits = append(p.rule.Exits, p.exit(fmt.Sprintf("exit[%d]", i), item))
	}
}

func (p *ruleParser) exit(part string, n *yamlfile.Node) Exit {
	if n.Kind == yamlfile.String {
		return Exit{Event: p.text(part, n)}
	}
	f := p.r.Fields(n)
	x := Exit{
		Event: p.text(part, f.Must("event", "Name the event that ends the entry.")),
		Where: p.text(part+".where", f.Get("where")),
		Since: p.text(part+".since", f.Get("since")),
	}
	f.Done()
	return x
}

func (p *ruleParser) goal(n *yamlfile.Node) {
	if n == nil {
		return
	}
	f := p.r.Fields(n)
	p.rule.Goal = &Goal{
		Event:  p.text("goal", f.Must("event", "Name the event that the message should lead to.")),
		Where:  p.text("goal.where", f.Get("where")),
		Within: p.r.Duration(f.Get("within"), DefaultWithin),
		Value:  property(p.text("goal.value", f.Get("value"))),
	}
	f.Done()
}

var (
	withName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	// reserved are names that mean something else in conditions or in templates.
	reserved = []string{
		"user", "message", "it", "trigger", "entry", "now", "local", "everyone", "event", "did", "segment", "near", "inside", "forloop",
		"true", "false", "nil", "and", "or", "not", "in", "contains", "matches", "let", "has", "_zone",
	}
)

// Reserved are the words that `with` cannot name a value: they mean something in conditions or in messages.
func Reserved() []string { return slices.Clone(reserved) }

func (p *ruleParser) with(n *yamlfile.Node) {
	for _, pair := range p.r.Entries(n) {
		key, value := pair.Key, pair.Value
		switch {
		case !withName.MatchString(key.Text):
			p.r.Report(key, "bad-name", "Letters, digits and _, a letter first: messages use it as {{ name }}.", "%q is not a name", key.Text)
			continue
		case value.Kind == yamlfile.Null:
			p.r.Report(key, "empty", "Give it an expression or leave it out.", "%q has no value", key.Text)
			continue
		case slices.Contains(reserved, key.Text):
			p.r.Report(key, "bad-name", "Choose another.", "%q means something else already", key.Text)
			continue
		}
		part := "with." + key.Text
		text := value.Text
		switch value.Kind {
		case yamlfile.Int, yamlfile.Float, yamlfile.Bool:
			p.rule.Source[part] = value
		default:
			text = p.text(part, value)
		}
		p.rule.With = append(p.rule.With, Named{key.Text, text})
	}
}

func (p *ruleParser) deliver(n *yamlfile.Node) {
	p.rule.Deliver = DeliverFirst
	if n == nil {
		return
	}
	const how = "Write `deliver: {escalate: 2h}`: the next channel is used when the message is not opened two hours after the first took it."
	words := []string{string(DeliverFirst), string(DeliverAll), string(DeliverPreferred)}
	switch {
	case n.Kind == yamlfile.Map:
		f := p.r.Fields(n)
		p.rule.Deliver, p.rule.EscalateAfter = DeliverEscalate, p.r.Duration(f.Must("escalate", how), 0)
		f.Done()
	case n.Text == string(DeliverEscalate):
		p.r.Report(n, "bad-value", how, "escalate does not say after how long")
	case n.Kind == yamlfile.String && !slices.Contains(words, n.Text): // as OneOf says it, and what is no word
		x := n.Finding("rule/bad-value", fmt.Sprintf("%q is not one of %s or {escalate: 2h}", n.Text, strings.Join(words, ", ")))
		x.Suggest = suggest.Nearest(n.Text, words)
		p.r.Add(x)
	default:
		p.rule.Deliver = Deliver(p.r.OneOf(n, words...))
	}
}

func (p *ruleParser) whenBlocked(n *yamlfile.Node) {
	b := &p.rule.WhenBlocked
	*b = WhenBlocked{Outranked: Retry, NoAddress: Retry, NoConsent: Retry, QuietHours: Retry}
	if n == nil {
		return
	}
	actions := []string{string(Retry), string(Hold), string(Drop)}
	if n.Kind == yamlfile.String {
		a := Action(p.r.OneOf(n, actions...))
		*b = WhenBlocked{a, a, a, a, a}
		return
	}
	f := p.r.Fields(n)
	read := func(key string, into *Action, allowed ...string) {
		if v := f.Get(key); v != nil {
			if v.Text == string(Next) && !slices.Contains(allowed, string(Next)) {
				p.r.Report(v, "bad-value", "Without an address or a consent the next channel is tried anyhow.", "next is for frequency_cap only")
				return
			}
			*into = Action(p.r.OneOf(v, allowed...))
		}
	}
	read("frequency_cap", &b.FrequencyCap, append(actions, string(Next))...)
	read("outranked", &b.Outranked, actions...)
	read("no_address", &b.NoAddress, actions...)
	read("no_consent", &b.NoConsent, actions...)
	read("quiet_hours", &b.QuietHours, actions...)
	f.Done()
}

// variants reads what each arm of an experiment sends.
func (p *ruleParser) variants(n *yamlfile.Node, base []ChannelMessage) {
	if n == nil {
		return
	}
	pairs := p.r.Entries(n)
	if n.Kind == yamlfile.Map && len(pairs) < 2 {
		p.r.Report(n.Key, "bad-value", "With one alone nothing is compared: write `message` instead.", "variants are at least two")
	}
	for _, pair := range pairs {
		if !nameForm.MatchString(pair.Key.Text) {
			p.r.Report(pair.Key, "bad-name", "Small letters, digits, - and _.", "%q is not a name of a variant", pair.Key.Text)
		}
		v := Variant{Name: pair.Key.Text, Weight: 1, Message: base}
		if pair.Value.Kind != yamlfile.Null { // `control:` alone sends the rule's message
			f := p.r.Fields(pair.Value)
			v.Weight = int(p.r.Int(f.Get("weight"), 1, 1, math.MaxInt32))
			said := p.message(f.Get("message"))
			v.Message = merge(base, said, p.o.Locale)
			p.translated(base, said, v.Message)
			f.Done()
		}
		if len(v.Message) == 0 {
			p.r.Report(pair.Key, "missing-key", "Give it a `message`, or give the rule one that all variants share.", "the variant %q sends nothing", v.Name)
		}
		p.complete(pair.Key, v.Message)
		p.rule.Variants = append(p.rule.Variants, v)
	}
}

// merge lays what a file says over what all variants share; own is the locale of the texts without one.
func merge(base, over []ChannelMessage, own string) []ChannelMessage {
	out := slices.Clone(base)
	for _, m := range over {
		if i := slices.IndexFunc(out, func(b ChannelMessage) bool { return b.Channel == m.Channel }); i >= 0 {
			out[i] = m.over(out[i], own)
		} else {
			out = append(out, m.over(ChannelMessage{}, own))
		}
	}
	return out
}

// instead makes a finding with what was probably meant, or what there is.
func instead(n *yamlfile.Node, check, summary, have string, known []string) Finding {
	f := n.Finding(check, summary)
	f.Suggest = suggest.Nearest(n.Text, known)
	if f.Suggest == "" && len(known) > 0 {
		f.Detail = have + ": " + strings.Join(slices.Sorted(slices.Values(known)), ", ") + "."
	}
	return f
}

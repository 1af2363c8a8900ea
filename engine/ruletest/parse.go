package ruletest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"nudge/engine/decide"
	"nudge/engine/schedule"
	"nudge/engine/workspace"
	"nudge/events"
	"nudge/internal/suggest"
	"nudge/rules"
	"nudge/rules/yamlfile"
)

// parser reads one test.
type parser struct {
	l *loader
	r *yamlfile.Reader
	t *Test

	setup    []events.Event // of people, undated
	messages int            // ids of messages given out
	last     int64          // the newest event or expectation
	latest   *yamlfile.Node // and where it stands
}

func (p *parser) test(n *yamlfile.Node) {
	t := p.t
	if n.Kind != yamlfile.Map {
		p.r.Report(n, "wrong-type", "A file is a list of tests: `- name: …`.", "expected a test, found %s", n.Kind)
		return
	}
	f := p.r.Fields(n)
	t.Name = p.r.Text(f.Must("name", "Say in a few words what the test shows."))
	f.Get("about")
	t.Start = defaultStart(t.zone)
	if at := f.Get("start"); at != nil {
		p.start(at)
	}
	t.OthersAllowed = p.r.OneOf(f.Get("others"), "allowed", "refused") == "allowed"
	p.people(f.Get("people"))
	evs := f.Get("events")
	for _, item := range p.r.Items(evs) {
		p.event(item)
	}
	p.date()
	p.armsOf(f.Get("arms"))
	expect, silence := f.Get("expect"), f.Get("silence")
	for _, item := range p.r.Items(expect) {
		p.expectation(item)
	}
	until := f.Get("until")
	for _, item := range p.r.Items(silence) {
		p.silence(item, until != nil)
	}
	f.Done()
	if !f.Has("expect") && !f.Has("silence") {
		p.r.Report(n, "no-expectation", "Add `expect`, or `silence` where nothing may be sent.", "the test expects nothing")
	}
	if len(t.people) == 0 && !f.Has("events") && !f.Has("people") {
		p.r.Report(n, "no-people", "Add `people` or `events`.", "nobody is in the test")
	}
	p.until(until)
}

func (p *parser) start(n *yamlfile.Node) {
	at, err := parseTime(n.Text, 0, p.t.zone)
	if err != nil || n.Kind != yamlfile.String || at < events.EarliestTime {
		p.r.Report(n, "bad-time", "Write a date and a time: 2026-03-02 09:00, on the workspace's clock, or with an offset.", "%q is not an instant", n.Text)
		return
	}
	p.t.Start = at
}

// until sets how far the clock goes: what the file says, else the last event or expectation.
func (p *parser) until(n *yamlfile.Node) {
	t := p.t
	t.Until = p.last
	if n == nil {
		if t.Until <= t.Start {
			t.Until = t.Start
		}
		p.neverLooked()
		return
	}
	at, ok := p.time(n, 0, len(n.Text))
	switch {
	case !ok:
		return
	case at <= t.Start:
		p.r.Report(n, "bad-time", "", "the test ends before it begins")
	case at < p.last:
		line, _ := place(p.latest)
		p.r.Report(n, "too-soon", "Let the clock go further, or take that out.", "the clock stops before what stands in line %d", line)
	}
	t.Until = at
	p.neverLooked()
}

// neverLooked reports promises of silence that could not be broken: the rule is not looked at.
func (p *parser) neverLooked() {
	for i := range p.t.Silence {
		s := &p.t.Silence[i]
		r := p.l.rule(s.Rule)
		if r == nil || r.Schedule == nil {
			continue
		}
		until := cmp.Or(s.Until, p.t.Until)
		looked := slices.ContainsFunc(p.zones(s.User, r), func(z *time.Location) bool {
			_, due := schedule.Last(r.Schedule, z, p.t.Start, until)
			return due
		})
		if !looked {
			p.r.Report(s.node, "never-looked", "Let the clock go further with `until`.", "the rule %s is not looked at between the start and %s", r.Name, offset(until, p.t.Start))
		}
	}
}

// zones are those on whose clock the rule is looked at for a person.
func (p *parser) zones(user string, r *workspace.Rule) []*time.Location {
	switch zone := r.Schedule.Zone; zone {
	case "", rules.ZoneWorkspace:
		return []*time.Location{p.t.zone}
	case rules.ZonePerson:
		out := []*time.Location{p.t.zone}
		for _, who := range p.t.people {
			if who.zone != nil && (user == "" || who.name == user) {
				out = append(out, who.zone)
			}
		}
		return out
	default:
		if loc, err := rules.LoadZone(zone); err == nil {
			return []*time.Location{loc}
		}
		return []*time.Location{p.t.zone}
	}
}

// time reads a time in the bytes [from, to) of a node's text.
func (p *parser) time(n *yamlfile.Node, from, to int) (int64, bool) {
	at, err := parseTime(n.Text[from:to], p.t.Start, p.t.zone)
	if err != nil || n.Kind != yamlfile.String {
		p.badTime(n, from, to, err)
		return 0, false
	}
	return at, true
}

func (p *parser) badTime(n *yamlfile.Node, from, to int, err error) {
	summary := fmt.Sprintf("%q is not a time", n.Text[from:to])
	if err != nil {
		summary = err.Error()
	}
	f := n.FindingIn(from, to, "test/bad-time", summary)
	f.Detail = timeHelp
	p.r.Add(f)
}

// reached notes that the clock must go to at.
func (p *parser) reached(at int64, n *yamlfile.Node) {
	if at > p.last || p.latest == nil {
		p.last, p.latest = at, n
	}
}

// people reads the set-up of everybody.
func (p *parser) people(n *yamlfile.Node) {
	for _, e := range p.r.Entries(n) {
		who := person{name: e.Key.Text}
		if strings.ContainsAny(who.name, " \t") {
			p.r.Report(e.Key, "bad-name", "", "the name of a person has no blanks")
		}
		if e.Value.Kind == yamlfile.Null {
			p.t.people = append(p.t.people, who)
			p.identify(who, e.Key, nil, nil)
			continue
		}
		f := p.r.Fields(e.Value)
		who.anonymous = p.r.Bool(f.Get("anonymous"), false)
		context := map[string]string{}
		if z := f.Get("zone"); z != nil {
			zone := p.r.Text(z)
			context["timezone"] = zone
			loc, err := rules.LoadZone(zone)
			if err != nil {
				p.r.Report(z, "unknown-zone", "Write a name of the IANA database such as Europe/Berlin.", "%q is not a time zone", zone)
			}
			who.zone = loc
		}
		if l := f.Get("locale"); l != nil {
			context["locale"] = rules.ReadLocale(p.r, l)
		}
		p.t.people = append(p.t.people, who)
		traits := f.Get("traits")
		p.identify(who, e.Key, traits, context)
		devices := f.Get("devices")
		for _, d := range p.list(devices) {
			if ev, ok := p.device(who.name, d); ok {
				p.setup = append(p.setup, ev)
			}
		}
		for _, c := range p.list(f.Get("consents")) {
			if ev, ok := p.consent(who.name, c); ok {
				p.setup = append(p.setup, ev)
			}
		}
		f.Done()
	}
}

// list is the items of a list; a value alone is a list of one.
func (p *parser) list(n *yamlfile.Node) []*yamlfile.Node {
	if n == nil || n.Kind == yamlfile.List {
		return p.r.Items(n)
	}
	return []*yamlfile.Node{n}
}

// identify makes the person known, with traits and what their device says of itself.
func (p *parser) identify(who person, at, traits *yamlfile.Node, context map[string]string) {
	call := map[string]json.RawMessage{}
	if traits != nil {
		call["traits"] = p.object(traits)
	}
	if len(context) > 0 {
		call["context"] = mustJSON(context)
	}
	if ev, ok := p.normalise(who.name, events.KindIdentify, call, at, traits, false); ok {
		p.setup = append(p.setup, ev)
	}
}

// use notes that somebody is in the test.
func (p *parser) use(name string) *person {
	if who := p.t.known(name); who != nil {
		return who
	}
	p.t.people = append(p.t.people, person{name: name})
	return &p.t.people[len(p.t.people)-1]
}

// armsOf reads who is placed where by lot: {RULE: VARIANT | holdout | not_in_rollout, workspace: holdout}.
func (p *parser) armsOf(n *yamlfile.Node) {
	p.t.arms = map[string]decide.Arm{}
	for _, e := range p.r.Entries(n) {
		if e.Key.Text == "workspace" && p.l.rule("workspace") == nil {
			if p.r.OneOf(e.Value, "holdout") != "" {
				p.t.arms[""] = decide.Arm{Holdout: "workspace"}
			}
			continue
		}
		r := p.ruleAt(e.Key, 0, len(e.Key.Text))
		if r == nil {
			continue
		}
		var allowed []string
		for _, v := range r.Variants {
			allowed = append(allowed, v.Name)
		}
		switch arm := p.r.OneOf(e.Value, append(allowed, "holdout", "not_in_rollout")...); {
		case slices.Contains(allowed, arm):
			p.t.arms[r.Name] = decide.Arm{Variant: arm}
		case arm == "holdout":
			p.t.arms[r.Name] = decide.Arm{Holdout: "rule"}
		case arm == "not_in_rollout":
			p.t.arms[r.Name] = decide.Arm{NotRolled: true}
		}
	}
}

// ruleAt is the rule that the bytes [from, to) of a node name; nil after a finding.
func (p *parser) ruleAt(n *yamlfile.Node, from, to int) *workspace.Rule {
	name := n.Text[from:to]
	r := p.l.rule(name)
	if r == nil {
		f := n.FindingIn(from, to, "test/unknown-rule", fmt.Sprintf("there is no rule %q", name))
		if f.Suggest = suggest.Nearest(name, p.l.ruleNames()); f.Suggest == "" {
			f.Detail = "There are " + strings.Join(p.l.ruleNames(), ", ") + "."
		}
		p.r.Add(f)
	}
	return r
}

// userAt is the person that the bytes [from, to) of a node name, who must be in the test.
func (p *parser) userAt(n *yamlfile.Node, from, to int) string {
	name := n.Text[from:to]
	if p.t.known(name) == nil {
		var names []string
		for _, who := range p.t.people {
			names = append(names, who.name)
		}
		f := n.FindingIn(from, to, "test/unknown-user", fmt.Sprintf("nobody in the test is called %q", name))
		if f.Suggest = suggest.Nearest(name, names); f.Suggest == "" {
			f.Detail = "There are " + strings.Join(names, ", ") + "."
		}
		p.r.Add(f)
	}
	return name
}

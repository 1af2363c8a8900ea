package ruletest

import (
	"fmt"
	"slices"
	"strings"

	"nudge/engine/ledger"
	"nudge/engine/schedule"
	"nudge/engine/workspace"
	"nudge/internal/suggest"
	"nudge/rules/yamlfile"
)

// reasons are what `reason` may say.
func reasons() []string {
	out := make([]string, 0, len(ledger.Reasons())+1)
	for _, r := range ledger.Reasons() {
		out = append(out, string(r))
	}
	return append(out, string(ledger.Held))
}

// expectation reads one item of `expect`.
func (p *parser) expectation(n *yamlfile.Node) {
	e := Expectation{Reason: ledger.Send, start: p.t.Start, node: n}
	var rule *workspace.Rule
	var f *yamlfile.Fields
	if text, value, short := terse(n); short {
		ws := words(text.Text)
		if len(ws) < 3 || len(ws) > 4 {
			p.r.Report(text, "bad-expectation", "Write when, who and which rule, and the reason unless it is send: `1h5m ann cart-abandoned`, `1h..2h bob cart-abandoned exited`.",
				"%q is not an expectation", text.Text)
			return
		}
		e.at = p.span(text, ws[0].from, ws[0].to)
		e.User = p.userAt(text, ws[1].from, ws[1].to)
		rule = p.ruleAt(text, ws[2].from, ws[2].to)
		if len(ws) == 4 {
			e.Reason = p.reason(text, ws[3])
		}
		f = p.r.Fields(value)
	} else {
		if n.Kind != yamlfile.Map {
			p.r.Report(n, "wrong-type", "Write when, who and which rule: `1h5m ann cart-abandoned`.", "expected an expectation, found %s", n.Kind)
			return
		}
		f = p.r.Fields(n)
		if at := f.Get("at"); at != nil {
			e.at = p.span(at, 0, len(at.Text))
		}
		if user := f.Must("user", "Say who."); user != nil {
			e.User = p.userAt(user, 0, len(user.Text))
		}
		if name := f.Must("rule", "Say which rule."); name != nil {
			rule = p.ruleAt(name, 0, len(name.Text))
		}
		if reason := f.Get("reason"); reason != nil {
			e.Reason = p.reason(reason, word{reason.Text, 0, len(reason.Text)})
		}
	}
	p.details(&e, f, rule)
	f.Done()
	if rule != nil {
		e.Rule, e.next = rule.Name, p.nextLook(&e, rule)
	}
	if e.at != nil {
		p.reached(e.at.to, n)
	}
	p.t.Expect = append(p.t.Expect, e)
}

// nextLook is when a schedule looks at the expectation's person first, from the instant on that is expected.
func (p *parser) nextLook(e *Expectation, r *workspace.Rule) int64 {
	if r.Schedule == nil || e.at == nil || e.at.from != e.at.to {
		return 0
	}
	zones := p.zones(e.User, r)
	if len(zones) != 1 {
		return 0
	}
	next, _ := schedule.Next(r.Schedule, zones[0], e.at.from-1)
	return next
}

// details reads what both forms have in common.
func (p *parser) details(e *Expectation, f *yamlfile.Fields, r *workspace.Rule) {
	if v := f.Get("value"); v != nil {
		text := v.Text
		e.Value = &text
		if r != nil && r.Who.ForEach() == nil && (r.On == nil || r.On.By == "") {
			p.r.Report(v, "no-value", "Leave `value` out.", "entries of the rule %s have no value: it has no for_each", r.Name)
		}
	}
	if v := f.Get("variant"); v != nil && r != nil {
		var names []string
		for _, x := range r.Variants {
			names = append(names, x.Name)
		}
		if len(names) == 0 {
			p.r.Report(v, "no-variants", "Leave `variant` out.", "the rule %s has no variants", r.Name)
		} else {
			e.Variant = p.r.OneOf(v, names...)
		}
	}
	if v := f.Get("channel"); v != nil && r != nil {
		e.Channel = p.r.OneOf(v, r.Channels()...)
	}
	if v := f.Get("by"); v != nil {
		e.By = p.r.Text(v)
	}
	text := f.Get("text")
	if text == nil {
		return
	}
	e.Text = map[string]any{}
	for _, pair := range p.r.Entries(text) {
		e.Text[pair.Key.Text] = p.value(pair.Value)
		if r == nil {
			continue
		}
		if names := fieldsOf(r, e.Channel); !slices.Contains(names, pair.Key.Text) {
			where := ""
			if e.Channel != "" {
				where = " on " + e.Channel
			}
			x := pair.Key.Finding("test/unknown-field", fmt.Sprintf("the message of %s%s has no field %q", r.Name, where, pair.Key.Text))
			if x.Suggest = suggest.Nearest(pair.Key.Text, names); x.Suggest == "" {
				x.Detail = "It has " + strings.Join(names, ", ") + "."
			}
			p.r.Add(x)
		}
	}
	if e.Reason != ledger.Send {
		p.r.Report(text.Key, "conflict", "", "nothing is sent with the reason %s, so there is no text", e.Reason)
	}
}

// fieldsOf are the fields of a rule's message on a channel, "" for any.
func fieldsOf(r *workspace.Rule, channel string) []string {
	var out []string
	messages := slices.Clone(r.Message)
	for _, v := range r.Variants {
		messages = append(messages, v.Message...)
	}
	for _, m := range messages {
		if channel != "" && m.Channel != channel {
			continue
		}
		for _, f := range m.Fields {
			if !slices.Contains(out, f.Name) {
				out = append(out, f.Name)
			}
		}
	}
	slices.Sort(out)
	return out
}

func (p *parser) reason(n *yamlfile.Node, w word) ledger.Reason {
	if !slices.Contains(reasons(), w.text) {
		f := n.FindingIn(w.from, w.to, "test/unknown-reason", fmt.Sprintf("there is no reason %q", w.text))
		if f.Suggest = suggest.Nearest(w.text, reasons()); f.Suggest == "" {
			f.Detail = "There are " + strings.Join(reasons(), ", ") + "."
		}
		p.r.Add(f)
	}
	return ledger.Reason(w.text)
}

// span reads when a decision is expected; nil after a finding.
func (p *parser) span(n *yamlfile.Node, from, to int) *span {
	s, err := parseSpan(n.Text[from:to], p.t.Start, p.t.zone)
	if err == nil && s.to < p.t.Start {
		err = fmt.Errorf("%q is before the start: nothing is decided then", n.Text[from:to])
	}
	if err != nil || n.Kind != yamlfile.String {
		p.badTime(n, from, to, err)
		return nil
	}
	return &s
}

// silence reads one item of `silence`; bounded says that the test says how far the clock goes.
func (p *parser) silence(n *yamlfile.Node, bounded bool) {
	s := Silence{node: n}
	var rule *workspace.Rule
	if n.Kind == yamlfile.String {
		ws := words(n.Text)
		if len(ws) >= 3 && ws[len(ws)-2].text == "until" {
			s.Until = p.silentUntil(n, ws[len(ws)-1])
			ws = ws[:len(ws)-2]
		}
		if len(ws) == 0 || len(ws) > 2 {
			p.r.Report(n, "bad-silence", "Write who, or who and which rule; * is everybody: `bob`, `bob cart-abandoned`, `bob cart-abandoned until 2d`.", "%q is not a silence", n.Text)
			return
		}
		if ws[0].text != "*" {
			s.User = p.userAt(n, ws[0].from, ws[0].to)
		}
		if len(ws) == 2 {
			rule = p.ruleAt(n, ws[1].from, ws[1].to)
		}
	} else {
		f := p.r.Fields(n)
		if user := f.Get("user"); user != nil {
			s.User = p.userAt(user, 0, len(user.Text))
		}
		if name := f.Get("rule"); name != nil {
			rule = p.ruleAt(name, 0, len(name.Text))
		}
		if until := f.Get("until"); until != nil {
			s.Until = p.silentUntil(until, word{until.Text, 0, len(until.Text)})
		}
		f.Done()
		if n.Kind != yamlfile.Map {
			return
		}
		if !f.Has("user") && !f.Has("rule") {
			p.r.Report(n, "bad-silence", "Name `user`, `rule` or both.", "the silence does not say whose")
		}
	}
	if rule != nil {
		s.Rule = rule.Name
	}
	if s.Until == 0 && !bounded {
		p.r.Report(n, "no-until", "Add `until` to the test: a silence that ends with the last event shows nothing.", "nobody says how long the silence lasts")
	}
	p.t.Silence = append(p.t.Silence, s)
}

func (p *parser) silentUntil(n *yamlfile.Node, w word) int64 {
	at, ok := p.time(n, w.from, w.to)
	if !ok {
		return 0
	}
	if at <= p.t.Start {
		p.badTime(n, w.from, w.to, fmt.Errorf("%q is not after the start", w.text))
		return 0
	}
	p.reached(at, n)
	return at
}

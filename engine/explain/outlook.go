package explain

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"nudge/engine/decide"
	"nudge/engine/ledger"
	"nudge/engine/schedule"
	"nudge/engine/workspace"
	"nudge/events"
	"nudge/rules"
	"nudge/segments"
)

// Outlook is what would come of the person under the rule if nothing else happened and no other rule won: the stages that
// decide were asked, as of the look at which they would be.
type Outlook struct {
	// Supposed: the condition is not true and time alone does not make it so; it is said what would come if it were, by the
	// first of the answer's flips.
	Supposed bool `json:"supposed,omitempty"`
	// Matches is from when on the condition is true: the instant that is explained, or later.
	Matches time.Time `json:"matches"`
	// Look is the first look of the schedule at which it is; nil: the rule judges what arrives, or never looks again.
	Look *time.Time `json:"look,omitempty"`
	// Reason is what the stages answer then, in the ledger's words: send, quiet_hours, frequency_cap, no_address, holdout, …;
	// "again" where the rule does not let the person in again; "ended" where it does not look any more; "missed" where the
	// condition is no longer true at the look.
	Reason string `json:"reason"`
	// By is the cap, the holdout or the stage's detail; of "again", and of "missed" where that is why, what keeps them out.
	By string `json:"by,omitempty"`
	// Until is when what is in the way ends by itself.
	Until *time.Time `json:"until,omitempty"`
	// Over: what is in the way ends too late, for the condition is no longer true then.
	Over bool `json:"over,omitempty"`
	// Sends is when the message would go; nil: not by itself.
	Sends *time.Time `json:"sends,omitempty"`
	// Says tells it in words, on the workspace's clock.
	Says string `json:"says"`
}

// Reasons of an Outlook that are none of the ledger.
const (
	outAgain  = "again"
	outEnded  = "ended"
	outMissed = "missed"
)

func at(ms int64) *time.Time {
	t := time.UnixMilli(ms).UTC()
	return &t
}

// outlook asks the stages of decide about one value of a rule.
func (x *explainer) outlook(ctx context.Context, r *workspace.Rule, a *Answer, entries []Entry, profile *segments.Profile) (*Outlook, error) {
	if profile == nil {
		profile = &segments.Profile{Person: x.person}
	}
	from := x.At
	o := &Outlook{}
	switch {
	case a.Truth == segments.True.String():
	case a.Turns != nil && a.Turns.Truth == segments.True.String():
		from = a.Turns.At.UnixMilli()
	default:
		o.Supposed = true
		if len(a.Flips) > 0 {
			from = a.Flips[0].At.UnixMilli()
		}
	}
	o.Matches = *at(from)
	w := words{x.Workspace.Zone, time.UnixMilli(x.At)}
	defer func() { o.Says = x.says(r, o, w, profile) }()

	again := x.again(r, a, entries, from)
	if again != nil {
		o.Reason, o.By = outAgain, again.why
		if again.until == 0 {
			return o, nil
		}
		from = max(from, again.until)
		o.Until = at(again.until)
	}
	look := max(from, r.Start)
	if r.On == nil {
		next, ok := schedule.Next(r.Schedule, x.clock(r.Schedule.Zone, profile), look-1)
		if !ok {
			o.Reason = outEnded
			return o, nil
		}
		look, o.Look = next, at(next)
	}
	if r.End != 0 && look >= r.End {
		o.Reason, o.Until, o.Look = outEnded, nil, nil
		return o, nil
	}
	if holds, err := x.holds(ctx, r, o, a.Value, look); err != nil || !holds {
		o.Reason, o.Until = outMissed, nil
		return o, err
	}
	state := &ledger.PersonState{Arms: map[string]*ledger.Arm{}}
	state.Uses = append(state.Uses, x.uses...)
	if slices.ContainsFunc(entries, func(e Entry) bool { return e.decided(ledger.Send) }) {
		state.Arms[r.Name] = &ledger.Arm{}
	}
	rule := *r.Rule
	for t, n := look, 0; n < 8; n++ {
		d := x.decide(&rule, state, profile, a.Value, t)
		if d == nil {
			return o, nil
		}
		if n == 0 && o.Reason == "" {
			o.Reason, o.By = string(d.Reason), d.By
			if d.Due > t && !d.Wait && d.Reason != ledger.Send { // what waits for something has no end of its own
				o.Until = at(d.Due)
			}
		}
		if d.Reason == ledger.Send {
			if holds, err := x.holds(ctx, r, o, a.Value, t); err != nil || !holds {
				o.Over = t > look
				return o, err
			}
			o.Sends = at(t)
			return o, nil
		}
		if _, _, ok := ledger.CollectedFor(d.By); ok && d.Reason == ledger.Held {
			if d.Due > 0 && (d.Expires == 0 || d.Due < d.Expires) {
				o.Sends = at(d.Due)
			}
			return o, nil
		}
		if d.Due <= t || d.Wait || !d.Open && d.Reason != ledger.Held {
			return o, nil
		}
		if d.Reason == ledger.Held && d.By == "send_at" {
			rule.SendAt = nil // it has had its time of day
		}
		t = d.Due
	}
	return o, nil
}

// holds says whether the condition is true at an instant that is still to come.
func (x *explainer) holds(ctx context.Context, r *workspace.Rule, o *Outlook, value string, t int64) (bool, error) {
	if o.Supposed || t == x.At || r.On != nil {
		return true, nil
	}
	told, err := x.look(ctx, r, t)
	if err != nil {
		return false, fmt.Errorf("ask the condition of %s as of later: %w", r.Name, err)
	}
	return slices.ContainsFunc(told, func(a segments.Answer) bool { return a.Value == value && a.Truth == segments.True }), nil
}

// decide asks the stages, in which nothing is written.
func (x *explainer) decide(r *rules.Rule, state *ledger.PersonState, profile *segments.Profile, value string, at int64) *ledger.Decision {
	records, _ := decide.Person(decide.Input{
		At: at, Person: x.person, State: state, Policy: x.Workspace.Policy,
		Contenders: []decide.Contender{{Rule: r, Answer: segments.Answer{Person: x.person, Value: value, Truth: segments.True, Profile: profile}}},
		Render:     func(*decide.Contender, string, string, *segments.Profile) (map[string]any, error) { return nil, nil },
	})
	for _, rec := range records {
		if rec.Decision != nil {
			return rec.Decision
		}
	}
	return nil
}

// clock is that of a schedule for a person.
func (x *explainer) clock(zone string, profile *segments.Profile) *time.Location {
	name := zone
	switch zone {
	case "", rules.ZoneWorkspace:
		return x.Workspace.Zone
	case rules.ZonePerson:
		name = profile.Zone
	}
	if loc, err := x.Workspace.Policy.Location(name); name != "" && err == nil {
		return loc
	}
	return x.Workspace.Zone
}

// refused is why `again` does not let somebody in.
type refused struct {
	why   string
	until int64 // Unix ms; 0: not by itself
}

// again says whether what the ledger has of earlier entries keeps the person out at t.
func (x *explainer) again(r *workspace.Rule, a *Answer, entries []Entry, t int64) *refused {
	var last *Entry
	for i := range entries {
		if e := &entries[i]; e.Value == a.Value && e.usesUp(r) {
			last = e
		}
	}
	if last == nil {
		return nil
	}
	w := words{x.Workspace.Zone, time.UnixMilli(x.At)}
	if next := last.escalates(); next != nil && r.On == nil && next.UnixMilli() > t {
		return &refused{"not while their message of " + w.instant(last.Entered) + " waits to be opened (deliver: {escalate: " + short(r.EscalateAfter) + "})", next.UnixMilli()}
	}
	entered := "they entered " + w.on(last.Entered)
	// What waits for a false answer has one at the next look, if there is one now.
	stands := r.On == nil && a.Truth == segments.True.String()
	const first = "; the condition has to be false at a look before they can enter again"
	switch reason := last.last().Reason; {
	case reason != ledger.AlreadyTrue && reason != ledger.NotInRollout:
	case !stands:
		return nil
	case reason == ledger.AlreadyTrue:
		return &refused{why: "it was true already at the rule's first look " + w.on(last.Entered) + ", which only notes" + first}
	default:
		return &refused{why: "they were outside the rollout " + w.on(last.Entered) + first}
	}
	switch r.Again.Mode {
	case rules.AgainNever:
		return &refused{why: "not again (again: never; " + entered + ")"}
	case rules.AgainAfter:
		if until := last.Entered.Add(r.Again.After).UnixMilli(); until > t {
			return &refused{"not again before " + w.instant(time.UnixMilli(until)) + " (again: {after: " + short(r.Again.After) + "}; " + entered + ")", until}
		}
	case rules.AgainEachTime:
		if stands {
			return &refused{why: "not again now (again: each_time; " + entered + first + ")"}
		}
	case rules.AgainEveryTick:
	}
	return nil
}

// short is a duration as rule files write it.
func short(d time.Duration) string {
	for _, u := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}} {
		if d > 0 && d%u.of == 0 {
			return fmt.Sprintf("%d%s", d/u.of, u.name)
		}
	}
	return d.String()
}

func (e *Entry) last() *Decision { return &e.Decisions[len(e.Decisions)-1] }

func (e *Entry) decided(r ledger.Reason) bool {
	return slices.ContainsFunc(e.Decisions, func(d Decision) bool { return d.Reason == r })
}

// waits says whether the entry is open, and nothing has been sent: held, or to be tried again.
func (e *Entry) waits() bool {
	return e.last().Reason != ledger.Send && (e.last().Again != nil || e.last().Waits)
}

// escalates is when the next channel is used if nobody opens the message, nil where none is.
func (e *Entry) escalates() *time.Time {
	if e.last().Reason != ledger.Send {
		return nil
	}
	return e.last().Again
}

// usesUp says whether the entry counts for `again`.
func (e *Entry) usesUp(r *workspace.Rule) bool {
	d := e.last()
	if e.waits() {
		return false
	}
	if d.Reason == ledger.Send && strings.HasPrefix(d.By, ledger.Escalation) { // whatever came of the channels after the first
		return true
	}
	switch d.Reason {
	case ledger.Send, ledger.InDigest, ledger.Holdout, ledger.AlreadyTrue, ledger.NotInRollout, ledger.FrequencyCap, ledger.Outranked, ledger.NoAddress, ledger.NoConsent, ledger.QuietHours:
		return len(e.Deliveries) == 0 || !slices.Contains([]string{string(ledger.StoppedExited), string(ledger.StoppedExpired), string(ledger.StoppedPaused)}, e.Deliveries[len(e.Deliveries)-1].Status)
	case ledger.Shadow:
		return r.Shadow
	default:
		return false
	}
}

// says tells an outlook in words.
func (x *explainer) says(r *workspace.Rule, o *Outlook, w words, profile *segments.Profile) string {
	var out []string
	why := x.reason(r, o.Reason, o.By, profile)
	look := ""
	if o.Look != nil && !o.Supposed && o.Reason != outAgain {
		look = "the look is at " + w.instant(*o.Look)
	}
	if wait := o.Matches.Sub(w.now); wait > 0 && !o.Supposed {
		out = append(out, "would match in "+span(wait))
	}
	add := func(text string) {
		if look != "" {
			text = look + "; " + text
		}
		out = append(out, text)
	}
	switch {
	case o.Reason == outEnded:
		out = append(out, "the rule does not look any more")
	case o.Reason == outMissed && o.By != "":
		out = append(out, o.By+", and then it no longer matches")
	case o.Reason == outMissed && o.Look != nil:
		out = append(out, "at the next look, "+w.on(*o.Look)+", it no longer matches")
	case o.Reason == string(ledger.Send) && o.Supposed:
		out = append(out, "nothing else stands in the way")
	case o.Reason == string(ledger.Send):
		add("the message would go then")
	case o.Sends != nil && o.Reason == outAgain:
		out = append(out, why+"; the message would go "+w.on(*o.Sends))
	case o.Sends != nil:
		add("the message would wait until " + w.instant(*o.Sends) + " " + w.zone.String() + " (" + why + ")")
	case o.Over:
		add(why + " until " + w.instant(*o.Until) + " " + w.zone.String() + ", when it no longer matches")
	case o.Until != nil && o.Reason != outAgain:
		add(why + " until " + w.instant(*o.Until) + " " + w.zone.String())
	default:
		add(why)
	}
	if o.Reason == string(ledger.Send) && r.Deliver == rules.DeliverEscalate && len(r.Channels()) > 1 {
		out = append(out, "not opened within "+short(r.EscalateAfter)+", it would go by the next channel too")
	}
	return strings.Join(out, "; ")
}

// reason says an answer of the stages in words.
func (x *explainer) reason(r *workspace.Rule, reason, by string, profile *segments.Profile) string {
	if digest, _, ok := ledger.CollectedFor(by); ok && reason == string(ledger.Held) {
		return "collected for " + digest
	}
	if reason == string(ledger.Held) { // for a stage, whose detail stands behind it
		why, detail, _ := strings.Cut(by, ": ")
		if why == "send_at" {
			return why
		}
		return x.reason(r, why, detail, profile)
	}
	switch ledger.Reason(reason) {
	case ledger.Holdout:
		share := x.Workspace.Policy.Holdout
		if by == "rule" {
			share = r.Holdout
		}
		return fmt.Sprintf("they are in the %s's holdout of %s", by, percent(share))
	case ledger.NotInRollout:
		return "they are outside the rollout of " + percent(r.Rollout)
	case ledger.AlreadyTrue:
		return "it was true already at the rule's first look, which only notes"
	case ledger.FrequencyCap:
		return "the cap " + by + " is full"
	case ledger.Outranked:
		if won := x.rule(by); won != nil {
			return fmt.Sprintf("outranked by %s (priority %d, this one has %d)", by, won.Priority, r.Priority)
		}
		return "outranked by " + by
	case ledger.NoAddress:
		return x.unreachable(r, profile)
	case ledger.NoConsent:
		return fmt.Sprintf("no consent for %s messages by %s", r.Category, list(r.Channels(), "or"))
	case ledger.QuietHours:
		if by != "" {
			return "quiet hours, and their zone is unknown"
		}
		return "quiet hours"
	case ledger.Shadow:
		return "the rule is in shadow: it decides and sends nothing"
	case ledger.Exited:
		return "an exit ended it"
	case ledger.NoLongerTrue:
		return "the condition was no longer true when it was tried again"
	case ledger.Expired:
		waited := "it waited longer than " + short(r.Expire)
		switch {
		case ledger.CountsAs(ledger.Expired, by) == ledger.NoAddress:
			return waited + " for an address"
		case by != "":
			return waited + " (" + by + ")"
		}
		return waited
	case ledger.Merged:
		return "it was merged into another entry"
	case ledger.TemplateFailed:
		return "the message could not be rendered: " + by
	case ledger.ConditionError:
		return "the condition failed: " + by
	case ledger.Paused:
		return "the rule was paused"
	case ledger.InDigest:
		return "it went out with " + by
	case ledger.Send, ledger.Held:
	}
	switch {
	case reason == "opened" || reason == "clicked":
		return "they " + reason + " it"
	case reason == "goal":
		return "its goal was reached"
	case by != "":
		return by
	}
	return reason
}

// rule is one of the workspace.
func (x *explainer) rule(name string) *workspace.Rule {
	for _, r := range x.Workspace.Rules {
		if r.Name == name {
			return r
		}
	}
	return nil
}

// unreachable says what each channel would need.
func (x *explainer) unreachable(r *workspace.Rule, profile *segments.Profile) string {
	var out []string
	for _, ch := range r.Channels() {
		if profile != nil && x.Workspace.Policy.Reachable(ch, profile) {
			continue
		}
		if x.collects(ch) {
			out = append(out, ch+" needs what its digest is sent by")
			continue
		}
		needs := x.Workspace.Policy.Channels[ch].Needs
		switch needs {
		case "token":
			needs = "a device"
		case "user_id":
			needs = "a user id"
		default:
			if profile != nil && decide.Undeliverable(profile, needs) {
				out = append(out, fmt.Sprintf("%s needs another address than %s, which the trait %s says is dead", ch, profile.Traits[needs], events.UndeliverableTrait(needs)))
				continue
			}
			needs = "the trait " + needs
		}
		out = append(out, ch+" needs "+needs)
	}
	return "no address: " + list(out, "and")
}

func percent(share float64) string {
	return fmt.Sprintf("%g %%", float64(int(share*10000+0.5))/100)
}

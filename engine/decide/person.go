package decide

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"nudge/engine/ledger"
	"nudge/events"
	"nudge/rules"
	"nudge/segments"
)

// Contender is a rule that may want to message the person now: newly true, or an open entry that is
// due.
type Contender struct {
	Rule   *rules.Rule
	Answer segments.Answer
	// Open is the entry that is due, nil for a new one.
	Open *ledger.Open
	// Kept says that Open stands without its condition being asked again.
	Kept bool
	// FirstLook: everybody newly true now is only noted.
	FirstLook bool
	Paused    bool
	// Exited is when an exit of the entry happened, Unix ms; 0 when none did.
	Exited int64
	// Answered is, of an Open that Follows, what the person has done: "opened", "clicked" or "goal"; "" for nothing.
	Answered string
}

// Input is one person at one instant. Everybody's contenders of a tick must come in one call.
type Input struct {
	At         int64 // t1
	Tick       string
	Person     events.PersonID
	State      *ledger.PersonState // may be nil; not changed
	Contenders []Contender
	Policy     *Policy
	// Render makes the fields of the message, or says why it cannot be made; it must be pure.
	Render func(c *Contender, variant, channel string, profile *segments.Profile) (map[string]any, error)
	// DigestPaused says whether a rule that sends a digest is paused; nil: none is.
	DigestPaused func(rule string) bool
}

// Defer moves the due time of an open entry whose new try came to its old answer.
type Defer struct {
	Open *ledger.Open
	Due  int64
}

// Person decides every contender of one person: first what each says for itself (exit, consent,
// reachable, quiet hours), then the walk by priority and name through caps, variant, render and
// holdout, one rule to its end before the next begins. Records come in the order of the decisions.
func Person(in Input) ([]ledger.Record, []Defer) {
	w := &walk{in: in}
	if in.State != nil {
		for _, u := range in.State.Uses {
			w.uses = append(w.uses, usage{Use: u})
		}
	}
	var due []*contest
	digests := map[string]*contest{}
	for i := range in.Contenders {
		c := &contest{Contender: &in.Contenders[i], profile: in.Contenders[i].Answer.Profile}
		if c.profile == nil {
			c.profile = &segments.Profile{Person: in.Person}
		}
		if w.before(c) && !w.gather(c, digests) {
			due = append(due, c)
		}
	}
	for _, channel := range slices.Sorted(maps.Keys(digests)) {
		if c := digests[channel]; w.digestBefore(c) {
			due = append(due, c)
		}
	}
	slices.SortStableFunc(due, func(a, b *contest) int {
		return cmp.Or(
			cmp.Compare(b.Rule.Priority, a.Rule.Priority), cmp.Compare(a.Rule.Name, b.Rule.Name),
			cmp.Compare(a.Answer.Value, b.Answer.Value), cmp.Compare(a.trigger(), b.trigger()),
		)
	})
	for _, c := range due {
		w.arbitrate(c)
	}
	return w.records, w.defers
}

// pausedFor is how long, in ms, an open entry of a broadcast that is paused waits before that is asked again.
const pausedFor = 60_000

// contest is a contender on its way through the stages.
type contest struct {
	*Contender
	profile  *segments.Profile
	all      []string // channels of the rule that are left to try, in order
	channels []string // of them, those that no stage has taken out
	devices  map[string][]segments.Device
	items    []*contest // what the digest takes along, if this is one; each with its one channel
}

func (c *contest) trigger() events.Position {
	switch {
	case c.Open != nil:
		return c.Open.Trigger
	case c.Answer.Trigger != nil:
		return c.Answer.Trigger.Pos
	default:
		return 0
	}
}

// follows says that a channel took the entry's message: what is decided is whether the next one is used.
func (c *contest) follows() bool { return c.Open != nil && c.Open.Follows() }

type walk struct {
	in      Input
	uses    []usage
	records []ledger.Record
	defers  []Defer
	entered []ledger.Slot // slots entered in this call, for `on:` rules with several occurrences
}

// before runs the stages that look at one rule alone, and says whether it goes on to the walk.
func (w *walk) before(c *contest) bool {
	r, t := c.Rule, w.in.At
	slot := w.in.State.Slot(r.Name, c.Answer.Value)
	if c.Open == nil {
		if c.Answer.Truth != segments.True && c.Answer.Truth != segments.Failed || !enters(r, slot, w.entryID(c), t) || !w.entersAgain(c) {
			return false
		}
		if c.Answer.Truth == segments.Failed {
			if !w.failedBefore(c) {
				w.end(c, ledger.ConditionError, fmt.Sprint(c.Answer.Err))
			}
			return false
		}
		if c.FirstLook && !r.Backfill && newlyTrue(r, slot) {
			w.end(c, ledger.AlreadyTrue, "")
			return false
		}
	} else if !w.stillStands(c) {
		return false
	}
	if c.Paused {
		if r.Broadcast { // which goes on where it stopped
			w.defers = append(w.defers, Defer{Open: c.Open, Due: min(t+pausedFor, c.Open.Expires)})
			return false
		}
		w.end(c, ledger.Paused, "")
		return false
	}
	if w.in.Policy.notRolled(r, w.in.Person, c.profile) {
		w.end(c, ledger.NotInRollout, "")
		return false
	}
	for _, stage := range []func(*walk, *contest) bool{exitStage, answerStage, consentStage, reachStage, timeStage} {
		if !stage(w, c) {
			return false
		}
	}
	return true
}

// entersAgain applies `again` among the occurrences of one call: an `on:` rule may have several, and
// one that has just entered may keep the next out.
func (w *walk) entersAgain(c *contest) bool {
	if c.Rule.On == nil {
		return true
	}
	for i := range w.entered {
		s := &w.entered[i]
		if s.Rule == c.Rule.Name && s.Value == c.Answer.Value && !enters(c.Rule, s, w.entryID(c), w.in.At) {
			return false
		}
	}
	return true
}

// stillStands ends an open entry that has expired or whose condition is no longer true.
func (w *walk) stillStands(c *contest) bool {
	o := c.Open
	if (o.Expires != 0 || c.follows()) && w.in.At >= w.expires(c) {
		kept := ""
		if !c.follows() && o.Reason != ledger.Held {
			kept = string(o.Reason)
		}
		w.end(c, ledger.Expired, kept)
		return false
	}
	if c.follows() && c.Rule.Deliver != rules.DeliverEscalate {
		w.goNoFurther(c, "the rule escalates no more")
		return false
	}
	if c.Kept {
		return true
	}
	switch c.Answer.Truth {
	case segments.True:
		return true
	case segments.Failed:
		w.end(c, ledger.ConditionError, fmt.Sprint(c.Answer.Err))
	case segments.False, segments.Unknown:
		w.end(c, ledger.NoLongerTrue, "")
	}
	return false
}

// arbitrate takes one rule through caps, variant, render and holdout to its answer.
func (w *walk) arbitrate(c *contest) {
	r, p := c.Rule, w.in.Policy
	if c.Open == nil && !w.entersAgain(c) {
		return
	}
	chosen, full := w.capStage(c)
	if len(chosen) == 0 {
		reason, by := ledger.FrequencyCap, full.cap.Name
		action := cmp.Or(r.WhenBlocked.FrequencyCap, full.cap.AtCap)
		if full.outrankedBy != "" {
			reason, by, action = ledger.Outranked, full.outrankedBy, r.WhenBlocked.Outranked
		}
		w.blocked(c, reason, by, full.frees, action)
		return
	}
	if c.items != nil {
		w.sendDigest(c, chosen)
		return
	}
	variant := w.variantOf(c)
	for _, ch := range chosen {
		if _, err := w.in.Render(c.Contender, variant, ch, c.profile); err != nil {
			w.end(c, ledger.TemplateFailed, fmt.Sprintf("%s: %v", ch, err))
			return
		}
	}
	if r.Shadow && c.follows() {
		w.end(c, ledger.Shadow, "")
		return
	}
	if r.Shadow {
		d := w.decision(c, ledger.Shadow, "")
		d.Variant, d.Channels = variant, chosen
		w.add(c, d)
		return
	}
	if by := w.heldOut(c); by != "" {
		d := w.decision(c, ledger.Holdout, by)
		d.Variant = variant
		w.add(c, d)
		return
	}
	if p.Channels[chosen[0]].Collects {
		w.collect(c, variant, chosen[0])
		return
	}
	w.send(c, variant, chosen)
}

// variantOf is the variant that the person gets: what they had before, or were sent of an entry that follows.
func (w *walk) variantOf(c *contest) string {
	has := func(name string) bool {
		return slices.ContainsFunc(c.Rule.Variants, func(v rules.Variant) bool { return v.Name == name })
	}
	if c.follows() && has(c.Open.Variant) {
		return c.Open.Variant
	}
	if arm := w.arm(c.Rule.Name); arm != nil && arm.Variant != "" && has(arm.Variant) {
		return arm.Variant
	}
	return w.in.Policy.variant(c.Rule, w.in.Person, c.profile)
}

// heldOut is whose holdout the person is in, "" for nobody's.
func (w *walk) heldOut(c *contest) string {
	if c.Rule.Transactional() || c.follows() {
		return ""
	}
	arm := w.arm(c.Rule.Name)
	if arm != nil && arm.Holdout {
		return ruleHoldout
	}
	return w.in.Policy.holdout(c.Rule, w.in.Person, c.profile, arm != nil)
}

func (w *walk) arm(rule string) *ledger.Arm {
	if w.in.State == nil {
		return nil
	}
	return w.in.State.Arms[rule]
}

func (w *walk) send(c *contest, variant string, chosen []string) {
	d := w.sending(c, variant, chosen)
	if why := tooLarge(d); why != "" { // before it takes anything from those who follow
		w.refuse(c, why)
		return
	}
	for _, ch := range chosen {
		u := ledger.Use{Entry: d.Entry, Rule: d.Rule, Channel: ch, Category: d.Category, At: w.in.At}
		w.uses = append(w.uses, usage{Use: u, walk: c.Rule.Name})
	}
	w.put(c, d)
}

// sending is the row of an entry that is sent.
func (w *walk) sending(c *contest, variant string, chosen []string) *ledger.Decision {
	d := w.decision(c, ledger.Send, "")
	d.Variant, d.Channels = variant, chosen
	d.Message = c.Rule.Hash // if the sender cannot render it, that is the one which failed
	if c.follows() {
		d.By = ledger.Escalation
	}
	switch c.Rule.Deliver {
	case rules.DeliverFirst, rules.DeliverPreferred:
		d.Fallback = behind(c.channels, chosen[0])
	case rules.DeliverEscalate: // by then others may reach them, and be allowed to
		if d.Fallback = behind(c.all, chosen[0]); len(d.Fallback) > 0 {
			d.Due = w.in.At + c.Rule.EscalateAfter.Milliseconds()
		}
	case rules.DeliverAll:
	}
	d.Expires = w.expires(c)
	devices := map[string]bool{}
	for _, ch := range chosen {
		for _, dev := range c.devices[ch] {
			if raw, err := json.Marshal(dev); err == nil && !devices[string(raw)] {
				devices[string(raw)] = true
				d.Devices = append(d.Devices, raw)
			}
		}
	}
	if raw, err := json.Marshal(c.profile); err == nil {
		d.Profile = raw
	}
	return d
}

// behind are those of a list that stand behind one of them.
func behind(list []string, of string) []string {
	return append([]string(nil), list[slices.Index(list, of)+1:]...)
}

// blocked answers an entry that a stage stops for now, by the rule's choice.
func (w *walk) blocked(c *contest, reason ledger.Reason, by string, due int64, action rules.Action) {
	r := c.Rule
	if c.items != nil {
		w.itemsWait(c, string(reason)+detail(by), due)
		return
	}
	if c.follows() {
		w.blockedFurther(c, string(reason)+detail(by), due, action)
		return
	}
	switch action {
	case rules.Drop:
		if r.Shadow { // which keeps its own count
			w.end(c, ledger.Shadow, string(reason)+detail(by))
			return
		}
		d := w.decision(c, reason, by)
		d.Expires = 0
		w.add(c, d)
	case rules.Hold:
		w.hold(c, string(reason)+detail(by), due)
	default:
		if r.On == nil && !r.Broadcast {
			// A retry of a schedule ends when its condition does, not by the clock.
			w.reopen(c, reason, by, due, 0)
			return
		}
		w.reopen(c, reason, by, due, w.expires(c))
	}
}

func detail(by string) string {
	if by == "" {
		return ""
	}
	return ": " + by
}

func (w *walk) reopen(c *contest, reason ledger.Reason, by string, due, expires int64) {
	wait := due == 0
	if expires != 0 && (due == 0 || due > expires) {
		due = expires
	}
	if o := c.Open; o != nil && o.Reason == reason && o.By == by && o.Expires == expires {
		w.defers = append(w.defers, Defer{Open: o, Due: due})
		return
	}
	d := w.decision(c, reason, by)
	d.Open, d.Due, d.Expires, d.Wait = true, due, expires, wait
	if c.Open != nil {
		d.Channels = c.Open.Channels
	}
	w.add(c, d)
}

// hold keeps the entry until due, 0 for until an address or a consent comes, at most until it expires.
func (w *walk) hold(c *contest, by string, due int64) {
	expires, wait := w.expires(c), due == 0
	if wait || due > expires {
		due = expires
	}
	if o := c.Open; o != nil && o.Reason == ledger.Held && o.By == by {
		w.defers = append(w.defers, Defer{Open: o, Due: due})
		return
	}
	d := w.decision(c, ledger.Held, by)
	d.Due, d.Expires, d.Wait = due, expires, wait
	if c.Open != nil {
		d.Channels = c.Open.Channels
	}
	w.add(c, d)
}

// blockedFurther is blocked for an entry that follows: its answer stays.
func (w *walk) blockedFurther(c *contest, why string, due int64, action rules.Action) {
	if action == rules.Drop {
		w.goNoFurther(c, why)
		return
	}
	expires, wait := w.expires(c), due == 0
	if wait || due > expires {
		due = expires
	}
	if c.Open.By == ledger.Following(why) {
		w.defers = append(w.defers, Defer{Open: c.Open, Due: due})
		return
	}
	d := w.decision(c, ledger.Send, ledger.Following(why))
	d.Due, d.Expires, d.Wait, d.Fallback = due, expires, wait, c.Open.Channels
	w.add(c, d)
}

// goNoFurther closes an entry that follows: no other channel is used.
func (w *walk) goNoFurther(c *contest, why string) {
	d := w.decision(c, ledger.Send, clip(ledger.Following(why), maxDetail))
	w.add(c, d)
}

// expires is when the entry's wait ends: the rule's time after it began; of one that was only tried
// again until now, which its condition alone ends, after now; of one that follows, after the next channel's turn came.
func (w *walk) expires(c *contest) int64 {
	switch {
	case c.Open != nil && c.Open.Expires != 0:
		return c.Open.Expires
	case c.follows():
		return c.Open.Due + c.Rule.Expire.Milliseconds()
	}
	return w.in.At + c.Rule.Expire.Milliseconds()
}

// end closes the entry.
func (w *walk) end(c *contest, reason ledger.Reason, by string) {
	if c.follows() {
		w.goNoFurther(c, string(reason)+detail(by))
		return
	}
	d := w.decision(c, reason, clip(by, maxDetail))
	if reason == ledger.TemplateFailed {
		d.Message = c.Rule.Hash
	}
	w.add(c, d)
}

// decision is the row of the entry, new or as it stands, with an answer.
func (w *walk) decision(c *contest, reason ledger.Reason, by string) *ledger.Decision {
	r, a := c.Rule, c.Answer
	d := &ledger.Decision{
		Rule: r.Name, Version: r.Version, Person: w.in.Person, UserID: c.profile.UserID, Value: a.Value,
		Entered: w.in.At, At: w.in.At, Tick: w.in.Tick, Reason: reason, By: by, Since: a.Since, SincePos: a.SincePos,
		Category: r.Category, Features: a.Features, With: a.With, Watch: watch(r), Zone: c.profile.Zone,
		Trigger: c.trigger(),
	}
	if d.Since == 0 {
		d.Since = w.in.At
		if a.Trigger != nil {
			d.Since, d.SincePos = a.Trigger.Time, a.Trigger.Pos
		}
	}
	if o := c.Open; o != nil {
		d.Entered, d.Attempt, d.Expires, d.Since, d.SincePos = o.Entered, o.Attempt+1, o.Expires, o.Since, o.SincePos
		d.Entry, d.Value, d.Variant = o.Entry, o.Slot().Value, o.Variant
		if c.Kept {
			d.Features, d.With = o.Features, o.With
		}
		return d
	}
	d.Entry = w.entryID(c)
	return d
}

// entryID is the id of a new entry: of the person who was asked about, also where they have been merged
// since.
func (w *walk) entryID(c *contest) string {
	return EntryID(c.Rule.Name, cmp.Or(c.Answer.Person, w.in.Person), c.Answer.Value, w.in.At, c.trigger())
}

// failedBefore says of a new entry that it ends as condition_error like the one before it: one answer is
// enough for a schedule, not one at every tick. Each occurrence has an answer of its own.
func (w *walk) failedBefore(c *contest) bool {
	slot := w.in.State.Slot(c.Rule.Name, c.Answer.Value)
	return c.Open == nil && c.Rule.On == nil && slot != nil && slot.Block == ledger.UntilEvaluated
}

// refuse ends an entry whose answer cannot be written for its size.
func (w *walk) refuse(c *contest, why string) {
	if w.failedBefore(c) {
		return
	}
	if c.follows() {
		w.goNoFurther(c, string(ledger.ConditionError)+detail(why))
		return
	}
	d := w.decision(c, ledger.ConditionError, why)
	d.Features, d.With = nil, nil
	w.put(c, d)
}

func (w *walk) add(c *contest, d *ledger.Decision) {
	if why := tooLarge(d); why != "" {
		switch {
		case d.Open, d.Escalates(), d.Reason == ledger.Held, d.Reason == ledger.Holdout, d.Reason == ledger.Shadow:
			w.refuse(c, why)
			return
		default: // the entry is over: its answer stands without them
			d.Features, d.With = nil, nil
		}
	}
	w.put(c, d)
}

func (w *walk) put(c *contest, d *ledger.Decision) {
	w.records = append(w.records, ledger.Record{Decision: d})
	if c.Rule.On != nil && (d.Reason.UsesAgain() || d.Reason == ledger.Held || d.Reason == ledger.Shadow) {
		used := ledger.Usage{Used: true, At: d.Entered}
		w.entered = append(w.entered, ledger.Slot{Rule: d.Rule, Value: d.Value, Live: used, Shadowed: used})
	}
}

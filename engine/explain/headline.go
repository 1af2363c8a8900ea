package explain

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"nudge/engine/ledger"
	"nudge/engine/workspace"
	"nudge/events"
	"nudge/segments"
)

// headline tells in one or two sentences what a marketer asks first: did they get it, and if not, why not and what would it take.
func (x *explainer) headline(r *workspace.Rule, rule *Rule, name string, profile *segments.Profile) string {
	w := words{x.Workspace.Zone, time.UnixMilli(x.At)}
	shown, _ := worth(rule)
	if len(shown) == 0 {
		if r.On != nil {
			return fmt.Sprintf("%s has no %s at which %s would be judged.", name, r.On.Event, r.Name)
		}
		f := r.Who.ForEach()
		text := fmt.Sprintf("%s does not match %s: needs %s", name, r.Name, a(f.Event))
		text += " with " + a(property(f.Path))
		if p := filter(f.Filter); p != "" {
			text += " and " + p
		}
		return text + "."
	}
	lead := shown[0]
	of := ""
	if lead.Value != "" {
		of = " for " + strconv.Quote(lead.Value)
	}
	matches := lead.Truth == segments.True.String()
	entry := latest(rule.Entries, lead.Value)
	if entry == nil && !matches {
		if entry = latest(rule.Entries, ""); entry != nil && lead.Value != entry.Value {
			of = " for " + strconv.Quote(entry.Value)
			return w.got(x, r, entry, name, of, profile) + "."
		}
	}
	var out []string
	if rule.Paused != nil && rule.Paused.Asked != ledger.AskPause {
		out = append(out, fmt.Sprintf("%s has been paused since %s", r.Name, w.instant(rule.Paused.Since)))
	}
	switch {
	case entry != nil && entry.waits():
		out = append(out, w.waiting(x, r, entry, name, of, profile))
	case entry != nil && (entry.last().Reason != ledger.NoLongerTrue || matches):
		text := w.got(x, r, entry, name, of, profile)
		switch o := rule.Outlook; {
		case o == nil || r.On != nil:
		case o.Reason == outAgain, o.Reason == outMissed && o.By != "":
			text += "; " + o.Says
		case matches:
			text += "; they match again: " + o.Says
		}
		out = append(out, text)
	case matches && r.On != nil:
		when := ""
		if lead.Trigger != nil {
			when = " of " + w.instant(*lead.Trigger)
		}
		out = append(out, fmt.Sprintf("The %s%s matches %s, and %s entered nothing with it: it was imported, or came when it was older than %s, or before the rule was in use",
			r.On.Event, when, r.Name, name, short(r.On.MaxAge)))
	case matches:
		out = append(out, name+" matches "+r.Name+of+"; "+rule.Outlook.Says)
	default:
		out = append(out, name+" does not match "+r.Name+of+": "+x.missing(rule, lead))
	}
	return strings.Join(out, ". ") + "."
}

// missing says of a condition that is not true what it takes, and what would come then.
func (x *explainer) missing(rule *Rule, lead *Answer) string {
	first := ""
	switch {
	case lead.Error != "":
		return "the condition failed: " + lead.Error
	case len(lead.Flips) == 0 && len(lead.absent()) > 0:
		verb := " is missing"
		if len(lead.absent()) > 1 {
			verb = " are missing"
		}
		return list(lead.absent(), "and") + verb + ", and no small change was found that would do"
	case len(lead.Flips) == 0:
		return "no small change was found that would do; the parts say what is not true"
	}
	chosen := &lead.Flips[0]
	first = chosen.Says
	if len(chosen.Needs) == 0 && rule.Outlook != nil {
		says, ok := strings.CutPrefix(rule.Outlook.Says, "would match in ")
		if _, rest, more := strings.Cut(says, "; "); ok && more {
			return first + "; " + rest
		}
		return first
	}
	if rule.Outlook != nil && rule.Outlook.Supposed {
		return first + "; " + rule.Outlook.Says
	}
	return first
}

// absent names what parts that are unknown read and did not find.
func (a *Answer) absent() []string {
	var out []string
	for _, p := range a.Parts {
		for _, name := range slices.Sorted(maps.Keys(p.Values)) {
			if p.Truth == segments.Unknown.String() && p.Values[name] == nil && !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out
}

// latest is the newest entry for a value, "" for any.
func latest(entries []Entry, value string) *Entry {
	for i := range slices.Backward(entries) {
		if value == "" || entries[i].Value == value {
			return &entries[i]
		}
	}
	return nil
}

// waiting tells what an open entry waits for.
func (w words) waiting(x *explainer, r *workspace.Rule, e *Entry, name, of string, profile *segments.Profile) string {
	if text := w.collected(x, r, e, name, of, profile); text != "" {
		return text
	}
	d := e.last()
	why := x.reason(r, string(d.Reason), d.By, profile)
	text := name + " matches " + r.Name + of + "; the message waits"
	if d.Again != nil {
		text += " until " + w.instant(*d.Again) + " " + w.zone.String()
		if d.Waits {
			text += " at most"
		}
	}
	return text + " (" + why + ")"
}

// got tells what came of an entry that has ended.
func (w words) got(x *explainer, r *workspace.Rule, e *Entry, name, of string, profile *segments.Profile) string {
	if text := w.collected(x, r, e, name, of, profile); text != "" {
		return text
	}
	d := e.last()
	if d.Reason != ledger.Send {
		return fmt.Sprintf("%s entered %s%s %s and got nothing: %s", name, r.Name, of, w.on(e.Entered), x.reason(r, string(d.Reason), d.By, profile))
	}
	by := list(d.Channels, "and")
	var last *Delivery
	var said []string
	for i := range e.Deliveries {
		s := e.Deliveries[i].Status
		if s == string(ledger.Accepted) || last == nil || last.Status != string(ledger.Accepted) {
			last = &e.Deliveries[i]
		}
		if s == string(ledger.Accepted) && !slices.Contains(said, last.Channel) {
			said = append(said, last.Channel)
		}
	}
	switch {
	case last == nil || last.Status == string(ledger.Intent):
		return fmt.Sprintf("%s is to get %s%s by %s: it was decided %s and no provider has taken it yet", name, r.Name, of, by, w.on(d.At))
	case last.Status == string(ledger.Retrying):
		return fmt.Sprintf("%s has not got %s%s yet: %s failed %s and is tried again", name, r.Name, of, last.Channel, w.on(last.At))
	case last.Status != string(ledger.Accepted):
		text := fmt.Sprintf("%s did not get %s%s: sending it by %s ended %s as %s", name, r.Name, of, last.Channel, w.on(last.At), last.Status)
		if last.Error != "" {
			text += " (" + last.Error + ")"
		}
		return text
	}
	verb := "got"
	for _, event := range []string{"Message Delivered", "Message Bounced", "Message Complained", "Message Opened", "Message Clicked"} {
		if slices.ContainsFunc(e.Receipts, func(c Receipt) bool { return c.Event == event }) {
			said = append(said, strings.ToLower(strings.TrimPrefix(event, "Message ")))
			if event == "Message Bounced" {
				verb = "was sent"
			}
		}
	}
	return fmt.Sprintf("%s %s %s%s %s (%s)", name, verb, r.Name, of, w.on(last.At), strings.Join(said, ", ")) + w.further(x, r, e, profile)
}

// further tells of an entry whose message was taken whether it goes by another channel too.
func (w words) further(x *explainer, r *workspace.Rule, e *Entry, profile *segments.Profile) string {
	d := e.last()
	why, ended := strings.CutPrefix(d.By, ledger.Following(""))
	if ended {
		reason, detail, _ := strings.Cut(why, ": ")
		why = x.reason(r, reason, detail, profile)
	}
	switch next := e.escalates(); {
	case next != nil && ended:
		return "; the next channel waits until " + w.instant(*next) + " at most (" + why + ")"
	case next != nil && slices.ContainsFunc(e.Receipts, func(c Receipt) bool { return c.Event == events.MessageOpened || c.Event == events.MessageClicked }):
		return "; it goes by no other channel"
	case next != nil:
		return "; not opened by " + w.instant(*next) + ", it goes by the next channel too"
	case ended:
		return "; it went by no other channel: " + why
	default:
		return ""
	}
}

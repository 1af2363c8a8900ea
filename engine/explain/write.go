package explain

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"nudge/engine/ledger"
	"nudge/engine/report"
	"nudge/internal/counted"
	"nudge/segments"
)

// Write prints the explanation as "text" or "json", instants on the clock of zone.
func (e *Explanation) Write(w io.Writer, format string, zone *time.Location) error {
	if format == "json" {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(e) //nolint:wrapcheck // the writer's own error
	}
	p := &printer{zone: zone, at: e.At}
	p.person(e)
	for i := range e.Rules {
		p.rule(&e.Rules[i])
	}
	_, err := io.WriteString(w, p.String())
	return err //nolint:wrapcheck // the writer's own error
}

// printer writes an explanation for people.
type printer struct {
	strings.Builder
	zone *time.Location
	at   time.Time
}

func (p *printer) line(indent int, format string, args ...any) {
	p.WriteString(strings.Repeat("  ", indent))
	fmt.Fprintf(p, format, args...)
	p.WriteByte('\n')
}

func (p *printer) instant(t time.Time) string { return t.In(p.zone).Format("2006-01-02 15:04:05") }

func (p *printer) person(e *Explanation) {
	who := e.UserID
	if who == "" {
		who = "somebody unnamed"
	}
	p.line(0, "%s (person %d) at %s %s", who, uint64(e.Person), p.instant(e.At), p.zone)
	if !e.RulesSince.IsZero() {
		p.line(1, "by the rules in use since %s; the files have others now (--files takes those)", p.instant(e.RulesSince))
	}
	if e.Happened {
		p.line(1, "nothing had arrived by then: what was imported since counts from when it happened")
	}
	if e.Zone != "" {
		p.line(1, "lives by the clock of %s", e.Zone)
	}
	if e.Locale != "" {
		p.line(1, "reads %s", e.Locale)
	}
	reached := "nothing: no e-mail, no phone, no device"
	if len(e.Address) > 0 {
		reached = strings.Join(e.Address, ", ")
	}
	p.line(1, "can be reached by %s", reached)
}

// width is what a line of a terminal holds.
const width = 100

// wrapped prints a text over as many lines as it takes, the first behind the mark and the others below its text.
func (p *printer) wrapped(indent int, mark, text string) {
	line, pad := strings.Repeat("  ", indent)+mark, strings.Repeat("  ", indent)+strings.Repeat(" ", len(mark))
	empty := true
	for _, word := range measured(strings.Fields(text)) {
		switch {
		case empty:
			line += word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width:
			p.line(0, "%s", line)
			line = pad + word
		default:
			line += " " + word
		}
		empty = false
	}
	p.line(0, "%s", line)
}

// measured keeps numbers and their units together.
func measured(words []string) []string {
	var out []string
	for _, word := range words {
		unit := strings.TrimRight(word, ".,;)")
		if n := len(out); n > 0 && slices.Contains([]string{"d", "h", "min", "s", "m", "km", "%"}, unit) {
			out[n-1] += " " + word
			continue
		}
		out = append(out, word)
	}
	return out
}

func (p *printer) rule(r *Rule) {
	p.WriteByte('\n')
	p.wrapped(0, "", r.Headline)
	if r.Paused != nil {
		p.paused(r)
	}
	shown, left := worth(r)
	for _, a := range shown {
		p.answer(r, a)
	}
	if left > 0 {
		p.line(0, "%s: false for %d other values; name one with --value", r.Rule, left)
	}
	for _, s := range r.Stages {
		p.stage(s)
	}
	if len(r.Entries) == 0 {
		p.line(1, "never entered")
	}
	for i := range r.Entries {
		p.entry(&r.Entries[i])
	}
}

func (p *printer) paused(r *Rule) {
	by, was := map[ledger.PauseBy]string{
		report.ByStore: "by itself, as the store cannot compute its condition", ledger.PauseByGuard: "by its pause_when", ledger.PauseByPerson: "by " + r.Paused.Who,
	}[r.Paused.By], "is paused since"
	if r.Paused.Asked == ledger.AskPause {
		was = "is to be paused when serve takes it up, as asked at"
	}
	why := ""
	if r.Paused.Reason != "" {
		why = ", because: " + r.Paused.Reason
	}
	p.line(0, "%s %s %s, %s%s", r.Rule, was, p.instant(r.Paused.Since), by, why)
}

// mostValues is how many values of a for_each are told of at length.
const mostValues = 5

// worth are the answers worth telling, and how many others there are: those that are not false or will not
// be, those of which there are entries, and then the others in their order.
func worth(r *Rule) (shown []*Answer, left int) {
	rank := func(a *Answer) int {
		switch {
		case a.Truth != segments.False.String():
			return 0
		case a.Turns != nil:
			return 1
		case slices.ContainsFunc(r.Entries, func(e Entry) bool { return e.Value == a.Value }):
			return 2
		}
		return 3
	}
	for i := range r.Answers {
		shown = append(shown, &r.Answers[i])
	}
	slices.SortStableFunc(shown, func(a, b *Answer) int {
		if order := rank(a) - rank(b); order != 0 || a.Last == nil || b.Last == nil {
			return order
		}
		return b.Last.Compare(*a.Last) // what happened last is asked about
	})
	n := 0
	for n < len(shown) && (n < mostValues || rank(shown[n]) < 2) {
		n++
	}
	return shown[:n], len(shown) - n
}

func (p *printer) answer(r *Rule, a *Answer) {
	of := ""
	if a.Value != "" {
		of = fmt.Sprintf(" for %q", a.Value)
	}
	if r.On != "" {
		of += fmt.Sprintf(" at the last %q", r.On)
	}
	p.line(0, "%s%s: %s", r.Rule, of, a.Truth)
	if a.Error != "" {
		p.line(1, "%s", a.Error)
	}
	for _, part := range a.Parts {
		text := strings.Join(strings.Fields(part.Text), " ")
		if part.Joins != "" && part.Joins != "not" {
			text = "all of"
			if part.Joins == "or" {
				text = "one of"
			}
		}
		p.line(1+part.Depth, "%-7s  %s", part.Truth, text)
		for _, name := range slices.Sorted(maps.Keys(part.Values)) {
			p.line(3+part.Depth, "   %s = %s", name, p.value(part.Values[name]))
		}
		if part.Lacks > 0 {
			p.line(3+part.Depth, "   needs %d more", part.Lacks)
		}
		if part.Error != "" {
			p.line(3+part.Depth, "   %s", part.Error)
		}
	}
	for i, f := range a.Flips {
		mark := "or       "
		if i == 0 {
			mark = "nearest  "
		}
		p.wrapped(1, mark, f.Says)
	}
}

// stage tells in a line what a message on the channel would meet.
func (p *printer) stage(s Stage) {
	var said []string
	if !s.Reachable {
		said = append(said, "no address")
	}
	if !s.Consent {
		said = append(said, "no consent")
	}
	if s.QuietUntil != nil {
		said = append(said, "quiet until "+p.instant(*s.QuietUntil))
	}
	for _, c := range s.Caps {
		text := fmt.Sprintf("cap %s %d of %d used", c.Cap, c.Used, c.Max)
		if c.Frees != nil {
			text += ", full until " + p.instant(*c.Frees)
		}
		said = append(said, text)
	}
	if len(said) == 0 {
		said = []string{"nothing in the way"}
	}
	p.wrapped(1, s.Channel+": ", strings.Join(said, "; "))
	for _, c := range s.Caps {
		if c.Frees == nil {
			continue
		}
		for _, m := range c.Messages {
			state := "taken"
			if m.OnItsWay {
				state = "on its way since"
			}
			p.line(2, "%s counts %s by %s, %s %s", c.Cap, m.Rule, m.Channel, state, p.instant(m.At))
		}
	}
}

func (p *printer) entry(e *Entry) {
	of := ""
	if e.Value != "" {
		of = fmt.Sprintf(" for %q", e.Value)
	}
	p.line(1, "entered %s%s", p.instant(e.Entered), of)
	for _, d := range e.Decisions {
		text := string(d.Reason)
		if len(d.Channels) > 0 {
			text += " by " + strings.Join(d.Channels, ", ")
		}
		switch {
		case d.Reason == ledger.Send && len(d.Channels) == 0: // it says what keeps it from going further
			text = d.By
		case d.Says != "":
			text += ": " + d.Says
		case d.By != "":
			text += " (" + d.By + ")"
		}
		if d.Variant != "" {
			text += ", variant " + d.Variant
		}
		switch {
		case d.Again != nil && d.Waits:
			text += "; tried again at " + p.instant(*d.Again) + ", or when an address or a consent comes"
		case d.Again != nil && d.Reason == ledger.Send && len(d.Channels) > 0:
			text += "; the next channel is tried at " + p.instant(*d.Again) + " unless it is opened"
		case d.Again != nil:
			text += "; tried again at " + p.instant(*d.Again)
		case d.Waits:
			text += "; tried again when an address or a consent comes"
		}
		p.line(2, "%s  %s", p.instant(d.At), text)
	}
	for i := 0; i < len(e.Deliveries); i++ {
		d := e.Deliveries[i]
		text := d.Channel + " " + d.Status
		if d.Adapter != "" {
			text += " by " + d.Adapter
		}
		if d.Error != "" {
			text += ": " + d.Error
		}
		p.line(2, "%s  %s", p.instant(d.At), text)
		if more := sameRetries(e.Deliveries[i:]); more > 1 { // a provider that is away fills pages else
			i += 2 * more
			p.line(2, "%s  %s retrying %d more %s, the same", p.instant(e.Deliveries[i].At), d.Channel, more, counted.Word(more, "time"))
		}
	}
	for _, r := range e.Receipts {
		p.line(2, "%s  %s", p.instant(r.At), strings.ToLower(strings.TrimPrefix(r.Event, "Message ")))
	}
}

// sameRetries is how often the attempt that list begins with was made again, one after the other, and went the same way.
func sameRetries(list []Delivery) (more int) {
	first := list[0]
	if first.Status != string(ledger.Retrying) {
		return 0
	}
	for i := 1; i+1 < len(list); i += 2 {
		intent, outcome := list[i], list[i+1]
		if intent.Status != string(ledger.Intent) || intent.Channel != first.Channel || intent.Adapter != first.Adapter ||
			outcome.Status != first.Status || outcome.Channel != first.Channel || outcome.Adapter != first.Adapter || outcome.Error != first.Error {
			break
		}
		more++
	}
	return more
}

// value is a value that a condition read, in a line; times are told on the clock.
func (p *printer) value(v any) string {
	switch x := v.(type) {
	case nil:
		return "nothing"
	case string:
		if t, err := time.Parse(time.RFC3339, x); err == nil {
			return p.instant(t)
		}
		return fmt.Sprintf("%q", x)
	case map[string]any:
		at, ok := x["at"].(string)
		if !ok {
			return shortened(x)
		}
		text := p.value(at)
		if properties, ok := x["properties"].(map[string]any); ok && len(properties) > 0 {
			text += " " + shortened(properties)
		}
		return text
	default:
		return shortened(x)
	}
}

// shortened is JSON that fits a line of a terminal.
func shortened(v any) string {
	const most = 100
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	runes := []rune(string(text))
	if len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return string(runes)
}

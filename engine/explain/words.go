package explain

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"nudge/segments"
)

// words says things as people say them, on the clock of a zone.
type words struct {
	zone *time.Location
	now  time.Time
}

// instant is a time of day, with its date where that is another than the one asked about.
func (w words) instant(t time.Time) string {
	t, now := t.In(w.zone), w.now.In(w.zone)
	layout := "15:04"
	if t.Second() != 0 && t.Sub(now).Abs() < time.Hour {
		layout = "15:04:05"
	}
	switch {
	case t.Year() != now.Year():
		layout = "2006-01-02, " + layout
	case t.YearDay() != now.YearDay():
		layout = "Jan 2, " + layout
	}
	return t.Format(layout)
}

// on is an instant behind what happens at it.
func (w words) on(t time.Time) string {
	text := w.instant(t)
	if strings.Contains(text, ", ") {
		return "on " + text
	}
	return "at " + text
}

// span is a length of time in its two largest units.
func span(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%d s", int(d.Round(time.Second).Seconds()))
	}
	d = d.Round(time.Minute)
	days, hours, minutes := d/(24*time.Hour), d%(24*time.Hour)/time.Hour, d%time.Hour/time.Minute
	var out []string
	for _, part := range []struct {
		n    time.Duration
		unit string
	}{{days, "d"}, {hours, "h"}, {minutes, "min"}} {
		if part.n > 0 && len(out) < 2 && (part.unit != "min" || days == 0) {
			out = append(out, fmt.Sprintf("%d %s", part.n, part.unit))
		}
	}
	return strings.Join(out, " ")
}

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// a puts an article before a name.
func a(name string) string {
	if name != "" && strings.ContainsRune("AEIOUaeiou", rune(name[0])) {
		return "an " + name
	}
	return "a " + name
}

func list(of []string, last string) string {
	if len(of) < 2 {
		return strings.Join(of, "")
	}
	return strings.Join(of[:len(of)-1], ", ") + " " + last + " " + of[len(of)-1]
}

// literal is a value as it would be written.
func literal(v any) string {
	switch x := v.(type) {
	case nil:
		return "not set"
	case string:
		return strconv.Quote(x)
	case float64:
		return strconv.FormatFloat(x, 'f', -1, 64)
	}
	return shortened(v)
}

func property(path string) string {
	return strings.TrimPrefix(path, "properties.")
}

// filter is what a filter asks of an occurrence.
func filter(p *segments.Pred) string {
	if p == nil {
		return ""
	}
	switch p.Op {
	case segments.PredAnd, segments.PredOr:
		var kids []string
		for _, k := range p.Kids {
			kids = append(kids, filter(k))
		}
		if p.Op == segments.PredOr {
			return list(kids, "or")
		}
		return list(kids, "and")
	case segments.PredTrue, segments.PredFalse, segments.PredMaybe:
		return p.String()
	default:
	}
	if p.L.Kind != segments.OperandPath || p.L.Scale != 0 && p.L.Scale != 1 || p.L.Offset != 0 {
		return p.String()
	}
	name := property(p.L.Path)
	switch p.Op {
	case segments.PredHas:
		return a(name)
	case segments.PredHasNot:
		return "no " + name
	case segments.PredIsTrue:
		return name
	case segments.PredIsFalse:
		return name + " false"
	case segments.PredIn, segments.PredNotIn:
		var values []string
		for _, v := range p.List {
			values = append(values, literal(v))
		}
		if p.Op == segments.PredNotIn {
			return name + " neither " + list(values, "nor")
		}
		return name + " " + list(values, "or")
	default:
	}
	between, known := map[segments.PredOp]string{
		segments.PredEq: " ", segments.PredNe: " not ", segments.PredLt: " under ", segments.PredLe: " at most ", segments.PredGt: " over ", segments.PredGe: " at least ",
		segments.PredContains: " containing ", segments.PredNotContains: " not containing ", segments.PredStartsWith: " beginning with ",
		segments.PredNotStartsWith: " not beginning with ", segments.PredEndsWith: " ending in ", segments.PredNotEndsWith: " not ending in ",
		segments.PredMatches: " matching ", segments.PredNotMatches: " not matching ",
	}[p.Op]
	if !known || p.R == nil || p.R.Kind != segments.OperandLit {
		return p.String()
	}
	return name + between + literal(p.R.Lit)
}

// history names what a feature counts.
func history(f *segments.Feature) string {
	name := f.Event
	if f.Message != "" {
		name = strings.ToLower(strings.TrimPrefix(f.Event, "Message ")) + " message"
		if f.Message != "*" {
			name += " of " + f.Message
		}
	}
	if f.Event == "*" {
		name = "event of the app"
	}
	return name
}

// need says what would have to be otherwise: as something to come (it is needed), or as a sentence of its own.
func (w words) need(n *segments.Need, value string) (comes, sentence string) {
	segment := ""
	if strings.HasPrefix(n.Part, "segment(") {
		segment = " (for " + n.Part + ")"
	}
	switch n.Kind {
	case segments.NeedEvent:
		return w.event(n, value) + segment, ""
	case segments.NeedTrigger:
		return "", "what arrived would have to say " + given(n.Given) + segment
	case segments.NeedWithout:
		return "", w.without(n) + segment
	case segments.NeedUser:
		return "", "they would have to be known by a user id" + segment
	case segments.NeedTrait:
		return "", trait(n) + segment
	case segments.NeedPlace:
		return "", place(n) + segment
	}
	return "", n.Part
}

func (w words) event(n *segments.Need, value string) string {
	name := history(n.Feature)
	var of []string
	if n.Feature.Keyed {
		of = append(of, strconv.Quote(value))
	}
	if f := filter(n.Feature.Filter); f != "" {
		of = append(of, f)
	}
	if len(n.Given) > 0 {
		of = append(of, given(n.Given)+", say")
	}
	with := ""
	if len(of) > 0 {
		with = " with " + list(of, "and")
		if n.Feature.Keyed {
			with = " for " + list(of, "with")
		}
	}
	switch {
	case n.Count == 1 && n.Had == 0:
		return a(name) + with
	case n.Count == 1:
		return "one more " + name + with
	case n.Had == 0:
		return fmt.Sprintf("%d × %s%s", n.Count, name, with)
	}
	return fmt.Sprintf("%d more %s%s", n.Count, name, with)
}

func given(of map[string]any) string {
	var out []string
	for _, path := range slices.Sorted(maps.Keys(of)) {
		out = append(out, property(path)+" "+literal(of[path]))
	}
	return list(out, "and")
}

func (w words) without(n *segments.Need) string {
	name, last := history(n.Feature), n.Occurrences[0]
	if n.Feature.Event == "*" {
		name = last.Event
	}
	at := w.instant(time.UnixMilli(last.Time))
	if len(n.Occurrences) == 1 {
		return fmt.Sprintf("%s (%s) stands in the way", a(name), at)
	}
	return fmt.Sprintf("%d × %s stand in the way, the last of %s", len(n.Occurrences), name, at)
}

func trait(n *segments.Need) string {
	is := " is " + literal(n.Was)
	would := literal(n.Value)
	if n.Value == nil {
		would = "unset"
	} else if !strings.Contains(n.Part, "==") && !strings.Contains(n.Part, " in ") {
		would += ", say"
	}
	return "the trait " + n.Trait + is + "; it would have to be " + would
}

func place(n *segments.Need) string {
	where := "inside " + n.Place.Pattern
	if !n.Place.Inside {
		where = fmt.Sprintf("within %s of %s", metres(n.Place.Meters), n.Place.Pattern)
	}
	if !n.There {
		return "they would have to have left: not " + where
	}
	if n.Dwell > 0 {
		where += " for " + span(ms(n.Dwell))
	}
	switch {
	case !n.Were.Known:
		return "they would have to be " + where + "; no usable location is known"
	case n.Were.Now:
		return "they would have to be " + where + "; they have been there for " + span(ms(n.Were.Dwell))
	}
	return fmt.Sprintf("they would have to be %s; they are %s away", where, metres(n.Were.Distance))
}

func metres(m float64) string {
	if m < 1000 {
		return fmt.Sprintf("%.0f m", m)
	}
	return fmt.Sprintf("%.1f km", m/1000)
}

// since says what becomes how old.
func (w words) since(s *segments.Aging) string {
	if s == nil {
		return ""
	}
	at := w.instant(time.UnixMilli(s.Of.Time))
	if s.Age == 0 {
		return fmt.Sprintf(", when the %s that is dated %s counts", s.Of.Event, at)
	}
	return fmt.Sprintf(", when the %s of %s is %s old", s.Of.Event, at, span(ms(s.Age)))
}

// flip says a change in a clause: what is needed, or what ends it.
func (w words) flip(f *segments.Flip, value string) string {
	at := time.UnixMilli(f.At)
	matches := f.Truth == segments.True
	if len(f.Needs) == 0 {
		verb := "no longer matches from "
		if matches {
			verb = "would match from "
		}
		return verb + w.instant(at) + " on (in " + span(at.Sub(w.now)) + ")" + w.since(f.Since)
	}
	var come, sentences []string
	for i := range f.Needs {
		comes, sentence := w.need(&f.Needs[i], value)
		if comes != "" {
			come = append(come, comes)
		} else {
			sentences = append(sentences, sentence)
		}
	}
	var out []string
	if len(come) > 0 {
		verb := "would end with "
		if matches {
			verb = "needs "
		}
		out = append(out, verb+list(come, "and"))
	}
	out = append(out, sentences...)
	text := strings.Join(out, "; ")
	if wait := at.Sub(w.now); wait > 0 {
		verb := "would end "
		if matches {
			verb = "would match "
		}
		text += "; then it " + verb + span(wait) + " later"
	}
	return text
}

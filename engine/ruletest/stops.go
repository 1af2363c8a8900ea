package ruletest

import (
	"cmp"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"nudge/engine/schedule"
	"nudge/engine/workspace"
	"nudge/events"
	"nudge/rules"
	"nudge/segments"
	"nudge/segments/geo"
)

// A rule that is looked at every five minutes is looked at 288 times in a day of a test, and nearly
// always nothing can have changed. What a condition says of a person changes only when something
// arrives, or when the age of an occurrence crosses a duration that the condition names. stops are the
// ticks that come next after one of these; the clock jumps from one to the next, over the ticks
// between, as if nudge had been away meanwhile: it catches up on the last of them. A condition in which
// anything else depends on time is looked at on every tick of its schedule.
type stops struct {
	rules []*ruleStops
	at    []int64 // sorted, each once
	until int64
}

// ruleStops is what makes the answer of one rule change with time.
type ruleStops struct {
	rule  *workspace.Rule
	zones []*time.Location
	// ages are durations in ms: an occurrence of that age, or a little more, may change the answer.
	ages []int64
	// late says that a comparison may hold only after the instant at which the age is reached: x > D.
	late  bool
	every bool // every tick is a stop
	reads map[string]bool
	done  map[mark]bool
}

// mark is an instant after which a rule is to be looked at; late is the first tick after it, else
// also one at it.
type mark struct {
	at   int64
	late bool
}

// newStops finds out what each rule depends on. With every, all ticks are stops.
func newStops(ws *workspace.Workspace, line *timeline, every bool) *stops {
	s := &stops{until: line.until}
	zones := line.zones(ws.Zone)
	for _, r := range ws.Rules {
		if r.Schedule == nil {
			continue
		}
		rs := &ruleStops{rule: r, done: map[mark]bool{}, reads: map[string]bool{}, every: every || r.Again.Mode == rules.AgainEveryTick}
		switch zone := r.Schedule.Zone; zone {
		case "", rules.ZoneWorkspace:
			rs.zones = []*time.Location{ws.Zone}
		case rules.ZonePerson:
			rs.zones = zones
		default:
			if loc, err := rules.LoadZone(zone); err == nil {
				rs.zones = []*time.Location{loc}
			}
		}
		rs.read(ws)
		s.rules = append(s.rules, rs)
		s.mark(rs, max(line.start, r.Start-1), true) // the first look
		if rs.every {
			s.everyTick(rs, line.start)
		}
	}
	return s
}

// zones are those that people of the timeline may be in.
func (l *timeline) zones(own *time.Location) []*time.Location {
	out := []*time.Location{own}
	add := func(loc *time.Location) {
		if loc != nil && !slices.ContainsFunc(out, func(z *time.Location) bool { return z.String() == loc.String() }) {
			out = append(out, loc)
		}
	}
	for _, t := range l.tests {
		for _, who := range t.people {
			add(who.zone)
		}
		for i := range t.arrivals {
			ev := &t.arrivals[i].event
			name, ok := events.ZoneOf(ev)
			if trait, has := events.Lookup(ev.Traits, "timezone"); has && !ok {
				name, ok = strings.Trim(string(trait), `"`), true
			}
			if loc, err := rules.LoadZone(name); ok && err == nil {
				add(loc)
			}
		}
	}
	return out
}

var (
	quoted   = regexp.MustCompile("\"(?:[^\"\\\\]|\\\\.)*\"|'(?:[^'\\\\]|\\\\.)*'|`[^`]*`")
	comments = regexp.MustCompile(`//[^\n]*|/\*(?s:.*?)\*/`)
	duration = regexp.MustCompile(`\b(minutes|hours|days|weeks)\s*\(\s*(\d+)\s*\)`)
	units    = regexp.MustCompile(`\b(minutes|hours|days|weeks)\s*\(`)
	// otherwise is what makes an answer depend on time in more ways than an age against a duration:
	// the clock itself, and arithmetic.
	strictly  = regexp.MustCompile(`>(?:[^=]|$)|<=`)
	otherwise = regexp.MustCompile(`(?:^|[^.\w])(?:now|local|anniversary)\b|[-+*/%^]|\.(ago|dwell)\s*\.`)
)

// read collects the durations of the rule's condition and of the segments it may use.
func (r *ruleStops) read(ws *workspace.Workspace) {
	sources := []string{r.rule.ForEach, r.rule.When}
	who := []*segments.Who{r.rule.Who}
	if strings.Contains(r.rule.When, "segment(") {
		for _, s := range ws.Segments {
			sources, who = append(sources, s.When), append(who, s.Who)
		}
	}
	ages := []int64{0}
	for _, src := range sources {
		src = quoted.ReplaceAllString(comments.ReplaceAllString(quoted.ReplaceAllString(src, " "), " "), " ")
		if otherwise.MatchString(src) || len(units.FindAllString(src, -1)) != len(duration.FindAllString(src, -1)) {
			r.every = true
		}
		r.late = r.late || strictly.MatchString(src)
		for _, m := range duration.FindAllStringSubmatch(src, -1) {
			n, err := strconv.ParseInt(m[2], 10, 64)
			unit := map[string]int64{"minutes": 60_000, "hours": 3_600_000, "days": 86_400_000, "weeks": 7 * 86_400_000}[m[1]]
			if err != nil || n > math.MaxInt64/unit {
				continue // beyond any test
			}
			ages = append(ages, n*unit)
		}
	}
	for _, w := range who {
		for _, name := range w.Events() {
			r.reads[name] = true
		}
		for _, f := range w.Features() {
			if f.Within > 0 {
				ages = append(ages, f.Within)
			}
		}
		if len(w.Places()) > 0 {
			r.reads[events.LocationUpdated] = true
			ages = append(ages, cmp.Or(max(ws.Location.MaxAge, 0), geo.DefaultMaxAge), geo.History)
		}
	}
	if ws.Retention > 0 {
		ages = append(ages, ws.Retention.Milliseconds())
	}
	slices.Sort(ages)
	r.ages = slices.Compact(ages)
}

// mark makes a stop of the first tick of the rule after an instant, and of one at it unless late.
func (s *stops) mark(r *ruleStops, at int64, late bool) {
	m := mark{at, late}
	if at > s.until || r.done[m] || r.every {
		return
	}
	r.done[m] = true
	for _, z := range r.zones {
		if !late {
			if tick, ok := schedule.Next(r.rule.Schedule, z, at-1); ok {
				s.add(tick)
			}
			if !r.late {
				continue
			}
		}
		if tick, ok := schedule.Next(r.rule.Schedule, z, at); ok {
			s.add(tick)
		}
	}
}

func (s *stops) everyTick(r *ruleStops, from int64) {
	for _, z := range r.zones {
		for tick, ok := schedule.Next(r.rule.Schedule, z, from); ok && tick <= s.until; tick, ok = schedule.Next(r.rule.Schedule, z, tick) {
			s.add(tick)
		}
	}
}

func (s *stops) add(at int64) {
	if at > s.until {
		return
	}
	if i, found := slices.BinarySearch(s.at, at); !found {
		s.at = slices.Insert(s.at, i, at)
	}
}

// happened notes an event that arrives, or is there from the start: the next tick of every rule that
// reads it sees it, and every age of it that the rule's condition asks for is a stop.
func (s *stops) happened(ev *events.Event, now int64) {
	name := ev.StoredName()
	_, moved := events.ZoneOf(ev)
	_, located := events.FixOf(ev)
	for _, r := range s.rules {
		read := r.reads[name] || name != "" && r.reads["*"] || located && r.reads[events.LocationUpdated]
		if name == "" || moved || read {
			s.mark(r, now, true) // who somebody is, where they are, how they are reached
		}
		if !read {
			continue
		}
		for _, age := range r.ages {
			if at := ev.Time + age; at >= now {
				s.mark(r, at, false)
			}
		}
	}
}

// looked notes that everybody may have been looked at, that is that somebody may have entered a rule:
// one that lets them in again after a time is looked at then.
func (s *stops) looked(now int64) {
	for _, r := range s.rules {
		if r.rule.Again.Mode == rules.AgainAfter {
			s.mark(r, now+r.rule.Again.After.Milliseconds(), false)
		}
	}
}

// sent notes that messages were sent, opened or clicked, which is history too.
func (s *stops) sent(now int64) {
	for _, name := range events.MessageEvents() {
		s.happened(&events.Event{Kind: events.KindMessage, Name: name, Time: now}, now)
	}
}

// next is the first stop after now.
func (s *stops) next(now int64) (int64, bool) {
	i, _ := slices.BinarySearch(s.at, now+1)
	if i == len(s.at) {
		return 0, false
	}
	return s.at[i], true
}

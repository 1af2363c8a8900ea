package ruletest

import (
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
	ages  []int64
	every bool // every tick is a stop
	done  map[int64]bool
}

// newStops finds out what each rule depends on. With every, all ticks are stops.
func newStops(ws *workspace.Workspace, line *timeline, every bool) *stops {
	s := &stops{until: line.until}
	zones := line.zones(ws.Zone)
	for _, r := range ws.Rules {
		if r.Schedule == nil {
			continue
		}
		rs := &ruleStops{rule: r, done: map[int64]bool{}, every: every || r.Again.Mode == rules.AgainEveryTick}
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
		s.mark(rs, max(line.start, r.Start-1)) // the first look
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
	comments = regexp.MustCompile(`//[^\n]*|/\*(?s:.*?)\*/|#[^\n.]*$`)
	duration = regexp.MustCompile(`\b(minutes|hours|days|weeks)\s*\(\s*(\d+)\s*\)`)
	units    = regexp.MustCompile(`\b(minutes|hours|days|weeks)\s*\(`)
	// otherwise is what makes an answer depend on time in more ways than an age against a duration:
	// the clock itself, and arithmetic.
	otherwise = regexp.MustCompile(`\b(now|local|anniversary)\b|[+*/%^]|\*\*|\s-\s|\.(ago|dwell)\s*\.`)
)

// read collects the durations of the rule's condition and of the segments it may use.
func (r *ruleStops) read(ws *workspace.Workspace) {
	sources := []string{r.rule.ForEach, r.rule.When}
	if strings.Contains(r.rule.When, "segment(") {
		for _, s := range ws.Segments {
			sources = append(sources, s.When)
		}
	}
	ages := []int64{0}
	for _, src := range sources {
		src = quoted.ReplaceAllString(comments.ReplaceAllString(quoted.ReplaceAllString(src, " "), " "), " ")
		if otherwise.MatchString(src) || len(units.FindAllString(src, -1)) != len(duration.FindAllString(src, -1)) {
			r.every = true
		}
		for _, m := range duration.FindAllStringSubmatch(src, -1) {
			n, err := strconv.ParseInt(m[2], 10, 64)
			unit := map[string]int64{"minutes": 60_000, "hours": 3_600_000, "days": 86_400_000, "weeks": 7 * 86_400_000}[m[1]]
			if err != nil || n > math.MaxInt64/unit {
				continue // beyond any test
			}
			ages = append(ages, n*unit)
		}
	}
	for _, f := range r.rule.Who.Features() {
		if f.Within > 0 {
			ages = append(ages, f.Within)
		}
	}
	if len(r.rule.Who.Places()) > 0 || strings.Contains(r.rule.When, "segment(") {
		age := ws.Location.MaxAge
		if age <= 0 {
			age = geo.DefaultMaxAge
		}
		ages = append(ages, age, geo.History)
	}
	if ws.Retention > 0 {
		ages = append(ages, ws.Retention.Milliseconds())
	}
	slices.Sort(ages)
	r.ages = slices.Compact(ages)
}

// mark makes a stop of the first tick of the rule at or after an instant, and of the first one behind
// it: a comparison may hold at the instant itself or only after it.
func (s *stops) mark(r *ruleStops, at int64) {
	if at > s.until || r.done[at] {
		return
	}
	r.done[at] = true
	for _, z := range r.zones {
		for _, after := range []int64{at - 1, at} {
			if tick, ok := schedule.Next(r.rule.Schedule, z, after); ok {
				s.add(tick)
			}
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

// happened notes that something of an instant has arrived, or will: every age of it that a condition
// asks for is a stop.
func (s *stops) happened(at, now int64) {
	for _, r := range s.rules {
		if r.every {
			continue
		}
		for _, age := range r.ages {
			if at+age >= now {
				s.mark(r, at+age)
			}
		}
	}
}

// entered notes that somebody may have entered rules now: one that lets them in again after a time
// is looked at then.
func (s *stops) entered(now int64) {
	for _, r := range s.rules {
		if r.rule.Again.Mode == rules.AgainAfter && !r.every {
			s.mark(r, now+r.rule.Again.After.Milliseconds())
		}
	}
}

// arrived notes that something arrives now: the next tick of every rule sees it.
func (s *stops) arrived(now int64) {
	for _, r := range s.rules {
		s.mark(r, now)
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

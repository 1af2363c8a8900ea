package check

import (
	"fmt"
	"slices"
	"time"

	"nudge/engine/decide"
	"nudge/engine/workspace"
	"nudge/rules"
	"nudge/segments"
)

func quietElsewhere() Check {
	return Check{
		ID: "rule/quiet-elsewhere", Severity: rules.Info,
		What: "A rule that looks on the workspace's clock, and all of whose looks fall into the quiet hours of people in some time zones.",
		Why: "09:00 in Berlin is 03:00 in New York: whoever lives there never gets the message at the time that the rule says, but hours later and only if the " +
			"condition is still true, or not at all if the rule says `drop`. (Who is at a place is in its zone: rules with `near` and `inside` are none of these.) Where all your people live in one zone, give the quiet hours that zone.",
		Bad: `-- nudge.yaml --
zone: Europe/Berlin
quiet_hours: {from: "21:00", to: "08:00", zone: person}
-- rules/good-morning.yaml --
rule: good-morning
schedule: "0 9 * * *"
when: did("Product Viewed").within(days(1))
again: {after: 7d}
message:
  push: {title: Good morning, body: It is still there}
`,
		Good: `-- nudge.yaml --
zone: Europe/Berlin
quiet_hours: {from: "21:00", to: "08:00", zone: person}
-- rules/good-morning.yaml --
rule: good-morning
schedule: {cron: "0 9 * * *", zone: person}
when: did("Product Viewed").within(days(1))
again: {after: 7d}
message:
  push: {title: Good morning, body: It is still there}
`,
		run: func(p *pass) {
			known := map[string]elsewhere{} // many rules share a schedule
			for _, r := range p.Rules {
				s := r.Schedule
				if r.Transactional() || s == nil || s.Zone == rules.ZonePerson || r.SendAt != nil || len(r.Who.Places()) > 0 {
					continue // who is at a place is in its zone
				}
				key := fmt.Sprintf("%s %s %+v %s %q", s.Cron, s.Zone, s.At, r.Category, r.Channels())
				e, ok := known[key]
				if !ok {
					e = p.elsewhere(r)
					known[key] = e
				}
				if len(e.zones) > 0 && len(e.zones) < len(peopled) {
					p.report(at(r, scheduleKey(s)), r.Name, e.becomes(r)+" With `zone: person` the rule looks at "+e.first.Format("15:04")+" of everybody's own clock.",
						"every look is in the quiet hours of people in %s: at %s it is %s in %s", e.named(), e.first.Format("15:04 MST"), e.there(), e.zones[0])
				}
			}
		},
	}
}

// peopled are zones that people live in, one for most of the clocks in use; those that are named first where several are meant.
var peopled = []string{
	"America/New_York", "Asia/Kolkata", "America/Los_Angeles", "Europe/London", "Asia/Shanghai", "Europe/Berlin", "America/Sao_Paulo", "Asia/Tokyo", "America/Chicago",
	"Europe/Istanbul", "Africa/Cairo", "Asia/Dubai", "Asia/Karachi", "Asia/Dhaka", "Asia/Bangkok", "Australia/Sydney", "America/Denver", "America/Halifax",
	"America/Anchorage", "Pacific/Honolulu", "Atlantic/Azores", "Pacific/Auckland",
}

// elsewhere is where all looks of a schedule are in quiet hours.
type elsewhere struct {
	zones []string
	first time.Time // a look, on the clock of the schedule
	until int64     // when the quiet hours of the first zone end that it falls into
	loc   *time.Location
}

func (p *pass) elsewhere(r *workspace.Rule) elsewhere {
	loc := p.Zone
	if r.Schedule.Zone != rules.ZoneWorkspace {
		if l, err := p.Policy.Location(r.Schedule.Zone); err == nil {
			loc = l
		}
	}
	var looks []time.Time
	seen := map[[3]int]bool{} // one of each time of a week will do: clocks change with the weeks
	for _, t := range p.instants(r.Schedule) {
		when := [3]int{t.YearDay() / 7, t.Hour(), t.Minute()}
		if slices.ContainsFunc(p.Policy.Quiet, func(q decide.Quiet) bool { return len(q.Days) > 0 }) {
			when[0] = t.YearDay()
		}
		if seen[when] {
			continue
		}
		seen[when] = true
		looks = append(looks, time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), 0, 0, loc))
	}
	if r.Schedule.At != nil {
		looks = []time.Time{time.UnixMilli(r.Schedule.At.In(loc)).In(loc)}
	}
	e := elsewhere{}
	for _, zone := range peopled {
		until := p.quietIn(r, zone, looks)
		if until == 0 {
			continue
		}
		if e.zones == nil {
			e.first, e.until = looks[0], until
			e.loc, _ = p.Policy.Location(zone) // else nothing would be quiet there
		}
		e.zones = append(e.zones, zone)
	}
	return e
}

// quietIn is when quiet hours end for the first of the looks, for people in a zone, if all looks are in those of every channel;
// else 0.
func (p *pass) quietIn(r *workspace.Rule, zone string, looks []time.Time) (first int64) {
	profile := &segments.Profile{Zone: zone}
	for _, t := range looks {
		soonest := int64(0)
		for _, channel := range r.Channels() {
			until, _ := p.Policy.QuietUntil(channel, r.Category, profile, t.UnixMilli())
			if until == 0 {
				return 0
			}
			if soonest == 0 || until < soonest {
				soonest = until
			}
		}
		if first == 0 {
			first = soonest
		}
	}
	return first
}

// named are the zones, some of them by name.
func (e elsewhere) named() string {
	const most = 3
	names := slices.Clone(e.zones)
	if more := len(names) - most; more > 1 {
		names = append(names[:most], fmt.Sprintf("%d more of %d time zones", more, len(peopled)))
	}
	return enumerate(names)
}

// there is the time of the first look in the first zone.
func (e elsewhere) there() string { return e.first.In(e.loc).Format("15:04") }

// becomes is what becomes of entries there.
func (e elsewhere) becomes(r *workspace.Rule) string {
	until, wait := time.UnixMilli(e.until).In(e.loc).Format("15:04"), time.UnixMilli(e.until).Sub(e.first)
	return becomes(r, "Their", "They never get it", wait, until+" there")
}

// scheduleKey is the key of a rule's file under which its schedule stands.
func scheduleKey(s *rules.Schedule) string {
	if s.At != nil {
		return "at"
	}
	return "schedule"
}

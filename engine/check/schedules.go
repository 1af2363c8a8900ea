package check

import (
	"time"

	"nudge/engine/schedule"
	"nudge/rules"
)

// sample is how many instants of a schedule are looked at: a year of days, a day of five minutes.
const sample = 400

// instants are some of a schedule's, on the clock of its own zone, told as if that were UTC; none of `at`.
func (p *pass) instants(s *rules.Schedule) []time.Time {
	if s == nil || s.Spec == nil {
		return nil
	}
	if known, ok := p.times[s.Cron]; ok {
		return known
	}
	var out []time.Time
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	enough := time.Date(2029, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli() // there is a leap year in between
	for range sample {
		next, ok := schedule.Next(s, time.UTC, at)
		if !ok || len(out) > 1 && next > enough {
			break
		}
		out, at = append(out, time.UnixMilli(next).UTC()), next
	}
	p.times[s.Cron] = out
	return out
}

// shortest is the shortest time between two instants of a schedule; 0 without two.
func (p *pass) shortest(s *rules.Schedule) time.Duration {
	all := p.instants(s)
	least := time.Duration(0)
	for i := 1; i < len(all); i++ {
		if gap := all[i].Sub(all[i-1]); least == 0 || gap < least {
			least = gap
		}
	}
	return least
}

// longest is the longest time between two instants of a schedule, changes of clocks included; more than any other without two.
func (p *pass) longest(s *rules.Schedule) time.Duration {
	all := p.instants(s)
	if len(all) < 2 {
		return 1 << 62
	}
	most := time.Duration(0)
	for i := 1; i < len(all); i++ {
		most = max(most, all[i].Sub(all[i-1]))
	}
	return most + time.Hour
}

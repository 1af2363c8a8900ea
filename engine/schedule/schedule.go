// Package schedule says when a rule's schedule falls due, on the clock of a zone, through changes
// between summer and winter time.
package schedule

import (
	"time"

	"github.com/robfig/cron/v3"

	"nudge/rules"
)

// everyHour is the bit that robfig's parser sets in a field that was "*" or "*/n".
const everyHour = 1 << 63

// horizon bounds the search for a schedule that never comes ("0 0 31 2 *").
const horizon = 5 * 366 * 24 * time.Hour

// Next is the first instant after `after` (Unix milliseconds) at which the schedule falls due on the
// clock of loc. ok is false when it never does again.
//
// A schedule with fixed hours falls due once on every day that has them: a time in a DST gap is the
// gap's end, one in an overlap is its first. A schedule for every hour goes by elapsed time.
func Next(s *rules.Schedule, loc *time.Location, after int64) (at int64, ok bool) {
	if s.At != nil {
		at = s.At.In(loc)
		return at, at > after
	}
	if s.Spec.Hour&everyHour != 0 {
		spec := *s.Spec
		spec.Location = loc
		next := spec.Next(time.UnixMilli(after).In(loc))
		return next.UnixMilli(), !next.IsZero()
	}
	return nextFixed(s.Spec, loc, after)
}

// nextFixed walks the schedule over clock faces, that is times without a zone, and maps each to its
// instant.
func nextFixed(spec *cron.SpecSchedule, loc *time.Location, after int64) (int64, bool) {
	faces := *spec
	faces.Location = time.UTC
	face := faceOf(time.UnixMilli(after).In(loc)).Add(-3 * time.Hour)
	end := face.Add(horizon)
	for {
		face = faces.Next(face)
		if face.IsZero() || face.After(end) {
			return 0, false
		}
		if at := instant(face, loc); at > after {
			return at, true
		}
	}
}

// faceOf is what the clock shows, as a UTC time.
func faceOf(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, time.UTC)
}

// instant is when the clock of loc shows the face.
func instant(face time.Time, loc *time.Location) int64 {
	local := rules.LocalTime{
		Year: face.Year(), Month: int(face.Month()), Day: face.Day(),
		Hour: face.Hour(), Minute: face.Minute(), Second: face.Second(),
	}
	return local.In(loc)
}

// Last is the last instant in (after, upTo] at which the schedule fell due. ok is false when none
// did.
func Last(s *rules.Schedule, loc *time.Location, after, upTo int64) (at int64, ok bool) {
	next, ok := Next(s, loc, after)
	if !ok || next > upTo {
		return 0, false
	}
	// Look back over growing spans, so that a long downtime costs no more than a short one.
	for back := time.Hour; ; back *= 8 {
		from := max(upTo-back.Milliseconds(), after)
		found, any := int64(0), false
		for t, more := Next(s, loc, from); more && t <= upTo; t, more = Next(s, loc, t) {
			found, any = t, true
		}
		if any {
			return found, true
		}
		if from == after {
			return 0, false
		}
	}
}

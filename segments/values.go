package segments

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Values of conditions at run time are nil (missing), string, bool, float64, int64 (an integer
// beyond ±2^53, kept exactly), instant, span, []any, map[string]any and *Occurrence.

// instant is a time, Unix milliseconds.
type instant int64

// span is a duration in milliseconds. It saturates: forever is longer than any other.
type span int64

const (
	forever span = math.MaxInt64
	never   span = -math.MaxInt64

	msMinute = 60_000
	msHour   = 60 * msMinute
	msDay    = 24 * msHour
	msWeek   = 7 * msDay
)

func saturate(f float64) span {
	switch {
	case f >= float64(forever):
		return forever
	case f <= float64(never):
		return never
	}
	return span(math.Round(f))
}

func addSpan(a, b span) span {
	c := a + b
	switch {
	case a == forever || b == forever:
		return forever
	case a == never || b == never:
		return never
	case a > 0 && b > 0 && c < 0:
		return forever
	case a < 0 && b < 0 && (c >= 0 || c < never):
		return never
	}
	return c
}

// number gives an untyped number its canonical form; what is not finite is missing.
func number(f float64) any {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return nil
	}
	return f
}

func asFloat(v any) (float64, bool) {
	switch x := v.(type) {
	case float64:
		return x, true
	case int64:
		return float64(x), true
	}
	return 0, false
}

// compareNumbers orders two numbers exactly, also where one is an integer beyond float64's range
// of exact integers.
func compareNumbers(a, b any) (int, bool) {
	switch x := a.(type) {
	case float64:
		switch y := b.(type) {
		case float64:
			return order(x, y), true
		case int64:
			return -compareIntFloat(y, x), true
		}
	case int64:
		switch y := b.(type) {
		case float64:
			return compareIntFloat(x, y), true
		case int64:
			return order(x, y), true
		}
	}
	return 0, false
}

func compareIntFloat(i int64, f float64) int {
	switch {
	case f >= 1<<63:
		return -1
	case f < -(1 << 63):
		return 1
	}
	whole := math.Floor(f)
	if c := order(i, int64(whole)); c != 0 {
		return c
	}
	return order(0, f-whole)
}

func order[T int64 | float64 | string | instant | span](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// compare orders two values of one type; ok is false when either is missing or they cannot be
// compared, which makes the comparison unknown. Booleans are only equal or not.
func compare(a, b any) (c int, ok bool) {
	switch x := a.(type) {
	case nil:
		return 0, false
	case string:
		if y, is := b.(string); is {
			return order(x, y), true
		}
	case float64, int64:
		return compareNumbers(a, b)
	case instant:
		if y, is := b.(instant); is {
			return order(x, y), true
		}
	case span:
		if y, is := b.(span); is {
			return order(x, y), true
		}
	}
	return 0, false
}

// equal is three-valued equality: booleans, strings, numbers, times and durations with their own.
func equal(a, b any) (eq, ok bool) {
	if x, is := a.(bool); is {
		y, is := b.(bool)
		return x == y, is
	}
	c, ok := compare(a, b)
	return c == 0, ok
}

// holds says whether a comparison is definitely true (want) or definitely false (not want).
func holds(operator string, a, b any, want bool) bool {
	switch operator {
	case "==":
		eq, ok := equal(a, b)
		return ok && eq == want
	case "!=":
		eq, ok := equal(a, b)
		return ok && eq != want
	}
	c, ok := compare(a, b)
	return ok && ordered(operator, c) == want
}

func ordered(operator string, c int) bool {
	switch operator {
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	}
	return c >= 0
}

// dateOnly and the others are the ISO forms that a literal or a property may have.
const (
	dateOnly    = "2006-01-02"
	minuteOnly  = "2006-01-02T15:04"
	secondsOnly = "2006-01-02T15:04:05"
)

// civil is a date in no particular zone.
type civil struct {
	year  int
	month time.Month
	day   int
}

// midnight is the first instant of the date in a zone (not always 00:00: a clock may be put forward at midnight).
func (d civil) midnight(loc *time.Location) instant {
	t := time.Date(d.year, d.month, d.day, 0, 0, 0, 0, loc)
	if t.Day() != d.day { // 00:00 does not exist there and Go went back: take the first instant that does
		t = t.Add(time.Hour)
	}
	return instant(t.UnixMilli())
}

func civilOf(ms int64, loc *time.Location) civil {
	t := time.UnixMilli(ms).In(loc)
	return civil{t.Year(), t.Month(), t.Day()}
}

// parseTime reads an ISO 8601 instant with an offset; a bare date or a time without an offset is
// reported as such, for it means nothing without a zone.
func parseTime(s string) (at instant, d civil, clock time.Duration, bare, ok bool) {
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return instant(t.UnixMilli()), civil{}, 0, false, true
	}
	for _, layout := range []string{dateOnly, minuteOnly, secondsOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			clock := time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute + time.Duration(t.Second())*time.Second
			return 0, civil{t.Year(), t.Month(), t.Day()}, clock, true, true
		}
	}
	return 0, civil{}, 0, false, false
}

// anniversary is the instant at which this year's anniversary of a date begins in a zone. Of
// 29 February it is the 28th in years without one.
func anniversary(of civil, now int64, loc *time.Location) instant {
	d := civil{civilOf(now, loc).year, of.month, of.day}
	if d.month == time.February && d.day == 29 && !leap(d.year) {
		d.day = 28
	}
	return d.midnight(loc)
}

func leap(y int) bool { return y%4 == 0 && (y%100 != 0 || y%400 == 0) }

// spanText writes a duration as the language does.
func spanText(s span) string {
	if s == forever {
		return "forever"
	}
	for _, u := range []struct {
		ms   span
		name string
	}{{msDay, "days"}, {msHour, "hours"}} {
		if s != 0 && s%u.ms == 0 {
			return u.name + "(" + strconv.FormatInt(int64(s/u.ms), 10) + ")"
		}
	}
	return "minutes(" + strconv.FormatFloat(float64(s)/msMinute, 'g', -1, 64) + ")"
}

func instantText(t instant) string {
	return time.UnixMilli(int64(t)).UTC().Format("2006-01-02T15:04:05.000Z07:00")
}

// quote writes a string literal of the language.
func quote(s string) string {
	if !strings.Contains(s, `"`) || strings.Contains(s, "'") {
		return strconv.Quote(s)
	}
	q := strconv.Quote(s)
	return "'" + strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`) + "'"
}

// portable turns a value into what JSON keeps unchanged: times as RFC 3339 in UTC, durations as
// seconds, occurrences as objects. Templates and the ledger get these.
func portable(v any) any {
	switch x := v.(type) {
	case instant:
		return instantText(x)
	case span:
		return float64(x) / 1000
	case *Occurrence:
		if x == nil {
			return nil
		}
		return map[string]any{
			"at": instantText(instant(x.Time)), "event": x.Event,
			"properties": objectOf(x.Properties), "context": objectOf(x.Context),
		}
	case []any:
		out := make([]any, len(x))
		for i, e := range x {
			out[i] = portable(e)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, e := range x {
			out[k] = portable(e)
		}
		return out
	}
	return v
}

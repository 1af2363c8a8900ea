package events

import (
	"bytes"
	"math"
	"strconv"
	"time"
)

const (
	// DefaultMaxAhead is how far in the future an event may be dated, in milliseconds: 366 days,
	// which lets an app announce next year's appointment. Plan.MaxAhead changes it.
	DefaultMaxAhead = int64(366 * 24 * time.Hour / time.Millisecond)
	// EarliestTime is 2000-01-01T00:00:00Z in Unix milliseconds; an older event is a broken clock.
	EarliestTime = int64(946_684_800_000)
	// A number from here on is milliseconds, below it seconds (1973 in the one, 5138 in the other).
	firstMilliseconds = 1e11
)

// ParseTime reads an instant as apps write them and returns Unix milliseconds: RFC 3339, the same
// with a space, without a zone (then UTC) or without a time of day, or a number of Unix seconds
// (milliseconds from 100,000,000,000 on), also inside a string.
func ParseTime(text string) (ms int64, ok bool) {
	if ms, ok := parseISO(text); ok {
		return ms, true
	}
	if ms, ok := parseEpoch(text); ok {
		return ms, true
	}
	for _, layout := range []string{
		time.RFC3339Nano, "2006-01-02T15:04:05.999999999Z0700", "2006-01-02 15:04:05.999999999Z07:00",
		"2006-01-02 15:04:05.999999999 -0700", "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999",
		"2006-01-02T15:04Z07:00", "2006-01-02",
	} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UnixMilli(), true
		}
	}
	return 0, false
}

// parseISO reads "2006-01-02T15:04:05Z" and "2006-01-02T15:04:05.000Z", which is what SDKs send.
func parseISO(s string) (int64, bool) {
	if len(s) != 20 && len(s) != 24 || s[len(s)-1] != 'Z' ||
		s[4] != '-' || s[7] != '-' || s[10] != 'T' || s[13] != ':' || s[16] != ':' {
		return 0, false
	}
	milli, ok := 0, true
	if len(s) == 24 {
		if s[19] != '.' {
			return 0, false
		}
		milli = digits(s[20:23], &ok)
	}
	year, month, day := digits(s[:4], &ok), digits(s[5:7], &ok), digits(s[8:10], &ok)
	hour, minute, second := digits(s[11:13], &ok), digits(s[14:16], &ok), digits(s[17:19], &ok)
	if !ok || month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 59 {
		return 0, false
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
	if t.Day() != day {
		return 0, false // the 30th of February
	}
	return t.UnixMilli() + int64(milli), true
}

func digits(s string, ok *bool) int {
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			*ok = false
			return 0
		}
		n = n*10 + int(s[i]-'0')
	}
	return n
}

func parseEpoch(s string) (int64, bool) {
	if s == "" || s[0] != '-' && (s[0] < '0' || s[0] > '9') {
		return 0, false
	}
	if len(s) > 4 && s[4] == '-' { // a date
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.Abs(f) > 1e15 {
		return 0, false
	}
	if math.Abs(f) < firstMilliseconds {
		f *= 1000
	}
	return int64(math.Round(f)), true
}

// instant reads a time of the envelope at the scanner; null is no time.
func (s *scanner) instant() (ms int64, ok bool, err error) {
	switch c := s.peek(); {
	case c == '"':
		text, err := s.text1()
		if err != nil || text == "" {
			return 0, false, err
		}
		if ms, ok = ParseTime(text); !ok {
			return 0, false, refuse("%.40q is not a time; send RFC 3339, such as 2026-01-31T08:30:00.000Z", text)
		}
		return ms, true, nil
	case c == '-' || c >= '0' && c <= '9':
		from := s.pos
		if err := s.number(); err != nil {
			return 0, false, err
		}
		if ms, ok = parseEpoch(view(s.in[from:s.pos])); !ok {
			return 0, false, refuse("%.40s is not a time; send RFC 3339 or Unix milliseconds", s.in[from:s.pos])
		}
		return ms, true, nil
	case c == 'n':
		return 0, false, s.word("null")
	default:
		return 0, false, s.wrong("a time as a string (RFC 3339) or a number (Unix milliseconds)")
	}
}

// wrong goes over a value of the wrong type and says what it should have been.
func (s *scanner) wrong(want string) error {
	from := s.pos
	if err := s.skip(); err != nil {
		return err
	}
	got := bytes.TrimSpace(s.in[from:s.pos])
	return refuse("must be %s, not %s", want, kindOf(got))
}

func kindOf(token []byte) string {
	switch token[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	default:
		return "a number"
	}
}

// text1 reads a string value and decodes it.
func (s *scanner) text1() (string, error) {
	from := s.pos + 1
	escaped, err := s.str()
	if err != nil {
		return "", err
	}
	if !escaped {
		return view(s.in[from : s.pos-1]), nil
	}
	begin := len(s.out)
	s.out = appendDecoded(s.out, s.in[from:s.pos-1])
	return view(s.out[begin:len(s.out):len(s.out)]), nil
}

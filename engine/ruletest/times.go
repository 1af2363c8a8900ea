package ruletest

import (
	"fmt"
	"strings"
	"time"

	"nudge/rules/yamlfile"
)

// layouts of instants on the workspace's clock.
var layouts = []string{
	"2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02",
}

const timeHelp = "Write a time after the start (10m, 1d2h), one before it (-3d), or an instant (2026-03-02T10:00)."

// parseTime reads a time of a test: relative to start, or an instant on the clock of zone.
func parseTime(text string, start int64, zone *time.Location) (int64, error) {
	text = strings.TrimSpace(text)
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t.UnixMilli(), nil
	}
	for _, layout := range layouts {
		if t, err := time.ParseInLocation(layout, text, zone); err == nil {
			return t.UnixMilli(), nil
		}
	}
	amount, before := strings.CutPrefix(text, "-")
	d, err := yamlfile.ParseDuration(strings.TrimPrefix(amount, "+"))
	if err != nil {
		return 0, fmt.Errorf("%q is not a time: %w", text, err)
	}
	if before {
		d = -d
	}
	return start + d.Milliseconds(), nil
}

// parseSpan reads a time, or two with dots between.
func parseSpan(text string, start int64, zone *time.Location) (span, error) {
	first, last, two := strings.Cut(text, "..")
	from, err := parseTime(first, start, zone)
	if err != nil || !two {
		return span{from, from}, err
	}
	to, err := parseTime(last, start, zone)
	if err == nil && to < from {
		err = fmt.Errorf("%q ends before it begins", text)
	}
	return span{from, to}, err
}

// mostRepeats bounds what "0m..10d/1s" may make.
const mostRepeats = 10_000

// parseRepeat reads a time, or a stretch with the step in which something happens again:
// "10m..30m/5m".
func parseRepeat(text string, start int64, zone *time.Location) ([]int64, error) {
	stretch, step, repeated := strings.Cut(text, "/")
	s, err := parseSpan(stretch, start, zone)
	switch {
	case err != nil:
		return nil, err
	case !repeated && s.from != s.to:
		return nil, fmt.Errorf("%q does not say how often: write %s/5m", text, text)
	case !repeated:
		return []int64{s.from}, nil
	}
	d, err := yamlfile.ParseDuration(step)
	if err != nil {
		return nil, fmt.Errorf("%q is not a duration: %w", step, err)
	}
	if d <= 0 || (s.to-s.from)/d.Milliseconds() >= mostRepeats {
		return nil, fmt.Errorf("%q is more than %d times", text, mostRepeats)
	}
	var out []int64
	for at := s.from; at <= s.to; at += d.Milliseconds() {
		out = append(out, at)
	}
	return out, nil
}

// offset prints an instant as tests write it: after the start.
func offset(at, start int64) string {
	ms := at - start
	if ms == 0 {
		return "0m"
	}
	var b strings.Builder
	if ms < 0 {
		b.WriteByte('-')
		ms = -ms
	}
	for _, u := range []struct {
		name string
		ms   int64
	}{{"d", 86_400_000}, {"h", 3_600_000}, {"m", 60_000}, {"s", 1000}, {"ms", 1}} {
		if n := ms / u.ms; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
			ms -= n * u.ms
		}
	}
	return b.String()
}

// wall is an instant for people, on its own clock.
func wall(t time.Time) string { return t.Format("Mon 2006-01-02 15:04:05") }

func (s span) offset(start int64) string {
	if s.from == s.to {
		return offset(s.from, start)
	}
	return offset(s.from, start) + ".." + offset(s.to, start)
}

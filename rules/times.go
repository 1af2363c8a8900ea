package rules

import (
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"nudge/rules/yamlfile"
)

func (p *ruleParser) schedule(n *yamlfile.Node) {
	s := &Schedule{Zone: ZoneWorkspace}
	p.rule.Schedule = s
	if n.Kind == yamlfile.String {
		s.Cron, s.Spec = p.cron(n)
		return
	}
	f := p.r.Fields(n)
	if c := f.Must("cron", "Write `cron: \"0 9 * * 1\"`."); c != nil {
		if c.Kind == yamlfile.String {
			s.Cron, s.Spec = p.cron(c)
		} else {
			p.r.Text(c)
		}
	}
	s.Zone = p.zone(f.Get("zone"))
	f.Done()
}

func (p *ruleParser) at(n *yamlfile.Node) {
	s := &Schedule{Zone: ZoneWorkspace}
	p.rule.Schedule = s
	at := n
	if n.Kind == yamlfile.Map {
		f := p.r.Fields(n)
		at = f.Must("time", "Write `time: 2026-12-24 09:00`.")
		zone := f.Get("zone")
		s.Zone = p.zone(zone)
		f.Done()
		defer func() {
			if s.At != nil && s.At.Fixed && zone != nil {
				p.r.Report(zone, "conflict", "Leave out the one or the other.", "the time has an offset of its own")
			}
		}()
	}
	if t, ok := p.localTime(at); ok {
		s.At = &t
	}
}

// zone reads the zone of a schedule.
func (p *ruleParser) zone(n *yamlfile.Node) string {
	if n == nil {
		return ZoneWorkspace
	}
	return ReadZone(p.r, n)
}

// ReadZone reads "workspace", "person" or the name of a zone; ZoneWorkspace where it is wrong.
func ReadZone(r *yamlfile.Reader, n *yamlfile.Node) string {
	s := r.Text(n)
	if s == "" || s == ZoneWorkspace || s == ZonePerson {
		return s
	}
	if _, err := LoadZone(s); err != nil {
		f := instead(n, "rule/unknown-zone", fmt.Sprintf("%q is not a time zone", s), "", nil)
		f.Detail = "Write workspace, person, or a name of the IANA database such as Europe/Berlin."
		r.Add(f)
		return ZoneWorkspace
	}
	return s
}

// LoadZone is time.LoadLocation for names of the IANA database alone: "Local" and "" are none.
func LoadZone(name string) (*time.Location, error) {
	if name == "" || name == "Local" {
		return nil, fmt.Errorf("%q is not a name of a time zone", name)
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("time zone %q: %w", name, err)
	}
	return loc, nil
}

// layouts of dates and times on somebody's clock.
var layouts = []string{"2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02"}

func (p *ruleParser) localTime(n *yamlfile.Node) (LocalTime, bool) {
	if n == nil {
		return LocalTime{}, false
	}
	if n.Kind == yamlfile.String {
		s := strings.TrimSpace(n.Text)
		if t, err := time.Parse(time.RFC3339, s); err == nil {
			return LocalTime{Fixed: true, Instant: t.UnixMilli()}, true
		}
		for _, layout := range layouts {
			if t, err := time.Parse(layout, s); err == nil {
				return LocalTime{Year: t.Year(), Month: int(t.Month()), Day: t.Day(), Hour: t.Hour(), Minute: t.Minute(), Second: t.Second()}, true
			}
		}
	}
	p.r.Report(n, "bad-time", "Write a date, a date and a time, or one with an offset: 2026-12-24, 2026-12-24 09:00, 2026-12-24T09:00:00+01:00.",
		"%q is not a date and time", n.Text)
	return LocalTime{}, false
}

// cronFields are the five fields, for messages.
var cronFields = []string{"a minute", "an hour", "a day of the month", "a month", "a day of the week"}

// cron reads a cron expression, and says which field is wrong.
func (p *ruleParser) cron(n *yamlfile.Node) (string, *cron.SpecSchedule) {
	const id = "rule/bad-cron"
	text := n.Text
	bad := func(from, to int, summary, detail string) (string, *cron.SpecSchedule) {
		f := n.FindingIn(from, to, id, summary)
		f.Detail = detail
		p.r.Add(f)
		return text, nil
	}
	words, starts := fieldsOf(text)
	switch {
	case len(words) > 0 && (strings.HasPrefix(words[0], "TZ=") || strings.HasPrefix(words[0], "CRON_TZ=")):
		return bad(starts[0], starts[0]+len(words[0]), "the zone is not part of the expression", "Write `schedule: {cron: …, zone: …}`.")
	case len(words) > 0 && strings.HasPrefix(words[0], "@every"):
		return bad(0, len(text), "@every is not allowed",
			"It counts from when the process started, so that a restart changes it. Write \"*/10 * * * *\".")
	case len(words) > 0 && strings.HasPrefix(words[0], "@"):
		spec, err := cron.ParseStandard(strings.TrimSpace(text))
		if err != nil {
			return bad(0, len(text), fmt.Sprintf("%q is not a schedule", text), "There are @hourly, @daily, @weekly, @monthly and @yearly.")
		}
		return strings.TrimSpace(text), spec.(*cron.SpecSchedule) //nolint:forcetypeassert // only @every is another type
	case len(words) != len(cronFields):
		return bad(0, len(text), fmt.Sprintf("a cron expression has five fields, this one has %d", len(words)),
			"They are minute, hour, day of the month, month, day of the week: \"30 9 * * 1-5\".")
	}
	ok := true
	for i, w := range words {
		one := []string{"*", "*", "*", "*", "*"}
		one[i] = w
		if _, err := cron.ParseStandard(strings.Join(one, " ")); err != nil {
			detail := ""
			if reason := err.Error(); !strings.Contains(reason, "failed to parse") {
				detail = "The " + reason + "."
			}
			bad(starts[i], starts[i]+len(w), fmt.Sprintf("%q is not %s", w, cronFields[i]), detail)
			ok = false
		}
	}
	if !ok {
		return text, nil
	}
	parsed, err := cron.ParseStandard(strings.Join(words, " "))
	if err != nil {
		return bad(0, len(text), err.Error(), "")
	}
	spec := parsed.(*cron.SpecSchedule) //nolint:forcetypeassert // five fields make no other type
	if spec.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return bad(starts[2], starts[3]+len(words[3]), "there is no such date", "The rule would never be looked at.")
	}
	if words[2] != "*" && words[4] != "*" && !strings.HasPrefix(words[2], "*/") && !strings.HasPrefix(words[4], "*/") {
		f := n.FindingIn(starts[2], starts[4]+len(words[4]), "rule/cron-either-day", "cron takes either of the two days")
		f.Severity = Warning
		f.Detail = fmt.Sprintf("It runs on every day that is %q of the month, and on every day that is %q of the week.", words[2], words[4])
		p.r.Add(f)
	}
	return strings.Join(words, " "), spec
}

// fieldsOf is strings.Fields with the byte offset of each word.
func fieldsOf(s string) (words []string, starts []int) {
	at := 0
	for w := range strings.FieldsSeq(s) {
		at += strings.Index(s[at:], w)
		words, starts = append(words, w), append(starts, at)
		at += len(w)
	}
	return words, starts
}

package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"nudge/events"
)

// errSkipped says that a row, or an event of it, is left out because the mapping says so.
var errSkipped = errors.New("left out by the mapping")

// converter makes calls of rows.
type converter struct {
	m    *Mapping
	call events.Call
	head []byte // of the file: parts files with the same rows from each other
	body []byte
}

// bind resolves the columns of the mapping in the file. What is missing is a *MappingError.
func (c *converter) bind(in rows) error {
	var problems []Problem
	bound := map[string]int{}
	bind := func(at place, column string) int {
		if i, ok := bound[column]; ok {
			return i
		}
		i, err := in.bind(column)
		if err != nil {
			problems = append(problems, Problem{at.line, at.column, err.Error()})
		}
		bound[column] = i
		return i
	}
	resolve := func(v *value) {
		if v != nil && v.constant == nil {
			v.index, v.decimal = bind(v.at, v.column), c.m.csv.decimal
		}
	}
	conditions := func(cs []condition) {
		for i := range cs {
			cs[i].index, cs[i].decimal = bind(cs[i].at, cs[i].column), c.m.csv.decimal
		}
	}
	conditions(c.m.skip)
	for i := range c.m.events {
		e := &c.m.events[i]
		conditions(e.when)
		for _, v := range []*value{e.name, e.user, e.anonymous, e.previous, e.group, e.message, e.time} {
			resolve(v)
		}
		for _, fs := range [][]field{e.properties, e.traits, e.context} {
			for _, f := range fs {
				resolve(f.value)
			}
		}
	}
	if len(problems) > 0 {
		return &MappingError{c.m.file, problems}
	}
	return nil
}

// events makes the events of a row. No event and no error: the mapping leaves the row out.
func (c *converter) events(r *row, out []events.Event) ([]events.Event, error) {
	for i := range c.m.skip {
		if c.m.skip[i].holds(r) {
			return out, nil
		}
	}
	for i := range c.m.events {
		e := &c.m.events[i]
		if !all(e.when, r) {
			continue
		}
		err := c.write(e, r, i)
		if errors.Is(err, errSkipped) {
			continue
		}
		if err != nil {
			return out, err
		}
		ev, err := events.Normalise(c.body, 0, c.call)
		if err != nil {
			return out, err
		}
		out = append(out, ev)
	}
	return out, nil
}

func all(cs []condition, r *row) bool {
	for i := range cs {
		if !cs[i].holds(r) {
			return false
		}
	}
	return true
}

func (c *condition) holds(r *row) bool {
	text := r.cell(c.index).String()
	if c.empty != nil && *c.empty != (strings.TrimSpace(text) == "") {
		return false
	}
	if c.is != nil && !contains(c.is, text) || c.not != nil && contains(c.not, text) {
		return false
	}
	if c.matches != nil && !c.matches.MatchString(text) {
		return false
	}
	if c.below != nil || c.above != nil {
		n, err := strconv.ParseFloat(point(strings.TrimSpace(text), c.decimal), 64)
		if err != nil || c.below != nil && n >= *c.below || c.above != nil && n <= *c.above {
			return false
		}
	}
	return true
}

func contains(list []string, s string) bool {
	return slices.Contains(list, s)
}

// write makes the call's JSON, as an app would send it.
func (c *converter) write(e *eventMap, r *row, index int) error {
	b := c.body[:0]
	b = append(b, `{"type":"`...)
	b = append(append(b, e.kind...), '"')
	for _, m := range []struct {
		name  string
		value *value
		must  bool
	}{
		{nameKey(e.kind), e.name, e.kind == "track"},
		{"userId", e.user, false},
		{"anonymousId", e.anonymous, false},
		{"previousId", e.previous, e.kind == "alias"},
		{"groupId", e.group, e.kind == "group"},
		{"timestamp", e.time, true},
		{"messageId", e.message, false},
	} {
		if m.value == nil {
			continue
		}
		token, err := m.value.token(r)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		if token == nil {
			if m.must {
				return fmt.Errorf("%s: column %s is empty", m.name, m.value.column)
			}
			continue
		}
		if token[0] != '"' {
			token = events.AppendString(nil, string(token))
		}
		b = append(append(append(b, `,"`...), m.name...), `":`...)
		b = append(b, token...)
	}
	if e.message == nil {
		b = append(b, `,"messageId":"`...)
		b = append(append(b, c.messageID(r, index)...), '"')
	}
	for _, o := range []struct {
		name   string
		fields []field
	}{{"properties", e.properties}, {"traits", e.traits}, {"context", e.context}} {
		if len(o.fields) == 0 {
			continue
		}
		b = append(append(append(b, `,"`...), o.name...), `":{`...)
		var err error
		if b, err = object(b, o.fields, 0, r); err != nil {
			return err
		}
		b = append(b, '}')
	}
	b = append(b, '}')
	c.body = b
	return nil
}

func nameKey(kind string) string {
	if kind == "track" {
		return "event"
	}
	return "name"
}

// messageID is the same for the same row of the same file whenever it is imported, also after the
// file has grown at its end.
func (c *converter) messageID(r *row, index int) string {
	where := fmt.Appendf(nil, "%d/%d/%d", r.number, r.part, index)
	return "import-" + hashOf(c.head, where, r.raw)
}

// object writes the members of fields (sorted by path, equal up to depth) that have a value.
func object(b []byte, fields []field, depth int, r *row) ([]byte, error) {
	first := true
	for i := 0; i < len(fields); {
		key := fields[i].path[depth]
		end := i + 1
		for end < len(fields) && fields[end].path[depth] == key {
			end++
		}
		mark := len(b)
		if !first {
			b = append(b, ',')
		}
		b = append(events.AppendString(b, key), ':')
		if depth+1 < len(fields[i].path) {
			open := len(b)
			var err error
			if b, err = object(append(b, '{'), fields[i:end], depth+1, r); err != nil {
				return nil, err
			}
			if len(b) == open+1 {
				b = b[:mark] // nothing in it
			} else {
				b, first = append(b, '}'), false
			}
		} else {
			token, err := fields[i].value.token(r)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", strings.Join(fields[i].path, "."), err)
			}
			if token == nil {
				b = b[:mark]
			} else {
				b, first = append(b, token...), false
			}
		}
		i = end
	}
	return b, nil
}

// token is the value for a row as JSON; nil when there is none.
func (v *value) token(r *row) (json.RawMessage, error) {
	if v.constant != nil {
		return v.constant, nil
	}
	c := r.cell(v.index)
	if v.values == nil && v.prefix == "" && c.json != nil && (v.typ == "" || v.typ == "json") {
		if string(c.json) != "null" {
			return c.json, nil // as it stands
		}
	}
	text := strings.TrimSpace(c.String())
	if text == "" {
		if v.fallback == nil {
			return nil, nil
		}
		text = *v.fallback
	} else if v.values != nil {
		to, ok := v.values[text]
		switch {
		case ok:
			text = to
		case v.other == "skip":
			return nil, errSkipped
		case v.other == "error":
			return nil, fmt.Errorf("column %s holds %q, which `values` does not list (set `other: keep` or `other: skip`)", v.column, text)
		}
	}
	return v.convert(text)
}

func (v *value) convert(text string) (json.RawMessage, error) {
	wrong := func(what string) error { return fmt.Errorf("column %s: %q is not %s", v.column, text, what) }
	given := text
	if v.typ == "number" || v.typ == "integer" {
		text = point(text, v.decimal)
		wrong = func(what string) error {
			err := fmt.Errorf("column %s: %q is not %s", v.column, given, what)
			if !v.decimal && decimalComma.MatchString(given) {
				err = fmt.Errorf("%w; where a comma is the decimal sign say `csv: {decimal: \",\"}`", err)
			}
			return err
		}
	}
	switch v.typ {
	case "number":
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, wrong("a number")
		}
		if json.Valid([]byte(text)) {
			return json.RawMessage(text), nil // with all its digits
		}
		return strconv.AppendFloat(nil, f, 'g', -1, 64), nil
	case "integer":
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			f, ferr := strconv.ParseFloat(text, 64) // "17850.0", as some exports write it
			if ferr != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
				return nil, wrong("an integer")
			}
			n = int64(f)
		}
		digits := strconv.AppendInt(nil, n, 10)
		if v.prefix != "" {
			return events.AppendString(nil, v.prefix+string(digits)), nil
		}
		return digits, nil
	case "boolean":
		switch strings.ToLower(text) {
		case "true", "t", "1", "yes", "y":
			return json.RawMessage("true"), nil
		case "false", "f", "0", "no", "n":
			return json.RawMessage("false"), nil
		}
		return nil, wrong("yes or no")
	case "time":
		t, ok := v.instant(text)
		if !ok {
			return nil, wrong("a time" + v.expected())
		}
		return t.UTC().AppendFormat(nil, `"2006-01-02T15:04:05.000Z"`), nil
	case "json":
		var b bytes.Buffer
		if err := json.Compact(&b, []byte(text)); err != nil {
			return nil, wrong("JSON")
		}
		return b.Bytes(), nil
	default:
		return events.AppendString(nil, v.prefix+text), nil
	}
}

// decimalComma is how numbers are written where the comma is the decimal sign, and dots part thousands.
var decimalComma = regexp.MustCompile(`^[+-]?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?$`)

// point is a number with a decimal point, of one with a comma. What is written otherwise there ("12.50") becomes no number:
// better a row that does not fit than a hundred times the price.
func point(text string, comma bool) string {
	switch {
	case !comma:
		return text
	case !decimalComma.MatchString(text):
		return "not " + text
	default:
		return strings.ReplaceAll(strings.ReplaceAll(text, ".", ""), ",", ".")
	}
}

func (v *value) expected() string {
	if v.written == "" {
		return "; say how it is written with `format:`"
	}
	return " written as " + v.written
}

func (v *value) instant(text string) (time.Time, bool) {
	zone := v.zone
	if zone == nil {
		zone = time.UTC
	}
	switch v.layout {
	case "":
		if zone == time.UTC {
			ms, ok := events.ParseTime(text)
			return time.UnixMilli(ms), ok
		}
		for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999", time.DateOnly} {
			if t, err := time.ParseInLocation(layout, text, zone); err == nil {
				return t, true
			}
		}
		return time.Time{}, false
	case "unix", "unix_ms":
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return time.Time{}, false
		}
		if v.layout == "unix" {
			f *= 1000
		}
		return time.UnixMilli(int64(f)), true
	default:
		t, err := time.ParseInLocation(v.layout, text, zone)
		return t, err == nil
	}
}

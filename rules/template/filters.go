package template

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"math"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/osteele/liquid/render"
	"github.com/osteele/liquid/values"
)

// printFilter stands behind every {{ }}: it turns the value into text, or refuses.
const printFilter = "_print"

// itemsFilter stands behind the list of every {% for %}.
const itemsFilter = "_items"

// safe is text that is HTML already.
type safe string

// filter is one filter: the number of arguments and what it does. Neither the value nor an argument
// is ever missing when apply is called, unless optional says that the filter knows what to do then.
type filter struct {
	min, max int
	optional bool
	apply    func(in any, args []any) (any, error)
}

// text makes a filter of a function over text.
func text(f func(string) string) filter {
	return filter{apply: func(in any, _ []any) (any, error) {
		s, err := asText(in)
		return f(s), err
	}}
}

// text1 is text with one argument.
func text1(f func(s, arg string) string) filter {
	return filter{min: 1, max: 1, apply: func(in any, args []any) (any, error) {
		s, err := asText(in)
		a, errA := asText(args[0])
		return f(s, a), errors.Join(err, errA)
	}}
}

// text2 is text with two arguments.
func text2(f func(s, a, b string) string) filter {
	return filter{min: 2, max: 2, apply: func(in any, args []any) (any, error) {
		s, err := asText(in)
		a, errA := asText(args[0])
		b, errB := asText(args[1])
		return f(s, a, b), errors.Join(err, errA, errB)
	}}
}

// list makes a filter of a function over lists.
func list(f func([]any) any) filter {
	return filter{apply: func(in any, _ []any) (any, error) {
		l, err := asList(in)
		if err != nil {
			return nil, err
		}
		return f(l), nil
	}}
}

// math1 makes a filter of a function over numbers; ints, when not nil, is used between whole numbers.
func math1(f func(a, b float64) float64, ints func(a, b int64) int64) filter {
	return filter{min: 1, max: 1, apply: func(in any, args []any) (any, error) {
		a, err := asNumber(in)
		b, errB := asNumber(args[0])
		if err := errors.Join(err, errB); err != nil {
			return nil, err
		}
		if ai, ok := a.(int64); ok && ints != nil {
			if bi, ok := b.(int64); ok && abs64(ai) < 1<<31 && abs64(bi) < 1<<31 {
				return ints(ai, bi), nil
			}
		}
		return f(float(a), float(b)), nil
	}}
}

var (
	blanks = regexp.MustCompile(`\s+`)
	markup = regexp.MustCompile(`(?s)<script.*?</script>|<!--.*?-->|<style.*?</style>|<.*?>`)
)

// filters is the list of filters that templates may use: what Liquid has, less what is unsafe or
// reads a clock, and `money`, `number`.
var filters = map[string]filter{
	"default": {min: 1, max: 1, optional: true, apply: func(in any, args []any) (any, error) {
		if in == nil || in == false || values.IsEmpty(in) {
			return args[0], nil
		}
		return in, nil
	}},

	"append":         text1(func(s, a string) string { return s + a }),
	"capitalize":     text(capitalize),
	"downcase":       text(strings.ToLower),
	"upcase":         text(strings.ToUpper),
	"lstrip":         text(func(s string) string { return strings.TrimLeftFunc(s, unicode.IsSpace) }),
	"rstrip":         text(func(s string) string { return strings.TrimRightFunc(s, unicode.IsSpace) }),
	"strip":          text(strings.TrimSpace),
	"strip_html":     text(func(s string) string { return markup.ReplaceAllString(s, "") }),
	"strip_newlines": text(func(s string) string { return strings.NewReplacer("\r\n", "", "\n", "").Replace(s) }),
	"url_encode":     text(url.QueryEscape),
	"prepend":        text1(func(s, a string) string { return a + s }),
	"remove":         text1(func(s, a string) string { return strings.ReplaceAll(s, a, "") }),
	"remove_first":   text1(func(s, a string) string { return strings.Replace(s, a, "", 1) }),
	"replace":        text2(strings.ReplaceAll),
	"replace_first":  text2(func(s, a, b string) string { return strings.Replace(s, a, b, 1) }),
	"split":          text1(func(s, _ string) string { return s }).then(split),
	"slice":          {min: 1, max: 2, apply: slice},
	"truncate":       {max: 2, apply: truncate},
	"truncatewords":  {max: 2, apply: truncateWords},
	"url_decode": {apply: func(in any, _ []any) (any, error) {
		s, err := asText(in)
		if err != nil {
			return nil, err
		}
		return url.QueryUnescape(s) //nolint:wrapcheck // says what is wrong with the text
	}},
	"escape":        markupOf(html.EscapeString),
	"escape_once":   markupOf(func(s string) string { return html.EscapeString(html.UnescapeString(s)) }),
	"newline_to_br": markupOf(func(s string) string { return strings.ReplaceAll(html.EscapeString(s), "\n", "<br />\n") }),
	"raw":           markupOf(func(s string) string { return s }),

	"compact": list(func(l []any) any { return slices.DeleteFunc(slices.Clone(l), func(v any) bool { return v == nil }) }),
	"first":   list(func(l []any) any { return at(l, 0) }),
	"last":    list(func(l []any) any { return at(l, len(l)-1) }),
	"reverse": list(func(l []any) any {
		l = slices.Clone(l)
		slices.Reverse(l)
		return l
	}),
	"sort": list(func(l []any) any {
		l = slices.Clone(l)
		slices.SortStableFunc(l, func(a, b any) int {
			switch {
			case values.Less(a, b):
				return -1
			case values.Less(b, a):
				return 1
			}
			return 0
		})
		return l
	}),
	"uniq": list(func(l []any) any {
		var out []any
		for _, v := range l {
			if !slices.ContainsFunc(out, func(o any) bool { return values.Equal(o, v) }) {
				out = append(out, v)
			}
		}
		return out
	}),
	"concat": {min: 1, max: 1, apply: func(in any, args []any) (any, error) {
		a, err := asList(in)
		b, errB := asList(args[0])
		return slices.Concat(a, b), errors.Join(err, errB)
	}},
	"join": {max: 1, apply: join},
	"map":  {min: 1, max: 1, apply: mapOver},
	"size": {apply: func(in any, _ []any) (any, error) {
		if s, ok := in.(string); ok {
			return utf8.RuneCountInString(s), nil
		}
		l, err := asList(in)
		return len(l), err
	}},

	"abs":        {apply: func(in any, _ []any) (any, error) { return number1(in, math.Abs) }},
	"ceil":       {apply: func(in any, _ []any) (any, error) { return whole(in, math.Ceil) }},
	"floor":      {apply: func(in any, _ []any) (any, error) { return whole(in, math.Floor) }},
	"round":      {max: 1, apply: round},
	"plus":       math1(func(a, b float64) float64 { return a + b }, func(a, b int64) int64 { return a + b }),
	"minus":      math1(func(a, b float64) float64 { return a - b }, func(a, b int64) int64 { return a - b }),
	"times":      math1(func(a, b float64) float64 { return a * b }, func(a, b int64) int64 { return a * b }),
	"at_least":   math1(math.Max, func(a, b int64) int64 { return max(a, b) }),
	"at_most":    math1(math.Min, func(a, b int64) int64 { return min(a, b) }),
	"divided_by": nonZero(math1(func(a, b float64) float64 { return a / b }, func(a, b int64) int64 { return a / b })),
	"modulo":     nonZero(math1(math.Mod, func(a, b int64) int64 { return a % b })),
	"number":     {max: 2, apply: formatNumber},
	"money":      {min: 1, max: 2, apply: formatMoney},

	"date": {max: 1, optional: true, apply: nil}, // apply is dateIn: it gets the zone as a last argument
	"json": {apply: func(in any, _ []any) (any, error) {
		b, err := json.Marshal(in)
		return string(b), err //nolint:wrapcheck // says what is wrong with the value
	}},
}

// then puts f after a text filter, for filters that answer something else than text.
func (x filter) then(f func(s string, args []any) any) filter {
	inner := x.apply
	x.apply = func(in any, args []any) (any, error) {
		s, err := inner(in, args)
		if err != nil {
			return nil, err
		}
		return f(s.(string), args), nil //nolint:forcetypeassert // text filters answer text
	}
	return x
}

// markupOf makes a filter whose result is HTML.
func markupOf(f func(string) string) filter {
	return filter{apply: func(in any, _ []any) (any, error) {
		s, err := asText(in)
		return safe(f(s)), err
	}}
}

// nonZero refuses a zero argument.
func nonZero(x filter) filter {
	inner := x.apply
	x.apply = func(in any, args []any) (any, error) {
		if n, err := asNumber(args[0]); err == nil && float(n) == 0 {
			return nil, errors.New("division by zero")
		}
		return inner(in, args)
	}
	return x
}

// addFilters gives the engine the filters, and the printing filter of t.
func addFilters(cfg *render.Config, t *Template) {
	for name, f := range filters {
		if name == "date" {
			cfg.AddFilter(name, dateIn)
			continue
		}
		cfg.AddFilter(name, func(in any, args ...any) (any, error) {
			if !f.optional && (in == nil || slices.Contains(args, nil)) {
				return nil, fmt.Errorf("the value or an argument of %q %w", name, ErrMissing)
			}
			if len(args) < f.min || len(args) > f.max {
				return nil, fmt.Errorf("%s got %d arguments", name, len(args))
			}
			out, err := f.apply(in, args)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			return native(out), nil
		})
	}
	cfg.AddFilter(itemsFilter, items)
	cfg.AddFilter(printFilter, func(in any, number int) (any, error) {
		source := t.printed[number]
		if in == nil {
			return nil, fmt.Errorf("%s %w", source, ErrMissing)
		}
		s, err := asText(in)
		if err != nil {
			return nil, fmt.Errorf("%s cannot be printed: %w", source, err)
		}
		if _, done := in.(safe); t.html && !done {
			s = html.EscapeString(s)
		}
		return s, nil
	})
}

// maxItems is the longest list or range that {% for %} takes: a range may come from a person's data.
const maxItems = 10_000

// native makes whole numbers of the one type that the library's ranges take.
func native(v any) any {
	if i, ok := v.(int64); ok {
		return int(i)
	}
	return v
}

// items turns a group of values into its [name, value] pairs by name; all else stays as it is.
func items(in any) (any, error) {
	m := reflect.ValueOf(in)
	n := 0
	if l, ok := in.(interface{ Len() int }); ok {
		n = l.Len()
	} else if m.IsValid() && m.Kind() == reflect.Slice {
		n = m.Len()
	}
	if n > maxItems {
		return nil, fmt.Errorf("for over %d items: the most is %d", n, maxItems)
	}
	if !m.IsValid() || m.Kind() != reflect.Map || m.Type().Key().Kind() != reflect.String {
		return in, nil
	}
	keys := m.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	out := make([]any, len(keys))
	for i, k := range keys {
		out[i] = []any{k.String(), m.MapIndex(k).Interface()}
	}
	return out, nil
}

func capitalize(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[n:]
}

func at(l []any, i int) any {
	if i < 0 || i >= len(l) {
		return nil
	}
	return l[i]
}

func split(s string, args []any) any {
	sep, _ := asText(args[0]) // text1 has read it
	if s == "" {
		return []any{}
	}
	parts := strings.Split(s, sep)
	if sep == " " {
		parts = blanks.Split(strings.TrimSpace(s), -1)
	}
	out := make([]any, len(parts))
	for i, p := range parts {
		out[i] = p
	}
	return out
}

func slice(in any, args []any) (any, error) {
	s, err := asText(in)
	start, errS := asInt(args[0])
	n := int64(1)
	var errN error
	if len(args) == 2 {
		n, errN = asInt(args[1])
	}
	if err := errors.Join(err, errS, errN); err != nil {
		return nil, err
	}
	r := []rune(s)
	size := int64(len(r))
	if start < 0 {
		start += size
	}
	start = min(max(start, 0), size)
	n = min(max(n, 0), size-start)
	return string(r[start : start+n]), nil
}

func truncate(in any, args []any) (any, error) {
	s, n, tail, err := truncation(in, args, 50)
	if err != nil {
		return nil, err
	}
	r := []rune(s)
	if int64(len(r)) <= n {
		return s, nil
	}
	keep := max(0, n-int64(utf8.RuneCountInString(tail)))
	return strings.TrimRight(string(r[:keep]), " ") + tail, nil
}

func truncateWords(in any, args []any) (any, error) {
	s, n, tail, err := truncation(in, args, 15)
	if err != nil {
		return nil, err
	}
	words := strings.Fields(s)
	if int64(len(words)) <= n {
		return s, nil
	}
	return strings.Join(words[:max(0, n)], " ") + tail, nil
}

func truncation(in any, args []any, n int64) (s string, length int64, tail string, err error) {
	s, err = asText(in)
	length, tail = n, "..."
	if len(args) > 0 {
		var e error
		length, e = asInt(args[0])
		err = errors.Join(err, e)
	}
	if len(args) > 1 {
		var e error
		tail, e = asText(args[1])
		err = errors.Join(err, e)
	}
	return s, length, tail, err
}

func join(in any, args []any) (any, error) {
	l, err := asList(in)
	if err != nil {
		return nil, err
	}
	sep := " "
	if len(args) > 0 {
		if sep, err = asText(args[0]); err != nil {
			return nil, err
		}
	}
	return joinText(l, sep)
}

func joinText(l []any, sep string) (string, error) {
	parts := make([]string, 0, len(l))
	for _, v := range l {
		if v == nil {
			return "", fmt.Errorf("an item of the list %w", ErrMissing)
		}
		s, err := asText(v)
		if err != nil {
			return "", err
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, sep), nil
}

func mapOver(in any, args []any) (any, error) {
	l, err := asList(in)
	if err != nil {
		return nil, err
	}
	key := values.ValueOf(args[0])
	out := make([]any, len(l))
	for i, v := range l {
		out[i] = values.ValueOf(v).PropertyValue(key).Interface()
	}
	return out, nil
}

// dateIn is `date`: the format and the zone come from the source and from the rewriting.
func dateIn(in, format, zone any) (any, error) {
	loc, ok := zone.(*time.Location)
	if !ok || in == nil {
		return nil, fmt.Errorf("the value of \"date\" %w", ErrMissing)
	}
	return formatDate(in, format, loc)
}

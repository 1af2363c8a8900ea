package template

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/osteele/tuesday"
	"golang.org/x/text/language"
	textmessage "golang.org/x/text/message"
	textnumber "golang.org/x/text/number"
)

// asText is how a value is printed.
func asText(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case safe:
		return string(v), nil
	case bool:
		return strconv.FormatBool(v), nil
	case json.Number:
		return v.String(), nil
	case time.Time:
		return v.Format("2006-01-02 15:04"), nil
	case nil:
		return "", ErrMissing
	}
	if n, err := asNumber(v); err == nil {
		if i, ok := n.(int64); ok {
			return strconv.FormatInt(i, 10), nil
		}
		return strconv.FormatFloat(float(n), 'f', -1, 64), nil
	}
	if l, err := asList(v); err == nil {
		return joinText(l, ", ")
	}
	return "", errors.New("it is a group of values: name one of them")
}

// asNumber is an int64 or a float64.
func asNumber(v any) (any, error) {
	switch v := v.(type) {
	case json.Number:
		return asNumber(v.String())
	case string:
		v = strings.TrimSpace(v)
		if i, err := strconv.ParseInt(v, 10, 64); err == nil {
			return i, nil
		}
		f, err := strconv.ParseFloat(v, 64)
		if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
			return nil, fmt.Errorf("%q is not a number", v)
		}
		return f, nil
	}
	r := reflect.ValueOf(v)
	switch {
	case r.IsValid() && r.CanInt():
		return r.Int(), nil
	case r.IsValid() && r.CanUint() && r.Uint() <= math.MaxInt64:
		return int64(r.Uint()), nil //nolint:gosec // checked
	case r.IsValid() && r.CanFloat():
		return r.Float(), nil
	}
	return nil, fmt.Errorf("%v is not a number", v)
}

func float(n any) float64 {
	if i, ok := n.(int64); ok {
		return float64(i)
	}
	return n.(float64) //nolint:forcetypeassert // asNumber answers one of the two
}

func abs64(i int64) int64 {
	if i < 0 {
		return -i
	}
	return i
}

func asInt(v any) (int64, error) {
	n, err := asNumber(v)
	if err != nil {
		return 0, err
	}
	if f, ok := n.(float64); ok && (f != math.Trunc(f) || math.Abs(f) > 1<<53) {
		return 0, fmt.Errorf("%v is not a whole number", v)
	}
	if i, ok := n.(int64); ok {
		return i, nil
	}
	return int64(float(n)), nil
}

// asList is the items of a list.
func asList(v any) ([]any, error) {
	if l, ok := v.([]any); ok {
		return l, nil
	}
	r := reflect.ValueOf(v)
	if !r.IsValid() || r.Kind() != reflect.Slice && r.Kind() != reflect.Array {
		return nil, errors.New("it is not a list")
	}
	out := make([]any, r.Len())
	for i := range out {
		out[i] = r.Index(i).Interface()
	}
	return out, nil
}

func number1(in any, f func(float64) float64) (any, error) {
	n, err := asNumber(in)
	if err != nil {
		return nil, err
	}
	if i, ok := n.(int64); ok && i > math.MinInt64 {
		return abs64(i), nil
	}
	return f(float(n)), nil
}

func whole(in any, f func(float64) float64) (any, error) {
	n, err := asNumber(in)
	if err != nil {
		return nil, err
	}
	if i, ok := n.(int64); ok {
		return i, nil
	}
	return int64(f(float(n))), nil
}

func round(in any, args []any) (any, error) {
	n, err := asNumber(in)
	places := int64(0)
	var errP error
	if len(args) > 0 {
		places, errP = asInt(args[0])
	}
	if err := errors.Join(err, errP); err != nil {
		return nil, err
	}
	if i, ok := n.(int64); ok {
		return i, nil
	}
	exp := math.Pow10(int(min(max(places, 0), 15)))
	r := math.Round(float(n)*exp) / exp
	if places <= 0 {
		return int64(r), nil
	}
	return r, nil
}

// clockwise is a part of a format that tells the time of day or the zone; a doubled sign is itself.
var clockwise = regexp.MustCompile(`%(?:%|[-0^#_:]*\d*[HIklMSLNpPrRTXcsQZz+])`)

// tellsTime says whether a format prints more than a date.
func tellsTime(layout string) bool {
	return slices.ContainsFunc(clockwise.FindAllString(layout, -1), func(part string) bool { return part != "%%" })
}

// formatDate prints an instant: a time, Unix milliseconds (as every instant of conditions is), or ISO
// 8601 text. A date without a time has no zone, and is midnight UTC once the tracking plan has declared it
// a time: printed as a date that is the same date everywhere, as it is for the conditions' anniversary. Else
// a trial until the 8th would end on the 7th in New York.
func formatDate(in, format any, loc *time.Location) (string, error) {
	layout := "%Y-%m-%d"
	if format != nil {
		var err error
		if layout, err = asText(format); err != nil {
			return "", err
		}
	}
	var t time.Time
	switch v := in.(type) {
	case time.Time:
		t = v.In(loc)
	case string:
		var ok bool
		if t, ok = parseDate(v, loc); !ok {
			return "", fmt.Errorf("%q is not a date", v)
		}
	default:
		ms, err := asInt(v)
		if err != nil {
			return "", fmt.Errorf("%v is not a date", v)
		}
		t = time.UnixMilli(ms).In(loc)
	}
	if utc := t.UTC(); utc.Truncate(24*time.Hour).Equal(utc) && !tellsTime(layout) {
		t = utc
	}
	s, err := tuesday.Strftime(layout, t)
	if err != nil {
		return "", fmt.Errorf("the format %q: %w", layout, err)
	}
	return s, nil
}

func parseDate(s string, loc *time.Location) (time.Time, bool) {
	s = strings.TrimSpace(s)
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t.In(loc), true
	}
	for _, layout := range []string{"2006-01-02", "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04"} {
		if t, err := time.ParseInLocation(layout, s, loc); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// formatNumber is `number: decimals, locale`: digits grouped as the locale does.
func formatNumber(in any, args []any) (any, error) {
	n, err := asNumber(in)
	decimals, errD := int64(-1), error(nil)
	if len(args) > 0 {
		decimals, errD = asInt(args[0])
	}
	tag, errL := locale(args, 1)
	if err := errors.Join(err, errD, errL); err != nil {
		return nil, err
	}
	return grouped(n, decimals, tag), nil
}

func grouped(n any, decimals int64, tag language.Tag) string {
	opts := []textnumber.Option{textnumber.MaxFractionDigits(9)}
	if decimals >= 0 {
		opts = []textnumber.Option{textnumber.Scale(int(min(decimals, 9)))}
	}
	return textmessage.NewPrinter(tag).Sprint(textnumber.Decimal(n, opts...))
}

func locale(args []any, i int) (language.Tag, error) {
	if len(args) <= i {
		return language.English, nil
	}
	s, err := asText(args[i])
	if err != nil {
		return language.English, err
	}
	tag, err := language.Parse(s)
	if err != nil {
		return language.English, fmt.Errorf("%q is not a language: write \"de\" or \"pt-BR\"", s)
	}
	return tag, nil
}

var (
	signs = map[string]string{
		"EUR": "€", "USD": "$", "GBP": "£", "JPY": "¥", "CNY": "CN¥", "INR": "₹", "KRW": "₩", "BRL": "R$", "TRY": "₺",
		"UAH": "₴", "ILS": "₪", "VND": "₫", "NGN": "₦", "PHP": "₱", "AUD": "A$", "CAD": "CA$", "MXN": "MX$", "NZD": "NZ$",
	}
	withoutCents = map[string]bool{"JPY": true, "KRW": true, "VND": true, "CLP": true, "ISK": true, "UGX": true, "PYG": true, "XOF": true, "XAF": true}
	signBefore   = map[string]bool{"en": true, "ja": true, "zh": true, "ko": true, "hi": true, "th": true}
)

// formatMoney is `money: "EUR", "de"`: the amount with the currency's decimals and sign, grouped and
// placed as the language does; English without one.
func formatMoney(in any, args []any) (any, error) {
	n, err := asNumber(in)
	code, errC := asText(args[0])
	tag, errL := locale(args, 1)
	if err := errors.Join(err, errC, errL); err != nil {
		return nil, err
	}
	code = strings.ToUpper(strings.TrimSpace(code))
	if len(code) != 3 || strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return nil, fmt.Errorf("%q is not a currency: write its three letters, \"EUR\"", code)
	}
	decimals := int64(2)
	if withoutCents[code] {
		decimals = 0
	}
	minus := ""
	if float(n) < 0 {
		minus = "-"
		if i, ok := n.(int64); ok {
			n = -i
		} else {
			n = -float(n)
		}
	}
	amount := grouped(n, decimals, tag)
	sign, known := signs[code]
	base, _ := tag.Base()
	switch {
	case known && signBefore[base.String()]:
		return minus + sign + amount, nil
	case known:
		return minus + amount + "\u00a0" + sign, nil
	default:
		return minus + amount + "\u00a0" + code, nil
	}
}

package events

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/shopspring/decimal"
)

// PageViewed and ScreenViewed are the names under which page and screen calls stand in the plan and in
// conditions.
const (
	PageViewed   = "Page Viewed"
	ScreenViewed = "Screen Viewed"
)

const (
	decimalDigits = 9  // after the point
	decimalWhole  = 18 // before it
)

// Apply holds an event against the plan. Declared properties and traits become their type:
//
//	string   a number or boolean becomes its digits or word
//	number   "12.5" becomes 12.5
//	integer  "12", 12.0 and 1.2e1 become 12
//	decimal  "19.99" becomes 19.99; more than 9 digits after the point are rounded, half away from zero
//	boolean  "true" and "false" become true and false
//	time     what ParseTime reads becomes Unix milliseconds
//	array    each element becomes the declared element type; those that cannot are left out
//
// What cannot be converted is removed, so that conditions find it missing. Whatever the plan objects
// to is noted in Violations with the flag Violation, or, where the plan says Refuse, returned as the
// reason for which the event must not be accepted; then the event is left half converted.
// An event is held against a plan once: a time that has become milliseconds would be read again.
func (p *Plan) Apply(ev *Event) (refuse string) {
	if p == nil {
		return ""
	}
	a := applier{plan: p, ev: ev}
	switch ev.Kind {
	case KindTrack:
		a.event(ev.Name)
	case KindPage:
		a.event(PageViewed)
	case KindScreen:
		a.event(ScreenViewed)
	case KindIdentify:
		if len(p.Traits) > 0 {
			ev.Traits = a.object("traits", ev.Traits, p.Traits, Flag)
		}
	default: // the plan declares nothing about the others
	}
	if a.refused {
		return strings.Join(a.found, "; ")
	}
	if len(a.found) > 0 {
		ev.Flags |= Violation
		ev.Violations = append(ev.Violations, a.found...)
	}
	return ""
}

// applier is one event on its way through the plan.
type applier struct {
	plan    *Plan
	ev      *Event
	found   []string
	refused bool

	declared map[string]Property
	on       OnViolation
	path     []byte
	out      []byte
	changed  bool
	met      int // required properties that are present
}

func (a *applier) event(name string) {
	if len(a.plan.Events) == 0 {
		return // a plan of traits alone
	}
	d, ok := a.plan.Events[name]
	if !ok {
		if a.ev.Kind == KindTrack && name != LocationUpdated {
			a.fault(a.plan.UndeclaredEvents, "the event %q is not declared", name)
		}
		return
	}
	a.ev.Properties = a.object("properties", a.ev.Properties, d.Properties, d.OnViolation)
}

// fault notes an objection.
func (a *applier) fault(on OnViolation, format string, args ...any) {
	const most = 20
	if len(a.found) < most {
		a.found = append(a.found, fmt.Sprintf(format, args...))
	}
	a.refused = a.refused || on == Refuse
}

func (a *applier) object(what string, in json.RawMessage, declared map[string]Property, on OnViolation) json.RawMessage {
	required := 0
	for _, d := range declared {
		if d.Required {
			required++
		}
	}
	var path [128]byte
	a.declared, a.on, a.path = declared, on, path[:0]
	if a.clean(in, false) && a.met == required {
		return in
	}
	a.met, a.changed = 0, false
	a.out, a.path = make([]byte, 0, len(in)+16), path[:0]
	a.members(what, in, false)
	if a.met < required {
		a.missing(what, in)
	}
	if !a.changed {
		return in
	}
	return a.out
}

// clean says whether nothing is to be converted or objected to, which is the usual case and costs no
// memory. It counts the required properties that are there.
func (a *applier) clean(in []byte, nested bool) bool {
	base, clean := len(a.path), true
	members(in, func(key, value []byte) bool {
		a.path = a.path[:base]
		if nested {
			a.path = append(a.path, '.')
		}
		a.path = appendDecoded(a.path, key)
		d, ok := a.declared[string(a.path)]
		switch {
		case !ok && value[0] == '{':
			clean = a.clean(value, true)
		case !ok || !conforms(d.Type, value) || !d.allows(value):
			clean = false
		case d.Required:
			a.met++
		}
		return clean
	})
	a.path = a.path[:base]
	return clean
}

// conforms says that the token is of the type beyond doubt, as it stands.
func conforms(t Type, token []byte) bool {
	switch c := token[0]; t {
	case TypeString:
		return c == '"'
	case TypeBoolean:
		return c == 't' || c == 'f'
	case TypeNumber:
		return c == '-' || c >= '0' && c <= '9'
	case TypeInteger, TypeDecimal:
		point := len(token)
		for i, c := range token {
			switch {
			case c == '.' && t == TypeDecimal:
				point = i
			case (c < '0' || c > '9') && c != '-':
				return false
			}
		}
		return t == TypeInteger || point <= decimalWhole && len(token)-point <= decimalDigits
	default:
		return false
	}
}

// missing names the required properties that are not there.
func (a *applier) missing(what string, in []byte) {
	var paths []string
	for path, d := range a.declared {
		if !d.Required {
			continue
		}
		if v, ok := lookupDotted(a.result(in), path); !ok || v[0] == 'n' {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	for _, path := range paths {
		a.fault(a.on, "%s.%s is required and missing", what, path)
	}
}

func (a *applier) result(in []byte) []byte {
	if a.changed {
		return a.out
	}
	return in
}

func (a *applier) members(what string, in []byte, nested bool) {
	base := len(a.path)
	a.out = append(a.out, '{')
	members(in, func(key, value []byte) bool {
		a.path = a.path[:base]
		if nested {
			a.path = append(a.path, '.')
		}
		a.path = appendDecoded(a.path, key)
		mark := len(a.out)
		if a.out[mark-1] != '{' {
			a.out = append(a.out, ',')
		}
		a.out = append(a.out, '"')
		a.out = append(a.out, key...)
		a.out = append(a.out, '"', ':')
		if !a.member(what, value) {
			a.out, a.changed = a.out[:mark], true
		}
		return true
	})
	a.path = a.path[:base]
	a.out = append(a.out, '}')
}

// member writes the value of one member and reports whether it stays.
func (a *applier) member(what string, value []byte) bool {
	d, ok := a.declared[string(a.path)]
	switch {
	case ok && value[0] == 'n':
		a.out = append(a.out, value...) // null is missing in every type
		return true
	case ok && d.Type != Untyped && (d.Type != TypeObject || value[0] != '{'):
		from := len(a.out)
		kept, whole := a.convert(d.Type, d.Items, value)
		if !whole {
			a.fault(a.on, "%s.%s is %.60s, not %s", what, a.path, value, article(d.Type, d.Items))
		}
		if !kept {
			return false
		}
		if string(a.out[from:]) != string(value) {
			a.changed = true
		}
		a.enum(what, d, a.out[from:])
		if d.Required {
			a.met++
		}
		return true
	case value[0] == '{':
		if ok && d.Required {
			a.met++
		}
		a.members(what, value, true)
		return true
	}
	if ok {
		a.enum(what, d, value)
		if d.Required {
			a.met++
		}
	} else if !a.inside() {
		a.fault(a.plan.UndeclaredProperties, "%s.%s is not declared", what, a.path)
	}
	a.out = append(a.out, value...)
	return true
}

// inside says whether the path lies in a declared object whose own members are not declared.
func (a *applier) inside() bool {
	for i := len(a.path) - 1; i > 0; i-- {
		if a.path[i] != '.' {
			continue
		}
		if d, ok := a.declared[string(a.path[:i])]; ok {
			return d.Type == TypeObject || d.Type == Untyped
		}
	}
	return false
}

func (a *applier) enum(what string, d Property, token []byte) {
	if !d.allows(token) {
		a.fault(a.on, "%s.%s is %.60s, not one of %s", what, a.path, token, strings.Join(d.Enum, ", "))
	}
}

// allows says whether the value is one of those listed, if any are.
func (d *Property) allows(token []byte) bool {
	if len(d.Enum) == 0 {
		return true
	}
	if token[0] == '"' && bytes.IndexByte(token, '\\') < 0 {
		return slices.Contains(d.Enum, view(token[1:len(token)-1]))
	}
	if token[0] == '"' {
		return slices.Contains(d.Enum, decoded(token))
	}
	return slices.Contains(d.Enum, view(token))
}

// convert appends the value as type t. kept is false, and nothing appended, if it cannot be; whole is
// false if it, or a part of it, cannot be.
func (a *applier) convert(t, elements Type, token []byte) (kept, whole bool) {
	switch t {
	case TypeArray:
		if token[0] != '[' {
			return false, false
		}
		whole = true
		a.out = append(a.out, '[')
		items(token, func(item []byte) {
			mark := len(a.out)
			if a.out[mark-1] != '[' {
				a.out = append(a.out, ',')
			}
			if _, ok := a.convert(elements, Untyped, item); !ok {
				a.out, whole = a.out[:mark], false
			}
		})
		a.out = append(a.out, ']')
		return true, whole
	case TypeObject:
		if token[0] != '{' {
			return false, false
		}
		a.out = append(a.out, token...)
	case Untyped:
		a.out = append(a.out, token...)
	default:
		var ok bool
		if a.out, ok = appendScalar(a.out, t, token); !ok {
			return false, false
		}
	}
	return true, true
}

// appendScalar appends the token as a value of the type, if it can be converted.
func appendScalar(dst []byte, t Type, token []byte) ([]byte, bool) {
	quoted := token[0] == '"'
	number := token[0] == '-' || token[0] >= '0' && token[0] <= '9'
	boolean := token[0] == 't' || token[0] == 'f'
	if !quoted && !number && !boolean {
		return dst, false
	}
	text := string(token)
	if quoted {
		text = strings.TrimSpace(decoded(token))
	}
	switch t {
	case TypeString:
		if quoted {
			return append(dst, token...), true
		}
		return AppendString(dst, text), true
	case TypeBoolean:
		switch {
		case boolean:
			return append(dst, token...), true
		case quoted && strings.EqualFold(text, "true"):
			return append(dst, "true"...), true
		case quoted && strings.EqualFold(text, "false"):
			return append(dst, "false"...), true
		}
		return dst, false
	default: // a number, below
	}
	if boolean {
		return dst, false
	}
	if text == "-0" {
		text = "0" // as the normal form has it
	}
	switch t {
	case TypeNumber:
		if number {
			return append(dst, token...), true
		}
		if !isNumber(text) {
			return dst, false
		}
		return append(dst, text...), true
	case TypeInteger:
		return appendInteger(dst, text)
	case TypeDecimal:
		return appendDecimal(dst, text)
	case TypeTime:
		ms, ok := ParseTime(text)
		if !ok {
			return dst, false
		}
		return strconv.AppendInt(dst, ms, 10), true
	default:
		return dst, false
	}
}

// isNumber says whether the text is a number as JSON and the normal form write it.
func isNumber(text string) bool {
	if text == "" || text[0] != '-' && (text[0] < '0' || text[0] > '9') {
		return false
	}
	var s scanner
	s.reset([]byte(text))
	s.silent = false
	return s.number() == nil && s.pos == len(text)
}

func appendInteger(dst []byte, text string) ([]byte, bool) {
	if i, err := strconv.ParseInt(text, 10, 64); err == nil && text[0] != '+' {
		return strconv.AppendInt(dst, i, 10), true
	}
	if !isNumber(text) {
		return dst, false
	}
	d, err := decimal.NewFromString(text)
	if err != nil || d.Exponent() > 20 || !d.IsInteger() || !d.BigInt().IsInt64() {
		return dst, false
	}
	return strconv.AppendInt(dst, d.BigInt().Int64(), 10), true
}

func appendDecimal(dst []byte, text string) ([]byte, bool) {
	if !isNumber(text) {
		return dst, false
	}
	whole, fraction, _ := strings.Cut(strings.TrimPrefix(text, "-"), ".")
	if len(whole) <= decimalWhole && len(fraction) <= decimalDigits && !strings.ContainsAny(text, "eE") {
		return append(dst, text...), true
	}
	d, err := decimal.NewFromString(text)
	if err != nil || math.Abs(d.InexactFloat64()) >= math.Pow10(decimalWhole) {
		return dst, false
	}
	return append(dst, d.Round(decimalDigits).String()...), true
}

func article(t, items Type) string {
	switch t {
	case TypeInteger:
		return "an integer"
	case TypeArray:
		if items != Untyped {
			return "an array of " + items.String() + "s"
		}
		return "an array"
	case TypeObject:
		return "an object"
	default:
		return "a " + t.String()
	}
}

// lookupDotted finds the value under a dotted path, whether its keys are nested or hold the dots.
func lookupDotted(object []byte, path string) (found []byte, ok bool) {
	members(object, func(key, value []byte) bool {
		k := string(appendDecoded(nil, key))
		if k == path {
			found, ok = value, true
		} else if rest, under := strings.CutPrefix(path, k+"."); under && value[0] == '{' {
			found, ok = lookupDotted(value, rest)
		}
		return !ok
	})
	return found, ok
}

package plan

import (
	"fmt"
	"strings"

	"nudge/events"
	"nudge/segments"
)

// The rows that features are computed from have these columns, whatever table they come from:
// p (canonical person), t (Unix ms), pos, kind, event, flags, strs, nums, bools, bigs, properties,
// context; tp (derivedColumns); and v (the value) where they are grouped by one.

// happened is the condition under which a row is an occurrence of the event: an app's own call, or
// with message one of our messages ("*": of any rule). Opens and clicks by machines do not count.
func happened(event, message string) string {
	switch {
	case message == "*":
		return all("kind = 7", "event = "+Literal(event), "bitAnd(flags, 8) = 0")
	case message != "":
		return all("kind = 7", "event = "+Literal(event), "bitAnd(flags, 8) = 0", "strs['rule'] = "+Literal(message))
	case event == "*":
		return all("kind IN (1, 3, 4)", "event != "+Literal(events.LocationUpdated))
	}
	return all("kind IN (1, 3, 4)", "event = "+Literal(event))
}

// counts is the condition under which a row counts for a feature.
func counts(f *segments.Feature, at int64) string {
	within := "1"
	if f.Within > 0 {
		within = fmt.Sprintf("t > %d", at-f.Within)
	}
	return all(happened(f.Event, f.Message), within, render(f.Filter, occurrence{}))
}

// keyOf is a property's value as text that tells its type, ” when there is none.
func keyOf(path string) string {
	v := mapValue(strings.TrimPrefix(path, "properties."), "")
	return "multiIf(" + v.isStr + ", concat('s', " + v.str + "), " + v.isBig + ", concat('n', toString(" + v.big + ")), " +
		v.isNum + ", concat('n', toString(" + v.num + " + 0.)), " + v.isBool + ", if(" + v.bool + ", 'b1', 'b0'), '')"
}

// textOf is the value of for_each and on.by as plain text, ” when there is none.
func textOf(path string) string {
	text := func(v value) string {
		return "multiIf(" + v.isStr + ", " + v.str + ", " + v.isBig + ", toString(" + v.big + "), " +
			v.isNum + ", toString(" + v.num + " + 0.), " + v.isBool + ", if(" + v.bool + ", 'true', 'false'), '')"
	}
	ways := pathValues(path, "", "properties", "context", "t")
	if len(ways) == 1 {
		return text(ways[0])
	}
	texts := make([]string, len(ways))
	for i, way := range ways {
		texts[i] = text(way)
	}
	return "concat(" + strings.Join(texts, ", ") + ")" // at most one is not empty
}

// aggregate writes a number of a prefilter as an aggregate.
func aggregate(f *segments.Feature, at int64, conds *conditions) string {
	c := conds.column(counts(f, at))
	v := mapValue(strings.TrimPrefix(f.Path, "properties."), "")
	switch f.Agg {
	case segments.AggCount:
		return "toInt64(countIf(" + c + "))"
	case segments.AggSum:
		return sum(v.num, all(c, v.isNum))
	case segments.AggAvg:
		has := all(c, v.isNum)
		return "if(countIf(" + has + ") = 0, NULL, " + sum(v.num, has) + " / countIf(" + has + "))"
	case segments.AggMin:
		return "minOrNullIf(" + v.num + ", " + all(c, v.isNum) + ")"
	case segments.AggMax:
		return "maxOrNullIf(" + v.num + ", " + all(c, v.isNum) + ")"
	case segments.AggUniq:
		key := keyOf(f.Path)
		return "toInt64(uniqExactIf(" + key + ", " + all(c, key+" != ''") + "))"
	default:
	}
	panic(fmt.Sprintf("plan: no aggregate for %d", f.Agg)) // a caller that asks only for those above
}

// sum adds numbers exactly while they are decimals of up to nine digits after the point and not
// enormous, so that a sum does not depend on the order of reading; what is beyond is added as
// floats with compensation.
func sum(x, when string) string {
	decimal := "toDecimal128OrNull(toString(" + x + "), 9)"
	exact := "abs(" + x + ") < 1e15 AND toFloat64(assumeNotNull(" + decimal + ")) = " + x
	return "(toFloat64(sumIf(if(" + exact + ", assumeNotNull(" + decimal + "), toDecimal128(0, 9)), " + when + ")) + sumKahanIf(if(" + exact + ", 0., " + x + "), " + when + "))"
}

package plan

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"nudge/events"
	"nudge/segments"
)

// The rows that features are computed from have these columns, whatever table they come from:
// p (canonical person), t (Unix ms), pos, kind, event, flags, strs, nums, bools, bigs, properties,
// context; tp, o and its shorter forms (derivedColumns); and v (the value) where they are grouped by one.

// happened is the condition under which a row is an occurrence of the event: an app's own call, or
// with message one of our messages ("*": of any rule). Opens and clicks by machines do not count.
func happened(event, message string) string {
	switch {
	case message == "*":
		return all("kind = 7", "event = "+literal(event), "bitAnd(flags, 8) = 0")
	case message != "":
		return all("kind = 7", "event = "+literal(event), "bitAnd(flags, 8) = 0", "strs['rule'] = "+literal(message))
	case event == "*":
		return all("kind IN (1, 3, 4)", "event != "+literal(events.LocationUpdated))
	}
	return all("kind IN (1, 3, 4)", "event = "+literal(event))
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

// aggregate writes a feature as one column of the second pass.
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
	case segments.AggTop:
		key := keyOf(f.Path)
		has := all(c, key+" != ''")
		// Both maps come sorted by key, so that they line up.
		return "arrayMap(x -> if(empty(x.1.1), '', x.1.1[arrayReverseSort(i -> (x.1.2[i], x.2.2[i]), arrayEnumerate(x.1.1))[1]]), " +
			"[tuple(sumMapIf([" + key + "], [toUInt64(1)], " + has + "), maxMapIf([" + key + "], [bitShiftLeft(toUInt128(t), 64) + pos], " + has + "))])[1]"
	case segments.AggFirst:
		return "argMinIf(" + occurrenceColumn(f) + ", tp, " + c + ")"
	case segments.AggLast:
		return "argMaxIf(" + occurrenceColumn(f) + ", tp, " + c + ")"
	case segments.AggList:
		n := f.N
		if n <= 0 {
			n = segments.MaxOccurrences
		}
		return "arraySlice(arrayReverseSort(groupArrayIf(" + occurrenceColumn(f) + ", " + c + ")), 1, " + strconv.Itoa(n) + ")"
	}
	panic(fmt.Sprintf("plan: unknown aggregate %d", f.Agg)) // a compiler newer than this planner
}

// occurrenceColumn is the column that holds what is read of an occurrence: properties and context are most of
// what is stored of one.
func occurrenceColumn(f *segments.Feature) string {
	switch f.Reads {
	case 0:
		return "ob"
	case segments.ReadsProperties:
		return "op"
	case segments.ReadsContext:
		return "oc"
	default:
	}
	return "o"
}

// sum adds numbers exactly while they are decimals of up to nine digits after the point and not
// enormous, so that a sum does not depend on the order of reading; what is beyond is added as
// floats with compensation.
func sum(x, when string) string {
	decimal := "toDecimal128OrNull(toString(" + x + "), 9)"
	exact := "abs(" + x + ") < 1e15 AND toFloat64(assumeNotNull(" + decimal + ")) = " + x
	return "(toFloat64(sumIf(if(" + exact + ", assumeNotNull(" + decimal + "), toDecimal128(0, 9)), " + when + ")) + sumKahanIf(if(" + exact + ", 0., " + x + "), " + when + "))"
}

// cell receives a column.
type cell struct {
	agg    segments.Agg
	count  int64
	sum    float64
	number *float64
	text   string
	tuple  []any
	tuples [][]any
}

func (c *cell) dest() any {
	switch c.agg {
	case segments.AggCount, segments.AggUniq:
		return &c.count
	case segments.AggSum:
		return &c.sum
	case segments.AggAvg, segments.AggMin, segments.AggMax:
		return &c.number
	case segments.AggTop:
		return &c.text
	case segments.AggFirst, segments.AggLast:
		return &c.tuple
	default:
	}
	return &c.tuples
}

// value is what the cell holds, typed as the feature's aggregate says.
func (c *cell) value() any {
	switch c.agg {
	case segments.AggCount, segments.AggUniq:
		return c.count
	case segments.AggSum:
		return c.sum
	case segments.AggAvg, segments.AggMin, segments.AggMax:
		if c.number == nil {
			return nil
		}
		return *c.number
	case segments.AggTop:
		return topValue(c.text)
	case segments.AggFirst, segments.AggLast:
		if o := occurrenceFrom(c.tuple); o.Pos != 0 {
			return o
		}
		return nil
	default:
	}
	list := make([]*segments.Occurrence, len(c.tuples))
	for i, tuple := range c.tuples {
		list[i] = occurrenceFrom(tuple)
	}
	return list
}

// occurrenceFrom reads the tuple of an occurrenceColumn.
func occurrenceFrom(tuple []any) *segments.Occurrence {
	return occurrenceOf(tuple[0].(int64), tuple[1].(uint64), tuple[2].(string), tuple[3].(string), tuple[4].(string))
}

func occurrenceOf(at int64, pos uint64, event, properties, context string) *segments.Occurrence {
	return &segments.Occurrence{
		Time: at, Pos: events.Position(pos), Event: event,
		Properties: json.RawMessage(properties), Context: json.RawMessage(context),
	}
}

func topValue(key string) any {
	if key == "" {
		return nil
	}
	switch text := key[1:]; key[0] {
	case 's':
		return text
	case 'b':
		return text == "1"
	default:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil
		}
		if f >= exactFloat || f <= -exactFloat {
			if i, err := strconv.ParseInt(text, 10, 64); err == nil {
				return i
			}
		}
		return f
	}
}

// nothing is the feature's value for a history without one matching occurrence.
func nothing(agg segments.Agg) any {
	switch agg {
	case segments.AggCount, segments.AggUniq:
		return int64(0)
	case segments.AggSum:
		return 0.0
	case segments.AggList:
		return []*segments.Occurrence(nil)
	default:
	}
	return nil
}

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
// context; and v (the value) where they are grouped by one.

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

// column is a feature as the second pass reads it.
type column struct {
	agg   segments.Agg
	inner string   // the aggregate, named f<i> in the inner query
	outer []string // what is read of it; %s is that name
}

func columnOf(f *segments.Feature, at int64) column {
	c := counts(f, at)
	path := strings.TrimPrefix(f.Path, "properties.")
	v := mapValue(path, "")
	has := all(c, v.isNum)
	one := []string{"%s"}
	switch f.Agg {
	case segments.AggCount:
		return column{f.Agg, "toInt64(countIf(" + c + "))", one}
	case segments.AggSum:
		return column{f.Agg, sum(v.num, has), one}
	case segments.AggAvg:
		return column{f.Agg, "if(countIf(" + has + ") = 0, NULL, " + sum(v.num, has) + " / countIf(" + has + "))", one}
	case segments.AggMin:
		return column{f.Agg, "minOrNullIf(" + v.num + ", " + has + ")", one}
	case segments.AggMax:
		return column{f.Agg, "maxOrNullIf(" + v.num + ", " + has + ")", one}
	case segments.AggUniq:
		key := keyOf(f.Path)
		return column{f.Agg, "toInt64(uniqExactIf(" + key + ", " + all(c, key+" != ''") + "))", one}
	case segments.AggTop:
		key := keyOf(f.Path)
		when := all(c, key+" != ''")
		// Both maps come sorted by key, so that they line up.
		return column{f.Agg, "tuple(sumMapIf([" + key + "], [toUInt64(1)], " + when + "), maxMapIf([" + key +
			"], [bitShiftLeft(toUInt128(t), 64) + pos], " + when + "))", []string{
			"if(empty(%s.1.1), '', %[1]s.1.1[arrayReverseSort(i -> (%[1]s.1.2[i], %[1]s.2.2[i]), arrayEnumerate(%[1]s.1.1))[1]])",
		}}
	case segments.AggFirst, segments.AggLast:
		arg := "argMinIf"
		if f.Agg == segments.AggLast {
			arg = "argMaxIf"
		}
		return column{
			f.Agg, arg + "(tuple(t, pos, event, properties, context), (t, pos), " + c + ")",
			[]string{"%s.1", "%s.2", "%s.3", "%s.4", "%s.5"},
		}
	case segments.AggList:
		n := f.N
		if n <= 0 {
			n = segments.MaxOccurrences
		}
		return column{
			f.Agg, "arraySlice(arrayReverseSort(groupArrayIf(tuple(t, pos, event, properties, context), " + c + ")), 1, " + strconv.Itoa(n) + ")",
			[]string{"%s.1", "%s.2", "%s.3", "%s.4", "%s.5"},
		}
	}
	panic(fmt.Sprintf("plan: unknown aggregate %d", f.Agg)) // a compiler newer than this planner
}

// sum adds numbers exactly while they are decimals of up to nine digits after the point and not
// enormous, so that a sum does not depend on the order of reading; what is beyond is added as
// floats with compensation.
func sum(x, when string) string {
	decimal := "toDecimal128OrNull(toString(" + x + "), 9)"
	exact := "abs(" + x + ") < 1e15 AND toFloat64(assumeNotNull(" + decimal + ")) = " + x
	return "(toFloat64(sumIf(if(" + exact + ", assumeNotNull(" + decimal + "), toDecimal128(0, 9)), " + when + ")) + sumKahanIf(if(" + exact + ", 0., " + x + "), " + when + "))"
}

// select writes the columns that are read, for the aggregate named f<i>.
func (c column) read(i int) string {
	parts := make([]string, len(c.outer))
	for j, o := range c.outer {
		if strings.Contains(o, "%[1]s") {
			o = strings.Replace(o, "%s", "%[1]s", 1)
		}
		parts[j] = fmt.Sprintf(o, "f"+strconv.Itoa(i))
	}
	return strings.Join(parts, ", ")
}

// cell receives what a column reads.
type cell struct {
	agg               segments.Agg
	count             int64
	sum               float64
	number            *float64
	text              string
	at                int64
	pos               uint64
	event             string
	properties        string
	context           string
	ats               []int64
	poss              []uint64
	names, props, ctx []string
}

func (c *cell) dest() []any {
	switch c.agg {
	case segments.AggCount, segments.AggUniq:
		return []any{&c.count}
	case segments.AggSum:
		return []any{&c.sum}
	case segments.AggAvg, segments.AggMin, segments.AggMax:
		return []any{&c.number}
	case segments.AggTop:
		return []any{&c.text}
	case segments.AggFirst, segments.AggLast:
		return []any{&c.at, &c.pos, &c.event, &c.properties, &c.context}
	}
	return []any{&c.ats, &c.poss, &c.names, &c.props, &c.ctx}
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
		if c.pos == 0 {
			return nil
		}
		return occurrenceOf(c.at, c.pos, c.event, c.properties, c.context)
	}
	list := make([]*segments.Occurrence, len(c.ats))
	for i := range list {
		list[i] = occurrenceOf(c.ats[i], c.poss[i], c.names[i], c.props[i], c.ctx[i])
	}
	return list
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
	}
	return nil
}

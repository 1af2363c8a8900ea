package plan

import (
	"math"
	"strconv"
	"strings"

	"nudge/segments"
)

// Literal writes a string as a ClickHouse literal. Every byte that is not plain printable ASCII is
// escaped, so that neither the server's parser nor anything between here and there can be misled.
func Literal(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(len(s) + 2)
	b.WriteByte('\'')
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c >= 0x7f || c == '\'' || c == '\\' || c == '?' || c == '{' || c == '}':
			b.WriteString(`\x`)
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('\'')
	return b.String()
}

// float writes a number as a Float64 literal, whatever it looks like.
func float(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	case math.IsNaN(f):
		return "nan"
	}
	s := strconv.FormatFloat(f, 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += "."
	}
	if f < 0 || math.Signbit(f) {
		return "(" + s + ")"
	}
	return s
}

func integer(i int64) string {
	if i < 0 {
		return "toInt64('" + strconv.FormatInt(i, 10) + "')"
	}
	return "toInt64(" + strconv.FormatInt(i, 10) + ")"
}

// all and any join conditions; "1" and "0" are true and false.
func all(conditions ...string) string {
	kept := make([]string, 0, len(conditions))
	for _, c := range conditions {
		switch c {
		case "1":
		case "0":
			return "0"
		default:
			kept = append(kept, c)
		}
	}
	switch len(kept) {
	case 0:
		return "1"
	case 1:
		return kept[0]
	}
	return "(" + strings.Join(kept, " AND ") + ")"
}

func anyOf(conditions ...string) string {
	kept := make([]string, 0, len(conditions))
	for _, c := range conditions {
		switch c {
		case "0":
		case "1":
			return "1"
		default:
			kept = append(kept, c)
		}
	}
	switch len(kept) {
	case 0:
		return "0"
	case 1:
		return kept[0]
	}
	return "(" + strings.Join(kept, " OR ") + ")"
}

// value is how one operand reads in SQL: for each type it can have, an expression, and the condition
// under which the value is there and of that type ("" when it never is).
type value struct {
	str, isStr   string
	num, isNum   string
	big, isBig   string // an integer beyond ±2^53, exactly; then isNum holds too
	bool, isBool string
	other        string // condition under which it is a list or an object
}

// present is the condition under which there is a value at all.
func (v value) present() string {
	return anyOf(never(v.isStr), never(v.isNum), never(v.isBool), never(v.other))
}

func never(condition string) string {
	if condition == "" {
		return "0"
	}
	return condition
}

// literalValue is the value of a literal of a condition.
func literalValue(lit any) value {
	switch x := lit.(type) {
	case string:
		return value{str: Literal(x), isStr: "1"}
	case bool:
		if x {
			return value{bool: "true", isBool: "1"}
		}
		return value{bool: "false", isBool: "1"}
	case float64:
		return value{num: float(x), isNum: "1"}
	case int64:
		return number(x)
	case int:
		return number(int64(x))
	}
	return value{} // nil: missing
}

// exactFloat is the largest magnitude below which float64 holds every integer.
const exactFloat = 1 << 53

func number(x int64) value {
	v := value{num: float(float64(x)), isNum: "1"}
	if x > exactFloat || x < -exactFloat {
		v.big, v.isBig = integer(x), "1"
	}
	return v
}

// mapValue is a property by its path in the flattened maps.
func mapValue(path, declared string) value {
	k := Literal(path)
	has := func(m string) string { return "mapContains(" + m + ", " + k + ")" }
	get := func(m string) string { return m + "[" + k + "]" }
	v := value{
		str: get("strs"), isStr: has("strs"),
		num: get("nums"), isNum: has("nums"),
		big: get("bigs"), isBig: has("bigs"),
		bool: get("bools"), isBool: has("bools"),
	}
	switch declared {
	case "string":
		return value{str: v.str, isStr: v.isStr}
	case "number", "decimal", "integer":
		return value{num: v.num, isNum: v.isNum, big: v.big, isBig: v.isBig}
	case "time":
		return value{num: v.num, isNum: v.isNum}
	case "boolean":
		return value{bool: v.bool, isBool: v.isBool}
	}
	return v
}

// splits are the ways to read a dotted path as keys of nested objects: a key may itself hold dots.
// A path of many parts is read in the one way that is usual.
func splits(path string) [][]string {
	parts := strings.Split(path, ".")
	if len(parts) > 4 {
		return [][]string{parts}
	}
	var out [][]string
	for mask := range 1 << (len(parts) - 1) {
		keys := []string{parts[0]}
		for i, part := range parts[1:] {
			if mask>>i&1 == 1 {
				keys[len(keys)-1] += "." + part
			} else {
				keys = append(keys, part)
			}
		}
		out = append(out, keys)
	}
	return out
}

// jsonValues are the values of a path in a JSON document, one for each way to split the path; at
// most one of them is there, for colliding paths are refused at the door.
func jsonValues(doc, path string) []value {
	var out []value
	for _, keys := range splits(path) {
		parts := []string{doc}
		for _, key := range keys {
			parts = append(parts, Literal(key))
		}
		args := strings.Join(parts, ", ")
		kind := "toString(JSONType(" + args + "))"
		out = append(out, value{
			str: "JSONExtractString(" + args + ")", isStr: kind + " = 'String'",
			num: "JSONExtractFloat(" + args + ")", isNum: kind + " IN ('Int64', 'UInt64', 'Double')",
			big: "JSONExtractInt(" + args + ")", isBig: "(" + kind + " = 'Int64' AND abs(JSONExtractFloat(" + args + ")) >= 9007199254740992.)",
			bool: "JSONExtractBool(" + args + ")", isBool: kind + " = 'Bool'",
			other: kind + " IN ('Array', 'Object')",
		})
	}
	return out
}

// scaled is the value times the operand's scale plus its offset; what is not finite is missing.
func (v value) scaled(o *segments.Operand) value {
	if o.Scale == 0 && o.Offset == 0 {
		return v
	}
	if v.isNum == "" {
		return value{}
	}
	out := value{isNum: v.isNum, num: v.num}
	if o.Scale != 0 && o.Scale != 1 {
		out.num = "(" + out.num + " * " + float(o.Scale) + ")"
	}
	if o.Offset != 0 {
		out.num = "(" + out.num + " + " + float(o.Offset) + ")"
	}
	out.isNum = all(out.isNum, "isFinite("+out.num+")")
	return out
}

// comparison operators of SQL by operator of a leaf.
var operators = map[segments.PredOp]string{
	segments.PredEq: "=", segments.PredNe: "!=", segments.PredLt: "<",
	segments.PredLe: "<=", segments.PredGt: ">", segments.PredGe: ">=",
}

// compare is the condition under which both values are there, of one type, and compare so.
func compare(op segments.PredOp, l, r value) string {
	sql := operators[op]
	var ways []string
	if l.isStr != "" && r.isStr != "" {
		ways = append(ways, all(l.isStr, r.isStr, l.str+" "+sql+" "+r.str))
	}
	if l.isNum != "" && r.isNum != "" {
		ways = append(ways, all(l.isNum, r.isNum, compareNumbers(sql, l, r)))
	}
	if l.isBool != "" && r.isBool != "" && (op == segments.PredEq || op == segments.PredNe) {
		ways = append(ways, all(l.isBool, r.isBool, l.bool+" "+sql+" "+r.bool))
	}
	return anyOf(ways...)
}

// compareNumbers compares exactly, also where one is an integer that float64 cannot hold:
// ClickHouse compares integers with floats by value.
func compareNumbers(sql string, l, r value) string {
	if l.isBig == "" && r.isBig == "" || smallLiteral(l) || smallLiteral(r) {
		return l.num + " " + sql + " " + r.num
	}
	var ways []string
	for _, x := range l.exact() {
		for _, y := range r.exact() {
			ways = append(ways, all(x.when, y.when, x.num+" "+sql+" "+y.num))
		}
	}
	return anyOf(ways...)
}

// smallLiteral says whether the value is a literal so small that no integer beyond float64 rounds
// to it or past it.
func smallLiteral(v value) bool {
	f, err := strconv.ParseFloat(strings.Trim(v.num, "()"), 64)
	return err == nil && math.Abs(f) < exactFloat
}

type exactNumber struct{ num, when string }

func (v value) exact() []exactNumber {
	switch v.isBig {
	case "":
		return []exactNumber{{v.num, "1"}}
	case "1":
		return []exactNumber{{v.big, "1"}}
	}
	return []exactNumber{{v.big, v.isBig}, {v.num, "NOT " + v.isBig}}
}

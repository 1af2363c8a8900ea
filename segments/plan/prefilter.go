package plan

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"nudge/segments"
)

// prefilter writes prefilters over the aggregates of one candidate query. It collects the aggregates
// that they compare; what cannot be said in this query passes.
type prefilter struct {
	at       int64
	keyed    bool // the query is grouped by a for_each value, and sees only that history
	features []*segments.Feature
	// aggregates by their text, with the name each has.
	names      map[string]string
	aggregates []string
	conds      conditions
	rows       rowsNeeded
	nowhere    bool // the condition being added: places are known of nobody here
}

// rowsNeeded says which rows the aggregates are computed from.
type rowsNeeded struct {
	features []*segments.Feature
	traits   []string
	userID   bool
	everyone bool // people without any row may pass too
}

func (r *rowsNeeded) feature(f *segments.Feature) { r.features = append(r.features, f) }

func (r *rowsNeeded) trait(key string) {
	if !slices.Contains(r.traits, key) {
		r.traits = append(r.traits, key)
	}
}

func newPrefilter(at int64, keyed bool) *prefilter {
	return &prefilter{at: at, keyed: keyed, names: map[string]string{}}
}

// add returns the condition of one Who.
func (p *prefilter) add(w *segments.Who) string {
	p.features = refs(w.Features())
	if !p.keyed && trueOfNothing(w.Prefilter(), p.features, p.at, p.nowhere) {
		p.rows.everyone = true
	}
	return render(w.Prefilter(), p)
}

func refs(features []segments.Feature) []*segments.Feature {
	out := make([]*segments.Feature, len(features))
	for i := range features {
		out[i] = &features[i]
	}
	return out
}

func (p *prefilter) named(sql string) string {
	name, ok := p.names[sql]
	if !ok {
		name = "f" + strconv.Itoa(len(p.aggregates))
		p.names[sql] = name
		p.aggregates = append(p.aggregates, sql+" AS "+name)
	}
	return name
}

// feature returns the feature when this query can compute it.
func (p *prefilter) feature(o *segments.Operand) (*segments.Feature, bool) {
	f := p.features[o.Feature]
	if f.Keyed != p.keyed {
		return nil, false
	}
	return f, true
}

func (p *prefilter) values(o *segments.Operand) ([]value, bool) {
	var ways []value
	switch o.Kind {
	case segments.OperandLit:
		ways = []value{literalValue(o.Lit)}
	case segments.OperandNow:
		ways = []value{{num: float(float64(p.at)), isNum: "1"}}
	case segments.OperandFeature:
		f, ok := p.feature(o)
		if !ok {
			return nil, false
		}
		if ways, ok = p.featureValues(f, o); !ok {
			return nil, false
		}
	case segments.OperandTrait:
		// A time may be text, and a dotted path the member of an object: that is the program's business.
		if p.keyed || o.Type == "time" || strings.Contains(o.Path, ".") {
			return nil, false
		}
		ways = jsonRoot(p.trait(o.Path))
	case segments.OperandUserID:
		if p.keyed {
			return nil, false
		}
		p.rows.userID = true
		id := p.named("argMaxIf(trait, pos, kind = 254)")
		ways = []value{{str: id, isStr: id + " != ''"}}
	default:
		return nil, false
	}
	for i := range ways {
		ways[i] = ways[i].scaled(o)
	}
	return ways, true
}

// trait is the newest token of a trait, ” when there is none.
func (p *prefilter) trait(key string) string {
	p.rows.trait(key)
	return p.named("argMaxIf(trait, tp, kind = 255 AND event = " + Literal(key) + ")")
}

// jsonRoot is the value of a JSON token that is a document of its own, ” when there is none.
func jsonRoot(token string) []value {
	kind := "toString(JSONType(" + token + "))"
	return []value{{
		str: "JSONExtractString(" + token + ")", isStr: kind + " = 'String'",
		num: "JSONExtractFloat(" + token + ")", isNum: kind + " IN ('Int64', 'UInt64', 'Double')",
		big: "JSONExtractInt(" + token + ")", isBig: "(" + kind + " = 'Int64' AND abs(JSONExtractFloat(" + token + ")) >= 9007199254740992.)",
		bool: "JSONExtractBool(" + token + ")", isBool: kind + " = 'Bool'",
		other: kind + " IN ('Array', 'Object')",
	}}
}

func (p *prefilter) featureValues(f *segments.Feature, o *segments.Operand) ([]value, bool) {
	c := p.conds.column(counts(f, p.at))
	nullable := func(sql string) []value {
		name := p.named(sql)
		return []value{{num: "assumeNotNull(" + name + ")", isNum: name + " IS NOT NULL"}}
	}
	switch f.Agg {
	case segments.AggCount, segments.AggUniq:
		p.rows.feature(f)
		return []value{{num: "toFloat64(" + p.named(aggregate(f, p.at, &p.conds)) + ")", isNum: "1"}}, true
	case segments.AggSum:
		p.rows.feature(f)
		return []value{{num: p.named(aggregate(f, p.at, &p.conds)), isNum: "1"}}, true
	case segments.AggAvg, segments.AggMin, segments.AggMax:
		p.rows.feature(f)
		return nullable(aggregate(f, p.at, &p.conds)), true
	case segments.AggFirst, segments.AggLast:
		p.rows.feature(f)
		edge, arg := "minOrNullIf", "argMinIf"
		if f.Agg == segments.AggLast {
			edge, arg = "maxOrNullIf", "argMaxIf"
		}
		switch {
		case o.Field == "at":
			return nullable(edge + "(t, " + c + ")"), true
		case o.Field == "ago":
			age := fmt.Sprintf("ifNull(toFloat64(%d - %s(t, %s)), inf)", p.at, edge, c)
			return []value{{num: p.named(age), isNum: "1"}}, true
		case o.Field == "":
			name := p.named(edge + "(t, " + c + ")")
			return []value{{other: name + " IS NOT NULL"}}, true
		case o.Type == "array" || o.Type == "object" || o.Type == "time" && o.Field != "at":
			return nil, false // the maps do not hold lists, nor times that came as text
		case strings.HasPrefix(o.Field, "properties."):
			path := strings.TrimPrefix(o.Field, "properties.")
			v := mapValue(path, "")
			kept := mapValue(path, o.Type)
			tuple := p.named(arg + "(tuple(" + strings.Join([]string{
				v.isStr, v.str, v.isNum, v.num, v.isBig, v.big, v.isBool, v.bool,
			}, ", ") + "), tp, " + c + ")")
			item := func(i int) string { return tuple + "." + strconv.Itoa(i) }
			read := value{}
			if kept.isStr != "" {
				read.isStr, read.str = item(1), item(2)
			}
			if kept.isNum != "" {
				read.isNum, read.num = item(3), item(4)
			}
			if kept.isBig != "" {
				read.isBig, read.big = item(5), item(6)
			}
			if kept.isBool != "" {
				read.isBool, read.bool = item(7), item(8)
			}
			return []value{read}, true
		case strings.HasPrefix(o.Field, "context."):
			doc := p.named(arg + "(context, tp, " + c + ")")
			return jsonValues(doc, strings.TrimPrefix(o.Field, "context.")), true
		}
	default:
	}
	return nil, false
}

// unknown passes, unless it is plain that nobody without an occurrence or trait can.
func (p *prefilter) unknown(leaf *segments.Pred) string {
	if leaf.Op == segments.PredMaybe || leaf.Op == segments.PredHasNot {
		return "1"
	}
	var need []string
	for _, o := range []*segments.Operand{leaf.L, leaf.R} {
		if o == nil {
			continue
		}
		if o.Kind == segments.OperandPlace && p.nowhere {
			return "0"
		}
		if o.Kind == segments.OperandTrait && !p.keyed {
			need = append(need, p.hasTrait(o.Path))
		}
		if o.Kind != segments.OperandFeature {
			continue
		}
		f, ok := p.feature(o)
		if !ok || o.Field == "ago" {
			continue
		}
		switch f.Agg {
		case segments.AggCount, segments.AggSum, segments.AggUniq, segments.AggList:
			continue // there whatever happened, as is an age
		default:
		}
		p.rows.feature(f)
		need = append(need, p.named("toInt64(countIf("+p.conds.column(counts(f, p.at))+"))")+" > 0")
	}
	return all(need...)
}

// hasTrait is the condition under which there is a trait that the path may read from.
func (p *prefilter) hasTrait(path string) string {
	var ways []string
	for n := len(path); n > 0; n = strings.LastIndexByte(path[:n], '.') {
		ways = append(ways, p.trait(path[:n])+" NOT IN ('', 'null')")
	}
	return anyOf(ways...)
}

// trueOfNothing says whether the prefilter can hold for a person without one occurrence, trait or
// id: then everybody is a candidate, and not only those who did something. With nowhere they have no
// known location either.
func trueOfNothing(p *segments.Pred, features []*segments.Feature, at int64, nowhere bool) bool {
	if p == nil {
		return true
	}
	switch p.Op {
	case segments.PredFalse:
		return false
	case segments.PredAnd:
		return !slices.ContainsFunc(p.Kids, func(k *segments.Pred) bool { return !trueOfNothing(k, features, at, nowhere) })
	case segments.PredOr:
		return slices.ContainsFunc(p.Kids, func(k *segments.Pred) bool { return trueOfNothing(k, features, at, nowhere) })
	case segments.PredTrue, segments.PredMaybe:
		return true
	default:
	}
	l, known := ofNothing(p.L, features, at, nowhere)
	if !known {
		return true
	}
	if p.Op == segments.PredHasNot {
		return l == nil
	}
	if l == nil {
		return false
	}
	if p.R == nil {
		return true
	}
	r, known := ofNothing(p.R, features, at, nowhere)
	if !known {
		return true
	}
	if r == nil {
		return false
	}
	switch p.Op {
	case segments.PredEq:
		return *l == *r
	case segments.PredNe:
		return *l != *r
	case segments.PredLt:
		return *l < *r
	case segments.PredLe:
		return *l <= *r
	case segments.PredGt:
		return *l > *r
	case segments.PredGe:
		return *l >= *r
	default:
	}
	return true
}

// ofNothing is the operand's number for somebody without any history, nil when it is missing;
// not known where it is something else than a number.
func ofNothing(o *segments.Operand, features []*segments.Feature, at int64, nowhere bool) (number *float64, known bool) {
	var x float64
	switch o.Kind {
	case segments.OperandTrait, segments.OperandUserID:
		return nil, true
	case segments.OperandPlace:
		return nil, nowhere
	case segments.OperandNow:
		x = float64(at)
	case segments.OperandLit:
		switch lit := o.Lit.(type) {
		case float64:
			x = lit
		case int64:
			x = float64(lit)
		default:
			return nil, lit == nil
		}
	case segments.OperandFeature:
		f := features[o.Feature]
		switch f.Agg {
		case segments.AggCount, segments.AggSum, segments.AggUniq:
		case segments.AggFirst, segments.AggLast:
			if o.Field != "ago" {
				return nil, true
			}
			x = math.Inf(1)
		case segments.AggList:
			return nil, false
		default:
			return nil, true
		}
	default:
		return nil, false
	}
	if o.Scale != 0 {
		x *= o.Scale
	}
	x += o.Offset
	return &x, true
}

package segments

import (
	"math/big"

	"nudge/events"
)

// aggregate computes over occurrences, newest first, what the planner's queries compute over rows.
func aggregate(l []any, agg Agg, path string, t events.Type) any {
	switch agg {
	case AggCount:
		return float64(len(l))
	case AggFirst:
		return element(l, -1)
	case AggLast:
		return element(l, 0)
	default:
	}
	var values []any
	for _, o := range l {
		if v := ms(fieldOf(o.(*Occurrence), path, t)); v != nil {
			values = append(values, v)
		}
	}
	switch agg {
	case AggUniq:
		return float64(countUniq(values))
	case AggTop:
		v := top(values)
		if n, ok := asFloat(v); ok && t == events.TypeTime {
			return instant(n)
		}
		return v
	default:
	}
	var nums []float64
	for _, v := range values {
		if f, ok := asFloat(v); ok {
			nums = append(nums, f)
		}
	}
	switch {
	case agg == AggSum && t == events.TypeDecimal:
		return decimalSum(nums)
	case agg == AggSum:
		return number(sumOf(nums))
	case len(nums) == 0:
		return nil
	case agg == AggAvg:
		return number(sumOf(nums) / float64(len(nums)))
	}
	best := nums[0]
	for _, f := range nums {
		if agg == AggMin && f < best || agg == AggMax && f > best {
			best = f
		}
	}
	return best
}

// decimalSum adds decimals of at most nine digits after the point exactly, as the store does.
func decimalSum(nums []float64) any {
	sum := new(big.Rat)
	for _, f := range nums {
		r, ok := new(big.Rat).SetString(text(f).(string))
		if ok {
			sum.Add(sum, r)
		}
	}
	f, _ := sum.Float64()
	return number(f)
}

// isScalar reports whether a value can be counted: lists and objects cannot.
func isScalar(v any) bool {
	switch v.(type) {
	case string, float64, int64, bool:
		return true
	}
	return false
}

func countUniq(values []any) int {
	seen := map[any]bool{}
	for _, v := range values {
		if isScalar(v) {
			seen[v] = true
		}
	}
	return len(seen)
}

// top is the most frequent value; of equally frequent ones the one seen latest. Values are newest first.
func top(values []any) any {
	count := map[any]int{}
	for _, v := range values {
		if isScalar(v) {
			count[v]++
		}
	}
	var best any
	for _, v := range values {
		if isScalar(v) && (best == nil || count[v] > count[best]) {
			best = v
		}
	}
	return best
}

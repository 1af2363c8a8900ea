package segments

import (
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
)

func trim(a []any) any {
	s, ok := a[0].(string)
	if !ok {
		return nil
	}
	if len(a) == 1 {
		return strings.TrimSpace(s)
	}
	cut, ok := a[1].(string)
	if !ok {
		return nil
	}
	return strings.Trim(s, cut)
}

func split(a []any) any {
	s, ok1 := a[0].(string)
	sep, ok2 := a[1].(string)
	if !ok1 || !ok2 {
		return nil
	}
	parts := strings.Split(s, sep)
	out := make([]any, len(parts))
	for i, p := range parts {
		out[i] = p
	}
	return out
}

// maxText bounds what replace and join may build.
const maxText = 1 << 20

func replace(a []any) any {
	s, ok1 := a[0].(string)
	from, ok2 := a[1].(string)
	to, ok3 := a[2].(string)
	if !ok1 || !ok2 || !ok3 || len(s)+(strings.Count(s, from)*len(to)) > maxText {
		return nil
	}
	return strings.ReplaceAll(s, from, to)
}

func join1(a []any) any {
	l, ok := a[0].([]any)
	sep := ""
	if len(a) == 2 {
		s, isString := a[1].(string)
		ok, sep = ok && isString, s
	}
	if !ok {
		return nil
	}
	var b strings.Builder
	for i, e := range l {
		s, ok := text(e).(string)
		if !ok || b.Len()+len(s) > maxText {
			return nil
		}
		if i > 0 {
			b.WriteString(sep)
		}
		b.WriteString(s)
	}
	return b.String()
}

// text writes a scalar as a string; lists and objects have none.
func text(v any) any {
	switch x := v.(type) {
	case string:
		return x
	case bool:
		return strconv.FormatBool(x)
	case float64:
		return strconv.FormatFloat(x, 'f', -1, 64)
	case int64:
		return strconv.FormatInt(x, 10)
	}
	return nil
}

func toNumber(v any) any {
	switch x := v.(type) {
	case float64, int64:
		return v
	case string:
		s := strings.TrimSpace(x)
		if strings.ContainsAny(s, "xXpP_iInN") { // hexadecimal, inf and nan are not what people mean
			return nil
		}
		return decodeNumber(s)
	}
	return nil
}

func length(a []any) any {
	switch x := a[0].(type) {
	case string:
		return float64(len([]rune(x)))
	case []any:
		return float64(len(x))
	case map[string]any:
		return float64(len(x))
	}
	return nil
}

// floats reads numbers, or the numbers of one list.
func floats(a []any) ([]float64, bool) {
	if len(a) == 1 {
		if l, ok := a[0].([]any); ok {
			a = l
		}
	}
	out := make([]float64, len(a))
	for i, v := range a {
		f, ok := asFloat(v)
		if !ok {
			return nil, false
		}
		out[i] = f
	}
	return out, true
}

func sumOf(f []float64) float64 {
	s := 0.0
	for _, x := range f {
		s += x
	}
	return s
}

// sumList adds what is a number and skips the rest, as .sum of a history does.
func sumList(l []any) any {
	s := 0.0
	for _, v := range l {
		if f, ok := asFloat(v); ok {
			s += f
		}
	}
	return number(s)
}

func median(f []float64) any {
	f = slices.Clone(f)
	slices.Sort(f)
	if n := len(f); n%2 == 0 {
		return number((f[n/2-1] + f[n/2]) / 2)
	}
	return f[len(f)/2]
}

func element(l []any, i int) any {
	if i < 0 {
		i += len(l)
	}
	if i < 0 || i >= len(l) {
		return nil
	}
	return l[i]
}

func get(a []any) any {
	switch x := a[0].(type) {
	case []any:
		if f, ok := asFloat(a[1]); ok && f == math.Trunc(f) && math.Abs(f) < 1<<31 {
			return element(x, int(f))
		}
	case map[string]any:
		if k, ok := a[1].(string); ok {
			return x[k]
		}
	}
	return nil
}

// slice is list[from:to]; a missing bound is the list's own.
func slice(a []any) any {
	l, ok := a[0].([]any)
	if !ok {
		return nil
	}
	bound := func(v any, otherwise int) (int, bool) {
		if v == nil {
			return otherwise, true
		}
		f, ok := asFloat(v)
		if !ok {
			return 0, false
		}
		i := int(math.Max(-1<<31, math.Min(f, 1<<31)))
		if i < 0 {
			i += len(l)
		}
		return max(0, min(i, len(l))), true
	}
	from, ok1 := bound(a[1], 0)
	to, ok2 := bound(a[2], len(l))
	if !ok1 || !ok2 {
		return nil
	}
	return l[min(from, to):to]
}

func uniq(l []any) any {
	out := []any{}
	seen := map[any]bool{}
	for _, v := range l {
		switch v.(type) {
		case []any, map[string]any:
			continue // lists and objects are not compared
		}
		if !seen[v] {
			seen[v] = true
			out = append(out, v)
		}
	}
	return out
}

// maxList bounds what concat and flatten may build.
const maxList = 100_000

func flatten(l []any) any {
	out := []any{}
	for _, v := range l {
		if inner, ok := v.([]any); ok {
			out = append(out, inner...)
		} else {
			out = append(out, v)
		}
		if len(out) > maxList {
			return nil
		}
	}
	return out
}

func concat(a []any) any {
	out := []any{}
	for _, v := range a {
		l, ok := v.([]any)
		if !ok || len(out)+len(l) > maxList {
			return nil
		}
		out = append(out, l...)
	}
	return out
}

func keys(a []any) any {
	m, ok := a[0].(map[string]any)
	if !ok {
		return nil
	}
	out := make([]any, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].(string) < out[j].(string) })
	return out
}

func valuesOf(a []any) any {
	ks, ok := keys(a).([]any)
	if !ok {
		return nil
	}
	m := a[0].(map[string]any)
	for i, k := range ks {
		ks[i] = m[k.(string)]
	}
	return ks
}

// sortBy orders a list by keys, stable; what has no key, or one of another type, comes last.
func sortBy(l, by []any, dir string) any {
	type pair struct{ v, k any }
	pairs := make([]pair, len(l))
	for i := range l {
		pairs[i] = pair{l[i], by[i]}
	}
	sort.SliceStable(pairs, func(i, j int) bool {
		a, b := pairs[i].k, pairs[j].k
		if r, s := rank(a), rank(b); r != s {
			return r < s
		}
		c, _ := compare(a, b)
		if dir == "desc" {
			return c > 0
		}
		return c < 0
	})
	out := make([]any, len(l))
	for i, p := range pairs {
		out[i] = p.v
	}
	return out
}

func rank(v any) int {
	switch v.(type) {
	case float64, int64:
		return 0
	case string:
		return 1
	case instant:
		return 2
	case span:
		return 3
	case bool:
		return 4
	}
	return 5
}

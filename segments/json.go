package segments

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"unsafe"

	"nudge/events"
)

// lookup finds the value at a dotted path in a JSON object without decoding the rest of it. A key
// may itself hold dots ("a.b"), as the flattened columns of the store cannot tell the difference.
// It returns nil where there is nothing. The JSON has been normalised before it was stored;
// what is malformed is simply not found.
func lookup(raw []byte, path string) []byte {
	i := skipSpace(raw, 0)
	if i >= len(raw) || raw[i] != '{' {
		return nil
	}
	i = skipSpace(raw, i+1)
	for i < len(raw) && raw[i] == '"' {
		keyEnd := skipString(raw, i)
		if keyEnd < 0 {
			return nil
		}
		key := raw[i+1 : keyEnd-1]
		i = skipSpace(raw, keyEnd)
		if i >= len(raw) || raw[i] != ':' {
			return nil
		}
		i = skipSpace(raw, i+1)
		end := skipValue(raw, i)
		if end < 0 {
			return nil
		}
		if rest, ok := matchKey(key, path); ok {
			if rest == "" {
				return raw[i:end]
			}
			if found := lookup(raw[i:end], rest); found != nil {
				return found
			}
		}
		i = skipSpace(raw, end)
		if i >= len(raw) || raw[i] != ',' {
			return nil
		}
		i = skipSpace(raw, i+1)
	}
	return nil
}

// matchKey reports whether a key, as written in JSON, is the path or its beginning, and what of the
// path is left.
func matchKey(key []byte, path string) (rest string, ok bool) {
	k := unsafe.String(unsafe.SliceData(key), len(key)) // read here and not kept
	if strings.IndexByte(k, '\\') >= 0 {
		s, ok := decodeString(key)
		if !ok {
			return "", false
		}
		k = s
	}
	if !strings.HasPrefix(path, k) {
		return "", false
	}
	switch {
	case len(path) == len(k):
		return "", true
	case path[len(k)] == '.' && len(path) > len(k)+1:
		return path[len(k)+1:], true
	}
	return "", false
}

func skipSpace(raw []byte, i int) int {
	for i < len(raw) && (raw[i] == ' ' || raw[i] == '\n' || raw[i] == '\t' || raw[i] == '\r') {
		i++
	}
	return i
}

// skipString returns the index after the string that begins at i, or -1.
func skipString(raw []byte, i int) int {
	for i++; i < len(raw); i++ {
		switch raw[i] {
		case '"':
			return i + 1
		case '\\':
			i++
		}
	}
	return -1
}

// skipValue returns the index after the value that begins at i, or -1.
func skipValue(raw []byte, i int) int {
	if i >= len(raw) {
		return -1
	}
	switch raw[i] {
	case '"':
		return skipString(raw, i)
	case '{', '[':
		depth := 0
		for i < len(raw) {
			switch raw[i] {
			case '"':
				if i = skipString(raw, i); i < 0 {
					return -1
				}
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
		return -1
	}
	start := i
	for i < len(raw) && strings.IndexByte(",}] \n\t\r", raw[i]) < 0 {
		i++
	}
	if i == start {
		return -1
	}
	return i
}

func decodeString(inner []byte) (string, bool) {
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner), true
	}
	var s string
	quoted := make([]byte, 0, len(inner)+2)
	quoted = append(append(append(quoted, '"'), inner...), '"')
	if json.Unmarshal(quoted, &s) != nil {
		return "", false
	}
	return s, true
}

// decode gives a JSON token its value in the language; null, and what is malformed, is missing.
func decode(token []byte) any {
	if len(token) == 0 {
		return nil
	}
	switch token[0] {
	case '"':
		if len(token) < 2 {
			return nil
		}
		if s, ok := decodeString(token[1 : len(token)-1]); ok {
			return s
		}
		return nil
	case 't':
		return true
	case 'f':
		return false
	case 'n':
		return nil
	case '{', '[':
		d := json.NewDecoder(bytes.NewReader(token))
		d.UseNumber()
		var v any
		if d.Decode(&v) != nil {
			return nil
		}
		return plain(v)
	}
	return decodeNumber(unsafe.String(unsafe.SliceData(token), len(token))) // read and not kept
}

// decodeNumber reads a JSON number: float64, and int64 for integers that float64 cannot hold.
func decodeNumber(s string) any {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return nil
	}
	if math.Abs(f) >= 1<<53 { // 2^53 may stand for its neighbour
		if i, err := strconv.ParseInt(s, 10, 64); err == nil {
			return i
		}
	}
	return number(f)
}

// plain turns decoded JSON with json.Number into the language's values, in place.
func plain(v any) any {
	switch x := v.(type) {
	case json.Number:
		return decodeNumber(string(x))
	case []any:
		for i := range x {
			x[i] = plain(x[i])
		}
	case map[string]any:
		for k := range x {
			x[k] = plain(x[k])
		}
	}
	return v
}

func objectOf(raw json.RawMessage) any {
	v, ok := decode(raw).(map[string]any)
	if !ok {
		return map[string]any{}
	}
	return v
}

// typed reads a token as its declared type; what is of another type is missing. A declared time is
// Unix milliseconds, or the RFC 3339 text that it came as.
func typed(token []byte, t events.Type) any {
	v := decode(token)
	switch t {
	case events.Untyped:
		return v
	case events.TypeString:
		if s, ok := v.(string); ok {
			return s
		}
	case events.TypeNumber, events.TypeInteger, events.TypeDecimal:
		switch v.(type) {
		case float64, int64:
			return v
		}
	case events.TypeBoolean:
		if b, ok := v.(bool); ok {
			return b
		}
	case events.TypeTime:
		switch x := v.(type) {
		case float64:
			return instant(x)
		case int64:
			return instant(x)
		case string:
			if at, d, clock, bare, ok := parseTime(x); ok {
				if bare {
					return utc(d, clock)
				}
				return at
			}
		}
	case events.TypeArray:
		if l, ok := v.([]any); ok {
			return l
		}
	case events.TypeObject:
		if m, ok := v.(map[string]any); ok {
			return m
		}
	}
	return nil
}

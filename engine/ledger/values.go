package ledger

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Values are named values of a decision: what a condition read, or what a message may print. Whole
// numbers come back from JSON as int64, so that a message prints 1000000 and not 1e+06.
type Values map[string]any

// UnmarshalJSON implements json.Unmarshaler.
func (v *Values) UnmarshalJSON(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		return fmt.Errorf("decode values: %w", err)
	}
	for k, x := range m {
		m[k] = plain(x)
	}
	*v = m
	return nil
}

// Value is a JSON value as Values has it; nil where data is none.
func Value(data []byte) any {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var x any
	if dec.Decode(&x) != nil {
		return nil
	}
	return plain(x)
}

func plain(x any) any {
	switch x := x.(type) {
	case json.Number:
		if i, err := x.Int64(); err == nil {
			return i
		}
		f, err := x.Float64()
		if err != nil {
			return x.String()
		}
		return f
	case []any:
		for i := range x {
			x[i] = plain(x[i])
		}
	case map[string]any:
		for k := range x {
			x[k] = plain(x[k])
		}
	}
	return x
}

package ledger

import (
	"bytes"
	stdjson "encoding/json"
	"fmt"
	"io"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// Streams are read with the decoder that is to be the next encoding/json, told to take and to refuse what the present one
// does, but for names in another case, which we never write: it takes less of the processor, and can leave out what nobody
// asks for.

// unmarshal is json.Unmarshal.
func unmarshal(data []byte, to any) error {
	return json.Unmarshal(data, to, jsonv1.DefaultOptionsV1(), json.MatchCaseInsensitiveNames(false))
}

// DecodeChunk decodes one message.
func DecodeChunk(data []byte) (Chunk, error) {
	var c Chunk
	if err := unmarshal(data, &c); err != nil {
		return Chunk{}, fmt.Errorf("decode ledger chunk: %w", err)
	}
	if c.V != 1 {
		return Chunk{}, fmt.Errorf("decode ledger chunk: version %d is not known to this build", c.V)
	}
	c.Records = unfolded(c.Records)
	return c, nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *Values) UnmarshalJSON(data []byte) error { return unmarshal(data, v) }

// UnmarshalJSONFrom decodes values without a copy of their text; whole numbers are int64.
func (v *Values) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	switch dec.PeekKind() {
	case 'n':
		*v = nil
		return dec.SkipValue()
	case '{':
	default:
		return fmt.Errorf("decode values: they are no object at %s", dec.StackPointer())
	}
	x, err := plainFrom(dec)
	if err != nil {
		return fmt.Errorf("decode values: %w", err)
	}
	*v = x.(map[string]any)
	return nil
}

// Value is a JSON value as Values has it; nil where data is none.
func Value(data []byte) any {
	dec := jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	x, err := plainFrom(dec)
	if err != nil {
		return nil
	}
	return x
}

// plainFrom reads one value.
func plainFrom(dec *jsontext.Decoder) (any, error) {
	token, err := dec.ReadToken()
	if err != nil {
		return nil, err
	}
	switch token.Kind() {
	case 'n':
		return nil, nil
	case 't', 'f':
		return token.Bool(), nil
	case '"':
		return token.String(), nil
	case '0':
		return number(token.String()), nil
	case '[':
		list := []any{}
		for dec.PeekKind() != ']' {
			x, err := plainFrom(dec)
			if err != nil {
				return nil, err
			}
			list = append(list, x)
		}
		_, err := dec.ReadToken()
		return list, err
	case '{':
		object := map[string]any{}
		for dec.PeekKind() != '}' {
			name, err := dec.ReadToken()
			if err != nil {
				return nil, err
			}
			key := name.String() // before the token's memory is used again
			if object[key], err = plainFrom(dec); err != nil {
				return nil, err
			}
		}
		_, err := dec.ReadToken()
		return object, err
	default:
		return nil, io.ErrUnexpectedEOF
	}
}

// number is an int64 where it is a whole one that fits, else a float64, else its text.
func number(text string) any {
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		return i
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return text
	}
	return f
}

// RawDecision is a decision that is not decoded yet.
type RawDecision []byte

// DecodeRaw decodes one message of a decision stream as far as to tell its decisions apart: by the index of their
// record, nil where a record is something else.
func DecodeRaw(data []byte) ([]RawDecision, error) {
	var c struct {
		V       int `json:"v"`
		Records []struct {
			Decision jsontext.Value `json:"decision"`
		} `json:"records"`
	}
	if err := unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("decode ledger chunk: %w", err)
	}
	if c.V != 1 {
		return nil, fmt.Errorf("decode ledger chunk: version %d is not known to this build", c.V)
	}
	out := make([]RawDecision, len(c.Records))
	for i, r := range c.Records {
		if r.Decision.Kind() == '{' {
			out[i] = RawDecision(r.Decision)
		}
	}
	return out, nil
}

// Head is the part of a decision that says by which way it goes.
type Head struct {
	Reason   Reason               `json:"reason"`
	Rule     string               `json:"rule"`
	Category string               `json:"category"`
	Channels []string             `json:"channels"`
	Devices  []stdjson.RawMessage `json:"devices"`
}

// Head decodes the decision's head, which takes a part of what Decode does.
func (r RawDecision) Head() (Head, error) {
	var h Head
	if err := unmarshal(r, &h); err != nil {
		return h, fmt.Errorf("decode the head of a decision: %w", err)
	}
	return h, nil
}

// Decode decodes the decision, without the items of a digest: they are decisions of their own, and none of them is sent.
func (r RawDecision) Decode() (*Decision, error) {
	d := &Decision{}
	if err := unmarshal(r, d); err != nil {
		return nil, fmt.Errorf("decode a decision: %w", err)
	}
	d.Items = nil
	return d, nil
}

// Unmarshal decodes JSON that a decision carries (its profile, its devices), as it decodes the decision.
func Unmarshal(raw []byte, to any) error { return unmarshal(raw, to) }

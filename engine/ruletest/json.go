package ruletest

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"nudge/rules/yamlfile"
)

// mustJSON encodes what cannot fail to be encoded: strings, numbers and maps of them.
func mustJSON(v any) json.RawMessage {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("ruletest: encode %T: %v", v, err))
	}
	return raw
}

// object is a set of keys as JSON.
func (p *parser) object(n *yamlfile.Node) json.RawMessage {
	if n.Kind != yamlfile.Map {
		p.r.Report(n, "wrong-type", "", "expected a set of keys, found %s", n.Kind)
		return json.RawMessage(`{}`)
	}
	return mustJSON(p.value(n))
}

// value is a node as a JSON value; numbers keep their digits.
func (p *parser) value(n *yamlfile.Node) any {
	switch n.Kind {
	case yamlfile.Null:
		return nil
	case yamlfile.Bool:
		return n.Text == "true" || n.Text == "True" || n.Text == "TRUE"
	case yamlfile.Int, yamlfile.Float:
		return p.number(n)
	case yamlfile.List:
		out := []any{}
		for _, item := range n.Items {
			out = append(out, p.value(item))
		}
		return out
	case yamlfile.Map:
		out := map[string]any{}
		for _, pair := range n.Pairs {
			out[pair.Key.Text] = p.value(pair.Value)
		}
		return out
	default:
		return n.Text
	}
}

func (p *parser) number(n *yamlfile.Node) any {
	if json.Valid([]byte(n.Text)) {
		return json.Number(n.Text)
	}
	if i, err := strconv.ParseInt(n.Text, 0, 64); err == nil {
		return i
	}
	f, err := strconv.ParseFloat(n.Text, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		p.r.Report(n, "bad-number", "Quote it if it is text.", "%q is not a number of JSON", n.Text)
		return nil
	}
	return f
}

// compact is a value as JSON for people: on one line, and <, > and & as they are.
func compact(v any) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

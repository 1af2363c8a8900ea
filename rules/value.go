package rules

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"nudge/rules/template"
)

// Value is a value of a message: text with placeholders, a plain value, or a list or map of values.
// Exactly one of Template, List and Map is set, or none for a plain value.
type Value struct {
	Template *template.Template
	Type     string // of a rendered Template: "int", "number", "bool" or "" for text
	Literal  any    // string, int64, float64, bool or nil
	List     []Value
	Map      []Field
}

// Render fills the placeholders. What is printed but missing is an error (template.ErrMissing).
func (v Value) Render(vars map[string]any) (any, error) {
	switch {
	case v.Template != nil:
		text, err := v.Template.Render(vars)
		if err != nil {
			return nil, err //nolint:wrapcheck // names the template's placeholder; the field is added by ChannelMessage.Render
		}
		return v.typed(text)
	case v.List != nil:
		out := make([]any, 0, len(v.List))
		for i, item := range v.List {
			r, err := item.Render(vars)
			if err != nil {
				return nil, fmt.Errorf("[%d]: %w", i, err)
			}
			out = append(out, r)
		}
		return out, nil
	case v.Map != nil:
		out := make(map[string]any, len(v.Map))
		for _, f := range v.Map {
			r, err := f.Value.Render(vars)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", f.Name, err)
			}
			out[f.Name] = r
		}
		return out, nil
	default:
		return v.Literal, nil
	}
}

func (v Value) typed(text string) (any, error) {
	switch v.Type {
	case "int":
		n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is not a whole number", text)
		}
		return n, nil
	case "number":
		n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		if err != nil || math.IsInf(n, 0) || math.IsNaN(n) {
			return nil, fmt.Errorf("%q is not a number", text)
		}
		return n, nil
	case "bool":
		switch strings.TrimSpace(text) {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
		return nil, fmt.Errorf("%q is neither true nor false", text)
	default:
		return text, nil
	}
}

// Render is the message's fields by name, as JSON values. It is a function of the message and vars
// alone. An error names the field.
func (m ChannelMessage) Render(vars map[string]any) (map[string]any, error) {
	out := make(map[string]any, len(m.Fields))
	for _, f := range m.Fields {
		v, err := f.Value.Render(vars)
		if err != nil {
			return nil, fmt.Errorf("message.%s.%s: %w", m.Channel, f.Name, err)
		}
		out[f.Name] = v
	}
	return out, nil
}

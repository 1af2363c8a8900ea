package channels

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"nudge/internal/suggest"
)

// fieldTypes are the words that Field.Type may be.
var fieldTypes = []string{"string", "int", "number", "bool", "duration", "list", "map", "actions"}

// FitReach is the Fit of adapters whose config says by `reach` (token, or user_id) what they reach people by: a message
// to a person asks about no device.
func FitReach(spec *Spec, config map[string]any) {
	if reach := config["reach"]; reach == "token" || reach == "user_id" {
		spec.Needs, _ = reach.(string)
	}
	if spec.Needs != "token" {
		spec.Platforms, spec.Takes = nil, nil
	}
}

// reading says how values are read: as a person writes a config, as a rule file writes a message,
// or as a constructor gets them.
type reading int

const (
	written   reading = iota // secrets stand as {env: NAME} or {file: PATH}
	resolved                 // secrets stand as themselves
	templates                // text may be a template whose type shows only when rendered
)

// Check checks a config as written in nudge.yaml, where a secret is {env: NAME} or {file: PATH}:
// unknown and missing fields and wrong types, all at once, in the order of the spec. No value of a
// secret field is ever part of a problem. No problems is nil.
func (spec Spec) Check(config map[string]any) Problems {
	return check(spec.Config, config, written)
}

// With is the spec of an adapter with a config as written: its limit is the config's, and so is whom it needs.
func (spec Spec) With(config map[string]any) Spec {
	if n, ok := number(config[spec.LimitField]); ok && spec.LimitField != "" && n >= 1 && n == float64(int(n)) {
		spec.MaxPayload = int(n)
	}
	if spec.Fit != nil {
		spec.Fit(&spec, config)
	}
	return spec
}

// Sources is where Resolve finds secrets.
type Sources struct {
	Env  func(name string) (string, bool)
	File func(path string) ([]byte, error) // resolves relative paths itself
}

// Resolve checks a config as written and replaces {env: NAME} and {file: PATH} by what they name,
// giving what Options.Config wants. A file that is not UTF-8 text (a .p12) becomes "base64:" and
// its base64; of text the last line's end is cut off.
func (spec Spec) Resolve(config map[string]any, from Sources) (json.RawMessage, error) {
	if err := spec.Check(config).Err(); err != nil {
		return nil, err
	}
	out, problems := maps.Clone(config), Problems(nil)
	for _, f := range spec.Config {
		value, given := config[f.Name]
		if !given || !f.Secret {
			continue
		}
		out[f.Name] = mapRefs(f.Name, value, func(at string, r ref) any {
			secret, err := r.read(from)
			if err != nil {
				problems = append(problems, Problem{Field: at, Summary: "cannot be read", Suggest: err.Error()})
			}
			return secret
		})
	}
	if err := problems.Err(); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("config of %s: %w", spec.Name, err)
	}
	return raw, nil
}

// Decode reads a resolved config into the adapter's own struct (its json tags are the field
// names), strictly, with the spec's defaults filled in.
func (spec Spec) Decode(config json.RawMessage, into any) error {
	if len(bytes.TrimSpace(config)) == 0 {
		config = json.RawMessage("{}")
	}
	var values map[string]any
	if err := json.Unmarshal(config, &values); err != nil {
		return fmt.Errorf("config of %s is not a JSON object", spec.Name)
	}
	if err := check(spec.Config, values, resolved).Err(); err != nil {
		return fmt.Errorf("config of %s: %w", spec.Name, err)
	}
	for _, f := range spec.Config {
		if _, given := values[f.Name]; !given && f.Default != "" {
			values[f.Name] = f.defaultValue()
		}
	}
	full, err := json.Marshal(values)
	if err != nil {
		return fmt.Errorf("config of %s: %w", spec.Name, err)
	}
	dec := json.NewDecoder(bytes.NewReader(full))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		// The decoder quotes values, and a value may be a secret; the check above has said
		// everything that a user can mend, so this is a spec that its struct does not match.
		return fmt.Errorf("config of %s: the adapter's fields do not match its spec", spec.Name)
	}
	return nil
}

// defaultValue is the spec's default as a JSON value.
func (f Field) defaultValue() any {
	switch f.Type {
	case "int":
		if n, err := strconv.ParseInt(f.Default, 10, 64); err == nil {
			return n
		}
	case "bool":
		return f.Default == "true"
	}
	return f.Default
}

// check finds the problems of values against fields.
func check(fields []Field, values map[string]any, as reading) Problems {
	var problems Problems
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !slices.Contains(names, name) {
			problems = append(problems, Problem{Field: name, Summary: "is not a field", Suggest: didYouMean(suggest.Nearest(name, names), names)})
		}
	}
	for _, f := range fields {
		value, given := values[f.Name]
		switch {
		case given && value != nil:
			problems = append(problems, f.check(value, as)...)
		case f.Required:
			suggest := f.About
			if f.Example != "" && !f.Secret {
				suggest += ", for example " + f.Example
			}
			problems = append(problems, Problem{Field: f.Name, Summary: "is missing", Suggest: suggest})
		}
	}
	return problems
}

// check finds the problems of one value.
func (f Field) check(value any, as reading) Problems {
	if f.Secret && as == written {
		return f.checkRefs(value)
	}
	wrong := func(at, want string, value any) Problems {
		p := Problem{Field: at, Summary: "is " + article(typeName(value)) + ", not " + article(want)}
		if f.Example != "" && !f.Secret {
			p.Suggest = "for example " + f.Example
		}
		return Problems{p}
	}
	text, isText := value.(string)
	if as == templates && f.Template && isText && strings.Contains(text, "{") {
		return nil
	}
	switch f.Type {
	case "string":
		if !isText && (as != templates || typeName(value) == "list" || typeName(value) == "map") {
			return wrong(f.Name, "string", value)
		}
	case "int":
		if n, ok := number(value); !ok || n != float64(int64(n)) {
			return wrong(f.Name, "whole number", value)
		}
	case "number":
		if _, ok := number(value); !ok {
			return wrong(f.Name, "number", value)
		}
	case "bool":
		if _, ok := value.(bool); !ok {
			return wrong(f.Name, "bool", value)
		}
	case "duration":
		if !isText {
			return wrong(f.Name, "duration", value)
		}
		if _, err := ParseDuration(text); err != nil {
			return Problems{{Field: f.Name, Summary: "is not a duration", Suggest: "write a number with ms, s, m, h, d or w, for example 30s"}}
		}
	case "list":
		list, ok := value.([]any)
		if !ok {
			return wrong(f.Name, "list", value)
		}
		for i, item := range list {
			if _, ok := item.(string); !ok {
				return wrong(fmt.Sprintf("%s[%d]", f.Name, i), "string", item)
			}
		}
	case "map":
		if _, ok := value.(map[string]any); !ok {
			return wrong(f.Name, "map", value)
		}
	case "actions":
		return f.checkActions(value)
	}
	return nil
}

// checkRefs checks that a secret is named, not written down.
func (f Field) checkRefs(value any) Problems {
	literal := Problem{
		Field:   f.Name,
		Summary: "is a secret written into the file",
		Suggest: "name where it stands: {env: NAME} or {file: PATH}",
	}
	if f.Type == "list" {
		list, ok := value.([]any)
		if !ok {
			return Problems{{Field: f.Name, Summary: "is " + article(typeName(value)) + ", not a list", Suggest: "write [{env: NAME}]"}}
		}
		var problems Problems
		for i, item := range list {
			if _, ok := asRef(item); !ok {
				literal.Field = fmt.Sprintf("%s[%d]", f.Name, i)
				problems = append(problems, literal)
			}
		}
		return problems
	}
	if f.Type == "map" { // values of a map may be plain: most headers are no secret
		m, ok := value.(map[string]any)
		if !ok {
			return Problems{{Field: f.Name, Summary: "is " + article(typeName(value)) + ", not a map"}}
		}
		var problems Problems
		for _, k := range slices.Sorted(maps.Keys(m)) {
			_, isRef := asRef(m[k])
			if _, isText := m[k].(string); !isText && !isRef {
				problems = append(problems, Problem{Field: f.Name + "." + k, Summary: "is neither text nor {env: NAME} nor {file: PATH}"})
			}
		}
		return problems
	}
	if _, ok := asRef(value); !ok {
		return Problems{literal}
	}
	return nil
}

// checkActions checks the buttons of a message.
func (f Field) checkActions(value any) Problems {
	list, ok := value.([]any)
	if !ok {
		return Problems{{Field: f.Name, Summary: "is " + article(typeName(value)) + ", not a list", Suggest: "for example [{id: buy, title: Buy now}]"}}
	}
	var problems Problems
	parts := []string{"id", "title", "link", "icon"}
	for i, item := range list {
		at := fmt.Sprintf("%s[%d]", f.Name, i)
		action, ok := item.(map[string]any)
		if !ok {
			problems = append(problems, Problem{Field: at, Summary: "is " + article(typeName(item)) + ", not a map", Suggest: "for example {id: buy, title: Buy now}"})
			continue
		}
		for _, k := range slices.Sorted(maps.Keys(action)) {
			if !slices.Contains(parts, k) {
				problems = append(problems, Problem{Field: at + "." + k, Summary: "is not a field", Suggest: didYouMean(suggest.Nearest(k, parts), parts)})
			} else if _, ok := action[k].(string); !ok {
				problems = append(problems, Problem{Field: at + "." + k, Summary: "is " + article(typeName(action[k])) + ", not a string"})
			}
		}
		for _, k := range parts[:2] {
			if _, ok := action[k]; !ok {
				problems = append(problems, Problem{Field: at + "." + k, Summary: "is missing"})
			}
		}
	}
	return problems
}

// ref is a secret's place.
type ref struct{ env, file string }

// asRef reads {env: NAME} or {file: PATH}.
func asRef(value any) (ref, bool) {
	m, ok := value.(map[string]any)
	if !ok || len(m) != 1 {
		return ref{}, false
	}
	env, isEnv := m["env"].(string)
	file, isFile := m["file"].(string)
	return ref{env, file}, (isEnv && env != "") || (isFile && file != "")
}

// read gets the secret.
func (r ref) read(from Sources) (string, error) {
	if r.env != "" {
		value, ok := from.Env(r.env)
		if !ok || value == "" {
			return "", fmt.Errorf("the environment variable %s is not set", r.env)
		}
		return value, nil
	}
	raw, err := from.File(r.file)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", r.file, err)
	}
	if !utf8.Valid(raw) {
		return "base64:" + base64.StdEncoding.EncodeToString(raw), nil
	}
	return strings.TrimRight(string(raw), "\r\n"), nil
}

// mapRefs replaces every reference in a value, list or map.
func mapRefs(at string, value any, f func(at string, r ref) any) any {
	if r, ok := asRef(value); ok {
		return f(at, r)
	}
	switch v := value.(type) {
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = mapRefs(fmt.Sprintf("%s[%d]", at, i), item, f)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, item := range v {
			out[k] = mapRefs(at+"."+k, item, f)
		}
		return out
	}
	return value
}

// number reads what JSON or YAML decoders make of numbers.
func number(value any) (float64, bool) {
	switch v := value.(type) {
	case float64:
		return v, true
	case int:
		return float64(v), true
	case int64:
		return float64(v), true
	case uint64:
		return float64(v), true
	case json.Number:
		n, err := v.Float64()
		return n, err == nil
	}
	return 0, false
}

// typeName names a JSON value's type for people.
func typeName(value any) string {
	switch value.(type) {
	case string:
		return "string"
	case bool:
		return "bool"
	case []any:
		return "list"
	case map[string]any:
		return "map"
	case nil:
		return "null"
	}
	if _, ok := number(value); ok {
		return "number"
	}
	return fmt.Sprintf("%T", value)
}

// article puts "a" before a type's name.
func article(noun string) string { return "a " + noun }

// Secret is text that no log, error or JSON shows.
type Secret string

// mask is what is shown instead.
const mask = "***"

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// String implements fmt.Stringer.
func (s Secret) String() string { return mask }

// GoString implements fmt.GoStringer.
func (s Secret) GoString() string { return mask }

// MarshalJSON implements json.Marshaler.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + mask + `"`), nil }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(mask) }

// Duration is a time.Duration written as "30s", "4h" or "7d" in configs.
type Duration time.Duration

// UnmarshalJSON implements json.Unmarshaler.
func (d *Duration) UnmarshalJSON(raw []byte) error {
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return fmt.Errorf("a duration is text: %w", err)
	}
	value, err := ParseDuration(text)
	*d = Duration(value)
	return err
}

// ParseDuration reads a duration as people write it in configs: what Go reads, and whole or
// decimal days (d) and weeks (w). Negative ones are refused.
func ParseDuration(text string) (time.Duration, error) {
	for suffix, unit := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		if head, ok := strings.CutSuffix(text, suffix); ok {
			n, err := strconv.ParseFloat(head, 64)
			if err != nil || n < 0 || n > 36500 {
				return 0, fmt.Errorf("%q is not a duration", text)
			}
			return time.Duration(n * float64(unit)), nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a duration", text)
	}
	return d, nil
}

package channels

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Blank is a JSON value of a config in whose texts placeholders stand for parts of a message: {{ user_id }},
// {{ fields.title }}. It is safe for concurrent use.
type Blank struct {
	fill  func(values map[string]any) any
	names map[string]bool
}

// placeholder is {{ path }}.
var placeholder = regexp.MustCompile(`\{\{\s*([A-Za-z0-9_.-]+)\s*\}\}`)

// NewBlank reads the value of a config's field. A placeholder must begin with one of names; else the error is a
// Problem of the place within the field.
func NewBlank(field string, value any, names ...string) (Blank, error) {
	b := Blank{names: make(map[string]bool)}
	var err error
	b.fill, err = b.compile(field, value, names)
	return b, err
}

// Names says whether a placeholder begins with the name.
func (b Blank) Names(name string) bool { return b.names[name] }

// Missing is a name that a placeholder begins with and whose part the values lack, or have empty; "" for none.
func (b Blank) Missing(values map[string]any) string {
	for _, name := range slices.Sorted(maps.Keys(b.names)) {
		if v := values[name]; v == nil || v == "" {
			return name
		}
	}
	return ""
}

// Fill makes the value with the parts of one message. A text that is one placeholder becomes the part itself, with
// its type, null where it is missing; within other text a missing part is empty.
func (b Blank) Fill(values map[string]any) any { return b.fill(values) }

// compile makes a filling function of a value.
func (b Blank) compile(at string, value any, names []string) (func(map[string]any) any, error) {
	switch v := value.(type) {
	case string:
		return b.compileText(at, v, names)
	case []any:
		items := make([]func(map[string]any) any, len(v))
		for i, item := range v {
			var err error
			if items[i], err = b.compile(fmt.Sprintf("%s[%d]", at, i), item, names); err != nil {
				return nil, err
			}
		}
		return func(values map[string]any) any {
			out := make([]any, len(items))
			for i, item := range items {
				out[i] = item(values)
			}
			return out
		}, nil
	case map[string]any:
		items := make(map[string]func(map[string]any) any, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			var err error
			if items[k], err = b.compile(at+"."+k, v[k], names); err != nil {
				return nil, err
			}
		}
		return func(values map[string]any) any {
			out := make(map[string]any, len(items))
			for k, item := range items {
				out[k] = item(values)
			}
			return out
		}, nil
	}
	return func(map[string]any) any { return value }, nil
}

// compileText makes a filling function of a text with placeholders.
func (b Blank) compileText(at, text string, names []string) (func(map[string]any) any, error) {
	spots := placeholder.FindAllStringSubmatchIndex(text, -1)
	if strings.Count(text, "{{") != len(spots) {
		return nil, Problem{Field: at, Summary: "has a {{ … }} that is not a name", Suggest: "write for example {{ " + names[0] + " }}"}
	}
	var paths [][]string
	for _, s := range spots {
		path := strings.Split(text[s[2]:s[3]], ".")
		if !slices.Contains(names, path[0]) {
			return nil, Problem{Field: at, Summary: "names " + path[0] + ", which a message does not have", Suggest: "there are " + strings.Join(names, ", ")}
		}
		b.names[path[0]] = true
		paths = append(paths, path)
	}
	if len(spots) == 0 {
		return func(map[string]any) any { return text }, nil
	}
	if len(spots) == 1 && spots[0][0] == 0 && spots[0][1] == len(text) {
		return func(values map[string]any) any { return lookup(values, paths[0]) }, nil
	}
	return func(values map[string]any) any {
		var out strings.Builder
		from := 0
		for i, s := range spots {
			out.WriteString(text[from:s[0]])
			out.WriteString(printed(lookup(values, paths[i])))
			from = s[1]
		}
		out.WriteString(text[from:])
		return out.String()
	}, nil
}

// lookup follows a path, nil where it leads nowhere.
func lookup(values map[string]any, path []string) any {
	var value any = values
	for _, part := range path {
		m, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = m[part]
	}
	return value
}

// printed is a value inside a text.
func printed(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	return string(raw)
}

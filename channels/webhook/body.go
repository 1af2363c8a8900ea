package webhook

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"nudge/channels"
)

// node makes one JSON value of a message's values.
type node func(values map[string]any) any

// placeholder is {{ path }}.
var placeholder = regexp.MustCompile(`\{\{\s*([A-Za-z0-9_.-]+)\s*\}\}`)

// roots are the names that a placeholder may begin with.
var roots = []string{"key", "message_id", "timestamp", "user_id", "address", "fields", "about", "urgent", "ttl_seconds"}

// valuesOf are the parts of a message by the names that bodies use.
func valuesOf(m *channels.Message, at time.Time) map[string]any {
	address := map[string]any{}
	for name, part := range map[string]string{
		"token": m.Address.Token, "platform": m.Address.Platform, "app": m.Address.App,
		"environment": m.Address.Environment, "email": m.Address.Email, "phone": m.Address.Phone,
	} {
		if part != "" {
			address[name] = part
		}
	}
	about := make(map[string]any, len(m.About))
	for k, v := range m.About {
		about[k] = v
	}
	return map[string]any{
		"key": m.Key, "message_id": m.Signed, "timestamp": at.UTC().Format(time.RFC3339Nano), "user_id": m.Address.UserID,
		"address": address, "fields": m.Fields, "about": about, "urgent": m.Urgent, "ttl_seconds": m.TTL.Seconds(),
	}
}

// compile makes a node of a template. A text that is one placeholder becomes the value itself, with
// its type, null where it is missing; within other text a missing value is empty.
func compile(at string, template any) (node, error) {
	switch t := template.(type) {
	case string:
		return compileText(at, t)
	case []any:
		items := make([]node, len(t))
		for i, item := range t {
			var err error
			if items[i], err = compile(fmt.Sprintf("%s[%d]", at, i), item); err != nil {
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
		items := make(map[string]node, len(t))
		for _, k := range slices.Sorted(maps.Keys(t)) {
			var err error
			if items[k], err = compile(at+"."+k, t[k]); err != nil {
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
	return func(map[string]any) any { return template }, nil
}

// compileText makes a node of a text with placeholders.
func compileText(at, text string) (node, error) {
	spots := placeholder.FindAllStringSubmatchIndex(text, -1)
	if strings.Count(text, "{{") != len(spots) {
		return nil, channels.Problem{Field: at, Summary: "has a {{ … }} that is not a name", Suggest: "write for example {{ fields.title }}"}
	}
	var paths [][]string
	for _, s := range spots {
		path := strings.Split(text[s[2]:s[3]], ".")
		if !slices.Contains(roots, path[0]) {
			return nil, channels.Problem{Field: at, Summary: "names " + path[0] + ", which a message does not have", Suggest: "there are " + strings.Join(roots, ", ")}
		}
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

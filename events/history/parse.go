package history

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/minio/highwayhash"

	"nudge/events"
	"nudge/internal/suggest"
)

// ParseMapping reads a mapping; file is its name in errors.
func ParseMapping(file string, data []byte) (*Mapping, error) {
	p := &parse{}
	m := &Mapping{file: file, csv: csvFormat{comma: ','}, hash: hashOf(data)}
	doc, err := parser.ParseBytes(data, 0)
	switch {
	case err != nil:
		return nil, syntaxError(file, err)
	case len(doc.Docs) != 1 || doc.Docs[0].Body == nil:
		p.problem(place{1, 1}, "one YAML document is expected here, with `events:` and `time:`")
	default:
		p.mapping(m, doc.Docs[0].Body)
	}
	if len(p.problems) > 0 {
		slices.SortFunc(p.problems, func(a, b Problem) int {
			if a.Line != b.Line {
				return a.Line - b.Line
			}
			return a.Column - b.Column
		})
		return nil, &MappingError{File: file, Problems: p.problems}
	}
	return m, nil
}

var hashKey [32]byte

func hashOf(parts ...[]byte) string {
	h, _ := highwayhash.New128(hashKey[:])
	for _, p := range parts {
		var size [8]byte
		for i, n := 0, len(p); i < 8; i, n = i+1, n>>8 {
			size[i] = byte(n)
		}
		_, _ = h.Write(size[:])
		_, _ = h.Write(p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

var yamlPlace = regexp.MustCompile(`^\[(\d+):(\d+)\] ([^\n]*)`)

// syntaxError keeps the position and the first line of what the YAML parser says.
func syntaxError(file string, err error) error {
	found := yamlPlace.FindStringSubmatch(err.Error())
	if found == nil {
		return &MappingError{file, []Problem{{1, 1, err.Error()}}}
	}
	line, _ := strconv.Atoi(found[1])
	column, _ := strconv.Atoi(found[2])
	return &MappingError{file, []Problem{{line, column, found[3]}}}
}

// parse walks the YAML tree and collects all that is wrong.
type parse struct{ problems []Problem }

func (p *parse) problem(at place, format string, args ...any) {
	p.problems = append(p.problems, Problem{at.line, at.column, fmt.Sprintf(format, args...)})
}

func placeOf(n ast.Node) place {
	t := n.GetToken()
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 && !m.IsFlowStyle {
		t = m.Values[0].Key.GetToken()
	}
	if m, ok := n.(*ast.MappingValueNode); ok {
		t = m.Key.GetToken()
	}
	return place{t.Position.Line, t.Position.Column}
}

// member reads the value under one key.
type member func(n ast.Node)

// object reads a mapping node with the given keys.
func (p *parse) object(n ast.Node, what string, members map[string]member) {
	pairs, ok := pairsOf(n)
	if !ok {
		p.problem(placeOf(n), "%s must be a mapping (key: value)", what)
		return
	}
	seen := map[string]bool{}
	for _, pair := range pairs {
		key := pair.Key.GetToken().Value
		read, known := members[key]
		switch {
		case !known:
			p.problem(placeOf(pair.Key), "%s has no key %q%s", what, key, nearest(key, members))
		case seen[key]:
			p.problem(placeOf(pair.Key), "%q stands twice", key)
		default:
			read(pair.Value)
		}
		seen[key] = true
	}
}

func pairsOf(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	default:
		return nil, false
	}
}

func nearest[V any](key string, members map[string]V) string {
	names := slices.Sorted(maps.Keys(members))
	best := suggest.Nearest(key, names)
	if best == "" {
		return "; known are " + strings.Join(names, ", ")
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

func (p *parse) list(n ast.Node, what string, each func(ast.Node)) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		p.problem(placeOf(n), "%s must be a list", what)
		return
	}
	for _, v := range seq.Values {
		each(v)
	}
}

func (p *parse) text(n ast.Node, what string) string {
	s, ok := scalar(n)
	if !ok {
		p.problem(placeOf(n), "%s must be a text", what)
	}
	return s
}

// scalar is a scalar as text.
func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	default:
		return "", false
	}
}

// texts reads a text or a list of them.
func (p *parse) texts(n ast.Node, what string) (out []string) {
	if _, ok := n.(*ast.SequenceNode); !ok {
		return []string{p.text(n, what)}
	}
	p.list(n, what, func(n ast.Node) { out = append(out, p.text(n, what)) })
	return out
}

func (p *parse) number(n ast.Node, what string) *float64 {
	f, err := strconv.ParseFloat(p.text(n, what), 64)
	if err != nil {
		p.problem(placeOf(n), "%s must be a number", what)
	}
	return &f
}

func (p *parse) oneOf(n ast.Node, what string, allowed ...string) string {
	s := p.text(n, what)
	if !slices.Contains(allowed, s) {
		p.problem(placeOf(n), "%s must be %s, not %q", what, strings.Join(allowed, ", "), s)
	}
	return s
}

func (p *parse) mapping(m *Mapping, n ast.Node) {
	members := map[string]member{
		"source": func(n ast.Node) { m.source = p.text(n, "source") },
		"format": func(n ast.Node) { m.format = p.oneOf(n, "format", "csv", "ndjson", "parquet") },
		"csv": func(n ast.Node) {
			p.object(n, "csv", map[string]member{
				"comma": func(n ast.Node) {
					s := p.text(n, "comma")
					if r, size := utf8.DecodeRuneInString(s); size == len(s) && size > 0 {
						m.csv.comma = r
					} else {
						p.problem(placeOf(n), "comma must be one character")
					}
				},
				"decimal": func(n ast.Node) { m.csv.decimal = p.oneOf(n, "decimal", ".", ",") == "," },
				"columns": func(n ast.Node) { m.csv.columns = p.texts(n, "columns") },
			})
		},
		"encoding": func(n ast.Node) { m.latin1 = p.oneOf(n, "encoding", "utf-8", "latin-1") == "latin-1" },
		"each":     func(n ast.Node) { m.each = p.text(n, "each") },
		"skip":     func(n ast.Node) { m.skip = p.conditions(n, "skip") },
		"events": func(n ast.Node) {
			p.list(n, "events", func(n ast.Node) { m.events = append(m.events, p.event(n)) })
		},
	}
	p.shared(&m.base, members)
	p.object(n, "the mapping", members)
	at := placeOf(n)
	if m.source == "" {
		p.problem(at, "`source:` is missing: a short name for where the rows are from")
	}
	if len(m.events) == 0 {
		p.problem(at, "`events:` is missing: say what a row becomes")
	}
	for i := range m.events {
		p.inherit(&m.events[i], &m.base)
	}
}

// shared are the keys of ids and time.
func (p *parse) shared(e *eventMap, members map[string]member) {
	for name, to := range map[string]**value{
		"user_id": &e.user, "anonymous_id": &e.anonymous, "message_id": &e.message, "time": &e.time,
	} {
		members[name] = func(n ast.Node) { *to = p.value(n, name) }
	}
}

func (p *parse) event(n ast.Node) (e eventMap) {
	e.at = placeOf(n)
	e.kind = "track"
	members := map[string]member{
		"type": func(n ast.Node) {
			e.kind = p.oneOf(n, "type", "track", "identify", "page", "screen", "group", "alias")
		},
		"event":       func(n ast.Node) { e.name = p.value(n, "event") },
		"name":        func(n ast.Node) { e.name = p.value(n, "name") },
		"previous_id": func(n ast.Node) { e.previous = p.value(n, "previous_id") },
		"group_id":    func(n ast.Node) { e.group = p.value(n, "group_id") },
		"when":        func(n ast.Node) { e.when = p.conditions(n, "when") },
		"properties":  func(n ast.Node) { e.properties = p.fields(n, "properties") },
		"traits":      func(n ast.Node) { e.traits = p.fields(n, "traits") },
		"context":     func(n ast.Node) { e.context = p.fields(n, "context") },
	}
	p.shared(&e, members)
	p.object(n, "an event", members)
	return e
}

// inherit takes ids and time from the top of the file, and says what is missing then.
func (p *parse) inherit(e *eventMap, base *eventMap) {
	for _, v := range []struct{ to, from **value }{
		{&e.user, &base.user}, {&e.anonymous, &base.anonymous}, {&e.message, &base.message}, {&e.time, &base.time},
	} {
		if *v.to == nil && *v.from != nil {
			own := **v.from
			*v.to = &own
		}
	}
	switch {
	case e.kind == "track" && e.name == nil:
		p.problem(e.at, "a track call needs `event:`, its name")
	case e.kind == "alias" && e.previous == nil:
		p.problem(e.at, "an alias needs `previous_id:`")
	case e.kind == "group" && e.group == nil:
		p.problem(e.at, "a group call needs `group_id:`")
	}
	if e.time == nil {
		p.problem(e.at, "`time:` is missing, here and at the top of the file")
	}
	if e.user == nil && e.anonymous == nil {
		p.problem(e.at, "`user_id:` or `anonymous_id:` is missing, here and at the top of the file")
	}
}

// fields reads properties: a mapping of dotted paths to values.
func (p *parse) fields(n ast.Node, what string) (out []field) {
	pairs, ok := pairsOf(n)
	if !ok {
		p.problem(placeOf(n), "%s must be a mapping (name: value)", what)
		return nil
	}
	seen := map[string]bool{}
	for _, pair := range pairs {
		name := pair.Key.GetToken().Value
		if seen[name] {
			p.problem(placeOf(pair.Key), "%q stands twice", name)
		}
		seen[name] = true
		out = append(out, field{strings.Split(name, "."), p.value(pair.Value, name)})
	}
	slices.SortFunc(out, func(a, b field) int { return slices.Compare(a.path, b.path) })
	for i := 1; i < len(out); i++ {
		short := out[i-1].path
		if len(short) < len(out[i].path) && slices.Equal(short, out[i].path[:len(short)]) {
			p.problem(out[i].value.at, "%q is a value already, so %q cannot be under it", strings.Join(short, "."), strings.Join(out[i].path, "."))
		}
	}
	return out
}

var valueTypes = []string{"string", "number", "integer", "boolean", "time", "json"}

// value reads a constant (a scalar) or a column with its conversion (a mapping).
func (p *parse) value(n ast.Node, what string) *value {
	v := &value{at: placeOf(n), other: "error"}
	if s, ok := scalar(n); ok {
		v.constant = constant(n, s)
		return v
	}
	zone := ""
	zoneAt := v.at
	p.object(n, what, map[string]member{
		"column": func(n ast.Node) { v.column = p.text(n, "column"); v.at = placeOf(n) },
		"type":   func(n ast.Node) { v.typ = p.oneOf(n, "type", valueTypes...) },
		"format": func(n ast.Node) { v.written = p.text(n, "format"); v.layout = layout(v.written) },
		"zone":   func(n ast.Node) { zone, zoneAt = p.text(n, "zone"), placeOf(n) },
		"values": func(n ast.Node) { v.values = p.texttable(n, "values") },
		"other":  func(n ast.Node) { v.other = p.oneOf(n, "other", "error", "keep", "skip") },
		"prefix": func(n ast.Node) { v.prefix = p.text(n, "prefix") },
		"default": func(n ast.Node) {
			s := p.text(n, "default")
			v.fallback = &s
		},
	})
	if v.column == "" {
		p.problem(v.at, "%s needs `column:` (or write a constant)", what)
	}
	if v.layout != "" || zone != "" || what == "time" {
		if v.typ != "" && v.typ != "time" {
			p.problem(v.at, "format and zone belong to times, not to type %s", v.typ)
		}
		v.typ = "time"
	}
	if zone != "" {
		var err error
		if v.zone, err = time.LoadLocation(zone); err != nil {
			p.problem(zoneAt, "zone %q is not known; write it as in Europe/Berlin", zone)
		}
	}
	return v
}

func constant(n ast.Node, s string) json.RawMessage {
	switch n.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		if json.Valid([]byte(s)) {
			return json.RawMessage(s)
		}
	}
	return events.AppendString(nil, s)
}

func (p *parse) texttable(n ast.Node, what string) map[string]string {
	out := map[string]string{}
	pairs, ok := pairsOf(n)
	if !ok {
		p.problem(placeOf(n), "%s must be a mapping (from: to)", what)
	}
	for _, pair := range pairs {
		out[pair.Key.GetToken().Value] = p.text(pair.Value, what)
	}
	return out
}

func (p *parse) conditions(n ast.Node, what string) (out []condition) {
	p.list(n, what, func(n ast.Node) {
		c := condition{at: placeOf(n)}
		p.object(n, "a condition", map[string]member{
			"column": func(n ast.Node) { c.column = p.text(n, "column"); c.at = placeOf(n) },
			"empty": func(n ast.Node) {
				yes := p.oneOf(n, "empty", "true", "false") == "true"
				c.empty = &yes
			},
			"is":    func(n ast.Node) { c.is = p.texts(n, "is") },
			"not":   func(n ast.Node) { c.not = p.texts(n, "not") },
			"below": func(n ast.Node) { c.below = p.number(n, "below") },
			"above": func(n ast.Node) { c.above = p.number(n, "above") },
			"matches": func(n ast.Node) {
				var err error
				if c.matches, err = regexp.Compile(p.text(n, "matches")); err != nil {
					p.problem(placeOf(n), "matches: %s", err)
					c.matches = regexp.MustCompile("")
				}
			},
		})
		if c.column == "" {
			p.problem(c.at, "a condition needs `column:`")
		}
		if c.empty == nil && c.is == nil && c.not == nil && c.matches == nil && c.below == nil && c.above == nil {
			p.problem(c.at, "a condition needs one of empty, is, not, matches, below, above")
		}
		out = append(out, c)
	})
	return out
}

// layout is a time format as Go writes it. "unix" and "unix_ms" are numbers; what holds YYYY is
// written with YYYY MM DD hh mm ss SSS; all else is a Go layout.
func layout(s string) string {
	if !strings.Contains(s, "YYYY") {
		return s
	}
	return strings.NewReplacer("YYYY", "2006", "MM", "01", "DD", "02", "hh", "15", "mm", "04", "SSS", "000", "ss", "05", "ZZ", "-07:00").Replace(s)
}

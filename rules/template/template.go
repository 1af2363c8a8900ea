// Package template renders the texts of messages: Liquid, with nothing in it that reads a clock, a
// file or the network, and with a missing value as an error instead of an empty place.
package template

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/osteele/liquid/expressions"
	"github.com/osteele/liquid/render"
	"github.com/osteele/liquid/tags"
)

// ErrMissing is a value that was to be printed and is missing. The error that wraps it names it.
var ErrMissing = errors.New("has no value")

// MaxOutput is the longest text that a template may render to, in bytes.
const MaxOutput = 1 << 20

// Template is one parsed text. It is immutable and may be rendered by many goroutines at once.
type Template struct {
	src     string
	html    bool
	vars    []Var
	outside int      // bytes of text in no block
	printed []string // the expressions of {{ }}, by the number that was given to the printing filter
	root    render.Node
	cfg     *render.Config
}

// Var is one use of a name from outside: Path is dotted ("product.name"), From and To are its byte
// offsets in the source.
type Var struct {
	Path     string
	From, To int
}

// Problem is what is wrong at the bytes [From, To) of a template.
type Problem struct {
	From, To                     int
	ID, Summary, Detail, Suggest string
	Warning                      bool
}

// Parse reads a template for plain text. The template is nil when there are problems.
func Parse(src string) (*Template, []Problem) { return parse(src, false) }

// ParseHTML is Parse for HTML: what is printed is escaped, unless it went through `raw`.
func ParseHTML(src string) (*Template, []Problem) { return parse(src, true) }

func parse(src string, html bool) (*Template, []Problem) {
	a := analyse(src)
	if len(a.problems) > 0 {
		return nil, a.problems
	}
	t := &Template{src: src, html: html, vars: a.vars, outside: a.outside, printed: a.printed}
	cfg := render.NewConfig()
	addFilters(&cfg, t)
	tags.AddStandardTags(cfg)
	t.cfg = &cfg
	root, err := cfg.Compile(a.rewritten.String(), parserLoc)
	if err != nil {
		// Everything known to go wrong has been found by analyse, with its place; this is the rest.
		return nil, []Problem{{0, len(src), "template/syntax", fmt.Sprintf("the template is not valid Liquid: %s", err.Cause()), "", "", false}}
	}
	t.root = root
	return t, nil
}

// Source is the text that was parsed.
func (t *Template) Source() string { return t.src }

// Names are the uses of names from outside, in the order of the text.
func (t *Template) Names() []Var { return t.vars }

// Zone is the key of Render's vars that holds the *time.Location in which dates are printed. Without
// it, it is the zone of message.at, else UTC.
const Zone = "_zone"

func zoneOf(vars map[string]any) *time.Location {
	if loc, ok := vars[Zone].(*time.Location); ok {
		return loc
	}
	if m, ok := vars[rootMessage].(map[string]any); ok {
		if at, ok := m["at"].(time.Time); ok {
			return at.Location()
		}
	}
	return time.UTC
}

// Render fills in vars. The result is a function of the template and vars alone, and vars are left
// as they are. A value that is printed but missing is an error that names it and is ErrMissing.
func (t *Template) Render(vars map[string]any) (out string, err error) {
	defer func() {
		// The library panics on values that it cannot convert or compare.
		if r := recover(); r != nil {
			out, err = "", fmt.Errorf("rendering the template: %v", r)
		}
	}()
	bindings := make(map[string]any, len(vars)+1) // a copy: assign and for write into it
	for name, v := range vars {
		bindings[name] = native(v)
	}
	bindings[Zone] = zoneOf(vars)
	w := &limited{}
	if e := render.Render(t.root, w, bindings, *t.cfg); e != nil {
		return "", cause(e)
	}
	if w.over {
		return "", errTooLong
	}
	return w.b.String(), nil
}

var errTooLong = fmt.Errorf("the text is longer than %d KiB", MaxOutput>>10)

// cause unwraps the library's errors, which do not implement Unwrap.
func cause(e render.Error) error {
	var err error = e
	if c := e.Cause(); c != nil {
		err = c
	}
	if f, ok := errors.AsType[expressions.FilterError](err); ok {
		return f.Err
	}
	return err
}

// limited takes text up to MaxOutput. What is over is dropped and remembered: the library panics
// when a write fails.
type limited struct {
	b    strings.Builder
	over bool
}

var _ io.Writer = (*limited)(nil)

func (l *limited) Write(p []byte) (int, error) {
	if l.b.Len()+len(p) > MaxOutput {
		l.over = true
		return len(p), nil
	}
	return l.b.Write(p) //nolint:wrapcheck // never fails
}

// MinSize is the number of bytes of text that stand outside of every placeholder and block: what
// every rendering has at least.
func (t *Template) MinSize() int { return t.outside }

// Package template renders the texts of messages: Liquid, with nothing in it that reads a clock, a
// file or the network, and with a missing value as an error instead of an empty place.
package template

import (
	"errors"

	"github.com/osteele/liquid"
)

// ErrMissing is a value that was to be printed and is missing.
var ErrMissing = errors.New("missing value")

// Template is one parsed text. It is immutable and may be rendered by many goroutines at once.
type Template struct {
	src    string
	vars   []Var
	liquid *liquid.Template
}

// Var is one use of a name: Path is dotted ("product.name"), From and To are byte offsets of it.
type Var struct {
	Path     string
	From, To int
}

// Problem is what is wrong at the bytes [From, To) of a template.
type Problem struct {
	From, To                     int
	ID, Summary, Detail, Suggest string
}

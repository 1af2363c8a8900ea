// Package history imports what happened before nudge was there: CSV, NDJSON and Parquet files, mapped
// to calls of the tracking API by a small YAML file. Imported events carry events.Imported and
// trigger nothing; importing the same rows again adds nothing.
package history

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Mapping says what the rows of a file are. Read one with LoadMapping or ParseMapping; testdata holds
// some of real files. Its YAML:
//
//	source: shop                    # required: events.Event.Source
//	format: csv                     # csv, ndjson, parquet; else by the file's name, also with .gz
//	csv: {comma: ";", decimal: ",", columns: [a]} # columns: of a file without a header
//	encoding: latin-1               # else UTF-8
//	each: events                    # ndjson: each element of this list is a row
//	skip: [CONDITION, …]            # rows for which any holds are left out
//	user_id, anonymous_id, message_id, time: VALUE  # for all events, or in each
//	events:                         # each makes a call of a row
//	  - type: track                 # identify, page, screen, group, alias
//	    event: VALUE                # name: for page and screen; group_id, previous_id
//	    when: [CONDITION, …]        # only rows for which all hold
//	    properties, traits, context: {dotted.path: VALUE}
//
// A VALUE is a constant, or {column, type, format, zone, values, other, prefix, default}: type is
// string, number, integer, boolean, time or json; format of a time is unix, unix_ms, YYYY-MM-DD
// hh:mm:ss or a Go layout; values maps texts, and other (error, keep, skip) says what becomes of one
// that it does not list. A CONDITION is {column, empty, is, not, matches, below, above}; all that it
// says must be true. Without message_id, an event's id is a hash of the file's first lines, the row's
// number and its content.
type Mapping struct {
	file   string
	source string
	format string // csv, ndjson, parquet; "" by the file's name
	csv    csvFormat
	latin1 bool
	each   string // ndjson: path of an array, each element of which is a row

	base   eventMap // ids and time that events share
	skip   []condition
	events []eventMap
	hash   string
}

type csvFormat struct {
	comma   rune
	decimal bool     // numbers have a decimal comma
	columns []string // of a file without a header
}

// eventMap makes one call of a row.
type eventMap struct {
	at   place
	kind string // track, identify, page, screen, group, alias
	when []condition

	name, user, anonymous, previous, group, message, time *value

	properties, traits, context []field
}

// field is a member of properties, traits or context, by dotted path.
type field struct {
	path  []string
	value *value
}

// value is a constant or what a column holds, converted.
type value struct {
	at       place
	constant json.RawMessage // a JSON scalar; nil: a column
	column   string
	index    int  // of the column, once bound
	decimal  bool // numbers have a decimal comma, once bound
	typ      string
	layout   string // of a time
	written  string // the layout as the mapping has it
	zone     *time.Location
	values   map[string]string
	other    string // what becomes of a text that values does not list: error, keep, skip
	prefix   string
	fallback *string
}

// condition holds when all that it says is true of a column.
type condition struct {
	at           place
	column       string
	index        int
	decimal      bool
	empty        *bool
	is, not      []string
	matches      *regexp.Regexp
	below, above *float64
}

// place is a position in the mapping file, counted from 1.
type place struct{ line, column int }

// MappingError lists everything that is wrong with a mapping file.
type MappingError struct {
	File     string
	Problems []Problem
}

// Problem is one mistake; Line and Column count from 1.
type Problem struct {
	Line, Column int
	Text         string
}

// Error is one line a problem: "file:line:column: text".
func (e *MappingError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = fmt.Sprintf("%s:%d:%d: %s", e.File, p.Line, p.Column, p.Text)
	}
	return strings.Join(lines, "\n")
}

// LoadMapping reads a mapping file. What is wrong with it is a *MappingError.
func LoadMapping(path string) (*Mapping, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the mapping: %w", err)
	}
	return ParseMapping(path, data)
}

// Source is the name under which the events are stored (events.Event.Source).
func (m *Mapping) Source() string { return m.source }

// Format is how a file is read: as the mapping says, else by its name ("x.csv.gz" is "csv").
func (m *Mapping) formatOf(path string) (string, error) {
	if m.format != "" {
		return m.format, nil
	}
	name := strings.TrimSuffix(strings.ToLower(filepath.Base(path)), ".gz")
	switch filepath.Ext(name) {
	case ".csv", ".tsv", ".txt":
		return "csv", nil
	case ".ndjson", ".jsonl", ".json":
		return "ndjson", nil
	case ".parquet":
		return "parquet", nil
	}
	return "", fmt.Errorf("%s: the name does not say whether this is CSV, NDJSON or Parquet; add `format: csv` to %s", path, m.file)
}

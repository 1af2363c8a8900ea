package history

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"nudge/events"
)

// rows reads a file row by row.
type rows interface {
	// bind prepares the reading of a column and returns its index, or says that there is none.
	bind(column string) (int, error)
	// next goes to the next row: io.EOF at the end, a *badRowError for one that cannot be read.
	next() error
	// row is the current row. It holds until next.
	row() *row
}

// row is the current row; number counts from 1 without the header, line is the line of the file (0
// where there are none), part counts the elements of an `each` from 0.
type row struct {
	number int64
	line   int
	part   int
	raw    []byte
	cell   func(index int) cell
}

// cell is what a column holds: text of a CSV file, or a JSON token.
type cell struct {
	text string
	json json.RawMessage // nil: text counts
}

// String is the cell as text; empty is missing.
func (c cell) String() string {
	switch {
	case c.json == nil:
		return c.text
	case c.json[0] == '"':
		var s string
		_ = json.Unmarshal(c.json, &s)
		return s
	case string(c.json) == "null":
		return ""
	default:
		return string(c.json)
	}
}

// badRowError is a row that cannot be read.
type badRowError struct {
	line   int
	reason string
	raw    []byte
}

func (e *badRowError) Error() string { return fmt.Sprintf("line %d: %s", e.line, e.reason) }

// csvRows reads CSV.
type csvRows struct {
	r       *csv.Reader
	columns map[string]int
	latin1  bool
	current row
	fields  []string
	raw     bytes.Buffer
}

func newCSV(in io.Reader, m *Mapping) (*csvRows, error) {
	c := &csvRows{r: csv.NewReader(in), columns: map[string]int{}, latin1: m.latin1}
	c.r.Comma, c.r.ReuseRecord, c.r.LazyQuotes = m.csv.comma, true, false
	header := m.csv.columns
	if header == nil {
		first, err := c.r.Read()
		if err != nil {
			return nil, fmt.Errorf("read the header: %w", err)
		}
		header = append(header, first...)
		header[0] = strings.TrimPrefix(header[0], "\ufeff")
	}
	for i, name := range header {
		c.columns[strings.TrimSpace(name)] = i
	}
	c.r.FieldsPerRecord = len(header)
	c.current.cell = func(i int) cell { return cell{text: c.fields[i]} }
	return c, nil
}

func (c *csvRows) bind(column string) (int, error) {
	if i, ok := c.columns[column]; ok {
		return i, nil
	}
	return 0, fmt.Errorf("the file has no column %q%s", column, nearest(column, c.columns))
}

func (c *csvRows) row() *row { return &c.current }

func (c *csvRows) next() error {
	fields, err := c.r.Read()
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	c.current.number++
	c.raw.Reset()
	for i, f := range fields {
		if i > 0 {
			c.raw.WriteRune(c.r.Comma)
		}
		c.raw.WriteString(f)
	}
	c.current.raw = c.raw.Bytes()
	if err != nil {
		var bad *csv.ParseError
		if !errors.As(err, &bad) {
			return fmt.Errorf("read row %d: %w", c.current.number, err)
		}
		reason := bad.Err.Error()
		if errors.Is(bad.Err, csv.ErrFieldCount) {
			reason = fmt.Sprintf("%d fields, the header has %d", len(fields), c.r.FieldsPerRecord)
		}
		return &badRowError{bad.StartLine, reason, c.current.raw}
	}
	c.current.line, _ = c.r.FieldPos(0)
	c.fields = fields
	for i, f := range fields {
		switch {
		case c.latin1:
			fields[i] = fromLatin1(f)
		case !utf8.ValidString(f):
			return &badRowError{c.current.line, fmt.Sprintf("field %d is not UTF-8; if the file is Latin-1, add `encoding: latin-1` to the mapping", i+1), c.current.raw}
		}
	}
	return nil
}

func fromLatin1(s string) string {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			runes := make([]rune, len(s))
			for j := range len(s) {
				runes[j] = rune(s[j])
			}
			return string(runes)
		}
	}
	return s
}

// jsonRows reads NDJSON: an object a line.
type jsonRows struct {
	in      *bufio.Reader
	each    []string
	paths   [][]string
	current row
	line    []byte
	compact bytes.Buffer
	parts   []json.RawMessage // elements of each that are still to come
	element json.RawMessage
}

// maxLine bounds a line of NDJSON.
const maxLine = 64 << 20

func newJSON(in io.Reader, m *Mapping) *jsonRows {
	j := &jsonRows{in: bufio.NewReaderSize(in, 1<<20)}
	if m.each != "" {
		j.each = strings.Split(m.each, ".")
	}
	j.current.cell = func(i int) cell {
		for _, object := range []json.RawMessage{j.element, j.compact.Bytes()} {
			if object == nil {
				continue
			}
			if v, ok := events.Lookup(object, j.paths[i]...); ok {
				return cell{json: v}
			}
		}
		return cell{}
	}
	return j
}

func (j *jsonRows) bind(column string) (int, error) {
	j.paths = append(j.paths, strings.Split(column, "."))
	return len(j.paths) - 1, nil
}

func (j *jsonRows) row() *row { return &j.current }

func (j *jsonRows) next() error {
	if len(j.parts) > 0 {
		j.element, j.parts = j.parts[0], j.parts[1:]
		j.current.part++
		return nil
	}
	for {
		line, err := j.readLine()
		if err != nil {
			return err
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		j.current.number++
		j.current.raw, j.current.part, j.element = line, 0, nil
		j.compact.Reset()
		if err := json.Compact(&j.compact, line); err != nil || j.compact.Bytes()[0] != '{' {
			reason := "the line is not a JSON object"
			if err != nil {
				reason += ": " + err.Error()
			}
			return &badRowError{j.current.line, reason, line}
		}
		if !utf8.Valid(line) {
			return &badRowError{j.current.line, "the line is not UTF-8", line}
		}
		if j.each == nil {
			return nil
		}
		list, ok := events.Lookup(j.compact.Bytes(), j.each...)
		if !ok || json.Unmarshal(list, &j.parts) != nil {
			return &badRowError{j.current.line, fmt.Sprintf("%q (`each`) is not a list", strings.Join(j.each, ".")), line}
		}
		if len(j.parts) > 0 {
			j.element, j.parts = j.parts[0], j.parts[1:]
			return nil
		}
	}
}

func (j *jsonRows) readLine() ([]byte, error) {
	j.line = j.line[:0]
	for {
		part, err := j.in.ReadSlice('\n')
		j.line = append(j.line, part...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			if len(j.line) > maxLine {
				return nil, fmt.Errorf("line %d is over %d MB: this is not one JSON object a line", j.current.line+1, maxLine>>20)
			}
			continue
		case errors.Is(err, io.EOF) && len(j.line) == 0:
			return nil, io.EOF
		case err != nil && !errors.Is(err, io.EOF):
			return nil, fmt.Errorf("read line %s: %w", strconv.Itoa(j.current.line+1), err)
		}
		j.current.line++
		return j.line, nil
	}
}

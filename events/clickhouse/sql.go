package clickhouse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"nudge/internal/counted"
)

// Formats lists what SQL can print.
func Formats() []string { return []string{"table", "json", "csv", "tsv"} }

// SQL runs one query that only reads, and writes its result to w in one of Formats, as it comes
// (a table when it is whole). ClickHouse itself refuses what would change data or tables. JSON is
// an array of objects, one a line.
func (s *Store) SQL(ctx context.Context, query string, w io.Writer, format string) error {
	query = strings.TrimRight(strings.TrimSpace(query), "; \n\t")
	if query == "" {
		return errors.New("there is no query")
	}
	var out rowWriter
	switch format {
	case "table":
		out = &tableWriter{w: w}
	case "json":
		out = &jsonWriter{w: w}
	case "csv":
		out = &textWriter{w: w, separator: ",", quote: quoteCSV}
	case "tsv":
		out = &textWriter{w: w, separator: "\t", quote: escapeTSV}
	default:
		return fmt.Errorf("there is no format %q: one of %s", format, strings.Join(Formats(), ", "))
	}
	// ClickHouse's readonly leaves SYSTEM, KILL and writing to files to the rights of the user, who
	// may be allowed everything. So the kind of statement is looked at too.
	first, _, _ := strings.Cut(strings.ToUpper(strings.TrimLeft(withoutComments(query), "( \t\r\n")), " ")
	first, _, _ = strings.Cut(strings.TrimSpace(first), "\n")
	if first = strings.TrimSpace(first); !slices.Contains(reading, first) {
		return fmt.Errorf("%w: not %s", errOnlyReads, first)
	}
	if first == "WITH" && insertInto.MatchString(query) {
		return fmt.Errorf("%w: not WITH … INSERT", errOnlyReads)
	}
	// 2, not 1: a query may say SETTINGS, but neither write nor lift this.
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"readonly": 2}))
	if err := s.print(ctx, query, out); err != nil {
		if Code(err) == codeReadonly {
			return fmt.Errorf("%w: %w", errOnlyReads, err)
		}
		return err
	}
	return nil
}

const codeReadonly = 164

var (
	reading      = []string{"SELECT", "WITH", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS"}
	errOnlyReads = errors.New("only queries that read are allowed here (SELECT, WITH, SHOW, DESCRIBE, EXPLAIN, EXISTS)")
)

var insertInto = regexp.MustCompile(`(?i)\bINSERT\s+INTO\b`)

// withoutComments removes what stands before the first word of the query.
func withoutComments(query string) string {
	for {
		query = strings.TrimLeft(query, " \t\r\n")
		switch {
		case strings.HasPrefix(query, "--"):
			_, query, _ = strings.Cut(query, "\n")
		case strings.HasPrefix(query, "/*"):
			_, query, _ = strings.Cut(query, "*/")
		default:
			return query
		}
	}
}

func (s *Store) print(ctx context.Context, query string, out rowWriter) error {
	rows, err := s.conn.Query(ctx, query)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	types := rows.ColumnTypes()
	targets := make([]any, len(types))
	for i, t := range types {
		targets[i] = reflect.New(t.ScanType()).Interface()
	}
	if err := out.begin(rows.Columns()); err != nil {
		return err
	}
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			return fmt.Errorf("read a row: %w", err)
		}
		row := make([]any, len(targets))
		for i, t := range targets {
			row[i] = plain(reflect.ValueOf(t).Elem())
		}
		if err := out.row(row); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return out.end()
}

// plain is a value without pointers, with instants as ClickHouse prints them.
func plain(v reflect.Value) any {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	switch x := v.Interface().(type) {
	case time.Time:
		return strings.TrimSuffix(x.Format("2006-01-02 15:04:05.000"), ".000")
	case []byte:
		return string(x)
	default:
		return x
	}
}

// cell is a value as text: strings as they are, numbers in full, all else as JSON.
func cell(v any) (string, error) {
	switch x := v.(type) {
	case nil:
		return "NULL", nil
	case string:
		return x, nil
	}
	switch reflect.TypeOf(v).Kind() {
	case reflect.Slice, reflect.Map, reflect.Struct:
		text, err := json.Marshal(v)
		if err != nil {
			return "", fmt.Errorf("print a %T: %w", v, err)
		}
		return string(text), nil
	default:
		return fmt.Sprint(v), nil
	}
}

// rowWriter prints the rows of a result.
type rowWriter interface {
	begin(names []string) error
	row([]any) error
	end() error
}

type jsonWriter struct {
	w     io.Writer
	names []string
	any   bool
}

func (o *jsonWriter) begin(names []string) error {
	o.names = names
	_, err := io.WriteString(o.w, "[")
	return err
}

func (o *jsonWriter) row(values []any) error {
	line := []byte(",\n{")
	if !o.any {
		line = []byte("\n{")
	}
	o.any = true
	for i, v := range values {
		name, err := json.Marshal(o.names[i])
		if err != nil {
			return fmt.Errorf("print column %s: %w", o.names[i], err)
		}
		value, err := json.Marshal(v)
		if err != nil { // NaN and infinities are not JSON
			value = []byte("null")
		}
		if i > 0 {
			line = append(line, ',')
		}
		line = append(append(append(line, name...), ':'), value...)
	}
	_, err := o.w.Write(append(line, '}'))
	return err
}

func (o *jsonWriter) end() error {
	tail := "]\n"
	if o.any {
		tail = "\n]\n"
	}
	_, err := io.WriteString(o.w, tail)
	return err
}

type textWriter struct {
	w         io.Writer
	separator string
	quote     func(string) string
}

func (o *textWriter) begin(names []string) error {
	cells := make([]string, len(names))
	for i, n := range names {
		cells[i] = o.quote(n)
	}
	_, err := io.WriteString(o.w, strings.Join(cells, o.separator)+"\n")
	return err
}

func (o *textWriter) row(values []any) error {
	cells := make([]string, len(values))
	for i, v := range values {
		if v == nil {
			cells[i] = `\N`
			continue
		}
		text, err := cell(v)
		if err != nil {
			return err
		}
		cells[i] = o.quote(text)
	}
	_, err := io.WriteString(o.w, strings.Join(cells, o.separator)+"\n")
	return err
}

func (o *textWriter) end() error { return nil }

func quoteCSV(s string) string {
	if !strings.ContainsAny(s, "\",\r\n") {
		return s
	}
	return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
}

var tsvEscapes = strings.NewReplacer(`\`, `\\`, "\t", `\t`, "\n", `\n`, "\r", `\r`)

func escapeTSV(s string) string { return tsvEscapes.Replace(s) }

// tableRows is how many rows a table shows; the rest is counted.
const tableRows = 10_000

type tableWriter struct {
	w     io.Writer
	cells [][]string
	more  int
}

func (o *tableWriter) begin(names []string) error {
	o.cells = append(o.cells, names)
	return nil
}

func (o *tableWriter) row(values []any) error {
	if len(o.cells) > tableRows {
		o.more++
		return nil
	}
	line := make([]string, len(values))
	for i, v := range values {
		text, err := cell(v)
		if err != nil {
			return err
		}
		line[i] = escapeTSV(text)
	}
	o.cells = append(o.cells, line)
	return nil
}

func (o *tableWriter) end() error {
	widths := make([]int, len(o.cells[0]))
	for _, line := range o.cells {
		for i, text := range line {
			widths[i] = max(widths[i], len([]rune(text)))
		}
	}
	var b strings.Builder
	for n, line := range o.cells {
		for i, text := range line {
			if i > 0 {
				b.WriteString("  ")
			}
			b.WriteString(text)
			if i < len(line)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-len([]rune(text))))
			}
		}
		b.WriteByte('\n')
		if n == 0 {
			for i, width := range widths {
				if i > 0 {
					b.WriteString("  ")
				}
				b.WriteString(strings.Repeat("─", width))
			}
			b.WriteByte('\n')
		}
	}
	if o.more > 0 {
		fmt.Fprintf(&b, "… and %d more %s (json, csv and tsv print all)\n", o.more, counted.Word(o.more, "row"))
	}
	_, err := io.WriteString(o.w, b.String())
	return err
}

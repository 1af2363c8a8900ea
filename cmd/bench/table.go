package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// report is everything that one run of the command prints: a table as soon as it is there, or all as
// one JSON object at the end.
type report struct {
	Machine machine  `json:"machine"`
	Tables  []*table `json:"tables"`
}

// table is one table of figures.
type table struct {
	Key     string
	Title   string
	Columns []column
	Rows    [][]any // strings, and numbers as float64; nil is empty
	Notes   []string
}

// column is one column: its name in JSON, its heading, and how many digits its numbers have behind the
// point.
type column struct {
	Key, Title string
	Digits     int
}

func (t *table) row(cells ...any) { t.Rows = append(t.Rows, cells) }

func (t *table) note(format string, args ...any) {
	t.Notes = append(t.Notes, fmt.Sprintf(format, args...))
}

// MarshalJSON writes rows as objects.
func (t *table) MarshalJSON() ([]byte, error) {
	rows := make([]map[string]any, len(t.Rows))
	for i, r := range t.Rows {
		rows[i] = map[string]any{}
		for j, cell := range r {
			if cell != nil {
				rows[i][t.Columns[j].Key] = cell
			}
		}
	}
	return json.Marshal(map[string]any{"key": t.Key, "title": t.Title, "rows": rows, "notes": t.Notes})
}

// text is a cell as people read it.
func (c column) text(cell any) string {
	switch v := cell.(type) {
	case nil:
		return ""
	case float64:
		return grouped(v, c.Digits)
	default:
		return fmt.Sprint(v)
	}
}

// grouped writes a number with commas between thousands.
func grouped(v float64, digits int) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	s := strconv.FormatFloat(math.Abs(v), 'f', digits, 64)
	whole, fraction, _ := strings.Cut(s, ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if fraction != "" {
		whole += "." + fraction
	}
	if v < 0 {
		whole = "-" + whole
	}
	return whole
}

// write prints the table, numbers to the right.
func (t *table) write(w io.Writer) error {
	cells := make([][]string, 1, len(t.Rows)+1)
	widths := make([]int, len(t.Columns))
	right := make([]bool, len(t.Columns))
	for i, c := range t.Columns {
		cells[0] = append(cells[0], c.Title)
		widths[i] = utf8.RuneCountInString(c.Title)
	}
	for _, r := range t.Rows {
		line := make([]string, len(t.Columns))
		for i, cell := range r {
			line[i] = t.Columns[i].text(cell)
			widths[i] = max(widths[i], utf8.RuneCountInString(line[i]))
			if _, number := cell.(float64); number {
				right[i] = true
			}
		}
		cells = append(cells, line)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n\n", t.Title)
	for n, line := range cells {
		for i, cell := range line {
			gap := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i > 0 {
				b.WriteString("  ")
			}
			switch {
			case right[i]:
				b.WriteString(gap + cell)
			case i == len(line)-1:
				b.WriteString(cell)
			default:
				b.WriteString(cell + gap)
			}
		}
		b.WriteByte('\n')
		if n == 0 {
			for i, width := range widths {
				if i > 0 {
					b.WriteString("  ")
				}
				b.WriteString(strings.Repeat("-", width))
			}
			b.WriteByte('\n')
		}
	}
	for _, note := range t.Notes {
		fmt.Fprintf(&b, "* %s\n", note)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *report) head(w io.Writer, f format) error {
	if f == "json" {
		return nil
	}
	m := r.Machine
	_, err := fmt.Fprintf(w, "%s · %d cores · %.0f GB · Linux %s · %s · load %s · %s\n%s\n",
		m.CPU, m.Cores, m.MemoryGB, m.Kernel, m.Go, m.Load, m.At.Format("2006-01-02 15:04 UTC"), versions(m.Versions))
	return err
}

func versions(v map[string]string) string {
	var out []string
	for _, name := range []string{"nudge", "nats-server", "clickhouse-go", "clickhouse", "expr", "apns2"} {
		if v[name] != "" {
			out = append(out, name+" "+v[name])
		}
	}
	return strings.Join(out, " · ")
}

func (r *report) add(w io.Writer, f format, t *table) error {
	r.Tables = append(r.Tables, t)
	if f == "json" {
		return nil
	}
	return t.write(w)
}

func (r *report) end(w io.Writer, f format) error {
	if f != "json" {
		return nil
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

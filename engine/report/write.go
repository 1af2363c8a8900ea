package report

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"nudge/engine/ledger"
	"nudge/internal/texttable"
)

// Formats that Write knows.
func Formats() []string { return []string{"table", "json", "csv"} }

// Write prints the report. In a table, reasons that nobody got are left out; JSON and CSV have all.
func (r *Report) Write(w io.Writer, format string, zone *time.Location) error {
	switch format {
	case "table":
		return r.table(w, zone)
	case "json":
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(r) //nolint:wrapcheck // the writer's own error
	case "csv":
		return r.csv(w)
	default:
		return fmt.Errorf("a report's format is %s, not %q", strings.Join(Formats(), ", "), format)
	}
}

// reasons in the order of columns; Held last, since it is no answer yet.
func reasons() []ledger.Reason { return append(ledger.Reasons(), ledger.Held) }

func (r *Report) csv(w io.Writer) error {
	out := csv.NewWriter(w)
	head := []string{"rule", "variant", "channel", "day", "matched"}
	for _, reason := range reasons() {
		head = append(head, string(reason))
	}
	head = append(head, "sent", "failed", "delivered", "opened", "clicked", "converted", "revenue")
	if err := out.Write(head); err != nil {
		return err //nolint:wrapcheck // the writer's own error
	}
	for _, row := range r.Rows {
		line := []string{row.Rule, row.Variant, row.Channel, row.Day, count(row.Matched)}
		for _, reason := range reasons() {
			line = append(line, count(row.Reasons[reason]))
		}
		line = append(line, count(row.Sent), count(row.Failed), count(row.Delivered), count(row.Opened), count(row.Clicked), count(row.Converted), money(row.Revenue))
		if err := out.Write(line); err != nil {
			return err //nolint:wrapcheck // the writer's own error
		}
	}
	out.Flush()
	return out.Error() //nolint:wrapcheck // the writer's own error
}

func count(n int64) string { return strconv.FormatInt(n, 10) }

func money(f float64) string { return strconv.FormatFloat(f, 'f', 2, 64) }

// table prints what was sent and what followed, and below it why the others got nothing.
func (r *Report) table(w io.Writer, zone *time.Location) error {
	if len(r.Rows) == 0 {
		if _, err := fmt.Fprintln(w, "Nothing has been decided in this time."); err != nil {
			return err //nolint:wrapcheck // the writer's own error
		}
		return r.troubles(w, zone)
	}
	head := texttable.Row{"rule"}
	for _, d := range r.By {
		head = append(head, d)
	}
	names := func(row Row) texttable.Row {
		out := texttable.Row{row.Rule}
		for _, d := range r.By {
			switch d {
			case "variant":
				out = append(out, row.Variant)
			case "channel":
				out = append(out, row.Channel)
			case "day":
				out = append(out, row.Day)
			}
		}
		return out
	}
	sent := texttable.New(append(append(texttable.Row{}, head...), "matched", "sent", "failed", "delivered", "opened", "clicked", "converted", "revenue")...)
	var shown []ledger.Reason
	for _, reason := range reasons() {
		for _, row := range r.Rows {
			if reason != ledger.Send && row.Reasons[reason] > 0 {
				shown = append(shown, reason)
				break
			}
		}
	}
	whyHead := append(append(texttable.Row{}, head...), "matched", "send")
	for _, reason := range shown {
		whyHead = append(whyHead, string(reason))
	}
	why := texttable.New(whyHead...)
	for _, row := range r.Rows {
		sent.AppendRow(append(names(row), row.Matched, row.Sent, row.Failed, row.Delivered, row.Opened, row.Clicked, row.Converted, money(row.Revenue)))
		line := append(names(row), row.Matched, row.Reasons[ledger.Send])
		for _, reason := range shown {
			line = append(line, row.Reasons[reason])
		}
		why.AppendRow(line)
	}
	until := ""
	if !r.To.IsZero() {
		until = " to " + r.To.In(zone).Format(time.DateTime)
	}
	_, err := fmt.Fprintf(w, "Entries from %s%s (%s)\n\nWhat was sent, and what followed\n%s\n\nWhat became of everyone who matched\n%s\n",
		r.From.In(zone).Format(time.DateTime), until, zone, sent.Render(), why.Render())
	if err != nil {
		return err //nolint:wrapcheck // the writer's own error
	}
	return r.troubles(w, zone)
}

package backtest

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"

	"nudge/engine/ledger"
)

// Row is one answer about one entry, as the ledger would have it.
type Row struct {
	At       time.Time     `json:"at" parquet:"at,timestamp"` // when it was decided
	Rule     string        `json:"rule" parquet:"rule,dict"`
	Version  string        `json:"version" parquet:"version,dict"`       // of the rule: it changes with the file
	Person   uint64        `json:"person" parquet:"person"`              // nudge's own number of the person
	UserID   string        `json:"user_id" parquet:"user_id"`            // "" of a person who has none, or whose entry of before ended
	Value    string        `json:"value,omitempty" parquet:"value"`      // of the entry, under for_each or on: {by}
	Entry    string        `json:"entry" parquet:"entry"`                // the entry's key: rows with the same are answers about one entry
	Attempt  int           `json:"attempt" parquet:"attempt"`            // counts the answers about one entry, from 0
	Entered  time.Time     `json:"entered" parquet:"entered,timestamp"`  // when the entry began
	Reason   ledger.Reason `json:"reason" parquet:"reason,dict"`         // the answer, as in the ledger
	By       string        `json:"by,omitempty" parquet:"by,dict"`       // the rule or cap that won, or the stage's detail
	Open     bool          `json:"open,omitempty" parquet:"open"`        // another answer may follow
	Due      time.Time     `json:"due,omitzero" parquet:"due,timestamp"` // when it is tried again
	Category string        `json:"category" parquet:"category,dict"`     // of the rule
	Variant  string        `json:"variant,omitempty" parquet:"variant,dict"`
	Channels []string      `json:"channels,omitempty" parquet:"channels,list"` // that it would be sent on
}

func newRow(d *ledger.Decision) *Row {
	r := &Row{
		At: time.UnixMilli(d.At).UTC(), Rule: d.Rule, Version: d.Version, Person: uint64(d.Person), UserID: d.UserID, Value: d.Value, Entry: d.Entry, Attempt: d.Attempt,
		Entered: time.UnixMilli(d.Entered).UTC(), Reason: d.Reason, By: d.By, Open: d.Open, Category: d.Category, Variant: d.Variant, Channels: d.Channels,
	}
	if d.Due != 0 {
		r.Due = time.UnixMilli(d.Due).UTC()
	}
	return r
}

// File takes rows in the format that its name ends in. It stands under its name when it is complete, behind Close.
type File struct {
	whole
	write  func(*Row) error
	finish func() error
}

// rowGroup is how many rows of a Parquet file are in memory.
const rowGroup = 64 << 10

// FileFormats are the endings that a File knows.
func FileFormats() []string { return []string{".ndjson", ".csv", ".parquet"} }

// Create makes a File: NDJSON, CSV or Parquet.
func Create(path string) (*File, error) {
	switch ending := filepath.Ext(path); ending {
	case ".ndjson", ".jsonl", ".csv", ".parquet":
	default:
		return nil, fmt.Errorf("%s: the file's name ends in %s, which says its format", path, strings.Join(FileFormats(), ", "))
	}
	w, err := createWhole(path)
	if err != nil {
		return nil, err
	}
	f, file := &File{whole: w}, w.file
	switch filepath.Ext(path) {
	case ".csv":
		f.csv(file)
	case ".parquet":
		w := parquet.NewGenericWriter[Row](file, parquet.Compression(&parquet.Zstd), parquet.MaxRowsPerRowGroup(rowGroup))
		f.write = func(r *Row) error {
			_, err := w.Write([]Row{*r})
			return err //nolint:wrapcheck // Write says where
		}
		f.finish = w.Close
	default:
		w := json.NewEncoder(file)
		w.SetEscapeHTML(false)
		f.write, f.finish = func(r *Row) error { return w.Encode(r) }, func() error { return nil }
	}
	return f, nil
}

func (f *File) csv(out io.Writer) {
	w := csv.NewWriter(out)
	first := true
	f.write = func(r *Row) error {
		if first {
			first = false
			if err := w.Write([]string{"at", "rule", "version", "person", "user_id", "value", "entry", "attempt", "entered", "reason", "by", "open", "due", "category", "variant", "channels"}); err != nil {
				return err //nolint:wrapcheck // Write says where
			}
		}
		due := ""
		if !r.Due.IsZero() {
			due = r.Due.Format(time.RFC3339Nano)
		}
		return w.Write([]string{ //nolint:wrapcheck // Write says where
			r.At.Format(time.RFC3339Nano), r.Rule, r.Version, strconv.FormatUint(r.Person, 10), r.UserID, r.Value, r.Entry, strconv.Itoa(r.Attempt),
			r.Entered.Format(time.RFC3339Nano), string(r.Reason), r.By, strconv.FormatBool(r.Open), due, r.Category, r.Variant, strings.Join(r.Channels, " "),
		})
	}
	f.finish = func() error {
		w.Flush()
		return w.Error() //nolint:wrapcheck // Close says where
	}
}

// Write adds a row.
func (f *File) Write(r *Row) error {
	if err := f.write(r); err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	return nil
}

// Close puts the file under its name; Discard drops it instead. After one of them the other does nothing.
func (f *File) Close() error {
	if f.file == nil {
		return nil
	}
	return f.commit(f.finish())
}

// whole is a file that stands under its name when it is complete.
type whole struct {
	path string
	file *os.File // beside it, nil when done
}

func createWhole(path string) (whole, error) {
	file, err := os.CreateTemp(filepath.Dir(path), ".backtest-*")
	if err != nil {
		return whole{}, fmt.Errorf("make %s: %w", path, err)
	}
	return whole{path, file}, nil
}

// commit puts the file under its name, or drops it where writing it has failed.
func (w *whole) commit(written error) error {
	file := w.file
	w.file = nil
	const readable = 0o644
	err := errors.Join(written, file.Chmod(readable), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), w.path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", w.path, errors.Join(err, os.Remove(file.Name())))
	}
	return nil
}

// Discard drops the file.
func (w *whole) Discard() {
	if w.file != nil {
		_ = w.file.Close()
		_ = os.Remove(w.file.Name())
		w.file = nil
	}
}

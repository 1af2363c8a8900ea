package history

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"nudge/events"
	"nudge/events/queue"
)

// Appender takes events durably: a *queue.Queue, or a Client of a running server. It returns an error
// that is queue.ErrBacklog when it cannot take more now; the import then waits. It must accept the
// same events again.
type Appender interface {
	Append(ctx context.Context, evs []events.Event) (seq uint64, err error)
}

// Options of Import. File, Mapping, Now and (unless DryRun) Appender are required.
type Options struct {
	File    string
	Mapping *Mapping
	// Appender takes the events.
	Appender Appender
	Now      func() time.Time
	// Plan converts and checks the events as the endpoint would; nil allows everything.
	Plan *events.Plan
	// Progress gets a line a second, and one at the end; nil: nothing.
	Progress io.Writer
	// Rejects gets a JSON line for each row that cannot be imported: a Reject.
	Rejects io.Writer
	// State is a file that notes how far the import has come, so that the next one goes on there;
	// "": it begins at the beginning, and what is there already is left out by its message id.
	State string
	// Limit is the number of rows to read; 0 reads all.
	Limit int64
	// DryRun is called with the first events, as they would be stored, and nothing is imported. As many
	// as Limit says, 5 if it says nothing.
	DryRun func(Made) error
}

// Made is an event that was made of a row.
type Made struct {
	Row   int64           `json:"row"`            // of the file, from 1
	Line  int             `json:"line,omitempty"` // of a text file, from 1
	Time  time.Time       `json:"time"`           // of the event
	Event json.RawMessage `json:"event"`          // as a call of the tracking API has it
}

// Reject is a row that cannot be imported.
type Reject struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"` // of a text file, from 1
	Row    int64  `json:"row"`            // of the file, from 1
	Reason string `json:"reason"`         // what does not fit, for people
	Raw    string `json:"raw"`            // the row as it stands in the file
}

// Result says what an import did. Rows counts what was read, by what became of it.
type Result struct {
	Rows     int64 `json:"rows"`     // read, this time
	Resumed  int64 `json:"resumed"`  // passed over: done by a former import, by the state file
	Skipped  int64 `json:"skipped"`  // left out by the mapping
	Rejected int64 `json:"rejected"` // left out because they do not fit
	Events   int64 `json:"events"`   // that were made of them, and stored
	// CutShort says that the file ends in the middle (a gzip stream without its end).
	CutShort bool    `json:"cut_short,omitempty"`
	Seconds  float64 `json:"seconds"` // how long it took
}

// Bounds of one Append.
const (
	maxAppendBytes  = queue.MaxPayload * 9 / 10
	maxAppendEvents = 5000
	dryRunEvents    = 5
)

// importer is one run of Import.
type importer struct {
	o      Options
	conv   *converter
	in     rows
	read   *counter // bytes of the file
	size   int64
	result Result
	state  state
	start  time.Time
	noted  time.Time // of the last progress line
	saved  time.Time

	appended atomic.Int64 // rows whose events are durable
}

// portion is what one Append carries, and the last row in it.
type portion struct {
	events []events.Event
	row    int64
}

// Import reads a file and hands its events on. It returns what it did also with an error; after an
// error, and after ctx ends, the same Import goes on where it stopped.
func Import(ctx context.Context, o Options) (Result, error) {
	i := &importer{o: o, start: o.Now()}
	if err := i.open(); err != nil {
		return i.result, err
	}
	defer func() { _ = i.read.Close() }()
	var err error
	if o.DryRun != nil {
		err = i.dryRun()
	} else {
		err = i.run(ctx)
	}
	i.result.Seconds = o.Now().Sub(i.start).Seconds()
	return i.result, err
}

func (i *importer) open() error {
	if i.o.Mapping == nil || i.o.Appender == nil && i.o.DryRun == nil {
		return errors.New("import: a mapping and somebody who takes the events are required")
	}
	format, err := i.o.Mapping.formatOf(i.o.File)
	if err != nil {
		return err
	}
	file, err := os.Open(i.o.File)
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	i.read = &counter{File: file}
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	i.size = info.Size()
	call := events.Call{Source: i.o.Mapping.source, ReceivedAt: i.start.UnixMilli(), Imported: true, Secret: true}
	if i.o.Plan != nil {
		call.MaxAhead = i.o.Plan.MaxAhead
	}
	i.conv = &converter{m: i.o.Mapping, call: call}
	var head []byte
	switch {
	case format == "parquet" && strings.HasSuffix(strings.ToLower(i.o.File), ".gz"):
		return fmt.Errorf("import %s: unpack it first; a Parquet file is compressed inside", i.o.File)
	case format == "parquet":
		if i.in, err = newParquet(i.read, i.size); err != nil {
			return fmt.Errorf("import %s: %w", i.o.File, err)
		}
		head = make([]byte, min(i.size, 64<<10))
		if _, err := i.read.File.ReadAt(head, 0); err != nil {
			return fmt.Errorf("import %s: %w", i.o.File, err)
		}
	default:
		text, err := i.text()
		if err != nil {
			return fmt.Errorf("import %s: %w", i.o.File, err)
		}
		var first io.Reader
		if head, first, err = firstLine(text); err != nil {
			return fmt.Errorf("import %s: %w", i.o.File, err)
		}
		if format == "csv" {
			if i.in, err = newCSV(first, i.o.Mapping); err != nil {
				return fmt.Errorf("import %s: %w", i.o.File, err)
			}
		} else {
			i.in = newJSON(first, i.o.Mapping)
		}
	}
	i.conv.head = head
	if err := i.conv.bind(i.in); err != nil {
		return err
	}
	return i.loadState(head)
}

// text is the file's text, unpacked.
func (i *importer) text() (io.Reader, error) {
	if !strings.HasSuffix(strings.ToLower(i.o.File), ".gz") {
		return i.read, nil
	}
	return gzip.NewReader(i.read)
}

// firstLine reads the first two lines (of a CSV file the header and a row): what the file is known by.
func firstLine(in io.Reader) (head []byte, all io.Reader, err error) {
	buf := make([]byte, 64<<10)
	n, err := io.ReadFull(in, buf)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	head = buf[:n]
	if end := bytes.IndexByte(head, '\n'); end >= 0 {
		if second := bytes.IndexByte(head[end+1:], '\n'); second >= 0 {
			head = head[:end+1+second]
		}
	}
	return bytes.Clone(head), io.MultiReader(bytes.NewReader(buf[:n]), in), nil
}

// counter counts the bytes read of a file.
type counter struct {
	*os.File
	n atomic.Int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.File.Read(b)
	c.n.Add(int64(n))
	return n, err
}

func (c *counter) ReadAt(b []byte, at int64) (int, error) {
	n, err := c.File.ReadAt(b, at)
	c.n.Store(max(c.n.Load(), at+int64(n)))
	return n, err
}

// run reads and maps in one goroutine and appends in another.
func (i *importer) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	portions := make(chan portion, 2)
	g.Go(func() error {
		defer close(portions)
		return i.produce(ctx, portions)
	})
	g.Go(func() error {
		for p := range portions {
			if len(p.events) > 0 {
				if err := i.append(ctx, p.events); err != nil {
					return err
				}
			}
			i.appended.Store(p.row)
		}
		return nil
	})
	err := g.Wait()
	if saveErr := i.save(); err == nil {
		err = saveErr
	}
	i.note(true)
	return err
}

func (i *importer) produce(ctx context.Context, out chan<- portion) error {
	var p portion
	size := 0
	send := func() error {
		select {
		case out <- p:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		p, size = portion{}, 0
		i.note(false)
		return i.saveNow()
	}
	var made []events.Event
	for i.o.Limit == 0 || i.result.Rows < i.o.Limit {
		more, err := i.next(&made)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		for k := range made {
			n := events.EncodedSize(&made[k])
			if size+n > maxAppendBytes || len(p.events) >= maxAppendEvents {
				if err := send(); err != nil {
					return err
				}
			}
			p.events = append(p.events, made[k])
			size += n
			i.result.Events++
		}
		p.row = i.in.row().number - 1
		if len(made) == 0 && i.result.Rows%1024 == 0 {
			i.note(false)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
	}
	p.row = i.in.row().number
	return send()
}

// next reads one row and makes its events; false at the end.
func (i *importer) next(made *[]events.Event) (more bool, err error) {
	*made = (*made)[:0]
	err = i.in.next()
	r := i.in.row()
	var bad *badRowError
	switch {
	case errors.Is(err, io.EOF):
		return false, nil
	case errors.Is(err, io.ErrUnexpectedEOF):
		i.result.CutShort = true
		return false, nil
	case errors.As(err, &bad):
		i.result.Rows++
		return true, i.reject(r, bad.line, bad.reason, bad.raw)
	case err != nil:
		return false, fmt.Errorf("import %s: %w", i.o.File, err)
	}
	if r.number <= i.state.Row {
		i.result.Resumed++
		return true, nil
	}
	i.result.Rows++
	evs, err := i.conv.events(r, *made)
	if err != nil {
		return true, i.reject(r, r.line, err.Error(), r.raw)
	}
	for k := range evs {
		if i.o.Plan == nil {
			break
		}
		if reason := i.o.Plan.Apply(&evs[k]); reason != "" {
			return true, i.reject(r, r.line, "the tracking plan refuses it: "+reason, r.raw)
		}
	}
	if len(evs) == 0 {
		i.result.Skipped++
	}
	*made = evs
	return true, nil
}

func (i *importer) reject(r *row, line int, reason string, raw []byte) error {
	i.result.Rejected++
	if i.o.Rejects == nil {
		return nil
	}
	text, err := json.Marshal(Reject{filepath.Base(i.o.File), line, r.number, reason, string(raw)})
	if err != nil {
		return fmt.Errorf("import: write the rejects: %w", err)
	}
	if _, err := i.o.Rejects.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("import: write the rejects: %w", err)
	}
	return nil
}

// append hands events on and waits while there is no room for them.
func (i *importer) append(ctx context.Context, evs []events.Event) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		_, err := i.o.Appender.Append(ctx, evs)
		if err == nil {
			return nil
		}
		if !errors.Is(err, queue.ErrBacklog) {
			return fmt.Errorf("import: %w", err)
		}
		timer := time.NewTimer(wait/2 + rand.N(wait/2))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

// dryRun shows the first events.
func (i *importer) dryRun() error {
	left := i.o.Limit
	if left == 0 {
		left = dryRunEvents
	}
	i.state.Row = 0
	var made []events.Event
	for left > 0 {
		more, err := i.next(&made)
		if err != nil || !more {
			return err
		}
		for k := range made {
			if left == 0 {
				break
			}
			r, ev := i.in.row(), &made[k]
			if err := i.o.DryRun(Made{Row: r.number, Line: r.line, Time: time.UnixMilli(ev.Time).UTC(), Event: ev.Raw}); err != nil {
				return fmt.Errorf("import: %w", err)
			}
			i.result.Events++
			left--
		}
	}
	return nil
}

// Package file appends messages to a file, one JSON object a line.
package file

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"nudge/channels"
)

// Spec describes the adapter.
func Spec() channels.Spec {
	return channels.Spec{
		Name:  "file",
		Kind:  "file",
		About: "Appends each message as a line of JSON (NDJSON) to a file: for pipelines, digests and tests. It can stand in for any other channel. A batch is one write, so lines never interleave, not even with another process's.",
		Config: []channels.Field{
			{Name: "path", Type: "string", Required: true, Example: "out/messages.ndjson", About: "the file, relative to the workspace; its folder is made"},
			{Name: "sync", Type: "string", Default: "always", Example: "never", About: "always: a batch is on disk before it counts as accepted; never: the system writes when it likes"},
			{Name: "max_bytes", Type: "int", Default: "0", Example: "104857600", About: "begin a new file above this size, the old one gets the time in its name; 0 never"},
		},
		Message:     channels.TextFields(),
		Batch:       500,
		Concurrency: 1,
		Repeat:      channels.RepeatDoubles,
		Any:         true,
		Tried:       "This is the real thing: there is no provider. Readers can drop a repeat by its key.",
		New:         open,
	}
}

// Line is one message in the file.
type Line struct {
	At      time.Time         `json:"at"`                    // when it was written
	Key     string            `json:"key"`                   // the same of a message that is written again
	Address Address           `json:"address"`               // whom it is for
	Fields  map[string]any    `json:"fields"`                // of the message, by their names
	About   map[string]string `json:"about,omitempty"`       // rule, entry and the like, by name
	Signed  string            `json:"message_id,omitempty"`  // with which the app reports an open or a click
	TTL     float64           `json:"ttl_seconds,omitempty"` // how long it is worth something
	Urgent  bool              `json:"urgent,omitempty"`      // it is not to be held back to spare a battery
}

// Address is channels.Address as JSON.
type Address struct {
	UserID      string `json:"user_id,omitempty"`
	Token       string `json:"token,omitempty"`
	Platform    string `json:"platform,omitempty"`
	App         string `json:"app,omitempty"`
	Environment string `json:"environment,omitempty"`
	Email       string `json:"email,omitempty"`
	Phone       string `json:"phone,omitempty"`
}

// channel appends to a file.
type channel struct {
	path  string
	sync  bool
	limit int64
	now   func() time.Time

	mu   sync.Mutex
	file *os.File
	size int64
	torn bool // the last write ended inside a line
}

// open makes a channel and opens its file.
func open(o channels.Options) (channels.Channel, error) {
	var config struct {
		Path     string `json:"path"`
		Sync     string `json:"sync"`
		MaxBytes int64  `json:"max_bytes"`
	}
	if err := Spec().Decode(o.Config, &config); err != nil {
		return nil, err
	}
	switch {
	case config.Sync != "always" && config.Sync != "never":
		return nil, fmt.Errorf("config of file: %w", channels.Problem{Field: "sync", Summary: fmt.Sprintf("is %q", config.Sync), Suggest: "write always or never"})
	case config.MaxBytes < 0:
		return nil, fmt.Errorf("config of file: %w", channels.Problem{Field: "max_bytes", Summary: "is below 0"})
	case o.Now == nil:
		return nil, errors.New("channel file: it needs a clock")
	}
	c := &channel{path: config.Path, sync: config.Sync == "always", limit: config.MaxBytes, now: o.Now}
	if !filepath.IsAbs(c.path) {
		c.path = filepath.Join(o.Dir, c.path)
	}
	if err := os.MkdirAll(filepath.Dir(c.path), 0o755); err != nil {
		return nil, fmt.Errorf("channel file: making the folder of %s: %w", c.path, err)
	}
	if err := c.reopen(); err != nil {
		return nil, fmt.Errorf("channel file: %w", err)
	}
	return c, nil
}

// Send implements channels.Channel: one write a batch.
func (c *channel) Send(ctx context.Context, batch []channels.Message) []channels.Result {
	results := make([]channels.Result, len(batch))
	if err := ctx.Err(); err != nil {
		return fill(results, channels.ClassCancelled, "cancelled", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file == nil {
		return fill(results, channels.ClassTemporary, "closed", os.ErrClosed)
	}
	if err := c.rotate(); err != nil {
		return fill(results, channels.ClassTemporary, "rotate", err)
	}
	var out bytes.Buffer
	lines := json.NewEncoder(&out)
	lines.SetEscapeHTML(false) // people read it
	if c.torn {
		out.WriteByte('\n')
	}
	ends := make([]int, len(batch)) // where each message's line ends in out
	at := c.now().UTC()
	for i := range batch {
		before := out.Len()
		if err := lines.Encode(lineOf(at, &batch[i])); err != nil {
			out.Truncate(before)
			results[i] = channels.Failed(channels.ClassMessage, "json", fmt.Errorf("encoding the message: %w", err))
		}
		ends[i] = out.Len()
	}
	n, err := c.file.Write(out.Bytes())
	c.size += int64(n)
	c.torn = n > 0 && out.Bytes()[n-1] != '\n' || n == 0 && c.torn
	if err == nil {
		if err = c.flush(); err != nil {
			n = 0 // after a failed fsync nobody knows what is on disk
		}
	}
	if err != nil {
		for i := range results {
			if results[i].Err == nil && ends[i] > n {
				results[i] = channels.Failed(channels.ClassTemporary, "write", fmt.Errorf("appending to %s: %w", c.path, err))
			}
		}
	}
	return results
}

// Close implements channels.Closer.
func (c *channel) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file == nil {
		return nil
	}
	err := errors.Join(c.flush(), c.file.Close())
	c.file = nil
	return err
}

// Test implements channels.Tester.
func (c *channel) Test(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file == nil {
		return os.ErrClosed
	}
	return c.flush()
}

// flush puts what is written on disk, where the config wants that. c.mu is held.
func (c *channel) flush() error {
	if !c.sync {
		return nil
	}
	return c.file.Sync()
}

// rotate begins a new file when the present one is full. c.mu is held.
func (c *channel) rotate() error {
	if c.limit == 0 || c.size < c.limit {
		return nil
	}
	stamp := c.now().UTC().Format("20060102T150405.000Z")
	old := c.path + "." + stamp
	for n := 2; ; n++ { // never over another file: two rotations can fall into one millisecond
		if _, err := os.Lstat(old); errors.Is(err, os.ErrNotExist) {
			break
		}
		old = fmt.Sprintf("%s.%s-%d", c.path, stamp, n)
	}
	if err := errors.Join(c.flush(), os.Rename(c.path, old)); err != nil {
		return fmt.Errorf("rotating %s: %w", c.path, err)
	}
	full := c.file
	if err := c.reopen(); err != nil {
		return err
	}
	return full.Close()
}

// reopen opens the file and makes its folder's entry durable. c.mu is held or nobody else knows c.
func (c *channel) reopen() error {
	f, err := os.OpenFile(c.path, os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return fmt.Errorf("opening %s: %w", c.path, err)
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("looking at %s: %w", c.path, err), f.Close())
	}
	c.torn = false
	if size := info.Size(); size > 0 {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, size-1); err == nil {
			c.torn = last[0] != '\n'
		}
	}
	if c.sync {
		dir, err := os.Open(filepath.Dir(c.path))
		if err != nil {
			return errors.Join(fmt.Errorf("opening the folder of %s: %w", c.path, err), f.Close())
		}
		if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
			return errors.Join(fmt.Errorf("syncing the folder of %s: %w", c.path, err), f.Close())
		}
	}
	c.file, c.size = f, info.Size()
	return nil
}

// lineOf makes the line of a message.
func lineOf(at time.Time, m *channels.Message) Line {
	return Line{
		At: at, Key: m.Key, Address: Address(m.Address), Fields: m.Fields, About: m.About,
		Signed: m.Signed, TTL: m.TTL.Seconds(), Urgent: m.Urgent,
	}
}

// fill gives every message of a batch the same failure.
func fill(results []channels.Result, class channels.Class, code string, err error) []channels.Result {
	for i := range results {
		results[i] = channels.Failed(class, code, err)
	}
	return results
}

// Package stdout prints messages for people: to try rules out, and for the demo.
package stdout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"nudge/channels"
)

// Spec describes the adapter.
func Spec() channels.Spec {
	return channels.Spec{
		Name:        "stdout",
		Kind:        "stdout",
		About:       "Prints each message, for trying rules out. It can stand in for any other channel.",
		Config:      []channels.Field{{Name: "fields", Type: "bool", Default: "true", Example: "false", About: "also print fields other than title, body and link"}},
		Message:     channels.TextFields(),
		Batch:       100,
		Concurrency: 1,
		Repeat:      channels.RepeatDoubles,
		Any:         true,
		Tried:       "This is the real thing: there is no provider.",
		New:         open,
	}
}

// channel prints.
type channel struct {
	options channels.Options
	fields  bool
	mu      sync.Mutex
}

// open makes a channel.
func open(o channels.Options) (channels.Channel, error) {
	var config struct {
		Fields bool `json:"fields"`
	}
	if err := Spec().Decode(o.Config, &config); err != nil {
		return nil, err
	}
	if o.Stdout == nil || o.Now == nil {
		return nil, errors.New("channel stdout: it needs an output and a clock")
	}
	return &channel{options: o, fields: config.Fields}, nil
}

// Send implements channels.Channel: one write a batch.
func (c *channel) Send(ctx context.Context, batch []channels.Message) []channels.Result {
	results := make([]channels.Result, len(batch))
	if err := ctx.Err(); err != nil {
		for i := range results {
			results[i] = channels.Failed(channels.ClassCancelled, "cancelled", err)
		}
		return results
	}
	var out bytes.Buffer
	at := c.options.Now().UTC().Format("2006-01-02 15:04:05")
	for i := range batch {
		c.print(&out, at, &batch[i])
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.options.Stdout.Write(out.Bytes()); err != nil {
		for i := range results {
			results[i] = channels.Failed(channels.ClassTemporary, "write", fmt.Errorf("printing messages: %w", err))
		}
	}
	return results
}

// print writes one message: a line of who and what, and indented lines for what else there is.
func (c *channel) print(out *bytes.Buffer, at string, m *channels.Message) {
	fmt.Fprintf(out, "%s  %s", at, recipient(m.Address))
	if rule := m.About["rule"]; rule != "" {
		fmt.Fprintf(out, "  [%s]", line(rule))
	}
	if title := m.Text("title"); title != "" {
		fmt.Fprintf(out, "  %s", line(title))
	}
	out.WriteByte('\n')
	for _, name := range []string{"body", "link"} {
		if text := m.Text(name); text != "" {
			fmt.Fprintf(out, "    %s\n", line(text))
		}
	}
	if !c.fields {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(m.Fields)) {
		if name != "title" && name != "body" && name != "link" && m.Fields[name] != nil {
			fmt.Fprintf(out, "    %s: %s\n", name, line(m.Text(name)))
		}
	}
}

// recipient names who gets it; tokens are shortened.
func recipient(a channels.Address) string {
	who := "→"
	if a.UserID != "" {
		who += " " + line(a.UserID)
	}
	switch {
	case a.Token != "":
		who += fmt.Sprintf(" (%s %s)", line(a.Platform), channels.ShortToken(a.Token))
	case a.Email != "":
		who += " <" + line(a.Email) + ">"
	case a.Phone != "":
		who += " " + line(a.Phone)
	}
	return who
}

// line keeps one value on one line and control characters out of the terminal.
func line(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0):
			return -1
		}
		return r
	}, text)
}

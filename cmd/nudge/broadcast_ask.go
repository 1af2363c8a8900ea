package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"nudge/channels"
	"nudge/channels/all"
	"nudge/engine/broadcast"
	"nudge/engine/workspace"
	"nudge/internal/suggest"
)

// ask makes a draft by asking a person.
func (b *broadcaster) ask() (*broadcast.Draft, error) {
	fmt.Fprintln(b.s.err, "A message to many, sent once. Ctrl-C ends this at any time; nothing is sent before you have seen it.")
	d := &broadcast.Draft{}
	for _, step := range []func(*broadcast.Draft) error{b.askWho, b.askChannel, b.askFields, b.askWhen} {
		if err := step(d); err != nil {
			return nil, err
		}
	}
	if err := b.named(d); err != nil {
		d.Name = "message"
	}
	name, err := b.question(fmt.Sprintf("Its name [%s]: ", d.Name))
	if name != "" {
		d.Name = name
	}
	if err != nil {
		return nil, err
	}
	return d, b.named(d)
}

func (b *broadcaster) askWho(d *broadcast.Draft) error {
	var names []string
	for _, s := range b.ws.Segments {
		names = append(names, s.Name)
		fmt.Fprintf(b.s.err, "  %s\t%s\n", s.Name, s.About)
	}
	for {
		who, err := b.question("To whom: a segment, a file with user ids, a condition, or \"everybody\"? ")
		if err != nil {
			return err
		}
		info, fileErr := os.Stat(who)
		switch near := suggest.Nearest(who, names); {
		case who == "":
		case slices.Contains(names, who):
			d.Who = []string{fmt.Sprintf("segment(%q)", who)}
			return nil
		case who == "everybody":
			d.Who = []string{"true"}
			return nil
		case fileErr == nil && !info.IsDir():
			if d.List, err = userIDs(who); err == nil {
				return nil
			}
			fmt.Fprintf(b.s.err, "  %v\n", err)
		case near != "":
			fmt.Fprintf(b.s.err, "  there is no segment %q; did you mean %s?\n", who, near)
		default: // what is wrong with a condition is found with its place when it is composed
			d.Who = []string{who}
			return nil
		}
	}
}

func (b *broadcaster) askChannel(d *broadcast.Draft) error {
	names := b.channels()
	if len(names) == 1 {
		d.Channel = names[0]
		return nil
	}
	for {
		name, err := b.question(fmt.Sprintf("On which channel: %s? ", strings.Join(names, ", ")))
		if err != nil {
			return err
		}
		if slices.Contains(names, name) {
			d.Channel = name
			return nil
		}
	}
}

func (b *broadcaster) askFields(d *broadcast.Draft) error {
	known, open, err := b.fieldsOf(d.Channel)
	if err != nil {
		return err
	}
	for len(d.Fields) == 0 {
		for _, name := range []string{"title", "subject", "body", "text", "link"} { // the others are for a file
			required, has := known[name]
			if !has && (!open || name == "subject" || name == "text") {
				continue
			}
			hint := " (Enter leaves it out)"
			if required {
				hint = ""
			}
			for {
				text, err := b.question(fmt.Sprintf("  %s%s: ", name, hint))
				if err != nil {
					return err
				}
				if text != "" {
					d.Fields = append(d.Fields, broadcast.Field{Name: name, Value: text})
				}
				if text != "" || !required {
					break
				}
			}
		}
	}
	return nil
}

// fieldsOf are the fields of a channel's messages, and whether one must be there; open says that it takes others too.
func (b *broadcaster) fieldsOf(channel string) (known map[string]bool, open bool, err error) {
	set, err := all.Set()
	if err != nil {
		return nil, false, failed(err)
	}
	c := b.ws.Channels[slices.IndexFunc(b.ws.Channels, func(c workspace.Channel) bool { return c.Name == channel })]
	var specs []channels.Spec
	for _, a := range c.Adapters {
		specs = append(specs, a.Spec)
	}
	spec := workspace.ChannelSpec(set, c.Name, c.Kind, specs)
	known = map[string]bool{}
	for _, f := range spec.Fields {
		known[f.Name] = f.Required
	}
	return known, spec.Any, nil
}

func (b *broadcaster) askWhen(d *broadcast.Draft) error {
	when, err := b.question("When, on the clock of " + b.ws.Zone.String() + " (2026-12-01 09:00; Enter: now)? ")
	if err != nil {
		return err
	}
	if d.At = when; d.At == "" {
		d.At = b.at()
	}
	return nil
}

// question asks a person.
func (b *broadcaster) question(text string) (string, error) {
	if b.in == nil {
		b.in = bufio.NewReader(b.s.in)
	}
	fmt.Fprint(b.s.err, text)
	answered := make(chan string, 1)
	go func() { // where nobody answers it ends with the command
		answer, err := b.in.ReadString('\n')
		if err == nil || errors.Is(err, io.EOF) && answer != "" {
			answered <- answer
		}
		close(answered)
	}()
	select {
	case answer, ok := <-answered:
		if ok {
			return strings.TrimSpace(answer), nil
		}
	case <-b.stopped:
	}
	fmt.Fprintln(b.s.err)
	return "", failed(errors.New("no answer; nothing was written or sent"))
}

// isTerminalIn says whether a person types.
func isTerminalIn(r io.Reader) bool {
	f, ok := r.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull) // a character device too
	return err != nil || !os.SameFile(info, null)
}

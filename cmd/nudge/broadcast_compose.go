package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"nudge/engine/broadcast"
	"nudge/engine/workspace"
	"nudge/internal/suggest"
	"nudge/rules"
	"nudge/rules/yamlfile"
	"nudge/segments"
)

// find finds the broadcast that is meant, or composes it.
func (b *broadcaster) find(args []string) error {
	var draft *broadcast.Draft
	var err error
	switch {
	case len(args) > 0:
		if b.rule = b.known(args[0]); b.rule != nil {
			if b.o.at != "" {
				return fmt.Errorf("%s says itself when it is sent; change `at` in it, or leave out --at", b.rule.File)
			}
			return nil
		}
		if b.o.watch {
			return b.noBroadcast(args[0])
		}
		return b.fromFile(args[0])
	case b.o.composes():
		draft, err = b.fromFlags()
	case !isTerminalIn(b.s.in):
		return errors.New("say what is sent and to whom: nudge broadcast --segment regulars --channel push --body \"Hello\", or name a file")
	default:
		draft, err = b.ask()
	}
	if err != nil {
		return err
	}
	b.draft = draft
	return b.compose(draft.Name, draft.Files())
}

// known is a broadcast of the workspace, by its name or file; nil when there is none.
func (b *broadcaster) known(arg string) *workspace.Rule {
	abs, err := filepath.Abs(arg)
	for _, r := range b.ws.Rules {
		if r.Broadcast && (r.Name == arg || r.File == filepath.ToSlash(arg) || err == nil && filepath.Join(b.ws.Dir, filepath.FromSlash(r.File)) == abs) {
			return r
		}
	}
	return nil
}

func (b *broadcaster) noBroadcast(name string) error {
	var names []string
	for _, r := range b.ws.Rules {
		if r.Broadcast {
			names = append(names, r.Name)
		}
	}
	if near := suggest.Nearest(name, names); near != "" {
		return fmt.Errorf("there is no broadcast %q; did you mean %s?", name, near)
	}
	return fmt.Errorf("there is no broadcast %q, and no such file; broadcasts are the files below %s", name, filepath.Join(b.ws.Dir, workspace.BroadcastsDir))
}

// fromFile composes a broadcast of a file that is not one yet.
func (b *broadcaster) fromFile(name string) error {
	src, err := os.ReadFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return b.noBroadcast(name)
	case err != nil:
		return failed(fmt.Errorf("read the broadcast: %w", err))
	}
	doc, findings := yamlfile.Parse(name, src)
	if len(findings) > 0 {
		return printFindings(b.s, findings)
	}
	rule, at := doc.Root.Get("rule"), doc.Root.Get("at")
	switch {
	case rule == nil || rule.Text == "":
		return fmt.Errorf("%s is no broadcast: it begins with `rule: its-name`", name)
	case at != nil && b.o.at != "":
		return fmt.Errorf("%s:%d says itself when it is sent; change `at` in it, or leave out --at", name, at.Line)
	case at == nil:
		when := fmt.Sprintf("at: %q\n", b.at())
		if b.o.personZone {
			when = fmt.Sprintf("at: {time: %q, zone: person}\n", b.at())
		}
		src = append(append(bytes.TrimRight(src, "\n"), '\n'), when...)
	}
	if strings.ContainsAny(rule.Text, `/\`) {
		return fmt.Errorf("%s:%d: %q is not a name", name, rule.Line, rule.Text)
	}
	return b.compose(rule.Text, map[string][]byte{broadcast.File(rule.Text): src})
}

// at is when it is sent, as files say it.
func (b *broadcaster) at() string {
	if b.o.at != "" {
		return b.o.at
	}
	return broadcast.At(time.Now().In(b.ws.Zone))
}

// fromFlags makes a draft of the flags.
func (b *broadcaster) fromFlags() (*broadcast.Draft, error) {
	o := &b.o
	d := &broadcast.Draft{Name: o.name, Category: o.category, At: b.at(), Persons: o.personZone, Holdout: o.holdout, Goal: o.goal, Channel: o.channel}
	if o.segment != "" {
		d.Who = append(d.Who, fmt.Sprintf("segment(%q)", o.segment))
	}
	if o.where != "" {
		d.Who = append(d.Who, o.where)
	}
	if o.list != "" {
		ids, err := userIDs(o.list)
		if err != nil {
			return nil, err
		}
		d.List = ids
	}
	if len(d.Who) == 0 && d.List == nil {
		return nil, errors.New("say to whom: --segment NAME, --where CONDITION or --list FILE; --where true is everybody")
	}
	if d.Channel == "" {
		if len(b.ws.Channels) != 1 {
			return nil, fmt.Errorf("say on which channel: --channel %s", strings.Join(b.channels(), " or "))
		}
		d.Channel = b.ws.Channels[0].Name
	}
	if names := b.channels(); !slices.Contains(names, d.Channel) {
		if near := suggest.Nearest(d.Channel, names); near != "" {
			return nil, fmt.Errorf("--channel: nudge.yaml has no channel %q; did you mean %s?", d.Channel, near)
		}
		return nil, fmt.Errorf("--channel: nudge.yaml has no channel %q, it has %s", d.Channel, strings.Join(names, ", "))
	}
	for _, f := range [][2]string{{"title", o.title}, {"subject", o.subject}, {"body", o.body}, {"text", o.text}, {"html", o.html}, {"link", o.link}} {
		if f[1] != "" {
			d.Fields = append(d.Fields, broadcast.Field{Name: f[0], Value: f[1]})
		}
	}
	for _, text := range o.fields {
		name, value, ok := strings.Cut(text, "=")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, fmt.Errorf("--field is NAME=VALUE, not %q", text)
		}
		d.Fields = append(d.Fields, broadcast.Field{Name: name, Value: value, JSON: json.Valid([]byte(value))})
	}
	if err := b.fits(d); err != nil {
		return nil, err
	}
	return d, b.named(d)
}

// fieldFlags are the fields of messages that have a flag of their own.
func fieldFlags() []string { return []string{"title", "subject", "body", "text", "html", "link"} }

// fits says what is wrong with the fields of a draft on its channel, in the words of the flags.
func (b *broadcaster) fits(d *broadcast.Draft) error {
	known, open, err := b.fieldsOf(d.Channel)
	if err != nil {
		return err
	}
	flag := func(name string) string {
		if slices.Contains(fieldFlags(), name) {
			return "--" + name
		}
		return "--field " + name + "=…"
	}
	var needs, takes, others, unknown, missing []string
	for _, name := range append(fieldFlags(), slices.Sorted(maps.Keys(known))...) {
		required, has := known[name]
		switch {
		case !has && !open, slices.Contains(needs, flag(name)), slices.Contains(takes, flag(name)):
		case required:
			needs = append(needs, flag(name))
			if !slices.ContainsFunc(d.Fields, func(f broadcast.Field) bool { return f.Name == name }) {
				missing = append(missing, flag(name))
			}
		case slices.Contains(fieldFlags(), name):
			takes = append(takes, flag(name))
		default:
			others = append(others, name)
		}
	}
	for _, f := range d.Fields {
		if _, is := known[f.Name]; !is && !open && f.Name != "locales" {
			unknown = append(unknown, f.Name)
		}
	}
	var problem string
	switch {
	case len(d.Fields) == 0:
		problem = "say what is sent"
	case len(unknown) > 0:
		problem = fmt.Sprintf("%s has no field %s", d.Channel, strings.Join(unknown, ", nor "))
		if near := suggest.Nearest(unknown[0], slices.Collect(maps.Keys(known))); near != "" {
			problem += fmt.Sprintf("; did you mean %s?", flag(near))
		}
	case len(missing) > 0:
		problem = strings.Join(missing, ", ") + " is missing"
	default:
		return nil
	}
	if len(needs) > 0 {
		problem += fmt.Sprintf("\n  %s needs: %s", d.Channel, strings.Join(needs, ", "))
	}
	if len(takes) > 0 {
		problem += fmt.Sprintf("\n  %s takes: %s", d.Channel, strings.Join(takes, ", "))
	}
	if open {
		others = append(others, "any other")
	}
	if len(others) > 0 {
		problem += "\n  with --field NAME=VALUE: " + strings.Join(others, ", ")
	}
	return errors.New(problem)
}

// said puts findings in the composed file where its author said what they are about: in flags, or in answers. Nobody has
// seen the file.
func (b *broadcaster) said(findings []rules.Finding) []rules.Finding {
	lines := strings.Split(string(b.draft.Files()[broadcast.File(b.draft.Name)]), "\n")
	out := slices.Clone(findings)
	for i := range out {
		f := &out[i]
		if f.File != broadcast.File(b.draft.Name) || f.Line < 1 || f.Line > len(lines) {
			continue
		}
		indent := func(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }
		key := func(line string) string { name, _, _ := strings.Cut(line, ":"); return strings.Trim(name, ` "`) }
		first := f.Line - 1
		for first > 0 && indent(lines[first]) > 0 {
			first--
		}
		name := key(lines[first])
		switch {
		case name == "when" && (b.o.where == "" || strings.Contains(lines[f.Line-1], fmt.Sprintf("segment(%q)", b.o.segment))) && b.o.segment != "":
			name = "segment"
		case name == "when":
			name = "where"
		case name == "rule":
			name = "name"
		case name == "message" && indent(lines[f.Line-1]) < 4: //nolint:mnd // the channel stands at 2, its fields at 4
			name = "channel"
		case name == "message":
			for first = f.Line - 1; indent(lines[first]) > 4; {
				first--
			}
			if name = key(lines[first]); b.o.composes() && !slices.Contains(fieldFlags(), name) {
				name = "field " + name
			}
		}
		if f.File = name; b.o.composes() {
			f.File = "--" + name
		}
		by := indent(f.Text)
		f.Line, f.Text, f.Col, f.EndCol = max(1, f.Line-1-first), f.Text[by:], max(1, f.Col-by), max(1, f.EndCol-by)
	}
	return out
}

// named gives a draft a name that says what it is about.
func (b *broadcaster) named(d *broadcast.Draft) error {
	for _, f := range d.Fields {
		if d.Name == "" && !f.JSON && f.Name != "link" {
			d.Name = broadcast.NameOf(f.Value)
		}
	}
	switch {
	case d.Name == "":
		return errors.New("the message gives it no name; say one: --name spring-sale")
	case strings.ContainsAny(d.Name, `/\`) || !filepath.IsLocal(d.Name):
		return fmt.Errorf("--name is small letters, digits, - and _, not %q", d.Name)
	}
	return nil
}

func (b *broadcaster) channels() []string {
	var out []string
	for _, c := range b.ws.Channels {
		out = append(out, c.Name)
	}
	return out
}

// userIDs reads a list: CSV where it is called so, else lines.
func userIDs(name string) ([]string, error) {
	src, err := os.ReadFile(name)
	if err != nil {
		return nil, failed(fmt.Errorf("read the list: %w", err))
	}
	if strings.EqualFold(filepath.Ext(name), ".csv") {
		if src, err = columnOf(name, src); err != nil {
			return nil, err
		}
	}
	list, err := segments.ParseList(src)
	switch {
	case err != nil:
		return nil, failed(fmt.Errorf("%s: %w", name, err))
	case list.Len() == 0:
		return nil, fmt.Errorf("nobody is in %s", name)
	}
	return list.Values(), nil
}

// columnOf is the column of user ids, a line for each.
func columnOf(name string, src []byte) ([]byte, error) {
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(src, []byte("\ufeff"))))
	r.FieldsPerRecord = -1
	rows, err := r.ReadAll()
	if err != nil {
		return nil, failed(fmt.Errorf("%s: %w", name, err))
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("nobody is in %s", name)
	}
	column := -1
	for _, want := range []string{"user_id", "userid", "user id", "id"} {
		if i := slices.IndexFunc(rows[0], func(head string) bool { return strings.EqualFold(strings.TrimSpace(head), want) }); i >= 0 {
			column, rows = i, rows[1:]
			break
		}
	}
	switch {
	case column < 0 && len(rows[0]) == 1:
		column = 0
	case column < 0:
		return nil, fmt.Errorf("%s:1 has no column user_id or id; there are %s", name, strings.Join(rows[0], ", "))
	}
	var out bytes.Buffer
	for _, row := range rows {
		if column < len(row) {
			out.WriteString(strings.ReplaceAll(row[column], "\n", " ") + "\n")
		}
	}
	return out.Bytes(), nil
}

// compose takes files as a broadcast of the workspace. Where they stand in it already it goes on.
func (b *broadcaster) compose(name string, files map[string][]byte) error {
	file := broadcast.File(name)
	there, err := os.ReadFile(filepath.Join(b.ws.Dir, filepath.FromSlash(file)))
	if err == nil {
		if !broadcast.Same(there, files[file]) || !b.sameList(name, files) {
			return fmt.Errorf("%s is there already and says something else; choose another name with --name, or send that: nudge broadcast %s", file, name)
		}
		if b.rule = b.known(name); b.rule != nil {
			return nil
		}
	}
	ws, findings, err := readWorkspace(b.o.dir, workspace.Options{WithoutSending: true, Files: files})
	switch {
	case err != nil:
		return err
	case ws == nil && b.draft != nil:
		return printFindings(b.s, b.said(findings))
	case ws == nil:
		return printFindings(b.s, findings)
	}
	b.ws, b.files = ws, files
	// One that is over, and wrong, is left out.
	if b.rule = b.known(file); b.rule == nil || time.Now().UnixMilli() >= b.rule.OverAt(ws.Zone) {
		return fmt.Errorf("%s would be over already: its time is longer ago than it may begin late (expire, 24h without it); leave the time out to send it now", file)
	}
	return nil
}

func (b *broadcaster) sameList(name string, files map[string][]byte) bool {
	list := broadcast.ListFile(name)
	text, is := files[list]
	if !is {
		return true
	}
	there, err := os.ReadFile(filepath.Join(b.ws.Dir, filepath.FromSlash(list)))
	return err == nil && bytes.Equal(there, text)
}

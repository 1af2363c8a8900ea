package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nudge/engine/broadcast"
	"nudge/engine/workspace"
	"nudge/events/clickhouse"
	"nudge/events/queue"
	"nudge/internal/suggest"
	"nudge/rules/yamlfile"
	"nudge/segments"
)

// broadcastOptions are the flags of broadcast.
type broadcastOptions struct {
	dir, name, segment, where, list, channel, category, at, holdout, goal, format string
	title, subject, body, text, html, link                                        string
	fields                                                                        []string
	personZone, yes, dry, watch                                                   bool
}

func broadcastCommand(s streams) *cobra.Command {
	var o broadcastOptions
	cmd := &cobra.Command{
		Use:   "broadcast [FILE|NAME]",
		Short: "Sends one message to a segment or a list, once",
		Long: `Sends one message, once, to everybody for whom a condition is true: composed by flags, from a file, or,
at a terminal and with nothing given, by answering questions. It shows to how many people it would go, who of them can be
reached and may be written to, and the message as one of them gets it; asks; sends it through all stages (exit,
consent, quiet hours, caps, holdout), and says what came of it.

What is sent is kept as broadcasts/NAME.yaml in the workspace, a rule with a time (docs/broadcast.md). A running nudge
serve sends it; where none runs, this command does, and only this. It may be stopped at any time: the same command,
or nudge broadcast NAME, goes on where it stopped, and nobody gets it twice. Beside a running serve Ctrl-C only stops
watching: nudge pause NAME stops the sending, nudge resume NAME lets it go on, nudge broadcast --watch NAME watches again.

The message has one channel here: --channel, and its fields by --title, --body, --subject, --text, --html, --link, and any
other by --field NAME=VALUE (nudge channels lists them). They are templates, as in rules. For several channels, variants
or values of its own, write a FILE: a rule with or without at.

To whom: --segment, --where, --list, of which all must hold. A list is a text file with one user id a line, or CSV with
a column user_id or id; it is copied to broadcasts/NAME.txt. --where true is everybody.

Exit codes: 0 sent, or scheduled; 1 findings in the files; 2 wrong usage; 3 it could not be sent, or was stopped.`,
		Example: "  nudge broadcast --segment regulars --channel push --title \"Fresh figs\" --body \"In all shops from today.\"\n" +
			"  nudge broadcast --where 'user.traits.city == \"Boston\"' --channel email --subject Hello --text \"Hi {{ user.traits.first_name | default: 'there' }}\" --at \"2026-12-01 09:00\" --person-zone\n" +
			"  nudge broadcast --list people.csv --channel push --body \"Your parcel is late\" --category transactional --dry-run\n" +
			"  nudge broadcast drafts/figs.yaml\n" +
			"  nudge broadcast --watch figs",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(args); err != nil {
				return err
			}
			b := &broadcaster{s: s.as(o.format), o: o, bar: newProgressBar(s), stopped: cmd.Context().Done()}
			return b.run(cmd.Context(), args)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.dir, "dir", ".", "the workspace")
	f.StringVar(&o.name, "name", "", "its name (default: made of the message)")
	f.StringVar(&o.segment, "segment", "", "to the people of a segment")
	f.StringVar(&o.where, "where", "", "to those for whom a condition is true")
	f.StringVar(&o.list, "list", "", "to the user ids in a file: one a line, or CSV")
	f.StringVar(&o.channel, "channel", "", "on which channel (default: the workspace's only one)")
	f.StringVar(&o.title, "title", "", "of the message")
	f.StringVar(&o.body, "body", "", "of the message")
	f.StringVar(&o.subject, "subject", "", "of the message")
	f.StringVar(&o.html, "html", "", "of the message: a file of templates/, or the HTML itself")
	f.StringVar(&o.text, "text", "", "of the message")
	f.StringVar(&o.link, "link", "", "of the message")
	f.StringArrayVar(&o.fields, "field", nil, "NAME=VALUE, another field of the message; may stand several times")
	f.StringVar(&o.category, "category", "", "promotional, transactional, or one of nudge.yaml's (default: promotional)")
	f.StringVar(&o.holdout, "holdout", "", "the share of people who get nothing and are compared, 5%")
	f.StringVar(&o.goal, "goal", "", "the event that it should lead to")
	f.StringVar(&o.at, "at", "", "when, 2026-12-01 09:00 on the workspace's clock (default: now)")
	f.BoolVar(&o.personZone, "person-zone", false, "--at is on each person's own clock")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	f.BoolVar(&o.dry, "dry-run", false, "say to whom it would go, and send and write nothing")
	f.BoolVar(&o.watch, "watch", false, "only watch the broadcast NAME")
	f.StringVar(&o.format, "format", "text", "text or json")
	return cmd
}

// check finds flags that do not go together.
func (o *broadcastOptions) check(args []string) error {
	switch {
	case o.format != "text" && o.format != "json":
		return fmt.Errorf("--format is text or json, not %q", o.format)
	case o.personZone && o.at == "":
		return errors.New("--person-zone says on whose clock --at is; add --at \"2026-12-01 09:00\"")
	case o.watch && len(args) == 0:
		return errors.New("--watch needs the name of a broadcast: nudge broadcast --watch NAME")
	case o.watch && (o.dry || o.yes):
		return errors.New("--watch only watches; leave out --dry-run and --yes")
	case len(args) > 0 && o.composes():
		return fmt.Errorf("the message is in %s; leave out the flags that compose one", args[0])
	}
	return nil
}

// composes says whether flags say what is sent, and to whom.
func (o *broadcastOptions) composes() bool {
	for _, flag := range []string{o.name, o.segment, o.where, o.list, o.channel, o.title, o.body, o.subject, o.text, o.html, o.link, o.category, o.holdout, o.goal} {
		if flag != "" {
			return true
		}
	}
	return len(o.fields) > 0
}

// broadcaster is the command at work.
type broadcaster struct {
	s   streams
	o   broadcastOptions
	bar *progressBar
	in  *bufio.Reader
	// stopped is closed by Ctrl-C, which a question does not outlive; nil: never.
	stopped <-chan struct{}

	ws    *workspace.Workspace
	rule  *workspace.Rule
	files map[string][]byte // to be written, none of a broadcast that is there
	out   broadcastJSON
}

// broadcastJSON is what would come, or came, of a broadcast.
type broadcastJSON struct {
	Broadcast string              `json:"broadcast"`          // its name
	File      string              `json:"file"`               // its path in the workspace
	New       bool                `json:"new"`                // it was composed by this command, which wrote the file but for dry_run
	DryRun    bool                `json:"dry_run"`            // nothing was written or sent
	By        string              `json:"by,omitempty"`       // who sends it: serve, or this command
	Forecast  *broadcast.Forecast `json:"forecast,omitempty"` // what would come of it, before it was sent
	Progress  *broadcast.Progress `json:"progress,omitempty"` // what came of it; absent of a dry run of a new one
}

// Who sends.
const (
	byServe   = "serve"
	byCommand = "command"
)

func (b *broadcaster) run(ctx context.Context, args []string) error {
	ws, err := loadWorkspace(b.s, b.o.dir, workspace.Options{WithoutSending: true})
	if err != nil {
		return err
	}
	b.ws = ws
	if err := b.find(args); err != nil {
		return err
	}
	b.out.Broadcast, b.out.File, b.out.New, b.out.DryRun = b.rule.Name, b.rule.File, len(b.files) > 0, b.o.dry
	if b.o.watch {
		return b.watch(ctx)
	}
	goOn := true
	err = withStore(ctx, b.ws, func(store *clickhouse.Store) error {
		goOn, err = b.before(ctx, store)
		return err
	})
	if err != nil {
		return err
	}
	if !goOn {
		return b.end()
	}
	if err := b.write(); err != nil {
		return failed(err)
	}
	return b.send(ctx)
}

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
	if len(d.Fields) == 0 {
		return nil, errors.New("say what is sent: --title, --body, --subject, --text, --html, --link or --field NAME=VALUE")
	}
	return d, b.named(d)
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
	ws, err := loadWorkspace(b.s, b.o.dir, workspace.Options{WithoutSending: true, Files: files})
	if err != nil {
		return err
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

// before says what would come of it and asks; false where nothing is to be done.
func (b *broadcaster) before(ctx context.Context, store *clickhouse.Store) (bool, error) {
	if len(b.files) == 0 {
		p, err := broadcast.Read(ctx, store.Conn(), b.ws, b.rule, time.Now())
		if err != nil {
			return false, failed(err)
		}
		b.out.Progress = p
		switch {
		case b.o.dry:
		case p.State == broadcast.Sending || p.State == broadcast.Waiting: // it was agreed to
			b.say("%s goes on: %s", b.rule.Name, sofar(p))
			return true, nil
		case p.State != broadcast.Due:
			return false, nil
		}
	}
	f, err := broadcast.Look(ctx, broadcast.Options{
		Conn: store.Conn(), Database: store.Database(), Workspace: b.ws, Rule: b.rule, At: time.Now().UnixMilli(),
	})
	if err != nil {
		return false, failed(err)
	}
	b.out.Forecast = f
	if b.o.format == "text" {
		printForecast(b.s.out, b.ws, b.rule, f)
	}
	switch {
	case b.o.dry:
		return false, nil
	case f.People == 0 && !b.later():
		return false, failed(errors.New("it would go to nobody; nothing was written or sent"))
	case b.o.yes:
		return true, nil
	case !isTerminalIn(b.s.in):
		return false, errors.New("nobody is there to be asked: --yes sends it, --dry-run only shows it")
	}
	when := "now"
	if b.later() {
		when = b.when()
	}
	answer, err := b.question(fmt.Sprintf("Send it to %s %s? [y/N] ", people(f.Reasons["send"]), when))
	if err != nil {
		return false, err
	}
	if answer = strings.ToLower(answer); answer != "y" && answer != "yes" {
		return false, failed(errors.New("nothing was written or sent"))
	}
	return true, nil
}

// later says that its time has not come.
func (b *broadcaster) later() bool {
	at := b.rule.Schedule.At
	if b.rule.Schedule.Zone == "person" {
		return at.In(time.FixedZone("", 14*60*60)) > time.Now().UnixMilli() // the first clock that shows it
	}
	return at.In(b.zone()) > time.Now().UnixMilli()
}

func (b *broadcaster) zone() *time.Location {
	if loc, err := b.ws.Policy.Location(b.rule.Schedule.Zone); err == nil {
		return loc
	}
	return b.ws.Zone
}

func (b *broadcaster) when() string { return whenOf(b.ws, b.rule) }

// whenOf is when a broadcast is sent, for people.
func whenOf(ws *workspace.Workspace, r *workspace.Rule) string {
	zone, clock := ws.Zone, ws.Zone.String()
	if loc, err := ws.Policy.Location(r.Schedule.Zone); err == nil {
		zone, clock = loc, loc.String()
	}
	if r.Schedule.Zone == "person" {
		clock = "each person's clock"
	}
	return fmt.Sprintf("at %s (%s)", time.UnixMilli(r.Schedule.At.In(zone)).In(zone).Format("2006-01-02 15:04"), clock)
}

// write writes the files: the list first, for the other names it, and a running serve reads it at once.
func (b *broadcaster) write() error {
	const all, enter = 0o644, 0o755
	names := make([]string, 0, len(b.files))
	for name := range b.files {
		names = append(names, name)
	}
	slices.SortFunc(names, func(x, y string) int { return strings.Compare(filepath.Ext(x), filepath.Ext(y)) }) // .txt, .yaml
	for _, name := range names {
		path := filepath.Join(b.ws.Dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), enter); err != nil {
			return fmt.Errorf("write the broadcast: %w", err)
		}
		if err := os.WriteFile(path+".tmp", b.files[name], all); err != nil { // what it is called nobody reads
			return fmt.Errorf("write the broadcast: %w", err)
		}
		if err := os.Rename(path+".tmp", path); err != nil {
			return fmt.Errorf("write the broadcast: %w", err)
		}
	}
	return nil
}

// send sends it, or has the running serve send it.
func (b *broadcaster) send(ctx context.Context) error {
	if b.later() {
		b.say("%s is sent %s by nudge serve, which must run then; its file is %s", b.rule.Name, b.when(), b.rule.File)
		err := withStore(ctx, b.ws, func(store *clickhouse.Store) (err error) {
			b.out.Progress, err = broadcast.Read(ctx, store.Conn(), b.ws, b.rule, time.Now())
			return failed(err)
		})
		return errors.Join(err, b.end())
	}
	if b.ws.Queue.URL != "" { // serve may run on another machine, with files of its own
		b.say("%s is sent by the nudge serve of this queue, once it has %s: deploy it as you deploy rules", b.rule.Name, b.rule.File)
		return b.watch(ctx)
	}
	ws, err := loadWorkspace(b.s, b.o.dir, workspace.Options{})
	if err != nil {
		return err
	}
	r, err := ruleOf(ws, b.rule.Name)
	if err != nil {
		return err
	}
	messages := b.s.out
	if b.o.format == "json" {
		messages = b.s.err // of a channel that prints them
	}
	host, _ := os.Hostname() // only a name for others to read
	p, err := broadcast.Run(ctx, broadcast.RunOptions{
		Workspace: ws, Rule: r, Now: time.Now, Stdout: messages, Owner: fmt.Sprintf("%s/%d", host, os.Getpid()), Seen: b.progress(),
		Logger: slog.New(slog.NewTextHandler(b.s.err, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	b.bar.end()
	switch {
	case errors.Is(err, queue.ErrInUse):
		return b.watch(ctx)
	case err != nil && p == nil:
		return failed(err)
	}
	b.out.By, b.out.Progress = byCommand, p
	if err != nil && (p.State == broadcast.Sending || p.State == broadcast.Due) {
		if b.o.format == "json" {
			return errors.Join(failed(writeJSON(b.s.out, b.out)), &exitError{Code: exitFailed})
		}
		return failed(fmt.Errorf("stopped: %s. nudge broadcast %s goes on; nobody gets it twice", sofar(p), b.rule.Name))
	}
	return b.end()
}

// patience is how long a running serve may take to read a new file before that is worth a word.
const patience = 15 * time.Second

// watch watches what a running serve makes of it.
func (b *broadcaster) watch(ctx context.Context) error {
	b.out.By = byServe
	began, told := time.Now(), false
	return withStore(context.WithoutCancel(ctx), b.ws, func(store *clickhouse.Store) error {
		show := b.progress()
		p, err := broadcast.Follow(ctx, store.Conn(), b.ws, b.rule, time.Now, func(p *broadcast.Progress) {
			if p.State == broadcast.Due && time.Since(began) > patience && !told {
				told = true
				b.say("nobody has begun to send it: look at the log of nudge serve, which must read this workspace; without one, nudge broadcast %s sends it", b.rule.Name)
			}
			show(p)
		})
		b.bar.end()
		switch {
		case ctx.Err() != nil && p == nil:
			return failed(err)
		case ctx.Err() != nil:
			b.out.Progress = p
			b.say("it goes on without you: %s. nudge pause %s stops it, nudge broadcast --watch %s watches it again", sofar(p), b.rule.Name, b.rule.Name)
			if b.o.format == "json" {
				return failed(writeJSON(b.s.out, b.out))
			}
			return nil
		case err != nil:
			return failed(err)
		}
		b.out.Progress = p
		return b.end()
	})
}

// say tells how it goes, beside the results.
func (b *broadcaster) say(text string, args ...any) {
	b.bar.end()
	fmt.Fprintf(b.s.err, text+"\n", args...)
}

// progress shows how far it has come, with what is left at the pace so far.
func (b *broadcaster) progress() func(*broadcast.Progress) {
	began, first := time.Now(), -1
	return func(p *broadcast.Progress) {
		all := p.Decided
		if f := b.out.Forecast; f != nil && !p.Looked {
			all = max(all, f.People-f.Got)
		}
		if all == 0 {
			return
		}
		finished := p.Finished()
		if first < 0 {
			first = finished
		}
		where := sofar(p)
		if pace := float64(finished-first) / time.Since(began).Seconds(); pace > 0 && p.OnWay > 0 {
			where += fmt.Sprintf(", %s left", time.Duration(float64(all-finished-sum(p.Waits))/pace*float64(time.Second)).Round(time.Second))
		}
		b.bar.show("sending", float64(finished)/float64(all), where)
	}
}

// end prints what came of it.
func (b *broadcaster) end() error {
	if b.o.format == "json" {
		return failed(writeJSON(b.s.out, b.out))
	}
	if b.o.dry {
		fmt.Fprintln(b.s.out, "nothing was written or sent (--dry-run)")
		return nil
	}
	if p := b.out.Progress; p != nil {
		printProgress(b.s.out, b.ws, b.rule, p)
		if p.State == broadcast.Missed {
			return &exitError{Code: exitFailed}
		}
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

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
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
	"nudge/internal/counted"
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
	draft *broadcast.Draft  // that was composed of flags or answers, else nil
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
	answer, err := b.question(fmt.Sprintf("Send it to %s %s? [y/N] ", counted.Of(f.Reasons["send"], "person"), when))
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

package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nudge/channels"
	"nudge/engine/explain"
	"nudge/engine/trial"
	"nudge/engine/workspace"
	"nudge/events"
	"nudge/events/clickhouse"
	"nudge/rules/yamlfile"
)

// sendOptions are the flags of send.
type sendOptions struct {
	dir, to, platform, app, environment, as, value, variant, locale, channel, format string
	with                                                                             []string
	plain, dry                                                                       bool
}

func sendCommand(s streams) *cobra.Command {
	var o sendOptions
	cmd := &cobra.Command{
		Use:   "send RULE [ADDRESS]",
		Short: "Sends a test message of a rule to one address",
		Long: `Sends the message of a rule to one address, through the adapter that nudge.yaml names, and prints it field by field
and what the provider answered. It is a test: the title begins with "[Test] " (not with --plain), links are not
tracked, and it is counted nowhere: not in the ledger, by no cap, in no report. Whether the rule's condition is true does
not matter, nor do consent, quiet hours and rollout.

ADDRESS, or --to, is an e-mail address, a phone number that begins with +, or token:…, user:…, email:…,
phone:…. A channel that needs none, a webhook say, can do without one.

--as PERSON takes that person's profile and the values of the rule's with, as they are in the store now. Without
it they are samples, like what events.yaml declares or ‹name›, and the output says which. --with sets one by hand;
what reads as JSON (3, true, ["a", "b"]) is that, everything else text. --with user.traits.NAME=VALUE sets a trait.

Exit codes: 0 the provider took it, 2 wrong usage, 3 it was refused or could not be reached.`,
		Example: "  nudge send cart-abandoned ann@example.com --as ann\n" +
			"  nudge send cart-abandoned --to token:4f3c… --platform ios --as ann\n" +
			"  nudge send browsed-not-added ann@example.com --as ann --value 17\n" +
			"  nudge send cart-abandoned ann@example.com --with article=17 --with articles=2 --dry-run",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.format != "text" && o.format != "json" {
				return fmt.Errorf("--format is text or json, not %q", o.format)
			}
			if len(args) > 1 {
				if o.to != "" {
					return fmt.Errorf("two addresses are given, %s and --to %s; leave one out", args[1], o.to)
				}
				o.to = args[1]
			}
			to, err := o.address()
			if err != nil {
				return err
			}
			with, err := valuesOf(o.with)
			if err != nil {
				return err
			}
			if o.locale != "" {
				tag, ok := events.Locale(o.locale)
				if !ok {
					return fmt.Errorf("--locale is a language as in de, pt-BR or zh-Hant, not %q", o.locale)
				}
				o.locale = tag
			}
			ws, err := loadWorkspace(s.as(o.format), o.dir, workspace.Options{WithoutSending: o.dry})
			if err != nil {
				return err
			}
			r, err := ruleOf(ws, args[0])
			if err != nil {
				return err
			}
			t := trial.Options{
				Workspace: ws, Rule: r, Channel: o.channel, Variant: o.variant, Value: o.value, To: to, As: o.as, With: with, Locale: o.locale, Plain: o.plain,
				At: time.Now().UnixMilli(), ID: rand.Text(),
			}
			if o.as != "" {
				if t.Known, err = known(cmd.Context(), ws, t); err != nil {
					return err
				}
			}
			return sendTrial(cmd.Context(), s, t, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.dir, "dir", ".", "the workspace")
	f.StringVar(&o.to, "to", "", "the address, instead of the argument")
	f.StringVar(&o.platform, "platform", "", "of a token: ios, android or web")
	f.StringVar(&o.app, "app", "", "of a token: the bundle id or package")
	f.StringVar(&o.environment, "environment", "", "of a token: production or sandbox")
	f.StringVar(&o.as, "as", "", "the person whose data it is, by the user id or an anonymous id")
	f.StringVar(&o.value, "value", "", "of a rule with for_each: the value")
	f.StringVar(&o.variant, "variant", "", "the variant (default: the first)")
	f.StringVar(&o.locale, "locale", "", "the language of the text, as in pt-BR (default: the person's; without --as the rule's own)")
	f.StringVar(&o.channel, "channel", "", "the channel (default: the first of the rule that can use the address)")
	f.StringArrayVar(&o.with, "with", nil, "NAME=VALUE, a value of the message; may stand several times")
	f.BoolVar(&o.plain, "plain", false, `leave out the mark "[Test] "`)
	f.BoolVar(&o.dry, "dry-run", false, "print the message and send nothing")
	f.StringVar(&o.format, "format", "text", "text or json")
	return cmd
}

// address reads the address.
func (o *sendOptions) address() (channels.Address, error) {
	a := channels.Address{Platform: o.platform, App: o.app, Environment: o.environment}
	kind, rest, named := strings.Cut(o.to, ":")
	switch {
	case o.to == "":
	case named && rest == "":
		return a, fmt.Errorf("%s has no address behind the colon", o.to)
	case named && kind == "token":
		a.Token = rest
	case named && kind == "user":
		a.UserID = rest
	case named && kind == "email":
		a.Email = rest
	case named && kind == "phone":
		a.Phone = rest
	case strings.HasPrefix(o.to, "+"):
		a.Phone = o.to
	case strings.Contains(o.to, "@"):
		a.Email = o.to
	default:
		return a, fmt.Errorf("%q is no address; write ann@example.com, +49…, token:…, user:…, email:… or phone:…", o.to)
	}
	switch {
	case a.Token == "" && (o.platform != "" || o.app != "" || o.environment != ""):
		return a, errors.New("--platform, --app and --environment are of a token: --to token:…")
	case o.platform != "" && !slices.Contains([]string{"ios", "android", "web"}, o.platform):
		return a, fmt.Errorf("--platform is ios, android or web, not %q", o.platform)
	case o.environment != "" && o.environment != "production" && o.environment != "sandbox":
		return a, fmt.Errorf("--environment is production or sandbox, not %q", o.environment)
	}
	return a, nil
}

// valuesOf reads NAME=VALUE.
func valuesOf(list []string) (map[string]any, error) {
	out := map[string]any{}
	for _, text := range list {
		name, value, ok := strings.Cut(text, "=")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, fmt.Errorf("--with is NAME=VALUE, not %q", text)
		}
		if _, twice := out[name]; twice {
			return nil, fmt.Errorf("--with %s stands twice", name)
		}
		var v any = value
		if json.Valid([]byte(value)) {
			v = json.RawMessage(value)
		}
		out[name] = v
	}
	return out, nil
}

// known reads what is known of the person.
func known(ctx context.Context, ws *workspace.Workspace, o trial.Options) (k *explain.Known, err error) {
	err = withStore(ctx, ws, func(store *clickhouse.Store) error {
		var err error
		k, err = explain.Read(ctx, explain.Options{
			Conn: store.Conn(), Database: store.Database(), Workspace: ws, Rules: []*workspace.Rule{o.Rule}, Person: o.As, Value: o.Value, At: o.At,
		})
		if errors.Is(err, explain.ErrNobody) {
			return err //nolint:wrapcheck // says whom
		}
		return failed(err)
	})
	return k, err
}

// sendJSON is what was sent, for machines.
type sendJSON struct {
	Rule     string         `json:"rule"`
	Channel  string         `json:"channel"` // as the rule calls it
	Adapter  string         `json:"adapter"`
	To       string         `json:"to"`                                                                         // the address; of a token only its ends
	As       string         `json:"as,omitempty"`                                                               // whose data it is, with --as
	Variant  string         `json:"variant,omitempty"`                                                          // of a rule with variants
	Locale   string         `json:"locale,omitempty"`                                                           // of the text, of a message in several languages
	Value    string         `json:"value,omitempty"`                                                            // of a rule with for_each
	Truth    string         `json:"truth,omitempty" jsonschema:"enum=true,enum=false,enum=unknown,enum=failed"` // of the rule's condition about the person, with --as
	Samples  []string       `json:"samples"`                                                                    // values that are made up
	Fields   map[string]any `json:"fields"`                                                                     // of the message, by their names
	TTL      string         `json:"ttl,omitempty"`                                                              // how long the message is worth something, as rule files write it: 1h
	Sent     bool           `json:"sent"`                                                                       // false of --dry-run
	Accepted bool           `json:"accepted"`                                                                   // the provider took it
	ID       string         `json:"id,omitempty"`                                                               // the provider's, of a message that it took
	Class    channels.Class `json:"class,omitempty"`                                                            // of a message that it refused: what kind of failure it is
	Code     string         `json:"code,omitempty"`                                                             // the provider's reason
	Error    string         `json:"error,omitempty"`                                                            // what happened, for people
	Advice   string         `json:"advice,omitempty"`                                                           // what to do about it, for people
}

func sendTrial(ctx context.Context, s streams, t trial.Options, o sendOptions) error {
	m, err := trial.Make(t)
	var usage *trial.UsageError
	switch {
	case errors.As(err, &usage):
		return err //nolint:wrapcheck // says what to write instead
	case err != nil:
		return failed(err)
	}
	out := sendJSON{
		Rule: t.Rule.Name, Channel: m.Channel, Adapter: m.Adapter.Name, To: shown(m.Message.Address), As: t.As, Variant: m.Variant, Locale: m.Locale, Value: m.Value,
		Truth: m.Truth, Samples: append([]string{}, m.Samples...), Fields: m.Message.Fields,
	}
	if m.Message.TTL > 0 {
		out.TTL = yamlfile.FormatDuration(m.Message.TTL)
	}
	if o.format == "text" {
		printTrial(s, out, m.Names)
	}
	if !o.dry {
		messages := s.out
		if o.format == "json" {
			messages = s.err // of a channel that prints them
		}
		answer, err := m.Send(ctx, channels.Options{Stdout: messages, Now: time.Now, Dir: t.Workspace.Dir})
		if err != nil {
			return failed(err)
		}
		out.Sent, out.Accepted, out.ID = true, answer.Failed == nil, answer.ID
		if f := answer.Failed; f != nil {
			out.Class, out.Code, out.Error, out.Advice = f.Class, f.Code, f.Err.Error(), trial.Advice(f.Class)
		}
	}
	if o.format == "json" {
		if err := writeJSON(s.out, out); err != nil {
			return failed(err)
		}
	} else {
		printAnswer(s, out)
	}
	if out.Sent && !out.Accepted {
		return &exitError{Code: exitFailed}
	}
	return nil
}

// shown is an address as it is printed: of a token only its ends.
func shown(a channels.Address) string {
	switch {
	case a.Token != "":
		text := "token " + channels.ShortToken(a.Token)
		if a.Platform != "" {
			text += " (" + a.Platform + ")"
		}
		return text
	case a.Email != "":
		return a.Email
	case a.Phone != "":
		return a.Phone
	case a.UserID != "":
		return "user " + a.UserID
	default:
		return "nobody in particular"
	}
}

// printTrial prints the message.
func printTrial(s streams, out sendJSON, names []string) {
	fmt.Fprintf(s.out, "%s to %s through %s (%s)", out.Rule, out.To, out.Channel, out.Adapter)
	for _, part := range [][2]string{{"variant", out.Variant}, {"in", out.Locale}, {"value", out.Value}} {
		if part[1] != "" {
			fmt.Fprintf(s.out, ", %s %s", part[0], part[1])
		}
	}
	fmt.Fprintln(s.out)
	switch {
	case out.As == "" && len(out.Samples) > 0:
		fmt.Fprintf(s.out, "with sample values for %s; --as PERSON takes somebody's own\n", strings.Join(out.Samples, ", "))
	case out.Truth == "":
	case out.Truth != "true":
		fmt.Fprintf(s.out, "with the data of %s, of whom the rule's condition is %s now: they would not get it\n", out.As, out.Truth)
	default:
		fmt.Fprintf(s.out, "with the data of %s\n", out.As)
	}
	t := table(s.out)
	for _, name := range names {
		if value, ok := out.Fields[name]; ok {
			fmt.Fprintf(t, "  %s\t%s\n", name, fieldText(value))
		}
	}
	if _, has := out.Fields["ttl"]; !has && out.TTL != "" {
		fmt.Fprintf(t, "  ttl\t%s\n", out.TTL)
	}
	_ = t.Flush() // what cannot be printed here cannot be said here either
}

// fieldText is a field on one line.
func fieldText(value any) string {
	if text, ok := value.(string); ok && !strings.ContainsAny(text, "\n\t") {
		return text
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(raw)
}

// printAnswer prints what became of it.
func printAnswer(s streams, out sendJSON) {
	switch {
	case !out.Sent:
		fmt.Fprintln(s.out, "nothing was sent (--dry-run)")
	case out.Accepted && out.ID != "":
		fmt.Fprintf(s.out, "accepted, id %s\n", out.ID)
	case out.Accepted:
		fmt.Fprintln(s.out, "accepted")
	default:
		code := ""
		if out.Code != "" {
			code = " (" + out.Code + ")"
		}
		fmt.Fprintf(s.out, "refused: %s%s: %s\n%s\n", out.Class, code, out.Error, out.Advice)
	}
}

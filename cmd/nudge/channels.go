package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"nudge/channels"
	"nudge/channels/all"
	"nudge/channels/webpush"
)

func channelsCommand(s streams) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "channels [ADAPTER]",
		Short: "Lists the adapters that reach people, or one with its fields",
		Long: `Lists every adapter that nudge.yaml may name under "channels". With the name of one: the fields of
its configuration and of its messages, what the provider's answers mean, and whether it was tried
against the real provider. docs/channels.md says the same.`,
		Example: "  nudge channels\n  nudge channels apns\n  nudge channels webhook --format json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if !slices.Contains([]string{"table", "json"}, format) {
				return fmt.Errorf("--format is table or json, not %q", format)
			}
			set, err := all.Set()
			if err != nil {
				return failed(err)
			}
			if len(args) == 0 {
				return failed(listAdapters(s.out, set, format))
			}
			spec, ok := set.Get(args[0])
			if !ok {
				return unknownAdapter(set, args[0])
			}
			if format == "json" {
				return failed(writeJSON(s.out, describe(spec)))
			}
			return failed(printAdapter(s.out, spec))
		},
	}
	cmd.Flags().StringVar(&format, "format", "table", "table or json")
	cmd.AddCommand(channelsTestCommand(s), vapidCommand(s))
	return cmd
}

func vapidCommand(s streams) *cobra.Command {
	return &cobra.Command{
		Use:   "vapid",
		Short: "Makes the key pair by which browsers know who pushes to them",
		Long: `Makes a VAPID key pair for the adapter webpush and says where it goes. It is written nowhere: keep the
private key as you keep passwords. Every browser subscribes with the public one, so a change of the
pair ends all subscriptions.`,
		Example: "  nudge channels vapid",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			keys, err := webpush.NewKeys()
			if err != nil {
				return failed(err)
			}
			_, err = fmt.Fprintf(s.out, vapidText, keys.Private, keys.Public)
			return failed(err)
		},
	}
}

// vapidText says what to do with a new key pair.
const vapidText = `Private key, for the environment of nudge:

  NUDGE_VAPID_KEY=%s

nudge.yaml:

  channels:
    push:
      adapter: webpush
      config: {private_key: {env: NUDGE_VAPID_KEY}, subject: "mailto:push@shop.example"}

Public key, which nudge gives to browsers by itself (/web/key):

  %s
`

func unknownAdapter(set channels.Set, name string) error {
	if near := set.Suggest(name); near != "" {
		return fmt.Errorf("there is no adapter %q; did you mean %s?", name, near)
	}
	var names []string
	for _, spec := range set.List() {
		names = append(names, spec.Name)
	}
	return fmt.Errorf("there is no adapter %q; there are %s", name, strings.Join(names, ", "))
}

// adapterJSON is an adapter for machines.
type adapterJSON struct {
	Name        string          `json:"name"` // as nudge.yaml writes it
	Kind        string          `json:"kind"` // of messages: push, email, webhook, …
	About       string          `json:"about"`
	Needs       string          `json:"needs,omitempty"`             // the address that it reaches people by: token, email, phone, user_id; none: it needs none
	Platforms   []string        `json:"platforms,omitempty"`         // of tokens: ios, android, web
	MaxPayload  int             `json:"max_payload_bytes,omitempty"` // the largest message that the provider takes
	Batch       int             `json:"batch"`                       // how many messages it is handed at once, at most
	Concurrency int             `json:"concurrency"`                 // how many batches are on their way at once
	Repeat      channels.Repeat `json:"repeat"`                      // what becomes of a message that is handed over twice
	Receipts    bool            `json:"receipts"`                    // the provider says of some messages whether they arrived
	AnyMessage  bool            `json:"any_message"`                 // it takes the fields of any kind of message
	Tried       string          `json:"tried"`                       // whether it was tried against the real provider, for people
	Config      []fieldJSON     `json:"config"`                      // fields of its config in nudge.yaml
	Message     []fieldJSON     `json:"message"`                     // fields of its messages in rules
	Answers     []answerJSON    `json:"answers"`                     // what the provider's answers mean
}

// fieldJSON is a field of an adapter's configuration or messages.
type fieldJSON struct {
	Name     string `json:"name"`
	Type     string `json:"type"`               // string, bool, int, duration, list, map, …
	Required bool   `json:"required,omitempty"` // there is no message or channel without it
	Secret   bool   `json:"secret,omitempty"`   // write it as {env: NAME} or {file: PATH}
	Template bool   `json:"template,omitempty"` // Liquid is rendered in it
	Default  string `json:"default,omitempty"`  // what counts without it, as nudge.yaml writes it
	Example  string `json:"example,omitempty"`  // as nudge.yaml writes it
	About    string `json:"about"`
}

// answerJSON is an answer of a provider.
type answerJSON struct {
	Status int    `json:"status,omitempty"`                                                                                                          // the HTTP status; without: any
	Code   string `json:"code,omitempty"`                                                                                                            // the provider's reason; without: any
	Class  string `json:"class" jsonschema:"enum=accepted,enum=temporary,enum=rate_limit,enum=address,enum=message,enum=credentials,enum=cancelled"` // what follows from it
	About  string `json:"about,omitempty"`
	// The person wants no more: their consent for the channel is recorded as withdrawn.
	OptedOut bool `json:"opted_out,omitempty"`
}

func describe(spec channels.Spec) adapterJSON {
	fields := func(in []channels.Field) []fieldJSON {
		out := []fieldJSON{}
		for _, f := range in {
			out = append(out, fieldJSON{f.Name, f.Type, f.Required, f.Secret, f.Template, f.Default, f.Example, f.About})
		}
		return out
	}
	out := adapterJSON{
		Name: spec.Name, Kind: spec.Kind, About: spec.About, Needs: spec.Needs, Platforms: spec.Platforms,
		Batch: spec.Batch, Concurrency: spec.Concurrency, Repeat: spec.Repeat, Receipts: spec.Receipts, AnyMessage: spec.Any,
		Tried: spec.Tried, Config: fields(spec.Config), Message: fields(spec.Message), Answers: []answerJSON{},
	}
	if spec.Unit == "" {
		out.MaxPayload = spec.MaxPayload
	}
	for _, a := range spec.Answers {
		out.Answers = append(out.Answers, answerJSON{a.Status, a.Code, classOf(a), a.About, a.OptedOut})
	}
	return out
}

// classOf words what an answer means.
func classOf(a channels.Answer) string {
	if a.Class == "" {
		return "accepted"
	}
	return string(a.Class)
}

func listAdapters(out io.Writer, set channels.Set, format string) error {
	if format == "json" {
		list := []adapterJSON{}
		for _, spec := range set.List() {
			list = append(list, describe(spec))
		}
		return writeJSON(out, list)
	}
	t := table(out)
	fmt.Fprintln(t, "ADAPTER\tKIND\tREACHES BY\tABOUT")
	for _, spec := range set.List() {
		kind := spec.Kind
		if spec.Any {
			kind += ", any"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", spec.Name, kind, spec.Reach(), sentence(spec.About))
	}
	return t.Flush() //nolint:wrapcheck // the writer's own error
}

func printAdapter(out io.Writer, spec channels.Spec) error {
	fmt.Fprintf(out, "%s (%s)\n%s\n%s\n", spec.Name, spec.Kind, spec.About, spec.Tried)
	t := table(out)
	section := func(title string, fields []channels.Field) {
		if len(fields) == 0 {
			return
		}
		fmt.Fprintf(t, "\n%s\tTYPE\tDEFAULT\tABOUT\n", title)
		for _, f := range fields {
			kind, def := f.Type, f.Default
			switch {
			case f.Secret:
				kind += ", secret"
			case f.Template:
				kind += ", template"
			}
			if f.Required {
				def = "required"
			}
			about := f.About
			if f.Example != "" {
				about += "; for example " + f.Example
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", f.Name, kind, def, about)
		}
	}
	section("CONFIGURATION", spec.Config)
	section("MESSAGE", spec.Message)
	if len(spec.Answers) > 0 {
		fmt.Fprint(t, "\nANSWER\tREASON\tCLASS\tABOUT\n")
		for _, a := range spec.Answers {
			status := "any"
			if a.Status > 0 {
				status = strconv.Itoa(a.Status)
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", status, a.Code, classOf(a), a.About)
		}
	}
	return t.Flush() //nolint:wrapcheck // the writer's own error
}

// table lines up columns that are separated by tabs.
func table(out io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(out, 0, 0, 2, ' ', 0) }

// sentence is the first sentence of a text.
func sentence(text string) string {
	first, _, more := strings.Cut(text, ". ")
	if more {
		first += "."
	}
	return first
}

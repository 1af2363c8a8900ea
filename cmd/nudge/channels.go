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
	return cmd
}

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
	Name        string       `json:"name"`
	Kind        string       `json:"kind"`
	About       string       `json:"about"`
	Needs       string       `json:"needs,omitempty"`
	Platforms   []string     `json:"platforms,omitempty"`
	MaxPayload  int          `json:"max_payload_bytes,omitempty"`
	Batch       int          `json:"batch"`
	Concurrency int          `json:"concurrency"`
	Repeat      string       `json:"repeat"`
	Receipts    bool         `json:"receipts"`
	AnyMessage  bool         `json:"any_message"`
	Tried       string       `json:"tried"`
	Config      []fieldJSON  `json:"config"`
	Message     []fieldJSON  `json:"message"`
	Answers     []answerJSON `json:"answers"`
}

type fieldJSON struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Required bool   `json:"required,omitempty"`
	Secret   bool   `json:"secret,omitempty"`
	Template bool   `json:"template,omitempty"`
	Default  string `json:"default,omitempty"`
	Example  string `json:"example,omitempty"`
	About    string `json:"about"`
}

type answerJSON struct {
	Status int    `json:"status,omitempty"` // HTTP status; without: any
	Code   string `json:"code,omitempty"`
	Class  string `json:"class"`
	About  string `json:"about,omitempty"`
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
		Name: spec.Name, Kind: spec.Kind, About: spec.About, Needs: spec.Needs, Platforms: spec.Platforms, MaxPayload: spec.MaxPayload,
		Batch: spec.Batch, Concurrency: spec.Concurrency, Repeat: string(spec.Repeat), Receipts: spec.Receipts, AnyMessage: spec.Any,
		Tried: spec.Tried, Config: fields(spec.Config), Message: fields(spec.Message), Answers: []answerJSON{},
	}
	for _, a := range spec.Answers {
		out.Answers = append(out.Answers, answerJSON{a.Status, a.Code, classOf(a), a.About})
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
		kind, by := spec.Kind, spec.Needs
		if spec.Any {
			kind += ", any"
		}
		if by == "" {
			by = "–"
		}
		if len(spec.Platforms) > 0 {
			by += " (" + strings.Join(spec.Platforms, ", ") + ")"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", spec.Name, kind, by, sentence(spec.About))
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

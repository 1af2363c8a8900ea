package channels

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// WriteDocs writes the reference of a set's adapters as Markdown.
func WriteDocs(w io.Writer, set Set) error {
	var out bytes.Buffer
	out.WriteString(docsHead)
	out.WriteString("| adapter | kind | reaches by | at once | payload limit | a repeat after a crash |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, spec := range set.List() {
		kind := "`" + spec.Kind + "`"
		if spec.Any {
			kind += ", or any other"
		}
		fmt.Fprintf(&out, "| [`%s`](#%s) | %s | %s | %s | %s | %s |\n",
			spec.Name, spec.Name, kind, spec.Reach(), atOnce(spec), limit(spec), repeat(spec.Repeat))
	}
	for _, spec := range set.List() {
		writeAdapter(&out, spec)
	}
	if _, err := w.Write(out.Bytes()); err != nil {
		return fmt.Errorf("writing the channel reference: %w", err)
	}
	return nil
}

// docsHead is what stands before the adapters.
const docsHead = `# Channels

<!-- Written from the adapters' specs by: go test ./channels/all -update -->

A channel is how a message reaches a person. A rule names a kind (` + "`push`, `webhook`" + `, …); nudge.yaml says
which adapters serve it, and the device decides between those of one kind (iOS by ` + "`apns`" + `, Android by ` + "`fcm`" + `,
browsers by ` + "`webpush`" + ` or, where the Firebase SDK registered them, by ` + "`fcm`" + `; devices that Amazon SNS has as endpoints by ` + "`sns_push`" + `). One ` + "`push`" + ` in a rule serves them all: an adapter passes over fields that its
platform does not have. ` + "`airship` and `parse`" + ` push through services that keep devices of their own: they can push to a
person instead of each device that nudge knows, in a channel of their own.

Secrets never stand in a file of the workspace: a secret field is ` + "`{env: NAME}` or `{file: PATH}`" + `. They
are not logged, and neither they nor whole device tokens and addresses are ever part of an error. What
to set up for e-mail, in nudge.yaml and in DNS: [e-mail](email.md).

What an answer of a provider means:

| class | what it means | what happens |
| --- | --- | --- |
| ` + "`temporary`" + ` | the network, a timeout, an error at the provider | tried again with backoff; Retry-After is honoured |
| ` + "`rate_limit`" + ` | too fast | tried again after Retry-After |
| ` + "`address`" + ` | the address is dead | never tried again, and a device's token is retired; a number stays in its trait, and the next message tries it |
| ` + "`message`" + ` | the provider refuses this message | never tried again |
| ` + "`credentials`" + ` | our set-up is wrong | tried again slowly; the breaker opens |
| ` + "`cancelled`" + ` | given up by us; the provider may have accepted it | tried again: the id is the same |

`

// writeAdapter writes one adapter's section.
func writeAdapter(out *bytes.Buffer, spec Spec) {
	fmt.Fprintf(out, "\n## %s\n\n%s\n\n%s\n", spec.Name, spec.About, spec.Tried)
	writeFields(out, "Configuration", spec.Config)
	if spec.Any {
		out.WriteString("\nMessage fields: any. These are usual:\n")
	}
	writeFields(out, "Message", spec.Message)
	if len(spec.Answers) == 0 {
		return
	}
	out.WriteString("\n### Answers\n\n| status | reason | class | |\n| --- | --- | --- | --- |\n")
	for _, a := range spec.Answers {
		status, class := strconv.Itoa(a.Status), "accepted"
		if a.Status == 0 {
			status = "any"
		}
		if a.Class != "" {
			class = "`" + string(a.Class) + "`"
		}
		code := ""
		if a.Code != "" {
			code = "`" + a.Code + "`"
		}
		about := a.About
		if a.OptedOut {
			about += "; their consent for the channel is recorded as withdrawn"
		}
		fmt.Fprintf(out, "| %s | %s | %s | %s |\n", status, code, class, cell(about))
	}
}

// writeFields writes a table of fields.
func writeFields(out *bytes.Buffer, title string, fields []Field) {
	if len(fields) == 0 {
		return
	}
	fmt.Fprintf(out, "\n### %s\n\n| field | type | default | example | |\n| --- | --- | --- | --- | --- |\n", title)
	for _, f := range fields {
		kind := f.Type
		switch {
		case f.Secret:
			kind += ", secret"
		case f.Template:
			kind += ", template"
		}
		def := code(f.Default)
		if f.Required {
			def = "required"
		}
		fmt.Fprintf(out, "| `%s` | %s | %s | %s | %s |\n", f.Name, kind, def, code(f.Example), cell(f.About))
	}
}

// Reach says, for people, which part of an address an adapter needs.
func (spec Spec) Reach() string {
	by := cmp.Or(spec.Needs, "–")
	if spec.Needs == "token" && len(spec.Platforms) > 0 {
		by += " (" + strings.Join(spec.Platforms, ", ") + ")"
	}
	if spec.Fit != nil {
		by += ", or by config"
	}
	return by
}

// atOnce says how many messages an adapter takes.
func atOnce(spec Spec) string {
	return fmt.Sprintf("%d × %d", spec.Concurrency, spec.Batch)
}

// limit words a payload limit.
func limit(spec Spec) string {
	if spec.MaxPayload == 0 {
		return "–"
	}
	limit := strconv.Itoa(spec.MaxPayload) + " " + cmp.Or(spec.Unit, "bytes")
	if spec.LimitField != "" {
		limit += ", or `" + spec.LimitField + "`"
	}
	return limit
}

// repeat words what a repeat does.
func repeat(r Repeat) string {
	if r == RepeatHarmless {
		return "is collapsed by its id"
	}
	return "arrives twice"
}

// code sets a value as code, if there is one.
func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + cell(text) + "`"
}

// cell keeps a text from ending its cell.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

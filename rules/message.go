package rules

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"nudge/rules/template"
	"nudge/rules/yamlfile"
)

// messages reads `message` and `variants`.
func (p *ruleParser) messages(f *yamlfile.Fields, message, variants *yamlfile.Node) {
	said := p.message(message)
	p.rule.Message = merge(nil, said, p.o.Locale)
	p.translated(nil, said, p.rule.Message)
	switch {
	case variants != nil:
		p.variants(variants, p.rule.Message)
	case message != nil:
		if message.Kind == yamlfile.Map && len(message.Pairs) == 0 {
			p.r.Report(message.Key, "empty", "Name a channel: `push: {title: …, body: …}`.", "the message has no channel")
		}
		for _, m := range p.rule.Message {
			p.complete(p.keys[m.Channel], []ChannelMessage{m})
		}
	case !f.Has("message") && !f.Has("variants") && f.Node() != nil:
		p.r.Report(p.place(f), "missing-key", "Say what to send: `message: {push: {title: …, body: …}}`.", `"message" is missing`)
	}
}

// message reads what is sent on each channel.
func (p *ruleParser) message(n *yamlfile.Node) []ChannelMessage {
	var out []ChannelMessage
	for _, pair := range p.r.Entries(n) {
		i := slices.IndexFunc(p.o.Channels, func(c ChannelSpec) bool { return c.Name == pair.Key.Text })
		if i < 0 {
			var known []string
			for _, c := range p.o.Channels {
				known = append(known, c.Name)
			}
			x := instead(pair.Key, "message/unknown-channel", fmt.Sprintf("there is no channel %q", pair.Key.Text), "nudge.yaml has", known)
			if len(known) == 0 {
				x.Detail = "nudge.yaml has no channels: add it under `channels`."
			}
			p.r.Add(x)
			continue
		}
		if pair.Value.Kind != yamlfile.Map && pair.Value.Kind != yamlfile.Null {
			p.r.Entries(pair.Value) // says that it must be one
			continue
		}
		p.keys[pair.Key.Text] = pair.Key
		out = append(out, p.channel(&p.o.Channels[i], pair))
	}
	return out
}

// channel reads the fields for one channel.
func (p *ruleParser) channel(spec *ChannelSpec, pair yamlfile.Pair) ChannelMessage {
	m := ChannelMessage{Channel: spec.Name}
	if pair.Value.Kind == yamlfile.Null {
		return m // complete says which fields are missing
	}
	p.fields(spec, &m, p.r.Entries(pair.Value), true)
	return m
}

// fields reads the fields of a message, and with locales also what it says in other languages.
func (p *ruleParser) fields(spec *ChannelSpec, m *ChannelMessage, pairs []yamlfile.Pair, locales bool) {
	var known []string
	for _, f := range spec.Fields {
		known = append(known, f.Name)
	}
	if locales {
		known = append(known, "locales")
	}
	for _, fp := range pairs {
		i := slices.IndexFunc(spec.Fields, func(f FieldSpec) bool { return f.Name == fp.Key.Text })
		field := FieldSpec{Name: fp.Key.Text, Template: true}
		switch {
		case fp.Key.Text == "locales" && locales:
			m.Locales = p.locales(spec, fp.Value)
			continue
		case i >= 0:
			field = spec.Fields[i]
		case !spec.Any:
			p.r.Add(instead(fp.Key, "message/unknown-field", fmt.Sprintf("%s has no field %q", spec.Name, fp.Key.Text), spec.Name+" has", known))
			continue
		case field.Name == "html" || isFile(fp.Value):
			field.Type = "string"
		}
		if fp.Value.Kind == yamlfile.Null {
			p.r.Report(fp.Key, "empty", "Give it a value or leave the key out.", "%q has no value", fp.Key.Text)
			continue
		}
		if field.Type == "duration" {
			d := p.r.Duration(fp.Value, 0)
			if field.Name == "ttl" {
				m.TTL = d
			}
			m.Fields = append(m.Fields, Field{field.Name, Value{Literal: d.String()}})
			continue
		}
		m.Fields = append(m.Fields, Field{field.Name, p.value(field, fp.Value)})
	}
}

// value reads a field's value as its type says; without a type as it stands.
func (p *ruleParser) value(spec FieldSpec, n *yamlfile.Node) Value {
	switch spec.Type {
	case "string", "file":
		return p.stringValue(spec, n)
	case "int":
		if n.Kind == yamlfile.String && spec.Template && strings.Contains(n.Text, "{") {
			return p.typed(n, spec.Type)
		}
		return Value{Literal: p.r.Int(n, 0, -1<<53, 1<<53)}
	case "number":
		if n.Kind == yamlfile.String && spec.Template && strings.Contains(n.Text, "{") {
			return p.typed(n, spec.Type)
		}
		return Value{Literal: p.r.Number(n, 0, -1e300)}
	case "bool":
		if n.Kind == yamlfile.String && spec.Template && strings.Contains(n.Text, "{") {
			return p.typed(n, spec.Type)
		}
		return Value{Literal: p.r.Bool(n, false)}
	case "list":
		list := []Value{}
		for _, item := range p.r.Items(n) {
			list = append(list, p.stringValue(FieldSpec{Template: spec.Template}, item))
		}
		return Value{List: list}
	case "map":
		p.r.Entries(n)
		if n.Kind != yamlfile.Map {
			return Value{}
		}
		return p.free(n)
	case "actions":
		return p.actions(n)
	default:
		return p.free(n)
	}
}

// typed is a template whose text is read as a number or as true or false.
func (p *ruleParser) typed(n *yamlfile.Node, kind string) Value {
	v := p.template(n, false)
	v.Type = kind
	return v
}

// stringValue reads text; {file: path} reads it from a file of the workspace.
func (p *ruleParser) stringValue(spec FieldSpec, n *yamlfile.Node) Value {
	html := spec.Name == "html"
	switch {
	case n.Kind == yamlfile.Map && spec.Template:
		f := p.r.Fields(n)
		path := f.Must("file", "Text from a file is written {file: templates/cart.html}.")
		f.Done()
		return p.file(path, html)
	case spec.Type == "file" || html && n.Kind == yamlfile.String && isPath(n.Text):
		p.r.Text(n)
		return p.file(n, html)
	case n.Kind == yamlfile.Int || n.Kind == yamlfile.Float || n.Kind == yamlfile.Bool:
		return Value{Literal: n.Text}
	case !spec.Template:
		return Value{Literal: p.r.Text(n)}
	}
	if p.r.Text(n) == "" {
		return Value{Literal: ""}
	}
	return p.template(n, html)
}

// isFile says whether the value is {file: path}.
func isFile(n *yamlfile.Node) bool { return len(n.Pairs) == 1 && n.Get("file") != nil }

// isPath says whether the text of an `html` field is the path of a file.
func isPath(s string) bool {
	return !strings.ContainsAny(s, "<>{}\n ") && (strings.HasSuffix(s, ".html") || strings.HasSuffix(s, ".liquid") || strings.HasSuffix(s, ".htm"))
}

// template reads the text of a scalar.
func (p *ruleParser) template(n *yamlfile.Node, html bool) Value {
	if !strings.Contains(n.Text, "{") && !strings.Contains(n.Text, "}") {
		return Value{Literal: n.Text}
	}
	t, problems := p.compile(n.Text, html)
	p.problems(n, problems)
	if t == nil {
		return Value{Literal: ""}
	}
	return Value{Template: t}
}

// problems reports what is wrong in the template that is the text of n.
func (p *ruleParser) problems(n *yamlfile.Node, problems []template.Problem) {
	for _, x := range problems {
		f := n.FindingIn(x.From, x.To, x.ID, x.Summary)
		f.Detail, f.Suggest = x.Detail, x.Suggest
		if x.Warning {
			f.Severity = Warning
		}
		p.r.Add(f)
	}
}

func (p *ruleParser) compile(text string, html bool) (*template.Template, []template.Problem) {
	parse := template.Parse
	if html {
		parse = template.ParseHTML
	}
	t, problems := parse(text)
	if t == nil {
		return nil, problems
	}
	for _, v := range t.Names() {
		p.rule.SaysCreated = p.rule.SaysCreated || v.Path == "user.created_at"
	}
	scope := template.Scope{Plan: p.o.Plan, WithoutLinks: p.o.WithoutLinks}
	if p.rule.Digest != "" {
		scope.With = append(scope.With, DigestItems, DigestCount)
	}
	for _, w := range p.rule.With {
		scope.With = append(scope.With, w.Name)
	}
	return t, t.Check(scope)
}

// file reads a template from its own file; findings in it have its place.
func (p *ruleParser) file(n *yamlfile.Node, html bool) Value {
	if n == nil || n.Kind != yamlfile.String {
		return Value{Literal: ""}
	}
	src, err := []byte(nil), fmt.Errorf("files are not read here") //nolint:perfsprint // same form as the others
	if p.o.ReadFile != nil {
		src, err = p.o.ReadFile(n.Text)
	}
	if err != nil {
		p.r.Report(n, "message/no-file", "The path is relative to the workspace's folder, and stays within it.", "the file %q cannot be read: %s", n.Text, err)
		return Value{Literal: ""}
	}
	doc := yamlfile.PlainText(n.Text, string(src))
	p.files = append(p.files, doc.Text)
	t, problems := p.compile(doc.Text, html)
	p.problems(doc, problems)
	if t == nil {
		return Value{Literal: ""}
	}
	return Value{Template: t}
}

// free reads a value of no declared type; every text in it is a template.
func (p *ruleParser) free(n *yamlfile.Node) Value {
	switch n.Kind {
	case yamlfile.Map:
		fields := []Field{}
		for _, pair := range n.Pairs {
			fields = append(fields, Field{pair.Key.Text, p.free(pair.Value)})
		}
		return Value{Map: fields}
	case yamlfile.List:
		list := []Value{}
		for _, item := range n.Items {
			list = append(list, p.free(item))
		}
		return Value{List: list}
	case yamlfile.Int:
		if i, err := strconv.ParseInt(n.Text, 10, 64); err == nil {
			return Value{Literal: i}
		}
		return Value{Literal: p.r.Number(n, 0, -1e300)}
	case yamlfile.Float:
		return Value{Literal: p.r.Number(n, 0, -1e300)}
	case yamlfile.Bool:
		return Value{Literal: p.r.Bool(n, false)}
	case yamlfile.String:
		return p.template(n, false)
	default:
		return Value{}
	}
}

// maxActions is what phones show at most.
const maxActions = 4

func (p *ruleParser) actions(n *yamlfile.Node) Value {
	list := []Value{}
	items := p.r.Items(n)
	if len(items) > maxActions {
		p.r.Report(items[maxActions], "message/too-many-actions", "Phones show fewer still; leave the rest out.", "a message has at most %d actions", maxActions)
	}
	seen := map[string]bool{}
	for _, item := range items {
		f := p.r.Fields(item)
		var fields []Field
		for _, key := range []string{"id", "title", "link", "icon"} {
			v := f.Get(key)
			if key == "id" || key == "title" {
				if !f.Has(key) {
					v = f.Must(key, "An action is {id: buy, title: Buy now}.")
				}
			}
			if v != nil {
				fields = append(fields, Field{key, p.stringValue(FieldSpec{Template: key != "id"}, v)})
			}
		}
		if id := item.Get("id"); id != nil {
			if seen[id.Text] {
				p.r.Report(id, "message/duplicate-action", "The app tells them apart by id.", "the action %q stands twice", id.Text)
			}
			seen[id.Text] = true
		}
		f.Done()
		list = append(list, Value{Map: fields})
	}
	return Value{List: list}
}

// complete reports what a whole message lacks, at the key that it stands under.
func (p *ruleParser) complete(at *yamlfile.Node, message []ChannelMessage) {
	for _, m := range message {
		spec := p.spec(m.Channel)
		for _, f := range spec.Fields {
			if f.Required && !slices.ContainsFunc(m.Fields, func(x Field) bool { return x.Name == f.Name }) {
				p.r.Report(at, "message/missing-field", "", "%s needs the field %q", m.Channel, f.Name)
			}
		}
		if len(m.Fields) == 0 {
			p.r.Report(at, "message/empty", "", "the message for %s is empty", m.Channel)
		}
		for _, one := range m.All() {
			size := 0
			for _, f := range one.Fields {
				size += f.Value.literalSize()
			}
			if spec.MaxPayload > 0 && size > spec.MaxPayload {
				where, of := at, m.Channel
				if l := m.localized(one.Locale); l != nil {
					of += " in " + l.Locale
					if l.key != nil {
						where = l.key
					}
				}
				p.r.Report(where, "message/too-large", "Shorten it; what placeholders add comes on top.",
					"the text for %s is %d bytes, the provider takes %d", of, size, spec.MaxPayload)
			}
		}
	}
}

// spec is what the channel of a message takes.
func (p *ruleParser) spec(channel string) ChannelSpec {
	i := slices.IndexFunc(p.o.Channels, func(c ChannelSpec) bool { return c.Name == channel })
	return p.o.Channels[i]
}

// literalSize is the number of bytes that the value has whatever is filled in.
func (v Value) literalSize() int {
	switch {
	case v.Template != nil:
		return v.Template.MinSize()
	case v.List != nil:
		n := 0
		for _, item := range v.List {
			n += item.literalSize()
		}
		return n
	case v.Map != nil:
		n := 0
		for _, f := range v.Map {
			n += len(f.Name) + f.Value.literalSize()
		}
		return n
	default:
		s, _ := v.Literal.(string)
		return len(s)
	}
}

package workspace

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"nudge/channels"
	"nudge/engine/decide"
	"nudge/internal/suggest"
	"nudge/rules"
	"nudge/rules/yamlfile"
)

// channelConfig is one channel of nudge.yaml.
type channelConfig struct {
	name       string
	kind       string
	adapters   []adapterConfig
	rate       float64
	afterCrash string
	trackLinks bool
	trackOpens bool
	title      string
}

type adapterConfig struct {
	spec   channels.Spec
	config map[string]any
	node   *yamlfile.Node // of config, or of the adapter's name
	apps   []string
}

func (p *configParser) channels(n *yamlfile.Node) {
	for _, pair := range p.r.Entries(n) {
		if !word.MatchString(pair.Key.Text) {
			p.r.Report(pair.Key, "bad-name", "Small letters, digits, - and _: rules write it under `message`.", "%q is not a name of a channel", pair.Key.Text)
			continue
		}
		c := channelConfig{name: pair.Key.Text, trackLinks: true, trackOpens: true, afterCrash: "give_up"}
		if pair.Value.Kind == yamlfile.List { // adapters alone
			p.adapters(&c, pair.Value)
			p.kind(&c, nil)
			p.oneNeed(&c)
			p.c.channels = append(p.c.channels, c)
			continue
		}
		f := p.r.Fields(pair.Value)
		one, several := f.Get("adapter"), f.Get("adapters")
		switch {
		case several != nil && one != nil:
			p.r.Report(several.Key, "conflict", "Move the one into the list.", "a channel has one of adapter and adapters")
		case several != nil:
			p.adapters(&c, several)
		default:
			if one == nil && !f.Has("adapter") {
				one = f.Must("adapter", "Name the adapter; `nudge channels` lists them.")
			}
			p.adapter(&c, f, one)
		}
		p.kind(&c, f.Get("kind"))
		p.standIns(&c, f.Get("needs"))
		p.oneNeed(&c)
		c.rate = p.rate(f.Get("rate_limit"))
		if ac := f.Get("after_crash"); ac != nil {
			c.afterCrash = p.r.OneOf(ac, "retry", "give_up")
		}
		c.trackLinks = p.r.Bool(f.Get("track_links"), true)
		c.trackOpens = p.r.Bool(f.Get("track_opens"), true)
		c.title = p.r.Text(f.Get("title"))
		f.Done()
		p.c.channels = append(p.c.channels, c)
	}
}

// adapters reads a list of adapters that serve one channel.
func (p *configParser) adapters(c *channelConfig, n *yamlfile.Node) {
	items := p.r.Items(n)
	if n.Kind == yamlfile.List && len(items) == 0 {
		p.r.Report(n, "empty", "Name an adapter: [{adapter: file, config: {path: out.ndjson}}].", "the list has no adapter")
	}
	for _, item := range items {
		f := p.r.Fields(item)
		p.adapter(c, f, f.Must("adapter", "Name the adapter; `nudge channels` lists them."))
		f.Done()
	}
}

// adapter reads `adapter`, `config` and `apps`.
func (p *configParser) adapter(c *channelConfig, f *yamlfile.Fields, name *yamlfile.Node) {
	node := f.Get("config")
	apps := p.r.Texts(f.Get("apps"))
	word := p.r.Text(name)
	if word == "" {
		return
	}
	spec, ok := p.l.o.Adapters.Get(word)
	if !ok {
		x := name.Finding("workspace/unknown-adapter", fmt.Sprintf("there is no adapter %q", word))
		var known []string
		for _, s := range p.l.o.Adapters.List() {
			known = append(known, s.Name)
		}
		x.Suggest = suggest.Nearest(word, known)
		if x.Suggest == "" {
			x.Detail = "There are " + strings.Join(known, ", ") + "."
		}
		p.r.Add(x)
		return
	}
	a := adapterConfig{spec: spec, config: map[string]any{}, node: name, apps: apps}
	if node != nil {
		p.r.Entries(node)
		if m, ok := plain(node).(map[string]any); ok {
			a.config, a.node = m, node
		}
	}
	for _, field := range spec.Config {
		if field.Secret {
			if v, ok := a.config[field.Name]; ok {
				a.config[field.Name] = refs(v)
			}
		}
	}
	for _, problem := range spec.Check(a.config) {
		p.r.Add(adapterFinding(a.node, spec, problem))
	}
	a.spec = spec.With(a.config)
	c.adapters = append(c.adapters, a)
}

// adapterFinding puts a problem of an adapter's config where the field stands.
func adapterFinding(config *yamlfile.Node, spec channels.Spec, problem channels.Problem) rules.Finding {
	at, found := find(config, problem.Field)
	if at.Key != nil && (!found && config.Kind == yamlfile.Map || problem.Summary == "is not a field") {
		at = at.Key
	}
	f := at.Finding("workspace/adapter-config", fmt.Sprintf("%s: %s %s", spec.Name, problem.Field, problem.Summary))
	if suggestion, ok := strings.CutPrefix(problem.Suggest, "did you mean "); ok {
		f.Suggest = strings.TrimSuffix(suggestion, "?")
	} else {
		f.Detail = sentence(problem.Suggest)
	}
	for _, field := range spec.Config {
		if field.Secret && strings.HasPrefix(problem.Field, field.Name) {
			f.Text = "" // the line may hold a secret
		}
	}
	return f
}

// find is the node of a dotted path ("headers.x", "secrets[1]"), or the nearest one above it.
func find(n *yamlfile.Node, path string) (at *yamlfile.Node, found bool) {
	for path != "" {
		if index, rest, ok := cutIndex(path); ok {
			if n.Kind != yamlfile.List || index >= len(n.Items) {
				return n, false
			}
			n, path = n.Items[index], rest
			continue
		}
		end := strings.IndexAny(path, ".[")
		if end < 0 {
			end = len(path)
		}
		next := n.Get(path[:end])
		if next == nil {
			return n, false
		}
		n, path = next, strings.TrimPrefix(path[end:], ".")
	}
	if n.Kind == yamlfile.Null && n.Key != nil {
		return n.Key, true
	}
	return n, true
}

func cutIndex(path string) (index int, rest string, ok bool) {
	inside, found := strings.CutPrefix(path, "[")
	if !found {
		return 0, path, false
	}
	number, rest, _ := strings.Cut(inside, "]")
	index, err := strconv.Atoi(number)
	return index, strings.TrimPrefix(rest, "."), err == nil && index >= 0
}

// refs turns "env:NAME" and "file:PATH" into the form that adapters know.
func refs(v any) any {
	switch v := v.(type) {
	case string:
		if name, ok := strings.CutPrefix(v, "env:"); ok {
			return map[string]any{"env": strings.TrimSpace(name)}
		}
		if name, ok := strings.CutPrefix(v, "file:"); ok && !strings.HasPrefix(v, "file://") {
			return map[string]any{"file": strings.TrimSpace(name)}
		}
		return v
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = refs(item)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, item := range v {
			_, nested := item.(string)
			if nested && (k == "env" || k == "file") && len(v) == 1 {
				out[k] = item
			} else {
				out[k] = refs(item)
			}
		}
		return out
	default:
		return v
	}
}

// plain is a node as JSON values.
func plain(n *yamlfile.Node) any {
	switch n.Kind {
	case yamlfile.Map:
		out := map[string]any{}
		for _, p := range n.Pairs {
			out[p.Key.Text] = plain(p.Value)
		}
		return out
	case yamlfile.List:
		out := []any{}
		for _, item := range n.Items {
			out = append(out, plain(item))
		}
		return out
	case yamlfile.Int, yamlfile.Float:
		if i, err := strconv.ParseInt(n.Text, 10, 64); err == nil {
			return i
		}
		if f, err := strconv.ParseFloat(n.Text, 64); err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
			return f
		}
		return n.Text
	case yamlfile.Bool:
		return strings.EqualFold(n.Text, "true")
	case yamlfile.String:
		return n.Text
	default:
		return nil
	}
}

// kind settles whose message fields the channel takes: what the file says, else the kind that its
// name is, else its adapter's.
func (p *configParser) kind(c *channelConfig, n *yamlfile.Node) {
	kinds := p.l.o.Adapters.Kinds()
	switch {
	case n != nil:
		c.kind = p.r.OneOf(n, kinds...)
	case slices.Contains(kinds, c.name):
		c.kind = c.name
	case len(c.adapters) > 0:
		c.kind = c.adapters[0].spec.Kind
	}
	for _, a := range c.adapters {
		if a.spec.Kind != c.kind && !a.spec.Any && c.kind != "" {
			f := a.node.Finding("workspace/wrong-kind", fmt.Sprintf("%s sends %s, and the channel %q takes %s", a.spec.Name, a.spec.Kind, c.name, c.kind))
			f.Detail = "Give it a channel of its own, or name the channel's `kind`."
			if a.node.Kind == yamlfile.Map {
				f.Text = ""
			}
			p.r.Add(f)
		}
	}
}

// oneNeed refuses adapters of one channel that reach people by different things: the channel sends one message to
// each device, or one to the person.
func (p *configParser) oneNeed(c *channelConfig) {
	for _, a := range c.adapters {
		first := c.adapters[0]
		stranger := a.spec.Any || first.spec.Any || a.spec.Needs == "" || first.spec.Needs == ""
		if a.spec.Needs != first.spec.Needs && !stranger {
			f := a.node.Finding("workspace/mixed-needs", fmt.Sprintf("%s reaches people by their %s, and %s by their %s", a.spec.Name, a.spec.Needs, first.spec.Name, first.spec.Needs))
			f.Detail = "Give it a channel of its own"
			for _, spec := range []channels.Spec{a.spec, first.spec} {
				if spec.Fit != nil {
					f.Detail += ", or let both reach people by the same: `nudge channels " + spec.Name + "` says how"
					break
				}
			}
			f.Detail += "."
			if a.node.Kind == yamlfile.Map {
				f.Text = ""
			}
			p.r.Add(f)
		}
	}
}

// standIns gives adapters that take every kind of message the reach of the kind that they stand in for,
// so that a file in place of APNs and FCM gets a line for each device. `needs` says it for kinds that
// no other adapter has.
func (p *configParser) standIns(c *channelConfig, needs *yamlfile.Node) {
	var need string
	var platforms []string
	for _, spec := range p.l.o.Adapters.List() {
		if spec.Kind != c.kind || spec.Any {
			continue
		}
		if need != "token" { // of a kind that is reached in several ways: a line for each device says the most
			need = spec.Needs
		}
		for _, platform := range spec.Platforms {
			if !slices.Contains(platforms, platform) {
				platforms = append(platforms, platform)
			}
		}
	}
	if needs != nil {
		need = p.r.OneOf(needs, "email", "phone", "token", "user_id")
		if need == "token" && platforms == nil {
			platforms = []string{"ios", "android", "web"}
		}
	}
	for i := range c.adapters {
		a := &c.adapters[i]
		switch {
		case a.spec.Any:
			a.spec.Needs, a.spec.Platforms = need, platforms
		case needs != nil:
			p.r.Report(needs, "bad-value", "Leave it out.", "%s knows by itself what it needs", a.spec.Name)
			return
		}
	}
}

// rate reads "100/s", "6000/m" or "10000/h" as messages a second.
func (p *configParser) rate(n *yamlfile.Node) float64 {
	if n == nil {
		return 0
	}
	number, unit, ok := strings.Cut(n.Text, "/")
	v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	seconds := map[string]float64{"s": 1, "m": 60, "h": 3600}[strings.TrimSpace(unit)]
	if n.Kind != yamlfile.String || !ok || err != nil || seconds == 0 || !(v > 0) || math.IsInf(v, 0) {
		p.r.Report(n, "bad-rate", "Write messages a second, minute or hour: 100/s, 6000/m, 10000/h.", "%q is not a rate", n.Text)
		return 0
	}
	return v / seconds
}

// channelSpecs are the channels as rule files see them.
func (l *loader) channelSpecs() []rules.ChannelSpec {
	var out []rules.ChannelSpec
	for _, c := range l.cfg.channels {
		var specs []channels.Spec
		for _, a := range c.adapters {
			specs = append(specs, a.spec)
		}
		out = append(out, ChannelSpec(l.o.Adapters, c.name, c.kind, specs))
	}
	return out
}

// ChannelSpec is what rule files' messages for a channel are checked against, given its kind and its adapters.
func ChannelSpec(set channels.Set, name, kind string, adapters []channels.Spec) rules.ChannelSpec {
	fields := set.MessageFields(kind)
	// A stand-in for every kind takes what that kind takes; one of a kind of its own, anything.
	spec := rules.ChannelSpec{Name: name, Kind: kind, Any: len(fields) == 0}
	for _, f := range fields {
		spec.Fields = append(spec.Fields, rules.FieldSpec{Name: f.Name, Type: f.Type, Required: f.Required, Template: f.Template, Text: f.Text})
	}
	for _, a := range adapters {
		spec.Any = spec.Any || a.Any && a.Kind == kind
		spec.Collects = spec.Collects || a.Collects
		if a.MaxPayload > 0 && a.Unit == "" && (spec.MaxPayload == 0 || a.MaxPayload < spec.MaxPayload) {
			spec.MaxPayload = a.MaxPayload
		}
	}
	return spec
}

// collects says that what the channel takes waits for a digest.
func (c *channelConfig) collects() bool {
	return slices.ContainsFunc(c.adapters, func(a adapterConfig) bool { return a.spec.Collects })
}

// reach is what deciding needs to know: an address that one of the adapters can use.
func (c *channelConfig) reach() decide.Channel {
	out := decide.Channel{Collects: c.collects()}
	for i, a := range c.adapters {
		if i == 0 {
			out.Needs = a.spec.Needs
		}
		if a.spec.Needs == "" {
			out.Needs = ""
		}
		for _, platform := range a.spec.Platforms {
			if !slices.Contains(out.Platforms, platform) {
				out.Platforms = append(out.Platforms, platform)
			}
		}
	}
	return out
}

package workspace

import (
	"fmt"
	"math"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"nudge/engine/decide"
	"nudge/internal/suggest"
	"nudge/rules"
	"nudge/rules/yamlfile"
)

// Defaults of nudge.yaml.
const (
	DefaultListen     = "127.0.0.1:8080"
	DefaultData       = "data"
	DefaultDatabase   = "nudge"
	DefaultMaxBacklog = 4 << 30
	DefaultKeep       = time.Hour
	DefaultSalt       = "nudge"
)

// config is nudge.yaml as written, defaults filled in; secrets are still only named.
type config struct {
	zone        *time.Location
	locale      string
	unknownZone string
	listen      string
	baseURL     string
	salt        string
	data        string
	holdout     float64
	everyoneMin int64

	store   Store
	queue   Queue
	dsn     secret
	natsURL secret
	signing secret

	retention  time.Duration
	silences   []rules.Silence
	page       Preferences
	keys       []keyConfig
	channels   []channelConfig
	caps       []decide.Cap
	quiet      []decide.Quiet
	categories []categoryConfig
	maxAge     time.Duration
	accuracy   float64

	passwords []string // that stand in addresses
}

// secret is where a secret stands; the zero value is none.
type secret struct {
	env, file string
	plain     string // written in the file, where that is allowed
	node      *yamlfile.Node
}

type keyConfig struct {
	name   string
	value  secret
	secret bool
}

type categoryConfig struct {
	name    string
	title   string
	about   string
	consent string            // opt_in or opt_out, where channels do not say otherwise
	channel map[string]string // by channel
	node    *yamlfile.Node
}

func defaults() config {
	return config{
		zone: time.UTC, unknownZone: "default", listen: DefaultListen, salt: DefaultSalt, data: DefaultData,
		store: Store{Database: DefaultDatabase}, queue: Queue{MaxBacklog: DefaultMaxBacklog, Keep: DefaultKeep},
	}
}

// configParser reads nudge.yaml.
type configParser struct {
	l *loader
	r *yamlfile.Reader
	c config
}

func (l *loader) parseConfig(src []byte) (config, []rules.Finding) {
	doc, broken := yamlfile.Parse(ConfigFile, src)
	p := &configParser{l: l, r: yamlfile.NewReader("workspace"), c: defaults()}
	if doc.Root.Kind == yamlfile.Null {
		return p.c, broken
	}
	r, c := p.r, &p.c
	f := r.Fields(doc.Root)
	if n := f.Get("zone"); n != nil {
		if loc, err := rules.LoadZone(r.Text(n)); err == nil {
			c.zone = loc
		} else {
			r.Report(n, "rule/unknown-zone", "Write a name of the IANA database such as Europe/Berlin.", "%q is not a time zone", n.Text)
		}
	}
	if n := f.Get("locale"); n != nil {
		c.locale = rules.ReadLocale(r, n)
	}
	if n := f.Get("unknown_zone"); n != nil {
		c.unknownZone = r.OneOf(n, "default", "hold", "drop")
	}
	p.listen(f.Get("listen"))
	p.baseURL(f.Get("base_url"))
	if n := f.Get("salt"); n != nil {
		c.salt = r.Text(n)
	}
	if n := f.Get("data"); n != nil {
		c.data = r.Text(n)
	}
	c.holdout = r.Percent(f.Get("holdout"), 0)
	c.everyoneMin = r.Int(f.Get("everyone_min"), 0, 1, math.MaxInt64)
	p.store(f.Get("store"))
	p.queue(f.Get("queue"))
	if n := f.Get("signing"); n != nil {
		c.signing = p.secret(n, false)
	}
	p.keys(f.Get("keys"))
	p.categories(f.Get("categories")) // before caps, quiet hours and channels, which name them
	p.channels(f.Get("channels"))
	p.checkConsents()
	p.caps(f.Get("caps"))
	p.quietHours(f.Get("quiet_hours"))
	p.location(f.Get("location"))
	p.preferences(f.Get("preferences"))
	c.silences = rules.ReadSilences(r, f.Get("silence"))
	f.Done()
	return p.c, append(broken, r.Findings()...)
}

// secret reads {env: NAME}, {file: PATH}, or the same as text "env:NAME", "file:PATH". Anything else
// is taken as it stands where plain allows, and is a finding that does not repeat it elsewhere.
func (p *configParser) secret(n *yamlfile.Node, plain bool) secret {
	if n == nil {
		return secret{}
	}
	s := secret{node: n}
	if n.Kind == yamlfile.Map {
		f := p.r.Fields(n)
		s.env, s.file = p.r.Text(f.Get("env")), p.r.Text(f.Get("file"))
		f.Done()
		if (s.env == "") == (s.file == "") {
			p.r.Report(n, "bad-secret", "", "a secret is {env: NAME} or {file: PATH}")
		}
		return s
	}
	text := p.r.Text(n)
	switch {
	case strings.HasPrefix(text, "env:"):
		s.env = strings.TrimSpace(text[len("env:"):])
	case strings.HasPrefix(text, "file:") && !strings.HasPrefix(text, "file://"):
		s.file = strings.TrimSpace(text[len("file:"):])
	case plain:
		s.plain = text
	case text != "":
		p.r.Add(blind(n, "workspace/secret-in-file", "a secret is written into the file",
			"Name where it stands: {env: NAME} or {file: PATH}, and change it, for others have seen it."))
	}
	return s
}

// address reads where a server is; with a password in it, it should not stand in the file.
func (p *configParser) address(n *yamlfile.Node) secret {
	s := p.secret(n, true)
	u, err := url.Parse(s.plain)
	if s.plain == "" {
		return s
	}
	if err != nil || u.Host == "" {
		p.r.Add(blind(n, "workspace/bad-url", "this is not the address of a server", "Write scheme, host and port: clickhouse://host:9000, nats://host:4222."))
		return s
	}
	if password, has := u.User.Password(); has && password != "" {
		p.c.passwords = append(p.c.passwords, password, url.QueryEscape(password))
		f := blind(n, "workspace/secret-in-file", "a password is written into the file", "Name where the address stands: {env: NAME} or {file: PATH}.")
		f.Severity = rules.Warning
		p.r.Add(f)
	}
	return s
}

// blind is an error at a node whose line is not shown, because it holds a secret.
func blind(n *yamlfile.Node, id, summary, detail string) rules.Finding {
	f := n.Finding(id, summary)
	f.Detail, f.Text = detail, ""
	return f
}

func (p *configParser) listen(n *yamlfile.Node) {
	if n == nil {
		return
	}
	p.c.listen = p.r.Text(n)
	if p.c.listen == "" {
		return
	}
	if _, port, err := net.SplitHostPort(p.c.listen); err != nil || !isPort(port) {
		p.r.Report(n, "bad-address", "Write host and port: \"127.0.0.1:8080\", or \":8080\" for all addresses.", "%q is not an address to listen on", n.Text)
	}
}

func isPort(s string) bool {
	n, err := strconv.Atoi(s)
	return err == nil && n >= 0 && n <= 65535
}

func (p *configParser) baseURL(n *yamlfile.Node) {
	if n == nil {
		return
	}
	text := p.r.Text(n)
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		p.r.Report(n, "bad-url", "Write what links in messages begin with: https://go.shop.example", "%q is not a base URL", text)
		return
	}
	p.c.baseURL = strings.TrimRight(text, "/")
}

func (p *configParser) store(n *yamlfile.Node) {
	if n == nil {
		return
	}
	f := p.r.Fields(n)
	dsn := f.Get("dsn")
	p.c.dsn = p.address(dsn)
	p.c.store.Dir = p.r.Text(f.Get("dir"))
	if dsn != nil && p.c.store.Dir != "" {
		p.r.Report(dsn.Key, "conflict", "Keep `dir` for the embedded engine or `dsn` for a server.", "a store has one of dsn and dir")
	}
	if d := f.Get("database"); d != nil {
		p.c.store.Database = p.r.Text(d)
		if !databaseName.MatchString(p.c.store.Database) {
			p.r.Report(d, "bad-name", "Letters, digits and _, a letter first.", "%q is not a name of a database", d.Text)
		}
	}
	p.c.store.Library = p.r.Text(f.Get("library"))
	p.c.store.Cluster = p.r.Text(f.Get("cluster"))
	retention := f.Get("retention")
	p.c.retention = p.r.Duration(retention, 0)
	if retention != nil && p.c.retention > 0 && p.c.retention < 24*time.Hour {
		p.r.Report(retention, "out-of-range", "", "history is kept for at least a day")
		p.c.retention = 0
	}
	f.Done()
}

var databaseName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (p *configParser) queue(n *yamlfile.Node) {
	if n == nil {
		return
	}
	f := p.r.Fields(n)
	u := f.Get("url")
	p.c.natsURL = p.address(u)
	p.c.queue.Dir = p.r.Text(f.Get("dir"))
	if u != nil && p.c.queue.Dir != "" {
		p.r.Report(u.Key, "conflict", "Keep `dir` for the embedded queue or `url` for a cluster.", "a queue has one of url and dir")
	}
	p.c.queue.MaxBacklog = p.r.Bytes(f.Get("max_backlog"), DefaultMaxBacklog)
	p.c.queue.Keep = p.r.Duration(f.Get("keep"), DefaultKeep)
	f.Done()
}

func (p *configParser) keys(n *yamlfile.Node) {
	seen := map[string]bool{}
	for _, item := range p.r.Items(n) {
		f := p.r.Fields(item)
		name := f.Must("name", "It is what the events' source says.")
		k := keyConfig{name: p.r.Text(name)}
		write, sec := f.Get("write_key"), f.Get("secret_key")
		switch {
		case write != nil && sec != nil:
			p.r.Report(sec.Key, "conflict", "Write two keys.", "a key is a write_key, which apps ship, or a secret_key, which a server keeps")
		case write != nil:
			k.value = p.secret(write, true)
		case sec != nil:
			k.value, k.secret = p.secret(sec, false), true
		case f.Node() != nil && !f.Has("write_key") && !f.Has("secret_key"):
			p.r.Report(f.Node(), "missing-key", "Give it a write_key, which apps ship, or a secret_key, which a server keeps.", "the key has no value")
		}
		f.Done()
		if seen[k.name] && k.name != "" {
			p.r.Report(name, "duplicate-name", "Events are deduplicated within a key's name.", "there are two keys %q", k.name)
		}
		seen[k.name] = true
		p.c.keys = append(p.c.keys, k)
	}
}

func (p *configParser) categories(n *yamlfile.Node) {
	for _, pair := range p.r.Entries(n) {
		if !word.MatchString(pair.Key.Text) {
			p.r.Report(pair.Key, "bad-name", "Small letters, digits, - and _.", "%q is not a name of a category", pair.Key.Text)
			continue
		}
		c := categoryConfig{name: pair.Key.Text, consent: "opt_out", node: pair.Value}
		if pair.Value.Kind != yamlfile.Null {
			f := p.r.Fields(pair.Value)
			c.title, c.about = p.r.Text(f.Get("title")), p.r.Text(f.Get("about"))
			switch consent := f.Get("consent"); {
			case consent == nil:
			case consent.Kind == yamlfile.Map:
				c.channel = map[string]string{}
				for _, by := range p.r.Entries(consent) {
					c.channel[by.Key.Text] = p.r.OneOf(by.Value, "opt_in", "opt_out")
				}
			default:
				c.consent = p.r.OneOf(consent, "opt_in", "opt_out")
			}
			f.Done()
		}
		p.c.categories = append(p.c.categories, c)
	}
}

var word = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,99}$`)

func (p *configParser) preferences(n *yamlfile.Node) {
	if n == nil {
		return
	}
	f := p.r.Fields(n)
	p.c.page = Preferences{Title: p.r.Text(f.Get("title")), About: p.r.Text(f.Get("about"))}
	f.Done()
}

// checkConsents checks the channels that categories name.
func (p *configParser) checkConsents() {
	for _, c := range p.c.categories {
		if consent := c.node.Get("consent"); consent != nil && consent.Kind == yamlfile.Map {
			for _, pair := range consent.Pairs {
				p.known(pair.Key, "channel", p.channelNames())
			}
		}
	}
}

// known checks that a word is one of those there are.
func (p *configParser) known(n *yamlfile.Node, what string, there []string) {
	if slices.Contains(there, n.Text) {
		return
	}
	f := n.Finding("workspace/unknown-"+what, fmt.Sprintf("there is no %s %q", what, n.Text))
	f.Suggest = suggest.Nearest(n.Text, there)
	if f.Suggest == "" {
		f.Detail = "There are " + strings.Join(there, ", ") + "."
	}
	p.r.Add(f)
}

// names reads a list of words that must be among those there are.
func (p *configParser) names(n *yamlfile.Node, what string, there []string) []string {
	if n == nil {
		return nil
	}
	items := []*yamlfile.Node{n}
	if n.Kind != yamlfile.String {
		items = p.r.Items(n)
	}
	var out []string
	for _, item := range items {
		if name := p.r.Text(item); name != "" {
			p.known(item, what, there)
			out = append(out, name)
		}
	}
	return out
}

func (p *configParser) channelNames() []string {
	var out []string
	for _, c := range p.c.channels {
		out = append(out, c.name)
	}
	return out
}

func (p *configParser) categoryNames() []string {
	out := []string{rules.Promotional, rules.Transactional}
	for _, c := range p.c.categories {
		if !slices.Contains(out, c.name) {
			out = append(out, c.name)
		}
	}
	return out
}

func (p *configParser) location(n *yamlfile.Node) {
	if n == nil {
		return
	}
	f := p.r.Fields(n)
	p.c.maxAge = p.r.Duration(f.Get("max_age"), 0)
	p.c.accuracy = p.r.Number(f.Get("accuracy"), 0, 1)
	f.Done()
}

// within resolves a path of the workspace.
func (l *loader) within(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(l.ws.Dir, path)
}

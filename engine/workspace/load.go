package workspace

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"nudge/channels"
	"nudge/internal/suggest"
	"nudge/rules"
	"nudge/rules/yamlfile"
	"nudge/segments"
	"nudge/segments/geo"
)

// Names of the files and folders of a workspace.
const (
	ConfigFile  = "nudge.yaml"
	PlanFile    = "events.yaml"
	rulesDir    = "rules"
	segmentsDir = "segments"
	fencesDir   = "fences"

	BroadcastsDir = "broadcasts"
)

// IsBroadcast says of the path of a file in a workspace that it is one of broadcasts/, and not of rules/.
func IsBroadcast(name string) bool { return strings.HasPrefix(name, BroadcastsDir+"/") }

// Options of Load.
type Options struct {
	// Adapters that nudge.yaml may name; required.
	Adapters channels.Set
	// Env looks up environment variables; nil is os.LookupEnv.
	Env func(name string) (string, bool)
	// Files are read as if they stood in the folder, and before those that do, by their paths in it.
	Files map[string][]byte
	// Now is when it is, by which broadcasts are over: what is wrong with those is not found, and they are left out where
	// it is an error. Nil: none is over.
	Now func() time.Time
	// WithoutSecrets leaves secrets unread and makes none: for checks and rule tests, which run
	// where there are none. The workspace can then decide, but neither receive nor send.
	WithoutSecrets bool
	// WithoutSending leaves the secrets of adapters and of signing unread, and leaves out keys whose secret is not there:
	// for commands that reach the store and the queue but send nothing.
	WithoutSending bool
}

// Load reads and compiles everything in the folder, and returns all findings, sorted. The workspace
// is nil when one of them is an error. But for the signing secret, which is made in the data folder
// where there is none, it changes nothing.
func Load(dir string, o Options) (*Workspace, []rules.Finding) {
	if o.Env == nil {
		o.Env = os.LookupEnv
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		abs = dir
	}
	l := &loader{o: o, ws: &Workspace{Dir: abs}}
	root, err := os.OpenRoot(abs)
	if err != nil {
		l.file("workspace/no-folder", dir, fmt.Sprintf("the folder cannot be read: %v", unwrapped(err)), "Name the folder that nudge.yaml is in.")
		return nil, l.findings
	}
	defer func() { _ = root.Close() }() // it was only read
	l.fs = root.FS()
	l.load()
	findings := rules.Sort(l.findings)
	if rules.HasErrors(findings) {
		return nil, findings
	}
	return l.ws, findings
}

// Check is Load for its findings alone, without secrets.
func Check(dir string, o Options) []rules.Finding {
	o.WithoutSecrets = true
	_, findings := Load(dir, o)
	return findings
}

// loader loads one workspace.
type loader struct {
	o        Options
	fs       fs.FS
	ws       *Workspace
	cfg      config
	findings []rules.Finding

	parsed   []*rules.Rule
	segments []*rules.Segment
	lists    map[string]*segments.List
	capRules []*yamlfile.Node // lists of rules that caps name
}

func (l *loader) add(fs ...rules.Finding) { l.findings = append(l.findings, fs...) }

// file adds an error about a file as a whole.
func (l *loader) file(id, name, summary, detail string) {
	l.add(rules.Finding{Check: id, Severity: rules.Error, File: name, Summary: summary, Detail: detail})
}

func unwrapped(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

// load reads in the order in which things depend on each other.
func (l *loader) load() {
	if !l.config() {
		return // without channels every rule would be wrong
	}
	l.plan()
	l.fences()
	l.readRules()
	l.readSegments()
	l.compile()
	if rules.HasErrors(l.findings) {
		return
	}
	l.policy()
	l.silences()
	l.secrets()
	slices.SortFunc(l.ws.Sources, func(a, b Source) int { return strings.Compare(a.Name, b.Name) })
	l.ws.Hash = l.hash()
}

// read reads a file and keeps it among the sources.
func (l *loader) read(kind, name string) ([]byte, error) {
	src, ok := l.o.Files[name]
	if !ok {
		var err error
		if src, err = fs.ReadFile(l.fs, name); err != nil {
			return nil, unwrapped(err)
		}
	}
	if slices.ContainsFunc(l.ws.Sources, func(s Source) bool { return s.Name == name }) {
		return src, nil
	}
	sum := sha256.Sum256(src)
	l.ws.Sources = append(l.ws.Sources, Source{Kind: kind, Name: name, Hash: hex.EncodeToString(sum[:8]), Text: string(src)})
	return src, nil
}

// config reads nudge.yaml; false when there is none.
func (l *loader) config() bool {
	src, err := l.read("workspace", ConfigFile)
	if err != nil {
		l.file("workspace/no-file", ConfigFile, fmt.Sprintf("the file cannot be read: %v", err), "A workspace is a folder with a nudge.yaml: name it, or begin with `nudge init`.")
		return false
	}
	cfg, findings := l.parseConfig(src)
	l.cfg = cfg
	l.add(findings...)
	for i := range l.ws.Sources {
		for _, password := range cfg.passwords {
			l.ws.Sources[i].Text = strings.ReplaceAll(l.ws.Sources[i].Text, password, "***")
		}
	}
	return true
}

func (l *loader) plan() {
	src, err := l.read("plan", PlanFile)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		l.file("plan/no-file", PlanFile, fmt.Sprintf("the file cannot be read: %v", err), "")
		return
	}
	plan, findings := rules.ParsePlan(PlanFile, src)
	l.ws.Plan = plan
	l.add(findings...)
}

func (l *loader) fences() {
	fences, problems := geo.Load(l.fs, fencesDir)
	l.ws.Fences = fences
	for _, p := range problems {
		l.add(rules.Finding{
			Check: "fence/bad-file", Severity: rules.Error, File: p.File, Line: p.Line, Col: p.Column, EndCol: p.Column + 1,
			Summary: p.Summary, Detail: sentence(p.Suggest), Text: l.line(p.File, p.Line),
		})
	}
	for _, f := range fences.All() {
		if _, err := l.read("fence", f.File); err != nil {
			l.file("fence/bad-file", f.File, fmt.Sprintf("the file cannot be read: %v", err), "")
		}
	}
}

// line is a line of a file, to show it.
func (l *loader) line(name string, n int) string {
	src, err := fs.ReadFile(l.fs, name)
	if err != nil {
		return ""
	}
	return yamlfile.PlainText(name, string(src)).Doc.Line(n)
}

// sentence makes a hint of another package read as a detail does.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	s = strings.ToUpper(s[:1]) + s[1:]
	if !strings.HasSuffix(s, ".") && !strings.HasSuffix(s, "?") {
		s += "."
	}
	return s
}

// yamlFiles lists the YAML files below a folder of the workspace, sorted.
func (l *loader) yamlFiles(dir string) []string {
	var out []string
	err := fs.WalkDir(l.fs, dir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(d.Name(), "."):
			if d.IsDir() {
				return fs.SkipDir // Kubernetes keeps old versions of mounted files in such folders
			}
		case d.IsDir():
		case path.Ext(name) == ".yaml":
			out = append(out, name)
		case path.Ext(name) == ".yml":
			l.add(rules.Finding{
				Check: "workspace/ignored-file", Severity: rules.Warning, File: name, Summary: "the file is not read: it does not end in .yaml",
				Detail: "Rename it.",
			})
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.file("workspace/no-folder", dir, fmt.Sprintf("the folder cannot be read: %v", unwrapped(err)), "")
	}
	for name := range l.o.Files {
		if strings.HasPrefix(name, dir+"/") && path.Ext(name) == ".yaml" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func (l *loader) readRules() {
	o := rules.Options{
		WithoutLinks: l.cfg.baseURL == "",
		Zone:         l.cfg.zone, Locale: l.cfg.locale, Channels: l.channelSpecs(), Plan: l.ws.Plan,
		ReadFile: func(name string) ([]byte, error) {
			if name = path.Clean(name); !fs.ValidPath(name) {
				return nil, errors.New("it is outside of the workspace")
			}
			return l.read("template", name)
		},
	}
	for _, c := range l.cfg.categories {
		o.Categories = append(o.Categories, c.name)
	}
	byName := map[string]*rules.Rule{}
	for _, file := range append(l.yamlFiles(rulesDir), l.yamlFiles(BroadcastsDir)...) {
		src, err := l.read("rule", file)
		if err != nil {
			l.file("rule/no-file", file, fmt.Sprintf("the file cannot be read: %v", err), "")
			continue
		}
		o.Broadcast = IsBroadcast(file)
		r, findings := rules.ParseRule(file, src, o)
		if r == nil || !l.over(r) {
			l.add(findings...)
		} else if rules.HasErrors(findings) {
			continue
		}
		if r == nil {
			continue
		}
		if other, ok := byName[r.Name]; ok {
			f := r.Source["rule"].Finding("rule/duplicate-name", fmt.Sprintf("there are two rules %q", r.Name))
			f.Detail = fmt.Sprintf("The other is %s. A rule is its name: rename one of the two.", other.File)
			f.Rule = r.Name
			l.add(f)
			continue
		}
		byName[r.Name] = r
		l.parsed = append(l.parsed, r)
	}
	slices.SortFunc(l.parsed, func(a, b *rules.Rule) int { return strings.Compare(a.Name, b.Name) })
	l.checkCapRules()
	l.oneDigest()
}

// oneDigest refuses a second rule that sends what a channel collects.
func (l *loader) oneDigest() {
	by := map[string]*rules.Rule{}
	for _, r := range l.parsed {
		other := by[r.Digest]
		if r.Digest == "" || other == nil {
			by[r.Digest] = r
			continue
		}
		f := r.Source["digest"].Finding("rule/conflict", fmt.Sprintf("the rule %s sends what %s collects already", other.Name, r.Digest))
		f.Rule, f.Detail = r.Name, "Keep one, or add another channel with the adapter `digest` to nudge.yaml: what should go out daily is collected apart from what goes out weekly."
		l.add(f)
	}
}

// over says of a broadcast that nothing comes of it any more: what else has changed since is no fault of its file.
func (l *loader) over(r *rules.Rule) bool {
	at := r.OverAt(l.cfg.zone)
	return at != 0 && l.o.Now != nil && l.o.Now().UnixMilli() >= at
}

// checkCapRules checks the rules that caps name.
func (l *loader) checkCapRules() {
	var names []string
	for _, r := range l.parsed {
		names = append(names, r.Name)
	}
	for _, n := range l.capRules {
		items := []*yamlfile.Node{n}
		if n.Kind == yamlfile.List {
			items = n.Items
		}
		for _, item := range items {
			if item.Text != "" && !slices.Contains(names, item.Text) {
				f := item.Finding("workspace/unknown-rule", fmt.Sprintf("there is no rule %q", item.Text))
				f.Suggest = suggest.Nearest(item.Text, names)
				l.add(f)
			}
		}
	}
}

func (l *loader) readSegments() {
	byName := map[string]*rules.Segment{}
	for _, file := range l.yamlFiles(segmentsDir) {
		src, err := l.read("segment", file)
		if err != nil {
			l.file("segment/no-file", file, fmt.Sprintf("the file cannot be read: %v", err), "")
			continue
		}
		s, findings := rules.ParseSegment(file, src)
		l.add(findings...)
		if s == nil {
			continue
		}
		if other, ok := byName[s.Name]; ok {
			f := s.NameNode.Finding("segment/duplicate-name", fmt.Sprintf("there are two segments %q", s.Name))
			f.Detail = fmt.Sprintf("The other is %s. Rename one of the two.", other.File)
			l.add(f)
			continue
		}
		byName[s.Name] = s
		l.segments = append(l.segments, s)
	}
	slices.SortFunc(l.segments, func(a, b *rules.Segment) int { return strings.Compare(a.Name, b.Name) })
}

// silences gathers what files do not want to be told.
func (l *loader) silences() {
	all := l.cfg.silences
	for _, s := range l.segments {
		all = append(all, s.Silences...)
	}
	for _, r := range l.parsed {
		all = append(all, r.Silences...)
	}
	l.ws.Silences = all
}

// hash names what decides.
func (l *loader) hash() string {
	h := sha256.New()
	for _, r := range l.ws.Rules {
		fmt.Fprintf(h, "rule %q %s %s\n", r.Name, r.Version, r.Who.Hash())
	}
	for _, s := range l.ws.Segments {
		fmt.Fprintf(h, "segment %q %s\n", s.Name, s.Who.Hash())
	}
	fmt.Fprintf(h, "fences %s\n", l.ws.Fences.Hash())
	if l.ws.Plan != nil {
		fmt.Fprintf(h, "plan %v\n", *l.ws.Plan) // maps are printed in the order of their keys
	}
	p := l.ws.Policy
	fmt.Fprintf(h, "policy %+v %+v %v %q %s %s %v %+v %v\n", p.Caps, p.Quiet, p.Holdout, p.Salt, p.Zone, p.UnknownZone, l.ws.Retention, consents(l.cfg.categories), l.ws.Location)
	for _, c := range l.ws.Channels {
		fmt.Fprintf(h, "channel %q %+v\n", c.Name, p.Channels[c.Name])
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// consents prints what categories ask for.
func consents(categories []categoryConfig) string {
	var b strings.Builder
	for _, c := range categories {
		fmt.Fprintf(&b, "%q %s %v ", c.name, c.consent, c.channel)
	}
	return b.String()
}

// schemaOptions are what conditions may name.
func (l *loader) schemaOptions() segments.SchemaOptions {
	o := segments.SchemaOptions{
		Plan: l.ws.Plan, Rules: []string{}, Goals: map[string]segments.Goal{}, Segments: map[string]string{}, EveryoneMin: l.cfg.everyoneMin,
	}
	for _, r := range l.parsed {
		o.Rules = append(o.Rules, r.Name)
		if r.Goal != nil {
			o.Goals[r.Name] = segments.Goal{Event: r.Goal.Event, Where: r.Goal.Where, Within: r.Goal.Within.Milliseconds()}
		}
	}
	for _, s := range l.segments {
		o.Segments[s.Name] = s.When
	}
	o.List = l.list
	for _, f := range l.ws.Fences.All() {
		o.Fences = append(o.Fences, f.ID)
	}
	return o
}

// list reads a list that a condition names, once.
func (l *loader) list(name string) (*segments.List, error) {
	name = path.Clean(name)
	if have, ok := l.lists[name]; ok {
		return have, nil
	}
	if !fs.ValidPath(name) {
		return nil, errors.New("it is outside of the workspace")
	}
	src, err := l.read(ListSource, name)
	if err != nil {
		return nil, err
	}
	list, err := segments.ParseList(src)
	if err != nil {
		return nil, err //nolint:wrapcheck // names the line
	}
	if l.lists == nil {
		l.lists = map[string]*segments.List{}
	}
	l.lists[name] = list
	return list, nil
}

// zones remembers loaded time zones: loading one reads a file. The set of names is finite.
func zones() func(name string) (*time.Location, error) {
	var loaded sync.Map
	return func(name string) (*time.Location, error) {
		if loc, ok := loaded.Load(name); ok {
			return loc.(*time.Location), nil //nolint:forcetypeassert // only these are stored
		}
		loc, err := rules.LoadZone(name)
		if err == nil {
			loaded.Store(name, loc)
		}
		return loc, err //nolint:wrapcheck // names the zone
	}
}

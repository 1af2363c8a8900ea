package app

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"nudge/channels/all"
	"nudge/engine/send"
	"nudge/engine/workspace"
	"nudge/rules"
)

const (
	// mostFormer bounds how many replaced rules are held. A message waits for a day; nobody saves a rule
	// this often in one.
	mostFormer = 1000
	// mostTemplates bounds how many combinations of the versions of its template files are tried for one
	// version of a rule.
	mostTemplates = 2000
	// askStore is how long the store may take to say what a rule was, and how long it is left alone when
	// it did not.
	askStore = 5 * time.Second
)

// former holds rules as they were when they decided: their messages may still wait. What a reload
// replaces is kept; what was replaced while nudge was stopped is read from the history of sources. It is
// safe for concurrent use.
type former struct {
	mu    sync.Mutex
	rules []*rules.Rule // newest last
	// none are versions, by name and version, that the history of sources does not have.
	none map[[2]string]bool

	asking sync.Mutex // one question to the store at a time
	away   time.Time  // when it last failed to answer
}

// errNoVersion says that a rule as it was is not to be had.
var errNoVersion = errors.New("the rule has changed since, and the history of sources does not have it as it was")

func (f *former) keep(rs []*workspace.Rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range rs {
		f.put(r.Rule)
	}
	f.rules = f.rules[max(0, len(f.rules)-max(mostFormer, 2*len(rs))):]
}

// put adds a rule. f.mu is held.
func (f *former) put(r *rules.Rule) {
	same := func(o *rules.Rule) bool { return o.Name == r.Name && o.Version == r.Version }
	f.rules = append(slices.DeleteFunc(f.rules, same), r)
}

// held is the version that is in memory, nil for none; none says that there is not one anywhere.
func (f *former) held(name, version string) (r *rules.Rule, none bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.rules {
		if r.Name == name && r.Version == version {
			return r, false
		}
	}
	return nil, f.none[[2]string{name, version}]
}

// of is a rule as it was. The error wraps errNoVersion where it is not to be had, and send.ErrLater while
// the store cannot be asked.
func (f *former) of(ctx context.Context, a *App, name, version, category string) (*rules.Rule, error) {
	f.asking.Lock()
	defer f.asking.Unlock()
	r, none := f.held(name, version)
	switch {
	case r != nil:
		return r, nil
	case none:
		return nil, errNoVersion
	case a.opts.Now().Sub(f.away).Abs() < askStore:
		return nil, fmt.Errorf("%w: the store did not say what the rule was", send.ErrLater)
	}
	ctx, end := context.WithTimeout(ctx, askStore)
	defer end()
	r, err := storedRule(ctx, a.Store.Conn(), a.Workspace(), name, version, category)
	if err != nil {
		f.away = a.opts.Now()
		return nil, fmt.Errorf("%w: %w", send.ErrLater, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if r == nil {
		if f.none == nil {
			f.none = map[[2]string]bool{}
		}
		f.none[[2]string{name, version}] = true
		return nil, errNoVersion
	}
	f.put(r)
	return r, nil
}

// storedRule finds a version of a rule in the history of sources; nil when it is not there. It is good
// for rendering alone.
func storedRule(ctx context.Context, conn driver.Conn, ws *workspace.Workspace, name, version, category string) (*rules.Rule, error) {
	specs, err := specsOf(ws)
	if err != nil {
		return nil, err
	}
	files, err := texts(ctx, conn, "SELECT DISTINCT name, text, at FROM sources WHERE kind = 'rule' AND position(text, ?) > 0 ORDER BY at DESC", name)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		// A trait that is not declared any more can still be printed.
		o := rules.Options{Zone: ws.Zone, Locale: ws.Locale, Channels: specs, Categories: []string{category}, Broadcast: workspace.IsBroadcast(file.name)}
		var uses []string
		o.ReadFile = func(p string) ([]byte, error) {
			uses = append(uses, path.Clean(p))
			return nil, nil
		}
		if r, _ := rules.ParseRule(file.name, []byte(file.text), o); r == nil || r.Name != name {
			continue
		}
		templates := map[string][]string{} // newest first
		if len(uses) > 0 {
			stored, err := texts(ctx, conn, "SELECT DISTINCT name, text, at FROM sources WHERE kind = 'template' AND name IN (?) ORDER BY at DESC", uses)
			if err != nil {
				return nil, err
			}
			for _, t := range stored {
				templates[t.name] = append(templates[t.name], t.text)
			}
		}
		if r := withTemplates(file, o, templates, version); r != nil {
			return r, nil
		}
	}
	return nil, nil
}

// withTemplates parses a rule's file with every combination of the versions of its templates, newest
// first, until it is the wanted version of the rule; nil when it never is.
func withTemplates(file text, o rules.Options, templates map[string][]string, version string) *rules.Rule {
	var names []string
	for name := range templates {
		names = append(names, name)
	}
	slices.Sort(names)
	chosen := map[string]int{}
	o.ReadFile = func(p string) ([]byte, error) {
		p = path.Clean(p)
		if len(templates[p]) == 0 {
			return nil, errNoVersion
		}
		return []byte(templates[p][chosen[p]]), nil
	}
	for range mostTemplates {
		if r, findings := rules.ParseRule(file.name, []byte(file.text), o); r != nil && r.Version == version && !rules.HasErrors(findings) {
			return r
		}
		i := 0
		for ; i < len(names); i++ { // the next combination
			if chosen[names[i]]++; chosen[names[i]] < len(templates[names[i]]) {
				break
			}
			chosen[names[i]] = 0
		}
		if i == len(names) {
			break
		}
	}
	return nil
}

// specsOf says which fields the workspace's channels take.
func specsOf(ws *workspace.Workspace) ([]rules.ChannelSpec, error) {
	set, err := all.Set()
	if err != nil {
		return nil, fmt.Errorf("list the adapters: %w", err)
	}
	var out []rules.ChannelSpec
	for _, c := range ws.Channels {
		spec := workspace.ChannelSpec(set, c.Name, c.Kind, nil)
		for _, a := range c.Adapters {
			spec.Any = spec.Any || a.Spec.Any && a.Spec.Kind == c.Kind
		}
		out = append(out, spec)
	}
	return out, nil
}

// text is one version of a file.
type text struct{ name, text string }

func texts(ctx context.Context, conn driver.Conn, query string, args ...any) (out []text, err error) {
	rows, err := conn.Query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read the history of sources: %w", err)
	}
	for rows.Next() {
		var t text
		var at time.Time
		if err := rows.Scan(&t.name, &t.text, &at); err != nil {
			return nil, errors.Join(fmt.Errorf("read the history of sources: %w", err), rows.Close())
		}
		out = append(out, t)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, fmt.Errorf("read the history of sources: %w", err)
	}
	return out, nil
}

package app

import (
	"fmt"
	"slices"
	"sync"

	"nudge/engine/ledger"
	"nudge/engine/render"
	"nudge/engine/send"
	"nudge/engine/workspace"
)

// render makes the message of a decision from its values, by the version of the rule that decided, so
// that every attempt says the same; after a restart with other files, by the rule as it is now. A
// decision of a rule that is gone cannot be rendered, and is not sent.
func (a *App) render(d *ledger.Decision, channel string) (send.Rendered, error) {
	ws := a.Workspace()
	i := slices.IndexFunc(ws.Rules, func(r *workspace.Rule) bool { return r.Name == d.Rule })
	if i < 0 {
		return send.Rendered{}, fmt.Errorf("the rule %s is gone", d.Rule)
	}
	r := ws.Rules[i]
	if r.Version != d.Version {
		if then := a.former.of(d.Rule, d.Version); then != nil {
			r = then
		}
	}
	profile, err := render.Profile(d.Profile)
	if err != nil {
		return send.Rendered{}, err //nolint:wrapcheck // says what it was doing
	}
	fields, err := render.Fields(r.Rule, render.Message{
		Variant: d.Variant, Channel: channel, Value: d.Value, At: d.At, With: d.With, Profile: profile, Zone: ws.Zone,
	})
	if err != nil {
		return send.Rendered{}, err //nolint:wrapcheck // names the field
	}
	msg, _ := r.MessageOf(d.Variant, channel)
	return send.Rendered{Fields: fields, TTL: msg.TTL, Urgent: r.Transactional()}, nil
}

// former holds rules that a reload has replaced: their messages may still wait. It is safe for
// concurrent use.
type former struct {
	mu    sync.RWMutex
	rules []*workspace.Rule // newest last
}

// mostFormer bounds what is held. A message waits for a day; nobody saves a rule this often in one.
const mostFormer = 1000

func (f *former) keep(ws *workspace.Workspace) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range ws.Rules {
		same := func(o *workspace.Rule) bool { return o.Name == r.Name && o.Version == r.Version }
		f.rules = append(slices.DeleteFunc(f.rules, same), r)
	}
	f.rules = f.rules[max(0, len(f.rules)-max(mostFormer, 2*len(ws.Rules))):]
}

func (f *former) of(name, version string) *workspace.Rule {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, r := range f.rules {
		if r.Name == name && r.Version == version {
			return r
		}
	}
	return nil
}

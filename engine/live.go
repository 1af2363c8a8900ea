package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"nudge/engine/decide"
	"nudge/engine/ledger"
	"nudge/engine/workspace"
	"nudge/rules"
	"nudge/segments"
)

// live is one rule set with what the engine derives from it; it never changes.
type live struct {
	*workspace.Workspace
	policy *decide.Policy
	rules  []*workspace.Rule // in the order of their names
	byName map[string]*workspace.Rule
	// exits are the events that end entries of any rule, or keep them from escalating, and whether what is in them is read.
	exits    map[string]bool
	triggers map[string]bool
	looks    map[string]string // by rule on a schedule: how it decides, as ledger.Tick.Looks has it
	begins   map[string]string // by rule: how it decides who is in it, as ledger.Looked has it
	guarded  []*workspace.Rule // those with a pause_when, in the order of their names
	overs    map[string]int64  // by broadcast: when it is over
	keepUses int64
	since    int64 // when it went live, for rules whose schedule has never run
}

func newLive(ws *workspace.Workspace) *live {
	l := &live{Workspace: ws, policy: ws.Policy, byName: map[string]*workspace.Rule{}, exits: map[string]bool{}, triggers: map[string]bool{}, overs: map[string]int64{}}
	for _, r := range ws.Rules {
		l.rules = append(l.rules, r)
		l.byName[r.Name] = r
		if r.Broadcast {
			l.overs[r.Name] = r.OverAt(ws.Zone)
		}
		for _, x := range r.Exits {
			l.exits[x.Event] = l.exits[x.Event] || x.Where != nil
		}
		for event, read := range answers(r) {
			l.exits[event] = l.exits[event] || read
		}
		if r.On != nil {
			l.triggers[r.On.Event] = true
		}
	}
	l.looks, l.begins = make(map[string]string, len(l.rules)), make(map[string]string, len(l.rules))
	for _, r := range l.rules {
		l.begins[r.Name] = l.beginOf(r)
		l.looks[r.Name] = l.hashOf(r)
	}
	slices.SortFunc(l.rules, func(a, b *workspace.Rule) int { return cmpString(a.Name, b.Name) })
	for _, r := range l.rules {
		if r.PauseWhen != nil {
			l.guarded = append(l.guarded, r)
		}
	}
	keep := 24 * time.Hour
	for _, c := range l.policy.Caps {
		keep = max(keep, c.MaxWindow())
	}
	l.keepUses = keep.Milliseconds()
	return l
}

// over says of a broadcast that nobody is looked at for it any more.
func (l *live) over(r *workspace.Rule, now int64) bool { return r.Broadcast && now >= l.overs[r.Name] }

// Reload swaps the rule set; a rule that is new or decides otherwise begins with a first look. Where rules
// have got exits it first asks the store for those that came already, and fails where that does.
func (e *Engine) Reload(ctx context.Context, ws *workspace.Workspace) error {
	l := newLive(ws)
	l.since = max(e.since, e.lastNow.Load())
	before := e.live.Load()
	if err := e.learnExits(ctx, before, l); err != nil {
		e.exits.watch(before.exits)
		return err
	}
	e.live.Store(l)
	for _, s := range e.shards {
		if l.keepUses > before.keepUses { // uses that did not matter any more do again
			s.mu.Lock()
			s.doubt = true
			s.mu.Unlock()
		}
	}
	e.exits.watch(l.exits)
	return nil
}

func (e *Engine) keepUses() int64 { return e.live.Load().keepUses }

// lookHash names how a rule decides who is in it: a change of it is followed by a first look. Leaving
// shadow and raising a rollout change it too, text and caps do not.
func (l *live) lookHash(r *workspace.Rule) string { return l.begins[r.Name] }

func (l *live) beginOf(r *workspace.Rule) string {
	parts := []string{r.Who.Hash()}
	for _, place := range r.Who.Places() {
		parts = append(parts, l.Fences.Match(place.Pattern).Hash()[:16])
	}
	if r.Shadow {
		parts = append(parts, "shadow")
	}
	if r.Rollout < 1 {
		parts = append(parts, fmt.Sprintf("%g", r.Rollout))
	}
	return strings.Join(parts, " ")
}

// hashOf names everything by which a look of the rule lets in other people than another look of the same
// people: what its file says, its message too, since one that failed waits for a changed one; what lookHash has;
// how history is read. A change of it is followed by a look at everybody.
func (l *live) hashOf(r *workspace.Rule) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "1\x00%s\x00%s\x00%d\x00%s\x00%v", r.Version, l.lookHash(r), l.Retention.Milliseconds(), l.policy.Zone, l.Location))
	return hex.EncodeToString(sum[:8])
}

// look is a question of arrivals, and of open entries.
func (l *live) look(t ledger.Tick) segments.Look {
	return segments.Look{
		At: t.T1, UpTo: t.P1, After: t.P0, Retention: l.Retention.Milliseconds(), DefaultZone: l.policy.Zone.String(), Fences: l.Fences,
	}
}

// firstLook says whether the rule must begin with one.
func firstLook(r *rules.Rule, looked, hash string) bool {
	return r.On == nil && looked != hash
}

package send

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"

	"nudge/channels"
	"nudge/engine/ledger"
	"nudge/segments"
)

// unitKey names one (entry, channel): what caps count and the loop waits for.
type unitKey struct{ entry, channel string }

// unit is one (entry, channel) on its way: one job for each device, or a single one.
type unit struct {
	decision *ledger.Decision
	shard    int
	seq      uint64 // of the decision's message
	channel  string
	route    *route
	line     *line
	expires  int64

	jobs     []*job
	open     int  // jobs without an end
	left     int  // jobs whose end is not yet on disk and told
	accepted bool // a device took it, and the outcome is written or being written
	last     *outcome

	rendering sync.Mutex // guards the rest
	done      bool
	rendered  Rendered
	err       error
}

// job is one message to one address.
type job struct {
	unit     *unit
	provider *provider
	device   string // short hash of the token, "" without
	to       segments.Device
	key      string
	attempt  int   // attempts made
	next     int64 // when waiting
	// begun says that an intent stands without an outcome, from before a crash.
	begun bool
	// cleared is when it was last asked whether its exit had arrived, and it had not; aside how often
	// in a row that could not be known.
	cleared int64
	aside   int
	// closed: no more attempts, and not because of this run.
	closed bool
}

func (u *unit) key() unitKey { return unitKey{u.decision.Entry, u.channel} }

func (u *unit) urgent() bool { return u.decision.Category == transactional }

// transactional is the category with a lane of its own.
const transactional = "transactional"

// jobKey is the stable key of (entry, channel, device): a UUIDv5.
func jobKey(entry, channel, device string) string {
	return channels.UUID(entry + "/" + channel + "/" + device)
}

// deviceHash stands for a token in records.
func deviceHash(token string) string { return channels.ShortHash(token)[:12] }

// plan makes the unit of one channel of a decision.
func (s *Sender) plan(d *ledger.Decision, channel string, shard int, seq uint64) *unit {
	u := &unit{decision: d, shard: shard, seq: seq, channel: channel, expires: d.Expires}
	if u.expires == 0 {
		u.expires = d.At + s.opts.GiveUpAfter.Milliseconds()
	}
	u.route = s.routes[channel]
	if u.route == nil {
		u.route = s.nowhere
	}
	for _, to := range s.places(channel, d.Devices) {
		u.add(to.provider, to.device)
	}
	u.open = len(u.jobs)
	return u
}

// place is where a message goes.
type place struct {
	provider *provider
	device   segments.Device
}

// places are where a decision with these devices goes on a channel: at least one.
func (s *Sender) places(channel string, devices []json.RawMessage) []place {
	r := s.routes[channel]
	switch {
	case r == nil:
		r = s.nowhere
		fallthrough
	case !r.tokens:
		return []place{{provider: r.providers[0]}}
	}
	var out []place
	for _, raw := range devices {
		var dev segments.Device
		if ledger.Unmarshal(raw, &dev) != nil || dev.Token == "" {
			continue
		}
		if p := r.serving(dev); p != nil {
			out = append(out, place{p, dev})
		}
	}
	if len(out) == 0 {
		return []place{{provider: s.nowhere.providers[0]}}
	}
	return out
}

func (u *unit) add(p *provider, to segments.Device) {
	hash := ""
	if to.Token != "" {
		hash = deviceHash(to.Token)
	}
	key := jobKey(u.decision.Entry, u.channel, hash)
	if slices.ContainsFunc(u.jobs, func(j *job) bool { return j.key == key }) {
		return
	}
	u.jobs = append(u.jobs, &job{unit: u, provider: p, device: hash, to: to, key: key})
}

// address is where a job goes: its device, and what the decision's profile says of the person.
func (j *job) address() channels.Address {
	d := j.unit.decision
	to := channels.Address{
		UserID: d.UserID, Token: j.to.Token, Platform: j.to.Platform, App: j.to.App, Environment: j.to.Environment,
	}
	var p struct { // of segments.Profile, what an address needs
		UserID string
		Traits struct {
			Email json.RawMessage `json:"email"`
			Phone json.RawMessage `json:"phone"`
		}
	}
	if len(d.Profile) > 0 && ledger.Unmarshal(d.Profile, &p) == nil {
		to.Email, to.Phone = text(p.Traits.Email), text(p.Traits.Phone)
		if to.UserID == "" {
			to.UserID = p.UserID
		}
	}
	return to
}

func text(raw json.RawMessage) string {
	var s string
	if len(raw) == 0 || json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// lineKey is the key of the line in which the unit waits.
func (u *unit) lineKey() lineKey {
	to := make([]place, len(u.jobs))
	for i, j := range u.jobs {
		to[i].provider = j.provider
	}
	return lineKey{u.channel, u.decision.Rule, names(to), u.urgent()}
}

// names lists the providers of places; units with the same ones wait together.
func names(to []place) string {
	if len(to) == 1 {
		return to[0].provider.name
	}
	var all []string
	for _, p := range to {
		if !slices.Contains(all, p.provider.name) {
			all = append(all, p.provider.name)
		}
	}
	slices.Sort(all)
	return strings.Join(all, "+")
}

// render renders once a unit, however many devices it has; again only what could not be rendered yet.
func (u *unit) render(r Renderer) (Rendered, error) {
	u.rendering.Lock()
	defer u.rendering.Unlock()
	if !u.done {
		u.rendered, u.err = r(u.decision, u.channel)
		u.done = !errors.Is(u.err, ErrLater)
	}
	return u.rendered, u.err
}

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
	if !u.route.tokens {
		u.add(u.route.providers[0], segments.Device{})
	} else {
		for _, raw := range d.Devices {
			var dev segments.Device
			if json.Unmarshal(raw, &dev) != nil || dev.Token == "" {
				continue
			}
			if p := u.route.serving(dev); p != nil {
				u.add(p, dev)
			}
		}
		if len(u.jobs) == 0 {
			u.add(s.nowhere.providers[0], segments.Device{})
		}
	}
	u.open = len(u.jobs)
	return u
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
	var p segments.Profile
	if len(d.Profile) > 0 && json.Unmarshal(d.Profile, &p) == nil {
		to.Email, to.Phone = text(p.Traits["email"]), text(p.Traits["phone"])
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

// providers lists the unit's providers; units with the same ones wait together.
func (u *unit) providers() string {
	names := make([]string, 0, 2)
	for _, j := range u.jobs {
		if !slices.Contains(names, j.provider.name) {
			names = append(names, j.provider.name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, "+")
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

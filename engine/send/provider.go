package send

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"

	"nudge/channels"
	"nudge/segments"
)

// route is a Route at work.
type route struct {
	Route
	word      string
	tokens    bool
	bucket    *bucket
	providers []*provider
}

// provider is one adapter with its queues. Fields below the blank line are guarded by Sender.mu.
type provider struct {
	name   string
	conf   Provider
	route  *route
	wake   chan struct{}
	slots  chan struct{} // one for each Send call at once
	normal chan struct{} // the part of slots that is not kept for transactional messages

	held     int     // units in memory whose first provider it is
	lanes    [2]fair // transactional, the rest
	waiting  waiting
	inFlight [2]int
	breaker  breaker
	expiry   int64 // no job here expires before; 0 unknown
}

const (
	laneUrgent = iota
	laneNormal
)

func newRoute(word string, conf Route) (*route, error) {
	r := &route{Route: conf, word: word, bucket: newBucket(conf.Rate, conf.Burst)}
	if len(conf.Providers) == 0 {
		return nil, fmt.Errorf("channel %q has no provider; add one to nudge.yaml", word)
	}
	switch conf.AfterCrash {
	case "":
		r.AfterCrash = GiveUp
	case Retry, GiveUp:
	default:
		return nil, fmt.Errorf("channel %q: after_crash is %q; it is %q or %q", word, conf.AfterCrash, Retry, GiveUp)
	}
	r.tokens = conf.Providers[0].Spec.Needs == "token"
	for _, c := range conf.Providers {
		if c.Channel == nil || c.Spec.Batch < 1 || c.Spec.Concurrency < 1 {
			return nil, fmt.Errorf("channel %q: provider %q is not set up", word, c.Name)
		}
		n := c.Spec.Concurrency
		p := &provider{
			name: c.Name, conf: c, route: r, wake: make(chan struct{}, 1),
			slots: make(chan struct{}, n), normal: make(chan struct{}, n-reserve(n)),
		}
		if p.name == "" {
			p.name = c.Spec.Name
		}
		r.providers = append(r.providers, p)
	}
	return r, nil
}

// reserve is the share of n that is kept for transactional messages: a quarter, at least one, but
// never all.
func reserve(n int) int {
	if n == 1 {
		return 0
	}
	return max(1, n/4)
}

// Serves says whether an adapter that is configured for some apps, or for all, takes a device.
func Serves(spec channels.Spec, apps []string, d segments.Device) bool {
	return (len(spec.Platforms) == 0 || slices.Contains(spec.Platforms, d.Platform)) && (len(apps) == 0 || slices.Contains(apps, d.App)) &&
		(spec.Takes == nil || spec.Takes(d.Token))
}

// serving is the provider for a device, or nil.
func (r *route) serving(d segments.Device) *provider {
	for _, p := range r.providers {
		if Serves(p.conf.Spec, p.conf.Apps, d) {
			return p
		}
	}
	return nil
}

// room is how many more messages of a lane may go in flight.
func (p *provider) room(lane int) int {
	room := p.window() - p.inFlight[laneUrgent] - p.inFlight[laneNormal]
	if lane == laneNormal {
		room = min(room, p.window()-reserve(p.window())-p.inFlight[laneNormal])
	}
	return room
}

// window is how many messages may be between intent and result at once.
func (p *provider) window() int { return p.conf.Spec.Batch * p.conf.Spec.Concurrency }

func (p *provider) lane(u *unit) int {
	if u.urgent() {
		return laneUrgent
	}
	return laneNormal
}

// push makes a job ready.
func (p *provider) push(j *job) {
	p.lanes[p.lane(j.unit)].push(j)
	p.mayExpire(j)
}

// pushFront makes a job ready that had its turn already.
func (p *provider) pushFront(j *job) {
	p.lanes[p.lane(j.unit)].pushFront(j)
	p.mayExpire(j)
}

func (p *provider) mayExpire(j *job) {
	if p.expiry == 0 || j.unit.expires < p.expiry {
		p.expiry = j.unit.expires
	}
}

func (p *provider) ready() int { return p.lanes[laneUrgent].n + p.lanes[laneNormal].n }

// expired takes out everything that has expired, ready or waiting.
func (p *provider) expired(now int64) (out []*job) {
	if p.expiry == 0 || now < p.expiry {
		return nil
	}
	p.expiry = 0
	gone := func(j *job) bool {
		if j.unit.expires <= now {
			return true
		}
		p.mayExpire(j)
		return false
	}
	for i := range p.lanes {
		out = append(out, p.lanes[i].remove(gone)...)
	}
	return append(out, p.waiting.remove(gone)...)
}

// signal wakes the provider's loop.
func (p *provider) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// refuse is the channel of messages that have nowhere to go: it answers them like any other, so
// that they end with an outcome and a reason.
type refuse struct{}

func (refuse) Send(_ context.Context, batch []channels.Message) []channels.Result {
	out := make([]channels.Result, len(batch))
	for i := range out {
		out[i].Err = &channels.DeliveryError{
			Class: channels.ClassMessage, Code: "no_provider",
			Err: errors.New("no provider of the workspace serves this channel or any of the person's devices"),
		}
	}
	return out
}

func refusing() Route {
	return Route{Providers: []Provider{{
		Name: "none", Channel: refuse{},
		Spec: channels.Spec{Name: "none", Batch: 100, Concurrency: 1, Repeat: channels.RepeatHarmless},
	}}}
}

// wait puts a job off until its next attempt.
func (p *provider) wait(j *job) {
	heap.Push(&p.waiting, j)
	p.mayExpire(j)
}

// nextAt is when something here changes by time alone, 0 for never.
func (p *provider) nextAt(now int64) int64 {
	next := int64(0)
	sooner := func(at int64) {
		if at != 0 && (next == 0 || at < next) {
			next = at
		}
	}
	if len(p.waiting) > 0 {
		sooner(p.waiting[0].next)
	}
	switch {
	case p.ready() == 0 || p.breaker.probing:
	case now < p.breaker.until:
		sooner(p.breaker.until)
	case p.room(laneUrgent) > 0 && p.lanes[laneUrgent].n > 0, p.room(laneNormal) > 0 && p.lanes[laneNormal].n > 0:
		sooner(p.route.bucket.next(now))
	}
	if p.ready() > 0 || len(p.waiting) > 0 {
		sooner(p.expiry)
	}
	return next
}

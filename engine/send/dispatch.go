package send

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"nudge/channels"
	"nudge/engine/ledger"
	"nudge/events"
)

// picked is what a provider's queues gave for sending now.
type picked struct {
	lanes [2][]*job
	ended []*outcome // what ends without an attempt
}

func (p *picked) empty() bool {
	return len(p.lanes[laneUrgent])+len(p.lanes[laneNormal])+len(p.ended) == 0
}

// pick takes from a provider's queues what may be sent now: due, not expired, within its window,
// its breaker and the channel's rate. What it gives to send counts as in flight.
func (s *Sender) pick(p *provider, now int64) (out picked) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range p.expired(now) {
		o := &outcome{job: j, status: ledger.StoppedExpired, at: now}
		if j.aside > 0 {
			o.failed = exitUnknown()
		}
		out.ended = append(out.ended, o)
	}
	for _, j := range p.waiting.due(now) {
		p.push(j)
	}
	if p.ready() == 0 {
		return out
	}
	ok, one := p.breaker.allow(now)
	if !ok {
		return out
	}
	for lane := range p.lanes {
		n := min(p.room(lane), p.lanes[lane].n)
		if one {
			n = min(n, 1)
		}
		if n <= 0 {
			continue
		}
		if n = p.route.bucket.take(now, n); n == 0 {
			continue
		}
		for range n {
			out.lanes[lane] = append(out.lanes[lane], p.lanes[lane].pop())
		}
		p.inFlight[lane] += n
		if one {
			p.breaker.probe()
			break
		}
	}
	return out
}

// unpick takes jobs out of flight that were not sent after all, with their share of the rate.
func (s *Sender) unpick(p *provider, lane, n int) {
	if n == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p.inFlight[lane] -= n
	p.route.bucket.giveBack(n)
	p.breaker.unprobe()
	p.signal()
}

// dispatch sends what a provider may send now: ends what needs no attempt, writes the intents, and
// starts the calls. It says whether there was anything; wg covers everything it starts. Asking about
// exits ends with feed.
func (s *Sender) dispatch(ctx, feed context.Context, p *provider, now int64, wg *sync.WaitGroup) (bool, error) {
	got := s.pick(p, now)
	if got.empty() {
		return false, nil
	}
	for lane, jobs := range got.lanes {
		keep, ended := s.check(ctx, feed, p, jobs, now, wg)
		got.ended = append(got.ended, ended...)
		s.unpick(p, lane, len(jobs)-len(keep))
		got.lanes[lane] = keep
	}
	if len(got.ended) > 0 {
		wg.Go(func() { s.conclude(got.ended) })
	}
	// An intent that was begun is finished, and the call then says that it was not made.
	if err := s.intend(s.life(), got.lanes, now); err != nil {
		return true, err
	}
	for lane, jobs := range got.lanes {
		for len(jobs) > 0 {
			n := min(len(jobs), p.conf.Spec.Batch)
			batch := jobs[:n]
			jobs = jobs[n:]
			wg.Go(func() { s.call(ctx, p, lane, batch) })
		}
	}
	return true, nil
}

// givenUp is the end of a job whose outcome a crash has lost and which is not repeated, nil for others.
func givenUp(j *job, now int64) *outcome {
	if !j.begun || j.provider.conf.Spec.Repeat != channels.RepeatDoubles || j.unit.route.AfterCrash != GiveUp {
		return nil
	}
	// It may have been sent. Counting it as sent keeps every cap, and nothing falls back.
	return &outcome{job: j, status: ledger.Accepted, at: now, failed: &channels.DeliveryError{
		Class: channels.ClassCancelled, Code: "outcome_lost",
		Err: errors.New("a crash lost the outcome of this attempt; it counts as sent and is not repeated (after_crash: give_up)"),
	}}
}

// intend writes the intents of an attempt, each shard's in one message.
func (s *Sender) intend(ctx context.Context, lanes [2][]*job, now int64) error {
	byShard := map[int][]ledger.Record{}
	for _, jobs := range lanes {
		for _, j := range jobs {
			j.attempt++
			u := j.unit
			byShard[u.shard] = append(byShard[u.shard], ledger.Record{Delivery: &ledger.Delivery{
				Entry: u.decision.Entry, Channel: u.channel, Adapter: j.provider.conf.Spec.Name, Device: j.device,
				Rule: u.decision.Rule, Person: u.decision.Person, Status: ledger.Intent, At: now, Attempt: j.attempt,
			}})
		}
	}
	return s.journals(ctx, byShard)
}

// journals writes the records of several shards at once.
func (s *Sender) journals(ctx context.Context, byShard map[int][]ledger.Record) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var all error
	for n, records := range byShard {
		s.mu.Lock()
		j := s.shards[n].journal
		s.mu.Unlock()
		wg.Go(func() {
			if err := j.add(ctx, records); err != nil {
				mu.Lock()
				defer mu.Unlock()
				all = errors.Join(all, err)
			}
		})
	}
	wg.Wait()
	return all
}

// call renders and sends one batch of a lane and writes what became of it.
func (s *Sender) call(ctx context.Context, p *provider, lane int, batch []*job) {
	free, ok := p.enter(ctx, lane)
	outs := make([]*outcome, 0, len(batch))
	var sending []*job
	var messages []channels.Message
	now := s.clock()
	var instead []*outcome
	if ok {
		instead = s.recheck(ctx, p, batch, now)
		ok = ctx.Err() == nil
	}
	for i, j := range batch {
		switch {
		case !ok:
			// Not sent: say so, and the next run need not wonder.
			outs = append(outs, &outcome{job: j, status: ledger.Retrying, at: now, next: now, failed: &channels.DeliveryError{
				Class: channels.ClassCancelled, Err: errors.New("stopped before it was sent"),
			}})
		case instead[i] != nil:
			outs = append(outs, instead[i])
		default:
			m, err := s.message(j)
			switch {
			case errors.Is(err, ErrLater):
				outs = append(outs, s.judge(j, "", &channels.DeliveryError{Class: channels.ClassTemporary, Code: "later", Err: err}, Rendered{}, now))
				continue
			case err != nil:
				outs = append(outs, &outcome{job: j, status: ledger.Unrendered, at: now, failed: &channels.DeliveryError{
					Class: channels.ClassMessage, Code: "template", Err: err,
				}})
				continue
			}
			sending, messages = append(sending, j), append(messages, m)
		}
	}
	if len(sending) > 0 {
		outs = append(outs, s.attempt(ctx, p, sending, messages)...)
	}
	free()
	s.mu.Lock()
	p.inFlight[lane] -= len(batch)
	if len(sending) == 0 {
		p.breaker.unprobe()
	}
	s.mu.Unlock()
	p.signal()
	s.conclude(outs)
}

// enter waits for a free call of the provider; free gives it back.
func (p *provider) enter(ctx context.Context, lane int) (free func(), ok bool) {
	lanes := []chan struct{}{p.slots}
	if lane == laneNormal {
		lanes = []chan struct{}{p.normal, p.slots}
	}
	entered := 0
	free = func() {
		for _, c := range lanes[:entered] {
			<-c
		}
	}
	for _, c := range lanes {
		select {
		case c <- struct{}{}:
			entered++
		case <-ctx.Done():
			return free, false
		}
	}
	return free, ctx.Err() == nil
}

// message renders a job's message.
func (s *Sender) message(j *job) (channels.Message, error) {
	u := j.unit
	r, err := u.render(s.renderer)
	if err != nil {
		return channels.Message{}, err
	}
	m := compose(u.decision, u.channel, j.key, j.address(), r)
	if s.opts.Signer != nil {
		ref := messageOf(u)
		m.Signed = s.opts.Signer.Sign(ref)
		if s.opts.Links != "" && u.decision.Category != transactional {
			m.Unsubscribe = s.opts.Signer.Preferences(s.opts.Links, ref)
		}
	}
	return m, nil
}

// compose makes the message of a decision for an adapter.
func compose(d *ledger.Decision, channel, key string, to channels.Address, r Rendered) channels.Message {
	m := channels.Message{
		Key: key, Address: to, Fields: r.Fields, TTL: r.TTL, Urgent: r.Urgent || d.Category == transactional,
		About: map[string]string{"rule": d.Rule, "entry": d.Entry, "channel": channel},
	}
	for name, value := range map[string]string{"variant": d.Variant, "category": d.Category, "user_id": d.UserID, "value": d.Value, "locale": r.Locale} {
		if value != "" {
			m.About[name] = value
		}
	}
	return m
}

// renderer is the options' renderer with the links that are a message's own.
func (s *Sender) renderer(d *ledger.Decision, channel string) (Rendered, error) {
	r, err := s.opts.Render(d, channel)
	if err != nil {
		return Rendered{}, fmt.Errorf("render %s of rule %q: %w", channel, d.Rule, err)
	}
	if route := s.routes[channel]; route != nil {
		r.Fields = s.opts.Signer.finish(s.opts.Links, messageOf(&unit{decision: d, channel: channel}), route.Tracking, r.Fields)
	}
	return r, nil
}

// attempt makes one call of the adapter.
func (s *Sender) attempt(ctx context.Context, p *provider, jobs []*job, messages []channels.Message) []*outcome {
	call, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	begin := s.clock()
	results := p.conf.Channel.Send(call, messages)
	cancel()
	now := s.clock()
	var first *channels.DeliveryError
	alive := false
	outs := make([]*outcome, 0, len(jobs))
	for i, j := range jobs {
		var result channels.Result
		if i < len(results) {
			result = results[i]
		} else {
			result.Err = fmt.Errorf("the adapter answered %d of %d messages", len(results), len(jobs))
		}
		failed := deliveryError(result.Err)
		s.metrics.attempt(p, failed)
		switch {
		case failed == nil:
			alive = true
		case !failed.Class.Retryable():
			alive = true
		case first == nil:
			first = failed
		}
		if failed != nil && failed.Class == channels.ClassCancelled && ctx.Err() != nil {
			continue // it may have been sent: the intent stands alone, as after a crash
		}
		r, _ := j.unit.render(s.renderer)
		outs = append(outs, s.judge(j, result.ProviderID, failed, r, now))
	}
	s.metrics.took(p, now-begin)
	if alive {
		first = nil
	}
	s.mu.Lock()
	if p.breaker.report(now, first) {
		s.log.Warn("a provider is left alone for a while", "provider", p.name, "until", time.UnixMilli(p.breaker.until).UTC(), "error", first)
	}
	s.mu.Unlock()
	return outs
}

// deliveryError is the adapter's error in its contract's type; what is not in it counts as temporary.
func deliveryError(err error) *channels.DeliveryError {
	if err == nil {
		return nil
	}
	if failed, ok := errors.AsType[*channels.DeliveryError](err); ok {
		return failed
	}
	return &channels.DeliveryError{Class: channels.ClassTemporary, Err: err}
}

// judge decides what an attempt's result means. It is pure.
func (s *Sender) judge(j *job, providerID string, failed *channels.DeliveryError, r Rendered, now int64) *outcome {
	o := &outcome{job: j, at: now, provider: providerID, failed: failed, rendered: r}
	switch {
	case failed == nil:
		o.status = ledger.Accepted
	case !failed.Class.Retryable():
		o.status = ledger.Failed
	default:
		o.status, o.next = ledger.Retrying, now+max(backoff(j.key, j.attempt, failed).Milliseconds(), 1)
		if o.next >= j.unit.expires {
			o.status, o.next = ledger.StoppedExpired, 0
		}
	}
	return o
}

// conclude writes outcomes, tells them, and moves their units on; also when the run has been
// stopped, for as long as Options.Grace.
func (s *Sender) conclude(outs []*outcome) {
	if len(outs) == 0 {
		return
	}
	ctx := s.life()
	byShard := map[int][]ledger.Record{}
	var evs []events.Event
	bases := map[int]uint64{}
	s.mu.Lock()
	for _, o := range outs {
		d, told := o.record()
		n := o.job.unit.shard
		byShard[n] = append(byShard[n], ledger.Record{Delivery: &d})
		evs = append(evs, told...)
		s.metrics.outcome(&d)
	}
	for n := range byShard {
		sh := s.shards[n]
		bases[n] = sh.journal.last.Load()
		sh.hold(bases[n])
	}
	s.mu.Unlock()
	err := s.journals(ctx, byShard)
	if err == nil && len(evs) > 0 {
		err = s.teller.add(ctx, evs)
	}
	if err != nil {
		s.fatal(err) // the units stay in memory: the marks stay behind them
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for n, base := range bases {
		s.shards[n].unhold(base)
	}
	for _, o := range outs {
		if o.status == ledger.Retrying {
			o.job.next = o.next
			s.queue(o.job)
			continue
		}
		if o.job.unit.left--; o.job.unit.left == 0 {
			s.release(o.job.unit)
		}
	}
}

// hold keeps the told mark at base until unhold.
func (sh *shard) hold(base uint64) {
	if sh.telling == nil {
		sh.telling = map[uint64]int{}
	}
	sh.telling[base]++
}

func (sh *shard) unhold(base uint64) {
	if sh.telling[base]--; sh.telling[base] == 0 {
		delete(sh.telling, base)
	}
}

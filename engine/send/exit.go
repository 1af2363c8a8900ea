package send

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"nudge/channels"
	"nudge/engine/ledger"
)

const (
	// freshFor is how long, in ms, an answer of the exit check holds while its message waits for its turn.
	freshFor = int64(1000)
	// longestAside is how long a message is put aside at most before its exit is asked about again: a
	// store that is back is noticed within this.
	longestAside = 30 * time.Second
	// haltedFor is how long a message waits whose rule is halted before that is asked again.
	haltedFor = 5 * time.Second
)

// exitState is what the exit check says of a job.
type exitState uint8

const (
	unknown exitState = iota
	stays
	gone
)

// ask asks the exit check about every job, and waits for the answers until ctx ends.
func (s *Sender) ask(ctx context.Context, jobs []*job, now int64) []exitState {
	out := make([]exitState, len(jobs))
	one := func(i int) {
		exited, err := s.opts.Exited(ctx, jobs[i].unit.decision, now)
		switch {
		case err != nil:
		case exited:
			out[i] = gone
		default:
			out[i] = stays
		}
	}
	if ctx.Err() != nil { // nobody waits
		for i := range jobs {
			one(i)
		}
		return out
	}
	var wg sync.WaitGroup
	for i := range jobs {
		wg.Go(func() { one(i) })
	}
	wg.Wait()
	return out
}

// askNow is ask for what is known at once. What is not, but was a moment ago, is taken for that: the
// message had only to wait for its turn.
func (s *Sender) askNow(jobs []*job, now int64) []exitState {
	at, end := context.WithCancel(context.Background())
	end()
	out := s.ask(at, jobs, now)
	for i, j := range jobs {
		if age := now - j.cleared; out[i] == unknown && j.cleared != 0 && age >= 0 && age < freshFor {
			out[i] = stays
		}
	}
	return out
}

// askPatiently is ask for as long as Options.Patience, and remembers whether that was of any use.
func (s *Sender) askPatiently(ctx context.Context, jobs []*job, now int64) []exitState {
	asking, end := context.WithTimeout(ctx, s.opts.Patience)
	defer end()
	out := s.ask(asking, jobs, now)
	if ctx.Err() != nil {
		return out
	}
	blind := slices.Contains(out, unknown)
	s.mu.Lock()
	defer s.mu.Unlock()
	if blind && !s.blind {
		s.log.Warn("whether queued messages have exited cannot be known now; they are put aside and asked about again")
	}
	s.blind = blind
	return out
}

// check says which of the jobs that were picked may be sent and which end without. About those of which
// that is not known it asks on the side, so that what is known does not wait for them; stepped, it waits.
func (s *Sender) check(ctx, feed context.Context, p *provider, jobs []*job, now int64, wg *sync.WaitGroup) (clear []*job, ended []*outcome) {
	var open, waiting []*job
	for _, j := range jobs {
		o := givenUp(j, now)
		if o == nil {
			o = s.halted(j, now)
		}
		switch {
		case o == nil:
			open = append(open, j)
		case o.status == ledger.Retrying:
			j.next = o.next
			waiting = append(waiting, j)
		default:
			ended = append(ended, o)
		}
	}
	if len(waiting) > 0 {
		s.mu.Lock()
		for _, j := range waiting {
			p.wait(j)
		}
		s.mu.Unlock()
	}
	if s.opts.Exited == nil || len(open) == 0 {
		return open, ended
	}
	answers := s.askNow
	if s.stepped {
		answers = func(jobs []*job, now int64) []exitState { return s.ask(ctx, jobs, now) }
	}
	var unsure []*job
	for i, a := range answers(open, now) {
		switch j := open[i]; a {
		case stays:
			clear = append(clear, j)
		case gone:
			ended = append(ended, &outcome{job: j, status: ledger.StoppedExited, at: now})
		case unknown:
			unsure = append(unsure, j)
		}
	}
	switch {
	case len(unsure) == 0:
	case s.stepped:
		s.putAside(p, unsure, now)
	default:
		wg.Go(func() { s.inquire(feed, p, unsure) })
	}
	return clear, ended
}

// halted is the end of a job whose rule was paused while it was queued, or until when it waits, nil for others.
func (s *Sender) halted(j *job, now int64) *outcome {
	if s.opts.Halted == nil {
		return nil
	}
	switch halted, waits := s.opts.Halted(j.unit.decision.Rule); {
	case !halted:
		return nil
	case waits:
		return &outcome{
			job: j, status: ledger.Retrying, at: now, next: min(now+haltedFor.Milliseconds(), j.unit.expires),
			failed: &channels.DeliveryError{Class: channels.ClassTemporary, Code: "paused", Err: errors.New("its rule is paused, and goes on where it stopped")},
		}
	default:
		return &outcome{job: j, status: ledger.StoppedPaused, at: now}
	}
}

// inquire asks about jobs that are in no queue meanwhile, and puts each where its answer wants it.
func (s *Sender) inquire(ctx context.Context, p *provider, jobs []*job) {
	began := s.clock()
	answers := s.askPatiently(ctx, jobs, began)
	if ctx.Err() != nil {
		return // the run ends; the next one reads them from the stream
	}
	now := s.clock()
	var unsure []*job
	var ended []*outcome
	s.mu.Lock()
	for i, j := range jobs {
		switch answers[i] {
		case stays:
			j.cleared, j.aside = began, 0
			p.pushFront(j)
		case gone:
			ended = append(ended, &outcome{job: j, status: ledger.StoppedExited, at: now})
		case unknown:
			unsure = append(unsure, j)
		}
	}
	s.mu.Unlock()
	s.putAside(p, unsure, now)
	p.signal()
	s.conclude(ended)
}

// putAside lets jobs wait whose exit cannot be known; they are asked about again, and expire like any
// other.
func (s *Sender) putAside(p *provider, jobs []*job, now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range jobs {
		j.next = s.aside(p, j, now)
		p.wait(j)
	}
}

// aside is when a job whose exit cannot be known is asked about again. Sender.mu is held.
func (s *Sender) aside(p *provider, j *job, now int64) int64 {
	j.aside++
	s.metrics.aside.WithLabelValues(p.route.word, p.name).Inc()
	wait := min(float64(firstWait)*math.Pow(2, float64(j.aside-1)), float64(longestAside))
	wait *= 0.5 + jitter(j.key, j.aside)/2
	return min(now+time.Duration(wait).Milliseconds(), j.unit.expires)
}

// recheck asks once more about a batch that may have waited for a free call, and says how those end that
// are not to be sent now; nil is to be sent.
func (s *Sender) recheck(ctx context.Context, p *provider, batch []*job, now int64) []*outcome {
	out := make([]*outcome, len(batch))
	for i, j := range batch {
		out[i] = s.halted(j, now)
	}
	if s.opts.Exited == nil {
		return out
	}
	answers := s.askNow(batch, now)
	s.mu.Lock()
	blind := s.blind
	s.mu.Unlock()
	switch {
	case blind || !slices.Contains(answers, unknown):
	case s.stepped:
		answers = s.ask(ctx, batch, now)
	default:
		answers = s.askPatiently(ctx, batch, now)
	}
	for i, j := range batch {
		if out[i] != nil {
			continue
		}
		switch answers[i] {
		case stays:
		case gone:
			out[i] = &outcome{job: j, status: ledger.StoppedExited, at: now}
		case unknown:
			s.mu.Lock()
			next := s.aside(p, j, now)
			s.mu.Unlock()
			out[i] = &outcome{job: j, status: ledger.Retrying, at: now, next: next, failed: exitUnknown()}
		}
	}
	return out
}

// exitUnknown says why a message was not sent.
func exitUnknown() *channels.DeliveryError {
	return &channels.DeliveryError{
		Class: channels.ClassTemporary, Code: "exit_unknown",
		Err: errors.New("whether the person has exited could not be known: what was acknowledged was not all resolved"),
	}
}

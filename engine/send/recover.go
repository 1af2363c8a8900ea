package send

import (
	"context"
	"encoding/json"
	"fmt"

	"nudge/engine/ledger"
	"nudge/events"
	"nudge/events/queue"
)

// mark is how far one shard is done; it is kept in the queue's notes.
type mark struct {
	// Decisions: every unit of a decision up to this sequence is resolved and told.
	Decisions uint64 `json:"decisions"`
	// Deliveries: no record up to this sequence is about a decision after Decisions.
	Deliveries uint64 `json:"deliveries"`
	// Told: the outcomes up to this sequence are events.
	Told uint64 `json:"told"`
}

// past is what the delivery stream says of one unit from before the start.
type past struct {
	jobs  map[string]*pastJob // by device
	final *ledger.Delivery    // the outcome of the whole
	seq   uint64              // of final
}

type pastJob struct {
	attempt int
	next    int64
	begun   bool // an intent stands without an outcome
	closed  bool
}

// fold takes in one record.
func (p *past) fold(d *ledger.Delivery, seq uint64) {
	j := p.jobs[d.Device]
	if j == nil {
		j = &pastJob{}
		p.jobs[d.Device] = j
	}
	j.attempt = max(j.attempt, d.Attempt)
	switch d.Status {
	case ledger.Intent:
		j.begun = true
	case ledger.Retrying:
		j.begun, j.next, j.closed = false, d.Next, d.Next == 0
	default:
		j.begun, j.closed = false, true
		if p.final == nil {
			short := *d
			short.Text = nil
			p.final, p.seq = &short, seq
		}
	}
}

// apply takes over what happened to the unit's jobs, and says whether nothing is left to send.
func (p *past) apply(u *unit) (done bool) {
	u.accepted = p.final != nil && p.final.Status == ledger.Accepted
	over := p.final != nil && !u.accepted
	u.open = 0
	for _, j := range u.jobs {
		if was := p.jobs[j.device]; was != nil {
			j.attempt, j.next, j.begun, j.closed = was.attempt, was.next, was.begun, was.closed
		}
		if j.closed = j.closed || over; !j.closed {
			u.open++
		}
	}
	return u.open == 0
}

// recover reads the marks and, from there, what became of everything.
func (s *Sender) recover(ctx context.Context) error {
	if s.recovered {
		return nil
	}
	end, err := s.opts.Decisions.Last(ctx, queue.AllShards)
	if err != nil {
		return fmt.Errorf("start the sender: %w", err)
	}
	s.startEnd = end
	after := end
	for _, n := range s.opts.Shards {
		sh := &shard{number: n}
		if err := s.loadMark(ctx, sh); err != nil {
			return err
		}
		// Before the replay: whoever writes after this fences us.
		last, err := s.opts.Deliveries.Last(ctx, n)
		if err != nil {
			return fmt.Errorf("start the sender: %w", err)
		}
		sh.journal = newJournal(s.opts.Deliveries, n, last, s.log, s.life)
		err = s.opts.Deliveries.Replay(ctx, n, sh.mark.Deliveries, func(r queue.Record) error {
			chunk, err := ledger.DecodeChunk(r.Data)
			if err != nil {
				return fmt.Errorf("read record %d of the delivery stream: %w", r.Seq, err)
			}
			for i := range chunk.Records {
				if d := chunk.Records[i].Delivery; d != nil {
					s.past(unitKey{d.Entry, d.Channel}).fold(d, r.Seq)
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("start the sender: %w", err)
		}
		s.mu.Lock()
		s.shards[n] = sh
		s.mu.Unlock()
		after = min(after, sh.mark.Decisions)
	}
	s.pos = after
	s.recovered = true
	s.log.Debug("sender recovered", "after", after, "end", end, "units", len(s.pasts))
	return nil
}

func (s *Sender) past(key unitKey) *past {
	p := s.pasts[key]
	if p == nil {
		p = &past{jobs: map[string]*pastJob{}}
		s.pasts[key] = p
	}
	return p
}

func noteName(shard int) string { return fmt.Sprintf("send.%d", shard) }

func (s *Sender) loadMark(ctx context.Context, sh *shard) error {
	raw, err := s.opts.Notes.Note(ctx, noteName(sh.number))
	if err != nil {
		return fmt.Errorf("start the sender: %w", err)
	}
	if raw == nil {
		return nil
	}
	if err := json.Unmarshal(raw, &sh.mark); err != nil {
		return fmt.Errorf("start the sender: the resume position of shard %d cannot be read: %w", sh.number, err)
	}
	return nil
}

// shard is what the sender knows of one shard; guarded by Sender.mu, but for the journal.
type shard struct {
	number  int
	journal *journal
	mark    mark // as saved
	// trail says, for each decision message read, how far the delivery stream was then: all records
	// about it come after.
	trail []step
	// telling counts outcomes that are being written or told, by how far the stream was before.
	telling map[uint64]int
}

type step struct{ decision, delivery uint64 }

// passed notes that a decision message was read.
func (sh *shard) passed(seq uint64, old bool) {
	at := sh.journal.last.Load()
	if old { // read once before, in an earlier run, when the stream was shorter
		at = sh.mark.Deliveries
	}
	sh.trail = append(sh.trail, step{seq, at})
}

// marks computes how far every shard is done.
func (s *Sender) marks() map[int]mark {
	lasts := make(map[int]uint64, len(s.shards))
	for n, sh := range s.shards {
		lasts[n] = sh.journal.last.Load() // first: what is told after this is later
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	low := make(map[int]uint64, len(s.shards))
	for n := range s.shards {
		low[n] = s.pos
	}
	for _, u := range s.units {
		low[u.shard] = min(low[u.shard], u.seq-1)
	}
	for _, l := range s.lines {
		for n, c := range l.behind {
			low[n] = min(low[n], c.seq-1)
		}
	}
	out := make(map[int]mark, len(s.shards))
	for n, sh := range s.shards {
		m := mark{Decisions: max(low[n], sh.mark.Decisions), Deliveries: lasts[n], Told: lasts[n]}
		for len(sh.trail) > 0 && sh.trail[0].decision <= m.Decisions {
			sh.trail = sh.trail[1:]
		}
		if len(sh.trail) > 0 {
			m.Deliveries = sh.trail[0].delivery
		}
		for base := range sh.telling {
			m.Told = min(m.Told, base)
		}
		if s.pos < s.startEnd {
			// Decisions of before the start are still to be read: a second crash must find what the
			// first run wrote about them.
			m.Deliveries, m.Told = sh.mark.Deliveries, sh.mark.Told
		}
		out[n] = m
	}
	return out
}

// Save keeps how far the sender is, so that the next start reads on from there. Run does so by
// itself; without it the next start reads more again, and sends nothing again.
func (s *Sender) Save(ctx context.Context) error {
	for n, m := range s.marks() {
		s.mu.Lock()
		same := s.shards[n].mark == m
		s.mu.Unlock()
		if same {
			continue
		}
		raw, err := json.Marshal(m)
		if err != nil {
			return fmt.Errorf("save the sender's position: %w", err)
		}
		if err := s.opts.Notes.SetNote(ctx, noteName(n), raw); err != nil {
			return fmt.Errorf("save the sender's position: %w", err)
		}
		s.mu.Lock()
		s.shards[n].mark = m
		s.mu.Unlock()
	}
	return nil
}

// Done says up to which sequence of the two streams the sender needs nothing of a shard any more,
// also after a restart: both may be purged up to and including it (but for the last message).
func (s *Sender) Done(shard int) (decisions, deliveries uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := s.shards[shard]
	if sh == nil {
		return 0, 0
	}
	return sh.mark.Decisions, sh.mark.Deliveries
}

// retell makes the event of an outcome that may not have been told before a crash.
func (s *Sender) retell(u *unit, p *past) []events.Event {
	if p.final == nil || p.seq <= s.shards[u.shard].mark.Told {
		return nil
	}
	return outcomeEvents(u, p.final, Rendered{})
}

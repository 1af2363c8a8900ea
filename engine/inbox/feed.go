package inbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	channel "nudge/channels/inbox"
	"nudge/engine/ledger"
	"nudge/events"
	"nudge/events/queue"
)

// delivered is one message as the delivery stream, or the table, has it.
type delivered struct {
	place
	messageKey
	person events.PersonID // when it was sent
	at     int64           // Unix ms
	signed string
	text   json.RawMessage
}

// feed reads the delivery stream once for all who listen.
type feed struct {
	people People
	copied func() uint64
	open   prometheus.Gauge
	cut    prometheus.Counter

	mu      sync.Mutex
	at      uint64      // messages of the delivery stream up to here were taken in
	recent  []delivered // what the tables may not have yet, in order
	bytes   int         // of recent's texts
	changed events.Position
	streams map[*stream]struct{}
	by      map[events.PersonID][]*stream // those of users whom nobody has seen yet under 0
	closed  bool
}

const (
	// mostRecent bounds the texts in memory while the store takes nothing, in bytes. Beyond it the oldest are left to
	// the tables: an app sees them once they are there.
	mostRecent = 64 << 20
	// mostStreams are open at once, and mostOfUser of them for one user.
	mostStreams = 20_000
	mostOfUser  = 16
	// streamHolds is how many messages wait for a reader. One that is slower is cut off, and comes back.
	streamHolds = 64
)

func newFeed(people People, copied func() uint64) *feed {
	return &feed{
		people: people, copied: copied, at: copied(), streams: map[*stream]struct{}{}, by: map[events.PersonID][]*stream{},
		open: prometheus.NewGauge(prometheus.GaugeOpts{Name: "nudge_inbox_streams", Help: "Streams of inboxes that are open."}),
		cut: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "nudge_inbox_streams_cut_total", Help: "Streams of inboxes that were ended because their reader was too slow.",
		}),
	}
}

func (f *feed) register(r prometheus.Registerer) error {
	for _, c := range []prometheus.Collector{f.open, f.cut} {
		err := r.Register(c)
		already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err)
		switch {
		case ok && c == f.open:
			f.open = already.ExistingCollector.(prometheus.Gauge)
		case ok:
			f.cut = already.ExistingCollector.(prometheus.Counter)
		case err != nil:
			return fmt.Errorf("register the metrics of the inbox: %w", err)
		}
	}
	return nil
}

// stream is one reader.
type stream struct {
	user   string
	person events.PersonID // 0: nobody yet
	news   chan delivered  // closed when the stream is to end
	ended  bool            // news is closed
}

func (f *feed) position() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at
}

// take takes in one message of the delivery stream. It waits for nobody.
func (f *feed) take(rec queue.Record) error {
	chunk, err := ledger.DecodeChunk(rec.Data)
	if err != nil {
		return fmt.Errorf("read message %d of the delivery stream: %w", rec.Seq, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at = rec.Seq
	f.forget()
	news := false
	for i := range chunk.Records {
		d := chunk.Records[i].Delivery
		if d == nil || d.Adapter != channel.Name || d.Status != ledger.Accepted || len(d.Text) == 0 {
			continue
		}
		if !news {
			news = true
			f.meet()
		}
		m := delivered{
			place: place{rec.Seq, uint32(i)}, messageKey: messageKey{d.Entry, d.Channel}, //nolint:gosec // records of a message are few
			person: d.Person, at: d.At, signed: d.Provider, text: d.Text,
		}
		f.recent, f.bytes = append(f.recent, m), f.bytes+len(m.text)
		person := f.people.Canonical(m.person)
		f.tell(person, m)
		if person != m.person && m.person != 0 {
			f.tell(m.person, m) // who has not been met as the other yet
		}
	}
	return nil
}

// tell hands a message to those who listen for a person, and cuts off those who do not keep up. f.mu is held.
func (f *feed) tell(person events.PersonID, m delivered) {
	for _, s := range f.by[person] {
		if s.ended {
			continue
		}
		select {
		case s.news <- m:
		default:
			f.cut.Inc()
			s.end()
		}
	}
}

func (s *stream) end() {
	if !s.ended {
		s.ended = true
		close(s.news)
	}
}

// forget drops what the tables have. f.mu is held.
func (f *feed) forget() {
	copied, n := f.copied(), 0
	for n < len(f.recent) && (f.recent[n].seq <= copied || f.bytes > mostRecent) {
		f.bytes -= len(f.recent[n].text)
		n++
	}
	clear(f.recent[:n]) // the texts go before the array does
	f.recent = f.recent[n:]
}

// meet finds out anew whom streams listen for, where people may have become others. f.mu is held.
func (f *feed) meet() {
	changed := f.people.Changed()
	if changed != f.changed {
		f.changed = changed
		clear(f.by)
		for s := range f.streams {
			f.place(s)
		}
		return
	}
	strangers := f.by[0]
	delete(f.by, 0)
	for _, s := range strangers {
		f.place(s)
	}
}

// place enters a stream under the person that its user is now. f.mu is held.
func (f *feed) place(s *stream) {
	person, known := f.people.Resolve(s.user, "")
	if !known {
		person = 0
	}
	s.person = person
	f.by[person] = append(f.by[person], s)
}

// Reasons why no stream begins.
var (
	errClosed  = errors.New("nudge is stopping; come back in a moment")
	errStreams = errors.New("too many streams are open; come back in a moment")
	errOfUser  = fmt.Errorf("the user has %d streams open; close some", mostOfUser)
)

// listen begins a stream. What was accepted up to `since` is not told to it; what comes behind is.
func (f *feed) listen(user string) (s *stream, since place, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return nil, place{}, errClosed
	case len(f.streams) >= mostStreams:
		return nil, place{}, errStreams
	}
	s = &stream{user: user, news: make(chan delivered, streamHolds)}
	f.place(s)
	of := 0
	for _, o := range f.by[s.person] {
		if o.user == user && !o.ended {
			of++
		}
	}
	if of > mostOfUser {
		f.remove(s)
		return nil, place{}, errOfUser
	}
	f.streams[s] = struct{}{}
	f.open.Set(float64(len(f.streams)))
	return s, place{f.at, ^uint32(0)}, nil
}

// leave ends a stream.
func (f *feed) leave(s *stream) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.end()
	delete(f.streams, s)
	f.remove(s)
	f.open.Set(float64(len(f.streams)))
}

// remove takes a stream out of those of its person. f.mu is held.
func (f *feed) remove(s *stream) {
	others := f.by[s.person][:0]
	for _, o := range f.by[s.person] {
		if o != s {
			others = append(others, o)
		}
	}
	if f.by[s.person] = others; len(others) == 0 {
		delete(f.by, s.person)
	}
}

func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for s := range f.streams {
		s.end()
	}
}

// of are the messages of a person that the tables may not have yet, in order.
func (f *feed) of(person events.PersonID) []delivered {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forget()
	var out []delivered
	for _, m := range f.recent {
		if f.people.Canonical(m.person) == person {
			out = append(out, m)
		}
	}
	return out
}

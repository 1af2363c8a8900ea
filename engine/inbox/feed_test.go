package inbox

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"nudge/engine/ledger"
	"nudge/engine/send"
	"nudge/events"
	"nudge/events/queue"
)

// town is who is who: user ids and what became of people.
type town struct {
	users   map[string]events.PersonID
	merged  map[events.PersonID]events.PersonID
	changed events.Position
	stored  events.Position
}

func (p *town) Resolve(user, _ string) (events.PersonID, bool) {
	id, ok := p.users[user]
	return p.Canonical(id), ok
}

func (p *town) Canonical(id events.PersonID) events.PersonID {
	if into, ok := p.merged[id]; ok {
		return into
	}
	return id
}

func (p *town) Position() events.Position                      { return p.stored }
func (p *town) Changed() events.Position                       { return p.changed }
func (p *town) WaitFor(context.Context, events.Position) error { return nil }
func (p *town) feed(copied *uint64) *feed                      { return newFeed(p, func() uint64 { return *copied }) }

func accepted(person events.PersonID, text string) ledger.Delivery {
	return ledger.Delivery{Entry: "e" + text, Channel: "inbox", Adapter: "inbox", Person: person, Status: ledger.Accepted, Text: []byte(`{"title":"` + text + `"}`)}
}

// record is one message of the delivery stream.
func record(t *testing.T, seq uint64, of ...ledger.Delivery) queue.Record {
	t.Helper()
	var records []ledger.Record
	for i := range of {
		records = append(records, ledger.Record{Delivery: &of[i]})
	}
	data, err := ledger.EncodeChunk(records)
	require.NoError(t, err)
	return queue.Record{Seq: seq, Data: data}
}

// waiting are the texts that wait in a stream, and whether it has ended behind them.
func waiting(s *stream) (texts []string, ended bool) {
	for {
		select {
		case d, ok := <-s.news:
			if !ok {
				return texts, true
			}
			texts = append(texts, string(d.text))
		default:
			return texts, false
		}
	}
}

func TestASlowReaderIsCutOffAndDelaysNobody(t *testing.T) {
	copied := uint64(0)
	f := (&town{users: map[string]events.PersonID{"ann": 1}}).feed(&copied)
	slow, _, err := f.listen("ann")
	require.NoError(t, err)
	quick, _, err := f.listen("ann")
	require.NoError(t, err)
	for n := range streamHolds + 1 {
		require.NoError(t, f.take(record(t, uint64(n+1), accepted(1, strconv.Itoa(n)))))
		texts, ended := waiting(quick)
		require.Len(t, texts, 1)
		require.False(t, ended)
	}
	texts, ended := waiting(slow)
	require.True(t, ended)
	require.Len(t, texts, streamHolds, "what it was told is whole up to where it ends")
	require.InDelta(t, 1, testutil.ToFloat64(f.cut), 0)
	f.leave(slow)
	f.leave(quick)
	require.Empty(t, f.by)
	require.Empty(t, f.streams)
	require.InDelta(t, 0, testutil.ToFloat64(f.open), 0)
}

func TestWhatTheTablesHaveIsForgotten(t *testing.T) {
	copied := uint64(0)
	f := (&town{}).feed(&copied)
	failed := accepted(1, "failed")
	failed.Status = ledger.Failed
	elsewhere := accepted(1, "a push")
	elsewhere.Adapter = "apns"
	require.NoError(t, f.take(record(t, 1, accepted(1, "a"), failed, elsewhere, accepted(2, "b"))))
	require.NoError(t, f.take(record(t, 2, accepted(1, "c"))))
	places := func() (out []string) {
		for _, d := range f.of(1) {
			out = append(out, d.String())
		}
		return out
	}
	require.Equal(t, []string{"1-0", "2-0"}, places())
	require.Len(t, f.of(2), 1)
	copied = 1
	require.Equal(t, []string{"2-0"}, places())
	copied = 2
	require.Empty(t, places())
	require.Zero(t, f.bytes)
	require.ErrorContains(t, f.take(queue.Record{Seq: 3, Data: []byte("no chunk")}), "message 3")
}

func TestReportsAreKeptUntilTheStoreHasThem(t *testing.T) {
	at := time.Unix(1_000_000, 0)
	p := &town{}
	told := newTold([]string{"inbox"}, p.Position, func() time.Time { return at })
	say := func(pos events.Position, name, entry, channel string) {
		told.hear([]events.Event{{Kind: events.KindMessage, Name: name, Properties: fmt.Appendf(nil, `{"entry": %q, "channel": %q}`, entry, channel)}}, pos)
	}
	key := messageKey{"e1", "inbox"}
	say(10, events.MessageOpened, "e1", "inbox")
	say(11, events.MessageOpened, "e1", "push")
	say(12, events.MessageDelivered, "e2", "inbox")
	require.Equal(t, state{read: true}, told.of(key))
	require.Len(t, told.states, 1, "of other channels, and of what no inbox shows, nothing is kept")
	at = at.Add(remember)
	say(20, events.MessageDismissed, "e1", "inbox")
	p.stored, at = 15, at.Add(time.Second)
	say(21, events.MessageOpened, "e3", "inbox")
	require.Equal(t, state{read: true, dismissed: true}, told.of(key))
	p.stored = 30
	say(40, events.MessageOpened, "e4", "inbox")
	require.True(t, told.of(key).dismissed, "a query may have begun before the store had it")
	at = at.Add(remember + time.Second)
	say(41, events.MessageOpened, "e4", "inbox")
	require.Zero(t, told.of(key))
	require.True(t, told.of(messageKey{"e4", "inbox"}).read)
}

func TestPlaces(t *testing.T) {
	for text, ok := range map[string]bool{"1-2": true, "18446744073709551615-4294967295": true, "": false, "1": false, "1-": false, "1-2x": false, "-1-2": false, "01-2": false, "1-4294967296": false} {
		p, got := parsePlace(text)
		require.Equal(t, ok, got, text)
		if ok {
			require.Equal(t, text, p.String())
		}
	}
	require.True(t, place{2, 0}.after(place{1, 9}))
	require.True(t, place{1, 2}.after(place{1, 1}))
	require.False(t, place{1, 1}.after(place{1, 1}))
}

// answer is a response that is read while it is written.
type answer struct {
	io.Writer
	header http.Header
}

func (a answer) Header() http.Header { return a.header }
func (a answer) WriteHeader(int)     {}
func (a answer) Flush()              {}

func TestAStreamThatIsQuietSaysSoUntilItsTokenExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		signer, err := send.NewSigner([]byte("0123456789abcdef"))
		require.NoError(t, err)
		copied := uint64(0)
		p := &town{users: map[string]events.PersonID{"ann": 1}}
		in := &Inbox{o: Options{Signer: signer, Now: time.Now}, feed: p.feed(&copied)}
		s, since, err := in.feed.listen("ann")
		require.NoError(t, err)
		start := time.Now()
		read, written := io.Pipe()
		go func() {
			in.follow(t.Context(), s, newSSE(answer{written, http.Header{}}), since, start.Add(time.Minute))
			_ = written.Close()
		}()
		var got []string
		for lines := bufio.NewScanner(read); lines.Scan(); {
			if strings.HasPrefix(lines.Text(), ":") {
				got = append(got, fmt.Sprint(time.Since(start).Seconds(), lines.Text()))
			}
		}
		require.Equal(t, []string{"25: still here", "50: still here"}, got)
		require.Equal(t, 75*time.Second, time.Since(start))
	})
}

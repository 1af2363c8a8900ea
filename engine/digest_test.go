package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/engine"
	"nudge/engine/enginetest"
	"nudge/engine/ledger"
	"nudge/events"
	"nudge/events/queue"
)

// letters is a world whose rules collect, and one that sends what they did at ten every day.
func letters(t *testing.T) *enginetest.World {
	t.Helper()
	files := map[string]string{
		"nudge.yaml": "zone: UTC\nkeys: [{name: web, write_key: wk}]\nchannels: {email: {adapter: stdout}, digest: {adapter: digest}}\n" +
			"caps: [{name: one, max: 1, per: 12h, window: rolling, scope: all, at_cap: retry}]\n",
		"rules/letter.yaml": "rule: letter\ndigest: digest\nschedule: \"0 10 * * *\"\nmessage: {email: {subject: \"{{ items | map: 'title' | join: ', ' }}\", text: t}}\n",
		"rules/news.yaml": "rule: news\non: {event: News, by: n}\nagain: never\nexit: {event: Read, where: properties.n == entry.value}\n" +
			"with: {n: trigger.properties.n}\nmessage: {digest: {title: \"n{{ n }}\"}}\n",
		"rules/seen.yaml": "rule: seen\nschedule: \"0 * * * *\"\nbackfill: true\nwhen: event(\"Seen\").last.ago < hours(2)\nagain: never\nmessage: {digest: {title: seen}}\n",
	}
	return enginetest.New(t, files)
}

// subjects are those of the letters, in the order in which they were sent.
func subjects(w *enginetest.World) []string {
	var out []string
	for _, m := range w.Sent.Accepted() {
		out = append(out, fmt.Sprint(m.Fields["subject"]))
	}
	return out
}

func TestADigest(t *testing.T) {
	w := letters(t)
	w.Identify("ann", "", map[string]any{"email": "ann@shop.example"})
	w.To(2 * hour)
	w.Track("ann", "News", map[string]any{"n": "1"})
	w.Track("ann", "News", map[string]any{"n": "2"})
	w.Track("ann", "Seen", nil)
	w.To(6 * hour)
	w.Track("ann", "Read", map[string]any{"n": "1"})
	w.Restart()
	require.Empty(t, subjects(w))
	w.To(2 * day)
	require.Equal(t, []string{"seen, n2"}, subjects(w), "the newest first, though its condition is true no more; what was read is left out")
	require.Equal(t, []string{"letter ann send", "news ann1 exited", "news ann2 in_digest", "seen ann in_digest"}, answers(w))
	w.Track("ann", "News", map[string]any{"n": "3"})
	w.Restart()
	w.To(4 * day)
	require.Equal(t, []string{"seen, n2", "n3"}, subjects(w))
}

func TestADigestOfTwoWhoAreOne(t *testing.T) {
	for name, together := range map[string]bool{"on one shard": true, "on two shards": false} {
		t.Run(name, func(t *testing.T) {
			w := letters(t)
			w.Identify("ann", "", map[string]any{"email": "ann@shop.example"})
			anonymous, _, _ := couple(t, w, "ann", together)
			w.Send(events.Event{Kind: events.KindIdentify, AnonymousID: anonymous, Traits: []byte(`{"email":"anon@shop.example"}`)})
			w.To(2 * hour)
			w.Track("ann", "News", map[string]any{"n": "1"})
			w.Track("ann", "News", map[string]any{"n": "2"})
			w.Send(events.Event{Kind: events.KindTrack, AnonymousID: anonymous, Name: "News", Properties: []byte(`{"n":"3"}`)})
			w.To(3 * hour)
			w.Identify("ann", anonymous, nil)
			w.To(2 * day)
			require.Len(t, subjects(w), 1)
			got := strings.Split(subjects(w)[0], ", ")
			slices.Sort(got)
			require.Equal(t, []string{"n1", "n2", "n3"}, got)
		})
	}
}

// TestADigestWhoseCommitFails has the commit of a digest go wrong. Each thing must be in one digest, and one only.
func TestADigestWhoseCommitFails(t *testing.T) {
	lost := errors.New("no answer")
	for name, arrange := range map[string]func(ctx context.Context, w *enginetest.World, decisions *trouble){
		"it was not written": func(_ context.Context, _ *enginetest.World, decisions *trouble) {
			decisions.publish = func(int, []byte, uint64) error { return lost }
		},
		"it was written, and its answer lost": func(ctx context.Context, _ *enginetest.World, decisions *trouble) {
			decisions.publish = func(shard int, payload []byte, expect uint64) error {
				_, err := decisions.Stream.Publish(ctx, shard, payload, expect)
				return errors.Join(lost, err)
			}
		},
		"it is written after the stream was read": func(ctx context.Context, _ *enginetest.World, decisions *trouble) {
			decisions.publish = func(shard int, payload []byte, expect uint64) error {
				decisions.last = func() { _, _ = decisions.Stream.Publish(ctx, shard, payload, expect) }
				return lost
			}
		},
		"the ledger copies and the streams are purged meanwhile": func(ctx context.Context, w *enginetest.World, decisions *trouble) {
			decisions.publish = func(shard int, payload []byte, expect uint64) error {
				_, err := decisions.Stream.Publish(ctx, shard, payload, expect)
				return errors.Join(lost, err, w.Flush(ctx), purge(ctx, w))
			}
		},
	} {
		for _, stopped := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, stopped %v", name, stopped), func(t *testing.T) {
				w := letters(t)
				var decisions *trouble
				w.App.Engine.Between(
					func(s engine.Stream) engine.Stream {
						if decisions == nil {
							decisions = &trouble{Stream: s}
						}
						return decisions
					},
					func(s engine.Stream) engine.Stream { return s })
				w.Identify("ann", "", map[string]any{"email": "ann@shop.example"})
				w.To(2 * hour)
				for n := range 5 {
					w.Track("ann", "News", map[string]any{"n": strconv.Itoa(n)})
				}
				w.To(day)
				now := enginetest.Start() + day + hour
				w.Clock.Set(now)
				arrange(t.Context(), w, decisions)
				require.Error(t, w.App.Engine.Step(t.Context(), now), "the commit failed")
				if stopped {
					w.Restart()
				}
				w.To(3 * day)
				require.Equal(t, []string{"n0, n1, n2, n3, n4"}, subjects(w))
				require.Equal(t, []string{"letter ann send", "news ann0 in_digest", "news ann1 in_digest", "news ann2 in_digest", "news ann3 in_digest", "news ann4 in_digest"}, answers(w))
				var twice uint64
				require.NoError(t, w.Store.Conn().QueryRow(t.Context(), "SELECT count() FROM (SELECT 1 FROM decisions GROUP BY entry, attempt HAVING count() > 1)").Scan(&twice))
				require.Zero(t, twice, "decided twice")
			})
		}
	}
}

// TestADigestIsOneRecord: nothing can come between a digest and what it takes along, because they are one record.
func TestADigestIsOneRecord(t *testing.T) {
	w := letters(t)
	w.Identify("ann", "", map[string]any{"email": "ann@shop.example"})
	w.To(2 * hour)
	w.Together(func() {
		for n := range 150 {
			w.Track("ann", "News", map[string]any{"n": strconv.Itoa(n)})
		}
	})
	w.To(day + 2*hour)
	log, err := w.App.Queue.Log(t.Context(), "decisions")
	require.NoError(t, err)
	var sizes []int
	require.NoError(t, log.Replay(t.Context(), -1, 0, func(m queue.Record) error {
		var written ledger.Chunk
		require.NoError(t, json.Unmarshal(m.Data, &written))
		for _, r := range written.Records {
			if r.Decision != nil && r.Decision.Rule == "letter" {
				sizes = append(sizes, len(r.Decision.Items))
			}
		}
		return nil
	}))
	require.Equal(t, []int{100}, sizes)
	w.To(2*day + 2*hour)
	require.Len(t, subjects(w), 2, "the rest had the next one")
}

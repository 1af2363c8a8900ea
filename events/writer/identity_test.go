package writer

import (
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"nudge/events"
)

var testSalt = salt{1, 2, 3}

func applyAll(s *identity, evs []events.Event) []events.PersonID {
	people := make([]events.PersonID, len(evs))
	for i := range evs {
		people[i], _ = s.apply(&evs[i], events.At(uint64(i+1), 0))
	}
	return people
}

func who(s *identity, kind, id string) events.PersonID {
	p, _ := s.find(s.key(kind, id))
	return p
}

func at(seq uint64) events.PersonID { return events.PersonID(events.At(seq, 0)) }

func track(user, anon string) events.Event {
	return events.Event{Kind: events.KindTrack, UserID: user, AnonymousID: anon, Time: 100}
}

func identify(user, anon string) events.Event {
	return events.Event{Kind: events.KindIdentify, UserID: user, AnonymousID: anon, Time: 100}
}

func alias(user, previous string, secret bool) events.Event {
	ev := events.Event{Kind: events.KindAlias, UserID: user, PreviousID: previous, Time: 100}
	if secret {
		ev.Flags |= events.KnownAlias
	}
	return ev
}

func erase(user string, time int64) events.Event {
	return events.Event{Kind: events.KindErase, UserID: user, Time: time}
}

func TestIdentity(t *testing.T) {
	tests := map[string]struct {
		events []events.Event
		want   []uint64 // the person of each event, as the number of the event that named them; 0: nobody
		merges int
	}{
		"a user id decides whatever the anonymous id": {
			events: []events.Event{track("", "a"), track("u", "a"), track("", "a"), track("u", "")},
			want:   []uint64{1, 2, 1, 2},
		},
		"identify gives a new user id to the anonymous person, without a merge": {
			events: []events.Event{track("", "a"), identify("u", "a"), track("u", ""), track("", "a")},
			want:   []uint64{1, 1, 1, 1},
		},
		"identify merges the anonymous person into the known one, though older": {
			events: []events.Event{track("", "a"), track("u", ""), identify("u", "a"), track("", "a")},
			want:   []uint64{1, 2, 2, 2},
			merges: 1,
		},
		"an anonymous id stays with its first user": {
			events: []events.Event{identify("u", "a"), identify("v", "a"), track("", "a"), track("v", "")},
			want:   []uint64{1, 2, 1, 2},
		},
		"a second device joins its user": {
			events: []events.Event{identify("u", "a"), identify("u", "b"), track("", "b")},
			want:   []uint64{1, 1, 1},
		},
		"identify with one id only links nothing": {
			events: []events.Event{identify("u", ""), identify("", "a"), track("", "a")},
			want:   []uint64{1, 2, 2},
		},
		"alias joins an anonymous id, known wins": {
			events: []events.Event{track("", "a"), track("u", ""), alias("u", "a", false), track("", "a")},
			want:   []uint64{1, 2, 2, 2},
			merges: 1,
		},
		"alias of two anonymous people: the older wins": {
			events: []events.Event{
				track("", "a"), track("", "b"),
				{Kind: events.KindAlias, AnonymousID: "b", PreviousID: "a"},
				track("", "b"),
			},
			want:   []uint64{1, 2, 1, 1},
			merges: 1,
		},
		"alias of known people without the secret key changes nothing": {
			events: []events.Event{track("u", ""), track("v", ""), alias("u", "v", false), track("v", "")},
			want:   []uint64{1, 2, 1, 2},
		},
		"alias of a known person to a new user id without the secret key gives a new person": {
			events: []events.Event{track("v", ""), alias("u", "v", false), track("v", ""), track("u", "")},
			want:   []uint64{1, 2, 1, 2},
		},
		"alias of known people with the secret key: the older wins": {
			events: []events.Event{track("u", ""), track("v", ""), alias("v", "u", true), track("v", "")},
			want:   []uint64{1, 2, 1, 1},
			merges: 1,
		},
		"alias with the secret key to a new user id renames": {
			events: []events.Event{track("v", ""), alias("u", "v", true), track("u", "")},
			want:   []uint64{1, 1, 1},
		},
		"a circle of aliases ends where it began": {
			events: []events.Event{
				track("u", ""), track("v", ""), track("w", ""),
				alias("v", "u", true), alias("w", "v", true), alias("u", "w", true), track("w", ""),
			},
			want:   []uint64{1, 2, 3, 1, 1, 1, 1},
			merges: 2,
		},
		"alias to oneself": {
			events: []events.Event{alias("u", "u", true), track("u", "")},
			want:   []uint64{1, 1},
		},
		"an alias may come before anything else": {
			events: []events.Event{alias("u", "a", false), track("", "a"), track("u", "")},
			want:   []uint64{1, 1, 1},
		},
		"user and anonymous ids are two name spaces": {
			events: []events.Event{track("x", ""), track("", "x")},
			want:   []uint64{1, 2},
		},
		"a merged person's message outcome": {
			events: []events.Event{
				track("", "a"), track("u", ""), identify("u", "a"),
				{Kind: events.KindMessage, AnonymousID: "a", Time: 100},
			},
			want:   []uint64{1, 2, 2, 2},
			merges: 1,
		},
		"an outcome names nobody new": {
			events: []events.Event{{Kind: events.KindMessage, UserID: "u", Time: 100}},
			want:   []uint64{0},
		},
		"erased: the past is refused, a new start is a new person": {
			events: []events.Event{
				identify("u", "a"), erase("u", 1000), track("u", ""), track("", "a"),
				{Kind: events.KindTrack, UserID: "u", Time: 1001},
				{Kind: events.KindTrack, AnonymousID: "a", Time: 1000},
				track("u", ""), track("", "a"),
				{Kind: events.KindIdentify, UserID: "u", AnonymousID: "a", Time: 1002},
			},
			want:   []uint64{1, 1, 0, 0, 5, 6, 0, 0, 5},
			merges: 1,
		},
		"erased: whoever was merged is gone too": {
			events: []events.Event{
				track("u", ""), track("v", ""), alias("u", "v", true), erase("v", 1000), track("u", ""),
				{Kind: events.KindMessage, UserID: "u", Time: 2000},
			},
			want:   []uint64{1, 2, 1, 1, 0, 0},
			merges: 1,
		},
		"erasing somebody unknown still refuses their past": {
			events: []events.Event{erase("u", 1000), track("u", ""), {Kind: events.KindTrack, UserID: "u", Time: 1000}},
			want:   []uint64{0, 0, 3},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newIdentity(testSalt)
			var want []events.PersonID
			for _, n := range tt.want {
				want = append(want, at(n)&^0xffff)
			}
			require.Equal(t, want, applyAll(s, tt.events))
			require.Len(t, s.merges, tt.merges)
		})
	}
}

// events of a small world, so that ids meet often.
func anyEvent(t *rapid.T) events.Event {
	user := rapid.SampledFrom([]string{"", "u1", "u2", "u3", "x"})
	anon := rapid.SampledFrom([]string{"", "a1", "a2", "a3", "x"})
	ev := events.Event{
		Kind: rapid.SampledFrom([]events.Kind{
			events.KindTrack, events.KindTrack, events.KindIdentify, events.KindIdentify,
			events.KindAlias, events.KindAlias, events.KindErase, events.KindMessage,
		}).Draw(t, "kind"),
		UserID:      user.Draw(t, "user"),
		AnonymousID: anon.Draw(t, "anonymous"),
		Time:        rapid.Int64Range(1, 50).Draw(t, "time"),
	}
	if ev.UserID == "" && ev.AnonymousID == "" {
		ev.UserID = "u1"
	}
	if ev.Kind == events.KindAlias {
		ev.PreviousID = rapid.SampledFrom([]string{"u1", "u2", "u3", "a1", "a2", "x"}).Draw(t, "previous")
		if rapid.Bool().Draw(t, "secret") {
			ev.Flags = events.KnownAlias
		}
	}
	return ev
}

// A writer that starts again has loaded what was stored up to its checkpoint: whatever the
// checkpoint, it must go on exactly as the one that never stopped.
func TestIdentityReplay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		evs := rapid.SliceOfN(rapid.Custom(anyEvent), 1, 60).Draw(t, "events")
		whole := newIdentity(testSalt)
		people := applyAll(whole, evs)

		cut := rapid.IntRange(0, len(evs)).Draw(t, "checkpoint")
		before := newIdentity(testSalt)
		applyAll(before, evs[:cut])
		again := newIdentity(testSalt)
		for _, m := range before.merges {
			again.loadMerge(m.loser, m.winner)
		}
		for _, e := range before.erasures {
			again.bury(e)
		}
		for _, l := range before.links {
			again.loadLink(l.kind, l.id, l.person)
		}
		for i := cut; i < len(evs); i++ {
			p, _ := again.apply(&evs[i], events.At(uint64(i+1), 0))
			require.Equal(t, people[i], p, "event %d of %+v", i, evs)
		}
		require.Equal(t, whole.links, append(slices.Clip(before.links), again.links...))
		require.Equal(t, whole.merges, append(slices.Clip(before.merges), again.merges...))
		require.Equal(t, whole.erasures, append(slices.Clip(before.erasures), again.erasures...))
	})
}

// The same call again, right after itself, adds nothing.
func TestIdentityRepeat(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		evs := rapid.SliceOfN(rapid.Custom(anyEvent), 1, 40).Draw(t, "events")
		s := newIdentity(testSalt)
		for i := range evs {
			p, what := s.apply(&evs[i], events.At(uint64(2*i+1), 0))
			if evs[i].Kind == events.KindErase {
				continue
			}
			links, merges := len(s.links), len(s.merges)
			q, whatAgain := s.apply(&evs[i], events.At(uint64(2*i+2), 0))
			require.Equal(t, p, q)
			require.Equal(t, what, whatAgain)
			require.Len(t, s.links, links)
			require.Len(t, s.merges, merges)
		}
	})
}

// Whatever the order in which chains and circles of aliases arrive, the same people become one,
// and that one is the oldest.
func TestIdentityChains(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const n = 12
		user := func(i int) string { return fmt.Sprintf("u%d", i) }
		edges := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) [2]int {
			return [2]int{rapid.IntRange(0, n-1).Draw(t, "a"), rapid.IntRange(0, n-1).Draw(t, "b")}
		}), 0, 20).Draw(t, "aliases")
		partition := func(edges [][2]int) []events.PersonID {
			var evs []events.Event
			for i := range n {
				evs = append(evs, track(user(i), ""))
			}
			for _, e := range edges {
				evs = append(evs, alias(user(e[0]), user(e[1]), true))
			}
			s := newIdentity(testSalt)
			applyAll(s, evs)
			out := make([]events.PersonID, n)
			for i := range n {
				out[i] = who(s, kindUser, user(i))
			}
			return out
		}
		// The reference: flood the graph, the least index names the component.
		want := make([]events.PersonID, n)
		for i := range n {
			seen := map[int]bool{i: true}
			for range n {
				for _, e := range edges {
					if seen[e[0]] || seen[e[1]] {
						seen[e[0]], seen[e[1]] = true, true
					}
				}
			}
			least := n
			for j := range seen {
				least = min(least, j)
			}
			want[i] = at(uint64(least + 1))
		}
		require.Equal(t, want, partition(edges))
		require.Equal(t, want, partition(rapid.Permutation(edges).Draw(t, "order")))
	})
}

// An id never leaves its person, except by an erasure: no unmerge.
func TestIdentityNeverUnmerges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		evs := rapid.SliceOfN(rapid.Custom(anyEvent), 1, 60).Draw(t, "events")
		s := newIdentity(testSalt)
		type id struct{ kind, id string }
		var all []id
		for _, u := range []string{"u1", "u2", "u3", "x"} {
			all = append(all, id{kindUser, u})
		}
		for _, a := range []string{"a1", "a2", "a3", "x"} {
			all = append(all, id{kindAnonymous, a})
		}
		together := map[[2]id]bool{}
		for i := range evs {
			s.apply(&evs[i], events.At(uint64(i+1), 0))
			for _, a := range all {
				for _, b := range all {
					pa, pb := who(s, a.kind, a.id), who(s, b.kind, b.id)
					if pa == 0 || pb == 0 {
						delete(together, [2]id{a, b})
						continue
					}
					if together[[2]id{a, b}] {
						require.Equal(t, pa, pb, "%v and %v came apart at event %d", a, b, i)
					}
					together[[2]id{a, b}] = pa == pb
				}
			}
			for p := range s.known {
				require.Equal(t, p, s.canonical(p), "known people are canonical ones")
			}
		}
	})
}

func TestCanonicalOfALongChain(t *testing.T) {
	s := newIdentity(testSalt)
	const n = 200_000
	for i := range n {
		s.parent[events.PersonID(i+2)] = events.PersonID(i + 1)
	}
	_, steps := s.walk(n+1, 100)
	require.Equal(t, 100, steps)
	require.EqualValues(t, 1, s.canonical(n+1))
	_, steps = s.walk(n+1, 100)
	require.Equal(t, 1, steps, "the path was not shortened")
}

func TestKeyText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k, _ := testSalt.id(nil, kindUser, rapid.String().Draw(t, "id"))
		back, err := parseKey(k.String())
		require.NoError(t, err)
		require.Equal(t, k, back)
	})
	_, err := parseKey("nonsense")
	require.Error(t, err)
}

// TestMemoryPerID measures what one id costs, and holds it under a bound.
func TestMemoryPerID(t *testing.T) {
	const n = 300_000
	heap := func() float64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	start := heap()
	s := newIdentity(testSalt)
	for i := range n {
		ev := identify("", fmt.Sprintf("anonymous-%d", i))
		s.apply(&ev, events.At(uint64(i+1), 0))
		s.links = s.links[:0]
	}
	s.links = nil
	anonymous := (heap() - start) / n
	start = heap()
	for i := range n {
		ev := identify(fmt.Sprintf("user-%d", i), fmt.Sprintf("anonymous-%d", i))
		s.apply(&ev, events.At(uint64(n+i+1), 0))
		s.links = s.links[:0]
	}
	s.links = nil
	known := (heap() - start) / n
	t.Logf("%.1f bytes an anonymous id, %.1f more with a user id", anonymous, known)
	require.Less(t, anonymous, 64.0)
	require.Less(t, known, 96.0)
	runtime.KeepAlive(s)
}

func BenchmarkIdentityApply(b *testing.B) {
	s := newIdentity(testSalt)
	evs := make([]events.Event, 100_000)
	for i := range evs {
		evs[i] = track(fmt.Sprintf("user-%d", i), "")
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s.apply(&evs[i%len(evs)], events.At(uint64(i+1), 0))
	}
}

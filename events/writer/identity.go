package writer

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"math"

	"github.com/minio/highwayhash"

	"nudge/events"
)

// Kinds of an id, as the identities table spells them.
const (
	kindUser      = "user"
	kindAnonymous = "anonymous"
)

// idKey stands for an id in memory: a keyed 128-bit hash of its kind and text. Sixteen bytes
// whatever the id's length, and nobody without the store's salt can make two ids collide.
type idKey struct{ hi, lo uint64 }

// salt is the key of every hash that the writer keeps; it is made once for a store.
type salt [32]byte

func (s *salt) hash(b []byte) idKey {
	h := highwayhash.Sum128(b, s[:])
	return idKey{binary.LittleEndian.Uint64(h[:8]), binary.LittleEndian.Uint64(h[8:])}
}

// id hashes an id of a kind; buf is scratch.
func (s *salt) id(buf []byte, kind, id string) (idKey, []byte) {
	buf = append(append(buf[:0], kind[0]), id...)
	return s.hash(buf), buf
}

// String is what the erasures table keeps.
func (k idKey) String() string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], k.hi)
	binary.BigEndian.PutUint64(b[8:], k.lo)
	return hex.EncodeToString(b[:])
}

func parseKey(s string) (idKey, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 16 {
		return idKey{}, fmt.Errorf("%q is not the hash of an id", s)
	}
	return idKey{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}, nil
}

// link is one row of identities: an id named for the first time.
type link struct {
	kind, id string
	person   events.PersonID
	pos      events.Position
	time     int64
}

// merge is one row of merges.
type merge struct {
	loser, winner events.PersonID
	pos           events.Position
	time          int64
}

// erasure is one row of erasures: an id whose past must not return.
type erasure struct {
	key    idKey
	person events.PersonID // canonical when erased; 0: nobody had the id
	pos    events.Position
	time   int64
	done   int64 // when everything was deleted, Unix ms; 0: not yet
}

// outcome says what became of one event.
type outcome uint8

const (
	accepts outcome = iota
	// fromThePast: older than the erasure of one of its ids.
	fromThePast
	// nobody: an outcome of a message to a person who is not known (any more).
	nobody
)

// String is the metrics' label.
func (o outcome) String() string {
	return [...]string{"accepted", "from_before_erasure", "unknown_person"}[o]
}

// identity is the map from every id that an app uses to people. It is pure: what it holds depends
// on the events applied and their positions only, so that a replay assigns the same. It is not
// safe for concurrent use.
//
// Memory, measured by TestMemoryPerID: 30 to 57 bytes an id, 10 to 20 more for each known person and
// 20 to 36 for each merge, as Go's maps are between half and seven eighths full. Ten million people
// with a user id and one anonymous id each are about a gigabyte.
type identity struct {
	salt salt
	buf  []byte

	ids    map[idKey]events.PersonID
	parent map[events.PersonID]events.PersonID // of those who lost a merge
	known  map[events.PersonID]struct{}        // canonical people with a user id
	erased map[events.PersonID]int64           // canonical people, and when: their ids count as unknown
	graves map[idKey]int64                     // erased ids, and when; they outlive a new start of the id

	// What was added since the last take.
	links    []link
	merges   []merge
	erasures []erasure
}

func newIdentity(s salt) *identity {
	return &identity{
		salt:   s,
		ids:    map[idKey]events.PersonID{},
		parent: map[events.PersonID]events.PersonID{},
		known:  map[events.PersonID]struct{}{},
		erased: map[events.PersonID]int64{},
		graves: map[idKey]int64{},
	}
}

func (s *identity) key(kind, id string) (k idKey) {
	k, s.buf = s.salt.id(s.buf, kind, id)
	return k
}

// canonical is the person that p has become by merges. It shortens the path that it walked, so that
// a chain made on purpose costs its length once.
func (s *identity) canonical(p events.PersonID) events.PersonID {
	root, steps := s.walk(p, math.MaxInt)
	if steps > 1 {
		for p != root {
			p, s.parent[p] = s.parent[p], root
		}
	}
	return root
}

// walk is canonical without writing, for readers that share a lock. It gives up after limit steps.
func (s *identity) walk(p events.PersonID, limit int) (root events.PersonID, steps int) {
	for ; steps < limit; steps++ {
		up, ok := s.parent[p]
		if !ok {
			break
		}
		p = up
	}
	return p, steps
}

// find is the canonical person of an id; an erased person's ids are unknown.
func (s *identity) find(k idKey) (events.PersonID, bool) {
	p, ok := s.ids[k]
	if !ok {
		return 0, false
	}
	p = s.canonical(p)
	if len(s.erased) > 0 {
		if _, gone := s.erased[p]; gone {
			return 0, false
		}
	}
	return p, true
}

// grave is the erasure that an id went through, 0 if none.
func (s *identity) grave(k idKey) int64 {
	t := s.graves[k]
	if p, ok := s.ids[k]; ok {
		t = max(t, s.erased[s.canonical(p)])
	}
	return t
}

// fromThePast says whether an event is older than the erasure of one of its ids.
func (s *identity) fromThePast(ev *events.Event) bool {
	if len(s.graves) == 0 && len(s.erased) == 0 {
		return false
	}
	for _, id := range [...]struct{ kind, id string }{
		{kindUser, ev.UserID},
		{kindAnonymous, ev.AnonymousID},
		{kindUser, ev.PreviousID},
		{kindAnonymous, ev.PreviousID},
	} {
		if id.id != "" && ev.Time < s.grave(s.key(id.kind, id.id)) {
			return true
		}
	}
	return false
}

// knownAt is when the ids of an event were known: when it happened, and at the latest when it arrived,
// whatever its clock said.
func knownAt(ev *events.Event) int64 {
	if ev.ReceivedAt == 0 {
		return ev.Time
	}
	return min(ev.Time, ev.ReceivedAt)
}

// bind gives an id to a person.
func (s *identity) bind(k idKey, kind, id string, p events.PersonID, pos events.Position, at int64) {
	if t := s.grave(k); t > 0 {
		s.graves[k] = t // before the entry that says so is overwritten
	}
	s.ids[k] = p
	if kind == kindUser {
		s.known[p] = struct{}{}
	}
	s.links = append(s.links, link{kind, id, p, pos, at})
}

// apply takes the next event of the stream and returns the person it belongs to.
func (s *identity) apply(ev *events.Event, pos events.Position) (events.PersonID, outcome) {
	if ev.Kind == events.KindErase {
		return s.erase(ev, pos), accepts
	}
	if s.fromThePast(ev) {
		return 0, fromThePast
	}
	switch {
	case ev.Kind == events.KindIdentify && ev.UserID != "" && ev.AnonymousID != "":
		return s.join(ev, pos, kindUser, ev.UserID, kindAnonymous, ev.AnonymousID, false), accepts
	case ev.Kind == events.KindAlias && ev.PreviousID != "":
		return s.alias(ev, pos), accepts
	}
	kind, id := naming(ev)
	k := s.key(kind, id)
	p, ok := s.find(k)
	if !ok {
		if ev.Kind == events.KindMessage {
			return 0, nobody
		}
		p = events.PersonID(pos)
		s.bind(k, kind, id, p, pos, knownAt(ev))
	}
	return p, accepts
}

// naming is the id that says whose an event is.
func naming(ev *events.Event) (kind, id string) {
	if ev.UserID != "" {
		return kindUser, ev.UserID
	}
	return kindAnonymous, ev.AnonymousID
}

// alias says that PreviousID is the same person. The spec does not say of which kind that id is:
// what is known decides. Without a secret key it never touches a known user's id.
func (s *identity) alias(ev *events.Event, pos events.Position) events.PersonID {
	secret := ev.Flags&events.KnownAlias != 0
	kind, id := naming(ev)
	order := []string{kindAnonymous, kindUser}
	if secret {
		order = []string{kindUser, kindAnonymous}
	}
	for _, from := range order {
		if _, ok := s.find(s.key(from, ev.PreviousID)); ok {
			return s.join(ev, pos, kind, id, from, ev.PreviousID, secret)
		}
	}
	return s.join(ev, pos, kind, id, order[0], ev.PreviousID, secret)
}

// join makes one person of two ids where the rules allow it, and returns the first id's person.
// An id that nobody has is given to the other's person, so that most sign-ups need no merge.
// Two known people become one only with secret.
func (s *identity) join(ev *events.Event, pos events.Position, kindA, idA, kindB, idB string, secret bool) events.PersonID {
	ka, kb := s.key(kindA, idA), s.key(kindB, idB)
	a, hasA := s.find(ka)
	b, hasB := s.find(kb)
	_, knownA := s.known[a]
	_, knownB := s.known[b]
	switch {
	case hasA && hasB:
		if a == b || knownA && knownB && !secret {
			return a
		}
		winner, loser := a, b
		if knownA == knownB && b < a || knownB && !knownA {
			winner, loser = b, a
		}
		s.merge(loser, winner, pos, ev.Time)
		return winner
	case hasA:
		s.bind(kb, kindB, idB, a, pos, knownAt(ev))
		return a
	case hasB && (!knownB || secret || kindA == kindAnonymous):
		s.bind(ka, kindA, idA, b, pos, knownAt(ev))
		return b
	}
	p := events.PersonID(pos)
	s.bind(ka, kindA, idA, p, pos, knownAt(ev))
	if !hasB && (kindA != kindB || idA != idB) {
		s.bind(kb, kindB, idB, p, pos, knownAt(ev))
	}
	return p
}

// merge makes loser a part of winner; both are canonical.
func (s *identity) merge(loser, winner events.PersonID, pos events.Position, at int64) {
	s.parent[loser] = winner
	if _, ok := s.known[loser]; ok {
		delete(s.known, loser)
		s.known[winner] = struct{}{}
	}
	s.merges = append(s.merges, merge{loser, winner, pos, at})
}

// erase forgets a person. Their ids stay in the map until the next start, pointing at a person who
// is gone: that costs nothing for each erasure, however many ids there are.
func (s *identity) erase(ev *events.Event, pos events.Position) events.PersonID {
	kind, id := naming(ev)
	k := s.key(kind, id)
	at := max(ev.Time, ev.ReceivedAt)
	p, ok := s.find(k)
	if !ok {
		p = 0
	}
	s.bury(erasure{key: k, person: p, pos: pos, time: at})
	s.erasures = append(s.erasures, erasure{key: k, person: p, pos: pos, time: at})
	return p
}

// bury applies an erasure, when it happens and when it is loaded.
func (s *identity) bury(e erasure) {
	s.graves[e.key] = max(s.graves[e.key], e.time)
	if e.person != 0 {
		p := s.canonical(e.person)
		s.erased[p] = max(s.erased[p], e.time)
		delete(s.known, p)
	}
}

// isErased says whether a canonical person is gone.
func (s *identity) isErased(p events.PersonID) bool {
	_, gone := s.erased[p]
	return gone
}

// merged is everybody who became one of the given canonical people, and those people, each with what was
// given for whom they became.
func (s *identity) merged(people map[events.PersonID]erasure) map[events.PersonID]erasure {
	all := maps.Clone(people)
	for p := range s.parent {
		if e, ok := people[s.canonical(p)]; ok {
			all[p] = e
		}
	}
	return all
}

// loadMerge, bury and loadLink put back what was stored: all merges first, then all erasures, then
// links, those of one id in the order of their positions.
func (s *identity) loadMerge(loser, winner events.PersonID) { s.parent[loser] = winner }

func (s *identity) loadLink(kind, id string, p events.PersonID) {
	k := s.key(kind, id)
	if t := s.grave(k); t > 0 {
		s.graves[k] = t
	}
	s.ids[k] = p
	if c := s.canonical(p); kind == kindUser && !s.isErased(c) {
		s.known[c] = struct{}{}
	}
}

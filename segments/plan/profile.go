package plan

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"nudge/events"
	"nudge/segments"
)

// Profiles reads what is known of people as of an instant and a position. People who are not known
// are absent; who was merged is given under the id that was asked for, as the person they became.
func (p *Planner) Profiles(ctx context.Context, people []events.PersonID, at int64, upTo events.Position) (map[events.PersonID]*segments.Profile, error) {
	m, err := p.people.at(ctx, p.store, uint64(upTo))
	if err != nil {
		return nil, err
	}
	moment := p.moment(at, uint64(upTo), 0, m)
	out := make(map[events.PersonID]*segments.Profile, len(people))
	for chunk := range slices.Chunk(people, p.chunk) {
		read, err := moment.profiles(ctx, p.store, canonicalPeople(m, chunk), wholeProfile())
		if err != nil {
			return nil, err
		}
		for _, person := range chunk {
			if profile := read[m.of(uint64(person))]; profile != nil {
				out[person] = profile
			}
		}
	}
	return out, nil
}

// stamp orders what was said of a person: the last by (time, position) holds.
type stamp struct {
	time int64
	pos  uint64
}

func (s stamp) after(o stamp) bool { return s.time > o.time || s.time == o.time && s.pos > o.pos }

// profileParts are the parts of profiles that are not read for every condition that asks for a profile.
type profileParts struct {
	ids     bool
	created bool // since when they are known, and so whether they are: of ids and all of their events
	contact bool // devices and consents
}

func wholeProfile() profileParts { return profileParts{ids: true, created: true, contact: true} }

// profiles reads the profiles of canonical people, all that is wanted of them in one query: what a
// query costs before it reads anything is more than what reading some people's rows costs.
func (m moment) profiles(ctx context.Context, from store, people []uint64, parts profileParts) (map[uint64]*segments.Profile, error) {
	if len(people) == 0 {
		return nil, nil
	}
	r := profileReader{
		m: m, parts: parts, out: make(map[uint64]*segments.Profile, len(people)), newest: map[uint64][2]uint64{}, consents: map[consentKey][]consentRow{},
		zones: map[uint64]stamp{}, locales: map[uint64]stamp{}, valid: map[string]bool{},
	}
	if !parts.created { // nobody is found out not to be known
		for _, p := range people {
			r.get(p)
		}
	}
	if err := from.profiles(ctx, m, people, parts, func(x profileRow) { r.rows = append(r.rows, x) }); err != nil {
		return nil, fmt.Errorf("reading profiles of people: %w", err)
	}
	r.read()
	return r.out, nil
}

// What a profileRow tells, in the order in which profiles are put together.
const (
	rowID      = iota + 1 // a: kind, b: id, t: first time, n: newest position
	rowEvent              // t: first time
	rowTrait              // a: key, b: token
	rowDevice             // a: token, b: platform, c: app, d: environment, t: last seen, yes: removed
	rowConsent            // a: channel, b: category, t: time, n: position, c: raw person, yes: granted
	rowZone               // a: zone, b: locale (either may be ""), t: time, n: position
)

// profileRow is one row of the query for profiles.
type profileRow struct {
	what       uint8
	p          uint64
	a, b, c, d string
	t          int64
	n          uint64
	yes        uint8
}

// profilesSQL writes the query for profiles. Every part has the columns of profileRow.
func (m moment) profilesSQL(people []uint64, parts profileParts) string {
	const ms = "toUnixTimestamp64Milli"
	last := func(column string) string { return "argMax(" + column + ", (x.time, x.pos))" }
	part := func(what int, table, columns, rest string) string {
		from, person, conditions := m.from(table, "x", people)
		conditions = append(conditions, m.bounds("x", math.MinInt64)...)
		return fmt.Sprintf("SELECT toUInt8(%d) AS what, %s AS p, %s FROM %s%s%s", what, person, columns, from, where(conditions), rest)
	}
	out := []string{
		part(rowTrait, "traits", "toString(x.key) AS a, "+last("x.value")+" AS b, '' AS c, '' AS d, toInt64(0) AS t, toUInt64(0) AS n, toUInt8(0) AS yes", " GROUP BY p, x.key"),
		part(rowZone, "zones", "toString(x.zone) AS a, toString(x.locale) AS b, '' AS c, '' AS d, "+ms+"(max(x.time)) AS t, argMax(x.pos, (x.time, x.pos)) AS n, toUInt8(0) AS yes", " GROUP BY p, x.zone, x.locale"),
	}
	if parts.ids {
		out = append(out, part(rowID, "identities", "toString(x.kind) AS a, argMax(x.id, x.pos) AS b, '' AS c, '' AS d, "+ms+"(min(x.time)) AS t, max(x.pos) AS n, toUInt8(0) AS yes", " GROUP BY p, x.kind"))
	}
	if parts.created {
		out = append(out, part(rowEvent, "events", "'' AS a, '' AS b, '' AS c, '' AS d, "+ms+"(min(x.time)) AS t, toUInt64(0) AS n, toUInt8(0) AS yes", " GROUP BY p"))
	}
	if parts.contact {
		// A device is the person's who was last seen with its token. That may be anybody, so here
		// everyone's rows of these people's tokens are read.
		from, _, mine := m.from("devices", "x", people)
		mine = append(mine, m.bounds("x", math.MinInt64)...)
		held, holder, conditions := m.from("devices", "x", nil)
		conditions = append(append(conditions, m.bounds("x", math.MinInt64)...), "x.token IN (SELECT x.token FROM "+from+where(mine)+")")
		out = append(out,
			fmt.Sprintf("SELECT toUInt8(%d) AS what, %s AS p, x.token AS a, %s AS b, %s AS c, %s AS d, %s(max(x.last_seen)) AS t, toUInt64(0) AS n, toUInt8(%s) AS yes FROM %s%s GROUP BY x.token",
				rowDevice, last(holder), last("toString(x.platform)"), last("toString(x.app)"), last("toString(x.environment)"), ms, last("x.removed"), held, where(conditions)),
			part(rowConsent, "consents", "toString(x.channel) AS a, toString(x.category) AS b, toString(x.person) AS c, '' AS d, "+ms+"(x.time) AS t, x.pos AS n, toUInt8(x.granted) AS yes", ""))
	}
	return strings.Join(out, " UNION ALL ")
}

// profileReader puts profiles together.
type profileReader struct {
	m        moment
	parts    profileParts // that are read
	rows     []profileRow
	out      map[uint64]*segments.Profile
	newest   map[uint64][2]uint64 // position of the user id, of the anonymous id
	consents map[consentKey][]consentRow
	zones    map[uint64]stamp
	locales  map[uint64]stamp
	valid    map[string]bool // loading a zone reads a file
}

type consentKey struct {
	person            uint64
	channel, category string
}

func (r *profileReader) read() {
	slices.SortFunc(r.rows, func(a, b profileRow) int { return cmp.Or(cmp.Compare(a.what, b.what), strings.Compare(a.a, b.a)) })
	for _, x := range r.rows {
		switch x.what {
		case rowID:
			r.id(x)
		case rowEvent: // an event may arrive late, or be imported: it was first all the same
			if profile := r.get(x.p); profile.CreatedAt == 0 || x.t < profile.CreatedAt {
				profile.CreatedAt = x.t
			}
		case rowTrait:
			if profile := r.out[x.p]; profile != nil && x.b != "null" && x.b != "" {
				profile.Traits[x.a] = json.RawMessage(x.b)
			}
		case rowDevice:
			if profile := r.out[x.p]; profile != nil && x.yes == 0 {
				profile.Devices = append(profile.Devices, segments.Device{Token: x.a, Platform: x.b, App: x.c, Environment: x.d, LastSeen: x.t})
			}
		case rowConsent:
			raw, _ := strconv.ParseUint(x.c, 10, 64) // written by toString of a UInt64
			k := consentKey{x.p, x.a, x.b}
			r.consents[k] = append(r.consents[k], consentRow{raw, segments.Consent{Channel: x.a, Category: x.b, Granted: x.yes == 1, Time: x.t}, stamp{x.t, x.n}})
		case rowZone:
			r.zone(x)
		}
	}
	r.consent()
	for _, profile := range r.out {
		token, ok := profile.Traits["timezone"]
		var zone string
		if profile.Zone == "" && ok && bytes.HasPrefix(token, []byte(`"`)) && json.Unmarshal(token, &zone) == nil && validZone(zone) {
			profile.Zone = zone
		}
		profile.Locale = segments.LocaleOf(profile.Traits, profile.Locale)
	}
}

func (r *profileReader) get(p uint64) *segments.Profile {
	profile := r.out[p]
	if profile == nil {
		profile = &segments.Profile{Person: events.PersonID(p), Traits: map[string]json.RawMessage{}}
		r.out[p] = profile
	}
	return profile
}

func (r *profileReader) id(x profileRow) {
	profile := r.get(x.p)
	if r.parts.created && (profile.CreatedAt == 0 || x.t < profile.CreatedAt) {
		profile.CreatedAt = x.t
	}
	at := r.newest[x.p]
	switch {
	case x.a == "user" && x.n >= at[0]:
		profile.UserID, at[0] = x.b, x.n
	case x.a != "user" && x.n >= at[1]:
		profile.Anonymous, at[1] = x.b, x.n
	}
	r.newest[x.p] = at
}

// zone keeps the latest zone that exists, and the latest locale.
func (r *profileReader) zone(x profileRow) {
	known, seen := r.valid[x.a]
	if !seen {
		known = validZone(x.a)
		r.valid[x.a] = known
	}
	s := stamp{x.t, x.n}
	profile := r.out[x.p]
	if profile != nil && known && (profile.Zone == "" || s.after(r.zones[x.p])) {
		profile.Zone, r.zones[x.p] = x.a, s
	}
	if profile != nil && x.b != "" && (profile.Locale == "" || s.after(r.locales[x.p])) {
		profile.Locale, r.locales[x.p] = x.b, s
	}
}

// consent folds what was said before and after merges: at a merge, opt-out wins; what is said later
// holds.
func (r *profileReader) consent() {
	for k, said := range r.consents {
		if profile := r.out[k.person]; profile != nil {
			profile.Consents = append(profile.Consents, r.m.canonical.consent(k.person, said))
		}
	}
	for _, profile := range r.out {
		slices.SortFunc(profile.Consents, func(a, b segments.Consent) int {
			return cmp.Or(strings.Compare(a.Channel, b.Channel), strings.Compare(a.Category, b.Category))
		})
	}
}

// consentRow is the latest that one raw id said of a channel and category.
type consentRow struct {
	raw     uint64
	consent segments.Consent
	stamp   stamp
}

// consent is what holds for a person of what they said under several ids.
func (m *mapping) consent(person uint64, said []consentRow) segments.Consent {
	held := map[uint64]consentRow{}
	say := func(id uint64, r consentRow) {
		if old, ok := held[id]; !ok || r.stamp.after(old.stamp) {
			held[id] = r
		}
	}
	slices.SortFunc(said, func(a, b consentRow) int { return cmp.Compare(a.stamp.pos, b.stamp.pos) })
	next := 0
	upTo := func(pos uint64) {
		for next < len(said) && said[next].stamp.pos <= pos {
			say(said[next].raw, said[next])
			next++
		}
	}
	for _, loser := range m.losers[person] { // in order of their merges
		upTo(m.lostAt[loser])
		winner := m.wonBy[loser]
		lost, ok := held[loser]
		if !ok {
			continue
		}
		delete(held, loser)
		if own, ok := held[winner]; ok && own.consent.Granted != lost.consent.Granted {
			if own.consent.Granted { // opt-out wins
				held[winner] = lost
			}
			continue
		}
		say(winner, lost)
	}
	upTo(^uint64(0))
	best := consentRow{}
	for _, r := range held { // rows of a loser that were written after its merge are the winner's too
		if best.raw == 0 || r.stamp.after(best.stamp) {
			best = r
		}
	}
	return best.consent
}

// validZone says whether there is an IANA zone of that name.
func validZone(name string) bool {
	if name == "" || name == "Local" {
		return false
	}
	_, err := time.LoadLocation(name)
	return err == nil
}

// IDs are the ids under which rows of a person may stand as of a position: their own, and those of people who were merged
// into them.
func (p *Planner) IDs(ctx context.Context, person events.PersonID, upTo events.Position) ([]events.PersonID, error) {
	m, err := p.people.at(ctx, p.store, uint64(upTo))
	if err != nil {
		return nil, err
	}
	var out []events.PersonID
	for _, id := range m.raw(canonicalPeople(m, []events.PersonID{person})) {
		out = append(out, events.PersonID(id))
	}
	return out, nil
}

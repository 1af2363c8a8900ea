package plan

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"nudge/events"
	"nudge/segments"
)

// Profiles reads what is known of people as of an instant and a position. People who are not known
// are absent; who was merged is given under the id that was asked for, as the person they became.
func (p *Planner) Profiles(ctx context.Context, people []events.PersonID, at int64, upTo events.Position) (map[events.PersonID]*segments.Profile, error) {
	a := &asker{p: p}
	m, err := p.people.at(ctx, a, uint64(upTo))
	if err != nil {
		return nil, err
	}
	moment := p.moment(at, uint64(upTo), 0, m)
	out := make(map[events.PersonID]*segments.Profile, len(people))
	for chunk := range slices.Chunk(people, p.chunk) {
		read, err := moment.profiles(ctx, a, canonicalPeople(m, chunk))
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

// profiles reads the profiles of canonical people.
func (m moment) profiles(ctx context.Context, a *asker, people []uint64) (map[uint64]*segments.Profile, error) {
	if len(people) == 0 {
		return nil, nil
	}
	out := make(map[uint64]*segments.Profile, len(people))
	for _, read := range []struct {
		what string
		read func(context.Context, *asker, []uint64, map[uint64]*segments.Profile) error
	}{
		{"ids", m.readIDs}, {"traits", m.readTraits}, {"devices", m.readDevices}, {"consents", m.readConsents}, {"zones", m.readZones},
	} {
		if err := read.read(ctx, a, people, out); err != nil {
			return nil, fmt.Errorf("reading %s of people: %w", read.what, err)
		}
	}
	return out, nil
}

// table writes the query for a table's rows of these people; the columns are after p.
func (m moment) table(name, columns string, people []uint64, rest string) string {
	from, person, conditions := m.canonical.from(m.database, name, "x", people)
	conditions = append(conditions, m.bounds("x", -1<<63)...)
	return "SELECT " + person + " AS p, " + columns + " FROM " + from + where(conditions) + rest
}

func (m moment) readIDs(ctx context.Context, a *asker, people []uint64, out map[uint64]*segments.Profile) error {
	newest := map[uint64][2]uint64{} // position of the user id, of the anonymous id
	get := func(p uint64) *segments.Profile {
		profile := out[p]
		if profile == nil {
			profile = &segments.Profile{Person: events.PersonID(p), Traits: map[string]json.RawMessage{}}
			out[p] = profile
		}
		return profile
	}
	ids := m.table("identities", "toString(x.kind), argMax(x.id, x.pos), max(x.pos), toUnixTimestamp64Milli(min(x.time))", people, " GROUP BY p, x.kind")
	err := a.query(ctx, ids, func(scan func(...any) error) error {
		var p, pos uint64
		var kind, id string
		var first int64
		if err := scan(&p, &kind, &id, &pos, &first); err != nil {
			return err
		}
		profile := get(p)
		if profile.CreatedAt == 0 || first < profile.CreatedAt {
			profile.CreatedAt = first
		}
		at := newest[p]
		switch {
		case kind == "user" && pos >= at[0]:
			profile.UserID, at[0] = id, pos
		case kind != "user" && pos >= at[1]:
			profile.Anonymous, at[1] = id, pos
		}
		newest[p] = at
		return nil
	})
	if err != nil {
		return err
	}
	// An event may arrive late, or be imported: it was first all the same.
	return a.query(ctx, m.table("events", "toUnixTimestamp64Milli(min(x.time))", people, " GROUP BY p"), func(scan func(...any) error) error {
		var p uint64
		var first int64
		if err := scan(&p, &first); err != nil {
			return err
		}
		if profile := get(p); profile.CreatedAt == 0 || first < profile.CreatedAt {
			profile.CreatedAt = first
		}
		return nil
	})
}

func (m moment) readTraits(ctx context.Context, a *asker, people []uint64, out map[uint64]*segments.Profile) error {
	sql := m.table("traits", "toString(x.key), argMax(x.value, (x.time, x.pos))", people, " GROUP BY p, x.key")
	return a.query(ctx, sql, func(scan func(...any) error) error {
		var p uint64
		var key, token string
		if err := scan(&p, &key, &token); err != nil {
			return err
		}
		if profile := out[p]; profile != nil && token != "null" && token != "" {
			profile.Traits[key] = json.RawMessage(token)
		}
		return nil
	})
}

// readDevices gives each device to the person who was last seen with its token.
func (m moment) readDevices(ctx context.Context, a *asker, people []uint64, out map[uint64]*segments.Profile) error {
	from, _, mine := m.canonical.from(m.database, "devices", "x", people)
	mine = append(mine, m.bounds("x", -1<<63)...)
	tokens := "SELECT x.token FROM " + from + where(mine)

	// The holder of a token may be anybody, so here everyone's rows of those tokens are read.
	from, person, conditions := m.canonical.from(m.database, "devices", "x", nil)
	conditions = append(append(conditions, m.bounds("x", -1<<63)...), "x.token IN ("+tokens+")")
	last := func(column string) string { return "argMax(" + column + ", (x.time, x.pos))" }
	sql := "SELECT " + last(person) + ", x.token, " + strings.Join([]string{
		last("toString(x.platform)"), last("toString(x.app)"), last("toString(x.environment)"),
	}, ", ") + ", toUnixTimestamp64Milli(max(x.last_seen)), toUInt8(" + last("x.removed") + ") FROM " + from + where(conditions) +
		" GROUP BY x.token ORDER BY x.token"
	return a.query(ctx, sql, func(scan func(...any) error) error {
		var p uint64
		var d segments.Device
		var removed uint8
		if err := scan(&p, &d.Token, &d.Platform, &d.App, &d.Environment, &d.LastSeen, &removed); err != nil {
			return err
		}
		if profile := out[p]; profile != nil && removed == 0 {
			profile.Devices = append(profile.Devices, d)
		}
		return nil
	})
}

// consentRow is the latest that one raw id said of a channel and category.
type consentRow struct {
	raw     uint64
	consent segments.Consent
	stamp   stamp
}

// readConsents folds what was said before and after merges: at a merge, opt-out wins; what is said
// later holds.
func (m moment) readConsents(ctx context.Context, a *asker, people []uint64, out map[uint64]*segments.Profile) error {
	type key struct {
		person            uint64
		channel, category string
	}
	rows := map[key][]consentRow{}
	columns := "x.person, toString(x.channel), toString(x.category), toUInt8(x.granted), toUnixTimestamp64Milli(x.time), x.pos"
	err := a.query(ctx, m.table("consents", columns, people, ""), func(scan func(...any) error) error {
		var p uint64
		var r consentRow
		var granted uint8
		if err := scan(&p, &r.raw, &r.consent.Channel, &r.consent.Category, &granted, &r.consent.Time, &r.stamp.pos); err != nil {
			return err
		}
		r.consent.Granted = granted == 1
		r.stamp.time = r.consent.Time
		k := key{p, r.consent.Channel, r.consent.Category}
		rows[k] = append(rows[k], r)
		return nil
	})
	if err != nil {
		return err
	}
	for k, said := range rows {
		if profile := out[k.person]; profile != nil {
			profile.Consents = append(profile.Consents, m.canonical.consent(k.person, said))
		}
	}
	for _, profile := range out {
		slices.SortFunc(profile.Consents, func(a, b segments.Consent) int {
			return cmp.Or(strings.Compare(a.Channel, b.Channel), strings.Compare(a.Category, b.Category))
		})
	}
	return nil
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

// readZones picks the latest zone that exists, of a device or else of the trait.
func (m moment) readZones(ctx context.Context, a *asker, people []uint64, out map[uint64]*segments.Profile) error {
	latest := map[uint64]stamp{}
	valid := map[string]bool{} // loading a zone reads a file
	const last = "max((toUnixTimestamp64Milli(x.time), x.pos))"
	sql := m.table("zones", "toString(x.zone), "+last+".1, "+last+".2", people, " GROUP BY p, x.zone")
	err := a.query(ctx, sql, func(scan func(...any) error) error {
		var p uint64
		var zone string
		var s stamp
		if err := scan(&p, &zone, &s.time, &s.pos); err != nil {
			return err
		}
		known, seen := valid[zone]
		if !seen {
			known = validZone(zone)
			valid[zone] = known
		}
		profile := out[p]
		if profile != nil && known && (profile.Zone == "" || s.after(latest[p])) {
			profile.Zone, latest[p] = zone, s
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, profile := range out {
		token, ok := profile.Traits["timezone"]
		var zone string
		if profile.Zone == "" && ok && bytes.HasPrefix(token, []byte(`"`)) && json.Unmarshal(token, &zone) == nil && validZone(zone) {
			profile.Zone = zone
		}
	}
	return nil
}

// validZone says whether there is an IANA zone of that name.
func validZone(name string) bool {
	if name == "" || name == "Local" {
		return false
	}
	_, err := time.LoadLocation(name)
	return err == nil
}

package writer

import (
	"encoding/json"
	"hash/crc32"
	"slices"
	"strconv"
	"time"

	"nudge/events"
)

// derive keeps what is needed to write rows of devices, zones and locales only when something changed. What
// it remembers of a token or a person is the last row written and nothing newer, so that it is the
// same after a start. Not safe for concurrent use.
//
// Memory: about 60 bytes a token, 40 a person with a zone, 40 one with a locale, 40 one with a token; of a device with an id also its token.
type derive struct {
	ids     *identity
	devices map[idKey]device
	// seen is of each person the token whose row is the newest: when another one is seen it gets a row too, so that rows
	// tell which device somebody used last.
	seen map[events.PersonID]idKey
	// installed has by device and app the newest token, where apps say which device it is.
	installed map[idKey]string
	zones     map[events.PersonID]zone
	names     []string // of zones, by zone.name
	numbers   map[string]uint16
	locales   map[events.PersonID]locale
	buf       []byte
}

// device is the last row of a token that belongs to somebody.
type device struct {
	person  events.PersonID
	time    int64
	detail  uint32 // checksum of platform, app and environment
	removed bool
}

type zone struct {
	time int64
	name uint16
}

// locale is the last one of a person, by its checksum: senders can invent many.
type locale struct {
	time int64
	sum  uint32
}

func newDerive(ids *identity) *derive {
	return &derive{
		ids: ids, devices: map[idKey]device{}, seen: map[events.PersonID]idKey{}, installed: map[idKey]string{},
		zones: map[events.PersonID]zone{}, numbers: map[string]uint16{}, locales: map[events.PersonID]locale{},
	}
}

// refreshDevice is how old a device's last row gets before a new one says that it was seen again.
const refreshDevice = int64(24 * time.Hour / time.Millisecond)

// Reasons of removals that follow from what is known of other tokens and people.
const (
	reasonMoved    = "moved"    // somebody else identified on the device
	reasonReplaced = "replaced" // the device has a newer token
)

// add appends the rows that an accepted event leads to, beside its own.
func (d *derive) add(b *batch, r *events.Resolved) {
	switch r.Kind {
	case events.KindIdentify:
		b.traits = appendTraits(b.traits, r)
	case events.KindConsent:
		var c events.ConsentChange
		if err := json.Unmarshal(r.Properties, &c); err != nil {
			b.letters = append(b.letters, letterOf(r, "the consent cannot be read: "+err.Error()))
			return
		}
		b.consents = append(b.consents, consentRow{r.Person, r.Pos, r.Time, c})
		return
	case events.KindMessage, events.KindErase:
		return
	default:
	}
	if len(r.Context) == 0 && r.Kind != events.KindDevice && r.Name != events.LocationUpdated {
		return
	}
	if change, ok := events.DeviceOf(&r.Event); ok {
		b.devices = d.device(b.devices, r, change)
	}
	zone, _ := events.ZoneOf(&r.Event)
	locale, _ := events.LocaleOf(&r.Event)
	if d.moved(r, zone, locale) {
		b.zones = append(b.zones, zoneRow{r.Person, r.Pos, r.Time, zone, locale})
	}
	if fix, ok := events.FixOf(&r.Event); ok {
		b.fixes = append(b.fixes, fixRow{r.Person, r.Pos, r.Time, fix})
	}
}

func letterOf(r *events.Resolved, reason string) letter {
	return letter{pos: r.Pos, index: r.Index, source: r.Source, reason: reason, raw: r.Raw, at: r.ReceivedAt}
}

// appendTraits makes a row of each trait, in the order of their names.
func appendTraits(rows []traitRow, r *events.Resolved) []traitRow {
	if len(r.Traits) == 0 {
		return rows
	}
	var traits map[string]json.RawMessage
	if json.Unmarshal(r.Traits, &traits) != nil {
		return rows // not an object: the endpoint refuses such a call
	}
	first := len(rows)
	for key, value := range traits {
		row := traitRow{person: r.Person, pos: r.Pos, time: r.Time, key: key, value: string(value)}
		switch value[0] {
		case '"':
			var s string
			if json.Unmarshal(value, &s) == nil {
				row.str = &s
			}
		case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
			if n, err := strconv.ParseFloat(row.value, 64); err == nil {
				row.num = &n
			}
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows[first:], func(a, b traitRow) int {
		if a.key < b.key {
			return -1
		}
		return 1
	})
	return rows
}

// device applies what an event says of a push token. A token belongs to one person: to whoever put
// it last or was last known on it. Somebody anonymous does not take it from a known person, for that
// is what the app sends after a logout; and a token that was removed comes back by being put or by
// an identify only, not by the next event of an app that has not noticed.
func (d *derive) device(rows []deviceRow, r *events.Resolved, c events.DeviceChange) []deviceRow {
	var k idKey
	k, d.buf = d.ids.salt.id(d.buf, "token", c.Token)
	last, has := d.devices[k]
	owner := d.ids.canonical(last.person)
	if has && d.ids.isErased(owner) {
		has = false
	}
	if has && r.Time < last.time {
		return rows // from before what is known
	}
	put := r.Kind == events.KindDevice
	if c.Removed {
		if !has || last.removed || owner != r.Person && c.Reason != "dead" {
			return rows
		}
		rows = append(rows, deviceRow{owner, r.Pos, r.Time, c})
		d.devices[k] = device{owner, r.Time, last.detail, true}
		d.see(owner, k, r.Time)
		return rows
	}
	c.Reason = ""
	detail := detailOf(c)
	if has {
		_, known := d.ids.known[owner]
		switch {
		case last.removed && owner == r.Person && !put && r.Kind != events.KindIdentify,
			owner != r.Person && !put && r.UserID == "" && known,
			owner == r.Person && !last.removed && detail == last.detail && r.Time-last.time < refreshDevice && d.lastOn(r.Person, k, r.Time):
			return rows
		}
	}
	rows, newest := d.install(rows, r, c)
	if !newest {
		return rows
	}
	if has {
		if owner != r.Person && !last.removed {
			gone := c
			gone.Removed, gone.Reason = true, reasonMoved
			// Before the new owner's row, should the two turn out to be one person.
			rows = append(rows, deviceRow{owner, r.Pos, max(r.Time-1, last.time), gone})
		}
		if d.seen[owner] == k && owner != r.Person {
			delete(d.seen, owner)
		}
	}
	d.devices[k] = device{r.Person, r.Time, detail, false}
	d.see(r.Person, k, r.Time)
	return append(rows, deviceRow{r.Person, r.Pos, r.Time, c})
}

// install takes the former token of a person's device away, and says whether this is the newest: another may have been put
// later. Whose token is somebody else's keeps it: that takes more than to know the id of their device.
func (d *derive) install(rows []deviceRow, r *events.Resolved, c events.DeviceChange) (_ []deviceRow, newest bool) {
	if c.Device == "" {
		return rows, true
	}
	k := d.deviceKey(c)
	former := d.installed[k]
	if former != "" && former != c.Token {
		var f idKey
		f, d.buf = d.ids.salt.id(d.buf, "token", former)
		if was := d.devices[f]; !was.removed && d.ids.canonical(was.person) == r.Person {
			if was.time > r.Time {
				return rows, false
			}
			gone := c
			gone.Token, gone.Removed, gone.Reason = former, true, reasonReplaced
			rows = append(rows, deviceRow{r.Person, r.Pos, r.Time, gone})
			d.devices[f] = device{r.Person, r.Time, was.detail, true}
		}
	}
	d.installed[k] = c.Token
	return rows, true
}

// deviceKey names a device in an app: the apps of one vendor may have one id of a phone, and each has a token.
func (d *derive) deviceKey(c events.DeviceChange) idKey {
	var k idKey
	k, d.buf = d.ids.salt.id(d.buf, "device", c.App+"\x00"+c.Device)
	return k
}

// lastOn says that no other token of the person was seen between a token's last row and an instant.
func (d *derive) lastOn(p events.PersonID, k idKey, at int64) bool {
	newest, ok := d.seen[p]
	return !ok || newest == k || d.devices[newest].time >= at
}

// see notes that a row of a token was written. Of two of one instant it does not matter which is the newest, as long as it is
// the same one after a start.
func (d *derive) see(p events.PersonID, k idKey, at int64) {
	newest, ok := d.seen[p]
	if have := d.devices[newest].time; !ok || at > have || at == have && (k.hi > newest.hi || k.hi == newest.hi && k.lo >= newest.lo) {
		d.seen[p] = k
	}
}

func detailOf(c events.DeviceChange) uint32 {
	return crc32.ChecksumIEEE([]byte(c.Platform + "\x00" + c.App + "\x00" + c.Environment + "\x00" + c.Device))
}

// loadDevice puts back the last row of a token.
func (d *derive) loadDevice(person events.PersonID, at int64, c events.DeviceChange) {
	var k idKey
	k, d.buf = d.ids.salt.id(d.buf, "token", c.Token)
	d.devices[k] = device{person, at, detailOf(c), c.Removed}
	d.see(d.ids.canonical(person), k, at)
	if c.Device == "" || c.Removed {
		return
	}
	of := d.deviceKey(c)
	if have := d.installed[of]; have != "" {
		var h idKey
		if h, d.buf = d.ids.salt.id(d.buf, "token", have); d.devices[h].time > at {
			return
		}
	}
	d.installed[of] = c.Token
}

// moved says whether an event changes its person's zone or locale; "" is of an event that does not say it.
func (d *derive) moved(r *events.Resolved, zone, locale string) bool {
	was, has := d.zones[r.Person]
	newZone := zone != "" && (!has || r.Time >= was.time && d.names[was.name] != zone)
	spoke, has := d.locales[r.Person]
	newLocale := locale != "" && (!has || r.Time >= spoke.time && spoke.sum != crc32.ChecksumIEEE([]byte(locale)))
	if !newZone && !newLocale {
		return false
	}
	// The row says both, and so both are as new as the row.
	if zone != "" && r.Time >= was.time {
		d.loadZone(r.Person, r.Time, zone)
	}
	if locale != "" && r.Time >= spoke.time {
		d.loadLocale(r.Person, r.Time, locale)
	}
	return true
}

func (d *derive) loadZone(p events.PersonID, at int64, name string) {
	n, ok := d.numbers[name]
	if !ok { // only names that time.LoadLocation knows come here: some hundreds
		n = uint16(len(d.names))
		d.names = append(d.names, name)
		d.numbers[name] = n
	}
	d.zones[p] = zone{at, n}
}

func (d *derive) loadLocale(p events.PersonID, at int64, name string) {
	d.locales[p] = locale{at, crc32.ChecksumIEEE([]byte(name))}
}

// merged forgets the zones and locales of people who became one: the next event says which it is. Of their tokens the newest is theirs.
func (d *derive) merged(ms []merge) {
	for _, m := range ms {
		delete(d.zones, m.loser)
		delete(d.zones, m.winner)
		delete(d.locales, m.loser)
		delete(d.locales, m.winner)
		if k, ok := d.seen[m.loser]; ok {
			delete(d.seen, m.loser)
			d.see(m.winner, k, d.devices[k].time)
		}
	}
}

package writer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf16"

	"nudge/events"
	"nudge/events/clickhouse"
)

// An erasure is done after its record is durable, away from the stream: the hashes of all ids and all
// numbers that the person had are added to the record, then every table is cleaned, the ids go last, and a
// row says when it was done. Each step may be repeated, so that an erasure that was cut short is done again
// at start.
//
// What stays is the record (table erasures): salted hashes of ids, so that the past cannot return, and the
// numbers, so that what is still on its way under them is known to be about nobody. In memory hashes of
// ids and tokens stay until the next start.

// eraseAll does erasures as they are stored, beginning with those that a former run left undone.
func (w *Writer) eraseAll(ctx context.Context, in <-chan []erasure) error {
	var undone []erasure
	if err := w.insist(ctx, "look for erasures that are not done", func() (err error) {
		undone, err = w.undone(ctx)
		return err
	}); err != nil {
		return err
	}
	for {
		if len(undone) > 0 {
			err := w.insist(ctx, "erase people", func() error { return w.erase(ctx, undone) })
			if err != nil {
				return err
			}
			w.metrics.erased.Add(float64(len(undone)))
			w.log.Info("erased", "people", len(undone))
			undone = undone[:0]
		}
		select {
		case undone = <-in:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		for more := true; more; { // together: each pass rewrites parts of tables
			select {
			case es := <-in:
				undone = append(undone, es...)
			default:
				more = false
			}
		}
	}
}

// undone reads the erasures without a row that says when they were done, a row for each number that was
// noted: what says that two of them were one person may be gone.
func (w *Writer) undone(ctx context.Context) (es []erasure, err error) {
	q := `SELECT any(hash), person, pos, toUnixTimestamp64Milli(max(time)) FROM erasures
		WHERE pos <= ` + number(w.Position()) + ` AND pos NOT IN (SELECT pos FROM erasures WHERE toUnixTimestamp64Milli(done_at) > 0)
		GROUP BY person, pos ORDER BY pos, person`
	err = w.scan(ctx, q, func(scan func(...any) error) error {
		var hash string
		var person, pos uint64
		var at int64
		if err := scan(&hash, &person, &pos, &at); err != nil {
			return err
		}
		k, err := parseKey(hash)
		es = append(es, erasure{key: k, person: events.PersonID(person), pos: events.Position(pos), time: at})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read erasures: %w", err)
	}
	return es, nil
}

// ownTables are those with rows of a person and nothing else.
func ownTables() []string {
	return []string{"events", "traits", "devices", "consents", "zones", "fixes"}
}

func (w *Writer) erase(ctx context.Context, es []erasure) error {
	people := map[events.PersonID]erasure{} // by canonical person
	for _, e := range es {
		if e.person != 0 {
			people[w.Canonical(e.person)] = e
		}
	}
	w.mu.Lock()
	all := w.ids.merged(people)
	w.mu.Unlock()
	for some := range slices.Chunk(slices.Sorted(maps.Keys(all)), eraseTogether) {
		if err := w.erasePeople(ctx, all, some); err != nil {
			return err
		}
	}
	var done []erasure
	noted := map[events.Position]bool{}
	for _, e := range es {
		if !noted[e.pos] {
			noted[e.pos] = true
			e.done = w.now().UnixMilli()
			done = append(done, e)
		}
	}
	if err := erasuresTable.block(done, nil).send(ctx, w.store.Conn()); err != nil {
		return fmt.Errorf("note that people are erased: %w", err)
	}
	return nil
}

// eraseTogether bounds the text of a statement: each makes a pass over a table.
const eraseTogether = 5000

func (w *Writer) erasePeople(ctx context.Context, all map[events.PersonID]erasure, people []events.PersonID) error {
	conn, who := w.store.Conn(), "person IN ("+clickhouse.People(people)+")"
	ids, err := w.bury(ctx, all, people, who)
	if err != nil {
		return err
	}
	if err := w.eraseLetters(ctx, ids, who); err != nil {
		return err
	}
	// The hashes of message ids, while it is known which are theirs. What comes twice from here on is from
	// before the erasure, or new.
	theirs := make([]string, 0, len(ownTables())+1)
	for _, t := range append(ownTables(), "identities") {
		theirs = append(theirs, "SELECT pos FROM "+t+" WHERE "+who)
	}
	if err := clickhouse.DeleteRows(ctx, conn, "dedup", "pos IN ("+strings.Join(theirs, " UNION ALL ")+")"); err != nil {
		return err
	}
	for _, t := range ownTables() {
		if err := clickhouse.DeleteRows(ctx, conn, t, who); err != nil {
			return err
		}
	}
	// Their positions are those of looks: they are nobody's events.
	if err := clickhouse.DeleteRows(ctx, conn, "dues", who); err != nil {
		return err
	}
	if err := w.eraseLedger(ctx, people); err != nil {
		return err
	}
	// Everybody in the chain is noted by now.
	list := clickhouse.People(people)
	if err := clickhouse.DeleteRows(ctx, conn, "merges", "loser IN ("+list+") OR winner IN ("+list+")"); err != nil {
		return err
	}
	return clickhouse.DeleteRows(ctx, conn, "identities", who)
}

func (w *Writer) eraseLedger(ctx context.Context, people []events.PersonID) error {
	w.copying.Lock()
	defer w.copying.Unlock()
	return clickhouse.EraseFromLedger(ctx, w.store.Conn(), people)
}

// Steady runs fn, which asks Erased and then writes what is about others: nobody is taken out of the
// ledger's tables meanwhile, so that who is erased while fn writes is taken out behind it.
func (w *Writer) Steady(fn func() error) error {
	w.copying.RLock()
	defer w.copying.RUnlock()
	return fn()
}

// bury adds to the erasures the hashes of all ids of the people and all their numbers, and returns the ids.
func (w *Writer) bury(ctx context.Context, all map[events.PersonID]erasure, people []events.PersonID, who string) (ids []string, err error) {
	type grave struct {
		hash   string
		person events.PersonID
	}
	buried, numbered := map[grave]bool{}, map[events.PersonID]bool{}
	if err := w.scan(ctx, "SELECT DISTINCT hash, person FROM erasures WHERE "+who, func(scan func(...any) error) error {
		var hash string
		var person uint64
		err := scan(&hash, &person)
		buried[grave{hash, events.PersonID(person)}], numbered[events.PersonID(person)] = true, true
		return err
	}); err != nil {
		return nil, fmt.Errorf("read erasures: %w", err)
	}
	var more []erasure
	add := func(person events.PersonID, key idKey) {
		if g := (grave{key.String(), person}); !buried[g] {
			buried[g], numbered[person] = true, true
			e := all[person]
			e.person, e.key = person, key
			more = append(more, e)
		}
	}
	err = w.scan(ctx, "SELECT kind, id, person FROM identities WHERE "+who, func(scan func(...any) error) error {
		var kind, id string
		var person uint64
		if err := scan(&kind, &id, &person); err != nil {
			return err
		}
		ids = append(ids, id)
		k, _ := w.ids.salt.id(nil, kind, id)
		add(events.PersonID(person), k)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read identities: %w", err)
	}
	for _, p := range people {
		if !numbered[p] {
			add(p, all[p].key)
		}
	}
	if err := erasuresTable.block(more, nil).send(ctx, w.store.Conn()); err != nil {
		return nil, fmt.Errorf("note who is erased: %w", err)
	}
	return ids, nil
}

// eraseLetters removes refused calls that name the people: by an id, a push token, or a trait that is an
// e-mail address. What to delete is named by its place, since the text of the deletion is kept.
func (w *Writer) eraseLetters(ctx context.Context, ids []string, who string) error {
	text := func(into *[]string) func(scan func(...any) error) error {
		return func(scan func(...any) error) error {
			var s string
			err := scan(&s)
			*into = append(*into, s)
			return err
		}
	}
	names := slices.Clone(ids)
	if err := w.scan(ctx, "SELECT DISTINCT token FROM devices WHERE "+who, text(&names)); err != nil {
		return fmt.Errorf("read devices: %w", err)
	}
	if err := w.scan(ctx, "SELECT DISTINCT assumeNotNull(str) FROM traits WHERE "+who+" AND position(str, '@') > 0", text(&names)); err != nil {
		return fmt.Errorf("read traits: %w", err)
	}
	var needles []string
	for _, name := range names {
		for _, s := range spellings(name) {
			needles = append(needles, sqlText(s))
		}
	}
	var places []string
	for some := range slices.Chunk(needles, 200) {
		q := "SELECT DISTINCT concat('(', toString(pos), ', ', toString(`index`), ')') FROM dead_letters WHERE multiSearchAny(raw, [" + strings.Join(some, ", ") + "])"
		if err := w.scan(ctx, q, text(&places)); err != nil {
			return fmt.Errorf("look for refused calls: %w", err)
		}
	}
	for some := range slices.Chunk(places, eraseTogether) {
		if err := clickhouse.DeleteRows(ctx, w.store.Conn(), "dead_letters", "(pos, `index`) IN ("+strings.Join(some, ", ")+")"); err != nil {
			return err
		}
	}
	return nil
}

// spellings are the ways in which JSON writes a string. A number may have come as one.
func spellings(s string) []string {
	var all []string
	var b bytes.Buffer
	for _, html := range []bool{false, true} {
		b.Reset()
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(html)
		_ = enc.Encode(s) // a string cannot fail
		all = append(all, strings.TrimSpace(b.String()))
	}
	for _, digits := range []string{"\\u%04x", "\\u%04X"} {
		b.Reset()
		for _, r := range all[0] {
			switch {
			case r < 0x80:
				b.WriteRune(r)
			case r > 0xffff:
				high, low := utf16.EncodeRune(r)
				fmt.Fprintf(&b, digits+digits, high, low)
			default:
				fmt.Fprintf(&b, digits, r)
			}
		}
		all = append(all, b.String())
	}
	if json.Valid([]byte(s)) && strings.Trim(s, "0123456789") == "" {
		for _, before := range []string{":", ": "} {
			for _, after := range []string{",", "}", " "} {
				all = append(all, before+s+after)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func sqlText(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

package writer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"nudge/events"
)

// An erasure is done after its record is durable, away from the stream: the hashes of all ids are
// added to the record, then every table is cleaned, the ids go last, and a row says when it was
// done. Each step may be repeated, so that an erasure that was cut short is done again at start.

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

// undone reads the erasures without a row that says when they were done.
func (w *Writer) undone(ctx context.Context) (es []erasure, err error) {
	q := `SELECT any(hash), person, pos, toUnixTimestamp64Milli(max(time)) FROM erasures
		WHERE pos <= ` + number(w.Position()) + ` GROUP BY person, pos HAVING max(toUnixTimestamp64Milli(done_at)) = 0`
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

// anonymised: kept of a decision and of a delivery is what a report counts; the person and what could name them
// go. (shard, seq, index) is a record's place in its stream.
var anonymised = map[string]string{
	"decisions":  "REPLACE (0 AS person, '' AS user_id, '' AS value, '' AS features, '' AS `with`, '' AS profile, [] AS devices)",
	"deliveries": "REPLACE (0 AS person, '' AS device, '' AS provider_id, '' AS error, '' AS text)",
}

func (w *Writer) erase(ctx context.Context, es []erasure) error {
	people := map[events.PersonID]bool{}
	for _, e := range es {
		if e.person != 0 {
			people[w.Canonical(e.person)] = true
		}
	}
	w.mu.Lock()
	all := w.ids.merged(people)
	w.mu.Unlock()
	var list []string
	for _, ps := range all {
		for _, p := range ps {
			list = append(list, number(p))
		}
	}
	if len(list) > 0 {
		if err := w.erasePeople(ctx, es, strings.Join(list, ", ")); err != nil {
			return err
		}
	}
	done := make([]erasure, len(es))
	for i, e := range es {
		done[i] = e
		done[i].done = w.now().UnixMilli()
	}
	if err := erasuresTable.block(done, nil).send(ctx, w.store.Conn()); err != nil {
		return fmt.Errorf("note that people are erased: %w", err)
	}
	return nil
}

func (w *Writer) erasePeople(ctx context.Context, es []erasure, list string) error {
	ids, err := w.bury(ctx, es, list)
	if err != nil {
		return err
	}
	for _, t := range ownTables() {
		if err := w.delete(ctx, t, "person IN ("+list+")"); err != nil {
			return err
		}
	}
	for t, replace := range anonymised {
		// The rows are chosen in a query of their own: REPLACE's names would hide the columns from WHERE.
		copied := fmt.Sprintf("INSERT INTO %[1]s SELECT * %[2]s FROM (SELECT * FROM %[1]s WHERE person IN (%[3]s) "+
			"AND (shard, seq, `index`) NOT IN (SELECT shard, seq, `index` FROM %[1]s WHERE person = 0))", t, replace, list)
		if err := w.store.Conn().Exec(ctx, copied); err != nil {
			return fmt.Errorf("keep the counts of %s without the person: %w", t, err)
		}
		if err := w.delete(ctx, t, "person IN ("+list+")"); err != nil {
			return err
		}
	}
	for len(ids) > 0 {
		some := ids[:min(len(ids), 200)]
		ids = ids[len(some):]
		if err := w.delete(ctx, "dead_letters", "multiSearchAny(raw, ["+strings.Join(some, ", ")+"])"); err != nil {
			return err
		}
	}
	return w.delete(ctx, "identities", "person IN ("+list+")")
}

// bury adds the hashes of all ids of the people to the erasures, and returns the ids as they stand in
// JSON, as SQL literals.
func (w *Writer) bury(ctx context.Context, es []erasure, list string) (ids []string, err error) {
	at := map[events.PersonID]erasure{}
	for _, e := range es {
		if e.person != 0 {
			at[w.Canonical(e.person)] = e
		}
	}
	buried := map[string]bool{}
	if err := w.scan(ctx, "SELECT DISTINCT hash FROM erasures WHERE person IN ("+list+")", func(scan func(...any) error) error {
		var hash string
		err := scan(&hash)
		buried[hash] = true
		return err
	}); err != nil {
		return nil, fmt.Errorf("read erasures: %w", err)
	}
	var more []erasure
	err = w.scan(ctx, "SELECT kind, id, person FROM identities WHERE person IN ("+list+")", func(scan func(...any) error) error {
		var kind, id string
		var person uint64
		if err := scan(&kind, &id, &person); err != nil {
			return err
		}
		literal, _ := json.Marshal(id)
		ids = append(ids, sqlText(string(literal)))
		e, ok := at[w.Canonical(events.PersonID(person))]
		if !ok {
			return errors.New("an id belongs to nobody who is erased")
		}
		e.key, _ = w.ids.salt.id(nil, kind, id)
		if !buried[e.key.String()] {
			more = append(more, e)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read identities: %w", err)
	}
	if err := erasuresTable.block(more, nil).send(ctx, w.store.Conn()); err != nil {
		return nil, err
	}
	return ids, nil
}

// delete removes rows for good and waits until that is done. Parts without such rows are left alone.
func (w *Writer) delete(ctx context.Context, table, where string) error {
	if err := w.store.Conn().Exec(ctx, "ALTER TABLE "+table+" DELETE WHERE "+where+" SETTINGS mutations_sync = 2"); err != nil {
		return fmt.Errorf("delete from %s: %w", table, err)
	}
	return nil
}

func sqlText(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

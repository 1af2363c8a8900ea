package writer

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"nudge/events"
)

// load reads the checkpoint and the maps as they were there.
func (w *Writer) load(ctx context.Context) (from events.Position, err error) {
	start := w.now()
	err = w.insist(ctx, "load people and message ids from the store", func() error {
		from, err = w.loadOnce(ctx)
		return err
	})
	if err != nil {
		return 0, err
	}
	w.log.Info("loaded", "checkpoint", from.Seq(), "ids", len(w.ids.ids), "merges", len(w.ids.parent),
		"devices", len(w.derive.devices), "filter_bytes", w.dedup.live.bytes(), "took", w.now().Sub(start))
	return from, nil
}

func (w *Writer) loadOnce(ctx context.Context) (events.Position, error) {
	s, err := w.loadSalt(ctx)
	if err != nil {
		return 0, err
	}
	var from uint64
	if err := w.store.Conn().QueryRow(ctx, "SELECT max(pos) FROM checkpoints WHERE reader = '"+reader+"'").Scan(&from); err != nil {
		return 0, fmt.Errorf("read the checkpoint: %w", err)
	}
	upTo := events.Position(from)

	ids := newIdentity(s)
	d := newDerive(ids)
	if err := w.loadPeople(ctx, ids, upTo); err != nil {
		return 0, err
	}
	if err := w.loadDevices(ctx, d, upTo); err != nil {
		return 0, err
	}
	dd := newDedup(s, w.lookup, func(ctx context.Context, add func(idKey)) error {
		return w.loadKeys(ctx, "day = '"+date(importDay)+"'", upTo, func(k idKey, _ int32) { add(k) })
	})
	if err := w.loadKeys(ctx, "day < '"+date(importDay)+"'", upTo, dd.live.add); err != nil {
		return 0, err
	}
	w.mu.Lock()
	w.ids = ids
	w.mu.Unlock()
	w.derive, w.dedup = d, dd
	return upTo, nil
}

// saltKind and saltName are where the store keeps its salt.
const saltKind, saltName = "salt", "ids"

// loadSalt reads the salt of the store, or makes one: the first that was stored counts.
func (w *Writer) loadSalt(ctx context.Context) (s salt, err error) {
	read := func() (text string, err error) {
		q := fmt.Sprintf("SELECT argMin(text, (at, text)) FROM sources WHERE kind = '%s' AND name = '%s'", saltKind, saltName)
		err = w.store.Conn().QueryRow(ctx, q).Scan(&text)
		return text, err
	}
	text, err := read()
	if err != nil {
		return s, fmt.Errorf("read the store's salt: %w", err)
	}
	if text == "" {
		_, _ = rand.Read(s[:]) // never fails
		err := w.store.Conn().Exec(ctx, fmt.Sprintf(
			"INSERT INTO sources (kind, name, hash, text, at) SELECT '%s', '%s', '', '%x', fromUnixTimestamp64Milli(%d)",
			saltKind, saltName, s[:], w.now().UnixMilli()))
		if err != nil {
			return s, fmt.Errorf("store a new salt: %w", err)
		}
		if text, err = read(); err != nil {
			return s, fmt.Errorf("read the store's salt: %w", err)
		}
	}
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(s) {
		return s, errors.New("the store's salt (table sources, kind salt) is damaged: restore it from a backup, nobody can be recognised without it")
	}
	return salt(b), nil
}

func (w *Writer) loadPeople(ctx context.Context, ids *identity, upTo events.Position) error {
	below := " WHERE pos <= " + number(upTo)
	err := w.scan(ctx, "SELECT loser, winner FROM merges"+below, func(scan func(...any) error) error {
		var loser, winner uint64
		if err := scan(&loser, &winner); err != nil {
			return err
		}
		ids.loadMerge(events.PersonID(loser), events.PersonID(winner))
		return nil
	})
	if err != nil {
		return fmt.Errorf("read merges: %w", err)
	}
	err = w.scan(ctx, "SELECT hash, person, time FROM erasures"+below, func(scan func(...any) error) error {
		var hash string
		var person uint64
		var at time.Time
		if err := scan(&hash, &person, &at); err != nil {
			return err
		}
		k, err := parseKey(hash)
		if err != nil {
			return err
		}
		ids.bury(erasure{key: k, person: events.PersonID(person), time: at.UnixMilli()})
		return nil
	})
	if err != nil {
		return fmt.Errorf("read erasures: %w", err)
	}
	// In the table's own order, so that nothing is sorted: by kind, id, position.
	err = w.scan(ctx, "SELECT kind, id, person FROM identities"+below+" ORDER BY kind, id, pos", func(scan func(...any) error) error {
		var kind, id string
		var person uint64
		if err := scan(&kind, &id, &person); err != nil {
			return err
		}
		ids.loadLink(kind, id, events.PersonID(person))
		return nil
	})
	if err != nil {
		return fmt.Errorf("read identities: %w", err)
	}
	return nil
}

func (w *Writer) loadDevices(ctx context.Context, d *derive, upTo events.Position) error {
	below := " WHERE pos <= " + number(upTo)
	// Of a token that changed hands, the newest row is the new owner's.
	err := w.scan(ctx, `SELECT token, last.1, last.2, last.3, last.4, last.5, last.6, last.7 FROM (
		SELECT token, argMax((person, time, platform, app, environment, device, removed), (time, pos, NOT removed)) AS last
		FROM devices`+below+` GROUP BY token)`, func(scan func(...any) error) error {
		var c events.DeviceChange
		var person uint64
		var at time.Time
		if err := scan(&c.Token, &person, &at, &c.Platform, &c.App, &c.Environment, &c.Device, &c.Removed); err != nil {
			return err
		}
		d.loadDevice(events.PersonID(person), at.UnixMilli(), c)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read devices: %w", err)
	}
	// A zone from before its person's last merge is left out, as it was forgotten then; a locale too.
	for column, load := range map[string]func(events.PersonID, int64, string){"zone": d.loadZone, "locale": d.loadLocale} {
		if err := w.loadLast(ctx, column, below, load); err != nil {
			return err
		}
	}
	return nil
}

// loadLast reads of everybody the last that rows of zones say in a column.
func (w *Writer) loadLast(ctx context.Context, column, below string, load func(events.PersonID, int64, string)) error {
	err := w.scan(ctx, `SELECT z.person, z.last.1, z.last.2
		FROM (SELECT person, argMax((`+column+`, time, pos), (time, pos)) AS last FROM zones`+below+` AND `+column+` != '' GROUP BY person) AS z
		LEFT JOIN (SELECT winner, max(pos) AS merged FROM merges`+below+` GROUP BY winner) AS m ON m.winner = z.person
		WHERE z.last.3 > m.merged`,
		func(scan func(...any) error) error {
			var person uint64
			var name string
			var at time.Time
			if err := scan(&person, &name, &at); err != nil {
				return err
			}
			load(events.PersonID(person), at.UnixMilli(), name)
			return nil
		})
	if err != nil {
		return fmt.Errorf("read %ss: %w", column, err)
	}
	return nil
}

func (w *Writer) loadKeys(ctx context.Context, where string, upTo events.Position, add func(idKey, int32)) error {
	err := w.scan(ctx, "SELECT hash, check, toUInt32(toUInt16(day)) FROM dedup WHERE "+where+" AND pos <= "+number(upTo),
		func(scan func(...any) error) error {
			var k idKey
			var day uint32
			if err := scan(&k.hi, &k.lo, &day); err != nil {
				return err
			}
			add(k, int32(day))
			return nil
		})
	if err != nil {
		return fmt.Errorf("read message ids: %w", err)
	}
	return nil
}

// lookupChunk bounds the text of one lookup.
const lookupChunk = 20_000

// lookup is dedup's question to the store.
func (w *Writer) lookup(ctx context.Context, keys []idKey) (map[idKey][]dedupRow, error) {
	w.metrics.lookups.Add(float64(len(keys)))
	found := make(map[idKey][]dedupRow)
	for len(keys) > 0 {
		chunk := keys[:min(len(keys), lookupChunk)]
		keys = keys[len(chunk):]
		wanted := make(map[idKey]struct{}, len(chunk))
		var q strings.Builder
		q.WriteString("SELECT hash, check, pos, toUInt32(toUInt16(day)) FROM dedup WHERE hash IN (")
		for i, k := range chunk {
			wanted[k] = struct{}{}
			if i > 0 {
				q.WriteByte(',')
			}
			q.WriteString(number(k.hi))
		}
		q.WriteByte(')')
		ctx := clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"max_query_size": 1 << 20}))
		err := w.scan(ctx, q.String(), func(scan func(...any) error) error {
			var r dedupRow
			var pos uint64
			var day uint32
			if err := scan(&r.key.hi, &r.key.lo, &pos, &day); err != nil {
				return err
			}
			r.pos, r.day = events.Position(pos), int32(day)
			if _, ok := wanted[r.key]; ok {
				found[r.key] = append(found[r.key], r)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// scan runs a query and hands each row to fn.
func (w *Writer) scan(ctx context.Context, query string, fn func(scan func(...any) error) error) error {
	rows, err := w.store.Conn().Query(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

func date(day int32) string { return time.Unix(int64(day)*86400, 0).UTC().Format(time.DateOnly) }

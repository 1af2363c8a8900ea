package writer

import (
	"time"
	"unsafe"

	"nudge/events"
)

// The columns are those of events/clickhouse/ddl.

const (
	typeTime = "DateTime64(3, 'UTC')"
	typeLow  = "LowCardinality(String)"
)

var (
	traitsTable = &table[traitRow]{
		name: "traits",
		pos:  func(r *traitRow) events.Position { return r.pos },
		columns: []field[traitRow]{
			col("person", "UInt64", func(r *traitRow) uint64 { return uint64(r.person) }),
			col("key", typeLow, func(r *traitRow) string { return r.key }),
			col("value", "String", func(r *traitRow) string { return r.value }),
			col("num", "Nullable(Float64)", func(r *traitRow) *float64 { return r.num }),
			col("str", "Nullable(String)", func(r *traitRow) *string { return r.str }),
			col("time", typeTime, func(r *traitRow) int64 { return r.time }),
			col("pos", "UInt64", func(r *traitRow) uint64 { return uint64(r.pos) }),
		},
	}
	devicesTable = &table[deviceRow]{
		name: "devices",
		pos:  func(r *deviceRow) events.Position { return r.pos },
		columns: []field[deviceRow]{
			col("person", "UInt64", func(r *deviceRow) uint64 { return uint64(r.person) }),
			col("token", "String", func(r *deviceRow) string { return r.Token }),
			col("platform", typeLow, func(r *deviceRow) string { return r.Platform }),
			col("app", typeLow, func(r *deviceRow) string { return r.App }),
			col("environment", typeLow, func(r *deviceRow) string { return r.Environment }),
			col("device", "String", func(r *deviceRow) string { return r.Device }),
			col("last_seen", typeTime, func(r *deviceRow) int64 { return r.time }),
			col("removed", "Bool", func(r *deviceRow) bool { return r.Removed }),
			col("reason", typeLow, func(r *deviceRow) string { return r.Reason }),
			col("time", typeTime, func(r *deviceRow) int64 { return r.time }),
			col("pos", "UInt64", func(r *deviceRow) uint64 { return uint64(r.pos) }),
		},
	}
	consentsTable = &table[consentRow]{
		name: "consents",
		pos:  func(r *consentRow) events.Position { return r.pos },
		columns: []field[consentRow]{
			col("person", "UInt64", func(r *consentRow) uint64 { return uint64(r.person) }),
			col("channel", typeLow, func(r *consentRow) string { return r.Channel }),
			col("category", typeLow, func(r *consentRow) string { return r.Category }),
			col("granted", "Bool", func(r *consentRow) bool { return r.Granted }),
			col("time", typeTime, func(r *consentRow) int64 { return r.time }),
			col("pos", "UInt64", func(r *consentRow) uint64 { return uint64(r.pos) }),
		},
	}
	zonesTable = &table[zoneRow]{
		name: "zones",
		pos:  func(r *zoneRow) events.Position { return r.pos },
		columns: []field[zoneRow]{
			col("person", "UInt64", func(r *zoneRow) uint64 { return uint64(r.person) }),
			col("zone", typeLow, func(r *zoneRow) string { return r.zone }),
			col("locale", typeLow, func(r *zoneRow) string { return r.locale }),
			col("time", typeTime, func(r *zoneRow) int64 { return r.time }),
			col("pos", "UInt64", func(r *zoneRow) uint64 { return uint64(r.pos) }),
		},
	}
	fixesTable = &table[fixRow]{
		name: "fixes",
		pos:  func(r *fixRow) events.Position { return r.pos },
		columns: []field[fixRow]{
			col("person", "UInt64", func(r *fixRow) uint64 { return uint64(r.person) }),
			col("time", typeTime, func(r *fixRow) int64 { return r.time }),
			col("pos", "UInt64", func(r *fixRow) uint64 { return uint64(r.pos) }),
			col("lat", "Float64", func(r *fixRow) float64 { return r.Lat }),
			col("lon", "Float64", func(r *fixRow) float64 { return r.Lon }),
			col("accuracy", "Float64", func(r *fixRow) float64 { return r.Accuracy }),
		},
	}
	identitiesTable = &table[link]{
		name: "identities",
		pos:  func(r *link) events.Position { return r.pos },
		columns: []field[link]{
			col("kind", typeLow, func(r *link) string { return r.kind }),
			col("id", "String", func(r *link) string { return r.id }),
			col("person", "UInt64", func(r *link) uint64 { return uint64(r.person) }),
			col("pos", "UInt64", func(r *link) uint64 { return uint64(r.pos) }),
			col("time", typeTime, func(r *link) int64 { return r.time }),
		},
	}
	mergesTable = &table[merge]{
		name: "merges",
		pos:  func(r *merge) events.Position { return r.pos },
		columns: []field[merge]{
			col("loser", "UInt64", func(r *merge) uint64 { return uint64(r.loser) }),
			col("winner", "UInt64", func(r *merge) uint64 { return uint64(r.winner) }),
			col("pos", "UInt64", func(r *merge) uint64 { return uint64(r.pos) }),
			col("time", typeTime, func(r *merge) int64 { return r.time }),
		},
	}
	erasuresTable = &table[erasure]{
		name: "erasures",
		pos:  func(r *erasure) events.Position { return r.pos },
		columns: []field[erasure]{
			col("hash", "String", func(r *erasure) string { return r.key.String() }),
			col("person", "UInt64", func(r *erasure) uint64 { return uint64(r.person) }),
			col("time", typeTime, func(r *erasure) int64 { return r.time }),
			col("pos", "UInt64", func(r *erasure) uint64 { return uint64(r.pos) }),
			col("done_at", typeTime, func(r *erasure) int64 { return r.done }),
		},
	}
	lettersTable = &table[letter]{
		name: "dead_letters",
		pos:  func(r *letter) events.Position { return r.pos },
		columns: []field[letter]{
			col("pos", "UInt64", func(r *letter) uint64 { return uint64(r.pos) }),
			col("index", "UInt32", func(r *letter) uint32 { return uint32(max(r.index, 0)) }),
			col("source", typeLow, func(r *letter) string { return r.source }),
			col("reason", "String", func(r *letter) string { return r.reason }),
			col("raw", "String", func(r *letter) string { return text(r.raw) }),
			col("received_at", typeTime, func(r *letter) int64 { return r.at }),
		},
	}
	dedupTable = &table[dedupRow]{
		name: "dedup",
		pos:  func(r *dedupRow) events.Position { return r.pos },
		columns: []field[dedupRow]{
			col("hash", "UInt64", func(r *dedupRow) uint64 { return r.key.hi }),
			col("check", "UInt64", func(r *dedupRow) uint64 { return r.key.lo }),
			col("pos", "UInt64", func(r *dedupRow) uint64 { return uint64(r.pos) }),
			col("day", "Date", func(r *dedupRow) time.Time { return time.Unix(int64(r.day)*86400, 0).UTC() }),
		},
	}
)

// tableNames are the tables that the writer fills, the one with most rows first.
func tableNames() []string {
	return []string{
		"events", "dedup", "identities", "merges", "traits", "devices", "consents", "zones", "fixes",
		"erasures", "dead_letters",
	}
}

// blocks are the batch's rows that are not in the store yet, in the order of tableNames.
func (b *batch) blocks(present map[string]positions) []block {
	first := b.built
	if len(present["events"]) > 0 {
		first.close()
		first = first.without(present["events"])
	}
	return []block{
		first,
		dedupTable.block(b.dedup, present["dedup"]),
		identitiesTable.block(b.links, present["identities"]),
		mergesTable.block(b.merges, present["merges"]),
		traitsTable.block(b.traits, present["traits"]),
		devicesTable.block(b.devices, present["devices"]),
		consentsTable.block(b.consents, present["consents"]),
		zonesTable.block(b.zones, present["zones"]),
		fixesTable.block(b.fixes, present["fixes"]),
		erasuresTable.block(b.erasures, present["erasures"]),
		lettersTable.block(b.letters, present["dead_letters"]),
	}
}

// text is the bytes as a string, without a copy: nobody writes to them any more.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

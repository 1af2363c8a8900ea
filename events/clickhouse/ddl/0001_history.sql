-- Everything that happened, append-only. Positions (pos) say in which order it arrived, times when
-- it happened; no row is ever changed. One statement ends at a line that holds only ";".
-- Sharded tables are spread by person over the shards of a cluster, "everywhere" ones are whole on
-- every node; on a single node both are plain MergeTree tables. See layout.go for the template words.

-- The rows of some people are read by the key, and found by two more orders, which are projections: by_event for
-- what becomes old (an event and a range of its time), by_pos for what has arrived (a range of positions).
-- ClickHouse reads one by itself where a query bounds its key by constants and needs none but its columns; it is
-- stored by the same INSERT or not at all, and mutations follow it. Ranges joined by OR are fine for one of them,
-- a position OR a time is not: that reads the table (use UNION ALL). With the maps in them the merges would cost twice
-- as much, so a filter on properties reads the rows in the order of people.
-- One person's rows are a few of a granule, and a compressed block is read whole: so granules of 256 rows, blocks of
-- 4 KB, LZ4, and quarters, not months, since a person costs a granule in each. Measured: docs/storage.md.
CREATE TABLE IF NOT EXISTS {{local "events"}}{{onCluster}}
(
    person       UInt64 COMMENT 'canonical person when written; later merges are read through person_map' CODEC(T64, LZ4) {{small}},
    time         DateTime64(3, 'UTC') COMMENT 'when it happened, corrected for the clock of the sender' CODEC(T64, LZ4) {{small}},
    pos          UInt64 COMMENT 'place in the event stream' CODEC(T64, LZ4) {{small}},
    kind         UInt8 COMMENT 'events.Kind: 1 track, 2 identify, 3 page, 4 screen, 5 group, 6 alias, 7 message, …' CODEC(LZ4) {{small}},
    event        LowCardinality(String) COMMENT 'name; pages are "Page Viewed", screens "Screen Viewed"; "" where kind says it' CODEC(LZ4) {{small}},
    source       LowCardinality(String) COMMENT 'name of the write key',
    user_id      String CODEC(ZSTD(1)),
    anonymous_id String CODEC(ZSTD(1)),
    message_id   String CODEC(ZSTD(1)),
    received_at  DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    flags        UInt32 COMMENT 'events.Flags: 1 imported, 2 violation, 4 known alias, 8 machine open' CODEC(LZ4) {{small}},
    violations   Array(String) COMMENT 'what the tracking plan objects to',
    strs         Map(LowCardinality(String), String) COMMENT 'string properties by dotted path' CODEC(LZ4) {{small}},
    nums         Map(LowCardinality(String), Float64) COMMENT 'numbers; declared times in Unix milliseconds' CODEC(LZ4) {{small}},
    bools        Map(LowCardinality(String), Bool) CODEC(LZ4) {{small}},
    bigs         Map(LowCardinality(String), Int64) COMMENT 'integers beyond ±2^53, exactly; they are in nums too' CODEC(LZ4) {{small}},
    properties   String COMMENT 'normalised JSON' CODEC(ZSTD(1)) {{medium}},
    context      String COMMENT 'normalised JSON' CODEC(ZSTD(1)) {{medium}},
    raw          String COMMENT 'the call as received' CODEC(ZSTD(1)),
    INDEX pos_minmax pos TYPE minmax GRANULARITY 1,
    PROJECTION by_event
    (
        SELECT person, time, pos, kind, event, flags
        ORDER BY event, time
    ),
    PROJECTION by_pos
    (
        SELECT person, time, pos, kind, event, flags
        ORDER BY pos
    )
)
ENGINE = {{sharded "events"}}
PARTITION BY toStartOfQuarter(time)
ORDER BY (person, time, pos)
{{ttl "time"}}
SETTINGS {{settings}}, index_granularity = 256
;
{{distributed "events"}}
;
CREATE TABLE IF NOT EXISTS {{local "traits"}}{{onCluster}}
(
    person UInt64 CODEC(T64, LZ4) {{small}},
    key    LowCardinality(String),
    value  String COMMENT 'JSON; null means removed' CODEC(ZSTD(1)) {{medium}},
    num    Nullable(Float64) CODEC(ZSTD(1)) {{medium}},
    str    Nullable(String) CODEC(ZSTD(1)) {{medium}},
    time   DateTime64(3, 'UTC') CODEC(T64, LZ4) {{small}},
    pos    UInt64 CODEC(T64, LZ4) {{small}},
    INDEX pos_minmax pos TYPE minmax GRANULARITY 1
)
ENGINE = {{sharded "traits"}}
ORDER BY (person, key, time, pos)
SETTINGS {{settings}}, index_granularity = 256
;
{{distributed "traits"}}
;
CREATE TABLE IF NOT EXISTS {{local "devices"}}{{onCluster}}
(
    person      UInt64 CODEC(T64, LZ4) {{small}},
    token       String CODEC(ZSTD(1)) {{medium}},
    platform    LowCardinality(String) COMMENT 'ios, android, web',
    app         LowCardinality(String),
    environment LowCardinality(String) COMMENT 'production, sandbox',
    last_seen   DateTime64(3, 'UTC'),
    removed     Bool,
    reason      LowCardinality(String) COMMENT 'of a removal: app, dead',
    time        DateTime64(3, 'UTC') CODEC(T64, LZ4) {{small}},
    pos         UInt64 CODEC(T64, LZ4) {{small}},
    INDEX pos_minmax pos TYPE minmax GRANULARITY 1,
    PROJECTION by_token
    (
        SELECT person, token, platform, app, environment, last_seen, removed, reason, time, pos
        ORDER BY token
    )
)
ENGINE = {{sharded "devices"}}
ORDER BY (person, token, time, pos)
SETTINGS {{settings}}, index_granularity = 256
;
{{distributed "devices"}}
;
CREATE TABLE IF NOT EXISTS {{local "consents"}}{{onCluster}}
(
    person   UInt64 CODEC(T64, LZ4) {{small}},
    channel  LowCardinality(String) COMMENT 'empty: all',
    category LowCardinality(String) COMMENT 'empty: all',
    granted  Bool,
    time     DateTime64(3, 'UTC') CODEC(T64, LZ4) {{small}},
    pos      UInt64 CODEC(T64, LZ4) {{small}},
    INDEX pos_minmax pos TYPE minmax GRANULARITY 1
)
ENGINE = {{sharded "consents"}}
ORDER BY (person, channel, category, time, pos)
SETTINGS {{settings}}, index_granularity = 256
;
{{distributed "consents"}}
;
CREATE TABLE IF NOT EXISTS {{local "zones"}}{{onCluster}}
(
    person UInt64 CODEC(T64, LZ4) {{small}},
    zone   LowCardinality(String) COMMENT 'IANA name',
    time   DateTime64(3, 'UTC') CODEC(T64, LZ4) {{small}},
    pos    UInt64 CODEC(T64, LZ4) {{small}},
    INDEX pos_minmax pos TYPE minmax GRANULARITY 1,
    PROJECTION by_pos
    (
        SELECT person, pos
        ORDER BY pos
    )
)
ENGINE = {{sharded "zones"}}
ORDER BY (person, time, pos)
SETTINGS {{settings}}, index_granularity = 256
;
{{distributed "zones"}}
;
CREATE TABLE IF NOT EXISTS {{local "fixes"}}{{onCluster}}
(
    person   UInt64 CODEC(T64, LZ4) {{small}},
    time     DateTime64(3, 'UTC') CODEC(T64, LZ4) {{small}},
    pos      UInt64 CODEC(T64, LZ4) {{small}},
    lat      Float64 CODEC(ZSTD(1)) {{small}},
    lon      Float64 CODEC(ZSTD(1)) {{small}},
    accuracy Float64 COMMENT 'metres; 0 when not said' CODEC(ZSTD(1)) {{small}},
    INDEX pos_minmax pos TYPE minmax GRANULARITY 1,
    PROJECTION by_time
    (
        SELECT person, time, pos, lat, lon, accuracy
        ORDER BY time
    ),
    PROJECTION by_pos
    (
        SELECT person, time, pos
        ORDER BY pos
    )
)
ENGINE = {{sharded "fixes"}}
PARTITION BY toStartOfQuarter(time)
ORDER BY (person, time, pos)
{{ttl "time"}}
SETTINGS {{settings}}, index_granularity = 256
;
{{distributed "fixes"}}
;
CREATE TABLE IF NOT EXISTS identities{{onCluster}}
(
    kind   LowCardinality(String) COMMENT 'user, anonymous',
    id     String CODEC(ZSTD(1)),
    person UInt64 COMMENT 'the person this id was first given, or the user it was linked to' CODEC(ZSTD(1)),
    pos    UInt64 CODEC(Delta, ZSTD(1)),
    time   DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    INDEX pos_minmax pos TYPE minmax GRANULARITY 1,
    PROJECTION by_person
    (
        SELECT kind, id, person, pos, time
        ORDER BY person
    ),
    PROJECTION by_pos
    (
        SELECT person, time, pos, kind
        ORDER BY pos
    )
)
ENGINE = {{everywhere "identities"}}
ORDER BY (kind, id, pos)
SETTINGS {{settings}}, index_granularity = 256
;
CREATE TABLE IF NOT EXISTS merges{{onCluster}}
(
    loser  UInt64 CODEC(Delta, ZSTD(1)),
    winner UInt64 COMMENT 'canonical at that position; may lose later' CODEC(ZSTD(1)),
    pos    UInt64 CODEC(Delta, ZSTD(1)),
    time   DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    INDEX pos_minmax pos TYPE minmax GRANULARITY 1
)
ENGINE = {{everywhere "merges"}}
ORDER BY (loser, pos)
SETTINGS {{settings}}
;
CREATE TABLE IF NOT EXISTS erasures{{onCluster}}
(
    hash    String COMMENT 'salted hash of the id, so that the past cannot return',
    person  UInt64,
    time    DateTime64(3, 'UTC') COMMENT 'when it was asked for',
    pos     UInt64,
    done_at DateTime64(3, 'UTC') COMMENT '1970 until deleted; a second row says when'
)
ENGINE = {{everywhere "erasures"}}
ORDER BY (person, pos, done_at)
SETTINGS {{settings}}
;
CREATE TABLE IF NOT EXISTS dead_letters{{onCluster}}
(
    pos         UInt64 CODEC(Delta, ZSTD(1)),
    `index`     UInt32 COMMENT 'of the event in its batch',
    source      LowCardinality(String),
    reason      String CODEC(ZSTD(1)),
    raw         String CODEC(ZSTD(3)),
    received_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = {{everywhere "dead_letters"}}
PARTITION BY toYYYYMM(received_at)
ORDER BY (received_at, pos, `index`)
{{ttl "received_at"}}
SETTINGS {{settings}}
;
-- Keys are looked up one by one, and each costs a granule in each part, so granules are short.
CREATE TABLE IF NOT EXISTS dedup{{onCluster}}
(
    hash  UInt64 COMMENT 'of source and message id' CODEC(NONE) {{small}},
    check UInt64 DEFAULT 0 COMMENT 'a second, independent hash, where the writer keeps one' CODEC(ZSTD(1)),
    pos   UInt64 CODEC(ZSTD(1)),
    day   Date COMMENT 'of arrival, UTC'
)
ENGINE = {{everywhere "dedup"}}
PARTITION BY day
ORDER BY (hash, pos)
TTL day + INTERVAL 8 DAY
SETTINGS {{settings}}, index_granularity = 1024
;
CREATE TABLE IF NOT EXISTS checkpoints{{onCluster}}
(
    reader LowCardinality(String),
    pos    UInt64,
    at     DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = {{replacing "checkpoints" "pos"}}
ORDER BY reader
SETTINGS {{settings}}
;
-- When a condition can next turn for somebody by itself, where that follows from what is known of this person
-- only (a duration in a trait, the date of a renewal). Judging writes it, a tick reads the instants that it
-- passes. What is passed is of no use once every rule has ticked again, for which there are 40 days; a clock that
-- is not the machine's (a test's) has them from the writing. There are no partitions: the instants of one
-- INSERT may lie years apart, and each month would be a part to sync. Merges leave out what has expired.
CREATE TABLE IF NOT EXISTS {{local "dues"}}{{onCluster}}
(
    cond    LowCardinality(String) COMMENT 'hash of the condition',
    at      DateTime64(3, 'UTC') COMMENT 'the earliest instant at which the answer can change by itself' CODEC(Delta, ZSTD(1)),
    person  UInt64 COMMENT 'canonical person when written' CODEC(ZSTD(1)),
    value   String COMMENT 'of for_each; empty: all that the person has' CODEC(ZSTD(1)),
    pos     UInt64 COMMENT 'position of the look that wrote it' CODEC(ZSTD(1)),
    written DateTime('UTC') DEFAULT now() CODEC(ZSTD(1))
)
ENGINE = {{shardedReplacing "dues" "pos"}}
ORDER BY (cond, at, person, value)
TTL greatest(toDateTime(at), written) + INTERVAL 40 DAY
SETTINGS {{rowsExpire}}
;
{{distributed "dues"}}

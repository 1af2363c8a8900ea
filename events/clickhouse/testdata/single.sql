-- 0001_history

CREATE TABLE IF NOT EXISTS events
(
    person       UInt64 COMMENT 'canonical person when written; later merges are read through person_map' CODEC(T64, LZ4) SETTINGS (min_compress_block_size = 4096),
    time         DateTime64(3, 'UTC') COMMENT 'when it happened, corrected for the clock of the sender' CODEC(T64, LZ4) SETTINGS (min_compress_block_size = 4096),
    pos          UInt64 COMMENT 'place in the event stream' CODEC(T64, LZ4) SETTINGS (min_compress_block_size = 4096),
    kind         UInt8 COMMENT 'events.Kind: 1 track, 2 identify, 3 page, 4 screen, 5 group, 6 alias, 7 message, …' CODEC(LZ4) SETTINGS (min_compress_block_size = 4096),
    event        LowCardinality(String) COMMENT 'name; pages are "Page Viewed", screens "Screen Viewed"; "" where kind says it' CODEC(LZ4) SETTINGS (min_compress_block_size = 4096),
    source       LowCardinality(String) COMMENT 'name of the write key',
    user_id      String CODEC(ZSTD(1)),
    anonymous_id String CODEC(ZSTD(1)),
    message_id   String CODEC(ZSTD(1)),
    received_at  DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    flags        UInt32 COMMENT 'events.Flags: 1 imported, 2 violation, 4 known alias, 8 machine open' CODEC(LZ4) SETTINGS (min_compress_block_size = 4096),
    violations   Array(String) COMMENT 'what the tracking plan objects to',
    strs         Map(LowCardinality(String), String) COMMENT 'string properties by dotted path' CODEC(LZ4) SETTINGS (min_compress_block_size = 4096),
    nums         Map(LowCardinality(String), Float64) COMMENT 'numbers; declared times in Unix milliseconds' CODEC(LZ4) SETTINGS (min_compress_block_size = 4096),
    bools        Map(LowCardinality(String), Bool) CODEC(LZ4) SETTINGS (min_compress_block_size = 4096),
    bigs         Map(LowCardinality(String), Int64) COMMENT 'integers beyond ±2^53, exactly; they are in nums too' CODEC(LZ4) SETTINGS (min_compress_block_size = 4096),
    properties   String COMMENT 'normalised JSON' CODEC(ZSTD(1)) SETTINGS (min_compress_block_size = 16384),
    context      String COMMENT 'normalised JSON' CODEC(ZSTD(1)) SETTINGS (min_compress_block_size = 16384),
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
ENGINE = MergeTree
PARTITION BY toStartOfQuarter(time)
ORDER BY (person, time, pos)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_bytes_for_wide_part = 134217728, ttl_only_drop_parts = 1, index_granularity = 256;

CREATE TABLE IF NOT EXISTS traits
(
    person UInt64 CODEC(T64, LZ4) SETTINGS (min_compress_block_size = 4096),
    key    LowCardinality(String),
    value  String COMMENT 'JSON; null means removed' CODEC(ZSTD(1)) SETTINGS (min_compress_block_size = 16384),
    num    Nullable(Float64) CODEC(ZSTD(1)) SETTINGS (min_compress_block_size = 16384),
    str    Nullable(String) CODEC(ZSTD(1)) SETTINGS (min_compress_block_size = 16384),
    time   DateTime64(3, 'UTC') CODEC(T64, LZ4) SETTINGS (min_compress_block_size = 4096),
    pos    UInt64 CODEC(T64, LZ4) SETTINGS (min_compress_block_size = 4096),
    INDEX pos_minmax pos TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
ORDER BY (person, key, time, pos)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_bytes_for_wide_part = 134217728, ttl_only_drop_parts = 1, index_granularity = 256;

CREATE TABLE IF NOT EXISTS devices
(
    person      UInt64 CODEC(T64, LZ4) SETTINGS (min_compress_block_size = 4096),
    token       String CODEC(ZSTD(1)) SETTINGS (min_compress_block_size = 16384),
    platform    LowCardinality(String) COMMENT 'ios, android, web',
    app         LowCardinality(String),
    environment LowCardinality(String) COMMENT 'production, sandbox',
    last_seen   DateTime64(3, 'UTC'),
    removed     Bool,
    reason      LowCardinality(String) COMMENT 'of a removal: app, dead',
    time        DateTime64(3, 'UTC') CODEC(T64, LZ4) SETTINGS (min_compress_block_size = 4096),
    pos         UInt64 CODEC(T64, LZ4) SETTINGS (min_compress_block_size = 4096),
    INDEX pos_minmax pos TYPE minmax GRANULARITY 1,
    PROJECTION by_token
    (
        SELECT person, token, platform, app, environment, last_seen, removed, reason, time, pos
        ORDER BY token
    )
)
ENGINE = MergeTree
ORDER BY (person, token, time, pos)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_bytes_for_wide_part = 134217728, ttl_only_drop_parts = 1, index_granularity = 256;

CREATE TABLE IF NOT EXISTS consents
(
    person   UInt64 CODEC(T64, LZ4) SETTINGS (min_compress_block_size = 4096),
    channel  LowCardinality(String) COMMENT 'empty: all',
    category LowCardinality(String) COMMENT 'empty: all',
    granted  Bool,
    time     DateTime64(3, 'UTC') CODEC(T64, LZ4) SETTINGS (min_compress_block_size = 4096),
    pos      UInt64 CODEC(T64, LZ4) SETTINGS (min_compress_block_size = 4096),
    INDEX pos_minmax pos TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
ORDER BY (person, channel, category, time, pos)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_bytes_for_wide_part = 134217728, ttl_only_drop_parts = 1, index_granularity = 256;

CREATE TABLE IF NOT EXISTS zones
(
    person UInt64 CODEC(T64, LZ4) SETTINGS (min_compress_block_size = 4096),
    zone   LowCardinality(String) COMMENT 'IANA name',
    time   DateTime64(3, 'UTC') CODEC(T64, LZ4) SETTINGS (min_compress_block_size = 4096),
    pos    UInt64 CODEC(T64, LZ4) SETTINGS (min_compress_block_size = 4096),
    INDEX pos_minmax pos TYPE minmax GRANULARITY 1,
    PROJECTION by_pos
    (
        SELECT person, pos
        ORDER BY pos
    )
)
ENGINE = MergeTree
ORDER BY (person, time, pos)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_bytes_for_wide_part = 134217728, ttl_only_drop_parts = 1, index_granularity = 256;

CREATE TABLE IF NOT EXISTS fixes
(
    person   UInt64 CODEC(T64, LZ4) SETTINGS (min_compress_block_size = 4096),
    time     DateTime64(3, 'UTC') CODEC(T64, LZ4) SETTINGS (min_compress_block_size = 4096),
    pos      UInt64 CODEC(T64, LZ4) SETTINGS (min_compress_block_size = 4096),
    lat      Float64 CODEC(ZSTD(1)) SETTINGS (min_compress_block_size = 4096),
    lon      Float64 CODEC(ZSTD(1)) SETTINGS (min_compress_block_size = 4096),
    accuracy Float64 COMMENT 'metres; 0 when not said' CODEC(ZSTD(1)) SETTINGS (min_compress_block_size = 4096),
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
ENGINE = MergeTree
PARTITION BY toStartOfQuarter(time)
ORDER BY (person, time, pos)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_bytes_for_wide_part = 134217728, ttl_only_drop_parts = 1, index_granularity = 256;

CREATE TABLE IF NOT EXISTS identities
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
ENGINE = MergeTree
ORDER BY (kind, id, pos)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_bytes_for_wide_part = 134217728, ttl_only_drop_parts = 1, index_granularity = 256;

CREATE TABLE IF NOT EXISTS merges
(
    loser  UInt64 CODEC(Delta, ZSTD(1)),
    winner UInt64 COMMENT 'canonical at that position; may lose later' CODEC(ZSTD(1)),
    pos    UInt64 CODEC(Delta, ZSTD(1)),
    time   DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    INDEX pos_minmax pos TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
ORDER BY (loser, pos)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_bytes_for_wide_part = 134217728, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS erasures
(
    hash    String COMMENT 'salted hash of the id, so that the past cannot return',
    person  UInt64,
    time    DateTime64(3, 'UTC') COMMENT 'when it was asked for',
    pos     UInt64,
    done_at DateTime64(3, 'UTC') COMMENT '1970 until deleted; a second row says when'
)
ENGINE = MergeTree
ORDER BY (person, pos, done_at)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_bytes_for_wide_part = 134217728, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS dead_letters
(
    pos         UInt64 CODEC(Delta, ZSTD(1)),
    `index`     UInt32 COMMENT 'of the event in its batch',
    source      LowCardinality(String),
    reason      String CODEC(ZSTD(1)),
    raw         String CODEC(ZSTD(3)),
    received_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(received_at)
ORDER BY (received_at, pos, `index`)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_bytes_for_wide_part = 134217728, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS dedup
(
    hash  UInt64 COMMENT 'of source and message id' CODEC(NONE) SETTINGS (min_compress_block_size = 4096),
    check UInt64 DEFAULT 0 COMMENT 'a second, independent hash, where the writer keeps one' CODEC(ZSTD(1)),
    pos   UInt64 CODEC(ZSTD(1)),
    day   Date COMMENT 'of arrival, UTC'
)
ENGINE = MergeTree
PARTITION BY day
ORDER BY (hash, pos)
TTL day + INTERVAL 8 DAY
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_bytes_for_wide_part = 134217728, ttl_only_drop_parts = 1, index_granularity = 1024;

CREATE TABLE IF NOT EXISTS checkpoints
(
    reader LowCardinality(String),
    pos    UInt64,
    at     DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(pos)
ORDER BY reader
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_bytes_for_wide_part = 134217728, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS dues
(
    cond    LowCardinality(String) COMMENT 'hash of the condition',
    at      DateTime64(3, 'UTC') COMMENT 'the earliest instant at which the answer can change by itself' CODEC(Delta, ZSTD(1)),
    person  UInt64 COMMENT 'canonical person when written' CODEC(ZSTD(1)),
    value   String COMMENT 'of for_each; empty: all that the person has' CODEC(ZSTD(1)),
    pos     UInt64 COMMENT 'position of the look that wrote it' CODEC(ZSTD(1)),
    written DateTime('UTC') DEFAULT now() CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(pos)
ORDER BY (cond, at, person, value)
TTL greatest(toDateTime(at), written) + INTERVAL 40 DAY
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_bytes_for_wide_part = 134217728;

-- 0002_decisions

CREATE TABLE IF NOT EXISTS ticks
(
    id    String,
    shard UInt16,
    t1    DateTime64(3, 'UTC') COMMENT 'the instant that was scheduled',
    p1    UInt64 COMMENT 'the position up to which the store had everything',
    hash  String COMMENT 'of rules, segments and fences',
    rules Array(String) COMMENT 'names of the rules that were due',
    at    DateTime64(3, 'UTC') COMMENT 'when it was written'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(t1)
ORDER BY (t1, shard, id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_bytes_for_wide_part = 134217728, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS decisions
(
    entry    String COMMENT 'key of the entry; the last row of an entry is its answer (view ledger)' CODEC(ZSTD(1)),
    attempt  UInt32,
    rule     LowCardinality(String),
    version  LowCardinality(String) COMMENT 'content hash of the rule',
    person   UInt64 CODEC(Delta, ZSTD(1)),
    user_id  String CODEC(ZSTD(1)),
    value    String COMMENT 'of for_each or on.by' CODEC(ZSTD(1)),
    entered  DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    at       DateTime64(3, 'UTC') COMMENT 'when decided: t1 of the tick' CODEC(Delta, ZSTD(1)),
    tick     LowCardinality(String),
    reason   LowCardinality(String) COMMENT 'send, holdout, frequency_cap, … (ledger.Reasons)',
    by       LowCardinality(String) COMMENT 'the rule or cap that won, the detail of a stage',
    open     Bool COMMENT 'tried again at due',
    wait     Bool COMMENT 'an address or a consent that comes makes it due',
    due      DateTime64(3, 'UTC') COMMENT '1970: none' CODEC(ZSTD(1)),
    expires  DateTime64(3, 'UTC') COMMENT '1970: none' CODEC(ZSTD(1)),
    since    DateTime64(3, 'UTC') COMMENT 'of the exit; 1970: none' CODEC(ZSTD(1)),
    trigger  UInt64 COMMENT 'position of the occurrence, under on' CODEC(ZSTD(1)),
    category LowCardinality(String),
    variant  LowCardinality(String),
    channels Array(LowCardinality(String)),
    fallback Array(LowCardinality(String)) COMMENT 'channels to try when these fail for good',
    watch    Bool COMMENT 'a false answer at a later look matters to again',
    zone     LowCardinality(String) COMMENT 'of the person, as used',
    message  LowCardinality(String) COMMENT 'template_failed: hash of the message',
    features String COMMENT 'JSON: what the condition read' CODEC(ZSTD(1)),
    `with`   String COMMENT 'JSON: the values for the message' CODEC(ZSTD(1)),
    profile  String COMMENT 'JSON' CODEC(ZSTD(1)),
    devices  Array(String) COMMENT 'JSON of each address chosen' CODEC(ZSTD(1)),
    shard    UInt16,
    seq      UInt64 CODEC(ZSTD(1)),
    `index`  UInt32,
    INDEX seq_minmax seq TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (person, rule, entry, at, seq, `index`)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_bytes_for_wide_part = 134217728, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS deliveries
(
    entry       String CODEC(ZSTD(1)),
    channel     LowCardinality(String) COMMENT 'as the rule calls it',
    adapter     LowCardinality(String),
    device      String COMMENT 'short hash of the token' CODEC(ZSTD(1)),
    rule        LowCardinality(String),
    person      UInt64 CODEC(Delta, ZSTD(1)),
    status      LowCardinality(String) COMMENT 'intent, retrying, accepted, failed, exited, expired, template_failed',
    at          DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    attempt     UInt32,
    next        DateTime64(3, 'UTC') COMMENT '1970: none' CODEC(ZSTD(1)),
    provider_id String CODEC(ZSTD(1)),
    error       String CODEC(ZSTD(1)),
    class       LowCardinality(String),
    text        String COMMENT 'JSON: what was sent' CODEC(ZSTD(1)),
    shard       UInt16,
    seq         UInt64 CODEC(ZSTD(1)),
    `index`     UInt32,
    INDEX seq_minmax seq TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (person, entry, channel, at, seq, `index`)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_bytes_for_wide_part = 134217728, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS shard_log
(
    shard   UInt16,
    seq     UInt64 CODEC(Delta, ZSTD(1)),
    `index` UInt32,
    kind    LowCardinality(String) COMMENT 'tick, flip, looked, move, forget',
    person  UInt64 COMMENT 'of flip, move and forget; 0: none' CODEC(ZSTD(1)),
    data    String COMMENT 'JSON: the record of the decision stream that is no decision' CODEC(ZSTD(1)),
    at      DateTime64(3, 'UTC')
)
ENGINE = MergeTree
ORDER BY (shard, seq, `index`)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_bytes_for_wide_part = 134217728, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS sources
(
    kind LowCardinality(String) COMMENT 'rule, segment, fence, workspace',
    name String,
    hash String,
    text String CODEC(ZSTD(3)),
    at   DateTime64(3, 'UTC')
)
ENGINE = MergeTree
ORDER BY (kind, name, hash, at)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_bytes_for_wide_part = 134217728, ttl_only_drop_parts = 1;

-- 0003_views

CREATE OR REPLACE VIEW person_paths AS
WITH RECURSIVE paths AS
(
    SELECT loser AS person, winner AS ancestor, min(pos) AS since FROM merges GROUP BY loser, winner
    UNION ALL
    SELECT p.person, m.winner AS ancestor, greatest(p.since, m.pos) AS since
    FROM paths AS p INNER JOIN (SELECT loser, winner, min(pos) AS pos FROM merges GROUP BY loser, winner) AS m ON m.loser = p.ancestor
    WHERE m.winner != p.person
)
SELECT person, ancestor, min(since) AS since FROM paths GROUP BY person, ancestor;

CREATE OR REPLACE VIEW person_map AS
SELECT person AS loser, argMax(ancestor, (since, ancestor)) AS winner FROM person_paths
WHERE ancestor NOT IN (SELECT loser FROM merges)
GROUP BY person;

CREATE OR REPLACE VIEW people AS
SELECT
    if(m.winner = 0, i.person, m.winner) AS person,
    min(i.time) AS created_at,
    argMaxIf(i.id, i.pos, i.kind = 'user') AS user_id,
    argMaxIf(i.id, i.pos, i.kind = 'anonymous') AS anonymous_id
FROM identities AS i LEFT JOIN person_map AS m ON m.loser = i.person
GROUP BY person;

CREATE OR REPLACE VIEW traits_current AS
SELECT
    if(m.winner = 0, t.person, m.winner) AS person,
    t.key AS key,
    argMax(t.value, (t.time, t.pos)) AS value,
    argMax(tuple(t.num), (t.time, t.pos)).1 AS num,
    argMax(tuple(t.str), (t.time, t.pos)).1 AS str,
    max(t.time) AS time
FROM traits AS t LEFT JOIN person_map AS m ON m.loser = t.person
GROUP BY person, key
HAVING value != 'null';

CREATE OR REPLACE VIEW devices_current AS
SELECT
    if(m.winner = 0, d.person, m.winner) AS person,
    d.token AS token, d.platform AS platform, d.app AS app, d.environment AS environment, d.last_seen AS last_seen
FROM
(
    SELECT
        r.token AS token,
        argMax(r.person, (r.time, r.pos)) AS person,
        argMax(r.platform, (r.time, r.pos)) AS platform,
        argMax(r.app, (r.time, r.pos)) AS app,
        argMax(r.environment, (r.time, r.pos)) AS environment,
        max(r.last_seen) AS last_seen,
        argMax(r.removed, (r.time, r.pos)) AS removed
    FROM devices AS r GROUP BY r.token
) AS d LEFT JOIN person_map AS m ON m.loser = d.person
WHERE NOT d.removed;

CREATE OR REPLACE VIEW consents_current AS
WITH
    lasts AS
    (
        SELECT c.person AS person, c.channel AS channel, c.category AS category,
            argMax(c.granted, (c.time, c.pos)) AS granted, max(c.time) AS time, max(c.pos) AS pos
        FROM consents AS c GROUP BY c.person, c.channel, c.category
    ),
    overridden AS
    (
        SELECT DISTINCT l.person AS person, l.channel AS channel, l.category AS category
        FROM lasts AS l
        INNER JOIN person_paths AS p ON p.person = l.person
        INNER JOIN lasts AS later ON later.person = p.ancestor AND later.channel = l.channel AND later.category = l.category
        WHERE later.pos > p.since
    )
SELECT
    if(m.winner = 0, l.person, m.winner) AS person,
    l.channel AS channel,
    l.category AS category,
    toBool(min(l.granted)) AS granted,
    max(l.time) AS time
FROM lasts AS l LEFT JOIN person_map AS m ON m.loser = l.person
WHERE (l.person, l.channel, l.category) NOT IN (SELECT person, channel, category FROM overridden)
GROUP BY person, channel, category;

CREATE OR REPLACE VIEW ledger AS
SELECT * FROM decisions
ORDER BY at DESC, seq DESC, `index` DESC
LIMIT 1 BY entry;

-- 0004_pruned

CREATE TABLE IF NOT EXISTS pruned
(
    entry   String CODEC(ZSTD(1)),
    seq     UInt64,
    `index` UInt32
)
ENGINE = MergeTree
ORDER BY entry
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_bytes_for_wide_part = 134217728, ttl_only_drop_parts = 1;

-- 0005_requests

CREATE TABLE IF NOT EXISTS requests
(
    rule   String,
    at     DateTime64(3, 'UTC') COMMENT 'when it was asked; the newest of a rule counts',
    action LowCardinality(String) COMMENT 'pause, resume',
    about  DateTime64(3, 'UTC') COMMENT 'of a resume: when the rule had been paused; a later pause stands',
    who    String,
    reason String
)
ENGINE = MergeTree
ORDER BY (rule, at)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_bytes_for_wide_part = 134217728, ttl_only_drop_parts = 1;

-- 0006_device_ids

ALTER TABLE devices ADD COLUMN IF NOT EXISTS device String COMMENT 'id of the device in the app' CODEC(ZSTD(1)) AFTER environment;

-- 0007_locales

ALTER TABLE zones ADD COLUMN IF NOT EXISTS locale LowCardinality(String) COMMENT 'BCP 47 tag' AFTER zone;

-- 0008_calls

ALTER TABLE events
    ADD COLUMN IF NOT EXISTS call String ALIAS replaceOne(replaceOne(raw, '\x01', properties), '\x02', context) COMMENT 'the call as received',
    COMMENT COLUMN raw 'the call as received, with the character 1 for what is in properties and 2 for what is in context; see call';

-- 0009_since_pos

ALTER TABLE decisions ADD COLUMN IF NOT EXISTS since_pos UInt64 COMMENT 'of the occurrence whose time since is; 0: none' CODEC(ZSTD(1)) AFTER since;


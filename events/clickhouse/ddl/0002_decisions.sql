-- What was decided and what became of it: copies of the decision and delivery streams, append-only.
-- (shard, seq, index) is the record's place in its stream. Retention empties the columns of values; whole rows
-- go when they decide nothing any more (ledger.Store.Prune), which a TTL cannot know.

CREATE TABLE IF NOT EXISTS ticks{{onCluster}}
(
    id    String,
    shard UInt16,
    t1    DateTime64(3, 'UTC') COMMENT 'the instant that was scheduled',
    p1    UInt64 COMMENT 'the position up to which the store had everything',
    hash  String COMMENT 'of rules, segments and fences',
    rules Array(String) COMMENT 'names of the rules that were due',
    at    DateTime64(3, 'UTC') COMMENT 'when it was written'
)
ENGINE = {{everywhere "ticks"}}
PARTITION BY toYYYYMM(t1)
ORDER BY (t1, shard, id)
{{ttl "t1"}}
SETTINGS {{settings}}
;
CREATE TABLE IF NOT EXISTS {{local "decisions"}}{{onCluster}}
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
    features String COMMENT 'JSON: what the condition read' CODEC(ZSTD(1)){{emptied "decisions"}},
    `with`   String COMMENT 'JSON: the values for the message' CODEC(ZSTD(1)){{emptied "decisions"}},
    profile  String COMMENT 'JSON' CODEC(ZSTD(1)){{emptied "decisions"}},
    devices  Array(String) COMMENT 'JSON of each address chosen' CODEC(ZSTD(1)){{emptied "decisions"}},
    shard    UInt16,
    seq      UInt64 CODEC(ZSTD(1)),
    `index`  UInt32,
    INDEX seq_minmax seq TYPE minmax GRANULARITY 1
)
ENGINE = {{sharded "decisions"}}
PARTITION BY toYYYYMM(at)
ORDER BY (person, rule, entry, at, seq, `index`)
SETTINGS {{settings}}
;
{{distributed "decisions"}}
;
CREATE TABLE IF NOT EXISTS {{local "deliveries"}}{{onCluster}}
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
    provider_id String CODEC(ZSTD(1)){{emptied "deliveries"}},
    error       String CODEC(ZSTD(1)){{emptied "deliveries"}},
    class       LowCardinality(String),
    text        String COMMENT 'JSON: what was sent' CODEC(ZSTD(1)){{emptied "deliveries"}},
    shard       UInt16,
    seq         UInt64 CODEC(ZSTD(1)),
    `index`     UInt32,
    INDEX seq_minmax seq TYPE minmax GRANULARITY 1
)
ENGINE = {{sharded "deliveries"}}
PARTITION BY toYYYYMM(at)
ORDER BY (person, entry, channel, at, seq, `index`)
SETTINGS {{settings}}
;
{{distributed "deliveries"}}
;
CREATE TABLE IF NOT EXISTS shard_log{{onCluster}}
(
    shard   UInt16,
    seq     UInt64 CODEC(Delta, ZSTD(1)),
    `index` UInt32,
    kind    LowCardinality(String) COMMENT 'tick, flip, looked, move, forget',
    person  UInt64 COMMENT 'of flip, move and forget; 0: none' CODEC(ZSTD(1)),
    data    String COMMENT 'JSON: the record of the decision stream that is no decision' CODEC(ZSTD(1)),
    at      DateTime64(3, 'UTC')
)
ENGINE = {{everywhere "shard_log"}}
ORDER BY (shard, seq, `index`)
SETTINGS {{settings}}
;
CREATE TABLE IF NOT EXISTS sources{{onCluster}}
(
    kind LowCardinality(String) COMMENT 'rule, segment, fence, workspace',
    name String,
    hash String,
    text String CODEC(ZSTD(3)),
    at   DateTime64(3, 'UTC')
)
ENGINE = {{everywhere "sources"}}
ORDER BY (kind, name, hash, at)
SETTINGS {{settings}}

-- Which occurrence an exit counts from, where it counts from one: what happened in the same millisecond is told apart by position.
ALTER TABLE {{local "decisions"}}{{onCluster}} ADD COLUMN IF NOT EXISTS since_pos UInt64 COMMENT 'of the occurrence whose time since is; 0: none' CODEC(ZSTD(1)) AFTER since
;
{{column "decisions" "since_pos UInt64 AFTER since"}}

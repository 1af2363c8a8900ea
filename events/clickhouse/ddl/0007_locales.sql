-- The language that devices are set to, beside the zone that they are in; a row may say one alone.
ALTER TABLE {{local "zones"}}{{onCluster}} ADD COLUMN IF NOT EXISTS locale LowCardinality(String) COMMENT 'BCP 47 tag' AFTER zone
;
{{column "zones" "locale LowCardinality(String) AFTER zone"}}

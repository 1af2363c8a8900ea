-- Which device a push token is of, where the app says so: of one device the newest token counts.
ALTER TABLE {{local "devices"}}{{onCluster}} ADD COLUMN IF NOT EXISTS device String COMMENT 'id of the device in the app' CODEC(ZSTD(1)) AFTER environment
;
{{column "devices" "device String AFTER environment"}}

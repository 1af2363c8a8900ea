-- A call as it was received is mostly its properties and its context, which are columns of their own: raw is stored
-- without them where they are there byte for byte, and call puts them in again.
ALTER TABLE {{local "events"}}{{onCluster}}
    ADD COLUMN IF NOT EXISTS call String ALIAS replaceOne(replaceOne(raw, '\x01', properties), '\x02', context) COMMENT 'the call as received',
    COMMENT COLUMN raw 'the call as received, with the character 1 for what is in properties and 2 for what is in context; see call'
;
{{column "events" "call String ALIAS replaceOne(replaceOne(raw, '\\x01', properties), '\\x02', context)"}}

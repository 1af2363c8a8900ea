-- What people asked of rules (nudge pause, nudge resume): the engine, which alone writes the decision stream, reads it
-- here. Rows stay, so that it can be seen who did what when, and why.
CREATE TABLE IF NOT EXISTS requests{{onCluster}}
(
    rule   String,
    at     DateTime64(3, 'UTC') COMMENT 'when it was asked; the newest of a rule counts',
    action LowCardinality(String) COMMENT 'pause, resume',
    about  DateTime64(3, 'UTC') COMMENT 'of a resume: when the rule had been paused; a later pause stands',
    who    String,
    reason String
)
ENGINE = {{everywhere "requests"}}
ORDER BY (rule, at)
SETTINGS {{settings}}

-- Entries that retention takes out of the ledger: noted here first, with the place of their last row, so that
-- a pruning that is cut short is finished by the next.
CREATE TABLE IF NOT EXISTS pruned{{onCluster}}
(
    entry   String CODEC(ZSTD(1)),
    seq     UInt64,
    `index` UInt32
)
ENGINE = {{everywhere "pruned"}}
ORDER BY entry
SETTINGS {{settings}}

package ledger

// Values are named values of a decision: what a condition read, or what a message may print. Whole
// numbers come back from JSON as int64, so that a message prints 1000000 and not 1e+06.
type Values map[string]any

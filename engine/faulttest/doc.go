// Package faulttest breaks a real `nudge serve` on purpose and counts what is left: kill -9 of the
// process and of its embedded ClickHouse, power cuts that lose every write that was not synced, a
// store that is away, a second process on the same folder.
//
// What counts is seen from outside: the answers that clients got, and the log of the server that
// receives the messages. The ledger is compared with that log, never believed.
//
// `go test ./engine/faulttest` runs the size of CI with a fixed seed. By hand:
//
//	NUDGE_KILLS=100 NUDGE_SEED=7 go test -run Kill -timeout 60m ./engine/faulttest
package faulttest

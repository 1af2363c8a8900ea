// Package plan turns conditions into ClickHouse queries and answers for whom they are true.
//
// A Tick asks only about those whose answer can have changed since it was asked of everybody: of whom a row
// arrived that a condition reads (change.go), of whom one crosses an age or something falls due (ahead.go),
// and who was merged. docs/planning.md says why nobody is forgotten. A look at everybody goes over ranges of
// people and finds candidates by one query for all conditions about a person (and one for each distinct
// for_each), which computes only what the conditions' prefilters compare and lets too many people through,
// never too few. Then, for a few thousand people at a time, every value that the conditions ask for is read,
// and the conditions' own programs judge. Rows are read by (person, time), which is the tables' order, so
// that only what belongs to these people is read.
//
// Every query reads event time ≤ At and position ≤ UpTo, through the merges known at that position. Only
// what falls due for a person by itself is written.
package plan

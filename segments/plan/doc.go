// Package plan turns conditions into ClickHouse queries and answers for whom they are true.
//
// A Look is answered in two passes. The first finds candidates: one query for all conditions about
// a person (and one for each distinct for_each), which computes only what the conditions'
// prefilters compare and lets too many people through, never too few. The second reads, for a few
// thousand candidates at a time, every value that the conditions ask for, and the conditions' own
// programs judge. Rows are read by (person, time), which is the tables' order, so the second pass
// reads only what belongs to the candidates.
//
// Every query reads event time ≤ Look.At and position ≤ Look.UpTo, through the merges known at
// that position. Nothing here writes.
package plan

// Package ticktest holds incremental ticks to the truth: random conditions over random histories,
// ticked at random instants, must give what a look at everybody gives, and what a plain walk over
// the events in memory gives.
//
// A Case is some people, what happened to them, and conditions about them. Many cases are packed into
// one store and looked at by the same ticks, each with people, events and traits of its own, so that
// thousands of them cost what a few hundred queries cost. A case that fails is run alone, made small, and
// printed.
package ticktest

// Package ticktest holds the decisions of an engine that looks at who can have changed to those of one
// that looks at everybody at every tick.
package ticktest

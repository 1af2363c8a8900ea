//go:build !linux

package embedded

// keepSignals runs fn. Elsewhere than on Linux a nil dereference in the child ends it, and it is
// started again.
func keepSignals(fn func()) { fn() }

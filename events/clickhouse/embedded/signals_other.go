//go:build !linux

package embedded

// keepSignalHandlers runs fn. Elsewhere than on Linux a nil dereference in the child ends it, and
// it is started again.
func keepSignalHandlers(fn func()) { fn() }

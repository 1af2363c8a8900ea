package ledger

import "strings"

// collected begins By of an entry that is held for a digest.
const collected = "digest: "

// Collected is By of an entry that is held until a digest goes out: the rule that sends that one, and behind it why it
// has not gone out at its time, if so.
func Collected(rule, why string) string {
	if why == "" {
		return collected + rule
	}
	return collected + rule + ": " + why
}

// CollectedFor is the rule for whose digest an entry is held by its By, and why that has not gone out; ok is false of any
// other.
func CollectedFor(by string) (rule, why string, ok bool) {
	rest, ok := strings.CutPrefix(by, collected)
	rule, why, _ = strings.Cut(rest, ": ")
	return rule, why, ok
}

// Collected says that the entry is held until a digest goes out.
func (o *Open) Collected() bool {
	_, _, ok := CollectedFor(o.By)
	return o.Reason == Held && ok
}

package rules

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"nudge/internal/counted"
	"nudge/rules/yamlfile"
)

// PauseWhen says when a rule is paused by itself: when of its newest messages (those of PauseWindow) more than a
// share was followed by an unsubscribe, or failed for good. It is no part of the rule's version, since it decides
// nothing about people: a limit that is changed is held against what has been counted.
type PauseWhen struct {
	// Unsubscribes and Failures are limits; nil: none.
	Unsubscribes, Failures *Limit
	// Min is how many messages must have come to an end before anything is held against the limits.
	Min int64
}

// Limit is a share that must not be passed, in millionths: shares are compared exactly, as whole numbers.
type Limit int64

const (
	// PauseWindow is how far back messages count for PauseWhen.
	PauseWindow = 7 * 24 * time.Hour
	// UnsubscribedWithin is how soon after a message a withdrawn consent counts as following it.
	UnsubscribedWithin = 24 * time.Hour
	// DefaultPauseMin is PauseWhen.Min where the file does not say.
	DefaultPauseMin = 200

	million = 1_000_000
)

// PassedBy says whether n of all is a larger share than the limit.
func (l *Limit) PassedBy(n, all int64) bool {
	return l != nil && n*million > int64(*l)*all
}

// String is the limit as a file says it.
func (l Limit) String() string { return "> " + l.Share() }

// Share is the share that must not be passed.
func (l Limit) Share() string { return strconv.FormatFloat(float64(l)*100/million, 'f', -1, 64) + "%" }

// Ended counts what became of a rule's messages.
type Ended struct {
	// Messages that a provider took or that failed for good; Failed and Unsubscribed are some of them.
	Messages, Failed, Unsubscribed int64
}

// Add adds the counts of others.
func (e *Ended) Add(o Ended) {
	e.Messages += o.Messages
	e.Failed += o.Failed
	e.Unsubscribed += o.Unsubscribed
}

// Passed says which limit is passed, "" for none.
func (p *PauseWhen) Passed(e Ended) string {
	if p == nil || e.Messages < p.Min {
		return ""
	}
	say := func(n int64, what string, l *Limit) string {
		return fmt.Sprintf("%d of its newest %s %s (%.2f%%), and pause_when says %s", n, counted.Of(e.Messages, "message"), what, float64(n)*100/float64(e.Messages), l)
	}
	switch {
	case p.Unsubscribes.PassedBy(e.Unsubscribed, e.Messages):
		return say(e.Unsubscribed, "were followed by an unsubscribe", p.Unsubscribes)
	case p.Failures.PassedBy(e.Failed, e.Messages):
		return say(e.Failed, "failed for good", p.Failures)
	default:
		return ""
	}
}

func pauseWhen(r *yamlfile.Reader, n *yamlfile.Node) *PauseWhen {
	if n == nil {
		return nil
	}
	f := r.Fields(n)
	p := &PauseWhen{
		Unsubscribes: limit(r, f.Get("unsubscribes")),
		Failures:     limit(r, f.Get("failures")),
		Min:          r.Int(f.Get("min"), DefaultPauseMin, 1, math.MaxInt64),
	}
	if n.Kind == yamlfile.Map && !f.Has("unsubscribes") && !f.Has("failures") {
		r.Report(n.Key, "missing-key", `Write {unsubscribes: "> 1%"}, {failures: "> 5%"} or both.`, "pause_when has no limit")
	}
	f.Done()
	return p
}

// limit reads "> 1%".
func limit(r *yamlfile.Reader, n *yamlfile.Node) *Limit {
	if n == nil {
		return nil
	}
	const help = `Write it with both signs and quoted: "> 1%".`
	share, over := strings.CutPrefix(strings.TrimSpace(n.Text), ">")
	number, percent := strings.CutSuffix(strings.TrimSpace(share), "%")
	v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	l := Limit(math.Round(v * million / 100))
	switch {
	case n.Kind != yamlfile.String || !over || !percent || err != nil || math.IsNaN(v):
		r.Report(n, "bad-limit", help, "%q is not a limit in percent", n.Text)
	case v < 0 || v >= 100:
		r.Report(n, "out-of-range", "", "%s is out of range: no share is larger than 100%%, and none is less than nothing", n.Text)
	case math.Abs(v*million/100-float64(l)) > 1e-6:
		r.Report(n, "bad-limit", "Four digits after the point are the most.", "%s is finer than a limit can be", n.Text)
	default:
		return &l
	}
	return nil
}

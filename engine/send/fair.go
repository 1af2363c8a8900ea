package send

import (
	"container/heap"
	"slices"
)

// fair is a queue of jobs that takes from one rule after the other, so that a rule with a million
// messages does not make one with ten wait. Within a rule the order is kept. It is not safe for
// concurrent use.
type fair struct {
	rules map[string][]*job
	turns []string // rules with jobs, in the order in which they come next
	n     int
}

func (f *fair) push(j *job) {
	rule := j.unit.decision.Rule
	if f.rules == nil {
		f.rules = map[string][]*job{}
	}
	if len(f.rules[rule]) == 0 {
		f.turns = append(f.turns, rule)
	}
	f.rules[rule] = append(f.rules[rule], j)
	f.n++
}

// pushFront lets a job that had its turn go before those of its rule that had none, and its rule before
// others where it had left. Among such jobs the older decision goes first.
func (f *fair) pushFront(j *job) {
	rule := j.unit.decision.Rule
	if f.rules == nil {
		f.rules = map[string][]*job{}
	}
	q := f.rules[rule]
	if len(q) == 0 {
		f.turns = slices.Insert(f.turns, 0, rule)
	}
	i := 0
	for i < len(q) && q[i].cleared != 0 && q[i].unit.seq <= j.unit.seq {
		i++
	}
	f.rules[rule] = slices.Insert(q, i, j)
	f.n++
}

func (f *fair) pop() *job {
	rule := f.turns[0]
	f.turns = f.turns[1:]
	q := f.rules[rule]
	j := q[0]
	q[0] = nil
	if len(q) == 1 {
		delete(f.rules, rule)
	} else {
		f.rules[rule] = q[1:]
		f.turns = append(f.turns, rule)
	}
	f.n--
	return j
}

// remove takes out what drop says.
func (f *fair) remove(drop func(*job) bool) (out []*job) {
	all := make([]*job, 0, f.n)
	for f.n > 0 {
		all = append(all, f.pop())
	}
	for _, j := range all {
		if drop(j) {
			out = append(out, j)
		} else {
			f.push(j)
		}
	}
	return out
}

// waiting is a heap of jobs by the time of their next attempt.
type waiting []*job

func (w waiting) Len() int { return len(w) }
func (w waiting) Less(i, j int) bool {
	if w[i].next != w[j].next {
		return w[i].next < w[j].next
	}
	return w[i].key < w[j].key
}
func (w waiting) Swap(i, j int) { w[i], w[j] = w[j], w[i] }

// Push implements heap.Interface.
func (w *waiting) Push(x any) { *w = append(*w, x.(*job)) }

// Pop implements heap.Interface.
func (w *waiting) Pop() any {
	old := *w
	j := old[len(old)-1]
	old[len(old)-1] = nil
	*w = old[:len(old)-1]
	return j
}

// due takes out the jobs whose next attempt is due.
func (w *waiting) due(now int64) (out []*job) {
	for len(*w) > 0 && (*w)[0].next <= now {
		out = append(out, heap.Pop(w).(*job))
	}
	return out
}

// remove takes out what drop says.
func (w *waiting) remove(drop func(*job) bool) (out []*job) {
	kept := (*w)[:0]
	for _, j := range *w {
		if drop(j) {
			out = append(out, j)
		} else {
			kept = append(kept, j)
		}
	}
	clear((*w)[len(kept):])
	*w = kept
	heap.Init(w)
	return out
}

package ticktest

import (
	"slices"
)

// Alone is the pack with one case in it, looked at in every way at every tick.
func (p *Pack) Alone(number int) *Pack {
	out := *p
	out.Fully = slices.Repeat([]bool{true}, len(p.Ticks))
	for _, c := range p.Cases {
		if c.Number == number {
			out.Cases = []*Case{c}
		}
	}
	return &out
}

// Shrink makes a pack of one case that fails smaller, as long as it goes on failing, in at most so many
// tries.
func Shrink(p *Pack, fails func(*Pack) bool, tries int) *Pack {
	try := func(smaller *Pack) bool {
		if tries <= 0 {
			return false
		}
		tries--
		return fails(smaller)
	}
	for {
		was := p
		for _, make := range []func(*Pack) []*Pack{fewerRules, fewerTicks, fewerCalls, simplerConditions, simplerCalls} {
			for again := true; again; {
				again = false
				for _, smaller := range make(p) {
					if try(smaller) {
						p, again = smaller, true
						break
					}
				}
			}
		}
		if p == was || tries <= 0 {
			return p
		}
	}
}

// with is a copy of the pack with a copy of its case.
func (p *Pack) with(change func(*Pack, *Case)) *Pack {
	out := *p
	out.Ticks, out.Quiet = slices.Clone(p.Ticks), slices.Clone(p.Quiet)
	out.Restarts, out.Fully = slices.Clone(p.Restarts), slices.Clone(p.Fully)
	c := p.Cases[0].clone()
	out.Cases = []*Case{c}
	change(&out, c)
	return &out
}

func fewerRules(p *Pack) []*Pack {
	var out []*Pack
	for i, r := range p.Cases[0].Rules {
		if len(p.Cases[0].Rules) > 1 {
			out = append(out, p.with(func(_ *Pack, c *Case) { c.Rules = slices.Delete(c.Rules, i, i+1) }))
		}
		if r.Edited > 0 {
			out = append(out, p.with(func(_ *Pack, c *Case) { c.Rules[i].Edited, c.Rules[i].Then = 0, nil }),
				p.with(func(_ *Pack, c *Case) { c.Rules[i].Edited, c.Rules[i].When, c.Rules[i].Then = 0, r.Then, nil }))
		}
		if r.ForEach != "" {
			out = append(out, p.with(func(_ *Pack, c *Case) { c.Rules[i].ForEach = "" }))
		}
	}
	if p.Progressive {
		out = append(out, p.with(func(p *Pack, _ *Case) { p.Progressive = false }))
	}
	for i, restarts := range p.Restarts {
		if restarts {
			out = append(out, p.with(func(p *Pack, _ *Case) { p.Restarts[i] = false }))
		}
	}
	if p.Retention != 0 {
		out = append(out, p.with(func(p *Pack, _ *Case) { p.Retention = 0 }))
	}
	return out
}

func fewerTicks(p *Pack) []*Pack {
	var out []*Pack
	for i := range p.Ticks {
		if len(p.Ticks) == 1 {
			break
		}
		out = append(out, p.with(func(p *Pack, c *Case) {
			p.Ticks, p.Quiet = slices.Delete(p.Ticks, i, i+1), slices.Delete(p.Quiet, i, i+1)
			p.Restarts, p.Fully = slices.Delete(p.Restarts, i, i+1), slices.Delete(p.Fully, i, i+1)
			if i == 0 {
				p.Quiet[0] = false
			}
			for j, call := range c.Calls {
				if call.Step > i {
					copied := *call
					copied.Step--
					c.Calls[j] = &copied
				}
			}
			for _, r := range c.Rules {
				r.At, r.Asks = slices.Delete(r.At, i, i+1), slices.Delete(r.Asks, i, i+1)
				if r.Edited > i {
					r.Edited = max(r.Edited-1, 1)
				}
			}
		}))
	}
	for i, r := range p.Cases[0].Rules {
		for tick := range p.Ticks {
			if r.At[tick] {
				out = append(out, p.with(func(_ *Pack, c *Case) { c.Rules[i].At[tick] = false }))
			}
			if r.Asks[tick] >= 0 {
				out = append(out, p.with(func(_ *Pack, c *Case) { c.Rules[i].Asks[tick] = -1 }))
			}
		}
	}
	return out
}

func fewerCalls(p *Pack) []*Pack {
	var out []*Pack
	n := len(p.Cases[0].Calls)
	for size := n / 2; size > 0; size /= 2 {
		for i := 0; i+size <= n; i += size {
			out = append(out, p.with(func(_ *Pack, c *Case) { c.Calls = slices.Delete(c.Calls, i, i+size) }))
		}
	}
	return out
}

// simplerConditions puts parts of conditions in place of the whole.
func simplerConditions(p *Pack) []*Pack {
	var out []*Pack
	for i, r := range p.Cases[0].Rules {
		for _, cond := range r.When.simpler() {
			out = append(out, p.with(func(_ *Pack, c *Case) { c.Rules[i].When = cond }))
		}
		if r.Then != nil {
			for _, cond := range r.Then.simpler() {
				out = append(out, p.with(func(_ *Pack, c *Case) { c.Rules[i].Then = cond }))
			}
		}
	}
	for name := range p.Cases[0].Segments {
		out = append(out, p.with(func(_ *Pack, c *Case) { delete(c.Segments, name) }))
	}
	return out
}

func (c *Cond) simpler() []*Cond {
	var out []*Cond
	out = append(out, c.Kids...)
	for i, kid := range c.Kids {
		for _, smaller := range kid.simpler() {
			copied := &Cond{Op: c.Op, Text: c.Text, Kids: slices.Clone(c.Kids)}
			copied.Kids[i] = smaller
			out = append(out, copied)
		}
	}
	return out
}

func simplerCalls(p *Pack) []*Pack {
	var out []*Pack
	change := func(i int, change func(*Call)) {
		out = append(out, p.with(func(_ *Pack, c *Case) {
			copied := *c.Calls[i]
			change(&copied)
			c.Calls[i] = &copied
		}))
	}
	for i, call := range p.Cases[0].Calls {
		if call.Zone != "" {
			change(i, func(c *Call) { c.Zone = "" })
		}
		if call.Locale != "" {
			change(i, func(c *Call) { c.Locale = "" })
		}
		if call.UserID != "" {
			change(i, func(c *Call) { c.UserID = "" })
		}
		if call.App != "" {
			change(i, func(c *Call) { c.App = "" })
		}
		for key := range call.Props {
			change(i, func(c *Call) {
				c.Props = map[string]any{}
				for k, v := range call.Props {
					if k != key {
						c.Props[k] = v
					}
				}
			})
		}
		for key := range call.Traits {
			change(i, func(c *Call) {
				c.Traits = map[string]string{}
				for k, v := range call.Traits {
					if k != key {
						c.Traits[k] = v
					}
				}
			})
		}
	}
	return out
}

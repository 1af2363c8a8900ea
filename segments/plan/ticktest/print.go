package ticktest

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"nudge/events"
)

// String tells all of a pack of a few cases: what happened, what was asked, and when.
func (p *Pack) String() string {
	var b strings.Builder
	of, upTo := p.layout(0)
	clock := func(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02 15:04:05.000") }
	fmt.Fprintf(&b, "retention %s, zone %q, progressive %v, the last %s first\n",
		time.Duration(p.Retention)*time.Millisecond, p.DefaultZone, p.Progressive, time.Duration(p.Recent)*time.Millisecond)
	for _, c := range p.Cases {
		fmt.Fprintf(&b, "case %d\n", c.Number)
		for _, name := range sortedKeys(c.Segments) {
			fmt.Fprintf(&b, "  segment %s: %s\n", c.own(name), c.shelf(c.Segments[name]))
		}
		for i, r := range c.Rules {
			fmt.Fprintf(&b, "  rule %d: %s %s\n    at ticks %v, asks %v\n", i, c.shelf(r.ForEach), c.shelf(r.When.String()), r.At, r.Asks)
			if r.Edited > 0 {
				fmt.Fprintf(&b, "    from tick %d: %s\n", r.Edited, c.shelf(r.Then.String()))
			}
		}
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "  position\tperson\ttime\twhat\t")
		h := of[c]
		row := func(pos, person uint64, at int64, what string) {
			fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t\n", events.Position(pos), events.Position(person), clock(at), what)
		}
		for _, x := range h.ids {
			row(x.pos, x.person, x.time, "is "+x.kind+" "+x.id)
		}
		for i := range h.rows {
			x := &h.rows[i]
			row(x.pos, x.person, x.time, fmt.Sprintf("%s %q %s %s flags %d", x.kind, x.event, x.json, x.context, x.flags))
		}
		for _, x := range h.traits {
			row(x.pos, x.person, x.time, "trait "+x.key+" = "+x.token)
		}
		for _, x := range h.zones {
			row(x.pos, x.person, x.time, "zone "+x.name+" locale "+x.locale)
		}
		for _, x := range h.fixes {
			row(uint64(x.Pos), x.person, x.Time, fmt.Sprintf("fix %g, accuracy %g", x.Lat, x.Accuracy))
		}
		for _, x := range h.merges {
			row(x.pos, x.winner, 0, "merge of "+events.Position(x.loser).String())
		}
		for _, x := range h.erasures {
			row(x.pos, x.person, 0, "erased")
		}
		_ = w.Flush() // into memory
	}
	for i, at := range p.Ticks {
		fmt.Fprintf(&b, "  tick %d: %s (%d) up to %s\n", i, clock(at), at, events.Position(upTo[i]))
	}
	return b.String()
}

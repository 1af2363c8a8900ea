package backtest

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"nudge/engine/ledger"
	"nudge/segments/plan"
)

// outcome is what became of one message: as the ledger has it of a message that was sent then too, else that the
// provider took it at once.
type outcome struct {
	decision *ledger.Decision // nil of a message that was under way when the time began
	delivery *ledger.Delivery
	recorded bool
}

// outcomes are those that lie ahead, by instant.
type outcomes []outcome

// Len implements heap.Interface.
func (o outcomes) Len() int { return len(o) }

// Less implements heap.Interface.
func (o outcomes) Less(i, j int) bool {
	a, b := o[i].delivery, o[j].delivery
	return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Entry, b.Entry), cmp.Compare(a.Channel, b.Channel)) < 0
}

// Swap implements heap.Interface.
func (o outcomes) Swap(i, j int) { o[i], o[j] = o[j], o[i] }

// Push implements heap.Interface.
func (o *outcomes) Push(x any) { *o = append(*o, x.(outcome)) }

// Pop implements heap.Interface.
func (o *outcomes) Pop() any {
	last := (*o)[len(*o)-1]
	*o = (*o)[:len(*o)-1]
	return last
}

// next is when the first of them happens.
func (o outcomes) next() int64 {
	if len(o) == 0 {
		return never
	}
	return o[0].delivery.At
}

// by takes those that have happened by now.
func (o *outcomes) by(now int64) []outcome {
	var out []outcome
	for o.next() <= now {
		out = append(out, heap.Pop(o).(outcome))
	}
	return out
}

// underWay adds those of messages that were under way when the time began.
func (o *outcomes) underWay(list []ledger.Delivery) {
	for i := range list {
		heap.Push(o, outcome{delivery: &list[i], recorded: true})
	}
}

// of adds the outcomes of sends, and says of which it is known.
func (o *outcomes) of(ctx context.Context, conn driver.Conn, recorded bool, sends []*ledger.Decision) (known []*ledger.Decision, err error) {
	var then map[[2]string]ledger.Delivery
	if recorded && len(sends) > 0 {
		if then, err = readOutcomes(ctx, conn, sends); err != nil {
			return nil, err
		}
	}
	for _, d := range sends {
		for _, channel := range d.Channels {
			x := outcome{decision: d, delivery: &ledger.Delivery{
				Entry: d.Entry, Channel: channel, Rule: d.Rule, Person: d.Person, Status: ledger.Accepted, At: d.At, Attempt: 1,
			}}
			if was, ok := then[[2]string{d.Entry, channel}]; ok && was.At >= d.At {
				x.delivery.Status, x.delivery.At, x.recorded = was.Status, was.At, true
				known = append(known, d)
			}
			heap.Push(o, x)
		}
	}
	return known, nil
}

// readOutcomes reads what the ledger has of the sends' entries, by entry and channel.
func readOutcomes(ctx context.Context, conn driver.Conn, sends []*ledger.Decision) (map[[2]string]ledger.Delivery, error) {
	out := map[[2]string]ledger.Delivery{}
	for some := range slices.Chunk(sends, 2000) { // bounds the text of a query
		var people, entries []string
		for _, d := range some {
			people, entries = append(people, strconv.FormatUint(uint64(d.Person), 10)), append(entries, plan.Literal(d.Entry))
		}
		rows, err := conn.Query(ctx, "SELECT entry, channel, argMax(x.status, (seq, `index`)), toUnixTimestamp64Milli(argMax(x.at, (seq, `index`))) FROM deliveries AS x "+
			"WHERE person IN ("+strings.Join(people, ", ")+") AND entry IN ("+strings.Join(entries, ", ")+") AND x.status NOT IN ('intent', 'retrying') GROUP BY entry, channel")
		if err != nil {
			return nil, fmt.Errorf("read what became of messages: %w", err)
		}
		for rows.Next() {
			var d ledger.Delivery
			var status string
			if err := rows.Scan(&d.Entry, &d.Channel, &status, &d.At); err != nil {
				_ = rows.Close()
				return nil, fmt.Errorf("read what became of messages: %w", err)
			}
			d.Status = ledger.Status(status)
			out[[2]string{d.Entry, d.Channel}] = d
		}
		if err := rows.Err(); err != nil {
			return nil, fmt.Errorf("read what became of messages: %w", err)
		}
	}
	return out, nil
}

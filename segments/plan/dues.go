package plan

import (
	"context"
	"fmt"
	"slices"
)

// due is an instant (Unix ms) at which a condition may turn by itself for somebody.
type due struct {
	who    int
	person uint64
	value  string
	at     int64
}

// saveDues writes dues down, synced: the answers that they came with are used only then.
func (l *look) writeDues(ctx context.Context, dues []due) error {
	dues = slices.DeleteFunc(dues, func(d due) bool { return d.at > newest }) // so far ahead that a store cannot say it
	if len(dues) == 0 {
		return nil
	}
	if err := l.store.saveDues(ctx, l, dues); err != nil {
		return fmt.Errorf("write what falls due: %w", err)
	}
	l.p.ahead.addDues(l.Who, dues, uint64(l.UpTo))
	return nil
}

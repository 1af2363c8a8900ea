package explain

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRetriesThatGoTheSameWayAreToldOnce(t *testing.T) {
	begin := time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)
	var list []Delivery
	step := func(status, problem string) {
		list = append(list, Delivery{At: begin.Add(time.Duration(len(list)) * time.Second), Channel: "push", Adapter: "webpush", Status: status, Error: problem})
	}
	for range 4 {
		step("intent", "")
		step("retrying", "no route")
	}
	step("intent", "")
	step("retrying", "busy")
	step("intent", "")
	step("accepted", "")
	p := &printer{zone: time.UTC, at: begin}
	p.entry(&Entry{Entered: begin, Deliveries: list})
	require.Equal(t, `  entered 2026-03-02 10:00:00
    2026-03-02 10:00:00  push intent by webpush
    2026-03-02 10:00:01  push retrying by webpush: no route
    2026-03-02 10:00:07  push retrying 3 more times, the same
    2026-03-02 10:00:08  push intent by webpush
    2026-03-02 10:00:09  push retrying by webpush: busy
    2026-03-02 10:00:10  push intent by webpush
    2026-03-02 10:00:11  push accepted by webpush
`, p.String())
}

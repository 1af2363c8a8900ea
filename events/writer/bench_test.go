package writer

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/events"
)

// browserCall is 1.1 KB, as a browser SDK sends a track call.
func browserCall(i, people int) string {
	return fmt.Sprintf(`{"timestamp":"2026-03-01T11:59:58.123Z","integrations":{},"type":"track","event":"Product Added","properties":{"cart_id":"cart-%d","product_id":"507f1f77bcf86cd799439011","sku":"G-32","category":"Games","name":"Monopoly: 3rd Edition","brand":"Hasbro","variant":"200 pieces","price":18.99,"quantity":1,"coupon":"MAYDEALS","currency":"usd","position":3,"value":18.99,"url":"https://www.example.com/product/path","image_url":"https://www.example.com/product/path.jpg"},"context":{"page":{"path":"/academy/","referrer":"https://www.example.com/","search":"","title":"Analytics Academy","url":"https://www.example.com/academy/"},"userAgent":"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_9_5) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/40.0.2214.115 Safari/537.36","locale":"en-US","timezone":"Europe/Berlin","ip":"108.0.78.21","library":{"name":"analytics.js","version":"2.11.1"},"campaign":{"name":"TPS Innovation","source":"Newsletter","medium":"email"}},"messageId":"ajs-next-1767225598123-%08d","userId":"user-%d","anonymousId":"23adfd82-aa0f-45a7-a756-24f2a7a4c895"}`,
		i, i, i%people)
}

// cpu is the processor time that a process has used.
func cpu(pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+2:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

func ownCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkWriter is the whole way from the queue into all tables, synced; the queue is filled before.
// One operation is one event.
func BenchmarkWriter(b *testing.B) {
	r := newRig(b)
	r.stop()
	const each = 100
	var n events.Normaliser
	at := r.clock().UnixMilli()
	for i := 0; i < b.N; i += each {
		bodies := make([]string, each)
		for j := range bodies {
			bodies[j] = browserCall(i+j, 50_000)
		}
		body := `{"batch":[` + strings.Join(bodies, ",") + `],"sentAt":"2026-03-01T12:00:00.000Z"}`
		require.NoError(b, n.Read([]byte(body), 0))
		evs, refused := n.Finish(events.Call{Source: "web", ReceivedAt: at})
		require.Empty(b, refused)
		r.send(evs...)
	}
	if q := os.Getenv("BENCH_SQL"); q != "" {
		require.NoError(b, r.store.Conn().Exec(b.Context(), q))
	}
	pid := r.store.Engine().PID()
	own, engine := ownCPU(), cpu(pid)
	b.ResetTimer()
	r.start(func(o *Options) { o.FlushEvery, o.OnResolved = 0, nil })
	last, err := r.q.LastSeq(b.Context())
	require.NoError(b, err)
	require.NoError(b, r.w.WaitFor(b.Context(), events.EndOf(last)))
	b.StopTimer()
	count := float64(max(b.N/each*each, each))
	b.ReportMetric(count/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64((ownCPU()-own).Nanoseconds())/count/1000, "µs-cpu/event")
	b.ReportMetric(float64((cpu(pid)-engine).Nanoseconds())/count/1000, "µs-engine/event")
	require.Equal(b, uint64(count), r.count("events"))
}

package ingest

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"nudge/events"
)

// metrics are those of the endpoint. The values of labels exist from the start, so that a rate of
// nothing is 0 and not missing.
type metrics struct {
	accepted   [events.KindRefused + 1]prometheus.Counter
	refused    prometheus.Counter
	violations prometheus.Counter
	requests   *prometheus.CounterVec
	ok         map[string]prometheus.Counter // of requests: 200 by route
	seconds    prometheus.Histogram
	commit     prometheus.Histogram
	group      prometheus.Histogram
	failed     prometheus.Counter
}

func newMetrics(r prometheus.Registerer, routes []string) *metrics {
	m := &metrics{
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "nudge_ingest_refused_total", Help: "Events refused with a reason and kept as dead letters.",
		}),
		violations: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "nudge_ingest_violations_total", Help: "Events stored although the tracking plan objects to them.",
		}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nudge_ingest_requests_total", Help: "HTTP requests answered, by route and status code.",
		}, []string{"route", "code"}),
		ok: map[string]prometheus.Counter{},
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "nudge_ingest_request_seconds", Help: "Time from reading a request to its answer.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "nudge_ingest_commit_seconds", Help: "Time for one queue message to be durable.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 14),
		}),
		group: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "nudge_ingest_commit_events", Help: "Events that shared one queue message.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 13),
		}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "nudge_ingest_commit_failures_total", Help: "Queue messages that could not be written; their senders were answered 503.",
		}),
	}
	accepted := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "nudge_ingest_accepted_total", Help: "Events accepted and durable, by call.",
	}, []string{"call"})
	for k := range m.accepted {
		if k := events.Kind(k); k >= events.KindTrack && k < events.KindRefused {
			m.accepted[k] = accepted.WithLabelValues(k.String())
		}
	}
	for _, route := range routes {
		m.ok[route] = m.requests.WithLabelValues(route, "200")
	}
	if r != nil {
		r.MustRegister(accepted, m.refused, m.violations, m.requests, m.seconds, m.commit, m.group, m.failed)
	}
	return m
}

func (m *metrics) answered(route string, code int, took time.Duration) {
	m.seconds.Observe(took.Seconds())
	if code == 200 {
		m.ok[route].Inc()
		return
	}
	m.requests.WithLabelValues(route, strconv.Itoa(code)).Inc()
}

func (m *metrics) committed(n int, took time.Duration, err error) {
	if err != nil {
		m.failed.Inc()
		return
	}
	m.commit.Observe(took.Seconds())
	m.group.Observe(float64(n))
}

// durable counts events once they are.
func (m *metrics) durable(evs []events.Event) {
	for i := range evs {
		ev := &evs[i]
		if ev.Kind == events.KindRefused {
			m.refused.Inc()
			continue
		}
		m.accepted[ev.Kind].Inc()
		if ev.Flags&events.Violation != 0 {
			m.violations.Inc()
		}
	}
}

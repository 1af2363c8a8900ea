package writer

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	events, duplicates prometheus.Counter
	dropped            *prometheus.CounterVec
	rows               *prometheus.CounterVec
	refused            prometheus.Counter
	batches            prometheus.Counter
	insert             prometheus.Histogram
	lag                prometheus.Gauge
	position           prometheus.Gauge
	lookups            prometheus.Counter
	retries            prometheus.Counter
	erased             prometheus.Counter
	held               prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "nudge_writer_" + name, Help: help})
	}
	m := &metrics{
		events:     counter("events_total", "Events written to the store."),
		duplicates: counter("duplicates_total", "Events left out because their message id came before."),
		refused:    counter("refused_rows_total", "Rows that the store refused; they are dead letters."),
		batches:    counter("batches_total", "Batches written."),
		lookups:    counter("dedup_lookups_total", "Message ids looked up in the store."),
		retries:    counter("retries_total", "Attempts to write to the store that failed."),
		erased:     counter("erasures_total", "Erasures done in all tables."),
		held:       counter("held_seconds_total", "Time that writing waited for a burst of requests to be answered."),
		dropped: f.NewCounterVec(prometheus.CounterOpts{
			Name: "nudge_writer_dropped_total", Help: "Events left out, by reason.",
		}, []string{"reason"}),
		rows: f.NewCounterVec(prometheus.CounterOpts{
			Name: "nudge_writer_rows_total", Help: "Rows written, by table.",
		}, []string{"table"}),
		insert: f.NewHistogram(prometheus.HistogramOpts{
			Name: "nudge_writer_batch_seconds", Help: "Time to write one batch to all tables and sync it.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 12),
		}),
		lag: f.NewGauge(prometheus.GaugeOpts{
			Name: "nudge_writer_lag_seconds", Help: "Age of the oldest event of the last batch when it was in the store.",
		}),
		position: f.NewGauge(prometheus.GaugeOpts{
			Name: "nudge_writer_sequence", Help: "Sequence of the last message in the store.",
		}),
	}
	for _, o := range []outcome{fromThePast, nobody} {
		m.dropped.WithLabelValues(o.String())
	}
	for _, t := range tableNames() {
		m.rows.WithLabelValues(t)
	}
	return m
}

package engine

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"nudge/engine/ledger"
)

type metrics struct {
	decisions   *prometheus.CounterVec
	fenced      prometheus.Counter
	steppedBack prometheus.Counter
	refused     *prometheus.CounterVec
	paused      *prometheus.GaugeVec
	took        *prometheus.HistogramVec
	overruns    *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		decisions: f.NewCounterVec(prometheus.CounterOpts{
			Name: "nudge_decisions_total", Help: "Answers about entries, by rule and reason.",
		}, []string{"rule", "reason"}),
		fenced: f.NewCounter(prometheus.CounterOpts{
			Name: "nudge_decisions_fenced_total", Help: "Commits refused because another process wrote to the shard.",
		}),
		steppedBack: f.NewCounter(prometheus.CounterOpts{
			Name: "nudge_ticks_skipped_total", Help: "Steps skipped because the clock had stepped back.",
		}),
		refused: f.NewCounterVec(prometheus.CounterOpts{
			Name: "nudge_conditions_refused_total", Help: "Looks that the store could not answer, by rule.",
		}, []string{"rule"}),
		paused: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "nudge_rule_paused", Help: "1 for a rule that is paused.",
		}, []string{"rule"}),
		took: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "nudge_tick_seconds", Help: "How long ticks took, by kind: schedule, first, arrival.",
			Buckets: []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800},
		}, []string{"kind"}),
		overruns: f.NewCounterVec(prometheus.CounterOpts{
			Name: "nudge_tick_overruns_total", Help: "Ticks that ended after the next of the rule was due, by rule.",
		}, []string{"rule"}),
	}
	return m
}

func (m *metrics) decided(d *ledger.Decision) {
	if d.Reason == ledger.Send && !d.Sends() { // that an entry goes no further than the channel that has its message
		return
	}
	m.decisions.WithLabelValues(d.Rule, string(d.Reason)).Inc()
}

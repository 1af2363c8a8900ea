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
	}
	return m
}

func (m *metrics) decided(d *ledger.Decision) {
	m.decisions.WithLabelValues(d.Rule, string(d.Reason)).Inc()
}

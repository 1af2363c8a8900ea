package send

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"nudge/channels"
	"nudge/engine/ledger"
)

type metrics struct {
	attempts *prometheus.CounterVec
	outcomes *prometheus.CounterVec
	aside    *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer, s *Sender) (*metrics, error) {
	m := &metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nudge_send_attempts_total",
			Help: "Messages handed to a provider, by what it answered (class is ok or the error's class).",
		}, []string{"channel", "provider", "class"}),
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nudge_send_outcomes_total",
			Help: "Delivery records written, by status.",
		}, []string{"channel", "status"}),
		aside: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nudge_send_aside_total",
			Help: "Times a message was put aside because it could not be known whether its exit had arrived.",
		}, []string{"channel", "provider"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "nudge_send_call_seconds",
			Help:    "Time of one call of an adapter.",
			Buckets: []float64{.001, .005, .02, .1, .5, 2, 10, 60},
		}, []string{"channel", "provider"}),
	}
	var err error
	if m.attempts, err = registered(reg, m.attempts); err != nil {
		return nil, err
	}
	if m.outcomes, err = registered(reg, m.outcomes); err != nil {
		return nil, err
	}
	if m.aside, err = registered(reg, m.aside); err != nil {
		return nil, err
	}
	if m.seconds, err = registered(reg, m.seconds); err != nil {
		return nil, err
	}
	reg.Unregister(gauges{s}) // an earlier sender's: it is about this one from now on
	if err := reg.Register(gauges{s}); err != nil {
		return nil, err
	}
	for _, p := range s.all {
		m.attempts.WithLabelValues(p.route.word, p.name, "ok")
		for _, c := range []channels.Class{
			channels.ClassTemporary, channels.ClassRateLimit, channels.ClassAddress,
			channels.ClassMessage, channels.ClassCredential, channels.ClassCancelled,
		} {
			m.attempts.WithLabelValues(p.route.word, p.name, string(c))
		}
		m.aside.WithLabelValues(p.route.word, p.name)
		m.seconds.WithLabelValues(p.route.word, p.name)
	}
	return m, nil
}

// registered registers a collector, or finds the one that an earlier sender of this process
// registered: after a reload the counts go on.
func registered[C prometheus.Collector](reg prometheus.Registerer, c C) (C, error) {
	err := reg.Register(c)
	if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if old, ok := already.ExistingCollector.(C); ok {
			return old, nil
		}
	}
	return c, err
}

func (m *metrics) attempt(p *provider, failed *channels.DeliveryError) {
	class := "ok"
	if failed != nil {
		class = string(failed.Class)
	}
	m.attempts.WithLabelValues(p.route.word, p.name, class).Inc()
}

func (m *metrics) outcome(d *ledger.Delivery) {
	m.outcomes.WithLabelValues(d.Channel, string(d.Status)).Inc()
}

func (m *metrics) took(p *provider, ms int64) {
	m.seconds.WithLabelValues(p.route.word, p.name).Observe(float64(ms) / 1000)
}

// gauges reads the queues when it is asked.
type gauges struct{ s *Sender }

var (
	readyDesc    = prometheus.NewDesc("nudge_send_ready", "Messages that may be sent as soon as the provider has room.", []string{"channel", "provider", "lane"}, nil)
	waitingDesc  = prometheus.NewDesc("nudge_send_waiting", "Messages that wait for their next attempt.", []string{"channel", "provider"}, nil)
	inFlightDesc = prometheus.NewDesc("nudge_send_in_flight", "Messages between intent and result.", []string{"channel", "provider"}, nil)
	openDesc     = prometheus.NewDesc("nudge_send_breaker_open", "1 while the provider is left alone.", []string{"channel", "provider"}, nil)
	heldDesc     = prometheus.NewDesc("nudge_send_held", "Messages (entry and channel) in memory.", nil, nil)
	behindDesc   = prometheus.NewDesc("nudge_send_behind", "Lines of messages that were left in the stream for want of room.", nil, nil)
)

// Describe implements prometheus.Collector.
func (g gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{readyDesc, waitingDesc, inFlightDesc, openDesc, heldDesc, behindDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (g gauges) Collect(ch chan<- prometheus.Metric) {
	s := g.s
	s.mu.Lock()
	defer s.mu.Unlock()
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	for _, p := range s.all {
		word := p.route.word
		gauge(readyDesc, p.lanes[laneUrgent].n, word, p.name, "transactional")
		gauge(readyDesc, p.lanes[laneNormal].n, word, p.name, "normal")
		gauge(waitingDesc, len(p.waiting), word, p.name)
		gauge(inFlightDesc, p.inFlight[laneUrgent]+p.inFlight[laneNormal], word, p.name)
		open := 0
		if p.breaker.until != 0 {
			open = 1
		}
		gauge(openDesc, open, word, p.name)
	}
	gauge(heldDesc, len(s.units))
	behind := 0
	for _, l := range s.lines {
		if len(l.behind) > 0 {
			behind++
		}
	}
	gauge(behindDesc, behind)
}

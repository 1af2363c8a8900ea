package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"nudge/channels"
)

// rowKind is one of the ways to send that bench send compares.
type rowKind string

// The ways that run in a process of this program.
const (
	rowLibrary rowKind = "library"
	rowAdapter rowKind = "adapter"
	rowSender  rowKind = "sender"
	rowPaced   rowKind = "sender, paced"
	rowSlow    rowKind = "slow"
)

// rowSpec is one row, for the process that measures it.
type rowSpec struct {
	Kind     rowKind
	Target   string
	Messages int
	Rate     float64       // decisions a second, of paced
	For      time.Duration // of slow
	Late     string        // how the provider answers: a word of faultOf

	Services servicesReady
	PID      int // of the services
	Dir      string
	Profile  string
}

// rowResult is what was measured.
type rowResult struct {
	Name             string
	Sends            int
	Took             time.Duration
	P50, P99         time.Duration // 0 for none
	Sending, Server  time.Duration // CPU
	BeforeMB, PeakMB float64
	Held             int // of slow: the most messages that the sender had in memory
	Load             any
}

func (r *rowResult) add(t *table, title string) {
	var p50, p99 any
	if r.P99 > 0 {
		p50, p99 = ms(r.P50), ms(r.P99)
	}
	t.row(title+", "+r.Name, float64(r.Sends)/r.Took.Seconds(), p50, p99, per(r.Sending, int64(r.Sends)), per(r.Server, int64(r.Sends)), r.PeakMB, float64(r.Sends), r.Load)
}

// runRow measures one row in a process of its own, so that its memory is its own, against providers of its own: Apple
// refuses a key that signs anew all the time, and so does ours.
func runRow(ctx context.Context, s *session, spec rowSpec) (_ rowResult, err error) {
	s.say("%s: %s, %d messages …", spec.Target, spec.Kind, spec.Messages)
	p, err := startServicesChild(ctx, s)
	if err != nil {
		return rowResult{}, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	if err := p.order(ctx, spec.Target, spec.Late); err != nil {
		return rowResult{}, err
	}
	spec.Services, spec.PID, spec.Dir, spec.Profile = p.ready, p.process().pid, s.dir, s.profile
	line, err := json.Marshal(spec)
	if err != nil {
		return rowResult{}, fmt.Errorf("tell a process what to measure: %w", err)
	}
	program, err := os.Executable()
	if err != nil {
		return rowResult{}, fmt.Errorf("find this program to measure %s: %w", spec.Kind, err)
	}
	cmd := exec.CommandContext(ctx, program, "send-row")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.Stderr = s.progress
	in, err := cmd.StdinPipe()
	if err != nil {
		return rowResult{}, fmt.Errorf("measure %s: %w", spec.Kind, err)
	}
	defer in.Close() //nolint:errcheck // it has ended
	go func() { _, _ = in.Write(append(line, '\n')) }()
	out, err := cmd.Output()
	if err != nil {
		return rowResult{}, fmt.Errorf("measure %s: %w", spec.Kind, err)
	}
	var r rowResult
	if err := json.Unmarshal(out, &r); err != nil {
		return r, fmt.Errorf("read what was measured of %s: %w", spec.Kind, err)
	}
	return r, nil
}

// sendRowCommand measures the row that its standard input asks for, and ends with that input.
func sendRowCommand(in io.Reader, out, errOut io.Writer) *cobra.Command {
	return &cobra.Command{
		Use: "send-row", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			lines := bufio.NewReader(in)
			line, err := lines.ReadBytes('\n')
			if err != nil {
				return failure{fmt.Errorf("read what to measure: %w", err)}
			}
			var spec rowSpec
			if err := json.Unmarshal(line, &spec); err != nil {
				return failure{fmt.Errorf("read what to measure: %w", err)}
			}
			ctx, cancel := untilEOF(cmd.Context(), lines)
			defer cancel()
			r := &sendRig{spec: spec, s: &session{dir: spec.Dir, profile: spec.Profile, progress: errOut}, target: targets(spec.Services, []string{spec.Target})[0]}
			if err := r.run(ctx); err != nil {
				return failure{err}
			}
			if err := json.NewEncoder(out).Encode(r.result); err != nil {
				return failure{fmt.Errorf("say what was measured: %w", err)}
			}
			return nil
		},
	}
}

// sendRig measures one row of one provider.
type sendRig struct {
	spec   rowSpec
	s      *session
	target target
	result rowResult
}

func (r *sendRig) run(ctx context.Context) error {
	r.result.Name = string(r.spec.Kind)
	if r.spec.Kind == rowLibrary {
		return r.alone(ctx)
	}
	channel, err := r.target.spec.New(channels.Options{Config: r.target.config, Now: time.Now})
	if err != nil {
		return err
	}
	if c, ok := channel.(channels.Closer); ok {
		defer c.Close() //nolint:errcheck // connections of this run
	}
	switch r.spec.Kind {
	case rowAdapter:
		return r.adapter(ctx, channel)
	case rowSlow:
		return r.slow(ctx, channel)
	default:
		return r.sender(ctx, channel)
	}
}

// accepted is what the provider has taken.
func (r *sendRig) accepted(ctx context.Context) (int64, error) {
	all, err := (&services{ready: r.spec.Services}).accepted(ctx)
	return all[r.target.name].Accepted, err
}

// counted runs something that sends the row's messages, and notes what it took.
func (r *sendRig) counted(ctx context.Context, l *latencies, do func() error) error {
	self := process{"sending", os.Getpid()}
	before, err := r.accepted(ctx)
	if err != nil {
		return err
	}
	debug.FreeOSMemory()
	if err := self.forgetPeak(); err != nil {
		return err
	}
	r.result.BeforeMB = self.rss()
	m, err := startMeter(self, process{"server", r.spec.PID})
	if err != nil {
		return err
	}
	profiled, err := r.s.profileSelf("send-" + r.target.name + "-" + string(r.spec.Kind))
	if err != nil {
		return err
	}
	if err := errors.Join(do(), profiled()); err != nil {
		return err
	}
	r.result.Took = time.Since(m.start)
	r.result.PeakMB, r.result.Load = self.peak(), loadNumber()
	used, err := m.used()
	if err != nil {
		return err
	}
	r.result.Sending, r.result.Server = used["sending"], used["server"]
	after, err := r.accepted(ctx)
	if err != nil {
		return err
	}
	r.result.Sends = int(after - before)
	if r.spec.Kind != rowSlow && r.result.Sends != r.spec.Messages {
		return fmt.Errorf("%s: %d messages were sent, the server accepted %d", r.spec.Kind, r.spec.Messages, r.result.Sends)
	}
	if l.n > 0 {
		r.result.P50, r.result.P99 = l.quantile(0.5), l.quantile(0.99)
	}
	return nil
}

// spread has workers do the numbers 0 … n−1, `each` at a time, until one of them fails.
func spread(ctx context.Context, n, each, workers int, do func(ctx context.Context, first, upTo int) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var next atomic.Int64
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for ctx.Err() == nil {
				first := int(next.Add(int64(each))) - each
				if first >= n {
					return
				}
				if err := do(ctx, first, min(first+each, n)); err != nil {
					stop(err)
					return
				}
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}

func (r *sendRig) alone(ctx context.Context) error {
	p, err := newPlain(ctx, &r.target, r.spec.Late != "0s")
	if err != nil {
		return err
	}
	defer p.close()
	r.result.Name = p.name
	if err := p.send(ctx, 0, 1); err != nil { // a connection stands
		return err
	}
	var l latencies
	return r.counted(ctx, &l, func() error {
		return spread(ctx, r.spec.Messages, p.batch, p.workers, func(ctx context.Context, first, upTo int) error {
			start := time.Now()
			defer func() { l.add(time.Since(start)) }()
			return p.send(ctx, first, upTo)
		})
	})
}

func (r *sendRig) adapter(ctx context.Context, channel channels.Channel) error {
	batch := make([]channels.Message, r.target.spec.Batch)
	for i := range batch {
		batch[i] = r.target.message(i)
	}
	for _, res := range channel.Send(ctx, batch) { // connections stand
		if res.Err != nil {
			return res.Err
		}
	}
	var l latencies
	return r.counted(ctx, &l, func() error {
		return spread(ctx, r.spec.Messages, len(batch), r.target.spec.Concurrency, func(ctx context.Context, first, upTo int) error {
			start := time.Now()
			for _, res := range channel.Send(ctx, batch[:upTo-first]) {
				if res.Err != nil {
					return res.Err
				}
			}
			l.add(time.Since(start))
			return nil
		})
	})
}

// sender sends the row's decisions through the whole sender: all at once, or at its rate.
func (r *sendRig) sender(ctx context.Context, channel channels.Channel) error {
	l, err := newSending(ctx, r.s)
	if err != nil {
		return err
	}
	defer l.close()
	if err := l.open(map[string]channels.Channel{r.target.name: channel}, []target{r.target}, nil); err != nil {
		return err
	}
	n, rate := r.spec.Messages, r.spec.Rate
	if rate == 0 {
		if err := l.decide(ctx, &r.target, 0, n); err != nil {
			return err
		}
	}
	var took latencies
	left := n
	return r.counted(ctx, &took, func() error {
		return l.run(ctx, func(life context.Context) error {
			if rate == 0 {
				return nil
			}
			return l.pace(life, &r.target, 0, n, rate)
		}, func(_ string, at time.Duration) bool {
			if rate > 0 {
				took.add(at)
			}
			left--
			return left <= 0
		})
	})
}

// slow sends for a while what waits for a provider that is slow.
func (r *sendRig) slow(ctx context.Context, channel channels.Channel) error {
	l, err := newSending(ctx, r.s)
	if err != nil {
		return err
	}
	defer l.close()
	metrics := prometheus.NewRegistry()
	if err := l.open(map[string]channels.Channel{r.target.name: channel}, []target{r.target}, metrics); err != nil {
		return err
	}
	if err := l.decide(ctx, &r.target, 0, r.spec.Messages); err != nil {
		return err
	}
	return r.counted(ctx, &latencies{}, func() error {
		life, end := context.WithTimeoutCause(ctx, r.spec.For, errEnough)
		defer end()
		err := l.run(life, func(life context.Context) error { return r.watchHeld(life, metrics) }, func(string, time.Duration) bool { return false })
		if errors.Is(err, errEnough) {
			return nil
		}
		return err
	})
}

// watchHeld looks every now and then how many messages the sender has in memory.
func (r *sendRig) watchHeld(ctx context.Context, metrics *prometheus.Registry) error {
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		families, err := metrics.Gather()
		if err != nil {
			return fmt.Errorf("ask the sender what it holds: %w", err)
		}
		for _, f := range families {
			if f.GetName() == "nudge_send_held" {
				r.result.Held = max(r.result.Held, int(f.GetMetric()[0].GetGauge().GetValue()))
			}
		}
	}
}

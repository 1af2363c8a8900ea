package ticktest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/events/clickhouse"
	"nudge/events/clickhouse/clickhousetest"
	"nudge/events/memory"
	"nudge/segments"
	"nudge/segments/plan"
)

// Rig runs packs, each in an emptied store. Not for concurrent use.
type Rig struct {
	Stats Stats // of all runs
	// Planner may change what is made for a run, and Compiled what conditions say of themselves.
	Planner  func(*plan.Planner) Planner
	Compiled func(*segments.Who)
	// Incremental leaves out looks at everybody.
	Incremental bool

	t     testing.TB
	store *clickhouse.Store // nil: packs are in memory
}

// NewRig makes a rig with a store of its own.
func NewRig(t testing.TB) *Rig {
	t.Helper()
	return &Rig{t: t, store: clickhousetest.New(t), Planner: func(p *plan.Planner) Planner { return p }}
}

// NewRigInMemory makes a rig of whose packs nothing is stored.
func NewRigInMemory(t testing.TB) *Rig {
	return &Rig{t: t, Planner: func(p *plan.Planner) Planner { return p }}
}

// Run ticks a pack.
func (r *Rig) Run(p *Pack) ([]Difference, error) {
	ctx := context.Background()
	run := &Run{Pack: p, Compiled: r.Compiled, Incremental: r.Incremental}
	o := plan.Options{Recent: p.Recent, RecentFrom: 1}
	if r.store == nil {
		run.Memory = &memory.Store{}
		o.Memory = run.Memory
	} else if err := r.empty(ctx); err != nil {
		return nil, err
	} else {
		run.Conn = r.store.Conn()
		o.Conn = run.Conn
	}
	run.New = func() Planner { return r.Planner(plan.New(o)) }
	out, err := run.Do(ctx)
	r.Stats.Add(run.Stats)
	return out, err
}

// empty empties the store.
func (r *Rig) empty(ctx context.Context) error {
	for _, table := range []string{"events", "traits", "identities", "fixes", "zones", "merges", "erasures", "dues"} {
		if err := r.store.Conn().Exec(ctx, "TRUNCATE TABLE "+table); err != nil {
			return fmt.Errorf("empty the store: %w", err)
		}
	}
	return nil
}

// tries is how often a case that fails is made smaller.
const tries = 400

// Report makes the first case that differs small, and fails the test with all of it.
func (r *Rig) Report(p *Pack, differences []Difference) {
	r.t.Helper()
	first := differences[0]
	fails := func(p *Pack) bool {
		differences, err := r.Run(p)
		return err == nil && len(differences) > 0
	}
	alone := p.Alone(first.Case)
	if !fails(alone) {
		r.t.Errorf("%d answers differ, but not when case %d is alone:\n%s", len(differences), first.Case, first)
		return
	}
	small := Shrink(alone, fails, tries)
	differences, err := r.Run(small)
	require.NoError(r.t, err)
	var text strings.Builder
	for _, d := range differences {
		text.WriteString(d.String() + "\n")
	}
	r.t.Errorf("answers differ; case %d, seed %d, made small:\n%s\n%s", first.Case, small.Cases[0].Seed, text.String(), small)
}

package plan_test

import (
	"context"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/segments"
	"nudge/segments/geo"
	"nudge/segments/plan"
	"nudge/segments/plan/ticktest"
)

// asif passes other ticks on than it was given.
type asif struct {
	*plan.Planner
	change func(*segments.Tick)
}

// Tick ticks as something that was broken on the way.
func (a asif) Tick(ctx context.Context, q segments.Tick, fn func(*segments.Part) error) error {
	a.change(&q)
	return a.Planner.Tick(ctx, q, fn)
}

// The test of the test: a planner that overlooks one kind of change gives answers that the differential
// test does not take.
func TestBrokenPlannersAreCaught(t *testing.T) {
	tick := func(change func(*segments.Tick)) func(*ticktest.Rig) {
		return func(r *ticktest.Rig) {
			r.Planner = func(p *plan.Planner) ticktest.Planner { return asif{p, change} }
		}
	}
	baseline := func(change func(from *segments.Baseline, q *segments.Tick)) func(*ticktest.Rig) {
		return tick(func(q *segments.Tick) {
			for i := range q.From {
				if q.From[i] != (segments.Baseline{}) {
					change(&q.From[i], q)
				}
			}
		})
	}
	changes := func(change func(c *segments.Changes)) func(*ticktest.Rig) {
		return func(r *ticktest.Rig) { r.Compiled = func(w *segments.Who) { change(w.Changes()) } }
	}
	ages := func(gone func(age int64) bool) func(*ticktest.Rig) {
		return changes(func(c *segments.Changes) {
			for i := range c.Sources {
				c.Sources[i].Ages = slices.DeleteFunc(slices.Clone(c.Sources[i].Ages), gone)
			}
		})
	}
	positive := func(age int64) bool { return age > 0 }
	overlook := func(of func(p *plan.Planner) *plan.Planner) func(*ticktest.Rig) {
		return func(r *ticktest.Rig) {
			r.Planner = func(p *plan.Planner) ticktest.Planner { return of(p) }
		}
	}
	const fresh = `event("§A").last.ago < hours(1)`
	r := ticktest.NewRigInMemory(t) // what is broken is what asks, whichever store answers
	r.Incremental = true
	for _, c := range []struct {
		name       string
		conditions []string
		broken     func(*ticktest.Rig)
	}{
		{"nothing arrives", []string{`event("§A").count > 1`}, baseline(func(from *segments.Baseline, q *segments.Tick) { from.UpTo = q.UpTo })},
		{"no time passes", []string{fresh}, baseline(func(from *segments.Baseline, q *segments.Tick) { from.At = q.At })},
		{"late events", []string{`event("§A").count > 1`}, overlook(func(p *plan.Planner) *plan.Planner { return p.Overlook(plan.App, false, -1) })},
		{"messages", []string{`message("§r1").count > 0`}, overlook(func(p *plan.Planner) *plan.Planner { return p.Overlook(plan.Messages, false, -1) })},
		{"no history", []string{`event("§A").count > 1`}, changes(func(c *segments.Changes) { c.Sources = nil })},
		{"traits", []string{`user.traits.§plan == "pro"`, `user.traits.§vip`}, changes(func(c *segments.Changes) { c.Traits = nil })},
		{"user ids", []string{`has(user.id)`}, changes(func(c *segments.Changes) { c.UserID = false })},
		{"user ids arrive", []string{`has(user.id)`}, overlook(func(p *plan.Planner) *plan.Planner { return p.Overlook(plan.UserIDs, false, -1) })},
		{"first events", []string{`user.created_at < now - hours(1)`}, changes(func(c *segments.Changes) { c.Created = false })},
		{"zones", []string{`user.timezone contains "e"`, `event("§A").last.at > "2071-06-01"`}, changes(func(c *segments.Changes) { c.Zone = false })},
		{"whoever appears", []string{`event("§A").count == 0`}, changes(func(c *segments.Changes) { c.Anybody = false })},
		{"merges", []string{`event("§A").count > 1`, `event("§A").count == 0`}, overlook(func(p *plan.Planner) *plan.Planner { return p.Overlook(plan.Merges, false, -1) })},
		{"edges of windows", []string{`event("§A").within(hours(1)).count == 1`, `event("*").within(minutes(5)).count > 0`}, ages(positive)},
		{"ages that are compared", []string{fresh, `event("*").last.at < now - minutes(30)`}, ages(positive)},
		{"dated ahead", []string{`event("§A").count > 0`}, ages(func(age int64) bool { return age == 0 })},
		{"traits dated ahead", []string{`user.traits.§plan == "pro"`, `user.traits.§vip`}, overlook(func(p *plan.Planner) *plan.Planner { return p.Overlook(plan.Identifies, true, 0) })},
		{"retention", []string{`event("*").count > 1`, `event("§A").count == 0`}, tick(nil)},
		{"instants of one's own", []string{`user.traits.§due < now`, `event("*").last.ago > hours(user.traits.§n)`}, changes(func(c *segments.Changes) { c.Dues = false })},
		{"dues in the store", []string{`user.traits.§due < now`, `event("*").last.ago > hours(user.traits.§n)`}, overlook(func(p *plan.Planner) *plan.Planner { return p.Overlook(plan.Dues, true, 0) })},
		{"fixes", []string{`near("stores/*", meters(500))`, `near("stores/*", meters(500)).distance > meters(50)`}, overlook(func(p *plan.Planner) *plan.Planner { return p.Overlook(plan.Fixes, false, -1) })},
		{"the age of fixes", []string{`near("stores/*", meters(500)).distance < meters(900)`}, overlook(func(p *plan.Planner) *plan.Planner { return p.Overlook(plan.Fixes, true, geo.DefaultMaxAge) })},
		{"fixes dated ahead", []string{`near("stores/*", meters(500)).distance < meters(900)`}, overlook(func(p *plan.Planner) *plan.Planner { return p.Overlook(plan.Fixes, true, 0) })},
		{"looks at everybody", []string{`any(event("*").list(), .ago < hours(1))`, `local.hour > 12`}, changes(func(c *segments.Changes) { c.Full = nil })},
		{"what arrives and crosses later", []string{`event("*").last.at < now - minutes(6)`, `event("§A").last.ago > minutes(9)`}, overlook(func(p *plan.Planner) *plan.Planner { return p.Overlook(plan.Ahead, true, 0) })},
		{"what is no news", []string{`event("§A").count == 2`}, changes(func(c *segments.Changes) {
			for i := range c.Sources {
				c.Sources[i].AgeOnly = true
			}
		})},
		{"what was before the last days", []string{`event("§A").within(days(7)).count > 1`}, overlook(func(p *plan.Planner) *plan.Planner { return p.Overlook(plan.Older, true, 0) })},
		{"who is asked", []string{`event("§A").count > 1`}, tick(func(q *segments.Tick) { q.Asks = nil })},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.Planner, r.Compiled = func(p *plan.Planner) ticktest.Planner { return p }, nil
			shape := ticktest.Shape{Cases: 16, Ticks: 5, Conditions: c.conditions}
			switch c.name {
			case "traits dated ahead":
				shape.Cases = 64
			case "what arrives and crosses later":
				shape.Cases, shape.Ticks = 64, 12
			case "retention":
				shape.Retention = 3 * 24 * 60 * 60 * 1000
				c.broken = overlook(func(p *plan.Planner) *plan.Planner { return p.Overlook(plan.App, true, shape.Retention) })
			}
			c.broken(r)
			for seed := uint64(1); seed <= 12; seed++ {
				differences, err := r.Run(ticktest.Draw(seed, shape))
				require.NoError(t, err)
				if len(differences) > 0 {
					t.Logf("caught with seed %d: %s", seed, differences[0])
					return
				}
			}
			require.Fail(t, "the planner is broken and nobody noticed")
		})
	}
}

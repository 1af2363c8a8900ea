package schedule_test

import (
	"testing"
	"time"

	"github.com/robfig/cron/v3"
	"github.com/stretchr/testify/require"

	"nudge/engine/schedule"
	"nudge/rules"
)

func load(t *testing.T, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	require.NoError(t, err)
	return loc
}

func TestNext(t *testing.T) {
	cases := map[string]struct {
		cron, zone, after string
		want              []string
	}{
		"every five minutes": {
			"*/5 * * * *", "UTC", "2026-03-01T10:02:00Z",
			[]string{"2026-03-01T10:05:00Z", "2026-03-01T10:10:00Z"},
		},
		"an instant is not its own next": {
			"*/5 * * * *", "UTC", "2026-03-01T10:05:00Z", []string{"2026-03-01T10:10:00Z"},
		},
		"daily at nine in Berlin, through the change to summer time": {
			"0 9 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z",
			[]string{"2026-03-28T08:00:00Z", "2026-03-29T07:00:00Z", "2026-03-30T07:00:00Z"},
		},
		"a job in the gap runs once at its end": {
			"30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z",
			[]string{"2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"},
		},
		"several jobs in the gap run once": {
			"0,15,30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z",
			[]string{"2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"},
		},
		"a job in the overlap runs once": {
			"30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z",
			[]string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"},
		},
		"every half hour goes on through the overlap": {
			"*/30 * * * *", "Europe/Berlin", "2026-10-25T00:15:00Z",
			[]string{"2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"},
		},
		"a gap of half an hour": {
			"15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z",
			[]string{"2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			spec, err := cron.ParseStandard(c.cron)
			require.NoError(t, err)
			s := &rules.Schedule{Cron: c.cron, Spec: spec.(*cron.SpecSchedule)}
			after, err := time.Parse(time.RFC3339, c.after)
			require.NoError(t, err)
			at := after.UnixMilli()
			for _, want := range c.want {
				next, ok := schedule.Next(s, load(t, c.zone), at)
				require.True(t, ok)
				require.Equal(t, want, time.UnixMilli(next).UTC().Format(time.RFC3339))
				at = next
			}
		})
	}
}

func TestNextNever(t *testing.T) {
	spec, err := cron.ParseStandard("0 0 31 2 *")
	require.NoError(t, err)
	_, ok := schedule.Next(&rules.Schedule{Spec: spec.(*cron.SpecSchedule)}, time.UTC, 0)
	require.False(t, ok)
}

func TestLastIsTheNewestOfMany(t *testing.T) {
	spec, err := cron.ParseStandard("*/5 * * * *")
	require.NoError(t, err)
	s := &rules.Schedule{Spec: spec.(*cron.SpecSchedule)}
	now := time.Date(2026, 3, 1, 12, 3, 0, 0, time.UTC)
	at, ok := schedule.Last(s, time.UTC, now.AddDate(-1, 0, 0).UnixMilli(), now.UnixMilli())
	require.True(t, ok)
	require.Equal(t, now.Truncate(5*time.Minute).UnixMilli(), at)

	_, ok = schedule.Last(s, time.UTC, at, now.UnixMilli())
	require.False(t, ok, "nothing fell due since")

	yearly, err := cron.ParseStandard("0 0 1 1 *")
	require.NoError(t, err)
	at, ok = schedule.Last(&rules.Schedule{Spec: yearly.(*cron.SpecSchedule)}, time.UTC, now.AddDate(-3, 0, 0).UnixMilli(), now.UnixMilli())
	require.True(t, ok)
	require.Equal(t, "2026-01-01T00:00:00Z", time.UnixMilli(at).UTC().Format(time.RFC3339))
}

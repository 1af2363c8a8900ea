package ledger_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/engine/ledger"
	"nudge/events/clickhouse/clickhousetest"
)

func TestLifts(t *testing.T) {
	byHand := ledger.Pause{Rule: "r", By: ledger.PauseByPerson, At: 500, Asked: 100}
	for name, c := range map[string]struct {
		request ledger.Request
		pause   ledger.Pause
		lifts   bool
	}{
		"a pause lifts nothing":                       {ledger.Request{Action: ledger.AskPause, At: 200, About: 900}, byHand, false},
		"asked for later":                             {ledger.Request{Action: ledger.AskResume, At: 101}, byHand, true},
		"asked for before":                            {ledger.Request{Action: ledger.AskResume, At: 99, About: 900}, byHand, false},
		"the one that was meant":                      {ledger.Request{Action: ledger.AskResume, At: 1, About: 500}, ledger.Pause{By: ledger.PauseByGuard, At: 500}, true},
		"pause_when again since":                      {ledger.Request{Action: ledger.AskResume, At: 900, About: 500}, ledger.Pause{By: ledger.PauseByGuard, At: 501}, false},
		"the store again since":                       {ledger.Request{Action: ledger.AskResume, At: 900, About: 500}, ledger.Pause{At: 501}, false},
		"the store, whatever the clocks of both show": {ledger.Request{Action: ledger.AskResume, At: 1, About: 501}, ledger.Pause{At: 501}, true},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.lifts, c.request.Lifts(c.pause)) })
	}
}

// A pause that stands ends by a resume alone.
func TestPausesThatStand(t *testing.T) {
	byStore := ledger.Record{Pause: &ledger.Pause{Rule: "r", Hash: "old", Reason: "too much"}}
	byGuard := ledger.Record{Pause: &ledger.Pause{Rule: "r", By: ledger.PauseByGuard, Reason: "too many"}}
	tick := ledger.Record{Tick: &ledger.Tick{Kind: ledger.TickSchedule, ID: "t", T1: 5, Rules: []string{"r"}, Looks: map[string]string{"r": "new"}}}
	resume := ledger.Record{Resume: &ledger.Resume{Rule: "r", At: 9}}
	for name, c := range map[string]struct {
		records []ledger.Record
		reason  string
	}{
		"by the store":                            {[]ledger.Record{byStore}, "too much"},
		"by the store, and another file":          {[]ledger.Record{byStore, tick}, ""},
		"by the guard":                            {[]ledger.Record{byGuard}, "too many"},
		"by the guard, and another file":          {[]ledger.Record{byGuard, tick}, "too many"},
		"by the guard, then by the store":         {[]ledger.Record{byGuard, byStore, tick}, "too many"},
		"by the store, then by the guard":         {[]ledger.Record{byStore, byGuard, tick}, "too many"},
		"by the guard, resumed":                   {[]ledger.Record{byGuard, resume}, ""},
		"by the guard, resumed, and by the store": {[]ledger.Record{byGuard, resume, byStore}, "too much"},
	} {
		t.Run(name, func(t *testing.T) {
			s := ledger.NewState(keepUses)
			for _, r := range c.records {
				s.Apply(r)
			}
			require.Equal(t, c.reason, s.Pauses()["r"].Reason)
			require.Equal(t, c.reason == "too many", s.Halted("r"))
		})
	}
}

// Requests of one rule stand in the order in which they were made, whatever clocks they were made by.
func TestAsk(t *testing.T) {
	s := ledger.NewStore(clickhousetest.New(t).Conn())
	for _, r := range []ledger.Request{
		{Rule: "cart", Action: ledger.AskPause, At: 5_000, Who: "ann", Reason: "it's \"down\""},
		{Rule: "cart", Action: ledger.AskResume, At: 1_000, About: 70, Who: "bob"},
		{Rule: "other", Action: ledger.AskPause, At: 3_000, Who: "cyd"},
	} {
		require.NoError(t, s.Ask(t.Context(), r))
	}
	newest, err := s.Requests(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string]ledger.Request{
		"cart":  {Rule: "cart", Action: ledger.AskResume, At: 5_001, About: 70, Who: "bob"},
		"other": {Rule: "other", Action: ledger.AskPause, At: 3_000, Who: "cyd"},
	}, newest)
	paused, err := s.Paused(t.Context(), 0)
	require.NoError(t, err)
	require.Len(t, paused, 1)
	require.Equal(t, "other", paused[0].Rule)
	paused, err = s.Paused(t.Context(), 5_000)
	require.NoError(t, err)
	require.Len(t, paused, 2, "cart was to be paused by then")
	require.Equal(t, `it's "down"`, paused[0].Reason)
}

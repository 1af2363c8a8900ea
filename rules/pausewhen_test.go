package rules_test

import (
	"fmt"
	"math/big"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"nudge/rules"
)

func pauseWhen(t testing.TB, text string) *rules.PauseWhen {
	t.Helper()
	src := "rule: r\nschedule: \"0 9 * * *\"\nwhen: user.id != nil\nagain: never\nmessage: {push: {body: hi}}\n"
	if text != "" {
		src += "pause_when: " + text + "\n"
	}
	r, findings := rules.ParseRule("r.yaml", []byte(src), options(t))
	require.Empty(t, findings)
	return r.PauseWhen
}

func TestPauseWhen(t *testing.T) {
	for name, c := range map[string]struct {
		when   string
		ended  rules.Ended
		passed string
	}{
		"none":                        {"", rules.Ended{Messages: 1000, Failed: 1000, Unsubscribed: 1000}, ""},
		"nothing sent":                {`{failures: "> 0%", min: 1}`, rules.Ended{}, ""},
		"at the limit":                {`{unsubscribes: "> 1%"}`, rules.Ended{Messages: 200, Unsubscribed: 2}, ""},
		"one above it":                {`{unsubscribes: "> 1%"}`, rules.Ended{Messages: 200, Unsubscribed: 3}, `3 of its newest 200 messages were followed by an unsubscribe (1.50%), and pause_when says > 1%`},
		"one too few":                 {`{unsubscribes: "> 1%"}`, rules.Ended{Messages: 199, Unsubscribed: 199}, ""},
		"a min of its own":            {`{unsubscribes: "> 1%", min: 10}`, rules.Ended{Messages: 10, Unsubscribed: 1}, `1 of its newest 10 messages were followed by an unsubscribe (10.00%), and pause_when says > 1%`},
		"below that":                  {`{unsubscribes: "> 1%", min: 10}`, rules.Ended{Messages: 9, Unsubscribed: 9}, ""},
		"none is allowed":             {`{failures: "> 0%", min: 1}`, rules.Ended{Messages: 1_000_000, Failed: 1}, `1 of its newest 1,000,000 messages failed for good (0.00%), and pause_when says > 0%`},
		"what floats get wrong":       {`{failures: "> 29%", min: 1}`, rules.Ended{Messages: 100, Failed: 29}, ""},
		"and one above":               {`{failures: "> 29%", min: 1}`, rules.Ended{Messages: 100, Failed: 30}, `30 of its newest 100 messages failed for good (30.00%), and pause_when says > 29%`},
		"a fine limit":                {`{failures: ">0.0125 %", min: 1}`, rules.Ended{Messages: 80_000, Failed: 10}, ""},
		"a fine limit passed":         {`{failures: ">0.0125 %", min: 1}`, rules.Ended{Messages: 80_000, Failed: 11}, `11 of its newest 80,000 messages failed for good (0.01%), and pause_when says > 0.0125%`},
		"only what it has a limit of": {`{failures: "> 5%"}`, rules.Ended{Messages: 200, Unsubscribed: 200}, ""},
		"both are passed":             {`{unsubscribes: "> 1%", failures: "> 5%"}`, rules.Ended{Messages: 200, Unsubscribed: 3, Failed: 11}, `3 of its newest 200 messages were followed by an unsubscribe (1.50%), and pause_when says > 1%`},
		"the second alone":            {`{unsubscribes: "> 1%", failures: "> 5%"}`, rules.Ended{Messages: 200, Unsubscribed: 2, Failed: 11}, `11 of its newest 200 messages failed for good (5.50%), and pause_when says > 5%`},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.passed, pauseWhen(t, c.when).Passed(c.ended)) })
	}
}

// A limit that a file can write is held against shares exactly.
func TestLimitsAreExact(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		digits := rapid.IntRange(0, 4).Draw(rt, "digits")
		scale := int64(1)
		for range digits {
			scale *= 10
		}
		share := rapid.Int64Range(0, 100*scale-1).Draw(rt, "share")
		text := strconv.FormatInt(share/scale, 10)
		if digits > 0 {
			text += fmt.Sprintf(".%0*d", digits, share%scale)
		}
		all := rapid.Int64Range(1, 5_000_000).Draw(rt, "all")
		exact := big.NewRat(share, 100*scale)
		// About the limit: that is where rounding would show.
		near := new(big.Rat).Mul(exact, big.NewRat(all, 1))
		n := new(big.Int).Quo(near.Num(), near.Denom()).Int64() + rapid.Int64Range(-1, 2).Draw(rt, "off")
		if n < 0 || n > all {
			n = all
		}
		w := pauseWhen(t, `{failures: "> `+text+`%", min: 1}`)
		if want := big.NewRat(n, all).Cmp(exact) > 0; want != w.Failures.PassedBy(n, all) {
			rt.Fatalf("%d of %d > %s%%: %v", n, all, text, !want)
		}
	})
}

// The version is what decides about people; a limit does not.
func TestPauseWhenIsNoVersion(t *testing.T) {
	version := func(more string) string {
		r, findings := rules.ParseRule("r.yaml", []byte("rule: r\nschedule: \"0 9 * * *\"\nwhen: user.id != nil\nagain: never\nmessage: {push: {body: hi}}\n"+more), options(t))
		require.Empty(t, findings)
		return r.Version
	}
	require.Equal(t, version(""), version("pause_when: {failures: \"> 5%\"}\n"))
	require.NotEqual(t, version(""), version("priority: 3\n"))
}

package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestQuantiles(t *testing.T) {
	for name, c := range map[string]struct {
		add      []time.Duration
		q        float64
		want     time.Duration
		withinPC float64
	}{
		"of none":              {nil, 0.5, 0, 0},
		"of one":               {[]time.Duration{7 * time.Millisecond}, 0.99, 7 * time.Millisecond, 2},
		"the median of three":  {[]time.Duration{3 * time.Second, time.Millisecond, time.Second}, 0.5, time.Second, 2},
		"the most":             {[]time.Duration{time.Second, 2 * time.Second, 9 * time.Second}, 1, 9 * time.Second, 2},
		"small ones are exact": {[]time.Duration{5, 6, 7}, 0.5, 6, 0},
		"negative is nothing":  {[]time.Duration{-time.Second}, 0.5, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var l latencies
			for _, d := range c.add {
				l.add(d)
			}
			require.InDelta(t, float64(c.want), float64(l.quantile(c.q)), float64(c.want)*c.withinPC/100)
		})
	}
}

// A quantile lies within the width of a bucket of the one that sorting gives.
func TestBucketsAreNarrow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, int64(100*time.Hour)).Draw(t, "duration"))
		got := middle(bucket(d))
		if diff := (got - d).Abs(); diff > d/64+1 {
			t.Fatalf("%s is counted as %s", d, got)
		}
	})
}

func TestWeights(t *testing.T) {
	var l latencies
	l.addN(time.Millisecond, 99)
	l.addN(time.Second, 1)
	require.InDelta(t, float64(time.Millisecond), float64(l.quantile(0.99)), float64(time.Millisecond)/50)
	require.InDelta(t, float64(time.Second), float64(l.quantile(0.995)), float64(time.Second)/50)
}

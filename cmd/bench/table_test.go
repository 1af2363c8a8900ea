package main

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTable(t *testing.T) {
	tab := &table{
		Key: "k", Title: "A title",
		Columns: []column{{"run", "run", 0}, {"rate", "events/s", 0}, {"p", "p99 ms", 1}},
	}
	tab.row("batches", 123456.7, 1.25)
	tab.row("größer", 9.0, nil)
	tab.note("%d notes", 1)
	var b strings.Builder
	require.NoError(t, tab.write(&b))
	require.Equal(t, `
A title

run      events/s  p99 ms
-------  --------  ------
batches   123,457     1.2
größer          9        
* 1 notes
`, b.String())
	raw, err := json.Marshal(tab)
	require.NoError(t, err)
	require.JSONEq(t, `{"key":"k","title":"A title","notes":["1 notes"],"rows":[{"run":"batches","rate":123456.7,"p":1.25},{"run":"größer","rate":9}]}`, string(raw))
}

func TestGrouped(t *testing.T) {
	for want, c := range map[string]struct {
		v      float64
		digits int
	}{
		"0": {0, 0}, "999": {999, 0}, "1,000": {1000, 0}, "-1,234,567.9": {-1234567.89, 1}, "–": {math.Inf(1), 0},
	} {
		require.Equal(t, want, grouped(c.v, c.digits))
	}
}

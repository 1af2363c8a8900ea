package yamlfile_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"nudge/rules/yamlfile"
)

func TestParseDuration(t *testing.T) {
	good := map[string]time.Duration{
		"90s": 90 * time.Second, "90m": 90 * time.Minute, "3h": 3 * time.Hour, "7d": 7 * 24 * time.Hour, "2w": 14 * 24 * time.Hour,
		"1w2d3h4m5s6ms": (9*24+3)*time.Hour + 4*time.Minute + 5*time.Second + 6*time.Millisecond, "0s": 0, "007d": 7 * 24 * time.Hour,
	}
	for text, want := range good {
		t.Run(text, func(t *testing.T) {
			got, err := yamlfile.ParseDuration(text)
			require.NoError(t, err)
			require.Equal(t, want, got)
		})
	}
	for _, text := range []string{
		"", "7", "d", "7 d", "1.5h", "-3h", "+3h", "3H", "3m4h", "3h3h", "1y", "2mo", "1h 30m", "٣h", "99999999999999999999d", "106752d", "15250w1w",
	} {
		t.Run("not "+text, func(t *testing.T) {
			_, err := yamlfile.ParseDuration(text)
			require.Error(t, err)
		})
	}
}

func TestParseDurationProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, h, m := rapid.Int64Range(1, 40_000).Draw(t, "d"), rapid.Int64Range(0, 100).Draw(t, "h"), rapid.Int64Range(0, 100).Draw(t, "m")
		got, err := yamlfile.ParseDuration(fmt.Sprintf("%dd%dh%dm", d, h, m))
		require.NoError(t, err)
		require.Equal(t, time.Duration(d*24+h)*time.Hour+time.Duration(m)*time.Minute, got)
	})
}

// read parses "k: text" and hands the value to fn.
func read[T any](t *testing.T, text string, fn func(r *yamlfile.Reader, n *yamlfile.Node) T) (T, []string) {
	d, broken := yamlfile.Parse("f.yaml", []byte("k: "+text+"\n"))
	require.Empty(t, broken)
	r := yamlfile.NewReader("area")
	v := fn(r, d.Root.Get("k"))
	var ids []string
	for _, f := range r.Findings() {
		ids = append(ids, f.Check)
	}
	return v, ids
}

func TestReader(t *testing.T) {
	integer := func(r *yamlfile.Reader, n *yamlfile.Node) any { return r.Int(n, 5, 0, 100) }
	atLeast := func(r *yamlfile.Reader, n *yamlfile.Node) any { return r.Int(n, 5, 1, math.MaxInt64) }
	number := func(r *yamlfile.Reader, n *yamlfile.Node) any { return r.Number(n, 1, 0) }
	boolean := func(r *yamlfile.Reader, n *yamlfile.Node) any { return r.Bool(n, true) }
	text := func(r *yamlfile.Reader, n *yamlfile.Node) any { return r.Text(n) }
	percent := func(r *yamlfile.Reader, n *yamlfile.Node) any { return r.Percent(n, 1) }
	size := func(r *yamlfile.Reader, n *yamlfile.Node) any { return r.Bytes(n, 1) }
	day := func(r *yamlfile.Reader, n *yamlfile.Node) any {
		v, _ := r.TimeOfDay(n)
		return v
	}
	cases := []struct {
		name, text string
		read       func(*yamlfile.Reader, *yamlfile.Node) any
		want       any
		id         string
	}{
		{"integer", "7", integer, int64(7), ""},
		{"integer out of range", "101", integer, int64(5), "area/out-of-range"},
		{"integer too small", "0", atLeast, int64(5), "area/out-of-range"},
		{"octal is no integer", "0x10", integer, int64(5), "area/wrong-type"},
		{"fraction is no integer", "1.5", integer, int64(5), "area/wrong-type"},
		{"huge is no integer", "99999999999999999999", integer, int64(5), "area/wrong-type"},
		{"quoted is no integer", `"7"`, integer, int64(5), "area/wrong-type"},
		{"number", "1.5", number, 1.5, ""},
		{"infinity is no number", ".inf", number, 1.0, "area/wrong-type"},
		{"boolean", "false", boolean, false, ""},
		{"yes is no boolean", "yes", boolean, true, "area/wrong-type"},
		{"text", "on", text, "on", ""},
		{"a number is no text", "12", text, "", "area/wrong-type"},
		{"empty text", `" "`, text, " ", "area/empty"},
		{"percent", "12.5%", percent, 0.125, ""},
		{"percent with a blank", "12 %", percent, 0.12, ""},
		{"no sign", "12", percent, 1.0, "area/bad-percent"},
		{"too much", "100.1%", percent, 1.0, "area/out-of-range"},
		{"nothing of a percent", `"%"`, percent, 1.0, "area/bad-percent"},
		{"not a number of percent", "nan%", percent, 1.0, "area/out-of-range"},
		{"size", "512MB", size, int64(512 << 20), ""},
		{"size with a blank", "2 GB", size, int64(2 << 30), ""},
		{"size too large", "9999999999TB", size, int64(1), "area/bad-size"},
		{"size without unit", "512", size, int64(1), "area/bad-size"},
		{"time of day", `"23:59"`, day, 1439, ""},
		{"24 o'clock", `"24:00"`, day, 0, "area/bad-time"},
		{"unquoted time of day", "09:30", day, 570, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, ids := read(t, c.text, c.read)
			require.Equal(t, c.want, got)
			if c.id == "" {
				require.Empty(t, ids)
			} else {
				require.Equal(t, []string{c.id}, ids)
			}
		})
	}
}

// A duration that is spelled out is known for what it is; months are none.
func TestDurationsInWords(t *testing.T) {
	for text, want := range map[string]string{
		"3 days": "3d", "1 day": "1d", "90min": "90m", "2 Hours": "2h", "10 sec": "10s", "1 week": "1w", "5hrs": "5h",
		"1 month": "", "3": "", "3 d": "", "days": "", "1.5 hours": "",
	} {
		t.Run(text, func(t *testing.T) {
			d := parse(t, "a: \""+text+"\"\n")
			r := yamlfile.NewReader("rule")
			require.Zero(t, r.Duration(d.Root.Get("a"), 0))
			require.Len(t, r.Findings(), 1)
			require.Equal(t, want, r.Findings()[0].Suggest)
			require.Equal(t, want == "", r.Findings()[0].Detail != "")
		})
	}
}

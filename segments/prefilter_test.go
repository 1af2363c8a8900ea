package segments

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Arithmetic that a prefilter takes over rounds as the VM's does, to the last bit.
func TestPrefilterRoundsAsTheVMDoes(t *testing.T) {
	schema := NewSchema(SchemaOptions{})
	said := 0
	rapid.Check(t, func(t *rapid.T) {
		text := `event("A").sum("p")`
		value := rapid.SampledFrom([]float64{0.1, 0.2, 0.3, 1.1, 3, 1e16, 0.7}).Draw(t, "sum")
		x := value
		for range rapid.IntRange(1, 3).Draw(t, "steps") {
			k := rapid.SampledFrom([]float64{0.1, 0.2, 0.3, 2, 3, 4, 1.1, 1e16}).Draw(t, "constant")
			switch rapid.SampledFrom([]string{"+", "-", "rsub", "*", "/"}).Draw(t, "operator") {
			case "+":
				text, x = fmt.Sprintf("(%s + %v)", text, k), x+k
			case "-":
				text, x = fmt.Sprintf("(%s - %v)", text, k), x-k
			case "rsub":
				text, x = fmt.Sprintf("(%v - %s)", k, text), k-x
			case "*":
				text, x = fmt.Sprintf("(%s * %v)", text, k), x*k
			case "/":
				text, x = fmt.Sprintf("(%s / %v)", text, k), x/k
			}
		}
		// The comparison is with the very value: one bit of difference turns it.
		w, problems := Compile(WhoSpec{When: fmt.Sprintf("%s == %v", text, x)}, schema)
		if HasErrors(problems) {
			t.Skip("not a literal") // 1e+300 and the like are written otherwise
		}
		c := &Candidate{Values: []any{value}}
		truth, err := w.Judge(now, c)
		if err != nil || truth != True {
			t.Fatalf("%s == %v: %v %v", text, x, truth, err)
		}
		if !w.Passes(now, c) {
			t.Fatalf("%s == %v does not pass %s", text, x, w.Prefilter())
		}
		if w.Prefilter().Op == PredEq {
			said++
		}
	})
	require.Greater(t, said, 5, "the prefilter says something")
}

func TestPrefilters(t *testing.T) {
	for _, c := range []struct{ when, want string }{
		{`event("A").count > 3`, `feature[0] > 3`},
		{`3 < event("A").count`, `feature[0] > 3`},
		{`event("A").last.ago > days(1)`, `feature[0].ago > 86400000`},
		{`now - event("A").last.at > days(1)`, `now:time > feature[0].at:time+8.64e+07`},
		{`event("A").last.at + days(1) < now`, `feature[0].at:time+8.64e+07 < now:time`},
		{`event("A").last.at > event("B").last.at`, `feature[0].at:time > feature[1].at:time`},
		{`not (event("A").count > 3 and local.hour == 9)`, `(feature[0] <= 3 or maybe)`},
		{`event("A").count > 3 and local.hour == 9`, `(feature[0] > 3 and maybe)`},
		{`local.hour == 9 or true`, `true`},
		{`user.traits.plan == "pro" and user.id != "x"`, `(user.traits.plan == "pro" and user.id:string != "x")`},
		{`event("A").last.properties.x in ["a", "b"]`, `feature[0].properties.x in ["a", "b"]`},
		{`event("A").last != nil`, `has(feature[0].at:time)`},
		{`did("A").since(event("B").last.at)`, `(has(feature[0].at:time) and has(feature[1].at:time) and feature[1].at:time > feature[0].at:time)`},
		{`any(event("A").list(3), .properties.x == 1)`, `maybe`},
		{`event("A").last.ago + days(1) > days(3)`, `maybe`},
		{`(event("A").sum("p") + 0.1) * 3 > 1`, `maybe`},
		{`event("A").sum("p") * 3 + 0.1 > 1`, `feature[0]*3+0.1 > 1`},
		{`event("A").sum("p") / 4 > 1`, `feature[0]*0.25 > 1`},
		{`event("A").sum("p") / 3 > 1`, `maybe`},
		{`(event("A").last.properties.x ?? 3) > 2`, `((has(feature[0].properties.x) and feature[0].properties.x > 2) or not has(feature[0].properties.x))`},
		{`event("A").last.ago > days(1) ? true : event("B").count > 1`, `(feature[0].ago > 86400000 or (feature[0].ago <= 86400000 and feature[1] > 1))`},
		{`false and event("A").count > 1`, `false`},
		{`near("stores/*", meters(150)).dwell >= minutes(5)`, `place[0].dwell >= 300000`},
		{`near("stores/*", meters(150)) and not inside("stores/*")`, `(place[0].now and not place[1].now)`},
		{`inside("stores/*").distance < meters(400)`, `place[0].distance < 400`},
		{`now - inside("stores/*").entered > minutes(5)`, `has(place[0].entered)`},
		{`near("stores/*", meters(150)).fence.properties.kind in ["a"]`, `place[0].fence.properties.kind in ["a"]`},
		{`near("stores/*", meters(150)).fence.id == nil`, `not has(place[0].fence.id)`},
	} {
		t.Run(c.when, func(t *testing.T) {
			w, problems := Compile(WhoSpec{When: c.when}, NewSchema(SchemaOptions{Fences: []string{"stores/1"}}))
			require.False(t, HasErrors(problems), "%v", problems)
			require.Equal(t, c.want, w.Prefilter().String())
		})
	}
}

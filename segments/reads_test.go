package segments

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// What Changes does not name can be anything: the answer is the same. Conditions with full looks too.
func TestChangesNameWhatIsRead(t *testing.T) {
	schema := instantsSchema()
	check(t, 600, func(t *rapid.T) {
		c := drawCondition(schema).Draw(t, "condition")
		changes := c.who.Changes()
		a := drawPerson().Draw(t, "person")
		b := &person{candidate: a.candidate}
		other := drawPerson().Draw(t, "another")
		for _, h := range a.history {
			if slices.ContainsFunc(changes.Sources, func(s ChangeSource) bool {
				return h.of(s.Event, s.Message, s.Keyed, s.Filter, a.candidate.Value)
			}) {
				b.history = append(b.history, h)
			}
		}
		profile := *a.candidate.Profile
		profile.Traits = map[string]json.RawMessage{}
		for _, name := range []string{"n", "t", "plan"} {
			from := other
			if slices.Contains(changes.Traits, name) {
				from = a
			}
			if v, ok := from.candidate.Profile.Traits[name]; ok {
				profile.Traits[name] = v
			}
		}
		if !changes.Created {
			profile.CreatedAt = other.candidate.Profile.CreatedAt
		}
		if !changes.Zone {
			profile.Zone = other.candidate.Profile.Zone
		}
		if !changes.UserID {
			profile.UserID = "another"
		}
		if !changes.Places {
			b.candidate.Places = other.candidate.Places
		}
		b.candidate.Profile = &profile
		for range 5 {
			at := now + rapid.Int64Range(-4*msDay, 9*msDay).Draw(t, "instant")
			want, err := c.who.Judge(at, a.at(c.who, at))
			require.NoError(t, err)
			got, err := c.who.Judge(at, b.at(c.who, at))
			require.NoError(t, err)
			require.Equal(t, want, got, "%s\n%s", c.source, toldChanges(changes, c.source))
		}
	})
}

// Of somebody without a row that it names a condition is true only if Anybody says so.
func TestAnybody(t *testing.T) {
	schema := instantsSchema()
	drawn, nobody := 0, 0
	check(t, 600, func(t *rapid.T) {
		c := drawCondition(schema).Draw(t, "condition")
		if c.who.ForEach() != nil {
			require.False(t, c.who.Changes().Anybody)
			return
		}
		drawn++
		if c.who.Changes().Anybody {
			return
		}
		nobody++
		p := drawPerson().Draw(t, "person")
		p.history, p.candidate.Places, p.candidate.Profile.Traits = nil, make([]Place, 2), nil
		for range 5 {
			at := now + rapid.Int64Range(-4*msDay, 9*msDay).Draw(t, "instant")
			got, err := c.who.Judge(at, p.at(c.who, at))
			require.NoError(t, err)
			require.NotEqual(t, True, got, c.source)
		}
	})
	t.Logf("of %d conditions %d are of nobody without a row", drawn, nobody)
	require.Greater(t, nobody, drawn/4, "it is said of nearly all")
}

package ticktest

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/engine"
	"nudge/engine/enginetest"
	"nudge/events"
	"nudge/segments"
	"nudge/segments/plan/ticktest"
)

var (
	flagRuns  = flag.Int("decisions.runs", 1, "how many pairs of engines are compared")
	flagSeed  = flag.Uint64("decisions.seed", 3, "seed of the first pair")
	flagCases = flag.Int("decisions.cases", 32, "cases of a pair")
)

const hours = 9 // at each of which rules are looked at

// everybody makes every look one at everybody.
type everybody struct{ engine.Planner }

// Tick is asked as if nothing had been answered before.
func (e everybody) Tick(ctx context.Context, q segments.Tick, fn func(*segments.Part) error) error {
	q.From = make([]segments.Baseline, len(q.Who))
	return e.Planner.Tick(ctx, q, fn)
}

const config = `
zone: Europe/Berlin
salt: test
channels:
  log: {adapter: stdout}
keys:
  - {name: web, write_key: key-of-the-web}
caps:
  - {name: few, max: 3, per: 4h, window: rolling, scope: all, at_cap: retry}
`

const fences = `{"type": "FeatureCollection", "features": [
  {"type": "Feature", "id": "1", "geometry": {"type": "Point", "coordinates": [0, 0]}},
  {"type": "Feature", "id": "2", "properties": {"radius": 400}, "geometry": {"type": "Point", "coordinates": [0, 0.01]}}]}`

// plan is the tracking plan of the cases.
func plan(p *ticktest.Pack) string {
	var b strings.Builder
	b.WriteString("events:\n")
	seen := map[string]bool{}
	for _, c := range p.Cases {
		for name, properties := range map[string]string{
			"§A": "{price: number, category: string, until: time}", "§B": "{}", "§C": "{}", "¤F": "{price: number, until: time}", "¤G": "{}",
		} {
			if name = c.Text(name); !seen[name] {
				seen[name] = true
				fmt.Fprintf(&b, "  %s: {properties: %s}\n", name, properties)
			}
		}
	}
	b.WriteString("traits:\n  timezone: string\n")
	for _, c := range p.Cases {
		b.WriteString(c.Text("  §due: time\n  §n: number\n  §plan: string\n  §vip: boolean\n  §tags: array\n  §g: number\n"))
	}
	return b.String()
}

// again are the ways in which somebody may enter, by what is drawn.
var again = []string{"never", "each_time", "each_time", "every_tick", "every_tick", "{after: 2h}", "{after: 3h}"}

// rule writes a rule of a case. What is drawn for it follows from the case's seed.
func rule(c *ticktest.Case, i int, r *ticktest.Rule, cond *ticktest.Cond) string {
	n := c.Seed/16 + uint64(i)*7
	out := fmt.Sprintf("rule: %s\nschedule: \"%d * * * *\"\nagain: %s\npriority: %d\nmessage: {log: {title: hello}}\ngoal: {event: %s, within: 3h}\n",
		c.Text(fmt.Sprintf("§r%d", i+1)), []int{0, 0, 0, 30}[n%4], again[n%uint64(len(again))], n%5*10, c.Text("§C"))
	if n%3 > 0 {
		out += "backfill: true\n"
	}
	if n%5 == 0 {
		out += "exit: {event: " + c.Text("§B") + "}\n"
	}
	if n%7 == 0 {
		out += "category: transactional\n"
	}
	if r.ForEach != "" {
		out += "for_each: " + quoted(c.Text(r.ForEach)) + "\n"
	}
	return out + "when: " + quoted(c.Text(cond.String())) + "\n"
}

func quoted(s string) string {
	raw, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(raw) // JSON is YAML
}

// files is the workspace of the cases.
func files(p *ticktest.Pack) map[string]string {
	out := map[string]string{"nudge.yaml": config, "events.yaml": plan(p), "fences/stores.geojson": fences}
	for _, c := range p.Cases {
		for name, when := range c.Segments {
			out["segments/"+c.Text(name)+".yaml"] = "segment: " + c.Text(name) + "\nwhen: " + quoted(c.Text(when)) + "\n"
		}
		for i, r := range c.Rules {
			out["rules/"+c.Text(fmt.Sprintf("§r%d", i+1))+".yaml"] = rule(c, i, r, r.When)
		}
		if len(c.Rules) == 1 { // messages of a second one may be asked for
			out["rules/"+c.Text("§r2")+".yaml"] = rule(c, 1, &ticktest.Rule{}, &ticktest.Cond{Text: `event("§A").last.ago < hours(2)`})
		}
	}
	return out
}

// arrival is a call as it comes in.
func arrival(c *ticktest.Case, call *ticktest.Call, n int, now int64) events.Event {
	anonymous := func(person int) string { return c.Text(fmt.Sprintf("§a%d", person)) }
	ev := events.Event{
		Kind: call.Kind, AnonymousID: anonymous(call.Person), Name: c.Text(call.Event), Time: call.Time, ReceivedAt: now,
		MessageID: fmt.Sprintf("%d-%d", c.Number, n), Source: "web", Raw: []byte(`{}`),
	}
	context, properties := map[string]any{}, map[string]any{}
	for name, v := range call.Props {
		if s, ok := v.(string); ok {
			v = c.Text(s)
		}
		properties[name] = v
	}
	if call.App != "" {
		context["app"] = call.App
	}
	if call.Zone != "" {
		context["timezone"] = call.Zone
	}
	if call.Fix != nil {
		properties["latitude"], properties["longitude"], properties["accuracy"] = call.Fix.Lat, call.Fix.Lon, call.Fix.Accuracy
	}
	ev.Properties, ev.Context = object(properties), object(context)
	switch {
	case call.Merges:
		ev.Kind, ev.Name, ev.PreviousID = events.KindAlias, "", anonymous(call.Loser)
	case call.Kind == events.KindIdentify || call.UserID != "":
		ev.Kind, ev.Name, ev.Properties = events.KindIdentify, "", nil
		traits := map[string]json.RawMessage{}
		for key, token := range call.Traits {
			traits[c.Text(key)] = json.RawMessage(token)
		}
		ev.UserID, ev.Traits = c.Text(call.UserID), object(traits)
	case call.Kind == events.KindDevice:
		ev.Name, ev.Properties = "", object(events.DeviceChange{Token: c.Text("§token"), Platform: "ios"})
	}
	return ev
}

func object(v any) json.RawMessage {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return raw
}

// decisions runs a workspace through the ticks and lists its ledger.
func decisions(t *testing.T, p *ticktest.Pack, between func(engine.Planner) engine.Planner) []string {
	t.Helper()
	w := enginetest.NewBetween(t, files(p), between)
	arrive := func(step int, now int64) {
		var evs []events.Event
		for _, c := range p.Cases {
			for n, call := range c.Calls {
				switch {
				case call.Step != step, call.Kind == events.KindErase, call.Kind == events.KindMessage: // the engine's own are enough
				default:
					evs = append(evs, arrival(c, call, n, now))
				}
			}
		}
		require.NoError(t, w.Feed(t.Context(), evs))
	}
	for step, at := range p.Ticks {
		w.To(at - enginetest.Minute - enginetest.Start())
		arrive(step, at-enginetest.Minute)
		edited := map[string]string{}
		for _, c := range p.Cases {
			for i, r := range c.Rules {
				if r.Edited == step && step > 0 {
					edited["rules/"+c.Text(fmt.Sprintf("§r%d", i+1))+".yaml"] = rule(c, i, r, r.Then)
				}
			}
		}
		if len(edited) > 0 {
			w.Write(edited)
			w.Reload()
		}
		if p.Restarts[step] && step%2 == 1 {
			w.Restart()
		}
	}
	w.To(p.Ticks[len(p.Ticks)-1] + 1 - enginetest.Start())
	return ledgerOf(t, w)
}

// ledgerOf lists the rows of the ledger with the names of people, for numbers depend on how what became of
// messages arrived.
func ledgerOf(t *testing.T, w *enginetest.World) []string {
	t.Helper()
	require.NoError(t, w.Flush(t.Context()))
	rows, err := w.Store.Conn().Query(t.Context(), `SELECT concat_ws(' | ', formatDateTime(d.at, '%H:%i'), d.rule, n.name, d.value, d.reason, if(d.reason = 'merged', '', d.by), toString(d.attempt),
			formatDateTime(d.entered, '%H:%i'), toString(d.open), toString(d.wait), toString(d.due), toString(d.expires), toString(d.since), toString(d.watch), d.features)
		FROM decisions AS d LEFT JOIN (SELECT person, min(id) AS name FROM identities WHERE kind = 'anonymous' GROUP BY person) AS n ON n.person = d.person
		ORDER BY d.at, d.rule, n.name, d.value, d.entered, d.attempt, d.reason`)
	require.NoError(t, err)
	defer rows.Close()
	var out []string
	for rows.Next() {
		var line string
		require.NoError(t, rows.Scan(&line))
		out = append(out, line)
	}
	require.NoError(t, rows.Err())
	return out
}

// difference is what the second list lacks.
func difference(of, in []string) []string {
	return slices.DeleteFunc(slices.Clone(of), func(line string) bool { return slices.Contains(in, line) })
}

// story is the rows of one rule, person and value.
func story(of []string, line string) string {
	about := func(line string) string { return strings.Join(strings.Split(line, " | ")[1:4], " | ") }
	var b strings.Builder
	for _, l := range of {
		if about(l) == about(line) {
			b.WriteString("  " + l + "\n")
		}
	}
	return b.String()
}

// The ledger of an engine that looks at who can have changed is row by row that of one which looks at
// everybody.
func TestDecisions(t *testing.T) {
	for run := range *flagRuns {
		seed := *flagSeed + uint64(run)
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			var ticks []int64
			for i := range int64(hours) {
				ticks = append(ticks, enginetest.Start()+(i+1)*enginetest.Hour)
			}
			p := ticktest.DrawAt(seed, ticks, ticktest.Shape{Cases: *flagCases})
			got := decisions(t, p, nil)
			want := decisions(t, p, func(of engine.Planner) engine.Planner { return everybody{of} })
			reasons := map[string]int{}
			for _, line := range want {
				reasons[strings.Split(line, " | ")[4]]++
			}
			t.Logf("%d rows: %v", len(want), reasons)
			require.Greater(t, len(want), *flagCases/2, "rules should decide something")
			if slices.Equal(got, want) {
				return
			}
			for _, line := range difference(want, got) {
				t.Errorf("missing: %s\nwhat one way has of it:\n%s\nand the other:\n%s", line, story(got, line), story(want, line))
			}
			for _, line := range difference(got, want) {
				t.Errorf("too many: %s", line)
			}
			dir := t.ArtifactDir()
			for name, text := range files(p) {
				path := filepath.Join(dir, name)
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
				require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
			}
			t.Logf("the workspace is in %s (with -artifacts); the cases are\n%s", dir, p)
		})
	}
}

package e2etest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/channels/channeltest"
)

const storesGeoJSON = `{"type": "FeatureCollection", "features": [
{"type": "Feature", "id": "dom", "properties": {"name": "Domplatte", "voucher": "DOM-10"}, "geometry": {"type": "Point", "coordinates": [6.9583, 50.9413]}},
{"type": "Feature", "id": "zoo", "properties": {"name": "Zoo", "voucher": "ZOO-10"}, "geometry": {"type": "Point", "coordinates": [6.9749, 50.9583]}}]}`

// TestNearAShop: fixes come over HTTP in both forms, and a stay sends what the fence says.
func TestNearAShop(t *testing.T) {
	t.Parallel()
	sent := &channeltest.Recorder{}
	p := start(t, map[string]string{
		"nudge.yaml":            "channels: {log: {adapter: stdout}}\nlocation: {max_age: 15m, accuracy: 100}\n",
		"fences/stores.geojson": storesGeoJSON,
		"rules/near.yaml": `
rule: near
schedule: "* * * * *"
when: near("stores/*", meters(200)).dwell >= minutes(5)
again: {after: 7d}
backfill: true
with:
  shop: near("stores/*", meters(200)).fence.properties.name
  voucher: near("stores/*", meters(200)).fence.properties.voucher
message: {log: {title: "{{ shop }}: {{ voucher }}"}}
`,
	}, sent)
	updated := func(user string, lat, lon, accuracy float64) {
		p.track(user, "Location Updated", map[string]any{"latitude": lat, "longitude": lon, "accuracy": accuracy})
	}
	beside := func(user string, lat, lon float64) {
		p.send("track", map[string]any{"userId": user, "event": "App Opened", "context": map[string]any{
			"location": map[string]any{"latitude": lat, "longitude": lon},
		}})
	}
	updated("ann", 50.9414, 6.9585, 10) // at the Dom
	beside("bob", 50.9584, 6.9750)      // at the zoo
	updated("cyd", 50.9414, 6.9585, 10) // passes by
	updated("dan", 50.9414, 6.9585, 900)
	p.becomes("4", "SELECT count() FROM fixes")
	p.clock.jump(3 * time.Minute)
	updated("ann", 50.9412, 6.9584, 10)
	beside("bob", 50.9583, 6.9748)
	updated("cyd", 50.9700, 6.9900, 10)
	updated("dan", 50.9414, 6.9585, 900)
	p.becomes("8", "SELECT count() FROM fixes")
	p.stored()
	p.clock.next(time.Minute)
	p.becomes("16", "SELECT count() FROM shard_log WHERE kind = 'looked'")
	require.Empty(t, sent.Accepted(), "nobody has stayed for five minutes")
	p.clock.jump(3 * time.Minute)
	updated("ann", 50.9413, 6.9584, 10)
	beside("bob", 50.9583, 6.9748)
	updated("dan", 50.9414, 6.9585, 900)
	p.becomes("11", "SELECT count() FROM fixes")
	p.stored()
	p.clock.next(time.Minute)
	p.eventually(func() bool { return len(sent.Accepted()) == 2 }, "both are told")
	require.ElementsMatch(t, []string{"ann: Domplatte: DOM-10", "bob: Zoo: ZOO-10"}, sentTo(sent))
	p.becomes("ann send, bob send", "%s", last("near"))
}

package e2etest_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// sdkFolder has the SDKs' lock file and the program that drives them.
const sdkFolder = "../../events/ingest/testdata/sdk"

// install installs the SDKs that are locked into a temporary folder.
func install(t *testing.T) string {
	t.Helper()
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Skip("npm is not installed: the SDKs of Segment and RudderStack are not tried")
	}
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", ".npmrc", "drive.cjs"} {
		data, err := os.ReadFile(filepath.Join(sdkFolder, name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	cmd := exec.CommandContext(t.Context(), npm, "ci", "--prefer-offline", "--no-audit", "--no-fund")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "npm ci: %s", out)
	return dir
}

// TestSDKsFillTheStore sends every call through real SDKs, changed in nothing but the host, and
// compares what ClickHouse has.
func TestSDKsFillTheStore(t *testing.T) {
	t.Parallel()
	dir := install(t)
	p := start(t, map[string]string{"nudge.yaml": "zone: UTC\n", "events.yaml": `
events:
  Order Completed: {properties: {revenue: decimal, note: string}}
  Product Viewed: {properties: {id: integer}}
`}, nil)
	for _, sdk := range []string{"segment-node", "rudder-gzip", "rudder-plain"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		cmd := exec.CommandContext(ctx, "node", "drive.cjs", sdk, "http://"+p.addr, publicKey)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		cancel()
		require.NoError(t, err, "%s: %s", sdk, out)
		t.Run(sdk, func(t *testing.T) { sdkRows(t, p, sdk) })
	}
	p.becomes("21", "SELECT count() FROM events")
	p.becomes("0", "SELECT count() FROM dead_letters")
	p.becomes("3", "SELECT count() FROM people")

	// An SDK that sends the same again changes nothing: the message id says so.
	again := p.rows("SELECT message_id, call FROM events WHERE user_id = 'segment-node' AND event = 'Order Completed'")[0]
	require.Equal(t, []string{"Order Completed", "19.99"},
		p.rows("SELECT JSONExtractString(call, 'event'), JSONExtractFloat(call, 'properties', 'revenue') FROM events WHERE message_id = '%s'", again[0])[0])
	p.ok("POST", "/v1/track", publicKey, fmt.Sprintf(`{"messageId": %q, "userId": "segment-node", "event": "Order Completed"}`, again[0]))
	p.ok("POST", "/v1/track", publicKey, `{"messageId": "after", "userId": "segment-node", "event": "After"}`)
	p.becomes("1", "SELECT count() FROM events WHERE event = 'After'")
	p.becomes("1", "SELECT count() FROM events WHERE user_id = 'segment-node' AND event = 'Order Completed'")
}

// sdkRows compares the rows of one SDK's seven calls with what drive.cjs sends.
func sdkRows(t *testing.T, p *place, sdk string) {
	t.Helper()
	q := *p
	q.t = t
	mine := fmt.Sprintf("(user_id = '%[1]s' OR anonymous_id = 'anon-%[1]s')", sdk)
	q.becomes("7", "SELECT count() FROM events WHERE %s", mine)
	require.Equal(t, "1,1,2,3,4,5,6", q.one("SELECT arrayStringConcat(arraySort(groupArray(toString(kind))), ',') FROM events WHERE %s", mine))
	require.Equal(t, "7", q.one("SELECT uniqExact(message_id) FROM events WHERE source = 'app' AND message_id != '' AND context LIKE '%%\"library\"%%' AND %s", mine))
	require.Equal(t, []string{"19.99", "say \"hi\" \u2028 😀", "a"}, q.rows(
		"SELECT nums['revenue'], strs['note'], JSONExtractString(properties, 'items', 1, 'sku') FROM events WHERE event = 'Order Completed' AND %s", mine)[0])
	viewed := q.rows("SELECT user_id, anonymous_id, toInt64(nums['id']), abs(dateDiff('second', time, toDateTime64('2025-11-01 10:00:00.123', 3, 'UTC'))) <= 5 FROM events WHERE event = 'Product Viewed' AND %s", mine)[0]
	require.Equal(t, []string{"", "anon-" + sdk, "9007199254740991", "1"}, viewed)
	require.Equal(t, []string{"Start", "https://shop.example/start"}, q.rows("SELECT strs['name'], strs['url'] FROM events WHERE event = 'Page Viewed' AND %s", mine)[0])
	require.Equal(t, []string{"Cart", "2"}, q.rows("SELECT strs['name'], nums['items'] FROM events WHERE event = 'Screen Viewed' AND %s", mine)[0])

	// identify's traits; the group's are not the person's.
	person := q.one("SELECT person FROM people WHERE user_id = '%s'", sdk)
	require.Equal(t, [][]string{{"logins", "3"}, {"plan", `"pro"`}, {"é", `"ü"`}}, q.rows("SELECT key, value FROM traits_current WHERE person = %s ORDER BY key", person))
	// alias makes the anonymous visitor the user, for the past too. (An SDK may send its batches at
	// once: then the alias may be first, and there is nobody to merge.)
	require.Equal(t, person, q.one("SELECT if(m.winner = 0, i.person, m.winner) FROM identities AS i LEFT JOIN person_map AS m ON m.loser = i.person WHERE i.kind = 'anonymous' AND i.id = 'anon-%s' ORDER BY i.pos DESC LIMIT 1", sdk))
	require.Equal(t, person, q.one("SELECT if(m.winner = 0, e.person, m.winner) FROM events AS e LEFT JOIN person_map AS m ON m.loser = e.person WHERE e.event = 'Product Viewed' AND e.anonymous_id = 'anon-%s'", sdk))
}

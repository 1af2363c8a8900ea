package all_test

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"

	"nudge/channels"
	"nudge/channels/all"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write docs/channels.md anew")

func TestSetHasEveryFolder(t *testing.T) {
	set, err := all.Set()
	require.NoError(t, err)
	var names []string
	for _, spec := range set.List() {
		folder, _, _ := strings.Cut(spec.Name, "_") // sns_push is one of sns's
		if len(names) == 0 || names[len(names)-1] != folder {
			names = append(names, folder)
		}
	}
	entries, err := os.ReadDir("..")
	require.NoError(t, err)
	var want []string
	for _, entry := range entries {
		switch entry.Name() {
		case "all", "channeltest", "h2", "rest", "sms": // not adapters
		default:
			if entry.IsDir() {
				want = append(want, entry.Name())
			}
		}
	}
	require.Equal(t, want, names)
}

func TestOnePushServesEveryPlatform(t *testing.T) {
	set, err := all.Set()
	require.NoError(t, err)
	served := map[string][]string{}
	for _, spec := range set.List() {
		for _, platform := range spec.Platforms {
			served[platform] = append(served[platform], spec.Name)
		}
	}
	require.Equal(t, map[string][]string{
		"ios": {"airship", "apns", "parse", "sns_push"}, "android": {"airship", "fcm", "parse", "sns_push"}, "web": {"airship", "fcm", "parse", "webpush"},
	}, served)
	for token, want := range map[string][]string{
		"fGx:APA91bFjU7L9Vs09": {"fcm", "parse"}, "eyJlbmRwb2ludCI6Imh0dHBzOi8vIn0": {"parse", "webpush"}, "9c36e8c7-5a73-47c0-9716-99fd3d4197d5": {"airship", "fcm", "parse"},
	} {
		var takers []string
		for _, name := range served["web"] {
			spec, _ := set.Get(name)
			if spec.Takes == nil || spec.Takes(token) {
				takers = append(takers, name)
			}
		}
		require.Equal(t, want, takers, "of several that serve browsers the token's form decides, and else which a channel names first")
	}
	require.NoError(t, set.CheckMessage("push", map[string]any{
		"title": "Still thinking about {{ product }}?", "body": "x", "link": "https://shop.example/cart", "ttl": "4h",
		"actions": []any{map[string]any{"id": "buy", "title": "Buy now"}}, "category": "CART", "channel_id": "offers",
	}).Err())
	require.EqualError(t, set.CheckMessage("push", map[string]any{"titel": "x"}).Err(), "titel is not a field: did you mean title?")
}

func TestDocs(t *testing.T) {
	const path = "../../docs/channels.md"
	set, err := all.Set()
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, channels.WriteDocs(&out, set))
	if *update {
		require.NoError(t, os.WriteFile(path, out.Bytes(), 0o644))
	}
	have, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(have), out.String(), "docs/channels.md is out of date: go test ./channels/all -update")
}

package clickhouse_test

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/events/clickhouse/clickhousetest"
)

func TestViews(t *testing.T) {
	s := clickhousetest.New(t)
	for _, c := range []struct {
		name  string
		rows  []string // of INSERT INTO … VALUES
		query string
		want  string
	}{
		{
			"person_map: chains, in whatever order they came about",
			[]string{"merges (loser, winner, pos) VALUES (1, 2, 10), (2, 3, 20), (4, 3, 5), (5, 1, 1), (1, 2, 10)"},
			"SELECT loser, winner FROM person_map ORDER BY loser",
			"1 3, 2 3, 4 3, 5 3",
		},
		{
			"person_map: nobody was merged",
			nil,
			"SELECT * FROM person_map",
			"",
		},
		{
			"person_paths: since when",
			[]string{"merges (loser, winner, pos) VALUES (1, 2, 10), (2, 3, 20), (4, 5, 7), (5, 1, 8)"},
			"SELECT person, ancestor, since FROM person_paths ORDER BY person, ancestor",
			"1 2 10, 1 3 20, 2 3 20, 4 1 8, 4 2 10, 4 3 20, 4 5 7, 5 1 8, 5 2 10, 5 3 20",
		},
		{
			"people: newest ids, first time, merged",
			[]string{
				"identities (kind, id, person, pos, time) VALUES ('anonymous', 'a1', 1, 1, 1), ('user', 'u', 2, 2, 2), ('anonymous', 'a2', 2, 3, 3), ('anonymous', 'b', 9, 4, 4)",
				"merges (loser, winner, pos) VALUES (1, 2, 5)",
			},
			"SELECT person, toUnixTimestamp64Milli(created_at), user_id, anonymous_id FROM people ORDER BY person",
			"2 1 u a2, 9 4  b",
		},
		{
			"traits: last in event time wins, position breaks ties, null removes, merged",
			[]string{
				"traits (person, key, value, num, str, time, pos) VALUES (1, 'plan', '\"gold\"', NULL, 'gold', 9, 1), (1, 'plan', '\"free\"', NULL, 'free', 5, 2), (1, 'age', '3', 3, NULL, 1, 3), (1, 'age', '4', 4, NULL, 1, 4), (1, 'gone', '1', 1, NULL, 1, 5), (1, 'gone', 'null', NULL, NULL, 2, 6), (7, 'age', '5', 5, NULL, 6, 7)",
				"merges (loser, winner, pos) VALUES (1, 7, 8)",
			},
			"SELECT person, key, value, num, str FROM traits_current ORDER BY person, key",
			`7 age 5 5 NULL, 7 plan "gold" NULL gold`,
		},
		{
			"devices: the last to identify has the token; removed is gone; back again is there",
			[]string{
				"devices (person, token, platform, last_seen, removed, time, pos) VALUES (1, 't', 'ios', 5, false, 5, 1), (2, 't', 'ios', 6, false, 6, 2), (1, 'r', 'web', 1, false, 1, 3), (1, 'r', '', 1, true, 2, 4), (1, 'b', 'web', 1, true, 1, 5), (1, 'b', 'web', 3, false, 3, 6)",
				"merges (loser, winner, pos) VALUES (2, 3, 9)",
			},
			"SELECT person, token, platform, toUnixTimestamp64Milli(last_seen) FROM devices_current ORDER BY token",
			"1 b web 3, 3 t ios 6",
		},
		{
			"consents: the last word, by channel and category",
			[]string{"consents (person, channel, category, granted, time, pos) VALUES (1, '', '', true, 1, 1), (1, '', '', false, 2, 2), (1, 'push', '', true, 3, 3)"},
			"SELECT person, channel, granted FROM consents_current ORDER BY channel",
			"1  false, 1 push true",
		},
		{
			"consents: at a merge opt-out wins",
			[]string{
				"consents (person, channel, category, granted, time, pos) VALUES (1, '', '', false, 1, 1), (2, '', '', true, 2, 2), (3, '', '', true, 1, 3), (4, '', '', true, 1, 4)",
				"merges (loser, winner, pos) VALUES (1, 2, 5), (3, 4, 6)",
			},
			"SELECT person, granted FROM consents_current ORDER BY person",
			"2 false, 4 true",
		},
		{
			"consents: what the united person says afterwards stands",
			[]string{
				"consents (person, channel, category, granted, time, pos) VALUES (1, '', '', false, 1, 1), (2, '', '', true, 2, 9)",
				"merges (loser, winner, pos) VALUES (1, 2, 5)",
			},
			"SELECT person, granted FROM consents_current",
			"2 true",
		},
		{
			"consents: and is itself one of those merged later",
			[]string{
				// 1 opts out, is merged into 2, which opts in; 2 is merged into 3, which had opted in.
				"consents (person, channel, category, granted, time, pos) VALUES (1, '', '', false, 1, 1), (2, '', '', true, 2, 9), (3, '', '', true, 3, 10)",
				"merges (loser, winner, pos) VALUES (1, 2, 5), (2, 3, 20)",
			},
			"SELECT person, granted FROM consents_current",
			"3 true",
		},
		{
			"ledger: the last row of each entry",
			[]string{"decisions (entry, reason, at, seq, `index`) VALUES ('a', 'quiet_hours', 1, 1, 0), ('a', 'send', 2, 2, 1), ('b', 'frequency_cap', 2, 2, 1), ('b', 'expired', 2, 2, 2), ('a', 'send', 2, 2, 1)"},
			"SELECT entry, reason FROM ledger ORDER BY entry",
			"a send, b expired",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, table := range []string{"identities", "merges", "traits", "devices", "consents", "decisions"} {
				require.NoError(t, s.Conn().Exec(context.Background(), "TRUNCATE TABLE "+table))
			}
			for _, values := range c.rows {
				require.NoError(t, s.Conn().Exec(context.Background(), "INSERT INTO "+values))
			}
			var out bytes.Buffer
			require.NoError(t, s.SQL(context.Background(), c.query, &out, "tsv"))
			lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")[1:]
			got := strings.ReplaceAll(strings.Join(lines, ", "), "\t", " ")
			require.Equal(t, c.want, strings.ReplaceAll(got, `\N`, "NULL"))
		})
	}
}

// A repeated insert of rows that are there, as after an ambiguous failure, is seen by no view.
func TestViewsAfterRepeatedInserts(t *testing.T) {
	s := clickhousetest.New(t)
	ctx := context.Background()
	inserts := []string{
		"identities (kind, id, person, pos, time) VALUES ('user', 'u', 2, 2, 2)",
		"merges (loser, winner, pos) VALUES (1, 2, 5), (3, 1, 4)",
		"traits (person, key, value, num, time, pos) VALUES (1, 'age', '4', 4, 1, 4)",
		"devices (person, token, time, pos) VALUES (1, 't', 5, 1)",
		"consents (person, granted, time, pos) VALUES (1, false, 1, 1), (2, true, 2, 2)",
		"decisions (entry, reason, at, seq, `index`) VALUES ('a', 'send', 2, 2, 1)",
	}
	seen := func() string {
		var out bytes.Buffer
		for _, view := range []string{"people", "person_map", "person_paths", "traits_current", "devices_current", "consents_current", "ledger"} {
			require.NoError(t, s.SQL(ctx, "SELECT * FROM "+view+" ORDER BY ALL", &out, "csv"))
		}
		return out.String()
	}
	var once string
	for i := range 2 {
		for _, values := range inserts {
			require.NoError(t, s.Conn().Exec(ctx, "INSERT INTO "+values))
		}
		if i == 0 {
			once = seen()
		}
		require.Equal(t, once, seen())
	}
}

func BenchmarkPersonMap(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			s := clickhousetest.New(b)
			ctx := context.Background()
			require.NoError(b, s.Conn().Exec(ctx, fmt.Sprintf("INSERT INTO merges (loser, winner, pos) SELECT number * 3 + 1, if(number %% 10 = 0, (number + 1) * 3 + 1, number * 3), number FROM numbers(%d)", n)))
			for b.Loop() {
				var count uint64
				require.NoError(b, s.Conn().QueryRow(ctx, "SELECT count() FROM person_map").Scan(&count))
				require.EqualValues(b, n, count)
			}
		})
	}
}

package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"nudge/events"
	"nudge/events/clickhouse"
)

// The shop that bench ticks fills the store for. Arrival i is a function of i alone, so the store
// fills itself from numbers(), in slices, and goes on with the arrivals of a tick in the same way.
//
// Six people in ten were there before the ninety days; of the others each is named first by an arrival
// of its own, and has the position of that as id; the arrival after it is the identify call. Arrivals belong to visits: the steps of some hundred
// visits are interleaved, so that those of one are a minute and a half apart. Two visits in three are of
// people who were there before, a few of them much oftener than most, the others of newcomers, most
// often of recent ones. Seven in a hundred visits end in an order, fifteen in a cart.
const (
	tickHistory = 90 * 24 * time.Hour
	newcomer    = 25   // each how-many-th arrival is the first of somebody
	perMessage  = 100  // events in a message of the stream
	stepApart   = 90   // seconds between the steps of a visit
	mergeEach   = 50   // each how-many-th newcomer turns out to be somebody known
	mergeLater  = 5003 // so many arrivals after the first
	fixEach     = 50   // each how-many-th arrival comes with a fix of somebody; one in so many walks about
	walkSteps   = 6    // fixes of a walk
	walkApart   = 180  // seconds between them
	fillSlice   = 2_000_000
)

// shop is the size of the data and how far it has come.
type shop struct {
	Events int64 `json:"events"` // of the ninety days
	From   int64 `json:"from"`   // when they begin, Unix ms
	Next   int64 `json:"next"`   // arrival
	At     int64 `json:"at"`     // when it comes at the earliest, Unix ms

	people, old int64 // at the end of the ninety days; before them
	origin      int64 // arrival with which this run's ticks began
}

// sized is a shop of a size; one that goes on is read from a file instead.
func sized(n int64, now time.Time) shop {
	at := now.UTC().Truncate(time.Minute)
	s := shop{Events: n, Next: n, From: at.Add(-tickHistory).UnixMilli(), At: at.UnixMilli()}
	return s.begun()
}

// begun works out what follows from the rest, at the beginning of a run.
func (s shop) begun() shop {
	s.people = s.Events / 10
	s.old, s.origin = s.people*6/10, s.Next
	return s
}

// upTo is the end of the message of the last arrival.
func (s *shop) upTo() events.Position {
	return events.EndOf(uint64(s.old + 1000 + (s.Next-1)/perMessage))
}

// stretch is a run of arrivals: those of the ninety days, or of one tick.
type stretch struct {
	first, n int64  // arrivals
	at       string // SQL: when arrival i came, Unix ms
	origin   int64  // where visits began to be counted in this way
	beside   int64  // visits that are interleaved
}

// past is the history.
func (s *shop) past() stretch {
	seconds := tickHistory.Seconds()
	return stretch{
		n: s.Events, beside: max(1, int64(float64(s.Events)*stepApart/seconds)),
		// A day has its night: the share of the day that has gone runs ahead of the share of its events and
		// falls behind. Ticks begin where events are as many as on average.
		at: fmt.Sprintf("%d + toInt64((i * %[2]d / %[3]d + 0.1114 * (sin(6.283185307 * (i * %[2]d / %[3]d - 0.25)) + 1)) * 86400000)",
			s.From, int64(tickHistory/(24*time.Hour)), s.Events),
	}
}

// tick is what arrives in the next tick.
func (s *shop) tick(n int64, period time.Duration) stretch {
	return stretch{
		first: s.Next, n: n, origin: s.origin,
		beside: max(1, int64(float64(n)*stepApart/period.Seconds())),
		at:     fmt.Sprintf("%d + intDiv((i - %d) * %d, %d)", s.At, s.Next, period.Milliseconds(), n),
	}
}

// pass goes on to the end of a tick.
func (s *shop) pass(n int64, period time.Duration) {
	s.Next, s.At = s.Next+n, s.At+period.Milliseconds()
}

// words are what the names in the SQL below stand for.
func (s *shop) words(source string, x stretch) []string {
	n := func(v int64) string { return strconv.FormatInt(v, 10) }
	k0, k1 := s.old+(x.first+newcomer-1)/newcomer, s.old+(x.first+x.n+newcomer-1)/newcomer
	if x.first == 0 {
		k0 = 0 // those who were there before, too
	}
	return []string{
		"$arrivals", arrivalsSQL, "$people", peopleSQL, "$source", source,
		"$all", "numbers($first, $n)",
		"$identified", "(SELECT number FROM numbers($first, $n) WHERE cityHash64(number, 3) % 1000 < 12)",
		"$merges", "(SELECT number FROM numbers($first, $n) WHERE number % $mergeCycle = $mergeAt AND number > $mergeLater)",
		"$position", "bitShiftLeft(toUInt64($base + intDiv(i, $each)), 16) + i % $each",
		"$person", "if(k < $old, bitShiftLeft(k + 1, 16), bitShiftLeft(toUInt64($base + intDiv((k - $old) * $new, $each)), 16) + ((k - $old) * $new) % $each)",
		"$ms", "fromUnixTimestamp64Milli",
		"$at", x.at, "$first", n(x.first), "$n,", n(x.n) + ",", "$n)", n(x.n) + ")", "$origin", n(x.origin), "$beside", n(x.beside),
		"$walks", n(max(1, x.beside*walkApart/stepApart/fixEach)), "$walkers", n(max(1, s.old/fixEach)), "$fixEach", n(fixEach), "$steps", n(walkSteps),
		"$old", n(s.old), "$newcomers", n(k1 - k0), "$k0", n(k0), "$new", n(newcomer), "$born", n(s.From),
		"$mergeEach", n(mergeEach), "$mergeLater", n(mergeLater), "$mergeCycle", n(mergeEach * newcomer), "$mergeAt", n((mergeLater + 7*newcomer) % (mergeEach * newcomer)),
		"$base", n(s.old + 1000), "$each", n(perMessage),
		"$storesLat", ftoa(storesLat), "$storesLon", ftoa(storesLon), "$eachLat", ftoa(eachLat), "$eachLon", ftoa(eachLon), "$stores", n(tickStores), "$storeStep", n(storesStep),
	}
}

func ftoa(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// sql fills in the names, those inside of others too: none is more than a few deep.
func (s *shop) sql(source, text string, x stretch) string {
	r := strings.NewReplacer(longestFirst(s.words(source, x))...)
	for range 8 {
		text = r.Replace(text)
	}
	return text
}

// longestFirst orders pairs so that no name is taken for a longer one that begins with it.
func longestFirst(pairs []string) []string {
	type pair struct{ name, value string }
	var ps []pair
	for i := 0; i < len(pairs); i += 2 {
		ps = append(ps, pair{pairs[i], pairs[i+1]})
	}
	slices.SortFunc(ps, func(a, b pair) int { return len(b.name) - len(a.name) })
	var out []string
	for _, p := range ps {
		out = append(out, p.name, p.value)
	}
	return out
}

// arrivalsSQL are arrivals with who, when, where in the stream, and what: i the arrival, at when it came, t
// when it happened, k the number of the person, step of the visit, what the kind of visit, cart of the week.
const arrivalsSQL = `SELECT *,
	cityHash64(visit, intDiv(step, 3)) % 20000 AS product,
	['Shoes', 'Coffee', 'Games', 'Clothing', 'Kitchen', 'Home', 'Sports', 'Garden', 'Books', 'Toys', 'Beauty', 'Music'][product % 12 + 1] AS category,
	(product * 37 % 19900 + 100) / 100 AS price,
	lower(hex(cityHash64(k, intDiv(at, 604800000)))) AS cart,
	if(k % 10 < 7, concat('u', toString(k)), '') AS uid, concat('a', toString(known)) AS aid,
	at - multiIf(lag < 970, toInt64(200 + share * 5), lag < 990, toInt64(share * 3600), lag < 999, toInt64(share * 172800), -toInt64(share * 600)) AS t,
	multiIf(merging OR telling OR (NOT arriving AND chance < 12), '', arriving, if(k % 2 = 0, 'Signed Up', 'Page Viewed'), chance < 32, 'Message Sent', chance < 36, 'Message Opened',
		what < 70, ['Product Viewed', 'Product Added', 'Checkout Started', 'Order Completed', 'Page Viewed'][step + 1],
		what < 220, ['Product Viewed', 'Product Viewed', 'Product Added', 'Product Viewed', 'Cart Viewed'][step + 1],
		['Product Viewed', 'Product Viewed', 'Product List Viewed', 'Product Viewed', 'Page Viewed'][step + 1]) AS name
FROM (SELECT *, $person AS person FROM (SELECT *,
	known >= $old AND (known - $old) % $mergeEach = 7 AND i >= (known - $old) * $new + $mergeLater AS merged,
	if(merged, (known * 7919) % $old, known) AS k
FROM (SELECT *,
	if(merging, toUInt64($old + intDiv(i - $mergeLater, $new)), multiIf(arriving OR telling, toUInt64($old + intDiv(i, $new)),
		intDiv(visit, 1000003) % 100 < 65, toUInt64($old * pow(0.03 + 0.97 * u, 2)) * 2654435761 % $old,
		toUInt64($old + fresh - toUInt64(fresh * u * u)))) AS known
FROM (SELECT *, (visit % 1000003) / 1000003 AS u, intDiv(visit, 100000007) % 1000 AS what
FROM (SELECT *, cityHash64(pair, step < pair % 5) AS visit, toUInt64(intDiv($origin + block * 5 * $beside, $new)) AS fresh
FROM (SELECT *, cityHash64($origin, block, (i - $origin) % $beside) AS pair, $position AS pos, dice % 1000 AS chance, intDiv(dice, 1000) % 1000 AS lag, intDiv(dice, 1000000) % 1000 AS share
FROM (SELECT number AS i, $at AS at, cityHash64(number, 3) AS dice, i % $new = 0 AS arriving, i % $new = 1 AS telling, i % $mergeCycle = $mergeAt AND i > $mergeLater AS merging,
	intDiv(i - $origin, 5 * $beside) AS block, intDiv(i - $origin, $beside) % 5 AS step
FROM $source)))))))`

const eventsSQL = `INSERT INTO events (person, time, pos, kind, event, source, user_id, anonymous_id, message_id, received_at, flags, violations, strs, nums, bools, bigs, properties, context, raw)
SELECT person, $ms(t, 'UTC'), pos,
	multiIf(name = '', 2, name = 'Page Viewed', 3, startsWith(name, 'Message'), 7, 1), name, 'web', uid, aid, concat('ajs-', lower(hex(cityHash64(i, 9)))),
	$ms(at, 'UTC'), 0, [],
	multiIf(
		name = 'Order Completed', map('order_id', lower(hex(dice)), 'cart_id', cart, 'category', category, 'currency', 'EUR'),
		name IN ('Product Added', 'Checkout Started', 'Cart Viewed'), map('product_id', toString(product), 'sku', concat('G-', toString(product)), 'category', category, 'brand', concat('Brand ', toString(product % 300)), 'cart_id', cart),
		startsWith(name, 'Product'), map('product_id', toString(product), 'sku', concat('G-', toString(product)), 'category', category, 'brand', concat('Brand ', toString(product % 300))),
		startsWith(name, 'Message'), map('rule', ['win-back', 'cart-abandoned', 'welcome'][dice % 3 + 1], 'entry', lower(hex(dice)), 'channel', 'push', 'category', 'promotional'),
		name = 'Page Viewed', map('name', concat('page ', toString(product % 50)), 'path', concat('/p/', toString(product % 50))),
		name = 'Signed Up', map('plan', 'free'),
		CAST(map(), 'Map(String, String)')) AS texts,
	multiIf(
		name = 'Order Completed', map('revenue', price + share / 10, 'items', toFloat64(1 + share % 4)),
		name IN ('Product Added', 'Checkout Started', 'Cart Viewed'), map('price', price, 'quantity', toFloat64(1 + share % 2)),
		startsWith(name, 'Product'), map('price', price),
		CAST(map(), 'Map(String, Float64)')) AS numbers,
	map(), map(),
	concat('{', arrayStringConcat(arrayConcat(
		arrayMap((a, b) -> concat('"', a, '":"', b, '"'), mapKeys(texts), mapValues(texts)),
		arrayMap((a, b) -> concat('"', a, '":', toString(b)), mapKeys(numbers), mapValues(numbers))), ','), '}'),
	concat('{"page":{"path":"/p/', toString(product), '","referrer":"https://www.example.com/","url":"https://www.example.com/p/', toString(product),
		'"},"userAgent":"', ['Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15', 'Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36', 'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36'][k % 3 + 1],
		'","locale":"', ['de-DE', 'en-GB', 'es-ES'][k % 3 + 1], '","library":{"name":"analytics.js","version":"2.11.1"}}'),
	''
FROM ($arrivals)`

// peopleSQL are the people whom a run of arrivals is the first to name.
const peopleSQL = `SELECT number AS k, $person AS person, cityHash64(k, 5) AS dice, (k - $old) * $new + 1 AS i, if(k < $old, person, $position) AS told,
	if(k < $old, $born - 86400000 - toInt64(dice % 20000000000), $at) AS t,
	k % 10 < 7 AS user
FROM numbers($k0, $newcomers)`

// fillSQL fills the other tables: what identify calls say (how somebody stands, how soon they need
// more), merges, what is known of people from the first, and where they walk, half of them to a shop.
var fillSQL = []struct{ source, text string }{
	{"$identified", `INSERT INTO traits (person, key, value, num, str, time, pos)
SELECT person, if(dice % 2 = 0, 'tier', 'replenish_days') AS trait, if(trait = 'tier', concat('"', tier, '"'), toString(days)),
	if(trait = 'tier', NULL, toFloat64(days)), if(trait = 'tier', tier, NULL), $ms(t, 'UTC'), pos
FROM (SELECT *, ['gold', 'silver', 'bronze'][share % 3 + 1] AS tier, 20 + share % 40 AS days FROM ($arrivals) WHERE name = '' AND NOT merging AND NOT telling)`},
	{"$merges", `INSERT INTO merges (loser, winner, pos, time)
SELECT bitShiftLeft(toUInt64($base + intDiv((known - $old) * $new, $each)), 16) + ((known - $old) * $new) % $each, person, pos, $ms(at, 'UTC')
FROM ($arrivals) WHERE merging`},
	{"", `INSERT INTO identities (kind, id, person, pos, time)
SELECT kinds, concat(if(kinds = 'user', 'u', 'a'), toString(k)), person, person, $ms(t, 'UTC')
FROM ($people) ARRAY JOIN if(user, ['user', 'anonymous'], ['anonymous']) AS kinds`},
	{"", `INSERT INTO traits (person, key, value, num, str, time, pos)
SELECT person, trait, if(trait = 'replenish_days', toString(days), concat('"', said, '"')), if(trait = 'replenish_days', toFloat64(days), NULL), if(trait = 'replenish_days', NULL, said), $ms(t, 'UTC'), told
FROM (SELECT person, t, told, arrayJoin(arrayFilter(x -> x != '', [if(user, 'email', ''), if(k % 5 = 0, 'tier', ''), if(k % 20 = 3, 'replenish_days', ''), if(k % 50 = 9, 'renews_on', '')])) AS trait,
	20 + dice % 40 AS days,
	multiIf(trait = 'email', concat('u', toString(k), '@example.com'), trait = 'tier', ['gold', 'silver', 'bronze'][dice % 3 + 1],
		formatDateTime($ms($born + toInt64(dice % 15552000000), 'UTC'), '%Y-%m-%dT%H:%i:%SZ')) AS said
FROM ($people))`},
	{"", `INSERT INTO devices (person, token, platform, app, environment, last_seen, removed, reason, time, pos)
SELECT person, lower(hex(cityHash64(k, 6))), if(k % 3 = 0, 'ios', 'android'), 'shop', 'production', $ms(t, 'UTC') AS seen, false, '', seen, person
FROM ($people) WHERE k % 2 = 0`},
	{"", `INSERT INTO zones (person, zone, time, pos)
SELECT person, ['Europe/Berlin', 'Europe/London', 'Europe/Madrid', 'Europe/Warsaw'][k % 4 + 1], $ms(t, 'UTC'), person
FROM ($people) WHERE k % 5 = 0`},
	{"", `INSERT INTO fixes (person, time, pos, lat, lon, accuracy)
SELECT person, $ms(at, 'UTC'), $position,
	$storesLat + shop * $eachLat + if(strays, 0.05, if(step < 1, 0.006, 0.0002)) * (1 + walk % 7 / 10),
	$storesLon + shop * $storeStep % $stores * $eachLon + walk % 11 / 50000, 10 + walk % 20
FROM (SELECT number * $fixEach + 11 AS i, $at AS at, intDiv(i - $origin, $fixEach) AS j, intDiv(j, $walks) % $steps AS step,
	cityHash64($origin, intDiv(j, $walks * $steps), j % $walks) AS walk, walk % 2 = 1 AS strays, intDiv(walk, 1000) % $stores AS shop,
	intDiv(walk, 1000003) % $walkers * $fixEach AS k, $person AS person
FROM numbers(intDiv($first, $fixEach), intDiv($n, $fixEach)))`},
}

// fill writes arrivals, all tables of them.
func (s *shop) fill(ctx context.Context, store *clickhouse.Store, x stretch, said func(done int64)) error {
	exec := func(source, text string, x stretch) error {
		sql := s.sql(source, text, x)
		if err := store.Conn().Exec(ctx, sql+" SETTINGS max_insert_threads = 1, min_insert_block_size_rows = 1000000"); err != nil {
			return fmt.Errorf("fill the store: %w: %s", err, sql)
		}
		return nil
	}
	for done := int64(0); done < x.n; done += fillSlice {
		slice := x
		slice.first, slice.n = x.first+done, min(fillSlice, x.n-done)
		if err := exec("$all", eventsSQL, slice); err != nil {
			return err
		}
		if said != nil {
			said(done + slice.n)
		}
	}
	for _, f := range fillSQL {
		if err := exec(f.source, f.text, x); err != nil {
			return err
		}
	}
	return nil
}

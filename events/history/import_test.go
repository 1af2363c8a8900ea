package history

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"

	"nudge/events"
	"nudge/events/clickhouse/clickhousetest"
	"nudge/events/ingest"
	"nudge/events/queue"
	"nudge/events/writer"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return noon }

// kept is an Appender that keeps the events; it refuses the first appends as busy and may fail.
type kept struct {
	events []events.Event
	sizes  []int
	busy   int
	fail   error
	after  int // appends before fail
}

func (k *kept) Append(_ context.Context, evs []events.Event) (uint64, error) {
	if k.busy > 0 {
		k.busy--
		return 0, fmt.Errorf("full: %w", queue.ErrBacklog)
	}
	if k.fail != nil && len(k.sizes) >= k.after {
		return 0, k.fail
	}
	k.events = append(k.events, evs...)
	k.sizes = append(k.sizes, len(evs))
	return uint64(len(k.sizes)), nil
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func mapping(t *testing.T, yaml string) *Mapping {
	t.Helper()
	m, err := ParseMapping("map.yaml", []byte(yaml))
	require.NoError(t, err)
	return m
}

// lines shows events as "kind name user anonymous time properties traits context".
func lines(evs []events.Event) []string {
	out := []string{}
	for _, ev := range evs {
		at := time.UnixMilli(ev.Time).UTC().Format("2006-01-02T15:04:05.000")
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s u=%s a=%s %s %s %s %s",
			ev.Kind, ev.Name, ev.UserID, ev.AnonymousID, at, ev.Properties, ev.Traits, ev.Context)))
	}
	return out
}

func importAll(t *testing.T, path, yaml string) ([]events.Event, Result, string) {
	t.Helper()
	k := &kept{}
	var rejects bytes.Buffer
	res, err := Import(t.Context(), Options{File: path, Mapping: mapping(t, yaml), Appender: k, Now: clock, Rejects: &rejects})
	require.NoError(t, err)
	require.EqualValues(t, len(k.events), res.Events)
	return k.events, res, rejects.String()
}

func TestImport(t *testing.T) {
	const head = "source: shop\ntime: {column: at}\nuser_id: {column: user}\n"
	tests := map[string]struct {
		name, file, mapping string
		want                []string
		rejects             []string // "line: reason" prefixes
	}{
		"constants, types and nested properties": {
			"x.csv", "user,at,price,n,ok,when\nu1,2020-01-02T03:04:05Z,19.90,3.0,yes,02.01.2020 04:05\n",
			head + `events:
  - event: Bought
    properties:
      price: {column: price, type: number}
      item.count: {column: n, type: integer}
      item.ok: {column: ok, type: boolean}
      item.when: {column: when, format: "DD.MM.YYYY hh:mm", zone: Europe/Berlin}
      currency: EUR
      weight: 2
    context: {location.country: DE}
`,
			[]string{`track Bought u=u1 a= 2020-01-02T03:04:05.000 {"currency":"EUR","item":{"count":3,"ok":true,"when":"2020-01-02T03:05:00.000Z"},"price":19.90,"weight":2}  {"location":{"country":"DE"}}`},
			nil,
		},
		"empty cells are missing, or the default": {
			"x.csv", "user,at,a,b\nu1,1577934245,,\n",
			head + "events:\n  - event: E\n    properties: {a: {column: a}, b: {column: b, default: none}, deep.a: {column: a}}\n",
			[]string{`track E u=u1 a= 2020-01-02T03:04:05.000 {"b":"none"}`},
			nil,
		},
		"a map of values": {
			"x.csv", "user,at,what\nu1,1577934245,pv\nu2,1577934245,buy\nu3,1577934245,odd\n",
			head + "events:\n  - event: {column: what, values: {pv: Product Viewed, buy: Order Completed}}\n",
			[]string{"track Product Viewed u=u1 a= 2020-01-02T03:04:05.000", "track Order Completed u=u2 a= 2020-01-02T03:04:05.000"},
			[]string{`4: event: column what holds "odd", which `},
		},
		"a map of values that leaves others out, or keeps them": {
			"x.csv", "user,at,what\nu1,1577934245,pv\nu3,1577934245,odd\n",
			head + "events:\n  - event: {column: what, values: {pv: V}, other: skip}\n  - event: {column: what, values: {pv: W}, other: keep}\n",
			[]string{"track V u=u1 a= 2020-01-02T03:04:05.000", "track W u=u1 a= 2020-01-02T03:04:05.000", "track odd u=u3 a= 2020-01-02T03:04:05.000"},
			nil,
		},
		"conditions": {
			"x.csv", "user,at,n,inv\nu1,1577934245,-1,1\n,1577934245,5,2\nu3,1577934245,5,C3\nu4,1577934245,50,4\n",
			head + "skip: [{column: user, empty: true}, {column: n, below: 0}]\nevents:\n  - event: Refund\n    when: [{column: inv, matches: ^C}]\n  - event: Big\n    when: [{column: n, above: 10}, {column: inv, not: [1, 2]}]\n",
			[]string{"track Refund u=u3 a= 2020-01-02T03:04:05.000", "track Big u=u4 a= 2020-01-02T03:04:05.000"},
			nil,
		},
		"a row becomes several calls, also identify": {
			"x.csv", "user,at,age\nu1,1577934245,30\n",
			head + "events:\n  - type: identify\n    anonymous_id: {column: user, prefix: anon-}\n    traits: {age: {column: age, type: number}}\n  - {type: page, name: Home}\n",
			[]string{`identify  u=u1 a=anon-u1 2020-01-02T03:04:05.000  {"age":30}`, `page Home u=u1 a= 2020-01-02T03:04:05.000 {"name":"Home"}`},
			nil,
		},
		"bad rows are reported and do not take the others along": {
			"x.csv", "user,at\nu1,yesterday\nu2\n\"u\n3\",1577934245\n,1577934245\n",
			head + "events: [{event: E}]\n",
			[]string{"track E u=u\n3 a= 2020-01-02T03:04:05.000"},
			[]string{`2: timestamp: column at: "yesterday" is not a time`, "3: 1 fields, the header has 2", "6: "},
		},
		"Latin-1": {
			"x.csv", "user,at,name\nu1,1577934245,Caf\xe9\n",
			"encoding: latin-1\n" + head + "events: [{event: {column: name}}]\n",
			[]string{"track Café u=u1 a= 2020-01-02T03:04:05.000"},
			nil,
		},
		"what is not UTF-8 is said to be so": {
			"x.csv", "user,at,name\nu1,1577934245,Caf\xe9\n", head + "events: [{event: {column: name}}]\n",
			[]string{},
			[]string{"2: field 3 is not UTF-8; if the file is Latin-1"},
		},
		"decimal commas": {
			"x.csv", "user;at;price;n\nu1;1577934245;12,50;3\nu2;1577934245;1.234,5;1.000\nu3;1577934245;12.50;1\nu4;1577934245;0,5;1\n",
			"csv: {comma: ;, decimal: \",\"}\n" + head + "skip: [{column: price, below: 1}]\nevents: [{event: E, properties: {price: {column: price, type: number}, n: {column: n, type: integer}}}]\n",
			[]string{`track E u=u1 a= 2020-01-02T03:04:05.000 {"n":3,"price":12.50}`, `track E u=u2 a= 2020-01-02T03:04:05.000 {"n":1000,"price":1234.5}`},
			[]string{`4: price: column price: "12.50" is not a number`},
		},
		"what to say of decimal commas, and how a time is written": {
			"x.csv", "user;at;price;n\nu1;1577934245;12,50;01.02.2020\nu2;1577934245;1;yesterday\n",
			"csv: {comma: ;}\n" + head + "events: [{event: E, properties: {price: {column: price, type: number}, n: {column: n, format: DD.MM.YYYY}}}]\n",
			[]string{},
			[]string{
				`2: price: column price: "12,50" is not a number; where a comma is the decimal sign say ` + "`csv: {decimal: \",\"}`",
				`3: n: column n: "yesterday" is not a time written as DD.MM.YYYY`,
			},
		},
		"no header, another comma": {
			"x.txt", "u1;1577934245\n", "csv: {comma: ;, columns: [user, at]}\n" + head + "events: [{event: E}]\n",
			[]string{"track E u=u1 a= 2020-01-02T03:04:05.000"},
			nil,
		},
		"JSON keeps its types": {
			"x.ndjson", `{"user": 7, "at": "2020-01-02T03:04:05Z", "p": {"n": 1.5, "big": 9007199254740993, "s": "1", "l": [1, 2], "no": null}}` + "\n\nnot json\n",
			head + "events: [{event: E, properties: {n: {column: p.n}, big: {column: p.big}, s: {column: p.s}, l: {column: p.l}, no: {column: p.no}}}]\n",
			[]string{`track E u=7 a= 2020-01-02T03:04:05.000 {"big":9007199254740993,"l":[1,2],"n":1.5,"s":"1"}`},
			[]string{"3: the line is not a JSON object: "},
		},
		"each": {
			"x.jsonl", `{"session": 12, "events": [{"ts": 1577934245000, "type": "clicks"}, {"ts": 1577934245001, "type": "carts"}]}` + "\n" + `{"session": 13, "events": []}` + "\n",
			"source: s\neach: events\ntime: {column: ts, format: unix_ms}\nanonymous_id: {column: session, prefix: s-}\nevents: [{event: {column: type}}]\n",
			[]string{"track clicks u= a=s-12 2020-01-02T03:04:05.000", "track carts u= a=s-12 2020-01-02T03:04:05.001"},
			nil,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			evs, res, rejects := importAll(t, write(t, tt.name, tt.file), tt.mapping)
			require.Equal(t, tt.want, lines(evs))
			require.EqualValues(t, len(tt.rejects), res.Rejected)
			var got []string
			for line := range strings.Lines(rejects) {
				var r struct {
					Line   int
					Reason string
				}
				require.NoError(t, json.Unmarshal([]byte(line), &r))
				got = append(got, fmt.Sprintf("%d: %s", r.Line, r.Reason))
			}
			for i := range tt.rejects {
				require.True(t, strings.HasPrefix(got[i], tt.rejects[i]), "%q does not begin with %q", got[i], tt.rejects[i])
			}
			for _, ev := range evs {
				require.NotZero(t, ev.Flags&events.Imported)
				require.True(t, strings.HasPrefix(ev.MessageID, "import-"))
			}
		})
	}
}

func TestImportGzip(t *testing.T) {
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	for i := range 5000 {
		_, _ = fmt.Fprintf(zip, "u%d,%d\n", i, 1577934245+i*i%9973)
	}
	require.NoError(t, zip.Close())
	yaml := "csv: {columns: [user, at]}\nsource: s\ntime: {column: at}\nuser_id: {column: user}\nevents: [{event: E}]\n"
	evs, res, _ := importAll(t, write(t, "x.csv.gz", packed.String()), yaml)
	require.Len(t, evs, 5000)
	require.False(t, res.CutShort)
	evs, res, _ = importAll(t, write(t, "x.csv.gz", packed.String()[:packed.Len()/2]), yaml)
	require.True(t, res.CutShort)
	require.NotEmpty(t, evs)
	require.Less(t, len(evs), 5000)
}

func TestImportParquet(t *testing.T) {
	type item struct {
		SKU   string  `parquet:"sku"`
		Price float64 `parquet:"price"`
	}
	type record struct {
		User string    `parquet:"user"`
		At   time.Time `parquet:"at,timestamp(microsecond)"`
		N    int32     `parquet:"n"`
		OK   *bool     `parquet:"ok,optional"`
		Sum  int64     `parquet:"sum,decimal(2:10)"`
		Item item      `parquet:"item"`
		Tags []string  `parquet:"tags,list"`
	}
	yes := true
	path := filepath.Join(t.TempDir(), "x.parquet")
	var rows []record
	for i := range 600 {
		r := record{fmt.Sprint("u", i), noon.Add(-time.Duration(i) * time.Second), int32(i), nil, int64(-i), item{"a", 1.5}, []string{"x", "y"}}
		if i%2 == 0 {
			r.OK = &yes
		}
		rows = append(rows, r)
	}
	require.NoError(t, parquet.WriteFile(path, rows))
	yaml := "source: s\ntime: {column: at}\nuser_id: {column: user}\nevents: [{event: E, properties: {n: {column: n}, ok: {column: ok}, sum: {column: sum}, sku: {column: item.sku}, price: {column: item.price}}}]\n"
	evs, _, _ := importAll(t, path, yaml)
	require.Len(t, evs, 600)
	require.Equal(t, []string{
		`track E u=u598 a= 2026-03-01T11:50:02.000 {"n":598,"ok":true,"price":1.5,"sku":"a","sum":-5.98}`,
		`track E u=u599 a= 2026-03-01T11:50:01.000 {"n":599,"price":1.5,"sku":"a","sum":-5.99}`,
	}, lines(evs[598:]))

	_, err := Import(t.Context(), Options{File: path, Mapping: mapping(t, strings.Replace(yaml, "item.sku", "item.skew", 1)), Appender: &kept{}, Now: clock})
	require.ErrorContains(t, err, `the file has no plain column "item.skew"; did you mean "item.sku"?`)
}

func TestImportSaysWhichColumnIsMissing(t *testing.T) {
	path := write(t, "x.csv", "user,at\n")
	m := mapping(t, "source: s\ntime: {column: att}\nuser_id: {column: user}\nevents: [{event: E}]\n")
	_, err := Import(t.Context(), Options{File: path, Mapping: m, Appender: &kept{}, Now: clock})
	require.EqualError(t, err, `map.yaml:2:16: the file has no column "att"; did you mean "at"?`)
	_, err = Import(t.Context(), Options{File: write(t, "x.xls", ""), Mapping: m, Appender: &kept{}, Now: clock})
	require.ErrorContains(t, err, "the name does not say whether this is CSV, NDJSON or Parquet")
}

const simple = "source: s\ntime: {column: at}\nuser_id: {column: user}\nevents: [{event: E}]\n"

func numbered(n int) string {
	var b strings.Builder
	b.WriteString("user,at\n")
	for i := range n {
		fmt.Fprintf(&b, "u%d,%d\n", i, 1577934245+i)
	}
	return b.String()
}

func TestImportGoesOnWhereItStopped(t *testing.T) {
	path := write(t, "x.csv", numbered(20_000))
	broken := errors.New("the machine is on fire")
	k := &kept{fail: broken, after: 2}
	o := Options{File: path, Mapping: mapping(t, simple), Appender: k, Now: clock, State: filepath.Join(t.TempDir(), "state")}
	_, err := Import(t.Context(), o)
	require.ErrorIs(t, err, broken)
	done := len(k.events)
	require.Positive(t, done)

	k.fail = nil
	res, err := Import(t.Context(), o)
	require.NoError(t, err)
	require.Greater(t, res.Resumed, int64(done-10))
	require.EqualValues(t, 20_000, res.Resumed+res.Rows)
	ids := map[string]bool{}
	for _, ev := range k.events {
		ids[ev.MessageID] = true
	}
	require.Len(t, ids, 20_000, "rows that are read again have the message ids that they had")

	// A file that has grown: only what is new.
	require.NoError(t, os.WriteFile(path, []byte(numbered(20_003)), 0o600))
	res, err = Import(t.Context(), o)
	require.NoError(t, err)
	require.EqualValues(t, 3, res.Rows)

	// Another file says nothing about this one.
	require.NoError(t, os.WriteFile(path, []byte("user,at\nother,1577934245\n"), 0o600))
	res, err = Import(t.Context(), o)
	require.NoError(t, err)
	require.EqualValues(t, 1, res.Rows)

	require.NoError(t, os.WriteFile(o.State, []byte("{"), 0o600))
	_, err = Import(t.Context(), o)
	require.ErrorContains(t, err, "delete it and import again")
}

func TestImportWaitsForRoom(t *testing.T) {
	k := &kept{busy: 3}
	var progress bytes.Buffer
	res, err := Import(t.Context(), Options{File: write(t, "x.csv", numbered(10)), Mapping: mapping(t, simple), Appender: k, Now: clock, Progress: &progress})
	require.NoError(t, err)
	require.EqualValues(t, 10, res.Events)
	require.Contains(t, progress.String(), "10 rows, ")
	require.Contains(t, progress.String(), "100 % of the file, 10 events, 0 rejected")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Import(ctx, Options{File: write(t, "x.csv", numbered(10)), Mapping: mapping(t, simple), Appender: &kept{busy: 1 << 30}, Now: clock})
	require.ErrorIs(t, err, context.Canceled)
}

func TestImportLimitAndDryRun(t *testing.T) {
	k := &kept{}
	o := Options{File: write(t, "x.csv", numbered(10)), Mapping: mapping(t, simple), Appender: k, Now: clock, Limit: 2}
	res, err := Import(t.Context(), o)
	require.NoError(t, err)
	require.EqualValues(t, 2, res.Rows)
	require.Len(t, k.events, 2)

	var out []Made
	o.Limit, o.DryRun = 1, func(m Made) error { out = append(out, m); return nil }
	_, err = Import(t.Context(), o)
	require.NoError(t, err)
	require.Len(t, k.events, 2, "a dry run imports nothing")
	require.Len(t, out, 1)
	require.EqualValues(t, 1, out[0].Row)
	require.Equal(t, 2, out[0].Line)
	require.Equal(t, time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC), out[0].Time)
	require.True(t, strings.HasPrefix(string(out[0].Event), `{"type":"track","event":"E","userId":"u0"`), string(out[0].Event))
}

func TestImportHoldsRowsAgainstThePlan(t *testing.T) {
	plan := &events.Plan{UndeclaredEvents: events.Refuse, Events: map[string]events.Declared{
		"E": {Name: "E", Properties: map[string]events.Property{"price": {Path: "price", Type: events.TypeDecimal}}},
	}}
	path := write(t, "x.csv", "user,at,what,price\nu,1577934245,E,19.99\nu,1577934245,F,1\n")
	yaml := "source: s\ntime: {column: at}\nuser_id: {column: user}\nevents: [{event: {column: what}, properties: {price: {column: price}}}]\n"
	k := &kept{}
	var rejects bytes.Buffer
	_, err := Import(t.Context(), Options{File: path, Mapping: mapping(t, yaml), Appender: k, Now: clock, Plan: plan, Rejects: &rejects})
	require.NoError(t, err)
	require.Equal(t, []string{`track E u=u a= 2020-01-02T03:04:05.000 {"price":19.99}`}, lines(k.events))
	require.Contains(t, rejects.String(), "the tracking plan refuses it")
}

// The whole way, twice: into the queue, through the writer, into the store; and over HTTP.
func TestImportTwiceIsImportOnce(t *testing.T) {
	store := clickhousetest.New(t)
	q, err := queue.Open(t.Context(), queue.Config{Dir: t.TempDir(), Now: time.Now})
	require.NoError(t, err)
	defer q.Close()
	ctx, cancel := context.WithCancel(t.Context())
	w, err := writer.New(writer.Options{Queue: q, Store: store, Now: time.Now, FlushEvery: 10 * time.Millisecond})
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	defer func() {
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
	}()
	stored := func() (n uint64) {
		last, err := q.LastSeq(ctx)
		require.NoError(t, err)
		require.NoError(t, w.WaitFor(ctx, events.EndOf(last)))
		require.NoError(t, store.Conn().QueryRow(ctx, "SELECT count() FROM events WHERE bitAnd(flags, 1) = 1").Scan(&n))
		return n
	}
	path := write(t, "x.csv", numbered(12_000))
	o := Options{File: path, Mapping: mapping(t, simple), Appender: q, Now: clock}
	for range 2 {
		_, err := Import(ctx, o)
		require.NoError(t, err)
		require.EqualValues(t, 12_000, stored())
	}
	require.NoError(t, os.WriteFile(path, []byte(numbered(12_010)), 0o600))
	server, err := ingest.New(ingest.Options{
		Queue: q, Now: time.Now, Keys: func() []ingest.Key { return []ingest.Key{{Name: "s", WriteKey: "secret", Secret: true}} },
	})
	require.NoError(t, err)
	http := httptest.NewServer(server.Handler())
	defer http.Close()
	o.Appender = &Client{URL: http.URL, Key: "secret", HTTP: http.Client()}
	_, err = Import(ctx, o)
	require.NoError(t, err)
	require.EqualValues(t, 12_010, stored(), "a key of the mapping's source name gives the same events")

	o.Appender = &Client{URL: http.URL, Key: "wrong", HTTP: http.Client()}
	_, err = Import(ctx, o)
	require.ErrorContains(t, err, "/v1/import answers 401")
}

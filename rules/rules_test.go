package rules_test

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/events"
	"nudge/rules"
)

var update = flag.Bool("update", false, "write the golden files anew")

// specs are channels like those of the adapters.
func specs() []rules.ChannelSpec {
	return []rules.ChannelSpec{
		{Name: "push", Kind: "push", MaxPayload: 4096, Fields: []rules.FieldSpec{
			{Name: "title", Type: "string", Template: true, Text: true},
			{Name: "body", Type: "string", Template: true, Text: true, Required: true},
			{Name: "link", Type: "string", Template: true},
			{Name: "badge", Type: "int", Template: true},
			{Name: "silent", Type: "bool"},
			{Name: "ttl", Type: "duration"},
			{Name: "data", Type: "map", Template: true},
			{Name: "actions", Type: "actions", Template: true, Text: true},
			{Name: "relevance", Type: "number", Template: true},
		}},
		{Name: "email", Kind: "email", Fields: []rules.FieldSpec{
			{Name: "subject", Type: "string", Template: true, Text: true, Required: true},
			{Name: "html", Type: "string", Template: true, Text: true},
			{Name: "cc", Type: "list", Template: true},
		}},
		{Name: "log", Kind: "file", Any: true},
	}
}

func options(t testing.TB) rules.Options {
	berlin, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	return rules.Options{
		Zone: berlin, Channels: specs(), Categories: []string{"newsletter"},
		Plan: &events.Plan{Traits: map[string]events.Property{"first_name": {Path: "first_name"}, "plan": {Path: "plan"}}},
		ReadFile: func(path string) ([]byte, error) {
			if !fs.ValidPath(path) {
				return nil, fs.ErrInvalid
			}
			return os.ReadFile(filepath.Join("testdata", path))
		},
	}
}

// parse reads a file by what its name says it is.
func parse(t testing.TB, path string) []rules.Finding {
	src, err := os.ReadFile(path)
	require.NoError(t, err)
	name := filepath.Base(path)
	var fs []rules.Finding
	switch {
	case strings.HasPrefix(name, "plan-"):
		_, fs = rules.ParsePlan(name, src)
	case strings.HasPrefix(name, "segment-"):
		_, fs = rules.ParseSegment(name, src)
	case strings.HasPrefix(name, "broadcast-"):
		o := options(t)
		o.Broadcast = true
		_, fs = rules.ParseRule(name, src, o)
	default:
		_, fs = rules.ParseRule(name, src, options(t))
	}
	return fs
}

// Each file in testdata/bad has one mistake; beside it stands what is said about it, to the column.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			findings := parse(t, path)
			require.NotEmpty(t, findings, "the file has a mistake")
			var b bytes.Buffer
			require.NoError(t, rules.Render(&b, findings, rules.Text))
			golden := strings.TrimSuffix(path, ".yaml") + ".txt"
			if *update {
				require.NoError(t, os.WriteFile(golden, b.Bytes(), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err, "go test ./rules -update writes it")
			require.Equal(t, string(want), b.String())
			for _, f := range findings {
				require.Positive(t, f.Line)
				require.Positive(t, f.Col)
				require.Greater(t, f.EndCol, f.Col)
			}
		})
	}
}

func TestGoodFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/good/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) { require.Empty(t, parse(t, path)) })
	}
}

func TestRuleOfTheDesign(t *testing.T) {
	src, err := os.ReadFile("testdata/good/cart-abandoned.yaml")
	require.NoError(t, err)
	r, findings := rules.ParseRule("rules/cart-abandoned.yaml", src, options(t))
	require.Empty(t, findings)
	require.Equal(t, "cart-abandoned", r.Name)
	require.Equal(t, "promotional", r.Category)
	require.Equal(t, 70, r.Priority)
	require.Equal(t, "*/5 * * * *", r.Schedule.Cron)
	require.Equal(t, rules.ZoneWorkspace, r.Schedule.Zone)
	require.Nil(t, r.On)
	require.Equal(t, `event("Product Added").by("cart_id")`, r.ForEach)
	require.Equal(t, "it.last.ago >= hours(1) and it.last.ago < days(2)\n", r.When)
	require.Equal(t, rules.Again{Mode: rules.AgainNever}, r.Again)
	require.Equal(t, []rules.Exit{{Event: "Order Completed"}}, r.Exits)
	require.Equal(t, &rules.Goal{Event: "Order Completed", Within: 72 * time.Hour, Value: "properties.revenue"}, r.Goal)
	require.InDelta(t, 0.1, r.Holdout, 1e-9)
	require.InDelta(t, 1, r.Rollout, 1e-9)
	require.Equal(t, "product", r.With[0].Name)
	require.Equal(t, rules.DeliverFirst, r.Deliver)
	require.Equal(t, rules.WhenBlocked{FrequencyCap: "", Outranked: rules.Retry, NoAddress: rules.Retry, NoConsent: rules.Retry, QuietHours: rules.Retry}, r.WhenBlocked)
	require.Equal(t, rules.Recheck, r.WhileHeld)
	require.Equal(t, 24*time.Hour, r.Expire)
	require.Equal(t, []string{"push", "email"}, r.Channels())

	push, ok := r.MessageOf("", "push")
	require.True(t, ok)
	require.Equal(t, 4*time.Hour, push.TTL)
	fields, err := push.Render(map[string]any{"product": "Shoes", "others": int64(7)})
	require.NoError(t, err)
	require.Equal(t, map[string]any{
		"title": "Still thinking about Shoes?", "body": "It is waiting in your cart. 7 people looked at it today.",
		"link": "https://shop.example/cart", "ttl": "4h0m0s",
		"actions": []any{map[string]any{"id": "buy", "title": "Buy now"}},
	}, fields)
	_, err = push.Render(map[string]any{"others": int64(7)})
	require.ErrorContains(t, err, "message.push.title: product has no value")

	email, ok := r.MessageOf("", "email")
	require.True(t, ok)
	fields, err = email.Render(map[string]any{"product": "<Shoes>"})
	require.NoError(t, err)
	require.Equal(t, "<p>Your &lt;Shoes&gt; is waiting.</p>\n", fields["html"])
	require.Equal(t, "You left <Shoes> behind", fields["subject"])
}

func TestEveryKey(t *testing.T) {
	src, err := os.ReadFile("testdata/good/every-key.yaml")
	require.NoError(t, err)
	r, findings := rules.ParseRule("r.yaml", src, options(t))
	require.Empty(t, findings)
	require.Equal(t, &rules.On{Event: "Parcel Delivered", Where: `properties.kind == "box"`, By: "properties.parcel_id", MaxAge: 2 * time.Hour}, r.On)
	require.Equal(t, rules.Again{Mode: rules.AgainAfter, After: 7 * 24 * time.Hour}, r.Again)
	require.Equal(t, time.Date(2026, 3, 1, 0, 0, 0, 0, options(t).Zone).UnixMilli(), r.Start)
	require.Equal(t, time.Date(2026, 12, 24, 17, 30, 0, 0, time.UTC).UnixMilli(), r.End)
	require.Equal(t, rules.TimeOfDay(9*60+15), *r.SendAt)
	require.Equal(t, []rules.Exit{{Event: "A"}, {Event: "B", Where: "properties.x == entry.value", Since: "trigger.at"}}, r.Exits)
	require.Equal(t, rules.WhenBlocked{FrequencyCap: rules.Next, Outranked: rules.Hold, NoAddress: rules.Drop, NoConsent: rules.Drop, QuietHours: rules.Hold}, r.WhenBlocked)
	require.Equal(t, rules.Recheck, r.WhileHeld)
	require.Equal(t, 12*time.Hour, r.Expire)
	require.True(t, r.Shadow)
	require.Equal(t, rules.DeliverAll, r.Deliver)
	require.True(t, r.Urgent)
	require.True(t, r.LatestDevice)
	require.InDelta(t, 0.25, r.Rollout, 1e-9)
	require.False(t, r.SaysCreated)
	require.Len(t, r.Variants, 3)
	require.Equal(t, []string{"push", "log", "email"}, r.Channels())
	for variant, want := range map[string]string{"control": "Base", "short": "Short Ann", "mail": "Base"} {
		m, ok := r.MessageOf(variant, "push")
		require.True(t, ok, variant)
		fields, err := m.Render(map[string]any{"n": int64(3), "user": map[string]any{"traits": map[string]any{"first_name": "Ann"}}})
		require.NoError(t, err)
		require.Equal(t, want, fields["body"], variant)
		require.Equal(t, int64(3), fields["badge"])
		require.Equal(t, map[string]any{"deep": []any{"3", int64(1), true}}, fields["data"])
	}
	log, ok := r.MessageOf("control", "log")
	require.True(t, ok)
	fields, err := log.Render(map[string]any{"n": int64(3), "user": map[string]any{"traits": map[string]any{"first_name": "Ann"}}})
	require.NoError(t, err)
	require.Equal(t, map[string]any{
		"anything": "Ann", "html": "<p>Number 3.</p>\n", "text": "<p>Number 3.</p>\n",
		"rest": map[string]any{"file": []any{int64(1)}, "more": map[string]any{"file": "as it stands"}},
	}, fields)
	_, ok = r.MessageOf("short", "email")
	require.False(t, ok)
	require.Equal(t, []int{2, 1, 1}, []int{r.Variants[0].Weight, r.Variants[1].Weight, r.Variants[2].Weight})
	for part, text := range map[string]string{
		"on": "Parcel Delivered", "on.where": r.On.Where, "on.by": "parcel_id", "when": r.When, "exit[1].where": r.Exits[1].Where,
		"exit[1].since": "trigger.at", "goal": "Opened Door", "with.n": "3", "with.name": r.With[1].Expr,
	} {
		require.NotNil(t, r.Source[part], part)
		require.Equal(t, text, r.Source[part].Text, part)
	}
}

func TestDeliver(t *testing.T) {
	for said, want := range map[string]rules.Rule{
		"":                            {Deliver: rules.DeliverFirst},
		"deliver: preferred":          {Deliver: rules.DeliverPreferred},
		"deliver: {escalate: 1h30m}":  {Deliver: rules.DeliverEscalate, EscalateAfter: 90 * time.Minute},
		"urgent: false\ndevices: all": {Deliver: rules.DeliverFirst},
	} {
		r, findings := rules.ParseRule("a.yaml", []byte("rule: a\non: A\nagain: never\nmessage: {push: {body: a}, email: {subject: a}}\n"+said+"\n"), options(t))
		require.Empty(t, findings, said)
		require.Equal(t, want, rules.Rule{Deliver: r.Deliver, EscalateAfter: r.EscalateAfter, Urgent: r.Urgent, LatestDevice: r.LatestDevice}, said)
	}
}

func TestSaysCreated(t *testing.T) {
	for body, want := range map[string]bool{
		`"{{ user.created_at | date: '%Y' }}"`: true, `"{% if user['created_at'] %}hi{% endif %}"`: true, `"{{ user.id }}, created_at"`: false,
	} {
		r, findings := rules.ParseRule("a.yaml", []byte("rule: a\nschedule: \"0 9 * * *\"\nwhen: user.id != nil\nagain: never\nmessage: {push: {body: "+body+"}}\n"), options(t))
		require.Empty(t, findings)
		require.Equal(t, want, r.SaysCreated, body)
	}
}

func TestVersion(t *testing.T) {
	base := "rule: a\nabout: x\nschedule: \"0 9 * * *\"\nwhen: |\n  user.id != nil\nagain: never\nwith:\n  a: 1\n  b: 2\nmessage: {push: {body: hi}}\n"
	version := func(src string) (string, string) {
		r, findings := rules.ParseRule("a.yaml", []byte(src), options(t))
		require.Empty(t, findings, src)
		return r.Version, r.Hash
	}
	v, m := version(base)
	for name, c := range map[string]struct {
		old, new    string
		same, sameM bool
	}{
		"a comment":        {"again:", "# why\nagain:", true, true},
		"quotes and block": {"when: |\n  user.id != nil\n", "when: 'user.id != nil'\n", true, true},
		"order of keys":    {"again: never\n", "", true, true},
		"about":            {"about: x", "about: y", true, true},
		"condition":        {"!= nil", "== nil", false, true},
		"order of with":    {"  a: 1\n  b: 2\n", "  b: 2\n  a: 1\n", false, true},
		"text":             {"body: hi", "body: ho", false, false},
		"type":             {"a: 1", "a: '\"1\"'", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			src := strings.Replace(base, c.old, c.new, 1)
			if name == "order of keys" {
				src += "again: never\n"
			}
			require.NotEqual(t, base, src)
			gotV, gotM := version(src)
			require.Equal(t, c.same, gotV == v)
			require.Equal(t, c.sameM, gotM == m)
		})
	}
}

func TestLocalTimeIn(t *testing.T) {
	berlin := options(t).Zone
	cases := []struct {
		name         string
		month, day   int
		hour, minute int
		want         string
	}{
		{"winter", 1, 15, 9, 0, "2026-01-15T08:00:00Z"},
		{"summer", 7, 15, 9, 0, "2026-07-15T07:00:00Z"},
		{"in the gap: its end", 3, 29, 2, 30, "2026-03-29T01:00:00Z"},
		{"in the overlap: the first", 10, 25, 2, 30, "2026-10-25T00:30:00Z"},
		{"just after the overlap", 10, 25, 3, 0, "2026-10-25T02:00:00Z"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			at := rules.LocalTime{Year: 2026, Month: c.month, Day: c.day, Hour: c.hour, Minute: c.minute}.In(berlin)
			require.Equal(t, c.want, time.UnixMilli(at).UTC().Format(time.RFC3339))
		})
	}
}

func TestFindingsAreTheSameEachTime(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	require.NoError(t, err)
	var outs [2][]byte
	for i := range outs {
		var all []rules.Finding
		for _, f := range files {
			all = append(all, parse(t, f)...)
		}
		for _, format := range []rules.Format{rules.Text, rules.JSON} {
			var b bytes.Buffer
			require.NoError(t, rules.Render(&b, all, format))
			outs[i] = append(outs[i], b.Bytes()...)
		}
	}
	require.Equal(t, string(outs[0]), string(outs[1]))
}

func FuzzParseRule(f *testing.F) {
	for _, dir := range []string{"good", "bad"} {
		files, err := filepath.Glob(filepath.Join("testdata", dir, "*.yaml"))
		require.NoError(f, err)
		for _, path := range files {
			src, err := os.ReadFile(path)
			require.NoError(f, err)
			f.Add(string(src))
		}
	}
	o := options(f)
	o.ReadFile = func(string) ([]byte, error) { return nil, fs.ErrNotExist }
	f.Fuzz(func(t *testing.T, src string) {
		r, findings := rules.ParseRule("r.yaml", []byte(src), o)
		if !rules.HasErrors(findings) {
			if r == nil {
				t.Fatal("no rule and no finding")
			}
			if (r.Schedule == nil) == (r.On == nil) || r.When == "" || r.Again.Mode == "" || len(r.Channels()) == 0 {
				t.Fatalf("half a rule without a finding: %+v", r)
			}
		}
		for _, x := range findings {
			if x.Line < 1 || x.Col < 1 || x.EndCol <= x.Col || x.Summary == "" || !strings.Contains(x.Check, "/") {
				t.Fatalf("a finding without a place: %+v", x)
			}
		}
		var b bytes.Buffer
		if err := rules.Render(&b, findings, rules.Text); err != nil {
			t.Fatal(err)
		}
		_, _ = rules.ParsePlan("p", []byte(src))
		_, _ = rules.ParseSegment("s", []byte(src))
		_ = fmt.Sprint(r)
	})
}

// TestWhenABroadcastIsOver has the latest clock that counts.
func TestWhenABroadcastIsOver(t *testing.T) {
	berlin := options(t).Zone
	for _, c := range []struct {
		name, at, more string
		want           time.Time
	}{
		{"workspace", "2026-12-24 09:00", "", time.Date(2026, 12, 25, 8, 0, 0, 0, time.UTC)},
		{"offset", "2026-12-24T09:00:00-05:00", "", time.Date(2026, 12, 25, 14, 0, 0, 0, time.UTC)},
		{"zone", "{time: 2026-12-24 09:00, zone: Asia/Tokyo}", "", time.Date(2026, 12, 25, 0, 0, 0, 0, time.UTC)},
		{"person", "{time: 2026-12-24 09:00, zone: person}", "", time.Date(2026, 12, 25, 21, 0, 0, 0, time.UTC)},
		{"expire", "2026-12-24 09:00", "expire: 2h\n", time.Date(2026, 12, 24, 10, 0, 0, 0, time.UTC)},
	} {
		t.Run(c.name, func(t *testing.T) {
			src := "rule: sale\nat: " + c.at + "\nwhen: true\n" + c.more + "message: {push: {body: Hello}}\n"
			o := options(t)
			o.Broadcast = true
			r, findings := rules.ParseRule("broadcasts/sale.yaml", []byte(src), o)
			require.Empty(t, findings)
			require.True(t, r.Broadcast)
			require.True(t, r.Backfill)
			require.Equal(t, rules.AgainNever, r.Again.Mode)
			require.Equal(t, c.want, time.UnixMilli(r.OverAt(berlin)).UTC())
			again, findings := rules.ParseRule("rules/sale.yaml", []byte(src+"again: never\n"), options(t))
			require.Empty(t, findings)
			require.Zero(t, again.OverAt(berlin), "a rule is never over")
		})
	}
}

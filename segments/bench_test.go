package segments

import (
	"fmt"
	"testing"
)

func BenchmarkJudge(b *testing.B) {
	boots := occ(2*msHour, `{"name":"Boots","product_id":"p1","price":59.9,"category":"shoes","tags":["new","sale"]}`)
	list := make([]*Occurrence, 20)
	for i := range list {
		list[i] = occ(int64(i)*msHour, fmt.Sprintf(`{"name":"Boots","price":%d}`, i))
	}
	for _, c := range []struct {
		name, when string
		want       Truth
		values     []any
	}{
		{"four clauses", `it.last.ago >= hours(1) and it.last.ago < days(2) and it.count > 1 and not did("Order Completed").since(it.last.at)`, True, []any{boots, int64(3), (*Occurrence)(nil)}},
		{"four clauses, the first fails", `it.last.ago < hours(1) and it.last.ago < days(2) and it.count > 1 and not did("Order Completed").since(it.last.at)`, False, []any{boots, int64(3), (*Occurrence)(nil)}},
		{"properties", `it.last.properties.price > 50 and it.last.properties.category in ["shoes", "hats"]`, True, []any{boots}},
		{"trait and hour", `user.traits.plan == nil and local.hour in 9..23`, True, nil},
		{"any of 20", `any(it.list(20), .properties.price > 100)`, False, []any{list}},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := mustCompile(b, WhoSpec{ForEach: `event("Product Added").by("cart_id")`, When: c.when})
			cand := &Candidate{Value: "c1", Values: c.values, DefaultZone: "Europe/Berlin", Profile: &Profile{}}
			b.ReportAllocs()
			for b.Loop() {
				if t, err := w.Judge(now, cand); t != c.want {
					b.Fatal(t, err)
				}
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	schema := testSchema()
	for b.Loop() {
		if _, problems := Compile(WhoSpec{
			ForEach: `event("Product Added").by("cart_id")`,
			When:    `it.last.ago >= hours(1) and it.last.ago < days(2) and it.count > 1 and not did("Order Completed").since(it.last.at)`,
		}, schema); len(problems) > 0 {
			b.Fatal(problems)
		}
	}
}

func BenchmarkFilter(b *testing.B) {
	p := filterOf(b, `properties.category == "shoes" and properties.price * 1.19 > 50`, FilterPlain)
	o := occ(0, `{"name":"Boots","product_id":"p1","price":59.9,"category":"shoes"}`)
	b.ReportAllocs()
	for b.Loop() {
		if !p.Eval(o, nil) {
			b.Fatal("does not hold")
		}
	}
}

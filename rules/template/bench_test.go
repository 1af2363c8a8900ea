package template_test

import (
	"testing"

	"nudge/rules/template"
)

func BenchmarkRender(b *testing.B) {
	tmpl, _ := template.Parse("It is waiting in your cart.{% if others %} {{ others }} people looked at {{ product }} today, {{ price | money: 'EUR' }}.{% endif %}")
	vars := map[string]any{"others": int64(7), "product": "Shoes", "price": 19.5}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tmpl.Render(vars); err != nil {
			b.Fatal(err)
		}
	}
}

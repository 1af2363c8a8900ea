package events

import (
	"fmt"
	"strings"
	"testing"
)

// benchEvent is 1.1 KB, as Segment's browser SDK sends a track call.
func benchEvent(i int) string {
	return fmt.Sprintf(`{"timestamp":"2025-12-31T23:59:58.123Z","integrations":{},"type":"track","event":"Product Added","properties":{"cart_id":"cart-%d","product_id":"507f1f77bcf86cd799439011","sku":"G-32","category":"Games","name":"Monopoly: 3rd Edition","brand":"Hasbro","variant":"200 pieces","price":18.99,"quantity":1,"coupon":"MAYDEALS","currency":"usd","position":3,"value":18.99,"url":"https://www.example.com/product/path","image_url":"https://www.example.com/product/path.jpg"},"context":{"page":{"path":"/academy/","referrer":"https://www.example.com/","search":"","title":"Analytics Academy","url":"https://www.example.com/academy/"},"userAgent":"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_9_5) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/40.0.2214.115 Safari/537.36","locale":"en-US","timezone":"Europe/Berlin","ip":"108.0.78.21","library":{"name":"analytics.js","version":"2.11.1"},"campaign":{"name":"TPS Innovation","source":"Newsletter","medium":"email"}},"messageId":"ajs-next-1767225598123-%08d","userId":"user-%d","anonymousId":"23adfd82-aa0f-45a7-a756-24f2a7a4c895"}`, i, i, i%5000)
}

func benchBatch(n int) []byte {
	evs := make([]string, n)
	for i := range evs {
		evs[i] = benchEvent(i)
	}
	return []byte(`{"batch":[` + strings.Join(evs, ",") + `],"sentAt":"2025-12-31T23:59:59.000Z","writeKey":"k"}`)
}

func BenchmarkNormalise(b *testing.B) {
	for _, c := range []struct {
		name string
		body []byte
	}{
		{"as JSON.stringify writes it", benchBatch(100)},
		{"pretty printed", []byte(strings.ReplaceAll(string(benchBatch(100)), `,"`, `, "`))},
	} {
		b.Run(c.name, func(b *testing.B) {
			var n Normaliser
			b.ReportAllocs()
			b.SetBytes(int64(len(c.body)) / 100)
			for i := 0; i < b.N; i += 100 { // one operation is one event
				if err := n.Read(c.body, 0); err != nil {
					b.Fatal(err)
				}
				if evs, bad := n.Finish(call()); len(evs) != 100 || len(bad) != 0 {
					b.Fatal(bad)
				}
			}
		})
	}
}

func BenchmarkCodec(b *testing.B) {
	var n Normaliser
	if err := n.Read(benchBatch(100), 0); err != nil {
		b.Fatal(err)
	}
	evs, _ := n.Finish(call())
	data := AppendBatch(nil, evs)
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		buf := data
		for i := 0; i < b.N; i += 100 {
			buf = AppendBatch(buf[:0], evs)
		}
		b.ReportMetric(float64(len(buf))/100, "bytes/event")
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; i < b.N; i += 100 {
			if _, err := DecodeBatch(data); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkFlatten(b *testing.B) {
	ev, err := Normalise([]byte(benchEvent(1)), 0, call())
	if err != nil {
		b.Fatal(err)
	}
	b.Run("Flatten", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Flatten(ev.Properties, func(string, any) {})
		}
	})
	b.Run("Flattener", func(b *testing.B) {
		b.ReportAllocs()
		var f Flattener
		for b.Loop() {
			f.Walk(ev.Properties, func(string, Leaf) {})
		}
	})
}

func BenchmarkApply(b *testing.B) {
	plan := &Plan{Events: map[string]Declared{"Product Added": {Properties: map[string]Property{
		"price": {Type: TypeDecimal, Required: true}, "quantity": {Type: TypeInteger}, "name": {Type: TypeString}, "product_id": {Type: TypeString},
	}}}}
	for i, p := range []string{"cart_id", "sku", "category", "brand", "variant", "coupon", "currency", "position", "value", "url", "image_url"} {
		t := TypeString
		if i == 7 || i == 8 {
			t = TypeNumber
		}
		plan.Events["Product Added"].Properties[p] = Property{Type: t}
	}
	ev, err := Normalise([]byte(benchEvent(1)), 0, call())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if reason := plan.Apply(&ev); reason != "" || len(ev.Violations) > 0 {
			b.Fatal(reason, ev.Violations)
		}
	}
}

package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"
)

// plan is the tracking plan of the node under test: every event is held against it.
const plan = `undeclared_events: flag
undeclared_properties: flag
events:
  Product Viewed: {properties: &product {cart_id: string, product_id: {type: string, required: true}, sku: string, category: string,
    name: string, brand: string, variant: string, price: decimal, quantity: integer, coupon: string, currency: string, position: integer,
    value: number, url: string, image_url: string}}
  Product Added: {properties: *product}
  Product List Viewed: {properties: *product}
  Cart Viewed: {properties: *product}
  Checkout Started: {properties: *product}
  Order Completed: {properties: *product}
`

// Things that happen in a shop, more often from top to bottom less.
var (
	names = []string{
		"Product Viewed", "Product Viewed", "Product Viewed", "Product Viewed", "Product Viewed", "Product List Viewed", "Product List Viewed",
		"Product Added", "Product Added", "Cart Viewed", "Checkout Started", "Order Completed",
	}
	articles   = []string{"Monopoly: 3rd Edition", "Linen shirt, blue", "Trail shoes", "Coffee grinder", "Desk lamp", "Rain jacket", "Tea, Earl Grey"}
	brands     = []string{"Hasbro", "Marram", "Fjordlauf", "Mahlwerk", "Lumen", "Sturmhaube", "Kandy"}
	categories = []string{"Games", "Clothing", "Sports", "Kitchen", "Home"}
	zones      = []string{"Europe/Berlin", "Europe/London", "Europe/Madrid", "Europe/Warsaw", "Asia/Shanghai"} // of one width
	agents     = []string{
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
		"Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/125.0.0.0 Mobile Safari/537.36",
	}
)

// Every flawEach-th call misses a required property, so the plan flags it; every againEach-th is sent
// a second time with the same message id, as an SDK does that missed the answer.
const (
	flawEach  = 100
	againEach = 200
)

// Places in a template that differ from call to call, all of fixed width.
const (
	markTime    = "@time@------------------" // 24: 2026-03-01T11:59:58.123Z
	markMessage = "@msg@-----------"         // 16 hexadecimal digits
	markUser    = "@user@--"                 // 8 digits, the same in userId, anonymousId
	markCart    = "@cart@--"
	markZone    = "@zone@-------" // a user's own: who changes it makes a row each time
)

// call is one call of a pool, with its places.
type call struct {
	text                             []byte
	time, message, user, carts, zone []int
}

// calls makes track calls of 1.1 KB as a browser SDK sends them, each with its own message id.
// Not for concurrent use; each connection has one.
type calls struct {
	pool, flawed []call
	triggers     []call // every triggerEach-th call, where there are any
	triggered    int64
	people       int
	rand         *rand.Rand
	lane         uint64 // the upper part of message ids
	made         uint64
	stamp        []byte
	stamped      time.Time
	again        [16]byte // message id that comes a second time
}

// newCalls makes a source of calls; those of different lanes have different message ids.
func newCalls(lane uint64, people int) *calls {
	c := &calls{people: people, rand: rand.New(rand.NewPCG(7, lane)), lane: lane}
	for range 256 {
		c.pool = append(c.pool, c.template(pick(c.rand, names), required))
	}
	for range 16 {
		c.flawed = append(c.flawed, c.template(pick(c.rand, names), ""))
	}
	return c
}

// triggering lets every triggerEach-th call be a trigger, and no other.
func (c *calls) triggering() {
	for _, pool := range [][]call{c.pool, c.flawed} {
		for i := range pool {
			pool[i] = c.template(names[0], required)
		}
	}
	for range 16 {
		c.triggers = append(c.triggers, c.template(trigger, required))
	}
}

// takeTriggers is how many new triggers there were since it was asked last.
func (c *calls) takeTriggers() int64 {
	n := c.triggered
	c.triggered = 0
	return n
}

func pick(r *rand.Rand, from []string) string { return from[r.IntN(len(from))] }

// required is the property that the plan requires.
const required = `"product_id":"507f1f77bcf86cd799439011",`

func (c *calls) template(name, required string) call {
	r := c.rand
	price := fmt.Sprintf("%d.%02d", 1+r.IntN(200), r.IntN(100))
	article := r.IntN(len(articles))
	text := fmt.Sprintf(`{"timestamp":%q,"integrations":{},"type":"track","event":%q,"properties":{"cart_id":%q,%s"sku":"G-%d","category":%q,"name":%q,"brand":%q,"variant":"%d pieces","price":%s,"quantity":%d,"coupon":"MAYDEALS","currency":"usd","position":%d,"value":%s,"url":"https://www.example.com/product/%d","image_url":"https://www.example.com/product/%d.jpg"},"context":{"page":{"path":"/academy/","referrer":"https://www.example.com/","search":"","title":"Analytics Academy","url":"https://www.example.com/academy/"},"userAgent":%q,"locale":"en-US","timezone":%q,"ip":"108.0.78.%d","library":{"name":"analytics.js","version":"2.11.1"},"campaign":{"name":"TPS Innovation","source":"Newsletter","medium":"email"}},"messageId":"ajs-next-%s","userId":"user-%s","anonymousId":"23adfd82-aa0f-45a7-a756-24f2%s"}`,
		markTime, name, markCart, required, r.IntN(500), pick(r, categories), articles[article], brands[article], 100*r.IntN(9),
		price, 1+r.IntN(3), r.IntN(30), price, r.IntN(5000), r.IntN(5000), pick(r, agents), markZone, r.IntN(256),
		markMessage, markUser, markUser)
	out := call{text: []byte(text)}
	for _, m := range []struct {
		mark string
		at   *[]int
	}{{markTime, &out.time}, {markMessage, &out.message}, {markUser, &out.user}, {markCart, &out.carts}, {markZone, &out.zone}} {
		for from := 0; ; {
			i := bytes.Index(out.text[from:], []byte(m.mark))
			if i < 0 {
				break
			}
			*m.at = append(*m.at, from+i)
			from += i + len(m.mark)
		}
	}
	return out
}

// digits writes n as eight digits.
func digits(dst []byte, n int) {
	for i := 7; i >= 0; i-- {
		dst[i] = byte('0' + n%10)
		n /= 10
	}
}

// setTime sets what the calls to come say that it is.
func (c *calls) setTime(now time.Time) {
	if now.Sub(c.stamped) < time.Millisecond {
		return
	}
	c.stamped = now
	c.stamp = now.UTC().AppendFormat(c.stamp[:0], "2006-01-02T15:04:05.000Z")
}

// append adds the next call to dst. It says whether the call is a new one, and whether it breaks the
// plan.
func (c *calls) append(dst []byte) (_ []byte, fresh, flawed bool) {
	c.made++
	n := c.made
	pool := c.pool
	if flawed = n%flawEach == 0; flawed {
		pool = c.flawed
	}
	if len(c.triggers) > 0 && n%triggerEach == 0 {
		pool, flawed = c.triggers, false
		c.triggered++
	}
	t := &pool[n%uint64(len(pool))]
	at := len(dst)
	dst = append(dst, t.text...)
	out := dst[at:]
	for _, i := range t.time {
		copy(out[i:], c.stamp)
	}
	var id [16]byte
	hex := strconv.AppendUint(id[:0], c.lane<<40|n, 16)
	copy(id[16-len(hex):], hex)
	for i := range 16 - len(hex) {
		id[i] = '0'
	}
	// The call after the one that is repeated is its repetition; a flawed one is never repeated.
	fresh = n%againEach != 2
	if n%againEach == 1 {
		c.again = id
	}
	if !fresh {
		id = c.again
	}
	for _, i := range t.message {
		copy(out[i:], id[:])
	}
	user := c.rand.IntN(c.people)
	for _, i := range t.user {
		digits(out[i:], user)
	}
	for _, i := range t.zone {
		copy(out[i:], zones[user%len(zones)])
	}
	for _, i := range t.carts {
		digits(out[i:], int(n))
	}
	return dst, fresh, flawed
}

package main

import (
	"fmt"
	"strings"
)

// tickPlan is the tracking plan of the shop that bench ticks fills the store for.
const tickPlan = `undeclared_events: flag
undeclared_properties: flag
events:
  Product Viewed: {properties: &product {product_id: {type: string, required: true}, sku: string, category: string, brand: string,
    cart_id: string, price: number, quantity: integer}}
  Product List Viewed: {properties: *product}
  Product Added: {properties: *product}
  Cart Viewed: {properties: *product}
  Checkout Started: {properties: *product}
  Order Completed: {properties: {order_id: {type: string, required: true}, cart_id: string, category: string, currency: string,
    revenue: decimal, items: integer}}
  Signed Up: {properties: {plan: string}}
traits:
  email: string
  tier: string
  replenish_days: number
  renews_on: time
`

// tickRule is a rule of bench ticks; all of them are due at every tick.
type tickRule struct{ name, forEach, with, when string }

// tickRules are twenty rules of the kinds that stand in examples/.
var tickRules = []tickRule{
	{
		"cart-abandoned", `event("Product Added").by("cart_id")`, "product: it.last.properties.product_id",
		`it.last.ago >= hours(1) and it.last.ago < days(2) and not did("Order Completed").since(it.last.at)`,
	},
	{
		"full-cart", "", `products: event("Product Added").within(days(1)).uniq("product_id")`,
		`let cart = event("Product Added");
cart.within(days(1)).sum("price") >= 250 and cart.last.ago >= hours(3) and not did("Order Completed").since(cart.last.at)`,
	},
	{
		"checkout-left", "", `product: event("Checkout Started").last.properties.product_id`,
		`let checkout = event("Checkout Started");
checkout.last.ago >= minutes(30) and checkout.last.ago < days(1) and not did("Order Completed").since(checkout.last.at)`,
	},
	{
		"browsed-not-added", `event("Product Viewed").by("product_id")`, "product: it.value",
		`it.within(days(1)).count >= 2 and it.last.ago >= minutes(45) and not did("Product Added").since(it.first.at)`,
	},
	{"inactive-week", "", "", `event("*").last.ago >= days(7) and event("*").last.ago < days(8)`},
	{"we-miss-you", "", `baskets: event("Order Completed").count`, `segment("regulars") and event("*").last.ago >= days(30)`},
	{
		"inactive-two-months", "", "",
		`event("Order Completed").count >= 1 and event("*").last.ago >= days(60) and event("*").last.ago < days(61)`,
	},
	{
		"bought-before", "", `category: event("Order Completed").within(weeks(10)).top("category")`,
		`let orders = event("Order Completed").within(weeks(10));
orders.count >= 2 and orders.last.ago >= days(7) and orders.last.ago < days(8)`,
	},
	{
		"second-purchase", "", `category: event("Order Completed").last.properties.category`,
		`event("Order Completed").count == 1 and event("Order Completed").last.ago >= days(14) and event("Order Completed").last.ago < days(15)`,
	},
	{
		"replenish-coffee", "", "",
		`let coffee = event("Order Completed", 'properties.category == "Coffee"');
coffee.last.ago >= days(28) and coffee.last.ago < days(35)`,
	},
	{
		"replenish-own-pace", "", "",
		`event("Order Completed").last.ago > days(user.traits.replenish_days)`,
	},
	{
		"near-a-shop", "", `shop: near("stores/*", meters(150)).fence.properties.name`,
		`near("stores/*", meters(150)).dwell >= minutes(5) and event("Order Completed").last.ago > hours(12)`,
	},
	{
		"welcome", "", "",
		`let welcome = event("Signed Up");
welcome.last.ago >= minutes(30) and welcome.last.ago < days(1) and not did("Product Added").since(welcome.last.at)`,
	},
	{
		"lapsed-vip", "", `spent: event("Order Completed").within(days(80)).sum("revenue")`,
		`event("Order Completed").within(days(80)).sum("revenue") >= 300 and event("Order Completed").last.ago >= days(45)`,
	},
	{
		"tired-of-us", "", "",
		`event("Message Sent").within(days(30)).count >= 3 and event("Message Opened").within(days(30)).count == 0 and event("*").last.ago < days(3)`,
	},
	{
		"opened-not-bought", "", "",
		`let opened = message("win-back").opened;
opened.last.ago >= days(1) and opened.last.ago < days(3) and not did("Order Completed").since(opened.last.at)`,
	},
	{"renewal", "", "renews: user.traits.renews_on", `user.traits.renews_on > now and user.traits.renews_on < now + days(7)`},
	{
		"gold-quiet", "", "",
		`user.traits.tier == "gold" and event("Product Viewed").last.ago >= days(10) and event("Product Viewed").last.ago < days(11)`,
	},
	{
		"shoes", "", `last: event("Product Viewed", 'properties.category == "Shoes"').last.properties.product_id`,
		`event("Product Viewed", 'properties.category == "Shoes"').within(days(7)).count >= 3 and event("Order Completed").within(days(7)).count == 0`,
	},
	{
		"small-baskets", "", `basket: event("Order Completed").avg("revenue")`,
		`let orders = event("Order Completed");
orders.count >= 2 and orders.avg("revenue") < 60 and orders.last.ago >= days(5) and orders.last.ago < days(6)`,
	},
}

// sameRules are conditions that the leaves of the other design can say too, word for word: how often
// something was done within a time, what was last done with, what a trait is.
var sameRules = []tickRule{
	{"cart-left", "", "", `event("Product Added").within(days(2)).count >= 1 and event("Order Completed").within(days(2)).count == 0`},
	{"checkout-started", "", "", `event("Checkout Started").within(days(1)).count >= 1 and event("Order Completed").within(days(1)).count == 0`},
	{"busy-week", "", "", `event("Product Viewed").within(days(7)).count >= 5`},
	{"shoes-week", "", "", `event("Product Viewed", 'properties.category == "Shoes"').within(days(7)).count >= 3`},
	{"tired-month", "", "", `event("Message Sent").within(days(30)).count >= 3 and event("Message Opened").within(days(30)).count == 0`},
	{"coffee-last", "", "", `event("Order Completed").last.properties.category == "Coffee"`},
	{"gold", "", "", `user.traits.tier == "gold"`},
	{"gold-buyers", "", "", `user.traits.tier == "gold" and event("Order Completed").within(days(30)).count >= 1`},
}

// tickStores is how many shops there are, in a square of about 30 km, and where it begins.
const (
	tickStores           = 20
	storesLat, storesLon = 52.40, 13.20
	eachLat, eachLon     = 0.013, 0.021
	storesStep           = 7
)

// tickWorkspace are the files of a workspace with these rules.
func tickWorkspace(rules []tickRule) map[string]string {
	files := map[string]string{
		"nudge.yaml":             "zone: UTC\nsalt: bench\ndata: data\nlocation: {max_age: 30m, accuracy: 100}\nchannels:\n  push: {adapter: file, kind: push, config: {path: data/push.ndjson}}\n",
		"events.yaml":            tickPlan,
		"segments/regulars.yaml": "segment: regulars\nwhen: event(\"Order Completed\").within(weeks(11)).count >= 3\n",
		// The rule whose messages others ask about; it is due at no tick.
		"rules/win-back.yaml": "rule: win-back\ncategory: promotional\nschedule: \"0 3 1 1 *\"\nagain: never\nwhen: event(\"*\").count > 0\nmessage:\n  push: {title: Hello, body: There}\n",
	}
	var fences strings.Builder
	fences.WriteString(`{"type":"FeatureCollection","features":[`)
	for i := range tickStores {
		if i > 0 {
			fences.WriteString(",")
		}
		fmt.Fprintf(&fences, `{"type":"Feature","id":"%d","properties":{"name":"Shop %d"},"geometry":{"type":"Point","coordinates":[%.4f,%.4f]}}`,
			i, i, storesLon+float64(i*storesStep%tickStores)*eachLon, storesLat+float64(i)*eachLat)
	}
	fences.WriteString("]}")
	files["fences/stores.geojson"] = fences.String()
	for _, r := range rules {
		files["rules/"+r.name+".yaml"] = r.file()
	}
	return files
}

// file is the rule's file.
func (r *tickRule) file() string {
	var b strings.Builder
	fmt.Fprintf(&b, "rule: %s\ncategory: promotional\nschedule: \"*/5 * * * *\"\nagain: {after: 30d}\n", r.name)
	if r.forEach != "" {
		fmt.Fprintf(&b, "for_each: %s\n", r.forEach)
	}
	b.WriteString("when: |\n")
	for line := range strings.Lines(r.when) {
		b.WriteString("  " + strings.TrimRight(line, "\n") + "\n")
	}
	if r.with != "" {
		fmt.Fprintf(&b, "with:\n  %s\n", r.with)
	}
	b.WriteString("message:\n  push: {title: Hello, body: There}\n")
	return b.String()
}

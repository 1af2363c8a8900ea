// Sends every call of the tracking spec through one SDK: node drive.cjs SDK URL WRITE_KEY.
// sdk_test.go compares what arrives with what is written here.
const [, , sdk, url, writeKey] = process.argv;

let failed = false;

const calls = (user) => [
  ["identify", { userId: user, traits: { plan: "pro", logins: 3, "é": "ü" } }],
  ["track", { userId: user, event: "Order Completed", properties: { revenue: 19.99, items: [{ sku: "a" }], note: 'say "hi" \u2028 \ud83d\ude00' } }],
  ["track", { anonymousId: "anon-" + user, event: "Product Viewed", timestamp: new Date("2025-11-01T10:00:00.123Z"), properties: { id: 9007199254740991 } }],
  ["page", { userId: user, category: "Docs", name: "Start", properties: { url: "https://shop.example/start" } }],
  ["screen", { userId: user, name: "Cart", properties: { items: 2 } }],
  ["group", { userId: user, groupId: "g1", traits: { name: "Initech" } }],
  ["alias", { userId: user, previousId: "anon-" + user }],
];

async function segmentNode() {
  const { Analytics } = require("@segment/analytics-node");
  const a = new Analytics({ writeKey, host: url, flushAt: 5 });
  a.on("error", (e) => { console.error(e); failed = true; });
  for (const [call, message] of calls("segment-node")) a[call](message);
  await a.closeAndFlush();
}

async function rudderNode(gzip) {
  const Analytics = require("@rudderstack/rudder-sdk-node");
  const user = gzip ? "rudder-gzip" : "rudder-plain";
  const a = new Analytics(writeKey, { dataPlaneUrl: url, flushAt: 5, gzip, logLevel: "error" });
  const list = calls(user);
  await Promise.all(list.map(([call, message]) => new Promise((ok, bad) => a[call](message, (e) => (e ? bad(e) : ok())))).concat(
    (async () => { for (let i = 0; i < list.length; i++) await a.flush(); })()));
}

function browser() {
  const { JSDOM } = require("jsdom");
  const dom = new JSDOM("<!doctype html><title>Shop</title>", { url: "https://shop.example/start?q=1", pretendToBeVisual: true });
  for (const name of ["window", "document", "navigator", "location", "localStorage", "sessionStorage", "XMLHttpRequest", "Event", "CustomEvent", "HTMLElement", "Blob", "screen", "history", "performance"]) {
    Object.defineProperty(globalThis, name, { value: name === "window" ? dom.window : dom.window[name], configurable: true, writable: true });
  }
  for (const name of ["addEventListener", "removeEventListener", "dispatchEvent"]) globalThis[name] = dom.window[name].bind(dom.window);
  delete globalThis.fetch; // so that the SDKs use XMLHttpRequest, on which jsdom enforces CORS
  return dom;
}

// Every browser call waits for its request to be answered: inflight counts them.
function answered(dom, want) {
  const { XMLHttpRequest } = dom.window;
  let seen = 0;
  return new Promise((ok, bad) => {
    const send = XMLHttpRequest.prototype.send;
    XMLHttpRequest.prototype.send = function (body) {
      this.addEventListener("loadend", () => {
        if (this.status !== 200) bad(new Error(`status ${this.status} ${this.responseText}`));
        if (body) seen++; // not the settings
        if (seen >= want) ok();
      });
      return send.call(this, body);
    };
  });
}

async function segmentBrowser() {
  const dom = browser();
  const done = answered(dom, 6);
  const { AnalyticsBrowser } = require("@segment/analytics-next");
  const a = AnalyticsBrowser.load({ writeKey, cdnURL: url });
  await a.page("Docs", "Start", { own: 1 });
  await a.identify("segment-browser", { plan: "pro" });
  await a.track("Order Completed", { revenue: 19.99 });
  await a.screen("App", "Cart", { items: 2 });
  await a.group("g1", { name: "Initech" });
  await a.alias("segment-browser", "anon-segment-browser");
  await done;
  setImmediate(() => process.exit(failed ? 1 : 0)); // jsdom and the SDKs keep timers
}

async function rudderBrowser() {
  const dom = browser();
  const done = answered(dom, 5);
  const { RudderAnalytics } = require("@rudderstack/analytics-js/bundled");
  const a = new RudderAnalytics();
  a.load(writeKey, url, { configUrl: url, logLevel: "ERROR", polyfillIfRequired: false, storage: { type: "memoryStorage" } });
  a.page("Docs", "Start", { own: 1 });
  a.identify("rudder-browser", { plan: "pro" });
  a.track("Order Completed", { revenue: 19.99 });
  a.group("g1", { name: "Initech" });
  a.alias("rudder-browser", "anon-rudder-browser");
  await done;
  setImmediate(() => process.exit(failed ? 1 : 0)); // jsdom and the SDKs keep timers
}

const drivers = {
  "segment-node": segmentNode, "rudder-gzip": () => rudderNode(true), "rudder-plain": () => rudderNode(false),
  "segment-browser": segmentBrowser, "rudder-browser": rudderBrowser,
};
process.exitCode = 1; // unless it comes to an end
drivers[sdk]().then(() => { process.exitCode = failed ? 1 : 0; }).catch((e) => { console.error(e); process.exit(1); });

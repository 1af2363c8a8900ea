// nudge's snippet for web push: subscribes this browser and tells nudge whose it is.
//
//   <script src="https://go.shop.example/web/nudge.js"></script>
//   await nudgePush.subscribe({ writeKey: "wk_…", userId: "ann" }); // in a click handler
//
// The site itself has to serve the service worker, because a worker belongs to the origin that it
// is loaded from. /nudge-sw.js is two lines:
//
//   self.NUDGE_URL = "https://go.shop.example";
//   importScripts(self.NUDGE_URL + "/web/sw.js");
"use strict";

window.nudgePush = (() => {
  const base = document.currentScript.src.replace(/\/web\/nudge\.js([?#].*)?$/, "");

  // What the service worker needs when the browser changes the subscription by itself.
  const remember = async (state) =>
    (await caches.open("nudge")).put("/nudge-state", new Response(JSON.stringify(state)));
  const remembered = async () => {
    const found = await (await caches.open("nudge")).match("/nudge-state");
    return found ? found.json() : null;
  };

  const supported = () =>
    "serviceWorker" in navigator && "PushManager" in window && "Notification" in window;

  const toBytes = (text) =>
    Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const toText = (bytes) =>
    btoa(String.fromCharCode(...bytes)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

  // The device token: the base64url of the subscription's JSON.
  const tokenOf = (subscription) => {
    const { endpoint, keys } = subscription.toJSON();
    const json = JSON.stringify({ endpoint, keys: { p256dh: keys.p256dh, auth: keys.auth } });
    return toText(new TextEncoder().encode(json));
  };

  const call = async (method, { writeKey, userId }, token, body) => {
    const url = `${base}/v1/users/${encodeURIComponent(userId)}/devices/${token}`;
    const response = await fetch(url, {
      method,
      headers: { Authorization: `Bearer ${writeKey}`, "Content-Type": "application/json" },
      body: body && JSON.stringify(body),
    });
    if (!response.ok) throw new Error(`nudge answered ${response.status}: ${await response.text()}`);
  };

  const register = async (path) => {
    const registration = await navigator.serviceWorker.register(path);
    const pending = registration.installing || registration.waiting;
    if (!registration.active && pending) {
      await new Promise((resolve, reject) => {
        pending.addEventListener("statechange", () => {
          if (pending.state === "activated") resolve();
          if (pending.state === "redundant") reject(new Error("the service worker could not be installed"));
        });
      });
    }
    return registration;
  };

  // Of a subscription that was made with another key nothing can be sent any more.
  const fits = (subscription, key) => {
    const made = subscription.options && subscription.options.applicationServerKey;
    return !made || toText(new Uint8Array(made)) === key;
  };

  /**
   * Asks for the permission, subscribes and registers the browser with nudge. Browsers want it to
   * come from a click. Called again on every page it changes nothing, except that another userId
   * gives the browser to that person. It resolves to the device token, or to null where the person
   * does not allow it.
   *
   * options: writeKey and userId; worker ("/nudge-sw.js"), app (a name, where the workspace tells
   * several apart).
   */
  const subscribe = async (options) => {
    if (!supported()) throw new Error("this browser has no web push");
    if (!options || !options.writeKey || !options.userId) throw new Error("writeKey and userId are required");
    if ((await Notification.requestPermission()) !== "granted") return null;
    const registration = await register(options.worker || "/nudge-sw.js");
    const { key } = await (await fetch(`${base}/web/key`)).json();
    const before = await remembered();
    let subscription = await registration.pushManager.getSubscription();
    if (subscription && !fits(subscription, key)) {
      await subscription.unsubscribe();
      subscription = null;
    }
    if (!subscription) {
      subscription = await registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: toBytes(key) });
    }
    const token = tokenOf(subscription);
    const state = { base, writeKey: options.writeKey, userId: String(options.userId), app: options.app || "", key, token };
    await call("PUT", state, token, { platform: "web", app: state.app });
    await remember(state);
    if (before && before.token !== token) {
      await call("DELETE", before, before.token).catch(() => {}); // it would end by itself, later
    }
    return token;
  };

  /** Ends the subscription and tells nudge. */
  const unsubscribe = async () => {
    if (!supported()) return;
    const state = await remembered();
    const registrations = await navigator.serviceWorker.getRegistrations();
    for (const registration of registrations) {
      const subscription = await registration.pushManager.getSubscription();
      if (subscription && (!state || tokenOf(subscription) === state.token)) await subscription.unsubscribe();
    }
    if (state) {
      await call("DELETE", state, state.token);
      await (await caches.open("nudge")).delete("/nudge-state");
    }
  };

  /** Says whether this browser is registered, and for whom: {userId, token} or null. */
  const current = async () => {
    if (!supported() || Notification.permission !== "granted") return null;
    const state = await remembered();
    return state && { userId: state.userId, token: state.token };
  };

  return { supported, subscribe, unsubscribe, current };
})();

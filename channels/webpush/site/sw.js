// nudge's service worker for web push: shows what comes, and reports that it was shown and clicked.
// A site imports it into a worker of its own, which says where nudge is:
//
//   self.NUDGE_URL = "https://go.shop.example";
//   importScripts(self.NUDGE_URL + "/web/sw.js");
"use strict";

(() => {
  const base = String(self.NUDGE_URL || "").replace(/\/+$/, "");

  // A report that fails is lost: there is nobody left to ask again.
  const report = (id, what) =>
    id && base
      ? fetch(`${base}/v1/messages/${id}/${what}`, { method: "POST", keepalive: true }).catch(() => {})
      : Promise.resolve();

  const tell = async (message) => {
    for (const client of await self.clients.matchAll({ type: "window", includeUncontrolled: true })) {
      client.postMessage({ type: "nudge", message });
    }
  };

  const setBadge = async (n) => {
    if (n === undefined || !self.navigator.setAppBadge) return;
    await (n > 0 ? self.navigator.setAppBadge(n) : self.navigator.clearAppBadge()).catch(() => {});
  };

  const show = async (m) => {
    await setBadge(m.app_badge);
    await tell(m);
    if (m.silent) return;
    const shown = await self.registration.getNotifications({ tag: m.tag });
    const links = {};
    for (const action of m.actions || []) {
      if (action.link) links[action.id] = action.link;
    }
    await self.registration.showNotification(m.title || "", {
      body: m.body,
      icon: m.icon,
      image: m.image,
      badge: m.badge,
      tag: m.tag,
      // One that replaces another makes itself heard; the same that comes twice does not.
      renotify: shown.some((n) => !n.data || !n.data.nudge || n.data.nudge.id !== m.id),
      requireInteraction: Boolean(m.require_interaction),
      actions: (m.actions || []).map(({ id, title, icon }) => ({ action: id, title, icon })),
      data: { nudge: { id: m.id, link: m.link, links }, ...m.data },
    });
    await report(m.id, "delivered");
  };

  self.addEventListener("push", (event) => {
    let message;
    try {
      message = event.data.json();
    } catch {
      return; // not ours
    }
    if (message && typeof message.tag === "string") event.waitUntil(show(message));
  });

  const target = (link) => {
    try {
      const url = new URL(link, self.registration.scope);
      return url.protocol === "https:" || url.protocol === "http:" ? url.href : null;
    } catch {
      return null;
    }
  };

  const open = async (url) => {
    for (const client of await self.clients.matchAll({ type: "window", includeUncontrolled: true })) {
      if (client.url === url) return client.focus();
    }
    return self.clients.openWindow(url);
  };

  self.addEventListener("notificationclick", (event) => {
    const ours = event.notification.data && event.notification.data.nudge;
    if (!ours) return;
    event.notification.close();
    const url = target((event.action && ours.links[event.action]) || ours.link || self.registration.scope);
    // The redirect of a rewritten link counts its click itself.
    const counted = url && base && url.startsWith(`${base}/c/`);
    event.waitUntil(
      Promise.all([
        url && open(url).catch(() => {}),
        report(ours.id, "opened"),
        counted ? undefined : report(ours.id, "clicked"),
        tell({ clicked: event.action || "", id: ours.id }),
      ]),
    );
  });

  // The browser may change a subscription at any time; nudge is told, so that pushes go on.
  self.addEventListener("pushsubscriptionchange", (event) => {
    event.waitUntil(
      (async () => {
        const cache = await caches.open("nudge");
        const found = await cache.match("/nudge-state");
        if (!found) return;
        const state = await found.json();
        const bytes = Uint8Array.from(atob(state.key.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
        const subscription =
          event.newSubscription ||
          (await self.registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: bytes }));
        const { endpoint, keys } = subscription.toJSON();
        const json = JSON.stringify({ endpoint, keys: { p256dh: keys.p256dh, auth: keys.auth } });
        const token = btoa(json).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
        const call = (method, which, body) =>
          fetch(`${state.base}/v1/users/${encodeURIComponent(state.userId)}/devices/${which}`, {
            method,
            headers: { Authorization: `Bearer ${state.writeKey}`, "Content-Type": "application/json" },
            body,
          });
        const put = await call("PUT", token, JSON.stringify({ platform: "web", app: state.app }));
        if (!put.ok) return;
        if (state.token !== token) await call("DELETE", state.token).catch(() => {});
        await cache.put("/nudge-state", new Response(JSON.stringify({ ...state, token })));
      })(),
    );
  });
})();

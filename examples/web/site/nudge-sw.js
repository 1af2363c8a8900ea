// The service worker belongs to the site; what it does comes from nudge.
self.NUDGE_URL = "http://127.0.0.1:8080";
importScripts(self.NUDGE_URL + "/web/sw.js");

package ingest

import (
	"net/http"
	"slices"
	"strings"
)

// Names of the routes in the metrics, beside the paths of the tracking API.
const (
	routeSettings = "settings"
	routeDevices  = "devices"
	routeConsents = "consents"
	routeErase    = "erase"
	routeOther    = "other"
)

func routeNames() []string {
	names := []string{routeSettings, routeDevices, routeConsents, routeErase, routeOther}
	for _, rt := range tracking() {
		names = append(names, rt.path)
	}
	return names
}

func (s *Server) routes() {
	for _, rt := range tracking() {
		s.handle("POST "+rt.path, rt.path, s.track(rt))
		s.mux.HandleFunc("OPTIONS "+rt.path, preflight)
	}
	// Segment's browser SDK reports on itself here. Nothing is done with it.
	s.mux.HandleFunc("POST /v1/m", func(w http.ResponseWriter, r *http.Request) { cors(w, r); writeJSON(w, http.StatusOK, success) })
	s.mux.HandleFunc("OPTIONS /v1/m", preflight)
	for _, path := range []string{"/v1/projects/{key}/settings", "/projects/{key}/settings"} {
		s.handle("GET "+path, routeSettings, s.segmentSettings)
		s.mux.HandleFunc("OPTIONS "+path, preflight)
	}
	for _, path := range []string{"/sourceConfig", "/sourceConfig/{$}"} {
		s.handle("GET "+path, routeSettings, s.sourceConfig)
		s.mux.HandleFunc("OPTIONS "+path, preflight)
	}
	const device, consents, user = "/v1/users/{id}/devices/{token}", "/v1/users/{id}/consents", "/v1/users/{id}"
	s.handle("PUT "+device, routeDevices, s.people(false, putDevice))
	s.handle("DELETE "+device, routeDevices, s.people(false, removeDevice))
	s.mux.HandleFunc("OPTIONS "+device, preflight)
	s.handle("PUT "+consents, routeConsents, s.people(true, putConsents))
	s.handle("DELETE "+user, routeErase, s.people(true, erase))

	s.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, encoded(Status{"ok"})) })
	s.mux.HandleFunc("GET /readyz", s.ready)
	s.handle("/", routeOther, s.unknown)
}

// ready answers whether events can be taken now.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	if s.opts.Ready != nil {
		if err := s.opts.Ready(r.Context()); err != nil {
			fail(w, http.StatusServiceUnavailable, "not ready: "+err.Error())
			return
		}
	}
	writeJSON(w, http.StatusOK, encoded(Status{"ready"}))
}

// unknown answers what no route matches, and says what would.
func (s *Server) unknown(w http.ResponseWriter, r *http.Request) {
	cors(w, r)
	path := strings.TrimSuffix(r.URL.Path, "/")
	allowed := ""
	parts := strings.Split(path, "/")
	switch {
	case slices.ContainsFunc(tracking(), func(rt route) bool { return rt.path == path }):
		allowed = "POST"
	case len(parts) == 6 && parts[2] == "users" && parts[4] == "devices":
		allowed = "PUT, DELETE"
	case len(parts) == 5 && parts[2] == "users" && parts[4] == "consents":
		allowed = "PUT"
	case len(parts) == 4 && parts[2] == "users":
		allowed = "DELETE"
	}
	if allowed != "" && strings.HasPrefix(path, "/") && path == r.URL.Path {
		w.Header().Set("Allow", allowed)
		fail(w, http.StatusMethodNotAllowed, "use "+allowed+" here, not "+r.Method)
		return
	}
	fail(w, http.StatusNotFound, "there is nothing at "+r.URL.Path+"; events go to POST /v1/track, identify, page, screen, group, alias, batch or import")
}
